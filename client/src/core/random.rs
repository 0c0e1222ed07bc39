//! Randomness for session ids and jitter, from the keys that the standard library gets from the
//! system for its hash maps. Nothing here guards a secret.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// A number nobody can guess ahead.
pub(crate) fn number() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    RandomState::new().hash_one((since.as_nanos(), std::process::id()))
}

/// The identity of a producer session.
pub(crate) fn session() -> [u8; 16] {
    let mut session = [0; 16];
    let (front, back) = session.split_at_mut(8);
    front.copy_from_slice(&number().to_le_bytes());
    back.copy_from_slice(&number().to_le_bytes());
    session
}

#[cfg(test)]
mod tests {
    #[test]
    fn sessions_differ() {
        let all: std::collections::HashSet<_> = (0..1_000).map(|_| super::session()).collect();
        assert_eq!(all.len(), 1_000);
    }
}
