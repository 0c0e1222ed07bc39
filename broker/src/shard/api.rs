//! Signatures first; the bodies move to their own files.
#![expect(
    unused_variables,
    clippy::unused_self,
    clippy::needless_pass_by_value,
    reason = "signatures come before bodies"
)]

use super::Shard;
use super::command::Command;
use super::effects::*;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Held, Kind, Settings, Settle};
use posthaste_protocol::response::{Declared, Description};

fn none() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "there is nothing yet")
}

/// Durable state: made, saved, restored, changed.
impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new() -> Shard {
        Shard {}
    }
    /// The shard of a checkpoint; its live half is as after a stop.
    /// # Errors
    /// Bytes that no version wrote, or that are damaged.
    pub fn restore(checkpoint: &[u8]) -> Result<Shard, StateError> {
        Ok(Shard::new())
    }
    /// The durable state; equal bytes for equal state. For a clean stop take it after the last
    /// consumer is detached and everything appended is applied.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        Vec::new()
    }
    /// Number of this process's start; goes into lease epochs. Call once, before the first lease.
    pub fn set_incarnation(&mut self, incarnation: u32) {}
    /// Applies a committed command; `now_ms` is its block's time.
    pub fn apply_command(&mut self, now_ms: u64, command: &Command, effects: &mut Effects) {}
    /// Applies a committed run; `now_ms` is its block's time.
    /// # Errors
    /// A run that overlaps what its stream has: the log is not ours or applied twice.
    pub fn apply_run<'a, I>(
        &mut self,
        now_ms: u64,
        run: AppliedRun<I>,
        effects: &mut Effects,
    ) -> Result<(), StateError>
    where
        I: IntoIterator<Item = AppliedBatch<'a>>,
    {
        Ok(())
    }
}

/// Admission: what may go into the open block. Sees what is appended but not committed.
impl Shard {
    /// May this batch be appended? Call in the order of arrival per stream.
    pub fn admit_publish(
        &mut self,
        stream: StreamId,
        producer: u32,
        sequence: u64,
        records: u32,
    ) -> Admit {
        Admit::Refused(none())
    }
    /// Creates or changes a queue or topic.
    /// # Errors
    /// `Conflict`, `InvalidArgument`, `QuotaExceeded`.
    pub fn admit_declare(
        &mut self,
        kind: Kind,
        name: &Name,
        settings: &Settings,
    ) -> Result<Admitted<(Declared, StreamId)>, Refusal> {
        Err(none())
    }
    /// Creates or changes a group of a topic.
    /// # Errors
    /// `NotFound`, `Conflict`, `InvalidArgument`, `QuotaExceeded`.
    pub fn admit_declare_group(
        &mut self,
        topic: &Name,
        group: &GroupName,
        start: Place,
        settings: &Settings,
    ) -> Result<Admitted<DeclaredGroup>, Refusal> {
        Err(none())
    }
    /// Removes a queue or topic.
    /// # Errors
    /// `NotFound`.
    pub fn admit_delete(&mut self, name: &Name) -> Result<Admitted<()>, Refusal> {
        Err(none())
    }
    /// Removes a group of a topic.
    /// # Errors
    /// `NotFound`, `InvalidArgument` for a queue.
    pub fn admit_delete_group(
        &mut self,
        topic: &Name,
        group: &GroupName,
    ) -> Result<Admitted<()>, Refusal> {
        Err(none())
    }
    /// Opens or resumes a producer session.
    pub fn admit_open_producer(&mut self, session: [u8; 16]) -> Admitted<OpenedProducer> {
        Admitted {
            answer: OpenedProducer {
                producer: 1,
                resumed: false,
            },
            command: None,
        }
    }
    /// Moves a group of a topic. Its leases end now; it is not dispatched until the command is applied.
    /// # Errors
    /// `NotFound`, `Conflict` for a queue.
    pub fn admit_seek(
        &mut self,
        group: GroupId,
        to: Place,
        dry_run: bool,
    ) -> Result<Admitted<Sought>, Refusal> {
        Err(none())
    }
    /// Removes the ready and delayed messages of a queue, or all messages of a topic.
    /// # Errors
    /// `NotFound`.
    pub fn admit_purge(&mut self, name: &Name, dry_run: bool) -> Result<Admitted<u64>, Refusal> {
        Err(none())
    }
    /// Makes dead letters ready again: one, or all.
    /// # Errors
    /// `NotFound`.
    pub fn admit_dead_replay(
        &mut self,
        group: GroupId,
        offset: Option<u64>,
        dry_run: bool,
    ) -> Result<Admitted<u64>, Refusal> {
        Err(none())
    }
    /// Forgets dead letters: one, or all.
    /// # Errors
    /// `NotFound`.
    pub fn admit_dead_drop(
        &mut self,
        group: GroupId,
        offset: Option<u64>,
        dry_run: bool,
    ) -> Result<Admitted<u64>, Refusal> {
        Err(none())
    }
    /// Retention: removes a topic's messages below `before`. `None`: nothing to remove.
    pub fn admit_trim(&mut self, stream: StreamId, before: u64) -> Option<Command> {
        None
    }
    /// Stored data that cannot be read: these ready messages become dead letters. They are not
    /// ready any more from now on.
    pub fn lost(&mut self, group: GroupId, offset: u64, count: u64) -> Command {
        Command::Settle(super::command::Settlement {
            group,
            end: super::command::End::Ack,
            cause: super::command::Cause::DataLoss,
            ranges: vec![],
        })
    }
}

