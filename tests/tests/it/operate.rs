//! What an operator sees: metrics, health, one line per state.

use posthaste_tests::{TestBroker, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;

/// Status and body of a GET.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap();
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

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
