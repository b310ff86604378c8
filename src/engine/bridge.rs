//! A pair of legs that hear each other: their media wiring, and offers and answers carried from one to the other.
//!
//! Invariant: what the media plane was told of a leg's ports follows from the descriptions of the pair alone (`wire`), so it
//! is recomputed after each change and sent only where it differs.

use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId, PortId, TransactionId};
use crate::base::mutant::{self, Mutant};
use crate::engine::Engine;
use crate::engine::event::{CallState, EventBody};
use crate::engine::io::Output;
use crate::engine::leg::{Exchange, Leg, State};
use crate::engine::media::{MediaCommand, Stream};
use crate::engine::negotiate::{self, Held};
use crate::engine::ports::User;
use crate::engine::relay::Answer;
use crate::proto::sdp::Sdp;
use crate::proto::sip::message::Message;
use bytes::Bytes;
use smallvec::SmallVec;

impl Engine {
    /// The peer of `leg` offers something new.
    pub(super) fn on_offered(&mut self, call: CallId, leg: LegId) {
        let Some(partner) = self.calls.get(&call).and_then(|call| call.partner(leg)) else {
            return self.answer_alone(call, leg);
        };
        if self.legs.get(&leg).is_some_and(|leg| leg.offer_repeats()) {
            return self.answer_alone(call, leg);
        }
        let Some(offer) = self.legs.get(&leg).and_then(|leg| leg.sdp.remote().cloned()) else { return };
        self.ensure_ports(partner, &offer);
        self.ensure_ports(leg, &offer);
        let Some(other) = self.legs.get_mut(&partner) else { return };
        let addresses = other.media_addresses(&self.core);
        let before = other.sdp.clone();
        if other.is_asked_for_offer() {
            let text = other.sdp.offer(&offer, &addresses);
            other.offer_late(&mut self.core, text);
            return;
        }
        let text = other.sdp.offer(&offer, &addresses);
        if before.local() == Some(&text) && !before.has_offered() {
            // Nothing in it concerns the partner: a refresh, or another address of the peer. What the partner has been
            // offered but not answered it may yet refuse.
            other.sdp = before;
            return self.answer_alone(call, leg);
        }
        if other.can_offer() {
            other.reoffer(&mut self.core, Some(text));
            return;
        }
        other.sdp = before;
        self.refuse_offer(leg, 491);
    }

    /// The peer of `leg` wants an offer; it is its partner's to make.
    pub(super) fn on_asked_for_offer(&mut self, call: CallId, leg: LegId) {
        let partner = self.calls.get(&call).and_then(|call| call.partner(leg));
        match partner.and_then(|partner| self.legs.get_mut(&partner)) {
            Some(partner) if partner.can_offer() => {
                partner.reoffer(&mut self.core, None);
            }
            Some(_) => self.refuse_offer(leg, 491),
            None => self.refuse_offer(leg, 488),
        }
    }

    /// The peer of `leg` cancelled its re-INVITE: what became of it at its partner is taken back.
    pub(super) fn on_withdrawn(&mut self, call: CallId, leg: LegId, reason: Option<Box<str>>) {
        self.core.io.decide(call, "a re-INVITE was cancelled: the session stays as it was");
        let partner = self.calls.get(&call).and_then(|call| call.partner(leg));
        if let Some(partner) = partner.and_then(|partner| self.legs.get_mut(&partner)) {
            partner.withdraw(&mut self.core, reason);
        }
    }

    /// The peer of `leg` answered what its partner offered.
    pub(super) fn on_accepted(&mut self, call: CallId, leg: LegId) {
        if let Some(partner) = self.calls.get(&call).and_then(|call| call.partner(leg)) {
            let owes = self.legs.get(&partner).is_some_and(|partner| partner.exchange == Exchange::Theirs);
            if owes {
                self.answer_from(partner, leg);
            }
        }
        self.rewire(call);
    }

