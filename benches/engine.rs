//! Engine time of whole units of work, parse and serialise included, network and phones not: an authenticated REGISTER
//! (challenge and answer) and an authenticated call through the B2BUA (INVITE, 401, INVITE, 180, 200, ACK, BYE).
//!
//! `cargo bench --bench engine [-- ROUNDS]`. Only the time inside `Message::parse` and `Engine::handle` counts.

mod office;

use bytes::Bytes;
use office::{PASSWORD, REALM};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strowger::apps;
use strowger::base::ids::{ListenerId, PortId, RecordSeq, TenantId};
use strowger::base::now::{Micros, Now, Timestamp};
use strowger::directory::Directory;
use strowger::engine::Engine;
use strowger::engine::config::{EngineConfig, Listener};
use strowger::engine::flow::{Flow, Transport};
use strowger::engine::io::{Input, Output};
use strowger::engine::media::{Counters, MediaCommand, MediaEvent};
use strowger::proto::sip::digest::ha1_md5;
use strowger::proto::sip::message::Message;

fn main() {
    let rounds: u32 = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(20_000);
    let mut bench = Bench::new();
    bench.register("1002", phone(2));
    bench.register("1001", phone(1));
    for round in 0..rounds / 10 {
        bench.call(round);
    }
    bench.spent = Duration::ZERO;
    for round in 0..rounds {
        bench.call(rounds + round);
    }
    report("call (authenticated, B2BUA)", bench.spent, rounds);
    bench.spent = Duration::ZERO;
    for _ in 0..rounds {
        bench.register("1001", phone(1));
    }
    report("registration (challenge and answer)", bench.spent, rounds);
}

fn report(what: &str, spent: Duration, rounds: u32) {
    println!("{what}: {:.2} µs each over {rounds}", spent.as_secs_f64() * 1e6 / f64::from(rounds));
}

fn phone(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 10 + n], 5060))
}

struct Bench {
    engine: Engine,
    now: u64,
    spent: Duration,
    out: Vec<Output>,
    /// SIP messages to phones, not yet read.
    wire: Vec<(SocketAddr, String)>,
    next: u64,
}

impl Bench {
    fn new() -> Bench {
        let listener = Listener {
            id: ListenerId(0),
            transport: Transport::Udp,
            bind: SocketAddr::from(([127, 0, 0, 1], 5060)),
            advertise: None,
            tenant: TenantId(1),
        };
        let directory = Arc::new(Directory::new([office::tenant([1001, 1002])]));
        let engine = Engine::new(EngineConfig::new(1, vec![listener]), [7; 32], directory, apps::start);
        let mut bench =
            Bench { engine, now: 1_000_000, spent: Duration::ZERO, out: Vec::new(), wire: Vec::new(), next: 0 };
        for port in 0..1000 {
            let rtp = SocketAddr::from(([127, 0, 0, 1], 10_000 + port as u16 * 2));
            bench.input(Input::Media(MediaEvent::Granted { port: PortId(port), rtp }));
        }
        bench
    }

    fn input(&mut self, input: Input) {
        self.now += 100;
        let now = Now { mono: Micros(self.now), wall: Timestamp(1_700_000_000_000_000 + self.now as i64) };
        let begun = Instant::now();
        self.engine.handle(now, input, &mut self.out);
        self.spent += begun.elapsed();
        let mut again = Vec::new();
        for output in self.out.drain(..) {
            match output {
                Output::Send { flow, bytes, .. } => {
                    self.wire.push((flow.remote, String::from_utf8_lossy(&bytes).into_owned()));
                }
                Output::Record(record) => again.push(Input::Recorded { upto: RecordSeq(record.seq.0), kept: true }),
                Output::Media(MediaCommand::Release { port }) => {
                    again.push(Input::Media(MediaEvent::Released { port, counters: Counters::default() }));
                    let rtp = SocketAddr::from(([127, 0, 0, 1], 10_000 + port.0 as u16 * 2));
                    again.push(Input::Media(MediaEvent::Granted { port, rtp }));
                }
                _ => {}
            }
        }
        for input in again {
            self.input(input);
        }
    }

