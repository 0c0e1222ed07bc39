//! Writes and syncs that fail (P7), and page caches that lie afterwards (P8).

use std::io::ErrorKind;

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Dice, Effect, Fault, Keep, Op};
use posthaste_storage::{Run, StorageError};

use crate::crash::{Label, crash_everywhere};
use crate::tally::Tally;
use crate::world::{Step, World, script};
use crate::{depth, seed};

/// A script in which no other process takes over, so that an error stays with the log that met it.
fn steady_script(seed: u64, steps: usize) -> Vec<Step> {
    let mut steps = script(seed, steps);
    steps.retain(|step| !matches!(step, Step::Reopen | Step::SealAndReopen));
    steps
}

/// Runs a script in which the `nth` call of a kind fails; goes on after failed checkpoints, stops at the first failed commit.
/// `None` if there is no such call any more.
fn run_into(fault: Fault, seed: u64, steps: &[Step]) -> Option<(World, Option<StorageError>)> {
    let mut world = World::after(seed, &[Step::Commit; 3]);
    world.disk.fail(fault);
    for step in steps {
        match world.step(*step) {
            Err(error) if matches!(step, Step::Commit | Step::Beacon) => {
                return Some((world, Some(error)));
            }
            _ => {}
        }
    }
    (world.disk.faults_struck() > 0).then_some((world, None))
}

/// After an error nothing is confirmed or shown any more, however healthy the disk is again.
fn check_poisoned(world: &mut World) {
    let committed = world.log().reader.committed();
    let confirmed = world.model().log.len();
    world.disk.heal();
    for _ in 0..3 {
        assert!(world.commit().is_err(), "confirmed after an error");
        assert!(world.log().writer.beacon().is_err(), "a beacon after an error");
    }
    assert_eq!(world.model().log.len(), confirmed);
    assert_eq!(world.log().reader.committed(), committed);
    // Readers see all that was confirmed, and nothing above it.
    world.read_all();
    assert!(world.seal().is_err(), "a seal after an error");
    // Only the first of the bodies can have reached the disk.
    world.model().in_flight.truncate(1);
}

/// Not every call at the least depth, and every one beyond it.
fn sampled(nth: u64) -> u64 {
    if depth() == 1 { nth * 3 + seed() % 3 } else { nth }
}

/// Each call of one kind fails in turn.
fn check_every(op: Op, effects: &[Effect], path_part: &str) -> u64 {
    let seed = seed();
    let mut poisoned = 0;
    let mut tally = Tally::of("failed writes and syncs");
    for round in 0..depth() {
        let steps = steady_script(seed + round, 40);
        for effect in effects {
            for nth in (0..).map(sampled) {
                let label =
                    format!("seed={} {op:?} {effect:?} on '{path_part}' nth={nth}", seed + round);
                let _label = Label(&label);
                let fault = Fault::new(op, *effect).on(path_part).after(nth);
                let Some((mut world, error)) = run_into(fault, seed + round, &steps) else {
                    break;
                };
                if error.is_some() {
                    check_poisoned(&mut world);
                    poisoned += 1;
                }
                world.die();
                let model = world.model().clone();
                tally.add("images", 5);
                let mut after = vec![world.disk.restart()];
                after.extend(world.disk.crash_images(4));
                for disk in after {
                    let mut again = World::on(disk, model.clone(), 5);
                    again.run(&[Step::Commit, Step::Reopen]).unwrap();
                    again.read_all();
                }
            }
        }
    }
    poisoned
}

#[test]
fn p07_nothing_is_confirmed_after_a_failed_sync() {
    let kept = Effect::Error(ErrorKind::Other);
    let forgotten = Effect::ForgetWrites(ErrorKind::Other);
    assert!(check_every(Op::Sync, &[kept, forgotten], "") > 20);
}

#[test]
fn p07_nothing_is_confirmed_after_a_failed_write() {
    let effects = [0, 1, 100, 700, 5_000].map(|bytes| Effect::ErrorAfter(ErrorKind::Other, bytes));
    assert!(check_every(Op::Write, &effects, "") > 50);
}

#[test]
fn p07_a_failed_directory_sync_confirms_nothing_that_needs_it() {
    check_every(Op::SyncDir, &[Effect::Error(ErrorKind::Other)], "");
}

#[test]
fn p08_what_recovery_serves_after_a_kill_survives_a_power_cut() {
    // Goal: a block that recovery found in the page cache only is made durable before it is served. How: the process dies at
    // any call and the cache lives on; recover; then cut the power, keeping only what is on the media.
    let seed = seed();
    let mut tally = Tally::of("kills, then power cuts");
    for round in 0..depth() {
        let mut world = World::new(seed + round);
        let steps = script(seed + round, 50);
        let kill = |disk: &SimDisk| vec![disk.restart()];
        let label = format!("seed={}", seed + round);
        for case in crash_everywhere(&mut world, kill, &label, |world| world.run(&steps).unwrap()) {
            let _label = Label(&case.label);
            let mut second = World::on(case.disk, (*case.model).clone(), 3);
            second.open().unwrap();
            second.die();
            let model = second.model().clone();
            for keep in [Keep::Nothing, Keep::Everything] {
                tally.one("images");
                let mut third = World::on(second.disk.power_cut(keep), model.clone(), 4);
                third.open().unwrap();
                third.read_all();
            }
        }
    }
}

