//! Calls this phone makes: INVITE, its provisional and final responses, ACK and CANCEL.

use super::call::{CallId, CallLog, Ending, Inviting, Phase};
use super::dialog::Dialog;
use super::transaction::{Purpose, TxKey};
use super::{Phone, Timer};
use crate::clock::{GIVE_UP, SECOND};
use crate::sip::sdp::Sdp;
use crate::sip::text::Msg;

impl Phone {
    pub fn dial(&mut self, number: &str) {
        // A phone without a server dials addresses.
        let uri = if number.contains(':') {
            format!("sip:{number}")
        } else {
            format!("sip:{number}@{}", self.profile.domain)
        };
        let dialog = Dialog {
            call_id: format!("{}@{}", self.rng.word(14), self.profile.address.ip()),
            local: format!("\"Phone {}\" <sip:{}@{}>", self.profile.index, self.profile.extension, self.profile.domain),
            local_tag: self.rng.word(8),
            remote: format!("<{uri}>"),
            remote_tag: None,
            target: uri,
            route: Vec::new(),
            local_cseq: self.rng.below(1_000) as u32,
            remote_cseq: Vec::new(),
        };
        let id = self.new_call(true, dialog, number.to_string());
        let late = self.rng.chance(self.profile.habits.late_offer);
        self.send_invite(id, late, false);
        let (from, to) = self.profile.habits.patience;
        let patience = self.rng.range(from, to);
        self.timer(patience, Timer::Enough(id));
    }

    pub(super) fn supported(&self) -> Vec<(String, String)> {
        let make = &self.profile.make;
        let mut headers = vec![("Allow".to_string(), self.allow())];
        let mut supported = Vec::new();
        if make.session.is_some() {
            supported.push("timer");
        }
        if make.prack && !make.prack_required {
            supported.push("100rel");
        }
        if !supported.is_empty() {
            headers.push(("Supported".into(), supported.join(", ")));
        }
        headers
    }

    /// An INVITE, first or again; `late`: without an offer.
    pub(super) fn send_invite(&mut self, id: CallId, late: bool, again: bool) {
        let Some(mut request) = self.dialog_request(id, "INVITE") else { return };
        request.remove("Allow");
        request.headers.extend(self.supported());
        if self.profile.make.prack && self.profile.make.prack_required {
            request.set("Require", "100rel");
        }
        self.ask_session(id, &mut request);
        if late {
            request.set("Accept", "application/sdp");
        } else if let Some(offer) = self.offer(id) {
            request.set("Content-Type", "application/sdp");
            request.body = offer.encode();
        }
        if self.profile.make.eager && self.auth.is_some() && !again {
            self.authorize(&mut request);
        }
        let key = self.start(request, Purpose::Invite(id));
        if let Some(call) = self.calls.get_mut(&id) {
            call.media.preview = None;
            call.inviting = Some(Inviting { key, provisional: false, cancelled: false, again, rseq: None });
        }
    }

    /// The INVITE went out again as another transaction.
    pub(super) fn invite_moved(&mut self, id: CallId, key: TxKey) {
        let Some(inviting) = self.calls.get_mut(&id).and_then(|call| call.inviting.as_mut()) else { return };
        inviting.key = key;
        inviting.provisional = false;
        inviting.cancelled = false;
    }

    pub(super) fn on_ringing(&mut self, id: CallId, msg: Msg) {
        let code = msg.code().unwrap_or_default();
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(inviting) = call.inviting.as_mut() else { return };
        inviting.provisional = true;
        let (again, wanted) = (inviting.again, call.enough);
        if let (Some(tag), false) = (msg.tag_of_to().map(str::to_string), code == 100) {
            let other = call.dialog.remote_tag.as_deref().is_some_and(|known| known != tag);
            call.adopt(&msg, &tag);
            if !again {
                call.phase = Phase::Early;
            }
            if other {
                self.complain("two To tags for one INVITE", &msg.title());
            }
            self.take_early_sdp(id, &msg);
            if !again {
                self.fidget(id);
            }
        }
        if wanted && !again {
            self.cancel(id);
        }
    }

