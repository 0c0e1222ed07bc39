//! [`LogWriter`]: the one place that appends.
//!
//! A commit is one vectored write and one `fdatasync`; when it returns, the block is durable and readers see it. The first
//! failed write or sync poisons the log: nothing is written until a restart. A commit that is refused for lack of space
//! before anything was written ([`StorageError::NoSpace`]) does not.

use std::io::IoSlice;
use std::sync::Arc;

use crate::block::{
    BEACON, BLOCK_ALIGN, Block, BlockHeader, OPEN, OPEN_BODY_BYTES, OpenMark, PAGE, ROLL, RollMark,
    SEAL, padded_len,
};
use crate::body::{Body, Buffer};
use crate::catalogue::{Held, SegmentEntry};
use crate::error::StorageError;
use crate::fields::{len_u32, round_up};
use crate::footer::{self, footer_bytes};
use crate::index::RunIndex;
use crate::locks::write;
use crate::lsn::Lsn;
use crate::mutant::mutant;
use crate::options::Options;
use crate::segment::{SEGMENT_HEADER_BYTES, Segment};
use crate::slots::{Room, Spare};
use crate::store::{Running, Store};
use crate::superblock::State;

mod commits;

pub use commits::{CommitHandle, Refused, spawn};

/// Kept free at the end of a segment for the ROLL or SEAL block.
const LAST_BLOCK_BYTES: u64 = BLOCK_ALIGN;
/// How far zeros are written behind a small block in space that was never written: to sync a place for the first time takes
/// the file system half as long again, and now and then a commit of its journal.
const ZEROS_AHEAD: u64 = 256 << 10;
static ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];

/// The end of the log: what the next block follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) chain: u64,
    pub(crate) time_ms: u64,
    pub(crate) epoch: u32,
}

impl Tip {
    /// The header of a local block at `lsn`: it repeats the index and chain of the last real one.
    fn local(&self, flags: u8, lsn: Lsn, durable_lsn: Lsn, body: &[u8]) -> BlockHeader {
        BlockHeader {
            flags,
            shard: 0,
            lsn,
            durable_lsn,
            epoch: self.epoch,
            padded_len: len_u32(padded_len(u64::from(lsn.offset()), body.len()) as usize),
            index: self.index,
            term: self.term,
            time_ms: self.time_ms,
            commit: self.index,
            chain: self.chain,
            entries: u32::from(!body.is_empty()),
            body_len: len_u32(body.len()),
            body_crc: crc32fast::hash(body),
        }
    }
}

/// Appends to the log. One owner; every call returns when the disk has it, or fails.
#[derive(Debug)]
pub struct LogWriter {
    running: Arc<Running>,
    active: Segment,
    /// Where the next block goes. Everything before is durable.
    at: u32,
    /// Up to here the active segment was written before, if only with zeros.
    written: u32,
    /// What the footer of the active segment takes so far.
    footer_bytes: u64,
    tip: Tip,
    /// The last real block has a later one that says it was durable.
    is_witnessed: bool,
}

impl LogWriter {
    pub(crate) fn new(running: Arc<Running>, spare: Spare, at: u32, tip: Tip) -> Self {
        let written = written(&spare, at, &running.store.options);
        Self {
            running,
            active: spare.segment,
            at,
            written,
            footer_bytes: footer_bytes(0, 0, 0),
            tip,
            is_witnessed: true,
        }
    }

    fn store(&self) -> &Store {
        &self.running.store
    }

    /// Makes one block durable and visible. `time_ms` is the broker's clock; a time before the last block's counts as that.
    ///
    /// *Durability*: when this returns Ok, `fdatasync` has returned.
    ///
    /// *Errors*: [`StorageError::NoSpace`] from before anything was written, and [`StorageError::TooLarge`], leave the log as
    /// it was. All others are final: whether the block is there is decided by the next start.
    pub fn commit(&mut self, time_ms: u64, mut body: Body) -> Result<Arc<Block>, StorageError> {
        self.make_room(&body)?;
        let lsn = self.here();
        let mut header = BlockHeader {
            flags: 0,
            shard: 0,
            lsn,
            durable_lsn: lsn,
            epoch: self.tip.epoch,
            padded_len: len_u32(padded_len(u64::from(self.at), body.len()) as usize),
            index: self.tip.index + 1,
            term: self.tip.term,
            time_ms: time_ms.max(if mutant("time-goes-back") { 0 } else { self.tip.time_ms }),
            commit: self.tip.index,
            chain: 0,
            entries: body.entries,
            body_len: len_u32(body.len()),
            body_crc: body.crc,
        };
        header.chain = header.chain_after(self.tip.chain);
        if mutant("visible-before-sync") {
            self.store().progress.advance(header.end(), 0);
        }
        self.append(&header, &mut body.buffer)?;
        self.tip.index = header.index;
        self.tip.chain = header.chain;
        self.tip.time_ms = header.time_ms;
        self.is_witnessed = false;
        let (bytes, memory) = body.buffer.freeze();
        let block = Arc::new(Block::new(&header, bytes, body.runs, memory));
        self.footer_bytes = self.running.store.publish(&block);
        Ok(block)
    }

