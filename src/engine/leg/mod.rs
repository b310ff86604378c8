//! A leg: one party's INVITE dialog and media ports. It speaks SIP with its peer; what it means for the call it says in
//! [`LegEvent`]s, and the call tells it what to do through its methods.
//!
//! ```text
//! incoming (we are the UAS)   Incoming ──answer──→ Up ──hang up, BYE──→ Closing → Closed
//!                                └───reject, CANCEL──────────────────────────────→ Closed
//! outgoing (we are the UAC)   Outgoing ──2xx─────→ Up ──hang up, BYE──→ Closing → Closed
//!                                ├───3xx..6xx, time-out──────────────────────────→ Closed
//!                                └───hang up───→ Closing ──487 or 2xx + BYE──────→ Closed
//! ```
//!
//! Who owns what: `dialog` and `early` the peer's dialogs; `incoming` the peer's first INVITE until its final response;
//! `outgoing` our INVITE in progress, first or later; `asked` a later offer of the peer that waits for the call's answer;
//! `unacked` our 2xx until its ACK. A leg never touches another leg.

mod offer;
mod session;
mod uac;
mod uas;

use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId, TransactionId};
use crate::base::mutant::{self, Mutant};
use crate::base::timers::TimerId;
use crate::engine::core::{Core, TimerKey, reason, reason_given};
use crate::engine::dialog::Dialog;
use crate::engine::door::unknown_options;
use crate::engine::flow::Flow;
use crate::engine::media::{Grant, Stream};
use crate::engine::negotiate::{LegSdp, Unacceptable};
use crate::engine::relay::Answer;
use crate::engine::transaction::Owner;
use crate::proto::sdp::Sdp;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::name::Name;
use crate::proto::sip::writer::Writer;
use bytes::Bytes;
use offer::Asked;
use session::Session;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::time::Duration;
use uac::{Early, GivenUp, Outgoing};
pub use uac::{Invite, say_goodbye};
use uas::{Incoming, Unacked, accept};

/// Methods we take part in, for Allow.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, MESSAGE, REGISTER";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The peer's INVITE has no final response yet.
    Incoming,
    /// Our INVITE has no final response yet.
    Outgoing,
    /// Answered.
    Up,
    /// We are done with it; SIP is not.
    Closing,
    Closed,
}

/// What a leg has to say to its call.
#[derive(Debug)]
pub enum LegEvent {
    /// The called party progresses (101–199); `media`: it sent a description, so it may be heard.
    Progress { status: u16, media: bool },
    /// The called party answered. With a late offer its offer waits for `accept`.
    Answered,
    /// The called party or the way to it refused; with the URIs of a 3xx.
    Refused { status: u16, cause: Cause, contacts: Vec<Box<[u8]>> },
    /// The caller gave up before the answer; with the Reason it gave.
    Cancelled { reason: Option<Box<str>> },
    /// The ACK of our answer came.
    Acked,
    /// A later offer of the peer waits for `accept` or `refuse_offer`.
    Offered,
    /// The peer asks for an offer of ours: `offer_late` or `refuse_offer`.
    AskedForOffer,
    /// The peer took back its later offer, or its wish for one, before it had an answer; all is as before for it.
    Withdrawn { reason: Option<Box<str>> },
    /// The peer answered our offer.
    Accepted,
    /// The peer refused our offer; all is as before.
    OfferRefused { status: u16 },
    /// The peer's description was confirmed or changed without an offer of the call, or stays against our offer.
    Refreshed,
    /// The peer answered a session refresh with another wish to send or hear than before (RFC 3261 §14.2 lets it).
    Turned,
    /// An offer of our own has waited out a glare (RFC 3261 §14.1) and may be tried again.
    OfferAgain,
    /// The peer sends something for its partner: INFO or MESSAGE.
    Carry { tx: TransactionId, message: Message },
    /// The partner's INFO or MESSAGE has its answer.
    Carried { to: LegId, tx: TransactionId, request: Message, answer: Answer },
    /// The peer hung up, or is lost.
    Ended { cause: Cause },
    /// Nothing more will come: the leg may be removed.
    Closed,
}

