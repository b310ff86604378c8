//! The guard at the door: who may be heard, how often, and who is banned. Sans-IO: time, addresses and messages are arguments.
//!
//! ```text
//! address ──► admit ──┬─ banned, or too fast ──► silence, before anything is parsed
//!                     └─ Care ──► parse ──► inspect ──┬─ scanner, banned user, malformed again ──► silence
//!                                                     └─ the engine ──► Suspect: failed, malformed
//! ```
//!
//! Invariants: a failure counts only when it answers a challenge we gave to that address, so that nobody is banned by
//! messages with a forged sender; forged datagrams take nothing from what a source's connections may bring; all datagrams
//! of strangers together get no more of our time than one office; a source that holds a registration, or did within a
//! day, is never banned as a whole, and one that holds one never thrown out of the table; what is remembered is bounded
//! (`limits::GUARD_*`). A registered source costs one look-up a message.

mod bans;
mod door;
mod failures;
mod source;
mod standing;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use bans::{Ban, Reason};
pub use door::{Door, Entry};
pub use source::{Network, Source};
pub use standing::{Care, Rate, Silence, Way};

use crate::base::limits;
use crate::base::map::{Seeded, hash};
use crate::base::now::Micros;
use crate::base::rng::Rng;
use crate::engine::auth::user_text;
use crate::engine::io::{Suspect, Suspicion};
use crate::proto::sip::digest::Credentials;
use crate::proto::sip::message::Message;
use crate::proto::sip::name::Name;
use bans::Bans;
use failures::Failures;
use standing::{Meter, Standing};
use std::net::IpAddr;
use std::time::Duration;
use table::Table;

/// How long a source that sent malformed messages gets no further answer to such.
const MALFORMED: Duration = Duration::from_secs(60);
/// Messages that something of no use from a stranger counts for: what is no SIP, a TLS handshake that leads nowhere.
const RUBBISH: u64 = 10;
/// The user that stands for all of a source's.
const EVERYBODY: u64 = 0;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Sources nothing here applies to.
    pub trusted: Vec<Network>,
    /// Of sources that hold no registration.
    pub strangers: Rate,
    /// Of sources that hold one, and of the datagrams of all strangers together.
    pub registered: Rate,
    /// Connections of one source.
    pub connections: u32,
    /// Failed log-ins of one user at one source that ban the two.
    pub failures: u32,
    /// Different users whose log-in failed that ban a whole source; at most `limits::GUARD_USERS`.
    pub users: usize,
    /// In which time failures add up.
    pub window: Duration,
    /// How long a ban lasts.
    pub ban: Duration,
    /// Beginnings of User-Agents that get silence, in whatever case.
    pub scanners: Vec<Box<str>>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwelcome {
    /// Its source is banned.
    Banned,
    /// Its source has as many as one may have.
    TooMany,
    /// Its source opens too many in too short a time.
    TooFast,
}

pub struct Guard {
    settings: Settings,
    seeded: Seeded,
    sources: Table<Source, Standing>,
    /// The datagrams of all strangers together.
    crowd: Meter,
    failures: Table<Source, Failures>,
    bans: Bans,
}

impl Guard {
    pub fn new(settings: Settings, rng: &mut Rng) -> Guard {
        let seeded = Seeded::new(rng);
        Guard {
            settings,
            sources: Table::new(limits::GUARD_SOURCES, seeded.clone()),
            crowd: Meter::default(),
            failures: Table::new(limits::GUARD_FAILURES, seeded.clone()),
            bans: Bans::default(),
            seeded,
        }
    }

    /// Whether a message from there is heard. It has not been parsed yet.
    pub fn admit(&mut self, now: Micros, from: IpAddr, way: Way) -> Result<Care, Silence> {
        let source = Source::from(from);
        if let Some(standing) = self.sources.get(source) {
            let care = standing.judge(now, way, &self.settings)?;
            return self.among_strangers(now, way, care);
        }
        let mut newcomer = self.newcomer(now, from);
        let care = match newcomer.judge(now, way, &self.settings) {
            // What a flood brings beyond its measure does not push others out of the table either.
            Ok(care) => Ok(self.among_strangers(now, way, care)?),
            Err(silence) => Err(silence),
        };
        // Without a place it is heard, too, and forgotten.
        self.sources.insert(source, newcomer, |standing| standing.is_kept(now));
        care
    }

