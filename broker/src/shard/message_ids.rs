//! Message ids: what was stored under which id, for as long as the window of its queue or topic says.
//!
//! Per queue or topic with a window: the ids in the order stored, in buckets of at most a 64th of the window,
//! and a table that finds them. A bucket leaves when its newest id is older than the window, so an id is
//! remembered for the window at least and a 64th longer at most. Leaving is done in small steps, by the runs
//! that come. An id is kept as a keyed hash of 128 bits, the message as its offset and a checksum.
//!
//! LIMIT: some 60 bytes of memory and 28 of a checkpoint for each id; how many there may be is configured.

use super::effects::StreamId;
use super::siphash::siphash128;
use hashbrown::HashTable;
use posthaste_protocol::batch::record_ids;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Parts of a window that come and go together.
const BUCKETS: u64 = 64;
/// LIMIT: ids in a bucket; with more of them in its time there are several.
const BUCKET_IDS_MAX: usize = 65_536;
/// Tables of a window: each grows on its own, so that none takes long.
const LANES: usize = 64;
/// Ids that leave with a run, beyond twice those that it brings.
const LEAVING_MIN: usize = 64;

/// The id of a record of a batch, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Number of the record in its batch.
    pub index: u32,
    /// Of the id.
    pub hash: u128,
    /// Checksum of key and body.
    pub print: u32,
}

/// The ids of the records of a checked batch.
pub(crate) fn identify(key: [u8; 16], batch: &[u8]) -> Vec<Identified> {
    let ids = record_ids(batch).map(|record| {
        let mut print = crc32fast::Hasher::new();
        if let Some(key) = record.key {
            print.update(key.as_bytes());
            // No byte of a key is 0xff, so key and body cannot be mistaken for each other.
            print.update(&[0xff]);
        }
        print.update(record.value);
        let hash = siphash128(key, record.id.as_bytes());
        Identified { index: record.index, hash, print: print.finalize() }
    });
    ids.collect()
}

/// What was stored under an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) offset: u64,
    pub(crate) print: u32,
}

/// All windows.
#[derive(Debug)]
pub(crate) struct MessageIds {
    /// Of the hashes; made with the first window.
    pub(crate) key: Option<[u8; 16]>,
    windows: BTreeMap<StreamId, Window>,
    /// (when the oldest bucket may leave, whose it is), for all that have one.
    ages: BTreeSet<(u64, StreamId)>,
    /// Ids in buckets.
    len: usize,
    /// Live: ids that are appended and not committed.
    pending: usize,
    /// Live: new ids are refused from here on.
    pub(crate) max: usize,
}

impl Default for MessageIds {
    fn default() -> MessageIds {
        let (windows, ages) = (BTreeMap::new(), BTreeSet::new());
        MessageIds { key: None, windows, ages, len: 0, pending: 0, max: usize::MAX }
    }
}

/// The ids of one queue or topic.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) window_ms: u64,
    /// Oldest first.
    buckets: VecDeque<Bucket>,
    /// Number of the front bucket.
    first: u32,
    /// Ids of the front bucket that have left.
    left: usize,
    /// By the high bits of the hash; none before the first id.
    lanes: Vec<HashTable<Slot>>,
    /// Live: appended and not committed.
    pending: BTreeMap<u128, Seen>,
}

/// Ids that were stored within a time.
#[derive(Debug)]
struct Bucket {
    since_ms: u64,
    until_ms: u64,
    ids: Vec<(u128, Seen)>,
}

/// Where the newest message of an id is.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The low bits of the hash: what the table needs to grow without a look at the buckets.
    tag: u32,
    bucket: u32,
    index: u32,
}

impl MessageIds {
    pub(crate) fn is_unused(&self) -> bool {
        self.windows.is_empty()
    }

    pub(crate) fn window(&self, stream: StreamId) -> Option<&Window> {
        self.windows.get(&stream)
    }

