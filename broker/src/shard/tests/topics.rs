//! Scripts: groups, seeking, retention, purging, raising the dead.

use super::desk::*;
use crate::shard::effects::*;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::{Outcome, Settings, Settle};

fn dead() -> Outcome {
    Outcome::DeadLetter { reason: "hopeless".to_owned() }
}

#[test]
fn each_group_gets_each_message_from_its_start() {
    let mut desk = Desk::new();
    let topic = desk.topic("t", &Settings::default());
    desk.publish(topic, 3);
    let early = desk.group("t", "early", Place::Earliest);
    let late = desk.group("t", "late", Place::Latest);
    let middle = desk.group("t", "middle", Place::Offset(2));
    desk.publish(topic, 2);
    for (group, expected) in [(early, (0, 5)), (late, (3, 2)), (middle, (2, 3))] {
        desk.consumer(group, 100);
        let all = desk.deliver_all();
        assert_eq!(all, [(expected.0, expected.1, 1, false)]);
    }
}

#[test]
fn a_new_group_waits_for_delayed_messages_too() {
    let mut desk = Desk::new();
    let topic = desk.topic("t", &Settings::default());
    desk.publish_delayed(topic, 3, &[(1, NOON + 500), (2, NOON + 501), (9, NOON + 500)]);
    let group = desk.group("t", "g", Place::Earliest);
    desk.consumer(group, 100);
    assert_eq!(desk.deliver_all(), [(0, 1, 1, false)]);
    desk.tick(500);
    assert_eq!(desk.deliver_all(), [(1, 1, 1, false)]);
    desk.tick(1);
    assert_eq!(desk.deliver_all(), [(2, 1, 1, false)]);
    let late = desk.group("t", "late", Place::Earliest);
    desk.consumer(late, 100);
    assert_eq!(desk.deliver_all(), [(0, 3, 1, false)]);
}

#[test]
fn seeking_back_delivers_again_flagged_and_makes_leases_void() {
    let mut desk = Desk::new();
    let topic = desk.topic("t", &Settings::default());
    let group = desk.group("t", "g", Place::Earliest);
    desk.publish_delayed(topic, 6, &[(1, NOON + 500)]);
    let consumer = desk.consumer(group, 100);
    let done = desk.deliver(1).unwrap();
    desk.settle(done, Outcome::Ack);
    let held = desk.deliver(2).unwrap();
    assert_eq!(held.facts(), (2, 2, 1, false));
    let admitted = desk.shard.admit_seek(group, Place::Earliest, false).unwrap();
    assert_eq!(admitted.answer, Sought { from: 1, to: 0, messages: 6 });
    // Between admission and commit: nothing is delivered, and an ack comes too late.
    assert_eq!((desk.deliver(1), desk.shard.peek_ready(group)), (None, None));
    let item = Settle { held: held.held(), outcome: Outcome::Ack };
    let result = desk.shard.settle(consumer, &[item], NOON);
    assert_eq!((result.commands.len(), result.stale.len()), (0, 1));
    assert_eq!(desk.info("t").leased, 2);
    desk.apply(admitted.command);
    let again = desk.deliver_all();
    assert_eq!(again, [(0, 1, 1, true), (2, 2, 1, true), (4, 2, 1, false)]);
    desk.tick(500);
    assert_eq!(desk.deliver_all(), [(1, 1, 1, false)], "its first delivery, still");
}

#[test]
fn seeking_ahead_settles_what_is_passed_and_keeps_dead_letters_below() {
    let mut desk = Desk::new();
    let topic = desk.topic("t", &Settings::default());
    let group = desk.group("t", "g", Place::Earliest);
    desk.publish(topic, 10);
    desk.consumer(group, 100);
    for n in 0..4 {
        let delivery = desk.deliver(1).unwrap();
        desk.settle(delivery, if n % 2 == 0 { dead() } else { Outcome::Ack });
    }
    let admitted = desk.shard.admit_seek(group, Place::Offset(2), false).unwrap();
    desk.apply(admitted.command);
    let info = desk.info("t");
    assert_eq!((info.floor, info.dead, info.ready, info.settled), (2, 1, 8, 1));
    let dry = desk.shard.admit_seek(group, Place::Latest, true).unwrap();
    assert_eq!((dry.answer.messages, dry.command), (0, None));
}

#[test]
fn a_queue_cannot_be_sought() {
    let mut desk = Desk::new();
    let (_, group) = desk.queue("q", &Settings::default());
    let refusal = desk.shard.admit_seek(group, Place::Earliest, false).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::Conflict);
    let gone = desk.shard.admit_seek(GroupId(99), Place::Earliest, false).unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
}

