//! What a run of `growth` writes down, and the rows that tables and plots are made of.

use super::curve::{Curve, Load};
use crate::machine::Machine;
use crate::stats::Spread;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Growth {
    /// UTC, as `2026-11-23T10:00:00Z`.
    pub(crate) begun: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) version: String,
    /// How the broker is started.
    pub(crate) broker: String,
    pub(crate) machine: Machine,
    pub(crate) repeat: usize,
    pub(crate) warm_up_seconds: f64,
    pub(crate) seconds: f64,
    /// Points that were not measured, and why.
    pub(crate) skipped: Vec<String>,
    pub(crate) samples: Vec<Sample>,
}

/// One load at one point in one repeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) curve: Curve,
    pub(crate) load: Load,
    pub(crate) x: u64,
    pub(crate) repeat: usize,
    /// The load, as a person would type it.
    pub(crate) command: Option<String>,
    pub(crate) figures: Figures,
    /// What a reader should know of these figures.
    pub(crate) note: Option<String>,
    pub(crate) failure: Option<String>,
}

pub(crate) type Figures = BTreeMap<Figure, f64>;

/// What is measured at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Figure {
    MessagesPerSecond,
    MegabytesPerSecond,
    P50Ms,
    P99Ms,
    /// Of the whole load, warm-up, declaring and deleting included.
    BrokerCpuSecondsPerMillion,
    /// The most during the load.
    PeakMb,
    /// With what is at this point, but without load.
    ResidentMb,
    /// Memory of one connection, queue or message.
    BytesEach,
    DeclaredPerSecond,
    FilledPerSecond,
    StopSeconds,
    /// From starting it again to accepting.
    RestartSeconds,
    RestartedMb,
}

impl Figure {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::MessagesPerSecond => "msg/s",
            Self::MegabytesPerSecond => "MB/s",
            Self::P50Ms => "p50 ms",
            Self::P99Ms => "p99 ms",
            Self::BrokerCpuSecondsPerMillion => "broker CPU s/M",
            Self::PeakMb => "peak RSS MB",
            Self::ResidentMb => "RSS MB",
            Self::BytesEach => "bytes of memory each",
            Self::DeclaredPerSecond => "declared/s",
            Self::FilledPerSecond => "filled msg/s",
            Self::StopSeconds => "clean stop s",
            Self::RestartSeconds => "restart s",
            Self::RestartedMb => "RSS after restart MB",
        }
    }
}

/// All repeats of one load at one point.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) curve: Curve,
    pub(crate) load: Load,
    pub(crate) x: u64,
    /// Repeats that ended well.
    pub(crate) count: usize,
    pub(crate) figures: BTreeMap<Figure, Spread>,
    pub(crate) notes: Vec<String>,
    pub(crate) failures: Vec<String>,
}

/// The rows of a run by curve, load and point. Failed repeats are in no median.
pub(crate) fn rows(growth: &Growth) -> Vec<Row> {
    let mut all: BTreeMap<(Curve, Load, u64), Vec<&Sample>> = BTreeMap::new();
    for sample in &growth.samples {
        all.entry((sample.curve, sample.load, sample.x)).or_default().push(sample);
    }
    all.into_iter().map(|((curve, load, x), samples)| row(curve, load, x, &samples)).collect()
}

fn row(curve: Curve, load: Load, x: u64, samples: &[&Sample]) -> Row {
    let good: Vec<&&Sample> = samples.iter().filter(|s| s.failure.is_none()).collect();
    let mut values: BTreeMap<Figure, Vec<f64>> = BTreeMap::new();
    for (figure, value) in good.iter().flat_map(|sample| &sample.figures) {
        values.entry(*figure).or_default().push(*value);
    }
    let spread =
        |(figure, values): (Figure, Vec<f64>)| Some((figure, Spread::of(values.into_iter())?));
    Row {
        curve,
        load,
        x,
        count: good.len(),
        figures: values.into_iter().filter_map(spread).collect(),
        notes: good.iter().filter_map(|sample| sample.note.clone()).collect(),
        failures: samples.iter().filter_map(|sample| sample.failure.clone()).collect(),
    }
}

/// Several runs as one: of each curve, those samples count that were measured last.
pub(crate) fn join(mut all: Growth, newer: Growth) -> Growth {
    all.samples.retain(|old| newer.samples.iter().all(|new| new.curve != old.curve));
    all.samples.extend(newer.samples);
    all.skipped.extend(newer.skipped);
    for (mine, theirs) in [(&mut all.commit, newer.commit), (&mut all.command, newer.command)] {
        if *mine != theirs {
            *mine = format!("{mine}; {theirs}");
        }
    }
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn growth() -> Growth {
        let sample = |load, x, repeat, rate| Sample {
            curve: Curve::Size,
            load,
            x,
            repeat,
            command: Some("posthaste bench pub".into()),
            figures: Figures::from([(Figure::MessagesPerSecond, rate)]),
            note: None,
            failure: None,
        };
        let failed = Sample {
            failure: Some("it <broke>\nbadly".into()),
            ..sample(Load::Publish, 1 << 20, 2, 7.0)
        };
        let idle = Sample { curve: Curve::Backlog, ..sample(Load::OtherQueue, 0, 1, 5.0) };
        Growth {
            begun: "2026-11-23T00:00:00Z".into(),
            commit: "abc".into(),
            command: "benches/growth".into(),
            version: "posthaste 1".into(),
            broker: "posthaste serve".into(),
            machine: Machine::default(),
            repeat: 2,
            warm_up_seconds: 0.5,
            seconds: 2.0,
            skipped: vec!["backlog 50 M: no room".into()],
            samples: vec![
                sample(Load::Publish, 10, 1, 100.0),
                sample(Load::Publish, 1 << 20, 1, 4.0),
                sample(Load::Publish, 10, 2, 300.0),
                failed,
                sample(Load::EndToEnd, 10, 1, 50.0),
                idle,
            ],
        }
    }

    #[test]
    fn medians_are_per_point_and_leave_failures_out() {
        let rows = rows(&growth());
        let points: Vec<_> = rows.iter().map(|row| (row.load, row.x, row.count)).collect();
        let expected = [
            (Load::Publish, 10, 2),
            (Load::Publish, 1 << 20, 1),
            (Load::EndToEnd, 10, 1),
            (Load::OtherQueue, 0, 1),
        ];
        assert_eq!(points, expected);
        let rate = |row: &Row| row.figures[&Figure::MessagesPerSecond].median;
        assert!((rate(&rows[0]) - 200.0).abs() < 1e-9 && (rate(&rows[1]) - 4.0).abs() < 1e-9);
        assert_eq!(rows[1].failures, ["it <broke>\nbadly"]);
    }

    #[test]
    fn a_newer_run_replaces_the_curves_that_it_has() {
        let mut newer = growth();
        newer.samples.retain(|sample| sample.curve == Curve::Size);
        newer.samples.truncate(1);
        let joined = join(growth(), newer);
        let of = |curve| joined.samples.iter().filter(|sample| sample.curve == curve).count();
        assert_eq!((of(Curve::Size), of(Curve::Backlog)), (1, 1));
        assert_eq!(joined.commit, "abc");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = serde_json::to_string(&growth()).expect("it is plain data");
        let read: Growth = serde_json::from_str(&text).expect("it was written by us");
        assert_eq!(rows(&read).len(), rows(&growth()).len());
    }
}
