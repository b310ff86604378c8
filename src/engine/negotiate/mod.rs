//! Offer/answer (RFC 3264) of one leg of a bridged call whose media we relay.
//!
//! A leg's descriptions are ours: our o= and c=, our ports, this leg's payload numbers. Their content is the partner's.
//! Invariants, for a dialog's life: our m-lines keep their order and never get fewer (§8), a payload number keeps its
//! codec (§8.3.2), o='s version grows by one when the text changes and only then (§8), an answer has the offer's lines in
//! the offer's order with formats of the offer only (§6).
//!
//! ```text
//!             set_offer                    offer
//!   Theirs <------------- settled ----------------------> Ours
//!      |  answer / refuse    ^  ^   set_answer              |
//!      +---------------------+  +---------------------------+      rollback: what was agreed before stands
//! ```
//!
//! Not here: whose turn it is in SIP's terms (491, PRACK, ACK); the leg that owns this knows.

mod describe;
mod numbering;
#[cfg(test)]
mod tests;
mod wire;

pub use describe::streams;
pub use wire::{Held, held, wire};

use crate::proto::sdp::parse::SdpError;
use crate::proto::sdp::text::Text;
use crate::proto::sdp::{Direction, Media, Sdp};
use bytes::Bytes;
use describe::relayed;
use numbering::Numbering;
use smallvec::SmallVec;
use std::net::IpAddr;

/// Why a description can't be used, in words for the Warning header and the trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unacceptable {
    #[error(transparent)]
    Unreadable(#[from] SdpError),
    #[error("the description has no media line")]
    NoMedia,
    #[error("encrypted media (RTP/SAVP) is not available: configure the phone for RTP/AVP")]
    Encrypted,
    #[error("no media line is RTP/AVP or RTP/AVPF audio or video")]
    NotRelayed,
    #[error("the two parties have no codec in common")]
    NothingInCommon,
    #[error("there is no offer to answer")]
    NoOffer,
}

/// The offer/answer state of one leg.
#[derive(Clone, Debug)]
pub struct LegSdp {
    session_id: u64,
    /// Of the description sent last; 0 before the first.
    version: u64,
    /// The address in our o=: part of the session's identity, hence fixed by the first description.
    origin: Option<IpAddr>,
    /// The description sent last, agreed or not.
    sent: Bytes,
    /// For each m-line.
    numbers: SmallVec<[Numbering; 2]>,
    now: Exchange,
    /// What was agreed before the offer that is under way.
    before: Option<Box<Exchange>>,
    pending: Pending,
    generation: u32,
}

/// What both sides have said.
#[derive(Clone, Debug, Default)]
struct Exchange {
    local: Option<Local>,
    remote: Option<Sdp>,
    /// For each m-line of `remote`: what the peer would say if our offer did not restrict it.
    wishes: SmallVec<[Direction; 2]>,
}

/// A description of ours.
#[derive(Clone, Debug)]
struct Local {
    sdp: Sdp,
    bytes: Bytes,
    /// For each m-line that is relayed, which of the leg's ports it uses.
    slots: SmallVec<[Option<usize>; 2]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pending {
    Nothing,
    /// We have offered.
    Ours,
    /// The peer has offered.
    Theirs,
}

impl LegSdp {
    pub fn new(session_id: u64) -> LegSdp {
        LegSdp {
            session_id,
            version: 0,
            origin: None,
            sent: Bytes::new(),
            numbers: SmallVec::new(),
            now: Exchange::default(),
            before: None,
            pending: Pending::Nothing,
            generation: 0,
        }
    }

    /// The peer offers.
    ///
    /// # Errors
    /// Nothing in it can be relayed; then nothing has changed and the offer deserves a 488.
    pub fn set_offer(&mut self, sdp: Sdp) -> Result<(), Unacceptable> {
        acceptable(&sdp)?;
        self.begin(Pending::Theirs);
        if self.numbers.len() < sdp.media.len() {
            self.numbers.resize_with(sdp.media.len(), Numbering::default);
        }
        for (numbers, line) in self.numbers.iter_mut().zip(&sdp.media) {
            if relayed(line) {
                numbers.adopt(&line.formats);
            }
        }
        self.now.wishes = sdp.media.iter().map(|line| direction(&sdp, line)).collect();
        self.take(sdp);
        Ok(())
    }

    /// The peer, or one more early dialog of our INVITE, answers our last offer.
    ///
    /// # Errors
    /// Nothing in it can be relayed though it accepts something.
    pub fn set_answer(&mut self, sdp: Sdp) -> Result<(), Unacceptable> {
        acceptable(&sdp)?;
        let mut sdp = sdp;
        let mut wishes = SmallVec::new();
        for (i, line) in sdp.media.iter_mut().enumerate() {
            let Some(ours) = self.now.local.as_ref().and_then(|local| local.sdp.media.get(i)) else { break };
            name_formats(line, ours);
        }
        for (i, line) in sdp.media.iter().enumerate() {
            let offered = self.now.local.as_ref().and_then(|local| local.sdp.media.get(i));
            let offered = offered.and_then(|ours| ours.direction).unwrap_or_default();
            let before = self.now.wishes.get(i).copied().unwrap_or_default();
            wishes.push(wish(offered, direction(&sdp, line), before));
        }
        self.now.wishes = wishes;
        self.pending = Pending::Nothing;
        self.before = None;
        self.take(sdp);
        Ok(())
    }

    /// The offer under way, ours or the peer's, came to nothing: what was agreed before stands (RFC 3261 §14.1, RFC 3311
    /// §5.2). Without anything agreed before, nothing happens.
    pub fn rollback(&mut self) {
        if let Some(before) = self.before.take() {
            self.now = *before;
            self.pending = Pending::Nothing;
        }
    }

