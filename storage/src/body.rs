//! The body of a block: entries, each 8-byte aligned. This file knows the bytes of an entry.
//!
//! ```text
//! prefix  0 type u8   1 flags u8 (1 = refuse if the type is unknown)   2 aux u16   4 len u32 (after the prefix)
//! run     8 stream u32   12 records u32   16 base_offset u64   24 batches u32   28 crc u32   32 batches, verbatim
//! command 8 payload (aux = kind)
//! ```
//!
//! The `crc` of a run covers its bytes 8..28 and its batches, so that one run can be read and verified without the rest of
//! its block. Both checksums are made while the bytes are copied in; committing does not touch them again.

use bytes::Bytes;
use crc32fast::Hasher;

use crate::error::StorageError;
use crate::fields::{len_u32, put, round_up, u16_at, u32_at, u64_at};
use crate::lsn::Lsn;
use crate::mutant::mutant;

mod pool;

pub(crate) use pool::{Buffer, recycled, release};

/// Bytes of an entry prefix.
const PREFIX_BYTES: usize = 8;
/// Bytes of a run before its batches, the prefix included.
pub(crate) const RUN_HEADER_BYTES: usize = 32;
const ENTRY_ALIGN: u64 = 8;

const RUN: u8 = 1;
const COMMAND: u8 = 2;
/// The entry of an OPEN block.
pub(crate) const OPEN_MARK: u8 = 3;
/// The entry of a ROLL block.
pub(crate) const ROLL_MARK: u8 = 4;
/// Entry flag: a reader that does not know the type must not go on.
const MUST_UNDERSTAND: u8 = 1;

/// Below this, hashing twice is cheaper than joining two checksums.
const COMBINE_FROM: usize = 4096;

/// Consecutive records of one stream in one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The stream.
    pub stream: u32,
    /// The offset of its first record.
    pub base_offset: u64,
    /// How many records.
    pub records: u32,
    /// The producers' batches, one after another, as they came.
    pub batches: Bytes,
    /// When the broker accepted them.
    pub time_ms: u64,
}

impl Run {
    /// The offset right after its last record.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.base_offset.saturating_add(u64::from(self.records))
    }
}

/// One entry of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Records.
    Run(Run),
    /// A command of the state machine.
    Command {
        /// Which; the numbers belong to the state machine.
        kind: u8,
        /// Its fields.
        payload: Bytes,
    },
}

/// Where a run lies in its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunSpan {
    pub(crate) stream: u32,
    pub(crate) records: u32,
    pub(crate) base_offset: u64,
    /// Of its header in the body.
    pub(crate) at: u32,
    /// Of its batches.
    pub(crate) len: u32,
}

impl RunSpan {
    pub(crate) fn end_offset(&self) -> u64 {
        self.base_offset.saturating_add(u64::from(self.records))
    }
}

/// Collects the entries of one block.
#[derive(Debug, Default)]
pub struct BodyBuilder {
    buffer: Buffer,
    runs: Vec<RunSpan>,
    entries: u32,
    crc: Hasher,
}

impl BodyBuilder {
    /// An empty body, in a recycled buffer if there is one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds consecutive records of one stream: `records` of them, in `batches`, the first at `base_offset`.
    pub fn run(&mut self, stream: u32, base_offset: u64, records: u32, batches: &[Bytes]) {
        let len: usize = batches.iter().map(Bytes::len).sum();
        let mut header = [0; RUN_HEADER_BYTES];
        header[0] = RUN;
        header[1] = MUST_UNDERSTAND;
        put(&mut header, 4, len_u32(len + RUN_HEADER_BYTES - PREFIX_BYTES).to_le_bytes());
        put(&mut header, 8, stream.to_le_bytes());
        put(&mut header, 12, records.to_le_bytes());
        put(&mut header, 16, base_offset.to_le_bytes());
        put(&mut header, 24, len_u32(batches.len()).to_le_bytes());

        let at = self.buffer.len();
        let end = round_up((at + RUN_HEADER_BYTES + len) as u64, ENTRY_ALIGN) as usize;
        let (bytes, start) = self.buffer.open();
        bytes.reserve(end - at);
        bytes.extend_from_slice(&header);
        for batch in batches {
            bytes.extend_from_slice(batch);
        }
        bytes.resize(start + end, 0);
        let payload = at + RUN_HEADER_BYTES..at + RUN_HEADER_BYTES + len;
        self.seal_run(at, payload, end);
        self.runs.push(RunSpan {
            stream,
            records,
            base_offset,
            at: len_u32(at),
            len: len_u32(len),
        });
        self.entries += 1;
    }

