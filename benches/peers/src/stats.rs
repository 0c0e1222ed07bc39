//! From samples to rows: medians and spreads over the repeats of each cell.

use crate::cell::Workload;
use crate::peer::Mode;
use crate::record::{Quantiles, Run, Sample};

/// Middle, smallest and largest of some values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing. The median of an even number of values is the mean of the middle two.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = values.collect();
        all.sort_by(f64::total_cmp);
        let (min, max) = (*all.first()?, *all.last()?);
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), min, max })
    }
}

/// All repeats of one cell of one peer.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) peer: String,
    pub(crate) workload: Workload,
    pub(crate) size: usize,
    pub(crate) mode: Option<Mode>,
    /// Repeats that ended well.
    pub(crate) count: usize,
    pub(crate) per_second: Spread,
    pub(crate) broker_cpu: f64,
    pub(crate) client_cpu: f64,
    pub(crate) other_cores: f64,
    pub(crate) written: f64,
    pub(crate) flushes: f64,
    pub(crate) resident_mb: f64,
    pub(crate) asked: Option<f64>,
    pub(crate) latency: Option<Quantiles>,
    pub(crate) start: Option<Spread>,
    pub(crate) stored: Option<f64>,
    pub(crate) after_kill: Option<Spread>,
    pub(crate) after_stop: Option<Spread>,
    pub(crate) failures: Vec<String>,
}

/// The rows of a run: by workload, size and mode, peers in the order in which they were measured.
pub(crate) fn rows(run: &Run) -> Vec<Row> {
    let mut keys: Vec<(Workload, usize, Option<Mode>, String)> = Vec::new();
    for sample in &run.samples {
        let Some(workload) = sample.workload else { continue };
        let key = (workload, sample.size, sample.mode, sample.peer.clone());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let place = |peer: &str| run.peers.iter().position(|facts| facts.name == peer);
    // Latency has one row a peer whatever the mode; a mode matters only where both were measured.
    keys.sort_by_key(|(workload, size, mode, peer)| {
        let batched = *workload == Workload::Publish && *mode == Some(Mode::Batched);
        (*workload, *size, batched, place(peer))
    });
    keys.into_iter()
        .map(|(workload, size, mode, peer)| row(run, workload, size, mode, peer))
        .collect()
}

fn row(run: &Run, workload: Workload, size: usize, mode: Option<Mode>, peer: String) -> Row {
    let is_of_cell = |sample: &&Sample| {
        sample.peer == peer
            && sample.workload == Some(workload)
            && (sample.size, sample.mode) == (size, mode)
    };
    let all: Vec<&Sample> = run.samples.iter().filter(is_of_cell).collect();
    let good: Vec<&Sample> = all.iter().copied().filter(|s| s.failure.is_none()).collect();
    let spread = |of: fn(&Sample) -> f64| Spread::of(good.iter().map(|s| of(s)));
    let median = |of: fn(&Sample) -> f64| spread(of).unwrap_or_default().median;
    let optional = |of: fn(&Sample) -> Option<f64>| Spread::of(good.iter().filter_map(|s| of(s)));
    let merged = run
        .latencies
        .iter()
        .rfind(|merged| merged.peer == peer && merged.workload == workload && merged.size == size);
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    let stored = optional(|s| s.stored.map(|n| n as f64));
    #[expect(clippy::cast_precision_loss, reason = "rates below 2^53")]
    let asked = optional(|s| s.asked_per_second.map(|n| n as f64));
    Row {
        workload,
        size,
        mode,
        count: good.len(),
        per_second: spread(|s| s.per_second).unwrap_or_default(),
        broker_cpu: median(|s| s.broker_cpu_s_per_million),
        client_cpu: median(|s| s.client_cpu_s_per_million),
        other_cores: median(|s| s.other_cores),
        written: median(|s| s.written_per_body_byte),
        flushes: median(|s| s.flushes_per_second),
        resident_mb: median(|s| s.resident_mb),
        asked: asked.map(|spread| spread.median),
        latency: merged.map(|merged| merged.quantiles),
        start: optional(|s| s.start_seconds),
        stored: stored.map(|spread| spread.median),
        after_kill: optional(|s| s.first_delivery_after_kill_s),
        after_stop: optional(|s| s.first_delivery_after_stop_s),
        failures: all.iter().filter_map(|s| s.failure.clone()).collect(),
        peer,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::peer::Facts;
    use crate::record::Merged;

    pub(crate) fn run() -> Run {
        let sample = |peer: &str, repeat, per_second| Sample {
            peer: peer.into(),
            workload: Some(Workload::Publish),
            size: 100,
            mode: Some(Mode::Single),
            repeat,
            per_second,
            ..Sample::default()
        };
        let failed = Sample { failure: Some("it <broke>".into()), ..sample("b", 3, 0.0) };
        let latency = Sample {
            workload: Some(Workload::Latency),
            size: 1_024,
            latency: Quantiles::of(&crate::counters::Latencies::new()),
            ..sample("a", 1, 2_000.0)
        };
        let quantiles =
            Quantiles { p50: 100.0, p99: 900.0, p999: 1_500.0, max: 2_000.0, count: 10 };
        let facts = |name: &str| Facts {
            name: name.into(),
            version: "1".into(),
            confirm_means: "on disk".into(),
            synced: true,
            client: "a crate".into(),
            settings: vec![crate::peer::Setting::new("x yes", "because", "its page")],
            commands: vec!["b --x".into()],
        };
        Run {
            begun: "2026-11-23T00:00:00Z".into(),
            commit: "abc".into(),
            command: "run".into(),
            machine: Machine::default(),
            repeat: 3,
            warm_up_seconds: 0.25,
            window_seconds: 1.0,
            fill_seconds: 1.0,
            peers: vec![facts("b"), facts("a")],
            skipped: vec!["kafka: no --kafka DIR".into()],
            limits: Vec::new(),
            samples: vec![
                sample("a", 1, 30.0),
                sample("b", 1, 1.0),
                sample("a", 2, 10.0),
                sample("b", 2, 4.0),
                sample("a", 3, 20.0),
                failed,
                latency,
            ],
            latencies: vec![Merged {
                peer: "a".into(),
                workload: Workload::Latency,
                size: 1_024,
                quantiles,
                curve: vec![(0.0, 50.0), (0.5, 100.0), (0.99, 900.0), (1.0, 2_000.0)],
            }],
        }
    }

    #[test]
    fn a_median_is_the_middle_and_of_an_even_number_between_the_middle_two() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0]).map(|s| s.median), Some(2.5));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn rows_keep_the_order_of_peers_and_leave_failures_out_of_medians() {
        let rows = rows(&run());
        let names: Vec<&str> = rows.iter().map(|row| row.peer.as_str()).collect();
        assert_eq!(names, ["b", "a", "a"]);
        assert_eq!(rows[0].count, 2);
        assert_eq!(rows[0].failures, ["it <broke>"]);
        assert!((rows[0].per_second.median - 2.5).abs() < 1e-9);
        assert!((rows[1].per_second.median - 20.0).abs() < 1e-9);
        assert_eq!(rows[2].latency.map(|latency| latency.count), Some(10));
    }
}
