//! Error loops: whichever call of the disk fails, once or from then on, nothing confirmed is lost (P7, P15, P28).

use std::io::ErrorKind;

use posthaste_storage::StorageError;
use posthaste_storage::disk::sim::{Effect, Fault, Op};

use crate::check;
use crate::crash::Label;
use crate::model::Sizes;
use crate::tally::Tally;
use crate::world::{Step, World};
use crate::{depth, seed};

/// A life with everything in it: rolls, beacons, checkpoints, maintenance, readers, deaths, an end.
fn life() -> Vec<Step> {
    use Step::{Beacon, Checkpoint, Commit, Maintain, Reopen, SealAndReopen};
    let year = [Commit, Commit, Beacon, Commit, Commit, Checkpoint, Maintain, Commit];
    let mut steps = year.to_vec();
    steps.push(Reopen);
    steps.extend(year);
    steps.push(SealAndReopen);
    steps.extend(year);
    steps
}

/// What a call can fail with.
fn effects() -> [Effect; 6] {
    let kinds = [ErrorKind::Other, ErrorKind::StorageFull, ErrorKind::Interrupted];
    let [eio, enospc, eintr] = kinds.map(Effect::Error);
    let short = [0, 700].map(|bytes| Effect::ErrorAfter(ErrorKind::Other, bytes));
    [eio, enospc, eintr, short[0], short[1], Effect::ForgetWrites(ErrorKind::Other)]
}

fn new_world(seed: u64) -> World {
    let mut world = World::new(seed);
    world.sizes = Sizes { one_run_in: 1, run_bytes_max: 1_800 };
    world
}

/// Goes through the steps as a broker would: a process that met an error ends, and another takes over, if it can.
fn insist(world: &mut World, steps: &[Step]) {
    for step in steps {
        let result = if world.log.is_some() { world.step(*step) } else { world.open() };
        let Err(error) = result else { continue };
        let Some(log) = &mut world.log else { continue };
        let is_commit = matches!(step, Step::Commit | Step::Beacon);
        let was_refused = matches!(error, StorageError::NoSpace { .. });
        if was_refused && log.writer.beacon().is_ok() {
            // Nothing was written, and nothing of it may ever show up.
            world.model().in_flight.clear();
        } else if is_commit {
            let confirmed = log.reader.committed();
            assert!(log.writer.beacon().is_err(), "a beacon after {error}");
            assert_eq!(log.reader.committed(), confirmed, "shown after {error}");
            world.die();
        }
        // A failed checkpoint leaves the log whole; so does whatever a process at its end met.
    }
}

#[test]
fn p07_whichever_call_fails_nothing_confirmed_is_lost() {
    // Goal: no call is so small that its failure is overlooked. How: the nth call of a life fails, whatever it is, in each way,
    // once and from then on; then the disk is well again: a restart, and a power cut. One call in 6 for each way; all with
    // POSTHASTE_DEPTH=6.
    let seed = seed();
    let mut tally = Tally::of("error loops");
    let stride = (6 / depth()).max(1);
    for (number, effect) in (0..).zip(effects()) {
        for times in [1, u64::MAX] {
            for nth in (0..).map(|nth| nth * stride + (number + seed) % stride) {
                let label = format!("seed={seed} {effect:?} x{times} nth={nth}");
                let _label = Label(&label);
                let mut world = new_world(seed);
                world.disk.fail(Fault::any(effect).after(nth).times(times));
                insist(&mut world, &life());
                if world.disk.faults_struck() == 0 {
                    break;
                }
                world.die();
                world.disk.heal();
                tally.one("lives");
                let images = world.disk.crash_images(3);
                for disk in images.into_iter().chain([world.disk.restart()]) {
                    let model = world.model().clone();
                    let found = check::verify(&disk, &model, &world.options).unwrap();
                    found.read_all(&model);
                    tally.one("images");
                }
            }
        }
    }
    assert!(tally.count("lives") > 500, "{tally}");
}

#[test]
fn p15_reads_may_be_as_short_as_they_like() {
    let seed = seed();
    for most in [1, 97, 511] {
        let mut world = new_world(seed);
        world.disk.fail(Fault::new(Op::Read, Effect::ReadAtMost(most)).forever());
        let steps = if most == 1 { &life()[..5] } else { &life()[..] };
        world.run(steps).unwrap();
        world.read_all();
        world.step(Step::Reopen).unwrap();
        world.read_all();
    }
}
