//! The command line.

use crate::cell::Workload;
use crate::growth::Curve;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Measures Posthaste and other brokers side by side on this machine.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Starts each broker in turn, measures it, and writes JSON, tables and a page.
    Compare(Box<Compare>),
    /// Measures Posthaste alone with ever more of something, and writes JSON, tables and a page.
    Growth(Box<Growth>),
    /// Makes tables and a page from JSON files of earlier runs.
    Page(Page),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// Peers to measure, by name or by the beginning of it, as redis,posthaste; all by default.
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Workloads to run; all by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) workload: Vec<Workload>,
    /// How often the whole round of peers is gone through.
    #[arg(long, default_value_t = 5)]
    pub(crate) repeat: usize,
    /// Rounds that contain the backlog; it is the longest of all cells.
    #[arg(long, default_value_t = 3)]
    pub(crate) backlog_repeat: usize,
    /// Minutes that the whole comparison may take; the length of a cell follows from it.
    #[arg(long, default_value_t = 25.0)]
    pub(crate) budget: f64,
    /// Seconds of a cell, warm-up included, instead of a budget.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Smoke run: one round, a second per cell.
    #[arg(long)]
    pub(crate) quick: bool,
    #[arg(long, default_value = "posthaste")]
    pub(crate) posthaste: PathBuf,
    #[arg(long, default_value = "redis-server")]
    pub(crate) redis: PathBuf,
    #[arg(long, default_value = "nats-server")]
    pub(crate) nats: PathBuf,
    /// Folder of an unpacked Kafka distribution; skipped without it.
    #[arg(long)]
    pub(crate) kafka: Option<PathBuf>,
    /// Folder with an `iggy-server`; skipped without it.
    #[arg(long)]
    pub(crate) iggy: Option<PathBuf>,
    /// Where brokers keep their data while they are measured; a folder in there is made and removed.
    #[arg(long, default_value = "/tmp")]
    pub(crate) scratch: PathBuf,
    /// Where the results go.
    #[arg(long, default_value = "benches/results")]
    pub(crate) results: PathBuf,
    /// Name of the result files.
    #[arg(long, default_value = "peers")]
    pub(crate) name: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Page {
    /// JSON files; more than one are shown as one run.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where the page and the tables go, without extension.
    #[arg(long, default_value = "benches/results/peers")]
    pub(crate) to: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Growth {
    /// Curves to measure, as connections,size; all by default.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) only: Vec<Curve>,
    /// How often all points are gone through; 3 by default, 1 with --quick.
    #[arg(long)]
    pub(crate) repeat: Option<usize>,
    /// Seconds that are measured at a point, after a quarter of that as warm-up; 3 by default.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Smoke run: few points, half a second each, no backlog above a million.
    #[arg(long)]
    pub(crate) quick: bool,
    #[arg(long, default_value = "posthaste")]
    pub(crate) posthaste: PathBuf,
    /// Where brokers keep their data while they are measured; a folder in there is made and removed.
    #[arg(long, default_value = "/tmp")]
    pub(crate) scratch: PathBuf,
    /// Where the results go.
    #[arg(long, default_value = "benches/results")]
    pub(crate) results: PathBuf,
    /// Name of the result files.
    #[arg(long, default_value = "growth")]
    pub(crate) name: String,
    /// Measure nothing: make tables and page again from JSON files. Of each curve, the last file that
    /// has it counts.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) again: Vec<PathBuf>,
}
