//! Costs that grow: Posthaste alone, each load at ever larger counts, to see what a curve looks like.
//! All points are gone through, then all again, so that a machine that grows slower does so for all.
//! What has been measured is written after every point.

mod bench;
mod curve;
mod lines;
mod page;
mod record;
mod table;
mod visit;
mod words;

pub(crate) use curve::Curve;

use crate::args::Growth as Args;
use crate::machine::{self, Machine};
use crate::peer::Peer;
use crate::peers::posthaste::Posthaste;
use anyhow::{Context, Result};
use bench::Times;
use curve::{CURVES, plan};
use record::{Figure, Growth, Sample};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use visit::Bed;

/// Of a smoke run.
const QUICK_SECONDS: f64 = 0.5;
/// Warm-up beside each second that is measured.
const WARM_UP: f64 = 0.25;

pub(crate) async fn run(args: &Args) -> Result<()> {
    let to = args.results.join(&args.name);
    if !args.again.is_empty() {
        return write(&read(&args.again)?, &to);
    }
    let peer = Posthaste::new(&args.posthaste)?;
    let program = crate::peers::program(&args.posthaste)?;
    let scratch = args.scratch.join(format!("posthaste-growth-{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    let scratch = scratch.canonicalize()?;
    let (seconds, rounds) = length(args);
    let [warm_up, window] = [seconds * WARM_UP, seconds].map(Duration::from_secs_f64);
    let facts = peer.facts();
    let mut growth = Growth {
        begun: machine::now(),
        commit: machine::commit(),
        command: said(args),
        version: facts.version,
        broker: facts.commands.join("; "),
        machine: Machine::this(&scratch),
        repeat: rounds,
        warm_up_seconds: warm_up.as_secs_f64(),
        seconds,
        skipped: Vec::new(),
        samples: Vec::new(),
    };
    let bed = Bed { peer, program, dir: scratch.join("broker"), times: Times { warm_up, window } };
    let mut terminate = signal(SignalKind::terminate())?;
    let done = tokio::select! {
        done = rounds_of(args, &bed, rounds, &to, &mut growth) => done,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    // Brokers have ended: those that a failure left were killed when they were dropped.
    drop(fs::remove_dir_all(&scratch));
    write(&growth, &to)?;
    println!("results: {}.json .md .html", to.display());
    done
}

/// Seconds of a window, and rounds.
fn length(args: &Args) -> (f64, usize) {
    let (seconds, rounds) = if args.quick { (QUICK_SECONDS, 1) } else { (3.0, 3) };
    (args.seconds.unwrap_or(seconds), args.repeat.unwrap_or(rounds).max(1))
}

async fn rounds_of(
    args: &Args,
    bed: &Bed,
    rounds: usize,
    to: &Path,
    growth: &mut Growth,
) -> Result<()> {
    let begun = Instant::now();
    let scratch = bed.dir.parent().unwrap_or(&bed.dir);
    let spots = plan(&args.only, args.quick);
    if args.quick && spots.iter().any(|spot| spot.curve == Curve::Backlog) {
        growth.skipped.push("backlogs above 1 M: a quick run stores no more".into());
    }
    for round in 1..=rounds {
        for spot in &spots {
            if let Some(why) = visit::no_room(*spot, scratch)? {
                println!("SKIPPED {why}");
                growth.skipped.push(format!("round {round}, {why}"));
                continue;
            }
            for mut sample in visit::run(bed, *spot, round).await {
                let hide = |text: String| text.replace(&*scratch.to_string_lossy(), "SCRATCH");
                sample.failure = sample.failure.map(hide);
                let elapsed = begun.elapsed().as_secs_f64();
                println!("{elapsed:>6.0} s  round {round} of {rounds}  {}", shown(&sample));
                growth.samples.push(sample);
            }
            write(growth, to)?;
        }
    }
    Ok(())
}

/// One line of progress.
fn shown(sample: &Sample) -> String {
    let head =
        format!("{:<12} {:<11} {:<32}", words::title(sample.curve), sample.x, sample.load.name());
    if let Some(failure) = &sample.failure {
        return format!("{head} FAILED: {failure}");
    }
    let figure = |figure: &Figure, value: &f64| {
        format!("{} {}", crate::table::figure(*value), figure.title())
    };
    let figures: Vec<String> = sample.figures.iter().map(|(f, value)| figure(f, value)).collect();
    let note = sample.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
    format!("{head} {}{note}", figures.join(", "))
}

/// The command as the script takes it, without what names places on this machine.
fn said(args: &Args) -> String {
    let mut said = vec!["benches/growth".to_owned()];
    if args.quick {
        said.push("--quick".into());
    }
    if !args.only.is_empty() {
        let wanted = CURVES.iter().filter(|curve| args.only.contains(curve));
        let names: Vec<String> = wanted.map(|c| words::title(*c).to_lowercase()).collect();
        said.push(format!("--only {}", names.join(",")));
    }
    said.extend(args.seconds.map(|seconds| format!("--seconds {seconds}")));
    said.extend(args.repeat.map(|repeat| format!("--repeat {repeat}")));
    said.join(" ")
}

fn read(files: &[std::path::PathBuf]) -> Result<Growth> {
    let mut all: Option<Growth> = None;
    for file in files {
        let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let one: Growth =
            serde_json::from_str(&text).with_context(|| file.display().to_string())?;
        all = Some(match all {
            None => one,
            Some(all) => record::join(all, one),
        });
    }
    all.context("no file was given")
}

fn write(growth: &Growth, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to.with_extension("json"), serde_json::to_string_pretty(growth)? + "\n")?;
    fs::write(to.with_extension("md"), table::document(growth))?;
    fs::write(to.with_extension("html"), page::html(growth))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(words: &[&str]) -> Args {
        let words = [&["peers", "growth"], words].concat();
        match crate::args::Args::parse_from(words).command {
            crate::args::Command::Growth(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_names_no_place_of_one_machine() {
        let args = args(&["--posthaste", "/x/posthaste", "--quick", "--only", "size,queues"]);
        assert_eq!(said(&args), "benches/growth --quick --only queues,size");
    }

    #[test]
    fn a_quick_run_is_one_round_of_half_seconds_unless_told_otherwise() {
        assert_eq!(length(&args(&["--quick"])), (0.5, 1));
        assert_eq!(length(&args(&["--quick", "--repeat", "2"])), (0.5, 2));
        assert_eq!(length(&args(&["--seconds", "5"])), (5.0, 3));
    }

    #[test]
    fn a_failure_is_said_in_the_line_of_progress() {
        let growth = record::tests::growth();
        assert!(shown(&growth.samples[3]).contains("FAILED: it <broke>"));
        assert!(shown(&growth.samples[0]).contains("100 msg/s"));
    }
}
