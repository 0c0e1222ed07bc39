//! What a group has durably done with its stream: settled, charged with attempts, dead.
//!
//! ```text
//!   0 ........ start ............ floor ......... next
//!                 settled or dead  |  open, or in `closed` (settled or dead)
//! ```
//! Invariant: `closed` lies in `floor + 1 .. next` and never touches the floor; `charges` are on
//! open messages only; `dead` is a part of what is below the floor or in `closed`.

use super::effects::Range;
use super::ranges::{RangeMap, RangeSet};
use posthaste_protocol::mutant;
use std::sync::Arc;

/// Durable progress of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The lowest offset this group was ever meant to see.
    pub(crate) start: u64,
    /// All below is settled or dead.
    pub(crate) floor: u64,
    /// The end of the stream.
    pub(crate) next: u64,
    /// Settled or dead above the floor.
    pub(crate) closed: RangeSet,
    /// Open messages that are not like new.
    pub(crate) charges: RangeMap<Charge>,
    /// Dead letters.
    pub(crate) dead: RangeMap<Dead>,
    /// Counted as it happens, and not derived from the ranges: what went in, and what came out.
    pub(crate) ledger: Ledger,
}

/// What the group has been given and what it has done with it, counted message by message. The ranges have to say the
/// same: see [`Shard::audit`](super::Shard::audit).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Messages that the group was ever meant to see.
    pub(crate) published: u64,
    /// Those of them that are neither open nor dead.
    pub(crate) settled: u64,
}

/// What an open message carries along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// Failed attempts.
    pub(crate) attempts: u32,
    /// Not ready before this time, in milliseconds since 1970.
    pub(crate) due_ms: u64,
}

/// How messages died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dead {
    /// Attempts made.
    pub(crate) attempts: u32,
    /// When, in milliseconds since 1970.
    pub(crate) dead_ms: u64,
    /// Why.
    pub(crate) reason: Arc<str>,
}

impl Progress {
    /// Progress of a group that has seen nothing of `start..next`.
    pub(crate) fn new(start: u64, next: u64) -> Progress {
        let ledger = Ledger { published: next - start, settled: 0 };
        Progress { start, floor: start, next, ledger, ..Progress::default() }
    }

    /// Messages were published: so many, behind a gap if this many before them are gone.
    pub(crate) fn extend(&mut self, gone: u64, published: u64) {
        self.next += gone + published;
        self.ledger.published += gone + published;
    }

    /// Messages neither settled nor dead.
    pub(crate) fn open(&self) -> u64 {
        self.next - self.floor - self.closed.count()
    }

    /// The ledger that follows from the ranges.
    pub(crate) fn derived(&self) -> Ledger {
        let published = self.next - self.start;
        Ledger { published, settled: published.saturating_sub(self.open() + self.dead.count()) }
    }

    /// The first offset whose record is still needed by this group.
    pub(crate) fn needed(&self) -> u64 {
        if mutant("dead-letter-deletes-first") {
            return self.floor;
        }
        self.dead.first().map_or(self.floor, |(range, _)| range.first.min(self.floor))
    }

    /// The parts of `range` that are open, into `parts`.
    pub(crate) fn open_parts(&self, range: Range, parts: &mut Vec<Range>) {
        parts.clear();
        let first = range.first.max(self.floor);
        let end = range.end.min(self.next);
        if first < end {
            parts.extend(self.closed.gaps(Range { first, end }));
        }
    }

    /// Settles open messages.
    pub(crate) fn close(&mut self, open: Range) {
        self.ledger.settled += open.count();
        self.end(open);
    }

    /// Open messages are not open any more.
    fn end(&mut self, open: Range) {
        self.charges.remove(open);
        if open.first == self.floor {
            self.floor = open.end;
            self.absorb();
        } else {
            self.closed.insert(open);
        }
    }

    /// Turns open messages into dead letters. `attempt` counts the attempt that failed.
    pub(crate) fn bury(&mut self, open: Range, attempt: bool, dead_ms: u64, reason: &Arc<str>) {
        let mut bury = |range: Range, attempts: u32| {
            let attempts = attempts.saturating_add(u32::from(attempt));
            self.dead.set(range, Dead { attempts, dead_ms, reason: Arc::clone(reason) });
        };
        let mut at = open.first;
        for (range, charge) in self.charges.parts(open) {
            if at < range.first {
                bury(Range { first: at, end: range.first }, 0);
            }
            bury(range, charge.attempts);
            at = range.end;
        }
        if at < open.end {
            bury(Range { first: at, end: open.end }, 0);
        }
        self.end(open);
    }

    /// Forgets dead letters. Says how many.
    pub(crate) fn drop_dead(&mut self, range: Range) -> u64 {
        let dropped = self.dead.remove(range);
        self.ledger.settled += dropped;
        dropped
    }

    /// Charges open messages with one more attempt. Shows each part with its new charge.
    pub(crate) fn charge(
        &mut self,
        open: Range,
        due_ms: u64,
        mut charged: impl FnMut(Range, Charge),
    ) {
        let mut charges = Vec::new();
        let counted = u32::from(!mutant("attempt-not-counted"));
        self.charges.take(open, |_| true, |range, charge| charges.push((range, charge.attempts)));
        let mut at = open.first;
        charges.push((Range { first: open.end, end: open.end }, 0));
        for (range, attempts) in charges {
            for (part, attempts) in [(Range { first: at, end: range.first }, 0), (range, attempts)]
            {
                if part.first < part.end {
                    let charge = Charge { attempts: attempts.saturating_add(counted), due_ms };
                    self.charges.insert(part, charge);
                    charged(part, charge);
                }
            }
            at = range.end;
        }
    }

