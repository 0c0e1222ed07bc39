//! Topics: every group gets everything, at its own pace, and can go back.

use posthaste_protocol::request::{Kind, Outcome};
use posthaste_tests::{Raw, TestBroker};

/// A topic with numbered messages and these groups.
fn topic(broker: &TestBroker, groups: &[&str], count: usize) {
    broker.ok(&["topic", "set", "news"]);
    for group in groups {
        broker.ok(&["consume", "news", "--group", group, "--wait", "1ms"]);
    }
    let mut raw = Raw::greet(broker.address());
    let id = raw.declare(Kind::Topic, "news");
    for n in 0..count {
        raw.store(id, "news", format!("{n}").as_bytes());
    }
}

fn consume(broker: &TestBroker, group: &str, count: usize) -> Vec<String> {
    let count = count.to_string();
    let lines = broker.ok(&["consume", "news", "--group", group, "--count", &count]);
    lines.lines().map(str::to_owned).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[test]
fn each_group_gets_each_message_once() {
    let broker = TestBroker::start("groups");
    topic(&broker, &["one", "two"], 10);
    assert_eq!(consume(&broker, "one", 10), numbers(10));
    assert_eq!(consume(&broker, "two", 10), numbers(10));
    let rest = broker.ok(&["consume", "news", "--group", "one", "--wait", "100ms"]);
    assert_eq!(rest, "", "nothing comes twice");
}

#[test]
fn a_new_group_sees_what_was_there_before_it() {
    let broker = TestBroker::start("groups");
    topic(&broker, &[], 5);
    assert_eq!(consume(&broker, "late", 5), numbers(5));
}

#[test]
fn a_group_continues_where_it_was_after_a_restart() {
    let mut broker = TestBroker::start("groups");
    topic(&broker, &["one"], 10);
    assert_eq!(consume(&broker, "one", 4), numbers(4));
    broker.kill();
    broker.restart();
    assert_eq!(consume(&broker, "one", 6), numbers(10)[4..]);
}

#[test]
fn a_group_can_go_back_and_a_dry_run_moves_nothing() {
    let broker = TestBroker::start("groups");
    topic(&broker, &["one"], 10);
    assert_eq!(consume(&broker, "one", 10), numbers(10));
    let seek = ["group", "seek", "news", "one", "--to", "7"];
    let dry = broker.run(&[&seek[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, Some(7), "{dry:?}");
    assert_eq!(broker.ok(&["consume", "news", "--group", "one", "--wait", "50ms"]), "");
    broker.ok(&[&seek[..], &["--yes"]].concat());
    assert_eq!(consume(&broker, "one", 3), numbers(10)[7..]);
    broker.ok(&["group", "seek", "news", "one", "--to", "earliest", "--yes"]);
    assert_eq!(consume(&broker, "one", 10), numbers(10));
}

#[test]
fn groups_of_a_topic_do_not_disturb_each_other() {
    let broker = TestBroker::start("groups");
    topic(&broker, &["one", "two"], 3);
    assert_eq!(consume(&broker, "one", 3), numbers(3));
    let mut raw = Raw::greet(broker.address());
    let groups = raw.describe("news").groups;
    let counts: Vec<_> = groups.iter().map(|group| (group.ready, group.settled)).collect();
    assert_eq!(counts, [(0, 3), (3, 0)]);
    broker.ok(&["queue", "set", "alone"]);
    let id = raw.describe("alone").id;
    raw.store(id, "alone", b"x");
    raw.consume(1, "alone", 1);
    let got = raw.take("alone", 1).remove(0);
    assert!(raw.settle(&got, Outcome::Ack));
}
