//! The block that is being filled while the one before it is being synced.
//!
//! Runs keep arrival order inside a stream, so offsets given at admission are the offsets in the
//! log. Commands follow the runs, in the order they were admitted. Commands that are too many for
//! one block go on in the next; what was promised for them waits for the last. Those of an atomic
//! group, and all before them, never do: a block is there whole or not at all, and so is the group.

use super::input::ConnectionId;
use crate::shard::command::Command;
use crate::shard::effects::{AtomicOffer, GroupId, StreamId};
use bytes::Bytes;
use posthaste_protocol::mutant;
use posthaste_protocol::response::Outcomes;
use posthaste_protocol::{Request, Response};
use posthaste_storage::{Body, BodyBuilder};
use std::collections::VecDeque;
use tokio::sync::OwnedSemaphorePermit;

/// Body bytes at which a block goes to the log even though one is under way; no more input is taken while two are. Tests
/// come there with few messages.
pub(super) const TARGET_BYTES: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };
/// LIMIT: bytes of commands in one block. With the runs of one chunk above [`TARGET_BYTES`] and one
/// command of the largest kind they stay below the largest block of the log.
const COMMANDS_BYTES_MAX: usize = 1 << 20;
/// What entries and alignment may add to one batch or command.
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
    /// The records of a publish met different fates.
    Receipts {
        connection: ConnectionId,
        number: u64,
        outcomes: Vec<Outcomes>,
    },
    /// An atomic group that was stored before: where its messages are is known once they are committed.
    AtomicAgain {
        connection: ConnectionId,
        number: u64,
        group: Box<AtomicOffer>,
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
        farewell: Option<Box<Response>>,
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

/// A command as it is logged.
#[derive(Debug)]
struct Encoded {
    kind: u8,
    payload: Vec<u8>,
}

impl Encoded {
    fn bytes(&self) -> usize {
        self.payload.len() + RUN_OVERHEAD
    }
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
    commands: VecDeque<Encoded>,
    /// Commands from the front that must go into the next block, because of an atomic group.
    whole: usize,
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

    pub(super) fn command(&mut self, command: &Command) {
        let mut payload = Vec::new();
        command.encode(&mut payload);
        let encoded = Encoded { kind: command.kind(), payload };
        self.bytes += encoded.bytes();
        self.commands.push_back(encoded);
    }

    /// Whether commands wait for more than the next block; an atomic group cannot be put behind them.
    pub(super) fn is_behind(&self) -> bool {
        self.commands.iter().map(Encoded::bytes).sum::<usize>() > COMMANDS_BYTES_MAX
    }

    /// Everything so far goes into one block.
    pub(super) fn keep_whole(&mut self) {
        self.whole = self.commands.len();
    }

    pub(super) fn hold(&mut self, budget: OwnedSemaphorePermit) {
        self.waiting.budgets.push(budget);
    }

    /// Encodes the block. What remains open are commands that found no place in it, if any.
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
        self.runs.clear();
        let mut left = COMMANDS_BYTES_MAX;
        let mut whole = if mutant("split-group") { 0 } else { self.whole };
        self.whole = 0;
        while (left > 0 || whole > 0)
            && let Some(command) = self.commands.pop_front()
        {
            left = left.saturating_sub(command.bytes());
            whole = whole.saturating_sub(1);
            body.command(command.kind, &command.payload);
        }
        self.bytes = self.commands.iter().map(Encoded::bytes).sum();
        let mut waiting = std::mem::take(&mut self.waiting);
        if !self.commands.is_empty() && !mutant("confirm-before-last-block") {
            self.waiting.afters = std::mem::take(&mut waiting.afters);
        }
        (body.finish(), waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::command::{Cause, End, Settlement};
    use crate::shard::effects::{GroupId, Range};

    fn dead(offset: u64) -> Command {
        Command::Settle(Settlement {
            group: GroupId(1),
            end: End::Dead { reason: "r".repeat(1_000) },
            cause: Cause::Consumer,
            ranges: vec![Range { first: offset, end: offset + 1 }],
        })
    }

    #[test]
    fn an_atomic_group_and_all_before_it_go_into_one_block() {
        let mut open = OpenBlock::default();
        let before = 900;
        (0..before).for_each(|offset| open.command(&dead(offset)));
        assert!(!open.is_behind());
        open.append(1, 0, 1, Bytes::from_static(b"a batch"));
        (0..200).for_each(|offset| open.command(&dead(offset)));
        open.keep_whole();
        (0..100).for_each(|offset| open.command(&dead(offset)));
        assert!(open.is_behind(), "no further group until this is written");
        let (body, _) = open.seal();
        assert!(u64::from(body.entries()) > before + 200, "{} entries", body.entries());
        assert!(open.has_entries(), "what came behind the group may go on in the next");
        let (body, _) = open.seal();
        assert_eq!(body.entries(), 100, "what came behind");
    }

    #[test]
    fn too_many_commands_for_a_block_go_on_in_the_next_and_promises_wait_for_the_last() {
        const COMMANDS: u64 = 20_000;
        let mut open = OpenBlock::default();
        for offset in 0..COMMANDS {
            open.command(&dead(offset));
        }
        open.waiting.afters.push(After::Finish { connection: 1, farewell: None });
        assert!(open.is_full(), "no more input until this is written");
        let (mut entries, mut blocks) = (0, 0);
        while open.has_entries() {
            let (body, waiting) = open.seal();
            entries += u64::from(body.entries());
            blocks += 1;
            assert!(body.len() < COMMANDS_BYTES_MAX + (4 << 10), "{} bytes", body.len());
            assert_eq!(waiting.afters.is_empty(), open.has_entries(), "block {blocks}");
        }
        assert_eq!(entries, COMMANDS);
        assert!(blocks > 10, "{blocks} blocks");
        assert!(!open.is_full(), "room again");
    }
}
