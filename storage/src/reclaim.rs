//! Which segments may go, and how far a stream may be trimmed. Pure: slices and floors in, decisions out.
//!
//! A slice is dead when all its offsets lie below the stream's floor (the first offset still needed). A segment is dead when
//! all its slices are. Nothing here looks at the age of a message: that is retention, which moves the floor.

use std::collections::{BTreeSet, VecDeque};

use crate::index::{Slice, StreamMap};

use crate::catalogue::StreamSlices;

/// The sealed segments below `before_seq` in which nothing is needed any more. A stream without a floor is gone.
pub(crate) fn dead_segments(
    streams: &StreamMap<StreamSlices>,
    segments: impl Iterator<Item = u32>,
    floors: &[(u32, u64)],
    before_seq: u32,
) -> BTreeSet<u32> {
    let mut dead: BTreeSet<u32> = segments.take_while(|seq| *seq < before_seq).collect();
    for (stream, floor) in floors {
        let Some(stream) = streams.get(stream) else { continue };
        // Slices are in offset order, so the needed ones are at the back.
        for slice in stream.slices.iter().rev() {
            if slice.end_offset <= *floor {
                break;
            }
            dead.remove(&slice.seq);
        }
    }
    dead
}

/// The end of the oldest slices that are whole sealed segments (below `active_seq`) and are too old (`is_old`), or beyond the
/// newest `bytes_max` bytes.
pub(crate) fn retention_floor(
    slices: &VecDeque<Slice>,
    bytes: u64,
    active_seq: u32,
    is_old: impl Fn(u32) -> bool,
    bytes_max: Option<u64>,
) -> Option<u64> {
    let mut floor = None;
    let mut left = bytes;
    for slice in slices {
        left -= slice.bytes;
        let beyond = bytes_max.is_some_and(|bytes_max| left >= bytes_max);
        if slice.seq >= active_seq || !(beyond || is_old(slice.seq)) {
            break;
        }
        floor = Some(slice.end_offset);
    }
    floor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(seq: u32, first_offset: u64, end_offset: u64) -> Slice {
        Slice { seq, first_offset, end_offset, bytes: (end_offset - first_offset) * 10 }
    }

    fn stream(slices: &[Slice]) -> StreamSlices {
        StreamSlices {
            slices: slices.iter().copied().collect(),
            bytes: slices.iter().map(|slice| slice.bytes).sum(),
        }
    }

    #[test]
    fn segment_with_one_needed_record_stays() {
        let mut streams = StreamMap::default();
        streams.insert(1, stream(&[slice(1, 0, 10), slice(2, 10, 20), slice(3, 20, 30)]));
        streams.insert(2, stream(&[slice(2, 0, 5)]));
        let dead = |floors: &[(u32, u64)]| {
            let dead = dead_segments(&streams, 1..=3, floors, 3);
            dead.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(dead(&[(1, 20), (2, 4)]), [1]);
        assert_eq!(dead(&[(1, 20), (2, 5)]), [1, 2]);
        assert_eq!(dead(&[(1, 9), (2, 5)]), [] as [u32; 0]);
        // A stream that is not listed is gone.
        assert_eq!(dead(&[(1, 20)]), [1, 2]);
        // What the checkpoint does not cover stays, needed or not.
        assert_eq!(dead(&[]), [1, 2]);
    }

    #[test]
    fn retention_goes_by_whole_sealed_slices() {
        let slices = stream(&[slice(1, 0, 10), slice(2, 10, 20), slice(3, 20, 30)]);
        let floor = |is_old: fn(u32) -> bool, bytes_max| {
            retention_floor(&slices.slices, slices.bytes, 3, is_old, bytes_max)
        };
        assert_eq!(floor(|_| false, None), None);
        assert_eq!(floor(|seq| seq == 1, None), Some(10));
        // The newest 150 bytes need slice 2 in full.
        assert_eq!(floor(|_| false, Some(150)), Some(10));
        assert_eq!(floor(|_| false, Some(100)), Some(20));
        // The active segment stays, however old.
        assert_eq!(floor(|_| true, Some(0)), Some(20));
    }
}
