//! The schedule of an open loop: when each message is due, whatever happened to those before it.
//!
//! Latencies are measured from the due time, so that a stall of the broker is charged to every
//! message it held up and not only to the one that was under way.

use std::time::{Duration, Instant};

/// A schedule of one publisher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    start: Instant,
    per_second: u64,
    next: u64,
}

impl Pace {
    /// `per_second` is at least 1.
    pub(crate) fn new(start: Instant, per_second: u64) -> Self {
        Self { start, per_second: per_second.max(1), next: 0 }
    }

    fn due_at(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.per_second);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// When the next message is due.
    pub(crate) fn due(&self) -> Instant {
        self.due_at(self.next)
    }

    /// Takes the next message if it is due at `now`: its intended time.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.due();
        if due > now {
            return None;
        }
        self.next += 1;
        Some(due)
    }
}

/// The share of one publisher in a rate for all; the first ones carry the remainder.
pub(crate) fn share(total: u64, of: usize, index: usize) -> u64 {
    let (of, index) = (of.max(1) as u64, index as u64);
    total / of + u64::from(index < total % of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_does_not_move_the_schedule() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 1_000);
        let late = start + Duration::from_millis(10);
        let taken: Vec<_> = std::iter::from_fn(|| pace.take(late)).collect();
        assert_eq!(taken.len(), 11);
        assert_eq!(taken[3], start + Duration::from_millis(3));
        assert_eq!(pace.due(), start + Duration::from_millis(11));
    }

    #[test]
    fn shares_add_up() {
        assert_eq!((0..3).map(|i| share(10, 3, i)).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!((0..4).map(|i| share(2, 4, i)).sum::<u64>(), 2);
    }
}
