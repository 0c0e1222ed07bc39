//! What a client may say. One variant per command; encode and decode stand side by side in
//! `codec`, value by value in `fields`.

mod codec;
mod fields;

pub use codec::kind;
pub use codec::{encode_atomic_head, encode_publish_head};

use crate::names::{GroupName, Name};
use crate::schedule::ScheduleCall;
use crate::service::ServiceCall;
use bytes::Bytes;

/// The dense number of a queue or topic, resolved by name once per connection and never reused.
pub type TargetId = u32;

/// Request ids from here on are for requests; below it are publish numbers, which count up from 1.
/// So an error tells by its id alone what it refuses.
pub const REQUEST_ID_FIRST: u64 = 1 << 63;

/// First frame of every connection. Nothing else is accepted before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Features the client can use, one bit each; unknown bits are ignored by the server.
    pub features: u64,
    /// Name and version of the client, for logs and `conn ls`. At most 200 bytes.
    pub client: String,
    /// Largest frame the client will accept, in bytes;
    /// [`FRAME_BYTES_MIN`](crate::limits::FRAME_BYTES_MIN) at least.
    pub frame_bytes_max: u32,
    /// The longest silence that the client will keep, in milliseconds; 1,000 at least. The server
    /// picks the smaller of this and its own.
    pub idle_ms: u32,
}

/// What kind of thing a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Each message goes to one consumer, until acknowledged.
    Queue,
    /// Each group gets each message, and can replay.
    Topic,
}

/// Settings of a queue, or of a topic and its groups. `None` leaves a setting as it is
/// (or at its default, when the thing is created).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Attempts before a message is dead-lettered; 1..=1_000_000.
    pub max_attempts: Option<u32>,
    /// Lease of a delivery, in milliseconds; 100..=86_400_000.
    pub lease_ms: Option<u32>,
    /// Shortest and longest delay before a plain retry, in milliseconds.
    pub retry_min_ms: Option<u32>,
    /// See [`Settings::retry_min_ms`].
    pub retry_max_ms: Option<u32>,
    /// Topics only: messages older than this may be deleted. 0 = keep for ever.
    pub retain_ms: Option<u64>,
    /// Topics only: oldest messages beyond this many bytes may be deleted. 0 = no limit.
    pub retain_bytes: Option<u64>,
    /// Queues only: publishes beyond this many unsettled messages are refused. 0 = no limit.
    pub max_messages: Option<u64>,
    /// Growth of the delay from one plain retry to the next, in percent; 100..=1_000. 100 keeps it as it is, 200
    /// doubles it.
    pub retry_factor_percent: Option<u32>,
    /// A plain retry comes up to this much earlier than its delay says, in percent of it; 0..=100.
    pub retry_jitter_percent: Option<u32>,
    /// A message whose id was stored less than this ago is stored once: later ones get its receipt. In
    /// milliseconds, 0 = ids are not remembered; 1,000..=2,592,000,000.
    pub id_window_ms: Option<u64>,
    /// The longest that a delivery can be held, however often its lease is extended, in milliseconds; 100..=604_800_000.
    /// 0 = no limit.
    pub max_hold_ms: Option<u32>,
}

/// Where a reader or a new group starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest message that is kept.
    Earliest,
    /// Behind the newest message.
    Latest,
    /// This offset, or the oldest kept one if that is later.
    Offset(u64),
    /// The first message accepted at or after this wall-clock time, in milliseconds since 1970.
    TimeMs(u64),
}

/// How a delivery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done: never deliver it to this group again.
    Ack,
    /// Failed: deliver again, one attempt later. `delay_ms` of `None` takes the queue's backoff.
    Retry {
        /// Delay before it is ready again.
        delay_ms: Option<u64>,
        /// Why, for the dead letters. At most 1,000 bytes.
        reason: String,
    },
    /// Not begun: deliver again at once, no attempt is charged.
    Release,
    /// Hopeless: keep it among the dead letters.
    DeadLetter {
        /// Why. At most 1,000 bytes.
        reason: String,
    },
}

/// A range of offsets held under one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// First offset.
    pub first: u64,
    /// How many, at least 1.
    pub count: u32,
    /// The lease epoch that came with the delivery.
    pub epoch: u64,
}

/// A held range and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// What is settled.
    pub held: Held,
    /// How.
    pub outcome: Outcome,
}

/// Publishes to several destinations and settles of held deliveries, stored as one: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Atomic {
    /// The producer session; it must have one.
    pub producer: u32,
    /// The producer's number of it, from 1; also in each of its batches.
    pub sequence: u64,
    /// Where its batches go. No destination comes twice. At most 64.
    pub parts: Vec<AtomicPart>,
    /// What it settles, of consumers of the same connection. At most 1,024.
    pub settles: Vec<AtomicSettle>,
    /// A batch for each part, one behind the other, verbatim.
    pub batches: Bytes,
}

/// A destination of an [`Atomic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtomicPart {
    /// Where to.
    pub target: TargetId,
    /// Store it only if its first message gets this offset.
    pub expects: Option<u64>,
}

/// A delivery that an [`Atomic`] ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomicSettle {
    /// The channel of its consumer.
    pub channel: u16,
    /// What is settled, and how. A release cannot be part of it.
    pub settle: Settle,
}

