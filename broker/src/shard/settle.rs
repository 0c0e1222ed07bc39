//! Consumers come and go; deliveries end: settled, expired, or left behind.
//!
//! Nothing here changes durable state. What has to last becomes a [`Command`]; until it is applied
//! the messages are *settling*, which still counts as leased. A release is live only.

use super::Shard;
use super::command::{Cause, Command, End, RANGES_MAX, Settlement};
use super::effects::{ConsumerId, GroupId, Range, SettleResult};
use super::group::{Group, Rules};
use super::lease::{Consumer, Lease};
use posthaste_protocol::limits::{DELAY_MS_MAX, LEASE_MS_MAX, LEASE_MS_MIN};
use posthaste_protocol::mutant;
use posthaste_protocol::request::{Held, Outcome, Settle};
use std::cell::Cell;

/// LIMIT: leases that one request looks at. A consumer holds at most 65,535 messages, so whoever names
/// each of them once stays far below; who names all of them 4,096 times holds nobody up.
pub(super) const LOOKS_MAX: usize = 262_144;

impl Shard {
    /// Adds a consumer without credit. `lease_ms` of `None` takes the group's. Answers the lease
    /// that applies; `None`: there is no such group, or the consumer is there already.
    pub fn attach(
        &mut self,
        consumer: ConsumerId,
        group: GroupId,
        lease_ms: Option<u32>,
    ) -> Option<u32> {
        let place = self.groups.get_mut(&group)?;
        let lease_ms = lease_ms.unwrap_or(place.rules.lease_ms).clamp(LEASE_MS_MIN, LEASE_MS_MAX);
        let lease_ms = place.rules.max_hold_ms.map_or(lease_ms, |hold_ms| lease_ms.min(hold_ms));
        if self.consumers.contains_key(&consumer) {
            return None;
        }
        place.live.consumers.insert(consumer);
        self.consumers.insert(consumer, Consumer::new(group, lease_ms));
        Some(lease_ms)
    }

    /// Adds credit (saturating, capped) and tells how many deliveries the application has begun.
    pub fn add_credit(&mut self, consumer: ConsumerId, messages: u32, bytes: u64, begun: u64) {
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.add_credit(messages, bytes, begun);
        }
        self.offer(consumer);
    }

    /// The consumer's outbox is full (or not any more): it is passed over until unblocked.
    pub fn set_blocked(&mut self, consumer: ConsumerId, blocked: bool) {
        if let Some(consumer) = self.consumers.get_mut(&consumer) {
            consumer.is_blocked = blocked;
        }
        self.offer(consumer);
    }

    /// Ends a consumer. Deliveries that its application has begun are charged an attempt, by the
    /// commands; the others are ready again at once, flagged.
    pub fn detach(&mut self, consumer: ConsumerId, now_ms: u64) -> Vec<Command> {
        let Some(gone) = self.remove_consumer(consumer) else { return Vec::new() };
        let Some(group) = self.groups.get_mut(&gone.group) else { return Vec::new() };
        let mut ends = Ends::new(gone.group, now_ms);
        for (range, lease) in gone.leases.iter() {
            let edge = lease.first_not_begun(range, gone.begun);
            let begun = Range { first: range.first, end: edge };
            if begun.first < begun.end {
                ends.fail(group, begun, lease, Cause::Disconnected);
            }
            let rest = Range { first: edge, end: range.end };
            if rest.first < rest.end {
                release(group, rest, lease);
            }
        }
        if mutant("lost-wakeup") {
            return ends.commands;
        }
        self.touch(gone.group);
        ends.commands
    }

    /// Ends deliveries. What was held stays counted as leased until the commands are applied.
    pub fn settle(&mut self, consumer: ConsumerId, items: &[Settle], now_ms: u64) -> SettleResult {
        let mut stale = Vec::new();
        let found = self.consumers.get_mut(&consumer);
        let found = found.and_then(|c| Some((self.groups.get_mut(&c.group)?, c)));
        let Some((group, holder)) = found else {
            stale.extend(items.iter().map(|item| item.held));
            return SettleResult { commands: Vec::new(), stale };
        };
        let mut ends = Ends::new(group.id, now_ms);
        let mut released = false;
        let mut looks = LOOKS_MAX;
        for Settle { held, outcome } in items {
            take_held(holder, *held, &mut looks, &mut stale, |range, lease| match outcome {
                Outcome::Ack => ends.end(group, range, Cause::Consumer, End::Ack),
                Outcome::Retry { delay_ms, reason } => {
                    ends.retry(group, range, lease, *delay_ms, reason);
                }
                Outcome::Release => {
                    released = true;
                    release(group, range, lease);
                }
                Outcome::DeadLetter { reason } => {
                    let end = End::Dead { reason: reason.clone() };
                    ends.end(group, range, Cause::Consumer, end);
                }
            });
        }
        if released {
            self.touch(ends.group);
        }
        self.offer(consumer);
        SettleResult { commands: ends.commands, stale }
    }

    /// Forgets a consumer; its leases are the caller's.
    pub(super) fn remove_consumer(&mut self, id: ConsumerId) -> Option<Consumer> {
        let gone = self.consumers.remove(&id)?;
        self.deadlines.set(id, None);
        if let Some(group) = self.groups.get_mut(&gone.group) {
            group.live.consumers.remove(&id);
            if gone.is_queued {
                group.live.willing.retain(|waiting| *waiting != id);
            }
        }
        Some(gone)
    }
}

