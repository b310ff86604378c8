//! Offers and answers of one call (RFC 3264), as this phone makes and judges them.

use super::Phone;
use super::call::CallId;
use super::traits::Make;
use crate::sip::sdp::{Direction, INACTIVE, Line, SENDRECV, Sdp};
use std::net::{IpAddr, Ipv4Addr};

pub struct Media {
    pub port: u16,
    id: u64,
    version: u64,
    /// What we would like to do with audio: SENDRECV, or less while we hold.
    pub wish: Direction,
    /// Our offer without an answer.
    pub offered: Option<Sdp>,
    /// What both sides agreed on last: ours and theirs.
    pub local: Option<Sdp>,
    pub remote: Option<Sdp>,
    /// We have refused an offer since.
    pub refused: bool,
    /// The answer as a provisional response brought it.
    pub preview: Option<Sdp>,
    /// Our answers or offers of the early dialogs, by their number.
    pub early: Vec<(usize, Sdp)>,
    /// The last SDP we sent, and the last we got, for the versions.
    sent: Option<Sdp>,
    got: Option<Sdp>,
}

impl Media {
    pub fn new(port: u16, id: u64) -> Media {
        Media {
            port,
            id,
            version: id % 1_000,
            wish: SENDRECV,
            offered: None,
            local: None,
            remote: None,
            refused: false,
            preview: None,
            early: Vec::new(),
            sent: None,
            got: None,
        }
    }

    /// The version grows with each change (RFC 3264 §8).
    fn stamp(&mut self, mut sdp: Sdp) -> Sdp {
        sdp.id = self.id;
        sdp.version = self.version;
        if self.sent.as_ref().is_some_and(|sent| *sent != sdp) {
            self.version += 1;
            sdp.version = self.version;
        }
        self.sent = Some(sdp.clone());
        sdp
    }

    fn formats_to_offer(&self, make: &Make) -> Vec<(u8, String)> {
        // A number keeps its meaning for the whole session (RFC 3264 §8.3.2): what was agreed comes first.
        let mut formats = self.local.as_ref().and_then(Sdp::audio).map_or(Vec::new(), |line| line.formats.clone());
        for (number, name) in &make.codecs {
            if formats.iter().all(|(n, known)| n != number && known != name) {
                formats.push((*number, name.clone()));
            }
        }
        formats
    }

    fn offer(&mut self, make: &Make, address: IpAddr, shift: u16) -> Sdp {
        let held_the_old_way = make.old_hold && !self.wish.hears;
        let audio = Line {
            kind: "audio".into(),
            port: self.port + shift,
            proto: "RTP/AVP".into(),
            formats: self.formats_to_offer(make),
            direction: if held_the_old_way { SENDRECV } else { self.wish },
        };
        // The lines of a session stay (RFC 3264 §8).
        let others: Vec<Line> = match &self.local {
            Some(local) => local.lines.iter().filter(|line| line.kind != "audio").cloned().collect(),
            None if make.video => vec![Line {
                kind: "video".into(),
                port: self.port + shift + 2,
                proto: "RTP/AVP".into(),
                formats: vec![(34, "H263/90000".into())],
                direction: SENDRECV,
            }],
            None => Vec::new(),
        };
        let address = if held_the_old_way { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { address };
        let lines = std::iter::once(audio).chain(others).collect();
        self.stamp(Sdp { id: 0, version: 0, address, lines })
    }

    /// None without a common codec.
    fn answer(&mut self, make: &Make, offer: &Sdp, address: IpAddr, shift: u16) -> Option<Sdp> {
        let mut audible = false;
        let mut lines = Vec::new();
        for line in &offer.lines {
            let plain = line.proto == "RTP/AVP" && line.port != 0;
            let mut ours = Line { port: 0, direction: INACTIVE, ..line.clone() };
            if plain && line.kind == "audio" && !audible {
                ours.formats = self.common(make, line);
                if ours.codecs().next().is_some() {
                    audible = true;
                    ours.port = self.port + shift;
                    ours.direction = self.wish.answer_to(offer.audio_direction());
                }
            } else if plain && line.kind == "video" && make.video {
                ours.port = self.port + shift + 2;
                ours.direction = SENDRECV.answer_to(line.direction);
            }
            if ours.formats.is_empty() {
                ours.formats.clone_from(&line.formats);
            }
            lines.push(ours);
        }
        audible.then(|| self.stamp(Sdp { id: 0, version: 0, address, lines }))
    }

    fn common(&self, make: &Make, offered: &Line) -> Vec<(u8, String)> {
        let mut formats: Vec<(u8, String)> = Vec::new();
        for (number, name) in &offered.formats {
            let Some((own, _)) = make.codecs.iter().find(|(_, known)| known == name) else { continue };
            // Our own number, unless the offer or an older agreement gave it another meaning.
            let clash = |line: &Line| line.formats.iter().any(|(n, other)| n == own && other != name);
            let taken = clash(offered) || self.local.as_ref().and_then(Sdp::audio).is_some_and(clash);
            let number = if make.own_numbers && !taken { *own } else { *number };
            formats.push((number, name.clone()));
        }
        formats
    }
}

impl Phone {
    /// A new offer of ours; it is outstanding from now on.
    pub(super) fn offer(&mut self, id: CallId) -> Option<Sdp> {
        let (make, address) = (self.profile.make.clone(), self.profile.address.ip());
        let media = &mut self.calls.get_mut(&id)?.media;
        let sdp = media.offer(&make, address, 0);
        media.offered = Some(sdp.clone());
        Some(sdp)
    }

