//! What the engine is told once, at its start.

use crate::base::ids::{ListenerId, TenantId};
use crate::base::limits;
use crate::engine::flow::Transport;
use crate::proto::sip::digest::Algorithm;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Number of this run of the daemon: persisted, grows by one at each start.
    pub epoch: u64,
    /// Indexed by `ListenerId`.
    pub listeners: Vec<Listener>,
    pub timers: SipTimers,
    pub registration: RegistrationLimits,
    pub session: SessionTimers,
    pub auth: AuthConfig,
    pub limits: EngineLimits,
    /// How long a phone rings before the call counts as unanswered.
    pub ring_timeout: Duration,
    /// What a 3xx of a called phone does.
    pub redirects: Redirects,
    /// The User-Agent and Server header of our messages.
    pub software: Box<str>,
}

/// One socket we listen on, as its peers see it.
#[derive(Clone, Debug)]
pub struct Listener {
    pub id: ListenerId,
    pub transport: Transport,
    /// The bound address; may be a wildcard, then a flow's local address says which.
    pub bind: SocketAddr,
    /// What Via, Contact and c= say instead of the flow's local address (a server behind 1:1 NAT).
    pub advertise: Option<SocketAddr>,
    /// Whose a request is whose domain nobody has.
    pub tenant: TenantId,
}

/// RFC 3261 table 4.
#[derive(Clone, Copy, Debug)]
pub struct SipTimers {
    /// Round-trip estimate, 500 ms.
    pub t1: Duration,
    /// Longest retransmission interval of non-INVITE requests and INVITE responses, 4 s.
    pub t2: Duration,
    /// Longest time a message stays in the network, 5 s.
    pub t4: Duration,
    /// How long an INVITE may stay without a final response after a provisional one (timer C of a proxy), 3 min.
    pub c: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct RegistrationLimits {
    /// Shorter registrations get 423, seconds.
    pub min_expires: u32,
    /// Longer ones are shortened, seconds.
    pub max_expires: u32,
    /// When the phone names none, seconds.
    pub default_expires: u32,
    /// Contacts of one extension.
    pub max_contacts: usize,
}

/// RFC 4028.
#[derive(Clone, Copy, Debug)]
pub struct SessionTimers {
    /// What we ask for, seconds.
    pub expires: u32,
    /// The least we accept, seconds; the RFC's floor is 90.
    pub min_se: u32,
}

#[derive(Clone, Debug)]
pub struct AuthConfig {
    /// How long a nonce is good for.
    pub nonce_life: Duration,
    /// Challenges in the order they are sent.
    pub algorithms: Vec<Algorithm>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Redirects {
    /// The phone is told nothing; the branch counts as refused.
    Refuse,
    /// The contacts of the 3xx that the caller may dial are tried.
    Follow,
}

#[derive(Clone, Copy, Debug)]
pub struct EngineLimits {
    pub calls: usize,
    pub bindings: usize,
    pub transactions: usize,
}

impl Default for SipTimers {
    fn default() -> Self {
        SipTimers {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            c: Duration::from_secs(180),
        }
    }
}

impl Default for RegistrationLimits {
    fn default() -> Self {
        RegistrationLimits { min_expires: 60, max_expires: 7200, default_expires: 3600, max_contacts: 10 }
    }
}

impl Default for SessionTimers {
    fn default() -> Self {
        SessionTimers { expires: 1800, min_se: 90 }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig { nonce_life: Duration::from_secs(300), algorithms: vec![Algorithm::Md5, Algorithm::Sha256] }
    }
}

impl Default for EngineLimits {
    fn default() -> Self {
        EngineLimits { calls: limits::CALLS, bindings: limits::BINDINGS, transactions: limits::TRANSACTIONS }
    }
}

impl EngineConfig {
    /// The defaults with the given listeners.
    pub fn new(epoch: u64, listeners: Vec<Listener>) -> EngineConfig {
        EngineConfig {
            epoch,
            listeners,
            timers: SipTimers::default(),
            registration: RegistrationLimits::default(),
            session: SessionTimers::default(),
            auth: AuthConfig::default(),
            limits: EngineLimits::default(),
            ring_timeout: Duration::from_secs(30),
            redirects: Redirects::Refuse,
            software: concat!("Strowger/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}
