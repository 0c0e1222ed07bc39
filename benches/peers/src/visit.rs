//! Visits: one broker, started fresh in a scratch directory, some cells, and its end.

use crate::calm;
use crate::cell::{self, Cell, Times, Workload};
use crate::counters::Latencies;
use crate::load::{self, Load, Measured};
use crate::peer::{Mode, Peer, Scene};
use crate::record::Sample;
use crate::server::Server;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// LIMIT: RabbitMQ replays a large backlog for most of a minute.
const START_MAX: Duration = Duration::from_secs(120);
/// Between accepting and being called idle.
const SETTLE: Duration = Duration::from_millis(500);
/// Unmeasured load on a broker that compiles itself while it runs.
const WARMING: Duration = Duration::from_secs(3);
const LATENCY_RATE: u64 = 2_000;

/// A sample and the latencies that go with it.
pub(crate) type Outcome = (Sample, Latencies);

/// Starts a broker and waits until it accepts; tells how long that took.
pub(crate) async fn start<P: Peer>(peer: &P, dir: &Path) -> Result<(Server, Duration)> {
    fs::create_dir_all(dir)?;
    let beside = dir.parent().unwrap_or(dir);
    calm::wait(beside).with_context(|| beside.display().to_string())?;
    let launch = peer.launch(dir)?;
    if peer.reach().await.is_ok() {
        bail!("something answers at its port already; end that first");
    }
    let begun = Instant::now();
    let mut server = Server::start(&launch, dir)?;
    loop {
        match peer.reach().await {
            Ok(()) => return Ok((server, begun.elapsed())),
            Err(error) if begun.elapsed() > START_MAX => return Err(error),
            Err(_not_yet) => server.check()?,
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs the cells of one repeat on a fresh broker.
pub(crate) async fn run<P: Peer>(
    peer: &P,
    dir: &Path,
    wanted: &[Workload],
    times: Times,
    repeat: usize,
) -> Result<Vec<Outcome>> {
    let name = peer.facts().name;
    let mut outcomes = Vec::new();
    let (mut server, took) = start(peer, dir).await.with_context(|| name.clone())?;
    tokio::time::sleep(SETTLE).await;
    let sample = |workload, size, mode| Sample {
        peer: name.clone(),
        workload: Some(workload),
        size,
        mode,
        repeat,
        ..Sample::default()
    };
    let mut idle = sample(Workload::Start, 0, None);
    idle.start_seconds = Some(took.as_secs_f64());
    idle.resident_mb = mb(server.tree().usage().resident_bytes);
    outcomes.push((idle, Latencies::new()));
    if peer.warms_up() {
        let cell = Cell { workload: Workload::EndToEnd, size: 100, mode: peer.usual_mode() };
        let long = Times { window: WARMING, ..times };
        // What goes wrong here goes wrong again where it is measured.
        drop(run_cell(peer, &mut server, cell, long, 0.0).await);
    }
    let mut peak = 0.0;
    let (usual, many) = (peer.usual_mode(), peer.mode_for_many());
    for cell in cell::plan(wanted, peer.has_batches(), usual, many) {
        let blank = sample(cell.workload, cell.size, Some(cell.mode));
        let ran = run_cell(peer, &mut server, cell, times, peak).await;
        let (done, latency) = match ran {
            Ok((asked, measured)) => {
                let messages = counted(cell.workload, &measured);
                let done = blank.measured(&measured, messages);
                (Sample { asked_per_second: asked, ..done }, measured.latency)
            }
            Err(error) => {
                let failure = Some(format!("{error:#}"));
                (Sample { failure, ..blank }, Latencies::new())
            }
        };
        if cell.workload == Workload::EndToEnd && cell.size == 1_024 {
            peak = done.per_second;
        }
        say(&done);
        let has_ended = server.check().is_err();
        outcomes.push((done, latency));
        if has_ended {
            break;
        }
    }
    server.stop()?;
    fs::remove_dir_all(dir)?;
    Ok(outcomes)
}

async fn run_cell<P: Peer>(
    peer: &P,
    server: &mut Server,
    cell: Cell,
    times: Times,
    peak: f64,
) -> Result<(Option<u64>, Measured)> {
    let rate = match cell.workload {
        Workload::Latency => Some(LATENCY_RATE),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive")]
        Workload::LatencyHalf if peak >= 2.0 => Some((peak / 2.0) as u64),
        Workload::LatencyHalf => bail!("there is no end-to-end rate to take half of"),
        _ => None,
    };
    let scene = scene(cell.workload, cell.size, cell.mode);
    let load = Load { rate, warm_up: times.warm_up, window: times.window };
    Ok((rate, load::run(peer, server, &scene, load).await?))
}

pub(crate) fn scene(workload: Workload, size: usize, mode: Mode) -> Scene {
    let (consumers, groups, queues) = workload.shape();
    let kind = if mode == Mode::Single { "s" } else { "b" };
    let name = format!("w{}-{size}-{kind}", workload as u8);
    let at_once = workload.goes_at_once();
    let alone = workload == Workload::Alone;
    Scene { name, queues, groups, consumers, size, mode, at_once, alone }
}

/// What counts as done: confirmed, or for what has consumers what both sides kept up with.
fn counted(workload: Workload, measured: &Measured) -> u64 {
    match workload {
        Workload::Start | Workload::Publish | Workload::Alone | Workload::Queues => {
            measured.confirmed
        }
        Workload::FanOut => measured.received.min(measured.confirmed * 5),
        Workload::EndToEnd
        | Workload::WorkQueue
        | Workload::Latency
        | Workload::LatencyHalf
        | Workload::Backlog => measured.received.min(measured.confirmed),
    }
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
pub(crate) fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// One line of progress.
pub(crate) fn say(sample: &Sample) {
    let workload = sample.workload.map(|w| format!("{w:?}")).unwrap_or_default();
    let mode = sample.mode.map(|mode| format!("{mode:?}")).unwrap_or_default();
    let head = format!("  {:<16} {workload:<12} {:>6} B {mode:<8}", sample.peer, sample.size);
    if let Some(failure) = &sample.failure {
        println!("{head} FAILED: {failure}");
        return;
    }
    let latency = sample.latency.map(|latency| {
        format!("  p50 {:.2} ms p99 {:.2} ms", latency.p50 / 1e3, latency.p99 / 1e3)
    });
    let line = format!(
        "{head} {:>11.0} msg/s  broker {:>7.2} client {:>6.2} CPU s/M{}",
        sample.per_second,
        sample.broker_cpu_s_per_million,
        sample.client_cpu_s_per_million,
        latency.unwrap_or_default(),
    );
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_sides_kept_up_with_counts() {
        let measured = Measured {
            seconds: 1.0,
            confirmed: 100,
            received: 300,
            broker: crate::proc::Usage::default(),
            client_cpu_seconds: 0.0,
            other_cores: 0.0,
            flushes: 0,
            latency: Latencies::new(),
        };
        assert_eq!(counted(Workload::EndToEnd, &measured), 100);
        assert_eq!(counted(Workload::FanOut, &measured), 300);
        assert_eq!(counted(Workload::Publish, &measured), 100);
    }
}
