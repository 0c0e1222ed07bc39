//! Scripts: who gets what, when, and how it ends.

use super::desk::*;
use crate::shard::command::{Cause, Command, End};
use crate::shard::effects::*;
use posthaste_protocol::request::{Held, Kind, Outcome, Settings, Settle};

fn retry(delay_ms: Option<u64>) -> Outcome {
    Outcome::Retry { delay_ms, reason: "busy".to_owned() }
}

#[test]
fn consumers_of_a_queue_take_turns_within_their_credit() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let (a, b) = (desk.consumer(group, 2), desk.consumer(group, 3));
    desk.publish(stream, 10);
    let turns: Vec<_> = std::iter::from_fn(|| desk.deliver(1)).map(|d| d.consumer).collect();
    assert_eq!(turns, [a, b, a, b, b]);
    desk.shard.add_credit(a, 1, 0, 0);
    assert_eq!(desk.deliver(1).map(|delivery| delivery.consumer), Some(a));
}

#[test]
fn groups_take_turns_so_that_a_long_backlog_delays_nobody() {
    let mut desk = Desk::new();
    let (long, long_group) = desk.queue("long", &Settings::default());
    let (short, short_group) = desk.queue("short", &Settings::default());
    let slow = desk.consumer(long_group, 1_000);
    let quick = desk.consumer(short_group, 1_000);
    desk.publish(long, 1_000);
    desk.publish(short, 2);
    let turns: Vec<_> = (0..4).filter_map(|_| desk.deliver(1)).map(|d| d.consumer).collect();
    assert_eq!(turns, [slow, quick, slow, quick]);
}

#[test]
fn a_parked_group_and_a_blocked_consumer_are_passed_over() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 10);
    desk.publish(stream, 3);
    desk.shard.park(group);
    assert_eq!(desk.deliver(1), None);
    desk.shard.unpark(group);
    assert!(desk.deliver(1).is_some());
    desk.shard.set_blocked(consumer, true);
    assert_eq!(desk.deliver(1), None);
    desk.shard.set_blocked(consumer, false);
    assert!(desk.deliver(1).is_some());
}

#[test]
fn returned_messages_go_ahead_of_new_ones_lowest_first() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    desk.consumer(group, 100);
    desk.publish(stream, 6);
    let (first, second) = (desk.deliver(2).unwrap(), desk.deliver(2).unwrap());
    desk.settle(second, Outcome::Release);
    desk.settle(first, retry(Some(0)));
    let rest = desk.deliver_all();
    assert_eq!(rest, [(0, 2, 2, true), (2, 2, 1, true), (4, 2, 1, false)]);
}

#[test]
fn only_begun_deliveries_are_charged_when_a_consumer_goes_away() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 100);
    desk.publish(stream, 5);
    desk.deliver(5);
    desk.shard.add_credit(consumer, 0, 0, 2);
    let commands = desk.shard.detach(consumer, desk.now_ms);
    assert_eq!(desk.info("q").ready, 3, "what was not begun is back at once");
    let [Command::Settle(settlement)] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!(settlement.cause, Cause::Disconnected);
    assert_eq!(settlement.ranges, [Range { first: 0, end: 2 }]);
    desk.apply(commands);
    desk.consumer(group, 100);
    assert_eq!(desk.deliver_all(), [(0, 2, 2, true), (2, 3, 1, true)]);
}

#[test]
fn a_settle_without_the_lease_changes_nothing() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings { lease_ms: Some(100), ..Settings::default() });
    let (slow, quick) = (desk.consumer(group, 1), desk.consumer(group, 0));
    desk.publish(stream, 1);
    let lost = desk.deliver(1).unwrap();
    assert_eq!(lost.consumer, slow);
    desk.tick(100);
    desk.shard.add_credit(quick, 1, 0, 0);
    let held = desk.deliver(1).unwrap();
    assert_eq!((held.consumer, held.attempt), (quick, 2));
    for (consumer, epoch) in [(slow, lost.epoch), (slow, held.epoch), (quick, lost.epoch)] {
        let item = Settle { held: Held { epoch, ..lost.held() }, outcome: Outcome::Ack };
        let result = desk.shard.settle(consumer, std::slice::from_ref(&item), desk.now_ms);
        assert_eq!((result.commands, result.stale), (vec![], vec![item.held]));
    }
    desk.settle(held, Outcome::Ack);
    assert_eq!((desk.info("q").settled, desk.info("q").floor), (1, 1));
}

#[test]
fn acks_twice_and_of_nonsense_are_stale() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 10);
    desk.publish(stream, 5);
    let delivery = desk.deliver(5).unwrap();
    let epoch = delivery.epoch;
    let item = |first, count| Settle { held: Held { first, count, epoch }, outcome: Outcome::Ack };
    let items = [item(1, 2), item(0, 4), item(4, 0), item(u64::MAX, 2), item(3, u32::MAX)];
    let result = desk.shard.settle(consumer, &items, 0);
    let stale: Vec<_> = result.stale.iter().map(|held| (held.first, held.count)).collect();
    assert_eq!(stale, [(1, 2), (4, 0), (u64::MAX, 2), (3, 1), (5, u32::MAX - 2)]);
    desk.apply(result.commands);
    assert_eq!((desk.info("q").settled, desk.info("q").ready), (5, 0));
}

