use std::io::ErrorKind;

use super::*;
use crate::body::BodyBuilder;
use crate::disk::SimDisk;
use crate::disk::sim::{Effect, Fault, Op};
use crate::lsn::Lsn;
use crate::superblock::{State, SuperFile};
use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) const BLOCKS: u64 = 24;

pub(super) fn options() -> Options {
    Options {
        segment_bytes: 32 << 10,
        segment_bytes_max: 32 << 10,
        reserve_bytes: 0,
        block_bytes_max: 8 << 10,
        background: false,
        prewrite: false,
        seed: Some(1),
        ..Options::default()
    }
}

/// A store of several segments, stopped without a word; each block holds one record of 4,000 bytes.
pub(super) fn store() -> SimDisk {
    let disk = SimDisk::new(1);
    let opening = open(Arc::new(disk.clone()), Path::new("data"), options()).unwrap();
    let mut opened = opening.replay(&mut |_| Ok(())).unwrap();
    for offset in 0..BLOCKS {
        let mut builder = BodyBuilder::new();
        builder.run(1, offset, 1, &[Bytes::from(vec![offset as u8; 4_000])]);
        opened.writer.commit(offset, builder.finish()).unwrap();
    }
    disk
}

pub(super) fn replay(disk: &SimDisk, quarantine: bool) -> Result<(Vec<u64>, Opened), StorageError> {
    let options = Options { quarantine, ..options() };
    let mut indexes = Vec::new();
    let opening = open(Arc::new(disk.clone()), Path::new("data"), options)?;
    let opened = opening.replay(&mut |block| {
        indexes.push(block.index);
        Ok(())
    })?;
    Ok((indexes, opened))
}

pub(super) fn slot_files(disk: &SimDisk) -> Vec<std::path::PathBuf> {
    disk.files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "seg"))
        .collect()
}

#[test]
fn what_was_never_written_is_not_read_at_a_start() {
    let reads_of = |segment_bytes| {
        let sizes = Options { segment_bytes, segment_bytes_max: segment_bytes, ..options() };
        let disk = SimDisk::new(1);
        let opening = open(Arc::new(disk.clone()), Path::new("data"), sizes.clone()).unwrap();
        let mut opened = opening.replay(&mut |_| Ok(())).unwrap();
        let mut builder = BodyBuilder::new();
        builder.run(1, 0, 1, &[Bytes::from(vec![7; 4_000])]);
        opened.writer.commit(1, builder.finish()).unwrap();
        drop(opened);
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        disk.on_call(move |call| {
            counted.fetch_add(usize::from(call.op == Op::Read), Ordering::Relaxed);
        });
        let opening = open(Arc::new(disk), Path::new("data"), sizes).unwrap();
        let mut blocks = 0;
        drop(opening.replay(&mut |_| {
            blocks += 1;
            Ok(())
        }));
        assert_eq!(blocks, 1);
        reads.load(Ordering::Relaxed)
    };
    let usual = reads_of(16 << 20);
    assert!(usual > 0, "reads are counted");
    assert_eq!(reads_of(512 << 20), usual);
}

