//! Damage to synced bytes: flipped bits (P10), sectors of another time or place (P11), torn tails against rot (P12).

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Dice, Keep};
use posthaste_storage::{Options, StorageError};

use crate::check::{self, options};
use crate::crash::{Case, Label, crash_everywhere};
use crate::damage::{Verdict, checkpoints, examine, file_of, segments};
use crate::model::{Known, Model, Sizes};
use crate::world::{Step, World, script};
use crate::{depth, seed};

/// A small store with sealed segments, closed on purpose, so that every block has a later witness.
fn small_store(seed: u64) -> (SimDisk, Model) {
    let mut world = World::new(seed);
    world.sizes = Sizes { one_run_in: 2, run_bytes_max: 900 };
    world.options.spares = 3;
    world.run(&[Step::Commit; 40]).unwrap();
    world.seal().unwrap();
    let model = world.model().clone();
    (world.disk.power_cut(Keep::Nothing), model)
}

fn quarantine() -> Options {
    Options { quarantine: true, ..options() }
}

/// Where the bytes of a confirmed block are that a checksum covers.
fn covered_bytes(disk: &SimDisk, known: &Known) -> (std::path::PathBuf, std::ops::Range<u64>) {
    let start = u64::from(known.lsn.offset());
    (file_of(disk, known), start..start + 96 + known.body_len as u64)
}

