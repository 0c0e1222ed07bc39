//! Several runs of one load, one after another: the median with the smallest and the largest, so that a figure is never
//! a lucky one. Latencies are merged.

use crate::bench::counters::Latencies;
use crate::bench::report::{Report, latency_line};
use crate::context::Context;
use crate::shown;
use serde_json::{Value, json};
use std::io;

/// Smallest, middle and largest of some figures.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None`: no figures.
    pub(crate) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self { min: sorted[0], median: f64::midpoint(lower, upper), max: *sorted.last()? })
    }

    fn json(self) -> Value {
        json!({ "min": self.min, "median": self.median, "max": self.max })
    }
}

/// All runs, in order.
#[derive(Debug)]
pub(crate) struct Series(pub(crate) Vec<Report>);

impl Series {
    fn rates(&self) -> Option<Spread> {
        #[expect(clippy::cast_precision_loss, reason = "a rate is far below 2^53")]
        let rates: Vec<f64> = self.0.iter().map(|run| run.rate() as f64).collect();
        Spread::of(&rates)
    }

    fn merged(&self) -> Latencies {
        let mut all = Latencies::new();
        self.0.iter().for_each(|run| all.merge(&run.latency));
        all
    }

    /// Latencies of all runs together.
    pub(crate) fn latency(&self) -> Latencies {
        self.merged()
    }

    /// One object: what was run, the spread of the rate, the merged latencies, and each run.
    pub(crate) fn json(&self) -> Value {
        json!({
            "bench": self.0.first().map_or("none", |run| run.kind),
            "repeat": self.0.len(),
            "messages_per_second": self.rates().map(Spread::json),
            "latency_us": self.merged().json(),
            "missing": self.missing(),
            "runs": self.0.iter().map(Report::json).collect::<Vec<_>>(),
        })
    }

    /// Confirmed messages that did not arrive, of all runs.
    pub(crate) fn missing(&self) -> u64 {
        self.0.iter().filter_map(|run| run.missing).sum()
    }

    /// What the runs say together, if there are several.
    pub(crate) fn print(&self, context: &Context) -> io::Result<()> {
        let Some(rates) = self.rates().filter(|_| self.0.len() > 1) else { return Ok(()) };
        if !context.output.is_text() {
            return context.output.value(self.json());
        }
        let n = |figure: f64| shown::number(whole(figure));
        context.output.text(&format!(
            "{} runs: {} msg/s ({} to {})",
            self.0.len(),
            n(rates.median),
            n(rates.min),
            n(rates.max)
        ))?;
        match latency_line("all runs", &self.merged()) {
            Some(line) => context.output.text(&line),
            None => Ok(()),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
fn whole(figure: f64) -> u64 {
    figure.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_the_figures_in_order() {
        assert_eq!(Spread::of(&[]), None);
        let odd = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.min, odd.median, odd.max), (1.0, 2.0, 3.0));
        let even = Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((even.min, even.median, even.max), (1.0, 2.5, 4.0));
    }
}
