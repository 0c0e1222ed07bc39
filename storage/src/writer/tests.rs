use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::*;
use crate::body::BodyBuilder;
use crate::disk::sim::{Effect, Fault, Op};
use crate::disk::{Disk, OpenMode, SimDisk};
use crate::locks::read;
use crate::{Entry, Opened, Options, RecoveryReport, open};
use bytes::Bytes;

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        segment_bytes_max: 64 << 10,
        reserve_bytes: 0,
        block_bytes_max: 16 << 10,
        background: false,
        prewrite: false,
        seed: Some(1),
        ..Options::default()
    }
}

fn open_with(disk: &SimDisk, options: Options) -> Opened {
    let opening = open(Arc::new(disk.clone()), Path::new("data"), options).unwrap();
    opening.replay(&mut |_| Ok(())).unwrap()
}

fn body(offset: u64, bytes: usize) -> Body {
    let mut builder = BodyBuilder::new();
    builder.run(1, offset, 1, &[Bytes::from(vec![3; bytes])]);
    builder.finish()
}

fn replay(disk: &SimDisk) -> (Vec<Block>, RecoveryReport) {
    let mut blocks = Vec::new();
    let opening = open(Arc::new(disk.clone()), Path::new("data"), options()).unwrap();
    let opened = opening.replay(&mut |block| {
        blocks.push(block.clone());
        Ok(())
    });
    (blocks, opened.unwrap().report)
}

#[test]
fn committed_block_is_visible_in_memory_and_in_its_file() {
    let mut opened = open_with(&SimDisk::memory(), options());
    let block = opened.writer.commit(7, body(0, 500)).unwrap();
    assert_eq!((block.index, block.time_ms, block.epoch), (1, 7, 1));
    assert_eq!(opened.reader.committed(), block.end);
    let Some(Ok(Entry::Run(run))) = block.entries().next() else { panic!("no run") };
    assert_eq!(opened.reader.tail(1, 0), Some(run.clone()));
    assert_eq!(opened.reader.read(1, 0).unwrap(), Some(run));
    assert_eq!(opened.reader.read(1, 1).unwrap(), None);
    assert_eq!(opened.reader.stream_bytes(1), 500);
}

#[test]
fn time_never_goes_back_along_the_log() {
    let disk = SimDisk::memory();
    let mut opened = open_with(&disk, options());
    for (time_ms, expected) in [(10, 10), (5, 10), (11, 11)] {
        let block = opened.writer.commit(time_ms, body(0, 10)).unwrap();
        assert_eq!(block.time_ms, expected);
    }
    drop(opened);
    let mut opened = open_with(&disk, options());
    assert_eq!(opened.writer.commit(1, body(0, 10)).unwrap().time_ms, 11);
}

#[test]
fn body_that_fits_into_no_segment_is_refused_and_nothing_else_changes() {
    let mut opened = open_with(&SimDisk::memory(), options());
    let end = opened.reader.committed();
    let refused = opened.writer.commit(1, body(0, 16 << 10));
    assert!(matches!(refused, Err(StorageError::TooLarge { .. })), "{refused:?}");
    assert_eq!(opened.reader.committed(), end);
    opened.writer.commit(1, body(0, (16 << 10) - 32)).unwrap();
}

#[test]
fn largest_bodies_fill_segment_after_segment() {
    let disk = SimDisk::memory();
    let mut opened = open_with(&disk, options());
    for offset in 0..20 {
        opened.writer.commit(offset, body(offset, (16 << 10) - 32)).unwrap();
        opened.keeper.maintain();
    }
    assert!(opened.reader.committed().seq() > 4);
    for offset in 0..20 {
        assert_eq!(opened.reader.read(1, offset).unwrap().unwrap().base_offset, offset);
    }
    drop(opened);
    let (blocks, report) = replay(&disk);
    assert_eq!((blocks.len(), report.clean), (20, false));
}

#[test]
fn refusal_for_lack_of_space_leaves_the_log_as_it_was() {
    let disk = SimDisk::new(1);
    let mut opened = open_with(&disk, options());
    disk.fail(Fault::new(Op::Allocate, Effect::Error(ErrorKind::StorageFull)).forever());
    let mut offset = 0;
    let refused = loop {
        match opened.writer.commit(1, body(offset, 8_000)) {
            Ok(_) => offset += 1,
            Err(error) => break error,
        }
    };
    assert!(refused.is_no_space(), "{refused:?}");
    disk.heal();
    opened.writer.commit(1, body(offset, 8_000)).unwrap();
    drop(opened);
    assert_eq!(replay(&disk).0.len() as u64, offset + 1);
}

