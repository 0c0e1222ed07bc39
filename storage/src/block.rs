//! The block: one group commit on disk, and later one consensus entry. This file knows the header's bytes.
//!
//! ```text
//!   0 magic u32 "PHBK"   4 version u8   5 flags u8   6 shard u16   8 lsn u64        16 durable_lsn u64
//!  24 epoch u32         28 padded_len u32           32 index u64  40 term u64      48 time_ms u64
//!  56 commit u64        64 chain u64                72 entries u32 76 body_len u32 80 body_crc u32
//!  84 reserved, zero    92 header_crc u32 (bytes 0..92, seeded with the salt of the segment)
//!  96 body, zero padding up to padded_len
//! ```
//!
//! A header counts only where it says it stands (`lsn`), in the life of the file it was written in (salt). So bytes of an
//! earlier life, of another place or of another file are never taken for the log. OPEN, ROLL and BEACON blocks are local:
//! they carry the index and chain of the last real block and do not count as entries of the replicated log.

use bytes::Bytes;

use crate::body::{Entries, RunSpan};
use crate::fields::{bytes16_at, put, round_up, u16_at, u32_at, u64_at};
use crate::lsn::Lsn;
use crate::mutant::mutant;

/// Bytes of a block header.
pub(crate) const HEADER_BYTES: usize = 96;
/// Blocks begin at multiples of this, so that a sector with confirmed bytes is not rewritten by a later block.
pub(crate) const BLOCK_ALIGN: u64 = 512;
/// Blocks from this size on end at a page.
const PAGE_FROM: u64 = 32 * 1024;
/// The page of the file cache.
pub(crate) const PAGE: u64 = 4096;

const MAGIC: u32 = u32::from_le_bytes(*b"PHBK");
const VERSION: u8 = 1;

/// First block of a segment; its body says where the segment before ended.
pub(crate) const OPEN: u8 = 1;
/// Last block of a segment; its body names the segment that follows.
pub(crate) const ROLL: u8 = 2;
/// No entries: carries `durable_lsn` past the last real block.
pub(crate) const BEACON: u8 = 4;
/// Together with BEACON: the log was closed on purpose.
pub(crate) const SEAL: u8 = 8;
const KNOWN_FLAGS: u8 = OPEN | ROLL | BEACON | SEAL;
const LOCAL: u8 = OPEN | ROLL | BEACON;

/// The state of the header checksum after the salt of a segment's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn of_salt(salt: u64) -> Self {
        let salt = if mutant("no-salt-in-checksum") { 0 } else { salt };
        Self(crc32fast::hash(&salt.to_le_bytes()))
    }

    fn crc(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

/// The header of a block, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) flags: u8,
    pub(crate) shard: u16,
    pub(crate) lsn: Lsn,
    /// Everything below was synced when this block was built.
    pub(crate) durable_lsn: Lsn,
    /// The start of the process that wrote it.
    pub(crate) epoch: u32,
    pub(crate) padded_len: u32,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) time_ms: u64,
    pub(crate) commit: u64,
    pub(crate) chain: u64,
    pub(crate) entries: u32,
    pub(crate) body_len: u32,
    pub(crate) body_crc: u32,
}

impl BlockHeader {
    pub(crate) fn encode(&self, seed: Seed) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        put(&mut out, 0, MAGIC.to_le_bytes());
        out[4] = VERSION;
        out[5] = self.flags;
        put(&mut out, 6, self.shard.to_le_bytes());
        put(&mut out, 8, self.lsn.0.to_le_bytes());
        put(&mut out, 16, self.durable_lsn.0.to_le_bytes());
        put(&mut out, 24, self.epoch.to_le_bytes());
        put(&mut out, 28, self.padded_len.to_le_bytes());
        put(&mut out, 32, self.index.to_le_bytes());
        put(&mut out, 40, self.term.to_le_bytes());
        put(&mut out, 48, self.time_ms.to_le_bytes());
        put(&mut out, 56, self.commit.to_le_bytes());
        put(&mut out, 64, self.chain.to_le_bytes());
        put(&mut out, 72, self.entries.to_le_bytes());
        put(&mut out, 76, self.body_len.to_le_bytes());
        put(&mut out, 80, self.body_crc.to_le_bytes());
        let crc = seed.crc(&out[..92]);
        put(&mut out, 92, crc.to_le_bytes());
        out
    }

    /// The header in the first bytes of `bytes`, if one of this life of the file stands there.
    pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let is_whole = seed.crc(&bytes[..92]) == u32_at(bytes, 92) || mutant("header-unchecked");
        if u32_at(bytes, 0) != MAGIC || !is_whole {
            return None;
        }
        let header = Self {
            flags: bytes[5],
            shard: u16_at(bytes, 6),
            lsn: Lsn(u64_at(bytes, 8)),
            durable_lsn: Lsn(u64_at(bytes, 16)),
            epoch: u32_at(bytes, 24),
            padded_len: u32_at(bytes, 28),
            index: u64_at(bytes, 32),
            term: u64_at(bytes, 40),
            time_ms: u64_at(bytes, 48),
            commit: u64_at(bytes, 56),
            chain: u64_at(bytes, 64),
            entries: u32_at(bytes, 72),
            body_len: u32_at(bytes, 76),
            body_crc: u32_at(bytes, 80),
        };
        let known =
            bytes[4] == VERSION && header.flags & !KNOWN_FLAGS == 0 && u64_at(bytes, 84) == 0;
        (known && header.lengths_agree()).then_some(header)
    }

    /// The place and length that bytes claim if they begin like a block, whatever their checksum says.
    pub(crate) fn claim(bytes: &[u8]) -> Option<(Lsn, u32)> {
        (u32_at(bytes, 0) == MAGIC).then(|| (Lsn(u64_at(bytes, 8)), u32_at(bytes, 28)))
    }

    fn lengths_agree(&self) -> bool {
        let start = u64::from(self.lsn.offset());
        u64::from(self.padded_len) == padded_len(start, self.body_len as usize)
            && start + u64::from(self.padded_len) <= u64::from(u32::MAX)
    }

    /// The place right after the block.
    pub(crate) fn end(&self) -> Lsn {
        Lsn::new(self.lsn.seq(), self.lsn.offset() + self.padded_len)
    }

    /// Whether the block is not part of the replicated log.
    pub(crate) fn is_local(&self) -> bool {
        self.flags & LOCAL != 0
    }

    pub(crate) fn is_seal(&self) -> bool {
        self.flags & SEAL != 0
    }

    /// The chain value that a real block must carry after one with chain `before`.
    pub(crate) fn chain_after(&self, before: u64) -> u64 {
        let lens = u64::from(self.body_crc) | u64::from(self.body_len) << 32;
        [self.index, self.term, lens, self.time_ms]
            .into_iter()
            .fold(before, |chain, field| mix(chain ^ field))
    }
}

