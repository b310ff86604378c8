//! A call's beginning: the INVITE that passed authentication becomes a call with a caller's leg and an app; and what apps
//! ask for becomes legs, answers and hang-ups.

use crate::base::cause::{Cause, phrase};
use crate::base::ids::{CallId, LegId, RecordSeq, TransactionId};
use crate::base::limits;
use crate::directory::{Extension, Tenant};
use crate::engine::Engine;
use crate::engine::app::{Action, AppEvent, Contacts, Cx, Next};
use crate::engine::call::{Call, Party};
use crate::engine::core::{Io, TimerKey};
use crate::engine::dialog::NoDialog;
use crate::engine::event::{CallState, EventBody};
use crate::engine::flow::Flow;
use crate::engine::leg::{Invite, Leg};
use crate::engine::record::{Binding, RecordBody};
use crate::engine::registrar::Registrar;
use crate::engine::target;
use crate::engine::waiting::Waiting;
use crate::proto::sdp::Sdp;
use crate::proto::sip::message::Message;
use crate::proto::sip::name::Name;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Headers of the caller that the called phones get as they are: how to ring, and pictures of the caller.
const CARRIED: [(Name, &str); 4] = [
    (Name::AlertInfo, "Alert-Info"),
    (Name::CallInfo, "Call-Info"),
    (Name::Subject, "Subject"),
    (Name::Priority, "Priority"),
];

impl Engine {
    /// Takes the INVITE of an authenticated extension: the call begins when the journal has it.
    pub(super) fn begin_call(
        &mut self,
        tx: TransactionId,
        flow: Flow,
        request: &Message,
        (tenant, caller): (&Arc<Tenant>, &Extension),
        dialled: &str,
    ) {
        let id = CallId(self.next_call);
        let leg_id = LegId(self.next_leg);
        let offer = match Leg::description_of(request) {
            Ok(offer) => offer,
            Err(415) => return self.refuse_body(tx, &flow, request),
            Err(status) => return self.core.refuse(tx, request, &flow, status),
        };
        let number = caller.number.clone();
        let mut leg = match Leg::incoming(&mut self.core, (leg_id, id), number, flow, (tx, request)) {
            Ok(leg) => leg,
            Err(NoDialog::Unreadable | NoDialog::NoContact) => return self.core.refuse(tx, request, &flow, 400),
            Err(NoDialog::TooLong) => return self.core.refuse(tx, request, &flow, 513),
        };
        self.next_call += 1;
        self.next_leg += 1;
        let party = Party {
            number: (*caller.number).into(),
            name: caller.name.clone(),
            dialled: dialled.into(),
            user_agent: text(request.header(Name::UserAgent).unwrap_or_default()),
            max_forwards: request.max_forwards().unwrap_or(70),
            sips: target::is_sips(request.request_uri()),
            carried: carried(request),
        };
        let epoch = self.core.io.config.epoch;
        let call = Call::new(self.core.io.now, id, epoch, leg_id, tenant.clone(), party);
        let record = self.announce(&call, leg_id, &flow, request);
        leg.trying(&mut self.core);
        self.legs.insert(leg_id, Box::new(leg));
        self.calls.insert(id, call);
        self.waiting.insert(record, Waiting::Call(id, offer));
    }

