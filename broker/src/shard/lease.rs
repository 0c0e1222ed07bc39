//! A consumer: its credit, and the leases it holds.
//!
//! Leases live with their consumer, so that settling and going away look at nobody else's. A lease
//! covers a range of messages of one delivery; settling a part of it cuts it.

use super::effects::{GroupId, Range};
use super::ranges::RangeMap;
use posthaste_protocol::limits::CREDIT_MESSAGES_MAX;

/// Credit in bytes beyond this is not counted.
const CREDIT_BYTES_MAX: i64 = 1 << 40;

/// LIMIT: messages a consumer may hold; with more it is passed over, whatever its credit.
const HELD_MAX: u64 = 262_144;

/// One consumer.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) group: GroupId,
    pub(crate) lease_ms: u32,
    /// Messages it may still be sent.
    pub(crate) messages: u32,
    /// Bytes it may still be sent; below zero after a delivery beyond the rest.
    pub(crate) bytes: i64,
    /// Its outbox is full.
    pub(crate) is_blocked: bool,
    /// Stands in its group's line of willing consumers.
    pub(crate) is_queued: bool,
    /// Messages sent so far: the sequence of the next delivery.
    pub(crate) sent: u64,
    /// Deliveries the application has begun, in the order sent.
    pub(crate) begun: u64,
    pub(crate) leases: RangeMap<Lease>,
    /// No lease ends before this monotonic time.
    pub(crate) alarm_ms: Option<u64>,
}

/// The right to process a range of messages until a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) epoch: u64,
    /// Monotonic.
    pub(crate) deadline_ms: u64,
    /// Attempt of this delivery, from 1.
    pub(crate) attempt: u32,
    /// No extension goes beyond this.
    pub(crate) limit: Limit,
    /// Delivery sequence of offset 0, had it been sent: wraps, so that cutting changes nothing.
    pub(crate) sequence_base: u64,
}

/// The end of the longest hold: monotonic, in tenths of a second, rounded up. So small that a lease is not larger for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(u32);

impl Limit {
    /// No limit.
    #[cfg(test)]
    pub(crate) const NONE: Limit = Limit(u32::MAX);

    pub(crate) fn after(mono_ms: u64, max_hold_ms: Option<u32>) -> Limit {
        let end_ms = max_hold_ms.map_or(u64::MAX, |ms| mono_ms.saturating_add(u64::from(ms)));
        Limit(u32::try_from(end_ms.div_ceil(100)).unwrap_or(u32::MAX))
    }

    /// Monotonic.
    pub(crate) fn ms(self) -> u64 {
        if self.0 == u32::MAX { u64::MAX } else { u64::from(self.0) * 100 }
    }
}

impl Lease {
    /// Delivery sequence of an offset in the lease.
    pub(crate) fn sequence(&self, offset: u64) -> u64 {
        self.sequence_base.wrapping_add(offset)
    }

    /// The first offset of `range` that the application has not begun, of those `begun` so far.
    pub(crate) fn first_not_begun(&self, range: Range, begun: u64) -> u64 {
        let begun_here = begun.saturating_sub(self.sequence(range.first));
        range.first + begun_here.min(range.count())
    }
}

impl Consumer {
    pub(crate) fn new(group: GroupId, lease_ms: u32) -> Consumer {
        Consumer {
            group,
            lease_ms,
            messages: 0,
            bytes: 0,
            is_blocked: false,
            is_queued: false,
            sent: 0,
            begun: 0,
            leases: RangeMap::default(),
            alarm_ms: None,
        }
    }

    /// Whether it can be sent something.
    pub(crate) fn is_willing(&self) -> bool {
        !self.is_blocked && self.messages > 0 && self.bytes > 0 && self.leases.count() < HELD_MAX
    }

    pub(crate) fn add_credit(&mut self, messages: u32, bytes: u64, begun: u64) {
        self.messages = self.messages.saturating_add(messages).min(CREDIT_MESSAGES_MAX);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(bytes).min(CREDIT_BYTES_MAX);
        // Nothing can be begun that was not sent.
        self.begun = self.begun.max(begun.min(self.sent));
    }

    /// Takes a lease and spends credit.
    pub(crate) fn grant(&mut self, range: Range, lease: Lease, bytes: u64) {
        let spent = u32::try_from(range.count()).unwrap_or(u32::MAX);
        self.messages = self.messages.saturating_sub(spent);
        self.bytes = self.bytes.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.sent += range.count();
        self.leases.insert(range, lease);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_begun_is_told_apart() {
        let range = Range { first: 100, end: 110 };
        let lease = Lease {
            epoch: 1,
            deadline_ms: 0,
            attempt: 1,
            limit: Limit::NONE,
            sequence_base: 5u64.wrapping_sub(range.first),
        };
        let first = |begun| lease.first_not_begun(range, begun);
        assert_eq!([0, 5, 6, 14, 15, 99].map(first), [100, 100, 101, 109, 110, 110]);
    }

    #[test]
    fn credit_is_capped_and_bytes_may_go_into_debt_once() {
        let mut consumer = Consumer::new(GroupId(1), 100);
        consumer.add_credit(u32::MAX, u64::MAX, 9);
        assert_eq!((consumer.messages, consumer.begun), (CREDIT_MESSAGES_MAX, 0));
        consumer.bytes = 10;
        let lease =
            Lease { epoch: 1, deadline_ms: 0, attempt: 1, limit: Limit::NONE, sequence_base: 0 };
        consumer.grant(Range { first: 0, end: 1 }, lease, 50);
        assert!(!consumer.is_willing());
        consumer.add_credit(0, 40, 0);
        assert!(!consumer.is_willing());
        consumer.add_credit(0, 1, 1);
        assert!(consumer.is_willing());
        assert_eq!(consumer.begun, 1);
    }
}
