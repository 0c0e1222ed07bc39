//! `posthaste bench`: the load generator.
//!
//! Closed loop by default: as fast as confirms come back. With `--rate` the loop is open: messages
//! are due by the clock, and latencies count from the due time (see [`pace`]). Histograms are
//! merged, never averaged; a warm-up is left out and stated; every message of the run is accounted
//! for: sent, confirmed, received, received again.

mod body;
mod compare;
mod counters;
mod groups;
mod ladder;
mod pace;
mod page;
mod progress;
mod publishers;
mod receivers;
mod report;
mod run;
mod scene;
mod series;

use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::values;
use clap::{Args, Subcommand};
use series::Series;
use std::path::PathBuf;
use std::time::Duration;

/// Measures a broker: publishing, consuming, or both.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste bench pub --size 100 --for 5s\n  posthaste bench pub --size 100 --batch 1 --in-flight 1000\n  posthaste bench e2e --size 1KiB --rate 2000/s -o json\n  posthaste bench fanout --groups 5 --size 1KiB\n  posthaste bench consume --count 1M\n  posthaste bench ladder --p99 5ms\n  posthaste bench pub --repeat 5 -o json > a.json\n  posthaste bench compare a.json b.json", help_template = crate::args::TEMPLATE)]
pub(crate) struct Bench {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Publishes; latency is from sending to the confirm.
    Pub(Load),
    /// Consumes and acks what was published before.
    Consume(Load),
    /// Publishes, consumes and acks; latency is from sending to receiving.
    E2e(Load),
    /// Publishes to a topic and consumes in each of its groups; counts what was delivered.
    Fanout(Fanout),
    /// Looks for the highest rate at which the 99th percentile stays within a limit.
    Ladder(ladder::Ladder),
    /// Says whether two results differ by more than their noise.
    Compare(compare::Compare),
}

/// The load of a fan-out.
#[derive(Clone, Debug, Args)]
#[command(help_template = crate::args::TEMPLATE)]
struct Fanout {
    /// Groups of the topic; each gets every message.
    #[arg(long, value_name = "N", default_value = "5", value_parser = at_least_one, help_heading = "Load")]
    groups: usize,
    #[command(flatten)]
    load: Load,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Pub,
    Consume,
    E2e,
    Fanout,
}

impl What {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pub => "pub",
            Self::Consume => "consume",
            Self::E2e => "e2e",
            Self::Fanout => "fanout",
        }
    }

    /// Whether what is published is consumed while it is published.
    pub(crate) fn is_through(self) -> bool {
        matches!(self, Self::E2e | Self::Fanout)
    }
}

/// What a publish must mean before it counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Durability {
    /// On disk: fdatasync returned.
    #[default]
    Synced,
}

/// The load.
#[derive(Clone, Debug, Args)]
#[command(help_template = crate::args::TEMPLATE)]
pub(crate) struct Load {
    /// A queue that exists; without it the benchmark makes its own and removes them at the end.
    pub(crate) dest: Option<String>,
    /// Connections that publish.
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = "Load")]
    pub(crate) connections: usize,
    /// Consumers, each on a connection of its own.
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = "Load")]
    pub(crate) consumers: usize,
    /// Bytes of a message's body.
    #[arg(long, value_name = "SIZE", default_value = "100", value_parser = body_size, help_heading = "Load")]
    pub(crate) size: usize,
    /// Messages of a batch at most; 1 sends each message in a frame of its own.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = at_least_one, help_heading = "Load")]
    pub(crate) batch: usize,
    /// Messages of a connection that may be unconfirmed.
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Load")]
    pub(crate) in_flight: Option<usize>,
    /// How long a batch may wait for company; 0 in an open loop.
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "Load")]
    pub(crate) linger: Option<Duration>,
    /// Give each message an id of its own. Queues that the benchmark makes then have an id window of an hour.
    #[arg(long, help_heading = "Load")]
    pub(crate) ids: bool,
    /// Publish in atomic groups of so many messages, spread over the queues.
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with_all = ["rate", "ids", "dest"],
          help_heading = "Load")]
    pub(crate) atomic: Option<usize>,
    /// Queues to spread the messages over, one after the other.
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one,
          conflicts_with = "dest", help_heading = "Load")]
    pub(crate) queues: usize,
    /// Open loop: so many messages a second in all, as 2000/s or 50k/s.
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = "Load")]
    pub(crate) rate: Option<u64>,
    /// Measure for so long.
    #[arg(long = "for", value_name = "DURATION", value_parser = values::nonzero_duration,
          conflicts_with = "count", help_heading = "Length")]
    pub(crate) duration: Option<Duration>,
    /// Send (or consume) so many messages, all of them measured.
    #[arg(long, value_name = "N", value_parser = values::nonzero_count, help_heading = "Length")]
    pub(crate) count: Option<u64>,
    /// Run so long before measuring; not with --count.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = values::duration,
          help_heading = "Length")]
    pub(crate) warm_up: Duration,
    /// What a confirm means.
    #[arg(long, value_enum, default_value_t, help_heading = "Load")]
    pub(crate) durability: Durability,
    /// Run so often, one after another; the result is the median, with the smallest and the largest.
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one, help_heading = "Length")]
    pub(crate) repeat: usize,
    /// Also consume what was published, and fail if a confirmed message is missing. End to end always does.
    #[arg(long, help_heading = "Result")]
    pub(crate) verify: bool,
    /// Write the result as a page.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(crate) html: Option<PathBuf>,
    /// Consume what is in the given queue, although it is not of this benchmark.
    #[arg(short, long, help_heading = "Safety")]
    pub(crate) yes: bool,
}

