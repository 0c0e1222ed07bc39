use std::io::ErrorKind;
use std::path::Path;

use super::*;
use crate::disk::SimDisk;
use crate::disk::sim::{Effect, Fault, Op};

const SMALL: u64 = 64 << 10;
const LOG: &str = "log-0";

fn options() -> Options {
    Options {
        segment_bytes: SMALL as u32,
        segment_bytes_max: 1 << 20,
        spares: 3,
        reserve_bytes: 0,
        background: false,
        seed: Some(1),
        ..Options::default()
    }
}

/// The files of a log that has dead ones of these lengths, in slots from 1 on.
fn slots_with(disk: &SimDisk, options: Options, dead: &[(u64, bool)]) -> Slots {
    disk.create_dir_all(Path::new(LOG)).unwrap();
    let mut found = Inventory { next_slot: 1, next_seq: 1, ..Inventory::default() };
    for (len, is_written) in dead {
        let slot = found.next_slot;
        let file = disk.open(&Path::new(LOG).join(slot_name(slot)), OpenMode::Create).unwrap();
        file.set_len(*len).unwrap();
        found.dead.push(DeadSlot { slot, len: *len, pin: None, is_written: *is_written });
        found.next_slot += 1;
        found.log_bytes += len;
    }
    Slots::new(Arc::new(disk.clone()), LOG.into(), [7; 16], options, found)
}

fn slots(disk: &SimDisk) -> Slots {
    slots_with(disk, options(), &[])
}

fn take(slots: &Slots, after_seq: u32) -> Spare {
    slots.take(after_seq, Room::KeepReserve).unwrap()
}

fn seq(spare: &Spare) -> u32 {
    spare.segment.id.seq
}

fn log_bytes(slots: &Slots) -> u64 {
    slots.space().1
}

#[test]
fn as_many_spares_are_made_as_are_wanted_and_used_in_their_order() {
    let disk = SimDisk::memory();
    let slots = slots(&disk);
    for _ in 0..3 {
        assert!(slots.prepare().unwrap());
    }
    assert!(!slots.prepare().unwrap());
    assert_eq!((disk.files().len(), log_bytes(&slots)), (3, 3 * SMALL));
    let (one, two) = (take(&slots, 0), take(&slots, 1));
    assert_eq!((seq(&one), seq(&two)), (1, 2));
    slots.put_back(two);
    slots.put_back(one);
    assert_eq!([0, 1, 2].map(|after| seq(&take(&slots, after))), [1, 2, 3]);
    assert_eq!(disk.files().len(), 3, "all of them were ready");
    assert_eq!(seq(&take(&slots, 3)), 4);
}

#[test]
fn spare_that_is_older_than_the_log_gets_a_new_number_before_it_is_used() {
    let disk = SimDisk::memory();
    let slots = slots(&disk);
    while slots.prepare().unwrap() {}
    let spare = take(&slots, 3);
    assert_eq!(seq(&spare), 4);
    assert_eq!(disk.files().len(), 3, "it is one of the files that were there");
    let again = [4, 5].map(|after| take(&slots, after));
    assert_eq!((again.each_ref().map(seq), disk.files().len()), ([5, 6], 3));
    let mut used: Vec<u32> = again.iter().chain([&spare]).map(|one| one.segment.id.slot).collect();
    used.sort_unstable();
    assert_eq!(used, [1, 2, 3]);
}

#[test]
fn every_life_of_a_file_has_another_salt_and_number() {
    for seed in [Some(1), None] {
        let disk = SimDisk::memory();
        let slots = slots_with(&disk, Options { seed, ..options() }, &[]);
        let mut salts = Vec::new();
        for life in 1..10 {
            let spare = take(&slots, 0);
            assert_eq!(seq(&spare), life);
            let header = disk.bytes(&spare.segment.path).unwrap();
            let found = SegmentId::decode(&header, &[7; 16], &spare.segment.path).unwrap();
            assert_eq!(found.as_ref(), Some(&*spare.segment.id), "the header says who it is");
            salts.push(spare.segment.id.salt);
            slots.retire_spare(spare);
        }
        assert_eq!((disk.files().len(), salts.len()), (1, 9));
        salts.sort_unstable();
        salts.dedup();
        assert_eq!(salts.len(), 9);
    }
}

#[test]
fn spare_that_was_never_written_is_found_from_the_end() {
    let slots = slots(&SimDisk::memory());
    assert!(!slots.has_unwritten());
    while slots.prepare().unwrap() {}
    for expected in [3, 2, 1] {
        assert!(slots.has_unwritten());
        let mut spare = slots.take_unwritten().unwrap();
        assert_eq!(seq(&spare), expected);
        spare.is_written = true;
        slots.put_back(spare);
    }
    assert!(!slots.has_unwritten());
    assert!(slots.take_unwritten().is_none());
    let spare = take(&slots, 0);
    assert!(spare.is_written);
    slots.retire_spare(spare);
    assert!(slots.prepare().unwrap());
    assert!(!slots.has_unwritten(), "its next life is written, too");
}