    /// Makes dead letters open again, attempts reset. They carry an empty charge, which tells them
    /// from messages that were never delivered.
    pub(crate) fn revive(&mut self, dead: Range) {
        self.dead.remove(dead);
        if dead.first < self.floor {
            self.closed.insert(Range { first: dead.first, end: self.floor });
            self.floor = dead.first;
        }
        self.closed.remove(dead);
        self.charges.insert(dead, Charge { attempts: 0, due_ms: 0 });
    }

    /// Everything below `before` is gone. Says how many open or dead messages that ends.
    pub(crate) fn trim(&mut self, before: u64) -> u64 {
        let below = Range { first: 0, end: before };
        let mut ended = self.dead.remove(below);
        if before > self.floor {
            self.charges.remove(below);
            let closed = self.closed.remove(below);
            ended += before - self.floor - closed;
            self.floor = before;
            self.absorb();
        }
        self.ledger.settled += ended;
        ended
    }

    /// Moves the floor and forgets all charges, and what is settled or dead from there on. Dead
    /// letters below stay.
    pub(crate) fn seek(&mut self, to: u64) {
        self.charges.clear();
        self.closed.clear();
        self.dead.remove(Range { first: to, end: u64::MAX });
        self.start = self.start.min(to);
        self.floor = to;
        self.ledger = self.derived();
    }

    /// Keeps `closed` from touching the floor.
    fn absorb(&mut self) {
        while let Some(range) = self.closed.first()
            && range.first <= self.floor
        {
            self.floor = self.floor.max(range.end);
            self.closed.pop_first();
        }
    }

    /// Whether the invariant of this file holds.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let rules = [
            (self.start <= self.floor && self.floor <= self.next, "start <= floor <= next"),
            (
                self.closed.first().is_none_or(|range| range.first > self.floor),
                "the floor touches nothing closed",
            ),
            (
                self.closed.iter().last().is_none_or(|range| range.end <= self.next),
                "nothing beyond the end is closed",
            ),
            (
                self.charges.iter().all(|(range, _)| {
                    range.first >= self.floor && self.closed.parts(range).next().is_none()
                }),
                "charges are on open messages",
            ),
            (
                self.dead.iter().all(|(range, _)| {
                    let above = Range { first: range.first.max(self.floor), end: range.end };
                    above.first >= above.end || self.closed.gaps(above).next().is_none()
                }),
                "dead letters are closed",
            ),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, end: u64) -> Range {
        Range { first, end }
    }

    #[test]
    fn the_floor_follows_the_lowest_open_message() {
        let mut progress = Progress::new(0, 10);
        progress.close(range(2, 4));
        assert_eq!((progress.floor, progress.open()), (0, 8));
        progress.close(range(0, 2));
        assert_eq!((progress.floor, progress.open(), progress.ledger.settled), (4, 6, 4));
        assert_eq!(progress.closed.ranges(), 0);
        assert_eq!(progress.check(), Ok(()));
    }

    #[test]
    fn dead_letters_hold_their_record_but_not_the_floor() {
        let mut progress = Progress::new(0, 10);
        progress.bury(range(0, 3), true, 7, &"broken".into());
        assert_eq!((progress.floor, progress.needed(), progress.dead.count()), (3, 0, 3));
        progress.revive(range(1, 2));
        assert_eq!((progress.floor, progress.open(), progress.dead.count()), (1, 8, 2));
        progress.close(range(1, 2));
        assert_eq!((progress.floor, progress.open(), progress.ledger.settled), (3, 7, 1));
        assert_eq!(progress.check(), Ok(()));
    }

    #[test]
    fn each_charged_part_keeps_its_own_count() {
        let mut progress = Progress::new(0, 10);
        progress.charge(range(2, 4), 50, |_, _| {});
        let mut charged = Vec::new();
        progress.charge(range(1, 6), 60, |range, charge| charged.push((range, charge.attempts)));
        assert_eq!(charged, [(range(1, 2), 1), (range(2, 4), 2), (range(4, 6), 1)]);
        progress.bury(range(0, 3), true, 9, &"no".into());
        let dead: Vec<_> = progress.dead.iter().map(|(r, dead)| (r, dead.attempts)).collect();
        assert_eq!(dead, [(range(0, 1), 1), (range(1, 2), 2), (range(2, 3), 3)]);
        assert_eq!(progress.check(), Ok(()));
    }

    #[test]
    fn trimming_ends_open_and_dead_messages() {
        let mut progress = Progress::new(0, 10);
        progress.close(range(3, 5));
        progress.bury(range(0, 1), true, 1, &"no".into());
        assert_eq!(progress.trim(4), 1 + 2);
        assert_eq!((progress.floor, progress.needed()), (5, 5));
        assert_eq!(progress.check(), Ok(()));
    }

    #[test]
    fn seeking_back_opens_everything_from_there() {
        let mut progress = Progress::new(5, 10);
        progress.charge(range(8, 9), 50, |_, _| {});
        progress.close(range(5, 7));
        progress.seek(3);
        assert_eq!((progress.start, progress.floor, progress.open()), (3, 3, 7));
        assert_eq!(progress.charges.ranges(), 0);
        assert_eq!(progress.check(), Ok(()));
    }
}
