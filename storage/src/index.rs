//! [`RunIndex`]: where the runs of one segment lie, while it is being written.
//!
//! One entry per run, none per message. A sealed segment's index is the same table as bytes, see [`crate::footer`].

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::block::{Block, HEADER_BYTES, mix};

/// A map by stream id. The ids are dense numbers given by the broker, so a cheap mix is enough.
pub(crate) type StreamMap<V> = HashMap<u32, V, BuildHasherDefault<StreamHasher>>;

/// Hashes one `u32`.
#[derive(Debug, Default)]
pub(crate) struct StreamHasher(u64);

impl Hasher for StreamHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = mix(u64::from(value));
    }
}

/// One run: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunEntry {
    pub(crate) base_offset: u64,
    /// Of the run's header in the file.
    pub(crate) at: u32,
    /// Of its batches.
    pub(crate) len: u32,
}

/// One block: 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    pub(crate) at: u32,
    pub(crate) len: u32,
    pub(crate) index: u64,
    pub(crate) time_ms: u64,
}

/// The runs of one stream in one segment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct StreamRuns {
    pub(crate) runs: Vec<RunEntry>,
    /// After the last record.
    pub(crate) end_offset: u64,
    /// Of all batches.
    pub(crate) bytes: u64,
}

/// What one segment holds of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) seq: u32,
    pub(crate) first_offset: u64,
    pub(crate) end_offset: u64,
    pub(crate) bytes: u64,
}

/// Which run of a stream is looked for in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The last that begins at or before the offset, else the first: the one with the offset, or a neighbour of the gap it is in.
    At(u64),
    /// The first that begins after the offset.
    After(u64),
    /// The first in a block of this time or later.
    Since(u64),
}

/// Where to read a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) run: RunEntry,
    pub(crate) time_ms: u64,
}

/// The runs and blocks of one segment.
#[derive(Debug, Default)]
pub(crate) struct RunIndex {
    pub(crate) streams: StreamMap<StreamRuns>,
    pub(crate) blocks: Vec<BlockEntry>,
    runs: usize,
}

impl RunIndex {
    /// Takes in the next block of the segment.
    pub(crate) fn add(&mut self, block: &Block) {
        let at = block.lsn.offset();
        self.blocks.push(BlockEntry {
            at,
            len: block.end.offset() - at,
            index: block.index,
            time_ms: block.time_ms,
        });
        for span in &block.runs {
            let stream = self.streams.entry(span.stream).or_default();
            stream.runs.push(RunEntry {
                base_offset: span.base_offset,
                at: at + HEADER_BYTES as u32 + span.at,
                len: span.len,
            });
            stream.end_offset = span.end_offset();
            stream.bytes += u64::from(span.len);
        }
        self.runs += block.runs.len();
    }

    /// Looks for a run of a stream.
    pub(crate) fn find(&self, stream: u32, wanted: Wanted) -> Option<Place> {
        let runs = &self.streams.get(&stream)?.runs;
        let after = |offset| runs.partition_point(|run| run.base_offset <= offset);
        let number = match wanted {
            Wanted::At(offset) => after(offset).saturating_sub(1),
            Wanted::After(offset) => after(offset),
            Wanted::Since(time_ms) => {
                let block = self.blocks.partition_point(|block| block.time_ms < time_ms);
                let from = self.blocks.get(block)?.at;
                runs.partition_point(|run| run.at < from)
            }
        };
        runs.get(number).map(|run| self.place(*run))
    }

    fn place(&self, run: RunEntry) -> Place {
        let after = self.blocks.partition_point(|block| block.at <= run.at);
        let block = self.blocks.get(after.saturating_sub(1));
        Place { run, time_ms: block.map_or(0, |block| block.time_ms) }
    }

    /// The last block that ends at or before byte `end` of the segment.
    pub(crate) fn block_before(&self, end: u32) -> Option<BlockEntry> {
        let after = self.blocks.partition_point(|block| block.at + block.len <= end);
        self.blocks.get(after.checked_sub(1)?).copied()
    }

    /// What the segment holds of each stream.
    pub(crate) fn slices(&self, seq: u32) -> Vec<(u32, Slice)> {
        let slice = |runs: &StreamRuns| Slice {
            seq,
            first_offset: runs.runs.first().map_or(0, |run| run.base_offset),
            end_offset: runs.end_offset,
            bytes: runs.bytes,
        };
        let mut slices: Vec<_> = self.streams.iter().map(|(id, runs)| (*id, slice(runs))).collect();
        slices.sort_unstable_by_key(|(id, _)| *id);
        slices
    }

    /// How many runs, of how many streams, in how many blocks.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.runs, self.streams.len(), self.blocks.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn streams_that_follow_each_other_are_spread_over_the_table() {
        let hash = |stream: u32| BuildHasherDefault::<StreamHasher>::default().hash_one(stream);
        let slots: BTreeSet<u64> = (0..64).map(|stream| hash(stream) % 64).collect();
        assert!(slots.len() > 32, "{} of 64", slots.len());
        let of_bytes = |bytes: &[u8]| {
            let mut hasher = StreamHasher::default();
            hasher.write(bytes);
            hasher.finish()
        };
        assert_ne!(of_bytes(&[1, 2]), of_bytes(&[2, 1]));
        assert_ne!(of_bytes(&[1, 2]), of_bytes(&[1, 3]));
        assert_ne!(of_bytes(&[1, 2]), of_bytes(&[0, 2]));
    }
}
