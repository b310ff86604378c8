//! The door: what a received message must pass before it reaches a leg, the registrar or a new call. Malformed requests are
//! answered once, others are challenged; only ACK, CANCEL and requests on a dialog's own flow go in without credentials
//! (CONTRACTS: "SIP: every request from outside is authenticated").

use super::Engine;
use super::auth::{Verdict, Why};
use super::waiting::{Registration, Waiting};
use crate::base::cause::Cause;
use crate::base::ids::{ConnectionId, LegId, RecordSeq, TenantId, TransactionId};
use crate::base::mutant::{self, Mutant};
use crate::base::now::Micros;
use crate::directory::{Directory, Extension, Tenant};
use crate::engine::dialog::DialogKey;
use crate::engine::event::EventBody;
use crate::engine::flow::{Flow, Transport};
use crate::engine::io::{Output, Suspect, Suspicion};
use crate::engine::leg::{ALLOW, Leg, say_goodbye};
use crate::engine::record::{Binding, RecordBody};
use crate::engine::target;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::name::Name;
use crate::proto::sip::uri::{Scheme, Uri};
use std::sync::Arc;

/// Option tags we know, for Require (RFC 3261 §8.2.2.3). Only what we do: who requires `replaces` or `outbound` counts on
/// it, and is better told than answered as if it had asked for something else.
const KNOWN_OPTIONS: [&str; 3] = ["100rel", "timer", "path"];

impl Engine {
    pub(super) fn on_sip(&mut self, flow: Flow, message: Message) {
        let flow = where_it_listens(flow, &message);
        if let Err(invalid) = message.validate() {
            return self.refuse_invalid(&flow, &message, &invalid);
        }
        let happening = self.core.tx.receive(&mut self.core.io, flow, message);
        self.on_happening(happening);
    }

    /// A request we can't work with gets its 4xx without a transaction; a response is dropped.
    fn refuse_invalid(&mut self, flow: &Flow, message: &Message, invalid: &crate::proto::sip::validate::Invalid) {
        if !message.is_request() || message.method() == Method::Ack || !invalid.answerable {
            return;
        }
        let tag = self.core.io.rng.token::<12>();
        let mut writer = crate::proto::sip::writer::Writer::reply_to(
            message,
            invalid.status,
            invalid.phrase,
            Some(&tag),
            flow.remote,
        );
        let bytes = writer.finish();
        self.core.io.out.push(Output::Send { flow: *flow, bytes, key: None });
        self.suspect(flow, Suspicion::Malformed);
    }

    fn suspect(&mut self, flow: &Flow, what: Suspicion) {
        self.core.io.out.push(Output::Suspect(Suspect { from: flow.remote.ip(), what }));
    }

    pub(super) fn on_request(&mut self, tx: TransactionId, flow: Flow, request: &Message) {
        let to_tag = request.to().ok().and_then(|to| to.tag());
        if to_tag.is_some_and(|tag| !tag.is_empty()) {
            return self.on_dialog_request(tx, flow, request);
        }
        if let Some(status) = self.unacceptable(tx, flow, request) {
            return self.core.refuse(tx, request, &flow, status);
        }
        if !self.core.tx.is_open(tx) {
            return;
        }
        match request.method() {
            Method::Register => self.on_register(tx, flow, request),
            Method::Invite => self.on_invite(tx, flow, request),
            Method::Options => self.on_options(tx, &flow, request),
            Method::Message => self.on_message(tx, flow, request),
            Method::Bye | Method::Update | Method::Prack | Method::Info => {
                self.core.refuse(tx, request, &flow, 481);
            }
            Method::Refer | Method::Subscribe | Method::Notify | Method::Publish => {
                self.on_later_feature(tx, flow, request);
            }
            _ => self.core.refuse_with(tx, request, &flow, 405, &[("Allow", ALLOW)]),
        }
    }