    /// SDP of a provisional response, and PRACK for a reliable one.
    fn take_early_sdp(&mut self, id: CallId, msg: &Msg) {
        let reliable = msg.has_token("Require", "100rel");
        let sdp = Sdp::parse(&msg.body);
        let mut answer = None;
        let mut answered = false;
        let Some(call) = self.calls.get_mut(&id) else { return };
        if reliable {
            // A repetition, or one that overtook another: it comes again (RFC 3262 §4).
            let Some(inviting) = call.inviting.as_mut() else { return };
            let Ok(rseq) = msg.value("RSeq").parse::<u32>() else {
                return self.complain("a reliable provisional response without RSeq", &msg.title());
            };
            if inviting.rseq.is_some_and(|last| rseq != last + 1) {
                return;
            }
            inviting.rseq = Some(rseq);
        }
        match (sdp, &call.media.offered, reliable) {
            (Some(sdp), Some(_), true) => {
                call.media.preview = Some(sdp.clone());
                self.take_answer(id, sdp);
                answered = true;
            }
            (Some(sdp), Some(_), false) => self.take_preview(id, sdp, msg),
            // The offer of a call without one (RFC 3262 §5): the PRACK brings the answer.
            (Some(sdp), None, true) if call.media.local.is_none() => answer = self.answer_late(id, &sdp),
            (Some(sdp), None, _) => self.take_preview(id, sdp, msg),
            (None, ..) => {}
        }
        if !reliable {
            return;
        }
        if !self.profile.make.prack {
            return self.complain("a reliable provisional response that was not asked for", &msg.title());
        }
        let Some((cseq, method)) = msg.cseq().map(|(n, m)| (n, m.to_string())) else { return };
        let rack = format!("{} {cseq} {method}", msg.value("RSeq"));
        let Some(mut prack) = self.dialog_request(id, "PRACK") else { return };
        prack.set("RAck", rack);
        if let Some(answer) = answer {
            prack.set("Content-Type", "application/sdp");
            prack.body = answer.encode();
        }
        let changed = answered && self.early_change(id, &mut prack);
        self.start(prack, Purpose::Prack(id));
        if answered && !changed {
            self.early_update(id);
        }
    }

