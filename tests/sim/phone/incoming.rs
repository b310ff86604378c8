//! Calls this phone gets: what its user decides, and how the phone says it, forks and second answers included.

use super::call::{CallId, Ending, Invited, Phase, Reliable, SentOk, Step};
use super::dialog::{Dialog, without_tag};
use super::transaction::TxKey;
use super::{Phone, Timer};
use crate::clock::{GIVE_UP, MS, SECOND, T1, T2, Time};
use crate::sip::sdp::Sdp;
use crate::sip::text::{Msg, uri_of, user_of};

impl Phone {
    pub(super) fn on_first_invite(&mut self, key: TxKey, msg: &Msg) {
        if !self.registration.stands(self.now) && self.profile.registers && self.registration.until.is_some() {
            // It may have been under way since before.
            let since = self.now.saturating_sub(GIVE_UP);
            self.miss(since, "an INVITE after the registration ran out", &msg.title());
        }
        let contacts = msg.list("Contact");
        let Some(contact) = contacts.first() else {
            self.complain("an INVITE without Contact", &msg.title());
            return self.respond(&key, 400, "No Contact", |_| {});
        };
        let mut route = msg.list("Record-Route");
        route.retain(|hop| !hop.is_empty());
        let dialog = Dialog {
            call_id: msg.call_id().into(),
            local: without_tag(msg.value("To")),
            local_tag: self.rng.word(8),
            remote: without_tag(msg.value("From")),
            remote_tag: msg.tag_of_from().map(str::to_string),
            target: uri_of(contact).into(),
            route,
            local_cseq: self.rng.below(500) as u32,
            remote_cseq: Vec::new(),
        };
        if self.user.stopped {
            return self.respond(&key, 486, "Busy Here", |_| {});
        }
        let busy = self.is_busy() && !self.rng.chance(self.profile.habits.call_waiting);
        let offer = Sdp::parse(&msg.body);
        let late = offer.is_none();
        let reliable_allowed =
            self.profile.make.prack && (msg.has_token("Supported", "100rel") || msg.has_token("Require", "100rel"));
        let peer = user_of(uri_of(msg.value("From"))).to_string();
        let tag = dialog.local_tag.clone();
        let id = self.new_call(false, dialog, peer);
        let plan = self.plan(busy);
        let tags = vec![tag, self.rng.word(8), self.rng.word(8)];
        let invited = Invited {
            key: key.clone(),
            again: false,
            plan,
            tags,
            reliable: None,
            next_rseq: 0,
            late,
            reliable_allowed,
        };
        let first_rseq = self.rng.range(1, 10_000) as u32;
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.invited = Some(Invited { next_rseq: first_rseq, ..invited });
        call.media.remote = offer;
        if msg.get("Allow").is_some() {
            call.peer_allows = msg.list("Allow");
        }
        let ignores = call.invited.as_ref().is_some_and(|i| i.plan.first().is_some_and(|(_, s)| *s == Step::Ignore));
        if self.profile.make.trying && !ignores {
            self.respond(&key, 100, "Trying", |_| {});
        }
        if ignores {
            self.ignore(&key);
            return self.end(id, Ending::Forgot);
        }
        self.next_step(id);
        // The exchange lets phones ring for a bounded time (RFC 3261 §13.3.1.1 asks for progress every minute).
        self.timer(240 * SECOND, Timer::Overdue(id, "an INVITE was never cancelled"));
    }

