//! What every other part stands on: ids, time, randomness, limits, the cause table and timers. Imports nothing of ours.

pub mod cause;
pub mod ids;
pub mod limits;
pub mod map;
pub mod mutant;
pub mod now;
pub mod rng;
pub mod timers;
