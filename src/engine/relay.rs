//! MESSAGE outside calls (RFC 3428): carried from an authenticated extension to all contacts of another; the first 2xx is the
//! sender's answer. And what whoever sends an INFO or MESSAGE, in a call or outside, is told of the other phone's answer.

use crate::base::cause::{Cause, phrase};
use crate::base::ids::TransactionId;
use crate::base::limits;
use crate::directory::{Extension, Tenant};
use crate::engine::Engine;
use crate::engine::core::Core;
use crate::engine::flow::Flow;
use crate::engine::target;
use crate::engine::transaction::Owner;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::name::Name;
use crate::proto::sip::writer::Writer;

/// The answer of a phone to what was carried to it, or what stands for one that never came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    status: u16,
    /// What a refusal must or may say (`TELLING`), a field each.
    fields: Vec<(&'static str, Box<[u8]>)>,
}

/// Which fields of a refusal its sender can do something with, by status (RFC 3261 §21, RFC 6086 §4.2.2): the methods, types
/// and packages the phone takes, what it does not know, when to try again.
const TELLING: [(&[u16], Name); 7] = [
    (&[405], Name::Allow),
    (&[415], Name::Accept),
    (&[415], Name::AcceptEncoding),
    (&[415], Name::AcceptLanguage),
    (&[420], Name::Unsupported),
    (&[469], Name::RecvInfo),
    (&[404, 413, 480, 486, 500, 503, 600, 603], Name::RetryAfter),
];

/// A MESSAGE on its way.
pub struct Relay {
    tx: TransactionId,
    flow: Flow,
    request: Message,
    open: usize,
    best: Option<Answer>,
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
        let relay = Relay { tx, flow, request: request.clone(), open: contacts.len(), best: None };
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
    pub(super) fn relay_answered(&mut self, id: u64, answer: Answer) {
        let status = answer.status;
        if status < 200 {
            return;
        }
        let Some(relay) = self.relays.get_mut(&id) else { return };
        relay.open -= 1;
        if relay.best.as_ref().is_none_or(|best| status < best.status) {
            relay.best = Some(answer);
        }
        if status >= 300 && relay.open > 0 {
            return;
        }
        let Some(Relay { tx, flow, request, best: Some(best), .. }) = self.relays.remove(&id) else { return };
        self.core.pass_on(tx, &request, &flow, &best);
    }
}

impl Core {
    /// Answers whose request, outside a dialog of ours, went on to another phone.
    pub(super) fn pass_on(&mut self, tx: TransactionId, request: &Message, flow: &Flow, answer: &Answer) {
        let tag = self.io.rng.token::<12>();
        let (status, mut writer) = answer.write(request, flow, Some(&tag));
        writer.header("Server", &*self.io.config.software);
        self.tx.respond(&mut self.io, tx, status, writer.finish());
    }
}

impl Answer {
    pub fn of(response: &Message) -> Answer {
        let status = response.status().unwrap_or(0);
        if status < 300 {
            return Answer::bare(status);
        }
        let telling = TELLING.iter().filter(|(statuses, _)| statuses.contains(&status)).map(|(_, name)| *name);
        let fields = telling.chain([Name::Warning]).filter_map(|name| Some((name.text(), list(response, name)?)));
        Answer { status, fields: fields.collect() }
    }

    pub fn bare(status: u16) -> Answer {
        Answer { status, fields: Vec::new() }
    }

    /// The status and the answer that whose request it was gets. A challenge or a redirection is meant for us alone: without
    /// its header fields, which mean nothing to the sender, it would be malformed (RFC 3261 §20.27, §20.44).
    pub fn write(&self, request: &Message, flow: &Flow, tag: Option<&[u8]>) -> (u16, Writer) {
        let status = match self.status {
            300..=399 | 401 | 407 => Cause::of_status(self.status).status(),
            status => status,
        };
        let mut writer = Writer::reply_to(request, status, phrase(status), tag, flow.remote);
        for (name, value) in &self.fields {
            writer.header(name, value);
        }
        (status, writer)
    }
}

/// All fields of that name as one list, with as many elements as `TEXT_BYTES` has room for. An empty list says something too:
/// that nothing is accepted (RFC 3261 §20.1).
fn list(response: &Message, name: Name) -> Option<Box<[u8]>> {
    response.header(name)?;
    let mut list: Vec<u8> = Vec::new();
    for value in response.values(name).filter(|value| !value.is_empty()) {
        if list.len() + 2 + value.len() > limits::TEXT_BYTES {
            break;
        }
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(value);
    }
    Some(list.into())
}
