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
use std::collections::{BTreeMap, HashMap, VecDeque};
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
    calls: BTreeMap<CallId, CallTrace>,
    /// Public call id to call.
    names: HashMap<Arc<str>, CallId>,
    /// Calls in the order they may go. A call that runs (again) when its turn comes is passed over.
    leaving: VecDeque<CallId>,
    bytes: usize,
    /// Reused for every message.
    scratch: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct CallTrace {
    /// Unknown until the call is admitted.
    about: Option<About>,
    ended: Option<Timestamp>,
    entries: Vec<Entry>,
    /// The first so many entries stay.
    pinned: usize,
    /// Entries left out after the pinned ones.
    omitted: u32,
    bytes: usize,
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
pub struct Entry {
    pub at: Timestamp,
    pub line: Line,
}

#[derive(Clone, Debug)]
pub enum Line {
    Message {
        direction: Direction,
        leg: LegId,
        peer: SocketAddr,
        transport: Transport,
        /// Redacted.
        text: Box<[u8]>,
        /// Bytes of the message that were too many to keep.
        cut: u32,
    },
    /// A decision of the engine, in words.
    Decision(Box<str>),
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
                self.name(*call, about);
            }
            EventBody::CallEnded { call, .. } => self.end(*call, event.at),
            EventBody::Snapshot(snapshot) => self.replace(snapshot, event.at),
            _ => {}
        }
    }

    /// The trace of a tenant's call, running or finished, by its public id.
    pub fn get(&self, tenant: TenantId, call_id: &str) -> Option<&CallTrace> {
        let trace = self.calls.get(self.names.get(call_id)?)?;
        trace.about.as_ref().is_some_and(|about| about.tenant == tenant).then_some(trace)
    }

    /// What is kept now, bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    fn add(&mut self, call: CallId, at: Timestamp, entry: &TraceEntry) {
        let line = match entry {
            TraceEntry::Received { leg, flow, bytes } => self.message(Direction::In, *leg, flow, bytes),
            TraceEntry::Sent { leg, flow, bytes } => self.message(Direction::Out, *leg, flow, bytes),
            TraceEntry::Decision { text } => Line::Decision(shortened(text, self.longest_text()).into()),
        };
        self.change(call, |trace, bounds| trace.push(Entry { at, line }, bounds.call));
    }

    /// No single message takes more than this, so that several fit behind the pinned ones.
    fn longest_text(&self) -> usize {
        self.bounds.call / 4
    }

    fn message(&mut self, direction: Direction, leg: LegId, flow: &Flow, bytes: &[u8]) -> Line {
        let kept = bytes.len().min(self.longest_text());
        self.scratch.clear();
        redact(&bytes[..kept], &mut self.scratch);
        Line::Message {
            direction,
            leg,
            peer: flow.remote,
            transport: flow.transport,
            text: self.scratch.as_slice().into(),
            cut: u32::try_from(bytes.len() - kept).unwrap_or(u32::MAX),
        }
    }

    fn name(&mut self, call: CallId, about: About) {
        self.names.insert(about.call_id.clone(), call);
        self.change(call, |trace, _| {
            trace.bytes += about.size();
            trace.about = Some(about);
        });
    }

    fn end(&mut self, call: CallId, at: Timestamp) {
        if let Some(trace) = self.calls.get_mut(&call) {
            trace.ended = Some(at);
            self.leaving.push_back(call);
        }
    }

    /// Calls the snapshot does not have ended while events were lost.
    fn replace(&mut self, snapshot: &Snapshot, at: Timestamp) {
        let running = |call: &CallId| snapshot.calls.iter().any(|c| c.call == *call);
        let calls = self.calls.iter().filter(|(call, trace)| trace.ended.is_none() && !running(call));
        let over: Vec<CallId> = calls.map(|(call, _)| *call).collect();
        for call in over {
            self.end(call, at);
        }
        for call in &snapshot.calls {
            if self.calls.get(&call.call).is_none_or(|trace| trace.about.is_none()) {
                let about = About {
                    call_id: call.call_id.clone(),
                    tenant: call.tenant,
                    from: call.from.clone(),
                    to: call.to.clone(),
                    started: call.started,
                };
                self.name(call.call, about);
            }
        }
    }

    /// Changes one call's trace, made if need be, and keeps the account and the bound of all.
    fn change(&mut self, call: CallId, change: impl FnOnce(&mut CallTrace, &Bounds)) {
        let trace = self.calls.entry(call).or_insert_with(|| {
            // Until it has a name nobody can ask for it: it may go.
            self.leaving.push_back(call);
            self.bytes += CallTrace::EMPTY;
            CallTrace::new()
        });
        let before = trace.bytes;
        change(trace, &self.bounds);
        self.bytes = self.bytes + trace.bytes - before;
        while self.bytes > self.bounds.total && self.make_room() {}
    }

    fn make_room(&mut self) -> bool {
        while let Some(call) = self.leaving.pop_front() {
            if self.calls.get(&call).is_some_and(|trace| trace.ended.is_some() || trace.about.is_none()) {
                self.forget(call);
                return true;
            }
        }
        match self.calls.first_key_value().map(|(call, _)| *call) {
            Some(call) => self.forget(call),
            None => return false,
        }
        true
    }

    fn forget(&mut self, call: CallId) {
        let Some(trace) = self.calls.remove(&call) else { return };
        self.bytes -= trace.bytes;
        if let Some(about) = trace.about {
            self.names.remove(&about.call_id);
        }
    }
}

impl CallTrace {
    /// With its share of the tables, bytes.
    const EMPTY: usize = size_of::<CallTrace>() + 128;

    fn new() -> CallTrace {
        CallTrace { about: None, ended: None, entries: Vec::new(), pinned: 0, omitted: 0, bytes: CallTrace::EMPTY }
    }

    pub fn about(&self) -> Option<&About> {
        self.about.as_ref()
    }

    /// When the call ended; None while it runs.
    pub fn ended(&self) -> Option<Timestamp> {
        self.ended
    }

    /// The entries before the gap, how many the gap left out, and the entries after it.
    pub fn entries(&self) -> (&[Entry], u32, &[Entry]) {
        let (first, last) = self.entries.split_at(self.pinned.min(self.entries.len()));
        (first, self.omitted, last)
    }

    /// Whether anything of the call was left out.
    pub fn is_truncated(&self) -> bool {
        self.omitted > 0 || self.entries.iter().any(|e| matches!(e.line, Line::Message { cut, .. } if cut > 0))
    }

    fn push(&mut self, entry: Entry, bound: usize) {
        self.bytes += entry.size();
        self.entries.push(entry);
        if self.omitted == 0 && self.bytes <= bound / 2 {
            self.pinned = self.entries.len();
        }
        while self.bytes > bound && self.pinned + 1 < self.entries.len() {
            self.bytes -= self.entries.remove(self.pinned).size();
            self.omitted += 1;
        }
    }
}

impl About {
    fn size(&self) -> usize {
        self.call_id.len() + self.from.len() + self.to.len()
    }
}

impl Entry {
    fn size(&self) -> usize {
        let text = match &self.line {
            Line::Message { text, .. } => text.len(),
            Line::Decision(text) => text.len(),
        };
        size_of::<Entry>() + text
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
