//! Virtual time. Everything that will happen stands in an agenda with a total order: earlier first, and among equals the one
//! written down first. Time is a number of µs since the start of the run.

use std::collections::BTreeMap;

pub type Time = u64;

pub const MS: Time = 1_000;
pub const SECOND: Time = 1_000_000;
/// RFC 3261 table 4.
pub const T1: Time = 500 * MS;
pub const T2: Time = 4 * SECOND;
pub const T4: Time = 5 * SECOND;
/// The time after which a peer gives up on a message: 64·T1.
pub const GIVE_UP: Time = 64 * T1;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    at: Time,
    order: u64,
}

pub struct Agenda<T> {
    entries: BTreeMap<Entry, T>,
    next: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Agenda { entries: BTreeMap::new(), next: 0 }
    }
}

impl<T> Agenda<T> {
    pub fn put(&mut self, at: Time, what: T) -> Entry {
        let entry = Entry { at, order: self.next };
        self.next += 1;
        self.entries.insert(entry, what);
        entry
    }

    pub fn strike(&mut self, entry: Entry) -> Option<T> {
        self.entries.remove(&entry)
    }

    pub fn strike_all(&mut self, mut which: impl FnMut(&T) -> bool) {
        self.entries.retain(|_, what| !which(what));
    }

    pub fn next_at(&self) -> Option<Time> {
        self.entries.first_key_value().map(|(entry, _)| entry.at)
    }

    /// What is due at or before `now`.
    pub fn due(&mut self, now: Time) -> Option<T> {
        let first = self.entries.first_entry()?;
        (first.key().at <= now).then(|| first.remove())
    }
}

/// `12.345678` seconds, for ladders.
pub fn show(at: Time) -> String {
    format!("{:>4}.{:06}", at / SECOND, at % SECOND)
}
