//! Applying changes to the catalog: streams and groups come, change and go.

use crate::shard::effects::{ConsumerId, Effect, Effects, GroupId, StreamId};
use crate::shard::group::{Group, Rules};
use crate::shard::progress::{Charge, Progress};
use crate::shard::ranges::RangeSet;
use crate::shard::ready::Live;
use crate::shard::stream::{NotBefore, Stream, Times};
use crate::shard::{CleanStop, Shard, touch};
use posthaste_protocol::mutant;
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Kind, Settings};
use std::collections::BTreeMap;

impl Shard {
    /// A process took over. Only after a clean stop is it known what was delivered before.
    pub(super) fn apply_started(&mut self, now_ms: u64, mut clean_stop: Option<CleanStop>) {
        let consumers: Vec<ConsumerId> = self.consumers.keys().copied().collect();
        for consumer in consumers {
            self.remove_consumer(consumer);
        }
        for group in self.groups.values_mut() {
            let left = clean_stop.as_mut().and_then(|groups| groups.remove(&group.id));
            let Group { progress, live, .. } = &mut *group;
            let (delivered_below, fresh) =
                left.unwrap_or_else(|| (progress.next, RangeSet::default()));
            live.delivered_below = delivered_below;
            live.flagged_below = live.delivered_below;
            if mutant("redelivered-flag-lost") {
                live.flagged_below = 0;
            }
            live.fresh = fresh;
            live.rebuild(progress, now_ms);
            touch(group, &mut self.turns, &mut self.dues);
        }
    }

    pub(super) fn apply_declare(
        &mut self,
        id: StreamId,
        kind: Kind,
        name: &Name,
        settings: &Settings,
        built_in: Option<GroupId>,
    ) {
        self.uncover(name);
        self.ids.stream = self.ids.stream.max(id);
        self.ids.group = self.ids.group.max(built_in.map_or(0, |group| group.0));
        if let Some(stream) = self.streams.get_mut(&id) {
            if stream.kind == kind && stream.name == *name {
                stream.settings = settings.clone();
                self.message_ids.set_window(id, settings.id_window_ms.unwrap_or(0));
                self.renew_rules(id);
            }
            return;
        }
        let is_taken = built_in.is_some_and(|group| self.groups.contains_key(&group));
        if self.names.contains_key(name) || is_taken || (kind == Kind::Queue) != built_in.is_some()
        {
            return;
        }
        if let Some(group) = built_in {
            self.insert_group(id, group, None, Progress::new(0, 0), Settings::default(), settings);
        }
        let stream = Stream {
            id,
            kind,
            name: name.clone(),
            settings: settings.clone(),
            first_offset: 0,
            next_offset: 0,
            groups: BTreeMap::new(),
            built_in,
            times: Times::default(),
            not_before: NotBefore::default(),
            appended: 0,
            is_leaving: self.is_leaving(name, id),
        };
        self.message_ids.set_window(id, settings.id_window_ms.unwrap_or(0));
        self.names.insert(name.clone(), id);
        self.streams.insert(id, stream);
    }

    pub(super) fn apply_declare_group(
        &mut self,
        now_ms: u64,
        id: GroupId,
        stream_id: StreamId,
        name: &GroupName,
        start: u64,
        settings: &Settings,
    ) {
        self.ids.group = self.ids.group.max(id.0);
        let Some(stream) = self.streams.get_mut(&stream_id) else { return };
        let topic = stream.name.clone();
        if let Some(group) = self.groups.get_mut(&id) {
            if group.stream == stream_id && group.name.as_ref() == Some(name) {
                group.settings = settings.clone();
                group.rules = Rules::of(settings, &stream.settings);
            }
        } else if stream.kind == Kind::Topic && !stream.groups.contains_key(name) {
            stream.groups.insert(name.clone(), id);
            let start = start.clamp(stream.first_offset, stream.next_offset);
            let mut progress = Progress::new(start, stream.next_offset);
            for (range, due_ms) in stream.not_before.ahead(start, now_ms) {
                progress.charges.insert(range, Charge { attempts: 0, due_ms });
            }
            let rules = stream.settings.clone();
            let name = Some(name.clone());
            self.insert_group(stream_id, id, name, progress, settings.clone(), &rules);
            if let Some(group) = self.groups.get_mut(&id) {
                group.live.rebuild(&group.progress, now_ms);
            }
            self.touch(id);
        }
        self.uncover(&topic);
    }

    fn insert_group(
        &mut self,
        stream: StreamId,
        id: GroupId,
        name: Option<GroupName>,
        progress: Progress,
        settings: Settings,
        stream_settings: &Settings,
    ) {
        let rules = Rules::of(&settings, stream_settings);
        let live = Live { cursor: progress.floor, ..Live::default() };
        self.groups.insert(id, Group { id, stream, name, settings, rules, progress, live });
    }

    fn renew_rules(&mut self, stream: StreamId) {
        let Some(stream) = self.streams.get(&stream) else { return };
        for group in stream.group_ids() {
            if let Some(group) = self.groups.get_mut(&group) {
                group.rules = Rules::of(&group.settings, &stream.settings);
            }
        }
    }

    pub(super) fn apply_delete(&mut self, id: StreamId, effects: &mut Effects) {
        let Some(stream) = self.streams.remove(&id) else { return };
        for group in stream.group_ids() {
            self.remove_group(group, effects);
        }
        self.message_ids.set_window(id, 0);
        self.names.remove(&stream.name);
        self.uncover(&stream.name);
    }

    pub(super) fn apply_delete_group(&mut self, id: GroupId, effects: &mut Effects) {
        let Some(group) = self.groups.get(&id) else { return };
        let Some(name) = group.name.clone() else { return };
        let Some(stream) = self.streams.get_mut(&group.stream) else { return };
        stream.groups.remove(&name);
        let topic = stream.name.clone();
        self.remove_group(id, effects);
        self.uncover(&topic);
    }

    fn remove_group(&mut self, id: GroupId, effects: &mut Effects) {
        let Some(group) = self.groups.remove(&id) else { return };
        self.dues.set(id, None);
        self.forget_audit(&group);
        for consumer in group.live.consumers {
            self.remove_consumer(consumer);
            effects.list.push(Effect::ConsumerGone { consumer });
        }
    }
}
