//! What kind of phone it is, what its user tends to do, and its bad habits. Drawn once from the seed.

use crate::clock::{MS, Time};
use crate::prng::Prng;
use std::net::SocketAddr;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    pub fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Profile {
    pub index: usize,
    pub extension: String,
    pub password: String,
    /// The domain it writes after the `@`: the tenant's name, or the server's address.
    pub domain: String,
    pub address: SocketAddr,
    pub server: SocketAddr,
    pub transport: Transport,
    /// Whether it registers with a server; a phone that doesn't is called at its address.
    pub registers: bool,
    pub make: Make,
    pub habits: Habits,
    pub quirks: Quirks,
    /// Numbers its user dials, with weights.
    pub book: Vec<(u64, String)>,
}

/// What was decided in the factory.
#[derive(Clone, Debug)]
pub struct Make {
    /// Seconds it asks a registration to last.
    pub expires: u32,
    pub sha256: bool,
    /// One-letter header names and folded lines.
    pub terse: bool,
    /// Sends credentials unasked once it has a nonce.
    pub eager: bool,
    /// Names and payload types it offers, in order.
    pub codecs: Vec<(u8, String)>,
    /// Answers with its own payload numbers instead of the offer's.
    pub own_numbers: bool,
    pub prack: bool,
    /// `Require: 100rel` instead of `Supported`.
    pub prack_required: bool,
    pub update: bool,
    /// Seconds of Session-Expires; None: knows no session timers.
    pub session: Option<u32>,
    /// Asks that the other side refreshes.
    pub lazy_session: bool,
    /// Offers a video stream as well.
    pub video: bool,
    /// Holds as RFC 2543 did, with c=0.0.0.0.
    pub old_hold: bool,
    /// Sends 100 at once.
    pub trying: bool,
    /// Empty lines every so many µs.
    pub keep_alive: Option<Time>,
}

/// What the user tends to do, in percent where nothing else is said.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Between two calls, from-to.
    pub pause: (Time, Time),
    pub ring: (Time, Time),
    pub talk: (Time, Time),
    /// Gives up a call that is not answered after, from-to.
    pub patience: (Time, Time),
    pub late_offer: u64,
    pub early_media: u64,
    /// Weights of: answer, busy, decline, let it ring, redirect, 488, 503, nothing at all.
    pub reactions: [u64; 8],
    /// Weights in mid-call: re-INVITE hold/resume, UPDATE hold/resume, late re-INVITE, INFO, OPTIONS, hold and hang up at once.
    pub whims: [u64; 6],
    /// Between two whims, from-to.
    pub whim_pause: (Time, Time),
    pub messages: u64,
    /// Takes a second call while in one.
    pub call_waiting: u64,
    /// Where a redirect points.
    pub redirect_to: String,
    pub odd: Odd,
}

/// Legal things few phones do, in ten-thousandths of the occasions.
#[derive(Clone, Debug, Default)]
pub struct Odd {
    /// INFO, OPTIONS or UPDATE while it rings, at either end.
    pub fidgets: u64,
    /// Gives up a ringing call with BYE instead of CANCEL (RFC 3261 §15).
    pub byes_early: u64,
    /// Refuses a re-INVITE that would change something.
    pub stubborn: u64,
}

/// Bad habits, in ten-thousandths of the occasions.
#[derive(Clone, Debug, Default)]
pub struct Quirks {
    /// Answers an INVITE from two more early dialogs, as if a proxy had forked it.
    pub forks: u64,
    /// A second 200 with another tag.
    pub answers_twice: u64,
    pub never_acks: u64,
    /// Sends a message again some time later.
    pub strays: u64,
    pub garbage: u64,
    pub truncates: u64,
    /// Ends calls without a BYE.
    pub forgets: u64,
    /// Lets a re-INVITE lie for a while.
    pub slow_reinvite: u64,
    /// Takes a re-INVITE back, and changes the offer before the call is answered.
    pub fickle: u64,
    /// Sends an old Authorization in a new request (never to be accepted).
    pub replays: u64,
    pub wrong_password: bool,
}

impl Make {
    pub fn plain() -> Make {
        Make {
            expires: 60,
            sha256: false,
            terse: false,
            eager: true,
            codecs: vec![(8, "PCMA/8000".into()), (0, "PCMU/8000".into()), (101, "telephone-event/8000".into())],
            own_numbers: false,
            prack: false,
            prack_required: false,
            update: true,
            session: None,
            lazy_session: false,
            video: false,
            old_hold: false,
            trying: true,
            keep_alive: None,
        }
    }

