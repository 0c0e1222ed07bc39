//! Drives one cell: a publisher in a closed or an open loop, its consumers, and the measured window
//! between warm-up and end.

use crate::bodies::Bodies;
use crate::counters::{Counters, Latencies};
use crate::pace::Pace;
use crate::peer::{Consumer, Mode, Peer, Publisher, Scene};
use crate::proc::{self, Usage};
use crate::server::Server;
use anyhow::{Result, anyhow};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Messages between two looks at the clock where they are published one by one.
const CHUNK: usize = 64;
/// In a closed loop with consumers the publisher waits when it is so far ahead of them, so that what
/// is measured is what both keep up with and not a growing backlog: this many messages, or what they
/// take in 50 ms if that is more, but never more than so many bytes.
const AHEAD_MESSAGES: u64 = 20_000;
const AHEAD_BYTES: u64 = 64 << 20;
/// LIMIT: the first messages to many queues may take so long.
const TOUCH: Duration = Duration::from_secs(10);
const BATCHES_MIN: u64 = 10;
/// LIMIT: a window is prolonged by so many times its length.
const EXTENSIONS_MAX: u32 = 3;
/// How long the last confirms and the last acks may take.
const GRACE: Duration = Duration::from_secs(30);

/// What a cell does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Messages per second of an open loop.
    pub(crate) rate: Option<u64>,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

/// What was used and done between two moments.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) confirmed: u64,
    pub(crate) received: u64,
    pub(crate) broker: Usage,
    pub(crate) client_cpu_seconds: f64,
    /// Cores that neither broker nor client used.
    pub(crate) other_cores: f64,
    pub(crate) flushes: u64,
    pub(crate) latency: Latencies,
}

/// One moment.
pub(crate) struct Moment {
    at: Instant,
    confirmed: u64,
    received: u64,
    broker: Usage,
    client: f64,
    machine: f64,
    flushes: u64,
}

impl Moment {
    pub(crate) fn now(server: &Server, counters: &Counters) -> Self {
        Self {
            broker: server.tree().usage(),
            client: proc::own_cpu_seconds(),
            machine: proc::machine_cpu_seconds(),
            flushes: proc::flushes(),
            at: Instant::now(),
            confirmed: counters.confirmed.load(Relaxed),
            received: counters.received.load(Relaxed),
        }
    }

    /// From `self` until `to`.
    pub(crate) fn until(&self, to: &Self, latency: Latencies) -> Measured {
        let seconds = (to.at - self.at).as_secs_f64().max(1e-9);
        let broker = Usage {
            cpu_seconds: to.broker.cpu_seconds - self.broker.cpu_seconds,
            written_bytes: to.broker.written_bytes.saturating_sub(self.broker.written_bytes),
            resident_bytes: to.broker.resident_bytes,
        };
        let client = to.client - self.client;
        let others = (to.machine - self.machine) - broker.cpu_seconds - client;
        Measured {
            seconds,
            confirmed: to.confirmed - self.confirmed,
            received: to.received - self.received,
            broker,
            client_cpu_seconds: client,
            other_cores: (others / seconds).max(0.0),
            flushes: to.flushes - self.flushes,
            latency,
        }
    }
}

/// Runs a cell on queues of its own.
pub(crate) async fn run<P: Peer>(
    peer: &P,
    server: &mut Server,
    scene: &Scene,
    load: Load,
) -> Result<Measured> {
    peer.declare(scene).await?;
    let counters = Arc::new(Counters::new());
    let (stop, stopped) = watch::channel(false);
    let mut consumers = JoinSet::new();
    for index in 0..scene.consumers {
        let consumer = peer.consumer(scene, index).await?;
        consumers.spawn(consume(consumer, Arc::clone(&counters), stopped.clone()));
    }
    let publisher = peer.publisher(scene, Arc::clone(&counters)).await?;
    let publishing = start_publisher(publisher, scene, load.rate, Arc::clone(&counters));

    wait(&counters, load.warm_up).await;
    touch(scene, &counters).await;
    counters.measure(true);
    let from = Moment::now(server, &counters);
    wait(&counters, load.window).await;
    if load.rate.is_none() {
        fill_out(scene, &counters, from.confirmed, load.window).await;
    }
    let to = Moment::now(server, &counters);
    counters.measure(false);
    counters.stop();
    let published = tokio::time::timeout(GRACE, publishing).await;
    // Who has failed already has been heard.
    let _heard = stop.send(true);
    let mut latency = Latencies::new();
    while let Some(ended) = consumers.join_next().await {
        latency.merge(&ended??);
    }
    server.check()?;
    if let Some(failure) = counters.failure() {
        return Err(anyhow!(failure));
    }
    published.map_err(|_late| anyhow!("the last confirms did not come in {GRACE:?}"))???;
    peer.strike(scene).await?;
    Ok(from.until(&to, latency))
}

/// Waits, but not longer than nothing has failed.
async fn wait(counters: &Counters, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end && !counters.is_stopping() {
        let left = end.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(Duration::from_millis(200))).await;
    }
}