/// Cuts out of the consumer's leases what `held` names under its epoch; the rest is stale. So is all
/// of it when the request has looked at as many leases as one may.
pub(super) fn take_held(
    holder: &mut Consumer,
    held: Held,
    looks: &mut usize,
    stale: &mut Vec<Held>,
    mut taken: impl FnMut(Range, &Lease),
) {
    let Some(end) =
        held.first.checked_add(u64::from(held.count)).filter(|_| held.count > 0 && *looks > 0)
    else {
        stale.push(held);
        return;
    };
    let left = Cell::new(*looks);
    let mut at = held.first;
    let mut missed = |first: u64, end: u64| {
        if let Some(count) = end.checked_sub(first).filter(|count| *count > 0) {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            stale.push(Held { first, count, epoch: held.epoch });
        }
    };
    holder.leases.take(
        Range { first: held.first, end },
        |lease| {
            left.set(left.get().saturating_sub(1));
            lease.epoch == held.epoch || mutant("ack-of-another-session")
        },
        |range, lease| {
            missed(at, range.first);
            at = range.end;
            taken(range, lease);
        },
    );
    missed(at, end);
    *looks = left.get();
}

/// Held messages are ready again as they were, flagged.
fn release(group: &mut Group, range: Range, lease: &Lease) {
    group.live.held -= range.count();
    group.live.ready_again(range, lease.attempt.saturating_sub(1), true);
}

/// Collects how deliveries of one group end, alike ones in one command.
pub(super) struct Ends {
    group: GroupId,
    now_ms: u64,
    pub(super) commands: Vec<Command>,
}

impl Ends {
    pub(super) fn new(group: GroupId, now_ms: u64) -> Ends {
        Ends { group, now_ms, commands: Vec::new() }
    }

    /// Held messages are settling from now on.
    fn end(&mut self, group: &mut Group, range: Range, cause: Cause, end: End) {
        group.live.held -= range.count();
        group.live.settling.insert(range);
        if let Some(Command::Settle(last)) = self.commands.last_mut()
            && last.cause == cause
            && last.end == end
            && last.ranges.len() < RANGES_MAX
        {
            match last.ranges.last_mut() {
                Some(before) if before.end == range.first => before.end = range.end,
                _ => last.ranges.push(range),
            }
            return;
        }
        let settlement = Settlement { group: self.group, end, cause, ranges: vec![range] };
        self.commands.push(Command::Settle(settlement));
    }

    /// The consumer wants them again, later.
    fn retry(
        &mut self,
        group: &mut Group,
        range: Range,
        lease: &Lease,
        delay_ms: Option<u64>,
        reason: &str,
    ) {
        if is_last(&group.rules, lease) {
            let end = End::Dead { reason: reason.to_owned() };
            return self.end(group, range, Cause::MaxAttempts, end);
        }
        match delay_ms {
            Some(delay_ms) => self.retry_in(group, range, delay_ms, reason),
            None => {
                let rules = group.rules;
                rules.backoffs(range, lease.attempt, |range, delay_ms| {
                    self.retry_in(group, range, delay_ms, reason);
                });
            }
        }
    }

    fn retry_in(&mut self, group: &mut Group, range: Range, delay_ms: u64, reason: &str) {
        let due_ms = match delay_ms.min(DELAY_MS_MAX) {
            0 => 0,
            delay_ms => self.now_ms.saturating_add(delay_ms),
        };
        let end = End::Retry { due_ms, reason: reason.to_owned() };
        self.end(group, range, Cause::Consumer, end);
    }

    /// The consumer did not finish them: again at once, unless this was the last attempt.
    pub(super) fn fail(&mut self, group: &mut Group, range: Range, lease: &Lease, cause: Cause) {
        let reason = cause.as_str().to_owned();
        if is_last(&group.rules, lease) {
            self.end(group, range, Cause::MaxAttempts, End::Dead { reason });
        } else {
            self.end(group, range, cause, End::Retry { due_ms: 0, reason });
        }
    }
}

fn is_last(rules: &Rules, lease: &Lease) -> bool {
    lease.attempt >= rules.max_attempts
}