    /// What the user will do, step by step, each so long after the one before.
    fn plan(&mut self, busy: bool) -> Vec<(Time, Step)> {
        let habits = self.profile.habits.clone();
        let soon = self.rng.range(5, 150) * MS;
        if busy {
            return vec![(soon, Step::Refuse { code: 486 })];
        }
        let mut plan = Vec::new();
        let forks = if self.habit(self.profile.quirks.forks) { self.rng.range(1, 2) as usize } else { 0 };
        let ring = self.rng.range(habits.ring.0, habits.ring.1);
        let early = self.rng.chance(habits.early_media);
        for tag in 0..=forks {
            let (code, sdp) = if early && (tag == 0 || self.rng.chance(50)) { (183, true) } else { (180, false) };
            plan.push((if tag == 0 { soon } else { 30 * MS }, Step::Provisional { code, tag, sdp }));
        }
        if early && self.rng.chance(40) {
            plan.push((ring / 3, Step::Provisional { code: 180, tag: 0, sdp: self.rng.chance(50) }));
        }
        let tag = self.rng.below(forks as u64 + 1) as usize;
        match self.rng.weighted(&habits.reactions) {
            0 => {
                plan.push((ring, Step::Answer { tag }));
                if self.habit(self.profile.quirks.answers_twice) {
                    plan.push((self.rng.range(0, 300) * MS, Step::AnswerTwice));
                }
            }
            1 => plan = vec![(soon, Step::Refuse { code: *self.rng.pick(&[486, 486, 600]) })],
            2 => plan.push((ring, Step::Refuse { code: *self.rng.pick(&[603, 480, 486]) })),
            3 => {}
            4 => plan = vec![(soon, Step::Refuse { code: 302 })],
            5 => plan = vec![(soon, Step::Refuse { code: 488 })],
            6 => plan.push((ring, Step::Refuse { code: *self.rng.pick(&[500, 503, 404, 481, 408]) })),
            _ => plan = vec![(soon, Step::Ignore)],
        }
        plan.reverse();
        // The first entry of the reversed plan is the last step; a lone `Ignore` stays what it is.
        plan
    }

    fn next_step(&mut self, id: CallId) {
        let invited = self.calls.get(&id).and_then(|call| call.invited.as_ref());
        let Some((after, _)) = invited.and_then(|invited| invited.plan.last().copied()) else { return };
        self.timer(after, Timer::Ring(id));
    }

    pub(super) fn ring_on(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(invited) = call.invited.as_mut() else { return };
        let waits = invited.reliable.is_some();
        let Some((_, step)) = invited.plan.last().copied() else { return };
        if waits && !matches!(step, Step::Refuse { .. }) {
            // Neither another reliable response nor the answer before the PRACK (RFC 3262 §3).
            self.timer(200 * MS, Timer::Ring(id));
            return;
        }
        let then = invited.plan.iter().rev().nth(1).copied();
        invited.plan.pop();
        match step {
            Step::Provisional { code, tag, sdp } => self.progress(id, code, tag, sdp),
            Step::Answer { tag } => self.pick_up(id, tag, then.is_some_and(|(_, step)| step == Step::AnswerTwice)),
            Step::Refuse { code } => self.refuse(id, code),
            // A second answer goes with the first; who ignores the INVITE has done so at once.
            Step::AnswerTwice | Step::Ignore => {}
        }
        self.next_step(id);
    }

    fn progress(&mut self, id: CallId, code: u16, tag: usize, wants_sdp: bool) {
        let Some(call) = self.calls.get(&id) else { return };
        let Some(invited) = &call.invited else { return };
        let (key, late, reliable) = (invited.key.clone(), invited.late, invited.reliable_allowed);
        let (local_tag, offer) = (invited.tags[tag].clone(), call.media.remote.clone());
        let agreed = call.media.local.is_some();
        let sdp = match (wants_sdp, late, offer) {
            (true, false, Some(offer)) => self.early_answer(id, &offer, tag),
            (true, true, _) if reliable && tag == 0 && !agreed => self.early_offer(id, tag),
            _ => None,
        };
        let rseq = reliable.then(|| {
            let invited = self.calls.get_mut(&id).and_then(|call| call.invited.as_mut());
            invited.map_or(1, |invited| {
                invited.next_rseq += 1;
                invited.next_rseq
            })
        });
        let contact = self.contact();
        let allow = self.allow();
        let record_route = self.request_of(&key).map_or(Vec::new(), |request| request.list("Record-Route"));
        let reason = if code == 180 { "Ringing" } else { "Session Progress" };
        let offered = late && sdp.is_some();
        self.respond(&key, code, reason, |msg| {
            let to = format!("{};tag={local_tag}", msg.value("To"));
            msg.set("To", to);
            record_route.iter().for_each(|hop| msg.headers.push(("Record-Route".into(), hop.clone())));
            msg.set("Contact", contact);
            msg.set("Allow", allow);
            if let Some(rseq) = rseq {
                msg.set("Require", "100rel");
                msg.set("RSeq", rseq.to_string());
            }
            if let Some(sdp) = sdp {
                msg.set("Content-Type", "application/sdp");
                msg.body = sdp.encode();
            }
        });
        if let Some(rseq) = rseq {
            self.await_prack(id, &key, rseq, local_tag, offered);
        }
        if tag == 0 {
            self.fidget(id);
        }
    }

