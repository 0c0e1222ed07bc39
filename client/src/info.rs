//! What the broker tells about itself: descriptions, counts, statistics.

use std::time::Duration;

use posthaste_protocol::request::{Kind as WireKind, Settings as WireSettings};
use posthaste_protocol::response as wire;

/// What kind of thing a name stands for.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::Kind;
/// let queues = client.list().await?.into_iter().filter(|one| one.kind == Kind::Queue);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Each message goes to one consumer, until acknowledged.
    Queue,
    /// Each group gets each message, and can replay.
    Topic,
}

impl From<WireKind> for Kind {
    fn from(kind: WireKind) -> Self {
        match kind {
            WireKind::Queue => Self::Queue,
            WireKind::Topic => Self::Topic,
        }
    }
}

/// Settings in force. `None` stands for what does not apply, or is not limited.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// let settings = client.queue("orders").describe().await?.settings;
/// println!("{:?} attempts", settings.max_attempts);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Attempts before a message becomes a dead letter.
    pub max_attempts: Option<u32>,
    /// Lease of a delivery.
    pub lease: Option<Duration>,
    /// Shortest delay before a retry.
    pub retry_min: Option<Duration>,
    /// Longest delay before a retry.
    pub retry_max: Option<Duration>,
    /// How the delay grows from one attempt to the next, in percent; 200 doubles it.
    pub retry_factor_percent: Option<u32>,
    /// How much earlier a retry may come, in percent of its delay.
    pub retry_jitter_percent: Option<u32>,
    /// How long a delivery can be held, however often its lease is renewed.
    pub max_hold: Option<Duration>,
    /// Topics: messages older than this may be deleted.
    pub retain_for: Option<Duration>,
    /// Topics: the oldest messages beyond this many bytes may be deleted.
    pub retain_bytes: Option<u64>,
    /// Queues: publishes beyond this many unsettled messages are refused.
    pub max_messages: Option<u64>,
    /// How long message ids are remembered.
    pub id_window: Option<Duration>,
}

impl From<WireSettings> for Settings {
    fn from(wire: WireSettings) -> Self {
        let short = |ms: u32| Duration::from_millis(u64::from(ms));
        Self {
            max_attempts: wire.max_attempts,
            lease: wire.lease_ms.map(short),
            retry_min: wire.retry_min_ms.map(short),
            retry_max: wire.retry_max_ms.map(short),
            retry_factor_percent: wire.retry_factor_percent,
            retry_jitter_percent: wire.retry_jitter_percent,
            max_hold: wire.max_hold_ms.filter(|ms| *ms != 0).map(short),
            retain_for: wire.retain_ms.filter(|ms| *ms != 0).map(Duration::from_millis),
            retain_bytes: wire.retain_bytes.filter(|bytes| *bytes != 0),
            max_messages: wire.max_messages.filter(|messages| *messages != 0),
            id_window: wire.id_window_ms.filter(|ms| *ms != 0).map(Duration::from_millis),
        }
    }
}

/// Counts of a group; a queue has one, without a name.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.topic("orders.events").declare().await?;
/// for group in client.topic("orders.events").describe().await?.groups {
///     println!("{:?}: {} ready, {} dead", group.name, group.ready, group.dead);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// `None` for a queue's own group.
    pub name: Option<String>,
    /// Settings in force.
    pub settings: Settings,
    /// All positions below are settled.
    pub floor: u64,
    /// Waiting for a consumer.
    pub ready: u64,
    /// With a consumer.
    pub leased: u64,
    /// Waiting for a time.
    pub delayed: u64,
    /// Dead letters kept.
    pub dead: u64,
    /// Settled since created.
    pub settled: u64,
    /// Consumers now.
    pub consumers: u32,
    /// Age of the oldest unsettled message; zero if there is none.
    pub oldest_age: Duration,
    /// Messages that the group was ever meant to see: ready, leased, delayed, dead and settled ones together.
    pub published: u64,
    /// By how many messages that does not hold; 0, unless the broker has lost count.
    pub unaccounted: u64,
}

impl From<wire::GroupInfo> for GroupInfo {
    fn from(group: wire::GroupInfo) -> Self {
        Self {
            name: group.name.map(|name| name.as_str().to_owned()),
            settings: group.settings.into(),
            floor: group.floor,
            ready: group.ready,
            leased: group.leased,
            delayed: group.delayed,
            dead: group.dead,
            settled: group.settled,
            consumers: group.consumers,
            oldest_age: Duration::from_millis(group.oldest_ms),
            published: group.published,
            unaccounted: group.unaccounted,
        }
    }
}

