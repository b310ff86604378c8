//! A phone of a ladder: it says what the script says, remembers its dialogs, and of its own accord only does what every
//! phone does: 200 to BYE, CANCEL (with the 487) and PRACK, ACK to a refusal, credentials when asked for them.

use crate::script::{Edit, Step};
use crate::sdp;
use crate::sip::{Sip, parameter, uri};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;

pub const PASSWORD: &str = "secret";

pub struct Phone {
    pub name: String,
    pub extension: String,
    pub domain: String,
    pub address: SocketAddr,
    /// `UDP`, `TCP` or `TLS`.
    pub transport: &'static str,
    /// The nonce it was given and how often it has used it.
    nonce: Option<(String, u32)>,
    dialogs: Vec<Dialog>,
    /// Requests of the exchange it has not answered for good.
    waiting: Vec<Sip>,
    /// Requests of its own, for retries and repetitions.
    sent: Vec<Sip>,
    /// What it does not do though every phone would: `CANCEL`, `BYE`, `PRACK`, `ACK`.
    ignores: BTreeSet<String>,
    /// It has lost power, or its connection.
    dead: bool,
    count: u32,
    description: Option<String>,
    version: u32,
}

struct Dialog {
    call_id: String,
    /// From of its requests, with tag; of a called phone's dialog the To of its responses.
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    cseq: u32,
    /// Its own last INVITE, with what became of it.
    invite: Option<Sip>,
    answer: Option<Sip>,
    /// RSeq of the last reliable response.
    rseq: Option<String>,
    over: bool,
}

impl Phone {
    pub fn new(name: &str, domain: &str, address: SocketAddr, transport: &'static str) -> Phone {
        Phone {
            name: name.to_owned(),
            extension: name.chars().take_while(char::is_ascii_digit).collect(),
            domain: domain.to_owned(),
            address,
            transport,
            nonce: None,
            dialogs: Vec::new(),
            waiting: Vec::new(),
            sent: Vec::new(),
            ignores: BTreeSet::new(),
            dead: false,
            count: 0,
            description: None,
            version: 0,
        }
    }

