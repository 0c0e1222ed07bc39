//! Admission of publishes to a queue or topic that remembers message ids.
//!
//! Each record is on its own: new ones are stored, one whose id was stored within the window is answered with
//! the place of that message, one whose id another message has is refused. Who asks for a batch a second time
//! is told the same again. A batch that is refused as a whole stores nothing.

use super::{GONE, check_expected};
use crate::shard::Shard;
use crate::shard::effects::{Identified, Offer, Refusal, StreamId, Taken};
use crate::shard::message_ids::{Seen, identify};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::response::{Fate, Outcomes};

/// The place of a message that is no longer known.
const UNKNOWN: u64 = u64::MAX;

impl Shard {
    /// The ids of a checked batch, if its queue or topic remembers ids.
    #[must_use]
    pub fn identify(&self, stream: StreamId, batch: &[u8]) -> Option<Vec<Identified>> {
        if self.message_ids.is_unused() || self.message_ids.window(stream).is_none() {
            return None;
        }
        Some(identify(self.message_ids.key?, batch))
    }

    /// LIMIT: ids that may be remembered; beyond it new ones are refused by name.
    pub fn limit_message_ids(&mut self, max: usize) {
        self.message_ids.max = max;
    }

    /// Whether the next window needs a key first.
    #[must_use]
    pub fn lacks_id_key(&self) -> bool {
        self.message_ids.key.is_none()
    }

    /// Ids that are remembered.
    #[must_use]
    pub fn message_id_count(&self) -> usize {
        self.message_ids.len()
    }

    /// What becomes of each record of this batch? Offsets of those to append are taken from now on.
    ///
    /// # Errors
    /// None of it may be appended.
    pub fn admit_with_ids(
        &mut self,
        offer: &Offer,
        ids: &[Identified],
        now_ms: u64,
    ) -> Result<Taken, Refusal> {
        let Offer { stream, producer, sequence, .. } = *offer;
        if self.streams.get(&stream).is_some_and(|stream| !stream.is_leaving)
            && producer != 0
            && let Some(place) = self.stored_before(producer, sequence)?
        {
            let outcomes = self.told_again(offer, ids, place, now_ms);
            return Ok(Taken { outcomes, base_offset: 0, stored: 0 });
        }
        let taken = self.take(offer, Some(ids), now_ms)?;
        if producer != 0 && taken.stored > 0 {
            self.producers.append(producer, sequence, (stream, taken.base_offset));
        }
        Ok(taken)
    }

    /// Takes offsets for the records of a batch that are new; without `ids` all are.
    pub(super) fn take(
        &mut self,
        offer: &Offer,
        ids: Option<&[Identified]>,
        now_ms: u64,
    ) -> Result<Taken, Refusal> {
        let Offer { stream, records, expects, .. } = *offer;
        let target = self.streams.get(&stream).filter(|stream| !stream.is_leaving);
        let base_offset = target.ok_or_else(|| Refusal::new(ErrorCode::NotFound, GONE))?.appended;
        if records == 0 || base_offset.checked_add(u64::from(records)).is_none() {
            let what = "a batch has at least one record";
            return Err(Refusal::new(ErrorCode::InvalidArgument, what));
        }
        let (outcomes, stored) = match ids {
            Some(ids) => self.sort_out(offer, ids, base_offset, now_ms),
            None => {
                let fate = Fate::Stored;
                (vec![Outcomes { target: stream, count: records, base_offset, fate }], records)
            }
        };
        let taken = Taken { outcomes, base_offset, stored };
        let end = base_offset + u64::from(stored);
        if stored > 0
            && let Err(refusal) = self.check_room_for(stream, end, expects, ids.is_some(), now_ms)
        {
            self.give_back(offer, ids.unwrap_or_default(), base_offset);
            return Err(refusal);
        }
        if let Some(target) = self.streams.get_mut(&stream) {
            target.appended = end;
        }
        Ok(taken)
    }

    /// Undoes [`Shard::take`], before anything else is admitted.
    pub(super) fn give_back(&mut self, offer: &Offer, ids: &[Identified], base_offset: u64) {
        if let Some(target) = self.streams.get_mut(&offer.stream) {
            target.appended = base_offset;
        }
        for id in ids {
            self.message_ids.retract(offer.stream, id.hash, base_offset);
        }
    }

