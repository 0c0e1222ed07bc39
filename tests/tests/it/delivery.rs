//! Who gets a message, in which order, and who does not get it by looking.

use posthaste_protocol::Request;
use posthaste_protocol::request::{Credit, Kind, Outcome};
use posthaste_tests::raw::batch;
use posthaste_tests::{Raw, TestBroker, eventually};
use std::collections::BTreeSet;

#[test]
fn p18_messages_of_a_producer_arrive_in_publish_order() {
    let broker = TestBroker::start("delivery");
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "orders");
    raw.consume(1, "orders", 1_000);
    for n in 0..300 {
        raw.publish(queue, batch("orders", &[format!("{n}").as_bytes()]));
    }
    let bodies: Vec<String> =
        raw.take("orders", 300).iter().map(|one| one.text().to_owned()).collect();
    assert_eq!(bodies, (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn p22_each_message_of_a_queue_goes_to_one_consumer() {
    let broker = TestBroker::start("delivery");
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "orders");
    let mut consumers: Vec<Raw> = (0..4).map(|_| Raw::greet(broker.address())).collect();
    for consumer in &mut consumers {
        consumer.consume(1, "orders", 25);
    }
    for _ in 0..10 {
        let number = raw.publish(queue, batch("orders", &[&b"x"[..]; 10]));
        raw.outcome(number).unwrap();
    }
    let mut offsets = BTreeSet::new();
    for consumer in &mut consumers {
        // All credit is used up, so each of them has exactly its share.
        for got in consumer.take("orders", 25) {
            assert!(offsets.insert(got.offset), "{} went to two consumers", got.offset);
            assert!(!got.redelivered && got.attempt == 1);
        }
    }
    assert_eq!(offsets.len(), 100);
    assert_eq!(raw.counts("orders").leased, 100);
}

#[test]
fn no_more_is_delivered_than_credit_allows() {
    let broker = TestBroker::start("delivery");
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "orders");
    for _ in 0..10 {
        raw.store(queue, "orders", b"x");
    }
    raw.consume(1, "orders", 3);
    raw.take("orders", 3);
    let counts = raw.counts("orders");
    assert_eq!((counts.ready, counts.leased), (7, 3), "a describe behind three deliveries");
    let credit = Credit { messages: 2, bytes: 0, begun: 0 };
    raw.request(1, &Request::Credit(credit));
    raw.take("orders", 2);
    assert_eq!(raw.counts("orders").ready, 5);
}

#[test]
fn looking_never_takes() {
    let broker = TestBroker::start("delivery");
    broker.ok(&["queue", "set", "orders"]);
    broker.ok(&["pub", "orders", "seen"]);
    for _ in 0..3 {
        assert_eq!(broker.ok(&["peek", "orders", "-n", "5"]).lines().count(), 1);
    }
    broker.ok(&["report"]);
    broker.ok(&["queue", "show", "orders"]);
    let mut raw = Raw::greet(broker.address());
    let counts = raw.counts("orders");
    assert_eq!((counts.ready, counts.leased, counts.settled), (1, 0, 0));
    raw.consume(1, "orders", 1);
    let got = raw.take("orders", 1);
    assert_eq!((got[0].attempt, got[0].redelivered), (1, false));
}

#[test]
fn p05_an_acked_message_stays_away_after_kill_dash_nine() {
    let mut broker = TestBroker::start("delivery");
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "orders");
    for n in 0..20 {
        raw.store(queue, "orders", format!("{n}").as_bytes());
    }
    raw.consume(1, "orders", 100);
    let got = raw.take("orders", 20);
    for one in got.iter().filter(|one| one.offset % 3 != 0) {
        assert!(raw.settle(one, Outcome::Ack));
    }
    broker.kill();
    broker.restart();
    let mut raw = Raw::greet(broker.address());
    assert_eq!(raw.counts("orders").ready, 7);
    raw.consume(1, "orders", 100);
    let offsets: Vec<u64> = raw.take("orders", 7).iter().map(|one| one.offset).collect();
    assert_eq!(offsets, [0, 3, 6, 9, 12, 15, 18]);
}

#[test]
fn p06_what_was_declared_stays_and_what_was_deleted_stays_away() {
    let mut broker = TestBroker::start("delivery");
    for round in 0..5 {
        let (kept, gone) = (format!("kept-{round}"), format!("gone-{round}"));
        broker.ok(&["queue", "set", &kept, "--max-attempts", "3"]);
        broker.ok(&["queue", "set", &gone]);
        broker.ok(&["pub", &gone, "secret"]);
        broker.ok(&["queue", "rm", &gone, "--yes"]);
        broker.kill();
        broker.restart();
        let listed = broker.ok(&["ls"]);
        assert!(listed.contains(&kept) && !listed.contains("gone"), "{listed}");
    }
    // The same name again is a new queue: nothing of the old one comes back.
    broker.ok(&["queue", "set", "gone-0"]);
    let mut raw = Raw::greet(broker.address());
    let description = raw.describe("gone-0");
    assert_eq!((description.next_offset, description.groups[0].ready), (0, 0));
}

#[test]
fn deleting_a_queue_ends_its_consumers_and_not_their_connection() {
    let broker = TestBroker::start("delivery");
    let mut raw = Raw::greet(broker.address());
    raw.declare(Kind::Queue, "orders");
    raw.declare(Kind::Queue, "other");
    raw.consume(1, "orders", 10);
    broker.ok(&["queue", "rm", "orders", "--yes"]);
    eventually("the consumer is told", || {
        let (frame, response) = raw.heard()?;
        let told = response == posthaste_protocol::Response::Canceled;
        (told && frame.header.channel == 1).then_some(())
    });
    raw.describe("other");
}
