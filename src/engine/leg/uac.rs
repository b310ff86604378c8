//! The outgoing side of a leg: our first INVITE with its forks, CANCEL and PRACK, and the 2xx and ACK of every INVITE of
//! ours.

use super::offer::Kind;
use super::session::RETRY;
use super::uas::finish;
use super::{ALLOW, Abilities, Exchange, Leg, LegEvent, LegTimer, Purpose, State};
use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId, TransactionId};
use crate::base::limits;
use crate::base::mutant::{self, Mutant};
use crate::engine::core::{Core, reason};
use crate::engine::dialog::Dialog;
use crate::engine::flow::Flow;
use crate::engine::invite::identity;
use crate::engine::io::Output;
use crate::engine::negotiate::LegSdp;
use crate::engine::target;
use crate::engine::transaction::{Draft, Owner};
use crate::proto::sdp::Sdp;
use crate::proto::sip::address::Contact;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::name::Name;
use bytes::Bytes;
use smallvec::SmallVec;
use std::borrow::Cow;

/// What a first INVITE says.
#[derive(Clone, Debug)]
pub struct Invite {
    /// The Request-URI: the contact's URI.
    pub uri: Box<str>,
    /// Route values the binding's Path asks for (RFC 3327).
    pub routes: Box<[Box<str>]>,
    pub from_name: Box<str>,
    pub from: Box<str>,
    /// The host part of From, To and P-Asserted-Identity.
    pub domain: Box<str>,
    pub to: Box<str>,
    pub max_forwards: u8,
    pub call_id: Box<str>,
    pub tag: [u8; 12],
    pub sdp: Option<Bytes>,
    /// More header fields, such as Alert-Info.
    pub headers: Vec<(&'static str, Box<str>)>,
}

/// Our INVITE in progress.
pub(super) struct Outgoing {
    pub(super) tx: TransactionId,
    cseq: u32,
    pub(super) kind: Kind,
    /// It carried an offer.
    offered: bool,
    provisional: bool,
    /// The CANCEL waits for a provisional response.
    cancel: Option<Cause>,
    first: Option<Box<Invite>>,
}

/// A cancelled re-INVITE that nobody answered within 64·T1. An answer after that is still owed an ACK.
pub(super) struct GivenUp {
    cseq: u32,
    /// It, and the description with its offer under way, until it is answered after all.
    was: Option<(Box<Outgoing>, LegSdp)>,
    ack: Option<Bytes>,
}

/// An early dialog of our first INVITE: one branch of the fork.
pub(super) struct Early {
    pub(super) dialog: Dialog,
    answer: Option<Sdp>,
    rseq: Option<u32>,
}

impl Leg {
    /// A new leg towards a contact; its INVITE goes out with `invite`.
    pub fn outgoing(core: &mut Core, (id, call): (LegId, CallId), number: Box<str>, flow: Flow) -> Leg {
        let sdp_id = core.io.rng.u64() >> 2;
        Leg::new(id, call, number, true, flow, sdp_id)
    }

    /// Sends the first INVITE.
    pub fn invite(&mut self, core: &mut Core, invite: Invite) {
        if invite.sdp.is_some() {
            self.exchange = Exchange::Ours;
        }
        self.send_first(core, Box::new(invite), 1, 0);
    }

    fn send_first(&mut self, core: &mut Core, invite: Box<Invite>, cseq: u32, min_se: u32) {
        self.sips = target::is_sips(invite.uri.as_bytes());
        let mut draft =
            core.tx.draft(&mut core.io, &self.flow, Method::Invite, invite.uri.as_bytes(), invite.max_forwards);
        let writer = &mut draft.writer;
        for route in &invite.routes {
            writer.header("Route", route.as_bytes());
        }
        let tag = std::str::from_utf8(&invite.tag).unwrap_or_default();
        let identity = identity(&invite.from_name, &invite.from, &invite.domain);
        writer.header_fmt("From", format_args!("{identity};tag={tag}"));
        writer.header_fmt("To", format_args!("<sip:{}@{}>", invite.to, invite.domain));
        writer.header("Call-ID", invite.call_id.as_bytes());
        writer.header_fmt("CSeq", format_args!("{cseq} INVITE"));
        writer.header_fmt("Contact", format_args!("<{}>", self.contact(core, &invite.from)));
        writer.header("P-Asserted-Identity", identity.as_bytes());
        writer.header("Allow", ALLOW);
        // Without an offer of ours a reliable response could carry one we can't answer in time.
        writer.header("Supported", if invite.sdp.is_some() { "100rel, timer" } else { "timer" });
        for (name, value) in &invite.headers {
            writer.header(name, value.as_bytes());
        }
        self.propose_session(core, &mut draft.writer, min_se);
        let tx = self.send_invite(core, draft, invite.sdp.clone());
        self.outgoing = Some(Box::new(Outgoing {
            tx,
            cseq,
            kind: Kind::First,
            offered: invite.sdp.is_some(),
            provisional: false,
            cancel: None,
            first: Some(invite),
        }));
    }

