//! One point: a fresh broker, what is there at this point, the load, and its end.

use super::bench::{Call, Times};
use super::curve::{Curve, Load, Spot};
use super::record::{Figure, Figures, Sample};
use crate::peer::{Mode, Peer, Scene};
use crate::peers::posthaste::{Posthaste, URL};
use crate::server::Server;
use crate::visit::{mb, start};
use anyhow::{Context, Result, ensure};
use posthaste::Client;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between what was done and looking at the memory of a broker.
const SETTLE: Duration = Duration::from_millis(500);
/// A broker that took longer to end was killed.
const STOP_MAX: Duration = Duration::from_secs(30);
/// The queue with a backlog; the scene of one queue adds its number.
const BACKLOG: &str = "backlog";
/// So many are enough to tell what one of them takes.
const MANY: u64 = 100;
/// Free space for each byte that is stored beforehand.
const ROOM_FOR_EACH_BYTE: u64 = 3;

/// Where and how points are measured.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) peer: Posthaste,
    pub(crate) program: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) times: Times,
}

/// Measures a point; what failed is a sample too.
pub(crate) async fn run(bed: &Bed, spot: Spot, repeat: usize) -> Vec<Sample> {
    // Something may be left of a point that was broken off.
    drop(fs::remove_dir_all(&bed.dir));
    let sample = |load, command, outcome: Result<(Figures, Option<String>)>| {
        let Spot { curve, x, .. } = spot;
        let (figures, note, failure) = match outcome {
            Ok((figures, note)) => (figures, note, None),
            Err(error) => (Figures::new(), None, Some(format!("{error:#}"))),
        };
        Sample { curve, load, x, repeat, command, figures, note, failure }
    };
    let call = |load, dest| Call::at(Spot { load, ..spot }, bed.times, dest);
    let samples = match spot.load {
        Load::Idle => vec![sample(Load::Idle, None, idle(bed, spot.x).await)],
        Load::Declared => vec![sample(Load::Declared, None, declared(bed, spot.x).await)],
        Load::OtherQueue | Load::SameQueue => {
            let queue = backlog(spot).queue(0);
            let (other, same) = (call(Load::OtherQueue, None), call(Load::SameQueue, Some(&queue)));
            let shown = [&other, &same].map(|call| Some(call.shown(&bed.program)));
            let (first, second) = match stored(bed, spot, &other, &same).await {
                Ok((first, second)) => (Ok(first), second),
                Err(error) => (Err(error), Err(anyhow::anyhow!("the backlog was not stored"))),
            };
            let [shown_other, shown_same] = shown;
            let other = sample(Load::OtherQueue, shown_other, first);
            vec![other, sample(Load::SameQueue, shown_same, second)]
        }
        Load::Publish | Load::EndToEnd | Load::FanOut => {
            let call = call(spot.load, None);
            let shown = Some(call.shown(&bed.program));
            vec![sample(spot.load, shown, loaded(bed, &call).await)]
        }
    };
    drop(fs::remove_dir_all(&bed.dir));
    samples
}

type Outcome = (Figures, Option<String>);

async fn begin(bed: &Bed) -> Result<(Server, Duration)> {
    start(&bed.peer, &bed.dir).await
}

async fn loaded(bed: &Bed, call: &Call) -> Result<Outcome> {
    let (mut server, _) = begin(bed).await?;
    let said = call.run(&bed.program, &mut server).await?;
    stop(server)?;
    Ok((said.figures, said.note))
}

async fn idle(bed: &Bed, count: u64) -> Result<Outcome> {
    let (server, _) = begin(bed).await?;
    let before = resident(&server).await;
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Client::connect(URL).await.context("connecting")?);
    }
    let after = resident(&server).await;
    for client in clients {
        client.close().await?;
    }
    stop(server)?;
    let mut figures = Figures::from([(Figure::ResidentMb, mb(after))]);
    figures.extend(each(before, after, count));
    Ok((figures, None))
}

async fn declared(bed: &Bed, count: u64) -> Result<Outcome> {
    let (server, _) = begin(bed).await?;
    let before = resident(&server).await;
    let begun = Instant::now();
    bed.peer.declare(&scene("queue", usize::try_from(count)?, 0)).await?;
    let took = begun.elapsed();
    let after = resident(&server).await;
    let mut figures = Figures::from([
        (Figure::ResidentMb, mb(after)),
        (Figure::DeclaredPerSecond, per_second(count, took)),
    ]);
    figures.extend(each(before, after, count));
    let server = restart(bed, server, &mut figures).await?;
    stop(server)?;
    Ok((figures, None))
}

