//! [`Catalogue`]: which segments hold what of which stream.
//!
//! One [`Slice`] per segment and stream (32 bytes), in offset order, plus the segments themselves. Only committed blocks are in
//! it, so a reader that finds its way through the catalogue cannot see anything else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::block::Block;
use crate::index::{Place, RunIndex, Slice, StreamMap};
use crate::segment::{Segment, SegmentId};

/// Where the index of a segment is.
#[derive(Debug)]
pub(crate) enum Held {
    /// Here, and it grows.
    Growing(RunIndex),
    /// Here, until its footer is written.
    Frozen(Arc<RunIndex>),
    /// In the footer.
    Footer,
}

/// One segment of the log.
#[derive(Debug)]
pub(crate) struct SegmentEntry {
    pub(crate) id: Arc<SegmentId>,
    /// Kept open while the index is here.
    pub(crate) open: Option<Segment>,
    pub(crate) held: Held,
    /// The end of its blocks.
    pub(crate) end: u32,
    /// The time of the last block.
    pub(crate) last_time_ms: u64,
    /// Nothing in it was needed when the newest checkpoint was made.
    pub(crate) is_dead: bool,
    /// A restart ended it early; the unused rest can be given back.
    pub(crate) is_short: bool,
    pub(crate) file_len: u64,
}

/// What the log holds of one stream.
#[derive(Debug, Default)]
pub(crate) struct StreamSlices {
    pub(crate) slices: VecDeque<Slice>,
    pub(crate) bytes: u64,
}

/// All segments and streams.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    pub(crate) streams: StreamMap<StreamSlices>,
    pub(crate) segments: BTreeMap<u32, SegmentEntry>,
}

/// Where the search for a run goes on.
#[derive(Debug)]
pub(crate) enum Located {
    /// To the file.
    Here { segment: Segment, place: Place },
    /// To the footer of this segment, whose blocks end at `end`.
    InFooter { id: Arc<SegmentId>, end: u32 },
}

impl Catalogue {
    /// Adds a segment whose index is complete.
    pub(crate) fn add_segment(&mut self, entry: SegmentEntry, slices: &[(u32, Slice)]) {
        for (stream, slice) in slices {
            let slices = self.streams.entry(*stream).or_default();
            slices.bytes += slice.bytes;
            slices.slices.push_back(*slice);
        }
        self.segments.insert(entry.id.seq, entry);
    }

    /// Adds the next block of the newest segment; the bytes that its footer takes now.
    pub(crate) fn add_block(&mut self, block: &Block) -> u64 {
        let seq = block.lsn.seq();
        for span in &block.runs {
            let stream = self.streams.entry(span.stream).or_default();
            let bytes = u64::from(span.len);
            stream.bytes += bytes;
            match stream.slices.back_mut() {
                Some(slice) if slice.seq == seq => {
                    slice.end_offset = span.end_offset();
                    slice.bytes += bytes;
                }
                _ => stream.slices.push_back(Slice {
                    seq,
                    first_offset: span.base_offset,
                    end_offset: span.end_offset(),
                    bytes,
                }),
            }
        }
        let Some(entry) = self.segments.get_mut(&seq) else { return 0 };
        entry.end = block.end.offset();
        entry.last_time_ms = block.time_ms;
        let Held::Growing(index) = &mut entry.held else { return 0 };
        index.add(block);
        let (runs, streams, blocks) = index.counts();
        crate::footer::footer_bytes(runs, streams, blocks)
    }

    /// Ends the growth of a segment at `end`.
    pub(crate) fn freeze(&mut self, seq: u32, end: u32) {
        let Some(entry) = self.segments.get_mut(&seq) else { return };
        entry.end = end;
        if let Held::Growing(index) = &mut entry.held {
            entry.held = Held::Frozen(Arc::new(std::mem::take(index)));
        }
    }

    /// The slice with `offset`, or the next one of the stream.
    pub(crate) fn slice(&self, stream: u32, offset: u64) -> Option<Slice> {
        let slices = &self.streams.get(&stream)?.slices;
        let at = slices.partition_point(|slice| slice.end_offset <= offset);
        slices.get(at).copied()
    }

    /// The index of a segment, or the way to its footer. `find` looks into an index that is here.
    pub(crate) fn locate(
        &self,
        seq: u32,
        find: impl FnOnce(&RunIndex) -> Option<Place>,
    ) -> Option<Located> {
        let entry = self.segments.get(&seq)?;
        let index = match &entry.held {
            Held::Growing(index) => index,
            Held::Frozen(index) => index,
            Held::Footer => {
                return Some(Located::InFooter { id: Arc::clone(&entry.id), end: entry.end });
            }
        };
        let segment = entry.open.clone()?;
        find(index).map(|place| Located::Here { segment, place })
    }

    /// Takes segments out; whoever still reads them holds their ids.
    pub(crate) fn remove(&mut self, gone: &BTreeSet<u32>) -> Vec<SegmentEntry> {
        if gone.is_empty() {
            return Vec::new();
        }
        self.streams.retain(|_, stream| {
            let mut freed = 0;
            stream.slices.retain(|slice| {
                let keep = !gone.contains(&slice.seq);
                freed += if keep { 0 } else { slice.bytes };
                keep
            });
            stream.bytes -= freed;
            !stream.slices.is_empty()
        });
        gone.iter().filter_map(|seq| self.segments.remove(seq)).collect()
    }
}
