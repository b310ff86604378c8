//! What is going on now: registered extensions, calls, and totals since the start. A fold of the event stream without
//! clock or lock; [`super::Board`] owns the lock.
//!
//! Invariant: calls started = calls ended + calls listed, snapshots included.

use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId, TenantId};
use crate::base::now::Timestamp;
use crate::engine::event::{CallSnapshot, CallState, Event, EventBody, Snapshot};
use crate::engine::media::Counters;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Default, Debug)]
pub struct Live {
    tenants: BTreeMap<TenantId, TenantLive>,
    /// Ids grow, so this is the order in which the calls began.
    calls: BTreeMap<CallId, LiveCall>,
    totals: Totals,
}

#[derive(Default, Debug)]
struct TenantLive {
    /// Contacts of each extension that has any.
    contacts: HashMap<Box<str>, usize>,
    /// Calls of earlier runs, from the store.
    calls_before: u64,
    calls_started: u64,
    calls_active: u64,
}

#[derive(Clone, Debug)]
pub struct LiveCall {
    /// The public id.
    pub call_id: Arc<str>,
    pub tenant: TenantId,
    pub from: Arc<str>,
    pub to: Arc<str>,
    pub state: CallState,
    pub started: Timestamp,
    pub answered: Option<Timestamp>,
    /// The last running totals of each leg.
    media: SmallVec<[(LegId, Counters); 2]>,
}

/// Sums since the start of the daemon, over all tenants.
#[derive(Clone, Default, Debug)]
pub struct Totals {
    pub calls_started: u64,
    pub calls_answered: u64,
    pub calls_ended: BTreeMap<Cause, u64>,
    /// Calls whose end was among lost events; a snapshot no longer had them.
    pub calls_forgotten: u64,
    pub refused: BTreeMap<Cause, u64>,
    pub contacts_added: u64,
    pub contacts_removed: u64,
    pub media: Counters,
}

/// What a tenant's status page shows.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TenantStatus {
    pub registered_extensions: usize,
    pub active_calls: u64,
    /// Calls of all times, running ones included.
    pub total_calls: u64,
}

impl Live {
    pub(super) fn apply(&mut self, event: &Event) {
        match &event.body {
            EventBody::Registered { tenant, extension, contacts }
            | EventBody::Unregistered { tenant, extension, contacts } => {
                self.set_contacts(*tenant, extension, *contacts);
            }
            EventBody::CallStarted { call, call_id, tenant, from, to } => self.start(
                *call,
                LiveCall {
                    call_id: call_id.clone(),
                    tenant: *tenant,
                    from: from.clone(),
                    to: to.clone(),
                    state: CallState::Calling,
                    started: event.at,
                    answered: None,
                    media: SmallVec::new(),
                },
            ),
            EventBody::CallState { call, state } => self.set_state(*call, *state, event.at),
            EventBody::CallEnded { call, cause, .. } => {
                if self.remove(*call) {
                    *self.totals.calls_ended.entry(*cause).or_default() += 1;
                }
            }
            EventBody::Media { call, leg, counters } => self.count_media(*call, *leg, counters),
            EventBody::Refused { cause, .. } => *self.totals.refused.entry(*cause).or_default() += 1,
            EventBody::Snapshot(snapshot) => self.replace(snapshot),
            EventBody::Trace { .. } | EventBody::Notice { .. } => {}
        }
    }

    /// How many calls the store has of earlier runs; set once, before the first event.
    pub(super) fn set_calls_before(&mut self, tenant: TenantId, calls: u64) {
        self.tenants.entry(tenant).or_default().calls_before = calls;
    }

    /// The calls of a tenant in the order they began.
    pub fn calls(&self, tenant: TenantId) -> impl Iterator<Item = &LiveCall> {
        self.calls.values().filter(move |call| call.tenant == tenant)
    }

    /// Contacts bound to an extension now; 0 if it is not registered.
    pub fn contacts(&self, tenant: TenantId, extension: &str) -> usize {
        self.tenants.get(&tenant).and_then(|t| t.contacts.get(extension)).copied().unwrap_or(0)
    }

    pub fn status(&self, tenant: TenantId) -> TenantStatus {
        let Some(live) = self.tenants.get(&tenant) else { return TenantStatus::default() };
        TenantStatus {
            registered_extensions: live.contacts.len(),
            active_calls: live.calls_active,
            total_calls: live.calls_before + live.calls_started,
        }
    }

    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Calls of all tenants.
    pub fn active_calls(&self) -> usize {
        self.calls.len()
    }

