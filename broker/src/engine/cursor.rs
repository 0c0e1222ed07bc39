//! A place in a run: finds the batch of an offset and cuts what one consumer may get.
//!
//! Batches travel whole wherever the consumer's credit allows it; consecutive whole batches are
//! one slice of the block. Only when less than half of a batch is meant is it sliced, which costs
//! a new header and checksum.

use bytes::Bytes;
use posthaste_protocol::DecodeError;
use posthaste_protocol::batch::{BatchHeader, Seed, SliceCursor};
use posthaste_storage::Run;

/// Bytes after which a cut ends, so that consumers take turns.
const CUT_BYTES: usize = 128 << 10;

/// What one consumer gets of a run.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) base_offset: u64,
    pub(super) from: u32,
    pub(super) count: u32,
    pub(super) batches: Bytes,
}

/// A run and the batch in it that was cut last.
#[derive(Debug)]
pub(super) struct RunCursor {
    run: Run,
    seed: Seed,
    batch_base: u64,
    at: usize,
    /// The batch that is being handed out in slices.
    slicer: Option<(usize, SliceCursor)>,
}

impl RunCursor {
    pub(super) fn new(run: Run, seed: Seed) -> RunCursor {
        RunCursor { batch_base: run.base_offset, run, seed, at: 0, slicer: None }
    }

    pub(super) fn covers(&self, offset: u64) -> bool {
        let end = self.run.base_offset + u64::from(self.run.records);
        (self.run.base_offset..end).contains(&offset)
    }

    pub(super) fn time_ms(&self) -> u64 {
        self.run.time_ms
    }

    /// Cuts up to `messages` messages and about `bytes` bytes from `offset` on, at least one
    /// message. The cursor must cover `offset`.
    pub(super) fn cut(
        &mut self,
        offset: u64,
        messages: u64,
        bytes: u64,
    ) -> Result<Cut, DecodeError> {
        let header = self.find(offset)?;
        let skip = u32::try_from(offset - self.batch_base).unwrap_or(u32::MAX);
        let left = header.count - skip;
        if skip == 0 && u64::from(header.count) <= messages && fits(&header, bytes) {
            return self.cut_whole(&header, messages, bytes);
        }
        let share = bytes.saturating_mul(u64::from(header.count)) / u64::from(header.len).max(1);
        let count = u64::from(left).min(messages).min(share.max(1));
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let batch = self.run.batches.slice(self.at..self.at + header.len as usize);
        if u64::from(count) * 2 >= u64::from(header.count) {
            return Ok(Cut { base_offset: self.batch_base, from: skip, count, batches: batch });
        }
        let batches = self.slice(batch, skip, count)?;
        Ok(Cut { base_offset: offset, from: 0, count, batches })
    }

    fn slice(&mut self, batch: Bytes, from: u32, count: u32) -> Result<Bytes, DecodeError> {
        let at = self.at;
        if let Some((known, slicer)) = &mut self.slicer
            && *known == at
        {
            return slicer.slice(from, count);
        }
        let (_, slicer) = self.slicer.insert((at, SliceCursor::new(batch, self.seed)?));
        slicer.slice(from, count)
    }

    /// Moves to the batch that holds `offset`.
    fn find(&mut self, offset: u64) -> Result<BatchHeader, DecodeError> {
        if offset < self.batch_base {
            self.batch_base = self.run.base_offset;
            self.at = 0;
        }
        loop {
            let header = BatchHeader::peek(&self.run.batches[self.at..])?;
            let end = self.batch_base + u64::from(header.count);
            if offset < end {
                return Ok(header);
            }
            self.batch_base = end;
            self.at += header.len as usize;
        }
    }

    fn cut_whole(
        &mut self,
        first: &BatchHeader,
        messages: u64,
        bytes: u64,
    ) -> Result<Cut, DecodeError> {
        let (start, base_offset) = (self.at, self.batch_base);
        let mut count = first.count;
        let mut end = start + first.len as usize;
        while end < self.run.batches.len() && end - start < CUT_BYTES {
            let next = BatchHeader::peek(&self.run.batches[end..])?;
            let all = u64::from(count) + u64::from(next.count);
            let size = (end - start) as u64 + u64::from(next.len);
            if all > messages || size > bytes {
                break;
            }
            count += next.count;
            end += next.len as usize;
        }
        Ok(Cut { base_offset, from: 0, count, batches: self.run.batches.slice(start..end) })
    }
}

fn fits(header: &BatchHeader, bytes: u64) -> bool {
    u64::from(header.len) <= bytes
}
