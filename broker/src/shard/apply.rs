//! Applying committed entries: the only door to durable state.
//!
//! Entries that name something deleted by an earlier entry do nothing. Everything here is a function
//! of the state and the entry alone, so that replay and replicas come to the same state.

mod names;
mod work;

use super::command::Command;
use super::dedup::Receipt;
use super::effects::{AppliedBatch, AppliedRun, Effect, Effects, Range, StateError, StreamId};
use super::group::Group;
use super::progress::Charge;
use super::{Shard, touch};
use posthaste_protocol::request::Kind;
use std::sync::Arc;

impl Shard {
    /// Applies a committed command; `now_ms` is its block's time.
    pub fn apply_command(&mut self, now_ms: u64, command: &Command, effects: &mut Effects) {
        let logged_ms = self.time_ms;
        self.time_ms = logged_ms.max(now_ms);
        let clean_stop = self.clean_stop.take();
        match command {
            Command::Started { clean } => {
                self.aging.start(logged_ms, self.time_ms);
                self.apply_started(now_ms, clean_stop.filter(|_| *clean));
            }
            Command::Declare { stream, kind, name, settings, group } => {
                self.apply_declare(*stream, *kind, name, settings, *group);
            }
            Command::DeclareGroup { group, stream, name, start, settings } => {
                self.apply_declare_group(now_ms, *group, *stream, name, *start, settings);
            }
            Command::Delete { stream } => self.apply_delete(*stream, effects),
            Command::DeleteGroup { group } => self.apply_delete_group(*group, effects),
            Command::OpenProducer { session, producer } => {
                self.ids.producer = self.ids.producer.max(*producer);
                self.overlay.sessions.remove(session);
                self.producers.open(*producer, *session, now_ms);
            }
            Command::Settle(settlement) => self.apply_settle(now_ms, settlement, effects),
            Command::Seek { group, to } => self.apply_seek(now_ms, *group, *to),
            Command::Purge { group, ranges } => self.apply_purge(*group, ranges, effects),
            Command::Trim { stream, before } => self.apply_trim(*stream, *before, effects),
            Command::DeadReplay { group, offset } => {
                self.apply_dead_replay(*group, *offset, effects);
            }
            Command::DeadDrop { group, offset } => self.apply_dead_drop(*group, *offset, effects),
            Command::Atomic { producer, sequence } => {
                self.producers.accept_group(*producer, *sequence, now_ms);
            }
            Command::IdKey { key } => drop(self.message_ids.key.get_or_insert(*key)),
            Command::SetSchedule { id, schedule } => self.schedules.apply_set(*id, schedule),
            Command::CancelSchedule { name } => self.schedules.apply_cancel(name),
            Command::SchedulePublished { id, at_ms, next_ms } => {
                self.schedules.apply_published(*id, *at_ms, *next_ms);
            }
        }
    }

    /// Applies a committed run; `now_ms` is its block's time. A run that starts behind the end of
    /// its stream means that records are gone: they become dead letters of every group.
    ///
    /// # Errors
    /// A run that overlaps what its stream has: the log is not ours, or applied twice.
    pub fn apply_run<'a, I>(
        &mut self,
        now_ms: u64,
        run: AppliedRun<I>,
        effects: &mut Effects,
    ) -> Result<(), StateError>
    where
        I: IntoIterator<Item = AppliedBatch<'a>>,
    {
        self.time_ms = self.time_ms.max(now_ms);
        self.clean_stop = None;
        let AppliedRun { stream: id, base_offset, records, batches } = run;
        let Some(stream) = self.streams.get_mut(&id) else {
            for batch in batches {
                self.producers.reject(batch.producer, batch.sequence);
            }
            effects.list.push(Effect::Rejected { stream: id, base_offset, records });
            return Ok(());
        };
        let next_offset = stream.next_offset;
        if base_offset < next_offset {
            return Err(StateError::RunTwice { stream: id, base_offset, next_offset });
        }
        let end = base_offset.checked_add(u64::from(records)).filter(|end| *end < u64::MAX);
        let end = end.ok_or(StateError::Overflow { stream: id, base_offset, records })?;
        stream.next_offset = end;
        stream.appended = stream.appended.max(end);
        effects.counts.published += u64::from(records);

        let lost = Range { first: next_offset, end: base_offset };
        if lost.first < lost.end {
            effects.counts.lost = effects.counts.lost.saturating_add(lost.count());
            effects.list.push(Effect::Lost { stream: id, range: lost });
        }
        let mut floor = stream.first_offset;
        for group in stream.group_ids() {
            let Some(group) = self.groups.get_mut(&group) else { continue };
            group.progress.extend(lost.count(), u64::from(records));
            if lost.first < lost.end {
                let reason = Arc::from("data loss: the stored message is gone");
                group.progress.bury(lost, false, now_ms, &reason);
                effects.counts.dead = effects.counts.dead.saturating_add(lost.count());
            }
            if stream.kind == Kind::Queue {
                floor = group.progress.floor;
            }
            touch(group, &mut self.turns, &mut self.dues);
        }
        stream.times.record(base_offset, now_ms, floor);
        self.apply_batches(now_ms, Range { first: base_offset, end }, id, batches);
        Ok(())
    }

    /// Receipts and delays of the batches of a run.
    fn apply_batches<'a>(
        &mut self,
        now_ms: u64,
        run: Range,
        id: StreamId,
        batches: impl IntoIterator<Item = AppliedBatch<'a>>,
    ) {
        let mut base_offset = run.first;
        for batch in batches {
            if batch.producer != 0 {
                let receipt = Receipt {
                    sequence: batch.sequence,
                    batches: 1,
                    stream: id,
                    base_offset,
                    records: batch.count,
                };
                self.producers.accept(batch.producer, receipt, now_ms);
            }
            if !batch.ids.is_empty() {
                let aging = &self.aging;
                let is_old = |window_ms, at_ms| at_ms < aging.older_than(window_ms, now_ms);
                self.message_ids.store(id, base_offset, batch.ids, now_ms, is_old);
            }
            for (index, due_ms) in batch.delayed {
                let first = base_offset.saturating_add(u64::from(*index));
                if *due_ms > now_ms && *index < batch.count && first < run.end {
                    self.delay(now_ms, id, Range { first, end: first + 1 }, *due_ms);
                }
            }
            base_offset = base_offset.saturating_add(u64::from(batch.count)).min(run.end);
        }
    }

    /// New records of a stream are not ready before a time.
    fn delay(&mut self, now_ms: u64, id: StreamId, range: Range, due_ms: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        for group in stream.group_ids() {
            let Some(group) = self.groups.get_mut(&group) else { continue };
            let Group { progress, live, .. } = &mut *group;
            let charge = Charge { attempts: 0, due_ms };
            if progress.charges.get(range.first).is_none() {
                progress.charges.insert(range, charge);
                live.place(range, charge, now_ms);
                touch(group, &mut self.turns, &mut self.dues);
            }
        }
        if stream.kind == Kind::Topic {
            stream.not_before.insert(range, due_ms, now_ms);
        }
    }
}
