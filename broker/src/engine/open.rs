//! The block that is being filled while the one before it is being synced.
//!
//! Runs keep arrival order inside a stream, so offsets given at admission are the offsets in the
//! log. Commands follow the runs, in the order they were admitted.

use super::input::ConnectionId;
use crate::shard::command::Command;
use crate::shard::effects::{GroupId, StreamId};
use bytes::Bytes;
use posthaste_protocol::{Request, Response};
use posthaste_storage::{Body, BodyBuilder};
use tokio::sync::OwnedSemaphorePermit;

/// Body bytes at which no more input is taken until the block before is committed.
pub(super) const TARGET_BYTES: usize = 1 << 20;
/// What entries and alignment may add to one batch.
const RUN_OVERHEAD: usize = 64;

/// A publish that waits for its block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    pub(super) connection: ConnectionId,
    pub(super) number: u64,
    pub(super) target: StreamId,
    pub(super) base_offset: u64,
    pub(super) records: u32,
    pub(super) is_duplicate: bool,
}

/// Something else that waits for its block.
#[derive(Debug)]
pub(super) enum After {
    Reply {
        connection: ConnectionId,
        channel: u16,
        corr: u64,
        response: Box<Response>,
    },
    /// The group exists now: the consumer may be attached.
    Attach {
        connection: ConnectionId,
        channel: u16,
        corr: u64,
        request: Box<Request>,
    },
    /// Cancel or a settle's effects are in: the consumer of a finished peer may go.
    Finish {
        connection: ConnectionId,
    },
    /// A lost range is recorded: its group may be dispatched again.
    Unpark {
        group: GroupId,
    },
}

#[derive(Debug)]
struct OpenRun {
    stream: StreamId,
    base_offset: u64,
    records: u32,
    batch: Bytes,
}

/// What waits for one block.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) promises: Vec<Promise>,
    pub(super) afters: Vec<After>,
    budgets: Vec<OwnedSemaphorePermit>,
}

/// The block being filled.
#[derive(Debug, Default)]
pub(super) struct OpenBlock {
    runs: Vec<OpenRun>,
    commands: Vec<Command>,
    bytes: usize,
    pub(super) waiting: Waiting,
}

impl OpenBlock {
    pub(super) fn has_entries(&self) -> bool {
        !self.runs.is_empty() || !self.commands.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= TARGET_BYTES
    }

    pub(super) fn append(
        &mut self,
        stream: StreamId,
        base_offset: u64,
        records: u32,
        batch: Bytes,
    ) {
        self.bytes += batch.len() + RUN_OVERHEAD;
        self.runs.push(OpenRun { stream, base_offset, records, batch });
    }

    pub(super) fn command(&mut self, command: Command) {
        self.bytes += RUN_OVERHEAD;
        self.commands.push(command);
    }

    pub(super) fn hold(&mut self, budget: OwnedSemaphorePermit) {
        self.waiting.budgets.push(budget);
    }

    /// Encodes the block and leaves an empty one behind.
    pub(super) fn seal(&mut self) -> (Body, Waiting) {
        // Stable: arrival order inside a stream is offset order.
        if !self.runs.is_sorted_by_key(|run| run.stream) {
            self.runs.sort_by_key(|run| run.stream);
        }
        let mut body = BodyBuilder::new();
        let mut batches = Vec::new();
        for runs in self.runs.chunk_by(|a, b| a.stream == b.stream) {
            let (first, records) = (&runs[0], runs.iter().map(|run| run.records).sum());
            batches.clear();
            batches.extend(runs.iter().map(|run| run.batch.clone()));
            body.run(first.stream, first.base_offset, records, &batches);
        }
        let mut payload = Vec::new();
        for command in &self.commands {
            payload.clear();
            command.encode(&mut payload);
            body.command(command.kind(), &payload);
        }
        self.runs.clear();
        self.commands.clear();
        self.bytes = 0;
        (body.finish(), std::mem::take(&mut self.waiting))
    }
}
