//! The registrar: which contacts each extension has (RFC 3261 §10.3).
//!
//! A REGISTER takes effect here at once and is answered when the journal holds its records; if the journal refuses them,
//! `rollback` restores what was there:
//!
//! ```text
//! register ──► bindings changed, Change handed out ──┬─ commit ───► the past is forgotten, 200
//!                                                    └─ rollback ─► the past is back, 503
//! ```
//!
//! So the order of records is the order of changes, also when a binding runs out or its connection breaks meanwhile.
//! Changes may be undone in any order. A binding of a connection from before our restart is *awaiting*: it counts, but
//! calls don't go there until its phone registers again.

mod contact;
mod journal;
mod notices;
mod table;

use crate::base::ids::{ConnectionId, TenantId};
use crate::base::mutant::{self, Mutant};
use crate::base::now::{Micros, Now};
use crate::engine::config::RegistrationLimits;
use crate::engine::flow::Flow;
use crate::engine::record::{Binding, RecordBody};
use crate::proto::sip::message::Message;
use crate::proto::sip::name::Name;
use crate::proto::sip::writer::Writer;
use contact::{Asked, Request};
pub use journal::Change;
use journal::Pending;
use notices::Notices;
use std::sync::Arc;
use std::time::Duration;
use table::{Slot, Table};

pub struct Registrar {
    limits: RegistrationLimits,
    /// Bindings of all extensions together.
    max_bindings: usize,
    table: Table,
    pending: Pending,
    notices: Notices,
}

/// Why a REGISTER is refused, with header fields its answer must have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub status: u16,
    pub phrase: &'static str,
    pub headers: Vec<(&'static str, String)>,
    /// What the administrator should hear of it.
    pub notice: Option<Box<str>>,
}

impl Refused {
    fn new(status: u16, phrase: &'static str) -> Refused {
        Refused { status, phrase, headers: Vec::new(), notice: None }
    }
}

/// A binding that ended, and the record that says so.
pub type Gone = (TenantId, Box<str>, RecordBody);

impl Registrar {
    pub fn new(limits: RegistrationLimits, max_bindings: usize) -> Registrar {
        Registrar {
            limits,
            max_bindings,
            table: Table::default(),
            pending: Pending::default(),
            notices: Notices::default(),
        }
    }

    /// Carries out a REGISTER of an authenticated extension. All of it or, on error, nothing.
    pub fn register(
        &mut self,
        now: Now,
        tenant: TenantId,
        extension: &str,
        request: &Message,
        flow: Flow,
    ) -> Result<Change, Refused> {
        let request = Request::read(request, &self.limits, flow.transport)?;
        let mut changes = Vec::new();
        match &request.asked {
            Asked::Nothing => {}
            Asked::RemoveAll => {
                for slot in self.table.slots(tenant, extension) {
                    request.check_order(&slot.binding)?;
                    changes.push((slot.binding.key.clone(), None));
                }
            }
            Asked::Contacts(contacts) => {
                for contact in contacts {
                    let current = self.table.get(tenant, extension, &contact.key).map(|slot| &slot.binding);
                    if let Some(current) = current {
                        request.check_order(current)?;
                    }
                    if contact.expires > 0 {
                        let binding = request.binding(contact, (tenant, extension), current, now, flow);
                        let late = if mutant::on(Mutant::ExpiredCalled) { 4 } else { 1 };
                        let deadline = now.mono + Duration::from_secs(u64::from(contact.expires)) * late;
                        changes.push((contact.key.clone(), Some(Slot::new(Arc::new(binding), deadline))));
                    } else if current.is_some() {
                        changes.push((contact.key.clone(), None));
                    }
                }
                self.make_room(tenant, extension, &mut changes);
                self.check_room(now, tenant, extension, &changes)?;
            }
        }
        Ok(self.apply(tenant, extension, changes))
    }

    /// At the extension's limit, contacts whose connection our restart has cut give way to new ones, the oldest first: a
    /// phone that connects again often comes with another address, and its old contact can't be called.
    fn make_room(&self, tenant: TenantId, extension: &str, changes: &mut Vec<(Box<str>, Option<Slot>)>) {
        let too_many = self.contacts_after(tenant, extension, changes).saturating_sub(self.limits.max_contacts);
        if too_many == 0 {
            return;
        }
        let slots = self.table.slots(tenant, extension).filter(|slot| slot.awaiting);
        let keys = slots.map(|slot| &slot.binding.key).filter(|key| !changes.iter().any(|(other, _)| other == *key));
        let leaving: Vec<_> = keys.take(too_many).map(|key| (key.clone(), None)).collect();
        changes.extend(leaving);
    }