    /// The datagrams of all strangers together have a measure, too.
    fn among_strangers(&mut self, now: Micros, way: Way, care: Care) -> Result<Care, Silence> {
        let is_of_crowd = care.is_stranger && way == Way::Datagram;
        let is_room = !is_of_crowd || self.crowd.take(now, self.settings.registered, 1);
        if is_room { Ok(care) } else { Err(Silence::TooFast) }
    }

    /// What came was of no use.
    pub fn rubbish(&mut self, now: Micros, from: IpAddr, way: Way) {
        if let Some(standing) = self.sources.get(from.into()).filter(|standing| standing.registered <= now) {
            standing.take(now, way, &self.settings, RUBBISH - 1);
        }
    }

    /// Whether a message that was admitted with this care is met with silence for what it says.
    pub fn inspect(&mut self, now: Micros, from: IpAddr, care: Care, message: &Message) -> Option<Silence> {
        if care.is_malformed && message.validate().is_err() {
            self.malformed(now, from);
            return Some(Silence::Malformed);
        }
        if !message.is_request() {
            return None;
        }
        if care.is_stranger && self.is_scanner(message) {
            return Some(Silence::Scanner);
        }
        if care.has_banned_users && self.is_of_banned_user(now, from.into(), care, message) {
            return Some(Silence::Banned);
        }
        None
    }

    /// What the engine found out. Answers with a ban that was imposed for it.
    pub fn suspect(&mut self, now: Micros, suspect: &Suspect) -> Option<Ban> {
        match &suspect.what {
            Suspicion::Malformed => {
                self.malformed(now, suspect.from);
                None
            }
            Suspicion::LogIn { user } => self.failed(now, suspect.from, user),
        }
    }

    /// A phone registered from there, for so long.
    pub fn registered(&mut self, now: Micros, from: IpAddr, extension: &str, left: Duration) {
        if let Some(standing) = self.standing(now, from) {
            standing.registered = standing.registered.max(now + left);
        }
        if self.failures.len() > 0
            && let Some(failures) = self.failures.get(from.into())
        {
            failures.forget(hash(&self.seeded, extension.as_bytes()));
        }
    }

    /// Bans somebody, or all of a source, for so long.
    pub fn ban(&mut self, now: Micros, source: Source, user: Option<&str>, length: Duration, reason: Reason) -> Ban {
        let ban = Ban { source, user: user.map(Into::into), until: now + length, reason };
        let user = user.map_or(EVERYBODY, |user| hash(&self.seeded, user.as_bytes()));
        self.bans.set(now, (source, user), ban.clone());
        self.show_bans(now, source);
        ban
    }

    /// Ends a ban, and says whether there was one. Failed log-ins count anew.
    pub fn clear(&mut self, now: Micros, source: Source, user: Option<&str>) -> bool {
        let user = user.map_or(EVERYBODY, |user| hash(&self.seeded, user.as_bytes()));
        if let Some(failures) = self.failures.get(source) {
            if user == EVERYBODY { failures.forget_all() } else { failures.forget(user) }
        }
        let was_there = self.bans.remove((source, user)).is_some();
        self.show_bans(now, source);
        was_there
    }

    /// The bans that last.
    pub fn bans(&mut self, now: Micros) -> Vec<Ban> {
        self.bans.expire(now);
        self.bans.all().cloned().collect()
    }

    /// Grows with every change of the bans but their end in time.
    pub fn version(&self) -> u64 {
        self.bans.version
    }

    /// How many last.
    pub fn banned(&mut self, now: Micros) -> usize {
        self.bans.expire(now);
        self.bans.len()
    }

    /// Whether a source holds a registration.
    pub fn is_registered(&mut self, now: Micros, source: Source) -> bool {
        self.sources.get(source).is_some_and(|standing| standing.registered > now)
    }

