//! The consuming half of the load: each consumer on a connection of its own, each message acked.

use crate::bench::body::{self, Seen};
use crate::bench::counters::{Counters, Latencies};
use crate::errors::Failure;
use crate::taker::Taker;
use posthaste::{Client, Consumer, Delivery, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Messages that may wait in a consumer.
const PREFETCH: u32 = 8_192;
const PREFETCH_BYTES: usize = 16 << 20;
/// Deliveries handled together.
const CHUNK: usize = 1_024;
const CHUNK_BYTES: usize = 4 << 20;
/// How long the last acks may take to be durable.
const GRACE: Duration = Duration::from_secs(10);

/// What one consumer got.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) seen: Seen,
    pub(crate) foreign: u64,
    pub(crate) latency: Latencies,
}

/// One consuming connection, over all queues.
pub(crate) struct Receiver {
    client: Client,
    consumers: Vec<Consumer>,
    run: u32,
    counters: Arc<Counters>,
    stop: watch::Receiver<bool>,
}

impl Receiver {
    /// Opens the consumers, so that nothing is published before somebody listens.
    pub(crate) async fn open(
        client: Client,
        queues: &[String],
        group: Option<&str>,
        run: u32,
        counters: Arc<Counters>,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, Failure> {
        let queues_count = u32::try_from(queues.len()).unwrap_or(u32::MAX);
        let prefetch = (PREFETCH / queues_count).max(16);
        let mut consumers = Vec::with_capacity(queues.len());
        for name in queues {
            let consume = match group {
                Some(group) => client.topic(name).group(group).consume(),
                None => client.queue(name).consume(),
            };
            consumers.push(consume.prefetch(prefetch).prefetch_bytes(PREFETCH_BYTES).await?);
        }
        Ok(Self { client, consumers, run, counters, stop })
    }

    /// Consumes until told to stop.
    pub(crate) async fn run(self) -> Result<Received, Failure> {
        let mut tasks = tokio::task::JoinSet::new();
        for consumer in self.consumers {
            let (run, counters) = (self.run, Arc::clone(&self.counters));
            tasks.spawn(consume(consumer, run, counters, self.stop.clone()));
        }
        let mut all = Received { seen: Seen::default(), foreign: 0, latency: Latencies::new() };
        while let Some(ended) = tasks.join_next().await {
            let one = ended.map_err(|error| crate::bench::scene::broken(&error))??;
            all.seen.merge(&one.seen);
            all.foreign += one.foreign;
            all.latency.merge(&one.latency);
        }
        self.client.close().await?;
        Ok(all)
    }
}

async fn consume(
    consumer: Consumer,
    run: u32,
    counters: Arc<Counters>,
    mut stop: watch::Receiver<bool>,
) -> Result<Received, Failure> {
    let mut taker = Taker::new(consumer);
    let mut got = Received { seen: Seen::default(), foreign: 0, latency: Latencies::new() };
    loop {
        let chunk = tokio::select! {
            chunk = taker.next(CHUNK, CHUNK_BYTES) => chunk?,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        if chunk.is_empty() {
            break;
        }
        let count = chunk.len() as u64;
        let foreign = note(&mut got, &chunk, run, &counters);
        // ORDER: foreign ones first, or they count as own for a moment.
        counters.foreign.fetch_add(foreign, Ordering::Relaxed);
        for delivery in chunk {
            if let Err(error) = delivery.ack().await
                && error.kind() != ErrorKind::LeaseExpired
            {
                return Err(error.into());
            }
        }
        counters.received.fetch_add(count, Ordering::Relaxed);
    }
    taker.into_consumer().shutdown(GRACE).await?;
    Ok(got)
}

/// All of a chunk arrived now: one look at the clock serves them all. Gives the number of those that are not of this run.
fn note(got: &mut Received, chunk: &[Delivery], run: u32, counters: &Counters) -> u64 {
    let before = got.foreign;
    let now = counters.nanos();
    let measuring = counters.is_measuring();
    for delivery in chunk {
        let stamp = body::read(run, delivery.bytes());
        let Some(stamp) = stamp.filter(|s| got.seen.note(s.publisher, s.number)) else {
            got.foreign += 1;
            continue;
        };
        if measuring {
            got.latency.record(now.saturating_sub(stamp.nanos));
        }
    }
    got.foreign - before
}
