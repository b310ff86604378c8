//! Registration (RFC 3261 §10.2): at boot, again before it runs out, and after trouble.

use super::traits::Transport;
use super::transaction::Purpose;
use super::{Out, Phone, Timer};
use crate::clock::{MS, SECOND, Time};
use crate::sip::text::{Msg, param, uri_of};

#[derive(Default)]
pub struct Registration {
    call_id: String,
    cseq: u32,
    in_flight: bool,
    /// Until when the server said it holds our contact.
    pub until: Option<Time>,
    /// The user took the phone off the list for a while.
    away: bool,
    expires: Option<u32>,
    timer: Option<crate::clock::Entry>,
}

impl Registration {
    pub fn next_cseq(&mut self) -> u32 {
        self.cseq += 1;
        self.cseq
    }

    pub fn lost(&mut self) {
        self.in_flight = false;
        self.until = None;
    }

    pub fn stands(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}

impl Phone {
    pub(super) fn register_soon(&mut self, after: Time) {
        if !self.profile.registers {
            return;
        }
        let old = self.registration.timer.take();
        self.disarm(old);
        self.registration.timer = Some(self.timer(after, Timer::Register));
        if let (Some(pause), true) = (self.profile.make.keep_alive, self.registration.call_id.is_empty()) {
            self.timer(pause, Timer::KeepAlive);
        }
    }

    pub(super) fn register(&mut self) {
        let expires = self.registration.expires.unwrap_or(self.profile.make.expires);
        let away = self.registration.away;
        self.send_register(if away { 0 } else { expires });
    }

    fn send_register(&mut self, expires: u32) {
        if self.registration.in_flight || !self.powered || !self.connected {
            return;
        }
        if self.registration.call_id.is_empty() {
            self.registration.call_id = self.rng.word(16);
        }
        let cseq = self.registration.next_cseq();
        let profile = &self.profile;
        let aor = format!("<sip:{}@{}>", profile.extension, profile.domain);
        let mut request = self.bare_request("REGISTER", &format!("sip:{}", profile.domain));
        let tag = format!("r{}", self.life);
        request = request
            .with("From", format!("{aor};tag={tag}"))
            .with("To", aor)
            .with("Call-ID", self.registration.call_id.clone())
            .with("CSeq", format!("{cseq} REGISTER"))
            .with("Allow", self.allow());
        // Half of the phones say it in the Contact, the others in a header of its own.
        if profile.index.is_multiple_of(2) {
            request.set("Contact", format!("{};expires={expires}", self.contact()));
        } else {
            request.set("Expires", expires.to_string());
        }
        if self.profile.make.eager && self.auth.is_some() {
            self.authorize(&mut request);
        }
        self.registration.in_flight = true;
        self.start(request, Purpose::Register);
    }

    /// The user takes the phone off the list for `pause`.
    pub(super) fn go_away(&mut self, pause: Time) {
        if self.registration.in_flight || self.registration.until.is_none() {
            return;
        }
        self.registration.away = true;
        self.register();
        self.register_soon(pause);
    }

    pub(super) fn on_registered(&mut self, msg: &Msg, code: u16) {
        self.registration.in_flight = false;
        match code {
            200 if self.profile.quirks.wrong_password => self.complain("a wrong password was accepted", &msg.title()),
            200 => self.take_registration(msg),
            423 => {
                self.registration.expires = msg.value("Min-Expires").parse().ok();
                self.register_soon(MS);
            }
            401 | 403 | 407 => self.register_soon(20 * SECOND),
            _ => {
                let pause = self.rng.range(1, 5) * SECOND;
                self.register_soon(pause);
            }
        }
    }

    fn take_registration(&mut self, msg: &Msg) {
        let ours = uri_of(&self.contact()).to_string();
        let contacts = msg.list("Contact");
        let entry = contacts.iter().find(|contact| uri_of(contact) == ours);
        if std::mem::take(&mut self.registration.away) {
            self.registration.until = None;
            if entry.is_some() {
                self.complain("a removed contact is still listed", &msg.title());
            }
            return;
        }
        let asked = self.registration.expires.unwrap_or(self.profile.make.expires);
        let granted = entry.and_then(|contact| param(contact, "expires")).and_then(|text| text.parse::<u32>().ok());
        match granted {
            None => self.complain("a 200 to REGISTER without our contact and its expiry", &contacts.join(" | ")),
            Some(0) => self.complain("a registration that lasts no time", &msg.title()),
            Some(seconds) if seconds > asked => self.complain("a registration longer than asked", &msg.title()),
            Some(seconds) => {
                self.registration.until = Some(self.now + u64::from(seconds) * SECOND);
                self.register_soon(u64::from(seconds) * SECOND / 2);
            }
        }
    }

    pub(super) fn on_register_timeout(&mut self) {
        self.registration.in_flight = false;
        let pause = self.rng.range(100, 3_000) * MS;
        self.register_soon(pause);
    }

    /// RFC 5626 §3.5.1: two empty lines.
    pub(super) fn keep_alive(&mut self) {
        let Some(pause) = self.profile.make.keep_alive else { return };
        if self.profile.transport == Transport::Udp {
            self.out.push(Out::Datagram { to: self.profile.server, bytes: b"\r\n\r\n".to_vec() });
        }
        self.timer(pause, Timer::KeepAlive);
    }
}
