//! ActiveMQ Classic over STOMP: persistent messages with a receipt each, or transactions; individual
//! acks; fan-out by durable subscriptions of a topic.

use crate::bodies::stamp;
use crate::confirms::Confirms;
use crate::counters::Counters;
use crate::peer::{Consumer, Facts, Mode, Peer, Publisher, Scene, Setting};
use crate::peers::stomp::{self, Reader, Receipt, Receipts, Writer};
use crate::server::{Launch, Process};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

const ADDRESS: &str = "127.0.0.1:17613";
const HOME: &str = "/usr/share/activemq";
const PREFETCH: usize = 1_000;
const TAKEN_MAX: usize = 500;
/// Transactions that are under way.
const TRANSACTIONS: usize = 4;

#[derive(Debug)]
pub(crate) struct ActiveMq {
    sync: bool,
    version: String,
}

impl ActiveMq {
    pub(crate) fn new(sync: bool) -> Result<Self> {
        let library = Path::new(HOME).join("lib/activemq-broker.jar");
        ensure!(library.exists(), "{}: install activemq", library.display());
        ensure!(super::version(Path::new("java"), &["-version"]).is_ok(), "there is no java");
        let names = fs::read_dir("/usr/share/java")?.flatten();
        let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let version = names.find_map(|name| {
            let version = name.strip_prefix("activemq-broker-")?.strip_suffix(".jar")?;
            Some(version.to_owned())
        });
        Ok(Self { sync, version: version.unwrap_or_else(|| "unknown version".into()) })
    }

    fn process() -> Process {
        let args = [
            "-Xmx1G",
            "-Dactivemq.home=/usr/share/activemq",
            "-Dactivemq.base=.",
            "-Dactivemq.conf=.",
            "-Dactivemq.data=data",
            "-Dlog4j.configuration=file:log4j.properties",
            "-jar",
            "/usr/share/activemq/bin/activemq.jar",
            "start",
            "xbean:file:activemq.xml",
        ];
        Process::new("java", &args)
    }

    fn config(&self) -> String {
        let strategy = if self.sync { "always" } else { "periodic" };
        format!(
            r#"<beans xmlns="http://www.springframework.org/schema/beans"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans
    http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
    http://activemq.apache.org/schema/core
    http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" useJmx="false" brokerName="peers"
      dataDirectory="data">
    <destinationPolicy><policyMap><policyEntries>
      <policyEntry queue="&gt;" producerFlowControl="false"/>
      <policyEntry topic="&gt;" producerFlowControl="false"/>
    </policyEntries></policyMap></destinationPolicy>
    <persistenceAdapter>
      <kahaDB directory="data/kahadb" journalDiskSyncStrategy="{strategy}"/>
    </persistenceAdapter>
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp+nio://{ADDRESS}"/>
    </transportConnectors>
  </broker>
</beans>
"#
        )
    }
}

impl Peer for ActiveMq {
    type Publisher = Sender;
    type Consumer = Subscriber;

