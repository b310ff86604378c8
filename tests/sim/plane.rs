//! A media plane without media: grants ports ahead, follows commands, lets ports rest, and judges whether the commands are
//! legal. Its faults are slowness and scarcity.

use crate::clock::{MS, Time};
use crate::prng::Prng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use strowger::base::ids::PortId;
use strowger::engine::media::{Counters, MediaCommand, MediaEvent, Stream};

pub struct Plane {
    /// Granted and not released, with what each does.
    pub granted: BTreeMap<PortId, Port>,
    /// Granted once, released and resting.
    resting: BTreeSet<PortId>,
    rest: Time,
    late: Time,
    address: IpAddr,
    first_port: u16,
    rng: Prng,
}

pub struct Port {
    pub rtp: SocketAddr,
    pub stream: Option<Stream>,
    /// How many generations of its peer it has seen.
    pub sets: u64,
}

impl Plane {
    pub fn new(rng: Prng, address: IpAddr, first_port: u16, late: Time, rest: Time) -> Plane {
        Plane { granted: BTreeMap::new(), resting: BTreeSet::new(), rest, late, address, first_port, rng }
    }

    /// The event that grants a port.
    pub fn grant(&mut self, port: PortId) -> MediaEvent {
        let rtp = SocketAddr::new(self.address, self.first_port + port.0 as u16 * 2);
        self.resting.remove(&port);
        self.granted.insert(port, Port { rtp, stream: None, sets: 0 });
        MediaEvent::Granted { port, rtp }
    }

    /// Follows a command; events that result, with their delay. `Err`: the command is illegal.
    pub fn follow(&mut self, command: MediaCommand) -> Result<Vec<(Time, PlaneEvent)>, String> {
        match command {
            MediaCommand::Set { port, stream } => {
                let Some(entry) = self.granted.get_mut(&port) else {
                    return Err(format!("Set on port {port}, which is not granted"));
                };
                if let (Some(remote), true) = (stream.remote, stream.send)
                    && remote.rtp.port() == 0
                {
                    return Err(format!("Set on port {port} sends to {}", remote.rtp));
                }
                if stream.sink.as_ref().is_some_and(|sink| sink.port == port) {
                    return Err(format!("port {port} is its own sink"));
                }
                if let Some(before) = &entry.stream
                    && stream.generation < before.generation
                {
                    return Err(format!("the generation of port {port} went back"));
                }
                entry.stream = Some(stream);
                entry.sets += 1;
                Ok(Vec::new())
            }
            MediaCommand::Release { port } => {
                if self.granted.remove(&port).is_none() {
                    return Err(format!("Release of port {port}, which is not granted"));
                }
                self.resting.insert(port);
                let after = MS + self.rng.below(self.late + 1);
                Ok(vec![
                    (after, PlaneEvent::Tell(MediaEvent::Released { port, counters: Counters::default() })),
                    (after + self.rest, PlaneEvent::GrantAgain(port)),
                ])
            }
        }
    }

    /// What must hold after every step: nobody's packets go to a port that is not in use.
    pub fn fault(&self) -> Option<String> {
        let sinks = self.granted.iter().filter_map(|(port, entry)| Some((port, entry.stream.as_ref()?.sink.as_ref()?)));
        let mut lost = sinks.filter(|(_, sink)| !self.granted.contains_key(&sink.port));
        lost.next().map(|(port, sink)| format!("port {port} sinks into {}, which is not in use", sink.port))
    }

    /// The granted port with this address.
    pub fn port_at(&self, rtp: SocketAddr) -> Option<PortId> {
        self.granted.iter().find(|(_, port)| port.rtp == rtp).map(|(port, _)| *port)
    }

    /// Whether what the peer of `from` says is sent to the peer of `to`.
    pub fn carries(&self, from: PortId, to: PortId) -> bool {
        let stream = |port| self.granted.get(&port).and_then(|entry: &Port| entry.stream.as_ref());
        let (Some(source), Some(target)) = (stream(from), stream(to)) else { return false };
        source.receive
            && source.sink.as_ref().is_some_and(|sink| sink.port == to)
            && target.send
            && target.remote.is_some()
    }
}

#[derive(Debug)]
pub enum PlaneEvent {
    Tell(MediaEvent),
    GrantAgain(PortId),
}