    /// Sees to it that the body fits behind the end of the log. Refusals for lack of space leave all as it was.
    pub fn make_room(&mut self, body: &Body) -> Result<(), StorageError> {
        self.store().poison.check()?;
        self.check_size(body)?;
        if self.has_room(body.len(), body.runs.len()) { Ok(()) } else { self.roll() }
    }

    /// Writes a block without entries, so that the last real one has a later witness. Nothing to do if it has one. At the end of
    /// a segment the next one is opened instead; with no space for that, the witness waits for the next block.
    pub fn beacon(&mut self) -> Result<(), StorageError> {
        self.store().poison.check()?;
        if self.is_witnessed {
            return Ok(());
        }
        if !self.has_room(0, 0) {
            return self
                .roll()
                .or_else(|error| if error.is_no_space() { Ok(()) } else { Err(error) });
        }
        let header = self.tip.local(BEACON, self.here(), self.here(), &[]);
        self.append(&header, &mut Buffer::default())?;
        self.note_end();
        self.is_witnessed = true;
        Ok(())
    }

    /// Closes the log on purpose: the next start has nothing to look for.
    pub fn seal(mut self) -> Result<(), StorageError> {
        self.store().poison.check()?;
        let header = self.tip.local(BEACON | SEAL, self.here(), self.here(), &[]);
        let index = self.index_behind(header.end().offset());
        let body = &mut Buffer::default();
        write_block(&self.active, &header, body, Behind::Index(&index))
            .map_err(|error| self.store().poison.with(error))?;
        self.at = header.end().offset();
        self.note_end();
        let end = self.here();
        let sealed = self.store().write_superblock(|superblock| {
            superblock.state = State::Closed;
            superblock.durable_lsn = end;
        });
        sealed.map_err(|error| self.store().poison.with(error))
    }

    /// Ends the active segment at `end`; its index as bytes.
    fn index_behind(&self, end: u32) -> Vec<u8> {
        let mut catalogue = write(&self.store().catalogue);
        catalogue.freeze(self.active.id.seq, end);
        match catalogue.segments.get(&self.active.id.seq) {
            Some(SegmentEntry { held: Held::Frozen(index), .. }) => {
                footer::encode(index, &self.active.id, end)
            }
            _ => Vec::new(),
        }
    }

    fn here(&self) -> Lsn {
        Lsn::new(self.active.id.seq, self.at)
    }

    fn check_size(&self, body: &Body) -> Result<(), StorageError> {
        let options = &self.store().options;
        let bytes_max = options.block_bytes_max as usize;
        // It must fit into an empty segment of the smallest size, together with what every segment has.
        let start = u64::from(SEGMENT_HEADER_BYTES) + padded_len(0, OPEN_BODY_BYTES);
        let end = start + padded_len(start, body.len()) + LAST_BLOCK_BYTES;
        let runs = body.runs.len();
        let fits = end + 2 * footer_bytes(runs, runs, 1) <= u64::from(options.segment_bytes);
        if body.len() > bytes_max || !fits {
            return Err(StorageError::TooLarge { bytes: body.len(), bytes_max });
        }
        Ok(())
    }

    /// Whether a block with such a body, the last block of the segment and the footer fit behind `at`.
    fn has_room(&self, body_len: usize, runs: usize) -> bool {
        let at = u64::from(self.at);
        let footer = self.footer_bytes + footer_bytes(runs, runs, 1);
        at + padded_len(at, body_len) + LAST_BLOCK_BYTES + footer <= u64::from(self.active.id.size)
    }

    /// Writes and syncs one block at the end; an error is final.
    fn append(&mut self, header: &BlockHeader, body: &mut Buffer) -> Result<(), StorageError> {
        let until = self.zeros_until(header);
        write_block(&self.active, header, body, Behind::Zeros(until))
            .map_err(|error| self.store().poison.with(error))?;
        self.at = header.end().offset();
        self.written = self.written.max(until);
        Ok(())
    }

    /// Where the zeros behind a block end: at its page, which is then never read before it is written, or some pages on.
    fn zeros_until(&self, header: &BlockHeader) -> u32 {
        let end = u64::from(header.end().offset());
        let is_new = end > u64::from(self.written);
        let is_small = u64::from(header.padded_len) < ZEROS_AHEAD / 4;
        let until = round_up(end, if is_new && is_small { ZEROS_AHEAD } else { PAGE });
        u32::try_from(until).unwrap_or(u32::MAX).min(self.active.id.size)
    }

