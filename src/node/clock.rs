//! The two clocks the engine is told.

use crate::base::now::{Micros, Now, Timestamp};
use nix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

pub fn now() -> Now {
    Now { mono: mono(), wall: wall() }
}

/// CLOCK_MONOTONIC: the machine's time since it started, never set back.
pub fn mono() -> Micros {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(at) => Micros(at.tv_sec().unsigned_abs() * 1_000_000 + at.tv_nsec().unsigned_abs() / 1_000),
        // Not on Linux; the core survives a clock that stands still.
        Err(_) => Micros(0),
    }
}

pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
