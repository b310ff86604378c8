//! A flow: one transport path between a phone and us (RFC 5626 §2). A value, not a table entry: a flood of UDP sources
//! leaves nothing behind.

use crate::base::ids::{ConnectionId, ListenerId};
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    /// As written in a Via: `UDP`, `TCP`.
    pub fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }

    /// As written in a `transport=` parameter.
    pub fn param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        }
    }

    /// Reliable transports retransmit nothing (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    pub listener: ListenerId,
    pub transport: Transport,
    /// The local address packets of this flow arrive at and leave from.
    pub local: IpAddr,
    /// The peer's address as we see it.
    pub remote: SocketAddr,
    /// None for UDP.
    pub connection: Option<ConnectionId>,
}
