//! A desk phone: a small SIP user agent of its own, with a user before it and, at times, bad habits.
//!
//! It shares no code with the product. It knows only what comes over the wire; what it finds wrong there it writes down as a
//! [`Complaint`], and what became of its calls as a [`CallLog`]. Like the engine it is sans-IO: `receive`, `tick` and the
//! few switches below change it, and what it sends waits in `out`.
//!
//! ```text
//! off ──boot──► registering ──200──► registered ──refresh──► …         (register.rs)
//! call, outgoing: Calling ──18x──► Early ──200──► Up ──BYE──► Over      (outgoing.rs)
//! call, incoming: Ringing ──our 200──► Up ──BYE──► Over                 (incoming.rs)
//! ```

pub mod call;
pub mod complaint;
mod dialog;
mod incoming;
mod media;
mod midcall;
mod outgoing;
mod register;
mod requests;
mod session;
pub mod traits;
pub mod transaction;
mod user;

use crate::clock::{Agenda, Entry, Time};
use crate::prng::Prng;
use crate::sip::digest::Session;
use crate::sip::text::Msg;
use call::{Call, CallId, CallLog};
use complaint::Complaint;
use register::Registration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use traits::{Profile, Transport};
use transaction::{Client, Server, TxKey};
use user::User;

/// What a phone asks of the network.
#[derive(Debug)]
pub enum Out {
    Datagram { to: SocketAddr, bytes: Vec<u8> },
    Stream { bytes: Vec<u8> },
    Connect,
}

