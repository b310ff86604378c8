//! A flow: one transport path between a phone and us (RFC 5626 §2). A value, not a table entry: a flood of UDP sources
//! leaves nothing behind.

use crate::base::ids::{ConnectionId, ListenerId};
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// As written in a Via: `UDP`, `TCP`, `TLS`.
    pub fn via(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// As written in a `transport=` parameter.
    pub fn param(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    /// Reliable transports retransmit nothing (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        self != Transport::Udp
    }

    /// Whether a `sips:` request may travel over it (RFC 3261 §26.2.2).
    pub fn is_secure(self) -> bool {
        self == Transport::Tls
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
