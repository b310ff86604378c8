//! The bindings and their indexes: by extension, by flow, by expiry.
//!
//! Invariant: a slot is in all of its indexes or in none; `set` is the only way in and `take` the only way out.

use crate::base::ids::{ConnectionId, ListenerId, TenantId};
use crate::base::now::Micros;
use crate::base::timers::{TimerId, TimerSet};
use crate::engine::flow::Flow;
use crate::engine::record::Binding;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// A binding with its clock.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub binding: Arc<Binding>,
    /// When it runs out.
    pub deadline: Micros,
    /// Its connection is from before our restart.
    pub awaiting: bool,
}

/// A slot's number: issued once.
type SlotId = u64;

/// What makes two flows the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FlowKey {
    Connection(ConnectionId),
    Datagrams(ListenerId, SocketAddr),
}

struct Entry {
    slot: Slot,
    timer: TimerId,
}

#[derive(Default)]
pub(super) struct Table {
    entries: BTreeMap<SlotId, Entry>,
    by_extension: BTreeMap<TenantId, BTreeMap<Box<str>, SmallVec<[SlotId; 2]>>>,
    by_flow: BTreeSet<(FlowKey, SlotId)>,
    timers: TimerSet<SlotId>,
    next: SlotId,
}

impl Slot {
    pub fn new(binding: Arc<Binding>, deadline: Micros) -> Slot {
        Slot { binding, deadline, awaiting: false }
    }

    /// None for a connection that is no more.
    fn flow_key(&self) -> Option<FlowKey> {
        (!self.awaiting).then(|| flow_key(&self.binding.flow))
    }
}

fn flow_key(flow: &Flow) -> FlowKey {
    match flow.connection {
        Some(connection) => FlowKey::Connection(connection),
        None => FlowKey::Datagrams(flow.listener, flow.remote),
    }
}

impl Table {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The slots of an extension, the oldest first.
    pub fn slots(&self, tenant: TenantId, extension: &str) -> impl Iterator<Item = &Slot> + use<'_> {
        self.ids(tenant, extension).iter().filter_map(|id| self.entries.get(id)).map(|entry| &entry.slot)
    }

    pub fn get(&self, tenant: TenantId, extension: &str, key: &str) -> Option<&Slot> {
        self.slots(tenant, extension).find(|slot| *slot.binding.key == *key)
    }

    pub fn extensions(&self) -> impl Iterator<Item = (TenantId, &str)> {
        self.by_extension.iter().flat_map(|(tenant, extensions)| extensions.keys().map(|e| (*tenant, &**e)))
    }

    pub fn is_bound(&self, flow: &Flow) -> bool {
        let key = flow_key(flow);
        self.by_flow.range((key, 0)..=(key, SlotId::MAX)).next().is_some()
    }

    pub fn next_expiry(&self) -> Option<Micros> {
        self.timers.deadline()
    }

    /// Makes `slot` the one of that key, or removes it; what was there before comes back.
    pub fn set(&mut self, tenant: TenantId, extension: &str, key: &str, slot: Option<Slot>) -> Option<Slot> {
        let id = self.ids(tenant, extension).iter().copied().find(|id| self.key(*id) == Some(key));
        match (id, slot) {
            (Some(id), Some(slot)) => self.replace(id, slot),
            (Some(id), None) => self.take(id),
            (None, Some(slot)) => {
                self.insert(tenant, extension, slot);
                None
            }
            (None, None) => None,
        }
    }

    pub fn pop_expired(&mut self, now: Micros) -> Option<Slot> {
        let id = self.timers.pop(now)?;
        self.take(id)
    }

    pub fn remove_connection(&mut self, connection: ConnectionId) -> Vec<Slot> {
        let key = FlowKey::Connection(connection);
        let ids: Vec<SlotId> = self.by_flow.range((key, 0)..=(key, SlotId::MAX)).map(|(_, id)| *id).collect();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    pub fn remove_extension(&mut self, tenant: TenantId, extension: &str) -> Vec<Slot> {
        let ids: Vec<SlotId> = self.ids(tenant, extension).to_vec();
        ids.into_iter().filter_map(|id| self.take(id)).collect()
    }

    fn ids(&self, tenant: TenantId, extension: &str) -> &[SlotId] {
        self.by_extension.get(&tenant).and_then(|all| all.get(extension)).map_or(&[], |ids| ids)
    }

    fn key(&self, id: SlotId) -> Option<&str> {
        self.entries.get(&id).map(|entry| &*entry.slot.binding.key)
    }

    fn insert(&mut self, tenant: TenantId, extension: &str, slot: Slot) {
        let id = self.next;
        self.next += 1;
        let extensions = self.by_extension.entry(tenant).or_default();
        match extensions.get_mut(extension) {
            Some(ids) => ids.push(id),
            None => {
                extensions.insert(extension.into(), smallvec::smallvec![id]);
            }
        }
        if let Some(flow) = slot.flow_key() {
            self.by_flow.insert((flow, id));
        }
        let timer = self.timers.set(slot.deadline, id);
        self.entries.insert(id, Entry { slot, timer });
    }

    fn replace(&mut self, id: SlotId, slot: Slot) -> Option<Slot> {
        let entry = self.entries.get_mut(&id)?;
        let (old_flow, new_flow) = (entry.slot.flow_key(), slot.flow_key());
        self.timers.cancel(entry.timer);
        entry.timer = self.timers.set(slot.deadline, id);
        let previous = std::mem::replace(&mut entry.slot, slot);
        if old_flow != new_flow {
            if let Some(flow) = old_flow {
                self.by_flow.remove(&(flow, id));
            }
            if let Some(flow) = new_flow {
                self.by_flow.insert((flow, id));
            }
        }
        Some(previous)
    }

    fn take(&mut self, id: SlotId) -> Option<Slot> {
        let Entry { slot, timer } = self.entries.remove(&id)?;
        self.timers.cancel(timer);
        if let Some(flow) = slot.flow_key() {
            self.by_flow.remove(&(flow, id));
        }
        let (tenant, extension) = (slot.binding.tenant, &slot.binding.extension);
        if let Some(extensions) = self.by_extension.get_mut(&tenant) {
            if let Some(ids) = extensions.get_mut(extension) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    extensions.remove(extension);
                }
            }
            if extensions.is_empty() {
                self.by_extension.remove(&tenant);
            }
        }
        Some(slot)
    }
}
