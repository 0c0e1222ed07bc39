//! Bytes that nobody should send. Each case has one fixed answer, and beside each a well-behaved
//! client publishes, consumes and acks without being held up.

mod framing;
mod records;
mod resources;
mod strangers;

use posthaste_protocol::request::{Kind, Outcome};
use posthaste_tests::{Raw, TestBroker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One message of the victim, published, delivered and acked, takes less than this even on a busy
/// machine.
const VICTIM_PATIENCE: Duration = Duration::from_secs(3);
/// Memory that an attack may cost while it lasts.
const ATTACK_BYTES_MAX: u64 = 64 << 20;

/// A broker, and a victim that uses it.
struct Arena {
    broker: TestBroker,
    quiet_bytes: u64,
    over: Arc<AtomicBool>,
    victim: Option<JoinHandle<Duration>>,
}

impl Arena {
    fn new() -> Arena {
        let broker = TestBroker::start("hostile");
        let mut raw = Raw::greet(broker.address());
        let id = raw.declare(Kind::Queue, "victim");
        raw.consume(1, "victim", 60_000);
        round_trip(&mut raw, id);
        let quiet_bytes = broker.resident_bytes();
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let victim = std::thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while !is_over.load(Ordering::Relaxed) {
                slowest = slowest.max(round_trip(&mut raw, id));
            }
            // And once more, behind the attack.
            slowest.max(round_trip(&mut raw, id))
        });
        Arena { broker, quiet_bytes, over, victim: Some(victim) }
    }

    fn address(&self) -> &str {
        self.broker.address()
    }

    /// Says hello as a good client would.
    fn greet(&self) -> Raw {
        Raw::greet(self.address())
    }

    /// The victim has gone on, memory is bounded, nothing panicked.
    fn finish(mut self) {
        let now = self.broker.resident_bytes();
        let more = now.saturating_sub(self.quiet_bytes);
        assert!(more < ATTACK_BYTES_MAX, "the attack cost {more} bytes of memory");
        self.over.store(true, Ordering::Relaxed);
        let slowest = self.victim.take().unwrap().join().expect("the victim goes on");
        assert!(slowest < VICTIM_PATIENCE, "the victim waited for {slowest:?}");
        assert!(self.broker.is_running(), "the broker ended: {}", self.broker.log());
        let log = self.broker.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.len() < 100_000, "the log was flooded with {} bytes", log.len());
    }
}

fn round_trip(raw: &mut Raw, id: u32) -> Duration {
    let begun = Instant::now();
    raw.store(id, "victim", b"victim");
    let got = raw.take("victim", 1).remove(0);
    assert!(raw.settle(&got, Outcome::Ack));
    begun.elapsed()
}
