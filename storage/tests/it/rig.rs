//! Proof that these rigs can fail: each breaks a promise on purpose and expects the checker to notice.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::Keep;

use crate::check::DIR;
use crate::model::Model;
use crate::seed;
use crate::world::{Step, World, script};

/// Whether opening this disk, and reading all of it, goes without complaint.
fn passes(disk: &SimDisk, model: &Model) -> bool {
    let (disk, model) = (disk.clone(), model.clone());
    catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::on(disk, model, 1);
        world.open().unwrap();
        world.read_all();
    }))
    .is_ok()
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let seed = seed();
    let mut world = World::after(seed, &[Step::Commit; 4]);
    assert!(passes(&world.disk.power_cut(Keep::Nothing), &world.model()));
    world.disk.lie(true);
    for _ in 0..3 {
        world.commit().unwrap();
    }
    world.die();
    assert!(!passes(&world.disk.power_cut(Keep::Nothing), &world.model()));
    assert!(passes(&world.disk.power_cut(Keep::Everything), &world.model()));
    let images = world.disk.crash_images(32);
    let noticed = images.iter().filter(|image| !passes(image, &world.model())).count();
    assert!(noticed > 5, "{noticed} of 32");
}

#[test]
fn a_store_created_on_a_disk_that_lies_is_noticed() {
    let disk = SimDisk::new(1);
    disk.lie(true);
    let mut world = World::on(disk, Model::default(), 1);
    world.run(&[Step::Commit]).unwrap();
    world.die();
    assert!(!passes(&world.disk.power_cut(Keep::Nothing), &world.model()));
}

#[test]
fn a_lost_file_is_noticed_whichever_holds_data() {
    let mut world = World::after(seed(), &script(seed(), 40));
    world.die();
    let model = world.model().clone();
    let last = model.log.last().unwrap();
    let mut noticed = 0;
    for path in world.disk.files() {
        let disk = world.disk.restart();
        disk.lose(&path).unwrap();
        noticed += u32::from(!passes(&disk, &model));
    }
    assert!(noticed >= 2, "last block {last:?}");
}

#[test]
fn a_block_that_nobody_submitted_is_noticed() {
    let mut world = World::after(seed(), &[Step::Commit; 4]);
    world.die();
    // The same disk, held against the model of a run that submitted other bodies.
    let other = World::after(seed() ^ 0xFF, &[Step::Commit; 4]);
    let mut model = other.model().clone();
    model.store = world.model().store;
    assert!(!passes(&world.disk, &model));
    assert!(world.disk.exists_in(DIR));
}

/// A look at the directory that is not counted as part of the log's work.
trait ExistsIn {
    fn exists_in(&self, dir: &str) -> bool;
}

impl ExistsIn for SimDisk {
    fn exists_in(&self, dir: &str) -> bool {
        self.files().iter().any(|path| path.starts_with(Path::new(dir)))
    }
}
