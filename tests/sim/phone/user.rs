//! The person before the phone.

use super::transaction::Purpose;
use super::{Phone, Timer};
use crate::clock::SECOND;
use crate::sip::text::Msg;

#[derive(Default)]
pub struct User {
    /// Does nothing new.
    pub frozen: bool,
    /// Hangs up everything and takes nothing.
    pub stopped: bool,
}

impl Phone {
    pub(super) fn start_user(&mut self) {
        let (from, to) = self.profile.habits.pause;
        let pause = self.rng.range(from, to);
        self.timer(pause, Timer::User);
    }

    /// From now on the user only answers calls and talks until told otherwise: for the test call at the end.
    pub fn behave(&mut self) {
        self.user.stopped = false;
        self.user.frozen = true;
        let habits = &mut self.profile.habits;
        *habits = super::traits::Habits { talk: (600 * SECOND, 600 * SECOND), ..super::traits::Habits::plain() };
        let wrong_password = self.profile.quirks.wrong_password;
        self.profile.quirks = super::traits::Quirks { wrong_password, ..Default::default() };
    }

    pub fn dial_now(&mut self, now: crate::clock::Time, number: &str) {
        self.now = now;
        self.dial(number);
    }

    pub(super) fn act(&mut self) {
        if self.user.frozen || !self.powered {
            return;
        }
        self.start_user();
        if !self.connected {
            return;
        }
        let ready = !self.profile.registers || self.registration.stands(self.now) || self.profile.quirks.wrong_password;
        if self.rng.chance(self.profile.habits.messages) && ready {
            self.send_message();
        } else if self.habit(self.profile.quirks.replays) {
            self.replay();
        } else if self.rng.permyriad(200) && ready {
            let pause = self.rng.range(1, 8) * SECOND;
            self.go_away(pause);
        } else if self.rng.permyriad(300) {
            self.ask_options();
        } else if ready && !self.is_busy() {
            let weights: Vec<u64> = self.profile.book.iter().map(|(weight, _)| *weight).collect();
            if weights.is_empty() {
                return;
            }
            let number = self.profile.book[self.rng.weighted(&weights)].1.clone();
            self.dial(&number);
        }
    }

    fn outside_dialog(&mut self, method: &str, uri: &str) -> Msg {
        let from = format!("<sip:{}@{}>;tag={}", self.profile.extension, self.profile.domain, self.rng.word(7));
        let call_id = self.rng.word(15);
        let cseq = self.rng.range(1, 900);
        let mut request = self.bare_request(method, uri);
        if method == "MESSAGE" {
            request.remove("Contact");
        }
        request
            .with("From", from)
            .with("To", format!("<{uri}>"))
            .with("Call-ID", call_id)
            .with("CSeq", format!("{cseq} {method}"))
    }

    fn send_message(&mut self) {
        let numbers: Vec<String> = self.profile.book.iter().map(|(_, number)| number.clone()).collect();
        if numbers.is_empty() {
            return;
        }
        let uri = format!("sip:{}@{}", self.rng.pick(&numbers), self.profile.domain);
        self.messages_sent += 1;
        let body = format!("message {} of phone {} in life {}", self.messages_sent, self.profile.index, self.life);
        let mut request = self.outside_dialog("MESSAGE", &uri).with("Content-Type", "text/plain");
        request.body.clone_from(&body);
        if self.profile.make.eager && self.auth.is_some() {
            self.authorize(&mut request);
        }
        self.start(request, Purpose::Message(body));
    }

    fn ask_options(&mut self) {
        let uri = format!("sip:{}", self.profile.domain);
        let request = self.outside_dialog("OPTIONS", &uri);
        self.start(request, Purpose::Options);
    }

    /// Somebody who listened sends an old Authorization again, in a request of their own.
    fn replay(&mut self) {
        let accepted = self.clients.values().find(|client| {
            client.is_accepted() && client.is_registration() && client.request.get("Authorization").is_some()
        });
        let Some(mut request) = accepted.map(|client| client.request.clone()) else { return };
        request.set("Call-ID", self.rng.word(15));
        let from = format!("<sip:{}@{}>;tag={}", self.profile.extension, self.profile.domain, self.rng.word(7));
        request.set("From", from);
        request.set("Contact", "<sip:thief@198.51.100.66:5060>");
        request.set("CSeq", "1 REGISTER");
        self.start(request, Purpose::Attack);
    }
}
