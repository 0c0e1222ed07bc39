//! Settings of queues, topics and groups on the command line: the flags that several nouns share,
//! how a setting is shown, and the difference between what is and what was asked for.

use crate::output::Cell;
use crate::shown;
use crate::values::{self, Retry};
use clap::Args;
use posthaste::{Backoff, Settings};
use serde_json::{Value, json};
use std::time::Duration;

/// How deliveries of a queue, or of the groups of a topic, are treated.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Delivery {
    /// Attempts before a message goes to the dead letters.
    #[arg(long, value_name = "N")]
    pub(crate) max_attempts: Option<u32>,
    /// How long a consumer may hold a message without a sign of life.
    #[arg(long, value_name = "DURATION", value_parser = values::nonzero_duration)]
    pub(crate) lease: Option<Duration>,
    /// How long a message can be held, however often its lease is renewed; 0 means no limit.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) max_hold: Option<Duration>,
    /// Delays before retries: 1s..10m doubles, 5s stays; add ,factor=1.5 or ,jitter=20%.
    #[arg(long, value_name = "POLICY", value_parser = values::retry)]
    pub(crate) retry: Option<Retry>,
}

impl Delivery {
    pub(crate) fn backoff(&self) -> Option<Backoff> {
        self.retry.as_ref().map(|retry| {
            Backoff::exponential(retry.min..=retry.max)
                .factor_percent(retry.factor_percent)
                .jitter_percent(retry.jitter_percent)
        })
    }

    /// As settings, to be compared.
    pub(crate) fn wanted(&self) -> Wanted {
        let ms = |duration: Duration| shown::setting_ms(millis(duration));
        let mut wanted = Wanted::default();
        wanted.add("max_attempts", self.max_attempts.map(|n| n.to_string()));
        wanted.add("lease", self.lease.map(ms));
        wanted.limit("max_hold", self.max_hold.map(millis), shown::setting_ms);
        let retry = self.retry.as_ref();
        wanted.add("retry_min", retry.map(|retry| ms(retry.min)));
        wanted.add("retry_max", retry.map(|retry| ms(retry.max)));
        wanted.add("retry_factor", retry.map(|retry| shown_factor(retry.factor_percent)));
        wanted.add("retry_jitter", retry.map(|retry| shown_jitter(retry.jitter_percent)));
        wanted
    }
}

/// Settings that were asked for by flag, as they are shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted(Vec<(&'static str, String)>);

impl Wanted {
    pub(crate) fn add(&mut self, name: &'static str, value: Option<String>) {
        self.0.extend(value.map(|value| (name, value)));
    }

    /// A limit, where 0 takes it away.
    pub(crate) fn limit(
        &mut self,
        name: &'static str,
        value: Option<u64>,
        shown: fn(u64) -> String,
    ) {
        self.add(name, value.map(|n| if n == 0 { NONE.to_owned() } else { shown(n) }));
    }

    /// What differs from the settings in force.
    pub(crate) fn changes(&self, now: &Settings) -> Vec<Change> {
        let now = shown_settings(now);
        let mut changes = Vec::new();
        for (name, to) in &self.0 {
            let from = now.iter().find(|(known, _)| known == name);
            let from = from.map_or_else(|| NONE.to_owned(), |(_, value)| value.clone());
            if from != *to {
                changes.push(Change { name, from, to: to.clone() });
            }
        }
        changes
    }
}

/// How a limit that is not there is shown.
const NONE: &str = "none";

fn shown_factor(percent: u32) -> String {
    (f64::from(percent) / 100.0).to_string()
}

fn shown_jitter(percent: u32) -> String {
    format!("{percent}%")
}

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    name: &'static str,
    from: String,
    to: String,
}

impl Change {
    pub(crate) fn text(&self) -> String {
        format!("{}: {} -> {}", self.name, self.from, self.to)
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "setting": self.name, "from": self.from, "to": self.to })
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// All settings that are in force, in the notation of the flags.
pub(crate) fn shown_settings(settings: &Settings) -> Vec<(&'static str, String)> {
    let ms = |duration: Duration| shown::setting_ms(millis(duration));
    let all = [
        ("max_attempts", settings.max_attempts.map(|n| n.to_string())),
        ("lease", settings.lease.map(ms)),
        ("max_hold", settings.max_hold.map(ms)),
        ("retry_min", settings.retry_min.map(ms)),
        ("retry_max", settings.retry_max.map(ms)),
        ("retry_factor", settings.retry_factor_percent.map(shown_factor)),
        ("retry_jitter", settings.retry_jitter_percent.map(shown_jitter)),
        ("retain", settings.retain_for.map(ms)),
        ("retain_bytes", settings.retain_bytes.map(|n| n.to_string())),
        ("max_messages", settings.max_messages.map(|n| n.to_string())),
        ("id_window", settings.id_window.map(ms)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Settings for programs: milliseconds, bytes and counts; absent means no limit.
pub(crate) fn json_settings(settings: &Settings) -> Value {
    json!({
        "max_attempts": settings.max_attempts,
        "lease_ms": settings.lease.map(millis),
        "max_hold_ms": settings.max_hold.map(millis),
        "retry_min_ms": settings.retry_min.map(millis),
        "retry_max_ms": settings.retry_max.map(millis),
        "retry_factor_percent": settings.retry_factor_percent,
        "retry_jitter_percent": settings.retry_jitter_percent,
        "retain_ms": settings.retain_for.map(millis),
        "retain_bytes": settings.retain_bytes,
        "max_messages": settings.max_messages,
        "id_window_ms": settings.id_window.map(millis),
    })
}

/// Rows of a description: one fact a line.
pub(crate) fn fact(name: &str, value: Cell) -> Vec<Cell> {
    vec![Cell::text(name), value]
}