#[test]
fn retention_trims_all_groups_and_counts_what_they_missed() {
    let mut desk = Desk::new();
    let settings = Settings { retain_ms: Some(1_000), ..Settings::default() };
    let topic = desk.topic("t", &settings);
    let (a, b) = (desk.group("t", "a", Place::Earliest), desk.group("t", "b", Place::Earliest));
    desk.publish(topic, 10);
    desk.consumer(a, 100);
    let delivery = desk.deliver(3).unwrap();
    desk.settle(delivery, Outcome::Ack);
    let held = desk.deliver(2).unwrap();
    let retention = Retention {
        stream: topic,
        first_offset: 0,
        next_offset: 10,
        retain_ms: Some(1_000),
        retain_bytes: None,
    };
    assert_eq!(desk.shard.retentions(), [retention]);
    let command = desk.shard.admit_trim(topic, 4).unwrap();
    desk.apply([command]);
    assert_eq!(desk.effects.counts.trimmed, 1 + 4);
    assert_eq!(desk.shard.floors(), [(topic, 4)]);
    assert_eq!(desk.shard.admit_trim(topic, 4), None);
    let item = Settle { held: held.held(), outcome: Outcome::Ack };
    let result = desk.shard.settle(held.consumer, &[item], 0);
    assert_eq!(result.stale.len(), 1, "half of it is gone");
    desk.apply(result.commands);
    desk.consumer(b, 100);
    assert_eq!(desk.deliver_all(), [(5, 5, 1, false), (4, 6, 1, false)]);
}

#[test]
fn a_purge_spares_what_consumers_hold() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 2);
    desk.publish_delayed(stream, 10, &[(8, NOON + 500)]);
    let held = desk.deliver(2).unwrap();
    let dry = desk.shard.admit_purge(&name("q"), true).unwrap();
    assert_eq!((dry.answer, dry.command), (8, None));
    let admitted = desk.shard.admit_purge(&name("q"), false).unwrap();
    desk.apply(admitted.command);
    let info = desk.info("q");
    assert_eq!((info.ready, info.delayed, info.leased, info.settled), (0, 0, 2, 8));
    desk.settle(held, Outcome::Ack);
    assert_eq!(desk.info("q").floor, 10);
    assert_eq!(desk.shard.admit_purge(&name("q"), false).unwrap().command, None);
    desk.publish(stream, 1);
    desk.shard.add_credit(consumer, 10, 0, 0);
    assert_eq!(desk.deliver_all(), [(10, 1, 1, false)]);
}

#[test]
fn a_purge_that_meets_a_new_lease_ends_it() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 2);
    desk.publish(stream, 2);
    let admitted = desk.shard.admit_purge(&name("q"), false).unwrap();
    let held = desk.deliver(2).unwrap();
    desk.apply(admitted.command);
    assert_eq!((desk.info("q").leased, desk.info("q").settled), (0, 2));
    let item = Settle { held: held.held(), outcome: Outcome::Release };
    assert_eq!(desk.shard.settle(consumer, &[item], 0).stale.len(), 1);
}

#[test]
fn dead_letters_are_replayed_with_attempts_reset_or_dropped() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    desk.consumer(group, 100);
    desk.publish(stream, 4);
    let delivery = desk.deliver(4).unwrap();
    desk.settle(delivery, dead());
    assert_eq!((desk.info("q").floor, desk.shard.floors()), (4, vec![(stream, 0)]));
    let one = desk.shard.admit_dead_replay(group, Some(2), false).unwrap();
    assert_eq!(one.answer, 1);
    desk.apply(one.command);
    assert_eq!((desk.info("q").floor, desk.info("q").dead), (2, 3));
    let delivery = desk.deliver(9).unwrap();
    assert_eq!(delivery.facts(), (2, 1, 1, true));
    desk.settle(delivery, Outcome::Ack);
    let drop = desk.shard.admit_dead_drop(group, Some(0), false).unwrap();
    desk.apply(drop.command);
    assert_eq!(desk.shard.floors(), [(stream, 1)]);
    let rest = desk.shard.admit_dead_drop(group, None, false).unwrap();
    assert_eq!(rest.answer, 2);
    desk.apply(rest.command);
    assert_eq!((desk.shard.floors(), desk.info("q").settled), (vec![(stream, 4)], 4));
    assert_eq!(desk.shard.admit_dead_replay(group, None, false).unwrap().command, None);
    assert_eq!((desk.effects.counts.replayed, desk.effects.counts.dropped), (1, 3));
}

#[test]
fn deleting_ends_the_consumers_and_nobody_elses() {
    let mut desk = Desk::new();
    desk.topic("t", &Settings::default());
    let (a, b) = (desk.group("t", "a", Place::Earliest), desk.group("t", "b", Place::Earliest));
    let (gone, stays) = (desk.consumer(a, 1), desk.consumer(b, 1));
    let admitted = desk.shard.admit_delete_group(&name("t"), &group_name("a")).unwrap();
    desk.apply(admitted.command);
    assert_eq!(desk.effects.list, [Effect::ConsumerGone { consumer: gone }]);
    let admitted = desk.shard.admit_delete(&name("t")).unwrap();
    desk.apply(admitted.command);
    assert_eq!(desk.effects.list[1..], [Effect::ConsumerGone { consumer: stays }]);
    assert_eq!((desk.shard.floors(), desk.shard.next_dispatch()), (vec![], None));
}
