//! Writing our descriptions: the partner's words on our ports, in this leg's numbers.

use super::{Exchange, LegSdp, Local, Pending, Unacceptable, direction};
use crate::base::limits::MEDIA_LINES;
use crate::engine::negotiate::numbering::Numbering;
use crate::proto::sdp::text::Text;
use crate::proto::sdp::{Connection, Direction, Format, FormatId, Media, Origin, Sdp};
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

type Slots = SmallVec<[Option<usize>; 2]>;

/// Attributes of a line that are true for the other side of a relay too. Others (keys, ICE candidates, header extensions,
/// SSRCs, bundles) speak of the transport we end.
const CARRIED_ATTRIBUTES: [&str; 7] = ["rtcp-fb", "content", "label", "lang", "framerate", "imageattr", "silenceSupp"];

/// How many ports a description needs: one for each line we relay, audio first.
pub fn streams(sdp: &Sdp) -> usize {
    sdp.media.iter().filter(|line| relayed(line) && line.is_active()).count()
}

/// Plain RTP audio or video.
pub fn relayed(line: &Media) -> bool {
    (line.kind.is("audio") || line.kind.is("video")) && (line.proto.is("RTP/AVP") || line.proto.is("RTP/AVPF"))
}

/// The line of `others` that goes with `lines[at]`: the nth relayed line of a kind belongs to the nth of that kind.
pub fn counterpart(lines: &[Media], at: usize, others: &[Media]) -> Option<usize> {
    let line = &lines[at];
    if !relayed(line) {
        return None;
    }
    let alike = |other: &&Media| relayed(other) && other.kind.eq_ignore_ascii_case(&line.kind);
    let nth = lines[..at].iter().filter(alike).count();
    others.iter().enumerate().filter(|(_, other)| alike(other)).nth(nth).map(|(i, _)| i)
}

/// A description under construction: our lines, each with the port slot it uses, if any.
type Draft = Vec<(Media, Option<usize>)>;

impl LegSdp {
    /// Our offer to this leg's peer: what the partner's last description says, on our ports (one for each relayed line,
    /// as [`streams`] counts). Lines there is no port for are offered with port 0.
    pub fn offer(&mut self, partner: &Sdp, ports: &[SocketAddr]) -> Bytes {
        self.offer_limited(partner, ports, Direction::SendRecv)
    }

    /// As [`offer`](Self::offer), every direction within `limit`: `SendOnly` puts the peer on hold, `Inactive` silences
    /// both.
    pub fn offer_limited(&mut self, partner: &Sdp, ports: &[SocketAddr], limit: Direction) -> Bytes {
        self.begin(Pending::Ours);
        let own = self.layout();
        let pairs = arrange(&own, &partner.media);
        let slots = self.slots_of(&pairs, &partner.media);
        if self.numbers.len() < pairs.len() {
            self.numbers.resize_with(pairs.len(), Numbering::default);
        }
        let mut draft = Draft::new();
        for (i, pair) in pairs.iter().enumerate() {
            let theirs = pair.map(|j| &partner.media[j]);
            let carried = theirs.filter(|line| relayed(line) && line.is_active()).and_then(|line| {
                let formats = renumbered(line, &mut self.numbers[i])?;
                let slot = slots[i].filter(|slot| *slot < ports.len())?;
                let mut ours = carry(line, formats, ports[slot].port());
                ours.direction = Some(direction(partner, line).and(limit));
                // A line agreed on keeps its profile: a phone without AVPF would refuse the change.
                if let Some(agreed) = own.get(i).filter(|agreed| relayed(agreed) && agreed.is_active()) {
                    ours.proto = agreed.proto.clone();
                }
                Some((ours, Some(slot)))
            });
            draft.extend(carried.or_else(|| own.get(i).or(theirs).map(refused)));
        }
        self.describe(draft, partner.bandwidth.clone(), ports)
    }

    /// Our answer to the peer's last offer: what the partner answered, on our ports.
    ///
    /// # Errors
    /// The partner accepted audio, but with no codec of this offer: the peer needs a new offer.
    pub fn answer(&mut self, partner: &Sdp, ports: &[SocketAddr]) -> Result<Bytes, Unacceptable> {
        let Some(offer) = self.now.remote.take() else { return Err(Unacceptable::NoOffer) };
        let draft = self.answer_lines(&offer, partner, ports);
        let bytes = draft.map(|draft| self.describe(draft, partner.bandwidth.clone(), ports));
        self.now.remote = Some(offer);
        if bytes.is_ok() {
            self.settle();
        }
        bytes
    }

