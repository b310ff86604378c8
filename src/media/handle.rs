//! The engine's end of the media plane: hands each command to the thread that serves the port.
//!
//! A command is never dropped. What does not fit into the ring to its thread waits here, the newest command of a port
//! replacing an older one, so that no more can wait than there are ports.

use crate::base::ids::PortId;
use crate::engine::media::{MediaCommand, Stream};
use crate::media::slot::{Slot, State, Table};
use crate::media::sys::Wake;
use crate::media::thread::Order;
use rtrb::Producer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

/// How long a flush waits for a full ring, in naps: a thread takes thousands of commands in one.
const FLUSH_NAP: Duration = Duration::from_millis(1);
const FLUSH_NAPS: u32 = 50;

pub struct MediaHandle {
    table: Arc<Table>,
    lanes: Vec<Lane>,
    /// The lane each port in use is on.
    homes: Box<[Option<u8>]>,
    pool: Thread,
    /// At so few unused grants the pool is told.
    low: usize,
}

/// The way to one media thread.
struct Lane {
    orders: Producer<Order>,
    wake: Wake,
    waiting: BTreeMap<PortId, Order>,
    ports: usize,
    /// Something in the ring is not to wait.
    urgent: bool,
}

impl MediaHandle {
    pub(super) fn new(
        table: Arc<Table>,
        lanes: Vec<(Producer<Order>, Wake)>,
        pool: Thread,
        grant_ahead: usize,
    ) -> MediaHandle {
        let homes = vec![None; table.len()].into_boxed_slice();
        let lane = |(orders, wake)| Lane { orders, wake, waiting: BTreeMap::new(), ports: 0, urgent: false };
        let low = grant_ahead - grant_ahead.div_ceil(4);
        MediaHandle { table, lanes: lanes.into_iter().map(lane).collect(), homes, pool, low }
    }

    /// Takes a command; it reaches its thread with the next `flush` at the latest.
    pub fn send(&mut self, command: MediaCommand) {
        let (port, stream) = match command {
            MediaCommand::Set { port, stream } => (port, Some(stream)),
            MediaCommand::Release { port } => (port, None),
        };
        if self.table.get(port).is_none_or(|slot| slot.state() == State::Free) {
            tracing::error!("a command for media port {port}, which is not granted, was ignored");
            return;
        }
        // A port that is merely taken has nothing to hear yet: its thread may learn of it with the next command.
        let urgent =
            self.homes[port.0 as usize].is_some() || stream.as_ref().is_none_or(|stream| stream.remote.is_some());
        let home = self.home(port, stream.as_ref());
        let alone = stream.as_ref().is_some_and(|stream| self.concerns_only(home, stream));
        let order = match stream {
            Some(stream) => {
                let sink_lease = self.lease_of_sink(&stream);
                Order::Set { port, stream, sink_lease }
            }
            None => {
                self.mark(port, State::Free);
                self.homes[port.0 as usize] = None;
                self.lanes[home].ports -= 1;
                Order::Release { port }
            }
        };
        let lane = &mut self.lanes[home];
        lane.push(port, order);
        lane.urgent |= urgent && !(alone && is_listened_to(&self.table, port, home));
    }

    /// Wakes the threads that were given something, once each. To be called after every batch of commands. If a ring was
    /// full, more commands than it has ports having come in one batch, waits a little for room.
    pub fn flush(&mut self) {
        for lane in &mut self.lanes {
            if lane.orders.is_abandoned() {
                // Its thread ended by a defect, which the plane tells of; nobody will ever take these.
                lane.waiting.clear();
                continue;
            }
            lane.drain();
            lane.wake();
            let mut naps = 0;
            while !lane.waiting.is_empty() && naps < FLUSH_NAPS {
                thread::sleep(FLUSH_NAP);
                naps += 1;
                lane.drain();
                lane.wake();
            }
            if !lane.waiting.is_empty() {
                tracing::error!("a media thread is stuck: {} commands wait for it", lane.waiting.len());
            }
        }
    }

    /// The lane of a port. A port's first command decides: the two ends of a call go together, if one can know it.
    fn home(&mut self, port: PortId, stream: Option<&Stream>) -> usize {
        if let Some(home) = self.homes[port.0 as usize] {
            return usize::from(home);
        }
        let partner = stream.and_then(|stream| stream.sink.as_ref()).map(|sink| sink.port);
        let partners = partner.and_then(|partner| self.homes.get(partner.0 as usize).copied().flatten());
        let home = partners
            .map(usize::from)
            .unwrap_or_else(|| (0..self.lanes.len()).min_by_key(|lane| self.lanes[*lane].ports).unwrap_or_default());
        self.homes[port.0 as usize] = Some(home as u8);
        self.lanes[home].ports += 1;
        self.mark(port, State::Used);
        let left = self.table.ahead(self.table.address_of(port)).fetch_sub(1, Ordering::AcqRel) - 1;
        if left <= self.low {
            self.pool.unpark();
        }
        home
    }

    /// Whether nobody but the thread of this lane needs to know of the stream: it is where the packets for its peer come in.
    fn concerns_only(&self, lane: usize, stream: &Stream) -> bool {
        let partner = stream.sink.as_ref().and_then(|sink| self.homes.get(sink.port.0 as usize).copied().flatten());
        self.lanes.len() == 1 || partner == Some(lane as u8)
    }

    fn mark(&self, port: PortId, state: State) {
        if let Some(slot) = self.table.get(port) {
            slot.set_state(state);
        }
    }

    /// The lease of the port a stream's sink names: packets are for the call that has it now, not for the next.
    fn lease_of_sink(&self, stream: &Stream) -> u32 {
        let slot = stream.sink.as_ref().and_then(|sink| self.table.get(sink.port));
        slot.filter(|slot| slot.state() != State::Free).map_or(0, Slot::lease)
    }
}

/// Whether a packet for the port wakes its thread, whoever sends it: the thread then takes its orders first, and until then
/// they can wait. To be asked after the order was given: what the thread stops watching it had no order for.
fn is_listened_to(table: &Table, port: PortId, lane: usize) -> bool {
    fence(Ordering::SeqCst);
    let is_open = |slot: &Slot| slot.target.load().as_ref().is_none_or(|target| !target.connected);
    table.get(port).is_some_and(|slot| slot.is_watched(lane as u8) && is_open(slot))
}

impl Lane {
    fn push(&mut self, port: PortId, order: Order) {
        self.drain();
        if !self.waiting.is_empty() {
            self.waiting.insert(port, order);
            return;
        }
        if let Err(rtrb::PushError::Full(order)) = self.orders.push(order) {
            self.waiting.insert(port, order);
            self.urgent = true;
        }
    }

    fn wake(&mut self) {
        if std::mem::take(&mut self.urgent) {
            self.wake.wake();
        }
    }

    fn drain(&mut self) {
        while !self.orders.is_full()
            && let Some((_, order)) = self.waiting.pop_first()
        {
            self.urgent |= self.orders.push(order).is_ok();
        }
    }
}