    /// Registered extensions and their contacts, of all tenants.
    pub fn registrations(&self) -> (usize, usize) {
        let tenants = self.tenants.values();
        tenants.fold((0, 0), |(extensions, contacts), t| {
            (extensions + t.contacts.len(), contacts + t.contacts.values().sum::<usize>())
        })
    }

    fn set_contacts(&mut self, tenant: TenantId, extension: &str, contacts: usize) {
        let table = &mut self.tenants.entry(tenant).or_default().contacts;
        let before = table.get(extension).copied().unwrap_or(0);
        // A refresh changes nothing.
        if contacts == before {
            return;
        }
        self.totals.contacts_added += contacts.saturating_sub(before) as u64;
        self.totals.contacts_removed += before.saturating_sub(contacts) as u64;
        if contacts == 0 {
            table.remove(extension);
        } else if let Some(count) = table.get_mut(extension) {
            *count = contacts;
        } else {
            table.insert(extension.into(), contacts);
        }
    }

    fn start(&mut self, id: CallId, call: LiveCall) {
        let tenant = call.tenant;
        if self.calls.insert(id, call).is_none() {
            let live = self.tenants.entry(tenant).or_default();
            live.calls_started += 1;
            live.calls_active += 1;
            self.totals.calls_started += 1;
        }
    }

    fn set_state(&mut self, id: CallId, state: CallState, at: Timestamp) {
        // A call whose start was lost is unknown until a snapshot names it.
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.state = state;
        if call.answered.is_none() && matches!(state, CallState::Connected | CallState::Hold) {
            call.answered = Some(at);
            self.totals.calls_answered += 1;
        }
    }

    fn remove(&mut self, id: CallId) -> bool {
        let Some(call) = self.calls.remove(&id) else { return false };
        if let Some(live) = self.tenants.get_mut(&call.tenant) {
            live.calls_active = live.calls_active.saturating_sub(1);
        }
        true
    }

    fn count_media(&mut self, id: CallId, leg: LegId, counters: &Counters) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let at = call.media.iter().position(|(known, _)| *known == leg).unwrap_or_else(|| {
            call.media.push((leg, Counters::default()));
            call.media.len() - 1
        });
        let Some((_, last)) = call.media.get_mut(at) else { return };
        let total = &mut self.totals.media;
        total.received += counters.received.saturating_sub(last.received);
        total.received_bytes += counters.received_bytes.saturating_sub(last.received_bytes);
        total.sent += counters.sent.saturating_sub(last.sent);
        total.sent_bytes += counters.sent_bytes.saturating_sub(last.sent_bytes);
        total.dropped += counters.dropped.saturating_sub(last.dropped);
        total.lost += counters.lost.saturating_sub(last.lost);
        total.rtcp += counters.rtcp.saturating_sub(last.rtcp);
        *last = *counters;
    }

    /// Takes a snapshot's word for everything; what both know keeps its media totals.
    fn replace(&mut self, snapshot: &Snapshot) {
        let mut contacts: BTreeMap<(TenantId, &str), usize> = BTreeMap::new();
        let shown = self.tenants.iter().flat_map(|(tenant, live)| live.contacts.keys().map(|e| (*tenant, e.clone())));
        let shown: Vec<(TenantId, Box<str>)> = shown.collect();
        contacts.extend(shown.iter().map(|(tenant, extension)| ((*tenant, &**extension), 0)));
        contacts.extend(snapshot.registered.iter().map(|(tenant, extension, count)| ((*tenant, &**extension), *count)));
        for ((tenant, extension), count) in contacts {
            self.set_contacts(tenant, extension, count);
        }
        let named: BTreeMap<CallId, &CallSnapshot> = snapshot.calls.iter().map(|call| (call.call, call)).collect();
        let gone: Vec<CallId> = self.calls.keys().filter(|id| !named.contains_key(id)).copied().collect();
        for id in gone {
            if self.remove(id) {
                self.totals.calls_forgotten += 1;
            }
        }
        for (id, call) in named {
            self.restart(id, call);
        }
    }

    fn restart(&mut self, id: CallId, call: &CallSnapshot) {
        let known = self.calls.get(&id);
        if call.answered.is_some() && known.is_none_or(|k| k.answered.is_none()) {
            self.totals.calls_answered += 1;
        }
        let media = known.map(|k| k.media.clone()).unwrap_or_default();
        self.start(
            id,
            LiveCall {
                call_id: call.call_id.clone(),
                tenant: call.tenant,
                from: call.from.clone(),
                to: call.to.clone(),
                state: call.state,
                started: call.started,
                answered: call.answered,
                media,
            },
        );
    }
}
