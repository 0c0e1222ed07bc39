//! The words the shard and the engine share: ids, answers, refusals and effects.
//!
//! Everything here is plain data. The shard says what should happen; the engine carries it out.

use super::command::Command;
pub use super::message_ids::Identified;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::{Held, Kind, Settle, TargetId};
use posthaste_protocol::response::{Declared, Outcomes};

/// The dense number of a queue or topic; the wire's target id. From 1, never reused.
pub type StreamId = TargetId;

/// The dense number of a group. From 1, never reused. A queue has one built-in group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// A consumer, numbered by the engine; unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// Consecutive offsets, from `first` up to but not including `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// First offset.
    pub first: u64,
    /// First offset behind it; above `first`.
    pub end: u64,
}

impl Range {
    /// How many offsets.
    #[must_use]
    pub fn count(self) -> u64 {
        self.end - self.first
    }
}

/// What applying entries asks the engine to do, and what it counted.
#[derive(Debug, Default)]
pub struct Effects {
    /// In the order of the log.
    pub list: Vec<Effect>,
    /// Sums, for metrics.
    pub counts: Counts,
}

/// One thing the engine has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The queue, topic or group of this consumer was deleted; the shard has forgotten it.
    ConsumerGone {
        /// Who.
        consumer: ConsumerId,
    },
    /// A run for a stream that an earlier entry deleted. Its publishes get `NotFound`.
    Rejected {
        /// The deleted stream.
        stream: StreamId,
        /// Offset of its first record.
        base_offset: u64,
        /// How many records.
        records: u32,
    },
    /// Records that were accepted once and are gone from the log; now dead letters in each group.
    Lost {
        /// Where.
        stream: StreamId,
        /// Which.
        range: Range,
    },
}

/// How many messages met which end. Sums over all entries applied into one [`Effects`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records accepted.
    pub published: u64,
    /// Settled by ack, per group.
    pub acked: u64,
    /// Failed and to be delivered again.
    pub retried: u64,
    /// Failures of those that were lease expiries.
    pub expired: u64,
    /// Became dead letters.
    pub dead: u64,
    /// Removed by purge.
    pub purged: u64,
    /// Unsettled or dead in some group when retention or purge of a topic removed them.
    pub trimmed: u64,
    /// Lost to damage; also counted in `dead`.
    pub lost: u64,
    /// Dead letters made ready again.
    pub replayed: u64,
    /// Dead letters forgotten.
    pub dropped: u64,
}

/// A publish that asks for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Where to.
    pub stream: StreamId,
    /// Its producer; 0 = none.
    pub producer: u32,
    /// The producer's number of it; 0 = none.
    pub sequence: u64,
    /// Records in it.
    pub records: u32,
    /// Only if its first record gets this offset.
    pub expects: Option<u64>,
}

/// An atomic group that asks for admission.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtomicOffer {
    /// Its producer.
    pub producer: u32,
    /// The producer's number of it.
    pub sequence: u64,
    /// Its batches, each for another stream, and their ids where these are remembered.
    pub parts: Vec<(Offer, Option<Vec<Identified>>)>,
    /// The deliveries that it ends, by consumer.
    pub settles: Vec<(ConsumerId, Vec<Settle>)>,
}

/// The answer to "may this atomic group be appended?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmitAtomic {
    /// Append all of it in one block. Its offsets are taken from now on.
    Ok {
        /// What becomes of the parts, in order.
        parts: Vec<Taken>,
        /// To append, in this order.
        commands: Vec<Command>,
    },
    /// It is stored, or appended and about to be: tell [`super::Shard::atomic_again`] behind that.
    Duplicate,
    /// Nothing of it is done.
    Refused(Refusal),
}

/// What becomes of the records of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Record by record, in order; those alike share an item.
    pub outcomes: Vec<Outcomes>,
    /// Offset of the first record to append.
    pub base_offset: u64,
    /// Records to append.
    pub stored: u32,
}

/// The answer to "may this publish be appended?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Append it; its first record gets this offset. The offset is taken from now on.
    Ok {
        /// Offset of its first record.
        base_offset: u64,
    },
    /// It is stored, or appended and about to be. Confirm it behind what is appended so far.
    Duplicate {
        /// Where it is; the asked stream if that is no longer known.
        stream: StreamId,
        /// Offset of its first record; `None` if no longer known.
        base_offset: Option<u64>,
    },
    /// Do not append it.
    Refused(Refusal),
}

/// Why something was not done. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What.
    pub code: ErrorCode,
    /// One sentence for a person.
    pub message: String,
    /// Names that were perhaps meant. At most 3.
    pub similar: Vec<String>,
}

impl Refusal {
    /// A refusal without near names.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), similar: Vec::new() }
    }
}

/// An answer and the entry that makes it true.
///
/// Send the answer when everything appended so far (the command included) is committed. Without a
/// command the answer may still rest on earlier entries that are appended and not yet committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted<T> {
    /// What to tell.
    pub answer: T,
    /// What to append; `None`: nothing to change.
    pub command: Option<Command>,
}

