//! Files that are missing, changed, in excess or unreadable (P13, P14, P34).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Dice, Effect, Fault, Keep, Op};
use posthaste_storage::{Options, StorageError};

use crate::check::{self, DIR, options};
use crate::crash::Label;
use crate::damage::{Verdict, checkpoints, examine, segments};
use crate::model::Model;
use crate::stop::contents;
use crate::tally::Tally;
use crate::world::{Step, World, script};
use crate::{depth, seed};

/// A store of several segments with two checkpoints and blocks after them, stopped without a word.
fn store(seed: u64) -> (SimDisk, Model) {
    let mut world = World::after(seed, &script(seed, 40));
    for _ in 0..2 {
        world.run(&[Step::Commit; 10]).unwrap();
        world.checkpoint().unwrap();
    }
    let rolled = world.log().reader.committed().seq() + 2;
    while world.log().reader.committed().seq() < rolled {
        world.commit().unwrap();
    }
    world.step(Step::Maintain).unwrap();
    world.die();
    let model = world.model().clone();
    // Indexes are not synced: they are derived.
    (world.disk.power_cut(Keep::Everything), model)
}

/// Whatever was done to the files: refused with nothing changed, or opened with everything there.
fn check_refused_or_complete(disk: &SimDisk, model: &Model) -> bool {
    let before = contents(disk);
    match examine(disk, model, options()) {
        Verdict::Refused(_) => {
            assert_eq!(contents(disk), before, "the refusal changed the store");
            true
        }
        Verdict::Opened(found) => {
            assert!(!found.report.created, "started empty");
            assert!(found.missing.is_empty() && found.skipped == 0, "{found:?}");
            false
        }
    }
}

/// The places of the footers: the derived indexes of sealed segments.
fn footers(disk: &SimDisk) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for path in segments(disk) {
        let bytes = disk.bytes(&path).unwrap();
        let places = bytes.windows(8).enumerate().filter(|(_, window)| *window == b"PHINDEX\x01");
        found.extend(places.map(|(at, _)| (path.clone(), at as u64)));
    }
    found
}

