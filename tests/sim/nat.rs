//! Network address translation as offices have it (RFC 4787's words): what a packet's source becomes on its way out, and
//! which packets are let in.

use crate::clock::Time;
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One outer port for each inner one, open to everybody.
    Cone,
    /// The same, open to those the phone has sent to (address and port).
    Restricted,
    /// Another outer port for each destination, open to that destination alone.
    Symmetric,
}

pub struct Nat {
    pub kind: Kind,
    outer: IpAddr,
    next_port: u16,
    mappings: Vec<Mapping>,
}

struct Mapping {
    inner: SocketAddr,
    outer_port: u16,
    sent_to: Vec<SocketAddr>,
    used: Time,
}

/// A mapping nobody used for so long is gone.
const LIFETIME: Time = 120 * crate::clock::SECOND;

impl Nat {
    pub fn new(kind: Kind, outer: IpAddr) -> Nat {
        Nat { kind, outer, next_port: 20_000, mappings: Vec::new() }
    }

    /// The source address the outside sees.
    pub fn outward(&mut self, now: Time, inner: SocketAddr, to: SocketAddr) -> SocketAddr {
        self.mappings.retain(|mapping| mapping.used + LIFETIME > now);
        let symmetric = self.kind == Kind::Symmetric;
        let fits = |mapping: &&mut Mapping| mapping.inner == inner && (!symmetric || mapping.sent_to.contains(&to));
        if let Some(mapping) = self.mappings.iter_mut().find(fits) {
            mapping.used = now;
            if !mapping.sent_to.contains(&to) {
                mapping.sent_to.push(to);
            }
            return SocketAddr::new(self.outer, mapping.outer_port);
        }
        let outer_port = self.next_port;
        self.next_port = if outer_port > 60_000 { 20_000 } else { outer_port + 1 };
        self.mappings.push(Mapping { inner, outer_port, sent_to: vec![to], used: now });
        SocketAddr::new(self.outer, outer_port)
    }

    /// The phone a packet from outside is for, if it is let in.
    pub fn inward(&self, now: Time, from: SocketAddr, outer: SocketAddr) -> Option<SocketAddr> {
        let mapping = self.mappings.iter().find(|mapping| mapping.outer_port == outer.port())?;
        let open = self.kind == Kind::Cone || mapping.sent_to.contains(&from);
        (open && outer.ip() == self.outer && mapping.used + LIFETIME > now).then_some(mapping.inner)
    }

    /// The box was restarted: it knows nothing any more, and gives out other ports.
    pub fn rebind(&mut self) {
        self.mappings.clear();
        self.next_port = self.next_port.wrapping_add(1_000).max(20_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn lets_in_what_its_kind_lets_in() {
        let (phone, server, other) =
            (address("10.0.0.2:5060"), address("203.0.113.1:5060"), address("203.0.113.1:5062"));
        for (kind, lets_others_in) in [(Kind::Cone, true), (Kind::Restricted, false), (Kind::Symmetric, false)] {
            let mut nat = Nat::new(kind, "198.51.100.1".parse().unwrap());
            let outer = nat.outward(0, phone, server);
            assert_eq!(nat.inward(1, server, outer), Some(phone));
            assert_eq!(nat.inward(1, other, outer).is_some(), lets_others_in);
            assert_eq!(nat.outward(1, phone, other) == outer, kind != Kind::Symmetric);
            nat.rebind();
            assert_eq!(nat.inward(2, server, outer), None);
            assert_ne!(nat.outward(2, phone, server), outer);
        }
    }
}
