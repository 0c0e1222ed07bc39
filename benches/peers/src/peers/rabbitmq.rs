//! RabbitMQ over AMQP 0-9-1: quorum queues or durable classic ones, publisher confirms, one ack per
//! message. AMQP has no batches.

use crate::bodies::stamp;
use crate::confirms::Confirms;
use crate::counters::Counters;
use crate::peer::{Consumer, Facts, Mode, Peer, Publisher, Scene, Setting};
use crate::server::{Launch, Process};
use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

const URL: &str = "amqp://127.0.0.1:17672/%2f?heartbeat=0";
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const PREFETCH: u16 = 1_000;
/// Publishes and acks handed to the client together: one by one it is half as fast.
const TOGETHER: usize = 64;
/// Connections that declare many queues.
const DECLARERS: usize = 8;
const PERSISTENT: u8 = 2;

#[derive(Debug)]
pub(crate) struct RabbitMq {
    quorum: bool,
    version: String,
}

impl RabbitMq {
    pub(crate) fn new(quorum: bool) -> Result<Self> {
        let real = fs::canonicalize(SERVER);
        let real = real.with_context(|| format!("{SERVER}: install rabbitmq-server"))?;
        let folder = real.ancestors().find_map(|folder| {
            folder.file_name()?.to_str()?.strip_prefix("rabbitmq_server-").map(str::to_owned)
        });
        let listed = || {
            let names = fs::read_dir("/usr/lib/rabbitmq/lib").ok()?.flatten();
            let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
            names.find_map(|name| name.strip_prefix("rabbitmq_server-").map(str::to_owned))
        };
        let version = folder.or_else(listed).unwrap_or_else(|| "unknown version".into());
        Ok(Self { quorum, version })
    }

    /// Erlang's port mapper, so that none is left behind, and the broker.
    fn processes(dir: &Path) -> Vec<Process> {
        let folder = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let with_env = |process: Process| {
            process
                .env("HOME", folder(""))
                .env("ERL_EPMD_PORT", "17369")
                .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        };
        let mapper = with_env(Process::new("epmd", &[]));
        let server = with_env(Process::new(SERVER, &[]))
            // Its script then becomes the broker instead of waiting for it as a parent.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("RABBITMQ_NODENAME", "peers@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", "17672")
            .env("RABBITMQ_DIST_PORT", "17673")
            .env("RABBITMQ_MNESIA_BASE", folder("data"))
            .env("RABBITMQ_LOG_BASE", folder("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder("plugins"))
            .env("RABBITMQ_CONFIG_FILE", folder("rabbitmq.conf"))
            .env("RABBITMQ_CONF_ENV_FILE", folder("none"))
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}",
            );
        vec![mapper, server]
    }

    fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        if self.quorum {
            let kind = AMQPValue::LongString("quorum".into());
            arguments.insert("x-queue-type".into(), kind);
        }
        arguments
    }

    async fn declare_one(&self, channel: &Channel, name: String) -> Result<()> {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.into(), options, self.arguments()).await?;
        Ok(())
    }
}

impl Peer for RabbitMq {
    type Publisher = Sender;
    type Consumer = Subscriber;

    fn facts(&self) -> Facts {
        let confirms = "rabbitmq.com/docs/confirms";
        let quorum = "rabbitmq.com/docs/quorum-queues";
        let kind = if self.quorum {
            Setting::new(
                "x-queue-type: quorum",
                "what its documentation advises for data safety: its log is synced before a confirm",
                quorum,
            )
        } else {
            Setting::new(
                "durable classic queue, delivery mode 2",
                "the default queue type: written, synced at intervals and when idle",
                "rabbitmq.com/docs/classic-queues",
            )
        };
        let processes = Self::processes(Path::new(""));
        Facts {
            name: if self.quorum { "rabbitmq-quorum" } else { "rabbitmq-classic" }.into(),
            version: format!("RabbitMQ {}", self.version),
            confirm_means: if self.quorum { "on disk" } else { "written; synced in its own time" }
                .into(),
            synced: self.quorum,
            client: "crate lapin, AMQP 0-9-1".into(),
            settings: vec![
                kind,
                Setting::new(
                    "publisher confirms, window 10,000 (1,000 at 16 KiB)",
                    "confirms streamed and handled as they come, as its documentation advises",
                    confirms,
                ),
                Setting::new(
                    "prefetch 1,000, basic.ack of each message",
                    "a prefetch in the hundreds or more is advised for throughput",
                    confirms,
                ),
                Setting::new(
                    "publishes and acks handed to the client 64 at a time",
                    "the client is twice as fast that way",
                    "measured",
                ),
                Setting::new(
                    "no plugins, everything else as shipped",
                    "shipped without busy waiting of schedulers, which suits 2 shared cores",
                    "rabbitmq.com/docs/runtime",
                ),
            ],
            commands: processes.iter().map(Process::shown).collect(),
        }
    }

    fn launch(&self, dir: &Path) -> Result<Launch> {
        let dir: PathBuf = std::path::absolute(dir)?;
        // Its files must be readable to it, and there must be no plugins of the machine's own.
        fs::write(dir.join("plugins"), "[].\n")?;
        fs::write(dir.join("rabbitmq.conf"), "log.file.level = warning\n")?;
        Ok(Launch { processes: Self::processes(&dir) })
    }

    async fn reach(&self) -> Result<()> {
        connect().await.map(drop)
    }

