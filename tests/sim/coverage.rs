//! What the runs have made the engine live through: how often each kind of message met each state of its call.

use crate::sip::text::Msg;
use std::collections::{BTreeMap, BTreeSet};
use strowger::engine::audit::Audit;

#[derive(Default, Clone)]
pub struct Coverage {
    /// (state of the leg, message) and how often they met.
    pub met: BTreeMap<(&'static str, String), u64>,
    states: BTreeMap<String, &'static str>,
    /// Call-IDs of the engine's first INVITEs, whose legs have no dialog before the first response with a tag.
    calling: BTreeSet<String>,
}

const STATES: [&str; 5] = ["none", "incoming", "outgoing", "up", "closing"];

/// Requests with their own row, and those whose responses come by classes.
const REQUESTS: [&str; 10] =
    ["INVITE", "ACK", "CANCEL", "BYE", "PRACK", "UPDATE", "INFO", "OPTIONS", "MESSAGE", "REGISTER"];
const ANSWERED: [&str; 6] = ["INVITE", "CANCEL", "BYE", "PRACK", "UPDATE", "INFO"];

impl Coverage {
    /// A message came for a call whose legs were in the states of the step before.
    pub fn received(&mut self, msg: &Msg) {
        let what = match (msg.method(), msg.code(), msg.cseq()) {
            (Some(method), ..) => method.to_string(),
            (None, Some(code), Some((_, method))) => format!("{}xx to {method}", code / 100),
            _ => return,
        };
        let calling = || self.calling.contains(msg.call_id()).then_some("outgoing");
        let state = self.states.get(msg.call_id()).copied().or_else(calling).unwrap_or("none");
        *self.met.entry((state, what)).or_default() += 1;
    }

    pub fn sent(&mut self, msg: &Msg) {
        if msg.method() == Some("INVITE") && msg.tag_of_to().is_none() {
            self.calling.insert(msg.call_id().to_string());
        }
    }

    pub fn audited(&mut self, audit: &Audit) {
        self.states.clear();
        for (key, leg) in &audit.dialogs {
            let Some(state) = audit.legs.iter().find(|entry| entry.leg == *leg).map(|entry| entry.state) else {
                continue;
            };
            let call_id = key.split(' ').next().unwrap_or_default();
            self.calling.remove(call_id);
            self.states.insert(call_id.to_string(), state);
        }
    }

    pub fn add(&mut self, other: &Coverage) {
        for (pair, count) in &other.met {
            *self.met.entry(pair.clone()).or_default() += count;
        }
    }

    /// The whole cross product, with a dash where the two never met.
    pub fn table(&self) -> String {
        let classes = |method: &&str| (1..=6).map(|class| format!("{class}xx to {method}")).collect::<Vec<_>>();
        let rows = REQUESTS.iter().map(|method| method.to_string()).chain(ANSWERED.iter().flat_map(classes));
        let mut out = format!("{:<16}", "reached the leg");
        STATES.iter().for_each(|state| out.push_str(&format!("{state:>10}")));
        for row in rows {
            let counts = STATES.map(|state| self.met.get(&(state, row.clone())).copied().unwrap_or(0));
            // What phones never send to any state is no gap of the runs: say 6xx to a BYE.
            if counts.iter().any(|count| *count > 0) {
                out.push_str(&format!("\n{row:<16}"));
                counts.iter().for_each(|count| match count {
                    0 => out.push_str("         -"),
                    count => out.push_str(&format!("{count:>10}")),
                });
            }
        }
        out
    }
}
