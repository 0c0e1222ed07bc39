//! Applying what happens to messages: settled, purged, trimmed, sought, raised from the dead.

use crate::shard::command::{Cause, End, Settlement};
use crate::shard::effects::{ConsumerId, Effects, GroupId, Range, StreamId};
use crate::shard::group::Group;
use crate::shard::lease::Consumer;
use crate::shard::progress::Charge;
use crate::shard::{Shard, touch};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Shard {
    pub(super) fn apply_settle(
        &mut self,
        now_ms: u64,
        settlement: &Settlement,
        effects: &mut Effects,
    ) {
        let Some(group) = self.groups.get_mut(&settlement.group) else { return };
        let counts = &mut effects.counts;
        let reason: Option<Arc<str>> = match &settlement.end {
            End::Dead { reason } => Some(Arc::from(reason.as_str())),
            End::Ack | End::Retry { .. } => None,
        };
        let is_attempt = settlement.cause != Cause::DataLoss;
        for range in &settlement.ranges {
            group.progress.open_parts(*range, &mut self.parts);
            for part in self.parts.drain(..) {
                pull(group, &mut self.consumers, part);
                let Group { progress, live, .. } = &mut *group;
                match (&settlement.end, &reason) {
                    (End::Retry { due_ms, .. }, _) => {
                        counts.retried += part.count();
                        progress.charge(part, *due_ms, |range, charge| {
                            live.place(range, charge, now_ms);
                        });
                    }
                    (End::Dead { .. }, Some(reason)) => {
                        counts.dead += part.count();
                        progress.bury(part, is_attempt, now_ms, reason);
                    }
                    (End::Ack | End::Dead { .. }, _) => {
                        counts.acked += part.count();
                        progress.close(part);
                    }
                }
                match settlement.cause {
                    Cause::Expired | Cause::HeldTooLong => counts.expired += part.count(),
                    Cause::DataLoss => counts.lost += part.count(),
                    Cause::Consumer | Cause::Disconnected | Cause::MaxAttempts => {}
                }
            }
        }
        touch(group, &mut self.turns, &mut self.dues);
    }

    pub(super) fn apply_purge(&mut self, id: GroupId, ranges: &[Range], effects: &mut Effects) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        for range in ranges {
            group.progress.open_parts(*range, &mut self.parts);
            for part in self.parts.drain(..) {
                pull(group, &mut self.consumers, part);
                group.progress.close(part);
                effects.counts.purged += part.count();
            }
        }
        touch(group, &mut self.turns, &mut self.dues);
    }

    pub(super) fn apply_trim(&mut self, id: StreamId, before: u64, effects: &mut Effects) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.built_in.is_some() || before <= stream.first_offset {
            return;
        }
        let before = before.min(stream.next_offset);
        stream.first_offset = before;
        let below = Range { first: 0, end: before };
        stream.not_before.times.remove(below);
        for group in stream.group_ids() {
            let Some(group) = self.groups.get_mut(&group) else { continue };
            group.progress.open_parts(below, &mut self.parts);
            for part in self.parts.drain(..) {
                pull(group, &mut self.consumers, part);
            }
            effects.counts.trimmed += group.progress.trim(before);
            touch(group, &mut self.turns, &mut self.dues);
        }
    }

    /// The group starts over from there, as far as it is kept.
    pub(super) fn apply_seek(&mut self, now_ms: u64, id: GroupId, to: u64) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let Some(stream) = self.streams.get(&group.stream) else { return };
        let Group { progress, live, .. } = &mut *group;
        for consumer in &live.consumers {
            if let Some(consumer) = self.consumers.get_mut(consumer) {
                consumer.leases.clear();
            }
        }
        live.fresh = live.never_delivered(progress);
        live.flagged_below = live.flagged_below.max(live.delivered_below);
        live.seeks = live.seeks.saturating_sub(1);
        let to = to.clamp(stream.first_offset, stream.next_offset);
        progress.seek(to);
        for (range, due_ms) in stream.not_before.ahead(to, now_ms) {
            progress.charges.insert(range, Charge { attempts: 0, due_ms });
        }
        live.rebuild(progress, now_ms);
        touch(group, &mut self.turns, &mut self.dues);
    }

    pub(super) fn apply_dead_replay(
        &mut self,
        id: GroupId,
        offset: Option<u64>,
        effects: &mut Effects,
    ) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let Group { progress, live, .. } = &mut *group;
        self.parts.clear();
        self.parts.extend(progress.dead.parts(chosen(offset)).map(|(range, _)| range));
        for part in self.parts.drain(..) {
            progress.revive(part);
            live.ready_again(part, 0, true);
            effects.counts.replayed += part.count();
        }
        touch(group, &mut self.turns, &mut self.dues);
    }

    pub(super) fn apply_dead_drop(
        &mut self,
        id: GroupId,
        offset: Option<u64>,
        effects: &mut Effects,
    ) {
        if let Some(group) = self.groups.get_mut(&id) {
            effects.counts.dropped += group.progress.drop_dead(chosen(offset));
        }
    }
}

/// One offset, or all.
fn chosen(offset: Option<u64>) -> Range {
    let all = Range { first: 0, end: u64::MAX };
    offset.map_or(all, |first| Range { first, end: first.saturating_add(1) })
}

/// Takes open messages out of the live half, wherever they are; call before their charges change.
fn pull(group: &mut Group, consumers: &mut BTreeMap<ConsumerId, Consumer>, range: Range) {
    let Group { progress, live, .. } = group;
    if live.forget(range, progress) || live.held == 0 {
        return;
    }
    for consumer in &live.consumers {
        if let Some(consumer) = consumers.get_mut(consumer) {
            live.held -= consumer.leases.remove(range);
        }
    }
}
