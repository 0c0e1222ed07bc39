//! What a run writes down: one JSON file that everything shown is made from.

use crate::cell::Workload;
use crate::counters::Latencies;
use crate::limits::Limits;
use crate::load::Measured;
use crate::machine::Machine;
use crate::peer::{Facts, Mode};
use serde::{Deserialize, Serialize};

/// One run of the program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// UTC, as `2026-11-23T10:00:00Z`.
    pub(crate) begun: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) repeat: usize,
    pub(crate) warm_up_seconds: f64,
    pub(crate) window_seconds: f64,
    pub(crate) fill_seconds: f64,
    pub(crate) peers: Vec<Facts>,
    /// Peers that were not measured, and why.
    pub(crate) skipped: Vec<String>,
    /// One a round.
    #[serde(default)]
    pub(crate) limits: Vec<Limits>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) latencies: Vec<Merged>,
}

/// One cell of one peer in one repeat.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) peer: String,
    pub(crate) workload: Option<Workload>,
    pub(crate) size: usize,
    pub(crate) mode: Option<Mode>,
    pub(crate) repeat: usize,
    pub(crate) seconds: f64,
    /// Messages confirmed (publish), or delivered and acked.
    pub(crate) messages: u64,
    pub(crate) per_second: f64,
    /// Of an open loop: what was asked for.
    pub(crate) asked_per_second: Option<u64>,
    pub(crate) broker_cpu_s_per_million: f64,
    pub(crate) client_cpu_s_per_million: f64,
    /// Cores that neither broker nor client used: noise of the machine.
    pub(crate) other_cores: f64,
    pub(crate) written_per_body_byte: f64,
    pub(crate) flushes_per_second: f64,
    pub(crate) resident_mb: f64,
    pub(crate) latency: Option<Quantiles>,
    pub(crate) start_seconds: Option<f64>,
    pub(crate) stored: Option<u64>,
    pub(crate) first_delivery_after_kill_s: Option<f64>,
    pub(crate) first_delivery_after_stop_s: Option<f64>,
    pub(crate) failure: Option<String>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    pub(crate) count: u64,
}

impl Quantiles {
    /// `None` where nothing was received.
    pub(crate) fn of(all: &Latencies) -> Option<Self> {
        let [p50, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|q| all.micros(q));
        (all.count() > 0).then_some(Self { p50, p99, p999, max, count: all.count() })
    }
}

/// Latencies of all repeats of a cell, merged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Merged {
    pub(crate) peer: String,
    pub(crate) workload: Workload,
    pub(crate) size: usize,
    pub(crate) quantiles: Quantiles,
    /// (quantile, microseconds).
    pub(crate) curve: Vec<(f64, f64)>,
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
impl Sample {
    /// Fills in what was measured; `messages` is what counts in this workload.
    pub(crate) fn measured(mut self, measured: &Measured, messages: u64) -> Self {
        let millions = messages as f64 / 1e6;
        let bodies = measured.confirmed as f64 * self.size as f64;
        self.seconds = measured.seconds;
        self.messages = messages;
        self.per_second = messages as f64 / measured.seconds;
        self.broker_cpu_s_per_million = ratio(measured.broker.cpu_seconds, millions);
        self.client_cpu_s_per_million = ratio(measured.client_cpu_seconds, millions);
        self.other_cores = measured.other_cores;
        self.written_per_body_byte = ratio(measured.broker.written_bytes as f64, bodies);
        self.flushes_per_second = measured.flushes as f64 / measured.seconds;
        self.resident_mb = measured.broker.resident_bytes as f64 / 1e6;
        self.latency = Quantiles::of(&measured.latency);
        self
    }
}

fn ratio(amount: f64, of: f64) -> f64 {
    if of > 0.0 { amount / of } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::Usage;

    #[test]
    fn costs_are_per_million_messages_and_per_byte_of_body() {
        let broker =
            Usage { cpu_seconds: 1.0, written_bytes: 300_000_000, resident_bytes: 5_000_000 };
        let measured = Measured {
            seconds: 2.0,
            confirmed: 2_000_000,
            received: 0,
            broker,
            client_cpu_seconds: 0.5,
            other_cores: 0.0,
            flushes: 100,
            latency: Latencies::new(),
        };
        let sample = Sample { size: 100, ..Sample::default() }.measured(&measured, 2_000_000);
        assert_eq!(sample.per_second as u64, 1_000_000);
        assert!((sample.broker_cpu_s_per_million - 0.5).abs() < 1e-9);
        assert!((sample.written_per_body_byte - 1.5).abs() < 1e-9);
        assert!((sample.flushes_per_second - 50.0).abs() < 1e-9);
        assert_eq!(sample.latency, None);
    }
}
