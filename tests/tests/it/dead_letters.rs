//! Messages that nobody can process are kept with the reason, and can come back.

use posthaste_protocol::request::{Kind, Outcome, Settings};
use posthaste_tests::{Raw, TestBroker};

fn queue(broker: &TestBroker, max_attempts: u32) -> Raw {
    let mut raw = Raw::greet(broker.address());
    let settings = Settings { max_attempts: Some(max_attempts), ..Settings::default() };
    let queue = raw.declare_with(Kind::Queue, "jobs", settings);
    raw.store(queue, "jobs", b"poison");
    raw
}

fn failed(why: &str) -> Outcome {
    Outcome::Retry { delay_ms: Some(0), reason: why.to_owned() }
}

#[test]
fn p24_after_its_last_attempt_a_message_is_kept_with_the_reason() {
    let mut broker = TestBroker::start("dead");
    let mut raw = queue(&broker, 3);
    raw.consume(1, "jobs", 10);
    for attempt in 1..=3 {
        let got = raw.take("jobs", 1).remove(0);
        assert_eq!(got.attempt, attempt);
        assert!(raw.settle(&got, failed("the printer is on fire")));
        let counts = raw.counts("jobs");
        let all = counts.ready + counts.leased + counts.delayed + counts.dead;
        assert_eq!(all, 1, "it is in exactly one place: {counts:?}");
    }
    assert_eq!(raw.counts("jobs").dead, 1);
    broker.kill();
    broker.restart();
    let shown = broker.ok(&["dead", "show", "jobs"]);
    for part in ["poison", "the printer is on fire", "3"] {
        assert!(shown.contains(part), "{part} is missing in {shown}");
    }
    assert!(broker.ok(&["report"]).contains("dead"), "the report says so");
}

#[test]
fn a_dead_letter_comes_back_by_replay_with_fresh_attempts_and_the_flag() {
    let broker = TestBroker::start("dead");
    let mut raw = queue(&broker, 8);
    raw.consume(1, "jobs", 10);
    let got = raw.take("jobs", 1).remove(0);
    assert!(raw.settle(&got, Outcome::DeadLetter { reason: "no".to_owned() }));
    assert_eq!(broker.run(&["dead", "replay", "jobs", "--dry-run"]).code, Some(7));
    assert_eq!(raw.counts("jobs").dead, 1);
    broker.ok(&["dead", "replay", "jobs"]);
    let again = raw.take("jobs", 1).remove(0);
    assert_eq!((again.offset, again.attempt, again.redelivered), (got.offset, 1, true));
    assert_eq!(raw.counts("jobs").dead, 0);
}

#[test]
fn a_dropped_dead_letter_is_gone_and_only_when_asked_for() {
    let broker = TestBroker::start("dead");
    let mut raw = queue(&broker, 1);
    raw.consume(1, "jobs", 10);
    let got = raw.take("jobs", 1).remove(0);
    assert!(raw.settle(&got, failed("once is enough")));
    let exit = broker.run(&["dead", "drop", "jobs"]);
    assert_eq!(exit.code, Some(2), "without a terminal it asks for --yes: {exit:?}");
    assert_eq!(raw.counts("jobs").dead, 1);
    broker.ok(&["dead", "drop", "jobs", "--yes"]);
    assert_eq!(raw.counts("jobs").dead, 0);
}

#[test]
fn one_bad_message_blocks_nobody() {
    let broker = TestBroker::start("dead");
    let mut raw = queue(&broker, 1_000);
    let id = raw.describe("jobs").id;
    raw.store(id, "jobs", b"good");
    raw.consume(1, "jobs", 1);
    let bad = raw.take("jobs", 1).remove(0);
    let mut other = Raw::greet(broker.address());
    other.consume(1, "jobs", 1);
    let good = other.take("jobs", 1).remove(0);
    assert_eq!(good.text(), "good");
    assert!(other.settle(&good, Outcome::Ack));
    assert!(raw.settle(&bad, failed("again")));
}