#[test]
fn a_settled_message_counts_as_leased_until_its_end_is_committed() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 10);
    desk.publish(stream, 3);
    let delivery = desk.deliver(3).unwrap();
    let item = Settle { held: delivery.held(), outcome: Outcome::Ack };
    let result = desk.shard.settle(consumer, &[item], 0);
    assert_eq!((desk.info("q").leased, desk.info("q").settled), (3, 0));
    desk.apply(result.commands);
    assert_eq!((desk.info("q").leased, desk.info("q").settled), (0, 3));
}

#[test]
fn acks_of_a_consumer_become_one_entry_of_merged_ranges() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 100);
    desk.publish(stream, 9);
    let delivery = desk.deliver(9).unwrap();
    let item = |first| Held { first, count: 1, epoch: delivery.epoch };
    let items = [0, 1, 2, 5, 6, 3].map(|n| Settle { held: item(n), outcome: Outcome::Ack });
    let commands = desk.shard.settle(consumer, &items, 0).commands;
    let [Command::Settle(settlement)] = commands.as_slice() else { panic!("{commands:?}") };
    let ranges: Vec<_> = settlement.ranges.iter().map(|range| (range.first, range.end)).collect();
    assert_eq!(ranges, [(0, 3), (5, 7), (3, 4)]);
    desk.apply(commands);
    assert_eq!(desk.info("q").floor, 4);
}

#[test]
fn the_last_attempt_ends_among_the_dead_letters_with_its_reason() {
    let mut desk = Desk::new();
    let settings = Settings { max_attempts: Some(2), ..Settings::default() };
    let (stream, group) = desk.queue("q", &settings);
    desk.consumer(group, 100);
    desk.publish(stream, 2);
    let delivery = desk.deliver(1).unwrap();
    desk.settle(delivery, retry(Some(0)));
    let delivery = desk.deliver(1).unwrap();
    assert_eq!(delivery.facts(), (0, 1, 2, true));
    desk.settle(delivery, retry(None));
    let (dead, total) = desk.shard.dead_list(group, 0, 10);
    let letter = DeadItem {
        range: Range { first: 0, end: 1 },
        attempts: 2,
        dead_ms: NOON,
        reason: "busy".to_owned(),
    };
    assert_eq!((dead, total), (vec![letter], 1));
    assert_eq!((desk.info("q").floor, desk.shard.floors()), (1, vec![(stream, 0)]));
    assert_eq!(desk.effects.counts.dead, 1);
}

#[test]
fn an_expired_lease_costs_an_attempt_and_an_extended_one_does_not() {
    let mut desk = Desk::new();
    let settings = Settings { max_attempts: Some(2), lease_ms: Some(1_000), ..Settings::default() };
    let (stream, group) = desk.queue("q", &settings);
    let consumer = desk.consumer(group, 100);
    desk.publish(stream, 2);
    let delivery = desk.deliver(2).unwrap();
    assert_eq!(desk.shard.next_deadline(), Some(1_000));
    let longer = Held { first: 1, count: 1, epoch: delivery.epoch };
    assert_eq!(desk.shard.extend(consumer, &[longer], 500, 5_000), Extended::default());
    desk.tick(1_000);
    assert_eq!((desk.info("q").ready, desk.info("q").leased), (1, 1));
    assert_eq!(desk.deliver(2).unwrap().facts(), (0, 1, 2, true));
    let stale = desk.shard.extend(consumer, &[delivery.held()], 500, 5_000).stale;
    assert_eq!(stale.len(), 1, "message 0");
    desk.tick(1_000);
    let (dead, _) = desk.shard.dead_list(group, 0, 10);
    assert_eq!((dead[0].range.first, dead[0].reason.as_str()), (0, "the lease expired"));
    desk.tick(3_499);
    assert_eq!(desk.effects.counts.expired, 1, "the dead one counts as dead");
    desk.tick(10);
    assert_eq!(desk.effects.counts.expired, 2);
}

#[test]
fn a_plain_retry_waits_longer_each_time() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    desk.consumer(group, 100);
    desk.publish(stream, 1);
    for (attempt, delay_ms) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
        let delivery = desk.deliver(1).unwrap();
        assert_eq!(delivery.attempt, attempt);
        desk.settle(delivery, retry(None));
        assert_eq!(desk.shard.next_due(), Some(desk.now_ms + delay_ms));
        desk.tick(delay_ms - 1);
        assert_eq!((desk.info("q").delayed, desk.deliver(1)), (1, None));
        desk.tick(1);
    }
    assert!(desk.deliver(1).is_some());
}

