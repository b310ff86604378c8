//! A media thread: waits for packets, drains what is there, naps under load.
//!
//! A thread that is woken for each packet pays more for waking than for relaying. So above a rate it sleeps a fixed,
//! short time after each drain, deaf, and then takes all that came in one go: the packets wait a little (half a nap on
//! average), and share one wake-up. Below that rate each packet is relayed at once.

use crate::base::ids::PortId;
use crate::base::now::Micros;
use crate::engine::media::{MediaEvent, Stream};
use crate::media::latch;
use crate::media::ports::Released;
use crate::media::relay::Port;
use crate::media::slot::{Slot, Table};
use crate::media::sys::{self, Clock, Poll, Registry, Wake};
use rtrb::Consumer;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

/// The name of the wake-up in the poll; ports have theirs from their ids.
pub const WAKE: u64 = u64::MAX;
/// Sockets served between two looks at the orders.
pub const BATCH: usize = 512;
/// From one drain's start to the next under load.
const PERIOD: Duration = Duration::from_micros(1_000);
/// A nap shorter than this is not worth its system call.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
/// Packets in `RATE_SPAN` from which naps pay.
const BUSY: usize = 20;
const RATE_SPAN: Duration = Duration::from_millis(10);
/// The longest datagram we relay: a jumbo frame.
const DATAGRAM: usize = 9_216;
/// Datagrams thrown away at most when a port is taken into use; a socket's buffer holds fewer.
const STALE: usize = 4_096;
/// The ports of a thread are counted, and looked after, in so many turns: the work comes spread.
const TURNS: usize = 8;
/// How often each port is asked whom it is connected to: a turn may come late by as much again.
const LOOK_EVERY: Duration = latch::SETTLED.checked_div(2).expect("not by zero");

/// What a thread is told.
#[expect(clippy::large_enum_variant, reason = "nearly every one is a Set, and a box would cost an allocation each")]
pub enum Order {
    /// `sink_lease` is the lease the sink's port had when the engine named it.
    Set {
        port: PortId,
        stream: Stream,
        sink_lease: u32,
    },
    Release {
        port: PortId,
    },
}

pub struct Worker<E> {
    pub lane: u8,
    pub table: Arc<Table>,
    pub clock: Clock,
    pub poll: Poll,
    pub wake: Wake,
    pub orders: Consumer<Order>,
    pub released: SyncSender<Released>,
    pub pool: thread::Thread,
    pub stop: Arc<AtomicBool>,
    pub events: E,
    /// How often the totals of a port are told; None for never.
    pub count_every: Option<Duration>,
}

/// The ports of one thread, and all it needs to serve them.
struct Desk<E> {
    worker: Worker<E>,
    ports: Vec<Option<Box<Port>>>,
    datagram: Box<[u8]>,
    pace: Pace,
    counted: Turns,
    looked: Turns,
    /// Ports whose socket is connected: they can't be left to themselves when nothing comes.
    connected: usize,
}

impl<E: Fn(MediaEvent)> Worker<E> {
    pub fn run(self) {
        sys::exact_naps();
        let ports = (0..self.table.len()).map(|_| None).collect();
        let now = self.clock.now();
        Desk {
            worker: self,
            ports,
            datagram: vec![0; DATAGRAM + 1].into_boxed_slice(),
            pace: Pace::default(),
            counted: Turns::from(now),
            looked: Turns::from(now),
            connected: 0,
        }
        .run();
    }
}

