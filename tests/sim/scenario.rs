//! What kind of office, what network and what trouble: everything a run is made of, drawn from its seed.

use crate::clock::{MS, SECOND, Time};
use crate::nat::{Kind, Nat};
use crate::network::{Path, Weather};
use crate::phone::traits::{Habits, Make, Odd, Profile, Quirks, Transport};
use crate::prng::Prng;
use crate::sip::digest;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use strowger::base::ids::{ListenerId, TenantId};
use strowger::directory::plan::Plan;
use strowger::directory::{Directory, Extension, Secret, Tenant};
use strowger::engine::config::{EngineConfig, Listener, Redirects, SessionTimers};
use strowger::engine::flow::Transport as EngineTransport;

/// The server's address, and its listeners: UDP 5060, TCP 5060, UDP 5062.
pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// What is wrong with the world in this run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    /// Nothing: outcomes are exactly predictable.
    Clear,
    /// Some loss, duplicates and reordering, which retransmission overcomes.
    Rain,
    /// More loss than retransmission is made for.
    Storm,
    /// Partitions, rebinding NATs, broken connections, crashing phones.
    Breakage,
    /// The daemon is killed and started again, the journal stutters.
    Restarts,
    /// Too few ports, a small call limit, slow media and slow journal.
    Scarcity,
}

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Partition {
        phone: usize,
        lasts: Time,
    },
    PartitionServer {
        lasts: Time,
    },
    Rebind {
        nat: usize,
    },
    BreakConnection {
        phone: usize,
    },
    Crash {
        phone: usize,
        off: Time,
    },
    Restart {
        down: Time,
    },
    RefuseRecords {
        lasts: Time,
    },
    /// The administrator deletes an extension and adds it again later.
    DropExtension {
        phone: usize,
        lasts: Time,
    },
}

pub struct Scenario {
    pub seed: u64,
    pub mood: Mood,
    pub profiles: Vec<Profile>,
    pub tenants: Vec<TenantId>,
    /// Tenant of each phone.
    pub tenant_of: Vec<TenantId>,
    pub ports: u32,
    pub media_late: Time,
    pub rest: Time,
    pub journal: (Time, Time),
    pub faults: Vec<(Time, Fault)>,
    /// When faults end and users do nothing new.
    pub active: Time,
    pub ring_timeout: Time,
    pub session: u32,
    pub follow: bool,
    pub calls_limit: usize,
}

const DOMAINS: [&str; 2] = ["alpha.example", "beta.example"];

impl Scenario {
    pub fn of(seed: u64) -> Scenario {
        let mut rng = Prng::new(seed).split(1);
        let moods = [Mood::Clear, Mood::Rain, Mood::Storm, Mood::Breakage, Mood::Restarts, Mood::Scarcity];
        let mood = moods[rng.weighted(&[20, 25, 5, 25, 15, 10])];
        let tenants: Vec<TenantId> = (1..=if rng.chance(30) { 2 } else { 1 }).map(TenantId).collect();
        let phones = rng.range(2, 8) as usize;
        let active = rng.range(15, 90) * SECOND;
        let mut scenario = Scenario {
            seed,
            mood,
            profiles: Vec::new(),
            tenant_of: Vec::new(),
            ports: if mood == Mood::Scarcity { rng.range(3, 10) as u32 } else { 64 },
            media_late: if mood == Mood::Scarcity { rng.range(1, 3_000) * MS } else { 5 * MS },
            rest: if mood == Mood::Scarcity { rng.range(1, 10) * SECOND } else { 30 * SECOND },
            journal: match mood {
                Mood::Scarcity | Mood::Restarts => (MS, rng.range(10, 3_000) * MS),
                _ => (MS, 10 * MS),
            },
            faults: Vec::new(),
            active,
            ring_timeout: rng.range(4, 30) * SECOND,
            session: *rng.pick(&[90, 90, 120, 180]),
            follow: rng.chance(50),
            calls_limit: if mood == Mood::Scarcity && rng.chance(40) { rng.range(1, 3) as usize } else { 10_000 },
            tenants,
        };
        for index in 0..phones {
            scenario.add_phone(&mut rng, index);
        }
        scenario.write_books(&mut rng);
        scenario.draw_faults(&mut rng);
        if scenario.is_patient() {
            scenario.be_patient(&mut Prng::new(seed).split(7));
        }
        scenario
    }

    /// In one office of eight people talk for minutes, so that sessions are refreshed and run out, and phones have odd ways.
    pub fn is_patient(&self) -> bool {
        self.seed % 8 == 3
    }