#[test]
fn a_jump_of_the_wall_clock_neither_loses_nor_expires_anything() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    desk.consumer(group, 100);
    desk.publish_delayed(stream, 2, &[(1, NOON + 5_000)]);
    assert_eq!(desk.deliver_all(), [(0, 1, 1, false)]);
    desk.now_ms = 5;
    desk.tick(10);
    assert_eq!((desk.info("q").leased, desk.info("q").delayed), (1, 1));
    desk.now_ms = NOON * 1_000;
    desk.tick(10);
    assert_eq!((desk.info("q").leased, desk.deliver_all()), (1, vec![(1, 1, 1, false)]));
}

#[test]
fn a_consumer_that_holds_too_much_is_passed_over_until_it_settles() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 65_535);
    for _ in 0..5 {
        desk.publish(stream, 65_536);
    }
    let mut held = Vec::new();
    while let Some(delivery) = desk.deliver(65_535) {
        held.push(delivery);
        desk.shard.add_credit(consumer, 65_535, 1 << 20, 0);
    }
    let count: u64 = held.iter().map(|delivery| delivery.count).sum();
    assert!(count < 5 * 65_536, "{count} held");
    let result = desk.shard.settle(
        consumer,
        &[Settle { held: held[0].held(), outcome: Outcome::Ack }],
        desk.now_ms,
    );
    assert!(desk.deliver(1).is_some(), "there is room again at once");
    desk.apply(result.commands);
}

#[test]
fn a_delivery_goes_back_after_the_longest_hold_however_often_it_is_extended() {
    let mut desk = Desk::new();
    let settings = Settings {
        max_attempts: Some(2),
        lease_ms: Some(1_000),
        max_hold_ms: Some(2_500),
        ..Settings::default()
    };
    let (stream, group) = desk.queue("q", &settings);
    let consumer = desk.consumer(group, 100);
    desk.publish(stream, 1);
    for attempt in [1, 2] {
        let delivery = desk.deliver(1).unwrap();
        assert_eq!(delivery.attempt, attempt);
        let held = delivery.held();
        let begun_ms = desk.mono_ms;
        for later_ms in [900, 1_400] {
            let extended = desk.shard.extend(consumer, &[held], begun_ms + later_ms, 1_000);
            assert_eq!(extended, Extended::default());
        }
        let beyond = desk.shard.extend(consumer, &[held], begun_ms + 2_000, 1_000);
        assert_eq!(beyond, Extended { stale: vec![], limited: vec![held] });
        desk.tick(2_489);
        assert_eq!(desk.info("q").leased, 1);
        desk.tick(11);
        assert_eq!(desk.info("q").leased, 0);
        let late = desk.shard.extend(consumer, &[held], desk.mono_ms, 1_000);
        assert_eq!(late.stale, [held]);
    }
    let (dead, _) = desk.shard.dead_list(group, 0, 10);
    let reason = "it was held longer than max_hold_ms allows";
    assert_eq!((dead[0].attempts, dead[0].reason.as_str()), (2, reason));
}

#[test]
fn a_lease_is_never_longer_than_the_longest_hold() {
    let mut desk = Desk::new();
    let settings = Settings { lease_ms: Some(500), max_hold_ms: Some(600), ..Settings::default() };
    let (_, group) = desk.queue("q", &settings);
    assert_eq!(desk.shard.attach(ConsumerId(9), group, Some(60_000)), Some(600));
    let longer = Settings { lease_ms: Some(601), ..Settings::default() };
    let refused = desk.shard.admit_declare(Kind::Queue, &name("q"), &longer).unwrap_err();
    assert_eq!(refused.message, "lease_ms 601 is above max_hold_ms 600");
}

#[test]
fn unreadable_messages_become_dead_letters_and_the_rest_goes_on() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    desk.publish(stream, 5);
    let command = desk.shard.lost(group, 0, 2);
    assert_eq!(desk.shard.peek_ready(group).map(|ready| ready.offset), Some(2));
    let Command::Settle(settlement) = &command else { panic!("{command:?}") };
    assert!(matches!(settlement.end, End::Dead { .. }));
    desk.apply([command]);
    let (dead, total) = desk.shard.dead_list(group, 0, 10);
    assert_eq!((total, dead[0].attempts), (2, 0));
    assert_eq!((desk.effects.counts.lost, desk.effects.counts.dead), (2, 2));
}

#[test]
fn a_lease_that_came_too_late_is_refused() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let consumer = desk.consumer(group, 10);
    desk.publish(stream, 5);
    let delivery = desk.deliver(1).unwrap();
    let lease = LeaseOf { group, consumer, epoch: 9, offset: 1, count: 2, bytes: 1, mono_ms: 0 };
    desk.settle(delivery, Outcome::Release);
    assert!(!desk.shard.lease(lease), "a message came back and goes ahead");
    assert!(!desk.shard.lease(LeaseOf { offset: 0, count: 2, ..lease }), "not all alike");
    assert!(!desk.shard.lease(LeaseOf { offset: 0, count: 0, ..lease }));
    assert!(!desk.shard.lease(LeaseOf { offset: 0, consumer: ConsumerId(77), ..lease }));
    assert!(desk.shard.lease(LeaseOf { offset: 0, count: 1, ..lease }));
    assert_eq!(desk.shard.check(), Ok(()));
}
