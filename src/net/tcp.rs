//! Connections, TCP as it is or with TLS on it: one task a connection reads messages; the engine's thread writes them
//! itself.
//!
//! ```text
//!   the door lets it in   TLS only: its turn, agreed   whole message              nothing for IDLE, half a message for
//!   (waiting) ─► (handshaking) ─────────► (accepted) ──────────────► (talking)    HALF, a peer that does not read,
//!       │              │                      │  nothing whole for FIRST  │        a fault, end of stream
//!       │              │                      └───────────────────────────┴──────────► (closed): the engine is told
//!       └──────────────┴─ no turn for FIRST, a fault, HANDSHAKE over ─► (refused): the engine never hears of it
//! ```
//!
//! Who owns what: the task reads and decides when the connection ends; `Connection::send` writes at once when nothing
//! waits before it, so that most answers cost one system call and wake nobody; the task writes what had to wait.

use crate::base::ids::{ConnectionId, ListenerId};
use crate::base::limits;
use crate::engine::flow::{Flow, Transport};
use crate::net::counters::NetCounters;
use crate::net::guard::{Door, Entry, Unwelcome};
use crate::net::tls::Tls;
use crate::net::told::Told;
use crate::net::turns::Turns;
use crate::net::wake::Waker;
use crate::net::wire::Wire;
use crate::proto::sip::message::Message;
use crate::proto::sip::stream::{Frame, Framer, PONG};
use bytes::Bytes;
use socket2::{SockRef, TcpKeepalive};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

/// Bytes that may wait for a peer that reads slowly; beyond it messages are refused.
const PENDING_BYTES: usize = 256 * 1024;
/// By how much newcomers have less time when few places are left.
const HURRY: u32 = 10;
/// Pause after the kernel could not give us a connection (out of descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a peer may stay silent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For agreeing on TLS.
    pub handshake: Duration,
    /// Until its first whole message.
    pub first: Duration,
    /// Between messages or keep-alives. Longer than the longest registration: a phone need not send anything else.
    pub idle: Duration,
    /// With a message begun.
    pub half: Duration,
    /// With us waiting to write and it not reading.
    pub write: Duration,
}

impl Patience {
    /// `longest_registration` is what a phone may be granted, seconds.
    pub fn new(longest_registration: u32) -> Patience {
        Patience {
            handshake: Duration::from_secs(10),
            first: Duration::from_secs(30),
            idle: Duration::from_secs(u64::from(longest_registration) + 60),
            half: Duration::from_secs(10),
            write: Duration::from_secs(30),
        }
    }
}

/// What a connection tells the engine's thread, in this order: one `Opened`, messages, one `Closed`.
#[expect(clippy::large_enum_variant, reason = "nearly all arrivals are messages")]
pub enum Arrival {
    Opened(Arc<Connection>),
    Message { flow: Flow, message: Message },
    Closed(ConnectionId),
}

/// Shared by all listeners of a daemon.
pub struct TcpPlane {
    pub arrivals: mpsc::Sender<Arrival>,
    pub waker: Arc<Waker>,
    pub counters: Arc<NetCounters>,
    pub patience: Patience,
    door: Arc<Door>,
    pub turns: Turns,
    /// For long messages that are not whole.
    long: Arc<Semaphore>,
    next_id: AtomicU64,
    room: Arc<Semaphore>,
    connections: usize,
    /// Sources with too many connections.
    greedy: Mutex<Told>,
}

impl TcpPlane {
    pub fn new(
        arrivals: mpsc::Sender<Arrival>,
        waker: Arc<Waker>,
        counters: Arc<NetCounters>,
        patience: Patience,
        door: Arc<Door>,
        connections: usize,
    ) -> TcpPlane {
        TcpPlane {
            arrivals,
            waker,
            counters,
            patience,
            door,
            turns: Turns::default(),
            long: Arc::new(Semaphore::new(limits::LONG_HALVES)),
            next_id: AtomicU64::new(1),
            room: Arc::new(Semaphore::new(connections)),
            connections,
            greedy: Mutex::default(),
        }
    }

