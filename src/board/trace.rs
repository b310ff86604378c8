//! What happened in each call: its SIP messages and the engine's decisions, redacted when stored.
//!
//! Bounded twice. One call keeps at most [`Bounds::call`] bytes: the first half for how it began, the rest for what came
//! last; what lay between is counted. All calls together keep at most [`Bounds::total`]: finished calls go first, the one
//! that ended first before the others, then the oldest running one.

use super::redact::redact;
use crate::base::ids::{CallId, LegId, TenantId};
use crate::base::limits;
use crate::base::now::Timestamp;
use crate::engine::event::{Event, EventBody, Snapshot, TraceEntry};
use crate::engine::flow::{Flow, Transport};
use foldhash::fast::RandomState;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::mem::size_of;
use std::net::SocketAddr;
use std::sync::Arc;

/// Bytes, overheads included.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub call: usize,
    pub total: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { call: limits::TRACE_BYTES, total: limits::TRACE_TOTAL_BYTES }
    }
}

#[derive(Default)]
pub struct Traces {
    bounds: Bounds,
    /// Few and often looked up. Ids grow, so the first is the oldest.
    running: BTreeMap<CallId, CallTrace>,
    finished: HashMap<CallId, CallTrace, RandomState>,
    /// Finished calls in the order they ended.
    ended: VecDeque<CallId>,
    /// Public call id to call.
    names: HashMap<Arc<str>, CallId, RandomState>,
    bytes: usize,
    /// Reused for every message.
    scratch: Vec<u8>,
}

/// Texts lie one behind the other in one piece of memory: a trace is made and thrown away with every call.
#[derive(Clone, Debug)]
pub struct CallTrace {
    about: About,
    ended: Option<Timestamp>,
    entries: Vec<Entry>,
    texts: Vec<u8>,
    /// The first so many entries stay.
    pinned: usize,
    /// Entries left out after the pinned ones.
    omitted: u32,
}

#[derive(Clone, Debug)]
pub struct About {
    pub call_id: Arc<str>,
    pub tenant: TenantId,
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub started: Timestamp,
}

#[derive(Clone, Debug)]
struct Entry {
    at: Timestamp,
    /// None for a decision.
    message: Option<Message>,
    /// Bytes of its text.
    length: u32,
}

/// A message's way.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub direction: Direction,
    pub leg: LegId,
    pub peer: SocketAddr,
    pub transport: Transport,
    /// Bytes at its end that were too many to keep.
    pub cut: u32,
}

/// What a reader of a trace meets, from first to last.
#[derive(Clone, Debug)]
pub enum Rung<'a> {
    /// Its text is redacted.
    Message { at: Timestamp, message: Message, text: &'a [u8] },
    /// A decision of the engine, in words.
    Decision { at: Timestamp, text: Cow<'a, str> },
    /// So many entries are left out here.
    Gap { omitted: u32 },
}

/// As the exchange sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    In,
    Out,
}

impl Traces {
    pub fn new(bounds: Bounds) -> Traces {
        Traces { bounds, ..Traces::default() }
    }

    pub fn apply(&mut self, event: &Event) {
        match &event.body {
            EventBody::Trace { call, entry } => self.add(*call, event.at, entry),
            EventBody::CallStarted { call, call_id, tenant, from, to } => {
                let about = About {
                    call_id: call_id.clone(),
                    tenant: *tenant,
                    from: from.clone(),
                    to: to.clone(),
                    started: event.at,
                };
                self.start(*call, about);
            }
            EventBody::CallEnded { call, .. } => self.end(*call, event.at),
            EventBody::Snapshot(snapshot) => self.replace(snapshot, event.at),
            _ => {}
        }
    }

    /// The trace of a tenant's call, running or finished, by its public id.
    pub fn get(&self, tenant: TenantId, call_id: &str) -> Option<&CallTrace> {
        let call = self.names.get(call_id)?;
        let trace = self.running.get(call).or_else(|| self.finished.get(call))?;
        (trace.about.tenant == tenant).then_some(trace)
    }

    /// What is kept now, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Calls of which something is kept.
    pub fn count(&self) -> usize {
        self.running.len() + self.finished.len()
    }

    fn start(&mut self, call: CallId, about: About) {
        self.names.insert(about.call_id.clone(), call);
        let trace = CallTrace::new(about);
        self.bytes += trace.bytes();
        if let Some(old) = self.running.insert(call, trace) {
            self.bytes -= old.bytes();
        }
        self.make_room();
    }

    fn end(&mut self, call: CallId, at: Timestamp) {
        if let Some(mut trace) = self.running.remove(&call) {
            trace.ended = Some(at);
            self.finished.insert(call, trace);
            self.ended.push_back(call);
        }
    }

