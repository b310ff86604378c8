//! What is remembered of a source, and what follows from it for its next message.

use super::bans::{Bans, Reason};
use super::source::Source;
use super::{EVERYBODY, Settings};
use crate::base::now::Micros;
use std::time::Duration;

/// How long a registration that ran out spares its source.
const LATELY: Duration = Duration::from_secs(86_400);

/// How something came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// In a datagram, whose sender may be forged.
    Datagram,
    /// On a connection: whoever has it is where it seems to be.
    Connection,
}

/// Messages a second, and how many may come at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// µs a message.
    interval: u64,
    /// µs of messages.
    burst: u64,
}

impl Rate {
    /// `per_second` is 1 to 1,000,000.
    pub fn new(per_second: u32, burst: u32) -> Rate {
        let interval = 1_000_000 / u64::from(per_second.clamp(1, 1_000_000));
        Rate { interval, burst: interval * u64::from(burst) }
    }
}

/// Why something is met with silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// Its source, or its user at that source, is banned.
    Banned,
    /// Its source sends too many messages, or strangers do together.
    TooFast,
    /// It says it is a scanner.
    Scanner,
    /// It is malformed, and not the first such from there.
    Malformed,
}

/// What `inspect` has to look for in a message; nothing in those of registered phones.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Care {
    pub(super) is_stranger: bool,
    pub(super) has_banned_users: bool,
    pub(super) is_malformed: bool,
}

impl Care {
    pub fn is_needed(self) -> bool {
        self != Care::default()
    }
}

/// When the messages so far would have come at their rate (GCRA).
#[derive(Clone, Copy, Default)]
pub(super) struct Meter(Micros);

impl Meter {
    /// Whether there is room for a message, which then counts for so many.
    pub fn take(&mut self, now: Micros, rate: Rate, messages: u64) -> bool {
        let due = self.0.max(now);
        let is_room = due.0 - now.0 < rate.burst;
        if is_room {
            self.0 = Micros(due.0 + rate.interval * messages);
        }
        is_room
    }
}

/// Points in time that are not yet over say what holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Standing {
    /// Datagrams and what comes on connections are metered apart: forged datagrams must not end a connection.
    datagrams: Meter,
    connected: Meter,
    /// Its last registration runs out.
    pub registered: Micros,
    /// The ban of the whole source ends.
    pub banned: Micros,
    /// The last ban of a user there ends.
    users_banned: Micros,
    pub malformed: Micros,
    pub connections: u32,
    pub is_trusted: bool,
}

impl Standing {
    pub fn new(is_trusted: bool) -> Standing {
        Standing { is_trusted, ..Standing::default() }
    }

    pub fn judge(&mut self, now: Micros, way: Way, settings: &Settings) -> Result<Care, Silence> {
        if self.banned > now {
            return Err(Silence::Banned);
        }
        if !self.take(now, way, settings, 1) {
            return Err(Silence::TooFast);
        }
        Ok(Care {
            is_stranger: !self.is_trusted && self.registered <= now,
            has_banned_users: self.users_banned > now,
            is_malformed: !self.is_trusted && self.malformed > now,
        })
    }

    /// Whether there is room for something that counts for so many messages. For the trusted there always is.
    pub fn take(&mut self, now: Micros, way: Way, settings: &Settings, messages: u64) -> bool {
        if self.is_trusted {
            return true;
        }
        let rate = if self.registered <= now { settings.strangers } else { settings.registered };
        let meter = match way {
            Way::Datagram => &mut self.datagrams,
            Way::Connection => &mut self.connected,
        };
        meter.take(now, rate, messages)
    }

    /// Whether it holds a registration or did lately: when an office comes back from an outage, all its registrations have
    /// run out, and the first to come may be those with old passwords.
    pub fn was_registered(&self, now: Micros) -> bool {
        self.registered > Micros(0) && now.since(self.registered) < LATELY
    }

    /// Whether a flood of others must not make us forget it.
    pub fn is_kept(&self, now: Micros) -> bool {
        self.registered > now || self.connections > 0
    }

    pub fn show(&mut self, now: Micros, bans: &Bans, source: Source) {
        (self.banned, self.users_banned) = (now, now);
        for ((_, user), ban) in bans.of(source) {
            // One from before it was trusted.
            if self.is_trusted && ban.reason != Reason::Administrator {
                continue;
            }
            let until = if user == EVERYBODY { &mut self.banned } else { &mut self.users_banned };
            *until = ban.until.max(*until);
        }
    }
}
