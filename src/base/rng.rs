//! Randomness as an argument: a ChaCha12 generator seeded by the operating system in the daemon and by a fixed seed only in
//! the simulation. Tags, branches, Call-IDs, nonces and hash seeds come from here.

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng};

pub struct Rng(ChaCha12Rng);

/// RFC 4648 base32 letters, lower case: case-insensitive, safe in every SIP token.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl Rng {
    pub fn new(seed: [u8; 32]) -> Rng {
        Rng(ChaCha12Rng::from_seed(seed))
    }

    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A value in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire's multiply-shift; the bias is below 2^-32 for every bound we use.
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// `N` characters of 5 random bits each, usable as tag, branch or Call-ID.
    pub fn token<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0u8; N];
        for chunk in out.chunks_mut(12) {
            let mut bits = self.u64();
            for slot in chunk {
                *slot = ALPHABET[(bits & 31) as usize];
                bits >>= 5;
            }
        }
        out
    }
}
