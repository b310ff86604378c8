//! The engine's inner state in words, for the simulation's oracles and for `debug` output. Never on the call path.

use crate::base::ids::{CallId, LegId, PortId};

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    pub calls: Vec<CallAudit>,
    pub legs: Vec<LegAudit>,
    /// Dialog key (Call-ID, local tag, remote tag) and the leg it leads to.
    pub dialogs: Vec<(String, LegId)>,
    pub ports_free: Vec<PortId>,
    pub ports_used: Vec<(PortId, LegId)>,
    pub server_transactions: usize,
    pub client_transactions: usize,
    /// Timers armed for calls, legs and transactions; bindings' and nonces' expiry not counted.
    pub call_timers: usize,
    pub timers: usize,
    pub bindings: usize,
    /// REGISTERs that wait for the journal.
    pub waiting_for_journal: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallAudit {
    pub call: CallId,
    pub legs: Vec<LegId>,
    pub bridged: Option<(LegId, LegId)>,
    pub app: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LegAudit {
    pub leg: LegId,
    pub call: CallId,
    pub state: &'static str,
    pub ports: Vec<PortId>,
}
