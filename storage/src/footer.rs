//! The footer: the run index of a sealed segment, as bytes right behind its last block. It is derived: if it is missing or
//! bad, the index is made again from the blocks.
//!
//! ```text
//!   0 magic "PHINDEX\1"   8 seq u32   12 data_end u32   16 salt u64   24 streams u32   28 runs u32   32 blocks u32
//!  36 len u32 (whole)    40 crc u32 (bytes 64..len)     44 zero       60 header crc u32 (bytes 0..60)
//!  64 streams x 40: stream u32, runs u32, first_offset u64, end_offset u64, bytes u64, first run u32, zero u32; by stream
//!     runs x 16: base_offset u64, at u32, len u32; by stream, then offset
//!     blocks x 24: at u32, len u32, index u64, time_ms u64; by place
//! ```
//!
//! Searched in place: loading a footer copies nothing into other tables.

use bytes::Bytes;

use crate::fields::{len_u32, put, u32_at, u64_at};
use crate::index::{BlockEntry, Place, RunEntry, RunIndex, Slice, Wanted};
use crate::segment::SegmentId;

/// Bytes of the footer's own header.
pub(crate) const FOOTER_HEADER_BYTES: usize = 64;
const STREAM_BYTES: usize = 40;
const RUN_BYTES: usize = 16;
const BLOCK_BYTES: usize = 24;
const MAGIC: [u8; 8] = *b"PHINDEX\x01";

/// The bytes that the footer of such an index takes.
pub(crate) fn footer_bytes(runs: usize, streams: usize, blocks: usize) -> u64 {
    (FOOTER_HEADER_BYTES + runs * RUN_BYTES + streams * STREAM_BYTES + blocks * BLOCK_BYTES) as u64
}

/// Encodes the index of a segment whose blocks end at `data_end`.
pub(crate) fn encode(index: &RunIndex, id: &SegmentId, data_end: u32) -> Vec<u8> {
    let (runs, streams, blocks) = index.counts();
    let len = footer_bytes(runs, streams, blocks) as usize;
    let mut out = Vec::with_capacity(len);
    out.resize(FOOTER_HEADER_BYTES, 0);
    let mut ids: Vec<u32> = index.streams.keys().copied().collect();
    ids.sort_unstable();
    let mut first_run = 0;
    for id in &ids {
        let stream = &index.streams[id];
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&len_u32(stream.runs.len()).to_le_bytes());
        let first_offset = stream.runs.first().map_or(0, |run| run.base_offset);
        out.extend_from_slice(&first_offset.to_le_bytes());
        out.extend_from_slice(&stream.end_offset.to_le_bytes());
        out.extend_from_slice(&stream.bytes.to_le_bytes());
        out.extend_from_slice(&len_u32(first_run).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        first_run += stream.runs.len();
    }
    for run in ids.iter().flat_map(|id| &index.streams[id].runs) {
        out.extend_from_slice(&run.base_offset.to_le_bytes());
        out.extend_from_slice(&run.at.to_le_bytes());
        out.extend_from_slice(&run.len.to_le_bytes());
    }
    for block in &index.blocks {
        out.extend_from_slice(&block.at.to_le_bytes());
        out.extend_from_slice(&block.len.to_le_bytes());
        out.extend_from_slice(&block.index.to_le_bytes());
        out.extend_from_slice(&block.time_ms.to_le_bytes());
    }
    debug_assert_eq!(out.len(), len, "the footer's size is known before it is made");
    put_header(&mut out, id, data_end, [streams, runs, blocks]);
    out
}

fn put_header(out: &mut [u8], id: &SegmentId, data_end: u32, counts: [usize; 3]) {
    put(out, 0, MAGIC);
    put(out, 8, id.seq.to_le_bytes());
    put(out, 12, data_end.to_le_bytes());
    put(out, 16, id.salt.to_le_bytes());
    for (at, count) in [24, 28, 32].into_iter().zip(counts) {
        put(out, at, len_u32(count).to_le_bytes());
    }
    let len = len_u32(out.len());
    put(out, 36, len.to_le_bytes());
    let crc = crc32fast::hash(&out[FOOTER_HEADER_BYTES..]);
    put(out, 40, crc.to_le_bytes());
    let header_crc = crc32fast::hash(&out[..60]);
    put(out, 60, header_crc.to_le_bytes());
}

/// The whole length that a footer's header declares, if it is the header of this segment's footer.
pub(crate) fn declared_len(header: &[u8], id: &SegmentId, data_end: u32) -> Option<usize> {
    let mine = header.len() >= FOOTER_HEADER_BYTES
        && header.starts_with(&MAGIC)
        && crc32fast::hash(&header[..60]) == u32_at(header, 60)
        && u32_at(header, 8) == id.seq
        && u32_at(header, 12) == data_end
        && u64_at(header, 16) == id.salt;
    let len = u32_at(header, 36);
    (mine && len <= id.size - data_end.min(id.size)).then_some(len as usize)
}

