//! What the engine sends and receives, seen as a tap on its cable would: responses, branches, sequence numbers, contacts and
//! connections.

use super::Verdict;
use crate::clock::{GIVE_UP, T4, Time};
use crate::daemon::wall_of;
use crate::sip::text::Msg;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use strowger::base::ids::{ConnectionId, ListenerId, RecordSeq, TenantId};
use strowger::engine::flow::{Flow, Transport};
use strowger::engine::record::{Binding, RecordBody};

#[derive(Default)]
pub struct Wire {
    /// INVITEs that reached the engine, by branch, Call-ID and CSeq.
    invites: BTreeMap<(String, String, u32), Invite>,
    /// Branch and method of the engine's requests, with the bytes.
    requests: BTreeMap<(String, String), Vec<u8>>,
    /// The last CSeq of the engine's requests in a dialog, by Call-ID and the tags of From and To.
    last_cseq: BTreeMap<(String, String, String), u32>,
    /// Flows on which requests with a Call-ID came.
    flows: BTreeMap<String, Vec<Flow>>,
    closed: BTreeSet<ConnectionId>,
    bindings: BTreeMap<BindingKey, Arc<Binding>>,
    /// What the journal has not confirmed: a binding to be set, or one that was removed and may come back.
    doubtful: Vec<(RecordSeq, Change)>,
    /// Other requests but ACK that reached the engine and have no final response, by branch and method.
    owed: BTreeMap<(String, String), (Flow, String)>,
    /// Records of bindings the journal has not confirmed, by Call-ID and CSeq of their REGISTER.
    unconfirmed: BTreeMap<(String, u32), RecordSeq>,
    /// Every REGISTER that led to a record.
    recorded: BTreeSet<(String, u32)>,
    /// Branches of what came from phones and no phone could read: the engine may, and echoes it.
    garbled: BTreeSet<Option<String>>,
}

struct Invite {
    /// The flows it came on: a translator may have changed its mind between two copies.
    flows: Vec<Flow>,
    at: Time,
    first: bool,
    finals: Vec<(Time, u16, Vec<u8>)>,
    /// The connection it came over is gone: nobody is left to answer.
    orphan: bool,
}

type BindingKey = (TenantId, Box<str>, Box<str>);

enum Change {
    Set(Arc<Binding>),
    Removed(Arc<Binding>),
}

/// What a response or request means for the books.
pub enum Meaning {
    Nothing,
    /// The first INVITE of a call got its final response.
    Final {
        call_id: String,
        cseq: u32,
        code: u16,
    },
}

impl Wire {
    /// The engine's process is new: it owes nothing for what its former self received.
    pub fn restart(&mut self, restored: impl Iterator<Item = Arc<Binding>>) {
        *self = Wire::default();
        for binding in restored {
            self.bindings.insert(key_of(&binding), binding);
        }
    }

    pub fn received(&mut self, now: Time, flow: &Flow, msg: &Msg) {
        let (Some(branch), Some((cseq, method))) = (msg.branch(), msg.cseq()) else { return };
        if !is_sane(&branch) {
            return;
        }
        match msg.method() {
            Some("INVITE") => {}
            None | Some("ACK") => return,
            Some(_) => {
                self.came_on(flow, msg);
                self.owed.insert((branch, method.to_string()), (*flow, msg.title()));
                return;
            }
        }
        self.came_on(flow, msg);
        let key = (branch, msg.call_id().to_string(), cseq);
        let entry = self.invites.entry(key).or_insert_with(|| Invite {
            flows: Vec::new(),
            at: now,
            first: msg.tag_of_to().is_none(),
            finals: Vec::new(),
            orphan: false,
        });
        entry.flows.push(*flow);
    }

    /// What nobody but the engine can read reached it.
    pub fn received_garbled(&mut self, bytes: &[u8]) {
        self.garbled.insert(raw_branch(bytes));
    }

    fn came_on(&mut self, flow: &Flow, msg: &Msg) {
        if msg.tag_of_to().is_some() {
            let flows = self.flows.entry(msg.call_id().to_string()).or_default();
            flows.extend((!flows.contains(flow)).then_some(*flow));
        }
    }

    pub fn closed(&mut self, connection: ConnectionId) {
        self.closed.insert(connection);
        let gone = self
            .invites
            .values_mut()
            .filter(|invite| invite.flows.iter().any(|flow| flow.connection == Some(connection)));
        gone.for_each(|invite| invite.orphan = true);
        self.owed.retain(|_, (flow, _)| flow.connection != Some(connection));
    }

