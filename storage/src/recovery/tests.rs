use super::*;
use crate::body::BodyBuilder;
use crate::disk::SimDisk;
use crate::disk::sim::Op;
use crate::lsn::Lsn;
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
