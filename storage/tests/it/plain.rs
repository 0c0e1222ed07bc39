//! The same scripts without faults: on a real directory, and on the plain memory disk behind `memory:`.

use posthaste_storage::disk::SimDisk;

use crate::model::Model;
use crate::seed;
use crate::world::{Step, World, script};

fn run_with_threads_and_maps(world: &mut World, seed: u64) {
    // The background thread and the pre-writing of spares are off in the other tests, which must repeat exactly.
    world.options.background = true;
    world.options.prewrite = true;
    world.run(&script(seed, 60)).unwrap();
    world.read_all();
    world.step(Step::Reopen).unwrap();
    world.read_all();
}

#[test]
fn a_log_in_a_real_directory_keeps_everything_through_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(seed());
    world.real_dir = Some(dir.path().join("data"));
    run_with_threads_and_maps(&mut world, seed());
    assert!(world.disk.files().is_empty());
}

#[test]
fn a_log_in_memory_keeps_everything_as_long_as_the_process_lives() {
    let mut world = World::on(SimDisk::memory(), Model::default(), seed());
    run_with_threads_and_maps(&mut world, seed());
}
