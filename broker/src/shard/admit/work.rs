//! Admission of changes to what groups have done: seek, purge, trim, dead letters, lost data.

use crate::shard::Shard;
use crate::shard::command::{Cause, Command, End, RANGES_MAX, Settlement};
use crate::shard::effects::{Admitted, GroupId, Place, Range, Refusal, Sought, StreamId};
use crate::shard::group::Group;
use crate::shard::ranges::RangeSet;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::mutant;
use posthaste_protocol::names::Name;
use posthaste_protocol::request::Kind;

impl Shard {
    /// Moves a group of a topic. Its leases end now, and it is not dispatched until the command is
    /// applied: an ack that comes in between cannot settle what the seek brings back.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a queue.
    pub fn admit_seek(
        &mut self,
        group: GroupId,
        to: Place,
        dry_run: bool,
    ) -> Result<Admitted<Sought>, Refusal> {
        let found = self.group(group)?;
        if found.name.is_none() {
            let what = "a queue cannot be moved: what is settled there is gone";
            return Err(Refusal::new(ErrorCode::Conflict, what));
        }
        let from = found.progress.floor;
        let next = found.progress.next;
        let to = self.place(found.stream, to);
        let answer = Sought { from, to, messages: next - to };
        if dry_run {
            return Ok(Admitted { answer, command: None });
        }
        if let Some(Group { live, .. }) = self.groups.get_mut(&group) {
            live.seeks += 1;
            for consumer in &live.consumers {
                let Some(consumer) = self.consumers.get_mut(consumer) else { continue };
                while let Some((range, _)) = consumer.leases.pop_first() {
                    live.settling.insert(range);
                    live.held -= range.count();
                }
            }
        }
        Ok(Admitted { answer, command: Some(Command::Seek { group, to }) })
    }

    /// Removes the ready and delayed messages of a queue, or all messages of a topic.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn admit_purge(&mut self, name: &Name, dry_run: bool) -> Result<Admitted<u64>, Refusal> {
        let found = self.find(name)?;
        let built_in = self.streams.get(&found.stream).and_then(|stream| stream.built_in);
        let (answer, command) = match built_in.and_then(|id| self.groups.get(&id)) {
            None => {
                let before = found.next_offset;
                let command = Command::Trim { stream: found.stream, before };
                (before - found.first_offset, command)
            }
            Some(group) => {
                let ranges = self.not_leased(group);
                let mut parts = Vec::new();
                let open = ranges.iter().map(|range| {
                    group.progress.open_parts(*range, &mut parts);
                    parts.iter().map(|part| part.count()).sum::<u64>()
                });
                (open.sum(), Command::Purge { group: group.id, ranges })
            }
        };
        let command = Some(command).filter(|_| answer > 0 && !dry_run);
        Ok(Admitted { answer, command })
    }

    /// Makes dead letters ready again, attempts reset: one, or all.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn admit_dead_replay(
        &mut self,
        group: GroupId,
        offset: Option<u64>,
        dry_run: bool,
    ) -> Result<Admitted<u64>, Refusal> {
        let answer = self.dead_count(group, offset)?;
        let command = Command::DeadReplay { group, offset };
        Ok(Admitted { answer, command: Some(command).filter(|_| answer > 0 && !dry_run) })
    }

    /// Forgets dead letters: one, or all.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn admit_dead_drop(
        &mut self,
        group: GroupId,
        offset: Option<u64>,
        dry_run: bool,
    ) -> Result<Admitted<u64>, Refusal> {
        let answer = self.dead_count(group, offset)?;
        let command = Command::DeadDrop { group, offset };
        Ok(Admitted { answer, command: Some(command).filter(|_| answer > 0 && !dry_run) })
    }

    /// Retention: removes a topic's messages below `before`. `None`: nothing to remove.
    pub fn admit_trim(&mut self, stream: StreamId, before: u64) -> Option<Command> {
        let topic = self.streams.get(&stream).filter(|stream| stream.kind == Kind::Topic)?;
        let before = before.min(topic.next_offset);
        (before > topic.first_offset).then_some(Command::Trim { stream, before })
    }

    /// Stored data that cannot be read: these messages, at the front of what is ready, become dead
    /// letters. They are not ready any more from now on.
    pub fn lost(&mut self, group: GroupId, offset: u64, count: u64) -> Command {
        let range = Range { first: offset, end: offset.saturating_add(count.max(1)) };
        if let Some(Group { live, progress, .. }) = self.groups.get_mut(&group)
            && live.take_ready(range, progress).is_some()
        {
            live.settling.insert(range);
        }
        let dead = End::Dead { reason: Cause::DataLoss.as_str().to_owned() };
        Command::Settle(Settlement {
            group,
            end: if mutant("loss-in-silence") { End::Ack } else { dead },
            cause: Cause::DataLoss,
            ranges: vec![range],
        })
    }

    fn group(&self, group: GroupId) -> Result<&Group, Refusal> {
        let none = || Refusal::new(ErrorCode::NotFound, "the group does not exist (any more)");
        self.groups.get(&group).ok_or_else(none)
    }

    fn dead_count(&self, group: GroupId, offset: Option<u64>) -> Result<u64, Refusal> {
        let dead = &self.group(group)?.progress.dead;
        Ok(match offset {
            Some(offset) => u64::from(dead.get(offset).is_some()),
            None => dead.count(),
        })
    }

    /// Everything of the group that nobody holds, settled messages included.
    fn not_leased(&self, group: &Group) -> Vec<Range> {
        let mut leased: RangeSet = group.live.settling.clone();
        for consumer in group.live.consumers.iter().filter_map(|id| self.consumers.get(id)) {
            consumer.leases.iter().for_each(|(range, _)| leased.insert(range));
        }
        let all = Range { first: group.progress.floor, end: group.progress.next };
        // LIMIT: beyond this a purge is a part of a purge; it says how many it removes.
        leased.gaps(all).take(RANGES_MAX).collect()
    }
}
