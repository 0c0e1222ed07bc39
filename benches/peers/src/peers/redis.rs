//! Redis Streams: XADD to publish, one consumer group per queue (or five of a topic), XREADGROUP and
//! one XACK per message.

use crate::bodies::stamp;
use crate::confirms::Confirms;
use crate::counters::Counters;
use crate::peer::{Consumer, Facts, Mode, Peer, Publisher, Scene, Setting};
use crate::server::{Launch, Process};
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, Value, cmd, pipe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::JoinHandle;

const PORT: &str = "17379";
const URL: &str = "redis://127.0.0.1:17379";
/// Batches that are under way.
const BATCHES: usize = 10;

#[derive(Debug)]
pub(crate) struct Redis {
    binary: PathBuf,
    version: String,
    always: bool,
}

impl Redis {
    pub(crate) fn new(binary: &Path, always: bool) -> Result<Self> {
        let version = super::version(binary, &["--version"])?;
        let version = version.split_whitespace().find_map(|word| word.strip_prefix("v="));
        let version = version.context("redis-server --version")?.to_owned();
        Ok(Self { binary: super::program(binary)?, version, always })
    }

    fn fsync(&self) -> &'static str {
        if self.always { "always" } else { "everysec" }
    }

    fn process(&self) -> Process {
        let place = ["--port", PORT, "--bind", "127.0.0.1", "--dir", ".", "--save", ""];
        let aof = ["--appendonly", "yes", "--appendfsync", self.fsync()];
        Process::new(&self.binary, &[&place[..], &aof[..]].concat())
    }
}

impl Peer for Redis {
    type Publisher = Sender;
    type Consumer = Reader;

    fn facts(&self) -> Facts {
        let doc = "redis.io/docs/latest/operate/oss_and_stack/management/persistence";
        let why = if self.always {
            "the strictest: synced before the answer, many commands share one sync"
        } else {
            "the default with the append-only file: synced every second, up to a second may be lost"
        };
        Facts {
            name: format!("redis-{}", self.fsync()),
            version: format!("Redis {}", self.version),
            confirm_means: if self.always { "on disk" } else { "written, synced within a second" }
                .into(),
            synced: self.always,
            client: "crate redis, one multiplexed connection".into(),
            settings: vec![
                Setting::new("appendonly yes", "without it nothing survives the process", doc),
                Setting::new(&format!("appendfsync {}", self.fsync()), why, doc),
                Setting::new(
                    "save \"\"",
                    "no snapshots beside the append-only file: they would only cost",
                    doc,
                ),
                Setting::new(
                    "auto-aof-rewrite as shipped (at 100 % growth over 64 MB)",
                    "part of what it costs to keep the file bounded",
                    doc,
                ),
                Setting::new(
                    "io-threads as shipped (1)",
                    "more are advised from 4 cores on; here are 2 and the load shares them",
                    "comments of redis.conf, section THREADED I/O",
                ),
                Setting::new(
                    "batched: pipelines of up to 1,000 XADD or 1 MiB, 10 under way",
                    "pipelining is the documented way to throughput",
                    "redis.io/docs/latest/develop/using-commands/pipelining",
                ),
                Setting::new(
                    "XREADGROUP COUNT 500, one XACK per message, pipelined with the next read",
                    "each message acked on its own; entries stay in the stream, XDEL would cost more",
                    "redis.io/docs/latest/develop/data-types/streams",
                ),
            ],
            commands: vec![self.process().shown()],
        }
    }

    fn launch(&self, _dir: &Path) -> Result<Launch> {
        Ok(Launch::one(self.process()))
    }

    async fn reach(&self) -> Result<()> {
        let pong: Value = cmd("PING").query_async(&mut connect().await?).await?;
        // While it loads its file it answers with an error, which is not reached yet.
        drop(pong);
        Ok(())
    }

    fn window(&self, mode: Mode, size: usize) -> usize {
        match (mode, size) {
            (Mode::Batched, _) => BATCHES * crate::peer::batch(size),
            (Mode::Single, 0..=1_024) => 10_000,
            (Mode::Single, _) => 1_000,
        }
    }

    async fn declare(&self, scene: &Scene) -> Result<()> {
        let mut connection = connect().await?;
        let mut all = pipe();
        for at in 0..scene.queues {
            for group in 0..scene.groups.max(1) {
                let create = all.cmd("XGROUP").arg("CREATE").arg(scene.queue(at));
                create.arg(format!("g{group}")).arg("0").arg("MKSTREAM").ignore();
            }
        }
        Ok(all.query_async(&mut connection).await?)
    }

    async fn strike(&self, scene: &Scene) -> Result<()> {
        let mut unlink = cmd("UNLINK");
        for at in 0..scene.queues {
            unlink.arg(scene.queue(at));
        }
        Ok(unlink.query_async(&mut connect().await?).await?)
    }

    async fn publisher(&self, scene: &Scene, counters: Arc<Counters>) -> Result<Sender> {
        let window = self.window(scene.mode, scene.size);
        Ok(Sender {
            connection: connect().await?,
            keys: (0..scene.queues).map(|at| scene.queue(at)).collect(),
            mode: scene.mode,
            confirms: Confirms::new(window, counters),
        })
    }

