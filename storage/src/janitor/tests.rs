use std::cell::Cell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::*;
use crate::body::BodyBuilder;
use crate::disk::sim::{Effect, Fault, Op};
use crate::disk::{Disk, SimDisk};
use crate::slots::{Room, Spare};
use crate::{Opened, Options, open};

const SIZE: u64 = 64 << 10;

fn options() -> Options {
    Options {
        segment_bytes: SIZE as u32,
        segment_bytes_max: SIZE as u32,
        reserve_bytes: 0,
        block_bytes_max: 16 << 10,
        background: false,
        seed: Some(1),
        ..Options::default()
    }
}

fn open_with(disk: &SimDisk, options: Options) -> Opened {
    let opening = open(Arc::new(disk.clone()), Path::new("data"), options).unwrap();
    opening.replay(&mut |_| Ok(())).unwrap()
}

/// Commits so many runs of different streams, with so many bytes each.
fn commit(opened: &mut Opened, runs: u32, bytes: usize) {
    let mut builder = BodyBuilder::new();
    for stream in 1..=runs {
        builder.run(stream, 0, 1, &[Bytes::from(vec![1; bytes])]);
    }
    opened.writer.commit(1, builder.finish()).unwrap();
}

fn slot_one() -> PathBuf {
    Path::new("data/log-0").join("slot-000001.seg")
}

fn len_of_first(disk: &SimDisk) -> u64 {
    disk.open(&slot_one(), OpenMode::Read).unwrap().len().unwrap()
}

/// The length of the first segment after a restart has ended it behind blocks of so many runs and bytes.
fn len_after_restart(blocks: u32, runs: u32, bytes: usize) -> (u64, u32) {
    let disk = SimDisk::memory();
    let mut opened = open_with(&disk, options());
    (0..blocks).for_each(|_| commit(&mut opened, runs, bytes));
    let end = opened.reader.committed();
    assert_eq!(end.seq(), 1);
    drop(opened);
    let opened = open_with(&disk, options());
    for _ in 0..2 {
        opened.keeper.maintain();
        let files =
            disk.files().into_iter().filter(|path| path.extension() == Some("seg".as_ref()));
        let bytes: u64 =
            files.map(|path| disk.open(&path, OpenMode::Read).unwrap().len().unwrap()).sum();
        assert_eq!(opened.reader.space().log_bytes, bytes, "what is counted is what is there");
    }
    assert!(short(opened.keeper.store()).is_empty(), "nothing is looked at again");
    (len_of_first(&disk), end.offset())
}

#[test]
fn segment_that_a_restart_ended_early_keeps_its_blocks_and_index_and_no_more() {
    for (blocks, runs, bytes) in [(1, 1, 100), (3, 1, 8_000), (2, 100, 10)] {
        let (len, end) = len_after_restart(blocks, runs, bytes);
        let index = footer::footer_bytes((blocks * runs) as usize, runs as usize, blocks as usize);
        assert_eq!(len, round_up(u64::from(end) + index, 4_096), "{blocks} of {runs}");
    }
}

#[test]
fn segment_that_is_mostly_used_keeps_its_length() {
    let (len, end) = len_after_restart(4, 1, 8_000);
    assert!(u64::from(end) > SIZE / 2 && end < 40_000, "{end}");
    assert_eq!(len, SIZE, "more than half of it is blocks");
    let (len, end) = len_after_restart(2, 300, 8);
    assert!(u64::from(end) < SIZE / 2, "{end}");
    assert_eq!(len, SIZE, "blocks and index together are more than three quarters");
}

