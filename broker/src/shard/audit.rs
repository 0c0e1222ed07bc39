//! The invariant that is checked all the time, group by group:
//!
//! ```text
//!   ready + leased + delayed + dead + settled = published
//! ```
//! What is published and settled is counted as it happens, and kept in checkpoints. The others are counted from where
//! the messages are: ready ones in what may be delivered, leased ones at their consumers. So a message that is nowhere, or
//! in two places, shows as a difference.
//!
//! A tick looks at some groups and goes on with the others at the next. Nothing else depends on the answer: a broker that
//! has lost count goes on, and says so.

use super::Shard;
use super::effects::{GroupId, Range};
use super::group::Group;
use std::ops::Bound;

/// Where the audit stands.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// The group that was audited last; `None`: a round begins.
    last: Option<GroupId>,
    /// Ranges looked at beyond the allowance; paid off by doing nothing.
    debt: usize,
    /// What all groups together miss or have too many, as of their last audits.
    unaccounted: u64,
}

/// Groups with at most so many ranges are counted whenever somebody asks.
const QUICK_RANGES: usize = 1_024;

/// What one group takes of the allowance, besides its ranges.
const GROUP_COST: usize = 4;

impl Shard {
    /// Audits groups in turn until about `ranges` ranges were looked at, and at least one group when the cost of the
    /// turns before is paid off. Answers the groups whose audit came out otherwise than the one before, and by how many
    /// messages they do not add up now.
    pub fn audit(&mut self, ranges: usize) -> Vec<(GroupId, u64)> {
        if self.audit.debt >= ranges {
            self.audit.debt -= ranges;
            return Vec::new();
        }
        let (mut spent, mut found, mut turns) =
            (self.audit.debt, Vec::new(), self.groups.len() + 1);
        self.audit.debt = 0;
        while spent < ranges && turns > 0 {
            turns -= 1;
            let from = self.audit.last.map_or(Bound::Unbounded, Bound::Excluded);
            let Some((id, group)) = self.groups.range((from, Bound::Unbounded)).next() else {
                self.audit.last = None;
                continue;
            };
            let (id, unaccounted, before) = (*id, self.unaccounted(group), group.live.unaccounted);
            spent += GROUP_COST + group.progress.closed.ranges() + group.progress.charges.ranges();
            spent += group.live.consumers.len();
            self.audit.last = Some(id);
            if unaccounted == before {
                continue;
            }
            found.push((id, unaccounted));
            self.audit.unaccounted = self.audit.unaccounted - before + unaccounted;
            if let Some(group) = self.groups.get_mut(&id) {
                group.live.unaccounted = unaccounted;
            }
        }
        self.audit.debt = spent.saturating_sub(ranges);
        found
    }

    /// How many messages all groups together miss, or have too many, as of their last audits.
    #[must_use]
    pub fn unaccounted_in_all(&self) -> u64 {
        self.audit.unaccounted
    }

    /// What a group misses or has too many: now, or as of its last audit if that is much to count.
    pub(super) fn unaccounted_now(&self, group: &Group) -> u64 {
        let ranges = group.progress.closed.ranges() + group.progress.charges.ranges();
        let is_quick = ranges + group.live.consumers.len() <= QUICK_RANGES;
        if is_quick { self.unaccounted(group) } else { group.live.unaccounted }
    }

    /// A group is gone.
    pub(super) fn forget_audit(&mut self, group: &Group) {
        self.audit.unaccounted -= group.live.unaccounted;
    }

    /// By how many messages the states of a group differ from what was published to it.
    fn unaccounted(&self, group: &Group) -> u64 {
        let Group { progress, live, .. } = group;
        let held = live.consumers.iter().filter_map(|id| self.consumers.get(id));
        let leased = held.map(|consumer| consumer.leases.count()).sum::<u64>();
        let first = live.cursor.max(progress.floor);
        let ahead = Range { first: first.min(progress.next), end: progress.next };
        let closed = progress.closed.parts(ahead).map(Range::count).sum::<u64>();
        let charged = progress.charges.parts(ahead).map(|(range, _)| range.count()).sum::<u64>();
        let states = [
            live.returned.count() + ahead.count().saturating_sub(closed + charged),
            leased + live.settling.count(),
            live.delays.count(),
            progress.dead.count(),
            progress.ledger.settled,
        ];
        states.into_iter().fold(0, u64::saturating_add).abs_diff(progress.ledger.published)
    }
}
