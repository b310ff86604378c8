//! What the read model costs: folding the events of whole calls, redaction and storing of their traces included.
//!
//! `cargo bench --bench board [-- CALLS]`. Only the thread's CPU time inside `Board::apply` counts.

use bytes::Bytes;
use nix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::Duration;
use strowger::base::cause::Cause;
use strowger::base::ids::{CallId, LegId, ListenerId, TenantId};
use strowger::base::now::Timestamp;
use strowger::board::Board;
use strowger::engine::event::{CallState, Event, EventBody, TraceEntry};
use strowger::engine::flow::{Flow, Transport};

const INVITE: &str = concat!(
    "INVITE sip:1002@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bKPjd6a5f4f8c1\r\n",
    "Max-Forwards: 70\r\nFrom: \"Alice\" <sip:1001@192.0.2.1>;tag=6f1c2d3e4a\r\nTo: <sip:1002@192.0.2.1>\r\n",
    "Contact: <sip:1001@192.0.2.10:5060;ob>\r\nCall-ID: 9f2c7d2e-3c1b-4b5b-a0d8-9a0e2e5f1c11\r\nCSeq: 14278 INVITE\r\n",
    "Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS\r\n",
    "Supported: replaces, 100rel, timer, norefersub\r\nSession-Expires: 1800\r\nMin-SE: 90\r\nUser-Agent: Phone/1.0\r\n",
    "Authorization: Digest username=\"1001\", realm=\"strowger\", nonce=\"5f2c\", uri=\"sip:1002@192.0.2.1\", ",
    "response=\"0123456789abcdef0123456789abcdef\", cnonce=\"x\", qop=auth, nc=00000001\r\n",
    "Content-Type: application/sdp\r\nContent-Length: 250\r\n\r\nv=0\r\no=- 3 3 IN IP4 192.0.2.10\r\ns=-\r\nt=0 0\r\n",
    "m=audio 4000 RTP/AVP 0 8 9 101\r\nc=IN IP4 192.0.2.10\r\na=rtcp:4001\r\na=sendrecv\r\na=rtpmap:0 PCMU/8000\r\n",
    "a=rtpmap:8 PCMA/8000\r\na=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n",
);
const RINGING: &str = concat!(
    "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;rport;branch=z9hG4bKPjd6a5f4f8c1\r\n",
    "From: \"Alice\" <sip:1001@192.0.2.1>;tag=6f1c2d3e4a\r\nTo: <sip:1002@192.0.2.1>;tag=b2b2\r\n",
    "Call-ID: 9f2c7d2e-3c1b-4b5b-a0d8-9a0e2e5f1c11\r\nCSeq: 14278 INVITE\r\nContact: <sip:192.0.2.1>\r\nContent-Length: 0\r\n\r\n",
);

fn main() {
    let calls: u64 = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(100_000);
    let board = Board::default();
    let mut stream = Stream { seq: 0, events: Vec::new() };
    let mut spent = Duration::ZERO;
    let mut count = 0;
    for call in 0..calls {
        stream.call(call);
        count += stream.events.len();
        let begin = cpu();
        for event in &stream.events {
            board.apply(event);
        }
        spent += cpu() - begin;
        stream.events.clear();
    }
    let (kept, bytes) = board.trace_use();
    println!(
        "call: {:.2} µs each over {calls}, {:.0} ns an event; {kept} traces kept in {} MiB",
        spent.as_secs_f64() * 1e6 / calls as f64,
        spent.as_secs_f64() * 1e9 / count as f64,
        bytes >> 20
    );
}

fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}

struct Stream {
    seq: u64,
    events: Vec<Event>,
}

impl Stream {
    /// A call with 16 messages, 6 of them with an SDP, and 4 decisions.
    fn call(&mut self, n: u64) {
        let call = CallId(n);
        let (caller, callee) = (LegId(2 * n), LegId(2 * n + 1));
        self.push(EventBody::CallStarted {
            call,
            call_id: Arc::from(format!("call-1-{n}")),
            tenant: TenantId(1),
            from: "1001".into(),
            to: "1002".into(),
        });
        for (leg, text, times) in [(caller, INVITE, 3), (callee, INVITE, 3), (caller, RINGING, 5), (callee, RINGING, 5)]
        {
            for _ in 0..times {
                let entry = TraceEntry::Received { leg, flow: flow(), bytes: Bytes::from_static(text.as_bytes()) };
                self.push(EventBody::Trace { call, entry });
            }
        }
        for _ in 0..4 {
            let text = "1002 is an extension with 1 contact".into();
            self.push(EventBody::Trace { call, entry: TraceEntry::Decision { text } });
        }
        self.push(EventBody::CallState { call, state: CallState::Ringing });
        self.push(EventBody::CallState { call, state: CallState::Connected });
        self.push(EventBody::CallEnded { call, cause: Cause::Normal, cdr: None });
    }

    fn push(&mut self, body: EventBody) {
        self.seq += 1;
        self.events.push(Event { seq: self.seq, at: Timestamp(self.seq as i64), body });
    }
}

fn flow() -> Flow {
    Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        local: [192, 0, 2, 1].into(),
        remote: ([192, 0, 2, 10], 5060).into(),
        connection: None,
    }
}
