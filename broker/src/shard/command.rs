//! The entries of the log that are not messages: what changes the shard's state.
//!
//! Kinds are numbered from 1 and never reused; a changed meaning gets a new kind. The bytes are in
//! `codec.rs`.

use super::effects::{GroupId, Range, StreamId};
use super::schedules::Schedule;
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Kind, Settings};

/// LIMIT: ranges in one command; with more there are several commands.
pub(crate) const RANGES_MAX: usize = 65_536;

/// One change of the shard's state, as logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A process took the log over.
    Started {
        /// The process before it sealed the log; `false`: anything may have been delivered.
        clean: bool,
    },
    /// Creates a queue or topic, or changes its settings.
    Declare {
        /// Its number.
        stream: StreamId,
        /// Queue or topic.
        kind: Kind,
        /// Its name.
        name: Name,
        /// All settings that were ever set; replaces the earlier ones.
        settings: Settings,
        /// The built-in group of a queue.
        group: Option<GroupId>,
    },
    /// Creates a group of a topic, or changes its settings.
    DeclareGroup {
        /// Its number.
        group: GroupId,
        /// Its topic.
        stream: StreamId,
        /// Its name.
        name: GroupName,
        /// Where it starts, if new.
        start: u64,
        /// All settings that were ever set; replaces the earlier ones.
        settings: Settings,
    },
    /// Removes a queue or topic, with its groups and messages.
    Delete {
        /// Which.
        stream: StreamId,
    },
    /// Removes a group of a topic.
    DeleteGroup {
        /// Which.
        group: GroupId,
    },
    /// Opens a producer session.
    OpenProducer {
        /// Chosen by the client.
        session: [u8; 16],
        /// Chosen here.
        producer: u32,
    },
    /// Ends deliveries.
    Settle(Settlement),
    /// Moves a group.
    Seek {
        /// Which.
        group: GroupId,
        /// Its new floor.
        to: u64,
    },
    /// Removes messages of a queue that nobody holds.
    Purge {
        /// The queue's group.
        group: GroupId,
        /// Which; what is settled already is skipped.
        ranges: Vec<Range>,
    },
    /// Removes the oldest messages of a topic, for all its groups.
    Trim {
        /// Which.
        stream: StreamId,
        /// First offset kept.
        before: u64,
    },
    /// Makes dead letters ready again.
    DeadReplay {
        /// Whose.
        group: GroupId,
        /// Which one; `None`: all.
        offset: Option<u64>,
    },
    /// Forgets dead letters.
    DeadDrop {
        /// Whose.
        group: GroupId,
        /// Which one; `None`: all.
        offset: Option<u64>,
    },
    /// Makes the key under which message ids are remembered; only the first counts.
    IdKey {
        /// Nobody can foresee it.
        key: [u8; 16],
    },
    /// An atomic group that has no batch is stored, with the settles behind this.
    Atomic {
        /// Its producer.
        producer: u32,
        /// The producer's number of it.
        sequence: u64,
    },
    /// Creates or changes a schedule.
    SetSchedule {
        /// The number of this setting.
        id: u32,
        /// What.
        schedule: Box<Schedule>,
    },
    /// Removes a schedule.
    CancelSchedule {
        /// Which.
        name: Name,
    },
    /// A schedule has published its message, in the same block.
    SchedulePublished {
        /// The number of its setting.
        id: u32,
        /// When, in milliseconds since 1970.
        at_ms: u64,
        /// When it is due again.
        next_ms: u64,
    },
}

/// How deliveries of one group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which group.
    pub group: GroupId,
    /// What becomes of the messages.
    pub end: End,
    /// Who or what decided so.
    pub cause: Cause,
    /// Which messages.
    pub ranges: Vec<Range>,
}

/// What becomes of a settled message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It is done.
    Ack,
    /// It is delivered again, one attempt later.
    Retry {
        /// Not before this time, in milliseconds since 1970; 0 = at once.
        due_ms: u64,
        /// Why.
        reason: String,
    },
    /// It is kept among the dead letters.
    Dead {
        /// Why.
        reason: String,
    },
}

/// Who or what ended a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// The consumer said so.
    Consumer = 1,
    /// The lease ran out.
    Expired = 2,
    /// The consumer went away.
    Disconnected = 3,
    /// The last attempt failed.
    MaxAttempts = 4,
    /// The record cannot be read from disk.
    DataLoss = 5,
    /// It was held as long as its group allows, and not settled.
    HeldTooLong = 6,
}

impl Cause {
    /// In words, where nobody gave a reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Consumer => "the consumer said so",
            Cause::Expired => "the lease expired",
            Cause::Disconnected => "the consumer went away",
            Cause::MaxAttempts => "the last attempt failed",
            Cause::HeldTooLong => "it was held longer than max_hold_ms allows",
            Cause::DataLoss => "data loss: the stored message is damaged",
        }
    }
}

/// A logged command that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Written by a newer version.
    #[error("command kind {kind} is not known to this version")]
    UnknownKind {
        /// Its number.
        kind: u8,
    },
    /// Known kind, impossible bytes.
    #[error("command kind {kind}, byte {at}: {what}")]
    Malformed {
        /// Its number.
        kind: u8,
        /// Where.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl Command {
    /// The number of this kind of command in the log.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Command::Started { .. } => 1,
            Command::Declare { .. } => 2,
            Command::DeclareGroup { .. } => 3,
            Command::Delete { .. } => 4,
            Command::DeleteGroup { .. } => 5,
            Command::OpenProducer { .. } => 6,
            Command::Settle(_) => 7,
            Command::Seek { .. } => 8,
            Command::Purge { .. } => 9,
            Command::Trim { .. } => 10,
            Command::DeadReplay { .. } => 11,
            Command::DeadDrop { .. } => 12,
            Command::IdKey { .. } => 13,
            Command::Atomic { .. } => 14,
            Command::SetSchedule { .. } => 40,
            Command::CancelSchedule { .. } => 41,
            Command::SchedulePublished { .. } => 42,
        }
    }
}
