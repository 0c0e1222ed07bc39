//! Questions about the state. Answers show what is committed, and nothing beyond.

use super::Shard;
use super::catalog::effective;
use super::effects::{DeadItem, GroupId, Range, Retention, StreamId};
use super::stream::Stream;
use posthaste_protocol::names::Name;
use posthaste_protocol::request::Kind;
use posthaste_protocol::response::{Description, GroupInfo};
use std::ops::Bound;

impl Shard {
    /// A name's counts and settings; `bytes` is left 0.
    #[must_use]
    pub fn describe(&self, name: &Name, now_ms: u64) -> Option<Description> {
        let stream = self.streams.get(self.names.get(name)?)?;
        Some(self.description(stream, now_ms))
    }

    /// Descriptions in name order, and whether there are more.
    #[must_use]
    pub fn list(
        &self,
        after: Option<&Name>,
        limit: usize,
        now_ms: u64,
    ) -> (Vec<Description>, bool) {
        self.list_within(after, limit, usize::MAX, now_ms)
    }

    /// [`Shard::list`] until the descriptions have so many bytes; the first is always there.
    #[must_use]
    pub fn list_within(
        &self,
        after: Option<&Name>,
        limit: usize,
        meta_bytes: usize,
        now_ms: u64,
    ) -> (Vec<Description>, bool) {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut list, mut bytes) = (Vec::new(), 0_usize);
        let ids = self.names.range::<Name, _>((after, Bound::Unbounded));
        for stream in ids.filter_map(|(_, id)| self.streams.get(id)) {
            if list.len() == limit {
                return (list, true);
            }
            let description = self.description(stream, now_ms);
            bytes = bytes.saturating_add(description.meta_bytes());
            if bytes > meta_bytes && !list.is_empty() {
                return (list, true);
            }
            list.push(description);
        }
        (list, false)
    }

    fn description(&self, stream: &Stream, now_ms: u64) -> Description {
        let groups = stream.group_ids().filter_map(|id| self.group_info(stream, id, now_ms));
        Description {
            id: stream.id,
            kind: stream.kind,
            name: stream.name.clone(),
            settings: effective(stream.kind, &stream.settings),
            first_offset: self.first_offset(stream),
            next_offset: stream.next_offset,
            bytes: 0,
            groups: groups.collect(),
        }
    }

    fn group_info(&self, stream: &Stream, id: GroupId, now_ms: u64) -> Option<GroupInfo> {
        let group = self.groups.get(&id)?;
        let oldest = stream.times.at(group.progress.floor).filter(|_| group.progress.open() > 0);
        let oldest_ms = oldest.map_or(0, |time_ms| now_ms.saturating_sub(time_ms));
        Some(group.info(oldest_ms, self.unaccounted_now(group)))
    }

    /// How many groups get what is published to a stream.
    #[must_use]
    pub fn group_count(&self, stream: StreamId) -> usize {
        self.streams.get(&stream).map_or(0, |stream| stream.group_ids().count())
    }

    /// A group in words, for the log: `jobs`, or `events/billing`.
    #[must_use]
    pub fn place_name(&self, group: GroupId) -> Option<String> {
        let group = self.groups.get(&group)?;
        let stream = self.streams.get(&group.stream)?.name.as_str();
        Some(match &group.name {
            Some(name) => format!("{stream}/{}", name.as_str()),
            None => stream.to_owned(),
        })
    }

    /// The name of a stream: the seed of its batches' checksums.
    #[must_use]
    pub fn name(&self, stream: StreamId) -> Option<&Name> {
        self.streams.get(&stream).map(|stream| &stream.name)
    }

    /// Queues and topics.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// The next messages from this offset on that are not settled and not dead (for a queue), or
    /// are kept (for a topic). What peek and tail read.
    #[must_use]
    pub fn readable(&self, stream: StreamId, from: u64) -> Option<Range> {
        let stream = self.streams.get(&stream)?;
        let all = |first: u64| Range { first: from.max(first), end: stream.next_offset };
        let range = match stream.built_in.and_then(|id| self.groups.get(&id)) {
            None => all(stream.first_offset),
            Some(group) => {
                let open = all(group.progress.floor);
                group.progress.closed.gaps(open).next().unwrap_or(Range { first: 0, end: 0 })
            }
        };
        (range.first < range.end).then_some(range)
    }

    /// Dead letters from this offset on, at most `limit` ranges, and how many dead letters in all.
    #[must_use]
    pub fn dead_list(&self, group: GroupId, from: u64, limit: usize) -> (Vec<DeadItem>, u64) {
        let Some(group) = self.groups.get(&group) else { return (Vec::new(), 0) };
        let dead = &group.progress.dead;
        let items = dead.parts(Range { first: from, end: u64::MAX }).take(limit);
        let items = items.map(|(range, dead)| DeadItem {
            range,
            attempts: dead.attempts,
            dead_ms: dead.dead_ms,
            reason: dead.reason.as_ref().to_owned(),
        });
        (items.collect(), dead.count())
    }

    /// Per stream the first offset still needed. Streams not listed are gone.
    #[must_use]
    pub fn floors(&self) -> Vec<(StreamId, u64)> {
        self.streams.values().map(|stream| (stream.id, self.first_offset(stream))).collect()
    }

    /// Topics with a retention setting.
    #[must_use]
    pub fn retentions(&self) -> Vec<Retention> {
        let limit = |setting: Option<u64>| setting.filter(|value| *value > 0);
        let topics = self.streams.values().filter(|stream| stream.kind == Kind::Topic);
        let topics = topics.map(|topic| Retention {
            stream: topic.id,
            first_offset: topic.first_offset,
            next_offset: topic.next_offset,
            retain_ms: limit(topic.settings.retain_ms),
            retain_bytes: limit(topic.settings.retain_bytes),
        });
        topics.filter(|topic| topic.retain_ms.is_some() || topic.retain_bytes.is_some()).collect()
    }

    /// What was accepted before this time is older than `age_ms`, by a clock that does not jump.
    #[must_use]
    pub fn older_than(&self, age_ms: u64, now_ms: u64) -> u64 {
        self.aging.older_than(age_ms, now_ms)
    }

    /// Time of the newest block applied. The wall clock the engine passes in should never be below.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Looks every count up the long way. For tests, and for whoever doubts.
    ///
    /// # Errors
    /// The first thing that does not add up.
    pub fn check(&self) -> Result<(), String> {
        for stream in self.streams.values() {
            let is_whole = stream.group_ids().all(|id| self.groups.contains_key(&id));
            if !is_whole || (stream.kind == Kind::Queue) != stream.built_in.is_some() {
                return Err(format!("stream {}: its groups are not there", stream.id));
            }
        }
        for group in self.groups.values() {
            let id = group.id.0;
            group.progress.check().map_err(|rule| format!("group {id}: {rule}"))?;
            let stream = self.streams.get(&group.stream);
            let next = stream.map(|stream| stream.next_offset);
            if next != Some(group.progress.next) {
                return Err(format!("group {id}: ends elsewhere than its stream"));
            }
            self.check_live(group).map_err(|what| format!("group {id}: {what}"))?;
        }
        let windows = self.message_ids.iter().map(|(_, window)| window.len());
        if windows.sum::<usize>() != self.message_ids.len() {
            return Err("message ids are miscounted".to_owned());
        }
        Ok(())
    }

    /// Every open message is in exactly one place, and the counts say so.
    fn check_live(&self, group: &super::group::Group) -> Result<(), String> {
        let super::group::Group { progress, live, .. } = group;
        let mut places = super::ranges::RangeSet::default();
        let mut put = |range: Range, place: &str| {
            if places.parts(range).next().is_some() {
                return Err(format!("{range:?} is {place} and elsewhere too"));
            }
            if progress.closed.parts(range).next().is_some() || range.first < progress.floor {
                return Err(format!("{range:?} is {place} and closed"));
            }
            places.insert(range);
            Ok(())
        };
        let mut held = 0;
        for consumer in live.consumers.iter().filter_map(|id| self.consumers.get(id)) {
            held += consumer.leases.count();
            consumer.leases.iter().try_for_each(|(range, _)| put(range, "leased"))?;
        }
        live.settling.iter().try_for_each(|range| put(range, "settling"))?;
        live.delays.iter().try_for_each(|range| put(range, "delayed"))?;
        live.returned.iter().try_for_each(|(range, _)| put(range, "returned"))?;
        let mut fresh = 0;
        let cursor = live.cursor.max(progress.floor);
        if cursor < progress.next {
            for open in progress.closed.gaps(Range { first: cursor, end: progress.next }) {
                for range in progress.charges.gaps(open) {
                    fresh += range.count();
                    put(range, "not delivered yet")?;
                }
            }
        }
        if places.count() != progress.open() {
            return Err(format!(
                "{} of {} open messages are found",
                places.count(),
                progress.open()
            ));
        }
        let ready = live.returned.count() + fresh;
        let counts = (held, ready, live.delays.count());
        let said = (live.held, live.ready(progress), live.delays.iter().map(Range::count).sum());
        if counts != said {
            return Err(format!("held, ready, delayed are {counts:?}, said to be {said:?}"));
        }
        Ok(())
    }
}