#[test]
fn dead_file_is_used_again_at_its_size_or_grows_to_the_smallest() {
    let dead = [(SMALL, true), (SMALL, false), (SMALL / 2, true), (3 * SMALL, true)];
    let slots = slots_with(&SimDisk::memory(), options(), &dead);
    let spares = [0, 1, 2, 3].map(|after| take(&slots, after));
    let made = spares.each_ref().map(|one| (u64::from(one.segment.id.size), one.is_written));
    assert_eq!(made, [(SMALL, true), (SMALL, false), (SMALL, false), (3 * SMALL, true)]);
    assert_eq!(spares.map(|spare| spare.segment.file.len().unwrap()), made.map(|(len, _)| len));
    assert_eq!(log_bytes(&slots), 6 * SMALL);
    slots.shrunk(SMALL);
    assert_eq!(log_bytes(&slots), 5 * SMALL);
}

#[test]
fn segment_ends_at_a_page_whatever_the_length_of_its_file() {
    let slots = slots_with(&SimDisk::memory(), options(), &[(SMALL + 5_000, true)]);
    assert_eq!(u64::from(take(&slots, 0).segment.id.size), SMALL + 4_096);
}

#[test]
fn more_dead_files_are_kept_while_much_is_written() {
    let disk = SimDisk::memory();
    let slots = slots_with(&disk, options(), &[(SMALL, true); 12]);
    slots.set_demand(u64::MAX);
    assert_eq!(slots.trim(100 * SMALL).unwrap(), 96 * SMALL);
    assert_eq!((disk.files().len(), log_bytes(&slots)), (8, 8 * SMALL));
    slots.set_demand(0);
    assert_eq!(slots.trim(SMALL / 2).unwrap(), 0);
    assert_eq!((disk.files().len(), log_bytes(&slots)), (8, 8 * SMALL - SMALL / 2));
    assert_eq!(slots.trim(6 * SMALL).unwrap(), SMALL / 2);
    assert_eq!((disk.files().len(), log_bytes(&slots)), (2, 2 * SMALL));
}

#[test]
fn where_one_dead_file_finds_no_space_to_grow_another_is_used() {
    let disk = SimDisk::new(1);
    let slots = slots_with(&disk, options(), &[(SMALL / 2, false), (SMALL, true)]);
    disk.fail(Fault::new(Op::Allocate, Effect::Error(ErrorKind::StorageFull)).forever());
    assert_eq!(take(&slots, 0).segment.id.slot, 2);
    assert!(slots.take(0, Room::KeepReserve).unwrap_err().is_no_space());
    disk.heal();
    assert_eq!(take(&slots, 0).segment.id.slot, 1, "it is still there for later");
    disk.fail(Fault::new(Op::Allocate, Effect::Error(ErrorKind::Other)));
    slots.retire(DeadSlot { slot: 1, len: SMALL / 2, pin: None, is_written: false });
    let failed = slots.take(0, Room::KeepReserve);
    assert!(matches!(failed, Err(StorageError::Io { .. })), "{failed:?}");
}

#[test]
fn failed_new_file_is_gone_and_not_counted() {
    let disk = SimDisk::new(1);
    let slots = slots(&disk);
    for op in [Op::Allocate, Op::Write, Op::Sync, Op::SyncDir] {
        disk.fail(Fault::new(op, Effect::Error(ErrorKind::Other)));
        assert!(slots.prepare().is_err(), "{op:?}");
        assert_eq!((disk.files().len(), log_bytes(&slots)), (0, 0), "{op:?}");
    }
    assert!(slots.prepare().unwrap());
}

#[test]
fn file_whose_new_life_failed_is_tried_again() {
    let disk = SimDisk::new(1);
    let slots = slots_with(&disk, options(), &[(SMALL, true)]);
    for op in [Op::Open, Op::Write, Op::Sync] {
        disk.fail(Fault::new(op, Effect::Error(ErrorKind::Other)));
        assert!(slots.prepare().is_err(), "{op:?}");
    }
    let spare = take(&slots, 0);
    assert_eq!((spare.segment.id.slot, spare.is_written), (1, false), "its bytes are not believed");
}

#[test]
fn file_that_somebody_reads_is_not_used_again_before_it_is_let_go() {
    let disk = SimDisk::memory();
    let slots = slots(&disk);
    let (read, other) = (take(&slots, 0), take(&slots, 0));
    let reader = Arc::clone(&read.segment.id);
    for spare in [read, other] {
        let id = Arc::clone(&spare.segment.id);
        drop(spare);
        slots.retire(DeadSlot { slot: id.slot, len: SMALL, pin: Some(id), is_written: true });
    }
    let used = [0, 0].map(|after| take(&slots, after).segment.id.slot);
    assert_eq!(used, [2, 3], "the one that is free, and a new one");
    drop(reader);
    assert_eq!(take(&slots, 0).segment.id.slot, 1);
}

