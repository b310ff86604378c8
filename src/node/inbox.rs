//! What other threads tell the engine's thread: commands of the API, the media plane's events, the journal's acknowledgements,
//! new directories. Apart from the phones' messages, so that no flood of these can keep it from being heard.
//!
//! Bounded without losing anything that matters: commands are refused at the limit; acknowledgements of the journal are
//! merged; a media port has at most one grant and one release outstanding, and running totals beyond the limit are
//! dropped and counted, since the next ones hold them too.
//!
//! What nobody waits for does not wake the engine's thread: media events, and acknowledgements of records that hold no
//! answer back lie here until the thread is awake anyway, which it is once a second at least, and soon after it gave a
//! port back.

use crate::base::ids::RecordSeq;
use crate::directory::Directory;
use crate::engine::io::{Command, CommandResult};
use crate::engine::media::MediaEvent;
use crate::net::wake::Waker;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Orders that wait; the API answers 503 beyond.
const ORDERS: usize = 1_024;
/// Media events that wait before running totals are dropped.
const MEDIA_EVENTS: usize = 16_384;
/// Acknowledgements that can't be merged; beyond it the journal's refusals win, and phones register again.
const ACKNOWLEDGEMENTS: usize = 1_024;

/// Something somebody waits for.
pub enum Order {
    Command {
        command: Command,
        done: oneshot::Sender<CommandResult>,
    },
    Directory {
        directory: Arc<Directory>,
        done: oneshot::Sender<()>,
    },
    /// Answered when everything given before it is done: the engine's thread is alive.
    Beat {
        done: oneshot::Sender<()>,
    },
    /// The engine's thread ends.
    Stop,
}

/// Everything that waited, in the order it is given to the engine.
#[derive(Default)]
pub struct Mail {
    pub refused: Option<bool>,
    pub recorded: VecDeque<(RecordSeq, bool)>,
    pub media: Vec<MediaEvent>,
    pub orders: VecDeque<Order>,
}

pub struct Inbox {
    waker: Arc<Waker>,
    mail: Mutex<Mail>,
    has_mail: AtomicBool,
    awaits_records: AtomicBool,
    dropped: AtomicU64,
}