    fn send_invite(&mut self, core: &mut Core, draft: Draft, sdp: Option<Bytes>) -> TransactionId {
        let (ids, mut writer) = draft.split();
        writer.header("User-Agent", &*core.io.config.software);
        let bytes = finish(writer, sdp);
        core.io.trace_sent(self.call, self.id, &self.flow, &bytes);
        core.tx.start(&mut core.io, self.flow, ids, true, Owner::Leg(self.id), bytes);
        ids.0
    }

    /// Sends a later INVITE in the dialog.
    pub(super) fn send_reinvite(&mut self, core: &mut Core, sdp: Option<Bytes>, kind: Kind) {
        let Some(dialog) = &mut self.dialog else { return };
        let mut draft = dialog.request(&mut core.io, &mut core.tx, &self.flow, Method::Invite);
        let cseq = dialog.local_cseq;
        let contact = self.contact(core, "");
        draft.writer.header_fmt("Contact", format_args!("<{contact}>"));
        draft.writer.header("Allow", ALLOW);
        draft.writer.header("Supported", "timer");
        self.propose_session(core, &mut draft.writer, 0);
        let offered = sdp.is_some();
        let tx = self.send_invite(core, draft, sdp);
        let outgoing = Outgoing { tx, cseq, kind, offered, provisional: false, cancel: None, first: None };
        self.outgoing = Some(Box::new(outgoing));
    }

    /// Gives up our unanswered INVITE.
    pub(super) fn cancel(&mut self, core: &mut Core, cause: Cause) {
        self.state = State::Closing;
        if self.outgoing.is_none() {
            return self.closed(core);
        }
        self.cancel_outgoing(core, cause);
    }

    /// The CANCEL of our INVITE in progress, first or later.
    pub(super) fn cancel_outgoing(&mut self, core: &mut Core, cause: Cause) {
        let Some(outgoing) = &mut self.outgoing else { return };
        if outgoing.provisional {
            core.tx.cancel(&mut core.io, outgoing.tx, &why(&self.reason, cause));
        } else {
            // RFC 3261 §9.1: not before a provisional response.
            outgoing.cancel = Some(cause);
        }
    }

    pub(super) fn on_invite_response(&mut self, core: &mut Core, response: &Message) {
        let status = response.status().unwrap_or(0);
        let Some(outgoing) = &mut self.outgoing else { return };
        match (outgoing.kind, status) {
            (_, 100..=199) => {
                outgoing.provisional = true;
                let (tx, first) = (outgoing.tx, outgoing.kind == Kind::First);
                if let Some(cause) = outgoing.cancel.take() {
                    core.tx.cancel(&mut core.io, tx, &why(&self.reason, cause));
                } else if first && status > 100 && self.state == State::Outgoing {
                    self.on_progress(core, status, response);
                }
            }
            (Kind::First, 200..=299) => self.on_first_2xx(core, response),
            (Kind::First, _) => self.on_refused(core, status, response),
            (_, 200..=299) => self.on_reinvite_2xx(core, response),
            (_, _) => self.on_reinvite_refused(core, status),
        }
    }

