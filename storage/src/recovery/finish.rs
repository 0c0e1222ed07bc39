//! The last part of opening, and the only one that writes to a store that exists.
//!
//! ```text
//! 1 write the superblock that was read and the unproven tail again, same bytes, same place; sync
//!                                                     the page cache may show what the disk does not have
//! 2 make a spare ready
//! 3 superblock: next epoch, everything below the end is durable, the spare is about to be opened; sync
//! 4 OPEN block in the spare, naming the end of the log before it; sync
//! ```
//!
//! A crash after any of these steps leaves a store that the next recovery takes for the same log.

use std::io::IoSlice;
use std::sync::Arc;

use super::replay::{Read, Replayed, Unproven};
use super::{Opened, Opening};
use crate::body;
use crate::catalogue::{Catalogue, Held, SegmentEntry};
use crate::checkpoint;
use crate::error::StorageError;
use crate::keeper::{Kept, LogKeeper};
use crate::lsn::Lsn;
use crate::mutant::mutant;
use crate::reader::LogReader;
use crate::report::RecoveryReport;
use crate::slots::{DeadSlot, Inventory, Room, Slots, Spare};
use crate::store::{Poison, Progress, Running, Store};
use crate::superblock::{SUPER_TEMPORARY, State, SuperFile, Superblock};
use crate::sync::{Mutex, RwLock};
use crate::writer::{LogWriter, Tip, growing, open_block};

pub(super) fn run(opening: Opening, replayed: Replayed) -> Result<Opened, StorageError> {
    let super_file = SuperFile::open(&*opening.disk, &opening.places.dir)?;
    if !mutant("trust-read-superblock") {
        opening.superblock.store_again(&super_file)?;
    }
    sync_names(&opening)?;
    let rewritten_bytes = rewrite(&replayed.unproven)?;
    let slots = slots(&opening);
    let spare = slots.take(0, Room::UseReserve)?;
    let superblock = start_epoch(&opening, &replayed, &spare, &super_file)?;
    let tip = Tip { epoch: superblock.epoch, ..replayed.tip };
    let leaves_tail = leaves_tail(&opening, &replayed);
    let before = match opening.chain.links.last() {
        Some(tail) if leaves_tail => tail.before,
        Some(tail) => (tail.id.seq, replayed.end),
        None => (0, Lsn::ZERO),
    };
    let at = open_block(&spare.segment, &superblock.store, &tip, before)?;
    // ORDER: the old tail is used again only now that another segment says where the log ended before it.
    let mut catalogue = Catalogue::default();
    add_older(&mut catalogue, &opening);
    let report = report(&opening, &replayed, &superblock, rewritten_bytes);
    let (bytes, mut reads) = (replayed.bytes, replayed.reads);
    if leaves_tail && let Some(tail) = reads.pop() {
        slots.retire(dead(tail.segment.id.slot, tail.file_len));
    }
    reads.into_iter().for_each(|read| add_read(&mut catalogue, read));
    catalogue.segments.insert(spare.segment.id.seq, growing(&spare, at, tip.time_ms));
    remove_temporaries(&opening);
    // What reading the log has used is not needed by a broker that is idle from now on.
    body::release();
    let end = Lsn::new(spare.segment.id.seq, at);
    let store = Store {
        id: superblock.store,
        catalogue: RwLock::new(catalogue),
        tail: RwLock::default(),
        footers: Mutex::default(),
        slots,
        poison: Poison::default(),
        kept: Mutex::new(Kept {
            newest: opening.checkpoint.map(|checkpoint| checkpoint.coverage),
            files: opening.checkpoints.files,
            damaged: opening.checkpoints.damaged.into_iter().map(|damage| damage.path).collect(),
            next_generation: opening.checkpoints.next_generation,
            uncovered: bytes,
            appended: 0,
            tried: None,
        }),
        superblock: Mutex::new((superblock, super_file)),
        progress: Progress::starting_at(end),
        disk: opening.disk,
        places: opening.places,
        options: opening.options,
        _lock: opening.lock,
    };
    let running = Arc::new(Running::start(store)?);
    Ok(Opened {
        writer: LogWriter::new(Arc::clone(&running), spare, at, tip),
        reader: LogReader::new(Arc::clone(&running)),
        keeper: LogKeeper::new(running),
        report,
    })
}

/// A process that died may have left names that only the cache knows.
fn sync_names(opening: &Opening) -> Result<(), StorageError> {
    for dir in [&opening.places.log_dir, &opening.places.checkpoint_dir] {
        if mutant("trust-found-names") {
            break;
        }
        opening.disk.sync_dir(dir).map_err(|cause| StorageError::io("sync", dir, 0, cause))?;
    }
    Ok(())
}

/// Writes the blocks that no later evidence proves durable again, and syncs them; the bytes of it.
fn rewrite(unproven: &[Unproven]) -> Result<u64, StorageError> {
    let mut bytes = 0;
    for block in unproven.iter().filter(|_| !mutant("trust-page-cache")) {
        let padding = vec![0; block.header.padded_len as usize - block.raw.len()];
        let parts = [IoSlice::new(&block.raw), IoSlice::new(&padding)];
        block.segment.write_synced("write again", &parts, block.header.lsn.offset())?;
        bytes += u64::from(block.header.padded_len);
    }
    Ok(bytes)
}