    /// Ids that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Sets, changes or takes away (0) the window of a queue or topic.
    pub(crate) fn set_window(&mut self, stream: StreamId, window_ms: u64) {
        if window_ms == 0 {
            if let Some(gone) = self.windows.remove(&stream) {
                self.len -= gone.len();
                self.pending -= gone.pending.len();
                self.ages.retain(|(_, of)| *of != stream);
            }
            return;
        }
        let window = self.windows.entry(stream).or_default();
        let before = window.age();
        window.window_ms = window_ms;
        let after = window.age();
        self.note_age(stream, before, after);
    }

    /// Whether those that are appended may be remembered. `is_old` tells whether a bucket of a window has had
    /// its time.
    pub(crate) fn has_room(&self, is_old: impl Fn(u64, u64) -> bool) -> bool {
        if self.len + self.pending <= self.max {
            return true;
        }
        // What has had its time leaves as new ones come.
        let oldest = self.ages.first().and_then(|(_, stream)| self.windows.get(stream));
        oldest.is_some_and(|window| window.front_is(&is_old))
    }

    /// Remembers an id whose message is appended.
    pub(crate) fn append(&mut self, stream: StreamId, hash: u128, seen: Seen) {
        if let Some(window) = self.windows.get_mut(&stream)
            && window.pending.insert(hash, seen).is_none()
        {
            self.pending += 1;
        }
    }

    /// A message at or behind `from` is not appended after all.
    pub(crate) fn retract(&mut self, stream: StreamId, hash: u128, from: u64) {
        if let Some(window) = self.windows.get_mut(&stream)
            && window.pending.get(&hash).is_some_and(|seen| seen.offset >= from)
        {
            window.pending.remove(&hash);
            self.pending -= 1;
        }
    }

    /// The ids of a batch are committed; as many as may leave for it do.
    pub(crate) fn store(
        &mut self,
        stream: StreamId,
        base_offset: u64,
        ids: &[Identified],
        now_ms: u64,
        is_old: impl Fn(u64, u64) -> bool,
    ) {
        let Some(window) = self.windows.get_mut(&stream) else { return };
        let before = window.age();
        for id in ids {
            self.pending -= usize::from(window.pending.remove(&id.hash).is_some());
            let offset = base_offset.saturating_add(u64::from(id.index));
            window.insert(id.hash, Seen { offset, print: id.print }, now_ms);
        }
        self.len += ids.len();
        let after = window.age();
        self.note_age(stream, before, after);
        self.shed(2 * ids.len() + LEAVING_MIN, is_old);
    }

    /// Lets at most `count` ids go that have had their time, oldest first.
    fn shed(&mut self, mut count: usize, is_old: impl Fn(u64, u64) -> bool) {
        while count > 0
            && let Some((_, stream)) = self.ages.first().copied()
            && let Some(window) = self.windows.get_mut(&stream)
            && window.front_is(&is_old)
        {
            let before = window.age();
            let gone = window.shed(count);
            let after = window.age();
            (self.len, count) = (self.len - gone, count - gone);
            self.note_age(stream, before, after);
        }
    }

    fn note_age(&mut self, stream: StreamId, before: Option<u64>, after: Option<u64>) {
        if before != after {
            before.map(|age| self.ages.remove(&(age, stream)));
            after.map(|age| self.ages.insert((age, stream)));
        }
    }

    /// Every window, for a checkpoint.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (StreamId, &Window)> {
        self.windows.iter().map(|(stream, window)| (*stream, window))
    }

    /// A bucket of a checkpoint, behind those that were given before.
    pub(crate) fn restore(
        &mut self,
        stream: StreamId,
        (since_ms, until_ms): (u64, u64),
        ids: Vec<(u128, Seen)>,
    ) {
        let Some(window) = self.windows.get_mut(&stream) else { return };
        let before = window.age();
        self.len += ids.len();
        window.buckets.push_back(Bucket { since_ms, until_ms, ids: Vec::with_capacity(ids.len()) });
        for (hash, seen) in ids {
            window.push(hash, seen);
        }
        let after = window.age();
        self.note_age(stream, before, after);
    }
}

