//! The engine's thread: the only one that touches the engine.
//!
//! ```text
//!        ┌──────────────────────────────────────────────────────────────────────────────┐
//!        ▼                                                                              │
//!      rest ──► inbox ──► datagrams ──► connections' messages ──► time-outs ──► do what the engine asked
//!   (epoll or nap)   (a batch a socket)   (at most TURN)
//! ```
//!
//! Invariants: nothing here blocks but `rest`; every input has a clock reading of its own; what one turn's inputs asked for
//! is done before the next turn, but the ends of calls (records, ports given back) wait for company, `PATIENCE` at most.

use crate::base::ids::{ConnectionId, ListenerId, Token, TransactionId};
use crate::base::map::{Map, Seeded};
use crate::base::now::Micros;
use crate::base::rng::Rng;
use crate::engine::Engine;
use crate::engine::event::{Event, EventBody};
use crate::engine::flow::Flow;
use crate::engine::io::{Command, CommandResult, Input, Output, Suspect, Suspicion};
use crate::engine::media::{MediaCommand, MediaEvent};
use crate::engine::record::{Binding, Record, RecordBody};
use crate::net::counters::NetCounters;
use crate::net::guard::{Door, Silence, Way};
use crate::net::tcp::{Arrival, Connection};
use crate::net::told::Told;
use crate::net::udp::{BATCH, Datagram, Sent, UdpListener};
use crate::net::wake::Waker;
use crate::node::clock;
use crate::node::events::EventQueue;
use crate::node::inbox::{Inbox, Mail, Order};
use crate::node::rest::{Rest, Woken};
use crate::node::stats::Stats;
use crate::proto::sip::message::Message;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Messages of connections taken in one turn.
const TURN: usize = 256;
/// How long what nobody waits for may wait for company: the wake-up of another thread costs more than most messages.
const PATIENCE: Duration = Duration::from_millis(50);
/// How long after giving ports back their totals are looked for, if nothing else comes: a call is over with them.
const TOTALS: Duration = Duration::from_millis(5);
/// So many of a kind are company enough.
const COMPANY: usize = 64;
/// Datagrams that wait for a full socket; beyond it they are lost, as on any full link, and counted.
const OUTBOX: usize = 8_192;

