use bytes::Bytes;

use super::*;
use crate::body::BodyBuilder;
use crate::disk::SimDisk;
use crate::slots::Room;
use crate::{Opened, Options, open};

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        segment_bytes_max: 64 << 10,
        reserve_bytes: 0,
        block_bytes_max: 16 << 10,
        checkpoint_log_bytes: 1 << 40,
        background: false,
        prewrite: false,
        seed: Some(1),
        ..Options::default()
    }
}

fn replay_with(disk: &SimDisk, options: Options) -> (Opened, Vec<u64>) {
    let opening = open(Arc::new(disk.clone()), Path::new("data"), options).unwrap();
    let mut indexes = Vec::new();
    let opened = opening.replay(&mut |block| {
        indexes.push(block.index);
        Ok(())
    });
    (opened.unwrap(), indexes)
}

fn opened(disk: &SimDisk) -> Opened {
    replay_with(disk, options()).0
}

/// Commits one record of 8,000 bytes in stream 1; the end of its block.
fn commit(opened: &mut Opened, offset: u64) -> Lsn {
    let mut builder = BodyBuilder::new();
    builder.run(1, offset, 1, &[Bytes::from(vec![3; 8_000])]);
    opened.writer.commit(1_000 + offset, builder.finish()).unwrap().end
}

/// Commits such records until the log has come to segment `seq`; how many there are then, and the end of the log.
fn fill(opened: &mut Opened, seq: u32) -> (u64, Lsn) {
    let mut end = opened.reader.committed();
    let mut count = 0;
    while end.seq() < seq {
        end = commit(opened, count);
        count += 1;
    }
    (count, end)
}

#[test]
fn the_two_newest_checkpoints_are_kept() {
    let disk = SimDisk::memory();
    let mut opened = opened(&disk);
    assert_eq!(opened.report.checkpoint, None);
    for offset in 0..4 {
        let end = commit(&mut opened, offset);
        opened.keeper.checkpoint(end, &[offset as u8], &[(1, 0)]).unwrap();
    }
    let mut kept = disk.files();
    kept.retain(|path| path.extension() == Some("ckpt".as_ref()));
    let expected =
        [3, 4].map(|generation| Path::new("data/ckpt").join(checkpoint::file_name(generation)));
    assert_eq!(kept, expected);
}

#[test]
fn checkpoint_knows_the_block_that_it_ends_with_wherever_the_index_is() {
    let disk = SimDisk::memory();
    let mut opened = opened(&disk);
    let ends: Vec<Lsn> = (0..20).map(|offset| commit(&mut opened, offset)).collect();
    let count_in = |seq| ends.iter().filter(|end| end.seq() == seq).count();
    let second = count_in(1) + count_in(2);
    assert!(ends[19].seq() == 3 && count_in(3) > 2);
    let check = |opened: &Opened, number: usize| {
        opened.keeper.checkpoint(ends[number - 1], b"state", &[(1, 0)]).unwrap();
        let newest = lock(&opened.keeper.store().kept).newest.unwrap();
        assert_eq!((newest.tip.index, newest.covered), (number as u64, ends[number - 1]));
        assert_eq!(newest.tip.time_ms, 999 + number as u64);
    };
    check(&opened, 2);
    opened.keeper.maintain();
    check(&opened, 3);
    check(&opened, second - 1);
    check(&opened, second);
    check(&opened, 18);
    drop(opened);
    let (_, replayed) = replay_with(&disk, options());
    assert_eq!(replayed, [19, 20]);
}

#[test]
fn segment_as_old_as_the_limit_is_not_too_old() {
    let mut opened = opened(&SimDisk::memory());
    fill(&mut opened, 3);
    let (last, end_offset) = {
        let catalogue = read(&opened.keeper.store().catalogue);
        (catalogue.segments[&1].last_time_ms, catalogue.streams[&1].slices[0].end_offset)
    };
    assert_eq!(last, 999 + end_offset);
    assert_eq!(opened.keeper.retention_floor(1, Some(last), None), None);
    assert_eq!(opened.keeper.retention_floor(1, Some(last + 1), None), Some(end_offset));
}

