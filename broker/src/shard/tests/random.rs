//! A small deterministic generator. Its seed is printed and can be given as `SEED`.

/// Xorshift: good enough to choose what to try next.
pub(crate) struct Random(u64);

impl Random {
    /// From the environment's `SEED`, or from the clock; printed either way.
    pub(crate) fn new() -> Random {
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            since.as_nanos() as u64
        });
        println!("SEED={seed}");
        Random::from(seed)
    }

    pub(crate) fn from(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// A number in `0..end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
