//! The end of calls: legs removed when SIP is done with them, the record written when the ports' totals are in.

use super::Engine;
use super::audit::{Audit, CallAudit, LegAudit};
use super::core::TimerKey;
use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId};
use crate::base::mutant::{self, Mutant};
use crate::engine::call::Call;
use crate::engine::event::{EventBody, Snapshot};
use crate::engine::leg::{Leg, State};
use crate::engine::record::{Cdr, RecordBody};
use std::sync::Arc;
use std::time::Duration;

/// How long a call's record waits for the media plane's totals.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

impl Engine {
    /// Writes the record of a call that is over, once all totals are there or `late`; forgets the call once its legs are
    /// gone too.
    pub(super) fn settle(&mut self, id: CallId, late: bool) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let ready = call.leaving == 0 || late;
        if call.is_over() && ready && !call.recorded {
            call.recorded = true;
            let secret = |cdr: &Cdr| mutant::on(Mutant::CancelledUnrecorded) && cdr.cause == Cause::Cancelled;
            if let Some(cdr) = call.record().filter(|cdr| !secret(cdr)).map(Arc::new) {
                let cause = cdr.cause;
                self.core.io.record(RecordBody::CallEnded(cdr.clone()));
                self.core.io.event(EventBody::CallEnded { call: id, cause, cdr: Some(cdr) });
            }
        }
        if call.recorded && call.legs.is_empty() {
            self.calls.remove(&id);
        }
    }

    /// SIP is done with a leg.
    pub(super) fn remove_leg(&mut self, call: CallId, leg: LegId) {
        self.release_ports(leg);
        self.legs.remove(&leg);
        if let Some(call) = self.calls.get_mut(&call) {
            call.legs.retain(|other| *other != leg);
        }
        self.settle(call, false);
    }

    /// The whole state as one event, for a fold that lost some.
    pub(super) fn tell_everything(&mut self) {
        let now = self.core.io.now;
        let contacts = |tenant, number: &str| self.registrar.contacts(tenant, number, now).count();
        let bound = self.registrar.bound_extensions();
        let registered = bound.map(|(tenant, number)| (tenant, number.into(), contacts(tenant, number)));
        let registered = registered.filter(|(_, _, contacts)| *contacts > 0).collect();
        let calls = self.calls.values().filter(|call| !call.recorded).map(Call::snapshot).collect();
        self.core.io.event(EventBody::Snapshot(Arc::new(Snapshot { registered, calls })));
    }

    /// The engine's inner state, for oracles.
    pub fn audit(&self) -> Audit {
        let mut audit = Audit {
            ports_free: self.ports.free().collect(),
            ports_used: self.ports.used().collect(),
            server_transactions: self.core.tx.servers(),
            client_transactions: self.core.tx.clients(),
            timers: self.core.io.timers.len(),
            bindings: self.registrar.len(),
            waiting_for_journal: self.waiting.len(),
            ..Audit::default()
        };
        for call in self.calls.values() {
            let app = call.app.as_ref().map(|app| app.text()).unwrap_or_default();
            let both_there = |(a, b): &(LegId, LegId)| call.legs.contains(a) && call.legs.contains(b);
            let bridged = call.pair.filter(|pair| call.bridged && both_there(pair));
            audit.calls.push(CallAudit { call: call.id, legs: call.legs.to_vec(), bridged, app });
            let legs = call.legs.iter().filter_map(|leg| self.legs.get(leg));
            audit.legs.extend(legs.map(|leg| leg_audit(leg)));
        }
        audit.dialogs = self.core.dialog_keys();
        audit.call_timers = self.core.io.timers.iter().filter(|key| self.means_something(key)).count();
        audit
    }

    /// Timers in lanes outlive what they were for; those don't count.
    fn means_something(&self, key: &TimerKey) -> bool {
        match key {
            TimerKey::Retransmit(id) | TimerKey::Expire(id) => self.core.tx.knows(*id),
            TimerKey::Leg(leg, _) => self.legs.contains_key(leg),
            TimerKey::App(call, _) | TimerKey::Settle(call) => self.calls.contains_key(call),
        }
    }
}

fn leg_audit(leg: &Leg) -> LegAudit {
    let ports = leg.ports.iter().map(|grant| grant.port).collect();
    debug_assert!(leg.state != State::Closed, "a closed leg is removed in the step that closes it");
    LegAudit { leg: leg.id, call: leg.call, state: leg.state_text(), ports }
}
