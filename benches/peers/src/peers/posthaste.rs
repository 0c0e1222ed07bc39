//! Posthaste itself, through the same client as anybody's. One configuration: the default, synced.

use crate::bodies::stamp;
use crate::confirms::Confirms;
use crate::counters::Counters;
use crate::peer::{Consumer, Facts, Mode, Peer, Publisher, Scene, Setting};
use crate::server::{Launch, Process};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use posthaste::{Client, Delivery, Producer};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

const ADDRESS: &str = "127.0.0.1:17420";
pub(crate) const URL: &str = "posthaste://127.0.0.1:17420";
/// What frames a record and a batch beside the bodies.
const RECORD_OVERHEAD: usize = 4;
const BATCH_OVERHEAD: usize = 40;
const PREFETCH: u32 = 8_192;
/// Deliveries handled together.
const TAKEN_MAX: usize = 1_024;
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Posthaste {
    binary: PathBuf,
    version: String,
}

impl Posthaste {
    pub(crate) fn new(binary: &Path) -> Result<Self> {
        let version = super::version(binary, &["--version"])?;
        Ok(Self { binary: super::program(binary)?, version })
    }

    fn process(&self) -> Process {
        let args = ["serve", "--data", "data", "--listen", ADDRESS, "--http", "off"];
        Process::new(&self.binary, &[&args[..], &["--log", "warn"]].concat())
    }
}

impl Peer for Posthaste {
    type Publisher = Sender;
    type Consumer = Taker;

    fn facts(&self) -> Facts {
        let doc = "docs/configuration.md";
        Facts {
            name: "posthaste".into(),
            version: self.version.clone(),
            confirm_means: "on disk: fdatasync returned".into(),
            synced: true,
            client: "crate posthaste of this commit".into(),
            settings: vec![
                Setting::new("all limits and sizes as shipped", "there is one setting", doc),
                Setting::new("--http off", "no metrics page in the measured process", doc),
                Setting::new(
                    "producer: max_batch 1 where one message goes per call, else 1,000",
                    "a frame per message, or a batch; linger 1 ms, 0 in an open loop",
                    "client/src/producer.rs",
                ),
                Setting::new(
                    "the last confirm of each 64 messages or of each batch is awaited",
                    "confirms of a queue come in order; a flush at the end counts every one of them",
                    "client/src/producer.rs",
                ),
                Setting::new(
                    "consumer: prefetch 8,192 and 16 MiB; ack() of each delivery",
                    "the client sends acks together, each names its message",
                    "client/src/consume.rs",
                ),
            ],
            commands: vec![self.process().shown()],
        }
    }

    fn launch(&self, _dir: &Path) -> Result<Launch> {
        Ok(Launch::one(self.process()))
    }

    async fn reach(&self) -> Result<()> {
        let client = connect().await?;
        client.ping().await?;
        Ok(client.close().await?)
    }

    fn window(&self, mode: Mode, size: usize) -> usize {
        match (mode, size) {
            (Mode::Batched, _) => 32 * crate::peer::batch(size),
            (Mode::Single, 0..=1_024) => 10_000,
            (Mode::Single, _) => 1_000,
        }
    }

    async fn declare(&self, scene: &Scene) -> Result<()> {
        let client = connect().await?;
        if scene.groups > 0 {
            let topic = client.topic(scene.queue(0));
            topic.declare().await?;
            for group in 0..scene.groups {
                topic.group(&format!("g{group}")).declare().await?;
            }
            return Ok(client.close().await?);
        }
        let names = (0..scene.queues).map(|at| client.queue(scene.queue(at)));
        let mut all = futures_util::stream::iter(
            names.map(|queue| async move { queue.declare().await.map(drop) }),
        )
        .buffer_unordered(64);
        while let Some(declared) = all.next().await {
            declared?;
        }
        drop(all);
        Ok(client.close().await?)
    }

    async fn strike(&self, scene: &Scene) -> Result<()> {
        let client = connect().await?;
        if scene.groups > 0 {
            client.topic(scene.queue(0)).delete().await?;
        } else {
            let queues = (0..scene.queues).map(|at| client.queue(scene.queue(at)));
            let all: FuturesUnordered<_> =
                queues.map(|queue| async move { queue.delete().await }).collect();
            let done: Vec<_> = all.collect().await;
            done.into_iter().collect::<Result<Vec<()>, _>>()?;
        }
        Ok(client.close().await?)
    }

