//! What every machine of the engine shares: the time of the step, timers, randomness, the outputs, transactions, the
//! dialog index and the queue of what legs have to say to their calls.
//!
//! Invariant: everything that leaves the engine leaves through here, in the order it was decided.

use crate::base::cause::{Cause, phrase};
use crate::base::ids::{CallId, LegId, RecordSeq, TransactionId};
use crate::base::limits;
use crate::base::map::{Map, Seeded};
use crate::base::now::Now;
use crate::base::rng::Rng;
use crate::base::timers::TimerSet;
use crate::engine::config::EngineConfig;
use crate::engine::dialog::DialogKey;
use crate::engine::event::{Event, EventBody, TraceEntry};
use crate::engine::flow::Flow;
use crate::engine::io::Output;
use crate::engine::leg::{LegEvent, LegTimer};
use crate::engine::record::{Record, RecordBody};
use crate::engine::transaction::Transactions;
use crate::proto::sip::headers::Item;
use crate::proto::sip::lex::{is_token, number, unfold};
use crate::proto::sip::message::Message;
use crate::proto::sip::name::Name;
use crate::proto::sip::writer::Writer;
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// What a timer is for. Each fires once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimerKey {
    /// Timers A, E, G: send the transaction's last message again.
    Retransmit(TransactionId),
    /// Timers B, D, F, H, I, J, K, L, M: the transaction's time in its state is over.
    Expire(TransactionId),
    /// A timer of a leg.
    Leg(LegId, LegTimer),
    /// A timer an app asked for, recognised by its number.
    App(CallId, u32),
    /// The media plane has had long enough to report a call's totals.
    Settle(CallId),
}

/// Time, chance, configuration and outputs of the step being handled.
pub struct Io {
    pub now: Now,
    pub config: EngineConfig,
    pub rng: Rng,
    pub timers: TimerSet<TimerKey>,
    pub out: Vec<Output>,
    event_seq: u64,
    record_seq: u64,
}

pub struct Core {
    pub io: Io,
    pub tx: Transactions,
    pub dialogs: Map<DialogKey, LegId>,
    /// What legs said during this step and their calls have not heard yet.
    pub said: VecDeque<(LegId, LegEvent)>,
}

impl Core {
    pub fn new(config: EngineConfig, mut rng: Rng) -> Core {
        let seeded = Seeded::new(&mut rng);
        let timers = config.timers;
        let limit = config.limits.transactions;
        let io = Io {
            now: Now::default(),
            config,
            rng,
            timers: TimerSet::default(),
            out: Vec::new(),
            event_seq: 0,
            record_seq: 0,
        };
        Core {
            tx: Transactions::new(timers, limit, &seeded),
            dialogs: Map::with_hasher(seeded),
            said: VecDeque::new(),
            io,
        }
    }

    pub fn say(&mut self, leg: LegId, event: LegEvent) {
        self.said.push_back((leg, event));
    }

    /// A response to `request` with our Server header, for the caller to extend.
    pub fn reply(&self, request: &Message, flow: &Flow, status: u16, to_tag: Option<&[u8]>) -> Writer {
        Writer::reply_to(request, status, phrase(status), to_tag, flow.remote)
    }

    /// Answers a request outside dialogs with a bare status and a fresh To tag.
    pub fn refuse(&mut self, tx: TransactionId, request: &Message, flow: &Flow, status: u16) {
        self.refuse_with(tx, request, flow, status, &[]);
    }

    /// The same with more header fields.
    pub fn refuse_with(
        &mut self,
        tx: TransactionId,
        request: &Message,
        flow: &Flow,
        status: u16,
        headers: &[(&str, &str)],
    ) {
        self.refuse_as(tx, request, flow, (status, phrase(status)), headers);
    }

    /// The same with a reason phrase of its own.
    pub fn refuse_as(
        &mut self,
        tx: TransactionId,
        request: &Message,
        flow: &Flow,
        (status, phrase): (u16, &str),
        headers: &[(&str, &str)],
    ) {
        let tag = self.io.rng.token::<12>();
        let mut writer = Writer::reply_to(request, status, phrase, Some(&tag), flow.remote);
        for (name, value) in headers {
            writer.header(name, value);
        }
        writer.header("Server", &*self.io.config.software);
        self.tx.respond(&mut self.io, tx, status, writer.finish());
    }

    /// Every dialog key in words, sorted, for the audit.
    pub fn dialog_keys(&self) -> Vec<(String, LegId)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        #[expect(clippy::iter_over_hash_type, reason = "sorted at once")]
        let mut keys = {
            let mut keys = Vec::with_capacity(self.dialogs.len());
            for (key, leg) in &self.dialogs {
                keys.push((format!("{} {} {}", text(&key.call_id), text(&key.local), text(&key.remote)), *leg));
            }
            keys
        };
        keys.sort();
        keys
    }

    /// 503 with a Retry-After spread over 5 to 20 s, so that those refused don't come back all at once.
    pub fn shed(&mut self, tx: TransactionId, request: &Message, flow: &Flow, cause: Cause) {
        let wait = 5 + self.io.rng.below(16);
        let reason = reason(cause);
        self.refuse_with(tx, request, flow, 503, &[("Retry-After", &wait.to_string()), ("Reason", &reason)]);
    }
}