#[test]
fn damaged_first_block_of_any_segment_stops_the_start_and_costs_no_message_with_quarantine() {
    let disk = store();
    let all: Vec<u64> = (1..=BLOCKS).collect();
    let mut refused = 0;
    for path in slot_files(&disk) {
        let damaged = disk.restart();
        damaged.zero_sector(&path, 8).unwrap();
        match replay(&damaged, false) {
            Ok((indexes, opened)) => {
                assert_eq!((indexes, opened.report.damaged), (all.clone(), vec![]));
            }
            Err(StorageError::Damaged(damage)) => {
                assert_eq!((damage.offset, &damage.path), (4096, &path));
                refused += 1;
                let (indexes, opened) = replay(&damaged, true).unwrap();
                assert_eq!(indexes, all, "{}", opened.report);
                for offset in 0..BLOCKS {
                    let run = opened.reader.read(1, offset).unwrap().unwrap();
                    assert_eq!(run.base_offset, offset);
                }
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(refused >= 4, "{refused}");
}

#[test]
fn gap_of_several_blocks_is_reported_with_its_size() {
    let disk = store();
    let (path, at) = (slot_files(&disk)[1].clone(), 8 + 1);
    // Blocks of 4,608 bytes from sector 9 on: two of them are hit.
    for sector in [at, at + 9] {
        disk.zero_sector(&path, sector).unwrap();
    }
    let error = replay(&disk, false).unwrap_err();
    let StorageError::Damaged(damage) = &error else { panic!("{error:?}") };
    assert_eq!(
        (damage.blocks, damage.from.offset(), damage.to.offset()),
        (Some(2), 4608, 4608 + 2 * 4608)
    );
    assert!(error.to_string().contains("2 blocks"), "{error}");
    let (indexes, opened) = replay(&disk, true).unwrap();
    assert_eq!(indexes.len() as u64, BLOCKS - 2);
    let lost: Vec<u64> = (1..=BLOCKS).filter(|index| !indexes.contains(index)).collect();
    // The next run stands in for what is lost; nothing is served in its place.
    let after = opened.reader.read(1, lost[0] - 1).unwrap().unwrap();
    assert_eq!(after.base_offset, lost[1]);
}

#[test]
fn report_is_one_line_that_says_what_was_done() {
    let disk = store();
    let (_, opened) = replay(&disk, false).unwrap();
    let line = opened.report.to_string();
    assert!(line.starts_with("unclean stop, epoch 2, "), "{line}");
    assert!(line.contains("24 blocks") && !line.contains('\n'), "{line}");
}

#[test]
fn lost_header_of_any_segment_is_said_and_costs_nothing() {
    let disk = store();
    let all: Vec<u64> = (1..=BLOCKS).collect();
    for path in slot_files(&disk) {
        let damaged = disk.restart();
        damaged.overwrite(&path, &[0; 4_096], 0).unwrap();
        let (indexes, opened) = replay(&damaged, false).unwrap();
        assert_eq!(indexes, all);
        let said: Vec<_> =
            opened.report.damaged.iter().map(|one| (&one.path, one.offset)).collect();
        assert_eq!(said, [(&path, 0)]);
    }
}

#[test]
fn directory_that_has_lost_a_part_of_the_store_says_which() {
    let disk = store();
    let what = |disk: &SimDisk| match replay(disk, false) {
        Err(StorageError::NotAStore { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let lost = disk.restart();
    lost.lose(Path::new("data/SUPER")).unwrap();
    assert_eq!(what(&lost), "the file SUPER is missing");
    let empty = SimDisk::memory();
    empty.create_dir_all(Path::new("data/ckpt")).unwrap();
    assert_eq!(what(&empty), "the file SUPER is missing");
    let empty = SimDisk::memory();
    empty.create_dir_all(Path::new("data/log-0")).unwrap();
    assert_eq!(what(&empty), "the file SUPER is missing");
}

#[test]
fn report_counts_what_was_read() {
    let disk = store();
    let (_, opened) = replay(&disk, false).unwrap();
    let report = &opened.report;
    let places = 4_608 * BLOCKS + 512 * (5 + 4);
    assert_eq!((report.bytes_replayed, report.segments), (places, 5), "blocks, OPEN, ROLL");
    assert_eq!((report.blocks_replayed, report.cut_bytes), (BLOCKS, 0));
    assert_eq!(report.rewritten_bytes, 4_608, "no later block says that the last was durable");
    assert_eq!(report.end, Lsn::new(5, 4_608 + 4 * 4_608));
    let (one, two) = report.store.split_at(8);
    assert_ne!(one, two);
}

#[test]
fn lock_that_cannot_be_asked_for_is_not_taken_for_one_that_is_held() {
    let disk = SimDisk::new(1);
    disk.fail(Fault::new(Op::Lock, Effect::Error(ErrorKind::Other)));
    assert!(matches!(replay(&disk, false), Err(StorageError::Io { .. })));
    let (_, _opened) = replay(&disk, false).unwrap();
    assert!(matches!(replay(&disk, false), Err(StorageError::AlreadyLocked { .. })));
}

/// Writes another superblock over the one that is there.
fn change_superblock(disk: &SimDisk, change: impl FnOnce(&mut Superblock)) {
    let mut superblock = Superblock::load(disk, Path::new("data")).unwrap();
    change(&mut superblock);
    let file = SuperFile::open(disk, Path::new("data")).unwrap();
    superblock.store_next(&file).unwrap();
}

#[test]
fn superblock_of_a_store_that_is_being_created_does_not_belong_beside_a_log() {
    let disk = store();
    change_superblock(&disk, |superblock| superblock.state = State::Creating);
    match replay(&disk, true) {
        Err(StorageError::Damaged(damage)) => {
            assert_eq!(damage.what, "the superblock is older than the segments");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn log_without_a_single_segment_is_refused_if_something_was_durable() {
    let disk = store();
    let newest = slot_files(&disk).pop().unwrap();
    for path in slot_files(&disk) {
        disk.lose(&path).unwrap();
    }
    let what = |disk: &SimDisk| match replay(disk, true) {
        Err(StorageError::MissingSegment { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(&disk), "the last start made it");
    // A spare in its place, whose number is not that of any segment that was.
    disk.put(&newest, &[0; 32 << 10]).unwrap();
    change_superblock(&disk, |superblock| {
        (superblock.opening_seq, superblock.opening_slot) = (0, 0);
        superblock.durable_lsn = Lsn::new(1, 4_608);
    });
    assert_eq!(what(&disk), "no segment of the log is there");
}

#[test]
fn segment_that_a_start_was_about_to_open_must_be_there() {
    let disk = store();
    let before = slot_files(&disk);
    // The first write behind the superblock is that of the first block.
    let opening = open(Arc::new(disk.clone()), Path::new("data"), options()).unwrap();
    disk.fail(Fault::new(Op::Write, Effect::Error(ErrorKind::Other)).on("slot").after(2));
    opening.replay(&mut |_| Ok(())).unwrap_err();
    disk.heal();
    let made: Vec<_> =
        slot_files(&disk).into_iter().filter(|path| !before.contains(path)).collect();
    assert_eq!((made.len(), replay(&disk.restart(), false).unwrap().0.len()), (1, BLOCKS as usize));
    disk.lose(&made[0]).unwrap();
    let refused = replay(&disk, false);
    assert!(matches!(refused, Err(StorageError::MissingSegment { .. })), "{refused:?}");
}

#[test]
fn starts_alone_do_not_fill_the_disk() {
    let disk = store();
    let counts = [0; 10].map(|_| {
        let (_, opened) = replay(&disk, false).unwrap();
        (slot_files(&disk).len(), opened.report.segments)
    });
    assert_eq!(counts[2..], [counts[9]; 8], "{counts:?}");
}

#[test]
fn what_a_crash_left_half_made_is_removed_and_nothing_else() {
    let disk = store();
    let ours = ["data/SUPER.tmp", "data/ckpt/0000000000000001.tmp"];
    let others = ["data/x.tmp", "data/ckpt/x.tmp", "data/ckpt/0000000000000001"];
    for name in ours.iter().chain(&others) {
        disk.put(Path::new(name), b"half").unwrap();
    }
    replay(&disk, false).unwrap();
    for name in ours {
        assert!(!disk.exists(Path::new(name)).unwrap(), "{name}");
    }
    for name in others {
        assert_eq!(disk.bytes(Path::new(name)).unwrap(), b"half", "{name}");
    }
}

#[test]
fn report_counts_the_segments_below_the_checkpoint_too() {
    let disk = store();
    let (_, opened) = replay(&disk, false).unwrap();
    let end = opened.reader.committed();
    opened.keeper.checkpoint(end, b"state", &[(1, 0)]).unwrap();
    drop(opened);
    let (indexes, opened) = replay(&disk, false).unwrap();
    assert_eq!((indexes.len(), opened.report.segments), (0, 6));
    assert_eq!(opened.report.checkpoint, Some(end));
}
