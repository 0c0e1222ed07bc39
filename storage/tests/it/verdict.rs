//! Torn tails against damage (P12).

use posthaste_storage::StorageError;
use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Dice, Keep};

use crate::check::{self, options};
use crate::crash::{Case, Label, crash_everywhere};
use crate::damage::{Verdict, examine};
use crate::model::{Known, Model, Sizes};
use crate::rot::{covered_bytes, quarantine};
use crate::tally::Tally;
use crate::world::{Step, World, script};
use crate::{depth, seed};

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
    let _label = Label(&label);
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
fn p12_a_lost_first_block_is_said_where_nobody_reads_it() {
    // The segment that the checkpoint ends in has its index and is read from there on. Its first block is not needed, and yet
    // the start is refused; and a start past the damage says what it passed.
    let mut world = World::after(seed(), &[Step::Commit; 3]);
    world.checkpoint_that_frees_nothing();
    let first = world.model().log[0].lsn.seq();
    while world.log().reader.committed().seq() == first {
        world.commit().unwrap();
    }
    world.step(Step::Maintain).unwrap();
    world.die();
    let (disk, model) = (world.disk.power_cut(Keep::Everything), world.model().clone());
    let (path, _) = covered_bytes(&disk, &model.log[0]);
    disk.flip_bit(&path, 4_096 * 8 + 77).unwrap();
    let verdict = examine(&disk, &model, options());
    assert!(matches!(verdict, Verdict::Refused(StorageError::Damaged(_))), "{verdict:?}");
    let past = examine(&disk, &model, quarantine());
    assert!(past.found().is_complete(), "{past:?}");
    assert_eq!(past.damaged()[0].path, path, "{past:?}");
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

#[test]
fn p12_damage_beside_a_crash_costs_at_most_the_last_block() {
    // Goal: a torn tail does not make recovery lenient. How: one damaged sector in a random crash image. What was confirmed is
    // there, or the damage is reported; only the very last block can be taken for a torn one, as nothing came after it.
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut tally = Tally::of("damage beside a crash");
    for round in 0..depth() {
        let mut world = World::new(seed + round);
        let steps = script(seed + round, 50);
        let images = |disk: &SimDisk| disk.crash_images(4);
        let label = format!("seed={}", seed + round);
        let cases =
            crash_everywhere(&mut world, images, &label, |world| world.run(&steps).unwrap());
        for case in cases {
            let files = case.disk.files();
            let Some(path) = files.get(dice.index(files.len())) else { continue };
            let sectors = case.disk.bytes(path).unwrap().len() as u64 / 512;
            if sectors == 0 || case.model.store.is_none() {
                continue;
            }
            let (sector, kind) = (dice.below(sectors), dice.below(3));
            let label = format!("{} {} sector {sector} kind {kind}", case.label, path.display());
            let _label = Label(&label);
            match kind {
                0 => case.disk.zero_sector(path, sector).unwrap(),
                1 => drop(case.disk.stale_sector(path, sector).unwrap()),
                _ => case.disk.flip_bit(path, sector * 4_096 + dice.below(4_096)).unwrap(),
            }
            tally.one("images");
            if let Verdict::Opened(found) = examine(&case.disk, &case.model, options()) {
                let last = case.model.log.len() as u64;
                assert!(found.missing.iter().all(|known| known.index == last), "{found:?}");
                assert!(found.skipped == 0 || !found.missing.is_empty(), "{found:?}");
            }
        }
    }
}

#[test]
fn p12_past_damage_the_log_works_on_and_the_gap_stays_known() {
    let mut world = World::after(seed(), &[Step::Commit; 14]);
    world.die();
    let (disk, model) = (world.disk.power_cut(Keep::Nothing), world.model().clone());
    let known = &model.log[6];
    let (path, bytes) = covered_bytes(&disk, known);
    disk.flip_bit(&path, bytes.start * 8 + 800).unwrap();
    let verdict = examine(&disk, &model, quarantine());
    assert_eq!(verdict.found().missing, std::slice::from_ref(known));
    // Nobody was asked: without quarantine the next start is refused again, and with it nothing more is lost.
    assert!(matches!(examine(&disk, &model, options()), Verdict::Refused(_)));
    let verdict = examine(&disk, &model, quarantine());
    assert_eq!(verdict.found().missing, std::slice::from_ref(known));
    assert_eq!(verdict.found().report.cut_bytes, 0);
}
