//! Changes that wait for the journal, each with what it takes to undo it.
//!
//! Invariant: for each key, the changes pending form a chain: one's `previous` is the `installed` of the one before.
//! Undoing one in the middle closes the chain over it, so changes may be undone in any order.

use super::table::Slot;
use crate::base::ids::TenantId;
use crate::engine::record::{Binding, RecordBody};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A change on its way into the journal. Exactly one of `commit` and `rollback` must follow.
#[must_use]
#[derive(Debug)]
pub struct Change {
    id: u64,
    records: Vec<RecordBody>,
}

impl Change {
    /// What the journal must hold before the REGISTER is answered; empty when nothing changed.
    pub fn records(&self) -> &[RecordBody] {
        &self.records
    }
}

/// One key's part of a change.
pub(super) struct Entry {
    pub key: Box<str>,
    pub previous: Option<Slot>,
    pub installed: Option<Arc<Binding>>,
}

/// Which change, and whose contacts it changed.
pub(super) struct LogId {
    id: u64,
    pub tenant: TenantId,
    pub extension: Box<str>,
}

/// All of a change.
pub(super) struct Log {
    pub of: LogId,
    pub entries: Vec<Entry>,
    records: Vec<RecordBody>,
}

#[derive(Default)]
pub(super) struct Pending {
    logs: BTreeMap<u64, Log>,
    next: u64,
}

impl Log {
    pub fn add(&mut self, key: Box<str>, record: RecordBody, previous: Option<Slot>, installed: Option<Arc<Binding>>) {
        self.records.push(record);
        self.entries.push(Entry { key, previous, installed });
    }
}

impl Pending {
    pub fn begin(&mut self, tenant: TenantId, extension: &str, entries: usize) -> Log {
        let extension = if entries > 0 { extension.into() } else { Box::default() };
        let id = self.next;
        self.next += 1;
        Log {
            of: LogId { id, tenant, extension },
            entries: Vec::with_capacity(entries),
            records: Vec::with_capacity(entries),
        }
    }

    pub fn end(&mut self, mut log: Log) -> Change {
        let (id, records) = (log.of.id, std::mem::take(&mut log.records));
        if !log.entries.is_empty() {
            self.logs.insert(id, log);
        }
        Change { id, records }
    }

    pub fn take(&mut self, change: Change) -> Option<Log> {
        self.logs.remove(&change.id)
    }

    /// What `undone`, a part of the change `of`, installed is not in the table: a later change replaced it, and must
    /// restore what `undone` would have.
    pub fn rewrite(&mut self, of: &LogId, undone: Entry) {
        let Entry { key, previous, installed } = undone;
        let later = self
            .logs
            .range_mut(of.id..)
            .map(|(_, log)| log)
            .filter(|log| log.of.tenant == of.tenant && log.of.extension == of.extension)
            .flat_map(|log| &mut log.entries)
            .find(|e| e.key == key && same(e.previous.as_ref().map(|slot| &slot.binding), installed.as_ref()));
        if let Some(entry) = later {
            entry.previous = previous;
        }
    }

    /// Bindings that must not come back.
    pub fn forget(&mut self, is_gone: impl Fn(&Binding) -> bool) {
        for entry in self.logs.values_mut().flat_map(|log| &mut log.entries) {
            if entry.previous.as_ref().is_some_and(|slot| is_gone(&slot.binding)) {
                entry.previous = None;
            }
        }
    }
}

/// The very same binding, not an equal one.
pub(super) fn same(a: Option<&Arc<Binding>>, b: Option<&Arc<Binding>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}
