//! The schedule of an open loop: when each message is due, whatever happened to those before it, so
//! that a stall of the broker is charged to every message it held up.

use std::time::{Duration, Instant};

/// A schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    start: Instant,
    per_second: u64,
    next: u64,
}

impl Pace {
    pub(crate) fn new(start: Instant, per_second: u64) -> Self {
        Self { start, per_second: per_second.max(1), next: 0 }
    }

    /// When the next message is due.
    pub(crate) fn due(&self) -> Instant {
        let nanos = u128::from(self.next) * 1_000_000_000 / u128::from(self.per_second);
        self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes the intended times of the messages that are due at `now`, `max` at most.
    pub(crate) fn take(&mut self, now: Instant, max: usize) -> Vec<Instant> {
        let mut taken = Vec::new();
        while taken.len() < max && self.due() <= now {
            taken.push(self.due());
            self.next += 1;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_does_not_move_the_schedule() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 1_000);
        let late = start + Duration::from_millis(10);
        let taken = pace.take(late, 4);
        assert_eq!(taken[3], start + Duration::from_millis(3));
        assert_eq!(pace.take(late, 100).len(), 7);
        assert_eq!(pace.due(), start + Duration::from_millis(11));
    }
}
