//! Apache Kafka, from a distribution that is given by `--kafka DIR`: one broker that is its own
//! controller, acks=all, consumer groups whose offset is committed after every poll. It has no acks
//! of single messages here, which is less work than what the others do.

use crate::bodies::stamp;
use crate::confirms::Confirms;
use crate::counters::Counters;
use crate::peer::{Consumer, Facts, Mode, Peer, Publisher, Scene, Setting};
use crate::server::{Launch, Process};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use krafka::admin::NewTopic;
use krafka::consumer::{AutoOffsetReset, ConsumerRecord};
use krafka::producer::{Acks, Producer};
use krafka::{Kafka as Client, Record};
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const ADDRESS: &str = "127.0.0.1:17092";
/// Any base64 of 16 bytes.
const CLUSTER: &str = "cG9zdGhhc3RlLXBlZXJzMA";
const POLL: Duration = Duration::from_millis(200);
/// How long a consumer may take to join its group.
const JOIN_POLLS: usize = 50;

#[derive(Debug)]
pub(crate) struct Kafka {
    home: PathBuf,
    strict: bool,
    version: String,
}

impl Kafka {
    pub(crate) fn new(home: &Path, strict: bool) -> Result<Self> {
        let home = std::path::absolute(home)?;
        let start = home.join("bin/kafka-server-start.sh");
        ensure!(start.exists(), "there is no {}", start.display());
        let names = fs::read_dir(home.join("libs"))?.flatten();
        let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let version = names.find_map(|name| {
            let version = name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?;
            Some(version.to_owned())
        });
        Ok(Self { home, strict, version: version.unwrap_or_else(|| "unknown version".into()) })
    }

    fn process(&self, dir: &Path) -> Process {
        let program = self.home.join("bin/kafka-server-start.sh");
        let logs = dir.join("log").to_string_lossy().into_owned();
        Process::new(program, &["server.properties"]).env("LOG_DIR", logs)
    }

    fn config(&self, dir: &Path) -> String {
        let flush = if self.strict { "log.flush.interval.messages=1\n" } else { "" };
        format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:17093\n\
             listeners=PLAINTEXT://{ADDRESS},CONTROLLER://127.0.0.1:17093\n\
             advertised.listeners=PLAINTEXT://{ADDRESS}\n\
             controller.listener.names=CONTROLLER\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nmessage.max.bytes=2097152\n{flush}",
            dir.join("data").display()
        )
    }
}

impl Peer for Kafka {
    type Publisher = Sender;
    type Consumer = Poller;

    fn facts(&self) -> Facts {
        let doc = "kafka.apache.org/documentation/#brokerconfigs";
        let producer = "kafka.apache.org/documentation/#producerconfigs";
        let flush = if self.strict {
            let why = "the strictest: synced after every append, before the answer";
            Setting::new("log.flush.interval.messages=1", why, doc)
        } else {
            let why = "the default: syncing is left to the kernel, durability to replicas";
            Setting::new("log.flush.interval.messages as shipped (never)", why, doc)
        };
        Facts {
            name: if self.strict { "kafka-flush" } else { "kafka-default" }.into(),
            version: format!("Kafka {}", self.version),
            confirm_means: if self.strict { "on disk" } else { "written, not synced" }.into(),
            synced: self.strict,
            client: "crate krafka".into(),
            settings: vec![
                flush,
                Setting::new("one node, broker and controller, replication 1", "one disk", doc),
                Setting::new("acks=all, idempotence as shipped", "the default", producer),
                Setting::new(
                    "batched: batch.size 1 MiB, linger.ms 5; one per call: batch.size 1",
                    "larger batches are the documented way to throughput",
                    producer,
                ),
                Setting::new(
                    "8 partitions for 8 consumers, else 1",
                    "a partition has one consumer of a group",
                    "kafka.apache.org/documentation/#intro_concepts_and_terms",
                ),
                Setting::new(
                    "offsets committed after every poll",
                    "there is no ack of a single message: less work than the others do",
                    "kafka.apache.org/documentation/#consumerconfigs",
                ),
                Setting::new("heap as shipped (1 GiB)", "the default", "bin/kafka-server-start.sh"),
            ],
            commands: vec![
                format!("kafka-storage.sh format -t {CLUSTER} -c server.properties"),
                self.process(Path::new("")).shown(),
            ],
        }
    }

    fn launch(&self, dir: &Path) -> Result<Launch> {
        let dir = std::path::absolute(dir)?;
        fs::write(dir.join("server.properties"), self.config(&dir))?;
        if !dir.join("data/meta.properties").exists() {
            let mut format = Command::new(self.home.join("bin/kafka-storage.sh"));
            format.args(["format", "-t", CLUSTER, "-c", "server.properties"]).current_dir(&dir);
            let output = format.env("LOG_DIR", dir.join("log")).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Launch::one(self.process(&dir)))
    }

