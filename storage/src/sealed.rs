//! Sealed segments as readers see them: an open file and its footer, kept while they are used.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::disk::OpenMode;
use crate::error::StorageError;
use crate::footer::{self, FOOTER_HEADER_BYTES, Footer};
use crate::index::RunIndex;
use crate::locks::{lock, read};
use crate::recovery::scan::{Scanner, Step};
use crate::segment::{Segment, SegmentId};
use crate::store::Store;

/// LIMIT: files of sealed segments kept open.
const OPEN_MAX: usize = 128;

/// A sealed segment, open. Its `SegmentId` pins the file: it is not used again while somebody holds this.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) segment: Segment,
    pub(crate) footer: Footer,
    /// The index was made again and could not take in everything: an offset that it does not have was damaged.
    pub(crate) has_gaps: bool,
}

/// The sealed segments that were used last, within a limit of memory and files.
#[derive(Debug, Default)]
pub(crate) struct FooterCache {
    sealed: HashMap<u32, (Arc<Sealed>, u64)>,
    bytes: usize,
    clock: u64,
}

impl FooterCache {
    fn get(&mut self, seq: u32) -> Option<Arc<Sealed>> {
        self.clock += 1;
        let (sealed, used) = self.sealed.get_mut(&seq)?;
        *used = self.clock;
        Some(Arc::clone(sealed))
    }

    fn insert(&mut self, sealed: &Arc<Sealed>, bytes_max: usize) {
        self.clock += 1;
        self.bytes += sealed.footer.len();
        let seq = sealed.segment.id.seq;
        let before = self.sealed.insert(seq, (Arc::clone(sealed), self.clock));
        if let Some((before, _)) = before {
            self.bytes -= before.footer.len();
        }
        while (self.bytes > bytes_max || self.sealed.len() > OPEN_MAX) && self.sealed.len() > 1 {
            let oldest = self.sealed.iter().min_by_key(|(_, (_, used))| *used);
            let Some(seq) = oldest.map(|(seq, _)| *seq) else { break };
            self.remove(seq);
        }
    }

    pub(crate) fn remove(&mut self, seq: u32) {
        if let Some((sealed, _)) = self.sealed.remove(&seq) {
            self.bytes -= sealed.footer.len();
        }
    }
}

impl Store {
    /// The sealed segment `id`, whose blocks end at `end`.
    pub(crate) fn sealed(
        &self,
        id: &Arc<SegmentId>,
        end: u32,
    ) -> Result<Arc<Sealed>, StorageError> {
        if let Some(sealed) = lock(&self.footers).get(id.seq) {
            return Ok(sealed);
        }
        let segment = self.open_segment(id, OpenMode::Read)?;
        let sealed = Arc::new(load(segment, end)?);
        let mut footers = lock(&self.footers);
        // ORDER: look into the catalogue under the lock of the cache, because freeing a segment takes it out of the catalogue
        // first and of the cache second; else a freed segment could be pinned here for good.
        if read(&self.catalogue).segments.contains_key(&id.seq) {
            footers.insert(&sealed, self.options.footer_cache_bytes);
        }
        Ok(sealed)
    }

    /// Opens the file of a segment.
    pub(crate) fn open_segment(
        &self,
        id: &Arc<SegmentId>,
        mode: OpenMode,
    ) -> Result<Segment, StorageError> {
        let path = id.path(&self.places.log_dir);
        let file = self
            .disk
            .open(&path, mode)
            .map_err(|cause| StorageError::io("open", &path, 0, cause))?;
        Ok(Segment { id: Arc::clone(id), file, path: Arc::new(path) })
    }
}

/// A sealed segment with its footer from the file, or made again from the blocks.
fn load(segment: Segment, end: u32) -> Result<Sealed, StorageError> {
    if let Some(footer) = read_footer(&segment, end) {
        return Ok(Sealed { segment, footer, has_gaps: false });
    }
    let (index, has_gaps) = scan_index(&segment, end)?;
    let bytes = Bytes::from(footer::encode(&index, &segment.id, end));
    // The bytes were made a line above; only a segment with sizes from outside the format could be refused.
    let footer = Footer::decode(bytes, &segment.id, end).ok_or_else(|| {
        StorageError::damaged(&segment.path, u64::from(end), "the index does not fit")
    })?;
    Ok(Sealed { segment, footer, has_gaps })
}

/// The footer on disk, if it is whole. A read error counts as not whole: the index is derived.
pub(crate) fn read_footer(segment: &Segment, end: u32) -> Option<Footer> {
    let header = segment.read(end, FOOTER_HEADER_BYTES).ok()?;
    let len = footer::declared_len(&header, &segment.id, end)?;
    let bytes = segment.read(end, len).ok()?;
    Footer::decode(Bytes::from(bytes), &segment.id, end)
}

/// Indexes what is good in a sealed segment, and says whether something was not.
fn scan_index(segment: &Segment, end: u32) -> Result<(RunIndex, bool), StorageError> {
    let mut index = RunIndex::default();
    let mut has_gaps = false;
    let mut scanner = Scanner::new(segment, end);
    loop {
        match scanner.next()? {
            Step::End => return Ok((index, has_gaps)),
            Step::Block(block) => {
                if !block.header.is_local() {
                    index.add(&block.salvage());
                }
            }
            Step::Bad(bad) => {
                has_gaps = true;
                if let Some(block) = bad.block {
                    index.add(&block.salvage());
                }
                if !scanner.skip_to_next()? {
                    return Ok((index, has_gaps));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
