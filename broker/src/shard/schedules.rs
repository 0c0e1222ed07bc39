//! Schedules: messages that are published again and again.
//!
//! The shard keeps them and knows when each is due next. Which moment that is a calendar has decided before the command
//! was logged, so that applying it needs none.

use super::Shard;
use super::command::Command;
use super::effects::{Admitted, Refusal};
use super::timers::Timers;
use bytes::Bytes;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::names::{self, Name};
use posthaste_protocol::response::Declared;
use posthaste_protocol::schedule::ScheduleInfo;
use std::collections::BTreeMap;
use std::ops::Bound;

/// LIMIT: schedules of a broker.
const SCHEDULES_MAX: usize = 10_000;
/// LIMIT: bytes of their messages.
const SCHEDULES_BYTES_MAX: usize = 16 << 20;

/// A recurring message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: Name,
    /// The queue or topic that it publishes to.
    pub to: Name,
    /// When, as text.
    pub when: String,
    /// The time zone of that.
    pub zone: String,
    /// The message: a batch of one record.
    pub batch: Bytes,
    /// When it is due, in milliseconds since 1970.
    pub next_ms: u64,
}

/// A schedule, and what it has done.
#[derive(Debug)]
struct Kept {
    schedule: Schedule,
    last_ms: u64,
    published: u64,
}

/// All schedules. Each setting of one has a number of its own, so that what was logged for the one before cannot concern it.
#[derive(Debug, Default)]
pub(crate) struct Schedules {
    by_id: BTreeMap<u32, Kept>,
    ids: BTreeMap<Name, u32>,
    last_id: u32,
    /// Bytes of messages, those in commands that are appended included.
    bytes: usize,

    // Live.
    dues: Timers<u32>,
    /// Names with commands that are appended and not applied.
    pending: BTreeMap<Name, Pending>,
    /// Why some are late.
    late: BTreeMap<u32, String>,
}

#[derive(Debug, Default)]
struct Pending {
    commands: u32,
    /// Once all are applied.
    exists: bool,
}

impl Shard {
    /// Creates or changes a schedule; `schedule.next_ms` is when it is due first.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub fn admit_schedule(
        &mut self,
        schedule: Schedule,
    ) -> Result<Admitted<(Declared, u64)>, Refusal> {
        let all = &mut self.schedules;
        let pending = all.pending.get(&schedule.name);
        let known = all.ids.get(&schedule.name).and_then(|id| all.by_id.get(id));
        if let (None, Some(kept)) = (pending, known)
            && kept.schedule.is_like(&schedule)
        {
            let answer = (Declared::Unchanged, kept.schedule.next_ms);
            return Ok(Admitted { answer, command: None });
        }
        let exists = pending.map_or_else(|| known.is_some(), |pending| pending.exists);
        if !exists && all.ids.len() + all.pending.len() >= SCHEDULES_MAX {
            let what = format!("a broker has at most {SCHEDULES_MAX} schedules");
            return Err(Refusal::new(ErrorCode::QuotaExceeded, what));
        }
        if all.bytes + schedule.batch.len() > SCHEDULES_BYTES_MAX {
            let what = "the messages of all schedules together have at most 16 MiB";
            return Err(Refusal::new(ErrorCode::QuotaExceeded, what));
        }
        all.bytes += schedule.batch.len();
        all.append(&schedule.name, true);
        all.last_id += 1;
        let declared = if exists { Declared::Updated } else { Declared::Created };
        let answer = (declared, schedule.next_ms);
        let command = Command::SetSchedule { id: all.last_id, schedule: Box::new(schedule) };
        Ok(Admitted { answer, command: Some(command) })
    }

    /// Removes a schedule.
    ///
    /// # Errors
    /// `NotFound`, with near names.
    pub fn admit_cancel_schedule(&mut self, name: &Name) -> Result<Command, Refusal> {
        let all = &mut self.schedules;
        let exists = all.pending.get(name).map_or_else(|| all.ids.contains_key(name), |p| p.exists);
        if !exists {
            let mut refusal =
                Refusal::new(ErrorCode::NotFound, format!("there is no schedule {name}"));
            refusal.similar = names::nearest(name.as_str(), all.ids.keys().map(Name::as_str));
            return Err(refusal);
        }
        all.append(name, false);
        Ok(Command::CancelSchedule { name: name.clone() })
    }

    /// A schedule whose time has come, the longest due first, and its number. It is asked for once: then it is published
    /// ([`Command::SchedulePublished`]), or [`Shard::schedule_is_late`].
    pub fn due_schedule(&mut self, now_ms: u64) -> Option<(u32, Schedule)> {
        let id = self.schedules.dues.pop_due(now_ms)?;
        let kept = self.schedules.by_id.get(&id)?;
        Some((id, kept.schedule.clone()))
    }

    /// It could not be published; it is due again at `again_ms`. `true`: this reason is new.
    pub fn schedule_is_late(&mut self, id: u32, why: String, again_ms: u64) -> bool {
        let all = &mut self.schedules;
        if !all.by_id.contains_key(&id) {
            return false;
        }
        all.dues.set(id, Some(again_ms));
        all.late.insert(id, why.clone()) != Some(why)
    }

    /// When to call [`Shard::due_schedule`] next, in milliseconds since 1970.
    #[must_use]
    pub fn next_schedule(&self) -> Option<u64> {
        self.schedules.dues.next()
    }

    /// Schedules after a name, in order, and whether there are more.
    #[must_use]
    pub fn list_schedules(&self, after: Option<&Name>, limit: usize) -> (Vec<ScheduleInfo>, bool) {
        let all = &self.schedules;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut ids = all.ids.range::<Name, _>((after, Bound::Unbounded));
        let infos = ids.by_ref().filter_map(|(_, id)| {
            let kept = all.by_id.get(id)?;
            Some(kept.info(all.late.get(id).cloned().unwrap_or_default()))
        });
        let items: Vec<ScheduleInfo> = infos.take(limit).collect();
        let has_more = ids.next().is_some();
        (items, has_more)
    }
}

