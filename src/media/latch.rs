//! Latching: whose packets are the peer's, and where ours to it go. Pure: time and packets are arguments.
//!
//! Invariant: once the learning window has closed, a source that is talking is only displaced by the address the
//! signalling named. Nobody else's voice gets into the call (RTP bleed), nobody else gets to hear it (hijack).
//!
//! ```text
//!             first packet                     2 s after it
//!   waiting ───────────────► learning ────────────────────────► pinned
//!      ▲                        │  a better source displaces       │  another only if the pinned one was silent for
//!      │                        ▼  a worse one                     ▼  500 ms and its stream goes on from the same IP
//!      └────────────────────────┴──── a new offer/answer ──────────┘
//! ```
//!
//! Better means: the signalled address, then the signalled IP (another port: NAT), then any other (NAT with a private
//! address in the SDP). Among equals the first stays. After a new offer/answer the old source keeps its place while it
//! talks and the signalled address is what it was; if that changed, whoever else speaks first takes it.

use crate::base::now::Micros;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long after the first packet another source may be learnt.
const WINDOW: Duration = Duration::from_secs(2);
/// How long a source must be silent before it may be displaced.
const SILENCE: Duration = Duration::from_millis(500);
/// A source that was heard this lately can't be displaced before it is asked again, if that is within as long.
pub const SETTLED: Duration = Duration::from_millis(250);
/// The same as `SILENCE` for RTCP, whose packets are about 5 s apart (RFC 3550 §6.2).
const RTCP_SILENCE: Duration = Duration::from_secs(15);
/// Largest jump of a sequence number that still continues a stream (RFC 3550 A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3_000;
/// Fastest RTP clock in use, Hz, with some air: bounds how far a timestamp can have come in a pause.
const MAX_CLOCK_KHZ: u64 = 100;

/// What of an RTP header tells one stream from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The peer's.
    Accept,
    /// The peer's, and from now on it is here that it is.
    Latched,
    /// Somebody else's.
    Refuse,
}

#[derive(Debug, Default)]
pub struct Latch {
    signalled: Option<SocketAddr>,
    generation: u32,
    source: Option<Source>,
    /// When learning ends; None until the first packet of this generation.
    window_end: Option<Micros>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    address: SocketAddr,
    last: Header,
    heard: Micros,
    /// Learnt under an earlier signalled address.
    outdated: bool,
    /// Our packets go to it, not to the signalled address.
    followed: bool,
}

/// How well a source fits what was signalled; the order is the preference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Displaceable,
    OtherIp,
    SignalledIp,
    Signalled,
}

impl Latch {
    /// Takes a stream's signalled address; a new generation opens the learning window again. None (a hold with 0.0.0.0)
    /// says nothing about where the peer is: the address it comes back with is compared to the one before the hold.
    pub fn set(&mut self, signalled: Option<SocketAddr>, generation: u32) {
        let moved = signalled.is_some() && signalled != self.signalled;
        if !moved && generation == self.generation {
            return;
        }
        self.generation = generation;
        self.window_end = None;
        if moved {
            self.signalled = signalled;
            if let Some(source) = &mut self.source {
                source.outdated = Some(source.address) != signalled;
                source.followed = !source.outdated;
            }
        }
    }

    /// Judges a packet that arrived at `now` from `from`.
    #[inline]
    pub fn packet(&mut self, now: Micros, from: SocketAddr, header: Header) -> Verdict {
        match &mut self.source {
            Some(source) if source.address == from => {
                source.last = header;
                source.heard = now;
                let window_end = *self.window_end.get_or_insert(now + WINDOW);
                if source.followed { Verdict::Accept } else { source.follow(now, window_end) }
            }
            _ => self.stranger(now, from, header),
        }
    }

    /// Where packets to the peer go: where it is heard from, or where it said it is.
    pub fn destination(&self) -> Option<SocketAddr> {
        match &self.source {
            Some(source) if source.followed => Some(source.address),
            _ => self.signalled,
        }
    }

    /// The only address packets are welcome from, whatever comes from elsewhere in the next `SETTLED`: the signalled one, pinned
    /// and talking.
    pub fn settled(&self, now: Micros) -> Option<SocketAddr> {
        let source = self.source.as_ref()?;
        let is_pinned = self.window_end.is_some_and(|end| now >= end) && Some(source.address) == self.signalled;
        (is_pinned && source.followed && now.since(source.heard) < SETTLED).then_some(source.address)
    }

