//! The engine's boundary: everything it is told and everything it asks for.

use crate::base::cause::Cause;
use crate::base::ids::{ConnectionId, RecordSeq, Token, TransactionId};
use crate::directory::Directory;
use crate::engine::event::Event;
use crate::engine::flow::Flow;
use crate::engine::media::{MediaCommand, MediaEvent};
use crate::engine::record::{Binding, Record};
use crate::proto::sip::message::Message;
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;

#[expect(clippy::large_enum_variant, reason = "a message moves by value: boxing it would cost an allocation each")]
pub enum Input {
    /// A whole SIP message arrived on `flow`.
    Sip {
        flow: Flow,
        message: Message,
    },
    /// A connection ended: its contacts and unanswered requests with it.
    FlowClosed {
        connection: ConnectionId,
    },
    /// A message sent with that key could not leave.
    SendFailed {
        key: TransactionId,
    },
    Command {
        token: Token,
        command: Command,
    },
    Media(MediaEvent),
    /// The journal holds every record up to and including `upto`, or refuses them.
    Recorded {
        upto: RecordSeq,
        kept: bool,
    },
    /// Disk and database refuse records (true), or take them again (false): new calls are refused while it lasts.
    RecordsRefused(bool),
    /// A new snapshot of who may call what. An extension that is gone or has another secret loses its bindings at once;
    /// its running calls are left to finish.
    Directory(Arc<Directory>),
    /// Bindings of before the restart; given before the first message.
    Restore(Vec<Arc<Binding>>),
    /// Nothing but time.
    Timeout,
}

pub enum Command {
    /// No new calls; running ones go on.
    Drain,
    /// BYE or a final response to every call.
    HangUpAll { cause: Cause },
    /// Answered with one `EventBody::Snapshot`: a fold of the events has lost some.
    Snapshot,
}

#[derive(Clone, PartialEq, Debug)]
pub enum CommandResult {
    Done,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Send these bytes on that flow; `key` names the transaction to tell if it can't be done.
    Send {
        flow: Flow,
        bytes: Bytes,
        key: Option<TransactionId>,
    },
    Media(MediaCommand),
    Record(Record),
    Done {
        token: Token,
        result: CommandResult,
    },
    Event(Event),
    /// For whoever watches the door: its sender may not be what it seems.
    Suspect(Suspect),
}

/// A message that tells something about its sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suspect {
    pub from: IpAddr,
    pub what: Suspicion,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Suspicion {
    /// It was answered with a 4xx because nothing could be made of it.
    Malformed,
    /// Wrong credentials in answer to a challenge this very address was given; whether there is such a user is not told.
    LogIn { user: Box<str> },
}
