//! The phone's transactions (RFC 3261 §17), requests it sends and requests it answers, and what its bad habits do to them.

use super::call::CallId;
use super::traits::Transport;
use super::{Phone, Timer};
use crate::clock::{Entry, GIVE_UP, MS, SECOND, T1, T2, T4, Time};
use crate::sip::digest::Session;
use crate::sip::text::Msg;
use std::net::SocketAddr;

/// The answer may depend on the party at the other end of the call, whose troubles excuse it as well.
pub const END_TO_END: &str = "an end-to-end request without a response";

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TxKey {
    pub branch: String,
    pub method: String,
}

/// What a request is for: who gets its response.
#[derive(Clone, PartialEq, Debug)]
pub enum Purpose {
    Register,
    Invite(CallId),
    Cancel,
    Update(CallId),
    Info(CallId),
    Prack(CallId),
    /// The call may be gone already.
    Bye,
    Message(String),
    Options,
    /// A request with somebody else's or an old Authorization: never to be accepted.
    Attack,
}

pub struct Client {
    pub request: Msg,
    pub purpose: Purpose,
    pub started: Time,
    bytes: Vec<u8>,
    to: SocketAddr,
    interval: Time,
    state: State,
    retransmit: Option<Entry>,
    timeout: Option<Entry>,
    /// The ACK of its final response, with the To tag it is for.
    acks: Vec<(String, SocketAddr, Vec<u8>)>,
    /// The first final response and when it came.
    outcome: Option<(u16, Time)>,
    challenges: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Trying,
    Proceeding,
    Done,
}

pub struct Server {
    pub request: Msg,
    pub to: SocketAddr,
    since: Time,
    last: Option<Vec<u8>>,
    code: u16,
    acked: bool,
    ignored: bool,
    interval: Time,
    retransmit: Option<Entry>,
}

impl Client {
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub fn is_accepted(&self) -> bool {
        self.outcome.is_some_and(|(code, _)| code < 300)
    }

    pub fn is_registration(&self) -> bool {
        self.purpose == Purpose::Register
    }
}

impl Server {
    pub fn is_done(&self) -> bool {
        let invite = self.request.method() == Some("INVITE");
        self.ignored || self.code >= 200 && (!invite || self.code < 300 || self.acked)
    }
}

impl Phone {
    pub(super) fn start(&mut self, request: Msg, purpose: Purpose) -> TxKey {
        let branch = self.next_branch();
        self.start_on_branch(request, purpose, &branch)
    }

    /// Sends a request on a given branch: its own, or for CANCEL that of its INVITE.
    pub(super) fn start_on_branch(&mut self, mut request: Msg, purpose: Purpose, branch: &str) -> TxKey {
        let via = format!("SIP/2.0/{} {};branch={branch};rport", self.profile.transport.via(), self.profile.address);
        request.remove("Via");
        request.headers.insert(0, ("Via".into(), via));
        let method = request.method().unwrap_or_default().to_string();
        let to = self.next_hop(&request);
        let bytes = request.encode(self.profile.make.terse);
        let key = TxKey { branch: branch.into(), method };
        let retransmit = match self.profile.transport {
            Transport::Udp => Some(self.timer(T1, Timer::Retransmit(key.clone()))),
            Transport::Tcp => None,
        };
        let timeout = Some(self.timer(GIVE_UP, Timer::Timeout(key.clone())));
        self.transmit(to, bytes.clone());
        let client = Client {
            request,
            purpose,
            started: self.now,
            bytes,
            to,
            interval: T1,
            state: State::Trying,
            retransmit,
            timeout,
            acks: Vec::new(),
            outcome: None,
            challenges: 0,
        };
        self.clients.insert(key.clone(), client);
        key
    }

    /// Adds the credentials of the last challenge.
    pub(super) fn authorize(&mut self, request: &mut Msg) {
        let (method, uri) = (request.method().unwrap_or_default().to_string(), request.uri().to_string());
        let password = if self.profile.quirks.wrong_password { "guess" } else { self.profile.password.as_str() };
        if let Some(session) = self.auth.as_mut() {
            let (name, value) = session.credentials(&self.profile.extension, password, &method, &uri);
            request.remove("Authorization");
            request.remove("Proxy-Authorization");
            request.headers.push((name.into(), value));
        }
    }

