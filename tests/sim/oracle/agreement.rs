//! At rest with calls standing: the phones, the engine and the media plane agree on who talks to whom and what is heard.

use super::Verdict;
use crate::phone::Phone;
use crate::phone::call::{Call, Phase};
use crate::plane::Plane;
use crate::sip::text::{uri_of, user_of};
use std::collections::BTreeMap;
use strowger::base::ids::{LegId, PortId};
use strowger::engine::audit::Audit;

/// One end of a standing call.
pub struct End<'a> {
    pub phone: &'a Phone,
    pub call: &'a Call,
    /// Nothing has troubled this phone since the call began.
    pub sound: bool,
}

pub struct Scene<'a> {
    pub ends: Vec<End<'a>>,
    pub audit: &'a Audit,
    pub plane: &'a Plane,
}

impl Scene<'_> {
    /// How many calls stand with both ends.
    pub fn judge(&self, verdict: &mut Verdict) -> u64 {
        let legs: BTreeMap<&str, LegId> = self.audit.dialogs.iter().map(|(key, leg)| (key.as_str(), *leg)).collect();
        let mut by_leg: BTreeMap<LegId, &End<'_>> = BTreeMap::new();
        for end in self.ends.iter().filter(|end| end.call.phase == Phase::Up && !end.call.ghost) {
            let dialog = &end.call.dialog;
            let remote = dialog.remote_tag.as_deref().unwrap_or_default();
            let key = format!("{} {remote} {}", dialog.call_id, dialog.local_tag);
            match legs.get(key.as_str()) {
                Some(leg) => {
                    by_leg.insert(*leg, end);
                }
                None if end.sound => verdict.fail("a phone's call is the engine's call", key),
                None => {}
            }
        }
        let mut standing = 0;
        for call in &self.audit.calls {
            let Some((a, b)) = call.bridged else { continue };
            let (Some(one), Some(two)) = (by_leg.get(&a), by_leg.get(&b)) else { continue };
            standing += 1;
            self.judge_names(one, two, verdict);
            if is_calm(one.call) && is_calm(two.call) && one.sound && two.sound {
                self.judge_media((a, one), (b, two), verdict);
                self.judge_media((b, two), (a, one), verdict);
            }
        }
        for (leg, end) in &by_leg {
            let bridged = self.audit.calls.iter().any(|c| c.bridged.is_some_and(|(a, b)| a == *leg || b == *leg));
            verdict.hold(bridged || !end.sound, "a standing call is bridged", || end.call.dialog.call_id.clone());
        }
        standing
    }

    /// Each talks to whom they think they talk to.
    fn judge_names(&self, one: &End<'_>, two: &End<'_>, verdict: &mut Verdict) {
        let (caller, callee) = if one.call.outgoing { (one, two) } else { (two, one) };
        let shown = user_of(uri_of(&callee.call.dialog.remote));
        verdict.hold(shown == caller.phone.profile.extension, "the callee sees the caller's number", || {
            format!("{shown} for {}", caller.phone.profile.extension)
        });
        let directions = caller.call.outgoing && !callee.call.outgoing;
        verdict.hold(directions, "a bridge has a caller and a callee", || caller.call.dialog.call_id.clone());
    }

    /// What `from` says is heard by `to` exactly if one says it and the other wants to hear it.
    fn judge_media(&self, from: (LegId, &End<'_>), to: (LegId, &End<'_>), verdict: &mut Verdict) {
        let (Some(source), Some(target)) = (self.audio_port(from), self.audio_port(to)) else {
            return verdict.fail("a standing call has media ports", format!("legs {} and {}", from.0, to.0));
        };
        let local = |end: &End<'_>| end.call.media.local.as_ref().map(|sdp| (sdp.audio_direction(), sdp.audio_at()));
        let (Some((speaks, _)), Some((hears, at))) = (local(from.1), local(to.1)) else { return };
        let wanted = speaks.sends && hears.hears;
        let who = || format!("{} to {}", from.1.call.dialog.call_id, to.1.call.dialog.call_id);
        let carried = self.plane.carries(source, target);
        verdict.hold(carried == wanted, "who speaks is heard by who wants to hear", || {
            format!("{}: carried {carried}, wanted {wanted} ({speaks:?}, {hears:?})", who())
        });
        let told = from.1.call.media.remote.as_ref().map(|sdp| sdp.audio_direction());
        // Who refuses an offer may have refused to be told.
        let deaf = from.1.call.media.refused;
        let heard = hears.hears || !speaks.sends || deaf || told.is_some_and(|told| !told.hears);
        verdict.hold(heard, "who is on hold is told so", || format!("{}: {told:?} ({hears:?})", who()));
        let remote = self.plane.granted.get(&target).and_then(|port| port.stream.as_ref()).and_then(|s| s.remote);
        if hears.hears && hears.sends {
            verdict.hold(remote.map(|r| r.rtp) == at, "media goes where the phone's SDP says", || {
                format!("{}: {remote:?} for {at:?}", who())
            });
        }
        if wanted && carried {
            self.judge_payloads(source, from.1, to.1, verdict);
        }
    }

    /// A packet of the codec one side prefers arrives under the number the other side gave that codec.
    fn judge_payloads(&self, source: PortId, from: &End<'_>, to: &End<'_>, verdict: &mut Verdict) {
        let stream = self.plane.granted.get(&source).and_then(|port| port.stream.as_ref());
        let Some(sink) = stream.and_then(|stream| stream.sink.as_ref()) else { return };
        let told = from.call.media.remote.as_ref().and_then(|sdp| sdp.audio());
        let wants = to.call.media.local.as_ref().and_then(|sdp| sdp.audio());
        let (Some(told), Some(wants)) = (told, wants) else { return };
        let mut common = 0;
        for (number, name) in told.codecs() {
            let Some(expected) = wants.number_of(name) else { continue };
            common += 1;
            let mapped = sink.payloads.get(*number);
            verdict.hold(mapped == Some(expected), "payload numbers are rewritten for each leg", || {
                format!("{name}: {number} becomes {mapped:?}, not {expected} ({})", from.call.dialog.call_id)
            });
        }
        verdict.hold(common > 0, "both ends of a call have a codec in common", || from.call.dialog.call_id.clone());
    }

    fn audio_port(&self, end: (LegId, &End<'_>)) -> Option<PortId> {
        let told = end.1.call.media.remote.as_ref()?.audio()?.port;
        let used = self.audit.ports_used.iter().filter(|(_, leg)| *leg == end.0);
        let mut mine = used.map(|(port, _)| *port);
        let first = mine.clone().next();
        mine.find(|port| self.plane.granted.get(port).is_some_and(|entry| entry.rtp.port() == told)).or(first)
    }
}

/// No offer, answer or ACK is under way.
fn is_calm(call: &Call) -> bool {
    call.inviting.is_none()
        && call.invited.is_none()
        && call.sent_ok.is_none()
        && !call.updating
        && call.media.offered.is_none()
}
