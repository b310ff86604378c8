//! The engine and all around it but the phones' words.

use super::oracle::{Books, Verdict, state};
use super::wire::digest::{self, Session};
use super::wire::text::Msg;
use crate::journal::Journal;
use crate::plane::{Plane, PlaneEvent};
use crate::prng::Prng;
use crate::script::Script;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use strowger::base::cause::Cause;
use strowger::base::ids::{ConnectionId, ListenerId, PortId, TenantId, Token, TransactionId};
use strowger::base::now::{Micros, Now, Timestamp};
use strowger::directory::plan::Plan;
use strowger::directory::{Directory, Extension, Secret, Tenant};
use strowger::engine::Engine;
use strowger::engine::config::{EngineConfig, EngineLimits, Listener, Redirects, SessionTimers};
use strowger::engine::flow::{Flow, Transport};
use strowger::engine::io::{Command, Input, Output};
use strowger::engine::media::{Counters, MediaEvent};
use strowger::engine::record::Binding;
use strowger::proto::sip::message::Message;

pub const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub const PHONES: usize = 4;
pub const PASSWORD: &str = "correct horse";
const REALM: &str = "strowger";
const EXTENSIONS: [&str; 3] = ["1001", "1002", "1003"];
/// Wall clock at the beginning, µs.
const WALL: i64 = 1_700_000_000_000_000;
const PORTS: u32 = 24;
/// Messages remembered of each direction.
const MEMORY: usize = 32;
/// Messages one step may send: a fork to every contact, each with what it ends.
const SENT_AT_ONCE: usize = 200;
/// Timeouts until an office that fell silent must be at rest.
const LAST_STEPS: usize = 3_000;

pub struct Office {
    engine: Engine,
    config: u8,
    epoch: u64,
    now: u64,
    wall: i64,
    rng: Prng,
    plane: Plane,
    pending: VecDeque<PlaneEvent>,
    journal: Journal,
    books: Books,
    keys: VecDeque<TransactionId>,
    /// What the engine sent to phones, the newest last.
    pub received: VecDeque<(usize, Msg)>,
    /// What phones sent, the newest last.
    pub said: VecDeque<(usize, Vec<u8>)>,
    pub sessions: [Option<Session>; PHONES],
    pub count: u32,
    connections: [u64; PHONES],
}

static WHOLE: LazyLock<Arc<Directory>> = LazyLock::new(|| directory(EXTENSIONS.len()));
static SMALLER: LazyLock<Arc<Directory>> = LazyLock::new(|| directory(1));

/// The first extensions, so many.
fn directory(count: usize) -> Arc<Directory> {
    let extension = |number: &&str| {
        let text = format!("{number}:{REALM}:{PASSWORD}");
        let secret = Secret { md5: digest::md5(&text), sha256: digest::sha256(&text) };
        let name = format!("Extension {number}").into();
        let extension = Extension { number: (*number).into(), name, email: "".into(), allow_external: true, secret };
        (Box::from(*number), Arc::new(extension))
    };
    Arc::new(Directory::new([Tenant {
        id: TenantId(1),
        name: "default".into(),
        domains: vec!["pbx.example".into()],
        realm: REALM.into(),
        time_zone: "UTC".into(),
        extensions: EXTENSIONS[..count].iter().map(extension).collect(),
        plan: Plan::sample(),
    }]))
}

fn config(bits: u8, epoch: u64) -> EngineConfig {
    let listener = |(id, transport)| Listener {
        id: ListenerId(id),
        transport,
        bind: SocketAddr::new(SERVER, 5060),
        advertise: None,
        tenant: TenantId(1),
    };
    let listeners = [(0, Transport::Udp), (1, Transport::Tcp), (2, Transport::Tls)];
    let mut config = EngineConfig::new(epoch, listeners.map(listener).to_vec());
    if bits & 1 != 0 {
        config.limits = EngineLimits { calls: 2, bindings: 3, transactions: 8 };
    }
    if bits & 2 != 0 {
        config.redirects = Redirects::Follow;
    }
    if bits & 4 != 0 {
        config.session = SessionTimers { expires: 90, min_se: 90 };
    }
    if bits & 8 != 0 {
        config.ring_timeout = Duration::from_secs(3);
    }
    config
}

impl Office {
    /// Four phones registered before: 1001, 1003 and one of 1002 over UDP, the other of 1002 over a connection that is gone.
    pub fn open(bits: u8) -> Office {
        let engine = Engine::new(config(bits, 1), [7; 32], WHOLE.clone(), strowger::apps::start);
        let mut office = Office {
            engine,
            config: bits,
            epoch: 1,
            now: 1_000_000,
            wall: WALL,
            rng: Prng::new(u64::from(bits)),
            plane: Plane::new(Prng::new(1), SERVER, 10_000, 1, 1),
            pending: VecDeque::new(),
            journal: Journal::default(),
            books: Books::default(),
            keys: VecDeque::new(),
            received: VecDeque::new(),
            said: VecDeque::new(),
            sessions: [const { None }; PHONES],
            count: 0,
            connections: [1, 2, 3, 4],
        };
        for phone in 0..PHONES {
            let binding = Arc::new(office.binding(phone));
            let key = (binding.tenant, binding.extension.clone(), binding.key.clone());
            office.journal.bindings.insert(key, binding);
        }
        office.begin();
        office
    }