    fn facts(&self) -> Facts {
        let kahadb = "activemq.apache.org/components/classic/documentation/kahadb";
        let strategy = if self.sync {
            let why = "the default and the strictest: synced before the receipt";
            Setting::new("journalDiskSyncStrategy always", why, kahadb)
        } else {
            let why = "relaxed: synced every second; its default is the strict one";
            Setting::new("journalDiskSyncStrategy periodic", why, kahadb)
        };
        Facts {
            name: if self.sync { "activemq-sync" } else { "activemq-periodic" }.into(),
            version: format!("ActiveMQ Classic {}", self.version),
            confirm_means: if self.sync { "on disk" } else { "written, synced within a second" }
                .into(),
            synced: self.sync,
            client: "STOMP 1.2, a small client of ours: there is no usual one in Rust".into(),
            settings: vec![
                strategy,
                Setting::new(
                    "producerFlowControl false",
                    "a backlog goes to the store instead of stopping the producer",
                    "activemq.apache.org/producer-flow-control",
                ),
                Setting::new("-Xmx1G", "twice what Debian's service gets", "Debian's package"),
                Setting::new(
                    if self.sync { "window 1,000" } else { "window 10,000 (1,000 at 16 KiB)" },
                    "each message of a connection costs a sync where it syncs: more only waits longer",
                    "measured",
                ),
                Setting::new("useJmx false", "no management beside the load", "Debian's package"),
                Setting::new(
                    "stomp+nio, persistent:true, a receipt per message",
                    "messages are not persistent over STOMP unless they say so",
                    "activemq.apache.org/components/classic/documentation/stomp",
                ),
                Setting::new(
                    "batched: transactions of up to 1,000 or 1 MiB, 4 under way",
                    "one sync per commit, the documented way to batch persistent messages",
                    "activemq.apache.org/should-i-use-transactions",
                ),
                Setting::new(
                    "prefetch 1,000, client-individual acks",
                    "the default prefetch of queues; each message acked on its own",
                    "activemq.apache.org/what-is-the-prefetch-limit-for",
                ),
            ],
            commands: vec![Self::process().shown()],
        }
    }

    fn launch(&self, dir: &Path) -> Result<Launch> {
        fs::write(dir.join("activemq.xml"), self.config())?;
        // Without a file its library of logging works for nobody at the finest level.
        let logging = "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
                       log4j.appender.out.layout=org.apache.log4j.SimpleLayout\n";
        fs::write(dir.join("log4j.properties"), logging)?;
        Ok(Launch::one(Self::process()))
    }

    async fn reach(&self) -> Result<()> {
        stomp::connect(ADDRESS, None).await.map(drop)
    }

    /// A transaction over a thousand queues is slower than its messages one by one.
    fn mode_for_many(&self) -> Mode {
        Mode::Single
    }

    fn warms_up(&self) -> bool {
        true
    }

    fn window(&self, mode: Mode, size: usize) -> usize {
        match (mode, size) {
            (Mode::Batched, _) => TRANSACTIONS * crate::peer::batch(size),
            (Mode::Single, 0..=1_024) if !self.sync => 10_000,
            (Mode::Single, _) => 1_000,
        }
    }

    /// Destinations come with their first use.
    async fn declare(&self, _scene: &Scene) -> Result<()> {
        Ok(())
    }

    /// STOMP cannot delete; what is left waits in the store.
    async fn strike(&self, _scene: &Scene) -> Result<()> {
        Ok(())
    }

    async fn publisher(&self, scene: &Scene, counters: Arc<Counters>) -> Result<Sender> {
        let (writer, reader) = stomp::connect(ADDRESS, None).await.context("activemq")?;
        let receipts = Receipts::default();
        tokio::spawn(receipts.clone().read(reader));
        let window = self.window(scene.mode, scene.size);
        Ok(Sender {
            writer,
            receipts,
            places: (0..scene.queues).map(|at| place(scene, at)).collect(),
            mode: scene.mode,
            next: 0,
            confirms: Confirms::new(window, counters),
        })
    }

    async fn consumer(&self, scene: &Scene, index: usize) -> Result<Subscriber> {
        let id = format!("{}-{index}", scene.name);
        let durable = scene.groups > 0;
        let connected = stomp::connect(ADDRESS, durable.then_some(&id)).await;
        let (mut writer, mut reader) = connected.context("activemq")?;
        let name =
            if durable { format!("activemq.subscriptionName:{id}\n") } else { String::new() };
        let head = format!(
            "SUBSCRIBE\nid:0\ndestination:{}\nack:client-individual\n\
             activemq.prefetchSize:{PREFETCH}\nreceipt:0\n{name}",
            place(scene, 0)
        );
        writer.write(&head, b"").await?;
        writer.flush().await?;
        let mut early = Vec::new();
        loop {
            // Messages may come before the receipt of their subscription.
            let frame = reader.next().await?;
            match frame.command.as_str() {
                "RECEIPT" => break,
                _ => early.push(frame),
            }
        }
        Ok(Subscriber { writer, reader, early, taken: Vec::new() })
    }
}

