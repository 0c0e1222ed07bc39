//! `kill -9` again and again, with a checker in another process.

use posthaste_tests::{Checking, Random, TestBroker, eventually, told};
use std::time::Duration;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Confirmed messages are not lost, nothing comes again after its ack was confirmed, nothing comes that
/// was not sent, and what comes twice is flagged: over many deaths, some of them during recovery.
#[test]
fn kill_loop_loses_nothing_and_repeats_only_with_a_flag() {
    let cycles = number("KILL_CYCLES", 50);
    let mut random = Random::from_env();
    let mut broker = TestBroker::start("kill");
    let mut checking = Checking::start(&broker);
    for cycle in 0..cycles {
        let (confirmed, acked) = checking.progress();
        eventually(&format!("work goes on in cycle {cycle}"), || {
            checking.assert_alive();
            let (more_confirmed, more_acked) = checking.progress();
            (more_confirmed > confirmed && more_acked > acked).then_some(())
        });
        std::thread::sleep(Duration::from_millis(random.within(0..100)));
        broker.kill();
        if random.once_in(4) {
            broker.start_and_kill(Duration::from_millis(random.within(1..60)));
        }
        broker.restart();
    }
    let verdict = checking.verdict();
    told::done("kill loop", &format!("{cycles} kills, {}", verdict.figures()));
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert!(verdict.confirmed > cycles && verdict.acked > cycles, "{verdict:?}");
    // A loop that never hits anything in flight proves nothing.
    assert!(verdict.duplicates > 0, "{verdict:?}");
    broker.stop();
}

/// The same without any fault: promises do not depend on crashes to be broken.
#[test]
fn a_quiet_run_is_clean_too() {
    let mut broker = TestBroker::start("quiet");
    let mut checking = Checking::start(&broker);
    eventually("2,000 messages are confirmed", || {
        checking.assert_alive();
        (checking.progress().0 > 2_000).then_some(())
    });
    let verdict = checking.verdict();
    assert!(verdict.is_clean(), "{verdict:#?}");
    broker.stop();
}

/// Orderly stops in between: publishers and consumers notice nothing but a pause.
#[test]
fn p25_restarts_under_load_end_with_everything_delivered() {
    let mut broker = TestBroker::start("restarts");
    let mut checking = Checking::start(&broker);
    for _ in 0..5 {
        let (confirmed, acked) = checking.progress();
        eventually("work goes on", || {
            checking.assert_alive();
            let (more_confirmed, more_acked) = checking.progress();
            (more_confirmed > confirmed + 100 && more_acked > acked).then_some(())
        });
        broker.stop();
        broker.restart();
    }
    let verdict = checking.verdict();
    assert!(verdict.is_clean(), "{verdict:#?}");
}

/// A broker that is stopped for a while and goes on: no false confirm, no second holder without a flag.
#[test]
fn p32_a_paused_broker_confirms_nothing_false() {
    let mut broker = TestBroker::start("paused");
    let mut checking = Checking::start(&broker);
    for _ in 0..3 {
        let (confirmed, _) = checking.progress();
        eventually("work goes on", || {
            checking.assert_alive();
            (checking.progress().0 > confirmed).then_some(())
        });
        broker.signal("STOP");
        std::thread::sleep(Duration::from_millis(700));
        broker.signal("CONT");
    }
    let verdict = checking.verdict();
    assert!(verdict.is_clean(), "{verdict:#?}");
    broker.stop();
}
