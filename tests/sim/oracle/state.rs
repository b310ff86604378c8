//! The engine's inner state after every step, and when everything is over.

use super::Verdict;
use crate::plane::Plane;
use std::collections::{BTreeMap, BTreeSet};
use strowger::base::ids::{CallId, LegId, PortId};
use strowger::engine::audit::Audit;

/// After every step.
pub fn judge(audit: &Audit, plane: &Plane, verdict: &mut Verdict) {
    judge_legs(audit, verdict);
    judge_ports(audit, plane, verdict);
    if let Some(fault) = plane.fault() {
        verdict.fail("sinks only to ports in use", fault);
    }
}

fn judge_legs(audit: &Audit, verdict: &mut Verdict) {
    let mut owner: BTreeMap<LegId, CallId> = BTreeMap::new();
    for call in &audit.calls {
        for leg in &call.legs {
            if let Some(other) = owner.insert(*leg, call.call) {
                verdict.fail("each leg in exactly one call", format!("leg {leg} in calls {other} and {}", call.call));
            }
        }
        if let Some((a, b)) = call.bridged {
            let both = call.legs.contains(&a) && call.legs.contains(&b) && a != b;
            verdict.hold(both, "a bridge joins two legs of its call", || format!("call {}: {a} and {b}", call.call));
        }
    }
    let alive: BTreeSet<LegId> = audit.legs.iter().map(|leg| leg.leg).collect();
    for leg in &audit.legs {
        let known = owner.get(&leg.leg) == Some(&leg.call);
        verdict.hold(known, "each leg in exactly one call", || format!("leg {} says call {}", leg.leg, leg.call));
    }
    for (leg, call) in &owner {
        verdict
            .hold(alive.contains(leg), "each leg in exactly one call", || format!("call {call} has a dead leg {leg}"));
    }
    let mut keys = BTreeSet::new();
    for (key, leg) in &audit.dialogs {
        verdict.hold(alive.contains(leg), "each dialog leads to a live leg", || format!("{key} leads to leg {leg}"));
        verdict.hold(keys.insert(key), "one leg for each dialog", || key.clone());
    }
}

fn judge_ports(audit: &Audit, plane: &Plane, verdict: &mut Verdict) {
    let free: BTreeSet<PortId> = audit.ports_free.iter().copied().collect();
    let used: BTreeMap<PortId, LegId> = audit.ports_used.iter().copied().collect();
    let rule = "ports free and in use are those granted";
    verdict.hold(free.len() == audit.ports_free.len(), rule, || "a port is free twice".into());
    let all: BTreeSet<PortId> = free.iter().copied().chain(used.keys().copied()).collect();
    verdict.hold(all.len() == free.len() + used.len(), rule, || "a port is both free and in use".into());
    if all.len() != plane.granted.len() || !all.iter().all(|port| plane.granted.contains_key(port)) {
        let granted: Vec<&PortId> = plane.granted.keys().collect();
        verdict.fail(rule, format!("the engine has {all:?}, the media plane granted {granted:?}"));
    }
    let alive: BTreeSet<LegId> = audit.legs.iter().map(|leg| leg.leg).collect();
    for (port, leg) in &used {
        verdict.hold(alive.contains(leg), "no port without a leg", || format!("port {port} of dead leg {leg}"));
    }
}

/// When everything should be over.
pub fn judge_rest(audit: &Audit, verdict: &mut Verdict) {
    let rule = "nothing is left at rest";
    verdict.hold(audit.calls.is_empty(), rule, || format!("calls {:?}", audit.calls));
    verdict.hold(audit.legs.is_empty(), rule, || format!("legs {:?}", audit.legs));
    verdict.hold(audit.dialogs.is_empty(), rule, || format!("dialogs {:?}", audit.dialogs));
    verdict.hold(audit.ports_used.is_empty(), rule, || format!("ports {:?}", audit.ports_used));
    // A transaction, which may be a registration's, has at most two.
    let transactions = audit.server_transactions + audit.client_transactions;
    verdict.hold(audit.call_timers <= 2 * transactions, rule, || format!("{} call timers", audit.call_timers));
}

/// When everybody has left and all registrations have run out.
pub fn judge_emptiness(audit: &Audit, verdict: &mut Verdict) {
    judge_rest(audit, verdict);
    let rule = "an empty office leaves nothing behind";
    let transactions = (audit.server_transactions, audit.client_transactions);
    verdict.hold(transactions == (0, 0), rule, || format!("{transactions:?} transactions"));
    verdict.hold(audit.waiting_for_journal == 0, rule, || "a REGISTER waits for the journal".into());
    verdict.hold(audit.bindings == 0, rule, || format!("{} bindings", audit.bindings));
    verdict.hold(audit.timers == 0, rule, || format!("{} timers", audit.timers));
}

/// Whether no call is under way.
pub fn is_at_rest(audit: &Audit) -> bool {
    audit.calls.is_empty() && audit.legs.is_empty()
}
