//! What happens between answer and hang-up: hold and resume by re-INVITE or UPDATE, offers left to the other side, INFO,
//! glare, and the same things asked of us.

use super::call::{Call, CallId, Ending, Invited, Phase};
use super::transaction::{Purpose, TxKey};
use super::{Phone, Timer};
use crate::clock::{GIVE_UP, MS};
use crate::sip::sdp::{INACTIVE, SENDONLY, SENDRECV, Sdp};
use crate::sip::text::Msg;

impl Phone {
    /// Both sides have answered and acknowledged: the users talk.
    pub(super) fn talk(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.enough {
            return self.hang_up(id);
        }
        if call.ghost {
            return;
        }
        let habits = self.profile.habits.clone();
        let talk = self.rng.range(habits.talk.0, habits.talk.1);
        self.timer(talk, Timer::Enough(id));
        self.next_whim(id);
    }

    fn next_whim(&mut self, id: CallId) {
        let (from, to) = self.profile.habits.whim_pause;
        let pause = self.rng.range(from, to);
        self.timer(pause, Timer::Whim(id));
    }

    /// Whether an offer of ours may go out now (RFC 3264 §4, RFC 3261 §14.1).
    pub(super) fn may_negotiate(&self, call: &Call) -> bool {
        call.phase == Phase::Up
            && call.inviting.is_none()
            && call.invited.is_none()
            && call.sent_ok.is_none()
            && !call.updating
            && call.media.offered.is_none()
    }

    pub(super) fn whim(&mut self, id: CallId) {
        if self.user.frozen {
            return;
        }
        let Some(call) = self.calls.get(&id) else { return };
        if !self.may_negotiate(call) || call.enough {
            return self.next_whim(id);
        }
        let can_update = self.profile.make.update && call.peer_allows.iter().any(|method| method == "UPDATE");
        match self.rng.weighted(&self.profile.habits.whims.clone()) {
            0 => {
                self.change_mind(id);
                self.send_reinvite(id, false);
                self.perhaps_take_back(id);
            }
            1 if can_update => {
                self.change_mind(id);
                self.send_update(id, true);
            }
            2 => {
                self.send_reinvite(id, true);
                self.perhaps_take_back(id);
            }
            3 => self.send_info(id),
            4 => self.send_options(id),
            5 => {
                self.change_mind(id);
                self.send_reinvite(id, false);
                return self.hang_up(id);
            }
            _ => {}
        }
        self.next_whim(id);
    }

    fn perhaps_take_back(&mut self, id: CallId) {
        if self.habit(self.profile.quirks.fickle) {
            let pause = self.rng.range(0, 1_500) * MS;
            self.timer(pause, Timer::TakeBack(id));
        }
    }

    pub(super) fn take_back(&mut self, id: CallId) {
        let inviting = self.calls.get(&id).and_then(|call| call.inviting.as_ref());
        if inviting.is_some_and(|inviting| inviting.again) {
            self.cancel(id);
        }
    }

    /// Another offer before the call is answered, when the first has its answer: in its PRACK (true), or by UPDATE.
    pub(super) fn early_change(&mut self, id: CallId, prack: &mut Msg) -> bool {
        if !self.habit(self.profile.quirks.fickle) {
            return false;
        }
        self.change_mind(id);
        let Some(offer) = self.offer(id) else { return false };
        prack.set("Content-Type", "application/sdp");
        prack.body = offer.encode();
        if let Some(call) = self.calls.get_mut(&id) {
            call.updating = true;
        }
        true
    }

    pub(super) fn early_update(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let can_update = self.profile.make.update && call.peer_allows.iter().any(|method| method == "UPDATE");
        if can_update && call.media.offered.is_none() && self.habit(self.profile.quirks.fickle) {
            self.change_mind(id);
            self.send_update(id, true);
        }
    }

    /// With an offer in it, a PRACK is answered like one (RFC 3262 §5).
    pub(super) fn on_prack_final(&mut self, id: CallId, key: &TxKey, msg: &Msg, code: u16) {
        let described = self.clients.get(key).is_some_and(|client| !client.request.body.is_empty());
        // Else the description was the answer to an offer in the provisional response.
        let Some(call) = self.calls.get_mut(&id).filter(|call| described && call.updating) else {
            return self.on_dialog_final(id, code);
        };
        call.updating = false;
        match Sdp::parse(&msg.body) {
            _ if code >= 300 => self.negotiation_failed(id, code),
            Some(answer) => self.take_answer(id, answer),
            None => self.complain("a 2xx without the answer to our offer", &msg.title()),
        }
    }

