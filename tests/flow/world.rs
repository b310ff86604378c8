//! The office of a ladder: the real engine, a clock that stands still between steps, a media plane that grants ports, a
//! journal that keeps everything, and the phones.

use crate::phone::{PASSWORD, Phone, realm};
use crate::script::Step;
use crate::sip::Sip;
use crate::summary::Names;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use strowger::base::cause::Cause;
use strowger::base::ids::{ConnectionId, ListenerId, PortId, RecordSeq, TenantId, Token, TransactionId};
use strowger::base::now::{Micros, Now, Timestamp};
use strowger::directory::plan::Plan;
use strowger::directory::{Directory, Extension, Secret, Tenant};
use strowger::engine::Engine;
use strowger::engine::config::{EngineConfig, Listener, Redirects};
use strowger::engine::event::{EventBody, TraceEntry};
use strowger::engine::flow::{Flow, Transport};
use strowger::engine::io::{Command, Input, Output};
use strowger::engine::media::{Counters, MediaCommand, MediaEvent, Stream};
use strowger::engine::record::{Binding, Cdr, RecordBody};
use strowger::proto::sip::message::Message;

/// Where RTP goes through, as our descriptions say.
pub const RELAY: &str = "192.0.2.10";
const DOMAINS: [&str; 2] = ["office.test", "blue.test"];
/// More messages at one instant than any ladder needs: two machines answer each other for ever.
const TOO_MANY: usize = 2_000;

pub struct World {
    engine: Option<Engine>,
    config: EngineConfig,
    now: Micros,
    phones: Vec<Phone>,
    queue: VecDeque<Input>,
    /// Records wait for a step to be acknowledged.
    is_journal_slow: bool,
    unwritten: Option<RecordSeq>,
    lines: Vec<Line>,
    names: Names,
    /// What each phone was sent last, to mark repetitions.
    sent_to: BTreeMap<usize, Vec<Bytes>>,
    streams: BTreeMap<PortId, Stream>,
    /// Phones nothing can be sent to any more.
    closed: BTreeSet<usize>,
    removed: Vec<Box<str>>,
    /// What the journal holds, by extension and key.
    bindings: BTreeMap<(TenantId, Box<str>, Box<str>), Arc<Binding>>,
    next_port: u32,
    /// Nothing is shown while phones register.
    quiet: bool,
}

struct Line {
    text: String,
    /// Phone and branch, to take out an exchange of credentials.
    key: Option<(usize, String)>,
}

/// The exchange's listeners, in order.
const TRANSPORTS: [(&str, Transport); 3] = [("UDP", Transport::Udp), ("TCP", Transport::Tcp), ("TLS", Transport::Tls)];