#[test]
fn a_turn_says_what_is_left_to_do() {
    let disk = SimDisk::new(1);
    let opened = open_with(&disk, Options { give_back_bytes: 8_192, ..options() });
    let store = opened.keeper.store();
    assert_eq!(round(store).unwrap(), After::Done);
    disk.set_capacity(Some(0));
    let spare = store.slots.take(0, Room::KeepReserve).unwrap();
    assert_eq!(round(store).unwrap(), After::Full);
    disk.set_capacity(None);
    let taken: Vec<Spare> =
        (0..12).map(|_| store.slots.take(0, Room::KeepReserve).unwrap()).collect();
    taken.into_iter().chain([spare]).for_each(|spare| store.slots.retire_spare(spare));
    let (files, mut turns) = (disk.files().len() as u64, 0);
    while round(store).unwrap() == After::More {
        turns += 1;
    }
    let gone = files - disk.files().len() as u64;
    assert_eq!((gone, turns), (turns * 8_192 / SIZE, gone * SIZE / 8_192));
    assert!(gone > 0);
}

#[test]
fn failed_index_stays_in_memory_if_the_disk_is_full_and_ends_writing_otherwise() {
    let disk = SimDisk::new(1);
    let mut opened = open_with(&disk, options());
    (0..8).for_each(|_| commit(&mut opened, 1, 8_000));
    assert!(opened.reader.committed().seq() > 1);
    let held = |opened: &Opened| frozen(opened.keeper.store()).len();
    assert_eq!(held(&opened), 1);
    disk.fail(Fault::new(Op::Write, Effect::Error(ErrorKind::StorageFull)));
    opened.keeper.maintain();
    assert_eq!(held(&opened), 1);
    disk.fail(Fault::new(Op::Write, Effect::Error(ErrorKind::Other)));
    assert!(matches!(round(opened.keeper.store()), Err(StorageError::Io { .. })));
    opened.keeper.maintain();
    assert_eq!(held(&opened), 0);
    commit(&mut opened, 1, 10);
}

#[test]
fn failed_spare_ends_writing_unless_the_disk_is_full() {
    for (kind, is_fatal) in [(ErrorKind::StorageFull, false), (ErrorKind::Other, true)] {
        let disk = SimDisk::new(1);
        let mut opened = open_with(&disk, options());
        disk.fail(Fault::new(Op::Allocate, Effect::Error(kind)));
        opened.keeper.maintain();
        let mut builder = BodyBuilder::new();
        builder.command(1, &[]);
        let committed = opened.writer.commit(1, builder.finish());
        assert_eq!(committed.is_err(), is_fatal, "{committed:?}");
    }
}

#[test]
fn zeros_are_written_over_a_spare_in_steps_and_leave_its_header() {
    let disk = SimDisk::memory();
    let large = Options { segment_bytes: 2_332 << 10, segment_bytes_max: 2_332 << 10, ..options() };
    let opened = open_with(&disk, large);
    let spare = opened.keeper.store().slots.take(0, Room::KeepReserve).unwrap();
    let path = spare.segment.path.as_path();
    let header = disk.bytes(path).unwrap()[..4_096].to_vec();
    let garbage = vec![0xFF; (2_332 << 10) - 4_096];
    disk.overwrite(path, &garbage, 4_096).unwrap();
    assert!(!write_zeros(&spare.segment, || true).unwrap());
    assert_eq!(disk.bytes(path).unwrap()[4_096..], garbage, "there is something else to do");
    let steps = Cell::new(0);
    let count = || {
        steps.set(steps.get() + 1);
        false
    };
    assert!(write_zeros(&spare.segment, count).unwrap());
    let bytes = disk.bytes(path).unwrap();
    assert_eq!((steps.get(), bytes.len()), (3, 2_332 << 10));
    assert_eq!(bytes[..4_096], header);
    assert!(bytes[4_096..].iter().all(|byte| *byte == 0));
}

