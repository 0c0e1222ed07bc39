//! Random atomic groups: half of one is never there, and none is there twice.

use super::model::{Batch, Entry, Fate, Run, Spot};
use super::world::World;
use crate::shard::command::Command;
use crate::shard::effects::*;
use posthaste_protocol::request::{Outcome, Settle};

/// The group that was stored at these places.
fn again(places: &[(StreamId, u64, u32)], sequence: u64) -> Vec<(Offer, Option<Vec<Identified>>)> {
    let offer = |(stream, _, records): &(StreamId, u64, u32)| Offer {
        stream: *stream,
        producer: 3,
        sequence,
        records: *records,
        expects: None,
    };
    places.iter().map(|place| (offer(place), None)).collect()
}

impl World {
    /// Offset of the next message to be appended.
    fn next_of(&self, stream: StreamId) -> u64 {
        let runs = self.open.iter().flat_map(Entry::runs).filter(|run| run.stream == stream);
        let mut ends = runs.map(|run| run.base_offset + u64::from(run.records()));
        let last = ends.next_back();
        last.unwrap_or_else(|| self.model.streams.get(&stream).map_or(0, |stream| stream.next))
    }

    /// Publishes to some streams, and a settle, all or none; new, or once more.
    pub(super) fn publish_atomic_any(&mut self) {
        let known = self.model.atomic.keys().next_back().copied().unwrap_or(0);
        let mut open = self.open.iter().filter_map(|entry| match entry {
            Entry::Group(number, _) => Some(*number),
            _ => None,
        });
        let newest = open.next_back().unwrap_or(0).max(known);
        let sequence =
            if self.random.one_in(4) { 1 + self.random.below(newest + 1) } else { newest + 1 };
        let mut streams: Vec<StreamId> = (0..3).filter_map(|_| self.any_stream()).collect();
        streams.sort_unstable();
        streams.dedup();
        streams.truncate(self.random.below(4) as usize);
        if self.random.one_in(10) {
            streams.push(9_999);
        }
        let mut parts = Vec::new();
        for stream in streams {
            let next = self.next_of(stream);
            let expects = match self.random.below(6) {
                0 => Some(next),
                1 if self.random.one_in(3) => Some(next + 1),
                _ => None,
            };
            let records = 1 + self.random.below(3) as u32;
            parts.push((Offer { stream, producer: 3, sequence, records, expects }, None));
        }
        let mut settles = Vec::new();
        if let Some(id) = self.any_consumer().filter(|_| self.random.one_in(2)) {
            let held = self.any_held(id);
            settles.push((id, vec![Settle { held, outcome: Outcome::Ack }]));
        }
        let group = AtomicOffer { producer: 3, sequence, parts, settles };
        self.offer_atomic(group, sequence <= newest);
    }

    fn offer_atomic(&mut self, group: AtomicOffer, is_known: bool) {
        let is_leaving = |entry: &Entry, stream| match entry {
            Entry::Command(Command::Delete { stream: gone }) => *gone == stream,
            _ => false,
        };
        let is_good = |(offer, _): &(Offer, _)| {
            let gone = self.open.iter().any(|entry| is_leaving(entry, offer.stream));
            let next = self.next_of(offer.stream);
            let is_there = self.model.streams.contains_key(&offer.stream) && !gone;
            is_there && offer.expects.is_none_or(|expected| expected == next)
        };
        let is_held = |(id, items): &(ConsumerId, Vec<Settle>)| {
            let messages = &self.model.groups[&self.consumers[id].group].messages;
            let held = items[0].held;
            (held.first..held.first + u64::from(held.count)).all(|offset| {
                messages.get(&offset).is_some_and(|m| match m.spot {
                    Spot::Leased(l) => {
                        m.fate == Fate::Open && (l.consumer, l.epoch) == (*id, held.epoch)
                    }
                    _ => false,
                })
            })
        };
        let may_be = group.parts.iter().all(is_good) && group.settles.iter().all(is_held);
        match self.shard.admit_atomic(&group, self.now_ms) {
            AdmitAtomic::Duplicate => {
                assert!(is_known, "a new group is taken for a resend");
                if let Some(places) = self.model.atomic.get(&group.sequence) {
                    let again = AtomicOffer { parts: again(places, group.sequence), ..group };
                    let told = self.shard.atomic_again(&again, self.now_ms);
                    let told = told.iter().map(|one| (one.target, one.base_offset, one.count));
                    let is_whole = told.clone().all(|(_, offset, _)| offset != u64::MAX);
                    assert!(!is_whole || told.collect::<Vec<_>>() == *places, "not where it was");
                }
            }
            AdmitAtomic::Refused(refusal) => assert!(!may_be || is_known, "{refusal:?}"),
            AdmitAtomic::Ok { parts, commands } => {
                assert!(!is_known && may_be, "{group:?} is stored twice, or half of it is");
                self.append_atomic(&group, parts, commands);
            }
        }
    }

    fn append_atomic(&mut self, group: &AtomicOffer, parts: Vec<Taken>, commands: Vec<Command>) {
        let mut entries = Vec::new();
        for ((offer, _), taken) in group.parts.iter().zip(parts) {
            let Offer { stream, producer, sequence, records, .. } = *offer;
            assert_eq!(taken.base_offset, self.next_of(stream), "no offset is left out");
            let (delayed, ids) = (vec![], vec![]);
            let batches = vec![Batch { count: records, producer, sequence, delayed, ids }];
            entries.push(Entry::Run(Run { stream, base_offset: taken.base_offset, batches }));
        }
        for (id, items) in &group.settles {
            let held = items[0].held;
            let of = self.consumers[id].group;
            let messages = &mut self.model.groups.get_mut(&of).expect("known").messages;
            for offset in held.first..held.first + u64::from(held.count) {
                messages.get_mut(&offset).expect("held").spot = Spot::Settling;
            }
        }
        entries.extend(commands.into_iter().map(Entry::Command));
        self.open.push_back(Entry::Group(group.sequence, entries));
    }
}