    fn await_prack(&mut self, id: CallId, key: &TxKey, rseq: u32, tag: String, offered: bool) {
        let Some((bytes, to)) = self.last_response(key) else { return };
        let timer = Some(self.timer(T1, Timer::RetransmitProvisional(id)));
        let since = self.now;
        if let Some(invited) = self.calls.get_mut(&id).and_then(|call| call.invited.as_mut()) {
            invited.reliable = Some(Reliable { rseq, tag, bytes, to, interval: T1, since, timer, offered });
        }
    }

    pub(super) fn retransmit_provisional(&mut self, id: CallId) {
        let now = self.now;
        let invited = self.calls.get_mut(&id).and_then(|call| call.invited.as_mut());
        let Some(reliable) = invited.and_then(|invited| invited.reliable.as_mut()) else { return };
        if now >= reliable.since + GIVE_UP {
            let since = reliable.since;
            self.miss(since, "no PRACK to a reliable provisional response", "");
            self.refuse(id, 500);
            return;
        }
        reliable.interval *= 2;
        let (after, to, bytes) = (reliable.interval, reliable.to, reliable.bytes.clone());
        let entry = self.timer(after, Timer::RetransmitProvisional(id));
        let invited = self.calls.get_mut(&id).and_then(|call| call.invited.as_mut());
        if let Some(reliable) = invited.and_then(|invited| invited.reliable.as_mut()) {
            reliable.timer = Some(entry);
        }
        self.transmit(to, bytes);
    }

