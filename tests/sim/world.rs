//! One run: an office of phones, a network, a daemon, and time. Everything happens in the agenda's order; every message and
//! command of the engine goes through the oracles.

use crate::clock::{Agenda, MS, SECOND, Time};
use crate::daemon::{Daemon, datagram_flow, stream_flow};
use crate::ladder::{Ladder, Line};
use crate::network::{Arrival, Network};
use crate::oracle::books::Books;
use crate::oracle::forks::Forks;
use crate::oracle::sessions::Sessions;
use crate::oracle::talks::Talks;
use crate::oracle::wire::Wire;
use crate::oracle::{Verdict, state};
use crate::phone::transaction::END_TO_END;
use crate::phone::{Out, Phone};
use crate::plane::PlaneEvent;
use crate::prng::Prng;
use crate::scenario::{Fault, SERVER, Scenario};
use crate::sip::text::Msg;
use crate::trouble::Trouble;
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use strowger::base::ids::{ConnectionId, PortId, TransactionId};
use strowger::engine::audit::Audit;
use strowger::engine::event::{Event, EventBody, TraceEntry};
use strowger::engine::flow::{Flow, Transport};
use strowger::engine::io::{Input, Output};
use strowger::engine::media::MediaEvent;
use strowger::proto::sip::message::Message;

/// A run that does more than this has run away.
const MOST_STEPS: u64 = 400_000;

enum Happening {
    Arrival(Arrival),
    Plane(u64, PlaneEvent),
    /// The journal writes what is pending.
    Flush(u64),
    Fault(Fault),
    /// What a fault broke works again.
    Mend(Fault),
    Boot(usize),
    StartDaemon,
    SendFailed(u64, TransactionId),
}

pub struct World {
    pub now: Time,
    pub scenario: Scenario,
    pub phones: Vec<Phone>,
    pub daemon: Daemon,
    pub network: Network,
    pub verdict: Verdict,
    pub wire: Wire,
    pub forks: Forks,
    pub talks: Talks,
    pub sessions: Sessions,
    pub books: Books,
    pub trouble: Trouble,
    pub ladder: Ladder,
    pub audit: Audit,
    pub steps: u64,
    /// At some time there were too few ports for another call.
    pub ports_were_short: bool,
    /// Calls found standing with both ends in agreement.
    pub standing: u64,
    /// What the engine's states met: for the coverage table.
    pub coverage: crate::coverage::Coverage,
    agenda: Agenda<Happening>,
    hash: DefaultHasher,
    rng: Prng,
}

impl World {
    pub fn new(scenario: Scenario) -> World {
        let rng = Prng::new(scenario.seed).split(3);
        let (nats, paths) = scenario.paths();
        let phones = scenario.profiles.iter().map(|p| Phone::new(p.clone(), rng.split(100 + p.index as u64))).collect();
        let daemon = Daemon::new(&scenario, rng.split(4));
        let mut world = World {
            now: 0,
            phones,
            daemon,
            network: Network::new(rng.split(5), nats, paths),
            verdict: Verdict::default(),
            wire: Wire::default(),
            forks: Forks::default(),
            talks: Talks::default(),
            sessions: Sessions::default(),
            books: Books::default(),
            trouble: Trouble::default(),
            ladder: Ladder::new(if std::env::var_os("SIM_LONG").is_some() { 60_000 } else { 600 }),
            audit: Audit::default(),
            steps: 0,
            ports_were_short: false,
            standing: 0,
            coverage: crate::coverage::Coverage::default(),
            agenda: Agenda::default(),
            hash: DefaultHasher::new(),
            rng: rng.split(6),
            scenario,
        };
        world.agenda.put(0, Happening::StartDaemon);
        for phone in 0..world.phones.len() {
            let at = world.rng.range(50, 3_000) * MS;
            world.agenda.put(at, Happening::Boot(phone));
        }
        for (at, fault) in world.scenario.faults.clone() {
            world.agenda.put(at, Happening::Fault(fault));
        }
        world
    }