    async fn reach(&self) -> Result<()> {
        tokio::net::TcpStream::connect(ADDRESS).await?;
        connect().await.map(drop)
    }

    fn warms_up(&self) -> bool {
        true
    }

    fn window(&self, mode: Mode, size: usize) -> usize {
        match (mode, size) {
            (Mode::Batched, _) => 10 * crate::peer::batch(size),
            (Mode::Single, _) => 1_000,
        }
    }

    async fn declare(&self, scene: &Scene) -> Result<()> {
        let partitions = if scene.groups == 0 { scene.consumers.max(1) } else { 1 };
        let partitions = i32::try_from(partitions)?;
        let topic = |at| NewTopic::new(scene.queue(at), partitions, 1);
        let topics = (0..scene.queues).map(topic).collect::<Result<Vec<_>, _>>()?;
        let created = connect().await?.admin().create_topics(topics, Default::default()).await?;
        for (name, created) in created {
            created.with_context(|| name)?;
        }
        Ok(())
    }

    async fn strike(&self, scene: &Scene) -> Result<()> {
        let names: Vec<String> = (0..scene.queues).map(|at| scene.queue(at)).collect();
        connect().await?.admin().delete_topics(names, Default::default()).await?;
        Ok(())
    }

    async fn publisher(&self, scene: &Scene, counters: Arc<Counters>) -> Result<Sender> {
        let (batch, linger) = match scene.mode {
            Mode::Single => (1, Duration::ZERO),
            Mode::Batched if scene.at_once => (1 << 20, Duration::ZERO),
            Mode::Batched => (1 << 20, Duration::from_millis(5)),
        };
        let builder = connect().await?.producer().acks(Acks::All).linger(linger);
        let builder = builder.batch_size(batch).max_request_size(2 << 20);
        Ok(Sender {
            producer: builder.build().await?,
            topics: (0..scene.queues).map(|at| scene.queue(at)).collect(),
            confirms: Confirms::new(self.window(scene.mode, scene.size), counters),
        })
    }

    async fn consumer(&self, scene: &Scene, index: usize) -> Result<Poller> {
        let group = if scene.groups == 0 { 0 } else { index };
        let builder = connect().await?.consumer(format!("{}-g{group}", scene.name));
        let builder = builder.auto_offset_reset(AutoOffsetReset::Earliest);
        let consumer = builder.enable_auto_commit(false).build().await?;
        consumer.subscribe([scene.queue(0)]).await?;
        // Polling is what joins the group; messages may come with the first poll that has joined.
        let mut early = Vec::new();
        for _ in 0..JOIN_POLLS {
            early = consumer.poll(POLL).await?;
            if !early.is_empty() || !consumer.assignment().await.is_empty() {
                break;
            }
        }
        Ok(Poller { consumer, early })
    }
}

async fn connect() -> Result<Client> {
    Client::builder(ADDRESS).connect().await.context("kafka")
}

type Confirmed = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub(crate) struct Sender {
    producer: Producer,
    topics: Vec<String>,
    confirms: Confirms<Confirmed>,
}

impl Publisher for Sender {
    async fn publish(&mut self, turn: usize, bodies: &[Bytes]) -> Result<()> {
        self.confirms.room(bodies.len()).await?;
        let mut all = Vec::with_capacity(bodies.len());
        for (at, body) in bodies.iter().enumerate() {
            let topic = self.topics[(turn + at) % self.topics.len()].clone();
            all.push(self.producer.enqueue(Record::new(topic, body.clone())).await?);
        }
        let confirmed = async move {
            for one in all {
                let _place = one.await?;
            }
            Ok(())
        };
        self.confirms.watch(bodies.len(), Box::pin(confirmed));
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.producer.flush().await?;
        self.confirms.flush().await
    }
}

pub(crate) struct Poller {
    consumer: krafka::consumer::Consumer,
    early: Vec<ConsumerRecord>,
}

impl Consumer for Poller {
    async fn take(&mut self, stamps: &mut Vec<u64>) -> Result<()> {
        while self.early.is_empty() {
            self.early = self.consumer.poll(POLL).await?;
        }
        let bodies = self.early.drain(..).filter_map(|record| record.value);
        stamps.extend(bodies.map(|body| stamp(&body)));
        Ok(())
    }

    async fn ack(&mut self) -> Result<()> {
        Ok(self.consumer.commit().await?)
    }

    async fn close(self) -> Result<()> {
        Ok(self.consumer.close().await?)
    }
}