#[test]
fn p08_recovery_does_not_trust_a_cache_that_a_failed_sync_left() {
    // Goal: after a failed sync the cache shows a block that the disk does not have; what recovery serves must be on the disk.
    // How: the nth sync forgets its writes and fails; restart without dropping the cache; recover; drop it; recover again.
    let seed = seed();
    let mut served = 0;
    for round in 0..depth() {
        let steps = steady_script(seed + round, 40);
        for nth in 0.. {
            let label = format!("seed={} nth={nth}", seed + round);
            let _label = Label(&label);
            let effect = Effect::ForgetWrites(ErrorKind::Other);
            let fault = Fault::new(Op::Sync, effect).after(nth);
            let Some((mut world, _)) = run_into(fault, seed + round, &steps) else {
                break;
            };
            world.die();
            let confirmed = world.model().log.len();
            let mut second = World::on(world.disk.restart(), world.model().clone(), 3);
            second.open().unwrap();
            served += second.model().log.len() - confirmed;
            second.commit().unwrap();
            let model = second.model().clone();
            second.disk.evict();
            second.read_all();
            second.die();
            for disk in [second.disk.restart(), second.disk.power_cut(Keep::Nothing)] {
                disk.evict();
                let mut third = World::on(disk, model.clone(), 4);
                third.open().unwrap();
                third.read_all();
            }
        }
    }
    println!("{served} blocks served that the failed sync had forgotten");
}

#[test]
fn p08_a_cache_may_let_go_of_its_pages_at_any_moment() {
    let mut world = World::new(seed());
    world.open().unwrap();
    let disk = world.disk.clone();
    world.disk.on_call(move |_| disk.evict());
    world.run(&script(seed(), 60)).unwrap();
    world.read_all();
    world.disk.on_call(|_| {});
}

#[test]
fn p07_a_recovery_whose_writes_fail_confirms_nothing_and_destroys_nothing() {
    // Goal: recovery writes little, and any of it may fail; the next one finds the same log. How: for a sample of crash images,
    // each write, sync and so on of the recovery fails, in every way; then a restart, and a power cut.
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut world = World::new(seed);
    let images = |disk: &SimDisk| disk.crash_images(3);
    let steps = script(seed, 40);
    let cases =
        crash_everywhere(&mut world, images, &format!("seed={seed}"), |w| w.run(&steps).unwrap());
    let mut tally = Tally::of("recoveries whose writes fail");
    let other = ErrorKind::Other;
    let faults = [
        (Op::Write, Effect::ErrorAfter(other, 300)),
        (Op::Sync, Effect::Error(other)),
        (Op::Sync, Effect::ForgetWrites(other)),
        (Op::SyncDir, Effect::Error(other)),
        (Op::Create, Effect::Error(other)),
        (Op::Allocate, Effect::Error(other)),
    ];
    for case in cases {
        if !dice.one_in((60 / depth()).max(1)) {
            continue;
        }
        let mut one = World::on(case.disk.restart(), (*case.model).clone(), 1);
        one.open().unwrap();
        let expected = one.model().log.clone();
        for (op, effect) in faults {
            for nth in 0.. {
                let label = format!("{} {op:?} {effect:?} nth={nth}", case.label);
                let _label = Label(&label);
                let mut failed = World::on(case.disk.restart(), (*case.model).clone(), 1);
                failed.disk.fail(Fault::new(op, effect).after(nth));
                let result = failed.open();
                if failed.disk.faults_struck() == 0 {
                    break;
                }
                assert!(result.is_err(), "opened although a write failed");
                tally.add("images", 4);
                for disk in [failed.disk.restart(), failed.disk.power_cut(Keep::Nothing)] {
                    let mut again = World::on(disk, (*case.model).clone(), 1);
                    again.open().unwrap();
                    again.read_all();
                    again.die();
                    let mut last =
                        World::on(again.disk.power_cut(Keep::Nothing), again.model().clone(), 1);
                    last.open().unwrap();
                    assert_eq!(last.model().log, expected);
                }
            }
        }
    }
}

#[test]
fn p15_a_read_that_fails_fails_alone() {
    let mut world = World::after(seed(), &[Step::Commit; 20]);
    world.step(Step::Reopen).unwrap();
    let runs: Vec<Run> = world.model().streams[&1].runs.clone();
    for nth in 0..runs.len() as u64 {
        world
            .disk
            .fail(Fault::new(Op::Read, Effect::Error(ErrorKind::Other)).on(".seg").after(nth));
        let reader = &world.log().reader;
        for run in &runs {
            match reader.read(1, run.base_offset) {
                Ok(read) => assert_eq!(read.as_ref(), Some(run)),
                Err(error) => assert!(matches!(error, StorageError::Io { .. }), "{error:?}"),
            }
        }
        world.disk.heal();
        world.read_all();
        world.commit().unwrap();
    }
    world.disk.fail(Fault::new(Op::Read, Effect::ReadAtMost(7)).forever());
    world.read_all();
    world.step(Step::Reopen).unwrap();
    world.read_all();
}

