//! A store without a disk: keeps records in the order they come, says so after a while, and at times refuses. What it has
//! kept is what the next life of the daemon is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use strowger::base::ids::{RecordSeq, TenantId};
use strowger::engine::record::{Binding, CallStart, Cdr, Record, RecordBody};

pub type BindingKey = (TenantId, Box<str>, Box<str>);

#[derive(Default)]
pub struct Journal {
    pending: Vec<Record>,
    pub bindings: BTreeMap<BindingKey, Arc<Binding>>,
    /// By the public call id, with the epoch the call began in.
    pub calls: BTreeMap<String, CallFile>,
    /// Nothing is kept while true.
    pub refusing: bool,
    last_seq: Option<RecordSeq>,
}

pub struct CallFile {
    pub epoch: u64,
    pub start: Option<Arc<CallStart>>,
    pub ends: Vec<Arc<Cdr>>,
    /// A record of this call was refused: what is missing is no fault of the engine.
    pub refused: bool,
}

impl Journal {
    /// Takes a record; true if a flush is to be scheduled.
    pub fn take(&mut self, record: Record) -> Result<bool, String> {
        if self.last_seq.is_some_and(|last| record.seq.0 != last.0 + 1) {
            return Err(format!("record {} follows {:?}", record.seq, self.last_seq));
        }
        self.last_seq = Some(record.seq);
        self.pending.push(record);
        Ok(self.pending.len() == 1)
    }

    /// Writes what is pending: what the engine is to be told.
    pub fn flush(&mut self, epoch: u64) -> Option<(RecordSeq, bool)> {
        let upto = self.pending.last()?.seq;
        let kept = !self.refusing;
        for record in std::mem::take(&mut self.pending) {
            self.keep(epoch, record, kept);
        }
        Some((upto, kept))
    }

    /// The process ends: the first `keep` of the pending records had reached the disk.
    pub fn crash(&mut self, epoch: u64, keep: usize) {
        for (index, record) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            self.keep(epoch, record, index < keep && !self.refusing);
        }
        self.last_seq = None;
        // What the store does with starts that have no end: they are calls the restart ended.
        for file in self.calls.values_mut().filter(|file| file.epoch == epoch && file.ends.is_empty()) {
            file.refused = true;
        }
    }

    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn keep(&mut self, epoch: u64, record: Record, kept: bool) {
        match record.body {
            RecordBody::Binding(binding) if kept => {
                let key = (binding.tenant, binding.extension.clone(), binding.key.clone());
                self.bindings.insert(key, binding);
            }
            RecordBody::Unbound { tenant, extension, key } if kept => {
                self.bindings.remove(&(tenant, extension, key));
            }
            RecordBody::Binding(_) | RecordBody::Unbound { .. } => {}
            RecordBody::CallStarted(start) => {
                let file = self.file(epoch, &start.call_id);
                file.refused |= !kept;
                file.start = Some(start);
            }
            RecordBody::CallEnded(cdr) => {
                let file = self.file(epoch, &cdr.call_id);
                file.refused |= !kept;
                file.ends.push(cdr);
            }
        }
    }

    fn file(&mut self, epoch: u64, call_id: &str) -> &mut CallFile {
        let empty = || CallFile { epoch, start: None, ends: Vec::new(), refused: false };
        self.calls.entry(call_id.to_string()).or_insert_with(empty)
    }
}
