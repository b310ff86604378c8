//! Server transactions: RFC 3261 §17.2, RFC 6026 §7.1.

use super::{Happening, Key, Owner, Transactions, key, send};
use crate::base::cause::phrase;
use crate::base::ids::TransactionId;
use crate::base::now::Micros;
use crate::base::timers::{Lane, TimerId};
use crate::engine::core::{Io, TimerKey};
use crate::engine::flow::Flow;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::writer::Writer;
use bytes::Bytes;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// No final response yet.
    Proceeding,
    /// A final response was sent (INVITE: not a 2xx), and is sent again when asked.
    Completed,
    /// The ACK came; what follows is absorbed.
    Confirmed,
    /// A 2xx was sent; its repetition is the leg's.
    Accepted,
}

pub(super) struct Server {
    key: Box<[u8]>,
    merge: Option<Box<[u8]>>,
    pub(super) flow: Flow,
    owner: Owner,
    invite: bool,
    state: State,
    last: Bytes,
    interval: Duration,
    again: Option<TimerId>,
    until: Option<Micros>,
}

impl Transactions {
    /// A request that is neither ACK nor CANCEL.
    pub(super) fn request(&mut self, io: &mut Io, flow: Flow, message: Message) -> Happening {
        let method = message.method();
        let Some(key) = server_key(&message, method) else { return Happening::Nothing };
        if let Some(id) = self.by_key.get(key.as_slice()) {
            self.repeat(io, *id, flow);
            return Happening::Nothing;
        }
        let id = self.issue();
        let merge = merge_key(&message);
        let merged = merge.as_ref().is_some_and(|merge| self.merge.contains_key(merge.as_slice()));
        let server = Server {
            key: key.as_slice().into(),
            merge: merge.filter(|_| !merged).map(|merge| merge.as_slice().into()),
            flow,
            owner: Owner::Nobody,
            invite: method == Method::Invite,
            state: State::Proceeding,
            last: Bytes::new(),
            interval: self.timers.t1,
            again: None,
            until: None,
        };
        if let Some(merge) = &server.merge {
            self.merge.insert(merge.clone(), id);
        }
        self.by_key.insert(server.key.clone(), id);
        self.servers.insert(id, server);
        if merged {
            let tag = io.rng.token::<12>();
            let reply = Writer::reply_to(&message, 482, phrase(482), Some(&tag), flow.remote).finish();
            self.respond(io, id, 482, reply);
            return Happening::Nothing;
        }
        Happening::Request { tx: id, flow, message }
    }