#[test]
fn p10_a_flipped_bit_in_a_block_is_detected_and_never_delivered() {
    // Goal: no flip of a bit in a stored block goes unnoticed, none is handed out, and only its block is lost. How: one bit
    // in `step`, all of them with POSTHASTE_DEPTH=512; open as always, and open past the damage.
    let seed = seed();
    let (disk, model) = small_store(seed);
    let step = (512 / depth()).max(1);
    let mut flips = 0;
    for known in &model.log {
        let (path, bytes) = covered_bytes(&disk, known);
        let bits = bytes.start * 8 + (seed + known.number) % step..bytes.end * 8;
        for bit in bits.step_by(usize::try_from(step).unwrap()) {
            let label = format!("seed={seed} {} bit {bit}", path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            damaged.flip_bit(&path, bit).unwrap();
            let verdict = examine(&damaged.restart(), &model, options());
            assert!(matches!(verdict, Verdict::Refused(StorageError::Damaged(_))), "{verdict:?}");
            let past = examine(&damaged, &model, quarantine());
            assert_eq!(past.found().missing, std::slice::from_ref(known), "{past:?}");
            assert!(!past.damaged().is_empty());
            flips += 1;
        }
    }
    println!("{flips} flips");
    assert!(flips > 100);
}

#[test]
fn p10_a_flipped_bit_anywhere_never_changes_what_is_delivered() {
    // Goal: also outside of blocks (headers, superblock, index, spares, padding) a flip never loses or changes a block in
    // silence. How: one bit in `step` of every file.
    let seed = seed();
    let (disk, model) = small_store(seed);
    let step = (4_096 / depth()).max(1);
    let mut refused = 0;
    for path in disk.files() {
        let bits = disk.bytes(&path).unwrap().len() as u64 * 8;
        for bit in (seed % step..bits).step_by(usize::try_from(step).unwrap()) {
            let label = format!("seed={seed} {} bit {bit}", path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            damaged.flip_bit(&path, bit).unwrap();
            match examine(&damaged, &model, options()) {
                Verdict::Refused(_) => refused += 1,
                Verdict::Opened(found) => {
                    assert!(found.missing.is_empty() && found.skipped == 0, "{found:?}");
                    assert_eq!(found.report.cut_bytes, 0, "{found:?}");
                }
            }
        }
    }
    println!("{refused} refused");
}

#[test]
fn p10_a_flipped_bit_in_a_header_or_the_superblock_is_detected() {
    let seed = seed();
    let (disk, model) = small_store(seed);
    let step = (1_024 / depth()).max(1);
    let path = file_of(&disk, &model.log[0]);
    for bit in (seed % step..4_096 * 8).step_by(usize::try_from(step).unwrap()) {
        let label = format!("seed={seed} {} bit {bit}", path.display());
        let _label = Label(&label);
        let damaged = disk.restart();
        damaged.flip_bit(&path, bit).unwrap();
        let verdict = examine(&damaged, &model, options());
        assert!(verdict.is_detected(), "{verdict:?}");
        if let Verdict::Opened(found) = &verdict {
            assert!(found.is_complete(), "{found:?}");
        }
    }
}

#[test]
fn p10_a_damaged_superblock_copy_never_hides_what_came_after_it() {
    // Goal: when the newest copy is bad the older one counts, which says that the log was closed earlier. What came later must
    // still be found. How: close, open, commit, die; damage one copy, then the other.
    let seed = seed();
    let mut world = World::after(seed, &[Step::Commit, Step::SealAndReopen, Step::Commit]);
    world.run(&[Step::Commit, Step::Beacon]).unwrap();
    world.die();
    let model = world.model().clone();
    let disk = world.disk.power_cut(Keep::Nothing);
    let path = std::path::Path::new(check::DIR).join("SUPER");
    for page in 0..2 {
        let damaged = disk.restart();
        damaged.flip_bit(&path, page * 4_096 * 8 + 99).unwrap();
        let mut found = model.clone();
        match check::recover(&damaged, &mut found, options()) {
            Ok(opened) => {
                check::read_all(&opened.reader, &found);
                assert!(!opened.report.clean, "{}", opened.report);
            }
            Err(error) => assert!(matches!(error, StorageError::Damaged(_)), "{error:?}"),
        }
    }
}

#[test]
fn p10_what_lies_below_the_checkpoint_is_verified_when_it_is_read() {
    let seed = seed();
    let mut world = World::after(seed, &[Step::Commit; 25]);
    let model = {
        // A checkpoint that keeps every record alive, so that nothing is replayed and everything is read from files.
        let covered = world.model().log.last().unwrap().end;
        let state = vec![9; 10];
        let floors: Vec<(u32, u64)> = world.model().streams.keys().map(|id| (*id, 0)).collect();
        world.log().keeper.checkpoint(covered, &state, &floors).unwrap();
        let blocks = world.model().log.len();
        world.model().states.insert(state, crate::model::State { blocks, covered });
        world.seal().unwrap();
        world.model().clone()
    };
    let disk = world.disk.power_cut(Keep::Nothing);
    let mut dice = Dice::new(seed);
    let mut detected = 0;
    for known in &model.log {
        for _ in 0..4 * depth() {
            let (path, bytes) = covered_bytes(&disk, known);
            let bit = bytes.start * 8 + dice.below((bytes.end - bytes.start) * 8);
            let label = format!("seed={seed} {} bit {bit}", path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            damaged.flip_bit(&path, bit).unwrap();
            let verdict = examine(&damaged, &model, options());
            if let Verdict::Opened(found) = &verdict {
                assert!(found.missing.is_empty() && found.skipped == 0, "{found:?}");
            }
            detected += u32::from(verdict.is_detected());
        }
    }
    println!("{detected} detected");
    assert!(detected > 0);
}

#[test]
fn p11_sectors_of_another_time_or_place_are_never_taken_for_the_log() {
    // Goal: bytes with good checksums that are not where or when they belong are noticed. How: a store whose segments were
    // used before; sectors go back to their older content, land elsewhere, or change places.
    let seed = seed();
    let mut world = World::after(seed, &script(seed, 120));
    world.checkpoint().unwrap();
    world.run(&[Step::Commit; 12]).unwrap();
    world.seal().unwrap();
    let (model, disk) = (world.model().clone(), world.disk.power_cut(Keep::Nothing));
    let mut dice = Dice::new(seed);
    let files = disk.files();
    let mut noticed = 0;
    for round in 0..400 * depth() {
        let damaged = disk.restart();
        let (one, other) = (pick(&mut dice, &damaged, &files), pick(&mut dice, &damaged, &files));
        let kind = dice.below(4);
        let label = format!("seed={seed} round={round} kind={kind} {one:?} {other:?}");
        let _label = Label(&label);
        match kind {
            0 => drop(damaged.stale_sector(one.0, one.1).unwrap()),
            1 => damaged.misdirect_sector(one, other).unwrap(),
            2 => damaged.swap_sectors(one, other).unwrap(),
            _ => damaged.zero_sector(one.0, one.1).unwrap(),
        }
        match examine(&damaged, &model, options()) {
            Verdict::Refused(_) => noticed += 1,
            Verdict::Opened(found) => {
                assert!(found.missing.is_empty() && found.skipped == 0, "{found:?}");
                noticed += u32::from(found.unreadable > 0 || !found.report.damaged.is_empty());
            }
        }
    }
    println!("{noticed} noticed");
    assert!(noticed > 20);
}

fn pick<'a>(
    dice: &mut Dice,
    disk: &SimDisk,
    files: &'a [std::path::PathBuf],
) -> (&'a std::path::Path, u64) {
    loop {
        let path = &files[dice.index(files.len())];
        let sectors = disk.bytes(path).unwrap().len() as u64 / 512;
        if sectors > 0 {
            return (path, dice.below(sectors));
        }
    }
}

#[test]
fn p11_a_segment_of_an_earlier_moment_is_never_taken_for_the_present_one() {
    // Goal: one file restored from an old copy, or copied over another, loses nothing in silence.
    let seed = seed();
    for round in 0..4 * depth() {
        let mut world = World::after(seed + round, &script(seed + round, 40));
        let old = world.disk.power_cut(Keep::Nothing);
        world.run(&script(seed + round + 50, 40)).unwrap();
        world.seal().unwrap();
        let (model, disk) = (world.model().clone(), world.disk.power_cut(Keep::Nothing));
        for path in disk.files() {
            let mut others = vec![(path.clone(), &old)];
            others.extend(
                segments(&disk).into_iter().chain(checkpoints(&disk)).map(|path| (path, &disk)),
            );
            for (other, from) in others {
                let Ok(bytes) = from.bytes(&other) else {
                    continue;
                };
                let label =
                    format!("seed={} {} over {}", seed + round, other.display(), path.display());
                let _label = Label(&label);
                let damaged = disk.restart();
                damaged.put(&path, &bytes).unwrap();
                if let Verdict::Opened(found) = examine(&damaged, &model, options()) {
                    assert!(found.missing.is_empty() && found.skipped == 0, "{found:?}");
                }
            }
        }
    }
}

/// A store whose last block is torn: it was never confirmed, and nothing follows it.
fn store_with_torn_tail(seed: u64) -> (SimDisk, Model) {
    let mut world = World::new(seed);
    world.sizes = Sizes { one_run_in: 1, run_bytes_max: 2_000 };
    let images = |disk: &SimDisk| disk.crash_images(16);
    let cases = crash_everywhere(&mut world, images, "", |world| {
        world.run(&[Step::Commit; 5]).unwrap();
    });
    let torn = |case: &Case| {
        let (disk, mut model) = (case.disk.restart(), (*case.model).clone());
        let cut = check::recover(&disk, &mut model, options()).unwrap().report.cut_bytes;
        cut > 0
    };
    let case = cases.into_iter().find(torn).expect("a torn block in some image");
    (case.disk, (*case.model).clone())
}

#[test]
fn p12_a_torn_tail_is_cut_counted_and_said() {
    let (disk, mut model) = store_with_torn_tail(seed());
    let confirmed = model.log.len();
    let opened = check::recover(&disk, &mut model, options()).unwrap();
    assert!(opened.report.cut_bytes > 0);
    assert_eq!(model.log.len(), confirmed);
    assert!(opened.report.to_string().contains("cut"), "{}", opened.report);
    drop(opened);
    // Cut once: the next start has nothing to cut.
    let opened = check::recover(&disk, &mut model, options()).unwrap();
    assert_eq!(opened.report.cut_bytes, 0);
}

/// The table of verdicts: damages one block of a store and says what must happen.
fn check_never_cut(label: &str, disk: &SimDisk, model: &Model, known: &Known) {
    let _label = Label(label);
    let (path, bytes) = covered_bytes(disk, known);
    for at in [bytes.start + 3, bytes.start + 60, bytes.end - 1] {
        let damaged = disk.restart();
        damaged.flip_bit(&path, at * 8 + 1).unwrap();
        let before = crate::stop::contents(&damaged);
        let verdict = examine(&damaged, model, options());
        let Verdict::Refused(StorageError::Damaged(damage)) = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!((damage.from, &damage.path), (known.lsn, &path), "{damage}");
        // The evidence is still there.
        assert_eq!(crate::stop::contents(&damaged), before, "the refusal changed the store");
        let past = examine(&damaged, model, quarantine());
        assert_eq!(past.found().missing, std::slice::from_ref(known));
        assert_eq!(past.found().report.cut_bytes, 0);
        assert!(
            past.damaged().iter().any(|damage| damage.from <= known.lsn && known.end <= damage.to),
            "{past:?}"
        );
    }
}

#[test]
fn p12_damage_with_later_blocks_is_never_cut() {
    let world = World::after(seed(), &[Step::Commit; 14]);
    let (disk, model) = (world.disk.power_cut(Keep::Nothing), world.model().clone());
    // First, middle, last but one: each has a later block that says it was durable.
    for position in [0, 6, 12] {
        check_never_cut(&format!("block {position} of 14"), &disk, &model, &model.log[position]);
    }
}

#[test]
fn p12_damage_to_the_last_block_is_never_cut_once_a_beacon_or_a_seal_follows() {
    for step in [Step::Beacon, Step::SealAndReopen, Step::Reopen] {
        let world = World::after(seed(), &[Step::Commit, Step::Commit, Step::Commit, step]);
        let (disk, model) = (world.disk.power_cut(Keep::Nothing), world.model().clone());
        check_never_cut(&format!("{step:?}"), &disk, &model, model.log.last().unwrap());
    }
}

#[test]
fn p12_damage_below_a_checkpoint_is_never_cut() {
    // The checkpoint names a place behind the damage, and nothing else does: the last block is damaged.
    let mut world = World::after(seed(), &[Step::Commit; 5]);
    let known = world.model().log.last().unwrap().clone();
    let floors: Vec<(u32, u64)> = world.model().streams.keys().map(|id| (*id, 0)).collect();
    world.log().keeper.checkpoint(known.end, b"state", &floors).unwrap();
    let blocks = world.model().log.len();
    world
        .model()
        .states
        .insert(b"state".to_vec(), crate::model::State { blocks, covered: known.end });
    let model = world.model().clone();
    let disk = world.disk.power_cut(Keep::Nothing);
    let (path, bytes) = covered_bytes(&disk, &known);
    disk.flip_bit(&path, bytes.start * 8 + 100).unwrap();
    match examine(&disk, &model, options()) {
        Verdict::Refused(error) => assert!(matches!(error, StorageError::Damaged(_)), "{error:?}"),
        Verdict::Opened(found) => {
            assert!(
                found.missing.is_empty() && found.report.cut_bytes == 0 && found.skipped == 0,
                "{found:?}"
            );
        }
    }
}

#[test]
fn p12_a_hole_that_a_lying_disk_left_below_a_later_block_is_damage() {
    // A block says that all before it was durable. If what was before it is gone, that is no torn tail.
    let mut world = World::after(seed(), &[Step::Commit; 4]);
    world.disk.lie(true);
    world.run(&[Step::Commit; 2]).unwrap();
    world.die();
    let model = world.model().clone();
    let (hole, later) = (model.log[4].clone(), model.log[5].clone());
    let mut seen = 0;
    for disk in world.disk.crash_images(200) {
        let has = |known: &Known| {
            let verdict = examine(&disk.restart(), &model, quarantine());
            matches!(&verdict, Verdict::Opened(found) if !found.missing.iter().any(|m| m.index == known.index))
        };
        if has(&later) && !has(&hole) {
            seen += 1;
            let verdict = examine(&disk, &model, options());
            assert!(matches!(verdict, Verdict::Refused(StorageError::Damaged(_))), "{verdict:?}");
        }
    }
    println!("{seen} holes");
    assert!(seen > 0);
}