    fn on_progress(&mut self, core: &mut Core, status: u16, response: &Message) {
        let Some(at) = self.early_dialog(core, response) else {
            return core.say(self.id, LegEvent::Progress { status, media: false });
        };
        if response.has_option(Name::Require, "100rel") && !self.acknowledge_progress(core, at, response) {
            return;
        }
        let offered = self.outgoing.as_ref().is_some_and(|outgoing| outgoing.offered);
        let answer = if offered { Leg::description(response).ok().flatten() } else { None };
        let mut media = false;
        if let Some(answer) = answer {
            // The first early media is heard until another branch answers.
            let heard = self.early.iter().position(|early| early.answer.is_some());
            let changed = self.early[at].answer.as_ref() != Some(&answer);
            if heard.is_none_or(|heard| heard == at) && (!changed || self.set_answer(core, answer.clone())) {
                media = true;
            }
            self.early[at].answer = Some(answer);
        }
        core.say(self.id, LegEvent::Progress { status, media });
    }

    /// The early dialog of a provisional response, made when it is new; its index.
    fn early_dialog(&mut self, core: &mut Core, response: &Message) -> Option<usize> {
        let to = response.to().ok()?;
        let tag = to.tag()?;
        if let Some(at) = self.early.iter().position(|early| *early.dialog.key.remote == *tag) {
            self.early[at].dialog.refresh_target(response);
            return Some(at);
        }
        if self.early.len() >= limits::EARLY_DIALOGS {
            return None;
        }
        let target = self.outgoing.as_ref()?.first.as_ref()?.uri.clone();
        let dialog = Dialog::of_response(response, target.as_bytes()).ok()?;
        core.dialogs.insert(dialog.key.clone(), self.id);
        self.abilities = Abilities::of(response);
        self.early.push(Early { dialog, answer: None, rseq: None });
        Some(self.early.len() - 1)
    }

    /// PRACKs a reliable provisional response; false when it is a repetition or out of order (RFC 3262 §4).
    fn acknowledge_progress(&mut self, core: &mut Core, at: usize, response: &Message) -> bool {
        let Some(rseq) = response.rseq() else { return false };
        let Some(cseq) = self.outgoing.as_ref().map(|outgoing| outgoing.cseq) else { return false };
        let early = &mut self.early[at];
        if early.rseq.is_some_and(|last| rseq != last.wrapping_add(1)) {
            return false;
        }
        early.rseq = Some(rseq);
        if mutant::on(Mutant::NoPrack) {
            return true;
        }
        let mut draft = early.dialog.request(&mut core.io, &mut core.tx, &self.flow, Method::Prack);
        draft.writer.header_fmt("RAck", format_args!("{rseq} {cseq} INVITE"));
        let id = self.send(core, draft, None);
        self.pending.push((id, Purpose::Prack));
        true
    }

    fn on_first_2xx(&mut self, core: &mut Core, response: &Message) {
        let Some(outgoing) = self.outgoing.take() else { return };
        // The target of a 2xx without Contact.
        let called = outgoing.first.as_ref().map(|first| &*first.uri).unwrap_or_default();
        if let Some(at) = self.early_dialog(core, response) {
            let at = if mutant::on(Mutant::EarlyTagMixed) { 0 } else { at };
            let early = self.early.swap_remove(at);
            self.confirm(core, outgoing.tx, early, response);
        } else if let Ok(dialog) = Dialog::of_response(response, called.as_bytes()) {
            core.dialogs.insert(dialog.key.clone(), self.id);
            self.confirm(core, outgoing.tx, Early { dialog, answer: None, rseq: None }, response);
        }
        if self.dialog.is_none() {
            core.io.decide(self.call, "the 200 of the called phone makes no dialog");
            core.say(self.id, LegEvent::Refused { status: 500, cause: Cause::RemoteError, contacts: Vec::new() });
            return self.closed(core);
        }
        if self.state == State::Closing {
            // It answered while our CANCEL was on its way.
            self.acknowledge(core, (outgoing.tx, outgoing.cseq), None);
            return self.bye_now(core, outgoing.cancel.unwrap_or(Cause::Cancelled));
        }
        self.state = State::Up;
        self.abilities = Abilities::of(response);
        self.settle_session_as_uac(core, response);
        self.take_first_answer(core, outgoing.offered, (outgoing.tx, outgoing.cseq), response);
    }