    /// Fills in the checksum of the run at `at` and takes the whole entry into the checksum of the body.
    fn seal_run(&mut self, at: usize, payload: std::ops::Range<usize>, end: usize) {
        let (bytes, start) = self.buffer.open();
        let bytes = &mut bytes[start..];
        let mut run_crc = Hasher::new();
        run_crc.update(&bytes[at + 8..at + 28]);
        if payload.len() < COMBINE_FROM {
            run_crc.update(&bytes[payload]);
            put(bytes, at + 28, run_crc.finalize().to_le_bytes());
            self.crc.update(&bytes[at..end]);
        } else {
            let mut payload_crc = Hasher::new();
            payload_crc.update(&bytes[payload.clone()]);
            run_crc.combine(&payload_crc);
            put(bytes, at + 28, run_crc.finalize().to_le_bytes());
            self.crc.update(&bytes[at..payload.start]);
            self.crc.combine(&payload_crc);
            self.crc.update(&bytes[payload.end..end]);
        }
    }

    /// Adds a command of the state machine.
    pub fn command(&mut self, kind: u8, payload: &[u8]) {
        let mut prefix = [0; PREFIX_BYTES];
        prefix[0] = COMMAND;
        prefix[1] = MUST_UNDERSTAND;
        put(&mut prefix, 2, u16::from(kind).to_le_bytes());
        put(&mut prefix, 4, len_u32(payload.len()).to_le_bytes());
        let at = self.buffer.len();
        let end = round_up((at + PREFIX_BYTES + payload.len()) as u64, ENTRY_ALIGN) as usize;
        let (bytes, start) = self.buffer.open();
        bytes.reserve(end - at);
        bytes.extend_from_slice(&prefix);
        bytes.extend_from_slice(payload);
        bytes.resize(start + end, 0);
        self.crc.update(&bytes[start + at..]);
        self.entries += 1;
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is no entry yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The bytes that a run adds to a body, to keep it within a limit.
    #[must_use]
    pub fn run_bytes(batches_len: usize) -> usize {
        round_up((RUN_HEADER_BYTES + batches_len) as u64, ENTRY_ALIGN) as usize
    }

    /// The bytes that a command adds to a body.
    #[must_use]
    pub fn command_bytes(payload_len: usize) -> usize {
        round_up((PREFIX_BYTES + payload_len) as u64, ENTRY_ALIGN) as usize
    }

    /// Closes the body.
    #[must_use]
    pub fn finish(self) -> Body {
        Body {
            buffer: self.buffer,
            runs: self.runs,
            entries: self.entries,
            crc: self.crc.finalize(),
        }
    }
}

/// The entries of one block, ready to be committed.
#[derive(Debug)]
pub struct Body {
    pub(crate) buffer: Buffer,
    pub(crate) runs: Vec<RunSpan>,
    pub(crate) entries: u32,
    pub(crate) crc: u32,
}

impl Body {
    /// How many runs and commands it has.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Bytes of the body.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

/// Iterates over the entries of a block.
#[derive(Debug, Clone)]
pub struct Entries {
    body: Bytes,
    at: usize,
    time_ms: u64,
    lsn: Lsn,
}

impl Entries {
    pub(crate) fn new(body: Bytes, time_ms: u64, lsn: Lsn) -> Self {
        Self { body, at: 0, time_ms, lsn }
    }