    /// Draws from a stream of its own, so that the other seeds keep their course.
    fn be_patient(&mut self, rng: &mut Prng) {
        self.active = rng.range(220, 320) * SECOND;
        self.session = *rng.pick(&[90, 90, 100, 120]);
        // Some talk and do nothing else: nobody but the session timer notices who is gone.
        let quiet = rng.chance(50);
        for profile in &mut self.profiles {
            profile.habits.talk = (if quiet { 150 * SECOND } else { 40 * SECOND }, 400 * SECOND);
            let mut odd = |weight| if rng.chance(30) { weight } else { 0 };
            profile.habits.odd = Odd { fidgets: odd(5_000), byes_early: odd(5_000), stubborn: odd(3_000) };
            profile.habits.whim_pause = if quiet { (200 * SECOND, 400 * SECOND) } else { (5 * SECOND, 60 * SECOND) };
        }
        if matches!(self.mood, Mood::Clear | Mood::Rain | Mood::Storm) {
            return;
        }
        // Phones that vanish for longer than a session lasts.
        for _ in 0..rng.range(1, 2) {
            let (at, phone) = (rng.range(20, 150) * SECOND, rng.below(self.profiles.len() as u64) as usize);
            self.faults.push((at, Fault::Crash { phone, off: rng.range(190, 280) * SECOND }));
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    fn add_phone(&mut self, rng: &mut Prng, index: usize) {
        let tenant = self.tenants[index % self.tenants.len()];
        let colleagues = self.tenant_of.iter().filter(|other| **other == tenant).count();
        // Now and then one more phone of the same extension: a call to it forks.
        let shared = colleagues > 0 && rng.chance(25);
        let number = if shared { 1_000 + rng.below(colleagues as u64) + 1 } else { 1_001 + colleagues as u64 };
        let domain = DOMAINS[tenant.0 as usize - 1];
        // A single tenant's phones may write the server's address instead of a name.
        let by_address = self.tenants.len() == 1 && rng.chance(40);
        let transport = if rng.chance(35) { Transport::Tcp } else { Transport::Udp };
        let port = if transport == Transport::Udp && rng.chance(15) { 5062 } else { 5060 };
        let mut quirks = Quirks::drawn(rng);
        if self.mood == Mood::Clear && rng.chance(60) {
            quirks = Quirks::default();
        } else if rng.split(7).chance(30) {
            // A stream of its own: the seeds that once found something still draw the same offices.
            quirks.fickle = 4_000;
        }
        let profile = Profile {
            index,
            extension: number.to_string(),
            password: format!("secret-{}-{number}", tenant.0),
            domain: if by_address { SERVER.to_string() } else { domain.to_string() },
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, tenant.0 as u8, index as u8 + 2)), 5060),
            server: SocketAddr::new(SERVER, port),
            transport,
            registers: true,
            make: Make::drawn(rng),
            habits: Habits::drawn(rng, "1001".into()),
            quirks,
            book: Vec::new(),
        };
        self.tenant_of.push(tenant);
        self.profiles.push(profile);
    }

    fn write_books(&mut self, rng: &mut Prng) {
        for index in 0..self.profiles.len() {
            let own = self.profiles[index].extension.clone();
            let peers = self.profiles.iter().zip(&self.tenant_of);
            let mut numbers: Vec<String> = peers
                .filter(|(profile, tenant)| **tenant == self.tenant_of[index] && profile.extension != own)
                .map(|(profile, _)| profile.extension.clone())
                .collect();
            numbers.dedup();
            let mut book: Vec<(u64, String)> = numbers.into_iter().map(|number| (20, number)).collect();
            // Oneself, nobody, a feature of a later version, an emergency, and an extension nobody registers.
            book.extend([(1, own), (2, "1999".into()), (1, "8001".into()), (1, "911".into()), (2, "1099".into())]);
            self.profiles[index].habits.redirect_to = rng.pick(&book).1.clone();
            self.profiles[index].book = book;
        }
    }

    fn draw_faults(&mut self, rng: &mut Prng) {
        let phones = self.profiles.len() as u64;
        let count = match self.mood {
            Mood::Clear | Mood::Rain | Mood::Storm => 0,
            _ => rng.range(1, 4),
        };
        for _ in 0..count {
            let at = rng.range(3 * SECOND, self.active);
            let phone = rng.below(phones) as usize;
            let fault = match self.mood {
                Mood::Breakage => match rng.below(7) {
                    0 => Fault::Crash { phone, off: rng.range(1, 20_000) * MS },
                    // Long enough for its registration to run out.
                    1 => Fault::Crash { phone, off: rng.range(1, 200) * SECOND },
                    2 => Fault::Partition { phone, lasts: rng.range(100, 40_000) * MS },
                    3 => Fault::PartitionServer { lasts: rng.range(100, 20_000) * MS },
                    4 => Fault::Rebind { nat: phone },
                    5 => Fault::DropExtension { phone, lasts: rng.range(1, 20) * SECOND },
                    _ => Fault::BreakConnection { phone },
                },
                Mood::Restarts => match rng.below(4) {
                    0 => Fault::RefuseRecords { lasts: rng.range(100, 10_000) * MS },
                    _ => Fault::Restart { down: rng.range(10, 8_000) * MS },
                },
                _ => Fault::RefuseRecords { lasts: rng.range(100, 10_000) * MS },
            };
            self.faults.push((at, fault));
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// Paths and NATs of the phones. Translators are always there where the mood is breakage: something has to rebind.
    pub fn paths(&self) -> (Vec<Nat>, Vec<Path>) {
        let mut rng = Prng::new(self.seed).split(2);
        let mut nats = Vec::new();
        let mut paths = Vec::new();
        for (index, profile) in self.profiles.iter().enumerate() {
            let kind = *rng.pick(&[Kind::Cone, Kind::Restricted, Kind::Symmetric]);
            let outer = IpAddr::V4(Ipv4Addr::new(198, 51, 100, index as u8 + 1));
            nats.push(Nat::new(kind, outer));
            let nat = rng.chance(50).then(|| if index > 0 && rng.chance(30) { index - 1 } else { index });
            let delay = (rng.range(100, 2_000), rng.range(2, 40) * MS);
            let weather = match self.mood {
                Mood::Clear => Weather { delay, ..Weather::default() },
                Mood::Storm => Weather { loss: rng.range(1_500, 4_000), duplicate: 500, reorder: 1_000, delay },
                _ => Weather {
                    loss: *rng.pick(&[0, 100, 300, 500]),
                    duplicate: *rng.pick(&[0, 100, 500]),
                    reorder: *rng.pick(&[0, 200, 1_000]),
                    delay,
                },
            };
            paths.push(Path { address: profile.address, nat, weather, cut_until: 0, powered: false });
        }
        (nats, paths)
    }

    pub fn config(&self, epoch: u64) -> EngineConfig {
        let tenant = self.tenants[0];
        let bound = [(EngineTransport::Udp, 5060), (EngineTransport::Tcp, 5060), (EngineTransport::Udp, 5062)];
        let listener = |(index, (transport, port)): (usize, (EngineTransport, u16))| Listener {
            id: ListenerId(index as u16),
            transport,
            bind: SocketAddr::new(SERVER, port),
            advertise: None,
            tenant,
        };
        let mut config = EngineConfig::new(epoch, bound.into_iter().enumerate().map(listener).collect());
        config.ring_timeout = Duration::from_micros(self.ring_timeout);
        config.session = SessionTimers { expires: self.session, min_se: 90 };
        config.redirects = if self.follow { Redirects::Follow } else { Redirects::Refuse };
        config.limits.calls = self.calls_limit;
        config
    }

    /// Whether a tenant has an extension, 1099 included, which nobody registers.
    pub fn has_extension(&self, tenant: TenantId, number: &str) -> bool {
        let mut phones = self.profiles.iter().zip(&self.tenant_of);
        number == "1099" || phones.any(|(profile, of)| *of == tenant && profile.extension == number)
    }

    /// Who may call what; without the extension of phone `without`.
    pub fn directory(&self, without: Option<usize>) -> Arc<Directory> {
        let tenants = self.tenants.iter().map(|tenant| {
            let realm = format!("realm-{}", tenant.0);
            let mut extensions: BTreeMap<Box<str>, Arc<Extension>> = BTreeMap::new();
            let numbers = self.profiles.iter().zip(&self.tenant_of).filter(|(_, t)| *t == tenant);
            let numbers = numbers.map(|(profile, _)| profile.extension.clone()).chain(["1099".to_string()]);
            for number in numbers {
                let gone = without
                    .is_some_and(|phone| self.tenant_of[phone] == *tenant && self.profiles[phone].extension == number);
                if !gone {
                    let extension = extension(&number, &realm, &format!("secret-{}-{number}", tenant.0));
                    extensions.insert(number.into(), Arc::new(extension));
                }
            }
            Tenant {
                id: *tenant,
                name: format!("tenant {}", tenant.0).into(),
                domains: vec![DOMAINS[tenant.0 as usize - 1].into()],
                realm: realm.into(),
                time_zone: "UTC".into(),
                extensions,
                plan: Plan::sample(),
            }
        });
        Arc::new(Directory::new(tenants))
    }

    /// In words, for the report of a failing run.
    pub fn describe(&self) -> String {
        let mut out = format!(
            "{:?}{}, {} tenants, {} ports, ring {} s, session {} s, {}, calls at most {}, active {} s\n",
            self.mood,
            if self.is_patient() { " and patient" } else { "" },
            self.tenants.len(),
            self.ports,
            self.ring_timeout / SECOND,
            self.session,
            if self.follow { "redirects followed" } else { "redirects refused" },
            self.calls_limit,
            self.active / SECOND,
        );
        for (profile, tenant) in self.profiles.iter().zip(&self.tenant_of) {
            let (make, quirks, odd) = (&profile.make, &profile.quirks, &profile.habits.odd);
            out.push_str(&format!(
                "phone {} = {} of tenant {} over {:?} at {} {make:?} {quirks:?} {odd:?}\n",
                profile.index, profile.extension, tenant.0, profile.transport, profile.address
            ));
        }
        for (at, fault) in &self.faults {
            out.push_str(&format!("{} {fault:?}\n", crate::clock::show(*at)));
        }
        out
    }
}

fn extension(number: &str, realm: &str, password: &str) -> Extension {
    let text = format!("{number}:{realm}:{password}");
    Extension {
        number: number.into(),
        name: format!("Extension {number}").into(),
        email: "".into(),
        allow_external: false,
        secret: Secret { md5: digest::md5(&text), sha256: digest::sha256(&text) },
    }
}
