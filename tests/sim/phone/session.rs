//! Session timers (RFC 4028), both roles.

use super::Phone;
use super::Timer;
use super::call::{CallId, Ending, Phase};
use super::transaction::Purpose;
use crate::clock::{Entry, SECOND, Time};
use crate::sip::text::{Msg, param};

pub struct SessionTimer {
    pub interval: Time,
    pub we_refresh: bool,
    since: Time,
    timer: Option<Entry>,
}

/// The least interval these phones accept, seconds.
const MIN_SE: u32 = 90;

fn seconds(msg: &Msg) -> Option<u32> {
    msg.get("Session-Expires")?.split(';').next()?.trim().parse().ok()
}

impl Phone {
    /// What an INVITE or UPDATE of ours says about session timers.
    pub(super) fn ask_session(&self, id: CallId, request: &mut Msg) {
        let Some(asked) = self.profile.make.session else { return };
        let interval = self.calls.get(&id).and_then(|c| c.session.as_ref()).map(|s| (s.interval / SECOND) as u32);
        let role = self.calls.get(&id).and_then(|c| c.session.as_ref()).map(|s| s.we_refresh);
        let refresher = match role {
            Some(true) => ";refresher=uac",
            Some(false) => ";refresher=uas",
            None if self.profile.make.lazy_session => ";refresher=uas",
            None => "",
        };
        request.set("Session-Expires", format!("{}{refresher}", interval.unwrap_or(asked)));
        if interval.unwrap_or(asked) >= MIN_SE {
            request.set("Min-SE", MIN_SE.to_string());
        }
    }

    /// Our 2xx to an INVITE or UPDATE: what we agree to.
    pub(super) fn grant_session(&mut self, id: CallId, request: &Msg) -> Vec<(String, String)> {
        let Some(own) = self.profile.make.session else { return Vec::new() };
        let theirs = seconds(request);
        let peer_knows = request.has_token("Supported", "timer");
        if !peer_knows && theirs.is_none() {
            self.restart_session(id, None);
            return Vec::new();
        }
        let least = request.value("Min-SE").parse::<u32>().unwrap_or(MIN_SE).max(MIN_SE);
        let interval = theirs.unwrap_or(own).min(own).max(least);
        let named = request.get("Session-Expires").and_then(|value| param(value, "refresher"));
        let uac = match named {
            Some(role) => role == "uac",
            None => peer_knows && self.profile.make.lazy_session,
        };
        self.restart_session(id, Some((u64::from(interval) * SECOND, !uac)));
        let role = if uac { "uac" } else { "uas" };
        let mut headers = vec![("Session-Expires".to_string(), format!("{interval};refresher={role}"))];
        if uac {
            headers.push(("Require".into(), "timer".into()));
        }
        headers
    }

    /// Their 2xx to an INVITE or UPDATE of ours.
    pub(super) fn take_session(&mut self, id: CallId, response: &Msg) {
        let Some(interval) = seconds(response) else { return self.restart_session(id, None) };
        let role = response.get("Session-Expires").and_then(|value| param(value, "refresher")).map(str::to_string);
        let Some(asked) = self.profile.make.session else {
            if role.as_deref() == Some("uac") {
                self.complain("a phone without session timers is to refresh", &response.title());
            }
            return;
        };
        match role.as_deref() {
            Some("uac") => self.restart_session(id, Some((u64::from(interval) * SECOND, true))),
            Some("uas") => self.restart_session(id, Some((u64::from(interval) * SECOND, false))),
            _ => return self.complain("a 2xx with Session-Expires and no refresher", &response.title()),
        }
        if interval > asked.max(MIN_SE) {
            self.complain("a session interval longer than asked", &response.title());
        }
    }

    /// `None`: no session timer from now on.
    fn restart_session(&mut self, id: CallId, agreed: Option<(Time, bool)>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let old = call.session.take().and_then(|session| session.timer);
        self.disarm(old);
        let Some((interval, we_refresh)) = agreed else { return };
        let timer = match we_refresh {
            true => self.timer(interval / 2, Timer::Refresh(id)),
            false => self.timer(interval, Timer::Expire(id)),
        };
        let session = SessionTimer { interval, we_refresh, since: self.now, timer: Some(timer) };
        if let Some(call) = self.calls.get_mut(&id) {
            call.session = Some(session);
        }
    }

    pub(super) fn refresh_session(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.phase != Phase::Up || call.ghost {
            return;
        }
        let again = self.timer(5 * SECOND, Timer::Refresh(id));
        if let Some(session) = self.calls.get_mut(&id).and_then(|call| call.session.as_mut()) {
            session.timer = Some(again);
        }
        let Some(call) = self.calls.get(&id) else { return };
        if !self.may_negotiate(call) {
            return;
        }
        if self.profile.make.update && call.peer_allows.iter().any(|method| method == "UPDATE") {
            self.send_update(id, false);
        } else {
            self.send_reinvite(id, false);
        }
    }

    pub(super) fn session_expired(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        if let (Some(session), false) = (&call.session, call.ghost) {
            let (since, detail) = (session.since, call.dialog.call_id.clone());
            self.miss(since, "the other side did not refresh the session", &detail);
        }
        self.send_bye(id);
        self.end(id, Ending::Expired);
    }

    pub(super) fn send_bye(&mut self, id: CallId) {
        if let Some(request) = self.dialog_request(id, "BYE") {
            self.start(request, Purpose::Bye);
        }
    }
}
