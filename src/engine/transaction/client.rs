//! Client transactions: RFC 3261 §17.1, RFC 6026 §7.2. A branch carries the transaction's number and a random part: the
//! number finds it, the random part keeps others from answering in its place.

use super::{Happening, Owner, Transactions, send};
use crate::base::cause::Cause;
use crate::base::ids::TransactionId;
use crate::base::limits;
use crate::base::mutant::{self, Mutant};
use crate::base::now::Micros;
use crate::base::timers::{Lane, TimerId};
use crate::engine::core::{Io, TimerKey};
use crate::engine::flow::Flow;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::name::Name;
use crate::proto::sip::uri::Uri;
use crate::proto::sip::writer::Writer;
use bytes::Bytes;
use memchr::memmem;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Calling or Trying: nothing has come back.
    Calling,
    Proceeding,
    Completed,
    Accepted,
}

pub(super) struct Client {
    owner: Owner,
    flow: Flow,
    invite: bool,
    state: State,
    /// The random half of the branch.
    secret: [u8; 12],
    /// Empty once nothing will be made of it.
    request: Bytes,
    /// Whether the request was sent within a dialog; known once it was answered 2xx.
    in_dialog: bool,
    /// The ACK of a non-2xx final response.
    ack: Option<Bytes>,
    /// The ACKs of its 2xx responses, by their To tags: a repeated 2xx gets its ACK even when its leg is gone.
    answers: Vec<(Box<[u8]>, Bytes)>,
    /// Branches of the fork that lost, by their To tags, with the last CSeq of our PRACKs: one that answers all the same
    /// gets its BYE after those, even when the leg is gone.
    losers: Vec<(Box<[u8]>, u32)>,
    /// The CANCEL of this INVITE, which shares its branch.
    cancel: Option<TransactionId>,
    interval: Duration,
    again: Option<TimerId>,
    until: Option<Micros>,
}

/// A request about to be sent: the Via is written, the rest is the caller's.
pub struct Draft {
    pub id: TransactionId,
    secret: [u8; 12],
    pub writer: Writer,
}

const COOKIE: &[u8] = b"z9hG4bK";

/// A Contact may carry header fields, a Request-URI may not (RFC 3261 §19.1.1 table 1): phones refuse it.
fn without_headers(uri: &[u8]) -> &[u8] {
    if memchr::memchr(b'?', uri).is_none() {
        return uri;
    }
    match Uri::parse(uri) {
        Ok(parsed) if !parsed.headers.is_empty() => &uri[..uri.len() - parsed.headers.len() - 1],
        _ => uri,
    }
}

impl Transactions {
    /// Begins a request with its Via and Max-Forwards.
    pub fn draft(&mut self, io: &mut Io, flow: &Flow, method: Method<'_>, uri: &[u8], max_forwards: u8) -> Draft {
        let id = self.issue();
        let reused = mutant::on(Mutant::BranchReused);
        let secret = if reused { *b"always..same" } else { io.rng.token::<12>() };
        let shown = if reused { id.0 & !1 } else { id.0 };
        let mut writer = Writer::request(method, without_headers(uri));
        let address = io.our_address(flow);
        let transport = flow.transport.via();
        let random = std::str::from_utf8(&secret).unwrap_or_default();
        writer.header_fmt("Via", format_args!("SIP/2.0/{transport} {address};rport;branch=z9hG4bK{shown:x}-{random}"));
        writer.header_fmt("Max-Forwards", format_args!("{max_forwards}"));
        Draft { id, secret, writer }
    }