/// The finaliser of splitmix64: every bit of the input moves half of the output.
pub(crate) fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Bytes that a block with such a body takes at byte `start` of a segment.
pub(crate) fn padded_len(start: u64, body_len: usize) -> u64 {
    let len = (HEADER_BYTES + body_len) as u64;
    let align = if len >= PAGE_FROM { PAGE } else { BLOCK_ALIGN };
    round_up(start + len, align) - start
}

/// One committed group commit. The body is shared, so a clone or a slice copies no message.
#[derive(Debug, Clone)]
pub struct Block {
    /// Where it stands.
    pub lsn: Lsn,
    /// The place right after it: what a checkpoint that has applied it covers.
    pub end: Lsn,
    /// Its number in the replicated log, from 1, without gaps.
    pub index: u64,
    /// The consensus term.
    pub term: u64,
    /// The leader's wall clock; never goes back along the log.
    pub time_ms: u64,
    /// The start of the process that wrote it.
    pub epoch: u32,
    pub(crate) body: Bytes,
    pub(crate) runs: Vec<RunSpan>,
    /// Memory that the body keeps alive, which may be more than its length.
    pub(crate) body_memory: usize,
}

impl Block {
    pub(crate) fn new(
        header: &BlockHeader,
        body: Bytes,
        runs: Vec<RunSpan>,
        body_memory: usize,
    ) -> Self {
        Self {
            lsn: header.lsn,
            end: header.end(),
            index: header.index,
            term: header.term,
            time_ms: header.time_ms,
            epoch: header.epoch,
            body,
            runs,
            body_memory,
        }
    }

    /// The runs and commands in the order they were put in; bytes are slices of the block.
    #[must_use]
    pub fn entries(&self) -> Entries {
        Entries::new(self.body.clone(), self.time_ms, self.lsn)
    }

    /// Bytes of the body.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body.len()
    }
}

/// What an OPEN block says: who the segment is, and where the log before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenMark {
    pub(crate) store: [u8; 16],
    pub(crate) salt: u64,
    pub(crate) slot: u32,
    pub(crate) size: u32,
    /// The segment before, 0 for the first of a store.
    pub(crate) prev_seq: u32,
    /// The end of the log in the segment before; what lies behind it there was cut.
    pub(crate) prev_end: Lsn,
}

/// Bytes of an OPEN body: the entry prefix and the fields.
pub(crate) const OPEN_BODY_BYTES: usize = 8 + 48;

impl OpenMark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; OPEN_BODY_BYTES];
        put(&mut out, 0, mark_prefix(crate::body::OPEN_MARK, 48));
        put(&mut out, 8, self.store);
        put(&mut out, 24, self.salt.to_le_bytes());
        put(&mut out, 32, self.slot.to_le_bytes());
        put(&mut out, 36, self.size.to_le_bytes());
        put(&mut out, 40, self.prev_seq.to_le_bytes());
        put(&mut out, 48, self.prev_end.0.to_le_bytes());
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let known = body.len() == OPEN_BODY_BYTES
            && body.starts_with(&mark_prefix(crate::body::OPEN_MARK, 48));
        known.then(|| Self {
            store: bytes16_at(body, 8),
            salt: u64_at(body, 24),
            slot: u32_at(body, 32),
            size: u32_at(body, 36),
            prev_seq: u32_at(body, 40),
            prev_end: Lsn(u64_at(body, 48)),
        })
    }
}

/// What a ROLL block says: the segment that was about to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RollMark {
    pub(crate) next_slot: u32,
    pub(crate) next_seq: u32,
    pub(crate) next_salt: u64,
}

/// Bytes of a ROLL body.
pub(crate) const ROLL_BODY_BYTES: usize = 8 + 16;

impl RollMark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; ROLL_BODY_BYTES];
        put(&mut out, 0, mark_prefix(crate::body::ROLL_MARK, 16));
        put(&mut out, 8, self.next_slot.to_le_bytes());
        put(&mut out, 12, self.next_seq.to_le_bytes());
        put(&mut out, 16, self.next_salt.to_le_bytes());
        out
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let known = body.len() == ROLL_BODY_BYTES
            && body.starts_with(&mark_prefix(crate::body::ROLL_MARK, 16));
        known.then(|| Self {
            next_slot: u32_at(body, 8),
            next_seq: u32_at(body, 12),
            next_salt: u64_at(body, 16),
        })
    }
}

fn mark_prefix(kind: u8, len: u32) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix[0] = kind;
    put(&mut prefix, 4, len.to_le_bytes());
    prefix
}

#[cfg(test)]
mod tests;
