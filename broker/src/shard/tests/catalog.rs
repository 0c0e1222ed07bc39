//! Scripts: names, settings, producers, and what admission knows before it is committed.

use super::desk::*;
use crate::shard::command::Command;
use crate::shard::effects::*;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::{Kind, Outcome, Settings};
use posthaste_protocol::response::Declared;

fn attempts(n: u32) -> Settings {
    Settings { max_attempts: Some(n), ..Settings::default() }
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> ErrorCode {
    result.unwrap_err().code
}

#[test]
fn declaring_creates_updates_or_changes_nothing() {
    let mut desk = Desk::new();
    let mut declare = |settings: &Settings| {
        let admitted = desk.shard.admit_declare(Kind::Queue, &name("q"), settings).unwrap();
        desk.apply(admitted.command);
        admitted.answer.0
    };
    assert_eq!(declare(&Settings::default()), Declared::Created);
    assert_eq!(declare(&attempts(3)), Declared::Updated);
    assert_eq!(declare(&attempts(3)), Declared::Unchanged);
    assert_eq!(declare(&Settings::default()), Declared::Unchanged);
    let described = desk.shard.describe(&name("q"), 0).unwrap();
    assert_eq!(described.settings.max_attempts, Some(3));
    assert_eq!(described.settings.max_messages, Some(0));
    assert_eq!(described.groups[0].settings.lease_ms, Some(30_000));
}

#[test]
fn admission_sees_what_is_appended_and_not_committed() {
    let mut desk = Desk::new();
    let kind = Kind::Topic;
    let created = desk.shard.admit_declare(kind, &name("t"), &attempts(3)).unwrap();
    let again = desk.shard.admit_declare(kind, &name("t"), &attempts(3)).unwrap();
    assert_eq!((again.answer, &again.command), ((Declared::Unchanged, 1), &None));
    let group = group_name("g");
    let place = Place::Earliest;
    let settings = Settings::default();
    let grouped = desk.shard.admit_declare_group(&name("t"), &group, place, &settings).unwrap();
    let same = desk.shard.admit_declare_group(&name("t"), &group, place, &settings).unwrap();
    assert_eq!((same.answer.declared, same.command), (Declared::Unchanged, None));
    assert_eq!(desk.shard.describe(&name("t"), 0), None, "nothing is told of it yet");
    let deleted = desk.shard.admit_delete(&name("t")).unwrap();
    assert_eq!(code(desk.shard.admit_delete(&name("t"))), ErrorCode::NotFound);
    let next = desk.shard.admit_declare(Kind::Queue, &name("t"), &Settings::default()).unwrap();
    assert_eq!(next.answer, (Declared::Created, 2), "numbers are never used again");
    for command in [created.command, grouped.command, deleted.command, next.command] {
        desk.apply(command);
    }
    assert_eq!(desk.shard.find(&name("t")).unwrap().kind, Kind::Queue);
    assert_eq!(desk.shard.names_at_most(), 1, "no shadow is left");
}

#[test]
fn queues_and_topics_are_not_confused() {
    let mut desk = Desk::new();
    desk.queue("q", &Settings::default());
    desk.topic("t", &Settings::default());
    let shard = &mut desk.shard;
    let none = Settings::default();
    let (q, t, g) = (name("q"), name("t"), group_name("g"));
    assert_eq!(code(shard.admit_declare(Kind::Topic, &q, &none)), ErrorCode::Conflict);
    let place = Place::Earliest;
    assert_eq!(code(shard.admit_declare_group(&q, &g, place, &none)), ErrorCode::Conflict);
    assert_eq!(code(shard.admit_delete_group(&q, &g)), ErrorCode::Conflict);
    assert_eq!(code(shard.find_group(&q, Some(&g))), ErrorCode::InvalidArgument);
    assert_eq!(code(shard.find_group(&t, None)), ErrorCode::InvalidArgument);
    assert_eq!(code(shard.find_group(&t, Some(&g))), ErrorCode::NotFound);
}

#[test]
fn settings_out_of_range_or_out_of_place_are_refused() {
    let mut desk = Desk::new();
    desk.topic("t", &Settings { retry_min_ms: Some(50), ..Settings::default() });
    let mut refused =
        |kind, settings: Settings| code(desk.shard.admit_declare(kind, &name("new"), &settings));
    let none = Settings::default;
    assert_eq!(refused(Kind::Queue, attempts(0)), ErrorCode::InvalidArgument);
    assert_eq!(refused(Kind::Queue, attempts(1_000_001)), ErrorCode::InvalidArgument);
    let lease = Settings { lease_ms: Some(99), ..none() };
    assert_eq!(refused(Kind::Topic, lease), ErrorCode::InvalidArgument);
    let retry = Settings { retry_min_ms: Some(700_000), ..none() };
    assert_eq!(refused(Kind::Queue, retry), ErrorCode::InvalidArgument);
    let retain = Settings { retain_bytes: Some(1), ..none() };
    assert_eq!(refused(Kind::Queue, retain.clone()), ErrorCode::Conflict);
    let limit = Settings { max_messages: Some(1), ..none() };
    assert_eq!(refused(Kind::Topic, limit), ErrorCode::Conflict);
    let (topic, group) = (name("t"), group_name("g"));
    let mut grouped = |settings: Settings| {
        desk.shard.admit_declare_group(&topic, &group, Place::Latest, &settings)
    };
    assert_eq!(code(grouped(retain)), ErrorCode::Conflict);
    let below = Settings { retry_max_ms: Some(49), ..none() };
    assert_eq!(code(grouped(below)), ErrorCode::InvalidArgument);
}

#[test]
fn a_group_follows_its_topic_where_it_says_nothing_itself() {
    let mut desk = Desk::new();
    let topic = desk.topic("t", &Settings { lease_ms: Some(500), ..Settings::default() });
    let group = desk.group("t", "g", Place::Earliest);
    assert_eq!(desk.shard.attach(ConsumerId(50), group, None), Some(500));
    assert_eq!(desk.shard.attach(ConsumerId(50), group, None), None, "it is there");
    assert_eq!(desk.shard.attach(ConsumerId(51), group, Some(1)), Some(100), "within limits");
    assert_eq!(desk.shard.attach(ConsumerId(52), GroupId(99), None), None);
    desk.topic("t", &Settings { lease_ms: Some(700), ..Settings::default() });
    assert_eq!(desk.info("t").settings.lease_ms, Some(700));
    assert_eq!(desk.shard.find(&name("t")).unwrap().stream, topic);
}

#[test]
fn near_names_are_told() {
    let mut desk = Desk::new();
    desk.queue("orders", &Settings::default());
    let refusal = desk.shard.find(&name("oders")).unwrap_err();
    assert_eq!((refusal.code, refusal.similar), (ErrorCode::NotFound, vec!["orders".to_owned()]));
    for n in 0..1_200 {
        desk.topic(&format!("events-{n:04}"), &Settings::default());
    }
    let refusal = desk.shard.find(&name("events-0700x")).unwrap_err();
    assert!(refusal.similar.contains(&"events-0700".to_owned()), "{:?}", refusal.similar);
    assert_eq!(desk.shard.find(&name("orderss")).unwrap_err().similar, ["orders"]);
}

#[test]
fn a_topic_has_so_many_groups_and_a_broker_so_many_names() {
    let mut desk = Desk::new();
    desk.topic("t", &Settings::default());
    for n in 0..750 {
        desk.group("t", &format!("g{n}"), Place::Latest);
    }
    let (topic, group, none) = (name("t"), group_name("more"), Settings::default());
    let more = desk.shard.admit_declare_group(&topic, &group, Place::Latest, &none);
    assert_eq!(code(more), ErrorCode::QuotaExceeded);
    for n in 1..100_000 {
        desk.shard.admit_declare(Kind::Queue, &name(&format!("q{n}")), &none).unwrap();
    }
    let more = desk.shard.admit_declare(Kind::Queue, &name("more"), &none);
    assert_eq!(code(more), ErrorCode::QuotaExceeded);
    assert!(desk.shard.admit_declare(Kind::Queue, &name("q1"), &none).is_ok(), "it is there");
}

#[test]
fn names_are_listed_in_order_and_in_pages() {
    let mut desk = Desk::new();
    for text in ["c", "a", "b"] {
        desk.topic(text, &Settings::default());
    }
    let names = |(list, more): (Vec<posthaste_protocol::response::Description>, bool)| {
        let names: Vec<_> = list.iter().map(|item| item.name.to_string()).collect();
        (names.join(" "), more)
    };
    assert_eq!(names(desk.shard.list(None, 2, 0)), ("a b".to_owned(), true));
    assert_eq!(names(desk.shard.list(Some(&name("b")), 2, 0)), ("c".to_owned(), false));
    assert_eq!(names(desk.shard.list(None, 3, 0)), ("a b c".to_owned(), false));
}

#[test]
fn a_full_queue_refuses_counting_what_is_on_the_way() {
    let mut desk = Desk::new();
    let settings = Settings { max_messages: Some(5), ..Settings::default() };
    let (stream, group) = desk.queue("q", &settings);
    desk.publish(stream, 3);
    assert_eq!(desk.shard.admit_publish(&offer(stream, 0, 0, 2)), Admit::Ok { base_offset: 3 });
    let Admit::Refused(refusal) = desk.shard.admit_publish(&offer(stream, 0, 0, 1)) else {
        panic!("admitted")
    };
    assert_eq!(refusal.code, ErrorCode::QueueFull);
    let batch = AppliedBatch { count: 2, producer: 0, sequence: 0, delayed: &[], ids: &[] };
    desk.run(stream, 3, &[batch]).unwrap();
    desk.consumer(group, 1);
    let delivery = desk.deliver(1).unwrap();
    desk.settle(delivery, Outcome::Ack);
    assert_eq!(desk.shard.admit_publish(&offer(stream, 0, 0, 1)), Admit::Ok { base_offset: 5 });
}

#[test]
fn a_resend_is_stored_once_whether_or_not_the_first_is_committed() {
    let mut desk = Desk::new();
    let (stream, _) = desk.queue("q", &Settings::default());
    let opened = desk.shard.admit_open_producer([1; 16]);
    let pending = desk.shard.admit_open_producer([1; 16]);
    assert_eq!((pending.answer.resumed, pending.command), (true, None));
    desk.apply(opened.command);
    let producer = opened.answer.producer;
    let duplicate = Admit::Duplicate { stream, base_offset: Some(0) };
    assert_eq!(
        desk.shard.admit_publish(&offer(stream, producer, 1, 4)),
        Admit::Ok { base_offset: 0 }
    );
    assert_eq!(desk.shard.admit_publish(&offer(stream, producer, 1, 4)), duplicate);
    let batch = AppliedBatch { count: 4, producer, sequence: 1, delayed: &[], ids: &[] };
    desk.run(stream, 0, &[batch]).unwrap();
    assert_eq!(desk.shard.admit_publish(&offer(stream, producer, 1, 4)), duplicate);
    let mut desk = desk.restart(false);
    assert_eq!(desk.shard.admit_publish(&offer(stream, producer, 1, 4)), duplicate);
    assert!(desk.shard.admit_open_producer([1; 16]).answer.resumed);
    for (producer, sequence, expected) in [
        (producer, 0, ErrorCode::InvalidArgument),
        (producer, u64::MAX, ErrorCode::InvalidArgument),
        (99, 1, ErrorCode::ProducerFenced),
    ] {
        let Admit::Refused(refusal) =
            desk.shard.admit_publish(&offer(stream, producer, sequence, 1))
        else {
            panic!("admitted")
        };
        assert_eq!(refusal.code, expected);
    }
}

#[test]
fn a_publish_that_meets_a_deletion_is_rejected_and_may_be_sent_again() {
    let mut desk = Desk::new();
    let (stream, _) = desk.queue("q", &Settings::default());
    let (other, _) = desk.queue("other", &Settings::default());
    let opened = desk.shard.admit_open_producer([1; 16]);
    desk.apply(opened.command);
    let deleted = desk.shard.admit_delete(&name("q")).unwrap();
    assert!(matches!(desk.shard.admit_publish(&offer(stream, 1, 1, 2)), Admit::Refused(_)));
    desk.apply(deleted.command);

    // The order in a block need not be the order of admission between streams.
    assert_eq!(desk.shard.admit_publish(&offer(other, 1, 1, 2)), Admit::Ok { base_offset: 0 });
    desk.apply([Command::Delete { stream: other }]);
    let batch = AppliedBatch { count: 2, producer: 1, sequence: 1, delayed: &[], ids: &[] };
    desk.run(other, 0, &[batch]).unwrap();
    let rejected = Effect::Rejected { stream: other, base_offset: 0, records: 2 };
    assert_eq!(desk.effects.list, [rejected]);
    let (third, _) = desk.queue("third", &Settings::default());
    assert_eq!(desk.shard.admit_publish(&offer(third, 1, 1, 2)), Admit::Ok { base_offset: 0 });
}

#[test]
fn readers_see_open_messages_of_queues_and_kept_ones_of_topics() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    let topic = desk.topic("t", &Settings::default());
    desk.publish(stream, 6);
    desk.publish(topic, 6);
    desk.consumer(group, 10);
    let first = desk.deliver(2).unwrap();
    let second = desk.deliver(2).unwrap();
    desk.settle(second, Outcome::Ack);
    let range = |first, end| Some(Range { first, end });
    assert_eq!(desk.shard.readable(stream, 0), range(0, 2));
    assert_eq!(desk.shard.readable(stream, 1), range(1, 2));
    assert_eq!(desk.shard.readable(stream, 2), range(4, 6));
    assert_eq!(desk.shard.readable(stream, 6), None);
    desk.settle(first, Outcome::Ack);
    assert_eq!(desk.shard.readable(stream, 0), range(4, 6));
    let command = desk.shard.admit_trim(topic, 2);
    desk.apply(command);
    assert_eq!(desk.shard.readable(topic, 0), range(2, 6));
    assert_eq!(desk.shard.readable(99, 0), None);
}

