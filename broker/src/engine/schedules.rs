//! Schedules: set, listed, canceled, and published when their time comes.
//!
//! A message and the note that it was published go into the same block, so each time that comes publishes once, whatever
//! happens. A time that passed while the broker was away, or while the message found no room, publishes as soon as it can,
//! once, however many passed.

use super::Now;
use super::calendar;
use super::core::Core;
use super::requests::Asked;
use crate::shard::command::Command;
use crate::shard::effects::{Admit, Offer, Refusal};
use crate::shard::schedules::Schedule;
use posthaste_protocol::Response;
use posthaste_protocol::cron::Recurrence;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::limits::META_BYTES_MAX;
use posthaste_protocol::schedule::{ScheduleCall, ScheduleReply};

/// Rest after a message could not be published.
const LATE_MS: u64 = 1_000;
/// Schedules per answer, so that the longest fit into a frame.
const LIST_MAX: usize = META_BYTES_MAX as usize / 2 / 1_800;

impl Core {
    pub(super) fn schedule_call(
        &mut self,
        asked: Asked,
        call: ScheduleCall,
        now: Now,
    ) -> Result<(), Refusal> {
        match call {
            ScheduleCall::Set { name, to, when, zone, batch } => {
                self.shard.find(&to)?;
                let next_ms = first_time(&when, &zone, now.wall_ms)?;
                let schedule = Schedule { name, to, when, zone, batch, next_ms };
                let admitted = self.shard.admit_schedule(schedule)?;
                let (declared, next_ms) = admitted.answer;
                let reply = ScheduleReply::Set { declared, next_ms };
                self.append(asked, admitted.command, Response::Schedule(reply));
            }
            ScheduleCall::Cancel { name } => {
                let command = self.shard.admit_cancel_schedule(&name)?;
                let reply = Response::Schedule(ScheduleReply::Canceled);
                self.append(asked, Some(command), reply);
            }
            ScheduleCall::List { after, limit } => {
                let limit = LIST_MAX.min(limit as usize).max(1);
                let (items, more) = self.shard.list_schedules(after.as_ref(), limit);
                let reply = Response::Schedule(ScheduleReply::Listed { items, more });
                self.say(asked.connection, asked.channel, asked.corr, &reply);
            }
        }
        Ok(())
    }

    /// Publishes what is due, as far as there is room in the open block.
    pub(super) fn publish_schedules(&mut self, now: Now) {
        while self.has_room()
            && let Some((id, schedule)) = self.shard.due_schedule(now.wall_ms)
        {
            if let Err(refusal) = self.publish_schedule(id, &schedule, now) {
                let Schedule { name, to, .. } = schedule;
                let why = refusal.message;
                let again_ms = now.wall_ms.saturating_add(LATE_MS);
                if self.shard.schedule_is_late(id, why.clone(), again_ms) {
                    tracing::warn!(schedule = %name, %to, why, "a schedule cannot publish yet");
                }
            }
        }
    }

    fn publish_schedule(&mut self, id: u32, schedule: &Schedule, now: Now) -> Result<(), Refusal> {
        let Schedule { to, when, zone, batch, next_ms, .. } = schedule;
        let next_ms = time_after(when, zone, *next_ms, now.wall_ms)?;
        self.check_space(now);
        self.check_disk()?;
        let stream = self.shard.find(to)?.stream;
        match self.shard.admit_publish(&Offer {
            stream,
            producer: 0,
            sequence: 0,
            records: 1,
            expects: None,
        }) {
            Admit::Ok { base_offset } => {
                self.open.append(stream, base_offset, 1, batch.clone());
                let published = Command::SchedulePublished { id, at_ms: now.wall_ms, next_ms };
                self.open.command(&published);
                self.open.keep_whole();
                Ok(())
            }
            Admit::Refused(refusal) => Err(refusal),
            Admit::Duplicate { .. } => {
                Err(Refusal::new(ErrorCode::Internal, "a message without a producer is no resend"))
            }
        }
    }
}

fn first_time(when: &str, zone: &str, now_ms: u64) -> Result<u64, Refusal> {
    time_after(when, zone, now_ms, now_ms)
}

/// The first time after `now_ms`; `last_ms` is the one before, of what recurs after an interval.
fn time_after(when: &str, zone: &str, last_ms: u64, now_ms: u64) -> Result<u64, Refusal> {
    let invalid = |what: String| Refusal::new(ErrorCode::InvalidArgument, what);
    let recurrence = Recurrence::parse(when)
        .map_err(|error| invalid(format!("this recurrence cannot be read: {error}")))?;
    let zone = calendar::zone(zone).ok_or_else(|| {
        invalid(format!("there is no time zone {zone:?}; a name is like UTC or Europe/Berlin"))
    })?;
    calendar::next(&recurrence, &zone, last_ms, now_ms)
        .ok_or_else(|| invalid("this recurrence has no next time".to_owned()))
}