#[test]
fn p16_no_segment_is_used_again_while_somebody_reads_it() {
    let disk = SimDisk::memory();
    let mut opened = open_with(&disk, options());
    let mut last = Lsn::ZERO;
    for offset in 0..20 {
        last = opened.writer.commit(1, body(offset, 8_000)).unwrap().end;
    }
    opened.keeper.maintain();
    let store = Arc::clone(&opened.writer.running.store);
    let (id, end) = {
        let catalogue = read(&store.catalogue);
        let entry = &catalogue.segments[&1];
        (Arc::clone(&entry.id), entry.end)
    };
    let reading = store.sealed(&id, end).unwrap();
    let before = reading.segment.read(4_096, 60_000).unwrap();
    drop(id);
    let mut freed = 0;
    for _ in 0..2 {
        freed += opened.keeper.checkpoint(last, b"state", &[(1, 20)]).unwrap().freed_segments;
    }
    assert!(freed >= 2, "{freed}");
    // All files that may be used again are; the one that is read is not.
    for offset in 20..60 {
        opened.writer.commit(1, body(offset, 8_000)).unwrap();
        opened.keeper.maintain();
        assert_eq!(reading.segment.read(4_096, 60_000).unwrap(), before);
    }
    let slots_used = |store: &Store| {
        let catalogue = read(&store.catalogue);
        catalogue.segments.values().map(|entry| entry.id.slot).collect::<Vec<_>>()
    };
    assert!(!slots_used(&store).contains(&reading.segment.id.slot));
    // Once it is let go, it is used.
    let slot = reading.segment.id.slot;
    drop(reading);
    for offset in 60..120 {
        opened.writer.commit(1, body(offset, 8_000)).unwrap();
        opened.keeper.maintain();
    }
    assert!(slots_used(&store).contains(&slot));
}

#[test]
fn p36_space_is_given_back_in_small_steps() {
    const STEP: u64 = 24 << 10;
    let disk = SimDisk::memory();
    let mut opened = open_with(&disk, Options { give_back_bytes: STEP, ..options() });
    let mut last = Lsn::ZERO;
    for offset in 0..200 {
        last = opened.writer.commit(1, body(offset, 8_000)).unwrap().end;
        opened.keeper.maintain();
    }
    for _ in 0..2 {
        opened.keeper.checkpoint(last, b"state", &[(1, 200)]).unwrap();
    }
    let log_bytes = || -> u64 {
        let files =
            disk.files().into_iter().filter(|path| path.extension() == Some("seg".as_ref()));
        files.map(|path| disk.open(&path, OpenMode::Read).unwrap().len().unwrap()).sum()
    };
    let mut steps = vec![log_bytes()];
    loop {
        opened.keeper.maintain();
        let now = log_bytes();
        assert_eq!(opened.reader.space().log_bytes, now, "what is counted is what is there");
        let before = *steps.last().unwrap();
        if now == before {
            break;
        }
        assert!(before - now <= STEP, "{before} to {now} at once");
        steps.push(now);
    }
    assert!(steps.len() > 20, "{steps:?}");
    // What was cut in the middle is used again at its full size.
    for offset in 200..300 {
        opened.writer.commit(1, body(offset, 8_000)).unwrap();
        opened.keeper.maintain();
    }
    drop(opened);
    assert_eq!(replay(&disk).0.last().unwrap().index, 300);
}