/// What a timer of a leg is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegTimer {
    /// Send the reliable provisional response again (RFC 3262 §3).
    Repeat1xx,
    /// The reliable provisional response with this RSeq was never acknowledged.
    NoPrack(u32),
    /// Send the 2xx again (RFC 3261 §13.3.1.4).
    Repeat2xx,
    /// The 2xx of the INVITE with this CSeq was never acknowledged.
    NoAck(u32),
    /// Refresh the session (RFC 4028 §7).
    Refresh,
    /// The peer has not refreshed the session.
    SessionExpired,
    /// A glare has been waited out.
    Glare,
}

/// Why we sent a request in the dialog.
enum Purpose {
    Bye,
    Prack,
    /// A session refresh by UPDATE.
    Refresh,
    /// The partner's INFO or MESSAGE.
    Carry {
        to: LegId,
        tx: TransactionId,
        request: Box<Message>,
    },
}

/// Our offer in progress, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exchange {
    Idle,
    /// The peer owes us an answer.
    Ours,
    /// We owe the peer an answer.
    Theirs,
}

/// What the peer said it can do.
#[derive(Clone, Copy, Default, Debug)]
struct Abilities {
    update: bool,
}

pub struct Leg {
    pub id: LegId,
    pub call: CallId,
    /// The extension at this leg.
    pub number: Box<str>,
    /// Whether we sent the first INVITE.
    pub is_uac: bool,
    pub flow: Flow,
    pub state: State,
    pub sdp: LegSdp,
    pub ports: SmallVec<[Grant; 1]>,
    /// What the media plane was last told of each port.
    pub wired: SmallVec<[Stream; 1]>,
    pub exchange: Exchange,
    /// The first INVITE makes our Contact a `sips:` URI.
    sips: bool,
    dialog: Option<Dialog>,
    early: SmallVec<[Early; 1]>,
    incoming: Option<Box<Incoming>>,
    outgoing: Option<Box<Outgoing>>,
    asked: Option<Asked>,
    unacked: Option<Box<Unacked>>,
    /// Transaction and CSeq of an INVITE whose 2xx brought the peer's offer: the ACK waits for our answer.
    late_ack: Option<(TransactionId, u32)>,
    pending: SmallVec<[(TransactionId, Purpose); 1]>,
    session: Session,
    abilities: Abilities,
    glare: Option<TimerId>,
    /// Set when the leg should say BYE as soon as the ACK it waits for is there.
    bye_after_ack: Option<Cause>,
    /// Our last re-INVITE that got no final response.
    given_up: Option<Box<GivenUp>>,
    /// The Reason the caller gave for its CANCEL, for ours.
    reason: Option<Box<str>>,
}

impl Leg {
    fn new(id: LegId, call: CallId, number: Box<str>, is_uac: bool, flow: Flow, sdp_id: u64) -> Leg {
        Leg {
            id,
            call,
            number,
            is_uac,
            flow,
            state: if is_uac { State::Outgoing } else { State::Incoming },
            sdp: LegSdp::new(sdp_id),
            ports: SmallVec::new(),
            wired: SmallVec::new(),
            exchange: Exchange::Idle,
            sips: false,
            dialog: None,
            early: SmallVec::new(),
            incoming: None,
            outgoing: None,
            asked: None,
            unacked: None,
            late_ack: None,
            pending: SmallVec::new(),
            session: Session::default(),
            abilities: Abilities::default(),
            glare: None,
            bye_after_ack: None,
            given_up: None,
            reason: None,
        }
    }

    /// Our Contact in the dialog, without angle brackets.
    fn contact(&self, core: &Core, user: &str) -> String {
        core.io.our_contact(&self.flow, self.sips, user)
    }

