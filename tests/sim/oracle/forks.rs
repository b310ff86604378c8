//! Phones that ring for nothing: when a call is decided - somebody answered, or its caller has the final response - every
//! other contact that rings is told to stop, in that very step, or as soon as a CANCEL is allowed (RFC 3261 §9.1).

use super::Verdict;
use crate::clock::{GIVE_UP, Time};
use crate::sip::text::Msg;
use std::collections::BTreeMap;
use strowger::base::ids::{CallId, ConnectionId, TransactionId};
use strowger::engine::flow::Flow;

#[derive(Default)]
pub struct Forks {
    /// First INVITEs of the engine that have no final response, by branch.
    ringing: BTreeMap<String, Contact>,
    decided: BTreeMap<CallId, Why>,
}

struct Contact {
    call: CallId,
    since: Time,
    connection: Option<ConnectionId>,
    key: Option<TransactionId>,
    /// A provisional response reached the engine: a CANCEL may go out.
    provisional: bool,
    cancelled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    /// Another contact of the fork answered.
    Answered,
    /// The caller gave up, or was refused.
    Over,
}

impl Forks {
    /// The engine's process is new: what its former self rang it knows nothing of.
    pub fn restart(&mut self) {
        *self = Forks::default();
    }

    pub fn received(&mut self, now: Time, msg: &Msg) {
        let (Some(code), Some((_, "INVITE")), Some(branch)) = (msg.code(), msg.cseq(), msg.branch()) else { return };
        let Some(contact) = self.ringing.get_mut(&branch) else { return };
        // Nobody waits for the first response any longer than this (RFC 3261 §17.1.1.2, timer B).
        let awaited = contact.provisional || now < contact.since + GIVE_UP;
        match code {
            100..200 => contact.provisional |= awaited,
            // Who answers without a description can't be talked to; there the caller's final response decides.
            200..300 if awaited && !msg.body.is_empty() => {
                self.decided.entry(contact.call).or_insert(Why::Answered);
                self.ringing.remove(&branch);
            }
            _ => drop(self.ringing.remove(&branch)),
        }
    }

    /// A request left; `call` is the engine's call its dialog belongs to.
    pub fn sent(
        &mut self,
        now: Time,
        msg: &Msg,
        flow: &Flow,
        (call, key): (Option<CallId>, Option<TransactionId>),
        v: &mut Verdict,
    ) {
        let (Some(method), Some(branch)) = (msg.method(), msg.branch()) else { return };
        match (method, call) {
            ("INVITE", Some(call)) if msg.tag_of_to().is_none() => {
                self.ringing.entry(branch).or_insert(Contact {
                    call,
                    since: now,
                    connection: flow.connection,
                    key,
                    provisional: false,
                    cancelled: false,
                });
            }
            ("CANCEL", _) => self.cancelled(&branch, msg, v),
            _ => {}
        }
    }

    /// RFC 3261 §9.1; and by RFC 3326 the phone that lost the race need not show a missed call.
    fn cancelled(&mut self, branch: &str, msg: &Msg, verdict: &mut Verdict) {
        let Some(contact) = self.ringing.get_mut(branch) else { return };
        verdict.hold(contact.provisional, "no CANCEL before a provisional response", || msg.title());
        let first = !std::mem::replace(&mut contact.cancelled, true);
        if first && self.decided.get(&contact.call) == Some(&Why::Answered) {
            let told = msg.value("Reason").contains("cause=200");
            verdict
                .hold(told, "a phone that lost the race hears that the call was completed elsewhere", || msg.title());
        }
    }

    /// The caller's INVITE has its final response, or the call has its record.
    pub fn over(&mut self, call: CallId) {
        self.decided.entry(call).or_insert(Why::Over);
    }

    /// Over this connection no CANCEL goes any more.
    pub fn closed(&mut self, connection: ConnectionId) {
        self.ringing.retain(|_, contact| contact.connection != Some(connection));
    }

    /// The transport could not send: that INVITE is given up.
    pub fn failed(&mut self, key: TransactionId) {
        self.ringing.retain(|_, contact| contact.key != Some(key));
    }

    /// After a step.
    pub fn judge(&self, now: Time, verdict: &mut Verdict) {
        let alone = |contact: &&Contact| contact.provisional && !contact.cancelled;
        for contact in self.ringing.values().filter(alone) {
            let why = self.decided.get(&contact.call);
            verdict.hold(why.is_none(), "no phone rings on when its call is decided", || {
                format!(
                    "call {} is {why:?}, a phone called {} s ago rings on",
                    contact.call,
                    (now - contact.since) / 1_000_000
                )
            });
        }
    }
}
