//! What waits for the journal: nobody is told of a registration, nor hears more of a call than 100 Trying, before the disk
//! would remember it after the death of the process.

use super::Engine;
use crate::base::cause::Cause;
use crate::base::ids::{CallId, RecordSeq, TransactionId};
use crate::directory::Tenant;
use crate::engine::flow::Flow;
use crate::engine::registrar::Change;
use crate::proto::sdp::Sdp;
use crate::proto::sip::message::Message;
use std::sync::Arc;

pub(super) enum Waiting {
    Registration(Registration),
    /// A call and what its caller offers.
    Call(CallId, Option<Sdp>),
}

/// A REGISTER whose answer waits.
pub(super) struct Registration {
    pub tx: TransactionId,
    pub flow: Flow,
    pub request: Message,
    pub tenant: Arc<Tenant>,
    pub extension: Box<str>,
    pub change: Change,
}

impl Engine {
    /// The journal has spoken about every record up to `upto`.
    pub(super) fn on_recorded(&mut self, upto: RecordSeq, kept: bool) {
        while let Some(entry) = self.waiting.first_entry().filter(|entry| *entry.key() <= upto) {
            match entry.remove() {
                Waiting::Registration(registration) if kept => self.registered(registration),
                Waiting::Registration(Registration { tx, flow, request, change, .. }) => {
                    self.registrar.rollback(change);
                    self.core.shed(tx, &request, &flow, Cause::NoRecords);
                }
                Waiting::Call(call, offer) if kept => self.start_call(call, offer),
                Waiting::Call(call, _) => self.finish(call, Cause::NoRecords),
            }
            // In the order of the records: what a call's beginning said is heard before the next begins.
            self.listen_to_legs();
        }
    }

    fn registered(&mut self, registration: Registration) {
        let Registration { tx, flow, request, tenant, extension, change } = registration;
        self.registrar.commit(change);
        if !self.still_known(&tenant, &extension) {
            return self.core.refuse(tx, &request, &flow, 403);
        }
        self.answer_register(tx, &flow, &request, &tenant, &extension);
        self.show_contacts(&tenant, &extension);
    }

    /// Whether an extension is what it was when its REGISTER was authenticated: it may have been deleted or have got
    /// another password while the journal wrote.
    fn still_known(&self, then: &Tenant, number: &str) -> bool {
        let now = self.directory.tenant(then.id).and_then(|tenant| tenant.extension(number));
        match (now, then.extension(number)) {
            (Some(now), Some(then)) => now.secret == then.secret,
            _ => false,
        }
    }
}