    pub fn recorded(&mut self, seq: RecordSeq, body: &RecordBody) {
        match body {
            RecordBody::Binding(binding) => {
                self.doubtful.push((seq, Change::Set(binding.clone())));
                let register = (binding.call_id.to_string(), binding.cseq);
                self.unconfirmed.insert(register.clone(), seq);
                self.recorded.insert(register);
            }
            RecordBody::Unbound { tenant, extension, key } => {
                let removed = self.bindings.remove(&(*tenant, extension.clone(), key.clone()));
                self.doubtful.extend(removed.map(|binding| (seq, Change::Removed(binding))));
            }
            _ => {}
        }
    }

    pub fn confirmed(&mut self, upto: RecordSeq, kept: bool) {
        if kept {
            self.unconfirmed.retain(|_, seq| *seq > upto);
        }
        for (_, change) in self.doubtful.extract_if(.., |(seq, _)| *seq <= upto) {
            if let (Change::Set(binding), true) | (Change::Removed(binding), false) = (change, kept) {
                self.bindings.insert(key_of(&binding), binding);
            }
        }
    }

    /// `msg`: what the bytes say, if anybody can read them.
    pub fn sent(&mut self, now: Time, flow: &Flow, bytes: &[u8], msg: Option<&Msg>, verdict: &mut Verdict) -> Meaning {
        let listener = match (flow.transport, flow.listener) {
            (Transport::Udp, ListenerId(0 | 2)) => flow.connection.is_none(),
            (Transport::Tcp, ListenerId(1)) => flow.connection.is_some(),
            _ => false,
        };
        verdict.hold(listener, "flows are those messages came on", || format!("{flow:?}"));
        // These repeat headers as broken as they came, and so does what answers rubbish.
        let refused = bytes.starts_with(b"SIP/2.0 400") || bytes.starts_with(b"SIP/2.0 505");
        let echo = bytes.starts_with(b"SIP/2.0 ") && self.garbled.contains(&raw_branch(bytes));
        if refused || msg.is_none() && echo {
            return Meaning::Nothing;
        }
        let Some(msg) = msg else {
            verdict.fail("messages everybody can read", String::from_utf8_lossy(bytes));
            return Meaning::Nothing;
        };
        let complete = ["Via", "From", "To", "Call-ID", "CSeq"].iter().all(|name| msg.get(name).is_some());
        verdict.hold(complete, "messages with all their headers", || msg.title());
        match msg.code() {
            Some(code) => self.sent_response(now, flow, msg, code, bytes, verdict),
            None => {
                self.sent_request(now, flow, msg, bytes, verdict);
                Meaning::Nothing
            }
        }
    }

    fn sent_response(
        &mut self,
        now: Time,
        flow: &Flow,
        msg: &Msg,
        code: u16,
        bytes: &[u8],
        v: &mut Verdict,
    ) -> Meaning {
        let (Some(branch), Some((cseq, method))) = (msg.branch(), msg.cseq()) else { return Meaning::Nothing };
        if method == "REGISTER" && code == 200 {
            self.judge_registered(msg, cseq, v);
        }
        if method != "INVITE" {
            if code >= 200 {
                self.owed.remove(&(branch, method.to_string()));
            }
            return Meaning::Nothing;
        }
        let key = (branch, msg.call_id().to_string(), cseq);
        let Some(invite) = self.invites.get_mut(&key) else { return Meaning::Nothing };
        // A 200 that waits for its ACK follows a phone that moved to another connection meanwhile.
        let moved = || self.flows.get(msg.call_id()).is_some_and(|flows| flows.contains(flow));
        let waits = code < 300 && !invite.finals.is_empty();
        let again = invite.finals.iter().any(|(_, _, other)| other == bytes);
        let own = invite.flows.contains(flow) || waits && moved();
        v.hold(own, "a response goes where its request came from", || msg.title());
        if code < 200 {
            let late = invite.finals.iter().any(|(at, ..)| now < *at + T4);
            v.hold(!late, "no provisional response after the final one", || msg.title());
            return Meaning::Nothing;
        }
        let conflict = invite.finals.iter().any(|(at, first, other)| {
            // The server may forget a refused INVITE T4 after its ACK, an accepted one after 64·T1.
            let remembered = if *first < 300 { GIVE_UP } else { T4 };
            other != bytes && now < *at + remembered
        });
        v.hold(!conflict, "exactly one final response for each INVITE", || msg.title());
        if again {
            return Meaning::Nothing;
        }
        invite.finals.push((now, code, bytes.to_vec()));
        match invite.first {
            true => Meaning::Final { call_id: key.1, cseq, code },
            false => Meaning::Nothing,
        }
    }