    /// The peer of `leg` refused what its partner offered.
    pub(super) fn on_offer_refused(&mut self, call: CallId, leg: LegId, status: u16) {
        if let Some(partner) = self.calls.get(&call).and_then(|call| call.partner(leg)) {
            let status = match status {
                415 | 488 | 491 | 500 | 503 => status,
                _ => 488,
            };
            self.refuse_offer(partner, status);
        }
        self.rewire(call);
    }

    /// A leg whose peer was answered with a description that does not fit its partner gets a new offer.
    pub(super) fn offer_own(&mut self, call: CallId, leg: LegId) {
        let Some(partner) = self.calls.get(&call).and_then(|call| call.partner(leg)) else { return };
        let Some(wishes) = self.legs.get(&partner).and_then(|partner| partner.sdp.wishes()) else { return };
        let Some(leg) = self.legs.get_mut(&leg).filter(|leg| leg.can_offer()) else { return };
        let addresses = leg.media_addresses(&self.core);
        let before = leg.sdp.clone();
        let text = leg.sdp.offer(&wishes, &addresses);
        if before.local() == Some(&text) {
            leg.sdp = before;
        } else {
            leg.offer_own(&mut self.core, text);
        }
        let id = leg.id;
        if let Some(call) = self.calls.get_mut(&call).filter(|call| call.caller == id) {
            call.reoffer_due = false;
        }
    }

    /// While the called phone rang, its caller may have offered something else by UPDATE or PRACK, and was answered from
    /// what was known. The one who answered is offered that now; whether the caller's answer fits is seen when it is
    /// settled (`mend`).
    pub(super) fn offer_what_changed(&mut self, caller: LegId, callee: LegId) {
        let Some(leg) = self.legs.get(&caller).filter(|leg| leg.sdp.generation() > 1) else { return };
        let Some(offer) = leg.sdp.remote().cloned() else { return };
        self.ensure_ports(callee, &offer);
        let Some(leg) = self.legs.get_mut(&callee).filter(|leg| leg.can_offer()) else { return };
        let addresses = leg.media_addresses(&self.core);
        let before = leg.sdp.clone();
        let text = leg.sdp.offer(&offer, &addresses);
        if before.local() == Some(&text) {
            leg.sdp = before;
            return;
        }
        leg.offer_own(&mut self.core, text);
        let call = leg.call;
        self.core.io.decide(call, "the caller changed its offer while the phone rang: the phone is offered that now");
        if let Some(call) = self.calls.get_mut(&call) {
            call.reoffer_due = true;
        }
    }

    /// The caller was answered before it was known what the called phone would say: if that does not fit, it gets a new
    /// offer, once the called phone has no offer of ours to answer.
    pub(super) fn mend(&mut self, call: CallId) {
        let due = self.calls.get(&call).filter(|call| call.reoffer_due);
        let Some((caller, callee)) = due.and_then(|call| call.pair) else { return };
        if self.legs.get(&callee).is_some_and(|callee| callee.exchange != Exchange::Idle) {
            return;
        }
        if !self.answer_fits(caller, callee) {
            return self.offer_own(call, caller);
        }
        if let Some(call) = self.calls.get_mut(&call) {
            call.reoffer_due = false;
        }
    }

    /// The peer of `leg` holds or resumes in its answer to a session refresh, where its partner learns nothing of it: that
    /// is offered it. Answers to such offers are not passed on, so this can't go to and fro.
    pub(super) fn on_turned(&mut self, call: CallId, leg: LegId) {
        let partner = self.calls.get(&call).and_then(|call| call.partner(leg));
        if let Some(partner) = partner.and_then(|partner| self.legs.get_mut(&partner)) {
            self.core
                .io
                .decide(call, "a phone held or resumed in its answer to a session refresh: its partner is told");
            partner.offer_soon(&mut self.core);
        }
    }

