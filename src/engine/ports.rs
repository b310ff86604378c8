//! The engine's pool of media ports: granted by the media plane ahead of time, taken by legs, given back.
//!
//! Invariant: a port is free, or used by exactly one leg, or back at the media plane.

use crate::base::ids::{CallId, LegId, PortId};
use crate::engine::io::Output;
use crate::engine::media::{Grant, MediaCommand};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

/// Whose a port is or was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User {
    pub call: CallId,
    pub leg: LegId,
}

#[derive(Default)]
pub struct Ports {
    free: BTreeMap<IpAddr, VecDeque<Grant>>,
    used: BTreeMap<PortId, User>,
    /// Given back; their totals are on the way.
    leaving: BTreeMap<PortId, User>,
}

impl Ports {
    pub fn grant(&mut self, grant: Grant) {
        self.free.entry(grant.rtp.ip()).or_default().push_back(grant);
    }

    /// A port on the wanted address, or else one of its family; None when there is none.
    pub fn take(&mut self, wanted: IpAddr, user: User) -> Option<Grant> {
        let exact = self.free.get_mut(&wanted).and_then(VecDeque::pop_front);
        let same_family = |ip: &IpAddr| ip.is_ipv4() == wanted.is_ipv4();
        let grant = exact.or_else(|| {
            let queues = self.free.iter_mut().filter(|(ip, _)| same_family(ip));
            queues.map(|(_, queue)| queue).find_map(VecDeque::pop_front)
        })?;
        self.used.insert(grant.port, user);
        Some(grant)
    }

    pub fn release(&mut self, grant: Grant, out: &mut Vec<Output>) {
        if let Some(user) = self.used.remove(&grant.port) {
            self.leaving.insert(grant.port, user);
            out.push(Output::Media(MediaCommand::Release { port: grant.port }));
        }
    }

    pub fn user(&self, port: PortId) -> Option<User> {
        self.used.get(&port).copied()
    }

    /// The port is back at the media plane; whose it was.
    pub fn released(&mut self, port: PortId) -> Option<User> {
        self.leaving.remove(&port)
    }

    pub fn free(&self) -> impl Iterator<Item = PortId> {
        self.free.values().flatten().map(|grant| grant.port)
    }

    pub fn used(&self) -> impl Iterator<Item = (PortId, LegId)> {
        self.used.iter().map(|(port, user)| (*port, user.leg))
    }
}