impl World {
    pub fn new() -> World {
        let listener = |id: u16, transport| Listener {
            id: ListenerId(id),
            transport,
            bind: format!("{RELAY}:5060").parse().unwrap(),
            advertise: None,
            tenant: TenantId(1),
        };
        World {
            engine: None,
            config: EngineConfig::new(
                1,
                TRANSPORTS.iter().zip(0..).map(|((_, transport), id)| listener(id, *transport)).collect(),
            ),
            now: Micros(0),
            phones: Vec::new(),
            queue: VecDeque::new(),
            is_journal_slow: false,
            unwritten: None,
            lines: Vec::new(),
            names: Names::default(),
            sent_to: BTreeMap::new(),
            streams: BTreeMap::new(),
            closed: BTreeSet::new(),
            removed: Vec::new(),
            bindings: BTreeMap::new(),
            next_port: 0,
            quiet: false,
        }
    }

    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        let words: Vec<&str> = step.words.iter().map(String::as_str).collect();
        match words[..] {
            ["config", key, value] => self.configure(key, value),
            ["show", ..] => {
                self.names.shown.extend(words[1..].iter().map(|w| (*w).to_owned()));
                Ok(())
            }
            ["phones", ..] => self.register(&words[1..]),
            ["media"] => {
                self.show_media();
                Ok(())
            }
            ["drain"] => self.command(Command::Drain),
            ["hang", "up", "all"] => self.command(Command::HangUpAll { cause: Cause::Draining }),
            ["remove", extension] => self.remove(extension),
            ["journal", "full"] => self.hand(Input::RecordsRefused(true)),
            ["journal", "slow"] => {
                self.is_journal_slow = true;
                Ok(())
            }
            ["journal", "has", "it"] => self.journal_speaks(true),
            ["journal", "lost", "it"] => self.journal_speaks(false),
            ["journal", "works"] => self.hand(Input::RecordsRefused(false)),
            ["restart"] => self.restart(),
            [name, "reconnects"] => {
                let at = self.phone(name)?;
                self.closed.remove(&at);
                let request = self.phones[at].register();
                self.send(at, vec![request]);
                self.settle()
            }
            [name, "unreachable"] => {
                let at = self.phone(name)?;
                self.closed.insert(at);
                Ok(())
            }
            [name, "disconnects"] => {
                let at = self.phone(name)?;
                self.closed.insert(at);
                self.hand(Input::FlowClosed { connection: self.connection(at) })
            }
            [time] if time.starts_with('+') => self.pass(duration(&time[1..])?),
            [name, ..] => {
                let at = self.phone(name)?;
                let messages = self.phones[at].act(step)?;
                self.send(at, messages);
                self.settle()
            }
            [] => Ok(()),
        }
    }

    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into_iter().map(|line| line.text).collect()
    }

    /// When the script is over, timers run out and nothing may be left of the calls.
    pub fn at_peace(mut self) -> Result<(), String> {
        self.pass(Duration::from_secs(70))?;
        let later = self.take_lines();
        if !later.is_empty() {
            return Err(format!("after the last step still came\n{}", later.join("\n")));
        }
        let audit = self.engine.as_ref().ok_or("no phones")?.audit();
        let left = !audit.calls.is_empty()
            || !audit.legs.is_empty()
            || !audit.dialogs.is_empty()
            || !audit.ports_used.is_empty()
            || audit.server_transactions + audit.client_transactions + audit.call_timers > 0;
        if left { Err(format!("{audit:#?}")) } else { Ok(()) }
    }

    fn configure(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "ring_timeout" => self.config.ring_timeout = duration(value)?,
            "redirects" if value == "follow" => self.config.redirects = Redirects::Follow,
            "session" => self.config.session.expires = value.parse().map_err(|_| "seconds")?,
            "contacts" => self.config.registration.max_contacts = value.parse().map_err(|_| "a number")?,
            "calls" => self.config.limits.calls = value.parse().map_err(|_| "a number")?,
            _ => return Err("no such key".to_owned()),
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), String> {
        if self.engine.is_none() {
            let directory = Directory::new((0..DOMAINS.len()).map(tenant));
            self.engine = Some(Engine::new(self.config.clone(), [7; 32], Arc::new(directory), strowger::apps::start));
            (0..32).for_each(|_| self.grant());
        }
        self.settle()
    }

    /// The exchange is killed and starts again: what the journal holds is all it remembers, and connections are gone.
    fn restart(&mut self) -> Result<(), String> {
        self.engine = None;
        self.queue.clear();
        self.streams.clear();
        self.unwritten = None;
        self.config.epoch += 1;
        self.closed.extend((0..self.phones.len()).filter(|at| self.phones[*at].is_connected()));
        self.queue.push_back(Input::Restore(self.bindings.values().cloned().collect()));
        self.start()
    }

    /// An administrator deletes an extension.
    fn remove(&mut self, extension: &str) -> Result<(), String> {
        self.removed.push(extension.into());
        let tenants = (0..DOMAINS.len()).map(|at| {
            let mut tenant = tenant(at);
            tenant.extensions.retain(|number, _| !self.removed.contains(number));
            tenant
        });
        let directory = Directory::new(tenants);
        self.hand(Input::Directory(Arc::new(directory)))
    }

    fn grant(&mut self) {
        self.next_port += 1;
        let rtp = format!("{RELAY}:{}", 30_000 + 2 * self.next_port).parse().unwrap();
        self.queue.push_back(Input::Media(MediaEvent::Granted { port: PortId(self.next_port), rtp }));
    }

    /// `1001`, a second phone of it `1001b`, over TCP or TLS `1001/tcp`, `1001/tls`, of the other office `1001@blue`.
    fn register(&mut self, names: &[&str]) -> Result<(), String> {
        self.start()?;
        self.quiet = true;
        for name in names {
            let at = self.phones.len();
            let address = SocketAddr::new([10, 0, 0, at as u8 + 1].into(), 5060);
            let (plain, transport) = match name.split_once('/') {
                None => (*name, "UDP"),
                Some((plain, "tcp")) => (plain, "TCP"),
                Some((plain, "tls")) => (plain, "TLS"),
                Some((_, other)) => return Err(format!("{other} is no transport")),
            };
            let domain = DOMAINS[usize::from(plain.ends_with("@blue"))];
            self.phones.push(Phone::new(plain, domain, address, transport));
            let request = self.phones[at].register();
            self.send(at, vec![request]);
            self.settle()?;
            let registered = self.lines.last().is_some_and(|line| line.text.contains("200 OK (REGISTER"));
            if !registered {
                return Err(format!("{name} can't register: {:?}", self.lines.last().map(|line| &line.text)));
            }
        }
        self.lines.clear();
        self.quiet = false;
        Ok(())
    }

    fn phone(&self, name: &str) -> Result<usize, String> {
        self.phones.iter().position(|phone| phone.name == name).ok_or(format!("who is {name}?"))
    }

    /// A phone's connection of this run of the exchange.
    fn connection(&self, at: usize) -> ConnectionId {
        ConnectionId(at as u64 + 100 * self.config.epoch)
    }

    fn flow(&self, at: usize) -> Flow {
        let phone = &self.phones[at];
        let of_phone = TRANSPORTS.iter().zip(0..).find(|((name, _), _)| *name == phone.transport);
        let ((_, transport), listener) = of_phone.expect("a listener for each transport");
        Flow {
            listener: ListenerId(listener),
            transport: *transport,
            local: RELAY.parse().unwrap(),
            remote: phone.address,
            connection: phone.is_connected().then(|| self.connection(at)),
        }
    }

    /// Messages of a phone are on their way.
    fn send(&mut self, at: usize, messages: Vec<Sip>) {
        let flow = self.flow(at);
        for sip in messages {
            let summary = self.names.summary(&sip, &self.phones[at], true);
            self.note(at, "->", summary, sip.branch());
            match Message::parse(Bytes::from(sip.to_bytes())) {
                Ok(message) => self.queue.push_back(Input::Sip { flow, message }),
                Err(error) => self.note(at, "  ", format!("(not SIP: {error})"), ""),
            }
        }
    }

    fn note(&mut self, at: usize, arrow: &str, text: String, branch: &str) {
        let seconds = self.now.0 as f64 / 1e6;
        let name = format!("{}{}", " ".repeat(8 * at), self.phones[at].name);
        let text = format!("{seconds:8.3}  {name} {arrow} {text}");
        self.lines.push(Line { text, key: Some((at, branch.to_owned())) });
    }

    fn remark(&mut self, text: String) {
        let seconds = self.now.0 as f64 / 1e6;
        self.lines.push(Line { text: format!("{seconds:8.3}  * {text}"), key: None });
    }

    fn hand(&mut self, input: Input) -> Result<(), String> {
        self.queue.push_back(input);
        self.settle()
    }

    fn command(&mut self, command: Command) -> Result<(), String> {
        self.hand(Input::Command { token: Token(1), command })
    }

    /// Until nobody has anything more to say at this instant.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..TOO_MANY {
            let Some(input) = self.queue.pop_front() else { return Ok(()) };
            let engine = self.engine.as_mut().ok_or("begin with `phones`")?;
            let mut out = Vec::new();
            let now =
                Now { mono: self.now, wall: Timestamp(1_700_000_000_000_000) + Duration::from_micros(self.now.0) };
            engine.handle(now, input, &mut out);
            for output in out {
                self.take(output)?;
            }
        }
        Err("it never ends".to_owned())
    }

    fn pass(&mut self, time: Duration) -> Result<(), String> {
        let until = self.now + time;
        loop {
            let deadline = self.engine.as_ref().and_then(Engine::deadline).filter(|deadline| *deadline <= until);
            let Some(deadline) = deadline else { break };
            self.now = self.now.max(deadline);
            self.hand(Input::Timeout)?;
        }
        self.now = until;
        Ok(())
    }

    fn journal_speaks(&mut self, kept: bool) -> Result<(), String> {
        self.is_journal_slow = false;
        self.unwritten.take().map_or(Ok(()), |upto| self.hand(Input::Recorded { upto, kept }))
    }

    fn take(&mut self, output: Output) -> Result<(), String> {
        match output {
            Output::Send { flow, bytes, key } => self.deliver(flow, bytes, key)?,
            Output::Record(record) => {
                match &record.body {
                    RecordBody::CallEnded(cdr) => self.remark(cdr_line(cdr)),
                    RecordBody::Binding(binding) => {
                        let key = (binding.tenant, binding.extension.clone(), binding.key.clone());
                        self.bindings.insert(key, binding.clone());
                    }
                    RecordBody::Unbound { tenant, extension, key } => {
                        self.bindings.remove(&(*tenant, extension.clone(), key.clone()));
                    }
                    RecordBody::CallStarted(_) => {}
                }
                if self.is_journal_slow {
                    self.unwritten = Some(record.seq);
                } else {
                    self.queue.push_back(Input::Recorded { upto: record.seq, kept: true });
                }
            }
            Output::Media(MediaCommand::Set { port, stream }) => _ = self.streams.insert(port, stream),
            Output::Media(MediaCommand::Release { port }) => {
                self.streams.remove(&port);
                self.queue.push_back(Input::Media(MediaEvent::Released { port, counters: Counters::default() }));
                self.grant();
            }
            Output::Event(event) => self.hear(event.body),
            Output::Done { .. } | Output::Suspect(_) => {}
        }
        Ok(())
    }

    /// What boards, traces and metrics are told, where a script asks for it.
    fn hear(&mut self, event: EventBody) {
        let shown = |what: &str| self.names.shown.iter().any(|shown| shown == what);
        match event {
            EventBody::CallState { state, .. } if shown("states") => self.remark(format!("state: {}", state.text())),
            EventBody::Trace { entry: TraceEntry::Decision { text }, .. } if shown("decisions") => {
                self.remark(text.into())
            }
            EventBody::Notice { text, .. } => self.remark(format!("log: {text}")),
            EventBody::Registered { extension, contacts, .. } if shown("contacts") => {
                self.remark(format!("{extension} has {contacts} contacts now"));
            }
            EventBody::Unregistered { extension, contacts, .. } if !self.quiet => {
                self.remark(format!("{extension} has {contacts} contacts left"));
            }
            _ => {}
        }
    }

    fn deliver(&mut self, flow: Flow, bytes: Bytes, key: Option<TransactionId>) -> Result<(), String> {
        let at = self.phones.iter().position(|phone| phone.address.ip() == flow.remote.ip()).ok_or("sent to nobody")?;
        if flow.connection.is_some() != self.phones[at].is_connected() {
            return Err(format!("sent over the wrong transport: {flow:?}"));
        }
        let stray = if flow.remote == self.phones[at].address { "" } else { " (to its old address)" };
        let sip = Sip::parse(&bytes);
        let before = self.sent_to.entry(at).or_default();
        let again = if before.contains(&bytes) { " (again)" } else { "" };
        before.push(bytes);
        let summary = self.names.summary(&sip, &self.phones[at], false);
        if self.closed.contains(&at) {
            self.note(at, "x-", summary, sip.branch());
            self.queue.extend(key.map(|key| Input::SendFailed { key }));
            return Ok(());
        }
        let challenged = self.phones[at].is_challenged(&sip);
        self.note(at, "<-", format!("{summary}{again}{stray}"), sip.branch());
        let replies = if stray.is_empty() { self.phones[at].receive(&sip) } else { Vec::new() };
        if challenged {
            self.lines.retain(|line| line.key.as_ref().is_none_or(|key| *key != (at, sip.branch().to_owned())));
            // The ACK of the challenge goes without saying, too.
            let (acks, again): (Vec<Sip>, Vec<Sip>) = replies.into_iter().partition(|sip| sip.method() == "ACK");
            let shown = self.lines.len();
            self.send(at, acks);
            self.lines.truncate(shown);
            self.send(at, again);
        } else {
            self.send(at, replies);
        }
        Ok(())
    }

    /// What the media plane does at this moment.
    fn show_media(&mut self) {
        let name = |names: &Names, port: PortId| names.port((30_000 + 2 * port.0) as u16);
        let lines: Vec<String> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.sink.is_some() || stream.remote.is_some())
            .map(|(port, stream)| {
                let remote = stream.remote.map_or("nowhere".to_owned(), |remote| remote.rtp.to_string());
                let way = match (stream.receive, stream.send) {
                    (true, true) => "<->",
                    (true, false) => "-->",
                    (false, true) => "<--",
                    (false, false) => "   ",
                };
                let sink = stream.sink.as_ref().map_or(String::new(), |sink| {
                    let map = format!("{:?}", sink.payloads).replace(": ", ">");
                    format!(" to {} {map}", name(&self.names, sink.port))
                });
                format!("{remote} {way} {}{sink}", name(&self.names, *port))
            })
            .collect();
        lines.into_iter().for_each(|line| self.remark(line));
    }
}