    /// The description of the 2xx: the answer to our offer, or with a late offer the peer's.
    fn take_first_answer(&mut self, core: &mut Core, offered: bool, invite: (TransactionId, u32), response: &Message) {
        let earlier = self.early.iter_mut().next().and_then(|early| early.answer.take());
        self.forget_early(core);
        let description = Leg::description(response).ok().flatten().or(earlier);
        let usable =
            description.is_some_and(|sdp| if offered { self.set_answer(core, sdp) } else { self.set_offer(core, sdp) });
        if !offered && usable {
            self.exchange = Exchange::Theirs;
            self.late_ack = Some(invite);
            return core.say(self.id, LegEvent::Answered);
        }
        self.exchange = Exchange::Idle;
        self.acknowledge(core, invite, None);
        if usable {
            return core.say(self.id, LegEvent::Answered);
        }
        core.io.decide(self.call, "the called phone answered without usable SDP");
        self.bye(core, Cause::NotAcceptable);
        core.say(self.id, LegEvent::Refused { status: 488, cause: Cause::NotAcceptable, contacts: Vec::new() });
    }

    /// Makes one early dialog the dialog; what it said early stays the first of `early` for `take_first_answer`.
    fn confirm(&mut self, core: &mut Core, tx: TransactionId, early: Early, response: &Message) {
        let Early { mut dialog, answer, rseq } = early;
        // The route set is that of the 2xx (RFC 3261 §13.2.2.4); the sequence goes on.
        if let (Ok(mut confirmed), false) =
            (Dialog::of_response(response, dialog.target()), mutant::on(Mutant::EarlyTagMixed))
        {
            confirmed.local_cseq = confirmed.local_cseq.max(dialog.local_cseq);
            confirmed.remote_cseq = dialog.remote_cseq;
            dialog = confirmed;
        }
        for other in self.early.drain(..) {
            core.dialogs.remove(&other.dialog.key);
            if other.rseq.is_some() {
                core.tx.lost(tx, other.dialog.key.remote, other.dialog.local_cseq);
            }
        }
        self.early.push(Early { dialog: dialog.clone(), answer, rseq });
        self.dialog = Some(dialog);
    }

    fn forget_early(&mut self, core: &mut Core) {
        let confirmed = self.dialog.as_ref().map(|dialog| dialog.key.clone());
        for early in self.early.drain(..) {
            if Some(&early.dialog.key) != confirmed.as_ref() {
                core.dialogs.remove(&early.dialog.key);
            }
        }
    }

    fn on_refused(&mut self, core: &mut Core, status: u16, response: &Message) {
        let Some(outgoing) = self.outgoing.take() else { return };
        if self.state == State::Closing {
            return self.closed(core);
        }
        let min_se = response.number(Name::MinSe);
        if let (422, Some(min_se), Some(first)) = (status, min_se, outgoing.first)
            && outgoing.cseq < 4
        {
            return self.send_first(core, first, outgoing.cseq + 1, min_se);
        }
        let contacts = match status {
            300..=399 => redirections(response),
            _ => Vec::new(),
        };
        core.say(self.id, LegEvent::Refused { status, cause: Cause::of_status(status), contacts });
        self.closed(core);
    }

    pub(super) fn invite_gave_up(&mut self, core: &mut Core, cause: Cause) {
        let Some(outgoing) = self.outgoing.take() else { return };
        if self.state == State::Closing {
            if outgoing.kind == Kind::First {
                self.closed(core);
            }
            return;
        }
        if outgoing.kind == Kind::First {
            let status = if cause == Cause::FlowFailed { 503 } else { 408 };
            core.say(self.id, LegEvent::Refused { status, cause, contacts: Vec::new() });
            return self.closed(core);
        }
        if outgoing.kind == Kind::Withdrawn && cause == Cause::RequestTimeout && outgoing.provisional {
            // RFC 3261 §9.1: 64·T1 after its CANCEL the INVITE counts as cancelled.
            let cseq = outgoing.cseq;
            let was = Some((outgoing, self.sdp.clone()));
            self.given_up = Some(Box::new(GivenUp { cseq, was, ack: None }));
            self.exchange = Exchange::Idle;
            return self.sdp.rollback();
        }
        let refresh = outgoing.kind == Kind::Refresh && cause == Cause::RequestTimeout;
        core.say(self.id, LegEvent::Ended { cause: if refresh { Cause::SessionExpired } else { cause } });
    }

