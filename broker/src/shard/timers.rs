//! Two small alarm clocks: one earliest time per key, and ranges of messages that wait for a time.
//!
//! Both keep an index by time, so that "what is due" never looks at what is not.

use super::effects::Range;
use std::collections::{BTreeMap, BTreeSet};

/// At most one time per key.
#[derive(Clone, Debug)]
pub(crate) struct Timers<K> {
    by_key: BTreeMap<K, u64>,
    by_time: BTreeSet<(u64, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Timers<K> {
        Timers { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// Sets or clears the time of a key.
    pub(crate) fn set(&mut self, key: K, time: Option<u64>) {
        let before = match time {
            Some(time) => self.by_key.insert(key, time),
            None => self.by_key.remove(&key),
        };
        if before == time {
            return;
        }
        if let Some(before) = before {
            self.by_time.remove(&(before, key));
        }
        if let Some(time) = time {
            self.by_time.insert((time, key));
        }
    }

    /// The earliest time of all.
    pub(crate) fn next(&self) -> Option<u64> {
        self.by_time.first().map(|(time, _)| *time)
    }

    /// Clears and returns a key whose time is `now` or earlier, the earliest first.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<K> {
        let (time, key) = *self.by_time.first()?;
        if time > now {
            return None;
        }
        self.set(key, None);
        Some(key)
    }
}

/// Ranges of messages of one group, each waiting for a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delays {
    /// From (due, first) to end. Ranges of one due time do not overlap.
    by_due: BTreeMap<(u64, u64), u64>,
    count: u64,
}

impl Delays {
    /// How many messages wait.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The earliest time of all.
    pub(crate) fn next(&self) -> Option<u64> {
        self.by_due.first_key_value().map(|((due, _), _)| *due)
    }

    pub(crate) fn insert(&mut self, range: Range, due_ms: u64) {
        self.by_due.insert((due_ms, range.first), range.end);
        self.count += range.count();
    }

    /// Takes out what waits for exactly `due_ms` inside `within`; says how many messages.
    pub(crate) fn remove(&mut self, within: Range, due_ms: u64) -> u64 {
        let mut removed = 0;
        while let Some(whole) = self.meeting(within, due_ms) {
            self.by_due.remove(&(due_ms, whole.first));
            let end = whole.end.min(within.end);
            let first = whole.first.max(within.first);
            removed += end - first;
            if whole.first < first {
                self.by_due.insert((due_ms, whole.first), first);
            }
            if end < whole.end {
                self.by_due.insert((due_ms, end), whole.end);
            }
        }
        self.count -= removed;
        removed
    }

    /// A range of this due time that has offsets in common with `within`.
    fn meeting(&self, within: Range, due_ms: u64) -> Option<Range> {
        let below = self.by_due.range((due_ms, 0)..(due_ms, within.end)).next_back();
        let (&(_, first), &end) = below?;
        (end > within.first).then_some(Range { first, end })
    }

    /// Takes out a range whose time is `now_ms` or earlier, the earliest first.
    pub(crate) fn pop_due(&mut self, now_ms: u64) -> Option<Range> {
        let (&(due_ms, first), _) = self.by_due.first_key_value()?;
        if due_ms > now_ms {
            return None;
        }
        let (_, end) = self.by_due.pop_first()?;
        self.count -= end - first;
        Some(Range { first, end })
    }

    /// All ranges, by due time.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range> {
        self.by_due.iter().map(|(&(_, first), &end)| Range { first, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_time_and_the_earliest_comes_first() {
        let mut timers = Timers::default();
        timers.set('a', Some(30));
        timers.set('b', Some(20));
        timers.set('a', Some(10));
        assert_eq!(timers.next(), Some(10));
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(25), Some('a'));
        assert_eq!(timers.pop_due(25), Some('b'));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_delay_is_cut_where_messages_leave_it() {
        let mut delays = Delays::default();
        delays.insert(Range { first: 10, end: 20 }, 5);
        delays.insert(Range { first: 20, end: 22 }, 6);
        assert_eq!(delays.remove(Range { first: 13, end: 21 }, 5), 7);
        assert_eq!(delays.remove(Range { first: 13, end: 21 }, 5), 0);
        assert_eq!(delays.count(), 5);
        assert_eq!(delays.pop_due(5), Some(Range { first: 10, end: 13 }));
        assert_eq!(delays.pop_due(5), None);
        assert_eq!(delays.pop_due(7), Some(Range { first: 20, end: 22 }));
        assert_eq!((delays.count(), delays.next()), (0, None));
    }
}