#[test]
fn checkpoint_is_due_to_the_byte() {
    let disk = SimDisk::memory();
    let mut before = opened(&disk);
    let start = before.reader.committed();
    commit(&mut before, 0);
    let grown = u64::from(before.reader.committed().offset() - start.offset());
    drop(before);
    for (limit, is_due) in [(grown, true), (grown + 1, false)] {
        let disk = SimDisk::memory();
        let limited = Options { checkpoint_log_bytes: limit, ..options() };
        let (mut opened, _) = replay_with(&disk, limited);
        assert!(!opened.keeper.due());
        commit(&mut opened, 0);
        assert_eq!(opened.keeper.due(), is_due, "{limit}");
    }
}

#[test]
fn full_disk_asks_for_a_checkpoint_only_if_one_gives_something_back() {
    let disk = SimDisk::memory();
    let mut opened = opened(&disk);
    let (count, end) = fill(&mut opened, 3);
    disk.set_capacity(Some(0));
    let is_due = |opened: &Opened| {
        lock(&opened.keeper.store().kept).tried = None;
        opened.keeper.due()
    };
    assert!(is_due(&opened), "the log has grown");
    disk.set_capacity(None);
    opened.keeper.checkpoint(end, b"state", &[(1, 0)]).unwrap();
    disk.set_capacity(Some(0));
    assert!(!is_due(&opened), "all of it is needed");
    disk.set_capacity(None);
    opened.keeper.checkpoint(end, b"state", &[(1, count)]).unwrap();
    assert!(!is_due(&opened), "there is room");
    disk.set_capacity(Some(0));
    assert!(is_due(&opened), "what is dead goes with the next");
    opened.keeper.checkpoint(end, b"state", &[(1, count)]).unwrap_err();
    assert!(!opened.keeper.due(), "one was tried a moment ago");
}

#[test]
fn freed_segments_are_taken_off_the_books_and_used_again_as_what_they_are() {
    let disk = SimDisk::memory();
    let mut opened = opened(&disk);
    let (count, end) = fill(&mut opened, 3);
    assert_eq!(opened.reader.stream_bytes(1), count * 8_000);
    let needed = {
        let catalogue = read(&opened.keeper.store().catalogue);
        catalogue.streams[&1].slices[1].first_offset
    };
    let is_woken = || opened.keeper.store().slots.wait(Some(Duration::ZERO));
    is_woken();
    for freed in [0, 1] {
        let done = opened.keeper.checkpoint(end, b"state", &[(1, needed)]).unwrap();
        assert_eq!((done.freed_segments, is_woken()), (freed, freed > 0));
    }
    assert_eq!(opened.reader.stream_bytes(1), (count - needed) * 8_000);
    let spare = opened.keeper.store().slots.take(3, Room::KeepReserve).unwrap();
    assert_eq!((spare.segment.id.slot, spare.is_written), (1, true));
    for _ in 0..2 {
        opened.keeper.checkpoint(end, b"state", &[(1, count)]).unwrap();
    }
    assert_eq!(opened.reader.stream_bytes(1), 8_000, "what is in the newest segment stays");
}

#[test]
fn freed_segment_that_was_shortened_is_not_taken_for_one_that_is_written() {
    let disk = SimDisk::memory();
    let mut first = opened(&disk);
    commit(&mut first, 0);
    drop(first);
    let mut opened = opened(&disk);
    opened.keeper.maintain();
    let end = commit(&mut opened, 1);
    for _ in 0..2 {
        opened.keeper.checkpoint(end, b"state", &[(1, 1)]).unwrap();
    }
    let slots = &opened.keeper.store().slots;
    let again = loop {
        let spare = slots.take(0, Room::KeepReserve).unwrap();
        if spare.segment.id.slot == 1 {
            break spare;
        }
    };
    assert!(!again.is_written);
    assert_eq!(again.segment.file.len().unwrap(), 64 << 10);
}