    /// Accepts connections, with `tls` over TLS, until the task is dropped, and its connections with it.
    pub async fn serve(self: Arc<Self>, listener_id: ListenerId, listener: TcpListener, tls: Option<Arc<Tls>>) {
        let mut tasks = JoinSet::new();
        let mut is_full = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_ended) = tasks.join_next() => continue,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!("can't accept a SIP connection: {error}; trying again in {ACCEPT_PAUSE:?}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = self.room.clone().try_acquire_owned() else {
                self.counters.tcp_refused.add(1);
                if !is_full {
                    warn!("{} SIP connections are open: new ones are refused until some close", self.connections);
                }
                is_full = true;
                continue;
            };
            is_full = false;
            match self.door.connect(remote.ip()) {
                Ok(entry) => {
                    let newcomer = Newcomer { listener: listener_id, stream, remote, entry, _permit: permit };
                    drop(tasks.spawn(self.clone().attend(newcomer, tls.clone())));
                }
                Err(why) => self.turn_away(remote, why),
            }
        }
    }

    fn turn_away(&self, remote: SocketAddr, why: Unwelcome) {
        self.counters.tcp_unwelcome.add(1);
        if why == Unwelcome::TooMany {
            let told = self.greedy.lock().unwrap_or_else(PoisonError::into_inner).tell(Instant::now().into_std());
            if told.is_some() {
                warn!(
                    "{} has as many SIP connections as guard.connections allows one address: further ones are refused. If \
                     an office is behind it, raise the limit",
                    remote.ip()
                );
            }
        }
    }

    async fn attend(self: Arc<Self>, newcomer: Newcomer, tls: Option<Arc<Tls>>) {
        self.counters.tcp_accepted.add(1);
        self.counters.tcp_open.add(1);
        let Newcomer { listener, stream, remote, entry, _permit } = newcomer;
        let id = ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let mut framer = Framer::default();
        let connected = match &tls {
            None => Connection::new(id, listener, stream, None),
            Some(tls) => self.agree(id, listener, (stream, remote), &mut framer, tls).await,
        };
        match connected.map(Arc::new) {
            Ok(connection) => {
                if self.tell(Arrival::Opened(connection.clone())).await {
                    let end = self.talk(&connection, framer).await;
                    debug!("SIP connection of {remote} closed: {end}");
                    if matches!(end, End::Unreadable(_)) {
                        entry.rubbish();
                    }
                    connection.close();
                    connection.wire.close();
                    self.tell(Arrival::Closed(id)).await;
                }
            }
            Err(error) => {
                entry.rubbish();
                debug!("a SIP connection of {remote} ended before it began: {error}");
            }
        }
        self.counters.tcp_open.sub(1);
    }

    /// The TLS handshake, when its turn has come. What the peer said right behind it is in `framer`.
    async fn agree(
        &self,
        id: ConnectionId,
        listener: ListenerId,
        (stream, remote): (TcpStream, SocketAddr),
        framer: &mut Framer,
        tls: &Tls,
    ) -> io::Result<Connection> {
        let shake_hands = async {
            let _turn = timeout(self.in_time(self.patience.first), self.turns.wait(remote.ip().into())).await?;
            let connection = Connection::new(id, listener, stream, Some(tls))?;
            timeout(self.in_time(self.patience.handshake), connection.shake_hands(framer)).await??;
            io::Result::Ok(connection)
        };
        let agreed = shake_hands.await;
        match &agreed {
            Ok(_) => self.counters.tls_agreed.add(1),
            Err(error) => {
                self.counters.tls_failed.add(1);
                tls.tell_refused(remote, error);
            }
        }
        agreed
    }

    /// How long a newcomer may take: when few places are left, those who hold one without a word go sooner.
    fn in_time(&self, patience: Duration) -> Duration {
        if self.room.available_permits() * 4 < self.connections { patience / HURRY } else { patience }
    }

    /// Reads until the connection ends; says why it did. `framer` holds what was read before.
    async fn talk(&self, connection: &Connection, mut framer: Framer) -> End {
        let patience = Patience { first: self.in_time(self.patience.first), ..self.patience };
        let mut silence = Silence::new(patience);
        let mut alarm = std::pin::pin!(sleep_until(silence.deadline()));
        if let Err(end) = self.take_frames(connection, &mut framer, &mut silence).await {
            return end;
        }
        loop {
            let is_pending = connection.is_pending();
            silence.writing(is_pending);
            // Deadlines mostly move away: the alarm is set anew only when one came nearer.
            if silence.deadline() < alarm.deadline() {
                alarm.as_mut().reset(silence.deadline());
            }
            tokio::select! {
                ready = connection.wire.stream.readable() => {
                    let is_open = match ready.and_then(|()| connection.wire.read(framer.buffer())) {
                        Ok(is_open) => is_open,
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                        Err(e) => return End::Broken(e),
                    };
                    if let Err(end) = self.take_frames(connection, &mut framer, &mut silence).await {
                        return end;
                    }
                    if !is_open {
                        return End::Finished;
                    }
                }
                ready = connection.wire.stream.writable(), if is_pending => {
                    match ready.and_then(|()| connection.flush()) {
                        Ok(0) => {}
                        Ok(_) => silence.wrote(),
                        Err(error) => return End::Broken(error),
                    }
                }
                // Something began to wait, or the engine closed us.
                () = connection.changed.notified() => {}
                () = alarm.as_mut() => {
                    if let Some(end) = silence.over() {
                        return end;
                    }
                    alarm.as_mut().reset(silence.deadline());
                    continue;
                }
            }
            if connection.is_closed() {
                return End::Closed;
            }
        }
    }

    async fn take_frames(
        &self,
        connection: &Connection,
        framer: &mut Framer,
        silence: &mut Silence,
    ) -> Result<(), End> {
        loop {
            match framer.next_frame() {
                Ok(Some(Frame::Message(message))) => {
                    silence.heard();
                    self.counters.tcp_received.add(1);
                    if !self.tell(Arrival::Message { flow: connection.flow, message }).await {
                        return Err(End::Closed);
                    }
                }
                Ok(Some(Frame::Ping)) => {
                    silence.kept_alive();
                    self.counters.keepalives.add(1);
                    // A peer that sends pings and reads no pongs is not worth a place in the queue.
                    let _ = connection.send(Bytes::from_static(PONG));
                }
                Ok(Some(Frame::Pong)) => {
                    silence.kept_alive();
                    self.counters.keepalives.add(1);
                }
                Ok(None) => {
                    silence.half(framer.is_waiting());
                    let buffer = framer.buffer();
                    if buffer.is_empty() {
                        // A phone that is silent needs no buffer.
                        *buffer = Default::default();
                    }
                    return self.hold(buffer.len(), silence);
                }
                Err(error) => {
                    self.counters.garbage.add(1);
                    return Err(End::Unreadable(error.to_string()));
                }
            }
        }
    }

    /// Half a message of so many bytes waits for the rest: only so many connections may hold a long one.
    fn hold(&self, half: usize, silence: &mut Silence) -> Result<(), End> {
        if half <= limits::HALF_BYTES {
            silence.long = None;
        } else if silence.long.is_none() {
            silence.long = Some(self.long.clone().try_acquire_owned().map_err(|_| End::Crowded)?);
        }
        Ok(())
    }

    /// False when the engine's thread has ended.
    async fn tell(&self, arrival: Arrival) -> bool {
        let told = self.arrivals.send(arrival).await.is_ok();
        self.waker.wake();
        told
    }
}