/// Fills a queue, loads another, starts the broker again, loads the first. What fails before the first
/// load is a failure of both, what fails later is one of the second.
async fn stored(
    bed: &Bed,
    spot: Spot,
    other: &Call,
    same: &Call,
) -> Result<(Outcome, Result<Outcome>)> {
    let (mut server, _) = begin(bed).await?;
    let size = spot.curve.size(spot.x);
    let scene = backlog(spot);
    bed.peer.declare(&scene).await?;
    let mut figures = Figures::new();
    let before = resident(&server).await;
    if spot.x > 0 {
        let fill = Call::fill(&scene.queue(0), spot.x, size);
        let filled = fill.run(&bed.program, &mut server).await.context("filling")?;
        ensure!(filled.confirmed == spot.x, "{} of {} are stored", filled.confirmed, spot.x);
        let rate = filled.figures.get(&Figure::MessagesPerSecond);
        figures.extend(rate.map(|rate| (Figure::FilledPerSecond, *rate)));
    }
    let after = resident(&server).await;
    figures.insert(Figure::ResidentMb, mb(after));
    figures.extend(each(before, after, spot.x));
    let said = other.run(&bed.program, &mut server).await?;
    figures.extend(said.figures);
    Ok(((figures, said.note), after_restart(bed, server, same).await))
}

async fn after_restart(bed: &Bed, server: Server, same: &Call) -> Result<Outcome> {
    let mut figures = Figures::new();
    let mut server = restart(bed, server, &mut figures).await?;
    let said = same.run(&bed.program, &mut server).await?;
    stop(server)?;
    figures.extend(said.figures);
    Ok((figures, said.note))
}

/// Stops it in order and starts it again on the same data.
async fn restart(bed: &Bed, server: Server, figures: &mut Figures) -> Result<Server> {
    figures.insert(Figure::StopSeconds, stop(server)?.as_secs_f64());
    let (server, took) = begin(bed).await.context("starting again")?;
    figures.insert(Figure::RestartSeconds, took.as_secs_f64());
    figures.insert(Figure::RestartedMb, mb(resident(&server).await));
    Ok(server)
}

fn stop(server: Server) -> Result<Duration> {
    let begun = Instant::now();
    server.stop()?;
    let took = begun.elapsed();
    ensure!(took < STOP_MAX, "it did not stop within {STOP_MAX:?} and was killed");
    Ok(took)
}

async fn resident(server: &Server) -> u64 {
    tokio::time::sleep(SETTLE).await;
    server.tree().usage().resident_bytes
}

fn backlog(spot: Spot) -> Scene {
    scene(BACKLOG, 1, spot.curve.size(spot.x))
}

fn scene(name: &str, queues: usize, size: usize) -> Scene {
    let (name, mode) = (name.to_owned(), Mode::Batched);
    Scene { name, queues, groups: 0, consumers: 1, size, mode, at_once: false, alone: false }
}

/// The memory of one of many; a few say more of what is there only once.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn each(before: u64, after: u64, count: u64) -> Option<(Figure, f64)> {
    let each = after.saturating_sub(before) as f64 / count as f64;
    (count >= MANY).then_some((Figure::BytesEach, each))
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(1e-9)
}

/// Why there is no room for the point; what is free is asked of the file system.
pub(crate) fn no_room(spot: Spot, dir: &Path) -> Result<Option<String>> {
    let disk = rustix::fs::statvfs(dir).with_context(|| dir.display().to_string())?;
    Ok(lacks(spot, disk.f_bavail.saturating_mul(disk.f_frsize)))
}

fn lacks(spot: Spot, free: u64) -> Option<String> {
    if spot.curve != Curve::Backlog {
        return None;
    }
    let wanted = spot.x * spot.curve.size(spot.x) as u64 * ROOM_FOR_EACH_BYTE;
    let gigabytes = |bytes| mb(bytes) / 1e3;
    (free < wanted).then(|| {
        format!(
            "backlog of {}: it wants {:.1} GB of free disk, there are {:.1} GB",
            spot.x,
            gigabytes(wanted),
            gigabytes(free)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_million_messages_want_fifteen_gigabytes() {
        let spot = |curve, x| Spot { curve, load: Load::OtherQueue, x };
        assert_eq!(lacks(spot(Curve::Backlog, 50_000_000), 15_000_000_000), None);
        let why = lacks(spot(Curve::Backlog, 50_000_000), 14_000_000_000).unwrap_or_default();
        assert!(why.contains("15.0 GB of free disk, there are 14.0 GB"), "{why}");
        assert_eq!(lacks(spot(Curve::Backlog, 0), 0), None);
        assert_eq!(lacks(spot(Curve::Size, 1 << 20), 0), None);
    }

    #[test]
    fn memory_of_one_is_told_of_many_and_is_none_where_it_shrinks() {
        assert_eq!(each(500, 100_500, 1_000), Some((Figure::BytesEach, 100.0)));
        assert_eq!(each(100, 50, 1_000), Some((Figure::BytesEach, 0.0)));
        assert_eq!(each(100, 500, 1), None);
        assert!((per_second(100, Duration::from_secs(2)) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_scene_of_one_queue_has_the_name_that_is_filled() {
        let spot = Spot { curve: Curve::Backlog, load: Load::OtherQueue, x: 5 };
        assert_eq!(backlog(spot).queue(0), "backlog-0");
    }
}
