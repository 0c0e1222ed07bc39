//! A checkpoint file: the state of the broker after everything below one place of the log, and which segments there are.
//!
//! ```text
//!   0 magic "PHCKPT\0\1"  8 versions (16 bytes)  24 store 16   40 generation u64  48 covered u64  56 index u64
//!  64 term u64           72 chain u64            80 time_ms u64 88 epoch u32      92 sections u32 96 zero
//! 128 sections: type u16, version u16, class u8 (1 replicated, 2 local), zero 3, len u64, crc u32, zero u32; content, padded to 8
//!     crc u32 of everything before it
//! type 1: the broker's state   type 2: the segments below the covered one, and their slices
//! ```

use std::path::Path;

use crate::error::StorageError;
use crate::fields::{bytes16_at, len_u32, put, round_up, u16_at, u32_at, u64_at};
use crate::format::{self, Versions};
use crate::index::Slice;
use crate::lsn::Lsn;
use crate::segment::SegmentId;
use crate::writer::Tip;

const MAGIC: [u8; 8] = *b"PHCKPT\0\x01";
const HEADER_BYTES: usize = 128;
const SECTION_BYTES: usize = 24;
const STATE: u16 = 1;
const SEGMENTS: u16 = 2;
const REPLICATED: u8 = 1;
const LOCAL: u8 = 2;
const SEGMENT_BYTES: usize = 48;
const SLICE_BYTES: usize = 32;
const IS_DEAD: u32 = 1;

/// What a checkpoint stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Coverage {
    pub(crate) store: [u8; 16],
    /// Counts checkpoints; also the file's name.
    pub(crate) generation: u64,
    pub(crate) covered: Lsn,
    /// The last block below `covered`.
    pub(crate) tip: Tip,
}

/// A segment as a checkpoint lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: SegmentId,
    pub(crate) end: u32,
    pub(crate) last_time_ms: u64,
    /// Nothing in it was needed: it may be gone when this checkpoint is used.
    pub(crate) is_dead: bool,
    pub(crate) slices: Vec<(u32, Slice)>,
}

/// A whole checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) coverage: Coverage,
    pub(crate) segments: Vec<Listed>,
    pub(crate) state: Vec<u8>,
}

/// The file name of a checkpoint.
pub(crate) fn file_name(generation: u64) -> String {
    format!("{generation:016x}.ckpt")
}

/// Whether a name is that of a checkpoint that was not finished.
pub(crate) fn is_temporary(name: &str) -> bool {
    let stem = name.strip_suffix(".tmp");
    stem.is_some_and(|stem| generation_of(&format!("{stem}.ckpt")).is_some())
}

/// The generation of a file name.
pub(crate) fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".ckpt")?;
    let generation = u64::from_str_radix(digits, 16).ok()?;
    (file_name(generation) == name).then_some(generation)
}

/// The bytes of a checkpoint file.
pub(crate) fn encode(coverage: &Coverage, segments: &[Listed], state: &[u8]) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    put(&mut out, 0, MAGIC);
    format::CURRENT.put(&mut out, 8);
    put(&mut out, 24, coverage.store);
    let tip = &coverage.tip;
    let fields =
        [coverage.generation, coverage.covered.0, tip.index, tip.term, tip.chain, tip.time_ms];
    for (field, at) in fields.into_iter().zip((40..).step_by(8)) {
        put(&mut out, at, field.to_le_bytes());
    }
    put(&mut out, 88, tip.epoch.to_le_bytes());
    put(&mut out, 92, 2_u32.to_le_bytes());
    section(&mut out, STATE, REPLICATED, |out| out.extend_from_slice(state));
    section(&mut out, SEGMENTS, LOCAL, |out| {
        segments.iter().for_each(|listed| put_listed(out, listed));
    });
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn section(out: &mut Vec<u8>, kind: u16, class: u8, content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.resize(at + SECTION_BYTES, 0);
    content(out);
    let start = at + SECTION_BYTES;
    let len = out.len() - start;
    let crc = crc32fast::hash(&out[start..]);
    put(out, at, kind.to_le_bytes());
    put(out, at + 2, 1_u16.to_le_bytes());
    out[at + 4] = class;
    put(out, at + 8, (len as u64).to_le_bytes());
    put(out, at + 16, crc.to_le_bytes());
    out.resize(round_up(out.len() as u64, 8) as usize, 0);
}