fn slots(opening: &Opening) -> Slots {
    let chain = &opening.chain;
    let inventory = Inventory {
        dead: chain.spares.iter().map(|(slot, len)| dead(*slot, *len)).collect(),
        next_slot: chain.next_slot,
        next_seq: chain.next_seq,
        log_bytes: chain.log_bytes,
    };
    Slots::new(
        Arc::clone(&opening.disk),
        opening.places.log_dir.clone(),
        opening.superblock.store,
        opening.options.clone(),
        inventory,
    )
}

/// A file of which nothing is believed: it is given space and a new header before it is used.
fn dead(slot: u32, len: u64) -> DeadSlot {
    DeadSlot { slot, len, pin: None, is_written: false }
}

/// Makes the new start durable: an epoch that was never used, and the segment that is about to be opened.
fn start_epoch(
    opening: &Opening,
    replayed: &Replayed,
    spare: &Spare,
    file: &SuperFile,
) -> Result<Superblock, StorageError> {
    let mut superblock = opening.superblock;
    let checkpoint = opening.checkpoint.as_ref();
    let covered_epoch = checkpoint.map_or(0, |checkpoint| checkpoint.coverage.tip.epoch);
    superblock.epoch = superblock.epoch.max(replayed.tip.epoch).max(covered_epoch);
    superblock.epoch += u32::from(!mutant("no-new-epoch"));
    superblock.state = State::InUse;
    superblock.durable_lsn = replayed.end.max(superblock.durable_lsn);
    superblock.opening_slot = spare.segment.id.slot;
    superblock.opening_seq = spare.segment.id.seq;
    superblock.store_next(file)?;
    Ok(superblock)
}

/// Whether the old tail holds nothing and can go, so that starts alone do not fill the disk.
fn leaves_tail(opening: &Opening, replayed: &Replayed) -> bool {
    let (Some(link), Some(read)) = (opening.chain.links.last(), replayed.reads.last()) else {
        return false;
    };
    let is_empty = read.slices.is_empty() && read.blocks == 0;
    is_empty && link.file.open.is_some() && replayed.damaged.is_empty()
}

fn add_older(catalogue: &mut Catalogue, opening: &Opening) {
    for older in &opening.chain.older {
        let listed = &older.listed;
        let entry = SegmentEntry {
            id: Arc::new(listed.id.clone()),
            open: None,
            held: Held::Footer,
            end: listed.end,
            last_time_ms: listed.last_time_ms,
            is_dead: listed.is_dead,
            is_short: is_short(listed.end, older.file_len),
            file_len: older.file_len,
        };
        catalogue.add_segment(entry, &listed.slices);
    }
}

fn add_read(catalogue: &mut Catalogue, read: Read) {
    let is_indexed = read.index.is_some();
    let entry = SegmentEntry {
        id: Arc::clone(&read.segment.id),
        held: read.index.map_or(Held::Footer, |index| Held::Frozen(Arc::new(index))),
        open: is_indexed.then_some(read.segment),
        end: read.end,
        last_time_ms: read.last_time_ms,
        is_dead: false,
        is_short: is_short(read.end, read.file_len),
        file_len: read.file_len,
    };
    catalogue.add_segment(entry, &read.slices);
}

/// Whether much of the file is not used.
fn is_short(end: u32, file_len: u64) -> bool {
    u64::from(end) < file_len / 2
}

/// Removes what a crash left half made. What cannot be removed is in nobody's way.
fn remove_temporaries(opening: &Opening) {
    let places = &opening.places;
    let temporary = places.dir.join(SUPER_TEMPORARY);
    if opening.disk.exists(&temporary).unwrap_or(false) {
        drop(opening.disk.remove(&temporary));
    }
    for name in opening.disk.list(&places.checkpoint_dir).unwrap_or_default() {
        if checkpoint::is_temporary(&name) {
            drop(opening.disk.remove(&places.checkpoint_dir.join(name)));
        }
    }
}

fn report(
    opening: &Opening,
    replayed: &Replayed,
    superblock: &Superblock,
    rewritten_bytes: u64,
) -> RecoveryReport {
    let mut damaged = opening.chain.damaged.clone();
    damaged.extend(opening.checkpoints.damaged.iter().cloned());
    damaged.extend(replayed.damaged.iter().cloned());
    RecoveryReport {
        store: superblock.store,
        created: opening.is_new,
        clean: replayed.is_clean,
        epoch: superblock.epoch,
        checkpoint: opening.checkpoint.as_ref().map(|checkpoint| checkpoint.coverage.covered),
        blocks_replayed: replayed.blocks,
        bytes_replayed: replayed.bytes,
        segments: opening.chain.older.len() + replayed.reads.len(),
        end: replayed.end,
        cut_bytes: replayed.cut_bytes,
        rewritten_bytes,
        damaged,
    }
}
