//! The publishing half of the load: one task a connection in a closed loop, one thread a connection
//! in an open loop (timers of the runtime are too coarse to keep a schedule of microseconds).
//!
//! Confirms come in order, so only some are watched: each tells how many messages before it are
//! confirmed, and how long its own took.

use crate::bench::body::{Bodies, STAMP_BYTES};
use crate::bench::counters::{Counters, Latencies};
use crate::bench::groups;
use crate::bench::pace::{Pace, share};
use crate::bench::{Load, What};
use crate::errors::Failure;
use bytes::Bytes;
use posthaste::{Client, Confirm, Producer, Properties};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Messages made, stamped and sent between two looks at the clock in a closed loop.
const CHUNK: usize = 32;
/// Above this rate only every [`CHUNK`]th confirm of an open loop is watched.
const WATCH_ALL_BELOW: u64 = 100_000;
/// Confirms that may wait to be watched.
const WATCHED_AHEAD: usize = 65_536;
/// Bytes of a batch that are not bodies: its header, and what frames each record.
const BATCH_OVERHEAD: usize = 40;
const RECORD_OVERHEAD: usize = 4;
/// How much further a closed e2e loop may be ahead of its consumers.
const BACKLOG_MAX: u64 = 200_000;

/// What one connection did.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) sent: u64,
    pub(crate) confirmed: u64,
    pub(crate) latency: Latencies,
}

/// One publishing connection.
pub(crate) struct Publisher {
    pub(crate) what: What,
    pub(crate) load: Load,
    pub(crate) index: usize,
    pub(crate) client: Client,
    pub(crate) queues: Arc<Vec<String>>,
    /// How often each message is delivered.
    pub(crate) copies: u64,
    pub(crate) counters: Arc<Counters>,
    pub(crate) run: u32,
}

/// A confirm that is watched.
struct Watched {
    confirm: Confirm,
    /// When it was sent, or meant to be sent.
    nanos: u64,
    /// Messages since the last watched one, itself included.
    messages: u64,
}

impl Publisher {
    /// Publishes until told to stop or until its share of the count is sent, then waits for all
    /// confirms.
    pub(crate) async fn run(self) -> Result<Published, Failure> {
        if let Some(size) = self.load.atomic {
            return groups::run(&self, size).await;
        }
        let producers = self.producers();
        let (tx, rx) = mpsc::channel(WATCHED_AHEAD);
        let watcher = tokio::spawn(watch(rx, Arc::clone(&self.counters)));
        let mut sender = Sender {
            bodies: Bodies::new(self.run, number(self.index), self.load.size),
            plain: (self.load.size < STAMP_BYTES || (self.what == What::Pub && !self.load.verify))
                .then(|| Bytes::from(crate::bench::body::filler(self.load.size))),
            left: self.load.count.map(|n| share(n, self.load.connections, self.index)),
            sent: 0,
            unwatched: 0,
            turn: self.index % producers.len(),
            watch: tx,
            copies: self.copies,
            counters: Arc::clone(&self.counters),
            producers,
            id: self.load.ids.then(|| format!("{:08x}-{}-", self.run, self.index)),
            numbered: 0,
        };
        let sent = match self.load.rate {
            Some(rate) => {
                let rate = share(rate, self.load.connections, self.index).max(1);
                let runtime = tokio::runtime::Handle::current();
                let (done_tx, done) = tokio::sync::oneshot::channel();
                std::thread::spawn(move || {
                    let outcome = runtime.block_on(sender.by_the_clock(rate)).map(|()| sender);
                    // The receiver is gone only when the whole run was abandoned.
                    drop(done_tx.send(outcome));
                });
                done.await.map_err(|_gone| Failure::usage("a publishing thread ended early"))??
            }
            None => {
                sender.flat_out(self.what).await?;
                sender
            }
        };
        let Sender { producers, sent, watch, .. } = sent;
        let mut confirmed = 0;
        for producer in &producers {
            confirmed += producer.flush().await?.confirmed;
        }
        drop(watch);
        let latency = watcher.await.map_err(|error| crate::bench::scene::broken(&error))??;
        Ok(Published { sent, confirmed, latency })
    }