    /// Whether a connection from there is taken; if so, `disconnect` follows when it ends. It counts as a message.
    pub fn connect(&mut self, now: Micros, from: IpAddr) -> Result<(), Unwelcome> {
        self.standing(now, from);
        // None when all places are taken by those that are kept.
        let Some(standing) = self.sources.get(from.into()) else { return Err(Unwelcome::TooFast) };
        if standing.banned > now {
            return Err(Unwelcome::Banned);
        }
        if !standing.is_trusted && standing.connections >= self.settings.connections {
            return Err(Unwelcome::TooMany);
        }
        if !standing.take(now, Way::Connection, &self.settings, 1) {
            return Err(Unwelcome::TooFast);
        }
        standing.connections += 1;
        Ok(())
    }

    pub fn disconnect(&mut self, from: IpAddr) {
        if let Some(standing) = self.sources.get(from.into()) {
            standing.connections = standing.connections.saturating_sub(1);
        }
    }

    fn malformed(&mut self, now: Micros, from: IpAddr) {
        if let Some(standing) = self.standing(now, from) {
            standing.malformed = now + MALFORMED;
        }
    }

    fn failed(&mut self, now: Micros, from: IpAddr, user: &str) -> Option<Ban> {
        let source = Source::from(from);
        let standing = *self.standing(now, from)?;
        let settings = &self.settings;
        if standing.is_trusted {
            return None;
        }
        let (window, key) = (settings.window, hash(&self.seeded, user.as_bytes()));
        if self.failures.get(source).is_none() {
            self.failures.insert(source, Failures::default(), |failures| failures.is_recent(now, window))?;
        }
        let failures = self.failures.get(source)?;
        let count = failures.count(now, window, key);
        if failures.users() >= settings.users && !standing.was_registered(now) {
            failures.forget_all();
            return Some(self.ban(now, source, None, settings.ban, Reason::ManyUsers));
        }
        if count >= settings.failures {
            failures.forgive(key);
            return Some(self.ban(now, source, Some(user), settings.ban, Reason::Failures));
        }
        None
    }

    fn is_scanner(&self, message: &Message) -> bool {
        let software = message.header(Name::UserAgent).unwrap_or_default();
        let begins = |scanner: &str| {
            software.get(..scanner.len()).is_some_and(|start| start.eq_ignore_ascii_case(scanner.as_bytes()))
        };
        !software.is_empty() && self.settings.scanners.iter().any(|scanner| begins(scanner))
    }

    /// Requests with credentials of a banned user. Those within a call of a source that holds a registration go on: the
    /// engine takes them on the call's own path, whatever credentials a phone adds.
    fn is_of_banned_user(&self, now: Micros, source: Source, care: Care, request: &Message) -> bool {
        let is_in_dialog = request.to().is_ok_and(|to| to.tag().is_some());
        if is_in_dialog && !care.is_stranger {
            return false;
        }
        let values = request.fields(Name::Authorization).chain(request.fields(Name::ProxyAuthorization));
        values
            .filter_map(|value| Credentials::parse(value).ok())
            .any(|credentials| self.bans.holds(now, (source, hash(&self.seeded, user_text(&credentials).as_bytes()))))
    }

    /// Of a source of which nothing is remembered yet.
    fn newcomer(&self, now: Micros, from: IpAddr) -> Standing {
        let is_trusted = self.settings.trusted.iter().any(|network| network.contains(from));
        let mut standing = Standing::new(is_trusted);
        standing.show(now, &self.bans, from.into());
        standing
    }

    /// Of a source, which is remembered from now on. None when all places are taken by those that are kept.
    fn standing(&mut self, now: Micros, from: IpAddr) -> Option<&mut Standing> {
        let source = from.into();
        if self.sources.get(source).is_none() {
            let newcomer = self.newcomer(now, from);
            return self.sources.insert_surely(source, newcomer, |standing| standing.is_kept(now));
        }
        self.sources.get(source)
    }

    fn show_bans(&mut self, now: Micros, source: Source) {
        if let Some(standing) = self.sources.get(source) {
            standing.show(now, &self.bans, source);
        }
    }
}
