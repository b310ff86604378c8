//! Later offers and answers of a leg (RFC 3264): re-INVITE and UPDATE from the peer, our own re-INVITEs, glare.

use super::uas::{accept, finish};
use super::{Exchange, Leg, LegEvent, State};
use crate::base::cause::Cause;
use crate::base::ids::TransactionId;
use crate::base::mutant::{self, Mutant};
use crate::engine::core::Core;
use crate::proto::sip::message::Message;
use bytes::Bytes;

/// What an INVITE of ours is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    First,
    /// The partner's offer, carried on; its answer goes back.
    Reoffer,
    /// An offer of our own: the caller's description no longer fits the one who answered.
    Own,
    /// A session refresh: nothing changes.
    Refresh,
    /// Was a `Reoffer` until the partner took its offer back: an answer that comes all the same is to be undone.
    Withdrawn,
}

/// A re-INVITE, UPDATE or PRACK of the peer that waits for the call.
pub struct Asked {
    tx: TransactionId,
    request: Message,
    by: By,
    /// The offer says what the peer has said before.
    repeats: bool,
}

/// What the peer's later offer came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    Invite,
    Update,
    /// What its acknowledgement held back follows its answer.
    Prack,
}

impl Leg {
    /// Whether an offer of ours may go out now.
    pub fn can_offer(&self) -> bool {
        self.state == State::Up
            && self.exchange == Exchange::Idle
            && self.outgoing.is_none()
            && self.unacked.is_none()
            && self.asked.is_none()
            && self.incoming.is_none()
    }

    pub(super) fn on_reinvite(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        if self.incoming.is_some() || self.asked.is_some() {
            return self.retry_later(core, tx, request);
        }
        let ours = self.outgoing.is_some() || self.exchange != Exchange::Idle;
        if ours && !mutant::on(Mutant::GlareAccepted) || self.state != State::Up {
            return self.respond_plain(core, tx, request, 491);
        }
        if Leg::interval_too_small(core, request) {
            return self.refuse_interval(core, tx, request);
        }
        let offer = match Leg::description(request) {
            Ok(offer) => offer,
            Err(status) => return self.refuse_body(core, tx, request, status),
        };
        let repeats = offer.as_ref().is_some_and(|offer| self.sdp.repeats(offer));
        self.begin(tx, request, By::Invite, repeats);
        let trying = core.reply(request, &self.flow, 100, None).finish();
        core.tx.respond(&mut core.io, tx, 100, trying);
        let Some(offer) = offer else { return core.say(self.id, LegEvent::AskedForOffer) };
        if !self.set_offer(core, offer) {
            return self.refuse_offer(core, 488);
        }
        self.exchange = Exchange::Theirs;
        core.say(self.id, LegEvent::Offered);
    }

    pub(super) fn on_update(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        let offer = match Leg::description(request) {
            Ok(offer) => offer,
            Err(status) => return self.refuse_body(core, tx, request, status),
        };
        if Leg::interval_too_small(core, request) {
            return self.refuse_interval(core, tx, request);
        }
        let Some(offer) = offer else {
            self.refresh_target(request);
            let mut writer = self.reply_dialog(core, request, 200);
            self.settle_session_as_uas(core, request, &mut writer);
            return self.respond(core, tx, 200, writer.finish());
        };
        // RFC 3311 §5.2: 500 while its own offer waits, 491 while ours does.
        if self.asked.is_some() || self.exchange == Exchange::Theirs {
            return self.retry_later(core, tx, request);
        }
        if self.exchange == Exchange::Ours || self.outgoing.is_some() && self.state == State::Up {
            return self.respond_plain(core, tx, request, 491);
        }
        let repeats = self.sdp.repeats(&offer);
        self.begin(tx, request, By::Update, repeats);
        if !self.set_offer(core, offer) {
            return self.refuse_offer(core, 488);
        }
        self.exchange = Exchange::Theirs;
        core.say(self.id, LegEvent::Offered);
    }

    /// The offer in a PRACK that acknowledged our answer (RFC 3262 §5). One we can't take gets 488, and all is as before:
    /// the provisional response counts as acknowledged.
    pub(super) fn on_prack_offer(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        let offer = match Leg::description(request) {
            Ok(Some(offer)) if self.exchange == Exchange::Idle && self.asked.is_none() => Ok(offer),
            Ok(Some(_)) => Err(488),
            Ok(None) => Err(200),
            Err(status) => Err(status),
        };
        let offer = match offer {
            Ok(offer) => offer,
            Err(status) => {
                self.respond_plain(core, tx, request, status);
                return self.after_prack(core);
            }
        };
        let repeats = self.sdp.repeats(&offer);
        self.begin(tx, request, By::Prack, repeats);
        if !self.set_offer(core, offer) {
            return self.refuse_offer(core, 488);
        }
        self.exchange = Exchange::Theirs;
        core.say(self.id, LegEvent::Offered);
    }

    fn begin(&mut self, tx: TransactionId, request: &Message, by: By, repeats: bool) {
        // RFC 3262 §7: a PRACK has no Contact.
        if by != By::Prack {
            self.refresh_target(request);
        }
        self.asked = Some(Asked { tx, request: request.clone(), by, repeats });
    }

