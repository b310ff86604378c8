//! The guard at the door: who may be heard, how often, and who is banned. Sans-IO: time, addresses and messages are arguments.
//!
//! ```text
//! address ──► admit ──┬─ banned, or too fast ──► silence, before anything is parsed
//!                     └─ Care ──► parse ──► inspect ──┬─ scanner, banned user, malformed again ──► silence
//!                                                     └─ the engine ──► Suspect: failed, malformed
//! ```
//!
//! Invariants: a failure counts only when it answers a challenge we gave to that address, so that nobody is banned by
//! messages with a forged sender; a source that holds a registration is never banned as a whole and never thrown out of
//! the table; what is remembered is bounded (`limits::GUARD_*`). A registered source costs one look-up a message.

mod bans;
mod door;
mod source;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use bans::{Ban, Reason};
pub use door::Door;
pub use source::{Network, Source};

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
use std::net::IpAddr;
use std::time::Duration;
use table::Table;

/// How long a source that sent malformed messages gets no further answer to such.
const MALFORMED: Duration = Duration::from_secs(60);
/// Messages a piece of rubbish from a stranger counts for.
const RUBBISH: u64 = 10;
/// The user that stands for all of a source's.
const EVERYBODY: u64 = 0;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Sources nothing here applies to.
    pub trusted: Vec<Network>,
    /// Of sources that hold no registration.
    pub strangers: Rate,
    /// Of sources that hold one.
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
    /// Its source sends too many messages.
    TooFast,
    /// It says it is a scanner.
    Scanner,
    /// It is malformed, and not the first such from there.
    Malformed,
}

/// What `inspect` has to look for in a message; nothing in those of registered phones.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Care {
    is_stranger: bool,
    has_banned_users: bool,
    is_malformed: bool,
}

impl Care {
    pub fn is_needed(self) -> bool {
        self != Care::default()
    }
}

/// What is remembered of a source. Points in time that are not yet over say what holds.
#[derive(Clone, Copy, Default)]
struct Standing {
    /// When its messages so far would have come at its rate (GCRA).
    due: Micros,
    /// Its last registration runs out.
    registered: Micros,
    /// The ban of the whole source ends.
    banned: Micros,
    /// The last ban of a user there ends.
    users_banned: Micros,
    malformed: Micros,
    connections: u32,
    is_trusted: bool,
}

impl Standing {
    fn judge(&mut self, now: Micros, settings: &Settings) -> Result<Care, Silence> {
        if self.is_trusted {
            return Ok(Care::default());
        }
        if self.banned > now {
            return Err(Silence::Banned);
        }
        let is_stranger = self.registered <= now;
        let rate = if is_stranger { settings.strangers } else { settings.registered };
        if !self.take(now, rate, 1) {
            return Err(Silence::TooFast);
        }
        let (has_banned_users, is_malformed) = (self.users_banned > now, self.malformed > now);
        Ok(Care { is_stranger, has_banned_users, is_malformed })
    }

    fn take(&mut self, now: Micros, rate: Rate, messages: u64) -> bool {
        let due = self.due.max(now);
        let is_room = due.0 - now.0 < rate.burst;
        if is_room {
            self.due = Micros(due.0 + rate.interval * messages);
        }
        is_room
    }

    /// Whether a flood of others must not make us forget it.
    fn is_kept(&self, now: Micros) -> bool {
        self.registered > now || self.connections > 0
    }
}

/// Failed log-ins at one source.
#[derive(Default)]
struct Failures {
    users: Vec<Failing>,
}

struct Failing {
    user: u64,
    count: u32,
    first: Micros,
    last: Micros,
}

pub struct Guard {
    settings: Settings,
    seeded: Seeded,
    sources: Table<Source, Standing>,
    /// Stands for the strangers the table has no place for.
    crowd: Standing,
    failures: Table<Source, Failures>,
    bans: Bans,
}

impl Guard {
    pub fn new(settings: Settings, rng: &mut Rng) -> Guard {
        let seeded = Seeded::new(rng);
        Guard {
            settings,
            sources: Table::new(limits::GUARD_SOURCES, seeded.clone()),
            crowd: Standing::default(),
            failures: Table::new(limits::GUARD_FAILURES, seeded.clone()),
            bans: Bans::default(),
            seeded,
        }
    }

    /// Whether a message from there is heard. It has not been parsed yet.
    pub fn admit(&mut self, now: Micros, from: IpAddr) -> Result<Care, Silence> {
        if let Some(standing) = self.sources.get(from.into()) {
            return standing.judge(now, &self.settings);
        }
        let newcomer = self.newcomer(now, from);
        match self.sources.insert(from.into(), newcomer, |standing| standing.is_kept(now)) {
            Some(standing) => standing.judge(now, &self.settings),
            None => {
                newcomer.clone().judge(now, &self.settings)?;
                // At the rate of one registered source, all of them together.
                let is_room = self.crowd.take(now, self.settings.registered, 1);
                if is_room { Ok(Care { is_stranger: true, ..Care::default() }) } else { Err(Silence::TooFast) }
            }
        }
    }