#[test]
fn new_files_are_as_large_as_demand_asks_for() {
    let size = |bytes_max: u64, bytes_per_second| {
        let options = Options { segment_bytes_max: bytes_max as u32, ..options() };
        let slots = slots_with(&SimDisk::memory(), options, &[]);
        slots.set_demand(bytes_per_second);
        u64::from(take(&slots, 0).segment.id.size)
    };
    for (bytes_per_second, expected) in [
        (0, SMALL),
        (SMALL - 1, SMALL),
        (SMALL, 4 * SMALL),
        (2 * SMALL - 1, 4 * SMALL),
        (2 * SMALL, 8 * SMALL),
        (u64::MAX, 8 * SMALL),
    ] {
        assert_eq!(size(1 << 20, bytes_per_second), expected, "{bytes_per_second}");
    }
    assert_eq!(size(2 * SMALL, u64::MAX), 2 * SMALL);
    assert_eq!(size(0, u64::MAX), SMALL, "never smaller than the smallest");
}

#[test]
fn new_files_are_small_when_the_disk_is_nearly_full_and_leave_the_reserve() {
    let made = |capacity: u64, room| {
        let disk = SimDisk::memory();
        let slots = slots_with(&disk, Options { reserve_bytes: SMALL, ..options() }, &[]);
        slots.set_demand(u64::MAX);
        disk.set_capacity(Some(capacity));
        slots.take(0, room).map(|spare| u64::from(spare.segment.id.size) / SMALL)
    };
    assert_eq!(made(SMALL + 32 * SMALL, Room::KeepReserve).unwrap(), 8);
    assert_eq!(made(SMALL + 32 * SMALL - 4_096, Room::KeepReserve).unwrap(), 1);
    assert_eq!(made(2 * SMALL, Room::KeepReserve).unwrap(), 1);
    assert!(made(2 * SMALL - 4_096, Room::KeepReserve).unwrap_err().is_no_space());
    assert_eq!(made(32 * SMALL, Room::UseReserve).unwrap(), 8);
    assert_eq!(made(SMALL, Room::UseReserve).unwrap(), 1);
    assert!(made(SMALL - 4_096, Room::UseReserve).unwrap_err().is_no_space());
}

#[test]
fn publishes_leave_three_segments() {
    let disk = SimDisk::memory();
    let slots = slots_with(&disk, Options { reserve_bytes: SMALL, ..options() }, &[(SMALL, false)]);
    let room = |segments: u64| {
        disk.set_capacity(Some((1 + 1 + segments) * SMALL));
        slots.space()
    };
    // The dead file takes no space before it is used, so its own is free as well.
    assert_eq!(slots.space().1, SMALL);
    let (free, _, is_enough) = room(1);
    assert_eq!((free, is_enough), (3 * SMALL, false), "two, and the dead one");
    assert!(room(2).2, "three, and the dead one");
    slots.set_waited_for(true);
    assert!(slots.is_waited_for() && !room(2).2, "what is free is not to be had");
    slots.set_waited_for(false);
    assert!(!slots.is_waited_for() && room(2).2);
    slots.prepare().unwrap();
    assert!(!room(1).2, "the spare takes what was free");
    slots.prepare().unwrap();
    assert_eq!(room(3), (3 * SMALL, 2 * SMALL, true), "two free, and two spares");
}

#[test]
fn free_space_that_cannot_be_asked_for_is_what_it_was() {
    let disk = SimDisk::new(1);
    let slots = slots(&disk);
    disk.fail(Fault::new(Op::FreeBytes, Effect::Error(ErrorKind::Other)));
    assert_eq!(slots.space().0, u64::MAX);
    disk.set_capacity(Some(SMALL));
    assert_eq!(slots.space().0, SMALL);
    disk.fail(Fault::new(Op::FreeBytes, Effect::Error(ErrorKind::Other)));
    disk.set_capacity(Some(2 * SMALL));
    assert_eq!(slots.space().0, SMALL);
    assert_eq!(slots.space().0, 2 * SMALL);
}

#[test]
fn free_space_is_believed_for_a_moment_only_beside_a_janitor() {
    for (background, expected) in [(false, 2 * SMALL), (true, SMALL)] {
        let disk = SimDisk::memory();
        let slots = slots_with(&disk, Options { background, ..options() }, &[]);
        disk.set_capacity(Some(SMALL));
        slots.space();
        let asked = lock(&slots.state).free.unwrap().1;
        disk.set_capacity(Some(2 * SMALL));
        let free = slots.space().0;
        assert!(free == expected || asked.elapsed() >= FREE_FOR, "{free}");
        let later = Instant::now() - 2 * FREE_FOR;
        lock(&slots.state).free = Some((SMALL, later));
        assert_eq!(slots.space().0, 2 * SMALL);
    }
}

#[test]
fn janitor_sleeps_until_it_is_woken_or_stopped_or_its_time_is_over() {
    let slots = slots(&SimDisk::memory());
    assert!(!slots.wait(Some(Duration::ZERO)));
    slots.wake();
    assert!(slots.wait(None));
    let before = Instant::now();
    assert!(!slots.wait(Some(Duration::from_millis(20))), "it is woken once");
    assert!(before.elapsed() >= Duration::from_millis(20));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| slots.wait(None));
        slots.wake();
        assert!(waiting.join().unwrap());
    });
    assert!(!slots.is_stopping());
    slots.stop();
    assert!(slots.is_stopping() && !slots.wait(None));
}
