//! One run from beginning to end: set the scene, load, measure a window, drain, account, clean up.

use crate::bench::counters::{Counters, Latencies, Sample};
use crate::bench::progress::Progress;
use crate::bench::publishers::{Published, Publisher};
use crate::bench::receivers::{Received, Receiver};
use crate::bench::report::Report;
use crate::bench::scene::{Scene, broken};
use crate::bench::{Durability, Load, What, body};
use crate::context::Context;
use crate::errors::Failure;
use crate::interrupt::Interrupt;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long consumers may go without a message before what is missing counts as missing.
const SILENCE: Duration = Duration::from_secs(5);
/// Between two looks at the counters while draining.
const LOOK: Duration = Duration::from_millis(2);
/// What `bench consume` publishes for itself, unless `--count` says otherwise.
const CONSUME_COUNT: u64 = 1_000_000;

pub(crate) async fn run(
    what: What,
    load: &Load,
    groups: usize,
    context: &Context,
) -> Result<Report, Failure> {
    let mut interrupt = Interrupt::watch()?;
    let scene = Scene::set(what, load, groups, context).await?;
    let stage = Stage { what, load, context, scene: &scene };
    let measured = match what {
        What::Consume => stage.consume(&mut interrupt).await,
        What::Pub | What::E2e | What::Fanout => stage.publish(&mut interrupt).await,
    };
    // The queues go even when the run failed; the run's own failure is the one to tell.
    let struck = scene.strike().await;
    let report = measured?;
    struck?;
    Ok(report)
}

struct Stage<'a> {
    what: What,
    load: &'a Load,
    context: &'a Context,
    scene: &'a Scene,
}

/// The measured window: from one sample of the counters to another.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Sample,
    to: Sample,
}

impl Window {
    fn length(&self) -> Duration {
        self.to.at - self.from.at
    }
}