impl Schedule {
    /// The same, apart from the time when it is due.
    fn is_like(&self, other: &Schedule) -> bool {
        let Schedule { name, to, when, zone, batch, next_ms: _ } = self;
        (name, to, when, zone, batch)
            == (&other.name, &other.to, &other.when, &other.zone, &other.batch)
    }
}

impl Kept {
    fn info(&self, waits_for: String) -> ScheduleInfo {
        let Schedule { name, to, when, zone, next_ms, .. } = self.schedule.clone();
        let Kept { last_ms, published, .. } = *self;
        ScheduleInfo { name, to, when, zone, next_ms, last_ms, published, waits_for }
    }
}

impl Schedules {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn append(&mut self, name: &Name, exists: bool) {
        let pending = self.pending.entry(name.clone()).or_default();
        pending.commands += 1;
        pending.exists = exists;
    }

    /// A command about this name is applied, by this process (`true`) or by an earlier one.
    fn applied(&mut self, name: &Name) -> bool {
        let Some(pending) = self.pending.get_mut(name) else { return false };
        pending.commands -= 1;
        if pending.commands == 0 {
            self.pending.remove(name);
        }
        true
    }

    pub(super) fn apply_set(&mut self, id: u32, schedule: &Schedule) {
        let is_counted = self.applied(&schedule.name);
        self.last_id = self.last_id.max(id);
        let before = self.remove(&schedule.name);
        let (last_ms, published) = before.map_or((0, 0), |kept| (kept.last_ms, kept.published));
        if !is_counted {
            self.bytes += schedule.batch.len();
        }
        self.keep(id, Kept { schedule: schedule.clone(), last_ms, published });
    }

    pub(super) fn apply_cancel(&mut self, name: &Name) {
        self.applied(name);
        self.remove(name);
    }

    pub(super) fn apply_published(&mut self, id: u32, last_ms: u64, next_ms: u64) {
        let Some(kept) = self.by_id.get_mut(&id) else { return };
        kept.schedule.next_ms = next_ms;
        kept.last_ms = last_ms;
        kept.published += 1;
        self.dues.set(id, Some(next_ms));
        self.late.remove(&id);
    }

    fn keep(&mut self, id: u32, kept: Kept) {
        self.ids.insert(kept.schedule.name.clone(), id);
        self.dues.set(id, Some(kept.schedule.next_ms));
        self.by_id.insert(id, kept);
    }

    fn remove(&mut self, name: &Name) -> Option<Kept> {
        let id = self.ids.remove(name)?;
        self.dues.set(id, None);
        self.late.remove(&id);
        let kept = self.by_id.remove(&id)?;
        self.bytes -= kept.schedule.batch.len();
        Some(kept)
    }

    /// For a checkpoint: number, schedule, when it published last and how often.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &Schedule, u64, u64)> {
        self.by_id.iter().map(|(id, kept)| (*id, &kept.schedule, kept.last_ms, kept.published))
    }

    /// Of a checkpoint. `false`: it is there already.
    pub(super) fn restore(
        &mut self,
        id: u32,
        schedule: Schedule,
        last_ms: u64,
        published: u64,
    ) -> bool {
        let is_new = !self.by_id.contains_key(&id) && !self.ids.contains_key(&schedule.name);
        if is_new {
            self.last_id = self.last_id.max(id);
            self.bytes += schedule.batch.len();
            self.keep(id, Kept { schedule, last_ms, published });
        }
        is_new
    }
}
