//! A phone as far as these tests need one: digest with MD5, and messages written by hand. It shares no code
//! with the daemon.

use crate::link::Link;
use md5::{Digest, Md5};
use std::net::SocketAddr;
use std::time::Duration;

pub struct Phone {
    link: Link,
    server: SocketAddr,
    user: String,
    password: String,
    count: u32,
    /// The call this phone made: Contact of the other side, To with its tag, Call-ID, last CSeq.
    dialog: Option<(String, String, String, u32)>,
    /// Answers and requests that came while something else was waited for.
    waiting: Vec<Message>,
}

/// A message that came.
#[derive(Clone, Debug)]
pub struct Message(pub String);

impl Message {
    pub fn status(&self) -> u16 {
        self.0.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> &str {
        self.headers(name).next().unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }

    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self.0.lines().skip(1).take_while(|line| !line.is_empty());
        lines
            .filter_map(|line| line.split_once(':'))
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    }

    fn uri_in(&self, name: &str) -> String {
        let value = self.header(name);
        let uri = value.split_once('<').map_or(value, |(_, rest)| rest);
        uri.split('>').next().unwrap_or_default().to_owned()
    }
}

impl Phone {
    pub fn new(server: SocketAddr, user: &str, password: &str) -> Phone {
        Phone::at("127.0.0.1", server, user, password)
    }

    /// At another address of the loopback.
    pub fn at(host: &str, server: SocketAddr, user: &str, password: &str) -> Phone {
        Phone::over(Link::udp(host, server), server, user, password)
    }

    pub fn over(link: Link, server: SocketAddr, user: &str, password: &str) -> Phone {
        Phone {
            link,
            server,
            user: user.into(),
            password: password.into(),
            count: 0,
            dialog: None,
            waiting: Vec::new(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.link.address()
    }

    fn send(&mut self, text: &str) {
        self.link.send(text);
    }

    /// The next message that `wanted` likes; others are kept for later.
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        if let Some(at) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(at);
        }
        loop {
            let Some(text) = self.link.receive() else {
                panic!("phone {}: no {what}; there was {:?}", self.user, self.waiting)
            };
            let message = Message(text);
            if wanted(&message) {
                return message;
            }
            self.waiting.push(message);
        }
    }

    /// The final response to the request with that Call-ID and CSeq.
    fn final_response(&mut self, call_id: &str, cseq: &str) -> Message {
        self.wait(&format!("answer to {cseq}"), |m| {
            m.status() >= 200 && m.header("Call-ID") == call_id && m.header("CSeq") == cseq
        })
    }

