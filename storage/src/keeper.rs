//! [`LogKeeper`]: checkpoints, and segments given back.
//!
//! Two checkpoints are kept. A segment goes only when the older of the two, which is durable and was read back, needs nothing
//! in it: so the log from the older one on is always there, should the newer one ever be unreadable.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::block::BlockHeader;
use crate::catalogue::{Catalogue, Held};
use crate::checkpoint::{self, Coverage, Listed};
use crate::disk::OpenMode;
use crate::error::StorageError;
use crate::index::{BlockEntry, Slice};
use crate::locks::{lock, read, write};
use crate::lsn::Lsn;
use crate::mutant::mutant;
use crate::reclaim;
use crate::segment::{Segment, read_full};
use crate::slots::DeadSlot;
use crate::store::{Running, Store};
use crate::writer::Tip;

/// How often a full disk may ask for another checkpoint.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Writes checkpoints and gives dead segments back. Cheap to clone; its calls block on the disk.
#[derive(Debug, Clone)]
pub struct LogKeeper {
    running: Arc<Running>,
}

/// What a checkpoint did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointDone {
    /// Everything below is in it.
    pub covered: Lsn,
    /// The size of its file.
    pub bytes: u64,
    /// Segments that held nothing needed any more.
    pub freed_segments: usize,
}

/// The checkpoints on disk.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Whole ones, newest last.
    pub(crate) files: Vec<PathBuf>,
    /// Damaged ones, kept until the next is durable.
    pub(crate) damaged: Vec<PathBuf>,
    pub(crate) next_generation: u64,
    /// The newest.
    pub(crate) newest: Option<Coverage>,
    /// Bytes of the log that the newest does not cover: at the start, and counted from.
    pub(crate) uncovered: u64,
    pub(crate) appended: u64,
    pub(crate) tried: Option<Instant>,
}

impl LogKeeper {
    pub(crate) fn new(running: Arc<Running>) -> Self {
        Self { running }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.running.store
    }

    /// Makes `state`, the state after everything below `covered`, durable, and frees the segments that nobody needs:
    /// `floors` gives the first offset still needed of each stream; a stream that is not listed is gone.
    ///
    /// *Errors*: the log stays whole without it; try again later.
    pub fn checkpoint(
        &self,
        covered: Lsn,
        state: &[u8],
        floors: &[(u32, u64)],
    ) -> Result<CheckpointDone, StorageError> {
        let store = self.store();
        let kept = &mut *lock(&store.kept);
        store.poison.check()?;
        assert!(covered <= store.progress.committed(), "a checkpoint covers committed blocks only");
        let newest = kept.newest.map_or(Lsn::ZERO, |newest| newest.covered);
        assert!(covered >= newest, "a checkpoint does not go back");
        kept.tried = Some(Instant::now());
        let covered = if mutant("checkpoint-ahead") { store.progress.committed() } else { covered };
        let appended = store.progress.appended();
        let coverage = Coverage {
            store: store.id,
            generation: kept.next_generation,
            covered,
            tip: store.tip_below(covered, kept.newest)?,
        };
        let (listed, dead, gone) = store.list_segments(covered.seq(), floors);
        let bytes = checkpoint::encode(&coverage, &listed, state);
        let path = store.write_checkpoint(coverage.generation, &bytes)?;
        kept.next_generation += 1;
        kept.newest = Some(coverage);
        kept.files.push(path);
        (kept.appended, kept.uncovered) = (appended, 0);
        store.drop_old_checkpoints(kept);
        store.free_segments(&dead, &gone);
        Ok(CheckpointDone { covered, bytes: bytes.len() as u64, freed_segments: gone.len() })
    }

    /// Whether the log has grown enough for a new checkpoint, or a full disk may be helped by one.
    #[must_use]
    pub fn due(&self) -> bool {
        let store = self.store();
        let Ok(kept) = store.kept.try_lock() else { return false };
        let grown = kept.uncovered + (store.progress.appended() - kept.appended);
        if grown >= store.options.checkpoint_log_bytes {
            return true;
        }
        let was_tried = kept.tried.is_some_and(|tried| tried.elapsed() < RETRY_AFTER);
        drop(kept);
        let (_, _, publishes_allowed) = store.slots.space();
        !publishes_allowed && !was_tried && (grown > 0 || store.has_dead_segments())
    }