pub type MediaOutlet = Box<dyn FnMut(std::vec::Drain<'_, MediaCommand>) + Send>;

/// Where the engine's outputs go that are not messages.
pub struct Outlets {
    /// Takes the media commands of a turn.
    pub media: MediaOutlet,
    /// Takes the records of a turn.
    pub records: Box<dyn FnMut(Vec<Record>) + Send>,
    pub events: Arc<EventQueue>,
}

/// Where the engine's inputs come from.
pub struct Sources {
    /// Made by `bind::udp`; at most `rest::SOCKETS`.
    pub sockets: Vec<(ListenerId, UdpSocket)>,
    pub arrivals: mpsc::Receiver<Arrival>,
    pub inbox: Arc<Inbox>,
    pub waker: Arc<Waker>,
    /// Whom it takes messages from.
    pub door: Arc<Door>,
}

pub struct Driver {
    engine: Engine,
    sockets: Vec<Socket>,
    arrivals: mpsc::Receiver<Arrival>,
    inbox: Arc<Inbox>,
    door: Arc<Door>,
    rest: Rest,
    outlets: Outlets,
    connections: Map<ConnectionId, Arc<Connection>>,
    waiters: Map<Token, oneshot::Sender<CommandResult>>,
    next_token: u64,
    out: Vec<Output>,
    media: Vec<MediaCommand>,
    /// Ports to be given back.
    releases: Vec<MediaCommand>,
    records: Vec<Record>,
    events: Vec<Event>,
    outstanding: Outstanding,
    /// Messages that could not be sent; told to the engine in the next turn.
    failed: VecDeque<TransactionId>,
    net: Arc<NetCounters>,
    /// Messages dropped because too many come.
    flood: Told,
    stats: Arc<Stats>,
    is_stopped: bool,
}

/// What can wait for a while, and until when.
#[derive(Default)]
struct Outstanding {
    /// Records are there that are not to wait.
    is_urgent: bool,
    /// Ports given back whose totals have not come.
    totals: usize,
    /// When the thread looks after it at the latest.
    until: Option<Micros>,
}

struct Socket {
    listener: UdpListener,
    outbox: VecDeque<Datagram>,
    is_blocked: bool,
}

impl Driver {
    /// To be made on the thread it runs on. `nap` is how long the thread naps under load instead of waiting for each datagram; zero for never.
    pub fn new(
        engine: Engine,
        sources: Sources,
        outlets: Outlets,
        nap: Duration,
        net: Arc<NetCounters>,
        stats: Arc<Stats>,
        rng: &mut Rng,
    ) -> io::Result<Driver> {
        let seeded = Seeded::new(rng);
        let mut rest = Rest::new(sources.waker, nap, stats.clone())?;
        let mut sockets = Vec::new();
        for (n, (id, socket)) in sources.sockets.into_iter().enumerate() {
            let listener = UdpListener::new(id, socket)?;
            rest.watch(n, &listener)?;
            sockets.push(Socket { listener, outbox: VecDeque::new(), is_blocked: false });
        }
        Ok(Driver {
            engine,
            sockets,
            arrivals: sources.arrivals,
            inbox: sources.inbox,
            door: sources.door,
            rest,
            outlets,
            connections: Map::with_hasher(seeded.clone()),
            waiters: Map::with_hasher(seeded),
            next_token: 1,
            out: Vec::new(),
            media: Vec::new(),
            releases: Vec::new(),
            records: Vec::new(),
            events: Vec::new(),
            outstanding: Outstanding::default(),
            failed: VecDeque::new(),
            net,
            flood: Told::default(),
            stats,
            is_stopped: false,
        })
    }

    /// Begins with the bindings of before the restart, and runs until it is given `Order::Stop`.
    pub fn run(mut self, bindings: Vec<Arc<Binding>>) {
        self.give(Input::Restore(bindings));
        self.execute();
        while !self.is_stopped {
            let woken = self.rest();
            self.turn(&woken);
        }
        self.hand_over();
    }

    fn rest(&mut self) -> Woken {
        let has_work = !self.failed.is_empty();
        self.inbox.set_awaits_records(self.engine.awaits_records());
        let (inbox, arrivals) = (&self.inbox, &self.arrivals);
        let deadline = self.engine.deadline().into_iter().chain(self.outstanding.until).min();
        self.rest.until(deadline, || has_work || inbox.has_mail() || !arrivals.is_empty())
    }

    fn turn(&mut self, woken: &Woken) {
        // First the mail: the grants in it are for the calls among the datagrams.
        let mut inputs = self.inbox.take().map_or(0, |mail| self.open(mail));
        for n in 0..self.sockets.len() {
            if woken.is_readable(n) {
                inputs += self.receive(n);
            }
            if woken.is_writable(n) {
                self.send(n);
            }
        }
        while let Some(key) = self.failed.pop_front() {
            self.give(Input::SendFailed { key });
            inputs += 1;
        }
        inputs += self.take_arrivals();
        if self.engine.deadline().is_some_and(|at| at <= clock::mono()) {
            self.give(Input::Timeout);
            self.stats.timeouts.add(1);
        }
        self.execute();
        self.stats.inputs.add(inputs as u64);
        self.rest.turn_done(inputs);
    }

    fn give(&mut self, input: Input) {
        self.engine.handle(clock::now(), input, &mut self.out);
    }

    fn receive(&mut self, n: usize) -> usize {
        let (engine, out, net, door, flood) =
            (&mut self.engine, &mut self.out, &*self.net, &self.door, &mut self.flood);
        let mut sink = |flow: Flow, bytes: &_| {
            if let Err(silence) = datagram(engine, out, (net, door), flow, bytes) {
                silenced(net, flood, flow, silence);
            }
        };
        let received = self.sockets[n].listener.receive(&mut sink);
        match received {
            Ok(count) => {
                self.net.udp_received.add(count as u64);
                if count == BATCH {
                    self.rest.again(n);
                }
                count
            }
            Err(error) => {
                tracing::error!("receiving on udp:{} fails: {error}", self.sockets[n].listener.bound());
                // Not a loop that eats a processor while the cause lasts.
                thread::sleep(Duration::from_millis(10));
                0
            }
        }
    }

    fn open(&mut self, mail: Mail) -> usize {
        let count = mail.recorded.len() + mail.media.len() + mail.orders.len();
        if let Some(refused) = mail.refused {
            self.give(Input::RecordsRefused(refused));
        }
        for (upto, kept) in mail.recorded {
            self.give(Input::Recorded { upto, kept });
        }
        for event in mail.media {
            if matches!(event, MediaEvent::Released { .. }) {
                self.outstanding.totals = self.outstanding.totals.saturating_sub(1);
            }
            self.give(Input::Media(event));
        }
        for order in mail.orders {
            match order {
                Order::Command { command, done } => self.command(command, done),
                Order::Directory { directory, done } => {
                    self.give(Input::Directory(directory));
                    // Whoever waited may have gone.
                    let _ = done.send(());
                }
                Order::Beat { done } => drop(done.send(())),
                Order::Stop => self.is_stopped = true,
            }
        }
        count
    }

    fn command(&mut self, command: Command, done: oneshot::Sender<CommandResult>) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.waiters.insert(token, done);
        self.give(Input::Command { token, command });
    }

    fn take_arrivals(&mut self) -> usize {
        for count in 0..TURN {
            let Ok(arrival) = self.arrivals.try_recv() else { return count };
            match arrival {
                Arrival::Opened(connection) => drop(self.connections.insert(connection.id(), connection)),
                Arrival::Message { flow, message } => self.message(flow, message),
                Arrival::Closed(connection) => {
                    self.connections.remove(&connection);
                    self.give(Input::FlowClosed { connection });
                }
            }
        }
        TURN
    }

    /// A message of a connection. A stream can't lose some of its messages in silence: a source that sends too much, or is
    /// banned, loses its connection.
    fn message(&mut self, flow: Flow, message: Message) {
        let now = clock::now();
        let from = flow.remote.ip();
        let mut guard = self.door.guard();
        let (silence, is_over) = match guard.admit(now.mono, from, Way::Connection) {
            Ok(care) if care.is_needed() => (guard.inspect(now.mono, from, care, &message), false),
            Ok(_) => (None, false),
            Err(silence) => (Some(silence), true),
        };
        drop(guard);
        let Some(silence) = silence else {
            return self.engine.handle(now, Input::Sip { flow, message }, &mut self.out);
        };
        silenced(&self.net, &mut self.flood, flow, silence);
        if let Some(connection) = flow.connection.filter(|_| is_over).and_then(|id| self.connections.get(&id)) {
            connection.close();
        }
    }

    fn suspect(&self, suspect: &Suspect) {
        self.net.failed_logins.add(u64::from(matches!(suspect.what, Suspicion::LogIn { .. })));
        let now = clock::mono();
        if let Some(ban) = self.door.guard().suspect(now, suspect) {
            self.net.bans.add(1);
            let (time, why) = (ban.until.since(now), ban.reason.text());
            let hint = match ban.user {
                Some(_) => "If it is a phone of yours, its password may be an old one. ",
                None => "",
            };
            tracing::warn!("banned {ban} for {time:?}: {why}. {hint}strowger bans clear {} ends it", ban.source);
        }
    }

    /// Does what the engine asked for: messages in order, the rest in one batch of each kind.
    fn execute(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        for output in out.drain(..) {
            match output {
                Output::Send { flow, bytes, key } => self.post(flow, bytes, key),
                Output::Media(command @ MediaCommand::Release { .. }) => self.releases.push(command),
                Output::Media(command) => self.media.push(command),
                Output::Record(record) => {
                    // Nobody is told of a call's end; all else holds a call or an answer back.
                    self.outstanding.is_urgent |= !matches!(record.body, RecordBody::CallEnded(_));
                    if let RecordBody::Binding(binding) = &record.body {
                        self.door.registered(clock::now(), binding);
                    }
                    self.records.push(record);
                }
                Output::Done { token, result } => {
                    if let Some(done) = self.waiters.remove(&token) {
                        let _ = done.send(result);
                    }
                }
                Output::Event(event) => {
                    match event.body {
                        EventBody::CallStarted { .. } => self.stats.calls.add(1),
                        EventBody::CallEnded { .. } => self.stats.calls.sub(1),
                        _ => {}
                    }
                    self.events.push(event);
                }
                Output::Suspect(suspect) => self.suspect(&suspect),
            }
        }
        self.out = out;
        for n in 0..self.sockets.len() {
            if !self.sockets[n].outbox.is_empty() && !self.sockets[n].is_blocked {
                self.send(n);
            }
        }
        self.outlets.events.push(&mut self.events);
        self.hand_over_in_time();
    }

    /// Gives records and media commands to their threads; the ends of calls when something else goes the same way, when
    /// they are company enough, or when they have waited long enough.
    fn hand_over_in_time(&mut self) {
        if !self.media.is_empty() {
            (self.outlets.media)(self.media.drain(..));
        }
        if std::mem::take(&mut self.outstanding.is_urgent) {
            self.hand_over_records();
        }
        let waiting = self.records.len().max(self.releases.len()).max(self.outstanding.totals);
        if waiting == 0 {
            self.outstanding.until = None;
            return;
        }
        let is_company = self.records.len().max(self.releases.len()) >= COMPANY;
        let now = clock::mono();
        let until = *self.outstanding.until.get_or_insert(now + PATIENCE);
        if is_company || until <= now {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.hand_over_records();
        self.outstanding.totals += self.releases.len();
        if !self.releases.is_empty() {
            (self.outlets.media)(self.releases.drain(..));
        }
        self.outstanding.until = (self.outstanding.totals > 0).then(|| clock::mono() + TOTALS);
    }

    fn hand_over_records(&mut self) {
        if !self.records.is_empty() {
            (self.outlets.records)(std::mem::take(&mut self.records));
        }
    }

    fn post(&mut self, flow: Flow, bytes: Bytes, key: Option<TransactionId>) {
        if let Some(id) = flow.connection {
            let sent = self.connections.get(&id).is_some_and(|connection| connection.send(bytes).is_ok());
            if sent {
                self.net.tcp_sent.add(1);
            } else {
                self.net.tcp_failed.add(1);
                self.failed.extend(key);
            }
        } else if flow.transport.is_reliable() {
            // A contact of before the restart, whose connection nobody has opened again.
            self.net.tcp_failed.add(1);
            self.failed.extend(key);
        } else if let Some(socket) = self.socket(flow.listener).filter(|socket| socket.outbox.len() < OUTBOX) {
            socket.outbox.push_back(Datagram { flow, bytes, key });
        } else {
            self.net.udp_failed.add(1);
            self.failed.extend(key);
        }
    }

    fn socket(&mut self, listener: ListenerId) -> Option<&mut Socket> {
        self.sockets.iter_mut().find(|socket| socket.listener.id() == listener)
    }

    fn send(&mut self, n: usize) {
        let socket = &mut self.sockets[n];
        let sent = socket.listener.send(&mut socket.outbox, &self.net, &mut |key| self.failed.push_back(key));
        let is_blocked = sent == Sent::Blocked;
        if is_blocked != socket.is_blocked {
            socket.is_blocked = is_blocked;
            self.rest.watch_writable(n, &socket.listener, is_blocked);
        }
    }
}

/// A datagram on its way into the engine: a message, a keep-alive, or something nobody answers.
///
/// Errors: the guard has it that nobody hears it.
fn datagram(
    engine: &mut Engine,
    out: &mut Vec<Output>,
    (net, door): (&NetCounters, &Door),
    flow: Flow,
    bytes: &[u8],
) -> Result<(), Silence> {
    // RFC 5626 §3.5.1 pings streams with line ends; phones do it over UDP too, to hold a NAT's door open. One zero
    // octet does the same (RFC 6223 §4.1 leaves the form open; seen from several vendors).
    if bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | 0)) {
        net.keepalives.add(1);
        return Ok(());
    }
    let (now, from) = (clock::now(), flow.remote.ip());
    let care = door.guard().admit(now.mono, from, Way::Datagram)?;
    let Ok(message) = Message::parse(Bytes::copy_from_slice(bytes)) else {
        net.garbage.add(1);
        door.guard().rubbish(now.mono, from, Way::Datagram);
        return Ok(());
    };
    if care.is_needed()
        && let Some(silence) = door.guard().inspect(now.mono, from, care, &message)
    {
        return Err(silence);
    }
    engine.handle(now, Input::Sip { flow, message }, out);
    Ok(())
}

/// Counts what is met with silence. An administrator hears of floods, for who is too fast may be a whole office.
fn silenced(net: &NetCounters, flood: &mut Told, flow: Flow, silence: Silence) {
    net.silenced(silence);
    if silence == Silence::TooFast
        && let Some(hidden) = flood.tell(Instant::now())
    {
        tracing::warn!(
            "too many messages: one of {} is dropped, and {hidden} of any source since the last such line. If an office or \
             a trunk is there, see guard.stranger_rate, guard.registered_rate and guard.trusted",
            flow.remote.ip()
        );
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
