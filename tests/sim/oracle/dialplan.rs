//! A model of the dialplan, for offices without any trouble: what the caller of each number must have been told, given what
//! the phones that rang said. Written from the phones' side; it knows nothing of how the engine decides.

use super::Verdict;
use crate::phone::call::CallLog;

/// What became of a call to a number nobody hung up on while it rang.
pub struct Attempt<'a> {
    pub log: &'a CallLog,
    /// The tenant has this extension.
    pub exists: bool,
    /// What the phones called made of it.
    pub rung: Vec<&'a CallLog>,
}

pub fn judge(attempt: &Attempt<'_>, verdict: &mut Verdict) {
    let Some(told) = attempt.log.final_code else { return };
    let expected = expected(attempt);
    verdict.hold(expected.contains(&told), "callers are told what the dialplan and the phones say", || {
        let rung: Vec<_> = attempt.rung.iter().map(|log| log.final_code).collect();
        format!("{} dialled {}: {told}, not {expected:?}; rung: {rung:?}", attempt.log.call_id, attempt.log.peer)
    });
}

fn expected(attempt: &Attempt<'_>) -> Vec<u16> {
    if !attempt.exists {
        // Queues and emergency calls are of a later version, and say so.
        return vec![if matches!(attempt.log.peer.as_str(), "8001" | "911") { 501 } else { 404 }];
    }
    if attempt.rung.iter().any(|log| log.answered.is_some()) {
        // 488: whoever answered has no codec the caller has.
        return vec![200, 488];
    }
    let codes = attempt.rung.iter().map(|log| log.final_code.filter(|_| log.cancelled.is_none()));
    let codes: Vec<Option<u16>> = codes.collect();
    if let Some(global) = codes.iter().flatten().find(|code| **code >= 600) {
        return meaning(*global);
    }
    // Nobody was there, or somebody let it ring until the exchange gave up.
    if codes.is_empty() || codes.contains(&None) {
        return vec![480];
    }
    // A person's "busy" says more than a phone that was not there, and that more than a phone in difficulties.
    let best = codes.iter().flatten().map(|code| rank(*code)).min();
    codes.iter().flatten().filter(|code| Some(rank(**code)) == best).flat_map(|code| meaning(*code)).collect()
}

fn rank(code: u16) -> u8 {
    match code {
        486 => 0,
        480 => 1,
        400..500 => 2,
        300..400 => 3,
        _ => 4,
    }
}

/// The codes that say the same to a caller.
fn meaning(code: u16) -> Vec<u16> {
    match code {
        486 | 600 => vec![486, 600],
        480 | 408 => vec![480],
        404 | 488 | 503 | 603 => vec![code],
        _ => vec![500],
    }
}
