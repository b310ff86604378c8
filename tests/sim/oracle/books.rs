//! The event stream and the records: calls begin and end once, and their records say what the wire has seen.

use super::Verdict;
use super::wire::Meaning;
use crate::sip::text::Msg;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strowger::base::cause::Disposition;
use strowger::base::ids::{CallId, LegId};
use strowger::engine::audit::Audit;
use strowger::engine::event::{Event, EventBody, TraceEntry};
use strowger::engine::record::{Cdr, RecordBody};

#[derive(Default)]
pub struct Books {
    /// Calls of this life of the daemon.
    calls: BTreeMap<CallId, Entry>,
    /// SIP Call-IDs of both sides, of all lives.
    by_sip: BTreeMap<String, (u64, CallId)>,
    /// CSeq of the INVITE that began each call: a phone may send others with its Call-ID, before and, as copies, after.
    begun_by: BTreeMap<CallId, u32>,
    /// Public call ids of all lives.
    names: BTreeSet<String>,
    /// Those of them that have a start record.
    begun: BTreeSet<String>,
    next_event: Option<u64>,
    epoch: u64,
    pub answered: u64,
    pub ended: u64,
}

struct Entry {
    name: String,
    ended: Option<Arc<Cdr>>,
    told: bool,
    answered: bool,
    final_code: Option<u16>,
}

impl Books {
    pub fn restart(&mut self, epoch: u64) {
        self.calls.clear();
        self.begun_by.clear();
        self.next_event = None;
        self.epoch = epoch;
    }

    pub fn event(&mut self, event: &Event, audit: &Audit, verdict: &mut Verdict) {
        if let Some(next) = self.next_event {
            verdict.hold(event.seq == next, "events are numbered without gaps", || format!("{} for {next}", event.seq));
        }
        self.next_event = Some(event.seq + 1);
        match &event.body {
            EventBody::CallStarted { call, call_id, .. } => {
                let fresh = self.names.insert(call_id.to_string());
                verdict.hold(fresh, "a call id is given once", || call_id.to_string());
                let known = self.calls.contains_key(call);
                verdict.hold(!known, "a call begins once", || call_id.to_string());
                let entry =
                    Entry { name: call_id.to_string(), ended: None, told: false, answered: false, final_code: None };
                self.calls.insert(*call, entry);
            }
            EventBody::CallEnded { call, cdr, .. } => self.call_ended(*call, cdr.as_ref(), verdict),
            EventBody::CallState { call, .. } => {
                let open = self.calls.get(call).is_some_and(|entry| !entry.told);
                verdict.hold(open, "events of calls that are there", || format!("{:?}", event.body));
            }
            EventBody::Media { call, leg, .. } => self.judge_leg(*call, *leg, audit, verdict),
            EventBody::Trace { call, .. } => {
                verdict.hold(self.calls.contains_key(call), "events of calls that are there", || {
                    format!("trace of {call}")
                });
            }
            _ => {}
        }
    }

    /// A traced message tells which SIP dialog belongs to which call.
    pub fn associate(&mut self, call: CallId, entry: &TraceEntry) {
        if let TraceEntry::Received { bytes, .. } | TraceEntry::Sent { bytes, .. } = entry
            && let Some(msg) = Msg::parse(bytes)
        {
            self.by_sip.insert(msg.call_id().to_string(), (self.epoch, call));
            let first = msg.method() == Some("INVITE") && msg.tag_of_to().is_none();
            if let (true, Some((cseq, _)), TraceEntry::Received { .. }) = (first, msg.cseq(), entry) {
                self.begun_by.entry(call).or_insert(cseq);
            }
        }
    }

    fn judge_leg(&self, call: CallId, leg: LegId, audit: &Audit, verdict: &mut Verdict) {
        let other = audit.legs.iter().find(|entry| entry.leg == leg).is_some_and(|entry| entry.call != call);
        verdict.hold(!other, "events of a leg name its call", || format!("leg {leg} of call {call}"));
        verdict.hold(self.calls.contains_key(&call), "events of calls that are there", || format!("media of {call}"));
    }

    fn call_ended(&mut self, call: CallId, cdr: Option<&Arc<Cdr>>, verdict: &mut Verdict) {
        let Some(entry) = self.calls.get_mut(&call) else {
            return verdict.fail("events of calls that are there", format!("end of call {call}"));
        };
        verdict.hold(!entry.told, "a call ends once", || entry.name.clone());
        entry.told = true;
        let same = cdr.map(|cdr| &cdr.call_id) == entry.ended.as_ref().map(|cdr| &cdr.call_id) && cdr.is_some();
        verdict.hold(same, "the event of an end has its record", || entry.name.clone());
    }