    /// Finds out which records are new, and remembers their ids as appended from `base_offset` on.
    fn sort_out(
        &mut self,
        offer: &Offer,
        ids: &[Identified],
        base_offset: u64,
        now_ms: u64,
    ) -> (Vec<Outcomes>, u32) {
        let mut told = Told::new(offer.stream);
        let (mut rest, mut stored) = (ids.iter().peekable(), 0);
        for index in 0..offer.records {
            let offset = base_offset + u64::from(stored);
            let Some(id) = rest.next_if(|id| id.index == index) else {
                told.push(Fate::Stored, offset);
                stored += 1;
                continue;
            };
            match self.seen(offer.stream, id, now_ms) {
                Some(seen) if seen.print == id.print => told.push(Fate::Duplicate, seen.offset),
                Some(_another) => told.push(Fate::Conflict, 0),
                None => {
                    let seen = Seen { offset, print: id.print };
                    self.message_ids.append(offer.stream, id.hash, seen);
                    told.push(Fate::Stored, offset);
                    stored += 1;
                }
            }
        }
        (told.outcomes, stored)
    }

    /// A batch that was stored, perhaps in part: what its records were told then, as duplicates.
    pub(super) fn told_again(
        &self,
        offer: &Offer,
        ids: &[Identified],
        place: Option<(StreamId, u64)>,
        now_ms: u64,
    ) -> Vec<Outcomes> {
        let mut told = Told::new(place.map_or(offer.stream, |(stream, _)| stream));
        let mut rest = ids.iter().peekable();
        // Where the next record is that was stored with this batch, as long as that can be told.
        let mut next = place.map_or(UNKNOWN, |(_, base_offset)| base_offset);
        for index in 0..offer.records {
            let seen = rest
                .next_if(|id| id.index == index)
                .map(|id| (self.seen(told.target, id, now_ms), id.print));
            match seen {
                Some((Some(seen), print)) if seen.print != print => told.push(Fate::Conflict, 0),
                Some((Some(seen), _)) if seen.offset != next => {
                    told.push(Fate::Duplicate, seen.offset);
                }
                // Forgotten: nobody can tell any more whether it was stored with this batch.
                Some((None, _)) => {
                    next = UNKNOWN;
                    told.push(Fate::Duplicate, UNKNOWN);
                }
                Some((Some(_), _)) | None => {
                    told.push(Fate::Duplicate, next);
                    next = next.saturating_add(1);
                }
            }
        }
        told.outcomes
    }

    fn seen(&self, stream: StreamId, id: &Identified, now_ms: u64) -> Option<Seen> {
        let window = self.message_ids.window(stream)?;
        window.seen(id.hash, self.aging.older_than(window.window_ms, now_ms))
    }

    /// Whether the stream ends where it should, and it and the memory for ids have room for what was taken.
    fn check_room_for(
        &self,
        stream: StreamId,
        end: u64,
        expects: Option<u64>,
        has_ids: bool,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if let Some(target) = self.streams.get(&stream) {
            check_expected(target, expects)?;
            self.check_room(target, end)?;
        }
        let is_old = |window_ms, at_ms| at_ms < self.aging.older_than(window_ms, now_ms);
        if !has_ids || self.message_ids.has_room(is_old) {
            return Ok(());
        }
        let what = format!(
            "the broker remembers its limit of {} message ids and takes no new ones",
            self.message_ids.max
        );
        Err(Refusal::new(ErrorCode::IdsFull, what))
    }
}

/// What becomes of records, told in order.
struct Told {
    target: StreamId,
    outcomes: Vec<Outcomes>,
}

impl Told {
    fn new(target: StreamId) -> Told {
        Told { target, outcomes: Vec::new() }
    }

    fn push(&mut self, fate: Fate, offset: u64) {
        if let Some(last) = self.outcomes.last_mut()
            && last.fate == fate
            && match (fate, last.base_offset) {
                (Fate::Conflict, _) => true,
                (_, UNKNOWN) => offset == UNKNOWN,
                (_, base) => base.checked_add(u64::from(last.count)) == Some(offset),
            }
        {
            last.count += 1;
            return;
        }
        self.outcomes.push(Outcomes { target: self.target, count: 1, base_offset: offset, fate });
    }
}
