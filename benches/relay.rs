//! What relaying costs: CPU of the media threads for each packet, the delay they add, and loss.
//!
//! `cargo bench --bench relay [-- CALLS…] [--seconds N] [--threads N]`; without numbers 10, 100, 500 and 1,000 calls.
//!
//! A generator on a core of its own plays all phones: 50 packets a second each way of each call, 172 bytes (G.711, 20 ms),
//! evenly spread to within a tenth of a millisecond. It never waits for a packet, so that no wake-up of the phones is
//! paid for by the relay. A packet carries when it was sent; the kernel notes when it arrives. CPU is the scheduler's count of
//! time on the CPU, system calls and the loopback's deliveries to the phones included.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce, ReceiveTimestampns};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::io::{IoSliceMut, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use strowger::engine::media::{Counters, Grant, MediaCommand, MediaEvent, PayloadMap, Remote, Sink, Stream};
use strowger::media::{MediaConfig, MediaHandle, MediaPlane};

/// RTP header and 160 samples.
const PACKET: usize = 172;
const PACKETS_PER_SECOND: u64 = 50;
const WARM_UP: Duration = Duration::from_secs(3);
/// How long packets on their way are waited for.
const LEFTOVERS: Duration = Duration::from_millis(200);
/// The generator's shortest sleep, ns: what falls due in it leaves together.
const TICK: u64 = 40_000;
/// How often the generator reads what arrived, ns.
const LISTEN_EVERY: u64 = 500_000;
/// Packets read at once.
const BATCH: usize = 64;
/// Delays up to this are told apart, µs.
const LONGEST: usize = 100_000;

struct Arguments {
    calls: Vec<usize>,
    seconds: u64,
    threads: usize,
}

fn main() {
    let arguments = arguments();
    println!(
        "calls  packets/s  µs CPU/packet  core  ksoftirqd  wake-ups/s  delay p50 µs   p99 µs   p99.9 µs   max µs  lost  late p99.9  late max"
    );
    for calls in arguments.calls {
        measure(calls, arguments.seconds, arguments.threads);
    }
}

fn arguments() -> Arguments {
    let mut found = Arguments { calls: Vec::new(), seconds: 10, threads: 1 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
        match word.as_str() {
            "--bench" => {}
            "--seconds" => found.seconds = number(),
            "--threads" => found.threads = number() as usize,
            calls => found.calls.push(calls.parse().expect("a number of calls")),
        }
    }
    if found.calls.is_empty() {
        found.calls = vec![10, 100, 500, 1_000];
    }
    found
}

fn measure(calls: usize, seconds: u64, threads: usize) {
    let office = Office::open(calls, threads);
    let sockets = [&office.a, &office.b].map(|socket| socket.try_clone().expect("a socket"));
    let ports: Vec<SocketAddr> = office.ports.iter().map(|grant| grant.rtp).collect();
    let measured = std::thread::spawn(move || {
        let mut phones = Phones::new(sockets, ports);
        let last = CpuSet::count().min(std::thread::available_parallelism().map_or(1, usize::from)) - 1;
        let mut cpu = CpuSet::new();
        cpu.set(last).expect("a CPU");
        sched_setaffinity(Pid::from_raw(0), &cpu).expect("to stay on a CPU");
        nix::sys::prctl::set_timerslack(1).expect("exact sleeps");
        phones.talk(WARM_UP);
        phones.listen_on(LEFTOVERS);
        (phones.delays, phones.late) = (Delays::default(), Delays::default());
        let before = Usage::now();
        let sent = phones.talk(Duration::from_secs(seconds));
        let after = Usage::now();
        phones.listen_on(LEFTOVERS);
        (sent, phones.delays, phones.late, before, after)
    });
    let (sent, delays, late, before, after) = measured.join().expect("the phones");
    let lost = sent as i64 - delays.count as i64;
    let used = after.media - before.media;
    let wall = seconds as f64;
    println!(
        "{calls:5}  {:9.0}  {:13.2}  {:3.0}%  {:8.1}%  {:10.0}  {:12}  {:7}  {:9}  {:7}  {lost:4}  {:12}  {:6}",
        sent as f64 / wall,
        used as f64 / 1e3 / delays.count as f64,
        used as f64 / wall / 1e7,
        (after.softirq - before.softirq) as f64 / wall / 1e7,
        (after.switches - before.switches) as f64 / wall,
        delays.quantile(0.5),
        delays.quantile(0.99),
        delays.quantile(0.999),
        delays.quantile(1.0),
        late.quantile(0.999),
        late.quantile(1.0),
    );
    std::io::stdout().flush().expect("output");
    let dropped: u64 = office.close().iter().map(|counters| counters.dropped).sum();
    if dropped > 0 {
        println!("       the relay dropped {dropped}");
    }
}

