//! The guard as the threads share it: the engine's thread asks it about every message, connections' tasks when they begin
//! and end, the node's tasks what administrators want to know. Locked for a look-up each time.

use super::{Ban, Guard};
use crate::base::now::{Micros, Now};
use crate::engine::record::Binding;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub struct Door {
    guard: Mutex<Guard>,
    clock: fn() -> Micros,
}

impl Door {
    /// `clock` is the monotonic one the engine is told too.
    pub fn new(guard: Guard, clock: fn() -> Micros) -> Door {
        Door { guard: Mutex::new(guard), clock }
    }

    pub fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection from there is taken; if so, `disconnect` follows when it ends.
    pub fn connect(&self, from: IpAddr) -> bool {
        let now = (self.clock)();
        self.guard().connect(now, from)
    }

    /// A phone registered.
    pub fn registered(&self, now: Now, binding: &Binding) {
        let left = u64::try_from(binding.expires.0.saturating_sub(now.wall.0)).unwrap_or(0);
        let from = binding.flow.remote.ip();
        self.guard().registered(now.mono, from, &binding.extension, Duration::from_micros(left));
    }

    pub fn disconnect(&self, from: IpAddr) {
        self.guard().disconnect(from);
    }

    /// The bans there are now.
    pub fn bans(&self) -> Vec<Ban> {
        let now = (self.clock)();
        self.guard().bans(now)
    }
}