    fn judge_registered(&mut self, msg: &Msg, cseq: u32, verdict: &mut Verdict) {
        let register = (msg.call_id().to_string(), cseq);
        let waits = self.unconfirmed.contains_key(&register);
        verdict.hold(!waits, "no 200 to REGISTER before the journal has it", || msg.title());
    }

    fn sent_request(&mut self, now: Time, flow: &Flow, msg: &Msg, bytes: &[u8], verdict: &mut Verdict) {
        let (Some(branch), Some((cseq, _))) = (msg.branch(), msg.cseq()) else {
            return verdict.fail("messages with all their headers", msg.title());
        };
        let method = msg.method().unwrap_or_default().to_string();
        match self.requests.get(&(branch.clone(), method.clone())) {
            Some(before) if before == bytes => return,
            Some(_) => return verdict.fail("a branch for each request", msg.title()),
            None => {}
        }
        let other = self.requests.keys().find(|(known, kind)| *known == branch && *kind != method);
        let fits = other.is_none_or(|(_, kind)| kind == "INVITE" && matches!(method.as_str(), "ACK" | "CANCEL"))
            || matches!(method.as_str(), "ACK" | "CANCEL");
        verdict.hold(fits, "a branch for each request", || msg.title());
        self.requests.insert((branch, method.clone()), bytes.to_vec());
        if !matches!(method.as_str(), "ACK" | "CANCEL") {
            self.judge_cseq(msg, cseq, verdict);
        }
        if method == "INVITE" && msg.tag_of_to().is_none() {
            let closed = flow.connection.is_some_and(|connection| self.closed.contains(&connection));
            verdict.hold(!closed, "no call over a closed connection", || msg.title());
            self.judge_target(now, flow, msg, verdict);
        }
    }

    fn judge_cseq(&mut self, msg: &Msg, cseq: u32, verdict: &mut Verdict) {
        let tag = |tag: Option<&str>| tag.unwrap_or_default().to_string();
        let key = (msg.call_id().to_string(), tag(msg.tag_of_from()), tag(msg.tag_of_to()));
        if let Some(last) = self.last_cseq.insert(key, cseq) {
            verdict.hold(cseq > last, "CSeq grows with each request", || format!("{} after {last}", msg.title()));
        }
    }

    /// A call goes to contacts that are bound, on their own flows.
    fn judge_target(&self, now: Time, flow: &Flow, msg: &Msg, verdict: &mut Verdict) {
        // A contact may ring before the journal has confirmed it; only its REGISTER waits.
        let set = self.doubtful.iter().filter_map(|(_, change)| match change {
            Change::Set(binding) => Some(binding),
            Change::Removed(_) => None,
        });
        let bound = self.bindings.values().chain(set).filter(|binding| *binding.uri == *msg.uri());
        let mut live = bound.filter(|binding| binding.expires > wall_of(now));
        let same =
            |binding: &Arc<Binding>| binding.flow.remote == flow.remote && binding.flow.connection == flow.connection;
        verdict.hold(live.any(same), "calls go to live bindings", || format!("{} on {:?}", msg.title(), flow.remote));
    }

    /// At rest: whoever sent a request has got its final response.
    pub fn judge_rest(&self, verdict: &mut Verdict) {
        let registers = |method: &str| method == "REGISTER";
        for ((_, method), (_, title)) in &self.owed {
            verdict.hold(registers(method), "a final response for each request", || title.clone());
        }
        for ((branch, call_id, cseq), invite) in &self.invites {
            let owed = invite.finals.is_empty() && !invite.orphan;
            verdict.hold(!owed, "a final response for each INVITE", || {
                format!("{call_id} CSeq {cseq} branch {branch} of {}", crate::clock::show(invite.at))
            });
        }
    }

    /// The bindings the engine has, as its records say.
    pub fn bindings(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings.values()
    }
}

/// Phones put their life into the branch; rubbish has none.
fn is_sane(branch: &str) -> bool {
    branch.split('-').nth(2).is_some_and(|life| life.parse::<u32>().is_ok_and(|life| life > 0))
}

/// The first branch, whatever it is made of.
fn raw_branch(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let branch = text.split("branch=").nth(1)?.split([';', '\r', ',']).next()?;
    Some(branch.to_string())
}

fn key_of(binding: &Binding) -> (TenantId, Box<str>, Box<str>) {
    (binding.tenant, binding.extension.clone(), binding.key.clone())
}
