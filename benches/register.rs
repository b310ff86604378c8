//! One registration, challenge and answer, through parser, authentication and registrar: what a REGISTER costs apart from
//! transactions and sockets. Goal: 8 µs for both requests. The phone's own work is not counted.

mod office;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use md5::{Digest, Md5};
use office::{PASSWORD, REALM};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use strowger::base::ids::ListenerId;
use strowger::base::now::{Micros, Now, Timestamp};
use strowger::base::rng::Rng;
use strowger::directory::Tenant;
use strowger::engine::auth::{Auth, Verdict};
use strowger::engine::config::{AuthConfig, RegistrationLimits};
use strowger::engine::flow::{Flow, Transport};
use strowger::engine::registrar::Registrar;
use strowger::proto::sip::digest::ha1_md5;
use strowger::proto::sip::message::Message;
use strowger::proto::sip::writer::Writer;

/// Phones registered at a time, so that the tables are as deep as an office's.
const PHONES: u32 = 1_000;

struct Server {
    auth: Auth,
    registrar: Registrar,
    tenant: Tenant,
}

impl Server {
    fn new() -> Server {
        Server {
            auth: Auth::new(&mut Rng::new([7; 32]), AuthConfig::default()),
            registrar: Registrar::new(RegistrationLimits::default(), 100_000),
            tenant: office::tenant(1000..1000 + PHONES),
        }
    }

    fn handle(&mut self, now: Now, bytes: Bytes, flow: Flow) -> Option<Bytes> {
        let message = Message::parse(bytes).ok()?;
        message.validate().ok()?;
        let extension = match self.auth.check(now, &message, &flow, &self.tenant) {
            Verdict::Ok(extension) => extension,
            Verdict::Challenge { stale, .. } => {
                let mut reply = Writer::reply_to(&message, 401, "Unauthorized", Some(b"tag"), flow.remote);
                self.auth.challenge(now, &flow, &message, REALM, stale, &mut reply);
                return Some(reply.finish());
            }
            Verdict::Malformed => return None,
        };
        let id = self.tenant.id;
        let change = self.registrar.register(now, id, &extension.number, &message, flow).ok()?;
        assert_eq!(change.records().len(), 1);
        self.registrar.commit(change);
        let mut reply = Writer::reply_to(&message, 200, "OK", Some(b"tag"), flow.remote);
        self.registrar.write_answer(now, id, &extension.number, &message, &mut reply);
        Some(reply.finish())
    }
}

fn request(round: u32, phone: u32, cseq: u32, authorization: &str) -> Bytes {
    format!(
        "REGISTER sip:pbx.example.com SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.168.10.155:5060;rport;branch=z9hG4bKPj8f2c6a1e0b7d4c39a5f{round:08}{cseq}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{phone}@pbx.example.com>;tag=7c1e5a9b3d2f4806\r\n\
         To: <sip:{phone}@pbx.example.com>\r\nCall-ID: 3f9d2b7c-51e8-4a60-b9c4-{phone}\r\nCSeq: {} REGISTER\r\n\
         User-Agent: Yealink SIP-T46U 108.86.0.40\r\nContact: <sip:{phone}@192.168.10.155:5060;ob>\r\nExpires: 3600\r\n\
         Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS\r\n\
         {authorization}Content-Length: 0\r\n\r\n",
        2 * round + cseq
    )
    .into()
}

fn authorization(challenge: &[u8], phone: u32) -> String {
    let text = String::from_utf8_lossy(challenge);
    let nonce = text.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("");
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let uri = "sip:pbx.example.com";
    let ha1 = hex(&ha1_md5(&phone.to_string(), REALM, PASSWORD));
    let ha2 = hex(&Md5::digest(format!("REGISTER:{uri}")));
    let response = hex(&Md5::digest(format!("{ha1}:{nonce}:00000001:c0:auth:{ha2}")));
    format!(
        "Authorization: Digest username=\"{phone}\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm=MD5, cnonce=\"c0\", qop=auth, nc=00000001\r\n"
    )
}

fn register(c: &mut Criterion) {
    let mut server = Server::new();
    let mut round = 0;
    c.bench_function("register", |b| {
        b.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            let mut left = rounds;
            while left > 0 {
                let batch = left.min(u64::from(PHONES)) as u32;
                spent += registrations(&mut server, round, batch);
                round += batch;
                left -= u64::from(batch);
            }
            spent
        });
    });
}

/// The server's time for one registration of each of the phones from `round` on.
fn registrations(server: &mut Server, round: u32, count: u32) -> Duration {
    let phone = |n: u32| 1000 + (round + n) % PHONES;
    let first: Vec<Bytes> = (0..count).map(|n| request(round + n, phone(n), 0, "")).collect();
    let (challenges, asking) = answers(server, round, first);
    let second = challenges.iter().zip(0..).map(|(challenge, n)| {
        let answer = authorization(challenge, phone(n));
        request(round + n, phone(n), 1, &answer)
    });
    let (replies, answering) = answers(server, round + count, second.collect());
    assert!(replies.iter().all(|reply| reply.starts_with(b"SIP/2.0 200")));
    asking + answering
}

fn answers(server: &mut Server, round: u32, requests: Vec<Bytes>) -> (Vec<Bytes>, Duration) {
    let flow = Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        local: [192, 168, 10, 1].into(),
        remote: SocketAddr::from(([192, 168, 10, 155], 5060)),
        connection: None,
    };
    let wall = Timestamp(1_700_000_000_000_000 + i64::from(round) * 1_000);
    let now = Now { mono: Micros(u64::from(round) * 1_000), wall };
    let mut replies = Vec::with_capacity(requests.len());
    let begun = Instant::now();
    for bytes in requests {
        replies.push(server.handle(now, bytes, flow).expect("the request is good"));
    }
    (replies, begun.elapsed())
}

criterion_group!(benches, register);
criterion_main!(benches);