fn tenant(at: usize) -> Tenant {
    let domain = DOMAINS[at];
    let extension = |n: u32| {
        let number: Box<str> = (1000 + n).to_string().into();
        let ha1 = format!("{number}:{}:{PASSWORD}", realm(domain));
        let secret = Secret {
            md5: <md5::Md5 as md5::Digest>::digest(ha1.as_bytes()).into(),
            sha256: Sha256::digest(ha1.as_bytes()).into(),
        };
        let extension = Extension {
            number: number.clone(),
            name: format!("User {number}").into(),
            email: "".into(),
            allow_external: true,
            secret,
        };
        (number, Arc::new(extension))
    };
    Tenant {
        id: TenantId(at as u32 + 1),
        name: realm(domain).into(),
        domains: vec![domain.into()],
        realm: realm(domain).into(),
        time_zone: "UTC".into(),
        extensions: (1..=9).map(extension).collect(),
        plan: Plan::sample(),
    }
}

fn cdr_line(cdr: &Cdr) -> String {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let disposition = cdr.cause.disposition(cdr.answer.is_some()).text();
    format!(
        "CDR {} to {}: {disposition}, {}, {:.1} s, talked {:.1} s",
        cdr.from,
        cdr.to,
        cdr.cause.text(),
        seconds(cdr.duration),
        seconds(cdr.billsec)
    )
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: 500ms, 32s, 3m");
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..at].parse().map_err(|_| wrong())?;
    match &text[at..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(60 * number)),
        _ => Err(wrong()),
    }
}
