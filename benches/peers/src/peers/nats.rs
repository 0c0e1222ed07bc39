//! NATS JetStream: a stream per cell on file storage, durable pull consumers, explicit acks.

use crate::bodies::stamp;
use crate::confirms::Confirms;
use crate::counters::Counters;
use crate::peer::{Consumer, Facts, Mode, Peer, Publisher, Scene, Setting};
use crate::server::{Launch, Process};
use anyhow::{Context as _, Result, anyhow};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::{self, StorageType};
use async_nats::jetstream::{Context, Message};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

const URL: &str = "nats://127.0.0.1:17422";
/// Messages that one pull asks for.
const PULL: usize = 1_000;
const TAKEN_MAX: usize = 1_000;
const ACK_PENDING_MAX: i64 = 20_000;
/// Atomic batches that are under way.
const BATCHES: usize = 8;

#[derive(Debug)]
pub(crate) struct Nats {
    binary: PathBuf,
    version: String,
    always: bool,
}

impl Nats {
    pub(crate) fn new(binary: &Path, always: bool) -> Result<Self> {
        let version = super::version(binary, &["--version"])?;
        Ok(Self { binary: super::program(binary)?, version, always })
    }

    fn process(&self) -> Process {
        Process::new(&self.binary, &["--config", "nats.conf"])
    }
}

impl Peer for Nats {
    type Publisher = Sender;
    type Consumer = Puller;

    fn facts(&self) -> Facts {
        let doc = "docs.nats.io/running-a-nats-service/configuration/resource_management";
        let stream = "docs.nats.io/nats-concepts/jetstream/streams";
        let sync = if self.always {
            Setting::new("sync_interval: always", "the strictest: synced before the answer", doc)
        } else {
            Setting::new("sync_interval as shipped (2 min)", "the default: not synced", doc)
        };
        Facts {
            name: if self.always { "nats-always" } else { "nats-default" }.into(),
            version: self.version.clone(),
            confirm_means: if self.always { "on disk" } else { "written, not synced" }.into(),
            synced: self.always,
            client: "crate async-nats".into(),
            settings: vec![
                sync,
                Setting::new("file storage, 1 replica", "one broker on one disk", stream),
                Setting::new(
                    "limits retention",
                    "acked messages stay; work-queue retention deletes each and is slower",
                    stream,
                ),
                Setting::new(
                    "1,000 queues are 1,000 subjects of one stream",
                    "what its documentation advises instead of many streams",
                    stream,
                ),
                Setting::new(
                    "max_ack_pending 20,000, pulls of 1,000",
                    "the default of 1,000 limits throughput",
                    "docs.nats.io/nats-concepts/jetstream/consumers",
                ),
                Setting::new(
                    if self.always { "window 1,000" } else { "window 10,000" },
                    "with always each message costs a sync, and confirms come a window at a time",
                    "measured",
                ),
                Setting::new(
                    "batched: atomic batches (allow_atomic) of up to 1,000 or 1 MiB, 8 under way",
                    "one sync per batch; with always all workloads but latency use it",
                    "github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md",
                ),
            ],
            commands: vec![format!("{}  # {}", self.process().shown(), self.config().trim())],
        }
    }

    fn launch(&self, dir: &Path) -> Result<Launch> {
        std::fs::write(dir.join("nats.conf"), self.config())?;
        Ok(Launch::one(self.process()))
    }

    async fn reach(&self) -> Result<()> {
        let account = context(1_000).await?.query_account().await;
        account.map(drop).map_err(|error| anyhow!("nats: {error}"))
    }

    fn usual_mode(&self) -> Mode {
        if self.always { Mode::Batched } else { Mode::Single }
    }

    fn window(&self, mode: Mode, size: usize) -> usize {
        match (mode, size) {
            (Mode::Batched, _) => BATCHES * crate::peer::batch(size),
            (Mode::Single, 0..=1_024) if !self.always => 10_000,
            (Mode::Single, _) => 1_000,
        }
    }

    async fn declare(&self, scene: &Scene) -> Result<()> {
        let context = context(1_000).await?;
        let config = stream::Config {
            name: scene.name.clone(),
            subjects: vec![format!("{}.*", scene.name)],
            storage: StorageType::File,
            allow_atomic_publish: true,
            ..Default::default()
        };
        let stream = context.create_stream(config).await?;
        for group in 0..scene.groups.max(1) {
            let config = pull::Config {
                durable_name: Some(format!("g{group}")),
                ack_policy: AckPolicy::Explicit,
                max_ack_pending: ACK_PENDING_MAX,
                ..Default::default()
            };
            stream.create_consumer(config).await?;
        }
        Ok(())
    }

