//! A set of timers with a total order: earlier deadline first, and among equals the one set first.

use crate::base::now::Micros;
use std::collections::BTreeMap;

/// Names one armed timer, to cancel it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TimerId {
    at: Micros,
    seq: u64,
}

pub struct TimerSet<K> {
    armed: BTreeMap<TimerId, K>,
    next_seq: u64,
}

impl<K> Default for TimerSet<K> {
    fn default() -> Self {
        TimerSet { armed: BTreeMap::new(), next_seq: 0 }
    }
}

impl<K> TimerSet<K> {
    pub fn set(&mut self, at: Micros, key: K) -> TimerId {
        let id = TimerId { at, seq: self.next_seq };
        self.next_seq += 1;
        self.armed.insert(id, key);
        id
    }

    /// Disarms; harmless if the timer has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        self.armed.remove(&id)
    }

    /// When the next timer is due.
    pub fn deadline(&self) -> Option<Micros> {
        self.armed.first_key_value().map(|(id, _)| id.at)
    }

    /// The next timer due at or before `now`.
    pub fn pop(&mut self, now: Micros) -> Option<K> {
        let entry = self.armed.first_entry()?;
        (entry.key().at <= now).then(|| entry.remove())
    }

    pub fn len(&self) -> usize {
        self.armed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    /// The armed timers in the order they will fire.
    pub fn iter(&self) -> impl Iterator<Item = (Micros, &K)> {
        self.armed.iter().map(|(id, key)| (id.at, key))
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
        timers.set(Micros(10), 'b');
        timers.cancel(cancelled);
        assert_eq!(timers.deadline(), Some(Micros(10)));
        assert_eq!(timers.pop(Micros(9)), None);
        let fired: Vec<char> = std::iter::from_fn(|| timers.pop(Micros(30))).collect();
        assert_eq!(fired, ['a', 'b', 'c']);
        assert!(timers.is_empty());
    }
}
