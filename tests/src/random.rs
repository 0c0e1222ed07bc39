//! Random choices that can be repeated: the seed is printed, and taken from `SEED`.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// A small xorshift generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From `SEED`, or from the system; prints which.
    ///
    /// # Panics
    /// When `SEED` is not a number.
    pub fn from_env() -> Random {
        let seed = match std::env::var("SEED") {
            Ok(seed) => seed.parse().expect("SEED is a number"),
            Err(_) => RandomState::new().hash_one("posthaste"),
        };
        println!("SEED={seed}");
        Random::new(seed)
    }

    /// From a known seed.
    pub fn new(seed: u64) -> Random {
        Random(seed ^ 0x9E37_79B9_7F4A_7C15 | 1)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number of the range.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.number() % (range.end - range.start)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.number().is_multiple_of(times)
    }
}
