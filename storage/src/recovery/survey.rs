//! [`Survey`]: which segment files there are, and who each of them says it is.
//!
//! A file says so twice: in its header, and in its OPEN block, which carries the salt that it is checked with. So a lost header
//! costs nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{BlockHeader, HEADER_BYTES, OPEN, OpenMark, Seed};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StorageError;
use crate::fields::u64_at;
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentId, read_full, slot_of};
use crate::store::Places;
use crate::superblock::{State, Superblock};

/// Where the salt is in an OPEN block.
const SALT_AT: usize = HEADER_BYTES + 24;

/// One segment file.
#[derive(Debug, Clone)]
pub(crate) struct SlotFile {
    pub(crate) slot: u32,
    pub(crate) len: u64,
    pub(crate) path: PathBuf,
    /// The life it is in, if the header or the OPEN block tells.
    pub(crate) id: Option<Arc<SegmentId>>,
    pub(crate) has_header: bool,
    pub(crate) open: Option<OpenMark>,
}

/// All segment files, by slot.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) files: Vec<SlotFile>,
}

impl Survey {
    pub(super) fn of(
        disk: &dyn Disk,
        places: &Places,
        superblock: &Superblock,
    ) -> Result<Self, StorageError> {
        let dir = &places.log_dir;
        let names = disk.list(dir).map_err(|cause| StorageError::io("list", dir, 0, cause))?;
        let mut files = Vec::new();
        for (name, slot) in names.iter().filter_map(|name| Some((name, slot_of(name)?))) {
            files.push(look_at(disk, &dir.join(name), slot, superblock)?);
        }
        Ok(Self { files })
    }

    /// The file whose present life has this sequence number.
    pub(super) fn by_seq(&self, seq: u32) -> Option<&SlotFile> {
        self.files.iter().find(|file| file.id.as_ref().is_some_and(|id| id.seq == seq))
    }

    /// The newest segment that was opened.
    pub(super) fn newest_opened(&self) -> Option<&SlotFile> {
        let opened = self.files.iter().filter(|file| file.open.is_some());
        opened.max_by_key(|file| file.id.as_ref().map(|id| id.seq))
    }
}

fn look_at(
    disk: &dyn Disk,
    path: &Path,
    slot: u32,
    superblock: &Superblock,
) -> Result<SlotFile, StorageError> {
    let store = &superblock.store;
    let error = |cause| StorageError::io("read", path, 0, cause);
    let file = disk.open(path, OpenMode::Read).map_err(error)?;
    if superblock.state != State::Closed {
        // The process before may have ended because a sync failed: what counts is on the disk.
        file.forget();
    }
    let len = file.len().map_err(error)?;
    let mut front = vec![0; SEGMENT_HEADER_BYTES as usize + 512];
    let found = read_full(&*file, &mut front, 0).map_err(error)?;
    front.truncate(found);
    let header = SegmentId::decode(&front, store, path)?;
    let has_header = header.is_some();
    let block = front.get(SEGMENT_HEADER_BYTES as usize..).unwrap_or_default();
    let (id, open) = match header {
        Some(id) => {
            let open = open_mark(block, id.salt)
                .filter(|(seq, mark)| *seq == id.seq && is_of(mark, &id, store));
            (Some(id), open.map(|(_, mark)| mark))
        }
        None => match open_mark(block, u64_at(block, SALT_AT)) {
            Some((seq, mark)) if mark.store == *store && mark.slot == slot => {
                (Some(id_of(seq, &mark)), Some(mark))
            }
            _ => (None, None),
        },
    };
    if id.as_ref().is_some_and(|id| id.slot != slot) {
        return Err(StorageError::NotAStore {
            path: path.to_path_buf(),
            what: "the segment file has the name of another",
        });
    }
    Ok(SlotFile { slot, len, path: path.to_path_buf(), id: id.map(Arc::new), has_header, open })
}

/// The mark in an OPEN block, and the sequence number of its place, if the block is whole under this salt.
fn open_mark(block: &[u8], salt: u64) -> Option<(u32, OpenMark)> {
    let header = BlockHeader::decode(block, Seed::of_salt(salt))?;
    let body = block.get(HEADER_BYTES..HEADER_BYTES + header.body_len as usize)?;
    let is_whole = header.flags == OPEN
        && header.lsn.offset() == SEGMENT_HEADER_BYTES
        && crc32fast::hash(body) == header.body_crc;
    let mark = OpenMark::decode(body)?;
    (is_whole && mark.salt == salt && mark.prev_seq < header.lsn.seq())
        .then_some((header.lsn.seq(), mark))
}

fn is_of(mark: &OpenMark, id: &SegmentId, store: &[u8; 16]) -> bool {
    mark.store == *store && mark.slot == id.slot
}

fn id_of(seq: u32, mark: &OpenMark) -> SegmentId {
    SegmentId { slot: mark.slot, seq, salt: mark.salt, size: mark.size }
}

impl SlotFile {
    pub(super) fn seq(&self) -> u32 {
        self.id.as_ref().map_or(0, |id| id.seq)
    }

    /// The file, opened.
    pub(super) fn open_as(
        &self,
        disk: &dyn Disk,
        id: &Arc<SegmentId>,
        mode: OpenMode,
    ) -> Result<Segment, StorageError> {
        let file: Arc<dyn DiskFile> = disk
            .open(&self.path, mode)
            .map_err(|cause| StorageError::io("open", &self.path, 0, cause))?;
        Ok(Segment { id: Arc::clone(id), file, path: Arc::new(self.path.clone()) })
    }

    /// An identity to read a file with that has none.
    pub(super) fn unknown(&self) -> Arc<SegmentId> {
        Arc::new(SegmentId {
            slot: self.slot,
            seq: 0,
            salt: 0,
            size: u32::try_from(self.len).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests;