/// The engine's thread is too busy to take another order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Inbox {
    pub fn new(waker: Arc<Waker>) -> Inbox {
        let (has_mail, awaits_records) = (AtomicBool::new(false), AtomicBool::new(false));
        Inbox { waker, mail: Mutex::default(), has_mail, awaits_records, dropped: AtomicU64::new(0) }
    }

    pub fn order(&self, order: Order) -> Result<(), Full> {
        let mut mail = self.lock();
        if mail.orders.len() >= ORDERS && !matches!(order, Order::Stop) {
            return Err(Full);
        }
        mail.orders.push_back(order);
        self.ring(mail);
        Ok(())
    }

    pub fn media(&self, event: MediaEvent) {
        let mut mail = self.lock();
        if mail.media.len() >= MEDIA_EVENTS && matches!(event, MediaEvent::Counted { .. } | MediaEvent::Latched { .. })
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        mail.media.push(event);
        self.has_mail.store(true, Ordering::SeqCst);
    }

    pub fn recorded(&self, upto: RecordSeq, kept: bool) {
        let mut mail = self.lock();
        let is_full = mail.recorded.len() >= ACKNOWLEDGEMENTS;
        match mail.recorded.back_mut() {
            Some(last) if last.1 == kept => last.0 = upto,
            Some(last) if is_full => *last = (upto, false),
            _ => mail.recorded.push_back((upto, kept)),
        }
        self.has_mail.store(true, Ordering::SeqCst);
        if self.awaits_records.load(Ordering::SeqCst) {
            self.ring(mail);
        }
    }

    /// Whether an answer waits for the journal; said by the engine's thread before it rests.
    pub fn set_awaits_records(&self, awaits: bool) {
        self.awaits_records.store(awaits, Ordering::SeqCst);
    }

    pub fn records_refused(&self, refused: bool) {
        let mut mail = self.lock();
        mail.refused = Some(refused);
        self.ring(mail);
    }

    /// For the engine's thread: everything that waits.
    pub fn take(&self) -> Option<Mail> {
        if !self.has_mail() {
            return None;
        }
        let mut mail = self.lock();
        self.has_mail.store(false, Ordering::SeqCst);
        Some(std::mem::take(&mut mail))
    }

    pub fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::SeqCst)
    }

    /// Running totals of media ports that were dropped because the engine's thread was busy.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn ring(&self, mail: MutexGuard<'_, Mail>) {
        self.has_mail.store(true, Ordering::SeqCst);
        drop(mail);
        self.waker.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::PortId;
    use crate::engine::media::Counters;

    fn inbox() -> Inbox {
        Inbox::new(Arc::new(Waker::new().unwrap()))
    }

    fn command() -> (Order, oneshot::Receiver<CommandResult>) {
        let (done, result) = oneshot::channel();
        (Order::Command { command: Command::Drain, done }, result)
    }

    #[test]
    fn the_journals_acknowledgements_are_merged_and_none_is_lost() {
        let inbox = inbox();
        for (seq, kept) in [(1, true), (5, true), (6, false), (9, false), (12, true)] {
            inbox.recorded(RecordSeq(seq), kept);
        }
        let mail = inbox.take().unwrap();
        assert_eq!(mail.recorded, [(RecordSeq(5), true), (RecordSeq(9), false), (RecordSeq(12), true)]);
        assert!(inbox.take().is_none());
        // A journal that changes its mind all the time costs no memory without end.
        for seq in 0..10_000 {
            inbox.recorded(RecordSeq(seq), seq % 2 == 0);
        }
        let mail = inbox.take().unwrap();
        assert_eq!((mail.recorded.len(), mail.recorded.back()), (ACKNOWLEDGEMENTS, Some(&(RecordSeq(9_999), false))));
    }

    #[test]
    fn only_what_somebody_waits_for_wakes_the_thread() {
        let waker = Arc::new(Waker::new().unwrap());
        let inbox = Inbox::new(waker.clone());
        let wakes = |put: &dyn Fn()| {
            waker.fall_asleep();
            put();
            assert!(inbox.has_mail());
            let woken = waker.is_awake();
            waker.awake();
            waker.clear();
            woken
        };
        let port = PortId(1);
        let rtp = "127.0.0.1:4000".parse().unwrap();
        assert!(!wakes(&|| inbox.media(MediaEvent::Granted { port, rtp })));
        assert!(!wakes(&|| inbox.media(MediaEvent::Released { port, counters: Counters::default() })));
        assert!(!wakes(&|| inbox.recorded(RecordSeq(1), true)));
        inbox.set_awaits_records(true);
        assert!(wakes(&|| inbox.recorded(RecordSeq(2), true)));
        assert!(wakes(&|| inbox.order(command().0).unwrap()));
    }

    #[test]
    fn too_many_orders_are_refused_but_the_stop_is_taken() {
        let inbox = inbox();
        for _ in 0..ORDERS {
            assert_eq!(inbox.order(command().0), Ok(()));
        }
        assert_eq!(inbox.order(command().0), Err(Full));
        assert_eq!(inbox.order(Order::Stop), Ok(()));
        assert_eq!(inbox.take().unwrap().orders.len(), ORDERS + 1);
        assert_eq!(inbox.order(command().0), Ok(()));
    }

    #[test]
    fn running_totals_give_way_grants_and_releases_never() {
        let inbox = inbox();
        let port = PortId(1);
        for _ in 0..MEDIA_EVENTS + 5 {
            inbox.media(MediaEvent::Counted { port, counters: Counters::default() });
        }
        inbox.media(MediaEvent::Released { port, counters: Counters::default() });
        let mail = inbox.take().unwrap();
        assert_eq!((mail.media.len(), inbox.dropped()), (MEDIA_EVENTS + 1, 5));
        assert!(matches!(mail.media.last(), Some(MediaEvent::Released { .. })));
    }
}