    pub(super) fn on_prack(&mut self, key: &TxKey, id: CallId, msg: &Msg) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let reliable = call.invited.as_mut().and_then(|invited| invited.reliable.as_mut());
        let Some(reliable) = reliable else {
            // The final response went first, or it is for a response long acknowledged.
            return self.respond(key, 481, "Nothing To Acknowledge", |_| {});
        };
        let number = msg.value("RAck").split(' ').next().and_then(|text| text.parse::<u32>().ok());
        if number != Some(reliable.rseq) {
            return self.respond(key, 481, "Another RSeq", |_| {});
        }
        let (wrong_tag, offered) = (msg.tag_of_to() != Some(reliable.tag.as_str()), reliable.offered);
        let timer = reliable.timer.take();
        if let Some(invited) = call.invited.as_mut() {
            invited.reliable = None;
        }
        self.disarm(timer);
        if wrong_tag {
            self.complain("a PRACK with the tag of another early dialog", &msg.title());
        }
        if offered {
            self.take_offered_early(id, msg);
        }
        self.respond(key, 200, "OK", |_| {});
    }

    fn take_offered_early(&mut self, id: CallId, msg: &Msg) {
        let Some(answer) = Sdp::parse(&msg.body) else {
            return self.complain("a PRACK without the answer to our offer", &msg.title());
        };
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.media.offered = call.media.early.first().map(|(_, sdp)| sdp.clone());
        self.take_answer(id, answer);
    }

    /// The 200, from one of the early dialogs.
    fn pick_up(&mut self, id: CallId, tag: usize, twice: bool) {
        let now = self.now;
        let Some(call) = self.calls.get(&id) else { return };
        let Some(invited) = &call.invited else { return };
        let (key, late, local_tag) = (invited.key.clone(), invited.late, invited.tags[tag].clone());
        let agreed = call.media.local.is_some();
        let offer = call.media.remote.clone();
        let sdp = match offer {
            // The offer of a reliable response has its answer already.
            _ if late && agreed => None,
            _ if late => self.early_offer(id, tag),
            Some(offer) => match self.early_answer(id, &offer, tag) {
                Some(sdp) => Some(sdp),
                None => return self.refuse(id, 488),
            },
            None => None,
        };
        let offered = late && !agreed;
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.invited = None;
        call.phase = Phase::Up;
        call.dialog.local_tag.clone_from(&local_tag);
        if offered {
            (call.media.remote, call.media.offered) = (None, sdp.clone());
        } else if let (Some(sdp), false) = (&sdp, late) {
            call.media.local = Some(sdp.clone());
        }
        if let Some(log) = self.log_of(id) {
            (log.answered, log.final_code, log.local_tag) = (Some(now), Some(200), local_tag.clone());
        }
        self.send_ok(id, &key, sdp, offered);
        if twice {
            self.answer_twice(id, &key);
        }
        let not_cancelled = |timer: &Timer| matches!(timer, Timer::Overdue(call, _) | Timer::Ring(call) if *call == id);
        self.timers.strike_all(not_cancelled);
    }

    /// A 200 to an INVITE, first or again, sent until the ACK comes.
    pub(super) fn send_ok(&mut self, id: CallId, key: &TxKey, sdp: Option<Sdp>, offered: bool) {
        let Some(request) = self.request_of(key).cloned() else { return };
        let session = self.grant_session(id, &request);
        let Some(call) = self.calls.get(&id) else { return };
        let (local_tag, contact, supported) = (call.dialog.local_tag.clone(), self.contact(), self.supported());
        self.respond(key, 200, "OK", |msg| {
            if msg.tag_of_to().is_none() {
                let to = format!("{};tag={local_tag}", msg.value("To"));
                msg.set("To", to);
            }
            msg.headers.extend(request.list("Record-Route").into_iter().map(|hop| ("Record-Route".to_string(), hop)));
            msg.set("Contact", contact);
            msg.headers.extend(supported);
            msg.headers.extend(session);
            if let Some(sdp) = sdp {
                msg.set("Content-Type", "application/sdp");
                msg.body = sdp.encode();
            }
        });
        let (Some((bytes, to)), Some((cseq, _))) = (self.last_response(key), request.cseq()) else { return };
        let timer = Some(self.timer(T1, Timer::RetransmitOk(id)));
        let since = self.now;
        if let Some(call) = self.calls.get_mut(&id) {
            call.sent_ok = Some(SentOk { cseq, bytes, to, interval: T1, since, timer, offered });
        }
    }

    /// One more 200 of the same INVITE, as if a proxy before us had forked it: to be acknowledged and hung up.
    fn answer_twice(&mut self, id: CallId, key: &TxKey) {
        let Some(call) = self.calls.get(&id) else { return };
        let (mut dialog, local) = (call.dialog.clone(), call.media.local.clone());
        dialog.local_tag = self.rng.word(9);
        let ghost = self.new_call(false, dialog, String::new());
        let Some(call) = self.calls.get_mut(&ghost) else { return };
        (call.phase, call.ghost, call.media.local) = (Phase::Up, true, local.clone());
        if let Some(log) = self.log_of(ghost) {
            log.ghost = true;
        }
        self.send_ok(ghost, key, local, false);
        self.timer(2 * GIVE_UP + 2 * SECOND, Timer::Overdue(ghost, "a second answer was not hung up"));
    }

    pub(super) fn retransmit_ok(&mut self, id: CallId) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let (detail, ghost) = (call.dialog.call_id.clone(), call.ghost);
        let Some(ok) = call.sent_ok.as_mut() else { return };
        if now >= ok.since + GIVE_UP {
            let since = ok.since;
            call.sent_ok = None;
            if !ghost {
                self.miss(since, "no ACK to our 200", &detail);
            }
            self.send_bye(id);
            return self.end(id, Ending::Lost);
        }
        ok.interval = (ok.interval * 2).min(T2);
        let (after, to, bytes) = (ok.interval, ok.to, ok.bytes.clone());
        let entry = self.timer(after, Timer::RetransmitOk(id));
        if let Some(ok) = self.calls.get_mut(&id).and_then(|call| call.sent_ok.as_mut()) {
            ok.timer = Some(entry);
        }
        self.transmit(to, bytes);
    }

    pub(super) fn on_ack(&mut self, msg: &Msg) {
        if self.take_refusal_ack(msg) {
            return;
        }
        let (Some(ours), Some(theirs)) = (msg.tag_of_to(), msg.tag_of_from()) else { return };
        let Some(id) = self.find_call(msg.call_id(), ours, theirs) else {
            let waits = |call: &&super::call::Call| call.dialog.call_id == msg.call_id() && call.sent_ok.is_some();
            let ghosts = self.logs.iter().any(|log| log.call_id == msg.call_id() && log.ghost);
            if self.calls.values().any(|call| waits(&call)) && !ghosts {
                self.complain("an ACK with a tag that did not answer", &msg.title());
            }
            return;
        };
        let (cseq, now) = (msg.cseq().map(|(number, _)| number), self.now);
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.sent_ok.as_ref().map(|ok| ok.cseq) != cseq {
            return;
        }
        let Some(ok) = call.sent_ok.take() else { return };
        let enough = call.enough;
        self.disarm(ok.timer);
        let first = match self.log_of(id) {
            Some(log) if log.confirmed.is_none() => {
                log.confirmed = Some(now);
                true
            }
            _ => false,
        };
        if ok.offered {
            match Sdp::parse(&msg.body) {
                Some(answer) => self.take_answer(id, answer),
                // Whoever ends the call at once need not describe what it won't hear.
                None => drop(self.timer(4 * SECOND, Timer::Overdue(id, "an ACK without the answer to our offer"))),
            }
        }
        if enough {
            self.hang_up(id);
        } else if first {
            self.talk(id);
        }
    }

    pub(super) fn refuse(&mut self, id: CallId, code: u16) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(invited) = call.invited.take() else { return };
        let reliable = invited.reliable.and_then(|reliable| reliable.timer);
        self.disarm(reliable);
        let tag = invited.tags.first().cloned().unwrap_or_default();
        let to_uri = format!("<sip:{}@{}>", self.profile.habits.redirect_to, self.profile.domain);
        self.respond(&invited.key, code, "Not Now", |msg| {
            let to = format!("{};tag={tag}", msg.value("To"));
            msg.set("To", to);
            if code == 302 {
                msg.set("Contact", to_uri);
            }
        });
        if let Some(log) = self.log_of(id) {
            log.final_code = Some(code);
        }
        self.end(id, Ending::Refused);
    }

    pub(super) fn on_cancel(&mut self, key: &TxKey) {
        let now = self.now;
        let invite = TxKey { branch: key.branch.clone(), method: "INVITE".into() };
        if self.request_of(&invite).is_none() {
            return self.respond(key, 481, "No Such INVITE", |_| {});
        }
        self.respond(key, 200, "OK", |_| {});
        let ringing = |call: &&super::call::Call| call.invited.as_ref().is_some_and(|i| i.key == invite);
        let Some((id, again)) =
            self.calls.values().find(ringing).map(|c| (c.id, c.invited.as_ref().is_some_and(|i| i.again)))
        else {
            return;
        };
        if again {
            return self.refuse_reinvite(id, 487);
        }
        if let Some(log) = self.log_of(id) {
            log.cancelled = Some(now);
        }
        self.refuse(id, 487);
    }
}
