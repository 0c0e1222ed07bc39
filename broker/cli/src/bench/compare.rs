//! `posthaste bench compare`: two results side by side, and whether they differ by more than their noise.
//!
//! The rule is plain, so that it can be checked by eye: two figures differ when no run of one lies among the runs of the other, and
//! each was run three times or more. Of five runs against five that happens by chance once in 126 times.

use crate::bench::series::Spread;
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Runs that tell what the noise is.
const RUNS_MIN: usize = 3;

/// Two results.
#[derive(Clone, Debug, Args)]
#[command(help_template = crate::args::TEMPLATE)]
pub(crate) struct Compare {
    /// What `bench ... --repeat 5 -o json` printed, before.
    before: PathBuf,
    /// And after.
    after: PathBuf,
}

/// What is compared: the place in a run, and how it is called.
const FIGURES: [(&str, &str); 4] = [
    ("/messages_per_second", "msg/s"),
    ("/latency_us/p50", "p50 us"),
    ("/latency_us/p99", "p99 us"),
    ("/latency_us/p999", "p99.9 us"),
];

/// The outcome for one figure.
#[derive(Debug, PartialEq)]
enum Verdict {
    /// `after` is so many times `before`.
    Differs(f64),
    /// The runs overlap.
    Noise,
    /// Too few runs to know.
    Unknown,
}

impl Verdict {
    fn of(before: &[f64], after: &[f64]) -> Self {
        let (Some(old), Some(new)) = (Spread::of(before), Spread::of(after)) else {
            return Self::Unknown;
        };
        if before.len().min(after.len()) < RUNS_MIN || old.median <= 0.0 {
            return Self::Unknown;
        }
        if old.max < new.min || new.max < old.min {
            return Self::Differs(new.median / old.median);
        }
        Self::Noise
    }

    fn said(&self) -> String {
        match self {
            Self::Differs(ratio) => format!("{ratio:.2} times"),
            Self::Noise => "no difference at this noise".into(),
            Self::Unknown => "unknown: repeat each at least 3 times".into(),
        }
    }
}

/// The runs of a file: its last JSON object, with one run or several.
fn runs(path: &Path) -> Result<Vec<Value>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let refuse = || {
        let what = format!("{} holds no result of posthaste bench", path.display());
        Failure::usage(what).step("make one", "posthaste bench pub --repeat 5 -o json > a.json")
    };
    let last = text.lines().rfind(|line| !line.trim().is_empty()).ok_or_else(refuse)?;
    let whole: Value = serde_json::from_str(last).map_err(|_not_json| refuse())?;
    match whole.get("runs").and_then(Value::as_array) {
        Some(runs) => Ok(runs.clone()),
        None if whole.get("bench").is_some() => Ok(vec![whole]),
        None => Err(refuse()),
    }
}

fn figures(runs: &[Value], place: &str) -> Vec<f64> {
    runs.iter().filter_map(|run| run.pointer(place)?.as_f64()).collect()
}

pub(crate) fn compare(args: &Compare, context: &Context) -> Outcome {
    let (before, after) = (runs(&args.before)?, runs(&args.after)?);
    let load = |runs: &[Value]| {
        let of = |name: &str| runs.first().and_then(|run| run.get(name)).cloned();
        (of("bench"), of("setup").map(without_destination))
    };
    if load(&before) != load(&after) {
        context.notice("these were different loads; the figures may say nothing about each other");
    }
    let mut compared = Vec::new();
    for (place, name) in FIGURES {
        let (old, new) = (figures(&before, place), figures(&after, place));
        let verdict = Verdict::of(&old, &new);
        let (Some(old), Some(new)) = (Spread::of(&old), Spread::of(&new)) else { continue };
        if context.output.is_text() {
            context.output.text(&format!(
                "{name:<9} {:.1} ({:.1} to {:.1}) -> {:.1} ({:.1} to {:.1})  {}",
                old.median,
                old.min,
                old.max,
                new.median,
                new.min,
                new.max,
                verdict.said(),
            ))?;
        }
        let differs = matches!(verdict, Verdict::Differs(_));
        let (old, new) = (old.median, new.median);
        compared.push(json!({ "figure": name, "before": old, "after": new, "differs": differs }));
    }
    if !context.output.is_text() {
        context.output.value(json!({ "compared": compared }))?;
    }
    Ok(Exit::Done)
}

/// The benchmark's own queues have another name each time.
fn without_destination(mut setup: Value) -> Value {
    if let Some(setup) = setup.as_object_mut() {
        setup.remove("destination");
    }
    setup
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_runs_are_noise_and_disjoint_ones_a_difference() {
        let old = [100.0, 110.0, 105.0];
        assert_eq!(Verdict::of(&old, &[109.0, 130.0, 140.0]), Verdict::Noise);
        assert_eq!(Verdict::of(&old, &[210.0, 220.0, 200.0]), Verdict::Differs(2.0));
        assert_eq!(Verdict::of(&old, &[50.0, 52.5, 55.0]), Verdict::Differs(0.5));
    }

    #[test]
    fn one_run_says_nothing_about_noise() {
        assert_eq!(Verdict::of(&[100.0], &[900.0]), Verdict::Unknown);
        assert_eq!(Verdict::of(&[], &[900.0, 1.0, 2.0]), Verdict::Unknown);
    }
}