/// Consumers: credit, leases, settling.
impl Shard {
    /// Adds a consumer without credit. `lease_ms` of `None` takes the group's. Answers the lease
    /// that applies; `None`: there is no such group.
    pub fn attach(
        &mut self,
        consumer: ConsumerId,
        group: GroupId,
        lease_ms: Option<u32>,
    ) -> Option<u32> {
        None
    }
    /// Adds credit (saturating, capped) and tells how many deliveries the application has begun.
    pub fn add_credit(&mut self, consumer: ConsumerId, messages: u32, bytes: u64, begun: u64) {}
    /// The consumer's outbox is full (or not any more): it is passed over until unblocked.
    pub fn set_blocked(&mut self, consumer: ConsumerId, blocked: bool) {}
    /// Ends a consumer. Deliveries it has begun are charged an attempt by the commands; the others
    /// are ready again at once.
    pub fn detach(&mut self, consumer: ConsumerId, now_ms: u64) -> Vec<Command> {
        Vec::new()
    }
    /// Ends deliveries. Held parts stay counted as leased until their command is applied.
    pub fn settle(&mut self, consumer: ConsumerId, items: &[Settle], now_ms: u64) -> SettleResult {
        SettleResult::default()
    }
    /// Gives held deliveries `lease_ms` from now; answers what was not held.
    pub fn extend(
        &mut self,
        consumer: ConsumerId,
        items: &[Held],
        mono_ms: u64,
        lease_ms: u32,
    ) -> Vec<Held> {
        Vec::new()
    }
    /// Ends leases whose deadline has come.
    pub fn expire(&mut self, mono_ms: u64, now_ms: u64) -> Vec<Command> {
        Vec::new()
    }
    /// When to call [`Shard::expire`] next. No lease ends before that.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }
    /// Makes delayed messages ready whose time has come.
    pub fn wake_delayed(&mut self, now_ms: u64) {}
    /// When to call [`Shard::wake_delayed`] next.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        None
    }
}

/// Dispatch: whose turn, what, to whom.
impl Shard {
    /// The group whose turn it is among those with ready messages and a consumer with credit. It
    /// goes behind the others; lease something, or park it, or it comes round again.
    pub fn next_dispatch(&mut self) -> Option<GroupId> {
        None
    }
    /// Passes the group over until [`Shard::unpark`].
    pub fn park(&mut self, group: GroupId) {}
    /// Ends [`Shard::park`].
    pub fn unpark(&mut self, group: GroupId) {}
    /// The next ready messages of the group: returned ones first, lowest offset first.
    pub fn peek_ready(&mut self, group: GroupId) -> Option<Ready> {
        None
    }
    /// The consumer of the group whose turn it is; it goes behind the others.
    pub fn pick_consumer(&mut self, group: GroupId) -> Option<Picked> {
        None
    }
    /// A new lease epoch, for the deliveries of one frame.
    pub fn next_epoch(&mut self) -> u64 {
        0
    }
    /// Leases the front of what [`Shard::peek_ready`] said, `count` at most, and spends credit.
    /// `false`: these messages are not ready any more (something happened since the peek).
    #[must_use]
    pub fn lease(&mut self, lease: LeaseOf) -> bool {
        false
    }
}

/// Questions; answers show committed state only.
impl Shard {
    /// A queue or topic by name.
    /// # Errors
    /// `NotFound`, with near names.
    pub fn find(&self, name: &Name) -> Result<Found, Refusal> {
        Err(none())
    }
    /// A group: the built-in one of a queue, or a named one of a topic.
    /// # Errors
    /// `NotFound` with near names; `InvalidArgument` if a group is missing or not wanted.
    pub fn find_group(
        &self,
        name: &Name,
        group: Option<&GroupName>,
    ) -> Result<(Found, GroupId), Refusal> {
        Err(none())
    }
    /// A name's counts and settings; `bytes` is left 0.
    #[must_use]
    pub fn describe(&self, name: &Name, now_ms: u64) -> Option<Description> {
        None
    }
    /// Descriptions in name order, and whether there are more.
    #[must_use]
    pub fn list(
        &self,
        after: Option<&Name>,
        limit: usize,
        now_ms: u64,
    ) -> (Vec<Description>, bool) {
        (Vec::new(), false)
    }
    /// The name of a stream: the seed of its batches' checksums.
    #[must_use]
    pub fn name(&self, stream: StreamId) -> Option<&Name> {
        None
    }
    /// Queues and topics.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        0
    }
    /// The next messages from this offset on that are not settled and not dead (for a queue), or
    /// are kept (for a topic). What peek and tail read.
    #[must_use]
    pub fn readable(&self, stream: StreamId, from: u64) -> Option<Range> {
        None
    }
    /// Dead letters from this offset on, at most `limit` ranges, and how many dead letters in all.
    #[must_use]
    pub fn dead_list(&self, group: GroupId, from: u64, limit: usize) -> (Vec<DeadItem>, u64) {
        (Vec::new(), 0)
    }
    /// Per stream the first offset still needed. Streams not listed are gone.
    #[must_use]
    pub fn floors(&self) -> Vec<(StreamId, u64)> {
        Vec::new()
    }
    /// Topics with a retention setting.
    #[must_use]
    pub fn retentions(&self) -> Vec<Retention> {
        Vec::new()
    }
    /// Time of the newest block applied. The wall clock the engine passes in should never be below.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        0
    }
}

impl Default for Shard {
    fn default() -> Shard {
        Shard::new()
    }
}
