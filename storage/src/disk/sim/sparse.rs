//! [`Sparse`]: the bytes of one simulated file, in shared chunks.
//!
//! A chunk that was never written costs nothing and reads as zero, so a large reservation is free; a clone shares all chunks
//! until one side writes, so a crash image of a small store is a few hundred reference counts.

use std::ops::Range;
use std::sync::Arc;

/// Bytes in a chunk: what is shared between clones and charged to the capacity.
pub(super) const CHUNK_BYTES: usize = 4_096;
/// Bytes in a sector: what a crash keeps, loses or tears.
pub(super) const SECTOR_BYTES: usize = 512;
/// LIMIT: the largest file; bounds the chunk table that one write at a far offset can ask for.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 30;

/// The bytes of one sector.
pub(super) type Sector = [u8; SECTOR_BYTES];
type Chunk = [u8; CHUNK_BYTES];

/// Bytes that are zero until written. Knows no length: reads go on as zeros for ever.
#[derive(Clone, Default)]
pub(super) struct Sparse {
    chunks: Vec<Option<Arc<Chunk>>>,
}

impl Sparse {
    pub(super) fn read(&self, mut buf: &mut [u8], mut offset: u64) {
        while !buf.is_empty() {
            let (index, within) = place(offset);
            let step = (CHUNK_BYTES - within).min(buf.len());
            let (now, later) = buf.split_at_mut(step);
            match self.chunks.get(index) {
                Some(Some(chunk)) => now.copy_from_slice(&chunk[within..within + step]),
                _ => now.fill(0),
            }
            buf = later;
            offset += step as u64;
        }
    }

    /// Writes all bytes; the caller has checked the end against [`FILE_BYTES_MAX`].
    pub(super) fn write(&mut self, mut bytes: &[u8], mut offset: u64) {
        while !bytes.is_empty() {
            let (index, within) = place(offset);
            let step = (CHUNK_BYTES - within).min(bytes.len());
            let (now, later) = bytes.split_at(step);
            if self.chunks.len() <= index {
                self.chunks.resize(index + 1, None);
            }
            let slot = &mut self.chunks[index];
            let chunk = Arc::make_mut(slot.get_or_insert_with(|| Arc::new([0; CHUNK_BYTES])));
            chunk[within..within + step].copy_from_slice(now);
            bytes = later;
            offset += step as u64;
        }
    }

    /// The first place from `offset` on in a chunk that is stored.
    pub(super) fn stored_from(&self, offset: u64) -> Option<u64> {
        let (index, _) = place(offset);
        let later = self.chunks.iter().skip(index).position(Option::is_some)?;
        Some(offset.max(((index + later) * CHUNK_BYTES) as u64))
    }

    /// Makes everything from `len` on zero again.
    pub(super) fn cut(&mut self, len: u64) {
        let (index, within) = place(len);
        if within > 0
            && let Some(Some(chunk)) = self.chunks.get_mut(index)
        {
            Arc::make_mut(chunk)[within..].fill(0);
        }
        self.chunks.truncate(index + usize::from(within > 0));
    }

    pub(super) fn sector(&self, number: u64) -> Sector {
        let mut sector = [0; SECTOR_BYTES];
        self.read(&mut sector, number * SECTOR_BYTES as u64);
        sector
    }

    /// How many chunks of the index range are stored.
    pub(super) fn stored(&self, range: Range<u64>) -> u64 {
        let end = to_index(range.end).min(self.chunks.len());
        let start = to_index(range.start).min(end);
        self.chunks[start..end].iter().flatten().count() as u64
    }
}

/// The indexes of the chunks that a byte range touches.
pub(super) fn chunks_of(bytes: Range<u64>) -> Range<u64> {
    bytes.start / CHUNK_BYTES as u64..bytes.end.div_ceil(CHUNK_BYTES as u64)
}

fn place(offset: u64) -> (usize, usize) {
    (to_index(offset / CHUNK_BYTES as u64), to_index(offset % CHUNK_BYTES as u64))
}

fn to_index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
