//! Which request is for what.

use super::Phone;
use super::transaction::TxKey;
use crate::sip::text::Msg;
use std::net::SocketAddr;

impl Phone {
    pub(super) fn on_request(&mut self, msg: Msg, from: SocketAddr) {
        if msg.method() == Some("ACK") {
            return self.on_ack(&msg);
        }
        let Some(key) = self.accept_request(&msg, from) else { return };
        match (key.method.as_str(), msg.tag_of_to().is_some()) {
            ("CANCEL", _) => self.on_cancel(&key),
            ("INVITE", false) => self.on_first_invite(key, &msg),
            ("MESSAGE", false) => {
                self.messages_got.push(msg.body.clone());
                self.respond(&key, 200, "OK", |_| {});
            }
            ("OPTIONS", false) => self.respond(&key, 200, "OK", |_| {}),
            (_, true) => self.on_dialog_request(key, &msg),
            _ => self.respond(&key, 405, "Method Not Allowed", |_| {}),
        }
    }

    fn on_dialog_request(&mut self, key: TxKey, msg: &Msg) {
        let (ours, theirs) = (msg.tag_of_to().unwrap_or_default(), msg.tag_of_from().unwrap_or_default());
        let Some(id) = self.find_call(msg.call_id(), ours, theirs) else {
            return self.respond(&key, 481, "Call/Transaction Does Not Exist", |_| {});
        };
        if !self.in_order(&key, id, msg) {
            return;
        }
        match key.method.as_str() {
            "INVITE" => self.on_reinvite(key, id, msg),
            "UPDATE" => self.on_update(&key, id, msg),
            "BYE" => self.on_bye(&key, id),
            "PRACK" => self.on_prack(&key, id, msg),
            "INFO" | "OPTIONS" | "MESSAGE" => self.respond(&key, 200, "OK", |_| {}),
            _ => self.respond(&key, 405, "Method Not Allowed", |_| {}),
        }
    }

    /// A request overtaken by a later one is refused (RFC 3261 §12.2.2).
    fn in_order(&mut self, key: &TxKey, id: super::call::CallId, msg: &Msg) -> bool {
        let Some((number, _)) = msg.cseq() else { return false };
        let Some(call) = self.calls.get_mut(&id) else { return false };
        let ours = msg.tag_of_to().unwrap_or_default();
        let seen = &mut call.dialog.remote_cseq;
        let last = seen.iter().find(|(tag, _)| tag == ours).map(|(_, last)| *last);
        let same = last == Some(number);
        if last.is_some_and(|last| number < last) {
            self.respond(key, 500, "Overtaken", |_| {});
            return false;
        }
        seen.retain(|(tag, _)| tag != ours);
        seen.push((ours.to_string(), number));
        if same {
            self.complain("one CSeq for two requests", &msg.title());
        }
        true
    }
}