    fn refresh_target(&mut self, request: &Message) {
        if let Some(dialog) = &mut self.dialog {
            dialog.refresh_target(request);
        }
    }

    /// RFC 3261 §14.2: another request of the same kind is being worked on.
    fn retry_later(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        let wait = core.io.rng.below(11);
        let mut writer = self.reply(core, request, 500);
        writer.header_fmt("Retry-After", format_args!("{wait}"));
        self.respond(core, tx, 500, writer.finish());
    }

    fn refuse_interval(&mut self, core: &mut Core, tx: TransactionId, request: &Message) {
        let min_se = core.io.config.session.min_se;
        let mut writer = self.reply(core, request, 422);
        writer.header_fmt("Min-SE", format_args!("{min_se}"));
        self.respond(core, tx, 422, writer.finish());
    }

    /// Answers the peer's offer, in whatever it came.
    pub fn accept(&mut self, core: &mut Core, sdp: Bytes) {
        if self.exchange != Exchange::Theirs {
            return;
        }
        self.exchange = Exchange::Idle;
        if let Some(invite) = self.late_ack {
            return self.acknowledge(core, invite, Some(sdp));
        }
        let Some(Asked { tx, request, by, .. }) = self.asked.take() else { return };
        match by {
            By::Invite => self.send_2xx(core, tx, &request, Some(sdp), false),
            By::Update => {
                let mut writer = self.reply_dialog(core, &request, 200);
                self.settle_session_as_uas(core, &request, &mut writer);
                self.respond(core, tx, 200, finish(writer, Some(sdp)));
            }
            By::Prack => {
                let writer = self.reply(core, &request, 200);
                self.respond(core, tx, 200, finish(writer, Some(sdp)));
                self.after_prack(core);
            }
        }
    }

    /// Whether the re-INVITE that waits for the call is the one this CANCEL means.
    pub(super) fn is_asked_by_invite(&self, cancel: &Message) -> bool {
        let number = |message: &Message| message.cseq().map(|cseq| cseq.number).ok();
        self.asked.as_ref().is_some_and(|asked| asked.by == By::Invite && number(&asked.request) == number(cancel))
    }

    /// The partner has taken back what our re-INVITE carries: so do we.
    pub fn withdraw(&mut self, core: &mut Core, reason: Option<Box<str>>) {
        if let Some(outgoing) = self.outgoing.as_mut().filter(|outgoing| outgoing.kind == Kind::Reoffer) {
            self.reason = reason;
            outgoing.kind = Kind::Withdrawn;
            self.cancel_outgoing(core, Cause::Cancelled);
        }
    }

    /// Whether the peer's offer repeats its last description, as a session refresh does.
    pub fn offer_repeats(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.repeats)
    }

    /// Whether the peer's re-INVITE waits for an offer of ours.
    pub fn is_asked_for_offer(&self) -> bool {
        self.asked.is_some() && self.exchange == Exchange::Idle
    }

    /// Answers a re-INVITE that had no offer with ours; the ACK brings the answer.
    pub fn offer_late(&mut self, core: &mut Core, sdp: Bytes) {
        let Some(Asked { tx, request, .. }) = self.asked.take() else { return };
        self.exchange = Exchange::Ours;
        self.send_2xx(core, tx, &request, Some(sdp), true);
    }

    /// Refuses the peer's offer, or its wish for one; all is as before (RFC 3261 §14.2).
    pub fn refuse_offer(&mut self, core: &mut Core, status: u16) {
        self.exchange = Exchange::Idle;
        self.sdp.rollback();
        self.refuse_asked(core, status);
    }

    pub(super) fn refuse_asked(&mut self, core: &mut Core, status: u16) {
        let Some(Asked { tx, request, by, .. }) = self.asked.take() else { return };
        let mut writer = self.reply(core, &request, status);
        if status == 500 {
            writer.header("Retry-After", "5");
        } else if status == 415 {
            accept(&mut writer);
        }
        self.respond(core, tx, status, writer.finish());
        if by == By::Prack {
            self.after_prack(core);
        }
    }

    /// Offers the peer a description the partner caused, or asks it for one (None). Check `can_offer` first.
    pub fn reoffer(&mut self, core: &mut Core, sdp: Option<Bytes>) {
        self.exchange = if sdp.is_some() { Exchange::Ours } else { Exchange::Idle };
        self.send_reinvite(core, sdp, Kind::Reoffer);
    }

    /// Offers the peer a description of our own accord. Check `can_offer` first.
    pub fn offer_own(&mut self, core: &mut Core, sdp: Bytes) {
        self.exchange = Exchange::Ours;
        self.send_reinvite(core, Some(sdp), Kind::Own);
    }

    pub(super) fn refresh_by_invite(&mut self, core: &mut Core) {
        let Some(sdp) = self.sdp.local().cloned() else { return };
        self.exchange = Exchange::Ours;
        self.send_reinvite(core, Some(sdp), Kind::Refresh);
    }
}