    fn on_reinvite_2xx(&mut self, core: &mut Core, response: &Message) {
        let Some(outgoing) = self.outgoing.take() else { return };
        if let Some(dialog) = &mut self.dialog {
            dialog.refresh_target(response);
        }
        if self.state != State::Up {
            return self.acknowledge(core, (outgoing.tx, outgoing.cseq), None);
        }
        self.settle_session_as_uac(core, response);
        let description = Leg::description(response).ok().flatten();
        let wished: SmallVec<[_; 2]> = self.sdp.wished().into();
        let usable = description.is_some_and(|sdp| match outgoing.offered {
            true => self.set_answer(core, sdp),
            false => self.set_offer(core, sdp),
        });
        if !outgoing.offered && usable {
            self.exchange = Exchange::Theirs;
            self.late_ack = Some((outgoing.tx, outgoing.cseq));
            return core.say(self.id, LegEvent::Offered);
        }
        self.exchange = Exchange::Idle;
        self.acknowledge(core, (outgoing.tx, outgoing.cseq), None);
        if !usable {
            core.io.decide(self.call, format!("{} answered a re-INVITE without usable SDP", self.number));
            return core.say(self.id, LegEvent::Ended { cause: Cause::NotAcceptable });
        }
        match outgoing.kind {
            Kind::Reoffer => core.say(self.id, LegEvent::Accepted),
            Kind::Withdrawn => {
                core.io.decide(self.call, format!("{} answered an offer that was taken back", self.number));
                core.say(self.id, LegEvent::Refreshed);
                core.say(self.id, LegEvent::OfferAgain);
            }
            Kind::Refresh if *self.sdp.wished() != *wished => {
                core.say(self.id, LegEvent::Refreshed);
                core.say(self.id, LegEvent::Turned);
            }
            _ => core.say(self.id, LegEvent::Refreshed),
        }
    }

    /// A 2xx to an INVITE whose transaction has ended. When that was given up, the peer believes in what it offered: so do we,
    /// and offer again what stands, unless something else has been said meanwhile.
    pub fn on_stray_2xx(&mut self, core: &mut Core, response: &Message) {
        let Ok(cseq) = response.cseq() else { return };
        let can_offer = self.can_offer();
        let Some(given_up) = self.given_up.as_mut().filter(|given_up| given_up.cseq == cseq.number) else { return };
        if let Some(ack) = given_up.ack.clone() {
            return core.io.out.push(Output::Send { flow: self.flow, bytes: ack, key: None });
        }
        let Some((outgoing, offered)) = given_up.was.take() else { return };
        if can_offer && self.sdp.has_only_rolled_back(&offered) {
            self.sdp = offered;
            self.exchange = if outgoing.offered { Exchange::Ours } else { Exchange::Idle };
            self.outgoing = Some(outgoing);
            return self.on_reinvite_2xx(core, response);
        }
        self.acknowledge(core, (outgoing.tx, outgoing.cseq), None);
    }

    fn on_reinvite_refused(&mut self, core: &mut Core, status: u16) {
        let Some(outgoing) = self.outgoing.take() else { return };
        if self.state != State::Up {
            return;
        }
        self.exchange = Exchange::Idle;
        self.sdp.rollback();
        match (outgoing.kind, status) {
            (_, 408 | 481) => core.say(self.id, LegEvent::Ended { cause: Cause::SessionExpired }),
            (Kind::Reoffer, _) => core.say(self.id, LegEvent::OfferRefused { status }),
            (Kind::Own, 491) => self.wait_out_glare(core),
            (Kind::Refresh, _) => self.refresh_refused(core, status),
            (Kind::Withdrawn, 487) => {}
            _ => {
                core.io.decide(self.call, format!("{} refused a new description with {status}", self.number));
                core.say(self.id, LegEvent::Refreshed);
            }
        }
    }

    /// RFC 3261 §14.1: whoever made the Call-ID waits 2.1 to 4 s, the other up to 2 s, in steps of 10 ms.
    fn wait_out_glare(&mut self, core: &mut Core) {
        let steps = if self.is_uac { 210 + core.io.rng.below(190) } else { core.io.rng.below(200) };
        self.glare = Some(self.timer(core, std::time::Duration::from_millis(steps * 10), LegTimer::Glare));
    }

