//! What the engine's thread counts about itself.

use crate::net::counters::Counter;

#[derive(Default, Debug)]
pub struct Stats {
    /// Calls now, as the engine's events say.
    pub calls: Counter,
    /// Inputs given to the engine, time-outs apart.
    pub inputs: Counter,
    pub timeouts: Counter,
    /// Times the thread waited and was woken.
    pub wakeups: Counter,
    /// Naps taken under load instead.
    pub naps: Counter,
}
