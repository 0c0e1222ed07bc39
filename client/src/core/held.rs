//! What a consumer holds under lease: ranges as they were delivered, and which of them are settled.
//!
//! Pure. Invariant: a message is settled at most once; the second attempt, and every attempt on a
//! message whose lease is lost, is told so. One bit per message, one allocation per range.

use std::collections::VecDeque;

use posthaste_protocol::request::Held as Range;

/// The number of a delivered range, counted up per consumer.
pub(crate) type RangeNo = u64;

/// All ranges that may still have unsettled messages.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Number of the front range.
    base: RangeNo,
    ranges: VecDeque<HeldRange>,
    unsettled: u64,
}

#[derive(Debug)]
struct HeldRange {
    epoch: u64,
    first: u64,
    count: u32,
    unsettled: u32,
    settled: Bits,
}

impl Held {
    /// Takes a range over; it is addressed by the number that comes back.
    pub(crate) fn insert(&mut self, epoch: u64, first: u64, count: u32) -> RangeNo {
        let settled = Bits::new(count);
        self.ranges.push_back(HeldRange { epoch, first, count, unsettled: count, settled });
        self.unsettled += u64::from(count);
        self.base + self.ranges.len() as u64 - 1
    }

    /// Settles one message and gives its range of one; `None` if it is not held any more.
    pub(crate) fn settle(&mut self, no: RangeNo, index: u32) -> Option<Range> {
        let range = self.range_mut(no)?;
        if index >= range.count || !range.settled.set(index) {
            return None;
        }
        range.unsettled -= 1;
        let settled = Range { first: range.first + u64::from(index), count: 1, epoch: range.epoch };
        self.unsettled -= 1;
        self.drop_settled();
        Some(settled)
    }

    /// Whether a message is still held.
    pub(crate) fn holds(&self, no: RangeNo, index: u32) -> Option<Range> {
        let at = usize::try_from(no.checked_sub(self.base)?).ok()?;
        let range = self.ranges.get(at)?;
        let is_held = index < range.count && !range.settled.get(index);
        let first = range.first + u64::from(index);
        is_held.then_some(Range { first, count: 1, epoch: range.epoch })
    }

    /// Settles everything from message `index` of range `no` on, and gives the ranges.
    pub(crate) fn settle_from(&mut self, no: RangeNo, index: u32) -> Vec<Range> {
        let mut all = Vec::new();
        let base = self.base;
        for (at, range) in self.ranges.iter_mut().enumerate() {
            let this = base + at as u64;
            if this < no {
                continue;
            }
            let from = if this == no { index } else { 0 };
            for run in range.runs(from) {
                for one in run.0..run.0 + run.1 {
                    range.settled.set(one);
                }
                range.unsettled -= run.1;
                self.unsettled -= u64::from(run.1);
                all.push(range.wire(run));
            }
        }
        self.drop_settled();
        all
    }

    /// The broker says that these leases are not held (any more). Gives the number of messages
    /// that this side still believed in.
    pub(crate) fn lose(&mut self, stale: &[Range]) -> u64 {
        let before = self.unsettled;
        for gone in stale {
            for range in self.ranges.iter_mut().filter(|range| range.epoch == gone.epoch) {
                let end = gone.first.saturating_add(u64::from(gone.count));
                let from = gone.first.max(range.first);
                let to = end.min(range.first + u64::from(range.count));
                for offset in from..to {
                    // The difference fits: it is below the range's count.
                    if range.settled.set((offset - range.first) as u32) {
                        range.unsettled -= 1;
                        self.unsettled -= 1;
                    }
                }
            }
        }
        self.drop_settled();
        before - self.unsettled
    }

    /// All ranges of messages that are not settled yet.
    pub(crate) fn unsettled(&self) -> Vec<Range> {
        let open = self.ranges.iter().filter(|range| range.unsettled > 0);
        open.flat_map(|range| range.runs(0).into_iter().map(|run| range.wire(run))).collect()
    }

    /// How many messages are held.
    pub(crate) fn len(&self) -> u64 {
        self.unsettled
    }

    /// Forgets everything, as after a broken connection. Numbers go on counting.
    pub(crate) fn clear(&mut self) {
        self.base += self.ranges.len() as u64;
        self.ranges.clear();
        self.unsettled = 0;
    }

    fn range_mut(&mut self, no: RangeNo) -> Option<&mut HeldRange> {
        let at = usize::try_from(no.checked_sub(self.base)?).ok()?;
        self.ranges.get_mut(at)
    }