    /// An answer that accepts the peer's offer as it stands, without a partner: every line we relay, all its codecs, with a
    /// direction within `limit` (`Inactive` while there is nobody to talk to).
    ///
    /// # Errors
    /// There is no offer.
    pub fn accept(&mut self, ports: &[SocketAddr], limit: Direction) -> Result<Bytes, Unacceptable> {
        let mut partner = self.now.remote.clone().ok_or(Unacceptable::NoOffer)?;
        for line in &mut partner.media {
            line.direction = Some(limit);
        }
        partner.connection = None;
        partner.media.iter_mut().for_each(|line| line.connection = None);
        self.answer(&partner, ports)
    }

    /// An answer that refuses every line.
    ///
    /// # Errors
    /// There is no offer.
    pub fn refuse(&mut self, ports: &[SocketAddr]) -> Result<Bytes, Unacceptable> {
        let Some(offer) = self.now.remote.take() else { return Err(Unacceptable::NoOffer) };
        let bytes = self.describe(offer.media.iter().map(refused).collect(), Vec::new(), ports);
        self.now.remote = Some(offer);
        self.settle();
        Ok(bytes)
    }

    fn settle(&mut self) {
        self.pending = Pending::Nothing;
        self.before = None;
    }

    fn answer_lines(&self, offer: &Sdp, partner: &Sdp, ports: &[SocketAddr]) -> Result<Draft, Unacceptable> {
        let pairs: SmallVec<[Option<usize>; 2]> = (0..offer.media.len())
            .map(|i| counterpart(&offer.media, i, &partner.media).filter(|_| offer.media[i].is_active()))
            .collect();
        let slots = self.slots_of(&pairs, &partner.media);
        let mut draft = Draft::with_capacity(offer.media.len());
        for (i, line) in offer.media.iter().enumerate() {
            let theirs = pairs[i].map(|j| &partner.media[j]).filter(|theirs| theirs.is_active());
            let formats = theirs.map(|theirs| common(line, theirs));
            if line.kind.is("audio") && formats.as_ref().is_some_and(|formats| !formats.iter().any(is_codec)) {
                return Err(Unacceptable::NothingInCommon);
            }
            let carried = theirs.zip(formats).filter(|(_, formats)| formats.iter().any(is_codec));
            let carried = carried.and_then(|(theirs, formats)| {
                let slot = slots[i].filter(|slot| *slot < ports.len())?;
                let mut ours = carry(theirs, formats, ports[slot].port());
                ours.kind = line.kind.clone();
                ours.proto = line.proto.clone();
                ours.direction = Some(direction(partner, theirs).and(direction(offer, line).mirrored()));
                Some((ours, Some(slot)))
            });
            draft.push(carried.unwrap_or_else(|| refused(line)));
        }
        Ok(draft)
    }

    /// The m-lines this dialog has so far.
    fn layout(&self) -> Vec<Media> {
        let agreed: Option<&Exchange> = self.before.as_deref().or(Some(&self.now));
        let lines = agreed.and_then(|exchange| exchange.local.as_ref()).map(|local| &local.sdp.media);
        lines.or(self.now.remote.as_ref().map(|remote| &remote.media)).cloned().unwrap_or_default()
    }

    /// The port slots lines hold on to: those used before and wanted still. New ones are handed out audio first.
    fn slots_of(&self, pairs: &[Option<usize>], partner: &[Media]) -> Slots {
        let wanted =
            |i: usize| pairs.get(i).copied().flatten().is_some_and(|j| relayed(&partner[j]) && partner[j].is_active());
        let held = self.now.local.as_ref().map(|local| &local.slots);
        let mut slots: Slots = (0..pairs.len())
            .map(|i| held.and_then(|held| held.get(i).copied().flatten()).filter(|_| wanted(i)))
            .collect();
        for audio in [true, false] {
            for i in 0..slots.len() {
                let is_audio = pairs[i].is_some_and(|j| partner[j].kind.is("audio"));
                if slots[i].is_none() && wanted(i) && is_audio == audio {
                    slots[i] = (0..MEDIA_LINES).find(|slot| !slots.contains(&Some(*slot)));
                }
            }
        }
        slots
    }

    /// Makes the description, keeps it as ours, and gives it a version.
    fn describe(&mut self, draft: Draft, bandwidth: Vec<Text>, ports: &[SocketAddr]) -> Bytes {
        let slots: Slots = draft.iter().map(|(_, slot)| *slot).collect();
        let main = slots.iter().flatten().map(|slot| ports[*slot].ip()).next();
        let main = main.or(ports.first().map(SocketAddr::ip)).or(self.origin);
        let main = main.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let origin = *self.origin.get_or_insert(main);
        let media = draft.into_iter().map(|(mut line, slot)| {
            let ip = slot.map(|slot| ports[slot].ip()).filter(|ip| *ip != main);
            line.connection = ip.map(Connection::ip);
            line
        });
        let mut sdp =
            Sdp { connection: Some(Connection::ip(main)), bandwidth, media: media.collect(), ..Sdp::default() };
        let bytes = self.versioned(&mut sdp, origin);
        self.now.local = Some(Local { sdp, bytes: bytes.clone(), slots });
        bytes
    }