    pub fn drawn(rng: &mut Prng) -> Make {
        Make {
            expires: *rng.pick(&[60, 60, 70, 90, 120]),
            sha256: rng.chance(40),
            terse: rng.chance(20),
            eager: rng.chance(70),
            codecs: draw_codecs(rng),
            own_numbers: rng.chance(25),
            prack: rng.chance(40),
            prack_required: rng.chance(10),
            update: rng.chance(70),
            session: rng.chance(60).then(|| *rng.pick(&[90, 90, 100, 120, 300, 60])),
            lazy_session: rng.chance(40),
            video: rng.chance(20),
            old_hold: rng.chance(20),
            trying: rng.chance(60),
            keep_alive: rng.chance(60).then(|| rng.range(15, 25) * 1_000 * MS),
        }
    }
}

fn draw_codecs(rng: &mut Prng) -> Vec<(u8, String)> {
    let opus = rng.range(96, 100) as u8;
    let events = rng.range(101, 127) as u8;
    let mut all = vec![
        (0, "PCMU/8000".to_string()),
        (8, "PCMA/8000".to_string()),
        (9, "G722/8000".to_string()),
        (opus, "opus/48000/2".to_string()),
    ];
    let mut codecs = Vec::new();
    while !all.is_empty() {
        let at = rng.below(all.len() as u64) as usize;
        let codec = all.remove(at);
        // Nearly every phone speaks A-law: calls without a common codec are the exception.
        if rng.chance(if codec.0 == 8 { 97 } else { 60 }) {
            codecs.push(codec);
        }
    }
    if codecs.is_empty() {
        codecs.push((8, "PCMA/8000".into()));
    }
    if rng.chance(80) {
        codecs.push((events, "telephone-event/8000".into()));
    }
    codecs
}

impl Habits {
    /// Calls, answers and hangs up; nothing in between.
    pub fn plain() -> Habits {
        Habits {
            pause: (1_000 * MS, 5_000 * MS),
            ring: (300 * MS, 2_000 * MS),
            talk: (1_000 * MS, 10_000 * MS),
            patience: (20_000 * MS, 40_000 * MS),
            late_offer: 0,
            early_media: 0,
            reactions: [1, 0, 0, 0, 0, 0, 0, 0],
            whims: [1, 0, 0, 0, 0, 0],
            whim_pause: (2_000 * MS, 4_000 * MS),
            messages: 0,
            call_waiting: 0,
            redirect_to: String::new(),
            odd: Odd::default(),
        }
    }

    pub fn drawn(rng: &mut Prng, redirect_to: String) -> Habits {
        let hasty = rng.chance(30);
        Habits {
            pause: if rng.chance(30) { (100 * MS, 2_000 * MS) } else { (1_000 * MS, 15_000 * MS) },
            ring: if hasty { (0, 600 * MS) } else { (200 * MS, 8_000 * MS) },
            talk: if hasty { (0, 3_000 * MS) } else { (500 * MS, 40_000 * MS) },
            patience: if rng.chance(40) { (100 * MS, 6_000 * MS) } else { (5_000 * MS, 60_000 * MS) },
            late_offer: *rng.pick(&[0, 0, 20, 60]),
            early_media: *rng.pick(&[0, 30, 70]),
            reactions: [60, 8, 8, 10, 3, 3, 3, 3],
            whims: [*rng.pick(&[10, 40]), 15, 8, 10, 3, *rng.pick(&[2, 15])],
            whim_pause: *rng.pick(&[(50 * MS, 1_500 * MS), (500 * MS, 6_000 * MS), (2_000 * MS, 30_000 * MS)]),
            messages: *rng.pick(&[0, 5, 20]),
            call_waiting: *rng.pick(&[0, 40, 90]),
            redirect_to,
            odd: Odd::default(),
        }
    }
}

impl Quirks {
    /// Whoever sends what can't be read gets answers that can't be read.
    pub fn sends_rubbish(&self) -> bool {
        self.garbage > 0 || self.truncates > 0
    }

    /// Most phones have none, the others one or two.
    pub fn drawn(rng: &mut Prng) -> Quirks {
        let mut quirks = Quirks::default();
        if rng.chance(45) {
            return quirks;
        }
        for _ in 0..rng.range(1, 2) {
            match rng.below(10) {
                0 => quirks.forks = 4_000,
                1 => quirks.answers_twice = 2_500,
                2 => quirks.never_acks = 1_500,
                3 => quirks.strays = 500,
                4 => quirks.garbage = 200,
                5 => quirks.truncates = 100,
                6 => quirks.forgets = 1_500,
                7 => quirks.slow_reinvite = 4_000,
                8 => quirks.replays = 2_000,
                _ => quirks.wrong_password = rng.chance(40),
            }
        }
        quirks
    }
}