    async fn strike(&self, scene: &Scene) -> Result<()> {
        Ok(context(1_000).await?.delete_stream(&scene.name).await.map(drop)?)
    }

    async fn publisher(&self, scene: &Scene, counters: Arc<Counters>) -> Result<Sender> {
        let window = self.window(scene.mode, scene.size);
        Ok(Sender {
            context: context(window + 1).await?,
            subjects: (0..scene.queues).map(|at| format!("{}.{at}", scene.name).into()).collect(),
            mode: scene.mode,
            batches: 0,
            confirms: Confirms::new(window, counters),
        })
    }

    async fn consumer(&self, scene: &Scene, index: usize) -> Result<Puller> {
        let stream = context(1_000).await?.get_stream(&scene.name).await?;
        let group = if scene.groups == 0 { 0 } else { index };
        let consumer: PullConsumer =
            stream.get_consumer(&format!("g{group}")).await.map_err(|error| anyhow!("{error}"))?;
        let messages = consumer.stream().max_messages_per_batch(PULL).messages().await?;
        Ok(Puller { messages, taken: Vec::new() })
    }
}

impl Nats {
    fn config(&self) -> String {
        let sync = if self.always { ", sync_interval: always" } else { "" };
        let store = format!("jetstream {{ store_dir: data{sync} }}");
        format!("listen: 127.0.0.1:17422, server_name: peers, {store}\n")
    }
}

async fn context(in_flight: usize) -> Result<Context> {
    let client = async_nats::ConnectOptions::new().connect(URL).await.context("nats")?;
    let builder = ContextBuilder::new().timeout(Duration::from_secs(30));
    Ok(builder.ack_timeout(Duration::from_secs(30)).max_ack_inflight(in_flight).build(client))
}

type Confirmed = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub(crate) struct Sender {
    context: Context,
    subjects: Vec<async_nats::Subject>,
    mode: Mode,
    batches: u64,
    confirms: Confirms<Confirmed>,
}

impl Sender {
    fn subject(&self, at: usize) -> async_nats::Subject {
        self.subjects[at % self.subjects.len()].clone()
    }

    /// All of them or none: every message but the last goes unanswered, the last one commits.
    async fn publish_batch(&mut self, turn: usize, bodies: &[Bytes]) -> Result<()> {
        let places = self.confirms.places_of(BATCHES);
        self.confirms.room(places).await?;
        self.batches += 1;
        let id = format!("b{}", self.batches);
        let client = self.context.client();
        for (at, body) in bodies.iter().enumerate() {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", (at + 1).to_string());
            let subject = self.subject(turn + at);
            if at + 1 < bodies.len() {
                client.publish_with_headers(subject, headers, body.clone()).await?;
                continue;
            }
            headers.insert("Nats-Batch-Commit", "1");
            let answer = self.context.publish_with_headers(subject, headers, body.clone()).await?;
            let confirmed = async move { Ok(answer.await.map(drop)?) };
            self.confirms.watch_batch(places, bodies.len(), Box::pin(confirmed));
        }
        Ok(())
    }
}

impl Publisher for Sender {
    async fn publish(&mut self, turn: usize, bodies: &[Bytes]) -> Result<()> {
        if self.mode == Mode::Batched {
            return self.publish_batch(turn, bodies).await;
        }
        self.confirms.room(bodies.len()).await?;
        for (at, body) in bodies.iter().enumerate() {
            let answer = self.context.publish(self.subject(turn + at), body.clone()).await?;
            let confirmed = async move { Ok(answer.await.map(drop)?) };
            self.confirms.watch(1, Box::pin(confirmed));
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.confirms.flush().await
    }
}

pub(crate) struct Puller {
    messages: pull::Stream,
    taken: Vec<Message>,
}

impl Consumer for Puller {
    async fn take(&mut self, stamps: &mut Vec<u64>) -> Result<()> {
        self.taken.push(self.messages.next().await.context("the consumer ended")??);
        while self.taken.len() < TAKEN_MAX {
            let Some(Some(message)) = self.messages.next().now_or_never() else { break };
            self.taken.push(message?);
        }
        stamps.extend(self.taken.iter().map(|message| stamp(&message.payload)));
        Ok(())
    }

    async fn ack(&mut self) -> Result<()> {
        for message in self.taken.drain(..) {
            message.ack().await.map_err(|error| anyhow!("ack: {error}"))?;
        }
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}
