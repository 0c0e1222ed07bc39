//! A stream: the numbered records of a queue or topic, and when they came.
//!
//! Invariant: `first_offset <= next_offset <= appended`. Offsets below `next_offset` are committed;
//! those up to `appended` are promised to batches in blocks that are being written.

use super::effects::{GroupId, Range, StreamId};
use super::ranges::RangeMap;
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Kind, Settings};
use std::collections::{BTreeMap, VecDeque};

/// One queue or topic.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) kind: Kind,
    pub(crate) name: Name,
    /// What was ever set.
    pub(crate) settings: Settings,
    /// Topics: the oldest offset kept. Queues: 0, their group knows.
    pub(crate) first_offset: u64,
    pub(crate) next_offset: u64,
    /// Topics: by name. A queue has its group in `built_in`.
    pub(crate) groups: BTreeMap<GroupName, GroupId>,
    pub(crate) built_in: Option<GroupId>,
    /// When records came.
    pub(crate) times: Times,
    /// Topics: delays that new groups have to respect too.
    pub(crate) not_before: NotBefore,
    /// Live: offsets below are given to batches.
    pub(crate) appended: u64,
    /// Live: its deletion is appended.
    pub(crate) is_leaving: bool,
}

impl Stream {
    /// Its groups, in the order of their numbers or names; the order is always the same.
    pub(crate) fn group_ids(&self) -> impl Iterator<Item = GroupId> {
        self.built_in.into_iter().chain(self.groups.values().copied())
    }
}

/// Rough arrival times: (offset, time) of some runs, at most [`Times::SAMPLES_MAX`].
///
/// For "how old is the oldest message" without reading the log. When full, every second sample goes
/// and samples are taken half as often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) samples: VecDeque<(u64, u64)>,
    pub(crate) gap_ms: u64,
}

impl Times {
    pub(crate) const SAMPLES_MAX: usize = 32;

    /// A run came at this time; all below `floor` is of no interest any more.
    pub(crate) fn record(&mut self, offset: u64, time_ms: u64, floor: u64) {
        if floor >= offset {
            self.samples.clear();
            self.gap_ms = 0;
        }
        while self.samples.get(1).is_some_and(|(offset, _)| *offset <= floor) {
            self.samples.pop_front();
        }
        if self.samples.len() <= Times::SAMPLES_MAX / 4 {
            self.gap_ms /= 2;
        }
        let last = self.samples.back();
        if last.is_some_and(|(_, last)| time_ms < last.saturating_add(self.gap_ms)) {
            return;
        }
        self.samples.push_back((offset, time_ms));
        if self.samples.len() > Times::SAMPLES_MAX {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.gap_ms = self.gap_ms.saturating_mul(2).max(1);
        }
    }

    /// A time not after the arrival of this offset, and near it.
    pub(crate) fn at(&self, offset: u64) -> Option<u64> {
        let behind = self.samples.partition_point(|(first, _)| *first <= offset);
        self.samples.get(behind.saturating_sub(1)).map(|(_, time)| *time)
    }
}

/// Not-before times of a topic's records that are still ahead, for groups made later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NotBefore {
    pub(crate) times: RangeMap<u64>,
    /// Past times are dropped when there are more ranges than this.
    pub(crate) prune_above: u32,
}

impl NotBefore {
    const PRUNE_ABOVE_MIN: u32 = 64;

    pub(crate) fn insert(&mut self, range: Range, due_ms: u64, now_ms: u64) {
        self.times.set(range, due_ms);
        if self.times.ranges() > self.prune_above.max(Self::PRUNE_ABOVE_MIN) as usize {
            self.times.take(
                Range { first: 0, end: u64::MAX },
                |due_ms| *due_ms <= now_ms,
                |_, _| {},
            );
            let left = u32::try_from(self.times.ranges()).unwrap_or(u32::MAX);
            self.prune_above = left.saturating_mul(2);
        }
    }

    /// What is still ahead at or above `from`.
    pub(crate) fn ahead(&self, from: u64, now_ms: u64) -> impl Iterator<Item = (Range, u64)> {
        let all = Range { first: from, end: u64::MAX };
        let parts = self.times.parts(all).map(|(range, due_ms)| (range, *due_ms));
        parts.filter(move |(_, due_ms)| *due_ms > now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrival_times_stay_few_and_are_never_too_late() {
        let mut times = Times::default();
        for offset in 0..10_000 {
            times.record(offset, 1_000 + offset, 0);
        }
        assert!(times.samples.len() <= Times::SAMPLES_MAX);
        for offset in 0..10_000 {
            let at = times.at(offset).expect("there are samples");
            assert!(at <= 1_000 + offset, "offset {offset} came at {at}?");
            assert!(at + 1_100 >= 1_000 + offset, "offset {offset} came at {at}?");
        }
        times.record(10_000, 50_000, 10_000);
        assert_eq!(times.at(10_000), Some(50_000));
        assert_eq!(times.samples.len(), 1);
    }

    #[test]
    fn times_that_have_passed_are_forgotten() {
        let mut delays = NotBefore::default();
        for offset in 0..1_000 {
            delays.insert(Range { first: offset, end: offset + 1 }, 100 + offset, 90 + offset);
        }
        assert!(delays.times.ranges() < 100, "{}", delays.times.ranges());
        assert_eq!(delays.ahead(0, 1_089).count(), 10);
    }
}
