//! The whole comparison: which peers, in which order, for how long, and what is written down. Peers
//! take turns (A B A B), so that a machine that grows slower does so for all of them. What has been
//! measured is written after every visit.

use crate::args::{Compare, Page};
use crate::cell::{self, Times, Workload};
use crate::counters::Latencies;
use crate::machine::{self, Machine};
use crate::peer::{Facts, Mode, Peer};
use crate::peers::{Any, each};
use crate::record::{Merged, Quantiles, Run, Sample};
use crate::{backlog, calm, limits, table, visit};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Cells of a peer, for the budget.
const CELLS_ABOUT: usize = 15;
/// A round more than the budget allows is worse than a little over it.
const BUDGET_SLACK: f64 = 1.1;

pub(crate) async fn run(args: &Compare) -> Result<()> {
    let (peers, skipped) = crate::peers::chosen(args)?;
    for why in &skipped {
        println!("SKIPPED {why}");
    }
    if peers.is_empty() {
        bail!("no peer is left to measure");
    }
    let times = times(args, peers.len());
    let rounds = if args.quick { 1 } else { args.repeat.max(1) };
    let scratch = args.scratch.join(format!("posthaste-peers-{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    let mut log = Log::new(args, times, rounds, &scratch, skipped);
    log.run.peers = peers.iter().map(|peer| each!(peer, peer => facts(peer))).collect();
    let mut terminate = signal(SignalKind::terminate())?;
    let done = tokio::select! {
        done = rounds_of(args, &peers, times, rounds, &scratch, &mut log) => done,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    // Brokers have ended: those that a failure left were killed when they were dropped.
    drop(fs::remove_dir_all(&scratch));
    log.write()?;
    println!("results: {}.json .md .html .svg", log.to.display());
    done
}

fn facts<P: Peer>(peer: &P) -> Facts {
    peer.facts()
}

fn times(args: &Compare, peers: usize) -> Times {
    let seconds = if args.quick { Some(1.0) } else { args.seconds };
    let wants_backlog = args.workload.is_empty() || args.workload.contains(&Workload::Backlog);
    if let Some(seconds) = seconds {
        let (warm_up, window) = (seconds * 0.25, seconds * 0.75);
        let [warm_up, window, fill] = [warm_up, window, seconds].map(Duration::from_secs_f64);
        return Times { warm_up, window, fill };
    }
    let cells = if args.workload.is_empty() {
        CELLS_ABOUT
    } else {
        cell::plan(&args.workload, true, Mode::Batched, Mode::Batched).len()
    };
    let backlogs = if wants_backlog { args.backlog_repeat.min(args.repeat) } else { 0 };
    let budget = Duration::from_secs_f64(args.budget * 60.0);
    cell::fit(budget, peers * args.repeat, cells, peers * backlogs)
}

async fn rounds_of(
    args: &Compare,
    peers: &[Any],
    times: Times,
    rounds: usize,
    scratch: &Path,
    log: &mut Log,
) -> Result<()> {
    let is_only_backlog = args.workload == [Workload::Backlog];
    let wants_backlog = args.workload.is_empty() || args.workload.contains(&Workload::Backlog);
    let begun = Instant::now();
    let budget = (args.seconds.is_none() && !args.quick).then_some(args.budget);
    for round in 1..=rounds {
        if let Some(why) = out_of_budget(budget, round, begun.elapsed()) {
            println!("SKIPPED {why}");
            log.run.skipped.push(why);
            break;
        }
        calm::wait(scratch)?;
        log.run.limits.push(limits::measure(scratch)?);
        for peer in peers {
            println!("round {round} of {rounds}, {:.0} s", begun.elapsed().as_secs_f64());
            let dir = scratch.join("broker");
            // A visit that was broken off may have left something.
            drop(fs::remove_dir_all(&dir));
            if !is_only_backlog {
                let ran =
                    each!(peer, peer => visit::run(peer, &dir, &args.workload, times, round).await);
                log.take(ran, round);
            }
            if wants_backlog && round <= args.backlog_repeat.max(1) {
                drop(fs::remove_dir_all(&dir));
                let ran = each!(peer, peer => backlog::run(peer, &dir, times, round).await);
                log.take(ran.map(|outcome| vec![outcome]), round);
            }
            log.write()?;
        }
    }
    Ok(())
}

/// Why another round does not fit into a budget of minutes, judged by those that are done.
fn out_of_budget(budget: Option<f64>, round: usize, elapsed: Duration) -> Option<String> {
    let (budget, done) = (budget?, round - 1);
    let each = elapsed.checked_div(u32::try_from(done).ok()?)?;
    let is_over = (elapsed + each).as_secs_f64() > budget * 60.0 * BUDGET_SLACK;
    let took = elapsed.as_secs_f64() / 60.0;
    is_over.then(|| format!("round {round} and later: {done} took {took:.1} of {budget} minutes"))
}

/// What was measured so far.
struct Log {
    run: Run,
    /// Its name means nothing to a reader of the results.
    scratch: String,
    /// Of all repeats of a cell together.
    latencies: Vec<(Sample, Latencies)>,
    to: PathBuf,
}

impl Log {
    fn new(
        args: &Compare,
        times: Times,
        rounds: usize,
        scratch: &Path,
        skipped: Vec<String>,
    ) -> Self {
        let run = Run {
            begun: machine::now(),
            commit: machine::commit(),
            command: said(std::env::args().skip(1)),
            machine: Machine::this(scratch),
            repeat: rounds,
            warm_up_seconds: times.warm_up.as_secs_f64(),
            window_seconds: times.window.as_secs_f64(),
            fill_seconds: times.fill.as_secs_f64(),
            peers: Vec::new(),
            skipped,
            limits: Vec::new(),
            samples: Vec::new(),
            latencies: Vec::new(),
        };
        let scratch = scratch.to_string_lossy().into_owned();
        Self { run, scratch, latencies: Vec::new(), to: args.results.join(&args.name) }
    }

    fn take(&mut self, ran: Result<Vec<visit::Outcome>>, round: usize) {
        let outcomes = match ran {
            Ok(outcomes) => outcomes,
            Err(error) => {
                println!("  FAILED in round {round}: {error:#}");
                let why = format!("round {round}: {error:#}").replace(&self.scratch, "SCRATCH");
                self.run.skipped.push(why);
                return;
            }
        };
        for (mut sample, latency) in outcomes {
            if let Some(failure) = &mut sample.failure {
                *failure = failure.replace(&self.scratch, "SCRATCH");
            }
            if sample.workload.is_some_and(Workload::is_open_loop) && latency.count() > 0 {
                self.merge(&sample, &latency);
            }
            self.run.samples.push(sample);
        }
    }

    fn merge(&mut self, sample: &Sample, latency: &Latencies) {
        let is_same = |known: &Sample| {
            known.peer == sample.peer
                && known.workload == sample.workload
                && known.size == sample.size
        };
        match self.latencies.iter_mut().find(|(known, _)| is_same(known)) {
            Some((_, all)) => all.merge(latency),
            None => self.latencies.push((sample.clone(), latency.clone())),
        }
    }

    fn write(&mut self) -> Result<()> {
        let merged = self.latencies.iter().filter_map(|(sample, all)| {
            Some(Merged {
                peer: sample.peer.clone(),
                workload: sample.workload?,
                size: sample.size,
                quantiles: Quantiles::of(all)?,
                curve: all.curve(),
            })
        });
        self.run.latencies = merged.collect();
        write(&self.run, &self.to)
    }
}

/// The command as the script takes it: options that name places on this machine are left out.
fn said(words: impl Iterator<Item = String>) -> String {
    const PLACES: [&str; 7] =
        ["--posthaste", "--redis", "--nats", "--kafka", "--iggy", "--scratch", "--results"];
    let mut said = vec!["benches/peers/run".to_owned()];
    let mut is_place = false;
    for word in words.skip(1) {
        let name = word.split('=').next().unwrap_or_default();
        if PLACES.contains(&name) {
            is_place = !word.contains('=');
        } else if !std::mem::take(&mut is_place) {
            said.push(word);
        }
    }
    said.join(" ")
}

fn write(run: &Run, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to.with_extension("json"), serde_json::to_string_pretty(run)? + "\n")?;
    fs::write(to.with_extension("md"), table::document(run))?;
    fs::write(to.with_extension("html"), crate::page::html(run))?;
    fs::write(to.with_extension("svg"), crate::page::image(run))?;
    Ok(())
}

/// Tables and a page from JSON files.
pub(crate) fn page(args: &Page) -> Result<()> {
    let mut all: Option<Run> = None;
    for file in &args.files {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let run: Run = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        match &mut all {
            None => all = Some(run),
            Some(all) => join(all, run),
        }
    }
    write(&all.context("no file was given")?, &args.to)
}

/// Adds the samples of another run; facts of a peer are those of the first.
fn join(all: &mut Run, other: Run) {
    let known = |name: &str, peers: &[Facts]| peers.iter().any(|facts| facts.name == name);
    for facts in other.peers {
        if !known(&facts.name, &all.peers) {
            all.peers.push(facts);
        }
    }
    all.command = format!("{}; {}", all.command, other.command);
    all.skipped.extend(other.skipped);
    all.samples.extend(other.samples);
    all.latencies.extend(other.latencies);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_runs_keep_each_peer_once_and_all_samples() {
        let (mut all, other) = (crate::stats::tests::run(), crate::stats::tests::run());
        let samples = all.samples.len();
        join(&mut all, other);
        assert_eq!(all.peers.len(), 2);
        assert_eq!(all.samples.len(), 2 * samples);
    }

    #[test]
    fn a_round_that_would_break_the_budget_is_not_begun() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert_eq!(out_of_budget(Some(25.0), 1, Duration::ZERO), None);
        assert_eq!(out_of_budget(Some(25.0), 5, minutes(20)), None);
        assert_eq!(out_of_budget(None, 3, minutes(99)), None);
        let why = out_of_budget(Some(25.0), 4, minutes(24));
        assert_eq!(why.as_deref(), Some("round 4 and later: 3 took 24.0 of 25 minutes"));
    }

    #[test]
    fn a_command_names_no_place_of_one_machine() {
        let words = ["compare", "--posthaste", "/x/posthaste", "--quick", "--scratch=/y", "--only"];
        let words = words.into_iter().chain(["redis"]).map(str::to_owned);
        assert_eq!(said(words), "benches/peers/run --quick --only redis");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let run = crate::stats::tests::run();
        let text = serde_json::to_string(&run).expect("it is plain data");
        let read: Run = serde_json::from_str(&text).expect("it was written by us");
        assert_eq!(table::document(&read), table::document(&run));
    }
}
