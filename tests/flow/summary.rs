//! One message in one line: what matters of it, with everything random left out or numbered in the order it appeared.

use crate::phone::Phone;
use crate::sdp;
use crate::sip::{Sip, user};
use std::collections::BTreeMap;

/// Header fields that are always shown.
const SHOWN: [&str; 9] =
    ["Reason", "Require", "Unsupported", "RSeq", "RAck", "Warning", "Retry-After", "X-Note", "Content-Disposition"];

/// Fields shown with some statuses only.
const OF_STATUS: [(u16, &str); 4] = [(422, "Min-SE"), (405, "Allow"), (415, "Accept"), (200, "Accept")];

#[derive(Default)]
pub struct Names {
    /// Relay port → its name.
    ports: BTreeMap<u16, usize>,
    rseqs: BTreeMap<String, usize>,
    /// Per phone and Call-ID: tags of the exchange.
    tags: BTreeMap<(String, String), Vec<String>>,
    calls: BTreeMap<String, Vec<String>>,
    /// Fields a script wants to see beside the usual ones.
    pub shown: Vec<String>,
}

impl Names {
    /// `sent`: by the phone, else by the exchange.
    pub fn summary(&mut self, message: &Sip, phone: &Phone, sent: bool) -> String {
        let mut words = vec![self.first_words(message, phone, sent)];
        words.extend(self.call(message, phone));
        words.extend(self.tags(message, phone, sent));
        let headers = self.headers(message);
        if !headers.is_empty() {
            words.push(format!("{{{}}}", headers.join("; ")));
        }
        if !message.body.is_empty() {
            words.push(format!("| {}", self.body(message, phone, sent)));
        }
        words.join(" ")
    }

    fn first_words(&mut self, message: &Sip, phone: &Phone, sent: bool) -> String {
        let (method, cseq) = (message.method(), message.cseq());
        if let Some(start) = message.start.strip_prefix("SIP/2.0 ") {
            return format!("{start} ({method} {cseq})");
        }
        let uri = message.request_uri();
        let in_dialog = message.tag("To").is_some();
        let usual = if sent { in_dialog } else { uri == phone.contact() };
        let number = user(uri);
        let target = if usual { String::new() } else { format!(" {}", if sent { number } else { uri }) };
        let first = !in_dialog && !sent && method != "CANCEL";
        let from = message.header("From").map(|from| user(crate::sip::uri(from)).to_owned());
        let from = from.filter(|_| first).map_or(String::new(), |from| format!(" from {from}"));
        format!("{method}{target}{from} ({cseq})")
    }

    /// Which call of the phone, from its second on.
    fn call(&mut self, message: &Sip, phone: &Phone) -> Option<String> {
        let calls = self.calls.entry(phone.name.clone()).or_default();
        if message.method() != "INVITE" && !calls.iter().any(|call| call == message.call_id()) {
            return None;
        }
        let at = position(calls, message.call_id());
        (at > 0).then(|| format!("[call {}]", at + 1))
    }

    /// The phone's tag when it has several in the call; the exchange's when it has changed.
    fn tags(&mut self, message: &Sip, phone: &Phone, sent: bool) -> Option<String> {
        let from_phone = sent == message.status().is_none();
        let (phones, ours) = if from_phone { ("From", "To") } else { ("To", "From") };
        let several = phone.tags(message.call_id()).len() > 1;
        let own = message.tag(phones).filter(|_| several && message.method() != "CANCEL");
        let mut words: Vec<String> = own.map(|tag| format!("tag={tag}")).into_iter().collect();
        if let Some(tag) = message.tag(ours).filter(|_| message.status() != Some(100)) {
            let known = self.tags.entry((phone.name.clone(), message.call_id().to_owned())).or_default();
            let at = position(known, tag);
            words.extend((at > 0).then(|| format!("our-tag-{}", at + 1)));
        }
        (!words.is_empty()).then(|| words.join(" "))
    }

    fn headers(&mut self, message: &Sip) -> Vec<String> {
        let status = message.status();
        let of_status = OF_STATUS.iter().filter(|(s, _)| Some(*s) == status).map(|(_, name)| *name);
        let mut names: Vec<String> = SHOWN.into_iter().chain(of_status).map(str::to_owned).collect();
        names.extend(self.shown.iter().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        let mut found = Vec::new();
        for name in names {
            for value in message.all(&name) {
                found.push(match name.as_str() {
                    "RSeq" => format!("RSeq: {}", self.rseq(value)),
                    "RAck" => {
                        let (rseq, rest) = value.split_once(' ').unwrap_or((value, ""));
                        format!("RAck: {} {rest}", self.rseq(rseq))
                    }
                    "Retry-After" => "Retry-After: *".to_owned(),
                    "From" | "To" => format!("{name}: {}", value.split(";tag=").next().unwrap_or(value)),
                    _ => format!("{name}: {value}"),
                });
            }
        }
        found
    }

    fn rseq(&mut self, value: &str) -> String {
        let next = self.rseqs.len() + 1;
        format!("r{}", self.rseqs.entry(value.to_owned()).or_insert(next))
    }

    fn body(&mut self, message: &Sip, phone: &Phone, sent: bool) -> String {
        let is_sdp = message.header("Content-Type").is_none_or(|kind| kind == "application/sdp");
        if !is_sdp {
            return message.body.replace("\r\n", " / ");
        }
        if sent {
            return sdp::summary(&message.body, &phone.address.ip().to_string(), |port| port.to_string());
        }
        let origin = message.body.lines().find_map(|line| line.strip_prefix("o="));
        let version = origin.and_then(|origin| origin.split(' ').nth(2)).unwrap_or("?");
        let next = |ports: &BTreeMap<u16, usize>| ports.len() + 1;
        let ports = &mut self.ports;
        let summary = sdp::summary(&message.body, crate::world::RELAY, |port| {
            if port == 0 {
                return "0".to_owned();
            }
            let next = next(ports);
            format!("P{}", ports.entry(port).or_insert(next))
        });
        format!("v{version} {summary}")
    }

    /// The name of a relay port that was shown before.
    pub fn port(&self, port: u16) -> String {
        self.ports.get(&port).map_or("P?".to_owned(), |name| format!("P{name}"))
    }
}

fn position(known: &mut Vec<String>, value: &str) -> usize {
    match known.iter().position(|k| k == value) {
        Some(at) => at,
        None => {
            known.push(value.to_owned());
            known.len() - 1
        }
    }
}
