//! Cutting records out of a batch, for a delivery of which only a part is meant.

use super::record::{NOT_BEFORE, split_record};
use super::{ATTR_DELAYED, ATTR_SLICED, BatchHeader, HEADER, Seed};
use crate::error::{DecodeError, ErrorCode};
use bytes::{Bytes, BytesMut};

/// Cuts `count` records, from the one numbered `from` on, out of a batch: a batch of its own, marked
/// as sliced, with a fresh checksum. All records give the batch as it is.
///
/// The caller has verified the batch; damage would be sealed otherwise.
pub fn slice_batch(bytes: &[u8], seed: Seed, from: u32, count: u32) -> Result<Bytes, DecodeError> {
    let mut place = Place { index: 0, position: HEADER };
    let header = BatchHeader::peek(bytes)?;
    if from == 0 && count == header.count {
        return Ok(Bytes::copy_from_slice(bytes.get(..header.len as usize).unwrap_or_default()));
    }
    place.slice(bytes, &header, seed, from, count)
}

/// Packs the records of some ranges (first record, count) of a batch anew: a batch with the same producer,
/// sequence and time, marked as sliced, with a fresh checksum. The ranges are in order.
///
/// The caller has verified the batch; damage would be sealed otherwise.
pub fn pick_records(bytes: &[u8], seed: Seed, ranges: &[(u32, u32)]) -> Result<Bytes, DecodeError> {
    let header = BatchHeader::peek(bytes)?;
    let whole = bytes.get(..header.len as usize).unwrap_or_default();
    let mut place = Place { index: 0, position: HEADER };
    let mut picked = BytesMut::with_capacity(whole.len());
    picked.extend_from_slice(&[0; HEADER]);
    let (mut flags, mut count) = (0, 0);
    for (from, records) in ranges {
        let Some(skipped) = from.checked_sub(place.index) else {
            return Err(DecodeError::new(ErrorCode::InvalidArgument, 12, "ranges not in order"));
        };
        place.walk(whole, skipped)?;
        let start = place.position;
        flags |= place.walk(whole, *records)?;
        picked.extend_from_slice(whole.get(start..place.position).unwrap_or_default());
        count += records;
    }
    Ok(header.seal_slice(seed, flags, count, picked))
}

/// Cuts one slice after the other out of a batch, without walking over the same records again.
#[derive(Clone, Debug)]
pub struct SliceCursor {
    batch: Bytes,
    header: BatchHeader,
    seed: Seed,
    place: Place,
}

/// A record of the batch.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: u32,
    position: usize,
}

impl SliceCursor {
    /// A cursor at the first record of a verified batch.
    pub fn new(batch: Bytes, seed: Seed) -> Result<SliceCursor, DecodeError> {
        let header = BatchHeader::peek(&batch)?;
        let place = Place { index: 0, position: HEADER };
        Ok(SliceCursor { batch, header, seed, place })
    }

    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// As [`slice_batch`]. Going forward is cheap, going back walks from the start.
    pub fn slice(&mut self, from: u32, count: u32) -> Result<Bytes, DecodeError> {
        if from == 0 && count == self.header.count {
            return Ok(self.batch.slice(..(self.header.len as usize).min(self.batch.len())));
        }
        self.place.slice(&self.batch, &self.header, self.seed, from, count)
    }
}

impl BatchHeader {
    /// Seals records cut out of the batch of this header; `flags` are all of theirs.
    fn seal_slice(&self, seed: Seed, flags: u8, count: u32, mut slice: BytesMut) -> Bytes {
        let delayed = if flags & NOT_BEFORE == 0 { 0 } else { ATTR_DELAYED };
        let attrs = self.attrs & !ATTR_DELAYED | delayed | ATTR_SLICED;
        BatchHeader { attrs, count, ..*self }.seal(seed, &mut slice);
        slice.freeze()
    }
}

impl Place {
    fn slice(
        &mut self,
        bytes: &[u8],
        header: &BatchHeader,
        seed: Seed,
        from: u32,
        count: u32,
    ) -> Result<Bytes, DecodeError> {
        if count == 0 || from.checked_add(count).is_none_or(|until| until > header.count) {
            let what = "a slice with records that the batch does not have";
            return Err(DecodeError::new(ErrorCode::InvalidArgument, 12, what));
        }
        if from < self.index {
            *self = Place { index: 0, position: HEADER };
        }
        let whole = bytes.get(..header.len as usize).unwrap_or_default();
        self.walk(whole, from - self.index)?;
        let start = self.position;
        let flags = self.walk(whole, count)?;
        let records = whole.get(start..self.position).unwrap_or_default();

        let mut slice = BytesMut::with_capacity(HEADER + records.len());
        slice.extend_from_slice(&[0; HEADER]);
        slice.extend_from_slice(records);
        Ok(header.seal_slice(seed, flags, count, slice))
    }

    /// Goes over `count` records; gives all their flags.
    fn walk(&mut self, whole: &[u8], count: u32) -> Result<u8, DecodeError> {
        let mut rest = whole.get(self.position..).unwrap_or_default();
        let mut all_flags = 0;
        for _ in 0..count {
            let (flags, _, next) = split_record(rest, whole.len())?;
            all_flags |= flags;
            rest = next;
        }
        self.index += count;
        self.position = whole.len() - rest.len();
        Ok(all_flags)
    }
}