impl Window {
    /// What was stored under an id, or is about to be; nothing older than `before_ms` counts.
    pub(crate) fn seen(&self, hash: u128, before_ms: u64) -> Option<Seen> {
        if let Some(seen) = self.pending.get(&hash) {
            return Some(*seen);
        }
        let tag = tag(hash);
        let slot = self.lanes.get(lane(hash))?.find(spread(tag), |slot| {
            slot.tag == tag && self.id(slot).is_some_and(|(known, _)| *known == hash)
        })?;
        let bucket = self.bucket(slot.bucket).filter(|bucket| bucket.until_ms >= before_ms)?;
        bucket.ids.get(slot.index as usize).map(|(_, seen)| *seen)
    }

    /// Ids in buckets.
    pub(crate) fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.ids.len()).sum::<usize>() - self.left
    }

    /// Each bucket with its times, oldest first.
    pub(crate) fn buckets(&self) -> impl ExactSizeIterator<Item = (u64, u64, &[(u128, Seen)])> {
        self.buckets.iter().enumerate().map(|(at, bucket)| {
            let left = if at == 0 { self.left } else { 0 };
            (bucket.since_ms, bucket.until_ms, bucket.ids.get(left..).unwrap_or_default())
        })
    }

    fn insert(&mut self, hash: u128, seen: Seen, now_ms: u64) {
        let span_ms = self.window_ms / BUCKETS;
        let has_room = |bucket: &&mut Bucket| {
            bucket.ids.len() < BUCKET_IDS_MAX && now_ms <= bucket.since_ms.saturating_add(span_ms)
        };
        match self.buckets.back_mut().filter(has_room) {
            Some(open) => open.until_ms = open.until_ms.max(now_ms),
            None => {
                let new = Bucket { since_ms: now_ms, until_ms: now_ms, ids: Vec::new() };
                self.buckets.push_back(new);
            }
        }
        self.push(hash, seen);
    }

    /// Adds an id to the last bucket; an older message of it is found no more.
    fn push(&mut self, hash: u128, seen: Seen) {
        let Some(last) = self.buckets.len().checked_sub(1) else { return };
        let Some(open) = self.buckets.get_mut(last) else { return };
        // LIMIT: a bucket has few ids, and so has a window buckets; their numbers may wrap.
        let index = open.ids.len() as u32;
        open.ids.push((hash, seen));
        let bucket = self.first.wrapping_add(last as u32);
        if self.lanes.is_empty() {
            self.lanes.resize_with(LANES, HashTable::new);
        }
        let slot = Slot { tag: tag(hash), bucket, index };
        let (buckets, first) = (&self.buckets, self.first);
        let Some(lane) = self.lanes.get_mut(lane(hash)) else { return };
        let known = lane.find_mut(spread(slot.tag), |other| {
            let known = buckets.get(other.bucket.wrapping_sub(first) as usize);
            let known = known.and_then(|bucket| bucket.ids.get(other.index as usize));
            other.tag == slot.tag && known.is_some_and(|(known, _)| *known == hash)
        });
        match known {
            Some(known) => *known = slot,
            None => drop(lane.insert_unique(spread(slot.tag), slot, |slot| spread(slot.tag))),
        }
    }

    /// Lets at most `count` ids of the front bucket go, and the bucket if none is left.
    fn shed(&mut self, count: usize) -> usize {
        let Some(front) = self.buckets.front() else { return 0 };
        let until = front.ids.len().min(self.left + count);
        let gone = until - self.left;
        for index in self.left..until {
            let Some((hash, _)) = front.ids.get(index) else { continue };
            let Some(lane) = self.lanes.get_mut(lane(*hash)) else { continue };
            // Not if the id was stored again since.
            let is_this = |slot: &Slot| slot.bucket == self.first && slot.index as usize == index;
            if let Ok(slot) = lane.find_entry(spread(tag(*hash)), is_this) {
                slot.remove();
            }
        }
        self.left = until;
        if until == front.ids.len() {
            self.buckets.pop_front();
            (self.first, self.left) = (self.first.wrapping_add(1), 0);
        }
        if self.buckets.is_empty() {
            self.lanes = Vec::new();
        }
        gone
    }

    fn front_is(&self, is_old: &impl Fn(u64, u64) -> bool) -> bool {
        self.buckets.front().is_some_and(|bucket| is_old(self.window_ms, bucket.until_ms))
    }

    /// When the front bucket may leave, at the earliest.
    fn age(&self) -> Option<u64> {
        self.buckets.front().map(|bucket| bucket.since_ms.saturating_add(self.window_ms))
    }

    fn bucket(&self, number: u32) -> Option<&Bucket> {
        self.buckets.get(number.wrapping_sub(self.first) as usize)
    }

    fn id(&self, slot: &Slot) -> Option<&(u128, Seen)> {
        self.bucket(slot.bucket)?.ids.get(slot.index as usize)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
fn tag(hash: u128) -> u32 {
    hash as u32
}

fn lane(hash: u128) -> usize {
    (hash >> (128 - LANES.ilog2())) as usize
}

/// A table looks at the highest bits too.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::tests::random::Random;

    const HOUR: u64 = 3_600_000;

    fn store(ids: &mut MessageIds, n: u128, offset: u64, now_ms: u64) {
        let id = Identified { index: 0, hash: siphash128([0; 16], &n.to_le_bytes()), print: 7 };
        ids.store(1, offset, &[id], now_ms, |window_ms, at_ms| at_ms + window_ms < now_ms);
    }

    fn seen(ids: &MessageIds, n: u128, now_ms: u64) -> Option<u64> {
        let window = ids.window(1)?;
        let before_ms = now_ms.saturating_sub(window.window_ms);
        let seen = window.seen(siphash128([0; 16], &n.to_le_bytes()), before_ms);
        seen.map(|seen| seen.offset)
    }

    #[test]
    fn it_is_a_map_that_forgets() {
        let mut dice = Random::new();
        let mut ids = MessageIds::default();
        ids.set_window(1, HOUR);
        let mut map: BTreeMap<u128, (u64, u64)> = BTreeMap::new();
        let mut now_ms = 10 * HOUR;
        for offset in 0..60_000 {
            now_ms += dice.below(2_000);
            let n = u128::from(dice.below(6_000));
            let (last, at_ms) = map.get(&n).copied().unwrap_or_default();
            match seen(&ids, n, now_ms) {
                Some(found) => {
                    assert_eq!(found, last);
                    assert!(now_ms <= at_ms + HOUR + HOUR / BUCKETS, "{n} is kept too long");
                }
                None => {
                    assert!(at_ms + HOUR <= now_ms, "{n} is forgotten too soon");
                    store(&mut ids, n, offset, now_ms);
                    map.insert(n, (offset, now_ms));
                }
            }
        }
        assert!(ids.len() < 6_200, "{} are kept", ids.len());
        assert_eq!(ids.len(), ids.window(1).map_or(0, Window::len));
    }

    #[test]
    fn what_has_had_its_time_makes_room_although_nothing_new_came_before() {
        let mut ids = MessageIds { max: 100, ..MessageIds::default() };
        ids.set_window(1, HOUR);
        (0..100).for_each(|n| store(&mut ids, n, n as u64, 0));
        let is_old = |now_ms: u64| move |window_ms, at_ms| at_ms + window_ms < now_ms;
        ids.append(1, 100, Seen { offset: 100, print: 0 });
        assert!(!ids.has_room(is_old(HOUR)));
        assert!(ids.has_room(is_old(HOUR + 1)));
        ids.retract(1, 100, 100);
        store(&mut ids, 100, 100, HOUR + 1);
        assert!(ids.len() <= 100 - LEAVING_MIN + 1, "{}", ids.len());
    }

    #[test]
    fn a_window_that_is_taken_away_takes_its_ids_along() {
        let mut ids = MessageIds::default();
        ids.set_window(1, HOUR);
        (0..10).for_each(|n| store(&mut ids, n, 0, 0));
        ids.append(1, 5, Seen { offset: 9, print: 0 });
        ids.set_window(1, 0);
        assert_eq!((ids.len(), ids.pending, ids.ages.len()), (0, 0, 0));
        ids.set_window(1, HOUR);
        assert_eq!(seen(&ids, 3, 0), None);
    }
}