    /// The next entry of a known type, and where it stands.
    fn advance(&mut self) -> Result<Option<(usize, Entry)>, &'static str> {
        while self.at < self.body.len() {
            let at = self.at;
            let len = u32_at(&self.body, at + 4) as usize;
            let start = at + PREFIX_BYTES;
            let end = start + len;
            if end > self.body.len() {
                return Err("an entry is longer than its block");
            }
            self.at = round_up(end as u64, ENTRY_ALIGN) as usize;
            match self.body[at] {
                RUN => return self.run(at, end).map(|run| Some((at, Entry::Run(run)))),
                COMMAND => {
                    let kind = u8::try_from(u16_at(&self.body, at + 2))
                        .map_err(|_wide| "a command kind is over 255")?;
                    let payload = self.body.slice(start..end);
                    return Ok(Some((at, Entry::Command { kind, payload })));
                }
                _ if self.body[at + 1] & MUST_UNDERSTAND == 0 => {}
                _ => return Err("an entry has a type that this program does not know"),
            }
        }
        Ok(None)
    }

    fn run(&self, at: usize, end: usize) -> Result<Run, &'static str> {
        if end < at + RUN_HEADER_BYTES {
            return Err("a run is shorter than its header");
        }
        Ok(Run {
            stream: u32_at(&self.body, at + 8),
            base_offset: u64_at(&self.body, at + 16),
            records: u32_at(&self.body, at + 12),
            batches: self.body.slice(at + RUN_HEADER_BYTES..end),
            time_ms: self.time_ms,
        })
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(found) => found.map(|(_, entry)| Ok(entry)),
            Err(what) => {
                self.at = self.body.len();
                let mut error = StorageError::damaged(std::path::Path::new("log"), 0, what);
                if let StorageError::Damaged(damage) = &mut error {
                    damage.offset = u64::from(self.lsn.offset());
                    (damage.from, damage.to) = (self.lsn, self.lsn);
                }
                Some(Err(error))
            }
        }
    }
}

/// The runs of a body whose checksum was good.
pub(crate) fn run_spans(body: &Bytes) -> Result<Vec<RunSpan>, &'static str> {
    let mut spans = Vec::new();
    let mut entries = Entries::new(body.clone(), 0, Lsn::ZERO);
    while let Some((at, entry)) = entries.advance()? {
        if let Entry::Run(run) = entry {
            spans.push(span_of(&run, at));
        }
    }
    Ok(spans)
}

/// The runs that are good by themselves in a body whose checksum was not, as far as the entries can be followed.
pub(crate) fn salvage_runs(body: &Bytes) -> Vec<RunSpan> {
    let mut spans = Vec::new();
    let mut entries = Entries::new(body.clone(), 0, Lsn::ZERO);
    while let Ok(Some((at, entry))) = entries.advance() {
        if let Entry::Run(run) = entry {
            let bytes = body.slice(at..at + RUN_HEADER_BYTES + run.batches.len());
            if verify_run(&bytes, run.stream, run.base_offset, 0).is_some() {
                spans.push(span_of(&run, at));
            }
        }
    }
    spans
}

fn span_of(run: &Run, at: usize) -> RunSpan {
    RunSpan {
        stream: run.stream,
        records: run.records,
        base_offset: run.base_offset,
        at: len_u32(at),
        len: len_u32(run.batches.len()),
    }
}

/// The batches of the run in `bytes` (its header first), if it is the expected one and its checksum is good.
pub(crate) fn verify_run(
    bytes: &Bytes,
    stream: u32,
    base_offset: u64,
    time_ms: u64,
) -> Option<Run> {
    // The checksum begins behind the prefix.
    if bytes.len() < RUN_HEADER_BYTES || bytes[..4] != [RUN, MUST_UNDERSTAND, 0, 0] {
        return None;
    }
    let len = u32_at(bytes, 4) as usize;
    if PREFIX_BYTES + len != bytes.len() {
        return None;
    }
    let mut crc = Hasher::new();
    crc.update(&bytes[8..28]);
    crc.update(&bytes[RUN_HEADER_BYTES..]);
    let run = Run {
        stream: u32_at(bytes, 8),
        base_offset: u64_at(bytes, 16),
        records: u32_at(bytes, 12),
        batches: bytes.slice(RUN_HEADER_BYTES..),
        time_ms,
    };
    let good = (crc.finalize() == u32_at(bytes, 28) || mutant("read-path-unchecked"))
        && run.stream == stream
        && run.base_offset == base_offset;
    good.then_some(run)
}

#[cfg(test)]
mod tests;