/// Opens a consumer on the frame's channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consume {
    /// Queue or topic.
    pub name: Name,
    /// Required for a topic, forbidden for a queue.
    pub group: Option<GroupName>,
    /// Where the group starts if this creates it. Ignored for queues and known groups.
    pub start: Start,
    /// Lease for this consumer's deliveries; `None` takes the setting of the queue or group.
    pub lease_ms: Option<u32>,
    /// Initial credit.
    pub credit: Credit,
}

/// Adds to what the broker may send on a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Credit {
    /// More messages.
    pub messages: u32,
    /// More bytes.
    pub bytes: u64,
    /// How many deliveries of this subscription the application has begun so far, in the order
    /// sent. When the connection breaks only these are charged an attempt.
    pub begun: u64,
}

/// What a dead-letter command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadAction {
    /// List dead letters from this offset on, at most `limit`, bodies included.
    List {
        /// First offset of interest.
        from: u64,
        /// 1..=1,000.
        limit: u32,
    },
    /// Make them ready again, attempts reset.
    Replay {
        /// Only this offset, or all.
        offset: Option<u64>,
        /// Count only.
        dry_run: bool,
    },
    /// Forget them.
    Drop {
        /// Only this offset, or all.
        offset: Option<u64>,
        /// Count only.
        dry_run: bool,
    },
}

/// What a client may say. Every request but [`Request::Credit`], [`Request::Close`] and
/// [`ServiceCall::Answer`] is answered under its own request id; publishes are answered by cumulative
/// confirms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// First frame.
    Hello(Hello),
    /// Slot for authentication; answered `Unsupported` today.
    Auth {
        /// SASL mechanism name.
        mechanism: String,
        /// Opaque.
        data: Bytes,
    },
    /// Liveness and round-trip time; echoed.
    Ping(u64),
    /// The client is leaving in order.
    Close,
    /// Creates or changes a queue or topic.
    Declare {
        /// Queue or topic.
        kind: Kind,
        /// Its name.
        name: Name,
        /// What to set.
        settings: Settings,
    },
    /// Creates or changes a group of a topic.
    DeclareGroup {
        /// The topic.
        topic: Name,
        /// The group.
        group: GroupName,
        /// Where it starts, if new.
        start: Start,
        /// `max_attempts`, `lease_ms`, `retry_*` only.
        settings: Settings,
    },
    /// Looks a name up: id, settings, counts.
    Describe {
        /// Its name.
        name: Name,
    },
    /// Lists queues and topics in name order, groups included.
    List {
        /// Only names after this one.
        after: Option<Name>,
        /// 1..=1,000; fewer may come if the frame is full.
        limit: u32,
    },
    /// Removes a queue, a topic, or a group of a topic, with its messages.
    Delete {
        /// Queue or topic.
        name: Name,
        /// Only this group of it.
        group: Option<GroupName>,
    },
    /// Opens or resumes a producer session, for exactly-once resends.
    OpenProducer {
        /// Random, chosen by the client, kept across its reconnects.
        session: [u8; 16],
    },
    /// One batch for one target; the payload of the frame. The request id is the publish number:
    /// it counts up by one per publish of a connection, starting at 1, separately from the ids of
    /// other requests, which lie at [`REQUEST_ID_FIRST`] and above.
    Publish {
        /// Where to.
        target: TargetId,
        /// What Ok means: 0 = synced. Others are refused today.
        durability: u8,
        /// Store it only if its first message gets this offset.
        expects: Option<u64>,
        /// The batch, verbatim.
        batch: Bytes,
    },
    /// Publishes and settles, all or none of them. The request id is a publish number.
    Atomic(Atomic),
    /// Opens a consumer on the frame's channel (1..).
    Consume(Consume),
    /// More credit for the frame's channel. Never answered.
    Credit(Credit),
    /// Ends deliveries of the frame's channel.
    Settle {
        /// Answer with [`crate::Response::Settled`] once durable; else only stale items are told.
        confirm: bool,
        /// At most 4,096.
        items: Vec<Settle>,
    },
    /// More time for deliveries of the frame's channel.
    Extend {
        /// From now, in milliseconds.
        lease_ms: u32,
        /// At most 4,096.
        items: Vec<Held>,
    },
    /// Ends the consumer of the frame's channel; unsettled deliveries go back at once.
    Cancel,
    /// Reads without taking.
    Read {
        /// Queue or topic.
        name: Name,
        /// From where. Queues skip what is settled.
        from: Start,
        /// 1..=10,000.
        messages_max: u32,
        /// At least one message comes even if it is larger.
        bytes_max: u32,
    },
    /// Moves a group.
    Seek {
        /// The topic.
        topic: Name,
        /// The group.
        group: GroupName,
        /// Where to.
        to: Start,
        /// Tell what would happen only.
        dry_run: bool,
    },
    /// Removes all messages of a queue that are ready or delayed, or all messages of a topic.
    Purge {
        /// Queue or topic.
        name: Name,
        /// Count only.
        dry_run: bool,
    },
    /// Dead letters of a queue, or of a group of a topic.
    Dead {
        /// Queue or topic.
        name: Name,
        /// Required for a topic.
        group: Option<GroupName>,
        /// What to do.
        action: DeadAction,
    },
    /// Counters of the whole broker.
    Stats,
    /// Request and reply.
    Service(ServiceCall),
    /// Recurring messages.
    Schedule(ScheduleCall),
}
