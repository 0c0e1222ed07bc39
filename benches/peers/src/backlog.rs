//! A backlog: fill a queue, kill the broker, restart it, stop it in order, restart it, drain it.

use crate::bodies::Bodies;
use crate::cell::{Times, Workload};
use crate::counters::{Counters, Latencies};
use crate::load::{self, Moment};
use crate::peer::{Consumer, Peer, Publisher, Scene};
use crate::record::Sample;
use crate::server::Server;
use crate::visit::{self, Outcome, mb};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Slow peers are filled for a limited time and store less; the table says how much.
const WANTED: u64 = 2_000_000;
const SIZE: usize = 100;
/// LIMIT: a queue that gives nothing for so long is taken for empty.
const SILENCE: Duration = Duration::from_secs(3);
/// A drain that lasts longer is measured up to here.
const DRAIN_MAX: Duration = Duration::from_secs(30);
const FIRST_MAX: Duration = Duration::from_secs(90);

pub(crate) async fn run<P: Peer>(
    peer: &P,
    dir: &Path,
    times: Times,
    repeat: usize,
) -> Result<Outcome> {
    let scene = visit::scene(Workload::Backlog, SIZE, peer.usual_mode());
    let mut sample = Sample {
        peer: peer.facts().name,
        workload: Some(Workload::Backlog),
        size: SIZE,
        mode: Some(scene.mode),
        repeat,
        ..Sample::default()
    };
    if let Err(error) = steps(peer, dir, &scene, times, &mut sample).await {
        sample.failure = Some(format!("{error:#}"));
    }
    visit::say(&sample);
    fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
    Ok((sample, Latencies::new()))
}

async fn steps<P: Peer>(
    peer: &P,
    dir: &Path,
    scene: &Scene,
    times: Times,
    sample: &mut Sample,
) -> Result<()> {
    let (server, _) = visit::start(peer, dir).await?;
    peer.declare(scene).await?;
    let stored = fill(peer, scene, times.fill).await?;
    sample.stored = Some(stored);
    sample.resident_mb = mb(server.tree().usage().resident_bytes);
    server.kill();

    let (server, took) = visit::start(peer, dir).await?;
    let (consumer, taken, then) = first(peer, scene, &server).await?;
    sample.first_delivery_after_kill_s = Some((took + then).as_secs_f64());
    consumer.close().await?;
    server.stop()?;

    let (server, took) = visit::start(peer, dir).await?;
    let counters = Counters::new();
    let from = Moment::now(&server, &counters);
    let (consumer, again, then) = first(peer, scene, &server).await?;
    sample.first_delivery_after_stop_s = Some((took + then).as_secs_f64());
    counters.received.fetch_add(again, Relaxed);
    let last = drain(consumer, &counters, stored - taken, &server).await?;
    let resident = sample.resident_mb;
    let measured = from.until(&last, Latencies::new());
    let drained = std::mem::take(sample).measured(&measured, measured.received);
    *sample = Sample { resident_mb: resident, written_per_body_byte: 0.0, ..drained };
    server.stop()
}

/// Publishes as fast as it can until there is enough or the time is over; tells how much is stored.
async fn fill<P: Peer>(peer: &P, scene: &Scene, time: Duration) -> Result<u64> {
    let counters = Arc::new(Counters::new());
    let mut publisher = peer.publisher(scene, Arc::clone(&counters)).await?;
    let bodies = Bodies::new(scene.size).alike(load::chunk(scene));
    let begun = Instant::now();
    let mut sent = 0;
    while sent < WANTED && begun.elapsed() < time {
        publisher.publish(0, &bodies).await?;
        sent += bodies.len() as u64;
    }
    publisher.flush().await?;
    Ok(counters.confirmed.load(Relaxed))
}

/// A consumer that has got and acked its first messages, how many, and after how long.
async fn first<P: Peer>(
    peer: &P,
    scene: &Scene,
    _server: &Server,
) -> Result<(P::Consumer, u64, Duration)> {
    let begun = Instant::now();
    let deadline = begun + FIRST_MAX;
    let mut stamps = Vec::new();
    loop {
        // A queue may come up later than the broker that holds it.
        let attempt = async {
            let mut consumer = peer.consumer(scene, 0).await?;
            consumer.take(&mut stamps).await?;
            consumer.ack().await?;
            Ok::<_, anyhow::Error>(consumer)
        };
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, attempt).await {
            Ok(Ok(consumer)) => {
                return Ok((consumer, stamps.len() as u64, begun.elapsed()));
            }
            Ok(Err(error)) if Instant::now() > deadline => return Err(error),
            Ok(Err(_not_yet)) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(late) => return Err(late).context("no message came after the restart"),
        }
    }
}

/// Takes and acks what is there; tells the moment of the last message.
async fn drain<C: Consumer>(
    mut consumer: C,
    counters: &Counters,
    stored: u64,
    server: &Server,
) -> Result<Moment> {
    let begun = Instant::now();
    let mut last = Moment::now(server, counters);
    let mut stamps = Vec::new();
    let mut looked = Instant::now();
    while counters.received.load(Relaxed) < stored && begun.elapsed() < DRAIN_MAX {
        stamps.clear();
        let taken = tokio::time::timeout(SILENCE, consumer.take(&mut stamps)).await;
        let Ok(taken) = taken else { break };
        taken?;
        consumer.ack().await?;
        counters.received.fetch_add(stamps.len() as u64, Relaxed);
        // What the last take brought is counted there; looking costs too much to do each time.
        let is_done = counters.received.load(Relaxed) >= stored;
        if is_done || looked.elapsed() > Duration::from_millis(100) {
            last = Moment::now(server, counters);
            looked = Instant::now();
        }
    }
    consumer.close().await?;
    Ok(last)
}
