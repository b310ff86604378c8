//! A table that never holds more than its bound: a newcomer takes the place of one that was not used lately.
//!
//! Invariant: an entry its owner wants kept is never thrown out. A newcomer costs at most `LOOKS` look-ups, unless it must
//! surely get a place.

use crate::base::map::{Map, Seeded};
use std::hash::Hash;

/// Entries looked at for a place; when none of them may go the newcomer gets none.
const LOOKS: usize = 8;

pub(super) struct Table<K, V> {
    slots: Map<K, Slot<V>>,
    /// Every key of `slots`, in the order of their places.
    places: Vec<K>,
    /// Where the next newcomer looks first.
    hand: usize,
    bound: usize,
}

struct Slot<V> {
    value: V,
    /// Since the hand passed last.
    is_used: bool,
}

impl<K: Hash + Eq + Copy, V> Table<K, V> {
    pub fn new(bound: usize, seeded: Seeded) -> Table<K, V> {
        Table { slots: Map::with_hasher(seeded), places: Vec::new(), hand: 0, bound }
    }

    pub fn get(&mut self, key: K) -> Option<&mut V> {
        let slot = self.slots.get_mut(&key)?;
        slot.is_used = true;
        Some(&mut slot.value)
    }

    /// Takes `value` in for a `key` that is not there yet; an entry that `keep` wants stays. None when no place was found
    /// soon.
    pub fn insert(&mut self, key: K, value: V, keep: impl Fn(&V) -> bool) -> Option<&mut V> {
        self.place(key, value, LOOKS, keep)
    }

    /// The same, and looks until there is a place: None when all are kept.
    pub fn insert_surely(&mut self, key: K, value: V, keep: impl Fn(&V) -> bool) -> Option<&mut V> {
        self.place(key, value, usize::MAX, keep)
    }

    fn place(&mut self, key: K, value: V, looks: usize, keep: impl Fn(&V) -> bool) -> Option<&mut V> {
        if self.places.len() < self.bound {
            self.places.push(key);
        } else {
            let place = self.make_room(looks, keep)?;
            self.slots.remove(&std::mem::replace(&mut self.places[place], key));
        }
        Some(&mut self.slots.entry(key).or_insert(Slot { value, is_used: false }).value)
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The place of the first that was not used since the hand passed, or else, after some looks, of one that may go.
    fn make_room(&mut self, looks: usize, keep: impl Fn(&V) -> bool) -> Option<usize> {
        let mut second_best = None;
        for look in 0..looks.min(self.places.len()) {
            if look >= LOOKS && second_best.is_some() {
                break;
            }
            let place = self.hand;
            self.hand = (self.hand + 1) % self.places.len();
            let Some(slot) = self.slots.get_mut(&self.places[place]) else { return Some(place) };
            if keep(&slot.value) {
                continue;
            }
            if !std::mem::take(&mut slot.is_used) {
                return Some(place);
            }
            second_best = second_best.or(Some(place));
        }
        second_best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_stays_within_its_bound_and_keeps_what_is_to_be_kept(
            keys in proptest::collection::vec((0u32..200, proptest::bool::weighted(0.1)), 0..600),
            bound in 1usize..40,
        ) {
            let mut table = Table::<u32, (u32, bool)>::new(bound, Seeded::new(&mut Rng::new([1; 32])));
            let mut kept = Vec::new();
            for (key, keep) in keys {
                if let Some(value) = table.get(key) {
                    prop_assert_eq!(value.0, key);
                } else if keep {
                    let is_placed = table.insert_surely(key, (key, keep), |value| value.1).is_some();
                    prop_assert_eq!(is_placed, kept.len() < bound);
                    kept.extend(is_placed.then_some(key));
                } else {
                    table.insert(key, (key, keep), |value| value.1);
                }
                prop_assert!(table.len() <= bound && table.slots.len() == table.len());
                for key in &kept {
                    prop_assert!(table.get(*key).is_some(), "{} was thrown out", key);
                }
            }
        }
    }

    #[test]
    fn whoever_is_used_outlives_a_flood() {
        let mut table = Table::new(100, Seeded::new(&mut Rng::new([1; 32])));
        table.insert(0u64, "regular", |_| false);
        for stranger in 1..10_000 {
            table.insert(stranger, "stranger", |_| false);
            assert!(table.get(0).is_some(), "gone after {stranger} strangers");
        }
        assert_eq!(table.len(), 100);
    }
}
