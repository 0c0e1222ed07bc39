//! Dispatch: which group is next, what it has, who gets it. Two round robins, no per-message work.
//!
//! Invariant: a group that could deliver something stands in `turns`; a consumer that could be sent
//! something stands in its group's `willing`. Both lines may hold others; those are dropped when
//! their turn comes.

use super::Shard;
use super::effects::{ConsumerId, GroupId, LeaseOf, Picked, Range, Ready};
use super::group::Group;
use super::lease::{Consumer, Lease, Limit};
use std::collections::BTreeMap;

/// Bits of an epoch that count leases; the bits above are the process's start.
const EPOCH_COUNTER_BITS: u32 = 40;

impl Shard {
    /// The group whose turn it is among those with ready messages and a consumer with credit. It
    /// goes behind the others; lease something, or park it, or it comes round again.
    pub fn next_dispatch(&mut self) -> Option<GroupId> {
        while let Some(id) = self.turns.pop_front() {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            if can_dispatch(group, &mut self.consumers) {
                self.turns.push_back(id);
                return Some(id);
            }
            group.live.is_queued = false;
        }
        None
    }

    /// Passes the group over until [`Shard::unpark`].
    pub fn park(&mut self, group: GroupId) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.live.is_parked = true;
        }
    }

    /// Ends [`Shard::park`].
    pub fn unpark(&mut self, group: GroupId) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.live.is_parked = false;
        }
        self.touch(group);
    }

    /// The next ready messages of the group: returned ones first, lowest offset first.
    pub fn peek_ready(&mut self, group: GroupId) -> Option<Ready> {
        let Group { stream, progress, live, .. } = self.groups.get_mut(&group)?;
        if live.seeks > 0 {
            return None;
        }
        let (range, returned) = live.peek(progress)?;
        Some(Ready {
            stream: *stream,
            offset: range.first,
            count: range.count(),
            attempt: returned.attempts.saturating_add(1),
            redelivered: returned.redelivered,
        })
    }

    /// The consumer of the group whose turn it is; it goes behind the others.
    pub fn pick_consumer(&mut self, group: GroupId) -> Option<Picked> {
        let group = self.groups.get_mut(&group)?;
        let consumer = front_willing(group, &mut self.consumers)?;
        group.live.willing.rotate_left(1);
        let picked = self.consumers.get(&consumer)?;
        Some(Picked {
            consumer,
            messages: picked.messages,
            bytes: u64::try_from(picked.bytes).unwrap_or(0),
            lease_ms: picked.lease_ms,
        })
    }

    /// A new lease epoch, for the deliveries of one frame. Never 0, and not used again while
    /// anything could still refer to it.
    pub fn next_epoch(&mut self) -> u64 {
        self.epochs = (self.epochs + 1) % (1 << EPOCH_COUNTER_BITS);
        (u64::from(self.incarnation) << EPOCH_COUNTER_BITS) | self.epochs.max(1)
    }

    /// Leases the front of what [`Shard::peek_ready`] says and spends credit. `false`: nothing was
    /// done, these messages are not the front any more (something happened since the peek).
    #[must_use]
    pub fn lease(&mut self, lease: LeaseOf) -> bool {
        let LeaseOf { group, consumer, epoch, offset, count, bytes, mono_ms } = lease;
        let Some(end) = offset.checked_add(count).filter(|_| count > 0) else { return false };
        let range = Range { first: offset, end };
        let Some(holder) = self.consumers.get_mut(&consumer).filter(|c| c.group == group) else {
            return false;
        };
        let Some(Group { progress, live, rules, .. }) = self.groups.get_mut(&group) else {
            return false;
        };
        if live.seeks > 0 {
            return false;
        }
        let Some(returned) = live.take_ready(range, progress) else { return false };
        live.held += count;
        live.delivered_below = live.delivered_below.max(end);
        let limit = Limit::after(mono_ms, rules.max_hold_ms);
        let deadline_ms = mono_ms.saturating_add(u64::from(holder.lease_ms)).min(limit.ms());
        let granted = Lease {
            epoch,
            deadline_ms,
            attempt: returned.attempts.saturating_add(1),
            limit,
            sequence_base: holder.sent.wrapping_sub(offset),
        };
        holder.grant(range, granted, bytes);
        if holder.alarm_ms.is_none_or(|alarm_ms| deadline_ms < alarm_ms) {
            holder.alarm_ms = Some(deadline_ms);
            self.deadlines.set(consumer, Some(deadline_ms));
        }
        true
    }

    /// Puts a consumer that could be sent something into its group's line.
    pub(super) fn offer(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if consumer.is_queued || !consumer.is_willing() {
            return;
        }
        let group = consumer.group;
        let Some(place) = self.groups.get_mut(&group) else { return };
        consumer.is_queued = true;
        place.live.willing.push_back(id);
        self.touch(group);
    }
}

/// Whether the group has something to deliver and somebody to deliver it to.
fn can_dispatch(group: &mut Group, consumers: &mut BTreeMap<ConsumerId, Consumer>) -> bool {
    !group.live.is_parked
        && group.live.seeks == 0
        && group.ready() > 0
        && front_willing(group, consumers).is_some()
}

/// The first consumer in line that can be sent something; the others leave the line.
fn front_willing(
    group: &mut Group,
    consumers: &mut BTreeMap<ConsumerId, Consumer>,
) -> Option<ConsumerId> {
    while let Some(id) = group.live.willing.front().copied() {
        if let Some(consumer) = consumers.get_mut(&id) {
            if consumer.is_willing() {
                return Some(id);
            }
            consumer.is_queued = false;
        }
        group.live.willing.pop_front();
    }
    None
}