    /// Gives the call to the app that its number leads to, unless its caller has gone meanwhile.
    pub(super) fn start_call(&mut self, id: CallId, offer: Option<Sdp>) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.is_over()) else { return };
        let caller = call.caller;
        if let Some(leg) = self.legs.get_mut(&caller)
            && let Err(why) = leg.take_offer(&mut self.core, offer.clone())
        {
            call.explanation = Some(why.to_string().into());
            return self.finish(id, Cause::NotAcceptable);
        }
        call.app = Some((self.start_app)(&call.tenant, &call.to));
        if let Some(offer) = offer
            && !self.ensure_ports(caller, &offer)
        {
            return self.finish(id, Cause::Congestion);
        }
        self.run_app(id, AppEvent::Start);
    }

    fn announce(&mut self, call: &Call, leg: LegId, flow: &Flow, request: &Message) -> RecordSeq {
        let record = self.core.io.record(RecordBody::CallStarted(Arc::new(call.start_record())));
        self.core.io.event(EventBody::CallStarted {
            call: call.id,
            call_id: call.public.clone(),
            tenant: call.tenant.id,
            from: call.from.clone(),
            to: call.to.clone(),
        });
        self.core.io.trace_received(call.id, leg, flow, request);
        record
    }

    fn refuse_body(&mut self, tx: TransactionId, flow: &Flow, request: &Message) {
        let headers = [("Accept", "application/sdp"), ("Accept-Encoding", "identity")];
        self.core.refuse_with(tx, request, flow, 415, &headers);
    }

    /// Lets the call's app react, and does what it asks for.
    pub(super) fn run_app(&mut self, id: CallId, event: AppEvent) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.is_over()) else { return };
        let Some(mut app) = call.app.take() else {
            // The caller of a call that has not begun.
            if let AppEvent::Ended { cause, .. } = event {
                self.finish(id, cause);
            }
            return;
        };
        let tenant = call.tenant.clone();
        let (from, dialled, caller) = (call.from.clone(), call.to.clone(), call.caller);
        let sips = call.sips;
        let view = Registered { registrar: &self.registrar, io: &self.core.io, sips };
        let mut cx = Cx {
            config: &self.core.io.config,
            tenant: &tenant,
            from: &from,
            dialled: &dialled,
            caller,
            sips,
            contacts: &view,
            next_leg: &mut self.next_leg,
            actions: Vec::new(),
        };
        let next = catch_unwind(AssertUnwindSafe(|| app.on(&mut cx, &event)));
        let actions = std::mem::take(&mut cx.actions);
        let Ok(next) = next else {
            self.core.io.decide(id, format!("defect: the app ({event:?}) failed; the call ends"));
            return self.finish(id, Cause::Internal);
        };
        if let Some(call) = self.calls.get_mut(&id) {
            call.app = Some(app);
        }
        for action in actions {
            self.act(id, action);
        }
        match next {
            Next::Stay => {}
            Next::Become(app) => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.app = Some(app);
                }
                self.run_app(id, AppEvent::Start);
            }
            Next::Finish(cause) => self.finish(id, cause),
        }
    }

    fn act(&mut self, id: CallId, action: Action) {
        match action {
            Action::Dial { leg, binding } => self.dial(id, leg, &binding),
            Action::Progress { status, heard } => self.progress(id, status, heard),
            Action::Connect { leg } => self.connect(id, leg),
            Action::Drop { leg, cause } => self.drop_leg(leg, cause),
            Action::Timer { tag, after } => {
                let timer = self.core.io.timers.set(self.core.io.now.mono + after, TimerKey::App(id, tag));
                if let Some(call) = self.calls.get_mut(&id) {
                    call.timers.push((tag, timer));
                }
            }
            Action::StopTimer { tag } => self.stop_app_timer(id, tag),
            Action::Decide(text) => self.core.io.decide(id, text),
            Action::Explain(text) => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.explanation = Some(text);
                }
            }
        }
    }

    fn stop_app_timer(&mut self, id: CallId, tag: u32) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let timers = &mut self.core.io.timers;
        call.timers.retain(|(other, timer)| {
            let stop = *other == tag;
            if stop {
                timers.cancel(*timer);
            }
            !stop
        });
    }

    /// Calls a contact with the caller's offer, anchored on a port of ours.
    fn dial(&mut self, id: CallId, leg_id: LegId, binding: &Binding) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.legs.push(leg_id);
        let caller = call.caller;
        let domain = domain(&call.tenant, &self.core.io, &binding.flow);
        let mut invite = Invite {
            uri: binding.uri.clone(),
            routes: binding.path.clone(),
            from_name: call.from_name.clone(),
            from: (*call.from).into(),
            domain,
            to: (*call.to).into(),
            max_forwards: call.max_forwards.saturating_sub(1),
            call_id: text(&self.core.io.rng.token::<24>()),
            tag: self.core.io.rng.token::<12>(),
            sdp: None,
            headers: call.carried.clone(),
        };
        let leg = Leg::outgoing(&mut self.core, (leg_id, id), binding.extension.clone(), binding.flow);
        self.legs.insert(leg_id, Box::new(leg));
        let offer = self.legs.get(&caller).and_then(|leg| leg.sdp.remote().cloned());
        let ports = match &offer {
            Some(offer) => self.ensure_ports(leg_id, offer),
            None => self.take_ports(leg_id, 1),
        };
        let Some(leg) = self.legs.get_mut(&leg_id) else { return };
        if !ports {
            return leg.never_sent(&mut self.core, Cause::Congestion);
        }
        if let Some(offer) = offer {
            let addresses = leg.media_addresses(&self.core);
            invite.sdp = Some(leg.sdp.offer(&offer, &addresses));
        }
        leg.invite(&mut self.core, invite);
    }

    fn progress(&mut self, id: CallId, status: u16, heard: Option<LegId>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let caller = call.caller;
        if call.state == CallState::Calling {
            call.state = CallState::Ringing;
            self.core.io.event(EventBody::CallState { call: id, state: CallState::Ringing });
        }
        let mut sdp = None;
        if let Some(heard) = heard.filter(|_| !self.legs.get(&caller).is_some_and(|leg| leg.wants_offer())) {
            sdp = self.answer_for_caller(caller, heard);
            if let Some(call) = self.calls.get_mut(&id) {
                call.pair = Some((caller, heard));
            }
            self.rewire(id);
        }
        if let Some(leg) = self.legs.get_mut(&caller) {
            leg.progress(&mut self.core, status, sdp);
        }
    }

    /// Answers the caller and bridges it with the leg that answered.
    fn connect(&mut self, id: CallId, leg: LegId) {
        let Some(caller) = self.calls.get(&id).map(|call| call.caller) else { return };
        let late = self.legs.get(&caller).is_some_and(|leg| leg.wants_offer());
        let sdp = if late { self.offer_for_caller(caller, leg) } else { self.answer_for_caller(caller, leg) };
        let Some(sdp) = sdp else {
            let why = "the caller and the called phone have no codec in common";
            self.core.io.decide(id, why);
            if let Some(call) = self.calls.get_mut(&id) {
                call.explanation = Some(why.into());
            }
            return self.finish(id, Cause::NotAcceptable);
        };
        let fits = late || self.answer_fits(caller, leg);
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.pair = Some((caller, leg));
        call.bridged = true;
        call.state = CallState::Connected;
        call.reoffer_due = !fits;
        call.mark_answered(self.core.io.now);
        self.core.io.event(EventBody::CallState { call: id, state: CallState::Connected });
        if let Some(caller) = self.legs.get_mut(&caller) {
            caller.answer(&mut self.core, Some(sdp));
        }
        self.offer_what_changed(caller, leg);
        self.rewire(id);
    }

    fn offer_for_caller(&mut self, caller: LegId, from: LegId) -> Option<bytes::Bytes> {
        let offer = self.legs.get(&from)?.sdp.remote()?.clone();
        if !self.ensure_ports(caller, &offer) || !self.ensure_ports(from, &offer) {
            return None;
        }
        let caller = self.legs.get_mut(&caller)?;
        let addresses = caller.media_addresses(&self.core);
        Some(caller.sdp.offer(&offer, &addresses))
    }

    /// Ends a call: everybody still there is told why.
    pub(super) fn finish(&mut self, id: CallId, cause: Cause) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.is_over()) else { return };
        let mut cause = cause;
        if self.legs.get(&call.caller).is_some_and(|leg| leg.answer_waits()) {
            call.take_back_answer();
            if cause == Cause::Normal {
                cause = Cause::NoAnswer;
            }
        }
        call.mark_ended(self.core.io.now, cause);
        call.app = None;
        let legs = call.legs.clone();
        let explanation = call.explanation.take();
        for (_, timer) in call.timers.drain(..) {
            self.core.io.timers.cancel(timer);
        }
        self.core.io.decide(id, format!("ends: {} ({} {})", cause.text(), cause.status(), phrase(cause.status())));
        for leg in legs {
            self.release_ports(leg);
            let Some(leg) = self.legs.get_mut(&leg) else { continue };
            match &explanation {
                Some(text) if !leg.is_uac => {
                    let reason = format!("SIP;cause={};text=\"{}\"", cause.status(), text.replace('"', "'"));
                    leg.reject_with(&mut self.core, cause.status(), ("Reason", &reason));
                }
                _ => leg.hang_up(&mut self.core, cause),
            }
        }
        self.core.io.timers.set(self.core.io.now.mono + super::SETTLE, TimerKey::Settle(id));
        self.settle(id, false);
    }
}