/// A queue or topic, described.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// let orders = client.describe("orders").await?;
/// println!("{} holds {} bytes", orders.name, orders.bytes);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// Queue or topic.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Settings in force.
    pub settings: Settings,
    /// Oldest position kept.
    pub first_position: u64,
    /// Position of the next message.
    pub next_position: u64,
    /// Bytes kept.
    pub bytes: u64,
    /// Its groups; exactly one for a queue.
    pub groups: Vec<GroupInfo>,
}

impl From<wire::Description> for Description {
    fn from(description: wire::Description) -> Self {
        Self {
            kind: description.kind.into(),
            name: description.name.as_str().to_owned(),
            settings: description.settings.into(),
            first_position: description.first_offset,
            next_position: description.next_offset,
            bytes: description.bytes,
            groups: description.groups.into_iter().map(Into::into).collect(),
        }
    }
}

/// Counts of a queue.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// let stats = client.queue("orders").stats().await?;
/// println!("{} ready, {} dead", stats.ready, stats.dead);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Waiting for a consumer.
    pub ready: u64,
    /// With a consumer.
    pub leased: u64,
    /// Waiting for a time.
    pub delayed: u64,
    /// Dead letters kept.
    pub dead: u64,
    /// Settled since created.
    pub settled: u64,
    /// Consumers now.
    pub consumers: u32,
    /// Age of the oldest unsettled message; zero if there is none.
    pub oldest_age: Duration,
}

/// Counters of the whole broker since it started.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// let stats = client.stats().await?;
/// println!("{} published, {} bytes free", stats.published, stats.free_bytes);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerStats {
    /// Messages accepted.
    pub published: u64,
    /// Messages delivered, redeliveries included.
    pub delivered: u64,
    /// Messages settled by ack.
    pub acked: u64,
    /// Messages that became dead letters.
    pub dead_lettered: u64,
    /// Connections now.
    pub connections: u32,
    /// Queues and topics now.
    pub targets: u32,
    /// Bytes of log files.
    pub log_bytes: u64,
    /// Bytes free on the disk.
    pub free_bytes: u64,
    /// Since the start.
    pub uptime: Duration,
}

impl From<wire::Stats> for BrokerStats {
    fn from(stats: wire::Stats) -> Self {
        Self {
            published: stats.published,
            delivered: stats.delivered,
            acked: stats.acked,
            dead_lettered: stats.dead_lettered,
            connections: stats.connections,
            targets: stats.targets,
            log_bytes: stats.log_bytes,
            free_bytes: stats.free_bytes,
            uptime: Duration::from_millis(stats.uptime_ms),
        }
    }
}

/// The broker at the other end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// println!("{}", client.broker().await?.server);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerInfo {
    /// Name and version.
    pub server: String,
    /// Identity of its data.
    pub store: [u8; 16],
    /// Largest message (key, headers and body) it accepts, in bytes.
    pub message_bytes_max: u32,
}

/// How far a group is behind.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.topic("orders.events").declare().await?;
/// # client.topic("orders.events").group("billing").declare().await?;
/// let lag = client.topic("orders.events").group("billing").lag().await?;
/// println!("{} messages behind, the oldest is {:?} old", lag.messages, lag.age);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages not settled yet.
    pub messages: u64,
    /// Age of the oldest of them; zero if there is none.
    pub age: Duration,
}

/// What a seek did, or would do.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.topic("orders.events").declare().await?;
/// # client.topic("orders.events").group("billing").declare().await?;
/// use posthaste::Start;
/// let billing = client.topic("orders.events").group("billing");
/// let would = billing.seek(Start::Earliest).dry_run().await?;
/// println!("{} messages would be delivered again", would.messages);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sought {
    /// Floor before.
    pub from: u64,
    /// Floor after.
    pub to: u64,
    /// Messages that will be delivered (again) from there.
    pub messages: u64,
}

/// A service that has instances; see [`Client::services`](crate::Client::services).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// let busy = client.services().await?.into_iter().filter(|service| service.waiting > 0).count();
/// # assert_eq!(busy, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceInfo {
    /// Its name.
    pub name: String,
    /// Instances now.
    pub instances: u32,
    /// Requests that instances work on.
    pub in_flight: u32,
    /// Requests that wait for a free instance.
    pub waiting: u32,
    /// Requests handed out since the first of the present instances came.
    pub requests: u64,
}

impl From<posthaste_protocol::service::ServiceInfo> for ServiceInfo {
    fn from(info: posthaste_protocol::service::ServiceInfo) -> Self {
        Self {
            name: info.name.to_string(),
            instances: info.instances,
            in_flight: info.in_flight,
            waiting: info.waiting,
            requests: info.requests,
        }
    }
}
