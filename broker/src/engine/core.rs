//! The synchronous heart: one owner of the shard, the open block and the connections' out-trays.

use super::Now;
use super::apply::{ApplyError, apply_block};
use super::cursor::RunCursor;
use super::directory::Directory;
use super::input::{ConnectionId, Input, Item};
use super::metrics::Counters;
use super::open::{After, OpenBlock, Waiting};
use super::outbox::Outbox;
use super::publish::Published;
use super::reads::ReadJob;
use super::services::Services;
use crate::shard::Shard;
use crate::shard::effects::{ConsumerId, Effect, Effects, GroupId};
use bytes::{Bytes, BytesMut};
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::{Response, mutant};
use posthaste_storage::{Block, Body, LogKeeper, LogReader};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How long the engine believes what it was told about free space.
const SPACE_CHECK_MS: u64 = 100;
/// LIMIT: blocks that the log has at a time: one is written, one is ready to follow.
pub(crate) const IN_FLIGHT_MAX: usize = 2;
/// How long a group rests after a read failed for another reason than damage.
const READ_RETRY_MS: u64 = 1_000;
/// LIMIT: ranges of messages that a tick counts for the audit.
const AUDIT_RANGES: usize = 16_384;

/// One client, as the engine sees it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) outbox: Outbox,
    /// Frames of this turn: sealed slices, and the heads still being written.
    parts: Vec<Bytes>,
    scratch: BytesMut,
    pub(super) producer: Option<u32>,
    /// Channel to group.
    pub(super) consumers: BTreeMap<u16, GroupId>,
    /// Reads off the loop that have not come back.
    pub(super) reads: u32,
    /// Bytes in `parts`.
    parts_bytes: usize,
    /// It has more to take than it may leave waiting; its writer says when that is over.
    pub(super) is_blocked: bool,
    /// The peer sends no more; the farewell goes out behind the last read.
    ending: Option<Option<Box<Response>>>,
}

impl Connection {
    fn say(&mut self, channel: u16, corr: u64, response: &Response) {
        response.encode(channel, corr, &mut self.scratch);
    }

    /// Whether the client should take what it has been sent before it asks for more.
    pub(super) fn is_crowded(&self) -> bool {
        self.outbox.is_crowded(self.turn_bytes())
    }

    /// Bytes that this turn has for it so far.
    pub(super) fn turn_bytes(&self) -> usize {
        self.parts_bytes + self.scratch.len()
    }

    /// A frame whose payload goes out as it lies in the log.
    fn say_parts(&mut self, head: impl FnOnce(&mut BytesMut), payload: Vec<Bytes>) {
        head(&mut self.scratch);
        self.parts.push(self.scratch.split().freeze());
        self.parts_bytes += payload.iter().map(Bytes::len).sum::<usize>();
        self.parts.extend(payload);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) shard: Shard,
    pub(super) log: LogReader,
    pub(super) directory: Arc<Directory>,
    pub(super) connections: BTreeMap<ConnectionId, Connection>,
    /// Connections with something to send this turn.
    dirty: Vec<ConnectionId>,
    pub(super) open: OpenBlock,
    /// What waits for the blocks that the log has, oldest first; at most [`IN_FLIGHT_MAX`].
    in_flight: VecDeque<Waiting>,
    /// Who may use a producer number: the connection that opened it last.
    pub(super) producers: BTreeMap<u32, ConnectionId>,
    pub(super) cursors: BTreeMap<GroupId, RunCursor>,
    /// Reads to make off the loop; the driver takes them.
    pub(super) reads: Vec<ReadJob>,
    /// Groups whose read failed, and when to try again.
    resting: Vec<(u64, GroupId)>,
    pub(super) services: Services,
    pub(super) counters: Counters,
    pub(super) has_space: bool,
    pub(super) space_checked_ms: Option<u64>,
    #[cfg(feature = "testing")]
    pub(super) controls: Option<super::testing::Controls>,
    /// For the hashes of message ids, once somebody wants ids remembered.
    pub(super) id_key: [u8; 16],
}