    /// Hold becomes resume and the other way round.
    fn change_mind(&mut self, id: CallId) {
        let hold = *self.rng.pick(&[SENDONLY, SENDONLY, INACTIVE]);
        if let Some(call) = self.calls.get_mut(&id) {
            call.media.wish = if call.media.wish == SENDRECV { hold } else { SENDRECV };
        }
    }

    pub(super) fn send_reinvite(&mut self, id: CallId, late: bool) {
        self.send_invite(id, late, true);
    }

    pub(super) fn send_update(&mut self, id: CallId, with_offer: bool) {
        let Some(mut request) = self.dialog_request(id, "UPDATE") else { return };
        if self.profile.make.session.is_some() {
            request.set("Supported", "timer");
        }
        self.ask_session(id, &mut request);
        if with_offer && let Some(offer) = self.offer(id) {
            request.set("Content-Type", "application/sdp");
            request.body = offer.encode();
        }
        self.start(request, Purpose::Update(id));
        if let Some(call) = self.calls.get_mut(&id) {
            call.updating = true;
        }
    }

    /// Says something in the early dialog, to no purpose.
    pub(super) fn fidget(&mut self, id: CallId) {
        if !self.habit(self.profile.habits.odd.fidgets) {
            return;
        }
        let Some(call) = self.calls.get(&id) else { return };
        let can_update = self.profile.make.update && call.peer_allows.iter().any(|method| method == "UPDATE");
        match self.rng.below(3) {
            0 => self.send_info(id),
            1 => self.send_options(id),
            _ if can_update && !call.updating => self.send_update(id, false),
            _ => {}
        }
    }

    fn send_info(&mut self, id: CallId) {
        let Some(mut request) = self.dialog_request(id, "INFO") else { return };
        request.set("Content-Type", "application/dtmf-relay");
        request.body = format!("Signal={}\r\nDuration=160\r\n", self.rng.below(10));
        self.start(request, Purpose::Info(id));
    }

    fn send_options(&mut self, id: CallId) {
        if let Some(request) = self.dialog_request(id, "OPTIONS") {
            self.start(request, Purpose::Info(id));
        }
    }

