//! Ready messages to consumers with credit: turn by turn, in slices of the log.

use super::Now;
use super::core::{Core, split};
use super::cursor::{Cut, RunCursor};
use super::input::{Found, ReadDone};
use super::open::After;
use super::reads::ReadJob;
use crate::shard::effects::{ConsumerId, GroupId, LeaseOf, Ready};
use bytes::Bytes;
use posthaste_protocol::{PieceHead, encode_deliver_head};
use std::collections::BTreeMap;

/// Bytes delivered per turn of the loop, so that inputs and commits are looked at in between.
const TURN_BYTES: usize = 4 << 20;
/// Bytes a group may get before the next one has its turn.
const GROUP_BYTES: usize = 512 << 10;
/// Bytes per deliver frame.
const FRAME_BYTES: usize = 1 << 20;
/// Pieces per deliver frame.
const PIECES_MAX: usize = 1_024;

/// A deliver frame being filled for one consumer.
#[derive(Debug, Default)]
struct Draft {
    epoch: u64,
    lease_ms: u32,
    heads: Vec<PieceHead>,
    batches: Vec<Bytes>,
    bytes: usize,
}

/// Why a group's turn ended.
enum Turn {
    /// More may follow at once.
    Spent,
    /// Nothing ready, or nobody to take it, or it waits for a read.
    Over,
}

impl Core {
    /// Delivers what is ready, and requests. `true`: there is more to do.
    pub(crate) fn dispatch(&mut self, now: Now) -> bool {
        let has_requests = self.hand_out(now);
        let mut bytes = 0;
        while bytes < TURN_BYTES {
            let Some(group) = self.shard.next_dispatch() else {
                return has_requests;
            };
            bytes += self.dispatch_group(group, now).max(1);
        }
        true
    }

    fn dispatch_group(&mut self, group: GroupId, now: Now) -> usize {
        let mut drafts = BTreeMap::new();
        let mut bytes = 0;
        while bytes < GROUP_BYTES {
            match self.dispatch_one(group, &mut drafts, now) {
                (Turn::Spent, sent) => bytes += sent,
                (Turn::Over, _) => break,
            }
        }
        for (consumer, draft) in drafts {
            self.send(consumer, draft);
        }
        bytes
    }

    /// One cut for one consumer.
    fn dispatch_one(
        &mut self,
        group: GroupId,
        drafts: &mut BTreeMap<ConsumerId, Draft>,
        now: Now,
    ) -> (Turn, usize) {
        let Some(ready) = self.shard.peek_ready(group) else {
            // An idle group holds no block in memory.
            self.cursors.remove(&group);
            return (Turn::Over, 0);
        };
        if !self.locate(group, ready) {
            return (Turn::Over, 0);
        }
        let Some(picked) = self.shard.pick_consumer(group) else {
            return (Turn::Over, 0);
        };
        let Some(cursor) = self.cursors.get_mut(&group) else {
            return (Turn::Over, 0);
        };
        let messages = ready.count.min(u64::from(picked.messages));
        let time_ms = cursor.time_ms();
        let cut = match cursor.cut(ready.offset, messages, picked.bytes) {
            Ok(cut) => cut,
            Err(error) => {
                // Its checksum was right when it was stored: a defect, not damage.
                tracing::error!(?group, offset = ready.offset, %error, "a stored batch cannot be cut");
                self.give_up(group, ready.offset, 1);
                return (Turn::Over, 0);
            }
        };
        let draft = drafts.entry(picked.consumer).or_default();
        if draft.bytes + cut.batches.len() > FRAME_BYTES || draft.heads.len() >= PIECES_MAX {
            let full = std::mem::take(draft);
            self.send(picked.consumer, full);
        }
        let draft = drafts.entry(picked.consumer).or_default();
        if draft.heads.is_empty() {
            draft.epoch = self.shard.next_epoch();
            draft.lease_ms = picked.lease_ms;
        }
        let sent = cut.batches.len();
        let leased = self.shard.lease(LeaseOf {
            group,
            consumer: picked.consumer,
            epoch: draft.epoch,
            offset: ready.offset,
            count: u64::from(cut.count),
            bytes: sent as u64,
            mono_ms: now.mono_ms,
        });
        if !leased {
            return (Turn::Over, 0);
        }
        self.counters.delivered += u64::from(cut.count);
        draft.add(cut, &ready, time_ms);
        (Turn::Spent, sent)
    }

    /// Brings the group's cursor to the run of the next ready message. `false`: it has to be read
    /// first, or it is lost; the group is parked meanwhile.
    fn locate(&mut self, group: GroupId, ready: Ready) -> bool {
        if self.cursors.get(&group).is_some_and(|cursor| cursor.covers(ready.offset)) {
            return true;
        }
        if let Some(run) = self.log.tail(ready.stream, ready.offset)
            && let Some(seed) = self.directory.seed(ready.stream)
        {
            let cursor = RunCursor::new(run, seed);
            if cursor.covers(ready.offset) {
                self.cursors.insert(group, cursor);
                return true;
            }
        }
        self.shard.park(group);
        let (stream, offset) = (ready.stream, ready.offset);
        let end = offset + ready.count;
        self.reads.push(ReadJob::Group { group: group.0, stream, offset, end });
        false
    }

    /// A cold read is back.
    pub(super) fn on_read(&mut self, done: ReadDone, now: Now) {
        let group = GroupId(done.group);
        match done.found {
            Found::Run(run) => {
                if let Some(seed) = self.directory.seed(done.stream) {
                    self.cursors.insert(group, RunCursor::new(run, seed));
                }
                self.shard.unpark(group);
            }
            Found::Lost(count) => {
                let offset = done.offset;
                tracing::error!(?group, offset, count, "stored messages are lost to damage");
                self.give_up(group, offset, count);
            }
            Found::Failed(error) => {
                tracing::error!(?group, offset = done.offset, %error, "stored messages cannot be read");
                self.rest(group, now);
            }
        }
    }

    /// Records messages as lost; the group goes on behind them once that is durable.
    fn give_up(&mut self, group: GroupId, offset: u64, count: u64) {
        self.shard.park(group);
        let command = self.shard.lost(group, offset, count);
        self.open.command(&command);
        self.open.waiting.afters.push(After::Unpark { group });
    }

    fn send(&mut self, to: ConsumerId, draft: Draft) {
        if draft.heads.is_empty() {
            return;
        }
        let (connection, channel) = split(to);
        let Draft { epoch, lease_ms, heads, batches, .. } = draft;
        let head = |out: &mut _| encode_deliver_head(channel, epoch, lease_ms, &heads, out);
        self.say_parts(connection, head, batches);
    }
}

impl Draft {
    fn add(&mut self, cut: Cut, ready: &Ready, time_ms: u64) {
        self.bytes += cut.batches.len();
        self.heads.push(PieceHead {
            base_offset: cut.base_offset,
            from: cut.from,
            count: cut.count,
            attempt: ready.attempt,
            redelivered: ready.redelivered,
            time_ms,
            len: u32::try_from(cut.batches.len()).unwrap_or(u32::MAX),
        });
        self.batches.push(cut.batches);
    }
}
