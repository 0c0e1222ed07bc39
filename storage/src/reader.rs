//! [`LogReader`]: reads committed runs, from memory or from files.
//!
//! The way to a run leads through the catalogue, which knows committed blocks only. Every run read from a file is verified
//! before it is handed out: its checksum, its stream and its offset.

use std::sync::Arc;

use bytes::Bytes;

use crate::body::{RUN_HEADER_BYTES, Run, verify_run};
use crate::catalogue::Located;
use crate::error::{Damage, StorageError};
use crate::index::{Place, Slice, Wanted};
use crate::locks::read;
use crate::lsn::Lsn;
use crate::segment::Segment;
use crate::store::{Running, Store};

/// Reads what is committed. Cheap to clone, usable from every thread.
#[derive(Debug, Clone)]
pub struct LogReader {
    running: Arc<Running>,
}

/// Room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that the file system has left.
    pub free_bytes: u64,
    /// Bytes of all segment files.
    pub log_bytes: u64,
    /// False while what is left is kept for acknowledgements.
    pub publishes_allowed: bool,
    /// A commit waits for room; it goes on by itself when there is some.
    pub is_waited_for: bool,
}

impl LogReader {
    pub(crate) fn new(running: Arc<Running>) -> Self {
        Self { running }
    }

    fn store(&self) -> &Store {
        &self.running.store
    }

    /// The run with `offset`, or the next one after it, if it is in memory.
    #[must_use]
    pub fn tail(&self, stream: u32, offset: u64) -> Option<Run> {
        read(&self.store().tail).find(stream, offset)
    }

    /// The run with `offset`, or the next one after it. Blocks on the disk.
    ///
    /// *Errors*: [`StorageError::Damaged`] if the run with `offset` is there and its bytes are not what was written.
    pub fn read(&self, stream: u32, offset: u64) -> Result<Option<Run>, StorageError> {
        let mut from = offset;
        loop {
            let Some(slice) = read(&self.store().catalogue).slice(stream, from) else {
                return Ok(None);
            };
            if let Some(run) = self.read_in(slice, stream, offset)? {
                return Ok(Some(run));
            }
            // The offset lies in a gap at the end of this segment's slice.
            from = slice.end_offset.max(from + 1);
        }
    }

    /// The run with `offset`, or the next one, in the segment of `slice`.
    fn read_in(&self, slice: Slice, stream: u32, offset: u64) -> Result<Option<Run>, StorageError> {
        let from = offset.max(slice.first_offset);
        for wanted in [Wanted::At(from), Wanted::After(from)] {
            let found = self.find(slice.seq, stream, wanted)?;
            let Some(Found { segment, place, has_gaps }) = found else { continue };
            let Some(place) = place else {
                if has_gaps {
                    return Err(damaged(&segment, 0, 0, "the index of the segment has a gap here"));
                }
                continue;
            };
            if has_gaps && place.run.base_offset > from {
                let what = "the index of the segment has a gap here";
                return Err(damaged(&segment, 0, place.run.at, what));
            }
            let run = load(&segment, stream, place)?;
            if run.end_offset() > offset {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// The first offset of the first run that begins after `offset`: where to go on behind one that is damaged. Blocks on the
    /// disk.
    pub fn run_after(&self, stream: u32, offset: u64) -> Result<Option<u64>, StorageError> {
        let mut from = offset;
        loop {
            let Some(slice) = read(&self.store().catalogue).slice(stream, from) else {
                return Ok(None);
            };
            let found = self.find(slice.seq, stream, Wanted::After(offset))?;
            if let Some(place) = found.and_then(|found| found.place) {
                return Ok(Some(place.run.base_offset));
            }
            from = slice.end_offset.max(from + 1);
        }
    }

    /// The first offset of the first run that was accepted at `from_time_ms` or later. Blocks on the disk.
    pub fn run_time(&self, stream: u32, from_time_ms: u64) -> Result<Option<u64>, StorageError> {
        let late: Vec<u32> = {
            let catalogue = read(&self.store().catalogue);
            let is_late = |seq: &u32| {
                let entry = catalogue.segments.get(seq);
                entry.is_some_and(|entry| entry.last_time_ms >= from_time_ms)
            };
            let slices = catalogue.streams.get(&stream).map(|stream| &stream.slices);
            let seqs = slices.into_iter().flatten().map(|slice| slice.seq);
            seqs.filter(is_late).collect()
        };
        for seq in late {
            let found = self.find(seq, stream, Wanted::Since(from_time_ms))?;
            if let Some(place) = found.and_then(|found| found.place) {
                return Ok(Some(place.run.base_offset));
            }
        }
        Ok(None)
    }

    /// Bytes of the stream that the log holds.
    #[must_use]
    pub fn stream_bytes(&self, stream: u32) -> u64 {
        let catalogue = read(&self.store().catalogue);
        catalogue.streams.get(&stream).map_or(0, |stream| stream.bytes)
    }

    /// The end of what is committed.
    #[must_use]
    pub fn committed(&self) -> Lsn {
        self.store().progress.committed()
    }

    /// Room on the disk.
    #[must_use]
    pub fn space(&self) -> Space {
        let (free_bytes, log_bytes, publishes_allowed) = self.store().slots.space();
        let is_waited_for = self.store().slots.is_waited_for();
        Space { free_bytes, log_bytes, publishes_allowed, is_waited_for }
    }

    /// Where a run of one segment is. The segment in the answer keeps the file from being used again.
    fn find(&self, seq: u32, stream: u32, wanted: Wanted) -> Result<Option<Found>, StorageError> {
        let located = read(&self.store().catalogue).locate(seq, |index| index.find(stream, wanted));
        match located {
            None => Ok(None),
            Some(Located::Here { segment, place }) => {
                Ok(Some(Found { segment, place: Some(place), has_gaps: false }))
            }
            Some(Located::InFooter { id, end }) => {
                let sealed = self.store().sealed(&id, end)?;
                Ok(Some(Found {
                    segment: sealed.segment.clone(),
                    place: sealed.footer.find(stream, wanted),
                    has_gaps: sealed.has_gaps,
                }))
            }
        }
    }
}

/// Where a run was looked for.
struct Found {
    segment: Segment,
    place: Option<Place>,
    has_gaps: bool,
}

fn damaged(segment: &Segment, from: u32, to: u32, what: &'static str) -> StorageError {
    StorageError::Damaged(Box::new(Damage {
        path: segment.path.to_path_buf(),
        offset: u64::from(from),
        from: Lsn::new(segment.id.seq, from),
        to: Lsn::new(segment.id.seq, to),
        blocks: None,
        what,
    }))
}

/// Reads and verifies one run.
fn load(segment: &Segment, stream: u32, place: Place) -> Result<Run, StorageError> {
    let (at, len) = (place.run.at, RUN_HEADER_BYTES + place.run.len as usize);
    let damaged = |what| damaged(segment, at, at.saturating_add(place.run.len), what);
    if u64::from(at) + len as u64 > u64::from(segment.id.size) {
        return Err(damaged("the index points outside the segment"));
    }
    let bytes = Bytes::from(segment.read(at, len)?);
    verify_run(&bytes, stream, place.run.base_offset, place.time_ms)
        .ok_or_else(|| damaged("stored records are not what was written"))
}

#[cfg(test)]
mod tests;