#[test]
fn offsets_are_found_by_time_and_trimmed_by_whole_segments() {
    let mut opened = open_with(&SimDisk::memory(), options());
    for offset in 0..20 {
        opened.writer.commit(1_000 + offset * 10, body(offset, 8_000)).unwrap();
        if offset % 5 == 0 {
            opened.keeper.maintain();
        }
    }
    for (time_ms, offset) in
        [(0, Some(0)), (1_000, Some(0)), (1_001, Some(1)), (1_190, Some(19)), (1_191, None)]
    {
        assert_eq!(opened.reader.run_time(1, time_ms).unwrap(), offset, "{time_ms}");
    }
    assert_eq!(opened.reader.run_time(2, 0).unwrap(), None);
    let floor = opened.keeper.retention_floor(1, Some(1_100), None).unwrap();
    assert!((6..=10).contains(&floor), "{floor}");
    assert_eq!(opened.keeper.retention_floor(1, Some(1_000), None), None);
    let by_bytes = opened.keeper.retention_floor(1, None, Some(80_000)).unwrap();
    assert!((6..=10).contains(&by_bytes), "{by_bytes}");
    assert_eq!(opened.keeper.retention_floor(1, None, Some(u64::MAX)), None);
    assert_eq!(opened.keeper.retention_floor(9, Some(u64::MAX), None), None);
}

#[test]
fn p15_a_failed_read_fails_that_read_only() {
    let disk = SimDisk::new(1);
    let mut opened = open_with(&disk, Options { tail_cache_bytes: 0, ..options() });
    for offset in 0..3 {
        opened.writer.commit(1, body(offset, 800)).unwrap();
    }
    disk.fail(Fault::new(Op::Read, Effect::Error(ErrorKind::Other)));
    let failed = opened.reader.read(1, 0);
    assert!(matches!(failed, Err(StorageError::Io { .. })), "{failed:?}");
    assert_eq!(opened.reader.read(1, 1).unwrap().unwrap().base_offset, 1);
    assert_eq!(opened.reader.read(1, 0).unwrap().unwrap().base_offset, 0);
    opened.writer.commit(1, body(3, 800)).unwrap();
}

/// A log thread, and what it says is done.
fn spawned(
    disk: &SimDisk,
) -> (CommitHandle, Receiver<Result<Arc<Block>, StorageError>>, crate::LogReader) {
    let opened = open_with(disk, options());
    let (sender, done) = channel();
    let handle = spawn(opened.writer, move |result| sender.send(result).unwrap()).unwrap();
    (handle, done, opened.reader)
}

const SOON: Duration = Duration::from_secs(10);

fn submit(handle: &CommitHandle, offset: u64) {
    submit_of(handle, offset, 100);
}

fn submit_of(handle: &CommitHandle, offset: u64, bytes: usize) {
    let mut waiting = body(offset, bytes);
    let deadline = Instant::now() + SOON;
    loop {
        match handle.submit(offset, waiting) {
            Ok(()) => return,
            Err(Refused::Busy(body)) => waiting = body,
            Err(Refused::Stopped(_)) => panic!("the log thread is gone"),
        }
        assert!(Instant::now() < deadline, "busy for too long");
        std::thread::yield_now();
    }
}

#[test]
fn log_thread_answers_every_body_in_order_and_seals_at_shutdown() {
    let disk = SimDisk::memory();
    let (handle, done, reader) = spawned(&disk);
    for offset in 0..50 {
        submit(&handle, offset);
    }
    handle.shutdown().unwrap();
    let indexes: Vec<u64> = done.iter().map(|block| block.unwrap().index).collect();
    assert_eq!(indexes, (1..=50).collect::<Vec<_>>());
    drop(reader);
    let (blocks, report) = replay(&disk);
    assert_eq!((blocks.len(), report.clean, report.cut_bytes), (50, true, 0));
}

#[test]
fn idle_log_thread_gives_the_last_block_a_witness() {
    let disk = SimDisk::memory();
    let (handle, done, reader) = spawned(&disk);
    submit(&handle, 0);
    let block = done.recv_timeout(SOON).unwrap().unwrap();
    let deadline = Instant::now() + SOON;
    while reader.committed() == block.end {
        assert!(Instant::now() < deadline, "no beacon");
        std::thread::yield_now();
    }
    assert_eq!(reader.committed().0, block.end.0 + 512);
    drop(handle);
}

#[test]
fn log_thread_answers_with_errors_after_the_first_failed_sync() {
    let disk = SimDisk::new(1);
    let (handle, done, reader) = spawned(&disk);
    let end = reader.committed();
    disk.fail(Fault::new(Op::Sync, Effect::Error(ErrorKind::Other)));
    for offset in 0..3 {
        submit(&handle, offset);
    }
    let first = done.recv_timeout(SOON).unwrap();
    assert!(matches!(first, Err(StorageError::Io { .. })), "{first:?}");
    for _ in 0..2 {
        let later = done.recv_timeout(SOON).unwrap();
        assert!(matches!(later, Err(StorageError::Poisoned)), "{later:?}");
    }
    assert!(matches!(handle.shutdown(), Err(StorageError::Poisoned)));
    assert_eq!(reader.committed(), end);
}

