use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;
use crate::disk::SimDisk;
use crate::disk::sim::Op;
use crate::recovery::tests::{BLOCKS, options, replay, slot_files, store};

const SIZE: u32 = 64 << 10;
/// What a file needs for its first block.
const FRONT: u64 = 4_096 + 512;

/// A file in slot 3: what it says of itself, and how long it is.
fn survey(seq: Option<u32>, has_header: bool, len: u64) -> Survey {
    let id = seq.map(|seq| Arc::new(SegmentId { slot: 3, seq, salt: 1, size: SIZE }));
    let file = SlotFile { slot: 3, len, path: PathBuf::new(), id, has_header, open: None };
    Survey { files: vec![file] }
}

#[test]
fn segment_that_was_announced_is_there_if_its_file_can_be_it_or_a_later_one() {
    let whole = u64::from(SIZE);
    let is_there = |survey: &Survey| check_announced(survey, 3, 8);
    assert!(is_there(&survey(Some(8), true, whole)));
    assert!(!is_there(&survey(Some(8), true, whole - 1)), "it was cut");
    assert!(is_there(&survey(Some(9), true, 0)), "a later life");
    assert!(!is_there(&survey(Some(7), true, whole)), "an earlier life with a whole header");
    assert!(is_there(&survey(Some(7), false, FRONT)), "on the way to a new header");
    assert!(!is_there(&survey(Some(7), false, FRONT - 1)));
    assert!(is_there(&survey(None, false, FRONT)));
    assert!(!is_there(&survey(None, false, FRONT - 1)));
    assert!(!check_announced(&survey(Some(8), true, whole), 4, 8), "another slot");
}

#[test]
fn lost_first_block_is_one_sector_behind_the_header() {
    let survey = survey(Some(8), true, u64::from(SIZE));
    let damage = lost_open(&survey.files[0]);
    assert_eq!(
        (damage.offset, damage.from, damage.to),
        (4_096, Lsn::new(8, 4_096), Lsn::new(8, 4_608))
    );
}

/// How often a start reads from each file, or asks where its data is.
fn reads_at_start(disk: &SimDisk) -> BTreeMap<PathBuf, usize> {
    let reads = Arc::new(Mutex::new(BTreeMap::new()));
    let sink = Arc::clone(&reads);
    disk.on_call(move |call| {
        if matches!(call.op, Op::Read | Op::Len) {
            *sink.lock().unwrap().entry(call.path.to_path_buf()).or_default() += 1;
        }
    });
    drop(crate::open(Arc::new(disk.clone()), Path::new("data"), options()).unwrap());
    let reads = reads.lock().unwrap();
    reads
        .iter()
        .filter(|(path, _)| slot_files(disk).contains(path))
        .map(|(p, n)| (p.clone(), *n))
        .collect()
}

#[test]
fn behind_a_log_that_was_closed_no_spare_is_searched() {
    for is_closed in [true, false] {
        let disk = store();
        let (_, opened) = replay(&disk, false).unwrap();
        opened.keeper.maintain();
        if is_closed {
            opened.writer.seal().unwrap();
        } else {
            drop(opened);
        }
        let disk = disk.restart();
        let reads = reads_at_start(&disk);
        let searched = reads.values().filter(|count| **count > 2).count();
        // Where it was closed is looked at.
        assert_eq!(searched > 1, !is_closed, "{reads:?}");
    }
}

#[test]
fn several_segments_whose_first_block_is_lost_cost_no_message_with_quarantine() {
    for lost in [&[3, 4][..], &[2, 3], &[1, 2, 3, 4], &[1, 4], &[0, 1]] {
        let disk = store();
        let files = slot_files(&disk);
        for number in lost {
            disk.zero_sector(&files[*number], 8).unwrap();
        }
        assert!(matches!(replay(&disk, false), Err(StorageError::Damaged(_))));
        let (indexes, opened) = replay(&disk, true).unwrap();
        assert_eq!(indexes, (1..=BLOCKS).collect::<Vec<_>>(), "{lost:?}");
        let said: Vec<_> = opened.report.damaged.iter().map(|one| &one.path).collect();
        assert_eq!(said, lost.iter().map(|number| &files[*number]).collect::<Vec<_>>());
    }
}

#[test]
fn segment_that_ends_before_the_log_in_it_stops_the_start() {
    let disk = store();
    let path = &slot_files(&disk)[1];
    disk.cut_file(path, 27_648).unwrap();
    match replay(&disk, false) {
        Err(StorageError::Damaged(damage)) => {
            assert_eq!(
                (damage.what, damage.offset),
                ("the file ends before the log in it", 27_648)
            );
        }
        other => panic!("{other:?}"),
    }
    let disk = store();
    disk.cut_file(path, 27_648 + 512).unwrap();
    assert_eq!(replay(&disk, false).unwrap().0.len() as u64, BLOCKS, "the ROLL block is the last");
}

#[test]
fn dead_segment_without_its_header_is_on_the_way_to_its_next_life() {
    let disk = store();
    let (_, opened) = replay(&disk, false).unwrap();
    opened.keeper.checkpoint(opened.report.end, b"state", &[(1, 12)]).unwrap();
    drop(opened);
    let segments = |disk: &SimDisk| replay(disk, false).unwrap().1.report.segments;
    assert_eq!(segments(&disk.restart()), 6);
    let files = slot_files(&disk);
    for (number, is_dead) in [(0, true), (1, true), (2, false)] {
        let headless = disk.restart();
        headless.overwrite(&files[number], &[0; 4_096], 0).unwrap();
        assert_eq!(segments(&headless), 6 - usize::from(is_dead), "{number}");
    }
}

/// A store with a checkpoint that lists segments, all of which are needed.
fn covered_store() -> (SimDisk, Vec<PathBuf>) {
    let disk = store();
    let (_, opened) = replay(&disk, false).unwrap();
    opened.keeper.checkpoint(opened.report.end, b"state", &[(1, 0)]).unwrap();
    drop(opened);
    let files = slot_files(&disk);
    (disk, files)
}

fn check_all_readable(disk: &SimDisk) -> Vec<Damage> {
    let (indexes, opened) = replay(disk, false).unwrap();
    assert_eq!(indexes, [] as [u64; 0]);
    for offset in 0..BLOCKS {
        assert_eq!(opened.reader.read(1, offset).unwrap().unwrap().base_offset, offset);
    }
    opened.report.damaged
}

#[test]
fn segment_below_the_checkpoint_may_lose_both_copies_of_its_name_and_its_index() {
    let (disk, files) = covered_store();
    assert_eq!(check_all_readable(&disk.restart()), []);
    let nameless = disk.restart();
    nameless.overwrite(&files[1], &[0; 4_608], 0).unwrap();
    let damaged = check_all_readable(&nameless);
    assert_eq!(damaged.iter().map(|one| &one.path).collect::<Vec<_>>(), [&files[1]]);
    let headless = disk.restart();
    headless.overwrite(&files[1], &[0; 4_096], 0).unwrap();
    assert_eq!(check_all_readable(&headless).len(), 1);
    let end = 6 * 4_608 + 512;
    let shorter = disk.restart();
    shorter.cut_file(&files[1], end).unwrap();
    assert_eq!(check_all_readable(&shorter), []);
    let too_short = disk.restart();
    too_short.cut_file(&files[1], end - 512).unwrap();
    assert!(matches!(replay(&too_short, false), Err(StorageError::Damaged(_))));
}