    /// What every request outside a dialog must satisfy, in the order of RFC 3261 §8.2: the status it is refused with.
    /// Answers 420 itself.
    fn unacceptable(&mut self, tx: TransactionId, flow: Flow, request: &Message) -> Option<u16> {
        if matches!(request.method(), Method::Other(_)) {
            // It is refused for its method, whatever else is wrong with it.
            return None;
        }
        if !matches!(request.method(), Method::Options) && request.max_forwards() == Some(0) {
            return Some(483);
        }
        let scheme = Uri::parse(request.request_uri()).map(|uri| uri.scheme);
        match scheme {
            Ok(Scheme::Sips) if !flow.transport.is_secure() => return Some(416),
            Ok(Scheme::Sip | Scheme::Sips | Scheme::Tel) => {}
            Ok(_) => return Some(416),
            Err(_) => return Some(400),
        }
        if let Some(unknown) = unknown_options(request) {
            self.core.refuse_with(tx, request, &flow, 420, &[("Unsupported", &unknown)]);
        }
        None
    }

    /// The tenant and extension behind a request's credentials; otherwise it has been challenged or refused.
    fn authenticate(
        &mut self,
        tx: TransactionId,
        flow: &Flow,
        request: &Message,
    ) -> Option<(Arc<Tenant>, Arc<Extension>)> {
        let id = target::tenant(&self.directory, &self.core.io.config, flow.listener, request);
        let Some(tenant) = self.directory.tenant(id).cloned() else {
            self.core.refuse(tx, request, flow, 404);
            return None;
        };
        let extension = self.check_credentials(tx, flow, request, &tenant)?;
        Some((tenant, extension))
    }

    fn check_credentials(
        &mut self,
        tx: TransactionId,
        flow: &Flow,
        request: &Message,
        tenant: &Arc<Tenant>,
    ) -> Option<Arc<Extension>> {
        let stale = match self.auth.check(self.core.io.now, request, flow, tenant) {
            Verdict::Ok(extension) => return Some(extension),
            Verdict::Challenge { stale, why } => {
                if matches!(why, Why::UnknownUser | Why::WrongPassword)
                    && let Some(user) = self.auth.claimed(request, tenant)
                {
                    self.suspect(flow, Suspicion::LogIn { user });
                }
                stale
            }
            Verdict::Malformed => {
                self.suspect(flow, Suspicion::Malformed);
                self.core.refuse(tx, request, flow, 400);
                return None;
            }
        };
        let tag = self.core.io.rng.token::<12>();
        let mut writer = self.core.reply(request, flow, 401, Some(&tag));
        self.auth.challenge(self.core.io.now, flow, request, &tenant.realm, stale, &mut writer);
        writer.header("Server", &*self.core.io.config.software);
        let bytes = writer.finish();
        if request.method() == Method::Invite {
            self.core.tx.respond(&mut self.core.io, tx, 401, bytes);
        } else {
            self.core.tx.respond_statelessly(&mut self.core.io, tx, bytes);
        }
        None
    }

    fn on_invite(&mut self, tx: TransactionId, flow: Flow, request: &Message) {
        if let Some(cause) = self.closed_for_calls() {
            self.core.io.event(EventBody::Refused { tenant: self.listener_tenant(&flow), cause });
            return self.core.shed(tx, request, &flow, cause);
        }
        let Some((tenant, caller)) = self.authenticate(tx, &flow, request) else { return };
        if Leg::interval_too_small(&self.core, request) {
            let min_se = self.core.io.config.session.min_se.to_string();
            return self.core.refuse_with(tx, request, &flow, 422, &[("Min-SE", &min_se)]);
        }
        let Some(dialled) = target::number_of_uri(request.request_uri()) else {
            return self.core.refuse(tx, request, &flow, 484);
        };
        self.begin_call(tx, flow, request, (&tenant, &caller), &dialled);
    }

    /// Why no new call is taken now.
    fn closed_for_calls(&self) -> Option<Cause> {
        if self.draining {
            return Some(Cause::Draining);
        }
        if self.records_refused {
            return Some(Cause::NoRecords);
        }
        let full = self.calls.len() >= self.core.io.config.limits.calls || self.core.tx.full();
        full.then_some(Cause::Congestion)
    }

    fn listener_tenant(&self, flow: &Flow) -> TenantId {
        let listener = self.core.io.config.listeners.get(usize::from(flow.listener.0));
        listener.map_or(TenantId(1), |listener| listener.tenant)
    }

