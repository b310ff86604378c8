//! One call of a phone: its dialog, its session description, what it waits for, and what the phone will remember of it.

use super::Phone;
use super::dialog::Dialog;
use super::media::Media;
use super::session::SessionTimer;
use super::transaction::TxKey;
use super::{Out, Timer};
use crate::clock::{Entry, Time};
use std::net::SocketAddr;

/// Names a call within one phone.
pub type CallId = u32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Our INVITE has no response but 100.
    Calling,
    /// The other side rings.
    Early,
    /// We ring.
    Ringing,
    /// Answered: our 2xx is sent, or theirs has come.
    Up,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Not over yet.
    Open,
    /// A final response of 300 or more, ours or theirs.
    Refused,
    /// Our BYE.
    HungUp,
    /// Their BYE.
    ByPeer,
    /// Nobody refreshed the session.
    Expired,
    /// The other side did not answer, or said it knows no such call.
    Lost,
    /// The phone lost its memory.
    Crashed,
    /// The phone walked away without a word.
    Forgot,
}

pub struct Call {
    pub id: CallId,
    pub outgoing: bool,
    pub phase: Phase,
    pub dialog: Dialog,
    pub media: Media,
    /// The INVITE of ours, first or again, that has no final response yet.
    pub inviting: Option<Inviting>,
    /// The INVITE of theirs, first or again, that we have not finally answered.
    pub invited: Option<Invited>,
    /// Our 2xx that waits for its ACK.
    pub sent_ok: Option<SentOk>,
    /// An UPDATE of ours has no response yet.
    pub updating: bool,
    pub session: Option<SessionTimer>,
    /// Methods the peer says it takes.
    pub peer_allows: Vec<String>,
    /// The user wants it over; done as soon as the protocol allows.
    pub enough: bool,
    /// A second answer of the same INVITE: only there to be hung up.
    pub ghost: bool,
    /// Index in the phone's logs.
    pub log: usize,
}

pub struct Inviting {
    pub key: TxKey,
    pub provisional: bool,
    pub cancelled: bool,
    /// A re-INVITE within the dialog.
    pub again: bool,
    /// The last reliable provisional response.
    pub rseq: Option<u32>,
}

pub struct Invited {
    pub key: TxKey,
    pub again: bool,
    /// Steps left until the user decides.
    pub plan: Vec<(Time, Step)>,
    /// Tags of the early dialogs; the first is the phone's own.
    pub tags: Vec<String>,
    /// The reliable provisional response that waits for its PRACK.
    pub reliable: Option<Reliable>,
    pub next_rseq: u32,
    /// The INVITE came without an offer.
    pub late: bool,
    pub reliable_allowed: bool,
}

/// One thing a ringing phone does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A provisional response from one of the early dialogs, with or without SDP.
    Provisional {
        code: u16,
        tag: usize,
        sdp: bool,
    },
    /// 200 from one of the early dialogs.
    Answer {
        tag: usize,
    },
    /// A second 200 from a new early dialog.
    AnswerTwice,
    Refuse {
        code: u16,
    },
    /// Says nothing at all, not even 100.
    Ignore,
}

pub struct Reliable {
    pub rseq: u32,
    pub tag: String,
    pub bytes: Vec<u8>,
    pub to: SocketAddr,
    pub interval: Time,
    pub since: Time,
    pub timer: Option<Entry>,
    /// It carried our offer: the PRACK must bring the answer.
    pub offered: bool,
}

pub struct SentOk {
    pub cseq: u32,
    pub bytes: Vec<u8>,
    pub to: SocketAddr,
    pub interval: Time,
    pub since: Time,
    pub timer: Option<Entry>,
    /// It carried our offer: the ACK must bring the answer.
    pub offered: bool,
}

#[derive(Clone, Debug)]
pub struct CallLog {
    pub call_id: String,
    pub local_tag: String,
    pub outgoing: bool,
    /// The number dialled, or the caller's.
    pub peer: String,
    pub started: Time,
    /// When a 2xx came or went.
    pub answered: Option<Time>,
    /// When the ACK went or came.
    pub confirmed: Option<Time>,
    /// The final response to the first INVITE, sent or received.
    pub final_code: Option<u16>,
    pub cancelled: Option<Time>,
    pub ended: Option<Time>,
    pub ending: Ending,
    pub ghost: bool,
}