#[test]
fn p13_the_index_of_a_segment_can_be_lost_or_garbage() {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let (disk, model) = store(seed);
    let footers = footers(&disk);
    assert!(!footers.is_empty());
    for (path, at) in &footers {
        for round in 0..12 * depth() {
            let label = format!("seed={seed} {} at {at} round {round}", path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            match round {
                0 => damaged.overwrite(path, &[0; 64], *at).unwrap(),
                1 => damaged.overwrite(path, &[0xFF; 200], *at).unwrap(),
                2 => damaged.overwrite(path, &[0xFF; 4], at + 36).unwrap(),
                _ => damaged.flip_bit(path, at * 8 + dice.below(200 * 8)).unwrap(),
            }
            let verdict = examine(&damaged, &model, options());
            assert!(verdict.found().is_complete(), "{verdict:?}");
            // And again: the index that was made anew is good.
            let verdict = examine(&damaged, &model, options());
            assert!(verdict.found().is_complete(), "{verdict:?}");
        }
    }
}

#[test]
fn p13_a_damaged_checkpoint_is_never_used_and_the_one_before_it_is() {
    let seed = seed();
    let (disk, mut model) = store(seed);
    let newest = checkpoints(&disk).pop().unwrap();
    model.checkpoint = None;
    let bits = disk.bytes(&newest).unwrap().len() as u64 * 8;
    let step = usize::try_from((bits / (40 * depth())).max(1)).unwrap();
    for bit in (0..bits).step_by(step) {
        let label = format!("seed={seed} {} bit {bit}", newest.display());
        let _label = Label(&label);
        let damaged = disk.restart();
        damaged.flip_bit(&newest, bit).unwrap();
        let verdict = examine(&damaged, &model, options());
        assert!(verdict.found().is_complete(), "{verdict:?}");
        assert!(!verdict.damaged().is_empty(), "{verdict:?}");
    }
}

#[test]
fn p14_a_missing_file_is_refused_or_not_needed() {
    let seed = seed();
    let mut refused = 0;
    for round in 0..6 * depth() {
        let (disk, model) = store(seed + round);
        for path in disk.files() {
            let label = format!("seed={} without {}", seed + round, path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            damaged.lose(&path).unwrap();
            refused += u32::from(check_refused_or_complete(&damaged, &model));
        }
    }
    assert!(refused > 0);
}

#[test]
fn p14_several_missing_files_are_never_taken_for_an_empty_store() {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let (disk, model) = store(seed);
    for round in 0..60 * depth() {
        let damaged = disk.restart();
        let mut lost = Vec::new();
        for path in disk.files() {
            if dice.one_in(2) && !path.ends_with("LOCK") {
                damaged.lose(&path).unwrap();
                lost.push(path);
            }
        }
        let label = format!("seed={seed} round={round} without {lost:?}");
        let _label = Label(&label);
        if lost.len() + 1 < disk.files().len() {
            check_refused_or_complete(&damaged, &model);
        }
    }
}

#[test]
fn p14_segments_without_checkpoints_or_superblock_are_refused() {
    let (disk, model) = store(seed());
    let damaged = disk.restart();
    checkpoints(&disk).iter().for_each(|path| damaged.lose(path).unwrap());
    assert!(check_refused_or_complete(&damaged, &model), "without checkpoints");
    let damaged = disk.restart();
    damaged.lose(&Path::new(DIR).join("SUPER")).unwrap();
    assert!(check_refused_or_complete(&damaged, &model), "without superblock");
}

#[test]
fn p14_an_empty_directory_is_refused_where_a_store_is_expected() {
    let disk = SimDisk::new(1);
    let expects = Options { create: false, ..options() };
    let verdict = examine(&disk, &Model::default(), expects.clone());
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    // Somebody else's directory is no place for a store.
    disk.put(&Path::new(DIR).join("family.jpg"), b"not ours").unwrap_err();
    let world = World::after(1, &[]);
    let disk = world.disk.power_cut(Keep::Nothing);
    for path in disk.files() {
        disk.lose(&path).unwrap();
    }
    assert!(matches!(examine(&disk, &Model::default(), expects), Verdict::Refused(_)));
    disk.put(&Path::new(DIR).join("family.jpg"), b"not ours").unwrap();
    let verdict = examine(&disk, &Model::default(), options());
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    assert_eq!(disk.bytes(&Path::new(DIR).join("family.jpg")).unwrap(), b"not ours");
}

#[test]
fn p14_renamed_exchanged_and_copied_segments_lose_nothing_in_silence() {
    let seed = seed();
    let (disk, model) = store(seed);
    let all = segments(&disk);
    for one in &all {
        for other in &all {
            let label = format!("seed={seed} {} to {}", one.display(), other.display());
            let _label = Label(&label);
            let spare_name = Path::new(DIR).join("exchange");
            // Exchanged.
            let damaged = disk.restart();
            damaged.rename_file(one, &spare_name).unwrap();
            if one != other {
                damaged.rename_file(other, one).unwrap();
            }
            damaged.rename_file(&spare_name, other).unwrap();
            check_refused_or_complete(&damaged, &model);
        }
        // Renamed and copied to a name that is free.
        let free = one.with_file_name("slot-000999.seg");
        let damaged = disk.restart();
        damaged.rename_file(one, &free).unwrap();
        check_refused_or_complete(&damaged, &model);
        let damaged = disk.restart();
        damaged.put(&free, &disk.bytes(one).unwrap()).unwrap();
        check_refused_or_complete(&damaged, &model);
    }
}

#[test]
fn p14_a_file_of_any_shorter_length_is_refused_or_complete() {
    // Goal: no length that a file can have been cut to loses anything in silence. How: every multiple of 512 bytes, and the bytes
    // around the ends; every single length with POSTHASTE_DEPTH=512.
    let seed = seed();
    let (disk, model) = store(seed);
    let mut tally = Tally::of("truncations");
    let step = (512 / depth()).max(1);
    for path in disk.files() {
        let len = disk.bytes(&path).unwrap().len() as u64;
        let lens = (0..len).step_by(usize::try_from(step).unwrap());
        for cut in lens.chain([1, 4_095, 4_097, len - len.min(1)]).filter(|cut| *cut < len) {
            let label = format!("seed={seed} {} cut to {cut} of {len}", path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            damaged.cut_file(&path, cut).unwrap();
            tally.one("lengths");
            tally.add("refused", u64::from(check_refused_or_complete(&damaged, &model)));
        }
    }
    assert!(tally.count("refused") > 0);
}

#[test]
fn p14_files_that_are_not_ours_are_left_alone() {
    let (disk, model) = store(seed());
    let strangers = [
        "data/notes.txt",
        "data/log-0/README",
        "data/ckpt/x.ckpt",
        "data/log-0/slot-.seg",
        "data/x.tmp",
    ];
    for stranger in strangers {
        disk.put(Path::new(stranger), b"not ours").unwrap();
    }
    let verdict = examine(&disk, &model, options());
    match &verdict {
        Verdict::Opened(found) => assert!(found.is_complete(), "{found:?}"),
        Verdict::Refused(_) => {}
    }
    for stranger in ["data/notes.txt", "data/log-0/README"] {
        assert_eq!(disk.bytes(Path::new(stranger)).unwrap(), b"not ours");
    }
}

#[test]
fn p14_a_disk_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let (whole, model) = store(seed());
    for op in [Op::Read, Op::Open, Op::List, Op::Exists] {
        for nth in 0.. {
            let label = format!("{op:?} {nth}");
            let _label = Label(&label);
            let disk = whole.restart();
            let before = contents(&disk);
            disk.fail(Fault::new(op, Effect::Error(ErrorKind::Other)).after(nth).forever());
            let verdict = examine(&disk, &model, options());
            if disk.faults_struck() == 0 {
                break;
            }
            if matches!(verdict, Verdict::Refused(_)) {
                let names = |files: &[(PathBuf, Vec<u8>)]| {
                    files.iter().map(|f| f.0.clone()).collect::<Vec<_>>()
                };
                assert!(
                    names(&before).iter().all(|name| disk.bytes(name).is_ok()),
                    "files are gone"
                );
            }
            disk.heal();
            let mut world = World::on(disk.restart(), model.clone(), 1);
            world.open().unwrap();
            world.read_all();
        }
    }
}

#[test]
fn p34_a_newer_format_is_refused_and_left_untouched() {
    // Major version, read-only bits, incompatible bits of every file that has them; the checksum is made good again.
    let (disk, mut model) = store(seed());
    let super_path = Path::new(DIR).join("SUPER");
    let targets = segments(&disk).into_iter().chain([super_path]);
    model.checkpoint = None;
    for path in targets {
        for (at, value) in [(8, 2), (16, 1), (20, 1)] {
            let label = format!("{} at {at}", path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            let copies = disk.bytes(&path).unwrap().len().min(8_192) / 4_096;
            let copies = if path.ends_with("SUPER") { copies } else { 1 };
            for copy in 0..copies {
                let mut page = disk.bytes(&path).unwrap()[copy * 4_096..][..4_096].to_vec();
                page[at] = value;
                let crc = crc32fast::hash(&page[..4_092]);
                page[4_092..].copy_from_slice(&crc.to_le_bytes());
                damaged.overwrite(&path, &page, copy as u64 * 4_096).unwrap();
            }
            let before = contents(&damaged);
            let verdict = examine(&damaged, &model, options());
            assert!(
                matches!(verdict, Verdict::Refused(StorageError::NewerFormat { .. })),
                "{verdict:?}"
            );
            assert_eq!(contents(&damaged), before);
        }
    }
    check::recover(&disk, &mut model, options()).unwrap();
}