    fn drop_settled(&mut self) {
        while self.ranges.front().is_some_and(|range| range.unsettled == 0) {
            self.ranges.pop_front();
            self.base += 1;
        }
    }
}

impl HeldRange {
    fn wire(&self, (index, count): (u32, u32)) -> Range {
        Range { first: self.first + u64::from(index), count, epoch: self.epoch }
    }

    /// Runs of unsettled messages from `index` on, as (index, count).
    fn runs(&self, from: u32) -> Vec<(u32, u32)> {
        if from == 0 && self.unsettled == self.count {
            return vec![(0, self.count)];
        }
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for index in (from..self.count).filter(|index| !self.settled.get(*index)) {
            match runs.last_mut() {
                Some(last) if last.0 + last.1 == index => last.1 += 1,
                _ => runs.push((index, 1)),
            }
        }
        runs
    }
}

/// A bit per message; the first 64 need no allocation.
#[derive(Debug)]
struct Bits {
    front: u64,
    rest: Box<[u64]>,
}

impl Bits {
    fn new(count: u32) -> Self {
        let words = count.div_ceil(64).saturating_sub(1) as usize;
        Self { front: 0, rest: vec![0; words].into_boxed_slice() }
    }

    /// Sets a bit; `false` if it was set already, or lies outside.
    fn set(&mut self, index: u32) -> bool {
        let mask = 1 << (index % 64);
        let Some(word) = self.word_mut(index) else { return false };
        let is_new = *word & mask == 0;
        *word |= mask;
        is_new
    }

    fn get(&self, index: u32) -> bool {
        let word = match (index / 64) as usize {
            0 => Some(&self.front),
            at => self.rest.get(at - 1),
        };
        word.is_none_or(|word| word & (1 << (index % 64)) != 0)
    }

    fn word_mut(&mut self, index: u32) -> Option<&mut u64> {
        match (index / 64) as usize {
            0 => Some(&mut self.front),
            at => self.rest.get_mut(at - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, count: u32, epoch: u64) -> Range {
        Range { first, count, epoch }
    }

    #[test]
    fn a_message_is_settled_once() {
        let mut held = Held::default();
        let no = held.insert(7, 100, 3);
        assert_eq!(held.settle(no, 1), Some(range(101, 1, 7)));
        assert_eq!(held.settle(no, 1), None);
        assert_eq!(held.settle(no, 3), None);
        assert_eq!(held.settle(no + 1, 0), None);
        assert_eq!(held.len(), 2);
    }

    #[test]
    fn settled_ranges_go_and_numbers_stay() {
        let mut held = Held::default();
        let first = held.insert(1, 0, 1);
        let second = held.insert(1, 1, 200);
        assert!(held.settle(first, 0).is_some());
        assert_eq!(held.settle(first, 0), None);
        assert_eq!(held.settle(second, 199), Some(range(200, 1, 1)));
        held.clear();
        assert_eq!(held.settle(second, 0), None);
        assert_ne!(held.insert(2, 0, 1), second);
    }

    #[test]
    fn unsettled_messages_come_as_runs() {
        let mut held = Held::default();
        let no = held.insert(3, 10, 130);
        for index in [0, 64, 65, 129] {
            assert!(held.settle(no, index).is_some());
        }
        assert_eq!(held.unsettled(), [range(11, 63, 3), range(76, 63, 3)]);
    }

    #[test]
    fn what_the_broker_calls_stale_is_not_held_any_more() {
        let mut held = Held::default();
        let no = held.insert(5, 10, 4);
        let other = held.insert(6, 12, 1);
        assert_eq!(held.lose(&[range(12, 9, 5)]), 2);
        assert_eq!(held.settle(no, 2), None);
        assert!(held.settle(no, 1).is_some());
        assert!(held.settle(other, 0).is_some(), "another epoch is another lease");
    }

    #[test]
    fn settling_from_a_place_on_leaves_what_is_before() {
        let mut held = Held::default();
        let first = held.insert(1, 0, 4);
        held.insert(1, 4, 2);
        assert!(held.settle(first, 2).is_some());
        assert_eq!(held.settle_from(first, 1), [range(1, 1, 1), range(3, 1, 1), range(4, 2, 1)]);
        assert_eq!(held.len(), 1);
        assert!(held.settle(first, 0).is_some());
    }
}