    fn on_options(&mut self, tx: TransactionId, flow: &Flow, request: &Message) {
        let headers = [
            ("Allow", ALLOW),
            ("Accept", "application/sdp"),
            ("Accept-Encoding", "identity"),
            ("Supported", "100rel, timer, path"),
        ];
        self.core.refuse_with(tx, request, flow, 200, &headers);
    }

    fn on_message(&mut self, tx: TransactionId, flow: Flow, request: &Message) {
        if self.core.tx.full() {
            return self.core.shed(tx, request, &flow, Cause::Congestion);
        }
        let Some((tenant, sender)) = self.authenticate(tx, &flow, request) else { return };
        match target::number_of_uri(request.request_uri()) {
            Some(number) => self.relay_message(tx, flow, request, (&tenant, &sender), &number),
            None => self.core.refuse(tx, request, &flow, 484),
        }
    }

    fn on_later_feature(&mut self, tx: TransactionId, flow: Flow, request: &Message) {
        if self.authenticate(tx, &flow, request).is_none() {
            return;
        }
        let method = request.method().as_str();
        let reason = format!("SIP;cause=501;text=\"{method} is not available in this version\"");
        self.core.refuse_with(tx, request, &flow, 501, &[("Reason", &reason)]);
    }

    /// A request inside a dialog: on the dialog's flow as it is, from elsewhere only with the credentials of the leg's
    /// extension.
    fn on_dialog_request(&mut self, tx: TransactionId, flow: Flow, request: &Message) {
        let Some(id) = self.leg_of_dialog(request) else {
            return self.core.refuse(tx, request, &flow, 481);
        };
        let Some(leg) = self.legs.get(&id) else { return };
        let (call, own_flow, number) = (leg.call, leg.flow, leg.number.clone());
        if !same_path(&own_flow, &flow) {
            let Some(tenant) = self.calls.get(&call).map(|call| call.tenant.clone()) else { return };
            let Some(extension) = self.check_credentials(tx, &flow, request, &tenant) else { return };
            if extension.number != number {
                return self.core.refuse(tx, request, &flow, 403);
            }
        }
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.flow = flow;
            self.core.io.trace_received(call, id, &flow, request);
            self.core.tx.own(tx, super::Owner::Leg(id));
            leg.on_request(&mut self.core, tx, request);
        }
    }

    pub(super) fn on_ack(&mut self, flow: Flow, ack: &Message) {
        let Some(id) = self.leg_of_dialog(ack) else { return };
        if let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.flow.remote.ip() == flow.remote.ip()) {
            self.core.io.trace_received(leg.call, id, &flow, ack);
            leg.on_ack(&mut self.core, ack);
        }
    }

    fn leg_of_dialog(&self, request: &Message) -> Option<LegId> {
        let key = DialogKey {
            call_id: request.call_id().into(),
            local: request.to().ok()?.tag()?.into(),
            remote: request.from().ok()?.tag().unwrap_or_default().into(),
        };
        self.core.dialogs.get(&key).copied()
    }

    /// A 2xx to an INVITE whose leg is gone: its sender believes in a call that nobody wants.
    pub(super) fn on_orphan(&mut self, tx: TransactionId, response: &Message, flow: &Flow) {
        let is_2xx = response.status().is_some_and(|status| (200..300).contains(&status));
        if !is_2xx || !response.cseq().is_ok_and(|cseq| cseq.method == Method::Invite) {
            return;
        }
        let called = response.to().map(|to| to.uri.raw).unwrap_or_default();
        if let Ok(stray) = crate::engine::dialog::Dialog::of_response(response, called) {
            say_goodbye(&mut self.core, *flow, stray, tx);
        }
    }

    /// A 2xx to an INVITE whose transaction has ended: the leg may have given that INVITE up.
    pub(super) fn on_stray(&mut self, flow: &Flow, response: &Message) {
        let (Ok(from), Ok(to)) = (response.from(), response.to()) else { return };
        let key = DialogKey {
            call_id: response.call_id().into(),
            local: from.tag().unwrap_or_default().into(),
            remote: to.tag().unwrap_or_default().into(),
        };
        let Some(id) = self.core.dialogs.get(&key).copied() else { return };
        if let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.flow.remote.ip() == flow.remote.ip()) {
            self.core.io.trace_received(leg.call, id, flow, response);
            leg.on_stray_2xx(&mut self.core, response);
        }
    }

    fn on_register(&mut self, tx: TransactionId, flow: Flow, request: &Message) {
        if self.core.tx.full() {
            return self.core.shed(tx, request, &flow, Cause::Congestion);
        }
        let Some((tenant, extension)) = self.authenticate(tx, &flow, request) else { return };
        let aor = request.to().ok().and_then(|to| target::number(&to.uri));
        if aor.as_deref() != Some(&*extension.number) {
            return self.core.refuse(tx, request, &flow, 403);
        }
        let now = self.core.io.now;
        match self.registrar.register(now, tenant.id, &extension.number, request, flow) {
            Err(refused) => {
                let headers: Vec<(&str, &str)> = refused.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
                self.core.refuse_as(tx, request, &flow, (refused.status, refused.phrase), &headers);
                if let Some(text) = refused.notice {
                    self.core.io.event(EventBody::Notice { tenant: tenant.id, text });
                }
            }
            Ok(change) if change.records().is_empty() => {
                self.answer_register(tx, &flow, request, &tenant, &extension.number);
            }
            Ok(change) => {
                let mut last = RecordSeq(0);
                for record in change.records() {
                    last = self.core.io.record(record.clone());
                }
                let extension = extension.number.clone();
                if mutant::on(Mutant::RegisteredTooSoon) {
                    self.answer_register(tx, &flow, request, &tenant, &extension);
                }
                let waiting = Registration { tx, flow, request: request.clone(), tenant, extension, change };
                self.waiting.insert(last, Waiting::Registration(waiting));
            }
        }
    }

    pub(super) fn answer_register(
        &mut self,
        tx: TransactionId,
        flow: &Flow,
        request: &Message,
        tenant: &Tenant,
        extension: &str,
    ) {
        let tag = self.core.io.rng.token::<12>();
        let mut writer = self.core.reply(request, flow, 200, Some(&tag));
        self.registrar.write_answer(self.core.io.now, tenant.id, extension, request, &mut writer);
        writer.header("Server", &*self.core.io.config.software);
        self.core.tx.respond(&mut self.core.io, tx, 200, writer.finish());
    }

    pub(super) fn show_contacts(&mut self, tenant: &Tenant, extension: &str) {
        let contacts = self.registrar.contacts(tenant.id, extension, self.core.io.now).count();
        let (tenant, extension) = (tenant.id, extension.into());
        self.core.io.event(if contacts > 0 {
            EventBody::Registered { tenant, extension, contacts }
        } else {
            EventBody::Unregistered { tenant, extension, contacts }
        });
    }

    pub(super) fn registrar_deadline(&self) -> Option<Micros> {
        self.registrar.next_expiry()
    }

    pub(super) fn expire_bindings(&mut self) {
        let gone = self.registrar.expire(self.core.io.now);
        self.bindings_gone(gone);
    }

    /// A connection ended: its contacts go, and the calls over it.
    pub(super) fn on_flow_closed(&mut self, connection: ConnectionId) {
        let gone = self.registrar.flow_closed(connection);
        self.bindings_gone(gone);
        let legs: Vec<LegId> = self.calls.values().flat_map(|call| call.legs.iter().copied()).collect();
        for id in legs {
            if let Some(leg) = self.legs.get_mut(&id).filter(|leg| leg.flow.connection == Some(connection)) {
                leg.on_flow_closed(&mut self.core);
            }
        }
    }

    pub(super) fn on_restore(&mut self, bindings: Vec<Arc<Binding>>) {
        self.registrar.restore(bindings, self.core.io.now);
        let bound: Vec<(TenantId, Box<str>)> =
            self.registrar.bound_extensions().map(|(tenant, extension)| (tenant, extension.into())).collect();
        for (tenant, extension) in bound {
            let contacts = self.registrar.contacts(tenant, &extension, self.core.io.now).count();
            // One whose phones have yet to connect again can't be called.
            if contacts > 0 {
                self.core.io.event(EventBody::Registered { tenant, extension, contacts });
            }
        }
    }

    /// Extensions that are gone or have another secret lose their bindings at once.
    pub(super) fn on_directory(&mut self, directory: Arc<Directory>) {
        let old = std::mem::replace(&mut self.directory, directory);
        let find = |directory: &Directory, tenant, number: &str| {
            directory
                .tenant(tenant)
                .and_then(|tenant| tenant.extension(number))
                .map(|extension| extension.secret.clone())
        };
        let changed: Vec<(TenantId, Box<str>)> = self
            .registrar
            .bound_extensions()
            .filter(|(tenant, number)| {
                let new = find(&self.directory, *tenant, number);
                new.is_none() || new != find(&old, *tenant, number)
            })
            .map(|(tenant, number)| (tenant, number.into()))
            .collect();
        for (tenant, number) in changed {
            let records = self.registrar.remove_extension(tenant, &number);
            let gone = records.into_iter().map(|record| (tenant, number.clone(), record)).collect();
            self.bindings_gone(gone);
        }
    }

    fn bindings_gone(&mut self, gone: Vec<(TenantId, Box<str>, RecordBody)>) {
        for (tenant, extension, record) in gone {
            self.core.io.record(record);
            let contacts = self.registrar.contacts(tenant, &extension, self.core.io.now).count();
            self.core.io.event(EventBody::Unregistered { tenant, extension, contacts });
        }
    }
}

