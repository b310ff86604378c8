//! The table of all socket pairs the configuration allows, shared by the media threads, the pool and the handle.
//!
//! Who writes what: the pool binds sockets and grants; the handle marks a slot used and released; the thread a port is
//! assigned to publishes where its peer is. Sockets, once bound, stay open until the plane is gone, so that a thread
//! may send through any of them without asking.
//!
//! Invariant: packets for one call's port never reach the next call's peer. A sink names the *lease* it was made for,
//! and the target a port publishes carries the lease it is valid for; if they differ the packet is dropped.

use crate::base::ids::PortId;
use arc_swap::ArcSwapOption;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

pub struct Table {
    slots: Box<[Slot]>,
    per_address: usize,
    /// Granted and not yet used, for each address.
    ahead: Box<[AtomicUsize]>,
    /// The pool has too little to grant: a released port is news.
    pub dry: AtomicBool,
}

/// One socket pair. What a packet needs comes first and fits in one cache line; its neighbours belong to other threads.
#[repr(C, align(64))]
pub struct Slot {
    sockets: OnceLock<Sockets>,
    /// Where its peer is; None while nothing may be sent to it.
    pub target: ArcSwapOption<Target>,
    pub sent: AtomicU64,
    pub sent_bytes: AtomicU64,
    lease: AtomicU32,
    state: AtomicU8,
    /// The lane whose poll has both sockets, with nothing stale in them, plus one; 0 for none.
    watcher: AtomicU8,
    /// RTP; RTCP is the next port up.
    address: SocketAddr,
}

pub struct Sockets {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

/// In the order a packet reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Target {
    pub lease: u32,
    /// The peer takes RTCP on its RTP port (RFC 5761), so it must leave from ours.
    pub mux: bool,
    /// The RTP socket is connected to `rtp`.
    pub connected: bool,
    /// None when the peer does not want to hear us.
    pub rtp: Option<SocketAddr>,
    pub rtcp: Option<SocketAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// Nobody's: not bound, or resting.
    Free,
    /// Offered to the engine.
    Granted,
    /// Has a task.
    Used,
}

impl Table {
    /// `count` pairs from `first` up on each of `addresses`; a port's id is its index.
    pub fn new(addresses: &[IpAddr], first: u16, count: usize) -> Table {
        let ports = || (0..count).map(|n| first + 2 * n as u16);
        let slots = addresses.iter().flat_map(|ip| ports().map(|port| Slot::new(SocketAddr::new(*ip, port)))).collect();
        let ahead = addresses.iter().map(|_| AtomicUsize::new(0)).collect();
        Table { slots, per_address: count.max(1), ahead, dry: AtomicBool::new(false) }
    }

    #[inline]
    pub fn get(&self, port: PortId) -> Option<&Slot> {
        self.slots.get(port.0 as usize)
    }

    #[expect(clippy::len_without_is_empty, reason = "a configuration without ports is refused")]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The ids of each address's ports.
    pub fn addresses(&self) -> impl Iterator<Item = Range<u32>> {
        let each = self.per_address as u32;
        (0..self.ahead.len() as u32).map(move |n| n * each..(n + 1) * each)
    }

    pub fn address_of(&self, port: PortId) -> usize {
        port.0 as usize / self.per_address
    }

    /// How many ports of an address are granted and unused.
    pub fn ahead(&self, address: usize) -> &AtomicUsize {
        &self.ahead[address]
    }
}

impl Slot {
    fn new(address: SocketAddr) -> Slot {
        Slot {
            address,
            sockets: OnceLock::new(),
            target: ArcSwapOption::empty(),
            state: AtomicU8::new(State::Free as u8),
            watcher: AtomicU8::new(0),
            lease: AtomicU32::new(0),
            sent: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn rtcp_address(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    pub fn sockets(&self) -> Option<&Sockets> {
        self.sockets.get()
    }

    pub fn set_sockets(&self, sockets: Sockets) {
        // The pool is the only one to bind, and binds a slot once.
        let _ = self.sockets.set(sockets);
    }

    /// Which grant of this slot is running.
    pub fn lease(&self) -> u32 {
        self.lease.load(Ordering::Acquire)
    }

    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            1 => State::Granted,
            2 => State::Used,
            _ => State::Free,
        }
    }

    pub fn set_state(&self, state: State) {
        if state == State::Granted {
            self.lease.fetch_add(1, Ordering::AcqRel);
        }
        self.state.store(state as u8, Ordering::Release);
    }

    /// Whether what comes to the sockets wakes the thread of this lane.
    pub fn is_watched(&self, lane: u8) -> bool {
        self.watcher.load(Ordering::SeqCst) == lane + 1
    }

    pub fn watched(&self, lane: u8) {
        self.watcher.store(lane + 1, Ordering::SeqCst);
    }

    /// The lane's poll lacks one of the sockets from now on; another lane may have taken over before.
    pub fn unwatched(&self, lane: u8) {
        let _ = self.watcher.compare_exchange(lane + 1, 0, Ordering::SeqCst, Ordering::SeqCst);
    }

    pub fn count_sent(&self, bytes: usize) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