impl Phone {
    pub(super) fn new_call(&mut self, outgoing: bool, dialog: Dialog, peer: String) -> CallId {
        let id = self.next_call;
        self.next_call += 1;
        let log = CallLog {
            call_id: dialog.call_id.clone(),
            local_tag: dialog.local_tag.clone(),
            outgoing,
            peer,
            started: self.now,
            answered: None,
            confirmed: None,
            final_code: None,
            cancelled: None,
            ended: None,
            ending: Ending::Open,
            ghost: false,
        };
        self.logs.push(log);
        let port = 4_000 + (id % 1_000) as u16 * 8;
        let call = Call {
            id,
            outgoing,
            phase: if outgoing { Phase::Calling } else { Phase::Ringing },
            dialog,
            media: Media::new(port, self.rng.below(1 << 31)),
            inviting: None,
            invited: None,
            sent_ok: None,
            updating: false,
            session: None,
            peer_allows: Vec::new(),
            enough: false,
            ghost: false,
            log: self.logs.len() - 1,
        };
        self.calls.insert(id, call);
        id
    }

    pub(super) fn log_of(&mut self, id: CallId) -> Option<&mut CallLog> {
        let index = self.calls.get(&id)?.log;
        self.logs.get_mut(index)
    }

    /// The call is over for this phone; what its transactions still owe the other side they pay by themselves.
    pub(super) fn end(&mut self, id: CallId, ending: Ending) {
        let now = self.now;
        if let Some(log) = self.log_of(id) {
            log.ended = Some(now);
            log.ending = ending;
        }
        let Some(call) = self.calls.remove(&id) else { return };
        match (&call.invited, ending) {
            (None, _) | (_, Ending::Crashed) => {}
            (Some(invited), Ending::Forgot) => self.ignore(&invited.key),
            (Some(invited), _) => self.respond(&invited.key, 487, "Request Terminated", |_| {}),
        }
        self.timers.strike_all(|timer| timer.is_of(id));
        if let Some(inviting) = &call.inviting {
            self.expect_final(&inviting.key);
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.calls.values().any(|call| !call.ghost)
    }

    /// The call of an in-dialog request: our tag is its To tag.
    pub(super) fn find_call(&self, call_id: &str, our_tag: &str, their_tag: &str) -> Option<CallId> {
        let fits = |call: &&Call| {
            let early = call.invited.as_ref().is_some_and(|i| i.tags.iter().any(|tag| tag == our_tag));
            call.dialog.call_id == call_id
                && (call.dialog.local_tag == our_tag || early)
                && call.dialog.remote_tag.as_deref().is_none_or(|tag| tag == their_tag)
        };
        self.calls.values().find(fits).map(|call| call.id)
    }

    /// The user wants this call over.
    pub(super) fn enough(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.enough = true;
        match call.phase {
            Phase::Calling | Phase::Early => self.cancel(id),
            Phase::Ringing => self.refuse(id, 486),
            // No BYE before the ACK of our own 2xx (RFC 3261 §15).
            Phase::Up if call.sent_ok.as_ref().is_some_and(|_| !call.outgoing) => {}
            Phase::Up => self.hang_up(id),
        }
    }

    pub(super) fn hang_up(&mut self, id: CallId) {
        let forgets = self.rng.permyriad(self.profile.quirks.forgets) && !self.user.frozen;
        if forgets {
            self.end(id, Ending::Forgot);
            return;
        }
        self.send_bye(id);
        self.end(id, Ending::HungUp);
    }

    pub(super) fn overdue(&mut self, id: CallId, what: &'static str) {
        let Some(call) = self.calls.get(&id) else { return };
        let (since, detail) = (self.logs[call.log].started, call.dialog.call_id.clone());
        self.miss(since, what, &detail);
        self.end(id, Ending::Lost);
    }

    pub(super) fn transmit_plain(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        match self.profile.transport {
            super::Transport::Udp => self.out.push(Out::Datagram { to, bytes }),
            super::Transport::Tcp if self.connected => self.out.push(Out::Stream { bytes }),
            super::Transport::Tcp => {}
        }
    }
}

impl Timer {
    fn is_of(&self, id: CallId) -> bool {
        match self {
            Timer::RetransmitOk(call)
            | Timer::RetransmitProvisional(call)
            | Timer::Ring(call)
            | Timer::AnswerAgain(call)
            | Timer::Whim(call)
            | Timer::Enough(call)
            | Timer::Glare(call)
            | Timer::TakeBack(call)
            | Timer::Refresh(call)
            | Timer::Expire(call)
            | Timer::Overdue(call, _) => *call == id,
            _ => false,
        }
    }
}