    /// Carries an INFO or MESSAGE to the partner.
    pub(super) fn carry(&mut self, call: CallId, leg: LegId, tx: TransactionId, request: &Message) {
        let partner = self.calls.get(&call).and_then(|call| call.partner(leg));
        let carried = match partner.and_then(|partner| self.legs.get_mut(&partner)) {
            Some(partner) => partner.carry(&mut self.core, leg, tx, request),
            None => false,
        };
        if !carried && let Some(leg) = self.legs.get_mut(&leg) {
            leg.carried(&mut self.core, tx, request, &Answer::bare(480));
        }
    }

    /// Answers a peer's offer from what is known, without asking a partner.
    fn answer_alone(&mut self, call: CallId, leg: LegId) {
        let pair = self.calls.get(&call).and_then(|call| call.pair);
        let other = pair.and_then(|(a, b)| [a, b].into_iter().find(|other| *other != leg));
        match other {
            Some(other) => self.answer_from(leg, other),
            None => self.refuse_offer(leg, 488),
        }
        self.rewire(call);
    }

    /// Answers the offer of `leg`'s peer with what `partner`'s peer said last.
    fn answer_from(&mut self, leg: LegId, partner: LegId) {
        let Some(remote) = self.legs.get(&partner).and_then(|partner| partner.sdp.remote().cloned()) else {
            return self.refuse_offer(leg, 488);
        };
        if let Some(offer) = self.legs.get(&leg).and_then(|leg| leg.sdp.remote().cloned()) {
            self.ensure_ports(leg, &offer);
        }
        let Some(leg) = self.legs.get_mut(&leg) else { return };
        let addresses = leg.media_addresses(&self.core);
        match leg.sdp.answer(&remote, &addresses) {
            Ok(text) => leg.accept(&mut self.core, text),
            Err(why) => {
                let call = leg.call;
                self.core.io.decide(call, format!("no answer for {}: {why}", leg.number));
                leg.refuse_offer(&mut self.core, 488);
                // The partner has agreed to something nobody else did: back to what its peer still has.
                self.offer_own(call, partner);
            }
        }
    }