/// A connection the door let in.
struct Newcomer {
    listener: ListenerId,
    stream: TcpStream,
    remote: SocketAddr,
    entry: Entry,
    _permit: OwnedSemaphorePermit,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed it")]
    Finished,
    #[error("{0}")]
    Broken(io::Error),
    #[error("we closed it")]
    Closed,
    #[error("it sent {0}")]
    Unreadable(String),
    #[error("the peer sent no whole message in time")]
    Silent,
    #[error("the peer does not read")]
    Stuck,
    #[error("too many peers have sent half of a long message")]
    Crowded,
}

/// When the connection has been silent for too long.
struct Silence {
    patience: Patience,
    has_spoken: bool,
    heard: Instant,
    half_since: Option<Instant>,
    stuck_since: Option<Instant>,
    /// With more than `limits::HALF_BYTES` of a message begun.
    long: Option<OwnedSemaphorePermit>,
}

impl Silence {
    fn new(patience: Patience) -> Silence {
        Silence { patience, has_spoken: false, heard: Instant::now(), half_since: None, stuck_since: None, long: None }
    }

    fn heard(&mut self) {
        self.has_spoken = true;
        self.heard = Instant::now();
        self.half_since = None;
    }

    /// Line ends alone don't hold a connection that never said anything.
    fn kept_alive(&mut self) {
        if self.has_spoken {
            self.heard = Instant::now();
        }
    }

    fn half(&mut self, is_waiting: bool) {
        match is_waiting {
            true => drop(self.half_since.get_or_insert_with(Instant::now)),
            false => self.half_since = None,
        }
    }

    fn writing(&mut self, is_pending: bool) {
        match is_pending {
            true => drop(self.stuck_since.get_or_insert_with(Instant::now)),
            false => self.stuck_since = None,
        }
    }