#[test]
fn space_that_was_never_written_is_zeroed_ahead_of_small_blocks_once() {
    let options = Options {
        segment_bytes: 1 << 20,
        segment_bytes_max: 1 << 20,
        block_bytes_max: 512 << 10,
        prewrite: true,
        ..options()
    };
    let mut opened = open_with(&SimDisk::memory(), options);
    let writer = &mut opened.writer;
    writer.commit(1, body(0, 500)).unwrap();
    assert_eq!(u64::from(writer.written), ZEROS_AHEAD);
    writer.commit(1, body(1, 500)).unwrap();
    assert_eq!(u64::from(writer.written), ZEROS_AHEAD, "what was zeroed is not zeroed again");
    writer.commit(1, body(2, 300 << 10)).unwrap();
    let behind = writer.written - writer.at;
    assert!(u64::from(behind) < PAGE, "a large block takes {behind} bytes with it");
    writer.commit(1, body(3, 500)).unwrap();
    assert_eq!(u64::from(writer.written), 2 * ZEROS_AHEAD);
}

#[test]
fn log_thread_without_space_waits_for_some_and_goes_on_by_itself() {
    let disk = SimDisk::new(1);
    let (handle, done, reader) = spawned(&disk);
    disk.fail(Fault::new(Op::Allocate, Effect::Error(ErrorKind::StorageFull)).forever());
    let mut blocks = 0;
    let deadline = Instant::now() + SOON;
    while !reader.space().is_waited_for {
        assert!(Instant::now() < deadline, "it never runs out of space");
        let submitted = handle.submit(1, body(blocks, 8_000));
        match submitted.map(|()| done.recv_timeout(Duration::from_millis(50))) {
            Ok(Ok(done)) => assert_eq!(done.unwrap().index, blocks + 1),
            Ok(Err(_silent)) => assert!(!reader.space().publishes_allowed),
            Err(refused) => panic!("{refused:?}"),
        }
        blocks += 1;
    }
    disk.heal();
    assert_eq!(done.recv_timeout(SOON).unwrap().unwrap().index, blocks);
    assert!(!reader.space().is_waited_for);
    handle.shutdown().unwrap();
    drop(reader);
    let (found, report) = replay(&disk);
    assert_eq!((found.len() as u64, report.clean), (blocks, true));
}

#[test]
fn log_thread_that_waits_for_space_ends_when_nobody_waits_for_it() {
    let disk = SimDisk::new(1);
    let (handle, done, reader) = spawned(&disk);
    disk.fail(Fault::new(Op::Allocate, Effect::Error(ErrorKind::StorageFull)).forever());
    let mut blocks = 0;
    while !reader.space().is_waited_for {
        handle.submit(1, body(blocks, 8_000)).unwrap();
        blocks += u64::from(done.recv_timeout(Duration::from_millis(300)).is_ok());
    }
    handle.shutdown().unwrap();
    let last = done.recv_timeout(SOON).unwrap();
    assert!(matches!(&last, Err(error) if error.is_no_space()), "{last:?}");
    drop(reader);
    disk.heal();
    let (found, report) = replay(&disk);
    assert_eq!((found.len() as u64, report.clean), (blocks, true));
}

#[test]
fn log_thread_that_waits_for_space_with_two_bodies_ends_when_nobody_waits_for_them() {
    let disk = SimDisk::new(1);
    let (handle, done, reader) = spawned(&disk);
    disk.fail(Fault::new(Op::Allocate, Effect::Error(ErrorKind::StorageFull)).forever());
    let mut blocks = 0;
    while !reader.space().is_waited_for {
        handle.submit(1, body(blocks, 8_000)).unwrap();
        blocks += u64::from(done.recv_timeout(Duration::from_millis(300)).is_ok());
    }
    // The thread takes the second out of the channel, and then there is room in it for a third.
    for offset in 1..3 {
        submit_of(&handle, blocks + offset, 8_000);
    }
    let ended = std::thread::spawn(move || handle.shutdown());
    for _ in 0..3 {
        let last = done.recv_timeout(SOON).unwrap();
        assert!(matches!(&last, Err(error) if error.is_no_space()), "{last:?}");
    }
    ended.join().unwrap().unwrap();
    drop(reader);
    disk.heal();
    let (found, report) = replay(&disk);
    assert_eq!((found.len() as u64, report.clean), (blocks, true));
}

