//! Bytes that nobody should send. Each case has one fixed answer, and beside each a well-behaved
//! client publishes, consumes and acks without being held up. docs/hostile.md lists the cases.

mod bytewise;
mod catalog;
mod connections;
mod framing;
mod records;
mod resources;
mod services;
mod settles;
mod strangers;
mod victim;

use posthaste_tests::{Raw, TestBroker, eventually};
use std::time::{Duration, Instant};
use victim::Victim;

/// Memory that an attack may cost while it lasts.
const ATTACK_BYTES_MAX: u64 = 64 << 20;
/// What a broker says about itself at the start, and some lines to spare.
const LINES_MIN: u64 = 12;

/// A broker, and a victim that uses it.
struct Arena {
    broker: TestBroker,
    quiet_bytes: u64,
    begun: Instant,
    victim: Victim,
}

impl Arena {
    fn new() -> Arena {
        Arena::of(TestBroker::start("hostile"))
    }

    fn of(broker: TestBroker) -> Arena {
        let victim = Victim::beside(broker.address());
        let quiet_bytes = broker.resident_bytes();
        Arena { broker, quiet_bytes, begun: Instant::now(), victim }
    }

    fn address(&self) -> &str {
        self.broker.address()
    }

    /// Says hello as a good client would.
    fn greet(&self) -> Raw {
        Raw::greet(self.address())
    }

    /// Waits until the victim has gone on for a while, so that there is something to judge.
    fn let_the_victim_work(&self) {
        let before = self.victim.rounds();
        eventually("the victim goes on", || (self.victim.rounds() >= before + 20).then_some(()));
    }

    /// The victim has gone on, memory is bounded, nothing panicked, the log is short.
    fn finish(mut self) {
        let more = self.broker.peak_bytes().saturating_sub(self.quiet_bytes);
        println!("the attack cost {more} bytes of memory at most");
        assert!(more < ATTACK_BYTES_MAX, "the attack cost {more} bytes of memory");
        self.victim.finish();
        assert!(self.broker.is_running(), "the broker ended: {}", self.broker.log());
        let log = self.broker.log();
        assert!(!log.contains("panicked"), "{log}");
        let lines = log.lines().count() as u64;
        let allowed = LINES_MIN + self.begun.elapsed().as_secs();
        assert!(lines <= allowed, "{lines} lines, and {allowed} are one a second: {log}");
    }
}

/// A deadline that a busy machine keeps.
const SOON: Duration = Duration::from_secs(10);