    fn wrote(&mut self) {
        self.stuck_since = None;
    }

    fn deadline(&self) -> Instant {
        let quiet = self.heard + if self.has_spoken { self.patience.idle } else { self.patience.first };
        let half = self.half_since.map_or(quiet, |since| since + self.patience.half);
        let stuck = self.stuck_since.map_or(quiet, |since| since + self.patience.write);
        quiet.min(half).min(stuck)
    }

    fn over(&self) -> Option<End> {
        let now = Instant::now();
        if self.deadline() > now {
            return None;
        }
        let is_stuck = self.stuck_since.is_some_and(|since| since + self.patience.write <= now);
        Some(if is_stuck { End::Stuck } else { End::Silent })
    }
}

/// One accepted connection, as the engine's thread holds it.
pub struct Connection {
    id: ConnectionId,
    flow: Flow,
    wire: Wire,
    pending: Mutex<Pending>,
    changed: Notify,
}

/// What waits to be written: whole messages but the first, of which `written` bytes are gone.
#[derive(Default)]
struct Pending {
    queue: VecDeque<Bytes>,
    written: usize,
    bytes: usize,
    is_closed: bool,
}

/// The message was not taken: the connection is gone, or its peer does not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotSent;

impl Connection {
    fn new(id: ConnectionId, listener: ListenerId, stream: TcpStream, tls: Option<&Tls>) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        // A phone that lost its power is noticed within two minutes, not when it should have registered again.
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(15))
            .with_retries(4);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let flow = Flow {
            listener,
            transport: if tls.is_some() { Transport::Tls } else { Transport::Tcp },
            local: stream.local_addr()?.ip(),
            remote: stream.peer_addr()?,
            connection: Some(id),
        };
        let session = tls.map(Tls::session).transpose().map_err(io::Error::other)?;
        let wire = Wire::new(stream, session);
        Ok(Connection { id, flow, wire, pending: Mutex::default(), changed: Notify::new() })
    }

    pub fn id(&self) -> ConnectionId {
        self.id
    }

    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// Until TLS has agreed with the peer. What the peer said with its last word is in `framer`.
    async fn shake_hands(&self, framer: &mut Framer) -> io::Result<()> {
        while self.wire.is_handshaking() {
            let writable = if self.wire.is_pending() { Interest::WRITABLE } else { Interest::READABLE };
            let ready = self.wire.stream.ready(Interest::READABLE | writable).await?;
            if ready.is_writable() {
                self.wire.flush()?;
            }
            if !ready.is_readable() {
                continue;
            }
            match self.wire.read(framer.buffer()) {
                Ok(true) => {}
                // Said all and gone: for the engine to hear what it said.
                Ok(false) if !self.wire.is_handshaking() => {}
                Ok(false) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        self.wire.flush().map(drop)
    }

    /// Writes a whole message, or puts it behind those that wait. Never blocks.
    pub fn send(&self, bytes: Bytes) -> Result<(), NotSent> {
        let mut pending = self.pending();
        if pending.is_closed || pending.bytes + bytes.len() > PENDING_BYTES {
            return Err(NotSent);
        }
        pending.bytes += bytes.len();
        pending.queue.push_back(bytes);
        if pending.queue.len() == 1 {
            if self.write_some(&mut pending).is_err() {
                pending.is_closed = true;
            }
            if pending.is_closed || !pending.queue.is_empty() || self.wire.is_pending() {
                self.changed.notify_one();
            }
            if pending.is_closed {
                return Err(NotSent);
            }
        }
        Ok(())
    }

    /// The task ends the connection soon after.
    pub fn close(&self) {
        self.pending().is_closed = true;
        self.changed.notify_one();
    }

    fn flush(&self) -> io::Result<usize> {
        self.write_some(&mut self.pending())
    }

    /// Writes what the kernel takes; returns how many bytes.
    fn write_some(&self, pending: &mut Pending) -> io::Result<usize> {
        let mut total = self.wire.flush()?;
        while let Some(first) = pending.queue.front() {
            match self.wire.write(&first[pending.written..]) {
                Ok(written) => {
                    total += written;
                    pending.bytes -= written;
                    pending.written += written;
                    if pending.written == first.len() {
                        pending.queue.pop_front();
                        pending.written = 0;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(total)
    }

    fn is_pending(&self) -> bool {
        !self.pending().queue.is_empty() || self.wire.is_pending()
    }

    fn is_closed(&self) -> bool {
        self.pending().is_closed
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
pub(super) mod tests;
