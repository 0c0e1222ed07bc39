//! One segment file: its header, and the identity of one life of it.
//!
//! ```text
//!   0 magic "PHSEG\0\0\1"   8 major u16  10 minor u16   12 compat u32  16 read-only u32  20 incompatible u32
//!  24 store 16              40 log u16   42 zero u16    44 slot u32    48 seq u64        56 salt u64
//!  64 size u32              68 zero      4092 crc u32 (bytes 0..4092)
//! 4096 OPEN block, blocks, ROLL block, index (footer)
//! ```
//!
//! A header is written and synced while the file is a spare. A file that is used again gets a new sequence number and a new
//! salt first, so that no byte of its earlier life can be taken for the log. Files are never renamed.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::Seed;
use crate::disk::DiskFile;
use crate::error::StorageError;
use crate::fields::{bytes16_at, put, u16_at, u32_at, u64_at};
use crate::format::{self, Versions};
use crate::mutant::mutant;

/// Bytes of a segment header; the OPEN block stands right behind it.
pub(crate) const SEGMENT_HEADER_BYTES: u32 = 4096;
const MAGIC: [u8; 8] = *b"PHSEG\0\0\x01";
const CRC_AT: usize = 4092;

/// One life of a segment file. The shared value is also the pin: a file is used again only when nobody else holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentId {
    pub(crate) slot: u32,
    pub(crate) seq: u32,
    pub(crate) salt: u64,
    pub(crate) size: u32,
}

impl SegmentId {
    pub(crate) fn seed(&self) -> Seed {
        Seed::of_salt(self.salt)
    }

    pub(crate) fn path(&self, log_dir: &Path) -> PathBuf {
        log_dir.join(slot_name(self.slot))
    }

    /// The 4,096 bytes at the front of the file.
    pub(crate) fn encode(&self, store: &[u8; 16]) -> Vec<u8> {
        let mut out = vec![0; SEGMENT_HEADER_BYTES as usize];
        put(&mut out, 0, MAGIC);
        format::CURRENT.put(&mut out, 8);
        put(&mut out, 24, *store);
        put(&mut out, 44, self.slot.to_le_bytes());
        put(&mut out, 48, u64::from(self.seq).to_le_bytes());
        put(&mut out, 56, self.salt.to_le_bytes());
        put(&mut out, 64, self.size.to_le_bytes());
        let crc = crc32fast::hash(&out[..CRC_AT]);
        put(&mut out, CRC_AT, crc.to_le_bytes());
        out
    }

    /// The header in `bytes`, if a whole one stands there.
    ///
    /// *Errors*: a header of a newer format, or of another store.
    pub(crate) fn decode(
        bytes: &[u8],
        store: &[u8; 16],
        path: &Path,
    ) -> Result<Option<Self>, StorageError> {
        let whole = bytes.len() >= SEGMENT_HEADER_BYTES as usize
            && bytes.starts_with(&MAGIC)
            && crc32fast::hash(&bytes[..CRC_AT]) == u32_at(bytes, CRC_AT);
        if !whole {
            return Ok(None);
        }
        Versions::at(bytes, 8).check(path)?;
        if bytes16_at(bytes, 24) != *store {
            return Err(StorageError::NotAStore {
                path: path.to_path_buf(),
                what: "the segment belongs to another store",
            });
        }
        let seq = u32::try_from(u64_at(bytes, 48)).unwrap_or(0);
        let id =
            Self { slot: u32_at(bytes, 44), seq, salt: u64_at(bytes, 56), size: u32_at(bytes, 64) };
        let sane = seq > 0 && u16_at(bytes, 40) == 0 && id.size > SEGMENT_HEADER_BYTES;
        Ok(sane.then_some(id))
    }
}

/// An open segment file.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) id: Arc<SegmentId>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: Arc<PathBuf>,
}

impl Segment {
    /// Writes parts and makes them durable.
    pub(crate) fn write_synced(
        &self,
        operation: &'static str,
        parts: &[IoSlice<'_>],
        at: u32,
    ) -> Result<(), StorageError> {
        let at = u64::from(at);
        let sync = || match self.file.sync_data() {
            Err(_) if mutant("retry-failed-sync") => self.file.sync_data(),
            Err(_) if mutant("ignore-sync-error") => Ok(()),
            synced => synced,
        };
        self.file
            .write_at(parts, at)
            .and_then(|()| if mutant("confirm-before-sync") { Ok(()) } else { sync() })
            .map_err(|cause| StorageError::io(operation, &self.path, at, cause))
    }

    /// Exactly `len` bytes from `at` on.
    pub(crate) fn read(&self, at: u32, len: usize) -> Result<Vec<u8>, StorageError> {
        let mut bytes = vec![0; len];
        let found = read_full(&*self.file, &mut bytes, u64::from(at))
            .map_err(|cause| StorageError::io("read", &self.path, u64::from(at), cause))?;
        if found < len {
            return Err(StorageError::damaged(&self.path, u64::from(at), "the file ends early"));
        }
        Ok(bytes)
    }
}

/// Fills `buf` from `at` on, as far as the file goes; the bytes found.
pub(crate) fn read_full(file: &dyn DiskFile, buf: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut found = 0;
    while found < buf.len() {
        match file.read_at(&mut buf[found..], at + found as u64)? {
            0 => break,
            more => found += more,
        }
    }
    Ok(found)
}

/// Shortens a file for good: with the sync, the file system tells the disk of this space now, and not of much at once later.
pub(crate) fn cut(file: &dyn DiskFile, path: &Path, len: u64) -> Result<(), StorageError> {
    file.set_len(len)
        .and_then(|()| file.sync_data())
        .map_err(|cause| StorageError::io("shorten", path, len, cause))
}

/// The file name of a slot.
pub(crate) fn slot_name(slot: u32) -> String {
    format!("slot-{slot:06}.seg")
}

/// The slot of a file name.
pub(crate) fn slot_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("slot-")?.strip_suffix(".seg")?;
    let slot = digits.parse().ok()?;
    (slot_name(slot) == name).then_some(slot)
}

#[cfg(test)]
mod tests;