    /// What a step of the script makes it send.
    pub fn act(&mut self, step: &Step) -> Result<Vec<Sip>, String> {
        let verb = step.word(1).ok_or("what does it do?")?;
        let target = step.word(2);
        let message = match (verb, target) {
            ("dies", None) => {
                self.dead = true;
                return Ok(Vec::new());
            }
            ("moves", None) => {
                self.address.set_port(self.address.port() + 1000);
                return Ok(Vec::new());
            }
            ("ignores", Some(what)) => {
                self.ignores.insert(what.to_owned());
                return Ok(Vec::new());
            }
            ("again", method) => self.repeat(method)?,
            ("ACK", _) => self.ack(step)?,
            ("CANCEL", _) => self.cancel()?,
            ("reINVITE", _) => self.in_dialog("INVITE", step)?,
            (status, method) if status.parse::<u16>().is_ok() => {
                self.respond(status, method.filter(|word| *word != "once"), step)?
            }
            (method, Some(target)) => self.outside(method, target, step),
            (method, None) => self.in_dialog(method, step)?,
        };
        let mut message = message;
        if let (Some(text), true) = (&step.sdp, has_other_body(step)) {
            message.body = text.replace(" / ", "\r\n");
        }
        for edit in &step.headers {
            match edit {
                Edit::Add(name, value) => {
                    message.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
                    message.headers.push((name.clone(), value.clone()));
                }
                Edit::Remove(name) => message.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name)),
            }
        }
        if message.status().is_none() {
            self.remember(&message);
        }
        Ok(vec![message])
    }

    pub fn register(&mut self) -> Sip {
        let uri = format!("sip:{}", self.domain);
        let request = self.request("REGISTER", &uri, &self.own_uri(), 1);
        let request = self.authorised(request.with("Expires", "3600"));
        self.remember(&request);
        request
    }

    /// What a message of the exchange makes it send of its own accord.
    pub fn receive(&mut self, message: &Sip) -> Vec<Sip> {
        if self.dead {
            return Vec::new();
        }
        match message.status() {
            Some(status) => self.on_response(status, message),
            None => self.on_request(message),
        }
    }

    /// Whether this is a challenge to a request it will now send again with credentials.
    pub fn is_challenged(&self, message: &Sip) -> bool {
        let request = self.sent.iter().find(|request| request.branch() == message.branch());
        message.status() == Some(401) && request.is_some_and(|request| !answers(request, message))
    }

    /// Its own tags in a call, in the order they appeared.
    pub fn tags(&self, call_id: &str) -> Vec<&str> {
        let mut tags: Vec<&str> = Vec::new();
        for dialog in self.dialogs.iter().filter(|dialog| dialog.call_id == call_id) {
            let tag = parameter(&dialog.local, "tag").unwrap_or_default();
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        tags
    }

    pub fn is_connected(&self) -> bool {
        self.transport != "UDP"
    }

    pub fn contact(&self) -> String {
        let transport = match self.transport {
            "TCP" => ";transport=tcp",
            "TLS" => ";transport=tls",
            _ => "",
        };
        format!("sip:{}@{}{transport}", self.extension, self.address)
    }

    fn own_uri(&self) -> String {
        format!("sip:{}@{}", self.extension, self.domain)
    }

    fn remember(&mut self, request: &Sip) {
        if request.method() == "INVITE" {
            match self.dialogs.iter_mut().find(|dialog| dialog.call_id == request.call_id() && dialog.invite_is_ours())
            {
                Some(dialog) => dialog.invite = Some(request.clone()),
                None => self.dialogs.push(Dialog::called(request)),
            }
        }
        self.sent.push(request.clone());
    }

    fn request(&mut self, method: &str, uri: &str, to: &str, cseq: u32) -> Sip {
        self.count += 1;
        let (n, name) = (self.count, self.name.clone());
        let from = format!("\"Phone {}\" <{}>;tag={name}-{n}", self.extension, self.own_uri());
        let request = self.start(method, uri);
        let request = request.with("From", from).with("To", format!("<{to}>"));
        let request = request.with("Call-ID", format!("{n}@{name}")).with("CSeq", format!("{cseq} {method}"));
        request.with("Contact", format!("<{}>", self.contact()))
    }

    fn start(&mut self, method: &str, uri: &str) -> Sip {
        self.count += 1;
        let transport = self.transport;
        let via = format!("SIP/2.0/{transport} {};rport;branch=z9hG4bK-{}-{}", self.address, self.name, self.count);
        Sip::new(format!("{method} {uri} SIP/2.0")).with("Via", via).with("Max-Forwards", "70")
    }

    fn outside(&mut self, method: &str, target: &str, step: &Step) -> Sip {
        let uri = if target.contains(':') { target.to_owned() } else { format!("sip:{target}@{}", self.domain) };
        let mut request = self.request(method, &uri, &uri, 1);
        if method == "INVITE" {
            request = request.with("Allow", ALLOW);
            request.body = self.describe(step.sdp.as_deref().unwrap_or(sdp::DEFAULT));
        }
        self.authorised(request)
    }

    fn in_dialog(&mut self, method: &str, step: &Step) -> Result<Sip, String> {
        let at = self.dialog(step.tag())?;
        let dialog = &mut self.dialogs[at];
        dialog.cseq += 1;
        let (cseq, target) = (dialog.cseq, dialog.target.clone());
        let mut request = self.start(method, &target);
        let dialog = &mut self.dialogs[at];
        for route in &dialog.routes {
            request = request.with("Route", route);
        }
        request = request.with("From", &dialog.local).with("To", &dialog.remote).with("Call-ID", &dialog.call_id);
        request = request.with("CSeq", format!("{cseq} {method}"));
        let rack = (method == "PRACK").then(|| dialog.rseq.clone()).flatten();
        if let Some(rseq) = rack {
            let invite = dialog.invite.as_ref().map_or(0, Sip::cseq);
            request = request.with("RAck", format!("{rseq} {invite} INVITE"));
        }
        dialog.over |= method == "BYE";
        if method == "INVITE" {
            dialog.answer = None;
            dialog.invite = Some(request.clone());
        }
        let contact = format!("<{}>", self.contact());
        let request = if matches!(method, "INVITE" | "UPDATE") { request.with("Contact", contact) } else { request };
        let usual = if method == "INVITE" { self.description.clone() } else { None };
        let mut request = request;
        if let Some(line) = step.sdp.clone().or(usual) {
            request.body = self.describe(&line);
        }
        Ok(request)
    }

    fn ack(&mut self, step: &Step) -> Result<Sip, String> {
        let at = self.dialog(step.tag())?;
        let dialog = &self.dialogs[at];
        let invite = dialog.invite.clone().ok_or("it has sent no INVITE")?;
        let offered = dialog.answer.as_ref().filter(|_| invite.body.is_empty()).map(|answer| sdp::answer(&answer.body));
        let target = dialog.target.clone();
        let mut ack = self.start("ACK", &target);
        let dialog = &self.dialogs[at];
        for route in &dialog.routes {
            ack = ack.with("Route", route);
        }
        ack = ack.with("From", &dialog.local).with("To", &dialog.remote).with("Call-ID", &dialog.call_id);
        let mut ack = ack.with("CSeq", format!("{} ACK", invite.cseq()));
        if let Some(line) = step.sdp.clone().or(offered) {
            ack.body = self.describe(&line);
        }
        Ok(ack)
    }

    fn cancel(&mut self) -> Result<Sip, String> {
        let invite =
            self.dialogs.iter().rev().find_map(|dialog| dialog.invite.as_ref()).ok_or("it has sent no INVITE")?;
        Ok(sibling(invite, "CANCEL", invite.header("To").unwrap_or_default()))
    }

    fn repeat(&self, method: Option<&str>) -> Result<Sip, String> {
        let wanted = |sip: &&Sip| method.is_none_or(|method| sip.method() == method);
        self.sent.iter().rev().find(wanted).cloned().ok_or("it has sent no such request".to_owned())
    }

    /// Answers the oldest request of the exchange that waits, or the oldest of a method.
    fn respond(&mut self, status: &str, method: Option<&str>, step: &Step) -> Result<Sip, String> {
        let wanted = |request: &Sip| method.is_none_or(|method| request.method() == method);
        let at = self.waiting.iter().position(wanted).ok_or("no request waits for its answer")?;
        let request = self.waiting[at].clone();
        let provisional = status.starts_with('1');
        if !provisional && !step.words.iter().any(|word| word == "once") {
            self.waiting.remove(at);
        }
        let mut response = reply(&request, status, step.tag().unwrap_or(&self.name));
        if matches!(request.method().as_str(), "INVITE" | "UPDATE") && status < "300" {
            response = response.with("Contact", format!("<{}>", self.contact())).with("Allow", ALLOW);
            self.join(&request, &response);
        }
        let offered = if request.body.is_empty() { sdp::DEFAULT.to_owned() } else { sdp::answer(&request.body) };
        let describes = request.method() == "INVITE" || request.method() == "UPDATE" && !request.body.is_empty();
        let usual = (status.starts_with('2') && describes).then_some(offered);
        if let Some(line) = step.sdp.clone().or(usual) {
            response.body = self.describe(&line);
        }
        Ok(response)
    }

    /// A response of a called phone makes a dialog.
    fn join(&mut self, request: &Sip, response: &Sip) {
        let local = response.header("To").unwrap_or_default();
        let known =
            self.dialogs.iter().any(|d| d.call_id == request.call_id() && (d.local == local || d.remote == local));
        if !known && request.method() == "INVITE" {
            self.dialogs.push(Dialog {
                call_id: request.call_id().to_owned(),
                local: local.to_owned(),
                remote: request.header("From").unwrap_or_default().to_owned(),
                target: request.contact().unwrap_or_default().to_owned(),
                routes: request.all("Record-Route").map(str::to_owned).collect(),
                cseq: 100,
                invite: None,
                answer: None,
                rseq: None,
                over: false,
            });
        }
    }

    fn on_request(&mut self, request: &Sip) -> Vec<Sip> {
        let method = request.method();
        if method == "ACK" {
            return Vec::new();
        }
        let ok = reply(request, "200", &self.name);
        match method.as_str() {
            "BYE" | "PRACK" if self.ignores.contains(&method) => {
                self.wait(request);
                Vec::new()
            }
            "BYE" => {
                let call = request.call_id();
                self.dialogs.iter_mut().filter(|dialog| dialog.call_id == call).for_each(|dialog| dialog.over = true);
                vec![ok]
            }
            "PRACK" => vec![ok],
            "CANCEL" => {
                let invite = self.waiting.iter().position(|r| r.branch() == request.branch());
                match invite.filter(|_| !self.ignores.contains("CANCEL")) {
                    Some(at) => {
                        let invite = self.waiting.remove(at);
                        vec![ok, reply(&invite, "487", &self.name)]
                    }
                    None => vec![ok],
                }
            }
            _ => {
                self.wait(request);
                Vec::new()
            }
        }
    }

    /// The script will answer it.
    fn wait(&mut self, request: &Sip) {
        let known = |other: &Sip| other.branch() == request.branch() && other.method() == request.method();
        if !self.waiting.iter().any(known) {
            self.waiting.push(request.clone());
        }
    }

    fn on_response(&mut self, status: u16, response: &Sip) -> Vec<Sip> {
        let Some(request) = self
            .sent
            .iter()
            .rev()
            .find(|request| request.branch() == response.branch() && request.method() == response.method())
        else {
            return Vec::new();
        };
        let request = request.clone();
        let mut replies = Vec::new();
        if request.method() == "INVITE" && status >= 300 && !self.ignores.contains("ACK") {
            replies.push(sibling(&request, "ACK", response.header("To").unwrap_or_default()));
        }
        if self.is_challenged(response) {
            replies.extend(self.retry(&request, response));
            return replies;
        }
        let dialog = self.dialogs.iter_mut().find(|dialog| dialog.call_id == response.call_id());
        if let Some(dialog) = dialog.filter(|_| request.method() == "INVITE") {
            dialog.hear(status, response);
        }
        replies
    }

    /// The same request with credentials for the nonce just received (MD5, as most phones do).
    fn retry(&mut self, request: &Sip, challenge: &Sip) -> Option<Sip> {
        let md5 = challenge.all("WWW-Authenticate").find(|value| value.contains("MD5"))?;
        let nonce = md5.split("nonce=\"").nth(1)?.split('"').next()?;
        self.nonce = Some((nonce.to_owned(), 0));
        self.count += 1;
        let mut again = request.clone();
        let via = request.header("Via")?.replace(request.branch(), &format!("z9hG4bK-{}-{}", self.name, self.count));
        again.set("Via", via);
        again.set("CSeq", format!("{} {}", request.cseq() + 1, request.method()));
        again.headers.retain(|(name, _)| name != "Authorization");
        let again = self.authorised(again);
        if let Some(dialog) = self.dialogs.iter_mut().find(|dialog| dialog.call_id == again.call_id()) {
            dialog.cseq = again.cseq();
        }
        self.remember(&again);
        Some(again)
    }

    fn authorised(&mut self, request: Sip) -> Sip {
        let Some((nonce, count)) = &mut self.nonce else { return request };
        *count += 1;
        let (user, uri, realm) = (&self.extension, request.request_uri().to_owned(), realm(&self.domain));
        let ha1 = md5(&format!("{user}:{realm}:{PASSWORD}"));
        let ha2 = md5(&format!("{}:{uri}", request.method()));
        let response = md5(&format!("{ha1}:{nonce}:{count:08x}:abc:auth:{ha2}"));
        let value = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm=MD5, qop=auth, nc={count:08x}, cnonce=\"abc\""
        );
        request.with("Authorization", value)
    }

    fn dialog(&self, tag: Option<&str>) -> Result<usize, String> {
        let wanted = |dialog: &Dialog| match tag {
            Some(tag) => parameter(&dialog.local, "tag") == Some(tag),
            None => !dialog.over,
        };
        let found = self.dialogs.iter().rposition(wanted).or_else(|| self.dialogs.len().checked_sub(1));
        found.ok_or("it has no dialog".to_owned())
    }

    fn describe(&mut self, line: &str) -> String {
        if line == "none" {
            return String::new();
        }
        if self.description.as_deref() != Some(line) {
            self.version += 1;
            self.description = Some(line.to_owned());
        }
        sdp::body(line, &self.address.ip().to_string(), self.version)
    }
}