/// The registrar as apps see it.
struct Registered<'a> {
    registrar: &'a Registrar,
    io: &'a Io,
    /// Only contacts on TLS count.
    sips: bool,
}

impl Contacts for Registered<'_> {
    fn contacts(&self, tenant: &Tenant, extension: &str) -> Vec<Arc<Binding>> {
        let contacts = self.registrar.contacts(tenant.id, extension, self.io.now);
        contacts.filter(|binding| !self.sips || binding.flow.transport.is_secure()).cloned().collect()
    }

    fn awaiting(&self, tenant: &Tenant, extension: &str) -> usize {
        let awaiting = self.registrar.awaiting(tenant.id, extension);
        awaiting.filter(|binding| !self.sips || binding.flow.transport.is_secure()).count()
    }
}

/// The host of our From, To and P-Asserted-Identity: the tenant's domain, or our address on that flow.
pub(super) fn domain(tenant: &Tenant, io: &Io, flow: &Flow) -> Box<str> {
    match tenant.domains.first() {
        Some(domain) => domain.clone(),
        None => match io.our_address(flow).ip() {
            std::net::IpAddr::V4(ip) => ip.to_string().into(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]").into(),
        },
    }
}

/// A name-addr with a quoted display name.
pub fn identity(name: &str, number: &str, domain: &str) -> String {
    if name.is_empty() {
        return format!("<sip:{number}@{domain}>");
    }
    let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{quoted}\" <sip:{number}@{domain}>")
}

fn carried(request: &Message) -> Vec<(&'static str, Box<str>)> {
    let found = |(name, text): (Name, &'static str)| Some((text, self::text(request.header(name)?)));
    CARRIED.into_iter().filter_map(found).collect()
}

/// At most `TEXT_BYTES` of a header as text.
fn text(value: &[u8]) -> Box<str> {
    let text = String::from_utf8_lossy(value);
    let mut end = text.len().min(limits::TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}