impl<E: Fn(MediaEvent)> Desk<E> {
    fn run(mut self) {
        loop {
            self.take_orders();
            if self.worker.stop.load(Ordering::Acquire) {
                return;
            }
            let now = self.worker.clock.now();
            let timeout = [self.count(now), self.look(now)].into_iter().flatten().min();
            self.worker.wake.falling_asleep();
            if !self.worker.orders.is_empty() || self.worker.stop.load(Ordering::Acquire) {
                self.worker.wake.awake();
                continue;
            }
            let ready = match self.worker.poll.wait(timeout) {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!("a media thread can't wait for packets: {error}");
                    thread::sleep(Duration::from_millis(10));
                    0
                }
            };
            self.worker.wake.awake();
            // Before the packets: an order may have waited for the first of them.
            self.take_orders();
            let now = self.worker.clock.now();
            for index in 0..ready {
                match self.worker.poll.ready(index) {
                    WAKE => self.worker.wake.clear(),
                    name => self.serve(now, name),
                }
            }
            if ready < BATCH
                && let Some(nap) = self.pace.nap(now, self.worker.clock.now(), ready)
            {
                thread::sleep(nap);
            }
        }
    }

    /// Relays one datagram of the socket called `name`. If there are more the poll names it again, after the others.
    #[inline]
    fn serve(&mut self, now: Micros, name: u64) {
        let (id, is_rtcp) = (PortId((name >> 1) as u32), name & 1 == 1);
        let table = &*self.worker.table;
        let Some(sockets) = table.get(id).and_then(|slot| slot.sockets()) else { return };
        let socket = if is_rtcp { &sockets.rtcp } else { &sockets.rtp };
        let Some(Some(port)) = self.ports.get_mut(id.0 as usize) else {
            // Somebody talks on after the call, or before it. What lies in the socket is not ours to take: another thread
            // may have the port by now.
            if let Some(slot) = table.get(id) {
                slot.unwatched(self.worker.lane);
            }
            // Can't fail for a socket that was added.
            let _ = self.worker.poll.registry().remove(socket);
            return;
        };
        let Ok((length, from)) = socket.recv_from(&mut self.datagram) else { return };
        if length > DATAGRAM {
            port.drop_one();
            return;
        }
        let datagram = &mut self.datagram[..length];
        if is_rtcp {
            port.rtcp(table, now, from, datagram);
        } else if let Some(from) = port.rtp(table, now, from, datagram) {
            (self.worker.events)(MediaEvent::Latched { port: id, from });
        }
    }

    fn take_orders(&mut self) {
        while let Ok(order) = self.worker.orders.pop() {
            match order {
                Order::Set { port, stream, sink_lease } => self.set(port, stream, sink_lease),
                Order::Release { port } => self.release(port),
            }
        }
    }

    fn set(&mut self, id: PortId, stream: Stream, sink_lease: u32) {
        let table = &*self.worker.table;
        let (Some(slot), Some(place)) = (table.get(id), self.ports.get_mut(id.0 as usize)) else { return };
        let port = match place {
            Some(port) => port,
            None => {
                slot.sent.store(0, Ordering::Relaxed);
                slot.sent_bytes.store(0, Ordering::Relaxed);
                watch(self.worker.poll.registry(), self.worker.lane, id, slot);
                place.insert(Box::new(Port::new(id, slot.lease())))
            }
        };
        let before = port.is_connected();
        port.set(table, self.worker.clock.now(), stream, sink_lease);
        self.connected = self.connected + usize::from(port.is_connected()) - usize::from(before);
    }

    fn release(&mut self, id: PortId) {
        let table = &*self.worker.table;
        let Some(slot) = table.get(id) else { return };
        let mut port = self.ports.get_mut(id.0 as usize).and_then(Option::take);
        if let Some(port) = &mut port {
            self.connected -= usize::from(port.is_connected());
            port.disconnect(table);
        }
        slot.target.store(None);
        let counters = port.map(|port| port.counters(table)).unwrap_or_default();
        let released = Released { port: id, at: self.worker.clock.now() };
        if self.worker.released.try_send(released).is_err() {
            tracing::error!("RTP port {} is lost to the pool: its queue is full", slot.address());
        }
        (self.worker.events)(MediaEvent::Released { port: id, counters });
        if table.dry.load(Ordering::SeqCst) {
            self.worker.pool.unpark();
        }
    }

    /// Tells the totals of a part of the ports when it is time; returns how long until the next part's.
    fn count(&mut self, now: Micros) -> Option<Duration> {
        let every = self.worker.count_every?;
        if let Some(turn) = self.counted.due(now, every) {
            for port in of_turn(&mut self.ports, turn) {
                if let Some(counters) = port.changed_counters(&self.worker.table) {
                    (self.worker.events)(MediaEvent::Counted { port: port.id(), counters });
                }
            }
        }
        Some(self.counted.next.since(now))
    }

    /// Connects the sockets of ports whose peers are settled and disconnects those whose peers fell silent; returns how long
    /// until that is to be looked at again even if nothing comes.
    fn look(&mut self, now: Micros) -> Option<Duration> {
        if let Some(turn) = self.looked.due(now, LOOK_EVERY) {
            for port in of_turn(&mut self.ports, turn) {
                let before = port.is_connected();
                port.connect(&self.worker.table, now);
                self.connected = self.connected + usize::from(port.is_connected()) - usize::from(before);
            }
        }
        (self.connected > 0).then(|| self.looked.next.since(now))
    }
}