    /// Our offer from one of several early dialogs: the same again in each response of that dialog.
    pub(super) fn early_offer(&mut self, id: CallId, tag: usize) -> Option<Sdp> {
        let (make, address) = (self.profile.make.clone(), self.profile.address.ip());
        let media = &mut self.calls.get_mut(&id)?.media;
        if let Some((_, sdp)) = media.early.iter().find(|(t, _)| *t == tag) {
            return Some(sdp.clone());
        }
        let sdp = media.offer(&make, address, tag as u16 * 4);
        media.early.push((tag, sdp.clone()));
        Some(sdp)
    }

    /// Our answer to `offer`, agreed from now on; None without a common codec.
    pub(super) fn answer(&mut self, id: CallId, offer: &Sdp) -> Option<Sdp> {
        let (make, address) = (self.profile.make.clone(), self.profile.address.ip());
        self.judge(id, offer);
        let media = &mut self.calls.get_mut(&id)?.media;
        let sdp = media.answer(&make, offer, address, 0)?;
        (media.local, media.remote, media.refused) = (Some(sdp.clone()), Some(offer.clone()), false);
        Some(sdp)
    }

    /// The answer of one of several early dialogs: the same again in each response of that dialog.
    pub(super) fn early_answer(&mut self, id: CallId, offer: &Sdp, tag: usize) -> Option<Sdp> {
        let (make, address) = (self.profile.make.clone(), self.profile.address.ip());
        let media = &mut self.calls.get_mut(&id)?.media;
        if let Some((_, sdp)) = media.early.iter().find(|(t, _)| *t == tag) {
            return Some(sdp.clone());
        }
        let sdp = media.answer(&make, offer, address, tag as u16 * 4)?;
        media.early.push((tag, sdp.clone()));
        Some(sdp)
    }

    /// The answer to our outstanding offer.
    pub(super) fn take_answer(&mut self, id: CallId, answer: Sdp) {
        self.judge(id, &answer);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(offer) = call.media.offered.take() else { return };
        let detail = call.dialog.call_id.clone();
        let fault = judge_answer(&offer, &answer);
        (call.media.local, call.media.remote, call.media.refused) = (Some(offer), Some(answer), false);
        if let Some(rule) = fault {
            self.complain(rule, &detail);
        }
    }

    /// Looks at the origin of an SDP that came: one id, and a new version for each change.
    pub(super) fn judge(&mut self, id: CallId, sdp: &Sdp) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let before = call.media.got.replace(sdp.clone());
        let detail = call.dialog.call_id.clone();
        let Some(before) = before else { return };
        if before.id != sdp.id {
            self.complain("the origin of an SDP changed within a dialog", &detail);
        } else if before.version == sdp.version && before != *sdp {
            self.complain("an SDP changed without a new version", &detail);
        } else if before.version > sdp.version {
            self.complain("the version of an SDP went back", &detail);
        } else if before.lines.len() > sdp.lines.len() {
            self.complain("an SDP lost a media line", &detail);
        }
    }
}

fn judge_answer(offer: &Sdp, answer: &Sdp) -> Option<&'static str> {
    if offer.lines.len() != answer.lines.len() {
        return Some("an answer with another number of lines than its offer");
    }
    if offer.lines.iter().zip(&answer.lines).any(|(o, a)| o.kind != a.kind) {
        return Some("an answer with other lines than its offer");
    }
    let (Some(ours), Some(theirs)) = (offer.audio(), answer.audio()) else { return Some("an answer without audio") };
    if theirs.port == 0 {
        return None;
    }
    if !answer.audio_direction().answers(offer.audio_direction()) {
        return Some("an answer does what its offer does not allow");
    }
    if !theirs.codecs().any(|(_, name)| ours.number_of(name).is_some()) {
        return Some("an answer without a codec of its offer");
    }
    None
}
