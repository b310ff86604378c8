//! MESSAGE outside calls (RFC 3428): carried from an authenticated extension to all contacts of another; the first 2xx is the
//! sender's answer.

use crate::base::cause::Cause;
use crate::base::ids::TransactionId;
use crate::base::limits;
use crate::directory::{Extension, Tenant};
use crate::engine::Engine;
use crate::engine::flow::Flow;
use crate::engine::target;
use crate::engine::transaction::Owner;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::name::Name;

/// A MESSAGE on its way.
pub struct Relay {
    tx: TransactionId,
    flow: Flow,
    request: Message,
    open: usize,
    best: u16,
}

impl Engine {
    pub(super) fn relay_message(
        &mut self,
        tx: TransactionId,
        flow: Flow,
        request: &Message,
        (tenant, sender): (&Tenant, &Extension),
        to: &str,
    ) {
        if request.body_slice().len() > limits::BODY_BYTES {
            return self.core.refuse(tx, request, &flow, 413);
        }
        if tenant.extension(to).is_none() {
            return self.core.refuse(tx, request, &flow, Cause::UnknownNumber.status());
        }
        let contacts = self.registrar.contacts(tenant.id, to, self.core.io.now);
        let sips = target::is_sips(request.request_uri());
        let contacts = contacts.filter(|binding| !sips || binding.flow.transport.is_secure());
        let contacts: Vec<_> = contacts.take(limits::FORK).cloned().collect();
        if contacts.is_empty() {
            return self.core.refuse(tx, request, &flow, Cause::NotRegistered.status());
        }
        let id = self.next_relay;
        self.next_relay += 1;
        self.core.tx.own(tx, Owner::Relay(id));
        let relay = Relay { tx, flow, request: request.clone(), open: contacts.len(), best: 0 };
        self.relays.insert(id, relay);
        for binding in contacts {
            self.send_message(id, request, tenant, sender, to, &binding);
        }
    }

    fn send_message(
        &mut self,
        id: u64,
        request: &Message,
        tenant: &Tenant,
        sender: &Extension,
        to: &str,
        binding: &crate::engine::record::Binding,
    ) {
        let core = &mut self.core;
        let flow = binding.flow;
        let hops = request.max_forwards().unwrap_or(70).saturating_sub(1);
        let mut draft = core.tx.draft(&mut core.io, &flow, Method::Message, binding.uri.as_bytes(), hops);
        let domain = super::invite::domain(tenant, &core.io, &flow);
        let tag = core.io.rng.token::<12>();
        let tag = std::str::from_utf8(&tag).unwrap_or_default();
        let call_id = core.io.rng.token::<24>();
        let identity = super::invite::identity(&sender.name, &sender.number, &domain);
        let writer = &mut draft.writer;
        for route in &binding.path {
            writer.header("Route", route.as_bytes());
        }
        writer.header_fmt("From", format_args!("{identity};tag={tag}"));
        writer.header_fmt("To", format_args!("<sip:{to}@{domain}>"));
        writer.header("Call-ID", call_id);
        writer.header("CSeq", "1 MESSAGE");
        writer.header("P-Asserted-Identity", identity.as_bytes());
        writer.header("User-Agent", &*core.io.config.software);
        let (ids, mut writer) = draft.split();
        let kind = request.header(Name::ContentType).and_then(|kind| std::str::from_utf8(kind).ok());
        let bytes = match kind {
            Some(kind) => writer.body(kind, request.body_slice()),
            None => writer.finish(),
        };
        core.tx.start(&mut core.io, flow, ids, false, Owner::Relay(id), bytes);
    }

    /// One contact has answered, or never will.
    pub(super) fn relay_answered(&mut self, id: u64, status: u16) {
        if status < 200 {
            return;
        }
        let Some(relay) = self.relays.get_mut(&id) else { return };
        relay.open -= 1;
        if relay.best == 0 || status < relay.best {
            relay.best = status;
        }
        if status >= 300 && relay.open > 0 {
            return;
        }
        let Some(relay) = self.relays.remove(&id) else { return };
        self.core.refuse(relay.tx, &relay.request, &relay.flow, passed_on(relay.best));
    }
}

/// The answer to whose request went on to another phone. A challenge or a redirection is meant for us alone: without its
/// header fields, which mean nothing to the sender, it would be malformed (RFC 3261 §20.27, §20.44).
pub(super) fn passed_on(status: u16) -> u16 {
    match status {
        300..=399 | 401 | 407 => Cause::of_status(status).status(),
        _ => status,
    }
}
