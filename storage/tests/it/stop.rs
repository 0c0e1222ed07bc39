//! Clean stops, second processes, newer formats (P9, P33, P34).

use std::path::Path;
use std::sync::Arc;

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Keep, Op};
use posthaste_storage::{StorageError, open};

use crate::check::{self, DIR};
use crate::world::{Step, World, script};
use crate::{depth, seed};

/// All bytes of all files, to see that nothing was touched. The lock file is left out.
pub(crate) fn contents(disk: &SimDisk) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = disk.files().into_iter().filter(|path| !path.ends_with("LOCK"));
    files.map(|path| (path.clone(), disk.bytes(&path).unwrap())).collect()
}

#[test]
fn p09_after_a_clean_stop_nothing_is_scanned_cut_or_called_damaged() {
    let seed = seed();
    for round in 0..20 * depth() {
        let mut world = World::new(seed + round);
        let steps: Vec<Step> = script(seed + round, 30);
        world.run(&steps).unwrap();
        world.checkpoint().unwrap();
        world.seal().unwrap();
        // What a seal leaves is durable.
        world.disk = world.disk.power_cut(Keep::Nothing);
        world.open().unwrap();
        let report = &world.log().report;
        assert!(report.clean, "{report}");
        assert_eq!((report.blocks_replayed, report.cut_bytes, report.rewritten_bytes), (0, 0, 0));
        assert_eq!(report.damaged, []);
        world.read_all();
        world.commit().unwrap();
    }
}

#[test]
fn p09_a_clean_stop_without_a_checkpoint_cuts_nothing() {
    let seed = seed();
    let mut world = World::after(seed, &[Step::Commit; 12]);
    world.seal().unwrap();
    world.open().unwrap();
    let report = &world.log().report;
    assert!(report.clean && report.cut_bytes == 0 && report.rewritten_bytes == 0, "{report}");
    assert_eq!(report.blocks_replayed, 12);
}

#[test]
fn p09_a_clean_mark_counts_once() {
    let mut world = World::after(seed(), &[Step::Commit, Step::SealAndReopen, Step::Reopen]);
    assert!(!world.log().report.clean, "{}", world.log().report);
    world.step(Step::SealAndReopen).unwrap();
    assert!(world.log().report.clean, "{}", world.log().report);
    world.step(Step::Commit).unwrap();
    world.step(Step::Reopen).unwrap();
    assert!(!world.log().report.clean, "{}", world.log().report);
}

#[test]
fn p33_a_second_open_is_refused_before_anything_is_written() {
    let mut world = World::after(seed(), &[Step::Commit; 5]);
    let (changes, before) = (world.disk.changes(), contents(&world.disk));
    let second = open(Arc::new(world.disk.clone()), Path::new(DIR), check::options());
    assert!(matches!(second, Err(StorageError::AlreadyLocked { .. })), "{second:?}");
    assert_eq!((world.disk.changes(), contents(&world.disk)), (changes, before));
    world.commit().unwrap();
    world.step(Step::Reopen).unwrap();
    // Also while the first is still recovering.
    world.die();
    let first = open(Arc::new(world.disk.clone()), Path::new(DIR), check::options()).unwrap();
    let second = open(Arc::new(world.disk.clone()), Path::new(DIR), check::options());
    assert!(matches!(second, Err(StorageError::AlreadyLocked { .. })), "{second:?}");
    first.replay(&mut |_| Ok(())).unwrap();
    world.open().unwrap();
}

#[test]
fn p33_the_lock_comes_before_any_other_change() {
    let world = World::after(seed(), &[Step::Commit; 3]);
    let disk = world.disk.power_cut(Keep::Nothing);
    let ops = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = Arc::clone(&ops);
    disk.on_call(move |call| {
        if call.op == Op::Lock || call.op.changes() {
            sink.lock().unwrap().push(call.op);
        }
    });
    open(Arc::new(disk), Path::new(DIR), check::options()).unwrap();
    assert_eq!(ops.lock().unwrap().first(), Some(&Op::Lock));
}
