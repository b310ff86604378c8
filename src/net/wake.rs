//! Wakes the engine's thread, and only when it may be asleep: a system call a message would cost more than the message.
//!
//! Sleeper: `fall_asleep`, look at every queue once more, wait on the descriptor, `awake`.
//! Waker: put something into a queue, then `wake`.
//! Either the sleeper sees what was put, or the waker sees that it sleeps: both orders are sequentially consistent.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

pub struct Waker {
    event: EventFd,
    asleep: AtomicBool,
}

impl Waker {
    pub fn new() -> io::Result<Waker> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Waker { event, asleep: AtomicBool::new(false) })
    }

    /// Called after something was put into a queue of the sleeper.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // It fails only when the counter is full: then the sleeper is being woken anyway.
            let _ = self.event.write(1);
        }
    }

    /// From here on `wake` writes the descriptor; the sleeper must look at its queues once more before it waits.
    pub fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Nobody sleeps, or whoever slept has been woken.
    pub fn is_awake(&self) -> bool {
        !self.asleep.load(Ordering::SeqCst)
    }

    /// Takes the signal back after the descriptor was readable.
    pub fn clear(&self) {
        let _ = self.event.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::sync::{Arc, mpsc};

    fn is_signalled(waker: &Waker, timeout: PollTimeout) -> bool {
        let mut fds = [PollFd::new(waker.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).unwrap() == 1
    }

    #[test]
    fn a_thread_that_is_awake_costs_no_system_call_and_one_asleep_is_woken() {
        let waker = Waker::new().unwrap();
        waker.wake();
        assert!(!is_signalled(&waker, PollTimeout::ZERO));
        waker.fall_asleep();
        waker.wake();
        assert!(is_signalled(&waker, PollTimeout::ZERO));
        waker.clear();
        waker.awake();
        assert!(!is_signalled(&waker, PollTimeout::ZERO));
    }

    #[test]
    fn no_item_is_ever_left_waiting_in_the_queue() {
        const ITEMS: usize = 20_000;
        let waker = Arc::new(Waker::new().unwrap());
        let (sender, receiver) = mpsc::sync_channel(64);
        let producer = {
            let waker = waker.clone();
            std::thread::spawn(move || {
                for item in 0..ITEMS {
                    sender.send(item).unwrap();
                    waker.wake();
                }
            })
        };
        let mut taken = 0;
        while taken < ITEMS {
            while receiver.try_recv().is_ok() {
                taken += 1;
            }
            waker.fall_asleep();
            if let Ok(_item) = receiver.try_recv() {
                waker.awake();
                taken += 1;
                continue;
            }
            if taken < ITEMS {
                assert!(is_signalled(&waker, PollTimeout::from(10_000u16)), "asleep with {taken} of {ITEMS} taken");
                waker.clear();
            }
            waker.awake();
        }
        producer.join().unwrap();
    }
}
