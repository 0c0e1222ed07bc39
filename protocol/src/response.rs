//! What the broker may say: replies under a request's id, and confirms, deliveries and notices.
//! Encode and decode stand side by side in `codec`, value by value in `fields`, pieces of streams
//! in `pieces`.

mod codec;
mod fields;
mod pieces;

pub use codec::kind;
pub use pieces::{PieceHead, encode_deliver_head};

use crate::error::ErrorReply;
use crate::names::{GroupName, Name};
use crate::request::{Held, Kind, Settings, TargetId};
use crate::schedule::ScheduleReply;
use crate::service::ServiceReply;
use bytes::Bytes;

/// Answer to the client's hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Features granted.
    pub features: u64,
    /// Name and version of the server.
    pub server: String,
    /// Identity of the data directory; a client that knows another one is at the wrong broker.
    pub store: [u8; 16],
    /// Largest frame the server accepts, in bytes.
    pub frame_bytes_max: u32,
    /// Largest message (key, headers and body) the server accepts, in bytes.
    pub message_bytes_max: u32,
    /// Publish window: bytes of batches a client may have unconfirmed.
    pub publish_bytes_max: u64,
    /// The client says something at least this often, in milliseconds: a ping, if nothing else.
    /// After twice this the connection is closed.
    pub idle_ms: u32,
}

/// What a declare did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// It is new.
    Created,
    /// It was there, and equal.
    Unchanged,
    /// It was there, and its settings changed.
    Updated,
}

/// Counts of a group (a queue has one, without a name).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// `None` for a queue's own group.
    pub name: Option<GroupName>,
    /// Effective settings.
    pub settings: Settings,
    /// All below is settled.
    pub floor: u64,
    /// Waiting for a consumer.
    pub ready: u64,
    /// With a consumer.
    pub leased: u64,
    /// Waiting for a time.
    pub delayed: u64,
    /// Dead letters kept.
    pub dead: u64,
    /// Settled since created (acked, dropped or purged).
    pub settled: u64,
    /// Consumers now.
    pub consumers: u32,
    /// Age of the oldest unsettled message, in milliseconds; 0 if none.
    pub oldest_ms: u64,
    /// Messages that the group was ever meant to see: ready, leased, delayed, dead and settled ones together.
    pub published: u64,
    /// By how many messages that does not hold; 0, unless the broker has lost count.
    pub unaccounted: u64,
}

/// A queue or topic, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Number to publish to.
    pub id: TargetId,
    /// Queue or topic.
    pub kind: Kind,
    /// Name.
    pub name: Name,
    /// Effective settings, defaults filled in.
    pub settings: Settings,
    /// Oldest offset kept.
    pub first_offset: u64,
    /// Offset of the next message.
    pub next_offset: u64,
    /// Bytes of batches kept.
    pub bytes: u64,
    /// Groups; exactly one for a queue.
    pub groups: Vec<GroupInfo>,
}

/// Publishes `first..first + count` of this connection are durable, and their messages lie one
/// behind the other from `base_offset` of `target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// First publish number.
    pub first: u64,
    /// How many publishes.
    pub count: u32,
    /// Where they are.
    pub target: TargetId,
    /// Offset of the first message; `u64::MAX` if a duplicate's place is no longer known.
    pub base_offset: u64,
    /// They had been stored before; this was a resend.
    pub duplicate: bool,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is durable.
    Stored,
    /// A message with its id was durable already; its place is told.
    Duplicate,
    /// Another message has its id: this one was not stored
    /// ([`ErrorCode::IdConflict`](crate::ErrorCode::IdConflict)).
    Conflict,
}

/// What became of some records in a row, told where a range of publishes cannot tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// Where they are.
    pub target: TargetId,
    /// How many records, at least 1.
    pub count: u32,
    /// Offset of the first; the others follow. `u64::MAX` if that is no longer known; 0 of conflicts.
    pub base_offset: u64,
    /// What became of them.
    pub fate: Fate,
}

