//! What reaches the engine: chunks of parsed requests, never one message at a time.

use super::outbox::Outbox;
use bytes::Bytes;
use posthaste_protocol::batch::BatchHeader;
use posthaste_protocol::request::{AtomicSettle, TargetId};
use posthaste_protocol::{Request, Response};
use posthaste_storage::{Run, StorageError};
use tokio::sync::OwnedSemaphorePermit;

/// One connection of this process's life.
pub(crate) type ConnectionId = u64;

/// A request as the connection task hands it over.
#[derive(Debug)]
pub(crate) enum Item {
    /// A batch whose frame, checksum and records have been checked.
    Publish {
        number: u64,
        target: TargetId,
        expects: Option<u64>,
        header: BatchHeader,
        batch: Bytes,
    },
    /// An atomic group whose batches have been checked in the same way.
    Atomic { number: u64, group: Box<AtomicGroup> },
    /// Anything else.
    Request { channel: u16, corr: u64, request: Box<Request> },
}

/// An atomic group as the connection task hands it over.
#[derive(Debug)]
pub(crate) struct AtomicGroup {
    pub(crate) producer: u32,
    pub(crate) sequence: u64,
    pub(crate) parts: Vec<GroupPart>,
    pub(crate) settles: Vec<AtomicSettle>,
}

/// A batch of an atomic group.
#[derive(Debug)]
pub(crate) struct GroupPart {
    pub(crate) target: TargetId,
    pub(crate) expects: Option<u64>,
    pub(crate) header: BatchHeader,
    pub(crate) batch: Bytes,
}

/// Events for the engine.
#[derive(Debug)]
pub(crate) enum Input {
    Opened {
        connection: ConnectionId,
        outbox: Outbox,
    },
    /// `budget` is given back when the block that carries the chunk's batches is committed.
    Chunk {
        connection: ConnectionId,
        items: Vec<Item>,
        budget: Option<OwnedSemaphorePermit>,
    },
    /// The peer sends no more, but may still read: confirms and answers under way are sent, then
    /// the farewell, then it closes.
    Finished {
        connection: ConnectionId,
        farewell: Option<Box<Response>>,
    },
    /// The connection is gone.
    Closed {
        connection: ConnectionId,
    },
    /// The outbox has room again.
    Drained {
        connection: ConnectionId,
    },
    /// A cold read is back.
    Read(ReadDone),
    /// A reply that was put together off the loop.
    Reply {
        connection: ConnectionId,
        channel: u16,
        corr: u64,
        response: Box<Response>,
    },
    /// A test waits until nothing is under way.
    #[cfg(feature = "testing")]
    Settle(super::testing::Settled),
    /// A checkpoint was written, or not.
    Checkpointed(Result<(), StorageError>),
}

/// A cold read that a group waits for.
#[derive(Debug)]
pub(crate) struct ReadDone {
    pub(crate) group: u32,
    pub(crate) stream: u32,
    pub(crate) offset: u64,
    pub(crate) found: Found,
}

/// What a cold read found.
#[derive(Debug)]
pub(crate) enum Found {
    /// The run with the offset in it.
    Run(Run),
    /// This many offsets from there on are gone or damaged.
    Lost(u64),
    /// Nothing is known: the disk did not answer.
    Failed(StorageError),
}
