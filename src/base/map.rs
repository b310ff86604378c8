//! Hash tables of the core: seeded by the argument generator, never iterated (clippy refuses it), so that the same seed
//! gives the same run.

use crate::base::rng::Rng;
use foldhash::quality::FixedState;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

#[derive(Clone)]
pub struct Seeded(FixedState);

impl Seeded {
    pub fn new(rng: &mut Rng) -> Seeded {
        Seeded(FixedState::with_seed(rng.u64()))
    }
}

impl BuildHasher for Seeded {
    type Hasher = <FixedState as BuildHasher>::Hasher;
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// A table with a seeded hasher; made with `Map::with_hasher(Seeded::new(rng))`.
pub type Map<K, V> = HashMap<K, V, Seeded>;

/// A 64-bit hash of `bytes`, for keys whose collisions are checked or harmless.
pub fn hash(seed: &Seeded, bytes: &[u8]) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write(bytes);
    hasher.finish()
}
