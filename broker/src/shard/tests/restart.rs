//! Scripts: what the next process knows, and what it says about what was delivered before.

use super::desk::*;
use crate::shard::Shard;
use crate::shard::command::Command;
use crate::shard::effects::*;
use posthaste_protocol::request::{Outcome, Settings};

/// A queue of ten: two acked, two delivered and given back, one delayed.
fn stopped() -> (Desk, StreamId, GroupId) {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 4);
    desk.publish_delayed(stream, 10, &[(2, NOON + 500)]);
    let delivery = desk.deliver(2).unwrap();
    desk.settle(delivery, Outcome::Ack);
    assert_eq!(desk.deliver(2).unwrap().facts(), (3, 2, 1, false));
    desk.detach(consumer);
    (desk, stream, group)
}

#[test]
fn after_a_clean_stop_only_what_was_delivered_is_flagged() {
    let (desk, _, group) = stopped();
    let mut desk = desk.restart(true).restart(true);
    desk.consumer(group, 100);
    assert_eq!(desk.deliver_all(), [(3, 2, 1, true), (5, 5, 1, false)]);
    desk.tick(500);
    assert_eq!(desk.deliver_all(), [(2, 1, 1, false)], "it waited and was never delivered");
}

#[test]
fn after_an_unclean_stop_all_that_could_have_been_delivered_is_flagged() {
    let (desk, stream, group) = stopped();
    let mut desk = desk.restart(false);
    desk.publish(stream, 1);
    desk.consumer(group, 100);
    assert_eq!(desk.deliver_all(), [(3, 7, 1, true), (10, 1, 1, false)]);
    desk.tick(500);
    assert_eq!(desk.deliver_all(), [(2, 1, 1, true)]);
}

#[test]
fn a_checkpoint_says_nothing_of_deliveries_once_the_log_goes_on() {
    let run_on = |entry: &dyn Fn(&mut Desk)| {
        let (desk, _, group) = stopped();
        let mut desk = Desk::of(Shard::restore(&desk.shard.checkpoint()).unwrap());
        entry(&mut desk);
        desk.apply([Command::Started { clean: true }]);
        desk.consumer(group, 100);
        desk.deliver_all()[0]
    };
    let by_run = run_on(&|desk| {
        desk.publish(1, 1);
    });
    assert_eq!(by_run, (3, 8, 1, true));
    let by_command = run_on(&|desk| {
        let admitted = desk.shard.admit_open_producer([7; 16]);
        desk.apply(admitted.command);
    });
    assert_eq!(by_command, (3, 7, 1, true));
}

#[test]
fn a_checkpoint_with_leases_out_says_nothing_of_deliveries() {
    let (mut desk, _, group) = stopped();
    desk.consumer(group, 1);
    desk.deliver(1);
    let mut desk = desk.restart(true);
    desk.consumer(group, 100);
    assert_eq!(desk.deliver_all(), [(3, 7, 1, true)]);
}

#[test]
fn attempts_and_delays_survive_every_stop() {
    let (mut desk, _, group) = stopped();
    desk.consumer(group, 1);
    let delivery = desk.deliver(1).unwrap();
    let outcome = Outcome::Retry { delay_ms: Some(700), reason: String::new() };
    desk.settle(delivery, outcome);
    for clean in [true, false, true] {
        desk = desk.restart(clean);
        assert_eq!((desk.info("q").delayed, desk.shard.next_due()), (2, Some(NOON + 500)));
    }
    desk.now_ms = NOON + 700;
    desk = desk.restart(true);
    desk.consumer(group, 100);
    assert_eq!(desk.deliver_all()[..2], [(2, 1, 1, true), (3, 1, 2, true)]);
}

#[test]
fn epochs_of_two_processes_differ() {
    let mut shard = Shard::new();
    shard.set_incarnation(1);
    let first = shard.next_epoch();
    shard.set_incarnation(2);
    assert!(shard.next_epoch() > first + 1_000_000_000);
}

#[test]
fn records_missing_from_the_log_are_dead_letters_of_every_group() {
    let mut desk = Desk::new();
    let topic = desk.topic("t", &Settings::default());
    let group = desk.group("t", "a", Place::Earliest);
    desk.group("t", "b", Place::Earliest);
    desk.publish(topic, 3);
    let batch = AppliedBatch { count: 2, producer: 0, sequence: 0, delayed: &[], ids: &[] };
    desk.run(topic, 7, &[batch]).unwrap();
    let lost = Range { first: 3, end: 7 };
    assert_eq!(desk.effects.list, [Effect::Lost { stream: topic, range: lost }]);
    let counts = desk.effects.counts;
    assert_eq!((counts.published, counts.lost, counts.dead), (5, 4, 8));
    let (dead, total) = desk.shard.dead_list(group, 0, 10);
    assert_eq!((total, dead[0].range, dead[0].attempts), (4, lost, 0));
    assert!(dead[0].reason.starts_with("data loss"));
    desk.consumer(group, 100);
    assert_eq!(desk.deliver_all(), [(0, 3, 1, false), (7, 2, 1, false)]);
}

#[test]
fn a_run_is_never_applied_twice() {
    let mut desk = Desk::new();
    let (stream, _) = desk.queue("q", &Settings::default());
    desk.publish(stream, 3);
    let batch = AppliedBatch { count: 2, producer: 0, sequence: 0, delayed: &[], ids: &[] };
    let twice = StateError::RunTwice { stream, base_offset: 2, next_offset: 3 };
    assert_eq!(desk.run(stream, 2, &[batch]), Err(twice));
    let overflow = StateError::Overflow { stream, base_offset: u64::MAX - 2, records: 2 };
    assert_eq!(desk.run(stream, u64::MAX - 2, &[batch]), Err(overflow));
    assert_eq!(desk.info("q").ready, 3);
}
