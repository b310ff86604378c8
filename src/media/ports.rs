//! The pool of socket pairs: binds ahead of time and grants, lets released ports rest, tells when it runs dry.
//!
//! It has a thread of its own, nearly always asleep: a system call that binds must not delay audio.
//!
//! ```text
//!   unbound ──bind──► granted ──first Set──► used ──Release──► resting ──30 s──► granted …
//!      │ ▲
//!      ▼ │ after a rest
//!    refused: another program has the port
//! ```

use crate::base::ids::PortId;
use crate::base::now::Micros;
use crate::engine::media::MediaEvent;
use crate::media::slot::{Slot, Sockets, State, Table};
use crate::media::sys::{self, Clock, Registry};
use crate::media::thread::watch;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

/// The shortest time between two tries to bind a pair.
const RETRY: Duration = Duration::from_secs(1);
/// A pair rests that long at least, even when calls would be refused for want of it: what a phone still sends after its
/// BYE is nearly always here by then, and what comes later is told apart by where it comes from.
const SHORTEST_REST: Duration = Duration::from_secs(1);

/// A port its thread has let go of, and when.
pub struct Released {
    pub port: PortId,
    pub at: Micros,
}

#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Pairs of each address to have granted and unused.
    pub ahead: usize,
    pub rest: Duration,
    /// Pairs that may be bound at all, over all addresses.
    pub most: usize,
}

pub struct Pool<E> {
    table: Arc<Table>,
    clock: Clock,
    policy: Policy,
    bound: usize,
    stock: Vec<Stock>,
    released: Receiver<Released>,
    stop: Arc<AtomicBool>,
    events: E,
    /// Of the only media thread, if there is but one: it watches a pair from the beginning.
    only: Option<Registry>,
    /// Whether the log has the shortage already.
    told: bool,
}

/// The ports of one address that are nobody's.
struct Stock {
    unbound: Range<u32>,
    /// Bound, with the time from which they may be granted; in that order.
    resting: VecDeque<(Micros, PortId)>,
    /// Another program had them; with the time of the next try, in that order.
    refused: VecDeque<(Micros, PortId)>,
}

/// There is no port to grant; the time names when there will be one if nothing else happens.
struct Dry(Option<Micros>);

impl<E: Fn(MediaEvent)> Pool<E> {
    pub fn new(
        table: Arc<Table>,
        clock: Clock,
        policy: Policy,
        released: Receiver<Released>,
        stop: Arc<AtomicBool>,
        events: E,
        only: Option<Registry>,
    ) -> Pool<E> {
        let stock =
            table.addresses().map(|ports| Stock { unbound: ports, resting: VecDeque::new(), refused: VecDeque::new() });
        let stock = stock.collect();
        Pool { table, clock, policy, bound: 0, stock, released, stop, events, only, told: false }
    }