    fn binding(&self, phone: usize) -> Binding {
        let uri: Box<str> = format!("sip:{}@{}", number(phone), address(phone)).into();
        Binding {
            tenant: TenantId(1),
            extension: number(phone).into(),
            key: uri.clone(),
            uri,
            params: "".into(),
            q: 1000,
            flow: self.flow(phone),
            expires: Timestamp(WALL + 3_600_000_000),
            call_id: format!("reg-{phone}").into(),
            cseq: 1,
            user_agent: "".into(),
            path: [].into(),
            allow: "".into(),
            registered_at: Timestamp(WALL),
        }
    }

    /// What a life begins with. A connection that is new is one nobody called yet; the bindings of before know the old one.
    fn begin(&mut self) {
        self.feed(Input::Restore(self.journal.bindings.values().cloned().collect()));
        for port in 0..PORTS {
            let granted = self.plane.grant(PortId(port));
            self.feed(Input::Media(granted));
        }
    }

    pub fn flow(&self, phone: usize) -> Flow {
        let is_stream = phone == 1;
        let (listener, transport) = match (is_stream, self.config & 16) {
            (false, _) => (0, Transport::Udp),
            (true, 0) => (1, Transport::Tcp),
            (true, _) => (2, Transport::Tls),
        };
        Flow {
            listener: ListenerId(listener),
            transport,
            local: SERVER,
            remote: address(phone),
            connection: is_stream.then_some(ConnectionId(self.connections[phone])),
        }
    }

