//! Waiting for a condition, never for a guess.

use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine before the test calls it never.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until `condition` gives something; fails with `what` after [`PATIENCE`].
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition)
}

/// [`eventually`] with a deadline of its own.
///
/// # Panics
/// When the deadline passes.
pub fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