/// Where a group starts or is moved to. The engine resolves times to offsets first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The oldest message kept.
    Earliest,
    /// Behind the newest committed message.
    Latest,
    /// This offset, clipped to what exists.
    Offset(u64),
}

/// What declaring a group came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeclaredGroup {
    /// Created, updated or unchanged.
    pub declared: Declared,
    /// Its topic.
    pub stream: StreamId,
    /// Its number.
    pub group: GroupId,
}

/// What a seek does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Floor before.
    pub from: u64,
    /// Floor after.
    pub to: u64,
    /// Messages that will be delivered from there.
    pub messages: u64,
}

/// A session's producer number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedProducer {
    /// Goes into every batch header.
    pub producer: u32,
    /// The session was known.
    pub resumed: bool,
}

/// What settling came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettleResult {
    /// To append, in this order.
    pub commands: Vec<Command>,
    /// Items, or parts of them, whose lease was not held: nothing was done about them.
    pub stale: Vec<Held>,
}

/// The next messages of a group that may be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where their records are.
    pub stream: StreamId,
    /// First offset.
    pub offset: u64,
    /// How many in a row, all with the same attempt and flag. At least 1.
    pub count: u64,
    /// Attempt of this delivery, from 1.
    pub attempt: u32,
    /// `false`: certainly never delivered to this group before.
    pub redelivered: bool,
}

/// The consumer whose turn it is, and what it may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Who.
    pub consumer: ConsumerId,
    /// Messages left in its credit; at least 1.
    pub messages: u32,
    /// Bytes left in its credit; at least 1. One delivery may go beyond.
    pub bytes: u64,
    /// Its lease.
    pub lease_ms: u32,
}

/// A queue's or topic's number and kind, found by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub stream: StreamId,
    /// Queue or topic.
    pub kind: Kind,
    /// Oldest offset kept.
    pub first_offset: u64,
    /// Offset of the next message.
    pub next_offset: u64,
}

/// What became of leases that were to be extended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// These were not held.
    pub stale: Vec<Held>,
    /// These items hold messages that now last to the end of their longest hold, which is less than was asked for.
    pub limited: Vec<Held>,
}

/// Dead letters in a row that died alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadItem {
    /// Which.
    pub range: Range,
    /// Attempts made.
    pub attempts: u32,
    /// When they died, in milliseconds since 1970.
    pub dead_ms: u64,
    /// Why.
    pub reason: String,
}

/// What retention needs to know of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Which topic.
    pub stream: StreamId,
    /// Oldest offset kept.
    pub first_offset: u64,
    /// Offset of the next message.
    pub next_offset: u64,
    /// Messages older than this may go; `None`: no limit.
    pub retain_ms: Option<u64>,
    /// Oldest messages beyond this many bytes may go; `None`: no limit.
    pub retain_bytes: Option<u64>,
}

/// One batch of an applied run.
#[derive(Clone, Copy, Debug)]
pub struct AppliedBatch<'a> {
    /// Records in it.
    pub count: u32,
    /// Its producer; 0 = none.
    pub producer: u32,
    /// The producer's number of it; 0 = none.
    pub sequence: u64,
    /// Records with a not-before time: (index in the batch, milliseconds since 1970), in order.
    pub delayed: &'a [(u32, u64)],
    /// The ids of its records, in order; nothing where ids are not remembered.
    pub ids: &'a [Identified],
}

/// One run of a committed block; `I` iterates over its [`AppliedBatch`]es.
#[derive(Clone, Copy, Debug)]
pub struct AppliedRun<I> {
    /// Where to.
    pub stream: StreamId,
    /// Offset of the first record.
    pub base_offset: u64,
    /// Records in all.
    pub records: u32,
    /// Its batches, in order.
    pub batches: I,
}

/// The log or a checkpoint says something that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A run that starts below the end of its stream.
    #[error(
        "stream {stream}: a run starts at offset {base_offset}, but the stream already ends at \
         {next_offset}"
    )]
    RunTwice {
        /// Which stream.
        stream: StreamId,
        /// Where the run starts.
        base_offset: u64,
        /// Where the stream ends.
        next_offset: u64,
    },
    /// An offset or id beyond what numbers can hold.
    #[error("stream {stream}: a run of {records} records at offset {base_offset} overflows")]
    Overflow {
        /// Which stream.
        stream: StreamId,
        /// Where the run starts.
        base_offset: u64,
        /// Its records.
        records: u32,
    },
    /// A checkpoint that cannot be read.
    #[error("checkpoint, byte {at}: {what}")]
    Checkpoint {
        /// Byte offset.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// One lease to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOf {
    /// The group.
    pub group: GroupId,
    /// Who gets them.
    pub consumer: ConsumerId,
    /// From [`super::Shard::next_epoch`]; several leases of one frame share it.
    pub epoch: u64,
    /// First offset.
    pub offset: u64,
    /// How many, at least 1.
    pub count: u64,
    /// Bytes sent for it; spends credit, into debt if need be.
    pub bytes: u64,
    /// Monotonic time.
    pub mono_ms: u64,
}
