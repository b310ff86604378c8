//! What must outlive the process: the engine's records, in the order of their sequence. The journal takes them first, the
//! database after.

use crate::base::cause::Cause;
use crate::base::ids::{RecordSeq, TenantId};
use crate::base::now::Timestamp;
use crate::engine::flow::Flow;
use std::sync::Arc;

/// A record on its way to the journal. Registrations and the beginnings of calls wait for `Input::Recorded`.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    pub seq: RecordSeq,
    pub body: RecordBody,
}

#[derive(Clone, PartialEq, Debug)]
pub enum RecordBody {
    /// A contact was registered or refreshed; replaces the one with the same tenant, extension and key.
    Binding(Arc<Binding>),
    /// A contact was removed or ran out.
    Unbound { tenant: TenantId, extension: Box<str>, key: Box<str> },
    /// A call began: so that after a crash it has a record.
    CallStarted(Arc<CallStart>),
    /// A call or one answered party of it ended; replaces the start record.
    CallEnded(Arc<Cdr>),
}

/// One contact of an extension (AOR → contact, expiry, flow).
#[derive(Clone, PartialEq, Debug)]
pub struct Binding {
    pub tenant: TenantId,
    pub extension: Box<str>,
    /// Identity within the extension: `+sip.instance` and reg-id if given, else the contact URI in comparable form
    /// (RFC 3261 §10.3, RFC 5626 §6).
    pub key: Box<str>,
    /// The contact's URI as the phone wrote it, without angle brackets.
    pub uri: Box<str>,
    /// The Contact's other parameters as the phone wrote them, each with its semicolon; without q and expires.
    pub params: Box<str>,
    /// q value in thousandths, 1000 when absent.
    pub q: u16,
    pub flow: Flow,
    pub expires: Timestamp,
    /// Call-ID and CSeq of the REGISTER that set it, for §10.3's order rules.
    pub call_id: Box<str>,
    pub cseq: u32,
    pub user_agent: Box<str>,
    /// Path of RFC 3327, as received, first entry first.
    pub path: Box<[Box<str>]>,
    /// Methods of the Allow header when the phone sent one, comma separated.
    pub allow: Box<str>,
    pub registered_at: Timestamp,
}

#[derive(Clone, PartialEq, Debug)]
pub struct CallStart {
    /// The public call id, such as `call-12-345`: unique over restarts.
    pub call_id: Box<str>,
    pub tenant: TenantId,
    pub from: Box<str>,
    pub to: Box<str>,
    pub start: Timestamp,
    pub user_agent: Box<str>,
}

/// A call detail record: one for each (caller, answered party), one for a call nobody answered (CONTRACTS §1).
#[derive(Clone, PartialEq, Debug)]
pub struct Cdr {
    pub call_id: Box<str>,
    /// Calls that came from one another by transfer share it; a plain call's is its own id.
    pub linked_id: Box<str>,
    pub tenant: TenantId,
    pub from: Box<str>,
    pub to: Box<str>,
    pub start: Timestamp,
    pub answer: Option<Timestamp>,
    pub end: Timestamp,
    /// Monotonic from start to end, µs.
    pub duration: u64,
    /// Monotonic from answer to end, µs; zero if never answered.
    pub billsec: u64,
    pub cause: Cause,
    /// The caller's User-Agent.
    pub user_agent: Box<str>,
    /// RTP packets the caller and the answered party sent us.
    pub caller_packets: u64,
    pub callee_packets: u64,
}
