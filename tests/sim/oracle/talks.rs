//! Who may be sent media: what the last offer and answer of a dialog allow (RFC 3264), read off the wire, against what the
//! media plane was told of that dialog's port. A phone that holds gets nothing, in the very step that answers it.
//!
//! Only what forbids is judged here: when nothing is under way, `agreement` asks for what must be heard as well.

use super::Verdict;
use crate::plane::Plane;
use crate::sip::sdp::{Direction, Sdp};
use crate::sip::text::Msg;
use std::collections::BTreeMap;
use std::net::SocketAddr;

#[derive(Default)]
pub struct Talks {
    /// By Call-ID: the engine's dialogs never share one.
    talks: BTreeMap<String, Talk>,
    /// What holds in dialogs that still have their port.
    agreed: BTreeMap<String, Agreed>,
}

/// Method and CSeq: tells the requests of one side of a dialog apart.
type Request = (String, u32);

#[derive(Default)]
struct Talk {
    /// The phone's INVITEs and UPDATEs without a final response, with their offers.
    asked: BTreeMap<Request, Option<Direction>>,
    /// The highest CSeq of those: what comes late repeats what is settled.
    last_asked: Option<u32>,
    /// The engine's, until the ACK (INVITE) or the 2xx (UPDATE).
    ours: BTreeMap<Request, Option<Side>>,
    /// The phone's 2xx to the engine's INVITEs, by CSeq and its tag.
    answers: BTreeMap<(u32, String), Option<Direction>>,
    /// The engine's offers in 2xx to INVITEs without one, by CSeq: the ACK brings the answer.
    late: BTreeMap<u32, Side>,
    over: bool,
}

/// What the engine's description says of audio.
#[derive(Clone, Copy)]
struct Side {
    direction: Direction,
    at: SocketAddr,
}

#[derive(Clone, Copy)]
struct Agreed {
    phone: Direction,
    engine: Side,
}

impl Talks {
    pub fn restart(&mut self) {
        *self = Talks::default();
    }

    /// A message of a phone reached the engine.
    pub fn received(&mut self, msg: &Msg) {
        let Some((cseq, about @ ("INVITE" | "UPDATE" | "ACK"))) = msg.cseq() else { return };
        let sdp = Sdp::parse(&msg.body).map(|sdp| sdp.audio_direction());
        let talk = self.talks.entry(msg.call_id().to_string()).or_default();
        match (msg.method(), msg.code(), about) {
            (Some("INVITE" | "UPDATE"), ..) if talk.last_asked.is_none_or(|last| cseq > last) => {
                talk.last_asked = Some(cseq);
                talk.asked.insert((about.to_string(), cseq), sdp);
            }
            (Some("ACK"), ..) => {
                if let (Some(engine), Some(phone)) = (talk.late.remove(&cseq), sdp) {
                    self.agreed.insert(msg.call_id().to_string(), Agreed { phone, engine });
                }
            }
            (None, Some(200..300), "INVITE") => {
                let tag = msg.tag_of_to().unwrap_or_default().to_string();
                talk.answers.entry((cseq, tag)).or_insert(sdp);
            }
            (None, Some(200..300), "UPDATE") => {
                let offer = talk.ours.remove(&("UPDATE".to_string(), cseq)).flatten();
                if let (Some(engine), Some(phone)) = (offer, sdp) {
                    self.agreed.insert(msg.call_id().to_string(), Agreed { phone, engine });
                }
            }
            _ => {}
        }
    }

    /// A message of the engine went to a phone.
    pub fn sent(&mut self, msg: &Msg) {
        let Some((cseq, about @ ("INVITE" | "UPDATE" | "ACK" | "BYE"))) = msg.cseq() else { return };
        let talk = self.talks.entry(msg.call_id().to_string()).or_default();
        if about == "BYE" {
            // Ours, or the answer to theirs. What crosses it agrees to nothing any more.
            talk.over |= msg.code().is_none_or(|code| code == 200);
            return;
        }
        let request = (about.to_string(), cseq);
        let agreed = match (msg.method(), msg.code()) {
            (Some("ACK"), _) => talk.acknowledged(cseq, msg),
            (Some(_), _) => {
                talk.ours.entry(request).or_insert_with(|| side(msg));
                None
            }
            (None, Some(200..300)) => talk.accepted(request, msg),
            (None, Some(300..)) => {
                talk.asked.remove(&request);
                None
            }
            _ => None,
        };
        if let Some(agreed) = agreed {
            self.agreed.insert(msg.call_id().to_string(), agreed);
        }
    }

    /// After a step: the media plane does no more than the dialogs allow.
    pub fn judge(&mut self, plane: &Plane, verdict: &mut Verdict) {
        // The port is given back, or will be: its number may be another's soon.
        let over = |call_id: &String| self.talks.get(call_id).is_some_and(|talk| talk.over);
        self.agreed.retain(|call_id, agreed| !over(call_id) && plane.port_at(agreed.engine.at).is_some());
        for (call_id, agreed) in &self.agreed {
            let Some(port) = plane.port_at(agreed.engine.at) else { continue };
            let Some(stream) = plane.granted.get(&port).and_then(|port| port.stream.as_ref()) else { continue };
            let (phone, engine) = (agreed.phone, agreed.engine.direction);
            // What the phone is about to want it may get a little early.
            let asked = || self.talks.get(call_id).into_iter().flat_map(|talk| talk.asked.values().flatten());
            let to_phone = phone.hears && engine.sends || asked().any(|offer| offer.hears);
            let from_phone = phone.sends && engine.hears || asked().any(|offer| offer.sends);
            let told = || format!("{call_id}, port {port}: the phone {}, the engine {}", phone.text(), engine.text());
            verdict.hold(to_phone || !stream.send, "no media to a phone that holds", told);
            verdict.hold(from_phone || !stream.receive, "no media from a phone on hold", told);
        }
    }
}

impl Talk {
    /// The engine's 2xx: the answer to the phone's offer, or an offer whose answer the ACK brings.
    fn accepted(&mut self, request: Request, ok: &Msg) -> Option<Agreed> {
        let (offer, engine) = (self.asked.remove(&request)?, side(ok)?);
        if offer.is_none() {
            self.late.insert(request.1, engine);
        }
        Some(Agreed { phone: offer?, engine })
    }

    /// The first ACK of the engine says which answer counts; that of a refusal, that none does.
    fn acknowledged(&mut self, cseq: u32, ack: &Msg) -> Option<Agreed> {
        let offer = self.ours.remove(&("INVITE".to_string(), cseq))?;
        let tag = ack.tag_of_to().unwrap_or_default().to_string();
        let answer = self.answers.remove(&(cseq, tag)).flatten();
        self.answers.retain(|(other, _), _| *other != cseq);
        Some(Agreed { phone: answer?, engine: offer.or_else(|| side(ack))? })
    }
}

fn side(msg: &Msg) -> Option<Side> {
    let sdp = Sdp::parse(&msg.body)?;
    Some(Side { direction: sdp.audio_direction(), at: sdp.audio_at()? })
}
