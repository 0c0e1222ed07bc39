//! When a checkpoint is due: the log has grown, or the disk is full and one may help.

use crate::world::{Step, World};

fn is_due(world: &mut World) -> bool {
    world.log().keeper.due()
}

#[test]
fn a_checkpoint_is_due_when_the_log_has_grown_by_so_much() {
    const GROWTH: u64 = 40 << 10;
    let mut world = World::new(1);
    world.options.checkpoint_log_bytes = GROWTH;
    world.open().unwrap();
    for round in 0..3 {
        let mut grown = 0;
        while !is_due(&mut world) {
            assert!(grown < 2 * GROWTH, "round {round}: {grown} bytes and nothing is due");
            let block = world.log().writer.end();
            world.commit().unwrap();
            let end = world.log().writer.end();
            grown += match end.seq() == block.seq() {
                true => u64::from(end.offset() - block.offset()),
                false => u64::from(end.offset()),
            };
        }
        assert!(grown > GROWTH / 4, "round {round}: due after {grown} bytes");
        world.run(&[Step::Checkpoint]).unwrap();
        assert!(!is_due(&mut world), "round {round}: due right after one");
    }
}

#[test]
fn a_full_disk_asks_for_a_checkpoint_if_one_can_help() {
    let mut world = World::new(1);
    world.options.checkpoint_log_bytes = 1 << 40;
    world.run(&[Step::Commit, Step::Commit]).unwrap();
    assert!(!is_due(&mut world), "there is room");
    world.disk.set_capacity(Some(0));
    let space = world.log().reader.space();
    assert_eq!(is_due(&mut world), !space.publishes_allowed, "{space:?}");
    assert!(!space.publishes_allowed, "{space:?}");
}