    /// The offset up to which `stream` can be trimmed by whole segments: those in which all is older than `before_time_ms`, or
    /// lies beyond the newest `bytes_max` bytes.
    #[must_use]
    pub fn retention_floor(
        &self,
        stream: u32,
        before_time_ms: Option<u64>,
        bytes_max: Option<u64>,
    ) -> Option<u64> {
        let catalogue = read(&self.store().catalogue);
        let slices = catalogue.streams.get(&stream)?;
        let active_seq = *catalogue.segments.last_key_value()?.0;
        let is_old = |seq: u32| {
            let last = catalogue.segments.get(&seq).map(|entry| entry.last_time_ms);
            last.zip(before_time_ms).is_some_and(|(last, before)| last < before)
        };
        reclaim::retention_floor(&slices.slices, slices.bytes, active_seq, is_old, bytes_max)
    }

    /// One round of the work of the background thread. A failure ends writing; a full disk is left for the next round.
    pub fn maintain(&self) {
        if let Err(error) = crate::janitor::round(self.store()) {
            self.store().poison.set(error);
        }
    }
}

impl Store {
    /// The last block below `covered`: what the log after the checkpoint must follow.
    fn tip_below(&self, covered: Lsn, newest: Option<Coverage>) -> Result<Tip, StorageError> {
        let found = self.block_below(covered)?;
        if let Some((segment, block)) = found {
            let bytes = segment.read(block.at, crate::block::HEADER_BYTES)?;
            let header = BlockHeader::decode(&bytes, segment.id.seed())
                .filter(|header| header.index == block.index)
                .ok_or_else(|| {
                    StorageError::damaged(
                        &segment.path,
                        u64::from(block.at),
                        "a block is not where it was",
                    )
                })?;
            return Ok(Tip {
                index: header.index,
                term: header.term,
                chain: header.chain,
                time_ms: header.time_ms,
                epoch: header.epoch,
            });
        }
        Ok(newest.map_or(crate::recovery::GENESIS, |newest| newest.tip))
    }