impl Core {
    pub(crate) fn new(
        shard: Shard,
        log: LogReader,
        directory: Arc<Directory>,
        id_key: [u8; 16],
    ) -> Core {
        Core {
            id_key,
            shard,
            log,
            directory,
            connections: BTreeMap::new(),
            dirty: Vec::new(),
            open: OpenBlock::default(),
            in_flight: VecDeque::with_capacity(IN_FLIGHT_MAX),
            producers: BTreeMap::new(),
            cursors: BTreeMap::new(),
            reads: Vec::new(),
            resting: Vec::new(),
            services: Services::default(),
            counters: Counters::default(),
            has_space: true,
            space_checked_ms: None,
            #[cfg(feature = "testing")]
            controls: None,
        }
    }

    /// Whether more input may come in now. If not, a block is under way that will change that.
    pub(crate) fn has_room(&self) -> bool {
        !self.open.is_full()
    }

    /// Takes one event in.
    pub(crate) fn on_input(&mut self, input: Input, now: Now) {
        match input {
            Input::Opened { connection, outbox } => {
                let fresh = Connection {
                    outbox,
                    parts: Vec::new(),
                    scratch: BytesMut::new(),
                    producer: None,
                    consumers: BTreeMap::new(),
                    reads: 0,
                    parts_bytes: 0,
                    is_blocked: false,
                    ending: None,
                };
                self.connections.insert(connection, fresh);
                self.counters.connections_opened += 1;
            }
            Input::Chunk { connection, items, budget } => {
                self.check_space(now);
                for item in items {
                    match item {
                        Item::Publish { number, target, expects, header, batch } => {
                            let published =
                                Published { connection, number, target, expects, header, batch };
                            self.publish(published, now);
                        }
                        Item::Atomic { number, group } => {
                            self.publish_atomic(connection, number, *group, now);
                        }
                        Item::Request { channel, corr, request } => {
                            self.request(connection, channel, corr, *request, now);
                        }
                    }
                }
                if let Some(budget) = budget {
                    self.open.hold(budget);
                }
            }
            Input::Finished { connection, farewell } => {
                self.detach_all(connection, now);
                self.end_requests(connection);
                self.open.waiting.afters.push(After::Finish { connection, farewell });
            }
            Input::Closed { connection } => self.close(connection, now),
            Input::Drained { connection } => self.set_blocked(connection, false),
            Input::Read(done) => self.on_read(done, now),
            Input::Reply { connection, channel, corr, response } => {
                self.say(connection, channel, corr, &response);
                if let Some(found) = self.connections.get_mut(&connection) {
                    found.reads = found.reads.saturating_sub(1);
                    if let Some(farewell) = found.ending.take() {
                        self.finish(connection, farewell, now);
                    }
                }
            }
            Input::Checkpointed(_) => {}
            #[cfg(feature = "testing")]
            Input::Settle(_) => {}
        }
    }

    /// Time passes: leases end, delays end, tired groups wake.
    pub(crate) fn on_time(&mut self, now: Now) {
        for command in self.shard.expire(now.mono_ms, now.wall_ms) {
            self.open.command(&command);
        }
        self.shard.wake_delayed(now.wall_ms);
        self.publish_schedules(now);
        let due = self.resting.extract_if(.., |(at, _)| *at <= now.mono_ms);
        for (_, group) in due {
            self.shard.unpark(group);
        }
        self.expire_requests(now);
    }

    /// When [`Core::on_time`] has something to do, in monotonic milliseconds.
    pub(crate) fn next_time(&self, now: Now) -> Option<u64> {
        // A full block has to go first; its commit turns the loop.
        let recurring = self.has_room().then(|| self.shard.next_schedule()).flatten();
        let due = [self.shard.next_due(), recurring].into_iter().flatten().min();
        let due = due.map(|due| now.mono_ms + due.saturating_sub(now.wall_ms));
        let rested = self.resting.iter().map(|(at, _)| *at).min();
        let requests = self.services.next_deadline();
        [self.shard.next_deadline(), due, rested, requests].into_iter().flatten().min()
    }

