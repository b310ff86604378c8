//! What must hold after every step: the simulation's rules of the engine's inner state, and the books of events and records.
//! The first broken one is a panic: that is what a fuzzer finds.

#[path = "../../sim/oracle/state.rs"]
#[allow(dead_code, reason = "the simulation's; it needs more of it")]
pub mod state;

use std::collections::{BTreeMap, BTreeSet};
use strowger::base::ids::CallId;
use strowger::engine::event::{Event, EventBody};
use strowger::engine::record::RecordBody;

#[derive(Default)]
pub struct Verdict;

impl Verdict {
    pub fn fail(&mut self, rule: &'static str, detail: impl Into<String>) {
        panic!("{rule}: {}", detail.into());
    }

    pub fn hold(&mut self, holds: bool, rule: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            self.fail(rule, detail());
        }
    }
}

/// Calls of one life of the engine, as events and records tell of them.
#[derive(Default)]
pub struct Books {
    /// Whether the call has been said to end.
    calls: BTreeMap<CallId, bool>,
    begun: BTreeSet<Box<str>>,
    ended: BTreeSet<Box<str>>,
    next_event: u64,
}

impl Books {
    pub fn event(&mut self, event: &Event) {
        assert_eq!(event.seq, self.next_event, "events are numbered without gaps");
        self.next_event += 1;
        match &event.body {
            EventBody::CallStarted { call, .. } => {
                assert_eq!(self.calls.insert(*call, false), None, "a call begins once");
            }
            EventBody::CallEnded { call, cdr, .. } => {
                assert_eq!(self.calls.insert(*call, true), Some(false), "a call ends once, and after it began");
                let id = &cdr.as_ref().expect("the event of an end has its record").call_id;
                assert!(self.ended.contains(id), "the record of an end comes before its event");
            }
            EventBody::CallState { call, .. } => {
                assert_eq!(self.calls.get(call), Some(&false), "states are told of calls that run");
            }
            EventBody::Media { call, .. } | EventBody::Trace { call, .. } => {
                assert!(self.calls.contains_key(call), "events are of calls that began");
            }
            _ => {}
        }
    }

    pub fn record(&mut self, body: &RecordBody) {
        match body {
            RecordBody::CallStarted(start) => {
                assert!(self.begun.insert(start.call_id.clone()), "one start record for each call");
            }
            RecordBody::CallEnded(cdr) => {
                assert!(self.begun.contains(&cdr.call_id), "no end record without a start record");
                assert!(self.ended.insert(cdr.call_id.clone()), "one end record for each call");
                assert!(cdr.billsec <= cdr.duration, "{cdr:?}");
                assert!(cdr.answer.is_some() || cdr.billsec == 0, "{cdr:?}");
            }
            RecordBody::Binding(_) | RecordBody::Unbound { .. } => {}
        }
    }

    /// Nothing runs any more.
    pub fn close(&self) {
        assert!(self.calls.values().all(|ended| *ended), "an end event for each call");
        assert_eq!(self.begun, self.ended, "an end record for each call");
    }
}
