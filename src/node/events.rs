//! The way of the engine's events to their folds: a bounded queue from the engine's thread to one task.
//!
//! The task naps after each drain, unless the queue fills, so that the engine pays for a wake-up a second and not for one an
//! event; who looks at the board in between has it fetch what waits. Events that find the queue full are counted; the board sees
//! the gap and asks for a snapshot.

use crate::engine::event::Event;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Events that wait, some seconds of a busy exchange.
pub const QUEUE: usize = 65_536;
/// How long the folds may lag behind the engine.
const NAP: Duration = Duration::from_secs(1);

pub struct EventQueue {
    waiting: Mutex<VecDeque<Event>>,
    some: Notify,
    many: Notify,
    lost: AtomicU64,
    bound: usize,
}

impl EventQueue {
    pub fn new(bound: usize) -> EventQueue {
        EventQueue {
            waiting: Mutex::default(),
            some: Notify::new(),
            many: Notify::new(),
            lost: AtomicU64::new(0),
            bound,
        }
    }

    /// Takes the events of one batch, as many as there is room for. Never blocks for longer than a drain's swap.
    pub fn push(&self, events: &mut Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        let before = waiting.len();
        let room = self.bound.saturating_sub(waiting.len()).min(events.len());
        waiting.extend(events.drain(..room));
        let now = waiting.len();
        drop(waiting);
        if !events.is_empty() {
            self.lost.fetch_add(events.len() as u64, Ordering::Relaxed);
            events.clear();
        }
        if before == 0 {
            self.some.notify_one();
        }
        let many = self.bound / 4;
        if before < many && now >= many {
            self.many.notify_one();
        }
    }

    /// Until it is time to take events again: a while, or less when there are many.
    pub async fn nap(&self) {
        let _ = tokio::time::timeout(NAP, self.many.notified()).await;
    }

    /// Until there are events.
    pub async fn wait(&self) {
        while self.lock().is_empty() {
            self.some.notified().await;
        }
    }

    /// All events there are.
    pub fn take(&self) -> VecDeque<Event> {
        std::mem::take(&mut *self.lock())
    }

    /// Events that found the queue full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::cause::Cause;
    use crate::base::ids::TenantId;
    use crate::base::now::Timestamp;
    use crate::engine::event::EventBody;

    fn event(seq: u64) -> Event {
        let body = EventBody::Refused { tenant: TenantId(1), cause: Cause::Forbidden };
        Event { seq, at: Timestamp(0), body }
    }

    #[tokio::test]
    async fn events_come_in_order_and_what_finds_no_room_is_counted() {
        let queue = EventQueue::new(3);
        queue.push(&mut vec![event(1), event(2)]);
        queue.push(&mut vec![event(3), event(4), event(5)]);
        let seqs = |events: VecDeque<Event>| events.iter().map(|e| e.seq).collect::<Vec<_>>();
        assert_eq!(seqs(queue.take()), [1, 2, 3]);
        assert_eq!(queue.lost(), 2);
        queue.push(&mut vec![event(6)]);
        assert_eq!(seqs(queue.take()), [6]);
    }

    #[tokio::test]
    async fn a_waiting_task_is_woken() {
        let queue = std::sync::Arc::new(EventQueue::new(10));
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move {
                queue.wait().await;
                queue.take().len()
            }
        });
        tokio::task::yield_now().await;
        queue.push(&mut vec![event(1)]);
        assert_eq!(waiting.await.unwrap(), 1);
    }
}