    /// The next block to commit: at once if none is under way and there is something in it; behind the one under way if it is
    /// full, so that the disk need not wait while it is put together.
    pub(crate) fn next_block(&mut self, now: Now) -> Option<Body> {
        let may_go = match self.in_flight.len() {
            0 => true,
            under_way => under_way < IN_FLIGHT_MAX && self.open.is_full(),
        };
        if !may_go {
            return None;
        }
        if !self.open.has_entries() {
            // Nothing to write: what waits rests on blocks that are committed already.
            let waiting = std::mem::take(&mut self.open.waiting);
            self.keep(waiting, &[], now);
            return None;
        }
        let (body, waiting) = self.open.seal();
        self.in_flight.push_back(waiting);
        Some(body)
    }

    /// Whether the log has a block that is not durable yet.
    pub(crate) fn is_committing(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Nothing open and nothing under way: everything promised is kept.
    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && !self.open.has_entries()
    }

    /// A block is durable: apply it and keep what was promised for it.
    pub(crate) fn on_committed(&mut self, block: &Block, now: Now) -> Result<(), ApplyError> {
        let waiting = self.in_flight.pop_front().unwrap_or_default();
        let mut effects = Effects::default();
        apply_block(&mut self.shard, block, &mut effects)?;
        self.counters.blocks += 1;
        self.counters.add(&effects.counts);
        for effect in &effects.list {
            self.on_effect(effect);
        }
        self.keep(waiting, &effects.list, now);
        Ok(())
    }

    /// The log failed: nobody can know what became of what was under way.
    pub(crate) fn on_failure(&mut self) {
        let open = std::mem::take(&mut self.open.waiting);
        let lost = ErrorReply {
            code: ErrorCode::Indeterminate,
            retry_after_ms: 0,
            message: "the disk failed while this was being stored; it may or may not be there"
                .into(),
            similar: Vec::new(),
        };
        for waiting in std::mem::take(&mut self.in_flight).into_iter().chain([open]) {
            self.refuse_all(&waiting, &lost);
        }
        self.say_goodbye(&lost);
    }