/// LIMIT: connections, queues and messages under way that one process makes sense with.
const MANY: u64 = 10_000_000;

fn at_least_one(text: &str) -> Result<usize, String> {
    match values::count(text).map_err(|error| error.to_string())? {
        n @ 1..=MANY => usize::try_from(n).map_err(|error| error.to_string()),
        _ => Err(format!("must be 1 to {MANY}")),
    }
}

fn body_size(text: &str) -> Result<usize, String> {
    const MAX: u64 = 64 * 1024 * 1024;
    match values::size(text).map_err(|error| error.to_string())? {
        n @ 0..=MAX => usize::try_from(n).map_err(|error| error.to_string()),
        _ => Err("must be at most 64MiB".into()),
    }
}

const FOR: Duration = Duration::from_secs(5);

impl Load {
    /// `None`: a count decides.
    pub(crate) fn window(&self) -> Option<Duration> {
        match self.count {
            Some(_) => None,
            None => Some(self.duration.unwrap_or(FOR)),
        }
    }

    fn check_stamped(&self, what: What) -> Result<(), Failure> {
        if self.size >= body::STAMP_BYTES {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "bench {} needs --size {} or more: each message carries its number and time",
            what.name(),
            body::STAMP_BYTES
        )))
    }

    pub(crate) fn warm_up(&self) -> Duration {
        if self.count.is_some() { Duration::ZERO } else { self.warm_up }
    }

    /// Messages of a connection that may be unconfirmed.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.unwrap_or_else(|| (self.batch * 32).clamp(1_000, 100_000))
    }

    pub(crate) fn linger(&self) -> Duration {
        let open_loop = if self.rate.is_some() { Duration::ZERO } else { Duration::from_millis(1) };
        self.linger.unwrap_or(open_loop)
    }
}

pub(crate) async fn run(args: &Bench, context: &Context) -> Outcome {
    let (what, load, groups) = match &args.command {
        BenchCommand::Pub(load) => (What::Pub, load, 0),
        BenchCommand::Consume(load) => (What::Consume, load, 0),
        BenchCommand::E2e(load) => (What::E2e, load, 0),
        BenchCommand::Fanout(fanout) => (What::Fanout, &fanout.load, fanout.groups),
        BenchCommand::Ladder(ladder) => return ladder::climb(ladder, context).await,
        BenchCommand::Compare(files) => return compare::compare(files, context),
    };
    if what != What::Pub || load.verify {
        load.check_stamped(what)?;
    }
    let mut series = Series(Vec::new());
    for _ in 0..load.repeat {
        let report = run::run(what, load, groups, context).await?;
        report.print(context)?;
        series.0.push(report);
    }
    series.print(context)?;
    if let Some(path) = &load.html {
        std::fs::write(path, page::page(&series))
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?;
    }
    // A benchmark that loses confirmed messages has found something worse than slowness.
    Ok(if series.missing() > 0 { Exit::Failed } else { Exit::Done })
}
