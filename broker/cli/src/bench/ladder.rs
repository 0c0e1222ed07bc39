//! `posthaste bench ladder`: the highest rate at which the 99th percentile stays within a limit. Each step is an open loop, end to
//! end; the rate doubles until a step fails, and the gap between the last that held and the first that failed is halved.

use crate::bench::report::Report;
use crate::bench::{Load, What, run};
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::shown;
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// Messages a second of the first step.
const FIRST: u64 = 1_000;
/// LIMIT: no step is faster, messages a second.
const LAST: u64 = 20_000_000;
/// How often the gap is halved: the answer is within 1/16 of the last doubling.
const HALVINGS: u32 = 4;

/// The load of a ladder.
#[derive(Clone, Debug, Args)]
#[command(help_template = crate::args::TEMPLATE)]
pub(crate) struct Ladder {
    /// What the 99th percentile may be, from the intended time of sending to receiving.
    #[arg(long, value_name = "DURATION", default_value = "5ms",
          value_parser = crate::values::nonzero_duration, help_heading = "Load")]
    p99: Duration,
    #[command(flatten)]
    load: Load,
}

/// Which rates to try: a decision without effects.
#[derive(Debug)]
struct Climb {
    held: u64,
    failed: Option<u64>,
    halvings: u32,
}

impl Climb {
    fn new(first: u64) -> Self {
        Self { held: first / 2, failed: None, halvings: 0 }
    }

    /// The next rate, or `None` at the end.
    fn next(&self) -> Option<u64> {
        match self.failed {
            None => (self.held < LAST).then_some(self.held * 2),
            Some(failed) => {
                let middle = u64::midpoint(self.held, failed);
                (self.halvings < HALVINGS && middle > self.held).then_some(middle)
            }
        }
    }

    fn tried(&mut self, rate: u64, has_held: bool) {
        self.halvings += u32::from(self.failed.is_some());
        if has_held {
            self.held = rate;
        } else {
            self.failed = Some(rate);
        }
    }
}

/// Whether a step kept the limit, at the rate that it was to have.
fn holds(report: &Report, rate: u64, limit: Duration) -> bool {
    let is_full = report.rate() >= rate / 20 * 19;
    is_full && report.missing == Some(0) && report.latency.micros(0.99) <= limit.as_secs_f64() * 1e6
}

pub(crate) async fn climb(args: &Ladder, context: &Context) -> Outcome {
    args.load.check_stamped(What::E2e)?;
    if args.load.repeat > 1 || args.load.html.is_some() {
        return Err(Failure::usage("bench ladder takes neither --repeat nor --html"));
    }
    let first = args.load.rate.unwrap_or(FIRST).max(2);
    let mut climb = Climb::new(first);
    let (mut steps, mut best, mut missing) = (Vec::new(), 0, 0);
    while let Some(rate) = climb.next() {
        let load = Load { rate: Some(rate), ..args.load.clone() };
        let report = run::run(What::E2e, &load, 0, context).await?;
        let has_held = holds(&report, rate, args.p99);
        missing += report.missing.unwrap_or(0);
        if has_held {
            best = rate;
        }
        climb.tried(rate, has_held);
        if context.output.is_text() {
            context.output.text(&format!(
                "{:>12} msg/s  p50 {} us  p99 {} us  {}",
                shown::number(rate),
                report.latency.micros(0.5),
                report.latency.micros(0.99),
                if has_held { "held" } else { "too slow" },
            ))?;
        }
        steps.push(json!({ "rate": rate, "held": has_held, "run": report.json() }));
        if !has_held && rate == first {
            break;
        }
    }
    if context.output.is_text() {
        let limit = shown::duration(args.p99);
        let rate = shown::number(best);
        context.output.text(&format!("{rate} msg/s within a p99 of {limit}"))?;
    } else {
        let limit_us = args.p99.as_secs_f64() * 1e6;
        let all =
            json!({ "bench": "ladder", "p99_limit_us": limit_us, "rate": best, "steps": steps });
        context.output.value(all)?;
    }
    Ok(if missing > 0 { Exit::Failed } else { Exit::Done })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rates that are tried when everything up to `limit` holds.
    fn rates(limit: u64) -> (Vec<u64>, u64) {
        let mut climb = Climb::new(1_000);
        let mut tried = Vec::new();
        while let Some(rate) = climb.next() {
            tried.push(rate);
            climb.tried(rate, rate <= limit);
        }
        (tried, climb.held)
    }

    #[test]
    fn the_rate_doubles_and_the_gap_is_halved() {
        let (tried, held) = rates(11_000);
        assert_eq!(tried, [1_000, 2_000, 4_000, 8_000, 16_000, 12_000, 10_000, 11_000, 11_500]);
        assert_eq!(held, 11_000);
    }

    #[test]
    fn a_climb_without_a_limit_ends() {
        let (tried, held) = rates(u64::MAX);
        assert!(tried.len() < 20 && held >= LAST, "{tried:?}");
    }
}