    fn has_batches(&self) -> bool {
        false
    }

    fn window(&self, _mode: Mode, size: usize) -> usize {
        if size <= 1_024 { 10_000 } else { 1_000 }
    }

    async fn declare(&self, scene: &Scene) -> Result<()> {
        if scene.groups > 0 {
            let channel = channel().await?;
            let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let exchange = scene.queue(0);
            let declared = channel.exchange_declare(
                exchange.clone().into(),
                ExchangeKind::Fanout,
                options,
                FieldTable::default(),
            );
            declared.await?;
            for group in 0..scene.groups {
                let queue = group_queue(scene, group);
                self.declare_one(&channel, queue.clone()).await?;
                let options = QueueBindOptions::default();
                let (queue, exchange) = (queue.into(), exchange.clone().into());
                let none = FieldTable::default();
                channel.queue_bind(queue, exchange, "".into(), options, none).await?;
            }
            return Ok(());
        }
        let part = |first: usize| async move {
            let channel = channel().await?;
            for at in (first..scene.queues).step_by(DECLARERS) {
                self.declare_one(&channel, scene.queue(at)).await?;
            }
            Ok::<_, anyhow::Error>(())
        };
        try_join_all((0..DECLARERS.min(scene.queues)).map(part)).await.map(drop)
    }

    async fn strike(&self, scene: &Scene) -> Result<()> {
        if scene.queues > 1 {
            // The last cell: the broker is thrown away, which is quicker.
            return Ok(());
        }
        let channel = channel().await?;
        let names = match scene.groups {
            0 => vec![scene.queue(0)],
            groups => (0..groups).map(|group| group_queue(scene, group)).collect(),
        };
        for name in names {
            channel.queue_delete(name.into(), QueueDeleteOptions::default()).await?;
        }
        Ok(())
    }

    async fn publisher(&self, scene: &Scene, counters: Arc<Counters>) -> Result<Sender> {
        let channel = channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let window = self.window(scene.mode, scene.size);
        let is_fan_out = scene.groups > 0;
        Ok(Sender {
            channel,
            exchange: if is_fan_out { scene.queue(0) } else { String::new() },
            keys: (0..scene.queues)
                .map(|at| if is_fan_out { String::new() } else { scene.queue(at) })
                .collect(),
            confirms: Confirms::new(window, counters),
        })
    }

    async fn consumer(&self, scene: &Scene, index: usize) -> Result<Subscriber> {
        let channel = channel().await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let queue = if scene.groups == 0 { scene.queue(0) } else { group_queue(scene, index) };
        let options = BasicConsumeOptions::default();
        let tag = format!("c{index}").into();
        let consumer =
            channel.basic_consume(queue.into(), tag, options, FieldTable::default()).await?;
        Ok(Subscriber { consumer, taken: Vec::new(), _channel: channel })
    }
}

fn group_queue(scene: &Scene, group: usize) -> String {
    format!("{}-g{group}", scene.queue(0))
}

async fn connect() -> Result<Connection> {
    Connection::connect(URL, ConnectionProperties::default()).await.context("rabbitmq")
}

/// A channel on a connection of its own, which lives as long as the channel.
async fn channel() -> Result<Channel> {
    Ok(connect().await?.create_channel().await?)
}

type Confirmed = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

pub(crate) struct Sender {
    channel: Channel,
    exchange: String,
    keys: Vec<String>,
    confirms: Confirms<Confirmed>,
}

impl Publisher for Sender {
    async fn publish(&mut self, turn: usize, bodies: &[Bytes]) -> Result<()> {
        for (part, bodies) in bodies.chunks(TOGETHER).enumerate() {
            self.confirms.room(bodies.len()).await?;
            let all = bodies.iter().enumerate().map(|(at, body)| {
                let key = &self.keys[(turn + part * TOGETHER + at) % self.keys.len()];
                self.channel.basic_publish(
                    self.exchange.as_str().into(),
                    key.as_str().into(),
                    BasicPublishOptions::default(),
                    body,
                    BasicProperties::default().with_delivery_mode(PERSISTENT),
                )
            });
            let sent: Vec<_> = join_all(all).await.into_iter().collect::<Result<_, _>>()?;
            let confirmed = async move {
                for confirm in sent {
                    ensure!(confirm.await?.is_ack(), "RabbitMQ refused a message");
                }
                Ok(())
            };
            self.confirms.watch(bodies.len(), Box::pin(confirmed));
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.confirms.flush().await
    }
}

pub(crate) struct Subscriber {
    consumer: lapin::Consumer,
    taken: Vec<Delivery>,
    _channel: Channel,
}

impl Consumer for Subscriber {
    async fn take(&mut self, stamps: &mut Vec<u64>) -> Result<()> {
        self.taken.push(self.consumer.next().await.context("the consumer ended")??);
        while self.taken.len() < TOGETHER {
            let Some(Some(delivery)) = self.consumer.next().now_or_never() else { break };
            self.taken.push(delivery?);
        }
        stamps.extend(self.taken.iter().map(|delivery| stamp(&delivery.data)));
        Ok(())
    }

    async fn ack(&mut self) -> Result<()> {
        let acks = self.taken.iter().map(|delivery| delivery.acker.ack(BasicAckOptions::default()));
        let sent = join_all(acks).await.into_iter().collect::<Result<Vec<bool>, _>>();
        sent.map_err(|error| anyhow!("ack: {error}"))?;
        self.taken.clear();
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}