/// Consecutive batches of one stream, verbatim, and which of their records are meant.
/// Records are numbered from `base_offset`; `from..from + count` are delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset of the first record in `batches`.
    pub base_offset: u64,
    /// First record meant.
    pub from: u32,
    /// How many records, at least 1.
    pub count: u32,
    /// Attempt, from 1.
    pub attempt: u32,
    /// `false`: certainly never delivered to this group before.
    pub redelivered: bool,
    /// When the broker accepted it, in milliseconds since 1970.
    pub time_ms: u64,
    /// One or more whole batches.
    pub batches: Bytes,
}

/// Messages for the consumer on the frame's channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// Epoch of the lease on all of it; goes back with every settle.
    pub epoch: u64,
    /// The lease, in milliseconds from the time of sending.
    pub lease_ms: u32,
    /// What.
    pub pieces: Vec<Piece>,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its offset.
    pub offset: u64,
    /// Attempts made.
    pub attempts: u32,
    /// When it died, in milliseconds since 1970.
    pub dead_ms: u64,
    /// Why.
    pub reason: String,
    /// The message: `count` is 1.
    pub piece: Piece,
}

/// Counters of the whole broker since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
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
    /// Milliseconds since the start.
    pub uptime_ms: u64,
}

/// What the broker may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To [`crate::Request::Hello`].
    Welcome(Welcome),
    /// To [`crate::Request::Ping`].
    Pong(u64),
    /// The broker is leaving, or closing this connection; nothing after this is answered.
    Closing(ErrorReply),
    /// To declare and declare-group.
    Declared {
        /// What happened.
        declared: Declared,
        /// The queue's or topic's number.
        id: TargetId,
    },
    /// To describe.
    Described(Description),
    /// To list.
    Listed {
        /// In name order.
        items: Vec<Description>,
        /// Ask again after the last name.
        more: bool,
    },
    /// To delete.
    Deleted,
    /// To open-producer.
    ProducerOpened {
        /// Goes into every batch header.
        producer: u32,
        /// The session was known: resend what is unconfirmed, duplicates are dropped.
        resumed: bool,
    },
    /// Publishes that are now durable. Cumulative ranges, in publish order per target.
    Confirms(Vec<Confirmed>),
    /// To a publish whose records did not all meet one fate, and to an atomic group, under its number.
    /// Record by record, in the order of the publish or of the group's parts; more of these follow until
    /// all records are told.
    Receipts(Vec<Outcomes>),
    /// To consume: the channel is open.
    Consuming {
        /// The lease that applies.
        lease_ms: u32,
    },
    /// Messages.
    Deliver(Deliver),
    /// To settle with `confirm`; also sent unasked, under id 0, when something was stale.
    Settled {
        /// Items (or parts of them) whose lease was not held: nothing was done.
        stale: Vec<Held>,
    },
    /// To extend.
    Extended {
        /// Items (or parts of them) whose lease was not held.
        stale: Vec<Held>,
        /// Items with leases that now end with the longest hold of the group, sooner than was asked for.
        limited: Vec<Held>,
    },
    /// To cancel; also unasked, under id 0, when the queue, topic or group was deleted.
    Canceled,
    /// To read.
    Records {
        /// What was read.
        pieces: Vec<Piece>,
        /// Where to read on.
        next_offset: u64,
        /// End of the queue or topic at that moment.
        end_offset: u64,
    },
    /// To seek.
    Sought {
        /// Floor before.
        from: u64,
        /// Floor after.
        to: u64,
        /// Messages that will be delivered (again) from there.
        messages: u64,
    },
    /// To purge and to dead replay/drop.
    Done {
        /// Messages concerned.
        messages: u64,
    },
    /// To dead list.
    DeadLetters {
        /// In offset order.
        items: Vec<DeadLetter>,
        /// Dead letters in all.
        total: u64,
    },
    /// To stats.
    Stats(Stats),
    /// Of request and reply.
    Service(ServiceReply),
    /// Recurring messages.
    Schedule(ScheduleReply),
    /// The request under this id failed; nothing was done.
    Error(ErrorReply),
}
