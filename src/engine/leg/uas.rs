//! The incoming side of a leg: the peer's first INVITE from its arrival to the ACK of our answer, with reliable
//! provisional responses (RFC 3262) and the repetition of the 2xx (RFC 3261 §13.3.1.4).

use super::{ALLOW, Abilities, Exchange, Leg, LegEvent, LegTimer, State};
use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId, TransactionId};
use crate::base::mutant::{self, Mutant};
use crate::base::timers::{Lane, TimerId};
use crate::engine::core::{Core, TimerKey, reason};
use crate::engine::dialog::{Dialog, NoDialog};
use crate::engine::flow::Flow;
use crate::engine::negotiate::Unacceptable;
use crate::engine::target;
use crate::engine::transaction::Owner;
use crate::proto::sdp::Sdp;
use crate::proto::sip::address::Address;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::name::Name;
use crate::proto::sip::uri::Scheme;
use crate::proto::sip::writer::Writer;
use bytes::Bytes;
use std::time::Duration;

/// The peer's first INVITE, waiting for its final response.
pub(super) struct Incoming {
    tx: TransactionId,
    request: Message,
    /// The INVITE carried an offer, so that our description is an answer.
    pub(super) offered: bool,
    /// The peer insists on reliable provisional responses.
    require_reliable: bool,
    support_reliable: bool,
    rseq: u32,
    /// The reliable response that waits for its PRACK.
    reliable: Option<Reliable>,
    /// What was to be sent meanwhile: the newest provisional response, and the answer.
    queued: Option<(u16, Option<Bytes>)>,
    answer: Option<Option<Bytes>>,
    /// The peer has acknowledged a reliable response with our description.
    settled: bool,
}

struct Reliable {
    rseq: u32,
    bytes: Bytes,
    described: bool,
    interval: Duration,
    again: Option<TimerId>,
}

/// Our 2xx to an INVITE until its ACK.
pub(super) struct Unacked {
    pub(super) cseq: u32,
    bytes: Bytes,
    /// The 2xx carried our offer: the ACK must carry the answer.
    pub(super) offer: bool,
    interval: Duration,
    pub(super) again: Option<TimerId>,
}

impl Incoming {
    pub(super) fn take_timer(&mut self) -> Option<TimerId> {
        self.reliable.as_mut().and_then(|reliable| reliable.again.take())
    }
}

impl Leg {
    /// The leg of a caller. `offer` is the description of its INVITE.
    pub fn incoming(
        core: &mut Core,
        (id, call): (LegId, CallId),
        number: Box<str>,
        flow: Flow,
        (tx, request): (TransactionId, &Message),
    ) -> Result<Leg, NoDialog> {
        let tag = core.io.rng.token::<12>();
        let dialog = Dialog::of_request(request, &tag)?;
        let sdp_id = core.io.rng.u64() >> 2;
        let mut leg = Leg::new(id, call, number, false, flow, sdp_id);
        core.dialogs.insert(dialog.key.clone(), id);
        leg.dialog = Some(dialog);
        leg.sips = asks_for_sips(request);
        leg.abilities = Abilities::of(request);
        leg.incoming = Some(Box::new(Incoming {
            tx,
            request: request.clone(),
            offered: false,
            require_reliable: request.has_option(Name::Require, "100rel"),
            support_reliable: request.has_option(Name::Supported, "100rel"),
            rseq: 0,
            reliable: None,
            queued: None,
            answer: None,
            settled: false,
        }));
        core.tx.own(tx, Owner::Leg(id));
        Ok(leg)
    }

    /// 100: the INVITE need not be sent again.
    pub fn trying(&mut self, core: &mut Core) {
        let Some(incoming) = &self.incoming else { return };
        let (tx, bytes) = (incoming.tx, core.reply(&incoming.request, &self.flow, 100, None).finish());
        core.tx.respond(&mut core.io, tx, 100, bytes);
    }

    /// Takes the offer of the first INVITE.
    ///
    /// # Errors
    /// It can't be used, and why: for the caller to read.
    pub fn take_offer(&mut self, core: &mut Core, offer: Option<Sdp>) -> Result<(), Unacceptable> {
        let Some(offer) = offer else { return Ok(()) };
        let result = self.sdp.set_offer(offer);
        self.usable(core, result);
        result?;
        self.exchange = Exchange::Theirs;
        if let Some(incoming) = &mut self.incoming {
            incoming.offered = true;
        }
        Ok(())
    }

