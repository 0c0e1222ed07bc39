//! What the load has done so far: shared counters that the tasks add to once per chunk and the
//! progress line samples, and latency histograms that each task keeps for itself until the end.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counters of the whole run, warm-up included.
#[derive(Debug)]
pub(crate) struct Counters {
    began: Instant,
    pub(crate) sent: AtomicU64,
    pub(crate) confirmed: AtomicU64,
    pub(crate) received: AtomicU64,
    /// Received, and not of this run.
    pub(crate) foreign: AtomicU64,
    measuring: AtomicBool,
    stopping: AtomicBool,
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) confirmed: u64,
    pub(crate) received: u64,
    /// Of them, those of this run.
    pub(crate) own: u64,
}

impl Counters {
    pub(crate) fn new(measuring: bool) -> Self {
        Self {
            began: Instant::now(),
            sent: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            measuring: AtomicBool::new(measuring),
            stopping: AtomicBool::new(false),
        }
    }

    pub(crate) fn sample(&self) -> Sample {
        let received = self.received.load(Ordering::Relaxed);
        Sample {
            at: Instant::now(),
            confirmed: self.confirmed.load(Ordering::Relaxed),
            received,
            own: received.saturating_sub(self.foreign.load(Ordering::Relaxed)),
        }
    }

    /// Nanoseconds since the run began: the clock of the stamps.
    pub(crate) fn nanos(&self) -> u64 {
        self.nanos_at(Instant::now())
    }

    pub(crate) fn nanos_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether the warm-up is over, so that latencies count.
    pub(crate) fn is_measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    pub(crate) fn measure(&self) {
        self.measuring.store(true, Ordering::Relaxed);
    }

    /// Whether publishers shall end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Latencies of one task in nanoseconds, to be merged, never averaged.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

/// LIMIT: ten minutes; a longer latency counts as this.
const LATENCY_MAX: Duration = Duration::from_secs(600);

impl Latencies {
    pub(crate) fn new() -> Self {
        let max = u64::try_from(LATENCY_MAX.as_nanos()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_bounds(1_000, max, 3).expect("the bounds are constants in order"))
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// A quantile in microseconds, to one decimal.
    #[expect(clippy::cast_precision_loss, reason = "ten minutes of nanoseconds are below 2^53")]
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        let nanos = if quantile >= 1.0 { self.0.max() } else { self.0.value_at_quantile(quantile) };
        (nanos as f64 / 100.0).round() / 10.0
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "p50": self.micros(0.50),
            "p99": self.micros(0.99),
            "p999": self.micros(0.999),
            "max": self.micros(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_quantiles_are_those_of_all_values() {
        let (mut fast, mut slow) = (Latencies::new(), Latencies::new());
        for _ in 0..990 {
            fast.record(100_000);
        }
        for _ in 0..10 {
            slow.record(50_000_000);
        }
        fast.merge(&slow);
        assert_eq!(fast.count(), 1_000);
        assert!((fast.micros(0.5) - 100.0).abs() < 1.0);
        // An average of both p99 would be 25 ms; the p99 of all values is the fast one.
        assert!(fast.micros(0.99) < 101.0);
        assert!(fast.micros(0.999) > 49_000.0);
        assert!(fast.micros(1.0) > 49_000.0);
    }

    #[test]
    fn no_latency_is_too_long_or_too_short_to_record() {
        let mut all = Latencies::new();
        all.record(0);
        all.record(u64::MAX);
        assert_eq!(all.count(), 2);
        assert_eq!(Latencies::new().micros(0.99), 0.0);
    }
}