    fn refuse_offer(&mut self, leg: LegId, status: u16) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.refuse_offer(&mut self.core, status);
        }
    }

    /// The answer the caller gets from what a called leg's peer said. The caller has one stable answer: once given, it is
    /// given again (DESIGN: never a changed answer within one dialog).
    pub(super) fn answer_for_caller(&mut self, caller: LegId, from: LegId) -> Option<Bytes> {
        let remote = self.legs.get(&from)?.sdp.remote()?.clone();
        if let Some(given) = self.legs.get(&caller)?.sdp.local() {
            return Some(given.clone());
        }
        let caller = self.legs.get_mut(&caller)?;
        let addresses = caller.media_addresses(&self.core);
        caller.sdp.answer(&remote, &addresses).ok()
    }

    /// Whether the caller's answer, given while another branch was heard, fits what `winner`'s peer said.
    pub(super) fn answer_fits(&self, caller: LegId, winner: LegId) -> bool {
        let given = self.legs.get(&caller).and_then(|leg| leg.sdp.local());
        let given = given.and_then(|text| Sdp::parse(text).ok());
        let won = self.legs.get(&winner).and_then(|leg| leg.sdp.remote());
        match (given, won) {
            (Some(given), Some(won)) => negotiate::compatible(&given, won),
            _ => true,
        }
    }

    /// Takes the ports a description needs that the leg has not got; false when there are none.
    pub(super) fn ensure_ports(&mut self, leg: LegId, description: &Sdp) -> bool {
        let wanted = negotiate::streams(description).max(1);
        self.take_ports(leg, wanted)
    }

    pub(super) fn take_ports(&mut self, leg: LegId, wanted: usize) -> bool {
        let Some(leg) = self.legs.get_mut(&leg) else { return false };
        while leg.ports.len() < wanted {
            let user = User { call: leg.call, leg: leg.id };
            let Some(grant) = self.ports.take(leg.flow.local, user) else {
                self.core.io.decide(leg.call, "no media port is free: enlarge rtp.ports");
                return false;
            };
            // The media plane grants another in its place when it sees that this one is used.
            let stream = Stream::default();
            self.core.io.out.push(Output::Media(MediaCommand::Set { port: grant.port, stream }));
            leg.ports.push(grant);
        }
        true
    }

    /// Gives a leg's ports back.
    pub(super) fn release_ports(&mut self, leg: LegId) {
        let Some(leg) = self.legs.get_mut(&leg) else { return };
        let (id, call) = (leg.id, leg.call);
        let unanswered = leg.state == State::Outgoing;
        let grants = std::mem::take(&mut leg.ports);
        leg.wired.clear();
        if let Some(call) = self.calls.get_mut(&call) {
            call.leaving += grants.len();
        }
        self.unhook(call, id);
        for grant in grants {
            if mutant::on(Mutant::PortLeaked) && unanswered {
                continue;
            }
            self.ports.release(grant, &mut self.core.io.out);
        }
    }

    /// An early branch that was heard is gone: the caller's packets must not go to its port, which will be another call's.
    fn unhook(&mut self, call: CallId, leg: LegId) {
        let Some(call) = self.calls.get_mut(&call).filter(|call| !call.bridged && !call.is_over()) else { return };
        let Some((caller, _)) = call.pair.take_if(|(_, heard)| *heard == leg) else { return };
        let Some(caller) = self.legs.get_mut(&caller) else { return };
        for (grant, stream) in
            caller.ports.iter().zip(caller.wired.iter_mut()).filter(|(_, stream)| stream.sink.is_some())
        {
            stream.sink = None;
            let command = MediaCommand::Set { port: grant.port, stream: stream.clone() };
            self.core.io.out.push(Output::Media(command));
        }
    }

    /// Tells the media plane what changed for the pair of a call.
    pub(super) fn rewire(&mut self, call: CallId) {
        let Some((a, b)) = self.calls.get(&call).and_then(|call| call.pair) else { return };
        let [Some(a), Some(b)] = self.legs.get_disjoint_mut([&a, &b]) else { return };
        let wiring = negotiate::wire(&a.sdp, &ports(a), &b.sdp, &ports(b));
        for (port, stream) in wiring {
            let leg = if a.ports.iter().any(|grant| grant.port == port) { &mut *a } else { &mut *b };
            set_stream(leg, port, stream, &mut self.core.io.out);
        }
        let held = negotiate::held(&a.sdp) != Held::No || negotiate::held(&b.sdp) != Held::No;
        self.show_hold(call, held);
    }

    fn show_hold(&mut self, call: CallId, held: bool) {
        let Some(call) = self.calls.get_mut(&call).filter(|call| call.bridged && !call.is_over()) else { return };
        let state = if held { CallState::Hold } else { CallState::Connected };
        if call.state != state {
            call.state = state;
            self.core.io.event(EventBody::CallState { call: call.id, state });
        }
    }

    /// Hangs a leg up and takes its ports back.
    pub(super) fn drop_leg(&mut self, leg: LegId, cause: Cause) {
        self.release_ports(leg);
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.hang_up(&mut self.core, cause);
        }
    }
}

fn ports(leg: &Leg) -> SmallVec<[PortId; 2]> {
    leg.ports.iter().map(|grant| grant.port).collect()
}

fn set_stream(leg: &mut Leg, port: PortId, stream: Stream, out: &mut Vec<Output>) {
    let Some(at) = leg.ports.iter().position(|grant| grant.port == port) else { return };
    if leg.wired.len() <= at {
        leg.wired.resize(at + 1, Stream::default());
    }
    if leg.wired[at] != stream {
        leg.wired[at] = stream.clone();
        out.push(Output::Media(MediaCommand::Set { port, stream }));
    }
}
