//! The superblock: who the store is, and how often it was started.
//!
//! ```text
//!   0 magic "PHSUPER\1"   8 versions (16 bytes)   24 store 16      40 generation u64   48 epoch u32
//!  52 state u32 (1 creating, 2 in use, 3 closed)  56 durable_lsn u64    64 opening_slot u32 68 opening_seq u32
//! 4092 crc u32 (bytes 0..4092)
//! ```
//!
//! Two copies of 4,096 bytes in one file, written in turn, each with a higher generation; the highest whole one counts.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StorageError;
use crate::fields::{bytes16_at, put, u32_at, u64_at};
use crate::format::{self, Versions};
use crate::lsn::Lsn;
use crate::mutant::mutant;
use crate::segment::read_full;

/// The file's name.
pub(crate) const SUPER: &str = "SUPER";
/// Its name until it is whole.
pub(crate) const SUPER_TEMPORARY: &str = "SUPER.tmp";
const COPY_BYTES: usize = 4096;
const CRC_AT: usize = 4092;
const MAGIC: [u8; 8] = *b"PHSUPER\x01";

/// Where a store is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Creation has not ended; nothing was ever confirmed.
    Creating,
    /// Started, and not closed since.
    InUse,
    /// Closed on purpose; `durable_lsn` is the end of the log.
    Closed,
}

impl State {
    fn number(self) -> u32 {
        match self {
            Self::Creating => 1,
            Self::InUse => 2,
            Self::Closed => 3,
        }
    }

    fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Creating),
            2 => Some(Self::InUse),
            3 => Some(Self::Closed),
            _ => None,
        }
    }
}

/// The superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) store: [u8; 16],
    pub(crate) generation: u64,
    pub(crate) epoch: u32,
    pub(crate) state: State,
    /// Everything below was durable when this was written.
    pub(crate) durable_lsn: Lsn,
    /// The segment that the last start was about to open.
    pub(crate) opening_slot: u32,
    pub(crate) opening_seq: u32,
}

impl Superblock {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; COPY_BYTES];
        put(&mut out, 0, MAGIC);
        format::CURRENT.put(&mut out, 8);
        put(&mut out, 24, self.store);
        put(&mut out, 40, self.generation.to_le_bytes());
        put(&mut out, 48, self.epoch.to_le_bytes());
        put(&mut out, 52, self.state.number().to_le_bytes());
        put(&mut out, 56, self.durable_lsn.0.to_le_bytes());
        put(&mut out, 64, self.opening_slot.to_le_bytes());
        put(&mut out, 68, self.opening_seq.to_le_bytes());
        let crc = crc32fast::hash(&out[..CRC_AT]);
        put(&mut out, CRC_AT, crc.to_le_bytes());
        out
    }

    /// One copy, with the versions it was written under.
    fn decode(bytes: &[u8]) -> Option<(Self, Versions)> {
        let whole = bytes.len() >= COPY_BYTES
            && bytes.starts_with(&MAGIC)
            && crc32fast::hash(&bytes[..CRC_AT]) == u32_at(bytes, CRC_AT);
        // A newer program may use a state unknown here; its version is checked before the state is looked at.
        whole.then(|| {
            let superblock = Self {
                store: bytes16_at(bytes, 24),
                generation: u64_at(bytes, 40),
                epoch: u32_at(bytes, 48),
                state: State::of(u32_at(bytes, 52)).unwrap_or(State::InUse),
                durable_lsn: Lsn(u64_at(bytes, 56)),
                opening_slot: u32_at(bytes, 64),
                opening_seq: u32_at(bytes, 68),
            };
            (superblock, Versions::at(bytes, 8))
        })
    }

    /// Reads both copies; the newest counts.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(SUPER);
        let mut bytes = vec![0; 2 * COPY_BYTES];
        disk.open(&path, OpenMode::Read)
            .and_then(|file| {
                file.forget();
                read_full(&*file, &mut bytes, 0)
            })
            .map_err(|cause| StorageError::io("read", &path, 0, cause))?;
        let newest = bytes
            .chunks(COPY_BYTES)
            .filter_map(Self::decode)
            .max_by_key(|(copy, _)| copy.generation);
        let Some((superblock, versions)) = newest else {
            return Err(StorageError::damaged(&path, 0, "both copies of the superblock are bad"));
        };
        versions.check(&path)?;
        Ok(superblock)
    }

    /// Writes the next generation over the older copy and syncs.
    pub(crate) fn store_next(&mut self, file: &SuperFile) -> Result<(), StorageError> {
        self.generation += 1;
        self.store_again(file)
    }

    /// Writes a superblock that was read once more, same bytes, same place, and syncs: its last sync may have failed, and then
    /// only the page cache has it, while the other copy, which [`Self::store_next`] writes over, is the only one on the disk.
    pub(crate) fn store_again(&self, file: &SuperFile) -> Result<(), StorageError> {
        let copy = if mutant("one-superblock-copy") { 0 } else { self.generation % 2 };
        let at = copy * COPY_BYTES as u64;
        file.write(&self.encode(), at)
    }

    /// Writes both copies of a new file under a temporary name, and gives it its name.
    pub(crate) fn create(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<SuperFile, StorageError> {
        let temporary = dir.join(SUPER_TEMPORARY);
        let path = dir.join(SUPER);
        let open = |path: &Path| disk.open(path, OpenMode::Create);
        let file =
            open(&temporary).map_err(|cause| StorageError::io("create", &temporary, 0, cause))?;
        // What an attempt before has left is not written over, but gone.
        file.set_len(0).map_err(|cause| StorageError::io("empty", &temporary, 0, cause))?;
        let file = SuperFile { file, path: path.clone() };
        for _ in 0..2 {
            self.store_next(&file)?;
        }
        disk.rename(&temporary, &path)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(|cause| StorageError::io("rename", &temporary, 0, cause))?;
        Ok(file)
    }
}

/// The open superblock file.
#[derive(Debug)]
pub(crate) struct SuperFile {
    file: std::sync::Arc<dyn DiskFile>,
    path: PathBuf,
}

impl SuperFile {
    pub(crate) fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(SUPER);
        let file = disk
            .open(&path, OpenMode::ReadWrite)
            .map_err(|cause| StorageError::io("open", &path, 0, cause))?;
        Ok(Self { file, path })
    }

    fn write(&self, copy: &[u8], at: u64) -> Result<(), StorageError> {
        self.file
            .write_at(&[IoSlice::new(copy)], at)
            .and_then(|()| self.file.sync_data())
            .map_err(|cause| StorageError::io("write", &self.path, at, cause))
    }
}

#[cfg(test)]
mod tests;