    /// The answer as an unreliable response shows it: it may not change until the 200 (RFC 3261 §13.2.1).
    fn take_preview(&mut self, id: CallId, sdp: Sdp, msg: &Msg) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let changed = call.media.preview.as_ref().is_some_and(|before| *before != sdp);
        call.media.preview = Some(sdp);
        if changed {
            self.complain("an answer that changed within one dialog", &msg.title());
        }
    }

    pub(super) fn cancel(&mut self, id: CallId) {
        let Some(inviting) = self.calls.get_mut(&id).and_then(|call| call.inviting.as_mut()) else { return };
        // No CANCEL before a provisional response (RFC 3261 §9.1).
        if inviting.cancelled || !inviting.provisional {
            return;
        }
        inviting.cancelled = true;
        let key = inviting.key.clone();
        let early = self.calls.get(&id).is_some_and(|call| call.phase == Phase::Early);
        if early && self.habit(self.profile.habits.odd.byes_early) {
            self.send_bye(id);
            return self.gave_up(id, &key);
        }
        let Some(client) = self.clients.get(&key) else { return };
        let mut cancel = Msg::request("CANCEL", client.request.uri());
        for name in ["Max-Forwards", "From", "To", "Call-ID", "Route"] {
            let fields = client.request.headers.iter().filter(|(n, _)| n == name);
            cancel.headers.extend(fields.cloned());
        }
        let cseq = client.request.cseq().map_or(0, |(number, _)| number);
        cancel.headers.push(("CSeq".into(), format!("{cseq} CANCEL")));
        self.start_on_branch(cancel, Purpose::Cancel, &key.branch);
        self.gave_up(id, &key);
    }

    fn gave_up(&mut self, id: CallId, key: &TxKey) {
        self.expect_final(key);
        let now = self.now;
        let again = self.calls.get(&id).and_then(|call| call.inviting.as_ref()).is_some_and(|inviting| inviting.again);
        if let Some(log) = self.log_of(id).filter(|_| !again) {
            log.cancelled = Some(now);
        }
    }

    pub(super) fn on_invite_final(&mut self, id: CallId, key: &TxKey, msg: Msg, code: u16) {
        let Some(inviting) = self.calls.get_mut(&id).and_then(|call| call.inviting.take()) else {
            if code < 300 {
                self.ack_without_call(key, &msg);
            }
            return;
        };
        match (code, inviting.again) {
            (200..300, false) => self.on_answer(id, key, msg),
            (200..300, true) => self.on_reinvite_answer(id, key, msg),
            (422, false) => self.invite_longer(id, &msg),
            (_, false) => {
                if let Some(log) = self.log_of(id) {
                    log.final_code = Some(code);
                }
                self.end(id, Ending::Refused);
            }
            (_, true) => self.on_reinvite_refused(id, code),
        }
    }

    fn on_answer(&mut self, id: CallId, key: &TxKey, msg: Msg) {
        let now = self.now;
        let tag = msg.tag_of_to().unwrap_or_default().to_string();
        let Some(call) = self.calls.get_mut(&id) else { return };
        let other = call.dialog.remote_tag.as_deref().is_some_and(|known| known != tag);
        call.adopt(&msg, &tag);
        call.phase = Phase::Up;
        if let Some(log) = self.log_of(id) {
            (log.answered, log.final_code) = (Some(now), Some(200));
        }
        if other {
            self.complain("two To tags for one INVITE", &msg.title());
        }
        self.timers.strike_all(|timer| *timer == Timer::Enough(id));
        self.take_session(id, &msg);
        if self.calls.get(&id).is_some_and(|c| !c.enough) && self.habit(self.profile.quirks.never_acks) {
            // 64·T1 for the other side to wait for the ACK, as long again for its BYE to get through.
            self.timer(2 * GIVE_UP + 2 * SECOND, Timer::Overdue(id, "a 200 without ACK was not hung up"));
            if let Some(call) = self.calls.get_mut(&id) {
                call.ghost = true;
            }
            return;
        }
        self.take_sdp_of_answer(id, key, &msg);
        if let Some(log) = self.log_of(id) {
            log.confirmed = Some(now);
        }
        self.talk(id);
    }

    /// The SDP of a 2xx, and its ACK.
    pub(super) fn take_sdp_of_answer(&mut self, id: CallId, key: &TxKey, msg: &Msg) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let preview = call.media.preview.take();
        let late = self.clients.get(key).is_some_and(|client| client.request.body.is_empty());
        let mut answer = None;
        match (Sdp::parse(&msg.body), call.media.offered.is_some()) {
            (Some(sdp), true) => {
                let changed = preview.is_some_and(|before| before != sdp);
                self.take_answer(id, sdp);
                if changed {
                    self.complain("an answer that changed within one dialog", &msg.title());
                }
            }
            (Some(sdp), false) if late && preview.is_none() => answer = self.answer_late(id, &sdp),
            // A repetition of what a reliable response brought.
            (Some(sdp), false) => {
                if preview.is_some_and(|before| before != sdp) {
                    self.complain("an answer that changed within one dialog", &msg.title());
                }
            }
            // That is the offer of an UPDATE or a PRACK, answered there.
            (None, true) if call.updating => {}
            (None, true) => self.complain("a 2xx without the answer to our offer", &msg.title()),
            (None, false) if late && call.media.local.is_none() => {
                self.complain("a 2xx without an offer to our INVITE without one", &msg.title());
            }
            (None, false) => {}
        }
        let Some(mut ack) = self.ack_request(id, key) else { return };
        if let Some(answer) = answer {
            ack.set("Content-Type", "application/sdp");
            ack.body = answer.encode();
        }
        self.send_ack(key, ack, msg);
    }

    /// The answer an ACK must carry, whatever we think of the offer.
    fn answer_late(&mut self, id: CallId, offer: &Sdp) -> Option<Sdp> {
        if let Some(answer) = self.answer(id, offer) {
            return Some(answer);
        }
        let mut refused = offer.clone();
        refused.address = self.profile.address.ip();
        refused.lines.iter_mut().for_each(|line| line.port = 0);
        self.calls.get_mut(&id)?.enough = true;
        Some(refused)
    }

    /// ACK of a 2xx: a transaction of its own in the dialog, with the INVITE's number (RFC 3261 §13.2.2.4).
    fn ack_request(&mut self, id: CallId, key: &TxKey) -> Option<Msg> {
        let (cseq, _) = self.clients.get(key)?.request.cseq()?;
        let mut ack = self.dialog_request(id, "ACK")?;
        self.calls.get_mut(&id)?.dialog.local_cseq -= 1;
        ack.set("CSeq", format!("{cseq} ACK"));
        self.stamp_via(&mut ack);
        Some(ack)
    }

    /// A 2xx that comes when the call is gone still wants its ACK.
    fn ack_without_call(&mut self, key: &TxKey, msg: &Msg) {
        let Some(client) = self.clients.get(key) else { return };
        let contacts = msg.list("Contact");
        let target = contacts.first().map_or(client.request.uri(), |c| crate::sip::text::uri_of(c)).to_string();
        let mut ack = Msg::request("ACK", &target).with("Max-Forwards", "70");
        for name in ["From", "Call-ID", "Route"] {
            let fields = client.request.headers.iter().filter(|(n, _)| n == name);
            ack.headers.extend(fields.cloned());
        }
        let cseq = client.request.cseq().map_or(0, |(number, _)| number);
        ack.headers.push(("To".into(), msg.value("To").into()));
        ack.headers.push(("CSeq".into(), format!("{cseq} ACK")));
        self.stamp_via(&mut ack);
        self.send_ack(key, ack, msg);
    }

    fn stamp_via(&mut self, request: &mut Msg) {
        let branch = self.next_branch();
        let via = format!("SIP/2.0/{} {};branch={branch};rport", self.profile.transport.via(), self.profile.address);
        request.headers.insert(0, ("Via".into(), via));
    }

    /// A 2xx without an ACK of ours after the first one: of a call this phone never acknowledges, or from another dialog.
    /// The exchange answers as one party; it has no forks to show.
    pub(super) fn on_second_answer(&mut self, key: &TxKey, msg: Msg) {
        let mine = |log: &CallLog| log.call_id == msg.call_id() && log.outgoing && log.confirmed.is_none();
        if self.logs.iter().any(mine) {
            return;
        }
        self.ack_without_call(key, &msg);
        self.complain("two To tags for one INVITE", &msg.title());
    }

    /// 422 (RFC 4028 §7.3): the same again with a longer interval.
    fn invite_longer(&mut self, id: CallId, msg: &Msg) {
        let least: u32 = msg.value("Min-SE").parse().unwrap_or(0);
        match self.profile.make.session {
            Some(asked) if asked < least => {
                self.profile.make.session = Some(least);
                if let Some(call) = self.calls.get_mut(&id) {
                    call.media.offered = None;
                    call.dialog.remote_tag = None;
                }
                self.send_invite(id, false, false);
            }
            _ => {
                self.complain("422 for an interval long enough", &msg.title());
                self.end(id, Ending::Refused);
            }
        }
    }

    pub(super) fn on_invite_lost(&mut self, id: CallId) {
        let Some(inviting) = self.calls.get_mut(&id).and_then(|call| call.inviting.take()) else { return };
        if inviting.again {
            return self.on_reinvite_refused(id, 408);
        }
        self.end(id, Ending::Lost);
    }
}