    /// The same for the same seed: everything the engine ever put out.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub fn failed(&self) -> bool {
        !self.verdict.failures.is_empty()
    }

    pub fn note(&mut self, text: String) {
        self.ladder.add(self.now, Line::Note(text));
    }

    /// Lets time pass until `end`, or until a rule is broken.
    pub fn run_until(&mut self, end: Time) {
        // What users were told to do from outside.
        self.collect_all();
        while !self.failed() {
            let phones = self.phones.iter().filter_map(Phone::deadline).min();
            let engine = self.daemon.deadline();
            let Some(next) = [self.agenda.next_at(), phones, engine].into_iter().flatten().min() else { break };
            if next > end {
                break;
            }
            self.now = next.max(self.now);
            self.turn();
            self.steps += 1;
            if self.steps > MOST_STEPS {
                self.verdict.fail("a run comes to an end", format!("{} steps", self.steps));
            }
        }
        self.now = self.now.max(end);
    }

    fn turn(&mut self) {
        if self.daemon.deadline().is_some_and(|due| due <= self.now) {
            self.feed(Input::Timeout);
            let again = self.daemon.deadline().is_some_and(|due| due <= self.now);
            self.verdict.hold(!again, "a timer that is due is done", || "due again at once".into());
        }
        if let Some(happening) = self.agenda.due(self.now) {
            self.happen(happening);
        }
        for phone in &mut self.phones {
            if phone.deadline().is_some_and(|at| at <= self.now) {
                phone.tick(self.now);
            }
        }
        self.collect_all();
    }

    fn collect_all(&mut self) {
        (0..self.phones.len()).for_each(|phone| self.collect(phone));
        for (at, arrival) in std::mem::take(&mut self.network.arrivals) {
            self.agenda.put(at, Happening::Arrival(arrival));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival(arrival) => self.arrive(arrival),
            Happening::Plane(epoch, event) if epoch == self.daemon.epoch => match event {
                PlaneEvent::Tell(event) => self.feed(Input::Media(event)),
                PlaneEvent::GrantAgain(port) => self.grant(port),
            },
            Happening::Flush(epoch) if epoch == self.daemon.epoch => self.flush(),
            Happening::SendFailed(epoch, key) if epoch == self.daemon.epoch => {
                self.forks.failed(key);
                self.feed(Input::SendFailed { key });
            }
            Happening::Plane(..) | Happening::Flush(_) | Happening::SendFailed(..) => {}
            Happening::Fault(fault) => self.strike(fault),
            Happening::Mend(fault) => self.mend(fault),
            Happening::Boot(phone) => {
                self.note(format!("phone {phone} boots"));
                self.network.paths[phone].powered = true;
                self.phones[phone].boot(self.now);
            }
            Happening::StartDaemon => self.start_daemon(),
        }
    }

    fn start_daemon(&mut self) {
        self.note("the daemon starts".into());
        self.daemon.start(&self.scenario);
        self.wire.restart(self.daemon.journal.bindings.values().cloned());
        self.forks.restart();
        self.talks.restart();
        self.sessions.restart();
        self.books.restart(self.daemon.epoch);
        let restored = self.daemon.restored();
        self.feed(restored);
        for port in 0..self.scenario.ports {
            self.grant(PortId(port));
        }
        if self.daemon.journal.refusing {
            self.feed(Input::RecordsRefused(true));
        }
    }

    fn grant(&mut self, port: PortId) {
        let event: MediaEvent = self.daemon.plane.grant(port);
        self.feed(Input::Media(event));
    }

    fn flush(&mut self) {
        if self.daemon.engine.is_none() {
            return;
        }
        if let Some((upto, kept)) = self.daemon.journal.flush(self.daemon.epoch) {
            self.wire.confirmed(upto, kept);
            self.feed(Input::Recorded { upto, kept });
        }
    }

    /// What a phone wants of the network, and what it finds wrong.
    fn collect(&mut self, phone: usize) {
        for out in std::mem::take(&mut self.phones[phone].out) {
            match out {
                Out::Datagram { to, bytes } => self.network.datagram_from_phone(self.now, phone, to, bytes),
                Out::Stream { bytes } => self.network.stream_from_phone(self.now, phone, bytes),
                Out::Connect if self.network.connection_of(phone).is_none() => {
                    let server = self.phones[phone].profile.server;
                    self.network.connect(self.now, phone, server);
                }
                Out::Connect => {}
            }
        }
        for complaint in std::mem::take(&mut self.phones[phone].complaints) {
            let mut concerned = phone..phone + 1;
            if complaint.rule == END_TO_END {
                concerned = 0..self.phones.len();
            }
            let mut concerned = concerned.map(|phone| self.trouble.excuses(phone, complaint.since, complaint.at));
            let excused = !complaint.hard && concerned.any(|excused| excused);
            if !excused {
                self.verdict.fail(complaint.rule, format!("phone {phone}: {}", complaint.detail));
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::DatagramAtServer { from, to, bytes } => {
                // Empty lines hold NAT mappings open; the transport layer keeps them to itself.
                if self.daemon.engine.is_some() && !bytes.iter().all(|b| matches!(b, b'\r' | b'\n')) {
                    self.receive(datagram_flow(to, from), bytes);
                }
            }
            Arrival::DatagramAtPhone { phone, from, bytes } => self.phones[phone].receive(self.now, from, &bytes),
            Arrival::ConnectAtServer { connection } => {
                if self.daemon.engine.is_some() {
                    self.network.accept(self.now, connection);
                } else {
                    self.network.break_connection(self.now, connection);
                }
            }
            Arrival::ConnectedAtPhone { connection } => {
                let Some(entry) = self.network.connections.get(&connection) else { return };
                if entry.open_at_phone {
                    let phone = entry.phone;
                    self.phones[phone].on_connected(self.now);
                }
            }
            Arrival::StreamAtServer { connection, bytes } => {
                let Some(entry) = self.network.connections.get(&connection) else { return };
                if entry.open_at_server && self.daemon.engine.is_some() {
                    self.receive(stream_flow(connection, entry.peer), bytes);
                }
            }
            Arrival::StreamAtPhone { connection, bytes } => {
                let Some(entry) = self.network.connections.get(&connection) else { return };
                if entry.open_at_phone {
                    let (phone, server) = (entry.phone, entry.server);
                    self.phones[phone].receive(self.now, server, &bytes);
                }
            }
            Arrival::BrokenAtServer { connection } => {
                let Some(entry) = self.network.connections.get_mut(&connection) else { return };
                if std::mem::take(&mut entry.open_at_server) {
                    self.wire.closed(ConnectionId(connection));
                    self.forks.closed(ConnectionId(connection));
                    self.feed(Input::FlowClosed { connection: ConnectionId(connection) });
                }
            }
            Arrival::BrokenAtPhone { connection } => {
                let Some(entry) = self.network.connections.get_mut(&connection) else { return };
                let phone = entry.phone;
                if std::mem::take(&mut entry.open_at_phone) {
                    // Whatever the server still believes it learns soon.
                    self.network.break_connection(self.now, connection);
                    self.phones[phone].on_disconnected(self.now);
                }
            }
        }
    }

    fn receive(&mut self, flow: Flow, bytes: Vec<u8>) {
        let name = self.name_of(&flow);
        self.ladder.add(self.now, Line::In { phone: name, bytes: bytes.clone() });
        let Ok(message) = Message::parse(Bytes::from(bytes.clone())) else { return };
        if let Some(msg) = Msg::parse(&bytes) {
            self.wire.received(self.now, &flow, &msg);
            self.forks.received(self.now, &msg);
            self.talks.received(&msg);
            self.sessions.received(self.now, &msg);
            self.coverage.received(&msg);
        } else {
            self.wire.received_garbled(&bytes);
        }
        self.feed(Input::Sip { flow, message });
    }

    fn name_of(&self, flow: &Flow) -> String {
        let by_connection = flow.connection.and_then(|c| self.network.connections.get(&c.0)).map(|c| c.phone);
        by_connection.map_or_else(|| flow.remote.to_string(), |phone| format!("tcp {phone}"))
    }

    /// One input, and everything that comes of it.
    pub fn feed(&mut self, input: Input) {
        if self.daemon.engine.is_none() {
            return;
        }
        let out = self.daemon.handle(self.now, input);
        if let Some(engine) = &self.daemon.engine {
            self.audit = engine.audit();
        }
        for output in &out {
            if let Output::Event(Event { body: EventBody::Trace { .. }, .. }) = output {
                self.take_event(output);
            }
        }
        for output in out {
            self.take(output);
        }
        self.ports_were_short |= self.audit.ports_free.len() < 4;
        self.books.judge(&self.audit, &mut self.verdict);
        self.forks.judge(self.now, &mut self.verdict);
        self.talks.judge(&self.daemon.plane, &mut self.verdict);
        let longest = Time::from(self.scenario.session) * SECOND;
        self.sessions.judge(self.now, &self.audit, longest, &mut self.verdict);
        state::judge(&self.audit, &self.daemon.plane, &mut self.verdict);
        self.coverage.audited(&self.audit);
    }

    fn take_event(&mut self, output: &Output) {
        let Output::Event(event) = output else { return };
        if let EventBody::Trace { call, entry } = &event.body {
            self.books.associate(*call, entry);
        }
    }

    fn take(&mut self, output: Output) {
        self.absorb(&output);
        match output {
            Output::Send { flow, bytes, key } => self.send(flow, bytes, key),
            Output::Media(command) => {
                self.note(format!("{command:?}"));
                match self.daemon.plane.follow(command) {
                    Ok(events) => events.into_iter().for_each(|(after, event)| {
                        self.agenda.put(self.now + after, Happening::Plane(self.daemon.epoch, event));
                    }),
                    Err(fault) => self.verdict.fail("legal commands to the media plane", fault),
                }
            }
            Output::Record(record) => {
                self.wire.recorded(record.seq, &record.body);
                self.books.record(&record.body, &mut self.verdict);
                match self.daemon.journal.take(record) {
                    Ok(false) => {}
                    Ok(true) => {
                        let after = self.rng.range(self.scenario.journal.0, self.scenario.journal.1);
                        self.agenda.put(self.now + after, Happening::Flush(self.daemon.epoch));
                    }
                    Err(fault) => self.verdict.fail("records are numbered without gaps", fault),
                }
            }
            Output::Event(event) => {
                if let EventBody::Trace { call, entry: TraceEntry::Decision { text } } = &event.body {
                    let line = format!("call {call}: {text}");
                    self.note(line);
                }
                self.books.event(&event, &self.audit, &mut self.verdict);
            }
            Output::Done { .. } | Output::Suspect(_) => {}
        }
    }

    fn send(&mut self, flow: Flow, bytes: Bytes, key: Option<TransactionId>) {
        let name = self.name_of(&flow);
        self.ladder.add(self.now, Line::Out { phone: name, bytes: bytes.to_vec() });
        let msg = Msg::parse(&bytes);
        let meaning = self.wire.sent(self.now, &flow, &bytes, msg.as_ref(), &mut self.verdict);
        if let Some(call) = self.books.meaning(meaning) {
            self.forks.over(call);
        }
        if let Some(msg) = &msg {
            let call = self.books.live_call_of(msg.call_id());
            self.forks.sent(self.now, msg, &flow, (call, key), &mut self.verdict);
            self.talks.sent(msg);
            self.sessions.sent(self.now, msg);
            self.coverage.sent(msg);
        }
        match (flow.transport, flow.connection) {
            (Transport::Tcp, Some(connection)) => {
                let reset = self.network.connections.get(&connection.0).is_none_or(|c| !c.open_at_phone);
                let closed = !self.network.stream_from_server(self.now, connection.0, bytes.to_vec());
                if let (true, Some(key)) = (closed, key) {
                    self.agenda.put(self.now + MS, Happening::SendFailed(self.daemon.epoch, key));
                } else if reset {
                    self.send_may_fail(key);
                }
            }
            _ => {
                let from = SocketAddr::new(SERVER, if flow.listener.0 == 2 { 5062 } else { 5060 });
                let path = self.network.paths.iter().find(|path| path.address == flow.remote);
                if path.is_some_and(|path| !path.powered) {
                    // Its neighbours say that nobody is there (ICMP), or nobody says anything.
                    self.send_may_fail(key);
                }
                self.network.datagram_from_server(self.now, from, flow.remote, bytes.to_vec());
            }
        }
    }

    fn send_may_fail(&mut self, key: Option<TransactionId>) {
        if let (Some(key), true) = (key, self.rng.chance(50)) {
            let at = self.now + self.rng.range(1, 40) * MS;
            self.agenda.put(at, Happening::SendFailed(self.daemon.epoch, key));
        }
    }

    fn absorb(&mut self, output: &Output) {
        match output {
            Output::Send { flow, bytes, .. } => {
                flow.hash(&mut self.hash);
                bytes.hash(&mut self.hash);
            }
            Output::Event(Event { seq, body: EventBody::Trace { .. }, .. }) => seq.hash(&mut self.hash),
            other => format!("{other:?}").hash(&mut self.hash),
        }
        self.now.hash(&mut self.hash);
    }

    fn strike(&mut self, fault: Fault) {
        self.note(format!("{fault:?}"));
        let now = self.now;
        // Long enough for a phone to register again, or for its calls to run out.
        let long = now + 300 * SECOND;
        match fault {
            Fault::Partition { phone, lasts } => {
                self.network.paths[phone].cut_until = now + lasts;
                self.trouble.add(Some(phone), now, long);
            }
            Fault::PartitionServer { lasts } => {
                self.network.server_cut_until = now + lasts;
                self.trouble.add(None, now, long);
            }
            Fault::Rebind { nat } => {
                self.network.nats[nat].rebind();
                for phone in 0..self.phones.len() {
                    if self.network.paths[phone].nat == Some(nat) {
                        self.trouble.add(Some(phone), now, long);
                    }
                }
            }
            Fault::BreakConnection { phone } => {
                self.trouble.add(Some(phone), now, long);
                if let Some(connection) = self.network.connection_of(phone) {
                    self.network.break_connection(now, connection);
                }
            }
            Fault::Crash { phone, off } => {
                self.trouble.add(Some(phone), now, long);
                self.unplug(phone);
                self.agenda.put(now + off, Happening::Boot(phone));
            }
            Fault::Restart { down } => {
                self.trouble.add(None, now, long);
                if self.daemon.engine.is_some() {
                    self.daemon.kill();
                    self.network.drop_all_connections(now);
                    self.agenda.put(now + down, Happening::StartDaemon);
                }
            }
            Fault::RefuseRecords { lasts } => {
                self.trouble.add(None, now, now + lasts + 30 * SECOND);
                self.daemon.journal.refusing = true;
                self.feed(Input::RecordsRefused(true));
                self.agenda.put(now + lasts, Happening::Mend(fault));
            }
            Fault::DropExtension { phone, lasts } => {
                for other in 0..self.phones.len() {
                    let same = self.scenario.tenant_of[other] == self.scenario.tenant_of[phone]
                        && self.phones[other].profile.extension == self.phones[phone].profile.extension;
                    if same {
                        self.trouble.add(Some(other), now, long);
                    }
                }
                self.daemon.directory = self.scenario.directory(Some(phone));
                self.feed(Input::Directory(self.daemon.directory.clone()));
                self.agenda.put(now + lasts, Happening::Mend(fault));
            }
        }
    }

    /// A phone loses power.
    pub fn unplug(&mut self, phone: usize) {
        self.network.abandon(self.now, phone);
        self.network.paths[phone].powered = false;
        self.phones[phone].crash(self.now);
    }

    fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::RefuseRecords { .. } if self.daemon.journal.refusing => {
                self.daemon.journal.refusing = false;
                self.feed(Input::RecordsRefused(false));
            }
            Fault::DropExtension { .. } => {
                self.daemon.directory = self.scenario.directory(None);
                self.feed(Input::Directory(self.daemon.directory.clone()));
            }
            _ => {}
        }
    }

    /// From now on the network is fair, every phone has power and the journal keeps what it is given.
    pub fn mend_everything(&mut self) {
        self.note("the faults are over".into());
        self.agenda.strike_all(|happening| matches!(happening, Happening::Fault(_)));
        for phone in 0..self.phones.len() {
            self.network.paths[phone].cut_until = self.now;
            self.network.paths[phone].weather = crate::network::Weather::fair();
            if !self.phones[phone].powered {
                self.agenda.strike_all(|happening| matches!(happening, Happening::Boot(other) if *other == phone));
                self.agenda.put(self.now, Happening::Boot(phone));
            }
        }
        self.network.server_cut_until = self.now;
        self.mend(Fault::RefuseRecords { lasts: 0 });
        self.mend(Fault::DropExtension { phone: 0, lasts: 0 });
    }
}
