//! What a benchmark says at its end: a few lines for a person, one JSON object for a program.
//!
//! Rates are of the measured window only; `confirmed`, `received` and `duplicates` count the whole
//! run, warm-up included, so that they can be compared with each other.

use crate::bench::counters::Latencies;
use crate::context::Context;
use crate::shown;
use serde_json::{Value, json};
use std::io;
use std::time::Duration;

/// The outcome of one run.
#[derive(Debug)]
pub(crate) struct Report {
    /// `pub`, `consume` or `e2e`.
    pub(crate) kind: &'static str,
    /// How the load was made: the flags, effective.
    pub(crate) setup: Value,
    pub(crate) size: u64,
    pub(crate) warm_up: Duration,
    /// Length of the measured window.
    pub(crate) window: Duration,
    /// Messages of the measured window.
    pub(crate) measured: u64,
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    /// Messages of others that were found in the destination.
    pub(crate) foreign: u64,
    /// Confirmed but not received when the run ended; `None` where nothing was to be received.
    pub(crate) missing: Option<u64>,
    pub(crate) durability: &'static str,
    /// Publish to confirm, or publish to receive in e2e.
    pub(crate) latency: Latencies,
    /// Publish to confirm, where `latency` is something else.
    pub(crate) confirm_latency: Option<Latencies>,
    /// Whether latencies count from the intended time of sending.
    pub(crate) open_loop: bool,
}

impl Report {
    fn per_second(&self, amount: u64) -> u64 {
        let micros = self.window.as_micros().max(1);
        u64::try_from(u128::from(amount) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    /// Messages a second of the measured window.
    pub(crate) fn rate(&self) -> u64 {
        self.per_second(self.measured)
    }

    pub(crate) fn json(&self) -> Value {
        let mut all = json!({
            "bench": self.kind,
            "setup": self.setup,
            "open_loop": self.open_loop,
            "warm_up_seconds": self.warm_up.as_secs_f64(),
            "seconds": self.window.as_secs_f64(),
            "measured": self.measured,
            "messages_per_second": self.rate(),
            "bytes_per_second": self.per_second(self.measured.saturating_mul(self.size)),
            "sent": self.sent,
            "confirmed": self.confirmed,
            "received": self.received,
            "duplicates": self.duplicates,
            "foreign": self.foreign,
            "durability": self.durability,
            "latency_us": self.latency.json(),
            "latency_samples": self.latency.count(),
        });
        if let Some(missing) = self.missing {
            all["missing"] = missing.into();
        }
        if let Some(confirm) = &self.confirm_latency {
            all["confirm_latency_us"] = confirm.json();
        }
        all
    }

    pub(crate) fn print(&self, context: &Context) -> io::Result<()> {
        if !context.output.is_text() {
            return context.output.value(self.json());
        }
        for line in self.lines() {
            context.output.text(&line)?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let n = shown::number;
        let mut lines = vec![format!(
            "{} sent, {} confirmed ({}), {} received, {} duplicated",
            n(self.sent),
            n(self.confirmed),
            self.durability,
            n(self.received),
            n(self.duplicates),
        )];
        if let Some(missing) = self.missing.filter(|missing| *missing > 0) {
            lines.push(format!("MISSING: {} confirmed messages were not received", n(missing)));
        }
        if self.foreign > 0 {
            lines.push(format!("{} messages of others were consumed and acked", n(self.foreign)));
        }
        lines.push(format!(
            "{} msg/s, {}/s  over {:.1} s, after {:.1} s of warm-up",
            n(self.rate()),
            shown::bytes(self.per_second(self.measured.saturating_mul(self.size))),
            self.window.as_secs_f64(),
            self.warm_up.as_secs_f64(),
        ));
        let from = if self.open_loop { "intended send" } else { "send" };
        let main = match self.kind {
            "pub" => format!("{from} to confirm"),
            "e2e" | "fanout" => format!("{from} to receive"),
            _ => "receive to ack".to_owned(),
        };
        lines.extend(latency_line(&main, &self.latency));
        if let Some(confirm) = &self.confirm_latency {
            lines.extend(latency_line(&format!("{from} to confirm"), confirm));
        }
        lines
    }
}

pub(crate) fn latency_line(name: &str, all: &Latencies) -> Option<String> {
    (all.count() > 0).then(|| {
        format!(
            "{name:<24} p50 {} us  p99 {} us  p99.9 {} us  max {} us  ({} samples)",
            all.micros(0.5),
            all.micros(0.99),
            all.micros(0.999),
            all.micros(1.0),
            shown::number(all.count()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            kind: "pub",
            setup: json!({}),
            size: 100,
            warm_up: Duration::from_secs(1),
            window: Duration::from_secs(2),
            measured: 1_000,
            sent: 1_500,
            confirmed: 1_500,
            received: 0,
            duplicates: 0,
            foreign: 0,
            missing: None,
            durability: "synced",
            latency: Latencies::new(),
            confirm_latency: None,
            open_loop: false,
        }
    }

    #[test]
    fn rates_are_of_the_window_and_totals_of_the_run() {
        let json = report().json();
        assert_eq!(json["messages_per_second"], 500);
        assert_eq!(json["bytes_per_second"], 50_000);
        assert_eq!(json["confirmed"], 1_500);
        for field in ["received", "duplicates", "durability"] {
            assert!(!json[field].is_null(), "{field}");
        }
        for quantile in ["p50", "p99", "p999", "max"] {
            assert!(json["latency_us"][quantile].is_number(), "{quantile}");
        }
    }

    #[test]
    fn missing_messages_are_said_aloud() {
        let lines = Report { missing: Some(3), ..report() }.lines();
        assert!(lines.iter().any(|line| line.starts_with("MISSING: 3")), "{lines:?}");
    }
}
