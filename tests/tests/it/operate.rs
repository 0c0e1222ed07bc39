//! What an operator sees: metrics, health, one line per state.

use posthaste_tests::http::get;
use posthaste_tests::{TestBroker, eventually};

/// The value of a metric, labels included in the name.
fn metric(address: &str, name: &str) -> Option<f64> {
    let (_, text) = get(address, "/metrics");
    let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn health_says_alive_and_ready() {
    let broker = TestBroker::start("health");
    assert_eq!(get(broker.http(), "/livez").0, 200);
    assert_eq!(get(broker.http(), "/readyz").0, 200);
    assert_eq!(get(broker.http(), "/nothing").0, 404);
}

#[test]
fn metrics_count_what_happened() {
    let broker = TestBroker::start("metrics");
    broker.ok(&["queue", "set", "orders"]);
    broker.ok(&["pub", "orders", "x", "--count", "25"]);
    broker.ok(&["consume", "orders", "--count", "10"]);
    eventually("25 confirmed and 10 acked", || {
        let confirmed = metric(broker.http(), "posthaste_messages_confirmed_total")?;
        let settled = metric(broker.http(), "posthaste_messages_settled_total{outcome=\"ack\"}")?;
        (confirmed == 25.0 && settled == 10.0).then_some(())
    });
}

#[test]
fn the_banner_says_what_was_found_and_who_may_connect() {
    let mut broker = TestBroker::start("banner");
    broker.ok(&["queue", "set", "orders"]);
    broker.stop();
    broker.restart();
    let log = broker.log();
    for part in
        ["posthaste 0.", "clients     posthaste://127.0.0.1:", "synced", "this machine only"]
    {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
}

#[test]
fn a_dev_broker_says_that_nothing_is_kept() {
    let broker = TestBroker::start_with("dev", &["--dev"]);
    broker.ok(&["queue", "set", "orders"]);
    assert!(broker.log().contains("nothing is kept"), "{}", broker.log());
    assert!(!broker.data_dir().exists());
}