    /// How many contacts the extension would have.
    fn contacts_after(&self, tenant: TenantId, extension: &str, changes: &[(Box<str>, Option<Slot>)]) -> usize {
        let added = self.added(tenant, extension, changes);
        let removed = changes.iter().filter(|(_, slot)| slot.is_none()).count();
        (self.table.slots(tenant, extension).count() + added).saturating_sub(removed)
    }

    fn added(&self, tenant: TenantId, extension: &str, changes: &[(Box<str>, Option<Slot>)]) -> usize {
        let is_new = |key: &str| self.table.get(tenant, extension, key).is_none();
        changes.iter().filter(|(key, slot)| slot.is_some() && is_new(key)).count()
    }

    /// Whether the extension's and our own limit leave room for what is new. Removals in the same request make room.
    fn check_room(
        &mut self,
        now: Now,
        tenant: TenantId,
        extension: &str,
        changes: &[(Box<str>, Option<Slot>)],
    ) -> Result<(), Refused> {
        let added = self.added(tenant, extension, changes);
        if added == 0 {
            return Ok(());
        }
        if self.contacts_after(tenant, extension, changes) > self.limits.max_contacts {
            return Err(self.too_many(now, tenant, extension));
        }
        if self.table.len() + added > self.max_bindings {
            let headers = vec![("Retry-After", "60".to_owned())];
            return Err(Refused { headers, ..Refused::new(503, "Too Many Registrations") });
        }
        Ok(())
    }

    /// 403 and not 503: the phone's user is to see that trying again does not help. No contact is thrown out for it: then
    /// phones beyond the limit would push each other out for ever.
    fn too_many(&mut self, now: Now, tenant: TenantId, extension: &str) -> Refused {
        let limit = self.limits.max_contacts;
        let text = format!(
            "{extension} has {limit} contacts, as many as registration.max_contacts allows: sign off a phone, wait until \
             an old contact runs out, or raise the limit"
        );
        let headers = vec![("Warning", format!("399 strowger \"{text}\""))];
        let notice = self.notices.is_due(now.mono, tenant, extension).then(|| text.into());
        Refused { headers, notice, ..Refused::new(403, "Too Many Contacts") }
    }

    fn apply(&mut self, tenant: TenantId, extension: &str, changes: Vec<(Box<str>, Option<Slot>)>) -> Change {
        let mut log = self.pending.begin(tenant, extension, changes.len());
        for (key, slot) in changes {
            let record = match &slot {
                Some(slot) => RecordBody::Binding(slot.binding.clone()),
                None => RecordBody::Unbound { tenant, extension: extension.into(), key: key.clone() },
            };
            let installed = slot.as_ref().map(|slot| slot.binding.clone());
            let previous = self.table.set(tenant, extension, &key, slot);
            log.add(key, record, previous, installed);
        }
        self.pending.end(log)
    }

    /// The journal holds the change.
    pub fn commit(&mut self, change: Change) {
        self.pending.take(change);
    }

    /// The journal refused the change: what was there before is there again, unless it ended meanwhile.
    pub fn rollback(&mut self, change: Change) {
        let Some(log) = self.pending.take(change) else { return };
        let (tenant, extension) = (log.of.tenant, &log.of.extension);
        for entry in log.entries {
            let current = self.table.get(tenant, extension, &entry.key).map(|slot| &slot.binding);
            if journal::same(current, entry.installed.as_ref()) {
                self.table.set(tenant, extension, &entry.key, entry.previous);
            } else {
                self.pending.rewrite(&log.of, entry);
            }
        }
    }

    /// Adds to a 200 what a REGISTER's answer must have: the current contacts with their parameters, by which phones know
    /// their own (RFC 3261 §10.3 step 8, RFC 5626 §6), and the Path (RFC 3327 §5.3).
    pub fn write_answer(&self, now: Now, tenant: TenantId, extension: &str, request: &Message, writer: &mut Writer) {
        for slot in self.table.slots(tenant, extension) {
            let Binding { uri, params, q, .. } = &*slot.binding;
            let left = slot.deadline.since(now.mono);
            let expires = left.as_secs() + u64::from(left.subsec_micros() > 0);
            if *q == 1000 {
                writer.header_fmt("Contact", format_args!("<{uri}>{params};expires={expires}"));
            } else {
                writer.header_fmt("Contact", format_args!("<{uri}>{params};q=0.{q:03};expires={expires}"));
            }
        }
        for path in request.fields(Name::Path) {
            writer.header("Path", path);
        }
        writer.header("Supported", "path");
    }

