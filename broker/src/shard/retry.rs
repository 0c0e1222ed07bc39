//! How long a message waits before it is tried again, when nobody says so.
//!
//! The delay grows by a factor with each attempt, up to the longest. Jitter takes a part of it away again, by offset and
//! attempt and not by chance: messages that failed together come back one after the other, and every run of the same
//! history comes to the same times.

use super::effects::Range;
use super::group::Rules;

/// Jitter has this many steps, so that a range of messages comes to as many different times at most.
const STEPS: u64 = 16;
/// Fractional bits of a growing delay.
const FRACTION: u32 = 32;
/// Delays are not counted beyond this, in milliseconds; it is more than the longest.
const GROWN_MAX: u128 = 1 << (30 + FRACTION);

impl Rules {
    /// The delay after this failed attempt (from 1), in milliseconds, before jitter.
    pub(super) fn backoff_ms(self, attempt: u32) -> u64 {
        let mut times = attempt.saturating_sub(1);
        let mut grown = u128::from(self.retry_min_ms) << FRACTION;
        let mut factor = (u128::from(self.retry_factor_percent) << FRACTION) / 100;
        while times > 0 && grown > 0 && grown < GROWN_MAX {
            if times & 1 == 1 {
                grown = ((grown * factor) >> FRACTION).min(GROWN_MAX);
            }
            factor = ((factor * factor) >> FRACTION).min(GROWN_MAX);
            times >>= 1;
        }
        let half = 1 << (FRACTION - 1);
        let whole = u64::try_from((grown + half) >> FRACTION).unwrap_or(u64::MAX);
        whole.min(u64::from(self.retry_max_ms.max(self.retry_min_ms)))
    }

    /// The delays after this failed attempt, each with the messages that it is for. All in all they are `range`.
    pub(super) fn backoffs(self, range: Range, attempt: u32, mut each: impl FnMut(Range, u64)) {
        let delay_ms = self.backoff_ms(attempt);
        let cut_ms = delay_ms * u64::from(self.retry_jitter_percent) / 100;
        if cut_ms == 0 {
            return each(range, delay_ms);
        }
        let steps = (range.first..range.end).map(|offset| (step(offset, attempt), offset));
        let mut steps: Vec<(u64, u64)> = steps.collect();
        steps.sort_unstable();
        for (step, offset) in steps {
            each(Range { first: offset, end: offset + 1 }, delay_ms - cut_ms * step / (STEPS - 1));
        }
    }
}

/// Which of the steps it is: the same for the same message and attempt, and all equally often.
fn step(offset: u64, attempt: u32) -> u64 {
    let mut mixed = offset ^ (u64::from(attempt) << 48);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    mixed >> 60
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn delays(rules: Rules, attempts: &[u32]) -> Vec<u64> {
        attempts.iter().map(|attempt| rules.backoff_ms(*attempt)).collect()
    }

    #[test]
    fn backoff_doubles_up_to_the_longest() {
        let delays = delays(Rules::DEFAULT, &[1, 2, 3, 10, 11, 12, u32::MAX]);
        assert_eq!(delays, [1_000, 2_000, 4_000, 512_000, 600_000, 600_000, 600_000]);
    }

    #[test]
    fn backoff_grows_by_any_factor_or_stays() {
        let by = |retry_factor_percent| Rules { retry_factor_percent, ..Rules::DEFAULT };
        assert_eq!(delays(by(100), &[1, 2, 9, u32::MAX]), [1_000; 4]);
        assert_eq!(
            delays(by(150), &[1, 2, 3, 4, 5, 99]),
            [1_000, 1_500, 2_250, 3_375, 5_063, 600_000]
        );
        assert_eq!(delays(by(110), &[2, 3, 4]), [1_100, 1_210, 1_331]);
        assert_eq!(delays(by(1_000), &[2, 3, 4]), [10_000, 100_000, 600_000]);
        let slow = Rules { retry_min_ms: 1, ..by(101) };
        assert_eq!(delays(slow, &[100, 463, 10_000]), [3, 99, 600_000]);
        assert_eq!(delays(Rules { retry_min_ms: 0, ..by(200) }, &[1, 40]), [0, 0]);
    }

    #[test]
    fn jitter_spreads_a_range_over_its_part_of_the_delay_and_is_always_the_same() {
        let rules = Rules { retry_jitter_percent: 20, ..Rules::DEFAULT };
        let spread = |attempt| {
            let mut spread = Vec::new();
            rules.backoffs(Range { first: 5, end: 1_005 }, attempt, |range, delay_ms| {
                spread.push((range.first, range.end, delay_ms));
            });
            spread
        };
        let first = spread(1);
        assert_eq!(first, spread(1));
        assert!(first.iter().all(|(_, _, delay_ms)| (800..=1_000).contains(delay_ms)));
        let times: BTreeSet<u64> = first.iter().map(|(_, _, delay_ms)| *delay_ms).collect();
        assert_eq!(times.len(), 16);
        let all: BTreeSet<u64> = first.iter().map(|(offset, _, _)| *offset).collect();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), (5..1_005).collect::<Vec<_>>());
        let mut second = spread(2);
        second.iter_mut().for_each(|(_, _, delay_ms)| *delay_ms /= 2);
        assert_ne!(first, second, "another attempt, another order");
    }

    #[test]
    fn without_jitter_a_range_stays_one() {
        let mut parts = Vec::new();
        let range = Range { first: 0, end: u64::MAX };
        Rules::DEFAULT.backoffs(range, 3, |range, delay_ms| parts.push((range, delay_ms)));
        assert_eq!(parts, [(range, 4_000)]);
    }
}
