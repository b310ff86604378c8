//! What the media plane does for two bridged legs, and what their descriptions say about hold.

use super::{LegSdp, describe, direction};
use crate::base::ids::PortId;
use crate::base::mutant::{self, Mutant};
use crate::engine::media::{PayloadMap, Remote, Sink, Stream};
use crate::proto::sdp::{Format, Media, Sdp};

/// Whether a leg's peer holds the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held {
    No,
    /// It wants to hear nothing: `sendonly`, or c=0.0.0.0.
    ByPeer,
    /// Neither side is to hear anything.
    Inactive,
}

/// Whether the leg's peer put us on hold, by its audio (by its first line if it has none).
pub fn held(leg: &LegSdp) -> Held {
    let agreed = leg.agreed();
    let Some(remote) = &agreed.remote else { return Held::No };
    let audio = remote.media.iter().position(|line| line.kind.is("audio") && line.is_active());
    let Some(wish) = agreed.wishes.get(audio.unwrap_or(0)) else { return Held::No };
    match (wish.sends(), wish.receives()) {
        (_, true) => Held::No,
        (true, false) => Held::ByPeer,
        (false, false) => Held::Inactive,
    }
}

/// For each port of the two legs what the media plane does with it, whole: ports of lines that are not in use get an idle
/// stream. An offer that has no answer changes nothing (RFC 3264 §4).
pub fn wire(a: &LegSdp, a_ports: &[PortId], b: &LegSdp, b_ports: &[PortId]) -> Vec<(PortId, Stream)> {
    let mut streams = Vec::with_capacity(a_ports.len() + b_ports.len());
    for (leg, ports, other, other_ports) in [(a, a_ports, b, b_ports), (b, b_ports, a, a_ports)] {
        let first = streams.len();
        streams.extend(ports.iter().map(|port| (*port, Stream { generation: leg.generation, ..Stream::default() })));
        let Some(local) = &leg.agreed().local else { continue };
        for (i, slot) in local.slots.iter().enumerate() {
            let Some(at) = slot.filter(|slot| *slot < ports.len()) else { continue };
            let stream = &mut streams[first + at].1;
            if let Some(remote) = &leg.agreed().remote {
                towards_peer(stream, &local.sdp, remote, i);
            }
            stream.sink = sink(leg, i, other, other_ports);
        }
    }
    streams
}

/// Where the peer is and whether it sends and listens.
fn towards_peer(stream: &mut Stream, local: &Sdp, remote: &Sdp, line: usize) {
    let (Some(ours), Some(theirs)) = (local.media.get(line), remote.media.get(line)) else { return };
    if !ours.is_active() || !theirs.is_active() || !describe::relayed(theirs) {
        return;
    }
    let both = direction(local, ours).mirrored().and(direction(remote, theirs));
    stream.send = both.receives() || mutant::on(Mutant::HoldIgnored);
    stream.receive = both.sends();
    stream.clock_rate = clock_rate(ours);
    stream.remote = remote.rtp_of(theirs).zip(remote.rtcp_of(theirs)).map(|(rtp, rtcp)| Remote { rtp, rtcp });
}

/// The RTP clock of the codec the peer is to send by a dynamic number; 0 when there is none. Static numbers have clocks of
/// their own, and those of auxiliary formats, such as telephone-event, follow the codec they go with.
fn clock_rate(ours: &Media) -> u32 {
    let dynamic = ours.formats.iter().filter(|format| format.number().is_some_and(|number| number >= 96));
    let mut codecs = dynamic.filter(|format| !format.is_auxiliary() && !format.names_other_numbers());
    codecs.find_map(|format| format.codec.as_ref()).map_or(0, |codec| codec.clock)
}

/// The other leg's port for what arrives on a line, with the numbers that leg's peer wants.
fn sink(leg: &LegSdp, line: usize, other: &LegSdp, other_ports: &[PortId]) -> Option<Sink> {
    let (leg, other) = (leg.agreed(), other.agreed());
    let (ours, theirs) = (leg.local.as_ref()?, other.local.as_ref()?);
    let at = describe::counterpart(&ours.sdp.media, line, &theirs.sdp.media)?;
    let port = *other_ports.get((*theirs.slots.get(at)?)?)?;
    let wanted = other.remote.as_ref()?.media.get(at).filter(|wanted| wanted.is_active())?;
    let told = &ours.sdp.media[line];
    let mut payloads = PayloadMap::none();
    map(&mut payloads, &told.formats, wanted);
    // A peer is to send the numbers of our description. Some send their own: harmless where ours leave them free.
    if let Some(own) = leg.remote.as_ref().and_then(|remote| remote.media.get(line)) {
        let free = |format: &&Format| !told.formats.iter().any(|taken| taken.id == format.id);
        map(&mut payloads, own.formats.iter().filter(free), wanted);
    }
    Some(Sink { port, payloads })
}

fn map<'a>(payloads: &mut PayloadMap, from: impl IntoIterator<Item = &'a Format>, to: &Media) {
    for format in from {
        let target = to.formats.iter().find(|target| target.same_codec(format));
        if let Some((from, to)) = format.number().zip(target.and_then(|target| target.number())) {
            let (from, to) = if mutant::on(Mutant::PayloadsSwapped) { (to, from) } else { (from, to) };
            payloads.set(from, to);
        }
    }
}
