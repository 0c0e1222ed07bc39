//! Time: leases are extended and end, delayed messages become ready.
//!
//! A lease ends when it is not extended, and however it is extended at the end of the longest hold of its group.

use super::Shard;
use super::command::{Cause, Command};
use super::effects::{ConsumerId, Extended, Range};
use super::group::Group;
use super::lease::Lease;
use super::settle::{Ends, LOOKS_MAX, take_held};
use posthaste_protocol::limits::{LEASE_MS_MAX, LEASE_MS_MIN};
use posthaste_protocol::mutant;
use posthaste_protocol::request::Held;

/// LIMIT: leases of a consumer are looked through for expired ones at most this often.
const EXPIRE_GAP_MS: u64 = 10;

impl Shard {
    /// Gives held deliveries `lease_ms` from now, but none more than the longest hold of its group.
    pub fn extend(
        &mut self,
        consumer: ConsumerId,
        items: &[Held],
        mono_ms: u64,
        lease_ms: u32,
    ) -> Extended {
        let (mut stale, mut limited) = (Vec::new(), Vec::new());
        let Some(holder) = self.consumers.get_mut(&consumer) else {
            stale.extend_from_slice(items);
            return Extended { stale, limited };
        };
        let lease_ms = lease_ms.clamp(LEASE_MS_MIN, LEASE_MS_MAX);
        let deadline_ms = mono_ms.saturating_add(u64::from(lease_ms));
        let mut extended = Vec::new();
        let mut looks = LOOKS_MAX;
        let mut first_ms = deadline_ms;
        for held in items {
            let mut is_limited = false;
            take_held(holder, *held, &mut looks, &mut stale, |range, lease| {
                let end_ms = deadline_ms.min(lease.limit.ms());
                is_limited |= end_ms < deadline_ms;
                first_ms = first_ms.min(end_ms);
                extended.push((range, Lease { deadline_ms: end_ms, ..*lease }));
            });
            if is_limited {
                limited.push(*held);
            }
            for (range, lease) in extended.drain(..) {
                holder.leases.insert(range, lease);
            }
        }
        if holder.alarm_ms.is_some_and(|alarm_ms| first_ms < alarm_ms) {
            holder.alarm_ms = Some(first_ms);
            self.deadlines.set(consumer, Some(first_ms));
        }
        Extended { stale, limited }
    }

    /// Ends leases whose deadline has come; the attempt is charged.
    pub fn expire(&mut self, mono_ms: u64, now_ms: u64) -> Vec<Command> {
        let mut commands = Vec::new();
        let mono_ms = if mutant("lease-on-wall-clock") { now_ms } else { mono_ms };
        let mono_ms = mono_ms + u64::from(mutant("lease-off-by-one"));
        while let Some(id) = self.deadlines.pop_due(mono_ms) {
            let Some(holder) = self.consumers.get_mut(&id) else { continue };
            let Some(group) = self.groups.get_mut(&holder.group) else { continue };
            let mut ends = Ends::new(holder.group, now_ms);
            holder.leases.take(
                Range { first: 0, end: u64::MAX },
                |lease| lease.deadline_ms <= mono_ms,
                |range, lease| {
                    let is_at_limit = lease.limit.ms() <= mono_ms;
                    let cause = if is_at_limit { Cause::HeldTooLong } else { Cause::Expired };
                    ends.fail(group, range, lease, cause);
                },
            );
            commands.append(&mut ends.commands);
            let next = holder.leases.iter().map(|(_, lease)| lease.deadline_ms).min();
            holder.alarm_ms = next.map(|next| next.max(mono_ms.saturating_add(EXPIRE_GAP_MS)));
            self.deadlines.set(id, holder.alarm_ms);
            self.offer(id);
        }
        commands
    }

    /// When to call [`Shard::expire`] next, in monotonic time. No lease ends before that.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.next()
    }

    /// Makes delayed messages ready whose time has come.
    pub fn wake_delayed(&mut self, now_ms: u64) {
        while let Some(id) = self.dues.pop_due(now_ms) {
            if let Some(Group { progress, live, .. }) = self.groups.get_mut(&id) {
                live.alarm_ms = None;
                live.wake(progress, now_ms);
            }
            self.touch(id);
        }
    }

    /// When to call [`Shard::wake_delayed`] next, in milliseconds since 1970.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.dues.next()
    }
}