    /// Tells readers and the catalogue that local blocks follow the last real one.
    fn note_end(&self) {
        let store = self.store();
        if let Some(entry) = write(&store.catalogue).segments.get_mut(&self.active.id.seq) {
            entry.end = self.at;
        }
        store.progress.advance(self.here(), 0);
    }

    /// Goes on in the next segment.
    fn roll(&mut self) -> Result<(), StorageError> {
        let seq = self.active.id.seq;
        let spare = match self.store().slots.take(seq, Room::KeepReserve) {
            Ok(spare) => spare,
            Err(error) if error.is_no_space() => return Err(error),
            Err(error) => return Err(self.store().poison.with(error)),
        };
        let next = &spare.segment.id;
        let mark = RollMark { next_slot: next.slot, next_seq: next.seq, next_salt: next.salt };
        let body = mark.encode();
        let header = self.tip.local(ROLL, self.here(), self.here(), &body);
        // ORDER: OPEN is written after ROLL is durable, or a torn end of this segment would look like damage.
        self.append(&header, &mut Buffer::holding(&body))?;
        let end = self.at;
        let at = open_block(&spare.segment, &self.store().id, &self.tip, (seq, self.here()))
            .map_err(|error| self.store().poison.with(error))?;
        let store = Arc::clone(&self.running.store);
        {
            let mut catalogue = write(&store.catalogue);
            catalogue.freeze(seq, end);
            catalogue.segments.insert(spare.segment.id.seq, growing(&spare, at, self.tip.time_ms));
        }
        self.written = written(&spare, at, &store.options);
        self.active = spare.segment;
        self.at = at;
        self.footer_bytes = footer_bytes(0, 0, 0);
        self.is_witnessed = true;
        store.progress.advance(self.here(), 0);
        store.slots.wake();
        Ok(())
    }

    /// The end of what is durable.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.here()
    }
}

/// The entry of a segment that has just been opened.
pub(crate) fn growing(spare: &Spare, end: u32, time_ms: u64) -> SegmentEntry {
    SegmentEntry {
        id: Arc::clone(&spare.segment.id),
        open: Some(spare.segment.clone()),
        held: Held::Growing(RunIndex::default()),
        end,
        last_time_ms: time_ms,
        is_dead: false,
        is_short: false,
        file_len: u64::from(spare.segment.id.size),
    }
}

/// Writes and syncs the OPEN block of a segment; the place behind it. `before` is the segment before and the end of the log in it.
pub(crate) fn open_block(
    segment: &Segment,
    store: &[u8; 16],
    tip: &Tip,
    before: (u32, Lsn),
) -> Result<u32, StorageError> {
    let (prev_seq, prev_end) = before;
    let mark = OpenMark {
        store: *store,
        salt: segment.id.salt,
        slot: segment.id.slot,
        size: segment.id.size,
        prev_seq,
        prev_end,
    };
    let body = mark.encode();
    let lsn = Lsn::new(segment.id.seq, SEGMENT_HEADER_BYTES);
    let header = tip.local(OPEN, lsn, prev_end, &body);
    let end = header.end().offset();
    let page = round_up(u64::from(end), PAGE) as u32;
    write_block(segment, &header, &mut Buffer::holding(&body), Behind::Zeros(page))?;
    Ok(end)
}

/// Up to where a segment that is about to be filled counts as written.
fn written(spare: &Spare, at: u32, options: &Options) -> u32 {
    if spare.is_written || !options.prewrite { spare.segment.id.size } else { at }
}

/// What is written right behind a block, together with it.
#[derive(Debug, Clone, Copy)]
enum Behind<'a> {
    /// Zeros up to here: free space.
    Zeros(u32),
    /// The index of the segment that ends here.
    Index(&'a [u8]),
}

/// Writes and syncs one block, and what is to stand right behind it.
fn write_block(
    segment: &Segment,
    header: &BlockHeader,
    body: &mut Buffer,
    behind: Behind<'_>,
) -> Result<(), StorageError> {
    let at = header.lsn.offset();
    assert_eq!(header.lsn.seq(), segment.id.seq, "a block goes into the segment of its place");
    let end = header.end().offset();
    let (until, index) = match behind {
        Behind::Zeros(until) => (until.min(segment.id.size), &[][..]),
        Behind::Index(index) => (end, index),
    };
    body.framed(&header.encode(segment.id.seed()), header.padded_len as usize, |block| {
        let mut parts = vec![IoSlice::new(block)];
        let mut left = until.saturating_sub(end) as usize;
        while left > 0 {
            let zeros = &ZEROS[..left.min(ZEROS.len())];
            parts.push(IoSlice::new(zeros));
            left -= zeros.len();
        }
        if !index.is_empty() {
            parts.push(IoSlice::new(index));
        }
        segment.write_synced("append to", &parts, at)
    })
}

#[cfg(test)]
mod tests;
