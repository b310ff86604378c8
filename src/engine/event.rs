//! The one event stream: ordered, with a cursor `epoch.seq`. Boards, metrics and traces are folds of it; none asks the
//! engine for lists.

use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId, TenantId};
use crate::base::now::Timestamp;
use crate::engine::flow::Flow;
use crate::engine::media::Counters;
use crate::engine::record::Cdr;
use bytes::Bytes;
use std::sync::Arc;

#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Grows by one for each event of an epoch.
    pub seq: u64,
    pub at: Timestamp,
    pub body: EventBody,
}

#[derive(Clone, PartialEq, Debug)]
pub enum EventBody {
    /// An extension's first contact was bound, or one was added; `contacts` is how many it has now.
    Registered { tenant: TenantId, extension: Box<str>, contacts: usize },
    /// A contact was removed, replaced or ran out; `contacts` is how many are left.
    Unregistered { tenant: TenantId, extension: Box<str>, contacts: usize },
    /// A call was admitted: its first event.
    CallStarted { call: CallId, call_id: Arc<str>, tenant: TenantId, from: Arc<str>, to: Arc<str> },
    /// A call's state as the API shows it.
    CallState { call: CallId, state: CallState },
    /// A call is gone: its last event but for traces.
    CallEnded { call: CallId, cause: Cause, cdr: Option<Arc<Cdr>> },
    /// Running media totals of a leg.
    Media { call: CallId, leg: LegId, counters: Counters },
    /// A line of a call's trace.
    Trace { call: CallId, entry: TraceEntry },
    /// A request was refused outside any call (for metrics and logs).
    Refused { tenant: TenantId, cause: Cause },
    /// What an administrator should know, for the log. Its source sees to it that it does not come too often.
    Notice { tenant: TenantId, text: Box<str> },
    /// The whole state, in answer to `Command::Snapshot`: replaces what a fold has after it lost events.
    Snapshot(Arc<Snapshot>),
}

/// What a fold needs to start anew: every extension with a contact, every call.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Snapshot {
    /// Tenant, extension and how many contacts it has.
    pub registered: Vec<(TenantId, Box<str>, usize)>,
    pub calls: Vec<CallSnapshot>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct CallSnapshot {
    pub call: CallId,
    pub call_id: Arc<str>,
    pub tenant: TenantId,
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub state: CallState,
    pub started: Timestamp,
    pub answered: Option<Timestamp>,
}

/// `calling, ringing, connected, hold, transferring` of the REST API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallState {
    Calling,
    Ringing,
    Connected,
    Hold,
    Transferring,
}

impl CallState {
    pub fn text(self) -> &'static str {
        match self {
            CallState::Calling => "calling",
            CallState::Ringing => "ringing",
            CallState::Connected => "connected",
            CallState::Hold => "hold",
            CallState::Transferring => "transferring",
        }
    }
}

/// The bytes are shared with the message itself; whoever stores them redacts them first.
#[derive(Clone, PartialEq, Debug)]
pub enum TraceEntry {
    Received {
        leg: LegId,
        flow: Flow,
        bytes: Bytes,
    },
    Sent {
        leg: LegId,
        flow: Flow,
        bytes: Bytes,
    },
    /// A decision of the engine or an app, in words.
    Decision {
        text: Box<str>,
    },
}
