//! The guard as the threads share it: the engine's thread asks it about every message, connections' tasks when they begin
//! and end, the node's tasks what administrators want to know. Locked for a look-up each time.

use super::{Ban, Guard, Unwelcome, Way};
use crate::base::now::{Micros, Now};
use crate::engine::record::Binding;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

    /// Takes a connection from there, or not.
    pub fn connect(self: &Arc<Self>, from: IpAddr) -> Result<Entry, Unwelcome> {
        let now = (self.clock)();
        self.guard().connect(now, from)?;
        Ok(Entry { door: self.clone(), from })
    }

    /// A phone registered.
    pub fn registered(&self, now: Now, binding: &Binding) {
        let left = u64::try_from(binding.expires.0.saturating_sub(now.wall.0)).unwrap_or(0);
        let from = binding.flow.remote.ip();
        self.guard().registered(now.mono, from, &binding.extension, Duration::from_micros(left));
    }

    /// The bans there are now.
    pub fn bans(&self) -> Vec<Ban> {
        let now = (self.clock)();
        self.guard().bans(now)
    }

    pub fn banned(&self) -> usize {
        let now = (self.clock)();
        self.guard().banned(now)
    }
}

/// A connection's place in the count of its source; given back when dropped.
pub struct Entry {
    door: Arc<Door>,
    from: IpAddr,
}

impl Entry {
    /// What came over it was of no use.
    pub fn rubbish(&self) {
        let now = (self.door.clock)();
        self.door.guard().rubbish(now, self.from, Way::Connection);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.door.guard().disconnect(self.from);
    }
}