    fn send(&mut self, from: SocketAddr, text: &str) {
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            local: [127, 0, 0, 1].into(),
            remote: from,
            connection: None,
        };
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let begun = Instant::now();
        let message = Message::parse(bytes);
        self.spent += begun.elapsed();
        match message {
            Ok(message) => self.input(Input::Sip { flow, message }),
            Err(error) => panic!("the bench wrote a message that can't be parsed: {error:?}\n{text}"),
        }
    }

    /// The next message a phone got whose first line contains `start`.
    fn expect(&mut self, phone: SocketAddr, start: &str) -> String {
        let at = self.wire.iter().position(|(to, text)| *to == phone && text.lines().next().unwrap().contains(start));
        match at {
            Some(at) => self.wire.remove(at).1,
            None => panic!("{phone} got no {start}; on the wire: {:#?}", self.wire),
        }
    }

    fn authorization(&self, challenge: &str, user: &str, method: &str, uri: &str) -> String {
        let line = challenge.lines().find(|line| line.starts_with("WWW-Authenticate") && line.contains("MD5"));
        let nonce = line.and_then(|line| line.split("nonce=\"").nth(1)?.split('"').next()).unwrap_or("");
        use md5::Digest;
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let ha2 = hex(&md5::Md5::digest(format!("{method}:{uri}")));
        let ha1 = hex(&ha1_md5(user, REALM, PASSWORD));
        let response = hex(&md5::Md5::digest(format!("{ha1}:{nonce}:00000001:c0:auth:{ha2}")));
        format!(
            "Authorization: Digest username=\"{user}\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c0\"\r\n"
        )
    }

    fn register(&mut self, user: &str, phone: SocketAddr) {
        self.next += 1;
        let n = self.next;
        let uri = "sip:127.0.0.1";
        let request = |cseq: u64, extra: &str| {
            format!(
                "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {phone};rport;branch=z9hG4bKr{n}c{cseq}\r\nMax-Forwards: 70\r\n\
                 From: <sip:{user}@127.0.0.1>;tag=f{n}\r\nTo: <sip:{user}@127.0.0.1>\r\nCall-ID: reg-{user}\r\n\
                 CSeq: {} REGISTER\r\nContact: <sip:{user}@{phone}>\r\nExpires: 3600\r\n{extra}Content-Length: 0\r\n\r\n",
                n * 2 + cseq
            )
        };
        self.send(phone, &request(0, ""));
        let challenge = self.expect(phone, "401");
        let authorization = self.authorization(&challenge, user, "REGISTER", uri);
        self.send(phone, &request(1, &authorization));
        self.expect(phone, "200");
    }

    fn call(&mut self, n: u32) {
        let (a, b) = (phone(1), phone(2));
        let uri = "sip:1002@127.0.0.1";
        let sdp = |address: SocketAddr| {
            format!(
                "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n\
                 a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n",
                ip = address.ip()
            )
        };
        let request = |method: &str, cseq: u32, to_tag: &str, extra: &str, body: &str| {
            let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
            format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {a};rport;branch=z9hG4bKi{n}{method}{cseq}\r\nMax-Forwards: 70\r\n\
                 From: \"A\" <sip:1001@127.0.0.1>;tag=fa{n}\r\nTo: <sip:1002@127.0.0.1>{to_tag}\r\nCall-ID: call-{n}@a\r\n\
                 CSeq: {cseq} {}\r\nContact: <sip:1001@{a}>\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
                method,
                body.len()
            )
        };
        self.send(a, &request("INVITE", 1, "", "", &sdp(a)));
        let challenge = self.expect(a, "401");
        let tag = |text: &str| {
            let to = text.lines().find(|line| line.starts_with("To:")).unwrap();
            format!(";tag={}", to.split("tag=").nth(1).unwrap())
        };
        let ack = request("ACK", 1, &tag(&challenge), "", "").replace("ACK1", "INVITE1");
        self.send(a, &ack);
        let authorization = self.authorization(&challenge, "1001", "INVITE", uri);
        self.send(a, &request("INVITE", 2, "", &authorization, &sdp(a)));
        self.expect(a, "100");
        let invite = self.expect(b, "INVITE");
        self.send(b, &reply(&invite, "180 Ringing", n, b, ""));
        self.expect(a, "180");
        self.send(b, &reply(&invite, "200 OK", n, b, &sdp(b)));
        self.expect(b, "ACK");
        let ok = self.expect(a, "200");
        self.send(a, &request("ACK", 2, &tag(&ok), "", ""));
        self.send(a, &request("BYE", 3, &tag(&ok), "", ""));
        self.expect(a, "200");
        let bye = self.expect(b, "BYE");
        self.send(b, &reply(&bye, "200 OK", n, b, ""));
        assert!(self.wire.is_empty(), "unexpected: {:#?}", self.wire);
    }
}

/// What a phone answers: the request's Via, From, To, Call-ID and CSeq.
fn reply(request: &str, status: &str, n: u32, phone: SocketAddr, body: &str) -> String {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for line in request.lines() {
        let name = line.split(':').next().unwrap_or("");
        match name {
            "Via" | "From" | "Call-ID" | "CSeq" => out += &format!("{line}\r\n"),
            "To" if line.contains("tag=") => out += &format!("{line}\r\n"),
            "To" => out += &format!("{line};tag=b{n}\r\n"),
            _ => {}
        }
    }
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    out + &format!("Contact: <sip:1002@{phone}>\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}
