//! What a cell has done so far: counters shared by publishers, confirms and consumers, and latency
//! histograms that are merged, never averaged.

use hdrhistogram::Histogram;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counters of one cell, warm-up included.
#[derive(Debug)]
pub(crate) struct Counters {
    began: Instant,
    pub(crate) sent: AtomicU64,
    pub(crate) confirmed: AtomicU64,
    pub(crate) received: AtomicU64,
    measuring: AtomicBool,
    stopping: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            sent: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            received: AtomicU64::new(0),
            measuring: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// The clock of the stamps: nanoseconds since the cell began.
    pub(crate) fn nanos(&self) -> u64 {
        self.nanos_at(Instant::now())
    }

    pub(crate) fn nanos_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_measuring(&self) -> bool {
        self.measuring.load(Relaxed)
    }

    pub(crate) fn measure(&self, yes: bool) {
        self.measuring.store(yes, Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Notes the first failure and ends the cell.
    pub(crate) fn fail(&self, why: &anyhow::Error) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert_with(|| format!("{why:#}"));
        }
        self.stop();
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().ok().and_then(|failure| failure.clone())
    }
}

/// LIMIT: ten minutes; a longer latency counts as this.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// The quantiles that a latency curve is drawn through.
pub(crate) const CURVE: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// Latencies in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

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

    /// (quantile, microseconds) for a plot.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        CURVE.iter().map(|&quantile| (quantile, self.micros(quantile))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_quantiles_are_those_of_all_values_not_an_average() {
        let (mut fast, mut slow) = (Latencies::new(), Latencies::new());
        (0..990).for_each(|_| fast.record(100_000));
        (0..10).for_each(|_| slow.record(50_000_000));
        fast.merge(&slow);
        assert_eq!(fast.count(), 1_000);
        assert!(fast.micros(0.99) < 101.0);
        assert!(fast.micros(0.999) > 49_000.0);
        assert_eq!(Latencies::new().micros(0.5), 0.0);
        let curve = fast.curve();
        assert!(curve.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    }

    #[test]
    fn the_first_failure_is_kept_and_ends_the_cell() {
        let counters = Counters::new();
        counters.fail(&anyhow::anyhow!("first"));
        counters.fail(&anyhow::anyhow!("second"));
        assert!(counters.is_stopping());
        assert_eq!(counters.failure().as_deref(), Some("first"));
    }
}
