//! Segments below the checkpoint: they are not read at the start, and still not believed.

use posthaste_storage::StorageError;

use crate::world::{Step, World};

#[test]
fn a_segment_below_the_checkpoint_that_lost_its_end_stops_the_start() {
    let mut world = World::new(1);
    world.run(&[Step::Commit; 120]).unwrap();
    world.run(&[Step::Maintain, Step::Checkpoint]).unwrap();
    world.die();
    let mut refused = 0;
    for path in world.disk.files() {
        let bytes = world.disk.bytes(&path).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let is_segment = path.extension().is_some_and(|end| end == "seg");
        if !is_segment || used < 10 << 10 {
            continue;
        }
        let disk = world.disk.restart();
        disk.cut_file(&path, (used as u64 / 2) & !511).unwrap();
        let mut again = World::on(disk, world.model().clone(), 1);
        let error = again.open().expect_err("a part of the log is gone");
        assert!(matches!(error, StorageError::Damaged(_)), "{}: {error}", path.display());
        refused += 1;
    }
    assert!(refused >= 3, "{refused} segments with much in them");
}