    fn add(&mut self, call: CallId, at: Timestamp, entry: &TraceEntry) {
        // Its start was lost, or it had to make room: nobody can ask for it.
        let Some(trace) = self.running.get_mut(&call).or_else(|| self.finished.get_mut(&call)) else { return };
        // No single text takes more than this, so that several fit behind the pinned ones.
        let longest = self.bounds.call / 4;
        self.scratch.clear();
        let message = match entry {
            TraceEntry::Received { leg, flow, bytes } => {
                Some(keep(Direction::In, *leg, flow, bytes, longest, &mut self.scratch))
            }
            TraceEntry::Sent { leg, flow, bytes } => {
                Some(keep(Direction::Out, *leg, flow, bytes, longest, &mut self.scratch))
            }
            TraceEntry::Decision { text } => {
                self.scratch.extend_from_slice(shortened(text, longest).as_bytes());
                None
            }
        };
        let before = trace.bytes();
        trace.push(at, message, &self.scratch, self.bounds.call);
        self.bytes = self.bytes + trace.bytes() - before;
        self.make_room();
    }

    /// Calls the snapshot does not have ended while events were lost; calls we don't have began meanwhile.
    fn replace(&mut self, snapshot: &Snapshot, at: Timestamp) {
        let named: BTreeSet<CallId> = snapshot.calls.iter().map(|call| call.call).collect();
        let over: Vec<CallId> = self.running.keys().filter(|call| !named.contains(call)).copied().collect();
        for call in over {
            self.end(call, at);
        }
        for call in snapshot.calls.iter().filter(|call| !self.running.contains_key(&call.call)).collect::<Vec<_>>() {
            let about = About {
                call_id: call.call_id.clone(),
                tenant: call.tenant,
                from: call.from.clone(),
                to: call.to.clone(),
                started: call.started,
            };
            self.start(call.call, about);
        }
    }

    fn make_room(&mut self) {
        while self.bytes > self.bounds.total {
            let finished = self.ended.pop_front().and_then(|call| self.finished.remove(&call));
            let Some(trace) = finished.or_else(|| self.running.pop_first().map(|(_, trace)| trace)) else { return };
            self.bytes -= trace.bytes();
            self.names.remove(&trace.about.call_id);
        }
    }
}

/// Redacts what is kept of a message into `out`.
fn keep(direction: Direction, leg: LegId, flow: &Flow, bytes: &[u8], longest: usize, out: &mut Vec<u8>) -> Message {
    let kept = bytes.len().min(longest);
    redact(&bytes[..kept], out);
    let cut = u32::try_from(bytes.len() - kept).unwrap_or(u32::MAX);
    Message { direction, leg, peer: flow.remote, transport: flow.transport, cut }
}

impl CallTrace {
    /// An empty trace with its share of the tables, bytes.
    const EMPTY: usize = size_of::<CallTrace>() + 128;
    /// The memory of entries and texts grows by so many entries and bytes.
    const ENTRIES: usize = 8;
    const TEXT: usize = 2048;

    fn new(about: About) -> CallTrace {
        CallTrace { about, ended: None, entries: Vec::new(), texts: Vec::new(), pinned: 0, omitted: 0 }
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    /// When the call ended; None while it runs.
    pub fn ended(&self) -> Option<Timestamp> {
        self.ended
    }

    pub fn rungs(&self) -> impl Iterator<Item = Rung<'_>> {
        let mut texts = self.texts.as_slice();
        let gap = (self.omitted > 0).then_some(Rung::Gap { omitted: self.omitted });
        let mut rung = move |entry: &Entry| {
            let (text, rest) = texts.split_at_checked(entry.length as usize).unwrap_or_default();
            texts = rest;
            match entry.message {
                Some(message) => Rung::Message { at: entry.at, message, text },
                None => Rung::Decision { at: entry.at, text: String::from_utf8_lossy(text) },
            }
        };
        let mut gap = (self.pinned, gap);
        self.entries.iter().enumerate().flat_map(move |(n, entry)| {
            let gap = if n == gap.0 { gap.1.take() } else { None };
            gap.into_iter().chain([rung(entry)])
        })
    }

    /// Whether anything of the call was left out.
    pub fn is_truncated(&self) -> bool {
        self.omitted > 0 || self.entries.iter().any(|e| e.message.is_some_and(|m| m.cut > 0))
    }

    /// The memory it takes.
    fn bytes(&self) -> usize {
        CallTrace::EMPTY + self.entries.capacity() * size_of::<Entry>() + self.texts.capacity()
    }

