//! What comes again, when, and how it is marked.

use posthaste_protocol::Request;
use posthaste_protocol::request::{Credit, Kind, Outcome, Settings};
use posthaste_protocol::{ErrorCode, Response};
use posthaste_tests::{Raw, TestBroker};
use std::time::{Duration, Instant};

fn retry() -> Outcome {
    Outcome::Retry { delay_ms: Some(0), reason: "tried".to_owned() }
}

/// A queue with these messages, and a connection to it.
fn queue(broker: &TestBroker, lease_ms: u32, bodies: &[&str]) -> Raw {
    let mut raw = Raw::greet(broker.address());
    let settings = Settings { lease_ms: Some(lease_ms), ..Settings::default() };
    let queue = raw.declare_with(Kind::Queue, "jobs", settings);
    for body in bodies {
        raw.store(queue, "jobs", body.as_bytes());
    }
    raw
}

#[test]
fn messages_of_a_lost_connection_come_again_at_once() {
    let broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 3_600_000, &["a", "b", "c"]);
    let mut doomed = Raw::greet(broker.address());
    doomed.consume(1, "jobs", 10);
    doomed.take("jobs", 3);
    let begun = Credit { messages: 0, bytes: 0, begun: 1 };
    doomed.request(1, &Request::Credit(begun));
    assert!(matches!(doomed.ask(0, &Request::Ping(1)), Response::Pong(1)));
    drop(doomed);
    raw.consume(1, "jobs", 10);
    let mut got = raw.take("jobs", 3);
    got.sort_by_key(|one| one.offset);
    assert!(got.iter().all(|one| one.redelivered), "{got:?}");
    // Only the one that the application had begun is charged.
    let attempts: Vec<u32> = got.iter().map(|one| one.attempt).collect();
    assert_eq!(attempts, [2, 1, 1]);
}

#[test]
fn unacked_message_is_redelivered_after_its_lease_expires() {
    let broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 200, &["a"]);
    let mut slow = Raw::greet(broker.address());
    slow.consume(1, "jobs", 1);
    let begun = Instant::now();
    slow.take("jobs", 1);
    raw.consume(1, "jobs", 1);
    let got = raw.take("jobs", 1);
    assert!(begun.elapsed() >= Duration::from_millis(195), "{:?}", begun.elapsed());
    assert!(got[0].redelivered);
    assert_eq!(got[0].attempt, 2);
}

#[test]
fn an_extended_lease_holds() {
    let broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 300, &["a"]);
    let mut holder = Raw::greet(broker.address());
    holder.consume(1, "jobs", 1);
    let held = holder.take("jobs", 1)[0].held();
    let extend = Request::Extend { lease_ms: 3_600_000, items: vec![held] };
    match holder.ask(1, &extend) {
        Response::Extended { stale, .. } => assert_eq!(stale, []),
        other => panic!("extend was answered by {other:?}"),
    }
    // A second message with the short lease is the clock: when it has come back, the first would
    // have come back before it.
    let target = raw.describe("jobs").id;
    raw.consume(1, "jobs", 1);
    raw.store(target, "jobs", b"clock");
    raw.take("jobs", 1);
    let mut third = Raw::greet(broker.address());
    third.consume(1, "jobs", 2);
    assert_eq!(third.take("jobs", 1)[0].text(), "clock");
    assert_eq!(raw.counts("jobs").leased, 2);
}

#[test]
fn p22_a_settle_without_the_lease_is_refused_and_changes_nothing() {
    let broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 150, &["a"]);
    let mut slow = Raw::greet(broker.address());
    slow.consume(1, "jobs", 1);
    let late = slow.take("jobs", 1).remove(0);
    raw.consume(1, "jobs", 1);
    let held = raw.take("jobs", 1).remove(0);
    assert!(raw.settle(&held, Outcome::Release), "the second holder has the lease");
    // Nobody has credit any more but the message is ready; a late ack must not take it away.
    assert!(!slow.settle(&late, Outcome::Ack), "the first holder has not");
    assert!(!slow.settle(&late, retry()));
    assert!(!slow.settle(&late, Outcome::DeadLetter { reason: "late".to_owned() }));
    let mut forged = held.clone();
    forged.epoch += 1;
    assert!(!raw.settle(&forged, Outcome::Ack), "a guessed epoch");
    let counts = raw.counts("jobs");
    assert_eq!((counts.settled, counts.dead), (0, 0));
    assert_eq!(counts.ready + counts.leased, 1);
}

/// A store that keeps the largest fencing token and refuses who comes with a smaller one.
#[derive(Default)]
struct Store(u64);

impl Store {
    fn accepts(&mut self, token: u64) -> bool {
        let is_current = token >= self.0;
        self.0 = self.0.max(token);
        is_current
    }
}

