//! Starts that must not happen, and what they say.

use posthaste_protocol::request::Kind;
use posthaste_tests::{Exit, Raw, TestBroker};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn says(exit: &Exit, code: i32, parts: &[&str]) {
    assert_eq!(exit.code, Some(code), "{exit:?}");
    for part in parts {
        assert!(exit.stderr.contains(part), "{part} is missing in {}", exit.stderr);
    }
}

#[test]
fn p33_a_second_broker_on_the_same_directory_is_refused() {
    let mut broker = TestBroker::start("lock");
    broker.ok(&["queue", "set", "orders"]);
    for _ in 0..5 {
        let mut second = broker.serve_elsewhere();
        let exit = Exit::from(second.output().unwrap());
        says(&exit, 1, &["PH-0602", "nothing was"]);
        broker.ok(&["pub", "orders", "still here"]);
        // A lock does not outlive its holder.
        broker.kill();
        broker.restart();
    }
    let mut raw = Raw::greet(broker.address());
    assert_eq!(raw.counts("orders").ready, 5);
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let broker = TestBroker::prepare("address", &["--listen", &address]);
    says(&broker.serve_and_fail(), 1, &["PH-0601", &address]);
}

#[test]
fn an_address_that_others_can_reach_needs_a_word() {
    let broker = TestBroker::prepare("reachable", &["--listen", "0.0.0.0:0"]);
    says(&broker.serve_and_fail(), 2, &["PH-0605", "nothing was started"]);
    assert!(!broker.data_dir().exists(), "it left no directory behind");
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let broker = TestBroker::prepare("file", &[]);
    std::fs::write(broker.data_dir(), "not a directory").unwrap();
    says(&broker.serve_and_fail(), 1, &["PH-0607"]);
    assert_eq!(std::fs::read_to_string(broker.data_dir()).unwrap(), "not a directory");
}

#[test]
fn p09_after_an_orderly_stop_nothing_is_cut_and_nothing_is_damaged() {
    let mut broker = TestBroker::start("clean");
    broker.ok(&["queue", "set", "orders"]);
    for round in 0..5 {
        broker.ok(&["pub", "orders", "x", "--count", "10"]);
        broker.stop();
        broker.restart();
        let mut raw = Raw::greet(broker.address());
        assert_eq!(raw.counts("orders").ready, 10 * (round + 1));
    }
    let log = broker.log();
    assert!(!log.contains("cut") && !log.contains("damage"), "{log}");
}

#[test]
fn a_stop_confirms_what_it_confirmed_and_keeps_it() {
    let mut broker = TestBroker::start("stop");
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "orders");
    let mut last = 0;
    for _ in 0..200 {
        last = raw.publish(queue, posthaste_tests::raw::batch("orders", &[b"x"]));
    }
    raw.outcome(last).unwrap();
    drop(raw);
    broker.stop();
    broker.restart();
    assert_eq!(Raw::greet(broker.address()).counts("orders").ready, 200);
}

#[test]
fn a_stop_does_not_wait_for_idle_clients() {
    let mut broker = TestBroker::start("idle");
    let idle = Raw::greet(broker.address());
    let begun = Instant::now();
    broker.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
    drop(idle);
}