fn place(scene: &Scene, at: usize) -> String {
    let kind = if scene.groups > 0 { "topic" } else { "queue" };
    format!("/{kind}/{}", scene.queue(at))
}

type Confirmed = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

async fn received(receipt: Receipt) -> Result<()> {
    receipt.await.context("the connection ended before the receipt")
}

pub(crate) struct Sender {
    writer: Writer,
    receipts: Receipts,
    places: Vec<String>,
    mode: Mode,
    next: u64,
    confirms: Confirms<Confirmed>,
}

impl Sender {
    /// Numbers receipts and transactions.
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Sender {
    /// A message that is confirmed by a receipt of its own.
    async fn send(&mut self, turn: usize, body: &Bytes) -> Result<()> {
        let number = self.number();
        let receipt = self.receipts.expect(number)?;
        self.confirms.watch(1, Box::pin(received(receipt)));
        self.write(turn, &format!("receipt:{number}\n"), body).await
    }

    /// A transaction that is confirmed by the receipt of its commit.
    async fn send_all(&mut self, turn: usize, bodies: &[Bytes]) -> Result<()> {
        let places = self.confirms.places_of(TRANSACTIONS);
        self.confirms.room(places).await?;
        let number = self.number();
        self.writer.write(&format!("BEGIN\ntransaction:{number}\n"), b"").await?;
        for (at, body) in bodies.iter().enumerate() {
            self.write(turn + at, &format!("transaction:{number}\n"), body).await?;
        }
        let receipt = self.receipts.expect(number)?;
        self.confirms.watch_batch(places, bodies.len(), Box::pin(received(receipt)));
        let head = format!("COMMIT\ntransaction:{number}\nreceipt:{number}\n");
        self.writer.write(&head, b"").await
    }

    async fn write(&mut self, turn: usize, with: &str, body: &Bytes) -> Result<()> {
        let place = &self.places[turn % self.places.len()];
        let head = format!("SEND\ndestination:{place}\npersistent:true\n{with}");
        self.writer.write(&head, body).await
    }
}

impl Publisher for Sender {
    async fn publish(&mut self, turn: usize, bodies: &[Bytes]) -> Result<()> {
        match self.mode {
            Mode::Batched => self.send_all(turn, bodies).await?,
            Mode::Single => {
                self.confirms.room(bodies.len()).await?;
                for (at, body) in bodies.iter().enumerate() {
                    self.send(turn + at, body).await?;
                }
            }
        }
        self.writer.flush().await
    }

    async fn flush(&mut self) -> Result<()> {
        self.confirms.flush().await
    }
}

pub(crate) struct Subscriber {
    writer: Writer,
    reader: Reader,
    early: Vec<stomp::Frame>,
    taken: Vec<stomp::Frame>,
}

impl Consumer for Subscriber {
    async fn take(&mut self, stamps: &mut Vec<u64>) -> Result<()> {
        self.taken.append(&mut self.early);
        if self.taken.is_empty() {
            self.taken.push(self.reader.next().await?);
        }
        while self.taken.len() < TAKEN_MAX {
            let Some(frame) = self.reader.ready()? else { break };
            self.taken.push(frame);
        }
        self.taken.retain(|frame| frame.command == "MESSAGE");
        stamps.extend(self.taken.iter().map(|frame| stamp(&frame.body)));
        Ok(())
    }

    async fn ack(&mut self) -> Result<()> {
        for frame in self.taken.drain(..) {
            let id = frame.header("ack").context("a message that cannot be acked")?;
            self.writer.write(&format!("ACK\nid:{}\n", id.replace(':', "\\c")), b"").await?;
        }
        self.writer.flush().await
    }

    /// A receipt comes after all that was sent before it was done.
    async fn close(mut self) -> Result<()> {
        self.writer.write("DISCONNECT\nreceipt:1\n", b"").await?;
        self.writer.flush().await?;
        self.reader.receipt().await
    }
}