fn put_listed(out: &mut Vec<u8>, listed: &Listed) {
    let mut fixed = [0; SEGMENT_BYTES];
    put(&mut fixed, 0, listed.id.slot.to_le_bytes());
    put(&mut fixed, 4, listed.id.seq.to_le_bytes());
    put(&mut fixed, 8, listed.id.salt.to_le_bytes());
    put(&mut fixed, 16, listed.id.size.to_le_bytes());
    put(&mut fixed, 20, listed.end.to_le_bytes());
    put(&mut fixed, 24, listed.last_time_ms.to_le_bytes());
    put(&mut fixed, 32, if listed.is_dead { IS_DEAD } else { 0 }.to_le_bytes());
    put(&mut fixed, 36, len_u32(listed.slices.len()).to_le_bytes());
    out.extend_from_slice(&fixed);
    for (stream, slice) in &listed.slices {
        let mut fixed = [0; SLICE_BYTES];
        put(&mut fixed, 0, stream.to_le_bytes());
        put(&mut fixed, 8, slice.first_offset.to_le_bytes());
        put(&mut fixed, 16, slice.end_offset.to_le_bytes());
        put(&mut fixed, 24, slice.bytes.to_le_bytes());
        out.extend_from_slice(&fixed);
    }
}

/// Reads a checkpoint file's bytes. `None` if it is not a whole checkpoint of this store under this name.
///
/// *Errors*: a checkpoint of a newer format.
pub(crate) fn decode(
    bytes: &[u8],
    store: &[u8; 16],
    path: &Path,
) -> Result<Option<Checkpoint>, StorageError> {
    let Some(crc_at) = bytes.len().checked_sub(4).filter(|at| *at >= HEADER_BYTES) else {
        return Ok(None);
    };
    let (content, crc) = bytes.split_at(crc_at);
    if !content.starts_with(&MAGIC) || crc32fast::hash(content) != u32_at(crc, 0) {
        return Ok(None);
    }
    Versions::at(content, 8).check(path)?;
    let coverage = Coverage {
        store: bytes16_at(content, 24),
        generation: u64_at(content, 40),
        covered: Lsn(u64_at(content, 48)),
        tip: Tip {
            index: u64_at(content, 56),
            term: u64_at(content, 64),
            chain: u64_at(content, 72),
            time_ms: u64_at(content, 80),
            epoch: u32_at(content, 88),
        },
    };
    if coverage.store != *store {
        return Ok(None);
    }
    let sections = sections(content, u32_at(content, 92));
    let found = |kind| sections.iter().flatten().find(|(found, _)| *found == kind);
    let (Some((_, state)), Some((_, segments))) = (found(STATE), found(SEGMENTS)) else {
        return Ok(None);
    };
    Ok(listed(segments).map(|segments| Checkpoint { coverage, segments, state: state.to_vec() }))
}

/// The sections, each with its type. `None` if one is not whole.
fn sections(content: &[u8], count: u32) -> Option<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    let mut at = HEADER_BYTES;
    for _ in 0..count {
        let header = content.get(at..at.checked_add(SECTION_BYTES)?)?;
        let start = at + SECTION_BYTES;
        let end = start.checked_add(usize::try_from(u64_at(header, 8)).ok()?)?;
        let section = content.get(start..end)?;
        if crc32fast::hash(section) != u32_at(header, 16) {
            return None;
        }
        found.push((u16_at(header, 0), section));
        at = round_up(end as u64, 8) as usize;
    }
    Some(found)
}

fn listed(mut bytes: &[u8]) -> Option<Vec<Listed>> {
    let mut segments = Vec::new();
    while !bytes.is_empty() {
        let (fixed, rest) = bytes.split_at_checked(SEGMENT_BYTES)?;
        let id = SegmentId {
            slot: u32_at(fixed, 0),
            seq: u32_at(fixed, 4),
            salt: u64_at(fixed, 8),
            size: u32_at(fixed, 16),
        };
        let slices_len = (u32_at(fixed, 36) as usize).checked_mul(SLICE_BYTES)?;
        let (slices, rest) = rest.split_at_checked(slices_len)?;
        let slice = |bytes: &[u8]| {
            let slice = Slice {
                seq: id.seq,
                first_offset: u64_at(bytes, 8),
                end_offset: u64_at(bytes, 16),
                bytes: u64_at(bytes, 24),
            };
            (u32_at(bytes, 0), slice)
        };
        segments.push(Listed {
            end: u32_at(fixed, 20),
            last_time_ms: u64_at(fixed, 24),
            is_dead: u32_at(fixed, 32) & IS_DEAD != 0,
            slices: slices.chunks(SLICE_BYTES).map(slice).collect(),
            id,
        });
        bytes = rest;
    }
    Some(segments)
}

#[cfg(test)]
mod tests;