    pub(super) fn on_reinvite_answer(&mut self, id: CallId, key: &TxKey, msg: Msg) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.retarget(&msg);
        }
        self.take_session(id, &msg);
        self.take_sdp_of_answer(id, key, &msg);
        if self.calls.get(&id).is_some_and(|call| call.enough) {
            self.hang_up(id);
        }
    }

    pub(super) fn on_reinvite_refused(&mut self, id: CallId, code: u16) {
        self.negotiation_failed(id, code);
        if code == 491 && self.calls.contains_key(&id) {
            // RFC 3261 §14.1: who owns the Call-ID waits longer.
            let owner = self.calls.get(&id).is_some_and(|call| call.outgoing);
            let wait = if owner { self.rng.range(210, 400) * 10 * MS } else { self.rng.range(0, 200) * 10 * MS };
            self.timer(wait, Timer::Glare(id));
        }
    }

    /// The session stays as it was; a peer that knows no such call, or says nothing, ends it (RFC 3261 §12.2.1.2).
    fn negotiation_failed(&mut self, id: CallId, code: u16) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.media.offered = None;
        if let Some(local) = &call.media.local {
            call.media.wish =
                if local.audio_direction().hears || !call.media.wish.hears { call.media.wish } else { SENDRECV };
        }
        self.on_dialog_final(id, code);
    }

    pub(super) fn on_dialog_final(&mut self, id: CallId, code: u16) {
        if !matches!(code, 481 | 408) || self.calls.get(&id).is_none_or(|call| call.phase != Phase::Up) {
            return;
        }
        self.send_bye(id);
        self.end(id, Ending::Lost);
    }

    pub(super) fn reinvite_again(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if self.may_negotiate(call) {
            self.send_reinvite(id, false);
        }
    }

    pub(super) fn on_update_final(&mut self, id: CallId, key: &TxKey, msg: &Msg, code: u16) {
        let offered = self.clients.get(key).is_some_and(|client| !client.request.body.is_empty());
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.updating = false;
        if code >= 300 && offered {
            return self.negotiation_failed(id, code);
        } else if code >= 300 {
            return self.on_dialog_final(id, code);
        }
        call.retarget(msg);
        self.take_session(id, msg);
        match (Sdp::parse(&msg.body), offered) {
            (Some(answer), true) => self.take_answer(id, answer),
            (None, true) => self.complain("a 2xx without the answer to our offer", &msg.title()),
            (Some(_), false) => self.complain("a 2xx with SDP nobody asked for", &msg.title()),
            (None, false) => {}
        }
    }

    pub(super) fn on_reinvite(&mut self, key: TxKey, id: CallId, msg: &Msg) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.inviting.is_some() || call.updating || call.media.offered.is_some() {
            return self.respond(&key, 491, "Request Pending", |_| {});
        }
        if call.invited.is_some() || call.phase != Phase::Up {
            self.complain("an INVITE before the one before it was answered", &msg.title());
            return self.respond(&key, 500, "Busy With Another", |m| m.set("Retry-After", "3"));
        }
        let changes = Sdp::parse(&msg.body).is_none_or(|offer| call.media.remote.as_ref() != Some(&offer));
        if changes && self.habit(self.profile.habits.odd.stubborn) {
            let code = *self.rng.pick(&[488, 415, 500, 603]);
            if let Some(call) = self.calls.get_mut(&id) {
                call.media.refused = true;
            }
            return self.respond(&key, code, "Not Like This", |_| {});
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.retarget(msg);
        // Our last 2xx still waits for its ACK: the peer's next INVITE says it has come.
        let old = call.sent_ok.take().and_then(|ok| ok.timer);
        call.invited = Some(Invited {
            key,
            again: true,
            plan: Vec::new(),
            tags: Vec::new(),
            reliable: None,
            next_rseq: 0,
            late: msg.body.is_empty(),
            reliable_allowed: false,
        });
        self.disarm(old);
        if self.habit(self.profile.quirks.slow_reinvite) {
            let wait = self.rng.range(1, 4_000) * MS;
            self.timer(wait, Timer::AnswerAgain(id));
        } else {
            self.answer_reinvite(id);
        }
    }

    pub(super) fn answer_reinvite(&mut self, id: CallId) {
        let Some(invited) = self.calls.get_mut(&id).and_then(|call| call.invited.take()) else { return };
        let Some(request) = self.request_of(&invited.key).cloned() else { return };
        let (sdp, offered) = match Sdp::parse(&request.body) {
            Some(offer) => (self.answer(id, &offer), false),
            None => (self.offer(id), true),
        };
        match sdp {
            Some(sdp) => self.send_ok(id, &invited.key, Some(sdp), offered),
            None => self.respond(&invited.key, 488, "Not Acceptable Here", |_| {}),
        }
    }

    pub(super) fn refuse_reinvite(&mut self, id: CallId, code: u16) {
        if let Some(invited) = self.calls.get_mut(&id).and_then(|call| call.invited.take()) {
            self.respond(&invited.key, code, "Request Terminated", |_| {});
        }
    }

    pub(super) fn on_update(&mut self, key: &TxKey, id: CallId, msg: &Msg) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let offer = Sdp::parse(&msg.body);
        let pending = call.inviting.is_some() || call.updating || call.media.offered.is_some();
        if offer.is_some() && pending {
            return self.respond(key, 491, "Request Pending", |_| {});
        }
        if offer.is_some() && call.invited.is_some() {
            return self.respond(key, 500, "Busy With Another", |m| m.set("Retry-After", "2"));
        }
        call.retarget(msg);
        let answer = match &offer {
            Some(offer) => match self.answer(id, offer) {
                Some(answer) => Some(answer),
                None => return self.respond(key, 488, "Not Acceptable Here", |_| {}),
            },
            None => None,
        };
        let session = self.grant_session(id, msg);
        let contact = self.contact();
        self.respond(key, 200, "OK", |m| {
            m.set("Contact", contact);
            m.headers.extend(session);
            if let Some(answer) = answer {
                m.set("Content-Type", "application/sdp");
                m.body = answer.encode();
            }
        });
    }

    /// The other side hangs up.
    pub(super) fn on_bye(&mut self, key: &TxKey, id: CallId) {
        self.respond(key, 200, "OK", |_| {});
        let ok = self.calls.get_mut(&id).and_then(|call| call.sent_ok.take()).and_then(|ok| ok.timer);
        self.disarm(ok);
        let cancel_after = self.calls.get(&id).is_some_and(|call| matches!(call.phase, Phase::Calling | Phase::Early));
        if cancel_after {
            // A BYE on an early dialog says nothing about the INVITE, whose final response is still to come.
            return;
        }
        self.choose_second_answer(id);
        self.end(id, Ending::ByPeer);
    }

    /// The second answer had overtaken the first: it is the first that is hung up.
    fn choose_second_answer(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id).filter(|call| !call.ghost) else { return };
        let soon = self.logs[call.log].answered.is_some_and(|at| self.now < at + GIVE_UP);
        let of_same = |other: &&Call| other.ghost && soon && other.dialog.call_id == call.dialog.call_id;
        if let Some(second) = self.calls.values().find(of_same).map(|call| call.id) {
            self.timers.strike_all(|timer| matches!(timer, Timer::Overdue(other, _) if *other == second));
        }
    }
}