/// Everything a phone waits for.
#[derive(Clone, PartialEq, Debug)]
enum Timer {
    /// Send the request again (A, E).
    Retransmit(TxKey),
    /// Nobody answered the request (B, F), or an INVITE stayed without a final response.
    Timeout(TxKey),
    /// The request's transaction is over (D, K, M).
    ForgetClient(TxKey),
    /// Send the final response again (G).
    RetransmitFinal(TxKey),
    /// The response's transaction is over (H, I, J, L).
    ForgetServer(TxKey),
    /// Send the 2xx to an INVITE again until its ACK comes (RFC 3261 §13.3.1.4).
    RetransmitOk(CallId),
    /// Send a reliable provisional response again until its PRACK comes (RFC 3262 §3).
    RetransmitProvisional(CallId),
    /// Refresh the registration, or try again.
    Register,
    /// An empty line to hold the NAT mapping open.
    KeepAlive,
    /// Open the connection anew.
    Connect,
    /// The next step of a ringing incoming call.
    Ring(CallId),
    /// Answer a re-INVITE that was left lying for a while.
    AnswerAgain(CallId),
    /// The user wants something of this call.
    Whim(CallId),
    /// The user has had enough of this call: cancel or hang up.
    Enough(CallId),
    /// Try the re-INVITE again that met 491.
    Glare(CallId),
    /// Take the re-INVITE back.
    TakeBack(CallId),
    /// Refresh the session (RFC 4028).
    Refresh(CallId),
    /// The session ran out.
    Expire(CallId),
    /// The phone's patience with the other side ran out: what should have come has not.
    Overdue(CallId, &'static str),
    /// The user does something new.
    User,
    /// A message is sent again for no reason.
    Stray(SocketAddr, Vec<u8>),
}

pub struct Phone {
    pub profile: Profile,
    pub out: Vec<Out>,
    pub complaints: Vec<Complaint>,
    /// Every call of this phone's life, reboots included.
    pub logs: Vec<CallLog>,
    pub calls: BTreeMap<CallId, Call>,
    pub registration: Registration,
    pub powered: bool,
    /// True while the TCP connection stands; always true over UDP.
    pub connected: bool,
    /// Counts boots: part of every branch, so that answers to a former life are known as such.
    pub life: u32,
    user: User,
    rng: Prng,
    now: Time,
    timers: Agenda<Timer>,
    clients: BTreeMap<TxKey, Client>,
    servers: BTreeMap<TxKey, Server>,
    auth: Option<Session>,
    next_call: CallId,
    next_branch: u32,
    /// Bodies of MESSAGEs that came, and of those that were accepted by the other side.
    pub messages_got: Vec<String>,
    pub messages_accepted: Vec<String>,
    messages_sent: u32,
}

impl Phone {
    pub fn new(profile: Profile, rng: Prng) -> Phone {
        Phone {
            connected: profile.transport == Transport::Udp,
            profile,
            out: Vec::new(),
            complaints: Vec::new(),
            logs: Vec::new(),
            calls: BTreeMap::new(),
            registration: Registration::default(),
            powered: false,
            life: 0,
            user: User::default(),
            rng,
            now: 0,
            timers: Agenda::default(),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            auth: None,
            next_call: 0,
            next_branch: 0,
            messages_got: Vec::new(),
            messages_accepted: Vec::new(),
            messages_sent: 0,
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        self.timers.next_at()
    }

    pub fn tick(&mut self, now: Time) {
        self.now = now;
        while let Some(timer) = self.timers.due(now) {
            self.fire(timer);
        }
    }

    /// A datagram, or a whole message of the connection.
    pub fn receive(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        self.now = now;
        if !self.powered || bytes.iter().all(|b| matches!(b, b'\r' | b'\n')) {
            return;
        }
        let Some(msg) = Msg::parse(bytes) else {
            // Who sends garbage gets its headers back.
            if !self.profile.quirks.sends_rubbish() {
                self.complain("a message no phone can read", &String::from_utf8_lossy(bytes));
            }
            return;
        };
        match msg.code() {
            Some(_) => self.on_response(msg),
            None => self.on_request(msg, from),
        }
    }

    pub fn boot(&mut self, now: Time) {
        self.now = now;
        self.powered = true;
        self.life += 1;
        self.registration = Registration::default();
        self.auth = None;
        match self.profile.transport {
            Transport::Udp => self.register_soon(0),
            Transport::Tcp => self.out.push(Out::Connect),
        }
        self.start_user();
    }

    /// The plug is pulled: whatever it knew is gone.
    pub fn crash(&mut self, now: Time) {
        self.now = now;
        let open: Vec<CallId> = self.calls.keys().copied().collect();
        open.into_iter().for_each(|call| self.end(call, call::Ending::Crashed));
        self.powered = false;
        self.connected = self.profile.transport == Transport::Udp;
        self.calls.clear();
        self.clients.clear();
        self.servers.clear();
        self.timers = Agenda::default();
        self.registration = Registration::default();
    }

    pub fn on_connected(&mut self, now: Time) {
        self.now = now;
        if self.powered {
            self.connected = true;
            self.register_soon(0);
        }
    }

    /// The connection broke or was refused.
    pub fn on_disconnected(&mut self, now: Time) {
        self.now = now;
        self.connected = false;
        if !self.powered {
            return;
        }
        self.registration.lost();
        let pause = self.rng.range(500, 4_000) * crate::clock::MS;
        self.timer(pause, Timer::Connect);
    }

    /// The user does nothing new; what is under way goes on.
    pub fn freeze(&mut self) {
        self.user.frozen = true;
    }

    /// The user hangs up whatever there is, and rejects whatever comes.
    pub fn stop(&mut self, now: Time) {
        self.now = now;
        self.user.stopped = true;
        let open: Vec<CallId> = self.calls.keys().copied().collect();
        open.into_iter().for_each(|call| self.enough(call));
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Retransmit(key) => self.retransmit(&key),
            Timer::Timeout(key) => self.on_timeout(&key),
            Timer::ForgetClient(key) => drop(self.clients.remove(&key)),
            Timer::RetransmitFinal(key) => self.retransmit_final(&key),
            Timer::ForgetServer(key) => self.forget_server(&key),
            Timer::RetransmitOk(call) => self.retransmit_ok(call),
            Timer::RetransmitProvisional(call) => self.retransmit_provisional(call),
            Timer::Register => self.register(),
            Timer::KeepAlive => self.keep_alive(),
            Timer::Connect => self.out.push(Out::Connect),
            Timer::Ring(call) => self.ring_on(call),
            Timer::AnswerAgain(call) => self.answer_reinvite(call),
            Timer::Whim(call) => self.whim(call),
            Timer::Enough(call) => self.enough(call),
            Timer::Glare(call) => self.reinvite_again(call),
            Timer::TakeBack(call) => self.take_back(call),
            Timer::Refresh(call) => self.refresh_session(call),
            Timer::Expire(call) => self.session_expired(call),
            Timer::Overdue(call, what) => self.overdue(call, what),
            Timer::User => self.act(),
            Timer::Stray(to, bytes) => self.transmit_plain(to, bytes),
        }
    }

    fn timer(&mut self, after: Time, timer: Timer) -> Entry {
        self.timers.put(self.now + after, timer)
    }

    fn disarm(&mut self, entry: Option<Entry>) {
        if let Some(entry) = entry {
            self.timers.strike(entry);
        }
    }

    /// Whether anything but the registration is still under way.
    pub fn is_quiet(&self) -> bool {
        self.calls.is_empty()
            && self.clients.values().all(|client| client.is_done() || client.is_registration())
            && self.servers.values().all(Server::is_done)
    }

    /// What is still under way, in words.
    pub fn unfinished(&self) -> String {
        let calls = self.calls.values().map(|c| format!("call {} {:?} {}", c.id, c.phase, c.dialog.call_id));
        let clients = self.clients.iter().filter(|(_, c)| !c.is_done()).map(|(key, _)| format!("request {key:?}"));
        let servers = self.servers.iter().filter(|(_, s)| !s.is_done()).map(|(key, _)| format!("response {key:?}"));
        calls.chain(clients).chain(servers).collect::<Vec<_>>().join(", ")
    }
}