impl Dialog {
    /// Of an INVITE of ours, before anybody has answered.
    fn called(invite: &Sip) -> Dialog {
        Dialog {
            call_id: invite.call_id().to_owned(),
            local: invite.header("From").unwrap_or_default().to_owned(),
            remote: invite.header("To").unwrap_or_default().to_owned(),
            target: invite.request_uri().to_owned(),
            routes: Vec::new(),
            cseq: invite.cseq(),
            invite: Some(invite.clone()),
            answer: None,
            rseq: None,
            over: false,
        }
    }

    fn invite_is_ours(&self) -> bool {
        self.invite.is_some()
    }

    /// A response to the INVITE of this dialog.
    fn hear(&mut self, status: u16, response: &Sip) {
        if (101..300).contains(&status) {
            if let Some(contact) = response.contact() {
                self.target = contact.to_owned();
            }
            if response.tag("To").is_some() {
                self.remote = response.header("To").unwrap_or_default().to_owned();
            }
            if response.has("Require", "100rel") {
                self.rseq = response.header("RSeq").map(str::to_owned);
            }
            self.routes = response.all("Record-Route").map(str::to_owned).collect();
            self.routes.reverse();
        }
        if (200..300).contains(&status) {
            self.answer = Some(response.clone());
        } else if status >= 300 && uri(&self.target) == uri(&self.remote) {
            self.over = true;
        }
    }
}