    pub fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() {
            op @ 0..160 => self.speak(op, script),
            160..184 => self.wait(script),
            184..200 => self.flush(script.byte() % 8 != 7),
            200..212 => self.media(script),
            212..218 => self.lose_connection(script.below(PHONES)),
            218..224 => self.fail(script),
            224..228 => {
                let directory = if script.byte() & 1 == 0 { &WHOLE } else { &SMALLER };
                self.feed(Input::Directory(Arc::clone(directory)));
            }
            228..232 => self.restart(script.byte()),
            232..236 => self.feed(Input::RecordsRefused(script.byte() & 1 == 1)),
            236..240 => self.wall += [3_600_000_000, -3_600_000_000, 1, -86_400_000_000][script.below(4)],
            240..244 => self.command(script.byte()),
            _ => self.hear(script.below(PHONES), script.bytes()),
        }
    }

    fn command(&mut self, which: u8) {
        let command = match which % 4 {
            0 => Command::Drain,
            1 => Command::HangUpAll { cause: Cause::Draining },
            _ => Command::Snapshot,
        };
        self.feed(Input::Command { token: Token(u64::from(which)), command });
    }

    /// Bytes from a phone arrive.
    pub fn hear(&mut self, phone: usize, bytes: &[u8]) {
        if self.said.len() == MEMORY {
            self.said.pop_front();
        }
        self.said.push_back((phone, bytes.to_vec()));
        if let Ok(message) = Message::parse(Bytes::copy_from_slice(bytes)) {
            let flow = self.flow(phone);
            self.feed(Input::Sip { flow, message });
        }
    }

    fn wait(&mut self, script: &mut Script<'_>) {
        const TIMES: [u64; 8] = [0, 10_000, 500_000, 4_000_000, 32_000_000, 100_000_000, 200_000_000, 4_000_000_000];
        let choice = script.byte();
        let until = match choice {
            0..128 => self.now + TIMES[usize::from(choice) % TIMES.len()],
            _ => self.engine.deadline().map_or(self.now, |due| due.0),
        };
        self.advance(until);
    }

    /// Time passes; what is due happens when it is due, unless there is too much of it.
    fn advance(&mut self, until: u64) {
        for _ in 0..64 {
            match self.engine.deadline() {
                Some(due) if due.0 <= until => self.now = self.now.max(due.0),
                _ => break,
            }
            self.feed(Input::Timeout);
            let again = self.engine.deadline().is_some_and(|due| due.0 <= self.now);
            assert!(!again, "a timer that is due is done");
        }
        self.now = self.now.max(until);
    }

    fn flush(&mut self, keep: bool) {
        self.journal.refusing = !keep;
        if let Some((upto, kept)) = self.journal.flush(self.epoch) {
            self.feed(Input::Recorded { upto, kept });
        }
    }

    fn media(&mut self, script: &mut Script<'_>) {
        let port = PortId(u32::from(script.byte()) % PORTS);
        match script.below(3) {
            0 => {
                self.play_on();
            }
            1 => self.feed(Input::Media(MediaEvent::Latched { port, from: address(script.below(PHONES)) })),
            _ => {
                let counters = Counters { received: 5, ..Counters::default() };
                self.feed(Input::Media(MediaEvent::Counted { port, counters }));
            }
        }
    }

    /// The media plane says the next thing it has to say.
    fn play_on(&mut self) -> bool {
        let Some(event) = self.pending.pop_front() else { return false };
        let event = match event {
            PlaneEvent::Tell(event) => event,
            PlaneEvent::GrantAgain(port) => self.plane.grant(port),
        };
        self.feed(Input::Media(event));
        true
    }

    fn lose_connection(&mut self, phone: usize) {
        let connection = ConnectionId(self.connections[phone]);
        self.connections[phone] += PHONES as u64;
        self.feed(Input::FlowClosed { connection });
    }

    fn fail(&mut self, script: &mut Script<'_>) {
        if !self.keys.is_empty() {
            let key = self.keys[script.below(self.keys.len())];
            self.feed(Input::SendFailed { key });
        }
    }

    fn restart(&mut self, kept: u8) {
        let keep = usize::from(kept) % (self.journal.pending() + 1);
        self.journal.crash(self.epoch, keep);
        self.epoch += 1;
        self.books = Books::default();
        self.pending.clear();
        self.keys.clear();
        self.plane = Plane::new(self.rng.split(self.epoch), SERVER, 10_000, 1, 1);
        let config = config(self.config, self.epoch);
        self.engine = Engine::new(config, self.rng.seed_bytes(), WHOLE.clone(), strowger::apps::start);
        self.connections.iter_mut().for_each(|connection| *connection += PHONES as u64);
        self.begin();
    }

    /// One input, and everything that comes of it.
    pub fn feed(&mut self, input: Input) {
        let now = Now { mono: Micros(self.now), wall: Timestamp(self.wall + self.now as i64) };
        let mut out = Vec::new();
        self.engine.handle(now, input, &mut out);
        let sent = out.iter().filter(|output| matches!(output, Output::Send { .. })).count();
        assert!(sent <= SENT_AT_ONCE, "{sent} messages at once");
        for output in out {
            self.take(output);
        }
        state::judge(&self.engine.audit(), &self.plane, &mut Verdict);
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Send { flow, bytes, key } => self.deliver(&flow, &bytes, key),
            Output::Media(command) => match self.plane.follow(command) {
                Ok(events) => self.pending.extend(events.into_iter().map(|(_, event)| event)),
                Err(fault) => panic!("legal commands to the media plane: {fault}"),
            },
            Output::Record(record) => {
                self.books.record(&record.body);
                if let Err(fault) = self.journal.take(record) {
                    panic!("records are numbered without gaps: {fault}");
                }
            }
            Output::Event(event) => self.books.event(&event),
            Output::Done { .. } | Output::Suspect(_) => {}
        }
    }

    fn deliver(&mut self, flow: &Flow, bytes: &Bytes, key: Option<TransactionId>) {
        let message = Message::parse(bytes.clone()).expect("what we send can be read");
        assert_eq!(message.index().flaw(), None, "{message:?}");
        if message.is_request() {
            assert_eq!(message.validate(), Ok(()), "{message:?}");
        }
        if let Some(key) = key {
            self.keys.push_back(key);
            self.keys.drain(..self.keys.len().saturating_sub(MEMORY));
        }
        let phone = (0..PHONES).find(|phone| address(*phone).ip() == flow.remote.ip());
        if let (Some(phone), Some(msg)) = (phone, Msg::parse(bytes)) {
            self.received.push_back((phone, msg));
            self.received.drain(..self.received.len().saturating_sub(MEMORY));
        }
    }

    #[cfg(test)]
    pub fn has_answered_call(&self) -> bool {
        self.engine.audit().calls.iter().any(|call| call.bridged.is_some())
    }

    /// Everybody falls silent. Calls are hung up, registrations run out, and nothing is left.
    pub fn close(mut self) {
        self.feed(Input::Command { token: Token(0), command: Command::HangUpAll { cause: Cause::Draining } });
        for _ in 0..LAST_STEPS {
            self.flush(true);
            while self.play_on() {}
            let Some(due) = self.engine.deadline() else { break };
            self.now = self.now.max(due.0);
            self.feed(Input::Timeout);
        }
        assert_eq!(self.engine.deadline(), None, "{:?}", self.engine.audit());
        state::judge_emptiness(&self.engine.audit(), &mut Verdict);
        self.books.close();
    }
}

pub fn number(phone: usize) -> &'static str {
    ["1001", "1002", "1003", "1002"][phone % PHONES]
}

pub fn address(phone: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10 + phone as u8], 5060))
}
