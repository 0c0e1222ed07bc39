//! Apache Iggy, from a folder with `iggy-server` that is given by `--iggy DIR`. A connection carries
//! one request at a time, so what is in flight is one batch; there are no acks of single messages:
//! each poll stores its offset, which is less work than what the others do.

use crate::bodies::stamp;
use crate::counters::Counters;
use crate::peer::{Consumer, Facts, Mode, Peer, Publisher, Scene, Setting};
use crate::server::{Launch, Process};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use iggy::prelude::{
    Client, CompressionAlgorithm, Identifier, IggyClient, IggyExpiry, IggyMessage, MaxTopicSize,
    MessageClient, Partitioning, PollingStrategy, StreamClient, TopicClient,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const URL: &str = "iggy://iggy:iggy@127.0.0.1:17090";
/// Messages of a poll at most.
const POLL: u32 = 1_000;
/// Between polls that found nothing.
const PAUSE: Duration = Duration::from_micros(500);
/// Messages of a request where there are many topics.
const OF_A_TOPIC: usize = 100;

#[derive(Debug)]
pub(crate) struct Iggy {
    binary: PathBuf,
    strict: bool,
    version: String,
}

impl Iggy {
    pub(crate) fn new(home: &Path, strict: bool) -> Result<Self> {
        let binary = std::path::absolute(home.join("iggy-server"))?;
        ensure!(binary.exists(), "there is no {}", binary.display());
        let version = super::version(&binary, &["--version"])?;
        Ok(Self { binary, strict, version })
    }

    fn process(&self) -> Process {
        let process = Process::new(&self.binary, &[])
            .env("IGGY_SYSTEM_PATH", "data")
            .env("IGGY_TCP_ADDRESS", "127.0.0.1:17090")
            .env("IGGY_HTTP_ENABLED", "false")
            .env("IGGY_QUIC_ENABLED", "false")
            .env("IGGY_WEBSOCKET_ENABLED", "false")
            .env("IGGY_ROOT_USERNAME", "iggy")
            .env("IGGY_ROOT_PASSWORD", "iggy");
        if !self.strict {
            return process;
        }
        process
            .env("IGGY_SYSTEM_PARTITION_ENFORCE_FSYNC", "true")
            .env("IGGY_SYSTEM_PARTITION_MESSAGES_REQUIRED_TO_SAVE", "1")
            .env("IGGY_SYSTEM_STATE_ENFORCE_FSYNC", "true")
    }
}

impl Peer for Iggy {
    type Publisher = Sender;
    type Consumer = Poller;

    fn facts(&self) -> Facts {
        let doc = "iggy.apache.org/docs/server/configuration";
        let sync = if self.strict {
            Setting::new(
                "partition.enforce_fsync, messages_required_to_save 1, state.enforce_fsync",
                "the strictest: every request is written and synced before it is answered",
                doc,
            )
        } else {
            Setting::new("as shipped", "the default: answered from memory, saved later", doc)
        };
        let sends = "iggy.apache.org/docs/introduction/high-performance";
        Facts {
            name: if self.strict { "iggy-fsync" } else { "iggy-default" }.into(),
            version: self.version.clone(),
            confirm_means: if self.strict { "on disk" } else { "in memory" }.into(),
            synced: self.strict,
            client: "crate iggy, TCP".into(),
            settings: vec![
                sync,
                Setting::new(
                    "batched: requests of up to 1,000 messages or 1 MiB; one request in flight",
                    "large batches are its documented way; a connection carries one at a time",
                    sends,
                ),
                Setting::new(
                    "polls of up to 1,000 that store their offset",
                    "there is no ack of a single message: less work than the others do",
                    sends,
                ),
                Setting::new("8 partitions for 8 consumers, else 1", "one consumer each", sends),
                Setting::new(
                    "1,000 queues: 100 messages per request",
                    "single messages would be a request and a sync each",
                    sends,
                ),
            ],
            commands: vec![self.process().shown()],
        }
    }

    fn launch(&self, _dir: &Path) -> Result<Launch> {
        Ok(Launch::one(self.process()))
    }

    async fn reach(&self) -> Result<()> {
        tokio::net::TcpStream::connect("127.0.0.1:17090").await?;
        connect().await.map(drop)
    }

    fn window(&self, mode: Mode, size: usize) -> usize {
        if mode == Mode::Single { 1 } else { crate::peer::batch(size) }
    }

    async fn declare(&self, scene: &Scene) -> Result<()> {
        let client = connect().await?;
        client.create_stream(&scene.name).await?;
        let stream = Identifier::named(&scene.name)?;
        let partitions = if scene.groups == 0 { scene.consumers.max(1) } else { 1 };
        let partitions = u32::try_from(partitions)?;
        for at in 0..scene.queues {
            let name = scene.queue(at);
            let topic = client.create_topic(
                &stream,
                &name,
                partitions,
                CompressionAlgorithm::None,
                None,
                IggyExpiry::NeverExpire,
                MaxTopicSize::ServerDefault,
            );
            topic.await?;
        }
        Ok(())
    }

    async fn strike(&self, scene: &Scene) -> Result<()> {
        let stream = Identifier::named(&scene.name)?;
        Ok(connect().await?.delete_stream(&stream).await?)
    }

    async fn publisher(&self, scene: &Scene, counters: Arc<Counters>) -> Result<Sender> {
        let topics = (0..scene.queues).map(|at| Identifier::named(&scene.queue(at)));
        Ok(Sender {
            client: connect().await?,
            stream: Identifier::named(&scene.name)?,
            topics: topics.collect::<Result<_, _>>()?,
            request: match scene.mode {
                Mode::Single => 1,
                Mode::Batched if scene.queues > 1 => OF_A_TOPIC,
                Mode::Batched => scene.batch(),
            },
            next: 0,
            counters,
        })
    }

    async fn consumer(&self, scene: &Scene, index: usize) -> Result<Poller> {
        let (group, partition) = if scene.groups == 0 { (0, index) } else { (index, 0) };
        Ok(Poller {
            client: connect().await?,
            stream: Identifier::named(&scene.name)?,
            topic: Identifier::named(&scene.queue(0))?,
            consumer: iggy::prelude::Consumer::new(Identifier::named(&format!("g{group}"))?),
            partition: u32::try_from(partition)?,
        })
    }
}

async fn connect() -> Result<IggyClient> {
    let client = IggyClient::from_connection_string(URL)?;
    client.connect().await.context("iggy")?;
    Ok(client)
}

pub(crate) struct Sender {
    client: IggyClient,
    stream: Identifier,
    topics: Vec<Identifier>,
    /// Messages of a request at most.
    request: usize,
    /// Requests so far; each goes to the next topic.
    next: usize,
    counters: Arc<Counters>,
}

impl Publisher for Sender {
    async fn publish(&mut self, _turn: usize, bodies: &[Bytes]) -> Result<()> {
        for part in bodies.chunks(self.request) {
            let messages =
                part.iter().map(|body| IggyMessage::builder().payload(body.clone()).build());
            let mut messages = messages.collect::<Result<Vec<_>, _>>()?;
            let topic = &self.topics[self.next % self.topics.len()];
            self.next += 1;
            let to = Partitioning::balanced();
            self.client.send_messages(&self.stream, topic, &to, &mut messages).await?;
            self.counters.confirmed.fetch_add(part.len() as u64, Relaxed);
        }
        Ok(())
    }

    /// Every request was answered before the next.
    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(crate) struct Poller {
    client: IggyClient,
    stream: Identifier,
    topic: Identifier,
    consumer: iggy::prelude::Consumer,
    partition: u32,
}

impl Consumer for Poller {
    async fn take(&mut self, stamps: &mut Vec<u64>) -> Result<()> {
        let next = PollingStrategy::next();
        loop {
            let polled = self.client.poll_messages(
                &self.stream,
                &self.topic,
                Some(self.partition),
                &self.consumer,
                &next,
                POLL,
                true,
            );
            let polled = polled.await?;
            if !polled.messages.is_empty() {
                stamps.extend(polled.messages.iter().map(|message| stamp(&message.payload)));
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The poll has stored its offset.
    async fn ack(&mut self) -> Result<()> {
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}