    fn producers(&self) -> Vec<Producer> {
        let load = &self.load;
        let in_flight = load.in_flight().div_ceil(self.queues.len());
        let batches = in_flight.div_ceil(load.batch);
        let record = load.size + RECORD_OVERHEAD;
        let bytes = in_flight * record + batches * BATCH_OVERHEAD;
        let batch_bytes = (load.batch * record).max(1 << 20);
        let producer = |name: &String| {
            let builder = match self.what {
                What::Fanout => self.client.topic(name).producer(),
                _ => self.client.queue(name).producer(),
            };
            let builder = builder.linger(load.linger());
            builder.max_batch(load.batch, batch_bytes).max_in_flight(bytes).build()
        };
        self.queues.iter().map(producer).collect()
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

struct Sender {
    producers: Vec<Producer>,
    bodies: Bodies,
    /// Where nobody reads the stamps, the same body every time.
    plain: Option<Bytes>,
    left: Option<u64>,
    sent: u64,
    /// Messages since the last watched one.
    unwatched: u64,
    /// The queue whose turn it is.
    turn: usize,
    watch: mpsc::Sender<Watched>,
    copies: u64,
    counters: Arc<Counters>,
    /// What the ids of messages begin with, and how many there are.
    id: Option<String>,
    numbered: u64,
}

impl Sender {
    /// Closed loop: the next message goes as soon as there is a free place for it.
    async fn flat_out(&mut self, what: What) -> Result<(), Failure> {
        while !self.counters.is_stopping() && self.left != Some(0) {
            if what.is_through() {
                self.let_consumers_catch_up().await;
            }
            let chunk = self.left.map_or(CHUNK, |left| left.min(CHUNK as u64) as usize);
            let nanos = self.counters.nanos();
            match self.plain.clone() {
                Some(body) => {
                    for at in 0..chunk {
                        self.send(&body, (at == 0).then_some(nanos)).await?;
                    }
                }
                None => {
                    let bodies = self.bodies.stamped(chunk, nanos);
                    for (at, body) in bodies.iter().enumerate() {
                        self.send(body, (at == 0).then_some(nanos)).await?;
                    }
                }
            }
            self.count(chunk);
        }
        Ok(())
    }

    /// Open loop: each message is sent when it is due, or at once if it is late already.
    async fn by_the_clock(&mut self, rate: u64) -> Result<(), Failure> {
        let mut pace = Pace::new(Instant::now(), rate);
        let every = if rate < WATCH_ALL_BELOW { 1 } else { CHUNK as u64 };
        while !self.counters.is_stopping() && self.left != Some(0) {
            let now = Instant::now();
            let mut taken = 0;
            while taken < CHUNK && self.left != Some(taken as u64) {
                let Some(due) = pace.take(now) else { break };
                let nanos = self.counters.nanos_at(due);
                let body = match &self.plain {
                    Some(body) => body.clone(),
                    None => self.bodies.stamped(1, nanos).pop().unwrap_or_default(),
                };
                let watched = (self.unwatched + 1 >= every).then_some(nanos);
                self.send(&body, watched).await?;
                taken += 1;
            }
            self.count(taken);
            if taken == 0 {
                // This thread is the publisher's own, so it may sleep as precisely as it can.
                std::thread::sleep(pace.due().saturating_duration_since(Instant::now()));
            }
        }
        Ok(())
    }

    fn count(&mut self, messages: usize) {
        let messages = messages as u64;
        self.sent += messages;
        self.counters.sent.fetch_add(messages, Ordering::Relaxed);
        if let Some(left) = &mut self.left {
            *left -= messages;
        }
    }

    async fn send(&mut self, body: &Bytes, watched: Option<u64>) -> Result<(), Failure> {
        let producer = &self.producers[self.turn];
        let confirm = match &self.id {
            None => producer.send(body).await?,
            Some(id) => {
                self.numbered += 1;
                let properties = Properties::new().id(format!("{id}{}", self.numbered));
                producer.send_with(body, &properties).await?
            }
        };
        self.turn += 1;
        if self.turn == self.producers.len() {
            self.turn = 0;
        }
        self.unwatched += 1;
        if let Some(nanos) = watched {
            let messages = std::mem::take(&mut self.unwatched);
            // A watcher that has failed tells why itself.
            drop(self.watch.send(Watched { confirm, nanos, messages }).await);
        }
        Ok(())
    }

    /// A closed loop that outruns its consumers would measure a growing backlog instead.
    async fn let_consumers_catch_up(&self) {
        let ahead = || {
            let received = self.counters.sample().own / self.copies;
            self.counters.sent.load(Ordering::Relaxed).saturating_sub(received)
        };
        while ahead() > BACKLOG_MAX && !self.counters.is_stopping() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn watch(
    mut rx: mpsc::Receiver<Watched>,
    counters: Arc<Counters>,
) -> Result<Latencies, Failure> {
    let mut latency = Latencies::new();
    while let Some(watched) = rx.recv().await {
        watched.confirm.await?;
        counters.confirmed.fetch_add(watched.messages, Ordering::Relaxed);
        if counters.is_measuring() {
            latency.record(counters.nanos().saturating_sub(watched.nanos));
        }
    }
    Ok(latency)
}