#[test]
fn spare_that_was_written_over_is_known_as_such_and_one_that_was_not_stays() {
    let disk = SimDisk::new(1);
    let mut opened = open_with(&disk, options());
    opened.keeper.maintain();
    let store = opened.keeper.store();
    prewrite(store);
    assert!(store.slots.has_unwritten());
    disk.fail(Fault::new(Op::Write, Effect::Error(ErrorKind::StorageFull)));
    let files = disk.files().len();
    prewrite(store);
    round(store).unwrap();
    assert_eq!(disk.files().len(), files, "its file is made ready again");
    store.slots.wake();
    prewrite(store);
    assert!(store.slots.has_unwritten(), "there was something else to do");
    prewrite(store);
    assert!(store.slots.has_unwritten(), "one is left");
    prewrite(store);
    assert!(!store.slots.has_unwritten());
    prewrite(store);
    let spare = store.slots.take(0, Room::KeepReserve).unwrap();
    store.slots.put_back(Spare { is_written: false, ..spare });
    disk.fail(Fault::new(Op::Sync, Effect::Error(ErrorKind::Other)));
    prewrite(store);
    let refused = opened.writer.beacon();
    assert!(matches!(refused, Err(StorageError::Io { .. })), "{refused:?}");
}

#[test]
fn demand_is_bytes_per_second_over_a_time_that_means_something() {
    let now = Instant::now();
    let mut demand = Demand { written: 1_000, since: now + Duration::from_secs(3_600) };
    assert_eq!(demand.bytes_per_second(9_000), None);
    assert_eq!(demand.written, 1_000);
    demand.since = now - Duration::from_secs(10);
    let rate = demand.bytes_per_second(1_001_000).unwrap();
    let at_least = 1_000_000_000 / now.elapsed().as_millis().saturating_add(10_001) as u64;
    assert!((at_least..=100_000).contains(&rate), "{rate}");
    assert_eq!(demand.written, 1_001_000);
    assert!(demand.since >= now);
}

#[test]
fn thread_makes_spares_without_being_asked_and_its_failure_ends_writing() {
    let disk = SimDisk::new(1);
    disk.fail(Fault::new(Op::Allocate, Effect::Error(ErrorKind::Other)).after(2));
    let background = Options { background: true, prewrite: false, ..options() };
    let mut opened = open_with(&disk, background);
    let deadline = Instant::now() + Duration::from_secs(10);
    let error = loop {
        assert!(Instant::now() < deadline, "nothing was made ready");
        match opened.writer.make_room(&BodyBuilder::new().finish()) {
            Ok(()) => thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StorageError::Io { .. }), "{error:?}");
    assert_eq!(disk.faults_struck(), 1);
}

#[test]
fn segments_that_restarts_ended_early_are_shortened_by_so_much_a_turn() {
    const STEP: u64 = 20 << 10;
    let disk = SimDisk::memory();
    for _ in 0..2 {
        commit(&mut open_with(&disk, options()), 1, 100);
    }
    let opened = open_with(&disk, Options { give_back_bytes: STEP, ..options() });
    let log_bytes = || opened.reader.space().log_bytes;
    let second = || disk.open(&slot_one().with_file_name("slot-000002.seg"), OpenMode::Read);
    opened.keeper.maintain();
    // Both are to keep 8 KiB, and the first turn has made three spares as well.
    let excess = 2 * (SIZE - (8 << 10));
    let full = log_bytes() + STEP;
    for turn in 1..=excess / STEP {
        assert_eq!(full - log_bytes(), turn * STEP);
        opened.keeper.maintain();
    }
    assert_eq!(full - log_bytes(), excess);
    assert_eq!((len_of_first(&disk), second().unwrap().len().unwrap()), (8 << 10, 8 << 10));
    assert!(short(opened.keeper.store()).is_empty());
}

#[test]
fn zeros_wait_until_there_is_nothing_else_to_do_and_little_is_written() {
    assert!(is_idle(false, After::Done, IDLE_BYTES_PER_SECOND - 1));
    assert!(!is_idle(false, After::Done, IDLE_BYTES_PER_SECOND));
    assert!(!is_idle(true, After::Done, 0));
    assert!(!is_idle(false, After::More, 0));
    assert!(!is_idle(false, After::Full, 0));
}