    /// Runs until told to stop. Whoever uses up grants, or releases a port while the pool is dry, unparks this thread.
    pub fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            match self.fill() {
                None => thread::park(),
                Some(at) => thread::park_timeout(at.since(self.clock.now()).max(Duration::from_millis(1))),
            }
        }
    }

    /// Grants what is missing. Returns when it is worth another try, if it is short and time alone will help.
    fn fill(&mut self) -> Option<Micros> {
        // Before looking, so that a port released after the look rings the bell.
        self.table.dry.store(true, Ordering::SeqCst);
        while let Ok(Released { port, at }) = self.released.try_recv() {
            let address = self.table.address_of(port);
            self.stock[address].resting.push_back((at + self.policy.rest, port));
        }
        let now = self.clock.now();
        let short: Vec<(usize, Dry)> = (0..self.stock.len())
            .filter_map(|address| Some((address, self.fill_address(address, now).err()?)))
            .collect();
        self.table.dry.store(!short.is_empty(), Ordering::SeqCst);
        self.tell(short.iter().any(|(address, _)| self.is_low(*address)));
        short.into_iter().filter_map(|(_, Dry(retry))| retry).min()
    }

    /// Whether few ports are left: less than a quarter of what is usually ahead, and once that is told less than half. A small
    /// range is granted as a whole and nothing rests behind it: that alone is no shortage.
    fn is_low(&self, address: usize) -> bool {
        self.has_less_than_one_in(if self.told { 2 } else { 4 }, address)
    }

    fn has_less_than_one_in(&self, parts: usize, address: usize) -> bool {
        let usual = self.policy.ahead.min(self.policy.most).min(self.table.len() / self.stock.len());
        self.table.ahead(address).load(Ordering::Acquire) * parts < usual
    }

    fn fill_address(&mut self, address: usize, now: Micros) -> Result<(), Dry> {
        // Then all that is missing is made up for at once: a flood of calls uses a handful of ports in less time than it takes
        // this thread to wake up.
        let is_scarce = self.has_less_than_one_in(2, address);
        while self.table.ahead(address).load(Ordering::Acquire) < self.policy.ahead {
            let port = self.next(address, now, is_scarce)?;
            if let Some(slot) = self.table.get(port) {
                self.table.ahead(address).fetch_add(1, Ordering::AcqRel);
                slot.set_state(State::Granted);
                (self.events)(MediaEvent::Granted { port, rtp: slot.address() });
            }
        }
        Ok(())
    }

    /// A port to grant: one that has rested, else one never used, else one another program may have left, else, when they
    /// are scarce, the one that has rested longest.
    fn next(&mut self, address: usize, now: Micros, is_scarce: bool) -> Result<PortId, Dry> {
        let stock = &mut self.stock[address];
        if let Some(port) = due(&mut stock.resting, now) {
            return Ok(port);
        }
        while self.bound < self.policy.most
            && let Some(port) = stock.unbound.next().map(PortId).or_else(|| due(&mut stock.refused, now))
        {
            let Some(slot) = self.table.get(port) else { continue };
            match bind_pair(slot) {
                Ok(sockets) => {
                    slot.set_sockets(sockets);
                    if let Some(only) = &self.only {
                        watch(only, 0, port, slot);
                    }
                    self.bound += 1;
                    return Ok(port);
                }
                Err(error) => {
                    let again = now + self.policy.rest.max(RETRY);
                    stock.refused.push_back((again, port));
                    if error.kind() != io::ErrorKind::AddrInUse {
                        // No reason to expect better of the next pair.
                        self.complain(port, &error);
                        return Err(Dry(Some(now + RETRY)));
                    }
                }
            }
        }
        // The times in the queue are those of a whole rest.
        let early = if is_scarce { self.policy.rest.saturating_sub(SHORTEST_REST) } else { Duration::ZERO };
        let stock = &mut self.stock[address];
        if let Some(port) = due(&mut stock.resting, now + early) {
            return Ok(port);
        }
        let refused = stock.refused.front().filter(|_| self.bound < self.policy.most).map(|(at, _)| *at);
        let resting = stock.resting.front().map(|(at, _)| Micros(at.0 - early.as_micros() as u64));
        Err(Dry([resting, refused].into_iter().flatten().min()))
    }

    fn complain(&self, port: PortId, error: &io::Error) {
        if let Some(slot) = self.table.get(port).filter(|_| !self.told) {
            tracing::warn!("RTP port {} can't be opened, trying again: {error}", slot.address());
        }
    }

    fn tell(&mut self, low: bool) {
        if low && !self.told {
            let bound = self.bound;
            let resting: usize = self.stock.iter().map(|stock| stock.resting.len()).sum();
            let refused: usize = self.stock.iter().map(|stock| stock.refused.len()).sum();
            tracing::warn!(
                "RTP ports are running out: of {bound} port pairs that are open {resting} rest after a call, and \
                 {refused} more belong to other programs; new calls will be refused when the last are used. Widen the \
                 RTP port range, or raise the limit of open files (ulimit -n)"
            );
        } else if !low && self.told {
            tracing::info!("enough RTP ports again");
        }
        self.told = low;
    }
}

fn due(queue: &mut VecDeque<(Micros, PortId)>, now: Micros) -> Option<PortId> {
    let (at, _) = queue.front()?;
    if *at <= now { queue.pop_front().map(|(_, port)| port) } else { None }
}

fn bind_pair(slot: &Slot) -> io::Result<Sockets> {
    Ok(Sockets { rtp: sys::bind(slot.address())?, rtcp: sys::bind(slot.rtcp_address())? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn a_shortage_is_told_when_ports_run_out_and_not_because_the_range_is_small() {
        let table = Arc::new(Table::new(&[IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1))], 20_000, 8));
        let policy = Policy { ahead: 256, rest: Duration::from_secs(30), most: 8 };
        let (_released, receiver) = std::sync::mpsc::sync_channel(8);
        let mut pool = Pool::new(table.clone(), Clock::start(), policy, receiver, Arc::default(), |_| {}, None);
        let mut told_with = |unused: usize| {
            table.ahead(0).store(unused, Ordering::Release);
            pool.fill();
            pool.told
        };
        assert!(!told_with(0), "all eight are granted now and none is used");
        assert!(!told_with(2));
        assert!(told_with(1), "seven of eight are used");
        assert!(told_with(3), "no new line for each call that ends and begins");
        assert!(!told_with(4));
    }
}
