//! Producer sessions: what each has published, so that a resend is stored once.
//!
//! Per producer the accepted sequences are kept as ranges, not as a high-water mark: a publish that
//! was refused may be sent again under its old number, and must then be stored.
//!
//! LIMIT: 65,536 producers (the least recently used goes first), 1,024 ranges each, 1,024 receipts
//! each and 262,144 in all. Below the ranges that are still kept the honest answer is "unknown":
//! neither "stored" (could lose a message) nor "new" (could store it twice).

use super::effects::{Range, StreamId};
use super::pending::{Pending, Place};
use super::ranges::RangeSet;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// All producer sessions.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    by_id: BTreeMap<u32, Producer>,
    sessions: BTreeMap<[u8; 16], u32>,
    /// (last use, id), the least recently used first.
    by_use: BTreeSet<(u64, u32)>,
    /// Receipts of all producers.
    receipts: usize,
}

/// One producer session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) session: [u8; 16],
    pub(crate) used_ms: u64,
    /// Nothing is known for certain about sequences below that have no receipt.
    pub(crate) horizon: u64,
    /// Stored, at or above the horizon.
    pub(crate) accepted: RangeSet,
    /// Where the newest ones are, in the order stored.
    pub(crate) receipts: VecDeque<Receipt>,
    /// Live: appended and not yet committed.
    pub(crate) pending: Pending,
}

/// Consecutive batches of one size in a row, in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) sequence: u64,
    pub(crate) batches: u64,
    pub(crate) stream: StreamId,
    pub(crate) base_offset: u64,
    /// Records in each batch.
    pub(crate) records: u32,
}

/// What is known of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Not stored.
    New,
    /// Stored, or appended; and where, if still known.
    Stored(Option<(StreamId, u64)>),
    /// Too old to tell.
    TooOld,
    /// There is no such producer (any more).
    NoProducer,
}

impl Receipt {
    fn place_of(&self, sequence: u64) -> Option<(StreamId, u64)> {
        let index = sequence.checked_sub(self.sequence).filter(|at| *at < self.batches)?;
        let records = index.saturating_mul(u64::from(self.records));
        Some((self.stream, self.base_offset.saturating_add(records)))
    }

    /// Whether `next` goes on where this ends.
    fn is_followed_by(&self, next: &Receipt) -> bool {
        next.stream == self.stream
            && next.records == self.records
            && next.sequence.checked_sub(self.sequence) == Some(self.batches)
            && self.batches.checked_mul(u64::from(self.records))
                == next.base_offset.checked_sub(self.base_offset)
    }
}

impl Producer {
    const RECEIPTS_MAX: usize = 1_024;
    const RANGES_MAX: usize = 1_024;

    fn known(&self, sequence: u64) -> Known {
        if let Some(place) = self.pending.get(sequence) {
            return Known::Stored(Some(place));
        }
        let place = || self.receipts.iter().rev().find_map(|receipt| receipt.place_of(sequence));
        if self.accepted.contains(sequence) {
            return Known::Stored(place());
        }
        if sequence >= self.horizon {
            return Known::New;
        }
        place().map_or(Known::TooOld, |place| Known::Stored(Some(place)))
    }

    fn accept_sequence(&mut self, sequence: u64) {
        let Some(end) = sequence.checked_add(1) else { return };
        self.pending.remove(sequence);
        self.accepted.insert(Range { first: sequence, end });
        if self.accepted.ranges() > Self::RANGES_MAX
            && let Some(lowest) = self.accepted.pop_first()
        {
            self.horizon = self.horizon.max(lowest.end);
        }
    }

    fn accept(&mut self, receipt: Receipt) {
        if receipt.sequence == u64::MAX {
            return;
        }
        self.accept_sequence(receipt.sequence);
        match self.receipts.back_mut() {
            Some(last) if last.is_followed_by(&receipt) => last.batches += 1,
            _ => self.receipts.push_back(receipt),
        }
        if self.receipts.len() > Self::RECEIPTS_MAX {
            self.receipts.pop_front();
        }
    }
}

impl Producers {
    pub(crate) const PRODUCERS_MAX: usize = 65_536;
    const RECEIPTS_MAX: usize = 262_144;

    pub(crate) fn of_session(&self, session: &[u8; 16]) -> Option<u32> {
        self.sessions.get(session).copied()
    }

    pub(crate) fn contains(&self, producer: u32) -> bool {
        self.by_id.contains_key(&producer)
    }

    /// What is known of a sequence, the appended ones included.
    pub(crate) fn known(&self, producer: u32, sequence: u64) -> Known {
        self.by_id.get(&producer).map_or(Known::NoProducer, |p| p.known(sequence))
    }

    /// Where the batch of an atomic group for one stream is, if still known.
    pub(crate) fn place_in(&self, id: u32, sequence: u64, stream: StreamId) -> Option<u64> {
        let mut receipts = self.by_id.get(&id)?.receipts.iter().rev();
        receipts.find_map(|receipt| {
            let place = receipt.place_of(sequence).filter(|(of, _)| *of == stream);
            place.map(|(_, base_offset)| base_offset)
        })
    }

    /// An atomic group without a batch is committed.
    pub(crate) fn accept_group(&mut self, id: u32, sequence: u64, now_ms: u64) {
        self.note_use(id, now_ms);
        if let Some(producer) = self.by_id.get_mut(&id) {
            producer.accept_sequence(sequence);
        }
    }

    /// Remembers where an appended batch will be.
    pub(crate) fn append(&mut self, producer: u32, sequence: u64, place: Place) {
        if let Some(producer) = self.by_id.get_mut(&producer) {
            producer.pending.insert(sequence, place);
        }
    }