    /// Sends a finished draft.
    pub fn start(
        &mut self,
        io: &mut Io,
        flow: Flow,
        draft: (TransactionId, [u8; 12]),
        invite: bool,
        owner: Owner,
        request: Bytes,
    ) {
        let (id, secret) = draft;
        let patient = mutant::on(Mutant::RequestNeverGivenUp) && !invite;
        let reliable = flow.transport.is_reliable();
        let interval = self.timers.t1;
        let until = io.now.mono + self.timers.t1 * 64;
        let again = (!reliable).then(|| io.timers.set(io.now.mono + interval, TimerKey::Retransmit(id)));
        if !patient {
            io.timers.set_fixed(Lane::Long, until, TimerKey::Expire(id));
        }
        send(io, flow, request.clone(), id);
        let client = Client {
            owner,
            flow,
            invite,
            state: State::Calling,
            secret,
            request,
            in_dialog: false,
            ack: None,
            answers: Vec::new(),
            losers: Vec::new(),
            cancel: None,
            interval,
            again,
            until: Some(until),
        };
        self.clients.insert(id, client);
    }

    /// Sends the CANCEL of an INVITE that has had a provisional response; the INVITE then has 64·T1 to end
    /// (RFC 3261 §9.1). False when there is nothing to cancel any more.
    pub fn cancel(&mut self, io: &mut Io, invite: TransactionId, reason: &str) -> bool {
        let Some(client) = self.clients.get_mut(&invite) else { return false };
        if client.state != State::Proceeding || client.cancel.is_some() {
            return false;
        }
        let Some(mut writer) = sibling(&client.request, Method::Cancel, None) else { return false };
        writer.header("Reason", reason);
        let (flow, secret) = (client.flow, client.secret);
        let until = io.now.mono + self.timers.t1 * 64;
        client.until = Some(until);
        io.timers.set_fixed(Lane::Long, until, TimerKey::Expire(invite));
        let id = self.issue();
        if let Some(client) = self.clients.get_mut(&invite) {
            client.cancel = Some(id);
        }
        self.start(io, flow, (id, secret), false, Owner::Nobody, writer.finish());
        true
    }

    /// Whether an INVITE of ours that was answered 2xx was sent within a dialog.
    pub fn is_in_dialog(&self, id: TransactionId) -> bool {
        self.clients.get(&id).is_some_and(|client| client.in_dialog)
    }

    /// Keeps the ACK of the 2xx with that To tag, to be sent again when the 2xx is.
    pub fn acknowledged(&mut self, id: TransactionId, tag: &[u8], ack: Bytes) {
        if let Some(client) = self.clients.get_mut(&id).filter(|client| client.answers.len() < limits::EARLY_DIALOGS) {
            client.answers.push((tag.into(), ack));
        }
    }

    /// Keeps how far the CSeq has come in a branch that lost.
    pub fn lost(&mut self, id: TransactionId, tag: Box<[u8]>, cseq: u32) {
        if let Some(client) = self.clients.get_mut(&id).filter(|client| client.losers.len() < limits::EARLY_DIALOGS) {
            client.losers.push((tag, cseq));
        }
    }

    /// The last CSeq used in a branch that lost; 0 when there was none but the INVITE's.
    pub fn last_cseq(&self, id: TransactionId, tag: &[u8]) -> u32 {
        let losers = self.clients.get(&id).map_or(&[][..], |client| &client.losers);
        losers.iter().find(|(known, _)| **known == *tag).map_or(0, |(_, cseq)| *cseq)
    }

    /// Forgets a client transaction: nothing it may still hear matters.
    pub fn abandon(&mut self, io: &mut Io, id: TransactionId) {
        self.remove_client(io, id);
    }

