//! A set of timers with a total order: earlier deadline first, and among equals the one set first.
//!
//! Most timers of a SIP server wait the same few fixed times (64·T1, T4) and are never cancelled: those go to a *lane*, a
//! plain queue that is in order by itself, since time does not run backwards. The rest are in a tree and can be cancelled.
//!
//! Nobody minds when a lane's timer fires a little late: those of one stretch of time share a deadline, for each costs its
//! thread a wake-up.

use crate::base::now::Micros;
use std::collections::{BTreeMap, VecDeque};

/// A lane's timers due in the same stretch of so many µs fire together, at its end at the latest.
const STRETCH: u64 = 250_000;

/// Names one armed timer, to cancel it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TimerId {
    at: Micros,
    seq: u64,
}

/// Which fixed delay a lane timer waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// 64·T1: timers B, D, F, H, J, L, M of RFC 3261 and RFC 6026.
    Long,
    /// T4: timers I and K.
    Short,
}

pub struct TimerSet<K> {
    armed: BTreeMap<TimerId, K>,
    lanes: [VecDeque<(TimerId, K)>; 2],
    next_seq: u64,
}

/// Where the earliest timer is.
enum Place {
    Tree,
    Lane(usize),
}

impl<K> Default for TimerSet<K> {
    fn default() -> Self {
        TimerSet { armed: BTreeMap::new(), lanes: [VecDeque::new(), VecDeque::new()], next_seq: 0 }
    }
}

impl<K> TimerSet<K> {
    pub fn set(&mut self, at: Micros, key: K) -> TimerId {
        let id = self.issue(at);
        self.armed.insert(id, key);
        id
    }

    /// Arms a timer that can't be cancelled: whoever it fires for must know whether it still means anything.
    pub fn set_fixed(&mut self, lane: Lane, at: Micros, key: K) {
        let id = self.issue(at);
        let queue = &mut self.lanes[lane as usize];
        if queue.back().is_some_and(|(last, _)| last.at > at) {
            self.armed.insert(id, key);
        } else {
            queue.push_back((id, key));
        }
    }

    /// Disarms; harmless if the timer has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        self.armed.remove(&id)
    }

    /// When `pop` is to be asked next.
    pub fn deadline(&self) -> Option<Micros> {
        let tree = self.armed.first_key_value().map(|(id, _)| id.at);
        let lanes = self.lanes.iter().filter_map(|lane| lane.front());
        let lane = lanes.map(|(id, _)| id.at).min().map(|at| Micros(at.0.div_ceil(STRETCH).saturating_mul(STRETCH)));
        tree.into_iter().chain(lane).min()
    }

    /// The next timer due at or before `now`.
    pub fn pop(&mut self, now: Micros) -> Option<K> {
        let (id, place) = self.first()?;
        if id.at > now {
            return None;
        }
        match place {
            Place::Tree => self.armed.pop_first().map(|(_, key)| key),
            Place::Lane(lane) => self.lanes[lane].pop_front().map(|(_, key)| key),
        }
    }

    /// All armed timers, those in lanes that mean nothing any more included.
    pub fn len(&self) -> usize {
        self.armed.len() + self.lanes.iter().map(VecDeque::len).sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The armed timers, in no order across lanes.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        self.armed.values().chain(self.lanes.iter().flatten().map(|(_, key)| key))
    }

    fn issue(&mut self, at: Micros) -> TimerId {
        let seq = self.next_seq;
        self.next_seq += 1;
        TimerId { at, seq }
    }

    fn first(&self) -> Option<(TimerId, Place)> {
        let tree = self.armed.first_key_value().map(|(id, _)| (*id, Place::Tree));
        let lane = |n: usize| self.lanes[n].front().map(|(id, _)| (*id, Place::Lane(n)));
        [tree, lane(0), lane(1)].into_iter().flatten().min_by_key(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_by_deadline_and_then_in_the_order_set() {
        let mut timers = TimerSet::default();
        timers.set(Micros(20), 'c');
        let cancelled = timers.set(Micros(10), 'x');
        timers.set(Micros(10), 'a');
        timers.set_fixed(Lane::Long, Micros(10), 'b');
        timers.set_fixed(Lane::Short, Micros(30), 'e');
        timers.set_fixed(Lane::Short, Micros(25), 'd');
        timers.cancel(cancelled);
        assert_eq!(timers.deadline(), Some(Micros(10)));
        assert_eq!(timers.pop(Micros(9)), None);
        let fired: Vec<char> = std::iter::from_fn(|| timers.pop(Micros(30))).collect();
        assert_eq!(fired, ['a', 'b', 'c', 'd', 'e']);
        assert!(timers.is_empty());
    }
}