/// A sealed segment's index.
#[derive(Debug, Clone)]
pub(crate) struct Footer {
    bytes: Bytes,
    streams: usize,
    runs: usize,
    blocks: usize,
}

impl Footer {
    /// Checks and takes whole footer bytes.
    pub(crate) fn decode(bytes: Bytes, id: &SegmentId, data_end: u32) -> Option<Self> {
        let len = declared_len(&bytes, id, data_end)?;
        let [streams, runs, blocks] = [24, 28, 32].map(|at| u32_at(&bytes, at) as usize);
        let fits = len == bytes.len()
            && footer_bytes(runs, streams, blocks) == len as u64
            && crc32fast::hash(&bytes[FOOTER_HEADER_BYTES..]) == u32_at(&bytes, 40);
        fits.then_some(Self { bytes, streams, runs, blocks })
    }

    /// Memory it holds.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn stream_at(&self, number: usize) -> usize {
        FOOTER_HEADER_BYTES + number * STREAM_BYTES
    }

    fn run(&self, number: usize) -> RunEntry {
        let at = FOOTER_HEADER_BYTES + self.streams * STREAM_BYTES + number * RUN_BYTES;
        RunEntry {
            base_offset: u64_at(&self.bytes, at),
            at: u32_at(&self.bytes, at + 8),
            len: u32_at(&self.bytes, at + 12),
        }
    }

    fn block(&self, number: usize) -> BlockEntry {
        let tables = self.streams * STREAM_BYTES + self.runs * RUN_BYTES;
        let at = FOOTER_HEADER_BYTES + tables + number * BLOCK_BYTES;
        BlockEntry {
            at: u32_at(&self.bytes, at),
            len: u32_at(&self.bytes, at + 4),
            index: u64_at(&self.bytes, at + 8),
            time_ms: u64_at(&self.bytes, at + 16),
        }
    }

    /// The numbers of the stream's runs.
    fn runs_of(&self, stream: u32) -> Option<std::ops::Range<usize>> {
        let id = |number| u32_at(&self.bytes, self.stream_at(number));
        let number = partition_point(self.streams, |number| id(number) < stream);
        if number == self.streams || id(number) != stream {
            return None;
        }
        let at = self.stream_at(number);
        let first = u32_at(&self.bytes, at + 32) as usize;
        let end = first.saturating_add(u32_at(&self.bytes, at + 4) as usize);
        (end <= self.runs).then_some(first..end)
    }

    /// See [`RunIndex::find`].
    pub(crate) fn find(&self, stream: u32, wanted: Wanted) -> Option<Place> {
        let runs = self.runs_of(stream)?;
        let after = |offset| self.first_run(&runs, |run| run.base_offset > offset);
        let number = match wanted {
            Wanted::At(offset) => after(offset).saturating_sub(1).max(runs.start),
            Wanted::After(offset) => after(offset),
            Wanted::Since(time_ms) => {
                let early = |number| self.block(number).time_ms < time_ms;
                let block = partition_point(self.blocks, early);
                if block == self.blocks {
                    return None;
                }
                let from = self.block(block).at;
                self.first_run(&runs, |run| run.at >= from)
            }
        };
        (number < runs.end).then(|| self.place(self.run(number)))
    }

    fn first_run(&self, runs: &std::ops::Range<usize>, is: impl Fn(RunEntry) -> bool) -> usize {
        runs.start + partition_point(runs.len(), |number| !is(self.run(runs.start + number)))
    }

    fn place(&self, run: RunEntry) -> Place {
        let after = partition_point(self.blocks, |number| self.block(number).at <= run.at);
        let time_ms = after.checked_sub(1).map_or(0, |number| self.block(number).time_ms);
        Place { run, time_ms }
    }

    /// See [`RunIndex::block_before`].
    pub(crate) fn block_before(&self, end: u32) -> Option<BlockEntry> {
        let ends = |block: BlockEntry| block.at.saturating_add(block.len);
        let after = partition_point(self.blocks, |number| ends(self.block(number)) <= end);
        after.checked_sub(1).map(|number| self.block(number))
    }

    /// See [`RunIndex::slices`].
    pub(crate) fn slices(&self, seq: u32) -> Vec<(u32, Slice)> {
        let slice = |number| {
            let at = self.stream_at(number);
            let slice = Slice {
                seq,
                first_offset: u64_at(&self.bytes, at + 8),
                end_offset: u64_at(&self.bytes, at + 16),
                bytes: u64_at(&self.bytes, at + 24),
            };
            (u32_at(&self.bytes, at), slice)
        };
        (0..self.streams).map(slice).collect()
    }

    /// How many blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// The times of the first and the last block.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        let last = self.blocks.checked_sub(1)?;
        Some((self.block(0).time_ms, self.block(last).time_ms))
    }
}

/// The first of `0..count` for which `below` is false, as for slices.
fn partition_point(count: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from + (to - from) / 2;
        if below(middle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

#[cfg(test)]
mod tests;