    /// What came was no SIP message.
    pub fn rubbish(&mut self, now: Micros, from: IpAddr) {
        let strangers = self.settings.strangers;
        if let Some(standing) = self.sources.get(from.into()).filter(|standing| standing.registered <= now) {
            standing.take(now, strangers, RUBBISH - 1);
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
        let standing = self.standing(now, from);
        standing.registered = standing.registered.max(now + left);
        if self.failures.len() > 0
            && let Some(failures) = self.failures.get(from.into())
        {
            let user = hash(&self.seeded, extension.as_bytes());
            failures.users.retain(|failing| failing.user != user);
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
            failures.users.retain(|failing| user != EVERYBODY && failing.user != user);
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

    /// Bans there are; those that ended lately may be among them.
    pub fn banned(&self) -> usize {
        self.bans.len()
    }

    /// Whether a source holds a registration.
    pub fn is_registered(&mut self, now: Micros, source: Source) -> bool {
        self.sources.get(source).is_some_and(|standing| standing.registered > now)
    }

    /// Whether a connection from there is taken.
    pub fn connect(&mut self, now: Micros, from: IpAddr) -> bool {
        let most = self.settings.connections;
        let standing = self.standing(now, from);
        let is_welcome = standing.is_trusted || standing.banned <= now && standing.connections < most;
        standing.connections += u32::from(is_welcome);
        is_welcome
    }

    pub fn disconnect(&mut self, from: IpAddr) {
        if let Some(standing) = self.sources.get(from.into()) {
            standing.connections = standing.connections.saturating_sub(1);
        }
    }

    fn malformed(&mut self, now: Micros, from: IpAddr) {
        self.standing(now, from).malformed = now + MALFORMED;
    }

    fn failed(&mut self, now: Micros, from: IpAddr, user: &str) -> Option<Ban> {
        let source = Source::from(from);
        let (standing, settings) = (*self.standing(now, from), &self.settings);
        if standing.is_trusted {
            return None;
        }
        let (window, key) = (settings.window, hash(&self.seeded, user.as_bytes()));
        if self.failures.get(source).is_none() {
            let recent = |failures: &Failures| failures.users.iter().any(|f| now.since(f.last) <= window);
            self.failures.insert(source, Failures::default(), recent)?;
        }
        let failures = self.failures.get(source)?;
        let count = failures.count(now, window, key);
        if failures.users.len() >= settings.users && standing.registered <= now {
            failures.users.clear();
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
        let mut standing = Standing { is_trusted, ..Standing::default() };
        standing.show(now, &self.bans, from.into());
        standing
    }

    /// Of a source, remembered if there is a place.
    fn standing(&mut self, now: Micros, from: IpAddr) -> &mut Standing {
        let source = from.into();
        if self.sources.get(source).is_none() {
            let newcomer = self.newcomer(now, from);
            self.sources.insert(source, newcomer, |standing| standing.is_kept(now));
        }
        match self.sources.get(source) {
            Some(standing) => standing,
            None => &mut self.crowd,
        }
    }

    fn show_bans(&mut self, now: Micros, source: Source) {
        if let Some(standing) = self.sources.get(source) {
            standing.show(now, &self.bans, source);
        }
    }
}

impl Standing {
    fn show(&mut self, now: Micros, bans: &Bans, source: Source) {
        (self.banned, self.users_banned) = (now, now);
        for ((_, user), ban) in bans.of(source) {
            let until = if user == EVERYBODY { &mut self.banned } else { &mut self.users_banned };
            *until = ban.until.max(*until);
        }
    }
}

impl Failures {
    /// Counts a failure; how many this user has within the window. When too many users fail to be counted one by one,
    /// each further one has had enough.
    fn count(&mut self, now: Micros, window: Duration, user: u64) -> u32 {
        self.users.retain(|failing| now.since(failing.first) <= window);
        if let Some(failing) = self.users.iter_mut().find(|failing| failing.user == user) {
            (failing.count, failing.last) = (failing.count + 1, now);
            return failing.count;
        }
        if self.users.len() >= limits::GUARD_USERS {
            return u32::MAX;
        }
        self.users.push(Failing { user, count: 1, first: now, last: now });
        1
    }

    /// The user begins anew, and is still one of those that failed.
    fn forgive(&mut self, user: u64) {
        if let Some(failing) = self.users.iter_mut().find(|failing| failing.user == user) {
            failing.count = 0;
        }
    }
}