    pub(super) fn response(&mut self, io: &mut Io, flow: Flow, message: Message) -> Happening {
        let Some(id) = self.match_client(&flow, &message) else { return stray(flow, message) };
        let Some(client) = self.clients.get_mut(&id) else { return Happening::Nothing };
        // Only an INVITE's response makes dialogs.
        if client.invite && !client.request.is_empty() && !repeats(&client.request, &message) {
            return Happening::Nothing;
        }
        let status = message.status().unwrap_or(0);
        let owner = client.owner;
        let reliable = client.flow.transport.is_reliable();
        match (client.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => {
                if client.invite {
                    if let Some(timer) = client.again.take() {
                        io.timers.cancel(timer);
                    }
                    // Timer C; after a CANCEL its own limit stands.
                    if client.cancel.is_none() {
                        let until = io.now.mono + self.timers.c;
                        client.until = Some(until);
                        client.again = Some(io.timers.set(until, TimerKey::Expire(id)));
                    }
                } else {
                    client.interval = self.timers.t2;
                }
                client.state = State::Proceeding;
                Happening::Response { tx: id, owner, flow, message }
            }
            (State::Calling | State::Proceeding, 200..=299) if client.invite => {
                client.state = State::Accepted;
                let request = Message::parse(std::mem::take(&mut client.request)).ok();
                client.in_dialog = request.is_some_and(|request| request.to().is_ok_and(|to| to.tag().is_some()));
                self.linger_client(io, id, self.timers.t1 * 64);
                Happening::Response { tx: id, owner, flow, message }
            }
            (State::Accepted, 200..=299) => {
                let tag = message.to().ok().and_then(|to| to.tag()).unwrap_or_default();
                if let Some((_, ack)) = client.answers.iter().find(|(known, _)| **known == *tag) {
                    io.out.push(crate::engine::io::Output::Send { flow: client.flow, bytes: ack.clone(), key: None });
                    return Happening::Nothing;
                }
                Happening::Response { tx: id, owner, flow, message }
            }
            (State::Calling | State::Proceeding, 200..=699) => {
                client.state = State::Completed;
                if client.invite {
                    let ack = sibling(&client.request, Method::Ack, Some(&message)).map(|mut ack| ack.finish());
                    if let (Some(ack), false) = (&ack, mutant::on(Mutant::RefusalNotAcknowledged)) {
                        send(io, client.flow, ack.clone(), id);
                    }
                    client.ack = ack;
                }
                client.request = Bytes::new();
                let wait = match (reliable, client.invite) {
                    (true, _) => Duration::ZERO,
                    (false, true) => self.timers.t1 * 64,
                    (false, false) => self.timers.t4,
                };
                self.linger_client(io, id, wait);
                Happening::Response { tx: id, owner, flow, message }
            }
            (State::Completed, 300..=699) => {
                if let (Some(ack), false) = (client.ack.clone(), mutant::on(Mutant::RefusalNotAcknowledged)) {
                    send(io, client.flow, ack, id);
                }
                Happening::Nothing
            }
            _ => Happening::Nothing,
        }
    }

    pub(super) fn retransmit_request(&mut self, io: &mut Io, id: TransactionId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.again = None;
        let wanted = match client.state {
            State::Calling => true,
            State::Proceeding => !client.invite,
            State::Completed | State::Accepted => false,
        };
        if !wanted {
            return;
        }
        send(io, client.flow, client.request.clone(), id);
        client.interval *= 2;
        if !client.invite {
            client.interval = client.interval.min(self.timers.t2);
        }
        client.again = Some(io.timers.set(io.now.mono + client.interval, TimerKey::Retransmit(id)));
    }

    pub(super) fn expire_client(&mut self, io: &mut Io, id: TransactionId) -> Happening {
        let Some(client) = self.clients.get(&id) else { return Happening::Nothing };
        if client.until.is_none_or(|until| until > io.now.mono) {
            return Happening::Nothing;
        }
        match client.state {
            State::Calling | State::Proceeding => self.client_failed(io, id, Cause::RequestTimeout),
            State::Completed | State::Accepted => {
                self.remove_client(io, id);
                Happening::Nothing
            }
        }
    }

    pub(super) fn client_failed(&mut self, io: &mut Io, id: TransactionId, cause: Cause) -> Happening {
        let Some(client) = self.remove_client(io, id) else { return Happening::Nothing };
        match client.state {
            State::Calling | State::Proceeding => Happening::GaveUp { tx: id, owner: client.owner, cause },
            State::Completed | State::Accepted => Happening::Nothing,
        }
    }

