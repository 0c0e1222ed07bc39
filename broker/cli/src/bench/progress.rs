//! The moving line on stderr while a benchmark runs.
//!
//! A task of its own samples the counters four times a second; the load never draws. It is off when
//! stderr is not a terminal, so that logs stay clean and measured runs undisturbed.

use crate::bench::counters::Counters;
use crate::context::Context;
use crate::shown;
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

const SAMPLES_PER_SECOND: u32 = 4;

/// Draws until dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    task: Option<JoinHandle<()>>,
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn start(context: &Context, counters: &Arc<Counters>) -> Self {
        if !context.draws_progress() {
            return Self { task: None, bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>4}  {msg}") {
            bar.set_style(style);
        }
        let task = tokio::spawn(draw(bar.clone(), Arc::clone(counters)));
        Self { task: Some(task), bar }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.bar.finish_and_clear();
    }
}

async fn draw(bar: ProgressBar, counters: Arc<Counters>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / SAMPLES_PER_SECOND);
    let mut last = counters.sample();
    loop {
        tick.tick().await;
        let now = counters.sample();
        let millis = (now.at - last.at).as_millis().max(1);
        let rate = |from: u64, to: u64| {
            shown::number(u64::try_from(u128::from(to - from) * 1_000 / millis).unwrap_or(u64::MAX))
        };
        let phase = if counters.is_measuring() { "" } else { "warming up: " };
        bar.set_message(format!(
            "{phase}{} confirmed/s  {} received/s  {} confirmed",
            rate(last.confirmed, now.confirmed),
            rate(last.received, now.received),
            shown::number(now.confirmed),
        ));
        last = now;
    }
}