/// Work on all ports that is done in turns, a part of them at a time.
struct Turns {
    next: Micros,
    turn: usize,
}

impl Turns {
    fn from(now: Micros) -> Turns {
        Turns { next: now, turn: 0 }
    }

    /// Which part's turn it is, if it is time. Each comes again after `every`.
    fn due(&mut self, now: Micros, every: Duration) -> Option<usize> {
        if now < self.next {
            return None;
        }
        self.turn = (self.turn + 1) % TURNS;
        self.next = now + every / TURNS as u32;
        Some(self.turn)
    }
}

fn of_turn(ports: &mut [Option<Box<Port>>], turn: usize) -> impl Iterator<Item = &mut Port> {
    ports.iter_mut().skip(turn).step_by(TURNS).flatten().map(Box::as_mut)
}

/// Sees to it that what comes to a pair wakes its thread. The sockets stay in the poll when the port is given back, until
/// something comes; what came while nobody watched is maybe another call's audio.
pub fn watch(registry: &Registry, lane: u8, id: PortId, slot: &Slot) {
    let Some(sockets) = slot.sockets().filter(|_| !slot.is_watched(lane)) else { return };
    for (n, socket) in [&sockets.rtp, &sockets.rtcp].into_iter().enumerate() {
        flush(socket);
        if let Err(error) = registry.add(socket, u64::from(id.0) << 1 | n as u64) {
            tracing::error!("RTP port {} can't be watched, its call stays silent: {error}", slot.address());
            return;
        }
    }
    slot.watched(lane);
}

fn flush(socket: &UdpSocket) {
    for _ in 0..STALE {
        // A datagram longer than the buffer is taken whole.
        if socket.recv_from(&mut [0; 1]).is_err() {
            return;
        }
    }
}

/// When to nap.
#[derive(Default)]
struct Pace {
    since: Micros,
    packets: usize,
    busy: bool,
}

impl Pace {
    /// After a drain of `packets` that took from `started` to `now`: how long to be deaf.
    fn nap(&mut self, started: Micros, now: Micros, packets: usize) -> Option<Duration> {
        self.packets += packets;
        let span = now.since(self.since);
        if span >= RATE_SPAN {
            self.busy = self.packets as u128 * RATE_SPAN.as_micros() >= BUSY as u128 * span.as_micros();
            self.since = now;
            self.packets = 0;
        }
        let nap = PERIOD.saturating_sub(now.since(started));
        (self.busy && nap >= SHORTEST_NAP).then_some(nap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds drains of `packets` every `every` µs for a while; the nap after the last.
    fn pace(every: u64, packets: usize) -> Option<Duration> {
        let mut pace = Pace::default();
        (1..200).map(|n| pace.nap(Micros(n * every), Micros(n * every + 10), packets)).last().flatten()
    }

    #[test]
    fn naps_under_load_only() {
        assert_eq!(pace(10_000, 1), None, "one call");
        assert_eq!(pace(1_000, 1), None, "ten calls");
        assert_eq!(pace(200, 1), Some(Duration::from_micros(990)), "fifty calls");
        assert_eq!(pace(1_000, 100), Some(Duration::from_micros(990)), "a thousand calls");
    }

    #[test]
    fn a_drain_longer_than_the_period_is_followed_by_the_next_at_once() {
        let mut pace = Pace::default();
        for n in 1..20 {
            assert_eq!(pace.nap(Micros(n * 2_000), Micros(n * 2_000 + 1_990), 400), None);
        }
    }
}