    /// The contacts calls go to: highest q first, then the newest registration.
    pub fn contacts(
        &self,
        tenant: TenantId,
        extension: &str,
        now: Now,
    ) -> impl Iterator<Item = &Arc<Binding>> + use<'_> {
        let live = |slot: &&Slot| !slot.awaiting && slot.deadline > now.mono;
        let mut slots: smallvec::SmallVec<[&Slot; 4]> = self.table.slots(tenant, extension).filter(live).collect();
        slots.sort_by(|a, b| b.binding.q.cmp(&a.binding.q).then(b.binding.registered_at.cmp(&a.binding.registered_at)));
        slots.into_iter().map(|slot| &slot.binding)
    }

    /// The contacts that wait for their phone to connect again after our restart.
    pub fn awaiting(&self, tenant: TenantId, extension: &str) -> impl Iterator<Item = &Arc<Binding>> + use<'_> {
        self.table.slots(tenant, extension).filter(|slot| slot.awaiting).map(|slot| &slot.binding)
    }

    /// Whether somebody is registered over this flow: such a source is never banned whole.
    pub fn is_bound_flow(&self, flow: &Flow) -> bool {
        self.table.is_bound(flow)
    }

    /// When the next binding runs out.
    pub fn next_expiry(&self) -> Option<Micros> {
        self.table.next_expiry()
    }

    /// Removes the bindings that have run out.
    pub fn expire(&mut self, now: Now) -> Vec<Gone> {
        std::iter::from_fn(|| self.table.pop_expired(now.mono)).map(|slot| gone(&slot.binding)).collect()
    }

    /// A dead connection takes its contacts with it.
    pub fn flow_closed(&mut self, connection: ConnectionId) -> Vec<Gone> {
        if mutant::on(Mutant::DeadFlowKept) {
            return Vec::new();
        }
        self.pending.forget(|binding| binding.flow.connection == Some(connection));
        self.table.remove_connection(connection).iter().map(|slot| gone(&slot.binding)).collect()
    }

    /// The extension is gone or has another secret: so are its bindings.
    pub fn remove_extension(&mut self, tenant: TenantId, extension: &str) -> Vec<RecordBody> {
        self.pending.forget(|binding| binding.tenant == tenant && *binding.extension == *extension);
        self.table.remove_extension(tenant, extension).iter().map(|slot| gone(&slot.binding).2).collect()
    }

    /// Takes over the bindings of before a restart. Those that have run out meanwhile go with the next `expire`.
    pub fn restore(&mut self, bindings: Vec<Arc<Binding>>, now: Now) {
        for binding in bindings {
            let left = u64::try_from(binding.expires.0.saturating_sub(now.wall.0)).unwrap_or(0);
            // A wall clock that jumped must not make a binding outlive what we grant.
            let left = Duration::from_micros(left).min(Duration::from_secs(u64::from(self.limits.max_expires)));
            // The store keeps no connection: none outlives the process.
            let awaiting = binding.flow.transport.is_reliable();
            let slot = Slot { awaiting, ..Slot::new(binding.clone(), now.mono + left) };
            self.table.set(binding.tenant, &binding.extension, &binding.key, Some(slot));
        }
    }

    /// Every extension that has a binding, in order of tenant and number.
    pub fn bound_extensions(&self) -> impl Iterator<Item = (TenantId, &str)> {
        self.table.extensions()
    }

    /// Every binding, by tenant and extension, for the audit.
    pub fn bindings(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.table.extensions().flat_map(|(tenant, extension)| self.table.slots(tenant, extension)).map(|s| &s.binding)
    }

    /// Bindings in all.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn gone(binding: &Binding) -> Gone {
    let (tenant, extension) = (binding.tenant, binding.extension.clone());
    let record = RecordBody::Unbound { tenant, extension: extension.clone(), key: binding.key.clone() };
    (tenant, extension, record)
}

#[cfg(test)]
mod tests;
