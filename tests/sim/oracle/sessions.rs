//! Session timers (RFC 4028), as seen on the wire: who promised to refresh does, and a phone that says nothing for a whole
//! interval is no longer in a call. Nothing excuses the engine here: it knows what it sent and what it heard.

use super::Verdict;
use crate::clock::{GIVE_UP, SECOND, Time};
use crate::sip::text::{Msg, param};
use std::collections::BTreeMap;
use strowger::engine::audit::Audit;

/// How long a refresh may wait for other business of its dialog: an INVITE that nobody answers, and the engine's pause.
const BUSY: Time = GIVE_UP + 8 * SECOND;

#[derive(Default)]
pub struct Sessions {
    dialogs: BTreeMap<String, Dialog>,
    looked: Time,
}

#[derive(Default)]
struct Dialog {
    /// When the phone was last heard in it.
    heard: Time,
    /// What the engine is to refresh: the interval, and since when it runs.
    promise: Option<(Time, Time)>,
    /// The INVITEs and UPDATEs settled, theirs and ours: repetitions settle nothing.
    settled: [BTreeMap<String, u32>; 2],
    /// CSeq of the engine's INVITEs, with what their 2xx said.
    answered: BTreeMap<u32, Option<Time>>,
}

const THEIRS: usize = 0;
const OURS: usize = 1;

impl Sessions {
    pub fn restart(&mut self) {
        *self = Sessions::default();
    }

    pub fn received(&mut self, now: Time, msg: &Msg) {
        let Some((cseq, about)) = msg.cseq().filter(|(_, about)| is_call(about)) else { return };
        let dialog = self.dialogs.entry(msg.call_id().to_string()).or_default();
        dialog.heard = now;
        // The refresher of a response is named by the roles of its request: here the engine is the client.
        match (msg.code(), about) {
            (Some(200..300), "INVITE") => drop(dialog.answered.entry(cseq).or_insert_with(|| interval(msg, "uac"))),
            (Some(200..300), "UPDATE") if dialog.is_new(OURS, about, cseq) => {
                dialog.promise = interval(msg, "uac").map(|interval| (interval, now));
            }
            _ => {}
        }
    }

    pub fn sent(&mut self, now: Time, msg: &Msg) {
        let Some((cseq, about)) = msg.cseq().filter(|(_, about)| is_call(about)) else { return };
        let dialog =
            self.dialogs.entry(msg.call_id().to_string()).or_insert_with(|| Dialog { heard: now, ..Dialog::default() });
        match (msg.method(), msg.code(), about) {
            (Some("BYE"), ..) => dialog.promise = None,
            // A refresh, or at least a try: a refusal makes the next one due.
            (Some("INVITE" | "UPDATE"), ..) => dialog.promise = dialog.promise.map(|(interval, _)| (interval, now)),
            (Some("ACK"), ..) => {
                if let (Some(agreed), true) = (dialog.answered.remove(&cseq), dialog.is_new(OURS, "INVITE", cseq)) {
                    dialog.promise = agreed.map(|interval| (interval, now));
                }
            }
            (None, Some(200..300), "INVITE" | "UPDATE") if dialog.is_new(THEIRS, about, cseq) => {
                dialog.promise = interval(msg, "uas").map(|interval| (interval, now));
            }
            _ => {}
        }
    }

    /// Once a second: `longest` is the longest interval the configuration allows.
    pub fn judge(&mut self, now: Time, audit: &Audit, longest: Time, verdict: &mut Verdict) {
        if now < self.looked + SECOND {
            return;
        }
        self.looked = now;
        for (key, leg) in &audit.dialogs {
            let up = audit.legs.iter().any(|entry| entry.leg == *leg && entry.state == "up");
            let call_id = key.split(' ').next().unwrap_or_default();
            let Some(dialog) = self.dialogs.get(call_id).filter(|_| up) else { continue };
            let silent = now - dialog.heard.min(now);
            verdict.hold(
                silent <= longest + BUSY,
                "the call of a phone that fell silent ends with its session",
                || format!("{call_id}: nothing heard for {} s", silent / SECOND),
            );
            let Some((interval, since)) = dialog.promise else { continue };
            verdict.hold(
                now <= since + interval / 2 + BUSY,
                "the engine refreshes the sessions it promised to",
                || format!("{call_id}: {} s of {} s without a refresh", (now - since) / SECOND, interval / SECOND),
            );
        }
    }
}

impl Dialog {
    fn is_new(&mut self, side: usize, method: &str, cseq: u32) -> bool {
        let before = self.settled[side].insert(method.to_string(), cseq);
        before.is_none_or(|before| cseq > before)
    }
}

/// The interval of a 2xx, if it makes `role` refresh.
fn interval(msg: &Msg, role: &str) -> Option<Time> {
    let value = msg.get("Session-Expires")?;
    let seconds: Time = value.split(';').next()?.trim().parse().ok()?;
    (param(value, "refresher") == Some(role)).then_some(seconds * SECOND)
}

fn is_call(method: &str) -> bool {
    !matches!(method, "REGISTER" | "MESSAGE")
}
