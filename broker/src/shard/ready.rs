//! What of a group may be delivered now: the live half, rebuilt from [`Progress`] at the start.
//!
//! ```text
//!   open message = ready | leased | delayed
//!   ready   = returned (delivered before, or woken), then everything from the cursor on that is
//!             neither closed nor charged: a range, whatever its length
//!   leased  = held by a consumer, or settling (its end is appended, not yet committed)
//!   delayed = charged, and its time has not come
//! ```
//! Invariant: below the cursor every open message is in exactly one of `returned`, `delays`,
//! `settling` and the consumers' leases; at or above it only charged ones are.

use super::effects::{ConsumerId, Range};
use super::progress::{Charge, Progress};
use super::ranges::{RangeMap, RangeSet};
use super::timers::Delays;
use posthaste_protocol::mutant;
use std::collections::{BTreeSet, VecDeque};

/// The live half of a group.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// All at or above it, and not charged, has not been delivered since the start or last seek.
    pub(crate) cursor: u64,
    /// Ready ahead of the cursor's.
    pub(crate) returned: RangeMap<Returned>,
    /// Not ready before a time.
    pub(crate) delays: Delays,
    /// Was held; how it ends is appended.
    pub(crate) settling: RangeSet,
    /// Messages in leases of consumers, `settling` not included.
    pub(crate) held: u64,
    /// Below this a first delivery is not certain, `fresh` excepted.
    pub(crate) flagged_below: u64,
    /// Certainly never delivered although below `flagged_below`.
    pub(crate) fresh: RangeSet,
    /// Nothing at or above it was ever delivered.
    pub(crate) delivered_below: u64,
    /// All consumers.
    pub(crate) consumers: BTreeSet<ConsumerId>,
    /// Consumers that have credit, in turn.
    pub(crate) willing: VecDeque<ConsumerId>,
    /// Stands in the line of groups to dispatch.
    pub(crate) is_queued: bool,
    /// The engine waits for something: not dispatched.
    pub(crate) is_parked: bool,
    /// Seeks that are appended and not yet applied: not dispatched.
    pub(crate) seeks: u32,
    /// The time at which the group's delays are looked at next.
    pub(crate) alarm_ms: Option<u64>,
    /// What the last audit of the group could not find, or found too much; 0 as it should be.
    pub(crate) unaccounted: u64,
}

/// How a ready message is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    /// Failed attempts so far.
    pub(crate) attempts: u32,
    /// It may have been delivered before.
    pub(crate) redelivered: bool,
}

impl Live {
    /// As after a start: nothing held, everything open ready or delayed.
    pub(crate) fn rebuild(&mut self, progress: &Progress, now_ms: u64) {
        self.cursor = progress.floor;
        self.returned.clear();
        self.delays = Delays::default();
        self.settling.clear();
        self.held = 0;
        for (range, charge) in progress.charges.iter() {
            self.place(range, *charge, now_ms);
        }
    }

    /// Ready messages.
    pub(crate) fn ready(&self, progress: &Progress) -> u64 {
        progress.open() - self.leased() - self.delays.count()
    }

    /// Leased messages, the settling ones included.
    pub(crate) fn leased(&self) -> u64 {
        self.held + self.settling.count()
    }

    /// Charged messages start to wait, or are ready if their time has come.
    pub(crate) fn place(&mut self, range: Range, charge: Charge, now_ms: u64) {
        if charge.due_ms > now_ms {
            self.delays.insert(range, charge.due_ms);
        } else {
            self.ready_again(range, charge.attempts, false);
        }
    }

    /// Messages are ready ahead of those never delivered. They are flagged unless it is certain
    /// that this is their first delivery.
    pub(crate) fn ready_again(&mut self, range: Range, attempts: u32, delivered: bool) {
        let mut ready = |range: Range, redelivered: bool| {
            if range.first < range.end {
                self.returned.insert(range, Returned { attempts, redelivered });
            }
        };
        if delivered || attempts > 0 {
            return ready(range, true);
        }
        let edge = self.flagged_below.clamp(range.first, range.end);
        ready(Range { first: edge, end: range.end }, false);
        let below = Range { first: range.first, end: edge };
        for part in self.fresh.parts(below) {
            ready(part, false);
        }
        for part in self.fresh.gaps(below) {
            ready(part, true);
        }
    }

    /// Delayed messages whose time has come become ready.
    pub(crate) fn wake(&mut self, progress: &Progress, now_ms: u64) {
        while let Some(range) = self.delays.pop_due(now_ms) {
            if mutant("woken-message-forgotten") {
                continue;
            }
            for (part, charge) in progress.charges.parts(range) {
                self.ready_again(part, charge.attempts, false);
            }
        }
    }

    /// The next ready messages that can be delivered alike: the longest range in a row.
    pub(crate) fn peek(&mut self, progress: &Progress) -> Option<(Range, Returned)> {
        if let Some((range, returned)) = self.returned.first() {
            return Some((range, *returned));
        }
        self.cursor = self.cursor.max(progress.floor);
        while self.cursor < progress.next {
            let mut end = progress.next;
            let closed = progress.closed.at_or_after(self.cursor);
            let charged = progress.charges.at_or_after(self.cursor).map(|(range, _)| range);
            let passed = [closed, charged].into_iter().flatten().find_map(|range| {
                end = end.min(range.first);
                (range.first <= self.cursor).then_some(range.end)
            });
            if let Some(passed) = passed {
                self.cursor = passed;
                continue;
            }
            let redelivered = self.cursor < self.flagged_below;
            if redelivered {
                end = end.min(self.flagged_below);
            }
            let range = Range { first: self.cursor, end };
            return Some((range, Returned { attempts: 0, redelivered }));
        }
        None
    }

    /// Takes ready messages out, if they are the front of what [`Live::peek`] says.
    pub(crate) fn take_ready(&mut self, range: Range, progress: &Progress) -> Option<Returned> {
        let (ready, returned) = self.peek(progress)?;
        if range.first != ready.first || range.end > ready.end {
            return None;
        }
        if self.returned.remove(range) == 0 {
            self.cursor = range.end;
        }
        Some(returned)
    }

    /// Forgets open messages wherever they wait; those held by consumers are the caller's. Call
    /// before their charges change. `true`: all were settling, the caller need not look further.
    pub(crate) fn forget(&mut self, range: Range, progress: &Progress) -> bool {
        if self.settling.remove(range) == range.count() {
            return true;
        }
        self.returned.remove(range);
        for (part, charge) in progress.charges.parts(range) {
            self.delays.remove(part, charge.due_ms);
        }
        false
    }

    /// Messages that may have been ready at the last stop but were certainly never delivered,
    /// although they lie below `delivered_below`. Lowest first.
    pub(crate) fn never_delivered(&self, progress: &Progress) -> RangeSet {
        let mut fresh = RangeSet::default();
        for (range, returned) in self.returned.iter() {
            if !returned.redelivered {
                fresh.insert(range);
            }
        }
        for waiting in self.delays.iter() {
            for (range, charge) in progress.charges.parts(waiting) {
                let edge = self.flagged_below.clamp(range.first, range.end);
                if charge.attempts == 0 {
                    if edge < range.end {
                        fresh.insert(Range { first: edge, end: range.end });
                    }
                    self.fresh.parts(range).for_each(|part| fresh.insert(part));
                }
            }
        }
        fresh
    }
}
