//! [`Scanner`]: walks the blocks of one segment, and looks for what may stand behind a place that is not a block.
//!
//! It judges one block at a time (checksums, place, life of the file). What an invalid place means, a torn tail or damage, is
//! not decided here.

use bytes::Bytes;

use crate::block::{BLOCK_ALIGN, Block, BlockHeader, HEADER_BYTES, Seed};
use crate::body::{Buffer, recycled, run_spans, salvage_runs};
use crate::error::StorageError;
use crate::lsn::Lsn;
use crate::mutant::mutant;
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, read_full};

/// Bytes read at a time: several of the largest usual blocks, so that few are read twice at the seams.
const CHUNK_BYTES: u32 = 4 << 20;

/// What the disk is asked for while a chunk is looked at.
const AHEAD_BYTES: u64 = 8 << 20;

static ZEROS: [u8; BLOCK_ALIGN as usize] = [0; BLOCK_ALIGN as usize];

/// Walks the blocks of one segment up to `limit`.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    segment: &'a Segment,
    seed: Seed,
    at: u32,
    limit: u32,
    chunk: Bytes,
    chunk_at: u32,
}

/// What stands at one place.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole block; the scanner stands behind it.
    Block(Scanned),
    /// No whole block; the scanner stays.
    Bad(Bad),
    /// The limit.
    End,
}

/// A block whose checksums are good.
#[derive(Debug, Clone)]
pub(crate) struct Scanned {
    pub(crate) header: BlockHeader,
    /// Header and body as they are on disk.
    pub(crate) raw: Bytes,
}

/// A place without a whole block.
#[derive(Debug)]
pub(crate) struct Bad {
    pub(crate) what: &'static str,
    /// Bytes that a torn write of a block would have covered, as far as one can tell.
    pub(crate) torn_bytes: u32,
    /// A block of which only the body is bad.
    pub(crate) block: Option<Scanned>,
}

impl Scanned {
    pub(crate) fn body(&self) -> Bytes {
        self.raw.slice(HEADER_BYTES..)
    }

    /// The block with its table of runs.
    pub(crate) fn decode(&self) -> Result<Block, &'static str> {
        let body = self.body();
        let runs = run_spans(&body)?;
        let memory = body.len();
        Ok(Block::new(&self.header, body, runs, memory))
    }

    /// The block with those of its runs that are good by themselves.
    pub(crate) fn salvage(&self) -> Block {
        let body = self.body();
        let runs = salvage_runs(&body);
        let memory = body.len();
        Block::new(&self.header, body, runs, memory)
    }
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(segment: &'a Segment, limit: u32) -> Self {
        Self {
            segment,
            seed: segment.id.seed(),
            at: SEGMENT_HEADER_BYTES,
            limit,
            chunk: Bytes::new(),
            chunk_at: 0,
        }
    }

    /// Goes to a place that is known to be the start of a block.
    pub(crate) fn seek(&mut self, at: u32) {
        self.at = at;
    }

    /// Ends the walk at `end`.
    pub(crate) fn end_at(&mut self, end: u32) {
        (self.at, self.limit) = (end, end);
    }

    /// Where it stands.
    pub(crate) fn at(&self) -> u32 {
        self.at
    }

    pub(crate) fn next(&mut self) -> Result<Step, StorageError> {
        if self.at >= self.limit {
            return Ok(Step::End);
        }
        let front = self.bytes(self.at, HEADER_BYTES as u32)?;
        if front.iter().all(|byte| *byte == 0) && mutant("zeros-end-the-log") {
            return Ok(Step::End);
        }
        let Some(header) = BlockHeader::decode(&front, self.seed) else {
            return Ok(Step::Bad(no_header(&front, self.here())));
        };
        let bad = |what, block| {
            let torn_bytes = header.padded_len;
            Ok(Step::Bad(Bad { what, torn_bytes, block }))
        };
        if header.lsn != self.here() {
            return bad("a block of another place stands here", None);
        }
        if header.end().offset() > self.limit {
            return bad("a block is longer than its segment", None);
        }
        let len = HEADER_BYTES as u32 + header.body_len;
        let raw = self.bytes(self.at, len)?;
        if raw.len() < len as usize {
            return bad("the file ends inside a block", None);
        }
        if crc32fast::hash(&raw[HEADER_BYTES..]) != header.body_crc && !mutant("torn-block-kept") {
            let block = Scanned { header, raw };
            return bad("the checksum of a block's body is wrong", Some(block));
        }
        self.at = header.end().offset();
        Ok(Step::Block(Scanned { header, raw }))
    }

    /// Goes to the next whole block behind the bad place it stands at; false if there is none before the limit.
    pub(crate) fn skip_to_next(&mut self) -> Result<bool, StorageError> {
        loop {
            self.at = self.at.saturating_add(BLOCK_ALIGN as u32);
            match probe(self.segment, self.at, self.limit)? {
                None => {
                    self.at = self.limit;
                    return Ok(false);
                }
                Some(found) => self.at = found.first.offset(),
            }
            if let Step::Block(block) = self.next()? {
                self.at = block.header.lsn.offset();
                return Ok(true);
            }
        }
    }

    fn here(&self) -> Lsn {
        Lsn::new(self.segment.id.seq, self.at)
    }

    /// `len` bytes at `at`, fewer at the end of the file.
    fn bytes(&mut self, at: u32, len: u32) -> Result<Bytes, StorageError> {
        let chunk_end = u64::from(self.chunk_at) + self.chunk.len() as u64;
        let is_here = at >= self.chunk_at && u64::from(at) + u64::from(len) <= chunk_end;
        if !is_here {
            let wanted = len.max(CHUNK_BYTES).min(self.limit.saturating_sub(at)).max(len);
            // Gives the buffer back before the next is taken, so that the same one is used again.
            self.chunk = Bytes::new();
            let ahead = u64::from(at) + u64::from(wanted);
            let until = (ahead + AHEAD_BYTES).min(u64::from(self.limit));
            self.segment.file.expect(ahead..until);
            self.chunk = read_chunk(self.segment, at, wanted)?;
            self.chunk_at = at;
        }
        let start = (at - self.chunk_at) as usize;
        let end = (start + len as usize).min(self.chunk.len());
        Ok(self.chunk.slice(start.min(end)..end))
    }
}