    /// An appended batch came to nothing.
    pub(crate) fn reject(&mut self, producer: u32, sequence: u64) {
        if let Some(producer) = self.by_id.get_mut(&producer) {
            producer.pending.remove(sequence);
        }
    }

    /// Opens a session; the least recently used ones make room.
    pub(crate) fn open(&mut self, id: u32, session: [u8; 16], now_ms: u64) {
        if self.sessions.contains_key(&session) || self.by_id.contains_key(&id) {
            return;
        }
        self.insert(id, Producer { session, used_ms: now_ms, ..Producer::default() });
        while self.by_id.len() > Self::PRODUCERS_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
            && let Some(producer) = self.by_id.remove(&oldest)
        {
            self.sessions.remove(&producer.session);
            self.receipts -= producer.receipts.len();
        }
    }

    /// A batch is committed. Producers that were evicted meanwhile are not known any more.
    pub(crate) fn accept(&mut self, id: u32, receipt: Receipt, now_ms: u64) {
        self.note_use(id, now_ms);
        let Some(producer) = self.by_id.get_mut(&id) else { return };
        let before = producer.receipts.len();
        producer.accept(receipt);
        self.receipts = self.receipts + producer.receipts.len() - before;
        if self.receipts > Self::RECEIPTS_MAX {
            self.shed_receipts();
        }
    }

    fn note_use(&mut self, id: u32, now_ms: u64) {
        let Some(producer) = self.by_id.get_mut(&id) else { return };
        if now_ms > producer.used_ms {
            self.by_use.remove(&(producer.used_ms, id));
            self.by_use.insert((now_ms, id));
            producer.used_ms = now_ms;
        }
    }

    /// Drops receipts of the least recently used producers until a quarter is free. Their resends
    /// are still recognised; only the place is not told any more.
    fn shed_receipts(&mut self) {
        for (_, id) in &self.by_use {
            if self.receipts <= Self::RECEIPTS_MAX / 4 * 3 {
                break;
            }
            if let Some(producer) = self.by_id.get_mut(id) {
                self.receipts -= producer.receipts.len();
                producer.receipts = VecDeque::new();
            }
        }
    }

    /// All, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Adds a producer as it was; its number and session must be new.
    pub(crate) fn insert(&mut self, id: u32, producer: Producer) {
        self.sessions.insert(producer.session, id);
        self.by_use.insert((producer.used_ms, id));
        self.receipts += producer.receipts.len();
        self.by_id.insert(id, producer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(sequence: u64, base_offset: u64, records: u32) -> Receipt {
        Receipt { sequence, batches: 1, stream: 1, base_offset, records }
    }

    fn session(n: u32) -> [u8; 16] {
        u128::from(n).to_le_bytes()
    }

    #[test]
    fn a_refused_publish_may_come_again_under_its_number() {
        let mut producers = Producers::default();
        producers.open(1, session(1), 0);
        producers.accept(1, receipt(1, 0, 2), 5);
        producers.accept(1, receipt(3, 2, 2), 5);
        assert_eq!(producers.known(1, 2), Known::New);
        assert_eq!(producers.known(1, 3), Known::Stored(Some((1, 2))));
        producers.append(1, 2, (1, 4));
        assert_eq!(producers.known(1, 2), Known::Stored(Some((1, 4))));
        assert_eq!(producers.known(2, 1), Known::NoProducer);
    }

    #[test]
    fn receipts_of_equal_batches_in_a_row_are_one() {
        let mut producer = Producer::default();
        for n in 0..5_000 {
            producer.accept(receipt(n + 1, n * 3, 3));
        }
        assert_eq!((producer.receipts.len(), producer.accepted.ranges()), (1, 1));
        assert_eq!(producer.known(4_321), Known::Stored(Some((1, 4_320 * 3))));
    }

    #[test]
    fn with_too_many_gaps_old_sequences_are_unknown_and_never_called_stored() {
        let mut producer = Producer::default();
        for n in 1..=2_000 {
            producer.accept(receipt(n * 2, n, 1));
        }
        assert_eq!(producer.accepted.ranges(), Producer::RANGES_MAX);
        assert_eq!(producer.receipts.len(), Producer::RECEIPTS_MAX);
        assert_eq!(producer.known(2), Known::TooOld);
        assert_eq!(producer.known(3), Known::TooOld);
        assert_eq!(producer.known(3_999), Known::New);
        assert_eq!(producer.known(4_000), Known::Stored(Some((1, 2_000))));
    }

    #[test]
    fn the_least_recently_used_producer_makes_room() {
        let mut producers = Producers::default();
        let max = u32::try_from(Producers::PRODUCERS_MAX).unwrap();
        for id in 1..=max {
            producers.open(id, session(id), u64::from(id));
        }
        producers.accept(1, receipt(1, 0, 1), u64::from(max) + 1);
        producers.open(max + 1, session(max + 1), u64::from(max) + 2);
        assert_eq!(producers.len(), Producers::PRODUCERS_MAX);
        assert_eq!(producers.known(2, 1), Known::NoProducer);
        assert_eq!(producers.of_session(&session(2)), None);
        assert_eq!(producers.known(1, 1), Known::Stored(Some((1, 0))));
    }

    #[test]
    fn receipts_are_bounded_in_all() {
        let mut producers = Producers::default();
        for id in 1..=300 {
            producers.open(id, session(id), u64::from(id));
            for n in 0..1_000 {
                producers.accept(id, receipt(n + 1, n * 7, 1), u64::from(id));
            }
        }
        assert!(producers.receipts <= Producers::RECEIPTS_MAX);
        let counted: usize = producers.iter().map(|(_, p)| p.receipts.len()).sum();
        assert_eq!(producers.receipts, counted);
        assert_eq!(producers.known(1, 5), Known::Stored(None));
    }
}