    /// An offer of our own is due, as soon as nothing else is under way.
    pub fn offer_soon(&mut self, core: &mut Core) {
        if self.glare.is_none() {
            self.glare_over(core);
        }
    }

    pub(super) fn glare_over(&mut self, core: &mut Core) {
        self.glare = None;
        if self.state != State::Up {
            return;
        }
        if self.can_offer() {
            core.say(self.id, LegEvent::OfferAgain);
        } else {
            self.glare = Some(self.timer(core, RETRY, LegTimer::Glare));
        }
    }

    /// The ACK of a 2xx to that INVITE (transaction and CSeq), kept to be sent again when the 2xx is.
    pub(super) fn acknowledge(&mut self, core: &mut Core, (tx, cseq): (TransactionId, u32), sdp: Option<Bytes>) {
        let Some(dialog) = &self.dialog else { return };
        let draft = dialog.ack(&mut core.io, &mut core.tx, &self.flow, cseq);
        let (_, writer) = draft.split();
        let bytes = finish(writer, sdp);
        core.io.trace_sent(self.call, self.id, &self.flow, &bytes);
        core.io.out.push(Output::Send { flow: self.flow, bytes: bytes.clone(), key: None });
        if let Some(given_up) = self.given_up.as_mut().filter(|given_up| given_up.cseq == cseq) {
            given_up.ack = Some(bytes.clone());
        }
        core.tx.acknowledged(tx, &dialog.key.remote, bytes);
        self.late_ack = None;
    }

    /// A 2xx whose ACK waits for an answer that will not come is acknowledged without one; a BYE follows.
    pub(super) fn acknowledge_late(&mut self, core: &mut Core) {
        if let Some(invite) = self.late_ack {
            self.acknowledge(core, invite, None);
        }
    }

    /// A 2xx after the first that has no ACK yet: it waits for one, or is another branch of the fork, which is told
    /// goodbye.
    pub(super) fn on_late_2xx(&mut self, core: &mut Core, tx: TransactionId, response: &Message) {
        let target = self.dialog.as_ref().map(|dialog| dialog.target()).unwrap_or_default();
        let Ok(stray) = Dialog::of_response(response, target) else { return };
        if self.dialog.as_ref().is_some_and(|dialog| dialog.key == stray.key) {
            return;
        }
        say_goodbye(core, self.flow, stray, tx);
    }
}

/// The Reason of our CANCEL: the caller's where it is the caller who gave up.
fn why(given: &Option<Box<str>>, cause: Cause) -> Cow<'_, str> {
    match given {
        Some(given) if cause == Cause::Cancelled => Cow::Borrowed(given),
        _ => Cow::Owned(reason(cause)),
    }
}

/// ACK and BYE for a dialog nobody wants, the answer to our INVITE `tx`. A later INVITE's dialog has had its BYE: there the
/// ACK is all that is owed.
pub fn say_goodbye(core: &mut Core, flow: Flow, mut stray: Dialog, tx: TransactionId) {
    let cseq = stray.local_cseq;
    let (_, mut writer) = stray.ack(&mut core.io, &mut core.tx, &flow, cseq).split();
    let ack = writer.finish();
    core.io.out.push(Output::Send { flow, bytes: ack.clone(), key: None });
    core.tx.acknowledged(tx, &stray.key.remote, ack);
    if core.tx.is_in_dialog(tx) {
        return;
    }
    stray.local_cseq = cseq.max(core.tx.last_cseq(tx, &stray.key.remote));
    let mut draft = stray.request(&mut core.io, &mut core.tx, &flow, Method::Bye);
    draft.writer.header("Reason", reason(Cause::AnsweredElsewhere));
    let (ids, mut writer) = draft.split();
    core.tx.start(&mut core.io, flow, ids, false, Owner::Nobody, writer.finish());
}

/// The URIs of a 3xx, best first as it lists them.
fn redirections(response: &Message) -> Vec<Box<[u8]>> {
    let addresses = response.contacts().flatten().filter_map(Contact::address);
    addresses.take(limits::FORK).map(|address| address.uri.raw.into()).collect()
}