#[test]
fn local_blocks_count_their_marks_as_entries() {
    let tip = Tip { index: 4, term: 1, chain: 9, time_ms: 8, epoch: 2 };
    let at = Lsn::new(3, 4_608);
    let beacon = tip.local(BEACON, at, at, &[]);
    assert_eq!((beacon.entries, beacon.body_len, beacon.padded_len), (0, 0, 512));
    let roll = tip.local(ROLL, at, at, &[1; 24]);
    assert_eq!((roll.entries, roll.body_len, roll.padded_len), (1, 24, 512));
}

#[test]
fn index_stands_behind_the_seal() {
    let disk = SimDisk::memory();
    let mut opened = open_with(&disk, options());
    for offset in 0..3 {
        opened.writer.commit(1, body(offset, 500)).unwrap();
    }
    let segment = opened.writer.active.clone();
    opened.writer.seal().unwrap();
    let end = opened.reader.committed().offset();
    let footer = crate::sealed::read_footer(&segment, end).unwrap();
    assert_eq!((footer.blocks(), footer.slices(1)[0].1.end_offset), (3, 3));
}

#[test]
fn segments_count_as_written_where_zeros_are_not_written_ahead() {
    for (prewrite, is_written) in [(false, true), (true, false)] {
        let opened = open_with(&SimDisk::memory(), Options { prewrite, ..options() });
        let (writer, size) = (&opened.writer, opened.writer.active.id.size);
        assert_eq!(writer.written, if is_written { size } else { writer.at });
        let spare = writer.store().slots.take(0, Room::KeepReserve).unwrap();
        let spare = Spare { is_written: true, ..spare };
        assert_eq!(written(&spare, 4_608, &writer.store().options), size);
    }
}

#[test]
fn largest_body_leaves_room_for_the_marks_and_twice_its_index() {
    let with = |runs: u64, bytes: usize| {
        let mut builder = BodyBuilder::new();
        for stream in 0..runs {
            builder.run(stream as u32, 0, 1, &[Bytes::from(vec![3; bytes])]);
        }
        builder.finish()
    };
    let options = Options { block_bytes_max: 64 << 10, ..options() };
    let mut opened = open_with(&SimDisk::memory(), options);
    // One run ends at the last page but one; of many, each takes 40 bytes in the block and 56 in its index.
    for (good, bad) in [(with(1, 56_704), with(1, 56_705)), (with(394, 1), with(395, 1))] {
        let refused = opened.writer.commit(1, bad);
        assert!(matches!(refused, Err(StorageError::TooLarge { .. })), "{refused:?}");
        opened.writer.commit(1, good).unwrap();
    }
}

#[test]
fn log_thread_whose_next_segment_fails_says_why_once() {
    let disk = SimDisk::new(1);
    let (handle, done, _reader) = spawned(&disk);
    disk.fail(Fault::new(Op::Allocate, Effect::Error(ErrorKind::Other)));
    let mut offset = 0;
    let first = loop {
        submit_of(&handle, offset, 8_000);
        match done.recv_timeout(SOON).unwrap() {
            Ok(_) => offset += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(first, StorageError::Io { .. }), "{first:?}");
    submit(&handle, offset);
    let later = done.recv_timeout(SOON).unwrap();
    assert!(matches!(later, Err(StorageError::Poisoned)), "{later:?}");
}

#[test]
fn log_thread_says_that_a_body_is_too_large_instead_of_waiting_for_space() {
    let (handle, done, _reader) = spawned(&SimDisk::memory());
    submit_of(&handle, 0, 16 << 10);
    let refused = done.recv_timeout(SOON).unwrap();
    assert!(matches!(refused, Err(StorageError::TooLarge { .. })), "{refused:?}");
    submit(&handle, 0);
    done.recv_timeout(SOON).unwrap().unwrap();
    handle.shutdown().unwrap();
}
