//! Random publishes: of sessions, and under ids. Each is held against what the naive model has.

use super::desk::offer;
use super::model::{Batch, Entry, Known, Run};
use super::world::World;
use crate::shard::command::Command;
use crate::shard::effects::*;
use posthaste_protocol::names::Name;
use posthaste_protocol::response::Fate;

/// Some of them remember ids.
pub(super) fn window_of(name: &Name) -> Option<u64> {
    match name.as_str() {
        "stream-0" => Some(2_000),
        "stream-1" => Some(600_000),
        _ => None,
    }
}

impl World {
    pub(super) fn publish_any(&mut self) {
        let Some(stream) = self.any_stream() else { return };
        let producer = self.random.below(3) as u32;
        let known = self.model.stored.keys().filter(|(id, _)| *id == producer).count() as u64;
        let sequence = if producer == 0 { 0 } else { 1 + self.random.below(known + 3) };
        let count = 1 + self.random.below(6) as u32;
        let pending = self.open.iter().flat_map(Entry::runs).find_map(|run| {
            let mut at = run.base_offset;
            run.batches.iter().filter(|_| producer != 0).find_map(|batch| {
                let place = (run.stream, at);
                at += u64::from(batch.count);
                ((batch.producer, batch.sequence) == (producer, sequence)).then_some(place)
            })
        });
        let stored = self.model.stored.get(&(producer, sequence)).copied().or(pending);
        match self.shard.admit_publish(&offer(stream, producer, sequence, count)) {
            Admit::Ok { base_offset } => {
                assert_eq!(stored, None, "a resend is stored once");
                let mut delayed = Vec::new();
                for index in 0..count {
                    if self.random.one_in(8) {
                        delayed.push((index, self.now_ms - 500 + self.random.below(4_000)));
                    }
                }
                let batches = vec![Batch { count, producer, sequence, delayed, ids: Vec::new() }];
                self.publish(Run { stream, base_offset, batches });
            }
            Admit::Duplicate { stream, base_offset } => {
                assert_eq!(stored, base_offset.map(|base_offset| (stream, base_offset)));
            }
            Admit::Refused(refusal) => {
                let leaves = |entry: &Entry| match entry {
                    Entry::Command(Command::Delete { stream: gone }) => *gone == stream,
                    _ => false,
                };
                assert!(self.open.iter().any(leaves), "{refusal:?}");
            }
        }
    }

    /// Under ids, to a queue or topic that remembers them.
    pub(super) fn publish_ids_any(&mut self) {
        let Some(stream) = self.any_stream() else { return };
        let Some(window_ms) = window_of(&self.model.streams[&stream].name) else { return };
        let count = 1 + self.random.below(6) as u32;
        let mut ids = Vec::new();
        for index in 0..count {
            if self.random.one_in(4) {
                continue;
            }
            let hash =
                (1 + u128::from(self.random.below(12))).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c);
            let print = u32::from(self.random.one_in(8));
            ids.push(Identified { index, hash: hash << 48, print });
        }
        let offered = offer(stream, 0, 0, count);
        let admitted = self.shard.admit_with_ids(&offered, &ids, self.now_ms);
        let Ok(Taken { outcomes, base_offset, stored }) = admitted else { return };
        let fates =
            outcomes.iter().flat_map(|one| (0..one.count).map(move |at| (one, u64::from(at))));
        let (mut new, mut rest) = (Vec::new(), ids.iter().peekable());
        let mut next = base_offset;
        for (index, (one, at)) in (0..).zip(fates) {
            let id = rest.next_if(|id| id.index == index);
            let known = id.and_then(|id| self.known_under(stream, id.hash, (&new, base_offset)));
            match one.fate {
                Fate::Stored => {
                    assert_eq!(one.base_offset + at, next, "new ones lie one behind the other");
                    let age = |known: Known| self.model.latest_ms.max(self.now_ms) - known.at_ms;
                    assert!(known.is_none_or(|known| age(known) > window_ms), "stored twice");
                    let index = (next - base_offset) as u32;
                    new.extend(id.map(|id| Identified { index, ..*id }));
                    next += 1;
                }
                Fate::Duplicate => {
                    let known = known.expect("never stored");
                    assert_eq!(
                        (one.base_offset + at, id.map(|id| id.print)),
                        (known.offset, Some(known.print))
                    );
                }
                Fate::Conflict => {
                    assert_ne!(id.map(|id| id.print), known.map(|known| known.print));
                }
            }
        }
        assert_eq!(next - base_offset, u64::from(stored));
        if stored > 0 {
            let batch =
                Batch { count: stored, producer: 0, sequence: 0, delayed: vec![], ids: new };
            self.publish(Run { stream, base_offset, batches: vec![batch] });
        }
    }

    /// What an id stands for: committed, appended, or new in this batch.
    fn known_under(
        &self,
        stream: StreamId,
        hash: u128,
        (new, base_offset): (&[Identified], u64),
    ) -> Option<Known> {
        let at_ms = self.now_ms;
        let of = |ids: &[Identified], base: u64| {
            let id = ids.iter().find(|id| id.hash == hash)?;
            Some(Known { offset: base + u64::from(id.index), print: id.print, at_ms })
        };
        let runs = self.open.iter().flat_map(Entry::runs).filter(|run| run.stream == stream);
        let mut found = runs.filter_map(|run| of(&run.batches[0].ids, run.base_offset));
        let appended = found.next_back();
        of(new, base_offset).or(appended).or_else(|| self.model.ids.get(&(stream, hash)).copied())
    }
}