    fn match_client(&self, flow: &Flow, message: &Message) -> Option<TransactionId> {
        let via = message.via().ok()?;
        let branch = via.branch?.strip_prefix(COOKIE)?;
        let dash = memchr::memchr(b'-', branch)?;
        let number = std::str::from_utf8(&branch[..dash]).ok()?;
        let id = TransactionId(u64::from_str_radix(number, 16).ok()?);
        let client = self.clients.get(&id)?;
        // The random half, and the host the request went to: a response from elsewhere is somebody else's.
        let genuine = client.secret == branch[dash + 1..] && client.flow.remote.ip() == flow.remote.ip();
        let cseq = message.cseq().ok()?;
        match (genuine, cseq.method) {
            (false, _) => None,
            (true, Method::Cancel) if client.invite => client.cancel,
            (true, method) => (client.invite == (method == Method::Invite)).then_some(id),
        }
    }

    fn linger_client(&mut self, io: &mut Io, id: TransactionId, wait: Duration) {
        if wait.is_zero() {
            self.remove_client(io, id);
            return;
        }
        let lane = if wait == self.timers.t4 { Lane::Short } else { Lane::Long };
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Some(timer) = client.again.take() {
            io.timers.cancel(timer);
        }
        let until = io.now.mono + wait;
        client.until = Some(until);
        io.timers.set_fixed(lane, until, TimerKey::Expire(id));
    }

    fn remove_client(&mut self, io: &mut Io, id: TransactionId) -> Option<Client> {
        let client = self.clients.remove(&id)?;
        if let Some(timer) = client.again {
            io.timers.cancel(timer);
        }
        Some(client)
    }
}

impl Draft {
    /// What `start` needs to know of the draft, and the writer to finish.
    pub fn split(self) -> ((TransactionId, [u8; 12]), Writer) {
        ((self.id, self.secret), self.writer)
    }
}

fn stray(flow: Flow, message: Message) -> Happening {
    let is_2xx = message.status().is_some_and(|status| (200..300).contains(&status));
    if is_2xx && message.cseq().is_ok_and(|cseq| cseq.method == Method::Invite) {
        return Happening::Stray { flow, message };
    }
    Happening::Nothing
}

/// Whether a response has its request's Call-ID and From tag (RFC 3261 §8.2.6.2). One that has others would put a dialog of
/// its sender's choice, maybe somebody else's, into our index.
fn repeats(request: &[u8], response: &Message) -> bool {
    // As our writer writes them.
    let field = |name: &[u8]| {
        let at = memmem::find(request, name)? + name.len();
        let length = memchr::memchr(b'\r', &request[at..])?;
        Some(&request[at..at + length])
    };
    let from = response.from().ok();
    let tag = from.as_ref().and_then(|from| from.tag()).unwrap_or_default();
    let ours = field(b"\r\nFrom: ").and_then(|ours| ours.strip_suffix(tag));
    field(b"\r\nCall-ID: ") == Some(response.call_id()) && ours.is_some_and(|rest| rest.ends_with(b";tag="))
}

/// A request that shares the INVITE's branch: its CANCEL (RFC 3261 §9.1) or the ACK of a failure (§17.1.1.3).
fn sibling(invite: &Bytes, method: Method<'_>, response: Option<&Message>) -> Option<Writer> {
    let request = Message::parse(invite.clone()).ok()?;
    let mut writer = Writer::request(method, request.request_uri());
    writer.header("Via", request.header(Name::Via)?);
    writer.header("Max-Forwards", "70");
    for route in request.fields(Name::Route) {
        writer.header("Route", route);
    }
    writer.header("From", request.header(Name::From)?);
    let to = response.and_then(|response| response.header(Name::To)).or(request.header(Name::To))?;
    writer.header("To", to);
    writer.header("Call-ID", request.header(Name::CallId)?);
    let cseq = request.cseq().ok()?;
    writer.header_fmt("CSeq", format_args!("{} {}", cseq.number, method.as_str()));
    Some(writer)
}