    async fn consumer(&self, scene: &Scene, index: usize) -> Result<Reader> {
        let group = if scene.groups == 0 { 0 } else { index };
        let (group, key) = (format!("g{group}"), scene.queue(0));
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(&group).arg(format!("c{index}")).arg("COUNT").arg(500);
        read.arg("BLOCK").arg(1_000).arg("STREAMS").arg(&key).arg(">");
        Ok(Reader {
            connection: connect().await?,
            read,
            group,
            key,
            taken: Vec::new(),
            acks: pipe(),
        })
    }
}

async fn connect() -> Result<MultiplexedConnection> {
    let config =
        AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(1_000);
    let client = redis::Client::open(URL)?;
    client.get_multiplexed_async_connection_with_config(&config).await.context("redis")
}

type Confirmed = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub(crate) struct Sender {
    connection: MultiplexedConnection,
    keys: Vec<String>,
    mode: Mode,
    confirms: Confirms<Confirmed>,
}

impl Sender {
    fn watch(&self, places: usize, messages: usize, answer: JoinHandle<redis::RedisResult<Value>>) {
        let confirmed = async move {
            answer.await??;
            Ok(())
        };
        self.confirms.watch_batch(places, messages, Box::pin(confirmed));
    }
}

fn add(key: &str, body: &Bytes) -> Cmd {
    let mut add = cmd("XADD");
    add.arg(key).arg("*").arg("b").arg(&body[..]);
    add
}

impl Publisher for Sender {
    async fn publish(&mut self, turn: usize, bodies: &[Bytes]) -> Result<()> {
        let places = match self.mode {
            Mode::Batched => self.confirms.places_of(BATCHES),
            Mode::Single => bodies.len(),
        };
        self.confirms.room(places).await?;
        let keyed = bodies.iter().enumerate();
        let keyed = keyed.map(|(at, body)| add(&self.keys[(turn + at) % self.keys.len()], body));
        match self.mode {
            Mode::Batched => {
                let (mut all, mut connection) = (pipe(), self.connection.clone());
                for command in keyed {
                    all.add_command(command);
                }
                // A pipeline's answer is an error if one of its commands failed.
                let answer = tokio::spawn(async move { all.query_async(&mut connection).await });
                self.watch(places, bodies.len(), answer);
            }
            Mode::Single => {
                for command in keyed {
                    let mut connection = self.connection.clone();
                    let answer =
                        tokio::spawn(async move { command.query_async(&mut connection).await });
                    self.watch(1, 1, answer);
                }
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.confirms.flush().await
    }
}

pub(crate) struct Reader {
    connection: MultiplexedConnection,
    read: Cmd,
    group: String,
    key: String,
    taken: Vec<Vec<u8>>,
    /// Acks that go out with the next read.
    acks: Pipeline,
}

impl Consumer for Reader {
    async fn take(&mut self, stamps: &mut Vec<u64>) -> Result<()> {
        loop {
            let mut both = std::mem::replace(&mut self.acks, pipe());
            both.add_command(self.read.clone());
            let answers: Vec<Value> = both.query_async(&mut self.connection).await?;
            let entries = answers.into_iter().last().and_then(entries_of).unwrap_or_default();
            for entry in entries {
                let (id, body) = entry_of(entry).ok_or_else(|| anyhow!("not an entry"))?;
                stamps.push(stamp(&body));
                self.taken.push(id);
            }
            if !self.taken.is_empty() {
                return Ok(());
            }
        }
    }

    async fn ack(&mut self) -> Result<()> {
        for id in self.taken.drain(..) {
            self.acks.cmd("XACK").arg(&self.key).arg(&self.group).arg(id).ignore();
        }
        Ok(())
    }

    async fn close(mut self) -> Result<()> {
        Ok(self.acks.query_async(&mut self.connection).await?)
    }
}

/// The entries in `[[key, [entry, ...]]]`; none in nil.
fn entries_of(answer: Value) -> Option<Vec<Value>> {
    let stream = array(answer)?.pop()?;
    array(array(stream)?.pop()?)
}

/// Id and body in `[id, [field, body]]`.
fn entry_of(entry: Value) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = array(entry)?;
    let body = bulk(array(parts.pop()?)?.pop()?)?;
    Some((bulk(parts.pop()?)?, body))
}

fn array(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(values) = value { Some(values) } else { None }
}

fn bulk(value: Value) -> Option<Vec<u8>> {
    if let Value::BulkString(bytes) = value { Some(bytes) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_in_an_answer_and_none_in_nil() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let entry = Value::Array(vec![text("1-1"), Value::Array(vec![text("b"), text("body")])]);
        let stream = Value::Array(vec![text("key"), Value::Array(vec![entry])]);
        let mut entries = entries_of(Value::Array(vec![stream])).expect("there is one");
        let found = entry_of(entries.pop().expect("there is one")).expect("it is an entry");
        assert_eq!(found, (b"1-1".to_vec(), b"body".to_vec()));
        assert!(entries_of(Value::Nil).is_none());
    }
}
