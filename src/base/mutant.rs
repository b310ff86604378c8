//! Planted bugs, to prove that the simulation finds bugs. Only with the `mutants` feature, which no release has: without it
//! `on` is the constant `false` and the compiler removes every mention.

/// One way to be wrong. `scripts/mutants` shows that the simulation finds each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mutant {
    /// Branches that lost the race for the answer ring on.
    ForkNotCancelled = 1,
    /// The media port of a branch that was cancelled is never given back.
    PortLeaked,
    /// Two requests share a branch.
    BranchReused,
    /// An Authorization is accepted again and again.
    NcIgnored,
    /// A 200 that got lost is not sent again.
    AnswerSentOnce,
    /// A refused INVITE gets no ACK.
    RefusalNotAcknowledged,
    /// A request that nobody answers is never given up.
    RequestNeverGivenUp,
    /// A dialog stays in the index when its leg is gone.
    DialogKept,
    /// Calls the caller gave up leave no record.
    CancelledUnrecorded,
    /// A REGISTER is answered before the journal has it.
    RegisteredTooSoon,
    /// Bindings that have run out are called.
    ExpiredCalled,
    /// A dead connection keeps its contacts.
    DeadFlowKept,
    /// Payload numbers are mapped the wrong way round.
    PayloadsSwapped,
    /// The media plane goes on sending to a phone that holds.
    HoldIgnored,
    /// A re-INVITE is accepted while our own is under way.
    GlareAccepted,
    /// A cancelled INVITE gets two final responses.
    TwoFinals,
    /// The ACK goes to the first early dialog, whoever answered.
    EarlyTagMixed,
    /// A peer that stopped refreshing its session stays in the call.
    SessionNeverExpires,
    /// Nobody refreshes the sessions that are ours to refresh.
    SessionNotRefreshed,
    /// A reliable provisional response gets no PRACK.
    NoPrack,
}

impl Mutant {
    pub const ALL: [Mutant; 20] = {
        use Mutant::*;
        [
            ForkNotCancelled,
            PortLeaked,
            BranchReused,
            NcIgnored,
            AnswerSentOnce,
            RefusalNotAcknowledged,
            RequestNeverGivenUp,
            DialogKept,
            CancelledUnrecorded,
            RegisteredTooSoon,
            ExpiredCalled,
            DeadFlowKept,
            PayloadsSwapped,
            HoldIgnored,
            GlareAccepted,
            TwoFinals,
            EarlyTagMixed,
            SessionNeverExpires,
            SessionNotRefreshed,
            NoPrack,
        ]
    };
}

#[cfg(feature = "mutants")]
mod planted {
    use std::sync::atomic::AtomicU8;

    pub static PLANTED: AtomicU8 = AtomicU8::new(0);
}

/// Plants one bug in every engine of this process, or takes it out again.
#[cfg(feature = "mutants")]
pub fn plant(mutant: Option<Mutant>) {
    planted::PLANTED.store(mutant.map_or(0, |mutant| mutant as u8), std::sync::atomic::Ordering::Relaxed);
}

/// Whether the engine is to be wrong in this way.
#[cfg(feature = "mutants")]
pub fn on(mutant: Mutant) -> bool {
    planted::PLANTED.load(std::sync::atomic::Ordering::Relaxed) == mutant as u8
}

#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn on(_mutant: Mutant) -> bool {
    false
}