/// The media plane with its calls set up.
struct Office {
    plane: MediaPlane,
    handle: MediaHandle,
    events: Receiver<MediaEvent>,
    ports: VecDeque<Grant>,
    a: UdpSocket,
    b: UdpSocket,
}

impl Office {
    fn open(calls: usize, threads: usize) -> Office {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 77, 1));
        let config = MediaConfig { threads, ..MediaConfig::new(vec![address]) };
        let (sender, events) = channel();
        let (plane, handle) = MediaPlane::start(config, move |event| drop(sender.send(event))).expect("a media plane");
        let socket = || UdpSocket::bind((address, 0)).expect("a socket");
        let mut office = Office { plane, handle, events, ports: VecDeque::new(), a: socket(), b: socket() };
        for _ in 0..calls {
            let pair = [office.grant(), office.grant()];
            let remotes = [office.a.local_addr().expect("an address"), office.b.local_addr().expect("an address")];
            for n in 0..2 {
                let stream = stream(remotes[n], &pair[1 - n]);
                office.handle.send(MediaCommand::Set { port: pair[n].port, stream });
                office.ports.push_back(pair[n]);
            }
            office.handle.flush();
        }
        office
    }

    fn grant(&mut self) -> Grant {
        loop {
            if let MediaEvent::Granted { port, rtp } = self.events.recv_timeout(Duration::from_secs(5)).expect("a port")
            {
                return Grant { port, rtp };
            }
        }
    }

    fn close(mut self) -> Vec<Counters> {
        for grant in &self.ports {
            self.handle.send(MediaCommand::Release { port: grant.port });
        }
        self.handle.flush();
        let mut counters = Vec::new();
        while counters.len() < self.ports.len() {
            if let MediaEvent::Released { counters: one, .. } =
                self.events.recv_timeout(Duration::from_secs(5)).expect("a release")
            {
                counters.push(one);
            }
        }
        self.plane.shutdown();
        counters
    }
}

fn stream(remote: SocketAddr, other: &Grant) -> Stream {
    let mut payloads = PayloadMap::none();
    payloads.set(0, 0);
    payloads.set(101, 96);
    Stream {
        remote: Some(Remote { rtp: remote, rtcp: SocketAddr::new(remote.ip(), remote.port() + 1) }),
        send: true,
        receive: true,
        sink: Some(Sink { port: other.port, payloads }),
        generation: 1,
        clock_rate: 0,
    }
}

/// All phones: those of side A behind one socket, those of side B behind another.
struct Phones {
    sides: [Side; 2],
    /// Of each leg: our port, and the next sequence number.
    legs: Vec<(SocketAddr, u16)>,
    next: usize,
    delays: Delays,
    /// How late packets left: a generator that is held up sends bursts, and measures itself.
    late: Delays,
}

struct Side {
    socket: UdpSocket,
    headers: MultiHeaders<SockaddrIn>,
    buffers: Vec<[u8; 256]>,
}