    fn block_below(&self, covered: Lsn) -> Result<Option<(Segment, BlockEntry)>, StorageError> {
        let mut before = u64::from(covered.seq()) + 1;
        loop {
            // The newest segment below `before`, as far as it is covered.
            let found = {
                let catalogue = read(&self.catalogue);
                let below =
                    catalogue.segments.iter().rev().find(|(seq, _)| u64::from(**seq) < before);
                let Some((seq, entry)) = below else { return Ok(None) };
                before = u64::from(*seq);
                let end = if *seq == covered.seq() { covered.offset() } else { u32::MAX };
                match (&entry.held, &entry.open) {
                    (Held::Growing(index), Some(open)) => {
                        Ok(index.block_before(end).map(|block| (open.clone(), block)))
                    }
                    (Held::Frozen(index), Some(open)) => {
                        Ok(index.block_before(end).map(|block| (open.clone(), block)))
                    }
                    _ => Err((Arc::clone(&entry.id), entry.end, end)),
                }
            };
            let found = match found {
                Ok(found) => found,
                Err((id, data_end, end)) => {
                    let sealed = self.sealed(&id, data_end)?;
                    let block = sealed.footer.block_before(end);
                    block.map(|block| (sealed.segment.clone(), block))
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// The segments below the covered one as a new checkpoint lists them, those of them that nobody needs now, and those that
    /// nobody needed when the checkpoint before was made, which go when the new one is durable and are not listed.
    fn list_segments(
        &self,
        covered_seq: u32,
        floors: &[(u32, u64)],
    ) -> (Vec<Listed>, BTreeSet<u32>, BTreeSet<u32>) {
        let catalogue = read(&self.catalogue);
        let dead = reclaim::dead_segments(
            &catalogue.streams,
            catalogue.segments.keys().copied(),
            floors,
            covered_seq,
        );
        let is_gone = |seq: &u32| {
            catalogue
                .segments
                .get(seq)
                .is_some_and(|entry| entry.is_dead || mutant("free-too-early"))
        };
        let gone: BTreeSet<u32> = dead.iter().copied().filter(is_gone).collect();
        let mut slices = slices_by_segment(&catalogue);
        let below = catalogue.segments.range(..covered_seq);
        let listed = below.filter(|(seq, _)| !gone.contains(seq)).map(|(seq, entry)| Listed {
            id: (*entry.id).clone(),
            end: entry.end,
            last_time_ms: entry.last_time_ms,
            is_dead: dead.contains(seq),
            slices: slices.remove(seq).unwrap_or_default(),
        });
        (listed.collect(), dead, gone)
    }

    /// Writes, syncs, reads back and names a checkpoint file; its path.
    fn write_checkpoint(&self, generation: u64, bytes: &[u8]) -> Result<PathBuf, StorageError> {
        let dir = &self.places.checkpoint_dir;
        let path = dir.join(checkpoint::file_name(generation));
        let temporary = path.with_extension("tmp");
        let made = self.write_temporary(&temporary, bytes).and_then(|()| {
            self.disk
                .rename(&temporary, &path)
                .map_err(|cause| StorageError::io("rename", &temporary, 0, cause))
        });
        if let Err(error) = made {
            // Leaves nothing behind; if this fails too, the next start removes it.
            drop(self.disk.remove(&temporary));
            return Err(error);
        }
        if mutant("rename-without-sync") {
            return Ok(path);
        }
        // ORDER: nothing is freed before the name is durable.
        self.disk.sync_dir(dir).map_err(|cause| StorageError::io("sync", dir, 0, cause))?;
        Ok(path)
    }

    fn write_temporary(&self, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
        let error = |operation| move |cause| StorageError::io(operation, path, 0, cause);
        let file = self.disk.open(path, OpenMode::Create).map_err(error("create"))?;
        file.set_len(0).map_err(error("empty"))?;
        file.write_at(&[IoSlice::new(bytes)], 0).map_err(error("write"))?;
        if mutant("sync-wrong-file") {
            return self.write_superblock(|_| ());
        }
        file.sync_data().map_err(error("sync"))?;
        let mut back = vec![0; bytes.len() + 1];
        let found = read_full(&*file, &mut back, 0).map_err(error("read back"))?;
        if back[..found] != *bytes {
            return Err(StorageError::damaged(
                path,
                0,
                "what was read back is not what was written",
            ));
        }
        Ok(())
    }

    /// Removes all but the two newest. A file that cannot be removed is in nobody's way.
    fn drop_old_checkpoints(&self, kept: &mut Kept) {
        let old = kept.files.len().saturating_sub(2);
        for path in kept.files.drain(..old).chain(kept.damaged.drain(..)) {
            drop(self.disk.remove(&path));
        }
    }

    fn free_segments(&self, dead: &BTreeSet<u32>, gone: &BTreeSet<u32>) {
        let freed = {
            let mut catalogue = write(&self.catalogue);
            for (seq, entry) in &mut catalogue.segments {
                entry.is_dead = dead.contains(seq);
            }
            catalogue.remove(gone)
        };
        let mut footers = lock(&self.footers);
        gone.iter().for_each(|seq| footers.remove(*seq));
        drop(footers);
        for entry in freed {
            self.slots.retire(DeadSlot {
                slot: entry.id.slot,
                len: entry.file_len,
                is_written: entry.file_len == u64::from(entry.id.size),
                pin: Some(entry.id),
            });
        }
        if !gone.is_empty() {
            self.slots.wake();
        }
    }

    fn has_dead_segments(&self) -> bool {
        read(&self.catalogue).segments.values().any(|entry| entry.is_dead)
    }
}

fn slices_by_segment(catalogue: &Catalogue) -> BTreeMap<u32, Vec<(u32, Slice)>> {
    let mut by_segment: BTreeMap<u32, Vec<(u32, Slice)>> = BTreeMap::new();
    for (stream, slices) in &catalogue.streams {
        for slice in &slices.slices {
            by_segment.entry(slice.seq).or_default().push((*stream, *slice));
        }
    }
    by_segment.values_mut().for_each(|slices| slices.sort_unstable_by_key(|(stream, _)| *stream));
    by_segment
}

#[cfg(test)]
mod tests;