    /// Tells every client that the broker leaves, and lets the connections go.
    pub(crate) fn say_goodbye(&mut self, why: &ErrorReply) {
        let told = Response::Closing(why.clone());
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.say(connection, 0, 0, &told);
        }
        self.flush();
        self.connections.clear();
    }

    /// Detaches every consumer: an orderly stop leaves no lease behind.
    pub(crate) fn detach_everyone(&mut self, now: Now) {
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            self.detach_all(connection, now);
        }
    }

    /// Hands the frames of this turn to the connection tasks.
    pub(crate) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            if !connection.scratch.is_empty() {
                connection.parts.push(connection.scratch.split().freeze());
            }
            if connection.parts.is_empty() {
                continue;
            }
            let parts = std::mem::take(&mut connection.parts);
            connection.parts_bytes = 0;
            if connection.outbox.send(parts).is_err() {
                // Its task ends and reports the connection as closed.
                tracing::debug!(connection = id, "a connection does not take its replies");
                connection.outbox.abandon();
            } else if connection.outbox.is_blocked() {
                self.set_blocked(id, true);
            }
        }
        self.dirty = dirty;
    }

    /// LIMIT: see [`crate::config::Limits::message_ids_max`].
    pub(crate) fn limit_message_ids(&mut self, max: usize) {
        self.shard.limit_message_ids(max);
    }

    pub(crate) fn shard(&self) -> &Shard {
        &self.shard
    }

    pub(crate) fn log(&self) -> &LogReader {
        &self.log
    }

    /// Removes what topics need not keep any more.
    pub(crate) fn retain(&mut self, keeper: &LogKeeper, now: Now) {
        for topic in self.shard.retentions() {
            let kept_ms = topic.retain_ms;
            let before_ms = kept_ms.map(|kept_ms| self.shard.older_than(kept_ms, now.wall_ms));
            let floor = keeper.retention_floor(topic.stream, before_ms, topic.retain_bytes);
            if let Some(floor) = floor
                && floor > topic.first_offset
                && let Some(command) = self.shard.admit_trim(topic.stream, floor)
            {
                self.open.command(&command);
            }
        }
    }

    /// Counts the messages of some groups; the next call goes on with the others.
    pub(crate) fn audit(&mut self) {
        for (group, unaccounted) in self.shard.audit(AUDIT_RANGES) {
            let place = self.shard.place_name(group).unwrap_or_default();
            if unaccounted > 0 {
                tracing::error!(place, unaccounted, "the counts of messages do not add up");
            } else {
                tracing::info!(place, "the counts of messages add up again");
            }
        }
    }

    pub(crate) fn take_reads(&mut self) -> Vec<ReadJob> {
        std::mem::take(&mut self.reads)
    }

    pub(super) fn say(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        corr: u64,
        response: &Response,
    ) {
        // A client that has left needs no answer.
        if let Some(found) = self.connections.get_mut(&connection) {
            found.say(channel, corr, response);
            self.dirty.push(connection);
        }
    }

    /// A frame whose payload goes out as it lies in the log.
    pub(super) fn say_parts(
        &mut self,
        connection: ConnectionId,
        head: impl FnOnce(&mut BytesMut),
        payload: Vec<Bytes>,
    ) {
        if let Some(found) = self.connections.get_mut(&connection) {
            found.say_parts(head, payload);
            self.dirty.push(connection);
        }
    }

    /// Answers once everything appended so far is committed.
    pub(super) fn say_after(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        corr: u64,
        response: Response,
    ) {
        if mutant("reply-before-commit") {
            return self.say(connection, channel, corr, &response);
        }
        let response = Box::new(response);
        self.open.waiting.afters.push(After::Reply { connection, channel, corr, response });
    }

    pub(super) fn rest(&mut self, group: GroupId, now: Now) {
        self.resting.push((now.mono_ms + READ_RETRY_MS, group));
    }

    fn on_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::ConsumerGone { consumer } => {
                let (connection, channel) = split(*consumer);
                if let Some(found) = self.connections.get_mut(&connection) {
                    found.consumers.remove(&channel);
                }
                self.say(connection, channel, 0, &Response::Canceled);
            }
            // Told to the publishers when the promises are kept.
            Effect::Rejected { .. } => {}
            Effect::Lost { stream, range } => {
                tracing::error!(stream, ?range, "stored messages are lost to damage");
            }
        }
    }

    /// Closes a connection once every answer that is due has been given: nothing comes behind the farewell.
    pub(super) fn finish(
        &mut self,
        connection: ConnectionId,
        farewell: Option<Box<Response>>,
        now: Now,
    ) {
        match self.connections.get_mut(&connection) {
            Some(found) if found.reads > 0 => found.ending = Some(farewell),
            _ => {
                if let Some(response) = farewell {
                    self.say(connection, 0, 0, &response);
                }
                self.close(connection, now);
            }
        }
    }

    fn close(&mut self, connection: ConnectionId, now: Now) {
        self.detach_all(connection, now);
        self.end_requests(connection);
        self.flush();
        if let Some(gone) = self.connections.remove(&connection)
            && let Some(producer) = gone.producer
        {
            self.producers.remove(&producer);
        }
    }

    fn set_blocked(&mut self, connection: ConnectionId, is_blocked: bool) {
        if let Some(found) = self.connections.get_mut(&connection) {
            found.is_blocked = is_blocked;
            for channel in found.consumers.keys() {
                self.shard.set_blocked(consumer(connection, *channel), is_blocked);
            }
            if !is_blocked {
                self.services.unblock(connection);
            }
        }
    }

    pub(super) fn check_space(&mut self, now: Now) {
        let is_fresh = self
            .space_checked_ms
            .is_some_and(|checked| now.mono_ms < checked.saturating_add(SPACE_CHECK_MS));
        if !is_fresh {
            self.space_checked_ms = Some(now.mono_ms);
            self.has_space = self.log.space().publishes_allowed;
            #[cfg(feature = "testing")]
            self.pretend();
        }
    }
}

/// A consumer is a channel of a connection.
pub(super) fn consumer(connection: ConnectionId, channel: u16) -> ConsumerId {
    ConsumerId(connection << 16 | u64::from(channel))
}

pub(super) fn split(consumer: ConsumerId) -> (ConnectionId, u16) {
    #[expect(clippy::cast_possible_truncation, reason = "the low 16 bits are the channel")]
    let channel = consumer.0 as u16;
    (consumer.0 >> 16, channel)
}
