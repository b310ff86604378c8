//! Session timers (RFC 4028) of one leg, in both roles. A peer that knows nothing of them is asked by us: so a phone that
//! lost power ends its call.

use super::{Exchange, Leg, LegEvent, LegTimer, Purpose, State};
use crate::base::cause::Cause;
use crate::base::mutant::{self, Mutant};
use crate::base::timers::TimerId;
use crate::engine::core::Core;
use crate::proto::sip::headers::Refresher;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::name::Name;
use crate::proto::sip::writer::Writer;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Session {
    /// The interval agreed, seconds; 0 before the first answer.
    expires: u32,
    /// Whether refreshing is ours.
    ours: bool,
    pub(super) timer: Option<TimerId>,
}

/// How long a refresh waits for other business of the leg.
pub(super) const RETRY: Duration = Duration::from_secs(5);

impl Leg {
    /// The interval a request proposes, if it is too small for us: 422 with our Min-SE.
    pub fn interval_too_small(core: &Core, request: &Message) -> bool {
        let min_se = core.io.config.session.min_se;
        request.session_expires().is_some_and(|session| session.seconds < min_se)
            && request.has_option(Name::Supported, "timer")
    }

    /// Settles the session of a request of the peer and writes it into our 2xx.
    pub(super) fn settle_session_as_uas(&mut self, core: &mut Core, request: &Message, writer: &mut Writer) {
        let asked = request.session_expires();
        let knows = request.has_option(Name::Supported, "timer");
        let limits = core.io.config.session;
        let floor = request.number(Name::MinSe).unwrap_or(0).max(limits.min_se);
        let proposed = asked.map_or(limits.expires, |session| session.seconds.min(limits.expires));
        let expires = proposed.max(floor);
        let refresher_uas = asked.is_some_and(|session| session.refresher == Some(Refresher::Uas));
        let ours = !knows || refresher_uas;
        if knows {
            writer.header("Require", "timer");
            let refresher = if ours { "uas" } else { "uac" };
            writer.header_fmt("Session-Expires", format_args!("{expires};refresher={refresher}"));
        }
        self.arm_session(core, expires, ours);
    }

    /// Settles the session of a 2xx to a request of ours.
    pub(super) fn settle_session_as_uac(&mut self, core: &mut Core, response: &Message) {
        let limits = core.io.config.session;
        match response.session_expires() {
            Some(session) => {
                let ours = session.refresher != Some(Refresher::Uas);
                self.arm_session(core, session.seconds.max(limits.min_se), ours);
            }
            None => self.arm_session(core, limits.expires, true),
        }
    }

    /// The headers that propose our session interval.
    pub(super) fn propose_session(&self, core: &Core, writer: &mut Writer, min_se: u32) {
        let limits = core.io.config.session;
        let expires = if self.session.expires > 0 { self.session.expires } else { limits.expires }.max(min_se);
        let floor = limits.min_se.max(min_se);
        if self.session.expires > 0 {
            let refresher = if self.session.ours { "uac" } else { "uas" };
            writer.header_fmt("Session-Expires", format_args!("{expires};refresher={refresher}"));
        } else {
            writer.header_fmt("Session-Expires", format_args!("{expires}"));
        }
        writer.header_fmt("Min-SE", format_args!("{floor}"));
    }

    fn arm_session(&mut self, core: &mut Core, expires: u32, ours: bool) {
        if let Some(timer) = self.session.timer.take() {
            core.io.timers.cancel(timer);
        }
        let (after, timer) = if ours {
            (expires / 2, LegTimer::Refresh)
        } else {
            // RFC 4028 §10: a third of the interval, at most 32 s, before it runs out.
            (expires - (expires / 3).min(32), LegTimer::SessionExpired)
        };
        self.session.expires = expires;
        self.session.ours = ours;
        if matches!(self.state, State::Up | State::Incoming | State::Outgoing) {
            self.session.timer = Some(self.timer(core, Duration::from_secs(u64::from(after)), timer));
        }
    }

    fn rearm(&mut self, core: &mut Core) {
        let (expires, ours) = (self.session.expires, self.session.ours);
        self.arm_session(core, expires, ours);
    }

    pub(super) fn refresh(&mut self, core: &mut Core) {
        self.session.timer = None;
        if self.state != State::Up || mutant::on(Mutant::SessionNotRefreshed) {
            return;
        }
        let busy = self.outgoing.is_some() || self.asked.is_some() || self.unacked.is_some();
        if busy || self.exchange != Exchange::Idle {
            self.session.timer = Some(self.timer(core, RETRY, LegTimer::Refresh));
            return;
        }
        if !self.abilities.update {
            self.refresh_by_invite(core);
            return;
        }
        let Some(dialog) = &mut self.dialog else { return };
        let mut draft = dialog.request(&mut core.io, &mut core.tx, &self.flow, Method::Update);
        let contact = self.contact(core, "");
        draft.writer.header_fmt("Contact", format_args!("<{contact}>"));
        draft.writer.header("Supported", "timer");
        self.propose_session(core, &mut draft.writer, 0);
        let id = self.send(core, draft, None);
        self.pending.push((id, Purpose::Refresh));
    }

    pub(super) fn refresh_done(&mut self, core: &mut Core, status: u16, response: Option<&Message>) {
        if self.state != State::Up {
            return;
        }
        match (status, response) {
            (200..=299, Some(response)) => self.settle_session_as_uac(core, response),
            (405 | 501, _) => {
                self.abilities.update = false;
                self.session.timer = Some(self.timer(core, RETRY, LegTimer::Refresh));
            }
            (408 | 481, _) | (_, None) => {
                core.io.decide(self.call, format!("{} does not answer a session refresh", self.number));
                core.say(self.id, LegEvent::Ended { cause: Cause::SessionExpired });
            }
            (491 | 500, _) => self.session.timer = Some(self.timer(core, RETRY, LegTimer::Refresh)),
            // Any other answer: the peer is there, it only does not like the request.
            _ => self.rearm(core),
        }
    }

    /// After a refresh by INVITE whose answer says nothing of the session.
    pub(super) fn refresh_refused(&mut self, core: &mut Core, status: u16) {
        match status {
            491 | 500 => self.session.timer = Some(self.timer(core, RETRY, LegTimer::Refresh)),
            _ => self.rearm(core),
        }
    }

    pub(super) fn session_expired(&mut self, core: &mut Core) {
        self.session.timer = None;
        if self.state == State::Up && !mutant::on(Mutant::SessionNeverExpires) {
            core.io.decide(self.call, format!("{} did not refresh its session", self.number));
            core.say(self.id, LegEvent::Ended { cause: Cause::SessionExpired });
        }
    }
}