impl Phones {
    fn new(sockets: [UdpSocket; 2], ports: Vec<SocketAddr>) -> Phones {
        let side = |socket: UdpSocket| {
            socket.set_nonblocking(true).expect("a socket that does not wait");
            setsockopt(&socket, ReceiveTimestampns, &true).expect("arrival times");
            if setsockopt(&socket, RcvBufForce, &(16 << 20)).is_err() {
                setsockopt(&socket, RcvBuf, &(4 << 20)).expect("a receive buffer");
            }
            let headers = MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(nix::sys::time::TimeSpec)));
            Side { socket, headers, buffers: vec![[0; 256]; BATCH] }
        };
        let legs = ports.into_iter().map(|port| (port, 0)).collect();
        Phones { sides: sockets.map(side), legs, next: 0, delays: Delays::default(), late: Delays::default() }
    }

    /// Sends every packet at its time for so long; returns how many were sent.
    fn talk(&mut self, span: Duration) -> u64 {
        let interval = 1_000_000_000 / (PACKETS_PER_SECOND * self.legs.len() as u64);
        let start = now();
        let total = span.as_nanos() as u64 / interval;
        let mut sent = 0;
        let mut listened = start;
        while sent < total {
            let time = now();
            let due = start + sent * interval;
            if time >= due {
                self.late.note(time - due);
                self.say(time);
                sent += 1;
                continue;
            }
            if time - listened > LISTEN_EVERY {
                self.listen();
                listened = time;
            }
            std::thread::sleep(Duration::from_nanos((due - time).clamp(TICK, LISTEN_EVERY)));
        }
        sent
    }

    /// The next leg says something.
    fn say(&mut self, time: u64) {
        let leg = self.next;
        self.next = (leg + 1) % self.legs.len();
        let (port, sequence) = &mut self.legs[leg];
        *sequence = sequence.wrapping_add(1);
        let mut packet = [0xd5; PACKET];
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&(u32::from(*sequence) * 160).to_be_bytes());
        packet[8..12].copy_from_slice(&(leg as u32 + 1).to_be_bytes());
        packet[12..20].copy_from_slice(&time.to_ne_bytes());
        self.sides[leg % 2].socket.send_to(&packet, *port).expect("to send");
    }

    fn listen(&mut self) {
        for side in &mut self.sides {
            while side.read(&mut self.delays) == BATCH {}
        }
    }

    fn listen_on(&mut self, span: Duration) {
        let end = now() + span.as_nanos() as u64;
        while now() < end {
            self.listen();
        }
    }
}

impl Side {
    /// Reads what has arrived, at most a batch; returns how many packets.
    fn read(&mut self, delays: &mut Delays) -> usize {
        let mut times = [0u64; BATCH];
        let mut slices: Vec<[IoSliceMut; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let received =
            recvmmsg(self.socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        let Ok(received) = received else { return 0 };
        let mut count = 0;
        for message in received {
            let arrival = message.cmsgs().into_iter().flatten().find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(time) => Some(time),
                _ => None,
            });
            times[count] = arrival.map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64);
            count += 1;
        }
        for (buffer, arrival) in self.buffers.iter().zip(times).take(count) {
            let sent = buffer[12..20].try_into().map(u64::from_ne_bytes).unwrap_or_default();
            delays.note(arrival.saturating_sub(sent));
        }
        count
    }
}

/// How many packets took how many µs.
struct Delays {
    buckets: Vec<u32>,
    count: u64,
}

impl Default for Delays {
    fn default() -> Delays {
        Delays { buckets: vec![0; LONGEST + 1], count: 0 }
    }
}

impl Delays {
    fn note(&mut self, nanos: u64) {
        self.buckets[(nanos as usize / 1_000).min(LONGEST)] += 1;
        self.count += 1;
    }

    fn quantile(&self, share: f64) -> usize {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        let reached = |bucket: &u32| {
            seen += u64::from(*bucket);
            seen >= rank
        };
        self.buckets.iter().position(reached).unwrap_or(LONGEST)
    }
}

/// The wall clock in ns: the one the kernel stamps arrivals with.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_REALTIME).expect("a clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// CPU time so far, ns, and how often a media thread was put on a CPU.
struct Usage {
    media: u64,
    switches: u64,
    /// Network work the kernel put off to its own threads: ought to be next to nothing, for it is nobody's here.
    softirq: u64,
}

impl Usage {
    fn now() -> Usage {
        let mut usage = Usage { media: 0, switches: 0, softirq: 0 };
        for (name, cpu, switches) in threads("/proc/self/task") {
            if name.starts_with("media-") {
                usage.media += cpu;
                usage.switches += switches;
            }
        }
        usage.softirq =
            threads("/proc").filter(|(name, _, _)| name.starts_with("ksoftirqd")).map(|(_, cpu, _)| cpu).sum();
        usage
    }
}

fn threads(directory: &str) -> impl Iterator<Item = (String, u64, u64)> {
    std::fs::read_dir(directory).expect("/proc").flatten().filter_map(|entry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        let times = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let mut times = times.split_whitespace().map(|word| word.parse().unwrap_or(0));
        Some((name, times.next()?, times.nth(1)?))
    })
}
