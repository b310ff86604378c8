//! What the engine and the media plane say to each other. RTP itself never crosses the engine.
//!
//! Ownership: the media plane binds socket pairs ahead of time and grants them; a granted port is the engine's until it
//! says `Release`; the media plane lets it rest for 30 s before granting it again.

use crate::base::ids::PortId;
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every one is a Set, and a box would cost an allocation each")]
pub enum MediaCommand {
    /// Says, whole and anew, what a granted port does. Idempotent.
    Set { port: PortId, stream: Stream },
    /// The engine is done with the port; its `Released` event follows.
    Release { port: PortId },
}

/// The task of one port: where its peer is and what becomes of the peer's packets.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stream {
    /// Where our packets to this port's peer go at first, from its SDP; None while unknown or refused.
    pub remote: Option<Remote>,
    /// Whether the peer wants to hear us (its direction is sendrecv or recvonly, its address not 0.0.0.0).
    pub send: bool,
    /// Whether the peer may be heard; when false its packets are counted and dropped.
    pub receive: bool,
    /// Where the peer's packets go.
    pub sink: Option<Sink>,
    /// Changes with each new offer/answer of this leg: the source may be learnt anew.
    pub generation: u32,
    /// RTP clock of the peer's dynamic payload types in Hz, from its rtpmap; 0 means 8,000. Only the jitter depends on it.
    pub clock_rate: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remote {
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Sink {
    pub port: PortId,
    pub payloads: PayloadMap,
}

/// Payload type in → payload type out (RFC 3551 §6), `DROP` for those the other side did not agree to.
#[derive(Clone, PartialEq)]
pub struct PayloadMap(pub [u8; 128]);

impl PayloadMap {
    pub const DROP: u8 = 255;

    /// Drops everything.
    pub fn none() -> PayloadMap {
        PayloadMap([Self::DROP; 128])
    }

    pub fn set(&mut self, from: u8, to: u8) {
        self.0[usize::from(from & 0x7f)] = to & 0x7f;
    }

    pub fn get(&self, from: u8) -> Option<u8> {
        let to = self.0[usize::from(from & 0x7f)];
        (to != Self::DROP).then_some(to)
    }
}

impl std::fmt::Debug for PayloadMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = self.0.iter().enumerate().filter(|(_, to)| **to != Self::DROP);
        f.debug_map().entries(pairs).finish()
    }
}

#[derive(Clone, PartialEq, Debug)]
pub enum MediaEvent {
    /// A socket pair is bound and the engine's to use; RTCP is the next port up. Grants are replaced when they are used,
    /// and a port counts as used from its first command: `Set` it when it is taken, even if its peer is unknown yet.
    Granted { port: PortId, rtp: SocketAddr },
    /// The peer's packets come from here (RTP latching), maybe not from where its SDP said.
    Latched { port: PortId, from: SocketAddr },
    /// The port rests; what passed through it.
    Released { port: PortId, counters: Counters },
    /// Running totals of a port in use, at most one a second and port.
    Counted { port: PortId, counters: Counters },
}

impl MediaEvent {
    pub fn port(&self) -> PortId {
        match self {
            MediaEvent::Granted { port, .. }
            | MediaEvent::Latched { port, .. }
            | MediaEvent::Released { port, .. }
            | MediaEvent::Counted { port, .. } => *port,
        }
    }
}

/// What one port received from and sent to its peer, packets and bytes of RTP payload and header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    pub received: u64,
    pub received_bytes: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    /// Received but not forwarded: wrong source, direction, payload type or not RTP.
    pub dropped: u64,
    /// Sequence numbers that never came (RFC 3550 A.3).
    pub lost: u64,
    /// Interarrival jitter as the last packets had it, in RTP timestamp units (RFC 3550 A.8).
    pub jitter: u32,
    /// RTCP packets received and forwarded.
    pub rtcp: u64,
}

/// A granted socket pair in the engine's pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grant {
    pub port: PortId,
    pub rtp: SocketAddr,
}

impl Grant {
    pub fn family_matches(&self, address: IpAddr) -> bool {
        self.rtp.is_ipv4() == address.is_ipv4()
    }
}