/// A phone that may speak from one UDP port and listen at another says so by naming the other in its Via and not asking for
/// `rport` (RFC 3261 §18.2.2, RFC 3581 §4): everything for it goes there. A Via with another host than we see was written
/// behind NAT, where only the port it spoke from is open.
fn where_it_listens(mut flow: Flow, message: &Message) -> Flow {
    if flow.transport == Transport::Udp
        && message.is_request()
        && let Ok(via) = message.via()
        && via.rport.is_none()
        && via.host.ip() == Some(flow.remote.ip())
        && via.port != Some(0)
    {
        flow.remote.set_port(via.port.unwrap_or(5060));
    }
    flow
}

/// The options a request requires that we don't know, as Unsupported names them.
pub(super) fn unknown_options(request: &Message) -> Option<String> {
    let wanted = request.values(Name::Require).chain(request.values(Name::ProxyRequire));
    let known = |tag: &[u8]| KNOWN_OPTIONS.iter().any(|known| tag.eq_ignore_ascii_case(known.as_bytes()));
    let unknown: Vec<String> =
        wanted.filter(|tag| !known(tag)).map(|tag| String::from_utf8_lossy(tag).into_owned()).collect();
    (!unknown.is_empty()).then(|| unknown.join(", "))
}

/// Whether a message came the way the dialog's messages come.
fn same_path(dialog: &Flow, message: &Flow) -> bool {
    dialog.remote == message.remote && dialog.connection == message.connection && dialog.transport == message.transport
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::ListenerId;

    /// The port answers go to, for a request from 192.0.2.7:3072 with that Via.
    fn answered_at(transport: Transport, via: &str) -> u16 {
        let local = [192, 0, 2, 1].into();
        let remote = ([192, 0, 2, 7], 3072).into();
        let flow = Flow { listener: ListenerId(0), transport, local, remote, connection: None };
        let text = format!("OPTIONS sip:a SIP/2.0\r\nVia: {via}\r\n\r\n");
        let message = Message::parse(text.into()).unwrap();
        where_it_listens(flow, &message).remote.port()
    }

    #[test]
    fn a_phone_hears_where_its_via_says_unless_it_asks_for_rport_or_stands_behind_nat() {
        let port = |via| answered_at(Transport::Udp, via);
        assert_eq!(port("SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK1"), 5062);
        assert_eq!(port("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1"), 5060);
        assert_eq!(port("SIP/2.0/UDP 192.0.2.7:5062;rport;branch=z9hG4bK1"), 3072);
        assert_eq!(port("SIP/2.0/UDP 10.0.0.7:5062;branch=z9hG4bK1"), 3072);
        assert_eq!(port("SIP/2.0/UDP phone.example:5062;branch=z9hG4bK1"), 3072);
        assert_eq!(port("SIP/2.0/UDP 192.0.2.7:0;branch=z9hG4bK1"), 3072);
        assert_eq!(answered_at(Transport::Tcp, "SIP/2.0/TCP 192.0.2.7:5062;branch=z9hG4bK1"), 3072);
    }
}
