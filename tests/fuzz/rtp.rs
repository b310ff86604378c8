//! Target `rtp`: packets at a port of the media plane, between new tasks from the signalling. The sockets are missing: what
//! would be sent is not.
//!
//! Beside the port runs a latch of the same history, whose promise is checked: once its window has closed, only the signalled
//! address or a stream that goes on after a pause may take a source's place.

use crate::script::Script;
use std::net::{IpAddr, SocketAddr};
use strowger::base::ids::PortId;
use strowger::base::now::Micros;
use strowger::engine::media::{PayloadMap, Remote, Sink, Stream};
use strowger::media::counters::Reception;
use strowger::media::latch::{Header, Latch, Verdict};
use strowger::media::relay::Port;
use strowger::media::slot::Table;

const OURS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
/// What the latch promises, µs: how long it learns, and the silence that makes room.
const WINDOW: u64 = 2_000_000;
const SILENCE: u64 = 500_000;

pub fn run(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let table = Table::new(&[OURS], 10_000, 2);
    let mut scene = Scene {
        table,
        port: Port::new(PortId(0), 0),
        latch: Watched::default(),
        reception: Reception::default(),
        now: 1_000_000,
        packets: 0,
    };
    while !script.is_over() {
        scene.step(&mut script);
    }
    let counters = scene.port.counters(&scene.table);
    assert!(counters.received + counters.rtcp <= scene.packets && counters.dropped <= scene.packets, "{counters:?}");
    assert!(counters.lost <= scene.packets * (1 << 16), "{counters:?}");
}

struct Scene {
    table: Table,
    port: Port,
    latch: Watched,
    reception: Reception,
    now: u64,
    packets: u64,
}

fn address(script: &mut Script<'_>) -> SocketAddr {
    match script.below(8) {
        0 => SocketAddr::from(([192, 0, 2, 7], 4_000)),
        1 => SocketAddr::from(([192, 0, 2, 7], 4_002)),
        2 => SocketAddr::from(([198, 51, 100, 9], 4_000)),
        3 => SocketAddr::from(([192, 0, 2, 1], 10_000)),
        4 => SocketAddr::from(([192, 0, 2, 1], 10_002)),
        5 => SocketAddr::from(([0, 0, 0, 0], 4_000)),
        6 => "[2001:db8::7]:4000".parse().expect("an address"),
        _ => SocketAddr::from(([10, script.byte(), 0, 1], script.u16())),
    }
}

impl Scene {
    fn step(&mut self, script: &mut Script<'_>) {
        self.now += [0, 1_000, 20_000, 250_000, 500_000, 2_000_000, 3_600_000_000, 1 << 40][script.below(8)];
        let now = Micros(self.now);
        match script.below(8) {
            0 => self.set(script),
            1 => self.port.connect(&self.table, now),
            2 => {
                let (from, packet) = (address(script), script.bytes());
                self.packets += 1;
                self.port.rtcp(&self.table, now, from, packet);
            }
            3 => {
                let before = self.port.counters(&self.table);
                let told = self.port.changed_counters(&self.table);
                assert!(told.is_none_or(|told| told == before) && self.port.changed_counters(&self.table).is_none());
            }
            4 => {
                let (from, mut packet) = (address(script), script.bytes().to_vec());
                self.packets += 1;
                self.port.rtp(&self.table, now, from, &mut packet);
            }
            _ => self.talk(script),
        }
    }

    fn set(&mut self, script: &mut Script<'_>) {
        let bits = script.byte();
        let remote = (bits & 1 == 0).then(|| {
            let rtp = address(script);
            let rtcp = if bits & 2 == 0 { SocketAddr::new(rtp.ip(), rtp.port().wrapping_add(1)) } else { rtp };
            Remote { rtp, rtcp }
        });
        let mut payloads = PayloadMap::none();
        (0..=127).for_each(|number| payloads.set(number, number));
        let sink = (bits & 4 == 0).then(|| Sink { port: PortId(u32::from(bits >> 6)), payloads });
        let generation = u32::from(script.byte());
        let stream = Stream {
            remote,
            send: bits & 8 == 0,
            receive: bits & 16 == 0,
            sink,
            generation,
            clock_rate: if bits & 32 == 0 { 8_000 } else { script.u32() },
        };
        self.reception.set_clock(stream.clock_rate);
        self.latch.set(remote.map(|remote| remote.rtp), generation);
        self.port.set(&self.table, Micros(self.now), stream, 0);
    }

    /// A packet as phones send them.
    fn talk(&mut self, script: &mut Script<'_>) {
        let from = address(script);
        let (payload, ssrc) = (script.byte(), u32::from(script.byte()) % 3);
        let (sequence, timestamp) = (script.u16(), u32::from(script.u16()) * 160);
        let mut packet = vec![0x80, payload];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0xd5; 20]);
        let header = Header { ssrc, sequence, timestamp };
        self.reception.packet(Micros(self.now), payload & 0x7f, header);
        self.latch.packet(self.now, from, header);
        self.packets += 1;
        self.port.rtp(&self.table, Micros(self.now), from, &mut packet);
        let _ = (self.reception.lost(), self.reception.jitter());
    }
}

/// A latch, and what is known of it from outside.
#[derive(Default)]
struct Watched {
    latch: Latch,
    signalled: Option<SocketAddr>,
    generation: u32,
    /// The first accepted packet of this generation, µs.
    opened: Option<u64>,
    /// The source, its SSRC, and when it was last heard.
    source: Option<(SocketAddr, u32, u64)>,
}

impl Watched {
    fn set(&mut self, signalled: Option<SocketAddr>, generation: u32) {
        let moved = signalled.is_some() && signalled != self.signalled;
        if moved || generation != self.generation {
            self.opened = None;
            self.generation = generation;
        }
        self.signalled = signalled.or(self.signalled);
        self.latch.set(signalled, generation);
    }

    fn packet(&mut self, now: u64, from: SocketAddr, header: Header) {
        let verdict = self.latch.packet(Micros(now), from, header);
        if verdict == Verdict::Refuse {
            return;
        }
        let closed = self.opened.is_some_and(|opened| now >= opened + WINDOW);
        if let (true, Some((source, ssrc, heard))) = (closed, self.source)
            && source != from
        {
            let goes_on = source.ip() == from.ip() && ssrc == header.ssrc && now - heard >= SILENCE;
            assert!(Some(from) == self.signalled || goes_on, "{from} took the place of {source}");
        }
        if verdict == Verdict::Latched {
            assert_eq!(self.latch.destination(), Some(from));
        }
        self.opened.get_or_insert(now);
        self.source = Some((from, header.ssrc, now));
    }
}