#[test]
fn the_age_of_the_oldest_open_message_is_told() {
    let mut desk = Desk::new();
    let (stream, group) = desk.queue("q", &Settings::default());
    desk.publish(stream, 1);
    desk.tick(5_000);
    desk.publish(stream, 1);
    desk.tick(1_000);
    assert_eq!(desk.info("q").oldest_ms, 6_000);
    desk.consumer(group, 10);
    let delivery = desk.deliver(1).unwrap();
    desk.settle(delivery, Outcome::Ack);
    assert_eq!(desk.info("q").oldest_ms, 1_000);
    let delivery = desk.deliver(1).unwrap();
    desk.settle(delivery, Outcome::Ack);
    assert_eq!(desk.info("q").oldest_ms, 0);
}

#[test]
fn a_list_ends_where_its_answer_is_full() {
    let mut desk = Desk::new();
    for topic in ["a", "b", "c"] {
        desk.topic(topic, &Settings::default());
        for n in 0..100 {
            desk.group(topic, &format!("g{n}"), Place::Latest);
        }
    }
    let all = desk.shard.list(None, 10, 0).0;
    let two: usize =
        all[..2].iter().map(posthaste_protocol::response::Description::meta_bytes).sum();
    let (some, more) = desk.shard.list_within(None, 10, two, 0);
    assert_eq!((some.len(), more), (2, true));
    let (rest, more) = desk.shard.list_within(Some(&some[1].name), 10, two, 0);
    assert_eq!((rest.len(), more), (1, false));
    assert_eq!(desk.shard.list_within(None, 10, 1, 0).0.len(), 1, "there is always a first");
    assert_eq!(desk.shard.list(None, 2, 0).0.len(), 2);
}