    /// The leg or relay that will answer an INVITE, so that its CANCEL finds it.
    pub fn own(&mut self, id: TransactionId, owner: Owner) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.owner = owner;
        }
    }

    pub(super) fn ack(&mut self, io: &mut Io, flow: Flow, message: Message) -> Happening {
        let found = server_key(&message, Method::Invite).and_then(|key| self.by_key.get(key.as_slice()).copied());
        let Some(server) = found.and_then(|id| Some((id, self.servers.get_mut(&id)?))) else {
            return Happening::Ack { flow, message };
        };
        let (id, server) = server;
        match server.state {
            State::Completed => {
                server.state = State::Confirmed;
                if let Some(timer) = server.again.take() {
                    io.timers.cancel(timer);
                }
                self.linger(io, id, Lane::Short);
                Happening::Nothing
            }
            State::Accepted => Happening::Ack { flow, message },
            State::Proceeding | State::Confirmed => Happening::Nothing,
        }
    }

    /// A CANCEL of a leg's INVITE is the leg's to answer, with the leg's To tag (RFC 3261 §9.2); any other is answered here.
    pub(super) fn cancelled(&mut self, io: &mut Io, flow: Flow, message: Message) -> Happening {
        let Some(own_key) = server_key(&message, Method::Cancel) else { return Happening::Nothing };
        if let Some(id) = self.by_key.get(own_key.as_slice()) {
            self.repeat(io, *id, flow);
            return Happening::Nothing;
        }
        let invite = server_key(&message, Method::Invite).and_then(|key| self.by_key.get(key.as_slice()).copied());
        let target = invite.and_then(|id| self.servers.get(&id)).filter(|server| same_source(&server.flow, &flow));
        let owner = target.map(|server| server.owner);
        let Happening::Request { tx, .. } = self.request(io, flow, message.clone()) else { return Happening::Nothing };
        if let Some(owner @ Owner::Leg(_)) = owner {
            return Happening::Cancel { tx, owner, flow, message };
        }
        let status = if owner.is_some() { 200 } else { 481 };
        let tag = io.rng.token::<12>();
        let reply = Writer::reply_to(&message, status, phrase(status), Some(&tag), flow.remote).finish();
        self.respond(io, tx, status, reply);
        Happening::Nothing
    }

    /// Sends a response. For an INVITE answered 2xx, repeating it is the caller's business (`repeat_2xx`).
    pub fn respond(&mut self, io: &mut Io, id: TransactionId, status: u16, bytes: Bytes) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        if server.state != State::Proceeding {
            return;
        }
        send(io, server.flow, bytes.clone(), id);
        server.last = bytes;
        if status < 200 {
            return;
        }
        if let Some(merge) = server.merge.take() {
            self.merge.remove(&merge);
        }
        let reliable = server.flow.transport.is_reliable();
        match (server.invite, status) {
            (true, 200..=299) => {
                server.state = State::Accepted;
                server.last = Bytes::new();
                self.linger(io, id, Lane::Long);
            }
            (true, _) => {
                server.state = State::Completed;
                if !reliable {
                    server.interval = self.timers.t1;
                    server.again = Some(io.timers.set(io.now.mono + server.interval, TimerKey::Retransmit(id)));
                }
                self.linger(io, id, Lane::Long);
            }
            (false, _) if reliable => self.remove_server(io, id),
            (false, _) => {
                server.state = State::Completed;
                self.linger(io, id, Lane::Long);
            }
        }
    }

    /// Answers a request other than INVITE and forgets it at once: for answers that are the same when asked again
    /// (RFC 3261 §8.2.7), so that a flood of them leaves nothing behind.
    pub fn respond_statelessly(&mut self, io: &mut Io, id: TransactionId, bytes: Bytes) {
        let Some(server) = self.servers.get(&id) else { return };
        io.out.push(crate::engine::io::Output::Send { flow: server.flow, bytes, key: None });
        self.remove_server(io, id);
    }

    /// Whether a server transaction still waits for its final response.
    pub fn is_open(&self, id: TransactionId) -> bool {
        self.servers.get(&id).is_some_and(|server| server.state == State::Proceeding)
    }

    pub(super) fn retransmit_response(&mut self, io: &mut Io, id: TransactionId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.again = None;
        if server.state != State::Completed || !server.invite {
            return;
        }
        send(io, server.flow, server.last.clone(), id);
        server.interval = (server.interval * 2).min(self.timers.t2);
        server.again = Some(io.timers.set(io.now.mono + server.interval, TimerKey::Retransmit(id)));
    }

    pub(super) fn expire_server(&mut self, io: &mut Io, id: TransactionId) {
        let due = self.servers.get(&id).and_then(|server| server.until).is_some_and(|until| until <= io.now.mono);
        if due {
            self.remove_server(io, id);
        }
    }

    /// The same request came again: so does the last response. A final one goes where this copy came from, for the
    /// translator before the peer may have given it another port meanwhile (RFC 3261 §17.2.2, §18.2.2). A provisional
    /// one does not: it would end the copies, and the final response would still go to the old address.
    fn repeat(&self, io: &mut Io, id: TransactionId, flow: Flow) {
        let Some(server) = self.servers.get(&id).filter(|server| !server.last.is_empty()) else { return };
        let same_host = server.flow.remote.ip() == flow.remote.ip() && server.flow.connection == flow.connection;
        match server.state {
            State::Completed if same_host => send(io, flow, server.last.clone(), id),
            State::Proceeding if same_source(&server.flow, &flow) => send(io, server.flow, server.last.clone(), id),
            _ => {}
        }
    }

    fn linger(&mut self, io: &mut Io, id: TransactionId, lane: Lane) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let wait = match lane {
            Lane::Long => self.timers.t1 * 64,
            Lane::Short if server.flow.transport.is_reliable() => Duration::ZERO,
            Lane::Short => self.timers.t4,
        };
        if wait.is_zero() {
            self.remove_server(io, id);
            return;
        }
        let until = io.now.mono + wait;
        server.until = Some(until);
        io.timers.set_fixed(lane, until, TimerKey::Expire(id));
    }

    fn remove_server(&mut self, io: &mut Io, id: TransactionId) {
        let Some(server) = self.servers.remove(&id) else { return };
        self.by_key.remove(&server.key);
        if let Some(merge) = server.merge {
            self.merge.remove(&merge);
        }
        if let Some(timer) = server.again {
            io.timers.cancel(timer);
        }
    }
}

fn same_source(a: &Flow, b: &Flow) -> bool {
    a.remote == b.remote && a.connection == b.connection
}

/// RFC 3261 §17.2.3: branch, sent-by and method; for a request of RFC 2543, which has no such branch, the fields that
/// identify it there.
fn server_key(message: &Message, method: Method<'_>) -> Option<Key> {
    let via = message.via().ok()?;
    let class: &[u8] = match method {
        Method::Ack => b"INVITE",
        other => other.as_bytes(),
    };
    match via.rfc3261_branch() {
        Some(branch) => Some(key(&[class, branch, via.sent()])),
        _ => {
            let from = message.from().ok()?;
            let cseq = message.cseq().ok()?;
            let number = cseq.number.to_be_bytes();
            let tag = from.tag().unwrap_or_default();
            Some(key(&[class, message.request_uri(), tag, message.call_id(), &number, via.sent()]))
        }
    }
}

/// None inside a dialog: there a repeated CSeq is the dialog's business.
fn merge_key(message: &Message) -> Option<Key> {
    if message.to().ok()?.tag().is_some() {
        return None;
    }
    let from = message.from().ok()?;
    let cseq = message.cseq().ok()?;
    Some(key(&[from.tag()?, message.call_id(), &cseq.number.to_be_bytes(), cseq.method.as_bytes()]))
}