    pub fn record(&mut self, body: &RecordBody, verdict: &mut Verdict) {
        match body {
            RecordBody::CallStarted(start) => {
                let first = self.begun.insert(start.call_id.to_string());
                verdict.hold(first, "one start record for each call", || start.call_id.to_string());
            }
            RecordBody::CallEnded(cdr) => {
                let begun = self.begun.contains(&*cdr.call_id);
                verdict.hold(begun, "no end record without a start record", || cdr.call_id.to_string());
                let Some(entry) = self.calls.values_mut().find(|entry| *entry.name == *cdr.call_id) else {
                    return verdict.fail("no end record without a call", cdr.call_id.to_string());
                };
                verdict.hold(entry.ended.is_none(), "one end record for each call", || entry.name.clone());
                judge_record(cdr, entry, verdict);
                entry.ended = Some(cdr.clone());
                self.ended += 1;
                self.answered += u64::from(cdr.answer.is_some());
            }
            _ => {}
        }
    }

    /// What the wire saw of the caller's INVITE; the call if it has its final response.
    pub fn meaning(&mut self, meaning: Meaning) -> Option<CallId> {
        let Meaning::Final { call_id, cseq, code } = meaning else { return None };
        let call = self.live_call_of(&call_id)?;
        if self.begun_by.get(&call).is_some_and(|begun_by| *begun_by != cseq) {
            return None;
        }
        let entry = self.calls.get_mut(&call)?;
        entry.answered |= code < 300;
        entry.final_code = Some(code);
        Some(call)
    }

    /// After a step: calls that began have a start record, and the engine's calls are those the events told of.
    pub fn judge(&self, audit: &Audit, verdict: &mut Verdict) {
        for (call, entry) in &self.calls {
            verdict.hold(self.begun.contains(&entry.name), "a start record for each call", || entry.name.clone());
            let live = audit.calls.iter().any(|audited| audited.call == *call);
            verdict.hold(live || entry.told, "a call that is gone was said to end", || entry.name.clone());
        }
        for audited in &audit.calls {
            let known = self.calls.contains_key(&audited.call);
            verdict.hold(known, "a call that is there was said to begin", || format!("call {}", audited.call));
        }
    }

    pub fn judge_rest(&self, verdict: &mut Verdict) {
        for entry in self.calls.values() {
            verdict.hold(entry.ended.is_some(), "an end record for each call", || entry.name.clone());
            verdict.hold(entry.told, "an end event for each call", || entry.name.clone());
        }
    }

    /// The call of this life of the daemon a SIP Call-ID belongs to.
    pub fn live_call_of(&self, sip_call_id: &str) -> Option<CallId> {
        let (epoch, call) = self.by_sip.get(sip_call_id)?;
        (*epoch == self.epoch).then_some(*call)
    }

    /// The engine's call a SIP Call-ID belongs to.
    pub fn call_of(&self, sip_call_id: &str) -> Option<(u64, CallId)> {
        self.by_sip.get(sip_call_id).copied()
    }
}

fn judge_record(cdr: &Cdr, entry: &Entry, verdict: &mut Verdict) {
    let rule = "a record's times are in order";
    verdict.hold(cdr.end >= cdr.start, rule, || format!("{cdr:?}"));
    verdict.hold(cdr.answer.is_none_or(|at| cdr.start <= at && at <= cdr.end), rule, || format!("{cdr:?}"));
    verdict.hold(cdr.billsec <= cdr.duration, rule, || format!("{cdr:?}"));
    let wall = (cdr.end.0 - cdr.start.0) as u64;
    verdict.hold(wall.abs_diff(cdr.duration) <= 1_000, rule, || format!("{cdr:?}"));
    let told = cdr.answer.is_some();
    verdict.hold(told == entry.answered, "a call is recorded as answered if its caller got a 200", || {
        format!("{} recorded {told}, final response {:?}", entry.name, entry.final_code)
    });
    verdict.hold(told || cdr.billsec == 0, rule, || format!("{cdr:?}"));
    let disposition = cdr.cause.disposition(told);
    let expected = match entry.final_code {
        _ if told => disposition == Disposition::Answered,
        Some(486 | 600) => disposition == Disposition::Busy,
        Some(487) => disposition == Disposition::Cancelled,
        Some(480 | 408) => matches!(disposition, Disposition::NoAnswer | Disposition::Failed),
        Some(code) if code >= 300 => disposition == Disposition::Failed,
        _ => disposition != Disposition::Answered,
    };
    verdict.hold(expected, "a record's disposition is what the caller was told", || {
        format!("{}: {disposition:?} {:?}, final response {:?}", entry.name, cdr.cause, entry.final_code)
    });
}