#[test]
fn a_store_can_tell_a_holder_whose_lease_is_over_by_its_fencing_token() {
    let mut broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 150, &["a"]);
    let mut store = Store::default();
    let mut slow = Raw::greet(broker.address());
    slow.consume(1, "jobs", 1);
    let first = slow.take("jobs", 1).remove(0);
    assert!(store.accepts(first.epoch));
    raw.consume(1, "jobs", 1);
    let second = raw.take("jobs", 1).remove(0);
    assert!(store.accepts(second.epoch));
    assert!(!store.accepts(first.epoch), "the store refuses the first holder");
    assert!(!slow.settle(&first, Outcome::Ack), "and so does the broker");
    broker.kill();
    broker.restart();
    let mut again = Raw::greet(broker.address());
    again.consume(1, "jobs", 1);
    let third = again.take("jobs", 1).remove(0);
    assert!(store.accepts(third.epoch), "a restart goes on from there");
    assert!(!store.accepts(second.epoch));
    assert!(again.settle(&third, Outcome::Ack));
}

#[test]
fn an_ack_counts_once() {
    let broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 60_000, &["a", "b"]);
    raw.consume(1, "jobs", 2);
    let got = raw.take("jobs", 2);
    assert!(raw.settle(&got[0], Outcome::Ack));
    assert!(!raw.settle(&got[0], Outcome::Ack), "twice");
    assert!(!raw.settle(&got[0], retry()), "retry after ack");
    let counts = raw.counts("jobs");
    assert_eq!((counts.settled, counts.leased, counts.ready), (1, 1, 0));
}

#[test]
fn p19_returned_messages_go_ahead_of_new_ones() {
    let broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 60_000, &["0", "1", "2", "3", "4", "5"]);
    raw.consume(1, "jobs", 3);
    let got = raw.take("jobs", 3);
    for index in [2, 0] {
        assert!(raw.settle(&got[index], Outcome::Release));
    }
    let mut next = Raw::greet(broker.address());
    next.consume(1, "jobs", 4);
    let offsets: Vec<u64> = next.take("jobs", 4).iter().map(|one| one.offset).collect();
    assert_eq!(offsets, [0, 2, 3, 4]);
}

#[test]
fn p23_without_the_flag_it_is_certainly_the_first_delivery() {
    let mut broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 60_000, &["0", "1", "2", "3"]);
    raw.consume(1, "jobs", 2);
    let got = raw.take("jobs", 2);
    assert!(got.iter().all(|one| !one.redelivered));
    assert!(raw.settle(&got[0], retry()));
    broker.kill();
    broker.restart();
    let mut raw = Raw::greet(broker.address());
    raw.consume(1, "jobs", 4);
    let got = raw.take("jobs", 4);
    // After a crash nobody knows what was sent, so everything that could have been is flagged.
    assert!(got[..2].iter().all(|one| one.redelivered), "{got:?}");
    assert_eq!(got[0].attempt, 2, "attempts that were told survive");
    let target = raw.describe("jobs").id;
    raw.store(target, "jobs", b"new");
    let mut fresh = Raw::greet(broker.address());
    fresh.consume(1, "jobs", 1);
    assert!(!fresh.take("jobs", 1)[0].redelivered, "published after the restart");
}

#[test]
fn p23_after_an_orderly_stop_undelivered_messages_are_not_flagged() {
    let mut broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 60_000, &["0", "1", "2", "3"]);
    raw.consume(1, "jobs", 2);
    raw.take("jobs", 2);
    drop(raw);
    broker.stop();
    broker.restart();
    let mut raw = Raw::greet(broker.address());
    raw.consume(1, "jobs", 4);
    let flags: Vec<bool> = raw.take("jobs", 4).iter().map(|one| one.redelivered).collect();
    assert_eq!(flags, [true, true, false, false]);
}

#[test]
fn a_retry_with_a_delay_waits() {
    let broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 60_000, &["a"]);
    raw.consume(1, "jobs", 2);
    let got = raw.take("jobs", 1).remove(0);
    let begun = Instant::now();
    let later = Outcome::Retry { delay_ms: Some(300), reason: String::new() };
    assert!(raw.settle(&got, later));
    assert_eq!(raw.counts("jobs").delayed, 1);
    let again = raw.take("jobs", 1).remove(0);
    assert!(begun.elapsed() >= Duration::from_millis(290), "{:?}", begun.elapsed());
    assert_eq!((again.attempt, again.redelivered), (2, true));
}

#[test]
fn a_delay_beyond_its_range_is_refused() {
    let broker = TestBroker::start("redelivery");
    let mut raw = queue(&broker, 60_000, &["a"]);
    raw.consume(1, "jobs", 1);
    let got = raw.take("jobs", 1).remove(0);
    let outcome = Outcome::Retry { delay_ms: Some(u64::MAX), reason: String::new() };
    let items = vec![posthaste_protocol::request::Settle { held: got.held(), outcome }];
    let settle = Request::Settle { confirm: true, items };
    raw.refused(1, &settle, ErrorCode::InvalidArgument);
    assert!(raw.settle(&got, Outcome::Ack), "the lease is as it was");
}

#[test]
fn who_wants_one_message_leaves_the_others_untouched() {
    let broker = TestBroker::start("one-of-many");
    broker.ok(&["queue", "set", "orders"]);
    for body in ["a", "b", "c"] {
        broker.ok(&["pub", "orders", body]);
    }
    broker.ok(&["consume", "orders", "--count", "1"]);
    let rest = broker.ok(&["consume", "orders", "--count", "2", "--meta"]);
    let flags: Vec<&str> = rest.lines().filter_map(|line| line.split('\t').nth(2)).collect();
    assert_eq!(flags, ["first", "first"], "{rest}");
}
