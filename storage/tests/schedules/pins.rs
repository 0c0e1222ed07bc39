//! Pins of segments: no file is stamped or written over while somebody reads it (P16).

use std::sync::Arc;

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::Keep;
use posthaste_storage::{LogReader, Opened};
use shuttle::thread;

use crate::check_schedules;
use crate::store::{batches, body, open_on, options};

/// Commits until the log has rolled twice, with a checkpoint that frees all before the last block, and again: the files of
/// the first segments are used again.
fn write_and_free(opened: &mut Opened, from: u64, to: u64) {
    for offset in from..to {
        let block = opened.writer.commit(offset, body(offset)).unwrap();
        opened.keeper.checkpoint(block.end, b"", &[(1, offset)]).unwrap();
        opened.keeper.maintain();
    }
}

/// Reads one offset: the run itself, or a later one if it was freed; never other bytes.
fn read_one(reader: &LogReader, offset: u64) {
    if let Some(run) = reader.read(1, offset).unwrap() {
        assert!(run.base_offset >= offset, "a run before the one asked for");
        assert_eq!(run.batches, batches(run.base_offset), "bytes of another life");
    }
}

fn readers_beside_reuse(background: bool) {
    let disk = SimDisk::new(1);
    let mut opened = open_on(&disk, posthaste_storage::Options { background, ..options() });
    write_and_free(&mut opened, 0, 3);
    let readers: Vec<_> = (0..2)
        .map(|number| {
            let reader = opened.reader.clone();
            thread::spawn(move || (0..3).for_each(|offset| read_one(&reader, offset + number)))
        })
        .collect();
    write_and_free(&mut opened, 3, 9);
    for reader in readers {
        reader.join().unwrap();
    }
    drop(opened);
}

#[test]
fn p16_no_schedule_of_readers_and_reuse_shows_bytes_of_another_life() {
    check_schedules("readers beside reuse", 2_000, || readers_beside_reuse(false));
}

#[test]
fn p16_no_schedule_of_the_janitor_beside_them_does_either() {
    check_schedules("readers beside reuse and the janitor", 1_000, || readers_beside_reuse(true));
}

#[test]
fn p04_what_a_reader_is_shown_is_on_the_disk() {
    check_schedules("a power cut beside a reader", 2_000, || {
        let disk = SimDisk::new(1);
        let mut opened = open_on(&disk, options());
        let (reader, watched) = (opened.reader.clone(), disk.clone());
        let watcher = thread::spawn(move || {
            let shown = reader.committed();
            let found = open_on(&watched.power_cut(Keep::Nothing), options());
            assert!(found.report.end >= shown, "{} of {shown:?}", found.report);
        });
        for offset in 0..3 {
            opened.writer.commit(offset, body(offset)).unwrap();
        }
        watcher.join().unwrap();
    });
}

#[test]
fn what_was_confirmed_is_read_by_whoever_is_told() {
    check_schedules("a reader told of a commit", 1_000, || {
        let disk = SimDisk::new(1);
        let mut opened = open_on(&disk, options());
        let (tell, told) = shuttle::sync::mpsc::channel();
        let reader = opened.reader.clone();
        let other = thread::spawn(move || {
            for offset in told.iter() {
                let run = reader.read(1, offset).unwrap().unwrap();
                assert_eq!((run.base_offset, run.batches), (offset, batches(offset)));
            }
        });
        for offset in 0..5 {
            opened.writer.commit(offset, body(offset)).unwrap();
            tell.send(offset).unwrap();
        }
        drop(tell);
        other.join().unwrap();
        assert_eq!(Arc::new(opened).reader.read(1, 5).unwrap(), None);
    });
}
