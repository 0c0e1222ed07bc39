//! The load generator accounts for every message, and leaves nothing behind.

use posthaste_tests::TestBroker;

/// These fields of the report.
fn run<const N: usize>(broker: &TestBroker, arguments: &[&str], names: [&str; N]) -> [u64; N] {
    let report = broker.ok(&[&["bench"], arguments, &["-o", "json"]].concat());
    assert_eq!(broker.ok(&["ls", "-o", "jsonl"]), "", "the benchmark left something behind");
    names.map(|name| number(&report, name).unwrap_or_else(|| panic!("no {name} in {report}")))
}

/// A whole number of a JSON object.
fn number(json: &str, name: &str) -> Option<u64> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn end_to_end_counts_each_message_once() {
    let broker = TestBroker::start("bench-e2e");
    let load = ["e2e", "--count", "3000", "--queues", "3", "--consumers", "2"];
    let fields = ["sent", "confirmed", "received", "duplicates", "missing"];
    assert_eq!(run(&broker, &load, fields), [3_000, 3_000, 3_000, 0, 0]);
}

#[test]
fn messages_of_others_are_consumed_and_told_and_none_of_its_own_is_missing() {
    let broker = TestBroker::start("bench-others");
    broker.ok(&["queue", "set", "shared"]);
    let before = broker.ok(&["bench", "pub", "shared", "-y", "--count", "20000", "-o", "json"]);
    assert_eq!(number(&before, "confirmed"), Some(20_000));
    let report = broker.ok(&["bench", "e2e", "shared", "-y", "--count", "500", "-o", "json"]);
    let found = ["sent", "foreign", "missing"].map(|name| number(&report, name));
    assert_eq!(found, [Some(500), Some(20_000), Some(0)], "{report}");
}

#[test]
fn a_fan_out_counts_each_message_once_for_each_group() {
    let broker = TestBroker::start("bench-fanout");
    let load = ["fanout", "--count", "2000", "--groups", "3", "--consumers", "2"];
    let fields = ["sent", "confirmed", "received", "duplicates", "missing", "measured"];
    assert_eq!(run(&broker, &load, fields), [2_000, 2_000, 6_000, 0, 0, 6_000]);
}