impl Io {
    pub fn event(&mut self, body: EventBody) {
        let event = Event { seq: self.event_seq, at: self.now.wall, body };
        self.event_seq += 1;
        self.out.push(Output::Event(event));
    }

    pub fn record(&mut self, body: RecordBody) -> RecordSeq {
        let seq = RecordSeq(self.record_seq);
        self.record_seq += 1;
        self.out.push(Output::Record(Record { seq, body }));
        seq
    }

    pub fn decide(&mut self, call: CallId, text: impl Into<Box<str>>) {
        self.event(EventBody::Trace { call, entry: TraceEntry::Decision { text: text.into() } });
    }

    pub fn trace_sent(&mut self, call: CallId, leg: LegId, flow: &Flow, bytes: &Bytes) {
        let entry = TraceEntry::Sent { leg, flow: *flow, bytes: bytes.clone() };
        self.event(EventBody::Trace { call, entry });
    }

    pub fn trace_received(&mut self, call: CallId, leg: LegId, flow: &Flow, message: &Message) {
        let entry = TraceEntry::Received { leg, flow: *flow, bytes: message.bytes().clone() };
        self.event(EventBody::Trace { call, entry });
    }

    /// The address peers of this flow reach us at, for Via, Contact and c=.
    pub fn our_address(&self, flow: &Flow) -> SocketAddr {
        match self.config.listeners.get(usize::from(flow.listener.0)) {
            Some(listener) => listener.advertise.unwrap_or(SocketAddr::new(flow.local, listener.bind.port())),
            None => SocketAddr::new(flow.local, 5060),
        }
    }

    /// Our Contact towards a peer of this flow, without angle brackets. `sips`: the peer's is a `sips:` dialog.
    pub fn our_contact(&self, flow: &Flow, sips: bool, user: &str) -> String {
        let address = self.our_address(flow);
        let at = if user.is_empty() { "" } else { "@" };
        if sips && flow.transport.is_secure() {
            // RFC 5630 §3.1.3: the scheme says it all, and `transport=tls` is not for it.
            format!("sips:{user}{at}{address}")
        } else if flow.transport.is_reliable() {
            format!("sip:{user}{at}{address};transport={}", flow.transport.param())
        } else {
            format!("sip:{user}{at}{address}")
        }
    }
}

/// The value of a Reason header for a cause (RFC 3326).
pub fn reason(cause: Cause) -> String {
    match cause {
        Cause::AnsweredElsewhere => "SIP;cause=200;text=\"Call completed elsewhere\"".to_owned(),
        _ => format!("Q.850;cause={};text=\"{}\"", cause.q850(), cause.text()),
    }
}

/// What a request's Reason header says (RFC 3326), fit to be sent on: what is malformed, names a protocol again or goes beyond
/// `TEXT_BYTES` is left out.
pub fn reason_given(request: &Message) -> Option<Box<str>> {
    let mut given = String::new();
    let mut protocols: SmallVec<[&[u8]; 2]> = SmallVec::new();
    for value in request.values(Name::Reason) {
        let Ok(item) = Item::parse(value) else { continue };
        let numbered = item.params.get("cause").is_none_or(|cause| number(cause).is_some());
        let repeated = protocols.iter().any(|known| known.eq_ignore_ascii_case(item.value));
        let line = unfold(value);
        let Ok(text) = std::str::from_utf8(&line) else { continue };
        let fits = given.len() + 2 + text.len() <= limits::TEXT_BYTES;
        if !is_token(item.value) || !numbered || repeated || !fits {
            continue;
        }
        protocols.push(item.value);
        if !given.is_empty() {
            given.push_str(", ");
        }
        given.push_str(text);
    }
    (!given.is_empty()).then(|| given.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(reason: &str) -> Option<String> {
        let text = format!("CANCEL sip:a@b SIP/2.0\r\n{reason}\r\n");
        reason_given(&Message::parse(text.into()).unwrap()).map(Into::into)
    }

    #[test]
    fn a_reason_is_sent_on_as_far_as_it_is_one() {
        let both = "SIP;cause=200;text=\"Call completed elsewhere\", Q.850;cause=26";
        assert_eq!(given(&format!("Reason: {both}\r\n")).as_deref(), Some(both));
        assert_eq!(
            given("Reason: SIP;cause=200\r\nReason: Q.850;cause=26\r\n").as_deref(),
            Some("SIP;cause=200, Q.850;cause=26")
        );
        assert_eq!(given("Reason: SIP ;cause=200;\r\n text=\"a\"\r\n").as_deref(), Some("SIP ;cause=200; text=\"a\""));
        assert_eq!(
            given("Reason: preemption;cause=1, SIP;cause=x, sip;cause=200, SIP;cause=486\r\n").as_deref(),
            Some("preemption;cause=1, sip;cause=200")
        );
        for bad in [
            "",
            "Reason: \r\n",
            "Reason: two words;cause=1\r\n",
            "Reason: SIP;cause=1;text=\"open\r\n",
            "Reason: ;cause=1\r\n",
        ] {
            assert_eq!(given(bad), None, "{bad}");
        }
        let long = format!("Reason: SIP;text=\"{}\", Q.850;cause=16\r\n", "x".repeat(limits::TEXT_BYTES));
        assert_eq!(given(&long).as_deref(), Some("Q.850;cause=16"));
    }
}
