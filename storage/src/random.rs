//! Numbers that nobody can foresee: identities and salts.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::SystemTime;

/// From the keys that the system gave the standard library, which are different for each state, and the clock.
pub fn random_u64() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    if let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        hasher.write_u128(now.as_nanos());
    }
    hasher.write_u32(std::process::id());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_not_repeated() {
        assert_ne!(random_u64(), random_u64());
    }
}