    async fn publisher(&self, scene: &Scene, counters: Arc<Counters>) -> Result<Sender> {
        let client = connect().await?;
        let window = self.window(scene.mode, scene.size);
        let batch = match scene.mode {
            Mode::Single => 1,
            Mode::Batched => scene.batch(),
        };
        let lingers = scene.mode == Mode::Batched && !scene.at_once;
        let linger = Duration::from_millis(u64::from(lingers));
        let record = scene.size + RECORD_OVERHEAD;
        let bytes = window * record + window.div_ceil(batch) * BATCH_OVERHEAD;
        let producer = |at: usize| {
            let name = scene.queue(at);
            let builder = match scene.groups {
                0 => client.queue(name).producer(),
                _ => client.topic(name).producer(),
            };
            let builder = builder.linger(linger).max_batch(batch, (batch * record).max(1 << 20));
            builder.max_in_flight(bytes).build()
        };
        let producers = (0..scene.queues).map(producer).collect();
        let confirms = Confirms::new(window, counters);
        Ok(Sender { producers, sent: 0, confirms, _client: client })
    }

    async fn consumer(&self, scene: &Scene, index: usize) -> Result<Taker> {
        let client = connect().await?;
        let consume = match scene.groups {
            0 => client.queue(scene.queue(0)).consume(),
            _ => client.topic(scene.queue(0)).group(&format!("g{index}")).consume(),
        };
        let consumer = consume.prefetch(PREFETCH).prefetch_bytes(16 << 20).await?;
        Ok(Taker { consumer: Box::pin(consumer), taken: Vec::new(), _client: client })
    }
}

async fn connect() -> Result<Client> {
    Client::connect(URL).await.context("posthaste")
}

type Confirmed = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Producers, one per queue.
pub(crate) struct Sender {
    producers: Vec<Producer>,
    sent: u64,
    confirms: Confirms<Confirmed>,
    _client: Client,
}

impl Publisher for Sender {
    async fn publish(&mut self, turn: usize, bodies: &[Bytes]) -> Result<()> {
        self.confirms.room(bodies.len()).await?;
        let mut confirms = Vec::new();
        for (at, body) in bodies.iter().enumerate() {
            let producer = &self.producers[(turn + at) % self.producers.len()];
            let confirm = producer.send(body).await?;
            // Those of one queue come in order; a flush tells of any that did not come well.
            if self.producers.len() > 1 || at + 1 == bodies.len() {
                confirms.push(confirm);
            }
        }
        self.sent += bodies.len() as u64;
        let all = async move {
            for confirm in confirms {
                confirm.await?;
            }
            Ok(())
        };
        self.confirms.watch(bodies.len(), Box::pin(all));
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let mut confirmed = 0;
        for producer in &self.producers {
            confirmed += producer.flush().await?.confirmed;
        }
        ensure!(confirmed == self.sent, "{} sent, {confirmed} confirmed", self.sent);
        self.sent = 0;
        self.confirms.flush().await
    }
}

/// Takes what its consumer has ready, many at once.
pub(crate) struct Taker {
    consumer: Pin<Box<posthaste::Consumer>>,
    taken: Vec<Delivery>,
    _client: Client,
}

impl Consumer for Taker {
    async fn take(&mut self, stamps: &mut Vec<u64>) -> Result<()> {
        let first = self.consumer.next().await.context("the consumer ended")??;
        self.taken.push(first);
        while self.taken.len() < TAKEN_MAX {
            let next = futures_util::FutureExt::now_or_never(self.consumer.next());
            let Some(Some(delivery)) = next else { break };
            self.taken.push(delivery?);
        }
        stamps.extend(self.taken.iter().map(|delivery| stamp(delivery.bytes())));
        Ok(())
    }

    async fn ack(&mut self) -> Result<()> {
        for delivery in self.taken.drain(..) {
            delivery.ack().await?;
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(Pin::into_inner(self.consumer).shutdown(GRACE).await?)
    }
}