    fn request(&mut self, method: &str, uri: &str, to: &str, call_id: &str, cseq: u32, more: &str, body: &str) {
        self.count += 1;
        let (at, user, count) = (self.address(), &self.user, self.count);
        let (via, transport) = (self.link.via(), self.link.parameter());
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via} {at};rport;branch=z9hG4bK{}{count}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{server}>;tag=t{user}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{at}{transport}>\r\n{more}{kind}Content-Length: {len}\r\n\r\n{body}",
            at.port(),
            server = self.server,
            len = body.len(),
        );
        self.send(&text);
    }

    /// Sends a request, answers the challenge, and returns the final response.
    fn authenticated(&mut self, method: &str, uri: &str, to: &str, call_id: &str, more: &str, body: &str) -> Message {
        self.request(method, uri, to, call_id, 1, more, body);
        let response = self.final_response(call_id, &format!("1 {method}"));
        let (challenge, answer) = match response.status() {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return response,
        };
        if method == "INVITE" {
            self.acknowledge(&response, uri, 1);
        }
        let credentials = self.credentials(&response, challenge, method, uri);
        let more = format!("{answer}: {credentials}\r\n{more}");
        self.request(method, uri, to, call_id, 2, &more, body);
        self.final_response(call_id, &format!("2 {method}"))
    }

    fn credentials(&self, response: &Message, header: &str, method: &str, uri: &str) -> String {
        let md5 = response.headers(header).find(|c| !c.contains("SHA-256")).expect("an MD5 challenge").to_owned();
        let field = |name: &str| {
            let rest = md5.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest);
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let (realm, nonce) = (field("realm"), field("nonce"));
        let ha1 = hex(&format!("{}:{realm}:{}", self.user, self.password));
        let ha2 = hex(&format!("{method}:{uri}"));
        let response = hex(&format!("{ha1}:{nonce}:00000001:abc:auth:{ha2}"));
        format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm=MD5, qop=auth, nc=00000001, cnonce=\"abc\"",
            self.user
        )
    }

    /// ACK of a final response that is no 2xx.
    fn acknowledge(&mut self, response: &Message, uri: &str, cseq: u32) {
        let (via, from, to) = (response.header("Via"), response.header("From"), response.header("To"));
        self.send(&format!(
            "ACK {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {}\r\n\
             CSeq: {cseq} ACK\r\nContent-Length: 0\r\n\r\n",
            response.header("Call-ID")
        ));
    }

    /// Registers; returns the status.
    pub fn register(&mut self) -> u16 {
        self.count += 1;
        let uri = format!("sip:{}", self.server);
        let to = format!("<sip:{}@{}>", self.user, self.server);
        let call_id = format!("reg-{}-{}", self.user, self.count);
        self.authenticated("REGISTER", &uri, &to, &call_id, "Expires: 600\r\n", "").status()
    }

    /// Registers, and says whether its answer to the challenge was met with silence. A question it asks next is answered.
    pub fn registers_in_vain(&mut self) -> bool {
        self.count += 1;
        let (uri, call_id) = (format!("sip:{}", self.server), format!("vain-{}-{}", self.user, self.count));
        let to = format!("<sip:{}@{}>", self.user, self.server);
        self.request("REGISTER", &uri, &to, &call_id, 1, "", "");
        let challenge = self.final_response(&call_id, "1 REGISTER");
        let credentials = self.credentials(&challenge, "WWW-Authenticate", "REGISTER", &uri);
        self.request("REGISTER", &uri, &to, &call_id, 2, &format!("Authorization: {credentials}\r\n"), "");
        let is_silent = self.link.is_silent(Duration::from_millis(500));
        self.ping();
        is_silent
    }

    /// OPTIONS without credentials, as a monitor sends it.
    pub fn ping(&mut self) -> Message {
        self.count += 1;
        let call_id = format!("ping-{}", self.count);
        let uri = format!("sip:{}", self.server);
        self.request("OPTIONS", &uri, &format!("<{uri}>"), &call_id, 1, "", "");
        self.final_response(&call_id, "1 OPTIONS")
    }

    fn sdp(&self) -> String {
        // Nobody listens there; these tests are not about audio.
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 8 0\r\n",
            self.address().port() & !1
        )
    }

    /// Calls; returns the final response. A 2xx is acknowledged.
    pub fn call(&mut self, number: &str, callee: &mut Phone) -> Message {
        let (caller, invite) = std::thread::scope(|scope| {
            let call = scope.spawn(|| self.invite(number));
            let invite = callee.wait("INVITE", |m| m.0.starts_with("INVITE "));
            assert!(invite.header("Via").starts_with(&format!("SIP/2.0/{} ", callee.link.via())), "{}", invite.0);
            callee.answer(&invite);
            (call.join().unwrap(), invite)
        });
        assert_eq!(caller.status(), 200, "{}", caller.0);
        callee.wait("ACK", |m| m.0.starts_with("ACK ") && m.header("Call-ID") == invite.header("Call-ID"));
        caller
    }

    /// Calls whoever; returns the final response, acknowledged.
    pub fn invite(&mut self, number: &str) -> Message {
        self.invite_uri(&format!("sip:{number}@{}", self.server))
    }

    /// The same for any address.
    pub fn invite_uri(&mut self, uri: &str) -> Message {
        self.count += 1;
        let call_id = format!("call-{}-{}", self.user, self.count);
        let body = self.sdp();
        let response = self.authenticated("INVITE", uri, &format!("<{uri}>"), &call_id, "", &body);
        let cseq = response.header("CSeq").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        if response.status() >= 300 {
            self.acknowledge(&response, uri, cseq);
        } else {
            let target = response.uri_in("Contact");
            let to = response.header("To").to_owned();
            self.request("ACK", &target, &to, &call_id, cseq, "", "");
            self.dialog = Some((target, to, call_id, cseq));
        }
        response
    }

    /// Hangs up the call it made.
    pub fn bye(&mut self) {
        let (target, to, call_id, cseq) = self.dialog.take().expect("a call");
        self.request("BYE", &target, &to, &call_id, cseq + 1, "", "");
        let response = self.final_response(&call_id, &format!("{} BYE", cseq + 1));
        assert_eq!(response.status(), 200, "{}", response.0);
    }

    /// 200 OK with SDP to an INVITE.
    pub fn answer(&mut self, invite: &Message) {
        let body = self.sdp();
        let (user, at, transport) = (&self.user, self.address(), self.link.parameter());
        let more = format!("Contact: <sip:{user}@{at}{transport}>\r\nContent-Type: application/sdp\r\n");
        self.respond(invite, "200 OK", &more, &body);
    }

    pub fn respond(&mut self, request: &Message, status: &str, more: &str, body: &str) {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "Call-ID", "CSeq"] {
            for value in request.headers(name) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let to = request.header("To");
        let tag = if to.contains("tag=") { String::new() } else { format!(";tag=c{}", self.user) };
        text.push_str(&format!("To: {to}{tag}\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len()));
        self.send(&text);
    }

    /// Waits for a BYE and answers it.
    pub fn hung_up(&mut self) -> Message {
        let bye = self.wait("BYE", |m| m.0.starts_with("BYE "));
        self.respond(&bye, "200 OK", "", "");
        bye
    }
}

fn hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