    /// Gives a description its o=: the version sent last if nothing else has changed since, else the next.
    fn versioned(&mut self, sdp: &mut Sdp, origin: IpAddr) -> Bytes {
        if self.version > 0 {
            sdp.origin = Some(self.origin_line(origin));
            if sdp.to_bytes() == self.sent {
                return self.sent.clone();
            }
        }
        self.version += 1;
        sdp.origin = Some(self.origin_line(origin));
        self.sent = sdp.to_bytes();
        self.sent.clone()
    }

    fn origin_line(&self, address: IpAddr) -> Origin {
        let family = if address.is_ipv6() { "IP6" } else { "IP4" };
        let (id, version) = (self.session_id.to_string(), self.version.to_string());
        let (id_end, version_end) = (id.len(), id.len() + version.len());
        // One allocation for the three.
        let whole = Bytes::from(format!("{id}{version}IN {family} {address}"));
        Origin {
            username: Text::fixed("-"),
            session_id: Text::within(&whole, &whole[..id_end]),
            version: Text::within(&whole, &whole[id_end..version_end]),
            address: Text::within(&whole, &whole[version_end..]),
        }
    }
}

/// For each of our lines the partner's line it carries: the first free one of its sort, else a new one at the end while
/// there is room.
fn arrange(own: &[Media], partner: &[Media]) -> SmallVec<[Option<usize>; 2]> {
    let mut pairs: SmallVec<[Option<usize>; 2]> = SmallVec::from_elem(None, own.len());
    for (j, line) in partner.iter().enumerate() {
        let free = own.iter().enumerate().position(|(i, ours)| pairs[i].is_none() && alike(ours, line));
        match free {
            Some(i) => pairs[i] = Some(j),
            None if pairs.len() < MEDIA_LINES => pairs.push(Some(j)),
            None => {}
        }
    }
    pairs
}

/// Whether one line may take the other's place.
fn alike(a: &Media, b: &Media) -> bool {
    let same_kind = a.kind.eq_ignore_ascii_case(&b.kind);
    same_kind && (relayed(a) && relayed(b) || a.proto.eq_ignore_ascii_case(&b.proto))
}

/// The partner's formats in this leg's numbers; None if no codec is among them.
fn renumbered(line: &Media, numbers: &mut Numbering) -> Option<Vec<Format>> {
    let mut formats: Vec<Format> = Vec::with_capacity(line.formats.len());
    for format in line.formats.iter().filter(|format| !format.names_other_numbers()) {
        let Some(number) = numbers.number(format) else { continue };
        let id = FormatId::Number(number);
        if !formats.iter().any(|known| known.id == id) {
            formats.push(Format { id, ..format.clone() });
        }
    }
    formats.iter().any(is_codec).then_some(formats)
}

/// The answered formats that were offered, in the answer's order and the offer's numbers.
fn common(offer: &Media, answer: &Media) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::with_capacity(answer.formats.len());
    for format in answer.formats.iter().filter(|format| !format.names_other_numbers()) {
        let Some(offered) = offer.formats.iter().find(|o| o.is_numbered() && o.same_codec(format)) else { continue };
        if !formats.iter().any(|known| known.id == offered.id) {
            formats.push(Format { id: offered.id.clone(), ..format.clone() });
        }
    }
    formats
}

fn is_codec(format: &Format) -> bool {
    !format.is_auxiliary()
}

fn carry(line: &Media, formats: Vec<Format>, port: u16) -> Media {
    let carried = |name: &Text| CARRIED_ATTRIBUTES.iter().any(|carried| name.is(carried));
    Media {
        kind: line.kind.clone(),
        port,
        ports: 1,
        proto: line.proto.clone(),
        formats,
        connection: None,
        bandwidth: line.bandwidth.clone(),
        direction: None,
        rtcp: None,
        ptime: line.ptime,
        maxptime: line.maxptime,
        attributes: line.attributes.iter().filter(|attribute| carried(&attribute.name)).cloned().collect(),
    }
}

/// The line as it was, with port 0: nothing else of it matters any more (RFC 3264 §6).
fn refused(line: &Media) -> (Media, Option<usize>) {
    let line = Media {
        kind: line.kind.clone(),
        port: 0,
        ports: 1,
        proto: line.proto.clone(),
        formats: line.formats.iter().map(|format| Format::new(format.id.clone())).collect(),
        connection: None,
        bandwidth: Vec::new(),
        direction: None,
        rtcp: None,
        ptime: None,
        maxptime: None,
        attributes: Vec::new(),
    };
    (line, None)
}