const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE";

/// The realm of a tenant's domain.
pub fn realm(domain: &str) -> &str {
    domain.split('.').next().unwrap_or(domain)
}

/// Whether what follows `|` is no description but the body itself.
fn has_other_body(step: &Step) -> bool {
    let other =
        |edit: &Edit| matches!(edit, Edit::Add(name, kind) if name == "Content-Type" && kind != "application/sdp");
    step.headers.iter().any(other)
}

/// Whether a request already carries credentials for the nonce of a challenge that does not call them stale.
fn answers(request: &Sip, challenge: &Sip) -> bool {
    request.header("Authorization").is_some() && !challenge.all("WWW-Authenticate").any(|v| v.contains("stale=true"))
}

/// A response with what RFC 3261 §8.2.6 copies.
fn reply(request: &Sip, status: &str, tag: &str) -> Sip {
    let mut response = Sip::new(format!("SIP/2.0 {status} {}", phrase(status)));
    for via in request.all("Via") {
        response = response.with("Via", via);
    }
    let to = request.header("To").unwrap_or_default();
    let to = if request.tag("To").is_some() || status == "100" { to.to_owned() } else { format!("{to};tag={tag}") };
    let response = response.with("From", request.header("From").unwrap_or_default()).with("To", to);
    response.with("Call-ID", request.call_id()).with("CSeq", request.header("CSeq").unwrap_or_default())
}

/// CANCEL, and ACK of a refusal: they share the INVITE's branch.
fn sibling(invite: &Sip, method: &str, to: &str) -> Sip {
    let request = Sip::new(format!("{method} {} SIP/2.0", invite.request_uri()));
    let request = request.with("Via", invite.header("Via").unwrap_or_default()).with("Max-Forwards", "70");
    let request = request.with("From", invite.header("From").unwrap_or_default()).with("To", to);
    request.with("Call-ID", invite.call_id()).with("CSeq", format!("{} {method}", invite.cseq()))
}

fn phrase(status: &str) -> &'static str {
    match status {
        "100" => "Trying",
        "180" => "Ringing",
        "183" => "Session Progress",
        "200" => "OK",
        "486" => "Busy Here",
        "487" => "Request Terminated",
        "603" => "Decline",
        _ => "As Scripted",
    }
}

fn md5(text: &str) -> String {
    use md5::Digest as _;
    let mut hex = String::new();
    for byte in md5::Md5::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
