//! SIP transactions (RFC 3261 §17 with the corrections of RFC 6026): retransmission, absorption and matching, so that
//! everything above sees each request and each response once.
//!
//! ```text
//! server INVITE      Proceeding ─3xx..6xx→ Completed ─ACK→ Confirmed ─I→ ∅
//!                        └──────2xx──────→ Accepted ─L→ ∅        Completed ─H→ ∅
//! server other       Trying ─final→ Completed ─J→ ∅
//! client INVITE      Calling ─1xx→ Proceeding ─3xx..6xx→ Completed ─D→ ∅
//!                        └─B→ gave up       └──2xx──→ Accepted ─M→ ∅
//! client other       Trying ─1xx→ Proceeding ─final→ Completed ─K→ ∅       (E repeats, F gives up)
//! ```
//!
//! Deliberately absent: retransmission of a 2xx to INVITE and its ACK. They are the leg's (RFC 3261 §13.3.1.4, §13.2.2.4).

mod client;
mod server;

pub use client::Draft;

use crate::base::cause::Cause;
use crate::base::ids::{LegId, TransactionId};
use crate::base::map::{Map, Seeded};
use crate::engine::config::SipTimers;
use crate::engine::core::Io;
use crate::engine::flow::Flow;
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use bytes::Bytes;
use client::Client;
use server::Server;

/// Who a transaction belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    Leg(LegId),
    /// A MESSAGE being relayed, by its number.
    Relay(u64),
    Nobody,
}

/// What came of a message or a timer.
pub enum Happening {
    /// A new request, neither ACK nor CANCEL.
    Request { tx: TransactionId, flow: Flow, message: Message },
    /// A leg's INVITE is to be cancelled, if it is not too late; the CANCEL waits for its 200.
    Cancel { tx: TransactionId, owner: Owner, flow: Flow, message: Message },
    /// An ACK for a 2xx.
    Ack { flow: Flow, message: Message },
    /// A response to a request of ours; each but a repeated 2xx to INVITE once.
    Response { tx: TransactionId, owner: Owner, flow: Flow, message: Message },
    /// A 2xx to an INVITE of ours that is forgotten, or to nothing of ours.
    Stray { flow: Flow, message: Message },
    /// A request of ours will get no answer.
    GaveUp { tx: TransactionId, owner: Owner, cause: Cause },
    /// Absorbed.
    Nothing,
}

pub struct Transactions {
    servers: Map<TransactionId, Server>,
    clients: Map<TransactionId, Client>,
    by_key: Map<Box<[u8]>, TransactionId>,
    /// From-tag, Call-ID and CSeq of requests being worked on, to find those that came twice by different paths
    /// (RFC 3261 §8.2.2.2).
    merge: Map<Box<[u8]>, TransactionId>,
    timers: SipTimers,
    limit: usize,
    next: u64,
}

impl Transactions {
    pub fn new(timers: SipTimers, limit: usize, seeded: &Seeded) -> Transactions {
        Transactions {
            servers: Map::with_hasher(seeded.clone()),
            clients: Map::with_hasher(seeded.clone()),
            by_key: Map::with_hasher(seeded.clone()),
            merge: Map::with_hasher(seeded.clone()),
            timers,
            limit,
            next: 1,
        }
    }

    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    pub fn knows(&self, id: TransactionId) -> bool {
        self.servers.contains_key(&id) || self.clients.contains_key(&id)
    }

    /// The flow a server transaction answers on.
    pub fn flow_of(&self, id: TransactionId) -> Option<Flow> {
        self.servers.get(&id).map(|server| server.flow)
    }

    /// Whether new work should be shed.
    pub fn full(&self) -> bool {
        self.servers.len() + self.clients.len() >= self.limit
    }

    /// Takes in a message that has passed `Message::validate`.
    pub fn receive(&mut self, io: &mut Io, flow: Flow, message: Message) -> Happening {
        if !message.is_request() {
            return self.response(io, flow, message);
        }
        match message.method() {
            Method::Ack => self.ack(io, flow, message),
            Method::Cancel => self.cancelled(io, flow, message),
            _ => self.request(io, flow, message),
        }
    }

    /// A `Retransmit` timer fired.
    pub fn retransmit(&mut self, io: &mut Io, id: TransactionId) {
        if self.servers.contains_key(&id) {
            self.retransmit_response(io, id);
        } else {
            self.retransmit_request(io, id);
        }
    }

    /// An `Expire` timer fired.
    pub fn expire(&mut self, io: &mut Io, id: TransactionId) -> Happening {
        if self.servers.contains_key(&id) {
            self.expire_server(io, id);
            return Happening::Nothing;
        }
        self.expire_client(io, id)
    }

    /// The transport could not send the transaction's message.
    pub fn send_failed(&mut self, io: &mut Io, id: TransactionId) -> Happening {
        if self.servers.contains_key(&id) {
            return Happening::Nothing;
        }
        self.client_failed(io, id, Cause::FlowFailed)
    }

    fn issue(&mut self) -> TransactionId {
        let id = TransactionId(self.next);
        self.next += 1;
        id
    }
}

/// Builds a lookup key on the stack.
type Key = smallvec::SmallVec<[u8; 256]>;

fn key(parts: &[&[u8]]) -> Key {
    let mut key = Key::new();
    for part in parts {
        key.extend_from_slice(part);
        key.push(0);
    }
    key
}

/// Sends a transaction's message.
fn send(io: &mut Io, flow: Flow, bytes: Bytes, id: TransactionId) {
    io.out.push(crate::engine::io::Output::Send { flow, bytes, key: Some(id) });
}