    /// Takes an entry whose text is a quarter of the bound at most, and what is needed for that out of the middle. The
    /// memory taken stays within the bound.
    fn push(&mut self, at: Timestamp, message: Option<Message>, text: &[u8], bound: usize) {
        let table = |entries: usize| CallTrace::EMPTY + entries * size_of::<Entry>();
        let is_full = self.entries.len() == self.entries.capacity();
        let more = table(self.entries.capacity() + CallTrace::ENTRIES);
        if is_full && more + self.texts.capacity().max(self.texts.len() + text.len()) <= bound {
            self.entries.reserve_exact(CallTrace::ENTRIES);
        }
        let room = bound.saturating_sub(table(self.entries.capacity()));
        let pinned: usize = self.entries[..self.pinned].iter().map(|entry| entry.length as usize).sum();
        let has_room = |trace: &CallTrace| {
            trace.entries.len() < trace.entries.capacity() && trace.texts.len() + text.len() <= room
        };
        while !has_room(self) && self.pinned < self.entries.len() {
            let gone = self.entries.remove(self.pinned);
            self.texts.drain(pinned..pinned + gone.length as usize);
            self.omitted += 1;
        }
        if self.texts.capacity() - self.texts.len() < text.len() {
            let spare = room.saturating_sub(self.texts.len()).min(CallTrace::TEXT);
            self.texts.reserve_exact(text.len().max(spare));
        }
        self.texts.extend_from_slice(text);
        self.entries.push(Entry { at, message, length: text.len() as u32 });
        if self.omitted == 0 && table(self.entries.len()) + self.texts.len() <= bound / 2 {
            self.pinned = self.entries.len();
        }
    }
}

/// The longest beginning of `text` within `bytes` that ends between characters.
fn shortened(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::{CallSnapshot, CallState};
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { call: 4_000, total: 30_000 };

    #[derive(Clone, Debug)]
    enum Step {
        Start(u64),
        Decide(u64, usize),
        End(u64),
        Snapshot(Vec<u64>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0..20u64).prop_map(Step::Start),
            12 => (0..20u64, 0..3_000usize).prop_map(|(call, length)| Step::Decide(call, length)),
            2 => (0..20u64).prop_map(Step::End),
            1 => prop::collection::vec(0..20u64, 0..5).prop_map(Step::Snapshot),
        ]
    }

    fn about(call: u64) -> About {
        About {
            call_id: format!("call-{call}").into(),
            tenant: TenantId(1),
            from: "1001".into(),
            to: "1002".into(),
            started: Timestamp(0),
        }
    }

    fn take(traces: &mut Traces, step: &Step) {
        match step {
            // An id is issued once.
            Step::Start(call) if traces.get(TenantId(1), &format!("call-{call}")).is_none() => {
                traces.start(CallId(*call), about(*call));
            }
            Step::Start(_) => {}
            Step::Decide(call, length) => {
                let text = "é".repeat(length / 2).into();
                traces.add(CallId(*call), Timestamp(1), &TraceEntry::Decision { text });
            }
            Step::End(call) => traces.end(CallId(*call), Timestamp(2)),
            Step::Snapshot(calls) => {
                let running = traces.running.keys().filter(|call| calls.contains(&call.0));
                let calls = running.map(|call| CallSnapshot {
                    call: *call,
                    call_id: format!("call-{call}").into(),
                    tenant: TenantId(1),
                    from: "1001".into(),
                    to: "1002".into(),
                    state: CallState::Connected,
                    started: Timestamp(0),
                    answered: None,
                });
                let snapshot = Snapshot { registered: Vec::new(), calls: calls.collect() };
                traces.replace(&snapshot, Timestamp(3));
            }
        }
    }

    proptest! {
        #[test]
        fn the_account_is_right_and_the_bounds_hold_after_every_step(steps in prop::collection::vec(step(), 1..200)) {
            let mut traces = Traces::new(BOUNDS);
            for step in &steps {
                take(&mut traces, step);
                let all = || traces.running.values().chain(traces.finished.values());
                prop_assert_eq!(traces.bytes, all().map(CallTrace::bytes).sum::<usize>());
                prop_assert!(traces.bytes <= BOUNDS.total);
                prop_assert_eq!(traces.names.len(), all().count());
                prop_assert_eq!(traces.ended.len(), traces.finished.len());
                for trace in all() {
                    prop_assert!(trace.bytes() <= BOUNDS.call, "{}", trace.bytes());
                    prop_assert_eq!(trace.texts.len(), trace.entries.iter().map(|e| e.length as usize).sum::<usize>());
                    let is_whole = |rung: Rung<'_>| !matches!(rung, Rung::Decision { text, .. } if text.contains('\u{fffd}'));
                    prop_assert!(trace.rungs().all(is_whole), "a text was cut within a character");
                }
            }
        }
    }
}