/// What can be said of a place without a valid header.
fn no_header(front: &[u8], here: Lsn) -> Bad {
    let torn_bytes = match BlockHeader::claim(front) {
        Some((lsn, padded_len)) if lsn == here => padded_len.max(BLOCK_ALIGN as u32),
        _ => 0,
    };
    Bad { what: "no block stands here", torn_bytes, block: None }
}

fn read_chunk(segment: &Segment, at: u32, len: u32) -> Result<Bytes, StorageError> {
    let mut bytes = recycled();
    if bytes.capacity() < len as usize {
        // Fresh memory is zero already.
        bytes = vec![0; len as usize];
    }
    bytes.resize(len as usize, 0);
    let found = read_full(&*segment.file, &mut bytes, u64::from(at))
        .map_err(|cause| StorageError::io("read", &segment.path, u64::from(at), cause))?;
    bytes.truncate(found);
    Ok(Bytes::from_owner(Buffer::full(bytes)))
}

/// Evidence behind a bad place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The first valid header.
    pub(crate) first: Lsn,
    /// The highest place that a valid header calls durable.
    pub(crate) durable: Lsn,
}

/// Looks for valid headers of this life of the file at every sector of `from..to`. Ends at the first when that already says that
/// everything before it was durable, which is so for every block of this version.
pub(crate) fn probe(
    segment: &Segment,
    from: u32,
    to: u32,
) -> Result<Option<Evidence>, StorageError> {
    let seed = segment.id.seed();
    let found = sectors(segment, from, to, |at, sector| {
        let here = Lsn::new(segment.id.seq, at);
        BlockHeader::decode(sector, seed)
            .filter(|header| header.lsn == here)
            .map(|header| Evidence { first: here, durable: header.durable_lsn })
    })?;
    Ok(found)
}

/// Bytes of a torn write without its header: up to the last sector in `from..to` that is not zero, if zeros follow it. In a file
/// that was used before, old bytes follow and nothing can be said.
pub(crate) fn torn_extent(segment: &Segment, from: u32, to: u32) -> Result<u32, StorageError> {
    let len =
        segment.file.len().map_err(|cause| StorageError::io("look at", &segment.path, 0, cause))?;
    let to = to.min(u32::try_from(len).unwrap_or(u32::MAX));
    let mut end = from;
    let is_full = sectors(segment, from, to, |at, sector| {
        if sector != &ZEROS[..sector.len()] {
            end = at + BLOCK_ALIGN as u32;
        }
        None::<()>
    })?;
    debug_assert!(is_full.is_none(), "looks at every sector");
    Ok(if end < to { end - from } else { 0 })
}

/// Whether any sector of a file whose identity is lost looks like a block of a segment after `seq`. The OPEN block proves
/// nothing: torn, it was never followed by anything, and the file may since have been about to start another life.
pub(crate) fn claims_later_blocks(
    segment: &Segment,
    seq: u32,
    to: u32,
) -> Result<bool, StorageError> {
    let from = SEGMENT_HEADER_BYTES + BLOCK_ALIGN as u32;
    let found = sectors(segment, from, to, |at, sector| {
        let (lsn, _) = BlockHeader::claim(sector)?;
        (lsn.offset() == at && lsn.seq() > seq).then_some(())
    })?;
    Ok(found.is_some())
}

/// The first of the sectors in `from..to` that `look` finds something in. Passes over what was never written: in a segment of
/// which little is used, that is most of it.
fn sectors<T>(
    segment: &Segment,
    from: u32,
    to: u32,
    mut look: impl FnMut(u32, &[u8]) -> Option<T>,
) -> Result<Option<T>, StorageError> {
    let mut at = from;
    loop {
        at = written_from(segment, at)?;
        if at >= to {
            return Ok(None);
        }
        let chunk = read_chunk(segment, at, CHUNK_BYTES.min(to - at))?;
        if chunk.is_empty() {
            return Ok(None);
        }
        for sector in chunk.chunks(BLOCK_ALIGN as usize) {
            if let Some(found) = look(at, sector) {
                return Ok(Some(found));
            }
            at = at.saturating_add(BLOCK_ALIGN as u32);
        }
    }
}

/// The first sector from `at` on that may hold anything but zeros.
fn written_from(segment: &Segment, at: u32) -> Result<u32, StorageError> {
    let place = segment.file.data_from(u64::from(at)).map_err(|cause| {
        StorageError::io("look for data in", &segment.path, u64::from(at), cause)
    })?;
    let passed = u32::try_from(place).unwrap_or(u32::MAX).saturating_sub(at);
    Ok(at + passed / BLOCK_ALIGN as u32 * BLOCK_ALIGN as u32)
}

#[cfg(test)]
mod tests;
