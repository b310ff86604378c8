//! What phones do: register, call, answer, talk in their calls, repeat themselves.

use super::office::{Office, PASSWORD, PHONES, SERVER, address, number};
use super::wire::digest::Session;
use super::wire::text::{Msg, Start, uri_of};
use super::words::{METHODS, NUMBERS, STATUSES, dress, encode, response};
use crate::script::Script;

impl Office {
    pub fn speak(&mut self, op: u8, script: &mut Script<'_>) {
        match op {
            0..16 => self.begin_with("REGISTER", script),
            16..48 => self.begin_with("INVITE", script),
            48..56 => {
                let method = script.pick(&METHODS);
                self.begin_with(method, script);
            }
            56..104 => self.answer(script),
            104..140 => self.go_on(script),
            140..152 => self.cancel(script),
            _ => self.repeat(script),
        }
    }

    /// A request outside dialogs; challenged, it is said again with credentials, unless the script does not want that.
    fn begin_with(&mut self, method: &str, script: &mut Script<'_>) {
        let phone = script.below(PHONES);
        let dialled = script.pick(&NUMBERS);
        let bits = script.byte();
        let (user, at) = (number(phone), address(phone));
        let via = self.via(phone);
        let uri = if method == "REGISTER" { format!("sip:{SERVER}") } else { format!("sip:{dialled}@{SERVER}") };
        // Some share a Call-ID.
        let call_id = if bits & 2 == 0 { format!("c{}", self.count) } else { format!("c{}", bits >> 6) };
        let to = if method == "REGISTER" { format!("<sip:{user}@{SERVER}>") } else { format!("<{uri}>") };
        let mut msg = Msg::request(method, &uri)
            .with("Via", via)
            .with("Max-Forwards", "70")
            .with("From", format!("<sip:{user}@{SERVER}>;tag=f{}", bits >> 5))
            .with("To", to)
            .with("Call-ID", call_id)
            .with("CSeq", format!("1 {method}"))
            .with("Contact", format!("<sip:{user}@{at}>"));
        dress(&mut msg, script);
        if let (4.., Some(session)) = (bits & 4, &mut self.sessions[phone]) {
            let (name, value) = session.credentials(user, PASSWORD, method, &uri);
            msg.set(name, value);
        }
        self.say(phone, &msg, script);
        let answer = self.received.iter().rev().find(|(to, _)| *to == phone);
        let Some(mut session) = answer.and_then(|(_, msg)| Session::of(msg, bits & 8 != 0)) else { return };
        let (name, value) = session.credentials(user, PASSWORD, method, &uri);
        self.sessions[phone] = Some(session);
        if bits & 1 != 0 {
            return;
        }
        msg.set(name, value);
        msg.set("CSeq", format!("2 {method}"));
        let via = self.via(phone);
        msg.set("Via", via);
        self.say(phone, &msg, script);
    }

    /// The Via of a new request.
    fn via(&mut self, phone: usize) -> String {
        self.count += 1;
        let transport = self.flow(phone).transport.via();
        format!("SIP/2.0/{transport} {};rport;branch=z9hG4bK{}", address(phone), self.count)
    }

    fn say(&mut self, phone: usize, msg: &Msg, script: &mut Script<'_>) {
        let bytes = encode(msg, script);
        self.hear(phone, &bytes);
    }

    /// One of the messages phones got that are of this kind, the newest first.
    fn heard(&self, script: &mut Script<'_>, wanted: impl Fn(&Msg) -> bool) -> Option<(usize, Msg)> {
        let back = usize::from(script.byte());
        let found: Vec<_> = self.received.iter().rev().filter(|(_, msg)| wanted(msg)).collect();
        (!found.is_empty()).then(|| found[back % found.len()].clone())
    }

    /// A response to something the engine asked.
    fn answer(&mut self, script: &mut Script<'_>) {
        let is_request = |msg: &Msg| msg.method().is_some_and(|method| method != "ACK");
        let Some((phone, request)) = self.heard(script, is_request) else { return };
        let code = *script.pick(&STATUSES);
        let tag = format!("p{phone}-{}", script.byte() % 3);
        let contact = format!("<sip:{}@{}>", number(phone), address(phone));
        let mut msg = response(&request, code, &tag, &contact);
        dress(&mut msg, script);
        if matches!(code, 401 | 407) {
            msg.set("WWW-Authenticate", "Digest realm=\"x\", nonce=\"y\"");
        }
        self.say(phone, &msg, script);
    }

    /// A request in the dialog of a message the phone got, also an ACK or a PRACK to it.
    fn go_on(&mut self, script: &mut Script<'_>) {
        let is_of_a_call = |msg: &Msg| msg.cseq().is_some_and(|(_, method)| method == "INVITE");
        let Some((phone, heard)) = self.heard(script, is_of_a_call) else { return };
        let method = script.pick(&METHODS);
        let bits = script.byte();
        let number_of = heard.cseq().map_or(1, |(number, _)| number);
        let is_response = heard.method().is_none();
        let same = matches!(*method, "ACK" | "CANCEL") && bits & 1 == 0;
        let cseq = if same { number_of } else { number_of.wrapping_add(u32::from(bits >> 1)) };
        let (ours, theirs) = if is_response {
            (heard.value("From").to_owned(), heard.value("To").to_owned())
        } else {
            let tag = format!(";tag=p{phone}-{}", script.byte() % 3);
            let to = heard.value("To");
            (if to.contains("tag=") { to.to_owned() } else { format!("{to}{tag}") }, heard.value("From").to_owned())
        };
        let contact = heard.value("Contact");
        let target = if contact.is_empty() { format!("sip:{SERVER}") } else { uri_of(contact).to_owned() };
        let via = if same && bits & 2 != 0 { heard.value("Via").to_owned() } else { self.via(phone) };
        let mut msg = Msg::request(method, &target)
            .with("Via", via)
            .with("Max-Forwards", "70")
            .with("From", ours)
            .with("To", theirs)
            .with("Call-ID", heard.call_id())
            .with("CSeq", format!("{cseq} {method}"))
            .with("Contact", format!("<sip:{}@{}>", number(phone), address(phone)));
        if *method == "PRACK" {
            msg.set("RAck", format!("{} {number_of} INVITE", heard.value("RSeq")));
        }
        dress(&mut msg, script);
        self.say(phone, &msg, script);
    }

    /// CANCEL of a request the phone sent.
    fn cancel(&mut self, script: &mut Script<'_>) {
        let Some((phone, bytes)) = self.uttered(script) else { return };
        let Some(request) = Msg::parse(&bytes).filter(|msg| msg.method().is_some()) else { return };
        let mut msg = request.clone();
        let number = request.cseq().map_or(1, |(number, _)| number);
        msg.start = Start::Request { method: "CANCEL".into(), uri: request.uri().to_owned() };
        msg.set("CSeq", format!("{number} CANCEL"));
        for name in ["Contact", "Content-Type", "Require"] {
            msg.remove(name);
        }
        msg.body.clear();
        self.say(phone, &msg, script);
    }

    /// Something a phone said before, from its own address or another's.
    fn repeat(&mut self, script: &mut Script<'_>) {
        if let Some((phone, bytes)) = self.uttered(script) {
            let other = script.byte();
            let from = if other < 200 { phone } else { usize::from(other) % PHONES };
            self.hear(from, &bytes);
        }
    }

    fn uttered(&self, script: &mut Script<'_>) -> Option<(usize, Vec<u8>)> {
        let back = script.byte();
        let count = self.said.len();
        (count > 0).then(|| self.said[count - 1 - usize::from(back) % count].clone())
    }
}