    /// Whether the caller asked for our offer (its INVITE had none).
    pub fn wants_offer(&self) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| !incoming.offered)
    }

    /// Tells the caller how its call progresses; with our description where it may hear something already.
    pub fn progress(&mut self, core: &mut Core, status: u16, sdp: Option<Bytes>) {
        let Some(incoming) = &mut self.incoming else { return };
        // Once acknowledged, a description is not said again (RFC 3262 §5): it would be taken for an offer.
        let sdp = sdp.filter(|_| !incoming.settled);
        if incoming.require_reliable && !incoming.offered && sdp.is_none() {
            // RFC 3262 §5: the first reliable response would have to carry our offer, and there is none yet.
            return;
        }
        let wish = incoming.require_reliable || incoming.support_reliable && sdp.is_some();
        if wish && incoming.reliable.is_some() {
            incoming.queued = Some((status, sdp));
            return;
        }
        let (tx, request) = (incoming.tx, incoming.request.clone());
        let mut writer = self.reply_dialog(core, &request, status);
        let described = sdp.is_some();
        let rseq = wish.then(|| self.next_rseq(core)).flatten();
        if let Some(rseq) = rseq {
            writer.header("Require", "100rel");
            writer.header_fmt("RSeq", format_args!("{rseq}"));
        }
        let bytes = finish(writer, sdp);
        self.respond(core, tx, status, bytes.clone());
        if let Some(rseq) = rseq {
            self.await_prack(core, rseq, bytes, described);
        }
    }

    /// Answers the call: 200, with our description unless the peer has acknowledged it already.
    pub fn answer(&mut self, core: &mut Core, sdp: Option<Bytes>) {
        let Some(incoming) = &mut self.incoming else { return };
        if incoming.reliable.as_ref().is_some_and(|reliable| reliable.described) {
            // RFC 3262 §3: the 2xx waits until the description's PRACK is there.
            incoming.answer = Some(sdp);
            self.state = State::Up;
            return;
        }
        let sdp = if incoming.settled { None } else { sdp };
        let Some(incoming) = self.incoming.take() else { return };
        let offer = !incoming.offered;
        self.exchange = if offer { Exchange::Ours } else { Exchange::Idle };
        self.state = State::Up;
        if let Some(timer) = incoming.reliable.and_then(|reliable| reliable.again) {
            core.io.timers.cancel(timer);
        }
        self.send_2xx(core, incoming.tx, &incoming.request, sdp, offer);
    }

    /// Refuses the call.
    pub(super) fn reject(&mut self, core: &mut Core, cause: Cause) {
        // The other party hung up before this one could be told that it had answered.
        let cause = if cause == Cause::Normal { Cause::NoAnswer } else { cause };
        let Some(incoming) = self.incoming.take() else { return self.closed(core) };
        let mut writer = self.reply(core, &incoming.request, cause.status());
        writer.header("Reason", reason(cause));
        if cause.status() == 503 {
            let wait = 5 + core.io.rng.below(16);
            writer.header_fmt("Retry-After", format_args!("{wait}"));
        } else if cause == Cause::UnsupportedMedia {
            accept(&mut writer);
        }
        if let Some(timer) = incoming.reliable.and_then(|reliable| reliable.again) {
            core.io.timers.cancel(timer);
        }
        let bytes = writer.finish();
        if mutant::on(Mutant::TwoFinals) && cause == Cause::Cancelled {
            let bytes = self.reply(core, &incoming.request, 480).finish();
            core.io.out.push(crate::engine::io::Output::Send { flow: self.flow, bytes, key: None });
        }
        self.respond(core, incoming.tx, cause.status(), bytes);
        self.refuse_asked(core, 487);
        self.closed(core);
    }

    /// Refuses the call with a reason in words (a feature that is not there).
    pub fn reject_with(&mut self, core: &mut Core, status: u16, header: (&str, &str)) {
        let Some(incoming) = self.incoming.take() else { return };
        let mut writer = self.reply(core, &incoming.request, status);
        writer.header(header.0, header.1);
        self.respond(core, incoming.tx, status, writer.finish());
        self.closed(core);
    }

    /// A 2xx to an INVITE, first or later, repeated until its ACK.
    pub(super) fn send_2xx(
        &mut self,
        core: &mut Core,
        tx: TransactionId,
        request: &Message,
        sdp: Option<Bytes>,
        offer: bool,
    ) {
        let Ok(cseq) = request.cseq() else { return };
        let mut writer = self.reply_dialog(core, request, 200);
        self.settle_session_as_uas(core, request, &mut writer);
        let bytes = finish(writer, sdp);
        self.respond(core, tx, 200, bytes.clone());
        let interval = core.io.config.timers.t1;
        let again = Some(self.timer(core, interval, LegTimer::Repeat2xx));
        self.await_ack_until(core, cseq.number);
        self.unacked = Some(Box::new(Unacked { cseq: cseq.number, bytes, offer, interval, again }));
    }

    pub(super) fn await_ack_until(&mut self, core: &mut Core, cseq: u32) {
        let until = core.io.now.mono + core.io.config.timers.t1 * 64;
        core.io.timers.set_fixed(Lane::Long, until, TimerKey::Leg(self.id, LegTimer::NoAck(cseq)));
    }

    pub(super) fn repeat_2xx(&mut self, core: &mut Core) {
        let Some(unacked) = self.unacked.as_mut().filter(|_| !mutant::on(Mutant::AnswerSentOnce)) else { return };
        let bytes = unacked.bytes.clone();
        unacked.interval = (unacked.interval * 2).min(core.io.config.timers.t2);
        let interval = unacked.interval;
        core.io.out.push(crate::engine::io::Output::Send { flow: self.flow, bytes, key: None });
        let again = self.timer(core, interval, LegTimer::Repeat2xx);
        if let Some(unacked) = &mut self.unacked {
            unacked.again = Some(again);
        }
    }

    /// Goes on repeating the 2xx while a BYE waits for its ACK.
    pub(super) fn repeat_2xx_later(&mut self, core: &mut Core) {
        let Some(interval) = self.unacked.as_ref().map(|unacked| unacked.interval) else { return };
        let again = self.timer(core, interval, LegTimer::Repeat2xx);
        if let Some(unacked) = &mut self.unacked {
            unacked.again = Some(again);
        }
    }

    /// 64·T1 without ACK: the peer is lost, or never wanted the call (RFC 3261 §13.3.1.4).
    pub(super) fn no_ack(&mut self, core: &mut Core, cseq: u32) {
        if self.unacked.as_ref().is_none_or(|unacked| unacked.cseq != cseq) {
            return;
        }
        self.stop_2xx(core);
        core.io.decide(self.call, format!("{} never acknowledged our 200", self.number));
        match self.bye_after_ack.take() {
            Some(cause) => self.bye_now(core, cause),
            None => core.say(self.id, LegEvent::Ended { cause: Cause::RequestTimeout }),
        }
    }

    fn stop_2xx(&mut self, core: &mut Core) {
        if let Some(timer) = self.unacked.take().and_then(|unacked| unacked.again) {
            core.io.timers.cancel(timer);
        }
    }

    /// The ACK of a 2xx of ours.
    pub fn on_ack(&mut self, core: &mut Core, ack: &Message) {
        let cseq = ack.cseq().map(|cseq| cseq.number).ok();
        let Some(unacked) = self.unacked.as_ref().filter(|unacked| Some(unacked.cseq) == cseq) else { return };
        let offer = unacked.offer;
        self.stop_2xx(core);
        if let Some(cause) = self.bye_after_ack.take() {
            return self.bye_now(core, cause);
        }
        if !offer {
            return core.say(self.id, LegEvent::Acked);
        }
        self.exchange = Exchange::Idle;
        let answer = Leg::description(ack).ok().flatten();
        if answer.is_some_and(|answer| self.set_answer(core, answer)) {
            core.say(self.id, LegEvent::Accepted);
            core.say(self.id, LegEvent::Acked);
        } else {
            core.io.decide(self.call, "the ACK carried no usable answer to our offer");
            core.say(self.id, LegEvent::Ended { cause: Cause::NotAcceptable });
        }
    }

    /// The next RSeq, unless they ran out (RFC 3262 §3).
    fn next_rseq(&mut self, core: &mut Core) -> Option<u32> {
        let incoming = self.incoming.as_mut()?;
        incoming.rseq = match incoming.rseq {
            0 => 1 + core.io.rng.below(1 << 30) as u32,
            last => last.checked_add(1)?,
        };
        Some(incoming.rseq)
    }

    fn await_prack(&mut self, core: &mut Core, rseq: u32, bytes: Bytes, described: bool) {
        let interval = core.io.config.timers.t1;
        let again = Some(self.timer(core, interval, LegTimer::Repeat1xx));
        let until = core.io.now.mono + interval * 64;
        core.io.timers.set_fixed(Lane::Long, until, TimerKey::Leg(self.id, LegTimer::NoPrack(rseq)));
        if let Some(incoming) = &mut self.incoming {
            incoming.reliable = Some(Reliable { rseq, bytes, described, interval, again });
        }
    }

    pub(super) fn repeat_1xx(&mut self, core: &mut Core) {
        let Some(reliable) = self.incoming.as_mut().and_then(|incoming| incoming.reliable.as_mut()) else { return };
        let bytes = reliable.bytes.clone();
        reliable.interval *= 2;
        let interval = reliable.interval;
        core.io.out.push(crate::engine::io::Output::Send { flow: self.flow, bytes, key: None });
        let again = self.timer(core, interval, LegTimer::Repeat1xx);
        if let Some(reliable) = self.incoming.as_mut().and_then(|incoming| incoming.reliable.as_mut()) {
            reliable.again = Some(again);
        }
    }

    pub(super) fn no_prack(&mut self, core: &mut Core, rseq: u32) {
        let waits = self.incoming.as_ref().and_then(|incoming| incoming.reliable.as_ref());
        if waits.is_none_or(|reliable| reliable.rseq != rseq) {
            return;
        }
        core.io.decide(self.call, format!("{} never acknowledged a provisional response", self.number));
        // RFC 3262 §3: the request is rejected with a 5xx, which ending the leg does.
        core.say(self.id, LegEvent::Ended { cause: Cause::RemoteError });
    }

    /// Whether this is the PRACK of our reliable response.
    pub(super) fn is_awaited_prack(&self, request: &Message) -> bool {
        let Some(incoming) = self.incoming.as_ref().filter(|_| request.method() == Method::Prack) else { return false };
        let invite = incoming.request.cseq().map(|cseq| cseq.number).unwrap_or_default();
        let rseq = incoming.reliable.as_ref().map(|reliable| reliable.rseq);
        request.rack().is_some_and(|rack| Some(rack.rseq) == rseq && rack.cseq.number == invite)
    }

    pub(super) fn on_prack(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        if !self.is_awaited_prack(request) {
            return self.respond_plain(core, tx, request, 481);
        }
        let timer = self.incoming.as_mut().and_then(|incoming| incoming.take_timer());
        if let Some(timer) = timer {
            core.io.timers.cancel(timer);
        }
        let Some(incoming) = &mut self.incoming else { return };
        if let Some(reliable) = incoming.reliable.take() {
            incoming.settled |= reliable.described && incoming.offered;
        }
        if incoming.settled && self.exchange == Exchange::Theirs {
            self.exchange = Exchange::Idle;
        }
        if !request.body_slice().is_empty() {
            return self.on_prack_offer(core, tx, request);
        }
        self.respond_plain(core, tx, request, 200);
        self.after_prack(core);
    }

    /// Sends what waited for a PRACK, unless its offer has no answer yet.
    pub(super) fn after_prack(&mut self, core: &mut Core) {
        let Some(incoming) = &mut self.incoming else { return };
        if let Some(sdp) = incoming.answer.take() {
            self.answer(core, sdp);
        } else if let Some((status, sdp)) = incoming.queued.take() {
            self.progress(core, status, sdp);
        }
    }

    /// A response that makes or refreshes the dialog: with Contact, Record-Route and what we allow.
    pub(super) fn reply_dialog(&self, core: &Core, request: &Message, status: u16) -> Writer {
        let mut writer = self.reply(core, request, status);
        writer.record_routes_of(request);
        writer.header_fmt("Contact", format_args!("<{}>", self.contact(core, "")));
        writer.header("Allow", ALLOW);
        writer.header("Supported", "100rel, timer");
        writer
    }
}

impl Abilities {
    pub(super) fn of(message: &Message) -> Abilities {
        let mut methods = message.values(Name::Allow);
        Abilities { update: methods.any(|method| method.eq_ignore_ascii_case(b"UPDATE")) }
    }
}

/// What a 415 must say (RFC 3261 §8.2.3).
pub(super) fn accept(writer: &mut Writer) {
    writer.header("Accept", "application/sdp");
    writer.header("Accept-Encoding", "identity");
}

/// Whether our Contact in the dialog of an INVITE must be a `sips:` URI (RFC 3261 §12.1.1).
fn asks_for_sips(invite: &Message) -> bool {
    let next = match invite.values(Name::RecordRoute).next() {
        Some(route) => Address::parse(route).is_ok_and(|route| route.uri.scheme == Scheme::Sips),
        None => invite.contact().is_ok_and(|contact| contact.uri.scheme == Scheme::Sips),
    };
    next || target::is_sips(invite.request_uri())
}

pub(super) fn finish(mut writer: Writer, sdp: Option<Bytes>) -> Bytes {
    match sdp {
        Some(sdp) => writer.body("application/sdp", &sdp),
        None => writer.finish(),
    }
}
