//! How old messages are, whatever the wall clock did between two lives of the broker.
//!
//! A start that is later than what the log had come to was behind a long stop, or its clock is wrong: nobody can tell. Either
//! way nobody could read meanwhile. So what lies before it grows older by that time only as fast as the broker runs; new
//! messages age as the clock says.

/// LIMIT: starts remembered. Beyond it two become one, and what lies between them grows older a little later.
const JUMPS_MAX: usize = 16;

/// A start that was later than the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// When the broker started.
    pub(super) at_ms: u64,
    /// The time before it that does not count yet, as of the present start.
    pub(super) left_ms: u64,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Aging {
    /// The present start.
    pub(super) started_ms: u64,
    /// In the order of time.
    pub(super) jumps: Vec<Jump>,
}

impl Aging {
    /// The broker starts at `now_ms`; the log had come to `logged_ms`, 0 if there was none.
    pub(super) fn start(&mut self, logged_ms: u64, now_ms: u64) {
        let ran_ms = logged_ms.saturating_sub(self.started_ms);
        self.jumps.retain_mut(|jump| {
            jump.left_ms = jump.left_ms.saturating_sub(ran_ms);
            jump.left_ms > 0
        });
        self.started_ms = now_ms;
        if logged_ms == 0 || now_ms <= logged_ms {
            return;
        }
        self.jumps.push(Jump { at_ms: now_ms, left_ms: now_ms - logged_ms });
        if self.jumps.len() > JUMPS_MAX {
            let first = self.jumps.remove(0);
            self.jumps[0].left_ms = self.jumps[0].left_ms.saturating_add(first.left_ms);
        }
    }

    /// What was accepted before this time is older than `age_ms`.
    pub(super) fn older_than(&self, age_ms: u64, now_ms: u64) -> u64 {
        let ran_ms = now_ms.saturating_sub(self.started_ms);
        let mut before_ms = now_ms.saturating_sub(age_ms);
        for jump in self.jumps.iter().rev() {
            if before_ms >= jump.at_ms {
                break;
            }
            before_ms = before_ms.saturating_sub(jump.left_ms.saturating_sub(ran_ms));
        }
        before_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const YEAR: u64 = 8_760 * HOUR;
    const NOON: u64 = 1_700_000_000_000;

    /// A store that was made at noon, and ran for an hour.
    fn an_hour_after_noon() -> Aging {
        let mut aging = Aging::default();
        aging.start(0, NOON);
        assert_eq!(aging.older_than(HOUR / 2, NOON + HOUR), NOON + HOUR / 2);
        aging
    }

    #[test]
    fn p31_after_a_long_stop_or_a_wrong_clock_at_the_start_nothing_expires_at_once() {
        let mut aging = an_hour_after_noon();
        let start = NOON + 20 * YEAR;
        aging.start(NOON + HOUR, start);
        assert_eq!(
            aging.older_than(2 * HOUR, start + 5),
            NOON - HOUR + 10,
            "twice the time it ran"
        );
        assert_eq!(
            aging.older_than(HOUR, start + 3 * HOUR),
            start + 2 * HOUR,
            "new ones as always"
        );
    }

    #[test]
    fn p31_a_wrong_clock_at_one_start_expires_nothing_at_the_next_either() {
        let mut aging = an_hour_after_noon();
        let start = NOON + 20 * YEAR;
        aging.start(NOON + HOUR, start);
        // It ran for a minute; the log goes on from there, whatever the clock says then.
        let again = start + 60_000;
        aging.start(again, again);
        assert_eq!(aging.older_than(2 * HOUR, again + 5), NOON - HOUR + 2 * 60_000 + 10);
        let later = again + YEAR;
        aging.start(again, later);
        let old = aging.older_than(2 * HOUR, later + 5);
        assert!(old < NOON, "two jumps add up: {old}");
    }

    #[test]
    fn a_stop_is_made_up_for_at_double_pace() {
        let mut aging = an_hour_after_noon();
        let start = NOON + 4 * HOUR;
        aging.start(NOON + HOUR, start);
        assert_eq!(aging.older_than(HOUR, start), NOON);
        assert_eq!(aging.older_than(HOUR, start + HOUR / 2), NOON + HOUR);
        aging.start(start + 2 * HOUR, start + 2 * HOUR);
        assert_eq!(aging.jumps, [Jump { at_ms: start, left_ms: HOUR }]);
        aging.start(start + 4 * HOUR, start + 4 * HOUR);
        assert_eq!(aging.jumps, []);
    }

    #[test]
    fn what_is_older_never_gets_younger_and_many_starts_cost_little() {
        let mut aging = an_hour_after_noon();
        let (mut logged, mut last) = (NOON + HOUR, 0);
        for start in 1..=100 {
            aging.start(logged, logged + start * 1_000);
            let now = logged + start * 1_000;
            for ran in [0, 10, 500] {
                let before = aging.older_than(10_000, now + ran);
                assert!(start > 90 || before >= last, "start {start}: {before} after {last}");
                last = before;
            }
            logged = now + 500;
        }
        assert!(aging.jumps.len() <= JUMPS_MAX);
    }
}