    pub(super) fn retransmit(&mut self, key: &TxKey) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let invite = key.method == "INVITE";
        client.interval = match (invite, client.state) {
            (true, _) => client.interval * 2,
            (false, State::Proceeding) => T2,
            (false, _) => (client.interval * 2).min(T2),
        };
        let (after, to, bytes) = (client.interval, client.to, client.bytes.clone());
        let entry = self.timer(after, Timer::Retransmit(key.clone()));
        if let Some(client) = self.clients.get_mut(key) {
            client.retransmit = Some(entry);
        }
        self.transmit(to, bytes);
    }

    pub(super) fn on_response(&mut self, msg: Msg) {
        let (Some(branch), Some((_, method))) = (msg.branch(), msg.cseq()) else {
            if !self.profile.quirks.sends_rubbish() {
                self.complain("a response without branch or CSeq", &msg.title());
            }
            return;
        };
        let key = TxKey { branch, method: method.to_string() };
        let Some(client) = self.clients.get(&key) else {
            let ours = format!("z9hG4bK-{}-", self.profile.index);
            // Who sends garbage may get some back.
            if !key.branch.starts_with(&ours) && !self.profile.quirks.sends_rubbish() {
                self.complain("a response to a request of another phone", &msg.title());
            }
            return;
        };
        let same = |name: &str| client.request.get(name) == msg.get(name);
        if !same("Call-ID") || !same("CSeq") || client.request.tag_of_from() != msg.tag_of_from() {
            return self.complain("a response that does not repeat its request's headers", &msg.title());
        }
        let code = msg.code().unwrap_or_default();
        match code {
            100..200 => self.on_provisional(&key, msg),
            _ => self.on_final(&key, msg, code),
        }
    }

    fn on_provisional(&mut self, key: &TxKey, msg: Msg) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.state == State::Done {
            return;
        }
        let is_first = client.state != State::Proceeding;
        client.state = State::Proceeding;
        if let (Purpose::Invite(call), true) = (client.purpose.clone(), key.method == "INVITE") {
            // A late copy does not stop the wait of a CANCEL for its final response.
            if is_first {
                let (retransmit, timeout) = (client.retransmit.take(), client.timeout.take());
                self.disarm(retransmit);
                self.disarm(timeout);
            }
            self.on_ringing(call, msg);
        } else if client.purpose == Purpose::Attack && msg.code() != Some(100) {
            let started = client.started;
            self.miss(started, "a replayed Authorization was accepted", &msg.title());
        }
    }

    fn on_final(&mut self, key: &TxKey, msg: Msg, code: u16) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let invite = key.method == "INVITE";
        let tag = msg.tag_of_to().unwrap_or_default().to_string();
        if client.state == State::Done {
            let (first, at) = client.outcome.unwrap_or((code, self.now));
            let started = client.started;
            // A copy of the request that comes after the other side has forgotten it is a new request there.
            if first != code && !(first < 300 && code < 300) && self.now < at + T4 {
                return self.miss(started, "two different final responses", &format!("{first}, then {}", msg.title()));
            }
            // An ACK may have been lost: the same again for the same response.
            let again = client.acks.iter().find(|(t, ..)| *t == tag).map(|(_, to, bytes)| (*to, bytes.clone()));
            match again {
                Some((to, bytes)) => self.transmit(to, bytes),
                None if invite && code < 300 => self.on_second_answer(key, msg),
                None => {}
            }
            return;
        }
        client.state = State::Done;
        client.outcome = Some((code, self.now));
        let (retransmit, timeout) = (client.retransmit.take(), client.timeout.take());
        let (purpose, started) = (client.purpose.clone(), client.started);
        self.disarm(retransmit);
        self.disarm(timeout);
        self.timer(GIVE_UP + T1, Timer::ForgetClient(key.clone()));
        if invite && code >= 300 {
            self.ack_refusal(key, &msg);
        }
        if matches!(code, 401 | 407) && purpose != Purpose::Attack && self.answer_challenge(key, &msg) {
            return;
        }
        self.on_outcome(key, purpose, started, msg, code);
    }

    fn on_outcome(&mut self, key: &TxKey, purpose: Purpose, started: Time, msg: Msg, code: u16) {
        match purpose {
            Purpose::Register => self.on_registered(&msg, code),
            Purpose::Invite(call) => self.on_invite_final(call, key, msg, code),
            Purpose::Update(call) => self.on_update_final(call, key, &msg, code),
            Purpose::Prack(call) => self.on_prack_final(call, key, &msg, code),
            Purpose::Info(call) => self.on_dialog_final(call, code),
            Purpose::Message(body) if code < 300 => self.messages_accepted.push(body),
            Purpose::Attack if code < 300 => self.miss(started, "a replayed Authorization was accepted", &msg.title()),
            Purpose::Message(_) | Purpose::Bye | Purpose::Cancel | Purpose::Options | Purpose::Attack => {}
        }
    }

    /// Nobody answered.
    pub(super) fn on_timeout(&mut self, key: &TxKey) {
        let Some(client) = self.clients.remove(key) else { return };
        self.disarm(client.retransmit);
        if client.state == State::Done {
            return;
        }
        let detail = client.request.title();
        let rule = match client.purpose {
            Purpose::Invite(_) if client.state == State::Proceeding => "an INVITE without a final response",
            _ if matches!(key.method.as_str(), "INFO" | "MESSAGE" | "UPDATE") => END_TO_END,
            _ => "a request without a response",
        };
        // Who hangs up in the middle of a re-INVITE is owed nothing more for it.
        let gone = matches!(client.purpose, Purpose::Invite(call) if !self.calls.contains_key(&call));
        if !gone {
            self.miss(client.started, rule, &detail);
        }
        match client.purpose {
            Purpose::Register => self.on_register_timeout(),
            Purpose::Invite(call) => self.on_invite_lost(call),
            Purpose::Update(call) | Purpose::Info(call) | Purpose::Prack(call) => self.on_dialog_final(call, 408),
            _ => {}
        }
    }

    /// The INVITE was cancelled: its final response has 64·T1 left to come (RFC 3261 §9.1).
    pub(super) fn expect_final(&mut self, key: &TxKey) {
        let entry = self.timer(GIVE_UP, Timer::Timeout(key.clone()));
        if let Some(client) = self.clients.get_mut(key) {
            client.timeout = Some(entry);
        }
    }

    /// The request again with credentials; false if that is hopeless.
    fn answer_challenge(&mut self, key: &TxKey, msg: &Msg) -> bool {
        let Some(session) = Session::of(msg, self.profile.make.sha256) else {
            self.complain("a challenge without a usable algorithm", &msg.title());
            return false;
        };
        let fresh = self.auth.as_ref().is_none_or(|old| old.nonce != session.nonce);
        let Some(client) = self.clients.get(key) else { return false };
        let tried = client.request.get("Authorization").or(client.request.get("Proxy-Authorization")).is_some();
        let challenges = client.challenges + 1;
        if challenges > 3 || (tried && !fresh) {
            return false;
        }
        if fresh {
            self.auth = Some(session);
        }
        let (mut request, purpose) = (client.request.clone(), client.purpose.clone());
        let Some(cseq) = self.next_cseq(&purpose, &request) else { return false };
        request.set("CSeq", format!("{cseq} {}", key.method));
        self.authorize(&mut request);
        let new = self.start(request, purpose.clone());
        if let Some(client) = self.clients.get_mut(&new) {
            client.challenges = challenges;
        }
        if let Purpose::Invite(call) = purpose {
            self.invite_moved(call, new);
        }
        true
    }

    pub(super) fn next_cseq(&mut self, purpose: &Purpose, request: &Msg) -> Option<u32> {
        let plain = request.cseq()?.0 + 1;
        match purpose {
            Purpose::Register => Some(self.registration.next_cseq()),
            Purpose::Invite(call) | Purpose::Update(call) | Purpose::Info(call) | Purpose::Prack(call) => {
                let dialog = &mut self.calls.get_mut(call)?.dialog;
                dialog.local_cseq += 1;
                Some(dialog.local_cseq)
            }
            _ => Some(plain),
        }
    }

    /// The ACK of a refusal belongs to the INVITE's transaction (RFC 3261 §17.1.1.3).
    fn ack_refusal(&mut self, key: &TxKey, msg: &Msg) {
        let Some(client) = self.clients.get(key) else { return };
        let mut ack = Msg::request("ACK", client.request.uri());
        for name in ["Via", "Max-Forwards", "From", "Route", "Call-ID"] {
            let fields = client.request.headers.iter().filter(|(n, _)| n == name);
            ack.headers.extend(fields.cloned());
        }
        ack.headers.push(("To".into(), msg.value("To").into()));
        let number = client.request.cseq().map_or(0, |(number, _)| number);
        ack.headers.push(("CSeq".into(), format!("{number} ACK")));
        self.send_ack(key, ack, msg);
    }

    /// Sends an ACK and keeps it for retransmitted responses.
    pub(super) fn send_ack(&mut self, key: &TxKey, ack: Msg, response: &Msg) {
        let (to, bytes) = (self.next_hop(&ack), ack.encode(self.profile.make.terse));
        let tag = response.tag_of_to().unwrap_or_default().to_string();
        if let Some(client) = self.clients.get_mut(key) {
            client.acks.push((tag, to, bytes.clone()));
        }
        self.transmit(to, bytes);
    }

    /// Takes a request apart from its retransmissions; None if it is one.
    pub(super) fn accept_request(&mut self, msg: &Msg, from: SocketAddr) -> Option<TxKey> {
        let (Some(branch), Some(method), Some((_, cseq_method))) = (msg.branch(), msg.method(), msg.cseq()) else {
            self.complain("a request without branch or CSeq", &msg.title());
            return None;
        };
        if method != cseq_method || msg.tag_of_from().is_none() || msg.call_id().is_empty() {
            self.complain("a request with contradictory headers", &msg.title());
            return None;
        }
        let key = TxKey { branch, method: method.to_string() };
        if let Some(server) = self.servers.get(&key) {
            if server.request.call_id() != msg.call_id() || server.request.get("CSeq") != msg.get("CSeq") {
                self.complain("one branch for two requests", &msg.title());
                return None;
            }
            // A 2xx as well: the call that would send it again may be over.
            if let Some(last) = server.last.clone() {
                self.transmit(from, last);
            }
            return None;
        }
        let server = Server {
            request: msg.clone(),
            to: from,
            since: self.now,
            last: None,
            code: 0,
            acked: false,
            ignored: false,
            interval: T1,
            retransmit: None,
        };
        self.servers.insert(key.clone(), server);
        Some(key)
    }

    pub(super) fn request_of(&self, key: &TxKey) -> Option<&Msg> {
        self.servers.get(key).map(|server| &server.request)
    }

    /// The request and its repetitions get no answer.
    pub(super) fn ignore(&mut self, key: &TxKey) {
        if let Some(server) = self.servers.get_mut(key) {
            server.ignored = true;
        }
        self.timer(GIVE_UP + T4, Timer::ForgetServer(key.clone()));
    }

    /// The bytes of the last response, and where they went.
    pub(super) fn last_response(&self, key: &TxKey) -> Option<(Vec<u8>, SocketAddr)> {
        let server = self.servers.get(key)?;
        Some((server.last.clone()?, server.to))
    }

    /// Answers a request; `finish` adds what belongs to this response.
    pub(super) fn respond(&mut self, key: &TxKey, code: u16, reason: &str, finish: impl FnOnce(&mut Msg)) {
        let Some(server) = self.servers.get(key) else { return };
        let start = crate::sip::text::Start::Status { code, reason: reason.into() };
        let mut response = Msg { start, headers: Vec::new(), body: String::new() };
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            let fields = server.request.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
            response.headers.extend(fields.cloned());
        }
        finish(&mut response);
        if response.tag_of_to().is_none() && code > 100 {
            // A phone without memory answers statelessly: the same tag for the same request.
            let tag = format!("{};tag=x{}", response.value("To"), key.branch.len());
            response.set("To", tag);
        }
        let bytes = response.encode(self.profile.make.terse);
        let (to, invite) = (server.to, key.method == "INVITE");
        self.transmit(to, bytes.clone());
        let retransmit = (invite && code >= 300 && self.profile.transport == Transport::Udp)
            .then(|| self.timer(T1, Timer::RetransmitFinal(key.clone())));
        if code >= 200 {
            self.timer(GIVE_UP, Timer::ForgetServer(key.clone()));
        }
        let now = self.now;
        if let Some(server) = self.servers.get_mut(key) {
            (server.last, server.code) = (Some(bytes), code);
            if code >= 200 {
                (server.since, server.retransmit) = (now, retransmit);
            }
        }
    }

    pub(super) fn retransmit_final(&mut self, key: &TxKey) {
        let Some(server) = self.servers.get_mut(key) else { return };
        if server.acked {
            return;
        }
        server.interval = (server.interval * 2).min(T2);
        let (after, to, bytes) = (server.interval, server.to, server.last.clone());
        let entry = self.timer(after, Timer::RetransmitFinal(key.clone()));
        if let Some(server) = self.servers.get_mut(key) {
            server.retransmit = Some(entry);
        }
        if let Some(bytes) = bytes {
            self.transmit(to, bytes);
        }
    }

    pub(super) fn forget_server(&mut self, key: &TxKey) {
        let Some(server) = self.servers.remove(key) else { return };
        self.disarm(server.retransmit);
        if key.method == "INVITE" && server.code >= 300 && !server.acked {
            self.miss(server.since, "no ACK to a refused INVITE", &server.request.title());
        }
    }

    /// True if the ACK belongs to a refused INVITE.
    pub(super) fn take_refusal_ack(&mut self, msg: &Msg) -> bool {
        let Some(branch) = msg.branch() else { return false };
        let key = TxKey { branch, method: "INVITE".into() };
        let Some(server) = self.servers.get_mut(&key) else { return false };
        if server.code < 300 {
            return false;
        }
        server.acked = true;
        let retransmit = server.retransmit.take();
        self.disarm(retransmit);
        true
    }

    /// Every message leaves here: the phone's bad habits see it first. They spare connections: there a broken message ends
    /// the framing and with it the connection, and nothing is ever sent twice.
    pub(super) fn transmit(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if self.profile.transport == Transport::Udp && !self.user.stopped {
            if self.habit(self.profile.quirks.strays) {
                let after = *self.rng.pick(&[1, 20 * MS, 600 * MS, 3 * SECOND, 20 * SECOND]);
                self.timer(after, Timer::Stray(to, bytes.clone()));
            }
            if self.habit(self.profile.quirks.garbage) {
                let mut broken = self.another(&bytes);
                for _ in 0..self.rng.range(1, 8) {
                    let at = self.rng.below(broken.len() as u64) as usize;
                    broken[at] = self.rng.next() as u8;
                }
                self.transmit_plain(to, broken);
            }
            if self.habit(self.profile.quirks.truncates) {
                let mut broken = self.another(&bytes);
                broken.truncate(self.rng.below(bytes.len() as u64) as usize);
                self.transmit_plain(to, broken);
            }
        }
        self.transmit_plain(to, bytes);
    }

    pub(super) fn habit(&mut self, permyriad: u64) -> bool {
        permyriad > 0 && self.rng.permyriad(permyriad)
    }

    /// The message under a branch and Call-ID of nobody: what is done to it can't spoil the real one, which would be legal
    /// and prove nothing.
    fn another(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(mut msg) = Msg::parse(bytes) else { return bytes.to_vec() };
        let (branch, call_id) = (format!("z9hG4bK-{}-0-{}", self.profile.index, self.rng.word(8)), self.rng.word(12));
        let via = format!("SIP/2.0/UDP {};branch={branch};rport", self.profile.address);
        msg.set("Via", via);
        msg.set("Call-ID", call_id);
        msg.encode(self.profile.make.terse)
    }
}
