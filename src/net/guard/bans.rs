//! Who is banned, and until when.
//!
//! Invariant: at most `limits::GUARD_BANS`; beyond it the ban that ends first gives way.

use super::source::Source;
use crate::base::limits;
use crate::base::now::Micros;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    pub source: Source,
    /// None: everything that comes from there.
    pub user: Option<Box<str>>,
    pub until: Micros,
    pub reason: Reason,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Too many failed log-ins for one user.
    Failures,
    /// Failed log-ins for too many different users.
    ManyUsers,
    /// An administrator said so.
    Administrator,
}

impl Reason {
    pub fn text(self) -> &'static str {
        match self {
            Reason::Failures => "failed log-ins",
            Reason::ManyUsers => "failed log-ins for many users",
            Reason::Administrator => "administrator",
        }
    }

    pub fn of_text(text: &str) -> Reason {
        let all = [Reason::Failures, Reason::ManyUsers];
        all.into_iter().find(|reason| reason.text() == text).unwrap_or(Reason::Administrator)
    }
}

impl fmt::Display for Ban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{user:?} at {}", self.source),
            None => self.source.fmt(f),
        }
    }
}

/// A source and the hash of a user, 0 for the whole source.
type Key = (Source, u64);

#[derive(Default)]
pub(super) struct Bans {
    by_key: BTreeMap<Key, Ban>,
    by_end: BTreeSet<(Micros, Key)>,
    /// Grows with every change but a ban's end in its time.
    pub version: u64,
}

impl Bans {
    pub fn set(&mut self, now: Micros, key: Key, ban: Ban) {
        self.remove(key);
        self.expire(now);
        while self.by_key.len() >= limits::GUARD_BANS
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.by_key.remove(&first);
        }
        self.by_end.insert((ban.until, key));
        self.by_key.insert(key, ban);
        self.version += 1;
    }

    pub fn remove(&mut self, key: Key) -> Option<Ban> {
        let ban = self.by_key.remove(&key)?;
        self.by_end.remove(&(ban.until, key));
        self.version += 1;
        Some(ban)
    }

    pub fn expire(&mut self, now: Micros) {
        while let Some((until, key)) = self.by_end.first().copied()
            && until <= now
        {
            self.by_end.pop_first();
            self.by_key.remove(&key);
        }
    }

    pub fn holds(&self, now: Micros, key: Key) -> bool {
        self.by_key.get(&key).is_some_and(|ban| ban.until > now)
    }

    pub fn of(&self, source: Source) -> impl Iterator<Item = (Key, &Ban)> {
        self.by_key.range((source, 0)..=(source, u64::MAX)).map(|(key, ban)| (*key, ban))
    }

    pub fn all(&self) -> impl Iterator<Item = &Ban> {
        self.by_key.values()
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }
}