    /// Whether the leg still stands for a party of its call.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Incoming | State::Outgoing | State::Up)
    }

    /// Whether our answer still waits for the PRACK of a provisional response (RFC 3262 §3): the peer knows nothing of it.
    pub fn answer_waits(&self) -> bool {
        self.state == State::Up && self.incoming.is_some()
    }

    /// Whether the caller's INVITE has no final response yet.
    pub fn is_unanswered(&self) -> bool {
        self.incoming.is_some()
    }

    /// The addresses our SDP names, one a port, as the peer reaches them.
    pub fn media_addresses(&self, core: &Core) -> SmallVec<[SocketAddr; 2]> {
        let listener = core.io.config.listeners.get(usize::from(self.flow.listener.0));
        let advertised = listener.and_then(|listener| listener.advertise).map(|address| address.ip());
        let named = |grant: &Grant| match advertised.filter(|ip| grant.family_matches(*ip)) {
            Some(ip) => SocketAddr::new(ip, grant.rtp.port()),
            None => grant.rtp,
        };
        self.ports.iter().map(named).collect()
    }

    /// The caller's reason, should a CANCEL of ours follow from its own.
    pub fn because(&mut self, reason: Option<Box<str>>) {
        self.reason = reason;
    }

    /// Ends the leg from our side: a final response, a CANCEL or a BYE, whatever fits.
    pub fn hang_up(&mut self, core: &mut Core, cause: Cause) {
        match self.state {
            State::Incoming => self.reject(core, cause),
            State::Outgoing => self.cancel(core, cause),
            State::Up if self.answer_waits() => self.reject(core, cause),
            State::Up => self.bye(core, cause),
            State::Closing | State::Closed => {}
        }
    }

    fn bye(&mut self, core: &mut Core, cause: Cause) {
        self.state = State::Closing;
        self.drop_timers(core);
        self.refuse_asked(core, 487);
        if self.unacked.is_some() {
            // RFC 3261 §15: the called side waits for the ACK of its 2xx before it says BYE.
            self.bye_after_ack = Some(cause);
            self.repeat_2xx_later(core);
            return;
        }
        self.bye_now(core, cause);
    }

    fn bye_now(&mut self, core: &mut Core, cause: Cause) {
        self.acknowledge_late(core);
        let Some(dialog) = &mut self.dialog else { return self.closed(core) };
        let mut draft = dialog.request(&mut core.io, &mut core.tx, &self.flow, Method::Bye);
        draft.writer.header("Reason", reason(cause));
        let id = self.send(core, draft, None);
        self.pending.push((id, Purpose::Bye));
    }

    /// Finishes a draft with our User-Agent and the given body, and sends it as a transaction of this leg.
    fn send(
        &mut self,
        core: &mut Core,
        draft: crate::engine::transaction::Draft,
        body: Option<(&str, &[u8])>,
    ) -> TransactionId {
        let ((id, secret), mut writer) = draft.split();
        writer.header("User-Agent", &*core.io.config.software);
        let bytes = match body {
            Some((kind, body)) => writer.body(kind, body),
            None => writer.finish(),
        };
        core.io.trace_sent(self.call, self.id, &self.flow, &bytes);
        core.tx.start(&mut core.io, self.flow, (id, secret), false, Owner::Leg(self.id), bytes);
        id
    }

    /// Sends a response of this leg.
    fn respond(&mut self, core: &mut Core, tx: TransactionId, status: u16, bytes: Bytes) {
        core.io.trace_sent(self.call, self.id, &self.flow, &bytes);
        core.tx.respond(&mut core.io, tx, status, bytes);
    }

    /// A bare response to a request in the dialog.
    fn respond_plain(&mut self, core: &mut Core, tx: TransactionId, request: &Message, status: u16) {
        let bytes = self.reply(core, request, status).finish();
        self.respond(core, tx, status, bytes);
    }

    /// Refuses a request for its body; a 415 says what is accepted (RFC 3261 §8.2.3).
    fn refuse_body(&mut self, core: &mut Core, tx: TransactionId, request: &Message, status: u16) {
        let mut writer = self.reply(core, request, status);
        if status == 415 {
            accept(&mut writer);
        }
        self.respond(core, tx, status, writer.finish());
    }

    fn reply(&self, core: &Core, request: &Message, status: u16) -> Writer {
        let tag = self.dialog.as_ref().map(|dialog| &*dialog.key.local);
        let mut writer = core.reply(request, &self.flow, status, tag);
        writer.header("Server", &*core.io.config.software);
        writer
    }

    /// A request inside the dialog, neither ACK nor CANCEL.
    pub fn on_request(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        let Ok(cseq) = request.cseq() else { return };
        let early = self.dialog.is_none();
        if self.state == State::Closing || early && !matches!(request.method(), Method::Update | Method::Info) {
            let status = if self.state == State::Closing && request.method() == Method::Bye { 200 } else { 481 };
            return self.respond_plain(core, tx, request, status);
        }
        let in_order = match &mut self.dialog {
            Some(dialog) => dialog.accept_cseq(cseq.number),
            None => true,
        };
        // A PRACK that an UPDATE has overtaken: without it the call could not be answered, and its RAck says what it means.
        if !in_order && !self.is_awaited_prack(request) {
            return self.respond_plain(core, tx, request, 500);
        }
        // Who hangs up has hung up, whatever else it wants; and a method we don't know is refused as such (RFC 3261 §8.2).
        if !matches!(request.method(), Method::Bye | Method::Other(_))
            && let Some(unknown) = unknown_options(request)
        {
            let mut writer = self.reply(core, request, 420);
            writer.header("Unsupported", unknown);
            return self.respond(core, tx, 420, writer.finish());
        }
        match request.method() {
            Method::Bye => self.on_bye(core, tx, request),
            Method::Invite => self.on_reinvite(core, tx, request),
            Method::Update => self.on_update(core, tx, request),
            Method::Prack => self.on_prack(core, tx, request),
            Method::Info | Method::Message if self.state == State::Up => {
                core.say(self.id, LegEvent::Carry { tx, message: request.clone() });
            }
            Method::Info | Method::Message => self.respond_plain(core, tx, request, 480),
            Method::Options => self.on_options(core, tx, request),
            Method::Refer | Method::Subscribe | Method::Notify | Method::Publish => {
                let mut writer = self.reply(core, request, 501);
                let method = request.method().as_str();
                writer.header("Reason", format!("SIP;cause=501;text=\"{method} is not available in this version\""));
                self.respond(core, tx, 501, writer.finish());
            }
            _ => {
                let mut writer = self.reply(core, request, 405);
                writer.header("Allow", ALLOW);
                self.respond(core, tx, 405, writer.finish());
            }
        }
    }

    fn on_bye(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        self.respond_plain(core, tx, request, 200);
        // An answer that waits for a PRACK has not left: its INVITE still wants a final response.
        if self.is_unanswered() {
            return self.given_up(core, request);
        }
        self.refuse_asked(core, 487);
        self.drop_timers(core);
        self.unacked = None;
        self.acknowledge_late(core);
        core.say(self.id, LegEvent::Ended { cause: Cause::Normal });
        self.closed(core);
    }

    /// The CANCEL of the peer's first INVITE, or of a later one (RFC 3261 §9.2): that ends with 487, and the session goes
    /// on as it was. After the final response a CANCEL changes nothing.
    pub fn on_cancel(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        self.respond_plain(core, tx, request, 200);
        if self.incoming.is_some() {
            self.given_up(core, request);
        } else if self.is_asked_by_invite(request) {
            self.refuse_offer(core, 487);
            core.say(self.id, LegEvent::Withdrawn { reason: reason_given(request) });
        }
    }

    /// The caller wants no answer any more. The call hears of it before the leg is gone.
    fn given_up(&mut self, core: &mut Core, request: &Message) {
        core.say(self.id, LegEvent::Cancelled { reason: reason_given(request) });
        self.reject(core, Cause::Cancelled);
    }

    fn on_options(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        let mut writer = self.reply(core, request, 200);
        writer.header("Allow", ALLOW);
        writer.header("Accept", "application/sdp");
        writer.header("Supported", "100rel, timer");
        self.respond(core, tx, 200, writer.finish());
    }

    /// A response to a request of ours.
    pub fn on_response(&mut self, core: &mut Core, tx: TransactionId, response: &Message) {
        if self.outgoing.as_ref().is_some_and(|outgoing| outgoing.tx == tx) {
            return self.on_invite_response(core, response);
        }
        let status = response.status().unwrap_or(0);
        if (200..300).contains(&status) && response.cseq().is_ok_and(|cseq| cseq.method == Method::Invite) {
            // A 2xx after its INVITE was settled: a repetition, or another branch of the fork.
            return self.on_late_2xx(core, tx, response);
        }
        if status >= 200 {
            self.request_done(core, tx, status, Some(response));
        }
    }

    /// A request of ours got no response.
    pub fn on_gave_up(&mut self, core: &mut Core, tx: TransactionId, cause: Cause) {
        if self.outgoing.as_ref().is_some_and(|outgoing| outgoing.tx == tx) {
            return self.invite_gave_up(core, cause);
        }
        let status = if cause == Cause::FlowFailed { 503 } else { 408 };
        self.request_done(core, tx, status, None);
    }

    fn request_done(&mut self, core: &mut Core, tx: TransactionId, status: u16, response: Option<&Message>) {
        let Some(at) = self.pending.iter().position(|(id, _)| *id == tx) else { return };
        match self.pending.remove(at).1 {
            Purpose::Bye => self.closed(core),
            Purpose::Prack => {
                if status >= 300 && self.state == State::Outgoing {
                    core.io.decide(self.call, format!("the called phone refused a PRACK with {status}"));
                }
            }
            Purpose::Refresh => self.refresh_done(core, status, response),
            Purpose::Carry { to, tx, request } => {
                let answer = response.map_or_else(|| Answer::bare(status), Answer::of);
                core.say(self.id, LegEvent::Carried { to, tx, request: *request, answer });
                self.lost_if_gone(core, status);
            }
        }
    }

    /// 408 and 481 to a request in a dialog end the dialog (RFC 3261 §12.2.1.2).
    fn lost_if_gone(&mut self, core: &mut Core, status: u16) {
        if matches!(status, 408 | 481) && self.state == State::Up {
            core.say(self.id, LegEvent::Ended { cause: Cause::RequestTimeout });
        }
    }

    /// Sends the partner's INFO or MESSAGE to this peer; false when too many wait.
    pub fn carry(&mut self, core: &mut Core, to: LegId, tx: TransactionId, request: &Message) -> bool {
        let Some(dialog) = self.dialog.as_mut().filter(|_| self.state == State::Up) else { return false };
        if self.pending.len() >= crate::base::limits::LEG_BACKLOG {
            return false;
        }
        let mut draft = dialog.request(&mut core.io, &mut core.tx, &self.flow, request.method());
        for (name, text) in [(Name::InfoPackage, "Info-Package"), (Name::ContentDisposition, "Content-Disposition")] {
            if let Some(value) = request.header(name) {
                draft.writer.header(text, value);
            }
        }
        let body = request.body();
        let kind = request.header(Name::ContentType).and_then(|kind| std::str::from_utf8(kind).ok());
        let id = self.send(core, draft, kind.map(|kind| (kind, &body[..])));
        self.pending.push((id, Purpose::Carry { to, tx, request: Box::new(request.clone()) }));
        true
    }

    /// Answers the INFO or MESSAGE this leg's peer sent.
    pub fn carried(&mut self, core: &mut Core, tx: TransactionId, request: &Message, answer: &Answer) {
        let tag = self.dialog.as_ref().map(|dialog| &*dialog.key.local);
        let (status, mut writer) = answer.write(request, &self.flow, tag);
        writer.header("Server", &*core.io.config.software);
        self.respond(core, tx, status, writer.finish());
    }

    pub fn on_timer(&mut self, core: &mut Core, timer: LegTimer) {
        match timer {
            LegTimer::Repeat1xx => self.repeat_1xx(core),
            LegTimer::NoPrack(rseq) => self.no_prack(core, rseq),
            LegTimer::Repeat2xx => self.repeat_2xx(core),
            LegTimer::NoAck(cseq) => self.no_ack(core, cseq),
            LegTimer::Refresh => self.refresh(core),
            LegTimer::SessionExpired => self.session_expired(core),
            LegTimer::Glare => self.glare_over(core),
        }
    }

    /// The connection of this leg is gone, and the peer with it.
    pub fn on_flow_closed(&mut self, core: &mut Core) {
        if self.is_live() {
            core.say(self.id, LegEvent::Ended { cause: Cause::FlowFailed });
        }
    }

    /// Never sent: there is no way to call this contact.
    pub fn never_sent(&mut self, core: &mut Core, cause: Cause) {
        core.say(self.id, LegEvent::Refused { status: cause.status(), cause, contacts: Vec::new() });
        self.closed(core);
    }

    /// The description a first INVITE carries, if any.
    pub fn description_of(message: &Message) -> Result<Option<Sdp>, u16> {
        Leg::description(message)
    }

    /// The description a request or response carries, if any.
    fn description(message: &Message) -> Result<Option<Sdp>, u16> {
        crate::engine::body::description(message)
    }

    /// Takes the peer's offer; false when it can't be used.
    fn set_offer(&mut self, core: &mut Core, sdp: Sdp) -> bool {
        let result = self.sdp.set_offer(sdp);
        self.usable(core, result)
    }

    /// Takes the peer's answer, or that of one more early dialog; false when it can't be used.
    fn set_answer(&mut self, core: &mut Core, sdp: Sdp) -> bool {
        let result = self.sdp.set_answer(sdp);
        self.usable(core, result)
    }

    fn usable(&self, core: &mut Core, result: Result<(), Unacceptable>) -> bool {
        match result {
            Ok(()) => true,
            Err(why) => {
                core.io.decide(self.call, format!("unusable SDP from {}: {why}", self.number));
                false
            }
        }
    }

    fn timer(&self, core: &mut Core, after: Duration, timer: LegTimer) -> TimerId {
        core.io.timers.set(core.io.now.mono + after, TimerKey::Leg(self.id, timer))
    }

    fn drop_timers(&mut self, core: &mut Core) {
        let repeats = self.incoming.as_mut().and_then(|incoming| incoming.take_timer());
        let repeat_2xx = self.unacked.as_mut().and_then(|unacked| unacked.again.take());
        for timer in [repeats, repeat_2xx, self.session.timer.take(), self.glare.take()].into_iter().flatten() {
            core.io.timers.cancel(timer);
        }
    }

    /// The last step: out of the dialog index, and the engine may remove the leg.
    fn closed(&mut self, core: &mut Core) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.drop_timers(core);
        self.unacked = None;
        for early in self.early.drain(..) {
            core.dialogs.remove(&early.dialog.key);
        }
        if let Some(dialog) = self.dialog.as_ref().filter(|_| !mutant::on(Mutant::DialogKept)) {
            core.dialogs.remove(&dialog.key);
        }
        for (_, purpose) in self.pending.drain(..) {
            if let Purpose::Carry { to, tx, request } = purpose {
                core.say(self.id, LegEvent::Carried { to, tx, request: *request, answer: Answer::bare(481) });
            }
        }
        core.say(self.id, LegEvent::Closed);
    }

    /// What the simulation's oracles see.
    pub fn state_text(&self) -> &'static str {
        match self.state {
            State::Incoming => "incoming",
            State::Outgoing => "outgoing",
            State::Up => "up",
            State::Closing => "closing",
            State::Closed => "closed",
        }
    }
}
