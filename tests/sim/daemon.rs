//! The engine under test and what keeps it alive: its lives, its media plane and its journal.

use crate::clock::Time;
use crate::journal::Journal;
use crate::plane::Plane;
use crate::prng::Prng;
use crate::scenario::{SERVER, Scenario};
use std::net::SocketAddr;
use std::sync::Arc;
use strowger::base::ids::{ConnectionId, ListenerId};
use strowger::base::now::{Micros, Now, Timestamp};
use strowger::directory::Directory;
use strowger::engine::Engine;
use strowger::engine::flow::{Flow, Transport};
use strowger::engine::io::{Input, Output};

/// The wall clock at the start of every run.
const EPOCH_WALL: i64 = 1_700_000_000_000_000;

pub struct Daemon {
    pub engine: Option<Engine>,
    pub epoch: u64,
    pub plane: Plane,
    pub journal: Journal,
    pub directory: Arc<Directory>,
    rng: Prng,
}

pub fn now_of(at: Time) -> Now {
    Now { mono: Micros(at + 1), wall: wall_of(at) }
}

pub fn wall_of(at: Time) -> Timestamp {
    Timestamp(EPOCH_WALL + at as i64)
}

pub fn datagram_flow(server: SocketAddr, remote: SocketAddr) -> Flow {
    let listener = ListenerId(if server.port() == 5062 { 2 } else { 0 });
    Flow { listener, transport: Transport::Udp, local: SERVER, remote, connection: None }
}

pub fn stream_flow(connection: u64, remote: SocketAddr) -> Flow {
    let connection = Some(ConnectionId(connection));
    Flow { listener: ListenerId(1), transport: Transport::Tcp, local: SERVER, remote, connection }
}

impl Daemon {
    pub fn new(scenario: &Scenario, rng: Prng) -> Daemon {
        Daemon {
            engine: None,
            epoch: 0,
            plane: Plane::new(rng.split(1), SERVER, 10_000, scenario.media_late, scenario.rest),
            journal: Journal::default(),
            directory: scenario.directory(None),
            rng: rng.split(2),
        }
    }

    /// A new life: another epoch, a fresh media plane, what the journal kept.
    pub fn start(&mut self, scenario: &Scenario) {
        self.epoch += 1;
        self.plane = Plane::new(self.rng.split(self.epoch), SERVER, 10_000, scenario.media_late, scenario.rest);
        let seed = self.rng.seed_bytes();
        let config = scenario.config(self.epoch);
        self.engine = Some(Engine::new(config, seed, self.directory.clone(), strowger::apps::start));
    }

    /// Killed: whatever the journal had not written is lost, but for a part that had reached the disk unsaid.
    pub fn kill(&mut self) {
        self.engine = None;
        let keep = self.rng.below(self.journal.pending() as u64 + 1) as usize;
        self.journal.crash(self.epoch, keep);
    }

    pub fn handle(&mut self, at: Time, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        if let Some(engine) = self.engine.as_mut() {
            engine.handle(now_of(at), input, &mut out);
        }
        out
    }

    pub fn deadline(&self) -> Option<Time> {
        // One µs of grace keeps mono zero for "never".
        let due = self.engine.as_ref()?.deadline()?;
        Some(due.0.saturating_sub(1))
    }

    pub fn restored(&self) -> Input {
        Input::Restore(self.journal.bindings.values().cloned().collect())
    }
}
