//! Full disks (P28).

use std::io::ErrorKind;

use posthaste_storage::StorageError;
use posthaste_storage::disk::sim::{Effect, Fault, Op};

use crate::crash::Label;
use crate::model::Sizes;
use crate::world::{Step, World, script};
use crate::{depth, seed};

/// Goes through the steps as a broker would: a commit that is refused for lack of space is tried again later, a log that is
/// poisoned is opened again.
fn insist(world: &mut World, steps: &[Step]) {
    for step in steps {
        let result = if world.log.is_some() { world.step(*step) } else { world.open() };
        match result {
            Ok(()) => {}
            Err(StorageError::NoSpace { .. }) if world.log.is_some() && *step == Step::Commit => {
                // Nothing of a refused commit may ever show up, unless the log is poisoned.
                if world.log().writer.beacon().is_ok() {
                    world.model().in_flight.clear();
                } else {
                    world.die();
                }
            }
            Err(StorageError::NoSpace { .. }) => {}
            Err(_) => world.die(),
        }
    }
}

#[test]
fn p28_no_space_at_any_call_loses_nothing_and_service_resumes() {
    let seed = seed();
    let full = ErrorKind::StorageFull;
    let effects = [
        (Op::Create, Effect::Error(full)),
        (Op::CreateDir, Effect::Error(full)),
        (Op::Allocate, Effect::Error(full)),
        (Op::SetLen, Effect::Error(full)),
        (Op::Rename, Effect::Error(full)),
        (Op::Write, Effect::Error(full)),
        (Op::Write, Effect::ErrorAfter(full, 600)),
        (Op::Sync, Effect::Error(full)),
        (Op::SyncDir, Effect::Error(full)),
    ];
    let steps = script(seed, 40);
    for (op, effect) in effects {
        for times in [1, 20] {
            for nth in 0.. {
                let label = format!("seed={seed} {op:?} {effect:?} x{times} nth={nth}");
                let _label = Label(&label);
                let mut world = World::new(seed);
                world.disk.fail(Fault::new(op, effect).after(nth * (1 + 9 / depth())).times(times));
                insist(&mut world, &steps);
                let struck = world.disk.faults_struck() > 0;
                world.disk.heal();
                world.die();
                for disk in [world.disk.restart(), world.disk.crash_images(3).pop().unwrap()] {
                    let mut again = World::on(disk, world.model().clone(), 5);
                    again.run(&[Step::Commit, Step::Checkpoint, Step::Reopen]).unwrap();
                    again.read_all();
                }
                if !struck {
                    break;
                }
            }
        }
    }
}

#[test]
fn p28_publishes_stop_before_the_log_does_and_resume_after_a_checkpoint() {
    let mut world = World::new(seed());
    world.disk.set_capacity(Some(300 * 1024));
    world.sizes = Sizes { one_run_in: 1, run_bytes_max: 900 };
    world.options.reserve_bytes = 16 * 1024;
    world.open().unwrap();
    let mut published = 0;
    while world.log().reader.space().publishes_allowed {
        world.commit().unwrap();
        world.log().keeper.maintain();
        published += 1;
        assert!(published < 10_000, "the disk is never full");
    }
    // Acknowledgements: small commands, two segments of them but for the marks at their ends.
    world.sizes = Sizes { one_run_in: u64::MAX, run_bytes_max: 1 };
    let last = world.model().log.last().unwrap().end;
    let mut acknowledged = 0;
    while acknowledged < 2 * 16 * 1024 - 8 * 1024 {
        world.commit().unwrap();
        let model = world.model();
        let block = model.log.last().unwrap();
        acknowledged += block.end.offset() - block.lsn.offset();
    }
    assert!(world.model().log.last().unwrap().lsn > last);
    world.read_all();
    // A full disk does not keep the store from opening.
    world.step(Step::Reopen).unwrap();
    world.read_all();
    // Two checkpoints: segments are free when the older of the two kept does not need them.
    for _ in 0..12 {
        if world.log().reader.space().publishes_allowed {
            break;
        }
        let all_dead = |stream: &mut crate::model::Stream| stream.floor = stream.next;
        world.model().streams.values_mut().for_each(all_dead);
        world.checkpoint().unwrap();
        world.log().keeper.maintain();
        world.commit().unwrap();
    }
    assert!(world.log().reader.space().publishes_allowed, "{:?}", world.log().reader.space());
    for _ in 0..20 {
        world.commit().unwrap();
    }
    world.step(Step::Reopen).unwrap();
    world.read_all();
}

#[test]
fn p28_a_full_disk_leaves_no_half_made_files_behind() {
    let mut world = World::after(seed(), &[Step::Commit; 3]);
    let count = |world: &World| world.disk.files().len();
    let before = count(&world);
    for _ in 0..10 {
        world.disk.fail(Fault::new(Op::Allocate, Effect::Error(ErrorKind::StorageFull)));
        world.disk.fail(Fault::new(Op::Write, Effect::Error(ErrorKind::StorageFull)).on("ckpt"));
        assert!(world.checkpoint().is_err());
        world.log().keeper.maintain();
        world.disk.heal();
    }
    world.step(Step::Reopen).unwrap();
    assert!(count(&world) <= before + 1, "{:?}", world.disk.files());
}
