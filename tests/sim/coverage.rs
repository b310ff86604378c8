//! What the runs have made the engine live through: how often each kind of message met each state of its call.

use crate::sip::text::Msg;
use std::collections::BTreeMap;
use strowger::engine::audit::Audit;

#[derive(Default, Clone)]
pub struct Coverage {
    /// (state of the leg, message) and how often they met.
    pub met: BTreeMap<(&'static str, String), u64>,
    states: BTreeMap<String, &'static str>,
}

impl Coverage {
    /// A message came for a call whose legs were in the states of the step before.
    pub fn received(&mut self, msg: &Msg) {
        let what = match (msg.method(), msg.code(), msg.cseq()) {
            (Some(method), ..) => method.to_string(),
            (None, Some(code), Some((_, method))) => format!("{}xx to {method}", code / 100),
            _ => return,
        };
        let state = self.states.get(msg.call_id()).copied().unwrap_or("none");
        *self.met.entry((state, what)).or_default() += 1;
    }

    pub fn audited(&mut self, audit: &Audit) {
        self.states.clear();
        for (key, leg) in &audit.dialogs {
            let Some(state) = audit.legs.iter().find(|entry| entry.leg == *leg).map(|entry| entry.state) else {
                continue;
            };
            let call_id = key.split(' ').next().unwrap_or_default();
            self.states.insert(call_id.to_string(), state);
        }
    }

    pub fn add(&mut self, other: &Coverage) {
        for (pair, count) in &other.met {
            *self.met.entry(pair.clone()).or_default() += count;
        }
    }
}
