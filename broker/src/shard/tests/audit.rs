//! The counts of a group add up, whatever happens to its messages; if they do not, it shows.

use super::desk::{Desk, NOON};
use crate::shard::Shard;
use crate::shard::effects::GroupId;
use posthaste_protocol::request::{Outcome, Settings};

/// A delayed, a leased, a dead, a settled and a ready message.
fn one_of_each(desk: &mut Desk) -> GroupId {
    let (stream, group) = desk.queue("q", &Settings::default());
    desk.consumer(group, 4);
    desk.publish(stream, 5);
    let reason = String::new();
    for outcome in [
        Outcome::Retry { delay_ms: Some(1_000), reason: reason.clone() },
        Outcome::DeadLetter { reason },
        Outcome::Ack,
    ] {
        let delivery = desk.deliver(1).expect("a delivery");
        desk.settle(delivery, outcome);
    }
    desk.deliver(1).expect("a delivery");
    group
}

#[test]
fn every_state_counts_and_together_they_are_what_was_published() {
    let mut desk = Desk::new();
    one_of_each(&mut desk);
    let info = desk.info("q");
    let states = [info.ready, info.leased, info.delayed, info.dead, info.settled];
    assert_eq!((states, info.published, info.unaccounted), ([1; 5], 5, 0));
    assert_eq!((desk.shard.audit(100), desk.shard.unaccounted_in_all()), (vec![], 0));
}

#[test]
fn a_message_that_is_nowhere_shows_as_a_difference() {
    let mut desk = Desk::new();
    let group = one_of_each(&mut desk);
    desk.now_ms = NOON + 2_000;
    desk.shard.wake_delayed(desk.now_ms);
    assert_eq!((desk.shard.audit(100), desk.info("q").unaccounted), (vec![], 0));
    // What no command does: the message is taken out of what is ready, and put nowhere.
    desk.shard.groups.get_mut(&group).unwrap().live.returned.clear();
    assert_eq!(desk.info("q").unaccounted, 1);
    assert_eq!((desk.shard.audit(100), desk.shard.unaccounted_in_all()), (vec![(group, 1)], 1));
    assert_eq!(desk.shard.audit(100), [], "told once");
}

#[test]
fn a_checkpoint_that_forgets_what_is_settled_shows_after_the_start() {
    let mut desk = Desk::new();
    let group = one_of_each(&mut desk);
    desk.shard.groups.get_mut(&group).unwrap().progress.ledger.settled = 0;
    let bytes = desk.shard.checkpoint();
    let mut restored = Desk::of(Shard::restore(&bytes).unwrap());
    assert_eq!(restored.info("q").unaccounted, 1);
    assert_eq!(restored.shard.audit(100), [(group, 1)]);
}

#[test]
fn a_checkpoint_without_ledgers_is_read_and_its_counts_follow_from_the_rest() {
    let mut desk = Desk::new();
    one_of_each(&mut desk);
    let mut bytes = desk.shard.checkpoint();
    let ledgers = bytes.windows(4).rposition(|head| head == [6, 0, 1, 0]).unwrap();
    bytes.truncate(ledgers);
    bytes[..8].copy_from_slice(b"PHSTATE1");
    let restored = Desk::of(Shard::restore(&bytes).unwrap());
    let info = restored.info("q");
    assert_eq!((info.published, info.settled, info.unaccounted), (5, 1, 0));
}

#[test]
fn an_audit_takes_many_groups_in_turns_and_pays_for_a_costly_one() {
    let mut desk = Desk::new();
    for n in 0..10 {
        desk.queue(&format!("q-{n}"), &Settings::default());
    }
    for group in desk.shard.groups.values_mut() {
        group.progress.ledger.published = 1;
    }
    let mut found = Vec::new();
    for _ in 0..5 {
        found.push(desk.shard.audit(8).len());
    }
    assert_eq!(found, [2; 5]);
    assert_eq!(desk.shard.unaccounted_in_all(), 10);
    desk.shard.groups.values_mut().for_each(|group| group.progress.ledger.published = 0);
    let turns = (0..100).map(|_| desk.shard.audit(1).len());
    assert_eq!(turns.sum::<usize>(), 10, "a turn that costs more than its allowance is paid for");
    assert_eq!(desk.shard.unaccounted_in_all(), 0);
}