#[test]
fn p15_a_read_that_fails_while_segments_are_shortened_costs_only_their_space() {
    let mut struck = 0;
    for nth in 0..6 {
        // Each restart ends a segment early; its unused rest is given back later.
        let mut world =
            World::after(seed(), &[Step::Commit, Step::Reopen, Step::Commit, Step::Reopen]);
        let fault = Fault::new(Op::Read, Effect::Error(ErrorKind::Other)).on(".seg").after(nth);
        // Where an index cannot be read, the blocks are: that has to fail as well.
        world.disk.fail(fault.times(2));
        for _ in 0..3 {
            world.step(Step::Maintain).unwrap();
            world.commit().unwrap();
        }
        struck += world.disk.faults_struck();
        world.disk.heal();
        world.read_all();
    }
    assert!(struck > 0, "the log reads when it shortens segments");
}

#[test]
fn p08_a_superblock_that_only_the_cache_has_is_not_built_upon() {
    // Goal: a start whose superblock only the page cache has must not cost the copy that the disk has. How: a start fails at a
    // sync of the superblock that forgets, the next one at a torn write of it; then the cache is dropped.
    let mut world = World::after(seed(), &[Step::Commit; 5]);
    world.die();
    let mut starts = 0;
    for (sync, write) in (0..3).flat_map(|sync| (0..3).map(move |write| (sync, write))) {
        let label = format!("sync {sync} forgets, write {write} tears");
        let _label = Label(&label);
        let forgets = Fault::new(Op::Sync, Effect::ForgetWrites(ErrorKind::Other));
        let tears = Fault::new(Op::Write, Effect::ErrorAfter(ErrorKind::Other, 2_000));
        let mut disk = world.disk.restart();
        for fault in [forgets.after(sync), tears.after(write)] {
            disk.fail(fault.on("SUPER"));
            let mut failed = World::on(disk, world.model().clone(), 2);
            starts += u32::from(failed.open().is_err());
            failed.die();
            disk = failed.disk.restart();
        }
        disk.evict();
        let mut last = World::on(disk, world.model().clone(), 3);
        last.open().unwrap();
        last.read_all();
    }
    assert!(starts >= 8, "only {starts} starts met a fault");
}

/// A fault that a life of the log may meet.
fn any_fault(dice: &mut Dice) -> Fault {
    let kind = if dice.one_in(3) { ErrorKind::StorageFull } else { ErrorKind::Other };
    let (op, effect) = match dice.below(6) {
        0 => (Op::Write, Effect::ErrorAfter(kind, dice.index(3_000))),
        1 => (Op::Sync, Effect::Error(kind)),
        2 => (Op::Sync, Effect::ForgetWrites(kind)),
        3 => (Op::SyncDir, Effect::Error(kind)),
        4 => (Op::Allocate, Effect::Error(kind)),
        _ => (Op::Rename, Effect::Error(kind)),
    };
    Fault::new(op, effect).after(dice.below(60)).times(1 + dice.below(2))
}

#[test]
fn p01_confirmed_blocks_survive_many_lives_of_faults_and_crashes() {
    // Goal: faults and crashes on top of each other. How: each life meets some fault and ends somewhere: the process dies and
    // the cache lives on, or is dropped, or the power goes; the next life takes over, with one model through all of them.
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut tally = Tally::of("lives of faults and crashes");
    for round in 0..30 * depth() {
        tally.one("histories");
        let mut disk = SimDisk::new(seed ^ round);
        let mut model = crate::model::Model::default();
        let mut label = format!("seed={seed} round={round}");
        for _ in 0..6 {
            let fault = any_fault(&mut dice);
            let so_far = label.clone();
            let _label = Label(&so_far);
            let mut world = World::on(disk, model, dice.roll());
            world.disk.fail(fault.clone());
            if dice.one_in(2) {
                world.disk.crash_at(world.disk.changes() + 1 + dice.below(150));
            }
            if world.open().is_ok() {
                for step in script(dice.roll(), 25) {
                    let result = world.step(step);
                    if result.is_err() && (step != Step::Checkpoint || world.log.is_none()) {
                        break;
                    }
                }
            }
            world.die();
            let end = dice.below(4);
            disk = match end {
                0 => world.disk.restart(),
                1 => {
                    let disk = world.disk.restart();
                    disk.evict();
                    disk
                }
                _ => {
                    let mut images = world.disk.crash_images(6);
                    tally.one("images");
                    images.swap_remove(dice.index(images.len()))
                }
            };
            model = world.model().clone();
            label = format!("{label} / {fault:?} end={end}");
        }
        let _label = Label(&label);
        let mut last = World::on(disk, model, 1);
        last.open().unwrap();
        last.read_all();
    }
}