    /// Whether nothing has been said since the offer under way in `offered` was rolled back.
    pub fn has_only_rolled_back(&self, offered: &LegSdp) -> bool {
        self.pending == Pending::Nothing && self.version == offered.version && self.generation == offered.generation
    }

    /// The peer's last description, as it came.
    pub fn remote(&self) -> Option<&Sdp> {
        self.now.remote.as_ref()
    }

    /// Our last description, as sent.
    pub fn local(&self) -> Option<&Bytes> {
        self.now.local.as_ref().map(|local| &local.bytes)
    }

    /// Our last description, typed.
    pub fn local_sdp(&self) -> Option<&Sdp> {
        self.now.local.as_ref().map(|local| &local.sdp)
    }

    /// What stands while an offer waits for its answer, and after it.
    fn agreed(&self) -> &Exchange {
        self.before.as_deref().unwrap_or(&self.now)
    }

    /// An offer of ours waits for its answer.
    pub fn has_offered(&self) -> bool {
        self.pending == Pending::Ours
    }

    /// An offer of the peer waits for our answer.
    pub fn must_answer(&self) -> bool {
        self.pending == Pending::Theirs
    }

    /// Whether the peer's new description only repeats its last, o='s version aside, as a session refresh does. It can
    /// then be answered without asking the partner.
    pub fn repeats(&self, sdp: &Sdp) -> bool {
        self.now.remote.as_ref().is_some_and(|remote| same_content(remote, sdp))
    }

    /// What the peer would say if nobody restricted it: its last description, with the directions it asked for itself. The
    /// partner for an offer nobody asked the peer about (a re-INVITE without offer, a transfer).
    pub fn wishes(&self) -> Option<Sdp> {
        let mut sdp = self.now.remote.clone()?;
        for (line, wish) in sdp.media.iter_mut().zip(&self.now.wishes) {
            line.direction = Some(*wish);
        }
        Some(sdp)
    }

    /// What the peer would do if nobody restricted it, for each of its lines.
    pub fn wished(&self) -> &[Direction] {
        &self.now.wishes
    }

    /// Grows with each new description of the peer: the media plane may then learn its source anew.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    fn begin(&mut self, pending: Pending) {
        if self.pending == Pending::Nothing && self.now.local.is_some() {
            self.before = Some(Box::new(self.now.clone()));
        }
        self.pending = pending;
    }

    fn take(&mut self, sdp: Sdp) {
        if !self.repeats(&sdp) {
            self.generation = self.generation.wrapping_add(1);
        }
        self.now.remote = Some(sdp);
    }
}

/// Whether the caller, who was given `answered` (with another branch's early media), can go on unchanged now that `winner`
/// answered: every line in the same state, and every codec the caller may send is one the winner takes. Else the caller
/// needs a new offer.
pub fn compatible(answered: &Sdp, winner: &Sdp) -> bool {
    let lines = answered.media.iter().enumerate().filter(|(_, line)| relayed(line));
    for (i, line) in lines {
        let other = describe::counterpart(&answered.media, i, &winner.media).map(|j| &winner.media[j]);
        let active = other.is_some_and(Media::is_active);
        if active != line.is_active() {
            return false;
        }
        let Some(other) = other.filter(|_| active) else { continue };
        if direction(answered, line) != direction(winner, other) {
            return false;
        }
        let takes = |format| other.formats.iter().any(|candidate| candidate.same_codec(format));
        let comfort = |encoding: &Text| encoding.is("CN");
        let must = line.formats.iter().filter(|f| !f.codec.as_ref().is_some_and(|c| comfort(&c.encoding)));
        if !must.into_iter().all(takes) {
            return false;
        }
    }
    true
}

/// The line's direction, with the hold of RFC 2543 read as what it means: c=0.0.0.0 wants to receive nothing.
fn direction(sdp: &Sdp, line: &Media) -> Direction {
    let said = sdp.direction_of(line);
    let nowhere = sdp.connection_of(line).is_some_and(|c| c.is_unspecified());
    if nowhere { said.and(Direction::SendOnly) } else { said }
}

/// What an answerer would have said without the offer's restriction. What it could not express, it is believed to want as
/// before.
fn wish(offered: Direction, answered: Direction, before: Direction) -> Direction {
    let sends = if offered.receives() { answered.sends() } else { before.sends() };
    let receives = if offered.sends() { answered.receives() } else { before.receives() };
    Direction::of(sends, receives)
}

fn acceptable(sdp: &Sdp) -> Result<(), Unacceptable> {
    if sdp.media.is_empty() {
        return Err(Unacceptable::NoMedia);
    }
    let active = || sdp.media.iter().filter(|line| line.is_active());
    if active().next().is_none() || active().any(relayed) {
        return Ok(());
    }
    let encrypted = |line: &Media| line.proto.is("RTP/SAVP") || line.proto.is("RTP/SAVPF") || is_dtls(line);
    Err(if active().any(encrypted) { Unacceptable::Encrypted } else { Unacceptable::NotRelayed })
}

fn is_dtls(line: &Media) -> bool {
    line.proto.is("UDP/TLS/RTP/SAVP") || line.proto.is("UDP/TLS/RTP/SAVPF")
}

/// An answer that names no codec for a number means the offer's.
fn name_formats(answer: &mut Media, offer: &Media) {
    for format in answer.formats.iter_mut().filter(|format| format.codec.is_none()) {
        if let Some(offered) = offer.formats.iter().find(|offered| offered.id == format.id) {
            format.codec.clone_from(&offered.codec);
        }
    }
}

fn same_content(a: &Sdp, b: &Sdp) -> bool {
    a.media == b.media && a.connection == b.connection && a.direction == b.direction && a.bandwidth == b.bandwidth
}