/// Lets the warm-up go on until every one of many queues has had messages: the first costs more.
async fn touch(scene: &Scene, counters: &Counters) {
    let (wanted, begun) = (2 * scene.queues as u64, Instant::now());
    let is_touched = || scene.queues == 1 || counters.confirmed.load(Relaxed) >= wanted;
    while !is_touched() && begun.elapsed() < TOUCH && !counters.is_stopping() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets the window of a slow broker go on until it has so much to count that one batch more or less
/// does not matter.
async fn fill_out(scene: &Scene, counters: &Counters, before: u64, window: Duration) {
    let wanted = before + BATCHES_MIN * chunk(scene) as u64;
    let end = Instant::now() + window * EXTENSIONS_MAX;
    while counters.confirmed.load(Relaxed) < wanted && Instant::now() < end {
        if counters.is_stopping() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes until told to stop, then waits for all confirms. On a thread of its own, since timers
/// of the runtime are too coarse to keep a schedule of microseconds.
fn start_publisher<P: Publisher>(
    publisher: P,
    scene: &Scene,
    rate: Option<u64>,
    counters: Arc<Counters>,
) -> tokio::task::JoinHandle<Result<()>> {
    let scene = scene.clone();
    let runtime = tokio::runtime::Handle::current();
    let Some(rate) = rate else { return runtime.spawn(flat_out(publisher, scene, counters)) };
    let handle = runtime.clone();
    runtime.spawn_blocking(move || handle.block_on(by_the_clock(publisher, scene, rate, counters)))
}

/// Closed loop: the next messages go as soon as there are free places for them.
async fn flat_out<P: Publisher>(
    mut publisher: P,
    scene: Scene,
    counters: Arc<Counters>,
) -> Result<()> {
    let bodies = Bodies::new(scene.size);
    let chunk = chunk(&scene);
    let alike = bodies.alike(chunk);
    let mut turn = 0;
    while !counters.is_stopping() {
        let stamped;
        let these: &[Bytes] = if scene.consumers == 0 {
            &alike
        } else {
            let_consumers_catch_up(&scene, &counters).await;
            let nanos = counters.nanos();
            stamped = bodies.stamped(std::iter::repeat_n(nanos, chunk));
            &stamped
        };
        if let Err(error) = publisher.publish(turn, these).await {
            counters.fail(&error);
            break;
        }
        if scene.alone
            && let Err(error) = publisher.flush().await
        {
            counters.fail(&error);
            break;
        }
        turn += chunk;
        counters.sent.fetch_add(chunk as u64, Relaxed);
    }
    publisher.flush().await
}

/// Messages that are handed over together; the batch where there are batches.
pub(crate) fn chunk(scene: &Scene) -> usize {
    match scene.mode {
        Mode::Single if scene.alone => 1,
        Mode::Single => CHUNK,
        Mode::Batched => scene.batch(),
    }
}

async fn let_consumers_catch_up(scene: &Scene, counters: &Counters) {
    let times = scene.groups.max(1) as u64;
    let is_ahead = || {
        let received = counters.received.load(Relaxed) / times;
        let ahead = counters.sent.load(Relaxed).saturating_sub(received);
        ahead > ahead_max(received, counters.nanos(), scene.size as u64)
    };
    while is_ahead() && !counters.is_stopping() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How far a publisher may be ahead of consumers that have received so much so far.
fn ahead_max(received: u64, nanos: u64, size: u64) -> u64 {
    let of_50_ms = u128::from(received) * 50_000_000 / u128::from(nanos.max(1));
    let messages = u64::try_from(of_50_ms).unwrap_or(u64::MAX).max(AHEAD_MESSAGES);
    messages.min(AHEAD_BYTES / size.max(1))
}

/// Open loop: each message goes when it is due, or at once if it is late already.
async fn by_the_clock<P: Publisher>(
    mut publisher: P,
    scene: Scene,
    rate: u64,
    counters: Arc<Counters>,
) -> Result<()> {
    let bodies = Bodies::new(scene.size);
    let mut pace = Pace::new(Instant::now(), rate);
    let chunk = chunk(&scene);
    let mut turn = 0;
    while !counters.is_stopping() {
        let due = pace.take(Instant::now(), chunk);
        if due.is_empty() {
            // This thread is the publisher's own, so it may sleep as precisely as it can.
            std::thread::sleep(pace.due().saturating_duration_since(Instant::now()));
            continue;
        }
        let these = bodies.stamped(due.iter().map(|due| counters.nanos_at(*due)));
        if let Err(error) = publisher.publish(turn, &these).await {
            counters.fail(&error);
            break;
        }
        turn += due.len();
        counters.sent.fetch_add(due.len() as u64, Relaxed);
    }
    publisher.flush().await
}

/// Consumes until told to stop, acking each message.
async fn consume<C: Consumer>(
    mut consumer: C,
    counters: Arc<Counters>,
    mut stop: watch::Receiver<bool>,
) -> Result<Latencies> {
    let mut latency = Latencies::new();
    let mut stamps = Vec::new();
    loop {
        stamps.clear();
        let taken = tokio::select! {
            taken = consumer.take(&mut stamps) => taken,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let now = counters.nanos();
        if counters.is_measuring() {
            stamps.iter().for_each(|stamp| latency.record(now.saturating_sub(*stamp)));
        }
        let done = match taken {
            Ok(()) => consumer.ack().await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            counters.fail(&error);
            return Ok(latency);
        }
        counters.received.fetch_add(stamps.len() as u64, Relaxed);
    }
    // What it could not say any more at its end, it would have said in the window.
    drop(tokio::time::timeout(GRACE, consumer.close()).await);
    Ok(latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_consumers_may_be_outrun_by_50_ms_and_none_by_64_mib() {
        let second = 1_000_000_000;
        assert_eq!(ahead_max(0, 0, 100), 20_000);
        assert_eq!(ahead_max(100_000, second, 100), 20_000);
        assert_eq!(ahead_max(2_000_000, second, 100), 100_000);
        assert_eq!(ahead_max(2_000_000, second, 16_384), 4_096);
    }
}
