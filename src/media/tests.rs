//! The media plane on real sockets of loopback addresses nobody else uses: each test has its own.

mod calls;
mod faults;
mod pool;
mod settled;

use super::*;
use crate::base::ids::PortId;
use crate::engine::media::{Counters, Grant, MediaCommand, PayloadMap, Remote, Sink, Stream};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::AtomicU16;
use std::sync::mpsc::{Receiver, channel};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(5);

/// An address of 127/8 for this test alone, also among test programs that run at the same time.
fn own_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, high | 0x80, low, NEXT.fetch_add(1, Ordering::Relaxed) as u8))
}

fn config() -> MediaConfig {
    MediaConfig {
        ports: 20_000..=20_199,
        grant_ahead: 16,
        rest: Duration::from_millis(200),
        other_files: 64,
        count_every: None,
        ..MediaConfig::new(vec![own_address()])
    }
}

/// A media plane with the engine's part played by the test.
struct Office {
    plane: MediaPlane,
    handle: MediaHandle,
    events: Receiver<MediaEvent>,
    free: VecDeque<Grant>,
    seen: Vec<MediaEvent>,
}

impl Office {
    fn open(config: MediaConfig) -> Office {
        let (sender, events) = channel();
        let (plane, handle) = MediaPlane::start(config, move |event| drop(sender.send(event))).unwrap();
        Office { plane, handle, events, free: VecDeque::new(), seen: Vec::new() }
    }

    fn default() -> Office {
        Office::open(config())
    }

    /// The next event that is not a grant.
    fn event(&mut self) -> MediaEvent {
        if !self.seen.is_empty() {
            return self.seen.remove(0);
        }
        loop {
            match self.events.recv_timeout(PATIENCE).expect("an event") {
                MediaEvent::Granted { port, rtp } => self.free.push_back(Grant { port, rtp }),
                event => return event,
            }
        }
    }

    fn grant(&mut self) -> Grant {
        loop {
            if let Some(grant) = self.free.pop_front() {
                return grant;
            }
            match self.events.recv_timeout(PATIENCE).expect("a grant") {
                MediaEvent::Granted { port, rtp } => self.free.push_back(Grant { port, rtp }),
                event => self.seen.push(event),
            }
        }
    }

    fn set(&mut self, port: PortId, stream: Stream) {
        self.handle.send(MediaCommand::Set { port, stream });
        self.handle.flush();
    }

    fn release(&mut self, port: PortId) -> Counters {
        self.handle.send(MediaCommand::Release { port });
        self.handle.flush();
        loop {
            match self.event() {
                MediaEvent::Released { port: released, counters } if released == port => return counters,
                MediaEvent::Latched { .. } | MediaEvent::Counted { .. } => {}
                other => panic!("{other:?} instead of the release of {port}"),
            }
        }
    }

    /// Returns when the only media thread has done all it was told; packets may still wait.
    fn settle(&mut self) {
        let spare = self.grant();
        self.handle.send(MediaCommand::Release { port: spare.port });
        self.handle.flush();
        let mut seen = Vec::new();
        loop {
            match self.event() {
                MediaEvent::Released { port, .. } if port == spare.port => break,
                other => seen.push(other),
            }
        }
        self.seen = seen;
    }

    /// Returns when every packet sent so far was seen, if each was alone in its socket: one sent now came through.
    fn pass(&mut self) {
        let (mut a, b) = self.call();
        a.say(0, b"pass");
        assert_eq!(b.hear().1, b"pass");
    }

    /// A call between two new phones, both with a port of ours and each the other's sink.
    fn call(&mut self) -> (Phone, Phone) {
        let (mut a, mut b) = (Phone::new(self.grant()), Phone::new(self.grant()));
        a.stream = stream(&a, &b);
        b.stream = stream(&b, &a);
        self.set(a.port(), a.stream.clone());
        self.set(b.port(), b.stream.clone());
        self.settle();
        (a, b)
    }
}

/// PCMU, PCMA and telephone-event under the number both know.
fn payloads() -> PayloadMap {
    let mut map = PayloadMap::none();
    for number in [0, 8, 101] {
        map.set(number, number);
    }
    map
}

fn stream(own: &Phone, other: &Phone) -> Stream {
    Stream {
        remote: Some(own.remote()),
        send: true,
        receive: true,
        sink: Some(Sink { port: other.port(), payloads: payloads() }),
        generation: 1,
        clock_rate: 0,
    }
}

/// A phone with an RTP and an RTCP socket, and our port it talks to.
struct Phone {
    grant: Grant,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    stream: Stream,
    ssrc: u32,
    next: u16,
}

impl Phone {
    fn new(grant: Grant) -> Phone {
        let (rtp, rtcp) = (socket(&grant), socket(&grant));
        Phone { grant, rtp, rtcp, stream: Stream::default(), ssrc: grant.port.0 + 1, next: 100 }
    }

    fn port(&self) -> PortId {
        self.grant.port
    }

    fn remote(&self) -> Remote {
        Remote { rtp: self.rtp.local_addr().unwrap(), rtcp: self.rtcp.local_addr().unwrap() }
    }

    /// Says something under a payload number.
    fn say(&mut self, payload: u8, words: &[u8]) {
        let packet = self.packet(payload, words);
        self.rtp.send_to(&packet, self.grant.rtp).unwrap();
    }

    fn packet(&mut self, payload: u8, words: &[u8]) -> Vec<u8> {
        self.next += 1;
        rtp(payload, self.next, self.ssrc, words)
    }

    /// What the phone hears next: payload number with marker bit, and the words.
    fn hear(&self) -> (u8, Vec<u8>) {
        let (packet, from) = receive(&self.rtp).expect("a packet");
        assert_eq!(from, self.grant.rtp, "RTP leaves from the port our SDP names");
        (packet[1], packet[12..].to_vec())
    }
}

fn rtp(payload: u8, sequence: u16, ssrc: u32, words: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(words);
    packet
}

/// An RTCP receiver report without blocks.
fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}

fn rtcp_port(grant: &Grant) -> SocketAddr {
    SocketAddr::new(grant.rtp.ip(), grant.rtp.port() + 1)
}

fn socket(grant: &Grant) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(grant.rtp.ip(), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 16_384];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..length].to_vec(), from))
}