impl Stage<'_> {
    /// Whether everything confirmed is looked for.
    fn is_verified(&self) -> bool {
        self.what != What::Pub || self.load.verify
    }

    async fn publish(&self, interrupt: &mut Interrupt) -> Result<Report, Failure> {
        let counters = Arc::new(Counters::new(self.load.warm_up().is_zero()));
        let (stop, stopped) = watch::channel(false);
        let mut receivers = Vec::new();
        if self.what.is_through() {
            receivers = self.receivers(&counters, &stopped).await?;
        }
        let progress = Progress::start(self.context, &counters);
        let mut publishers = self.publishers(&counters, self.load).await?;
        let (window, published) = self.measure(&counters, &mut publishers, interrupt).await?;
        let mut window = window;
        if self.what.is_through() {
            drain(&counters, published.confirmed * self.scene.copies(), interrupt).await;
            if self.load.window().is_none() {
                window.to = counters.sample();
            }
        }
        if self.is_verified() && !self.what.is_through() {
            receivers = self.receivers(&counters, &stopped).await?;
            drain(&counters, published.confirmed, interrupt).await;
        }
        stop.send_replace(true);
        let received = gather(receivers).await?;
        drop(progress);
        Ok(self.report(window, &published, received))
    }

    /// Publishes first, then measures the consuming alone.
    async fn consume(&self, interrupt: &mut Interrupt) -> Result<Report, Failure> {
        let counters = Arc::new(Counters::new(true));
        let own = self.load.dest.is_none();
        let mut published = none_published();
        let count = self.load.count.unwrap_or(CONSUME_COUNT);
        if own {
            self.context.notice(&format!("publishing {count} messages to consume"));
            let load = Load { count: Some(count), rate: None, ..self.load.clone() };
            let mut publishers = self.publishers(&counters, &load).await?;
            published = join_all(&mut publishers).await?;
        }
        let (stop, stopped) = watch::channel(false);
        let progress = Progress::start(self.context, &counters);
        let from = counters.sample();
        let receivers = self.receivers(&counters, &stopped).await?;
        let wanted = if own { published.confirmed } else { self.load.count.unwrap_or(u64::MAX) };
        let deadline = self.load.duration.map(|window| from.at + window);
        let is_all = |sample: &Sample| sample.received >= wanted;
        let to = consumed(&counters, is_all, deadline, interrupt).await;
        stop.send_replace(true);
        let mut received = gather(receivers).await?;
        drop(progress);
        // Times since publishing say nothing about consuming when it was done long before.
        received.latency = Latencies::new();
        let mut report = self.report(Window { from, to }, &published, received);
        if !own || deadline.is_some() || interrupt.times() > 0 {
            report.missing = None;
        }
        Ok(report)
    }

    async fn receivers(
        &self,
        counters: &Arc<Counters>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Vec<JoinSet<Result<Received, Failure>>>, Failure> {
        let scene = self.scene;
        let groups = scene.groups.iter().map(|group| Some(group.as_str()));
        let groups = groups.chain(scene.groups.is_empty().then_some(None));
        let mut all = Vec::new();
        for group in groups {
            let mut of_group = JoinSet::new();
            for _ in 0..self.load.consumers {
                let client = self.context.connect().await?;
                let (counters, stopped) = (Arc::clone(counters), stopped.clone());
                let receiver =
                    Receiver::open(client, &scene.queues, group, scene.run, counters, stopped);
                of_group.spawn(receiver.await?.run());
            }
            all.push(of_group);
        }
        Ok(all)
    }

    async fn publishers(
        &self,
        counters: &Arc<Counters>,
        load: &Load,
    ) -> Result<JoinSet<Result<Published, Failure>>, Failure> {
        let mut clients = Vec::new();
        for _ in 0..load.connections {
            clients.push(self.context.connect().await?);
        }
        let mut all = JoinSet::new();
        for (index, client) in clients.into_iter().enumerate() {
            let publisher = Publisher {
                what: self.what,
                load: load.clone(),
                index,
                client,
                queues: Arc::clone(&self.scene.queues),
                copies: self.scene.copies(),
                counters: Arc::clone(counters),
                run: self.scene.run,
            };
            all.spawn(publisher.run());
        }
        Ok(all)
    }

    /// Lets the publishers warm up, samples the window, stops them and waits for all confirms.
    async fn measure(
        &self,
        counters: &Arc<Counters>,
        publishers: &mut JoinSet<Result<Published, Failure>>,
        interrupt: &mut Interrupt,
    ) -> Result<(Window, Published), Failure> {
        let Some(length) = self.load.window() else {
            let from = counters.sample();
            let mut published = none_published();
            loop {
                tokio::select! {
                    done = publishers.join_next() => match done {
                        Some(one) => add(&mut published, &one.map_err(|error| broken(&error))??),
                        None => break,
                    },
                    () = interrupt.asked() => counters.stop(),
                }
            }
            let to = Sample { confirmed: published.confirmed, ..counters.sample() };
            return Ok((Window { from, to }, published));
        };
        let mut published = none_published();
        let mut from = counters.sample();
        let phases = [(self.load.warm_up(), true), (length, false)];
        for (time, is_warm_up) in phases {
            tokio::select! {
                biased;
                // A publisher that ends before it was told to has failed.
                Some(early) = publishers.join_next() => {
                    add(&mut published, &early.map_err(|error| broken(&error))??);
                }
                () = interrupt.once() => {}
                () = tokio::time::sleep(time) => {}
            }
            if is_warm_up {
                counters.measure();
                from = counters.sample();
            }
        }
        let to = counters.sample();
        counters.stop();
        add(&mut published, &join_all(publishers).await?);
        Ok((Window { from, to }, published))
    }

    fn report(&self, window: Window, published: &Published, received: Gathered) -> Report {
        let load = self.load;
        let between = |of: fn(&Sample) -> u64| of(&window.to).saturating_sub(of(&window.from));
        let confirmed = between(|sample| sample.confirmed);
        let got = between(|sample| sample.received);
        let own = between(|sample| sample.own);
        let measured = match self.what {
            What::Pub => confirmed,
            What::Consume => got,
            // What only one side kept up with is not end to end.
            What::E2e => confirmed.min(own),
            What::Fanout => own,
        };
        let (latency, confirm_latency) = match self.what {
            What::Pub => (published.latency.clone(), None),
            What::E2e | What::Fanout => (received.latency, Some(published.latency.clone())),
            What::Consume => (received.latency, None),
        };
        let due = published.confirmed * self.scene.copies();
        let missing = due.saturating_sub(received.distinct);
        Report {
            kind: self.what.name(),
            setup: json!({
                "destination": load.dest,
                "queues": self.scene.queues.len(),
                "connections": load.connections,
                "groups": self.scene.groups.len(),
                "consumers": if self.what == What::Pub { 0 } else { load.consumers },
                "size": load.size,
                "batch": load.batch,
                "in_flight": load.in_flight(),
                "linger_us": u64::try_from(load.linger().as_micros()).unwrap_or(u64::MAX),
                "rate": load.rate,
            }),
            size: load.size as u64,
            warm_up: if self.what == What::Consume { Duration::ZERO } else { load.warm_up() },
            window: window.length(),
            measured,
            sent: published.sent,
            confirmed: published.confirmed,
            received: received.distinct + received.repeated + received.foreign,
            duplicates: received.repeated,
            foreign: received.foreign,
            missing: self.is_verified().then_some(missing),
            durability: match load.durability {
                Durability::Synced => "synced",
            },
            latency,
            confirm_latency,
            open_loop: load.rate.is_some(),
        }
    }
}