    /// The peer's IP as far as its RTP shows it.
    pub fn source_ip(&self) -> Option<IpAddr> {
        self.source.as_ref().map(|source| source.address.ip())
    }

    #[cold]
    fn stranger(&mut self, now: Micros, from: SocketAddr, header: Header) -> Verdict {
        let Some(signalled) = self.signalled else { return Verdict::Refuse };
        let rank = rank(signalled, from);
        let learning = self.window_end.is_none_or(|end| now < end);
        let welcome = match &self.source {
            None => learning || rank == Rank::Signalled,
            Some(_) if rank == Rank::Signalled => true,
            Some(source) if learning => rank > self.standing(source, signalled, now),
            Some(source) => source.goes_on(now, from, header),
        };
        if !welcome {
            return Verdict::Refuse;
        }
        self.source = Some(Source { address: from, last: header, heard: now, outdated: false, followed: true });
        self.window_end.get_or_insert(now + WINDOW);
        Verdict::Latched
    }

    /// What a candidate within the window must beat.
    fn standing(&self, source: &Source, signalled: SocketAddr, now: Micros) -> Rank {
        // No packet of this generation yet: the source is one of the generation before.
        let gone = self.window_end.is_none() && now.since(source.heard) >= SILENCE;
        if source.outdated || gone { Rank::Displaceable } else { rank(signalled, source.address) }
    }
}

impl Source {
    /// An outdated source that still talks half a second after the new address was to speak is where the peer is: its SDP
    /// changed, its NAT's mapping did not.
    fn follow(&mut self, now: Micros, window_end: Micros) -> Verdict {
        if now < window_end - (WINDOW - SILENCE) {
            return Verdict::Accept;
        }
        self.followed = true;
        Verdict::Latched
    }

    /// Whether a packet from elsewhere continues this stream after a pause: a NAT gave it another port.
    fn goes_on(&self, now: Micros, from: SocketAddr, header: Header) -> bool {
        let pause = now.since(self.heard);
        let steps = header.sequence.wrapping_sub(self.last.sequence);
        let ticks = u64::from(header.timestamp.wrapping_sub(self.last.timestamp));
        let most = (pause.as_millis() as u64).saturating_add(1_000).saturating_mul(MAX_CLOCK_KHZ);
        pause >= SILENCE
            && from.ip() == self.address.ip()
            && header.ssrc == self.last.ssrc
            && (1..=MAX_DROPOUT).contains(&steps)
            && (1..=most).contains(&ticks)
    }
}

fn rank(signalled: SocketAddr, from: SocketAddr) -> Rank {
    if from == signalled {
        Rank::Signalled
    } else if from.ip() == signalled.ip() {
        Rank::SignalledIp
    } else {
        Rank::OtherIp
    }
}

/// Where a peer's RTCP comes from and ours to it goes. It follows RTP's latch by IP; its port may be a NAT's.
#[derive(Debug, Default)]
pub struct RtcpLatch {
    signalled: Option<SocketAddr>,
    source: Option<(SocketAddr, Micros)>,
}

impl RtcpLatch {
    /// Takes the signalled RTCP address; a changed one forgets what was learnt.
    pub fn set(&mut self, signalled: Option<SocketAddr>) {
        if signalled.is_some() && signalled != self.signalled {
            *self = RtcpLatch { signalled, source: None };
        }
    }

    /// Judges an RTCP packet, given the IP the peer's RTP comes from, if any was heard.
    pub fn packet(&mut self, now: Micros, from: SocketAddr, rtp: Option<IpAddr>) -> Verdict {
        let Some(signalled) = self.signalled else { return Verdict::Refuse };
        if let Some((source, heard)) = &mut self.source
            && *source == from
        {
            *heard = now;
            return Verdict::Accept;
        }
        let vacant = self.source.is_none_or(|(_, heard)| now.since(heard) >= RTCP_SILENCE);
        let of_the_peer = from.ip() == rtp.unwrap_or(signalled.ip());
        if from == signalled || (vacant && of_the_peer) {
            self.source = Some((from, now));
            return Verdict::Latched;
        }
        Verdict::Refuse
    }

    /// Where RTCP to the peer goes: where its own comes from, else where it said, unless its RTP shows that it is
    /// behind a NAT and the address in its SDP leads nowhere.
    pub fn destination(&self, rtp: Option<IpAddr>) -> Option<SocketAddr> {
        match self.source {
            Some((source, _)) => Some(source),
            None => self.signalled.filter(|signalled| rtp.is_none_or(|ip| ip == signalled.ip())),
        }
    }
}

#[cfg(test)]
mod tests;
