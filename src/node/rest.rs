//! How the engine's thread rests between turns: it waits for its sockets, or, under load, naps.
//!
//! A wake-up across processors costs some 5 µs, more than most messages. When the thread finds itself woken again and
//! again within a nap's length, it naps for that length instead and lets datagrams gather, without being woken; a nap that
//! gathered fewer than two ends the napping. The price is at most one nap of delay, paid only under load.

use crate::base::now::Micros;
use crate::net::udp::UdpListener;
use crate::net::wake::Waker;
use crate::node::clock;
use crate::node::stats::Stats;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Deadlines in one such stretch of time share a wake-up; SIP's shortest timer is 200 ms.
const SLACK: u64 = 4_000;
/// Longest wait, µs: the inbox may have mail that was not worth waking the thread for.
const LONGEST: u64 = 1_000_000;
/// Waits shorter than a nap, one after the other, that make the thread nap.
const SHORT_WAITS: u32 = 8;
/// Inputs that make a nap worth it.
const NAP_YIELD: usize = 2;
/// The waker's place in the epoll set; sockets have their index.
const WAKER: u64 = u64::MAX;
/// Sockets in a bit set.
pub const SOCKETS: usize = 64;

/// Which sockets are to be looked at.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Woken {
    readable: u64,
    writable: u64,
}

impl Woken {
    pub fn is_readable(&self, socket: usize) -> bool {
        self.readable >> socket & 1 == 1
    }

    pub fn is_writable(&self, socket: usize) -> bool {
        self.writable >> socket & 1 == 1
    }
}

pub struct Rest {
    epoll: Epoll,
    waker: Arc<Waker>,
    nap: Duration,
    /// All sockets, for after a nap.
    all: u64,
    /// Sockets with more to give than their last batch.
    again: u64,
    is_napping: bool,
    short_waits: u32,
    stats: Arc<Stats>,
}

impl Rest {
    pub fn new(waker: Arc<Waker>, nap: Duration, stats: Arc<Stats>) -> io::Result<Rest> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        Ok(Rest { epoll, waker, nap, all: 0, again: 0, is_napping: false, short_waits: 0, stats })
    }

    /// `n` is below `SOCKETS`.
    pub fn watch(&mut self, n: usize, socket: &UdpListener) -> io::Result<()> {
        self.epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, n as u64))?;
        self.all |= 1 << n;
        Ok(())
    }

    pub fn watch_writable(&self, n: usize, socket: &UdpListener, writable: bool) {
        let flags = if writable { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
        if let Err(error) = self.epoll.modify(socket, &mut EpollEvent::new(flags, n as u64)) {
            tracing::error!("watching udp:{} fails: {error}", socket.bound());
        }
    }

    /// The socket's batch was full: it is read again before the thread rests.
    pub fn again(&mut self, n: usize) {
        self.again |= 1 << n;
    }

    /// Rests until a socket, a queue or the deadline wants something. `has_work` looks at the queues.
    pub fn until(&mut self, deadline: Option<Micros>, has_work: impl Fn() -> bool) -> Woken {
        if self.again != 0 {
            return Woken { readable: std::mem::take(&mut self.again), writable: 0 };
        }
        if self.is_napping {
            self.stats.naps.add(1);
            std::thread::sleep(self.nap);
            // A look at the sockets costs no more than asking which of them has something.
            let writable = self.poll(EpollTimeout::ZERO).writable;
            return Woken { readable: self.all, writable };
        }
        self.waker.fall_asleep();
        if has_work() {
            self.waker.awake();
            return self.poll(EpollTimeout::ZERO);
        }
        let before = clock::mono();
        let woken = self.poll(timeout(deadline, before));
        self.waker.awake();
        self.stats.wakeups.add(1);
        let is_short = clock::mono().since(before) < self.nap;
        self.short_waits = if is_short { self.short_waits + 1 } else { 0 };
        woken
    }

    /// How many inputs the turn after the last rest had.
    pub fn turn_done(&mut self, inputs: usize) {
        if self.is_napping {
            self.is_napping = inputs >= NAP_YIELD;
        } else if self.short_waits >= SHORT_WAITS && !self.nap.is_zero() {
            self.is_napping = true;
            self.short_waits = 0;
        }
    }

    fn poll(&self, timeout: EpollTimeout) -> Woken {
        let mut events = [EpollEvent::empty(); SOCKETS + 1];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => {
                tracing::error!("waiting for the network fails: {error}");
                std::thread::sleep(Duration::from_millis(10));
                0
            }
        };
        let mut woken = Woken::default();
        for event in &events[..count] {
            if event.data() == WAKER {
                self.waker.clear();
                continue;
            }
            let flags = event.events();
            if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
                woken.readable |= 1 << event.data();
            }
            if flags.contains(EpollFlags::EPOLLOUT) {
                woken.writable |= 1 << event.data();
            }
        }
        woken
    }
}

/// Milliseconds until the end of the stretch the deadline lies in.
fn timeout(deadline: Option<Micros>, now: Micros) -> EpollTimeout {
    let deadline = deadline.unwrap_or(Micros(u64::MAX));
    if deadline <= now {
        return EpollTimeout::ZERO;
    }
    let end = deadline.0.saturating_add(SLACK - 1) / SLACK * SLACK;
    let wait = (end.saturating_sub(now.0)).min(LONGEST).div_ceil(1000);
    EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_of_one_stretch_share_a_wake_up_and_none_is_missed() {
        let wait = |deadline, now| {
            let timeout = timeout(Some(Micros(deadline)), Micros(now));
            u64::from(timeout.as_millis().unwrap_or(0))
        };
        for now in [8_000u64, 9_100, 11_999] {
            for deadline in [12_001u64, 13_000, 16_000] {
                let woken_at = now + wait(deadline, now) * 1000;
                assert!((deadline..deadline + SLACK + 1000).contains(&woken_at), "{now} {deadline} {woken_at}");
            }
        }
        assert_eq!(wait(5, 10), 0);
        assert_eq!(wait(u64::MAX, 10), LONGEST / 1000);
        assert_eq!(timeout(None, Micros(1)).as_millis(), Some(1_000));
    }
}