fn none_published() -> Published {
    Published { sent: 0, confirmed: 0, latency: Latencies::new() }
}

fn add(all: &mut Published, one: &Published) {
    all.sent += one.sent;
    all.confirmed += one.confirmed;
    all.latency.merge(&one.latency);
}

async fn join_all(
    publishers: &mut JoinSet<Result<Published, Failure>>,
) -> Result<Published, Failure> {
    let mut all = none_published();
    while let Some(one) = publishers.join_next().await {
        add(&mut all, &one.map_err(|error| broken(&error))??);
    }
    Ok(all)
}

/// What all consumers got, together.
struct Gathered {
    distinct: u64,
    repeated: u64,
    foreign: u64,
    latency: Latencies,
}

/// Waits for all consumers. A message that two groups got is no repetition; two consumers of one group, it is.
async fn gather(groups: Vec<JoinSet<Result<Received, Failure>>>) -> Result<Gathered, Failure> {
    let mut all = Gathered { distinct: 0, repeated: 0, foreign: 0, latency: Latencies::new() };
    for mut group in groups {
        let mut seen = body::Seen::default();
        while let Some(one) = group.join_next().await {
            let one = one.map_err(|error| broken(&error))??;
            seen.merge(&one.seen);
            all.foreign += one.foreign;
            all.latency.merge(&one.latency);
        }
        all.distinct += seen.distinct;
        all.repeated += seen.repeated;
    }
    Ok(all)
}

/// Waits until as much of this run was received as was confirmed, or nothing comes any more.
async fn drain(counters: &Counters, confirmed: u64, interrupt: &mut Interrupt) {
    consumed(counters, |sample| sample.own >= confirmed, None, interrupt).await;
}

/// Waits until all messages were received, nothing came for long, or the time is over; tells
/// the counters as they were when the last message came.
async fn consumed(
    counters: &Counters,
    is_all: impl Fn(&Sample) -> bool,
    deadline: Option<Instant>,
    interrupt: &mut Interrupt,
) -> Sample {
    let mut last = counters.sample();
    loop {
        tokio::select! {
            biased;
            () = interrupt.asked() => return last,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = counters.sample();
        if now.received > last.received {
            last = now;
        }
        let silent = now.at - last.at > SILENCE;
        if is_all(&last) || silent || deadline.is_some_and(|end| now.at >= end) {
            return last;
        }
    }
}
