//! [`Model`]: what a run of the log has promised so far, kept beside the log.
//!
//! Each submitted body begins with a command that carries a number never used twice, so a block that comes back says which
//! body it is, and everything else in it can be compared.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_storage::disk::sim::Dice;
use posthaste_storage::{Block, Body, BodyBuilder, Entry, Lsn, Run};

/// The kind of the command that numbers a body.
const NUMBERS: u8 = 200;

/// A block that was confirmed, or seen by a recovery that finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) number: u64,
    pub(crate) lsn: Lsn,
    pub(crate) end: Lsn,
    pub(crate) index: u64,
    pub(crate) time_ms: u64,
    pub(crate) body_len: usize,
}

impl Known {
    /// Asserts that a block is this one.
    pub(crate) fn check(&self, number: u64, block: &Block) {
        let found = (number, block.lsn, block.end, block.index, block.time_ms);
        let known = (self.number, self.lsn, self.end, self.index, self.time_ms);
        assert_eq!(found, known, "the block is not the confirmed one");
    }
}

/// One stream as the log should know it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    pub(crate) runs: Vec<Run>,
    /// The offset after the last record.
    pub(crate) next: u64,
    /// Records below are not needed any more.
    pub(crate) floor: u64,
}

/// The state that a checkpoint carries, and what it stands for.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// Blocks of the log that it covers.
    pub(crate) blocks: usize,
    pub(crate) covered: Lsn,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    /// The blocks that must be there, in order.
    pub(crate) log: Vec<Known>,
    /// Bodies submitted and not confirmed: each may be there or not.
    pub(crate) in_flight: Vec<u64>,
    /// Every body ever submitted.
    submitted: BTreeMap<u64, Arc<Vec<Entry>>>,
    /// What stood at each place that was ever seen.
    names: BTreeMap<Lsn, u64>,
    pub(crate) streams: BTreeMap<u32, Stream>,
    /// Every state ever handed to a checkpoint.
    pub(crate) states: BTreeMap<Vec<u8>, State>,
    /// What the last checkpoint that returned covers.
    pub(crate) checkpoint: Option<Lsn>,
    /// The identity of the store, once it was open.
    pub(crate) store: Option<[u8; 16]>,
    pub(crate) epoch: u32,
    next_number: u64,
}

impl Model {
    /// Makes up a body and notes it as submitted.
    pub(crate) fn submit(&mut self, dice: &mut Dice, sizes: Sizes) -> (u64, u64, Body) {
        let number = self.next_number;
        self.next_number += 1;
        let time_ms = 1_000 + number;
        let mut builder = BodyBuilder::new();
        let mut entries = Vec::new();
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(8 + dice.index(40), 0xC0);
        builder.command(NUMBERS, &payload);
        entries.push(Entry::Command { kind: NUMBERS, payload: payload.into() });
        for stream in 1..=3 {
            if dice.one_in(sizes.one_run_in) {
                let base_offset = self.streams.entry(stream).or_default().next;
                let run = made_up_run(dice, sizes, (stream, base_offset, time_ms));
                let cut = dice.index(run.batches.len() + 1);
                let batches = [run.batches.slice(..cut), run.batches.slice(cut..)];
                builder.run(stream, base_offset, run.records, &batches);
                entries.push(Entry::Run(run));
            }
        }
        self.submitted.insert(number, Arc::new(entries));
        self.in_flight.push(number);
        (number, time_ms, builder.finish())
    }

    /// Notes that a body is durable, or was found by a recovery that is complete.
    pub(crate) fn confirm(&mut self, number: u64, block: &Block) {
        assert_eq!(number_of(block), number, "the block holds another body");
        self.in_flight.retain(|flying| *flying != number);
        self.name(block);
        assert!(self.log.last().is_none_or(|last| last.end <= block.lsn), "places go back");
        assert_eq!(block.index, self.log.len() as u64 + 1, "the index has a gap");
        for entry in &*Arc::clone(&self.submitted[&number]) {
            if let Entry::Run(run) = entry {
                let stream = self.streams.entry(run.stream).or_default();
                assert_eq!(stream.next, run.base_offset);
                stream.next = run.end_offset();
                stream.runs.push(run.clone());
            }
        }
        self.log.push(known(number, block));
    }

    /// Notes what stands at a place; it must not be another body than ever before (P20).
    pub(crate) fn name(&mut self, block: &Block) {
        let number = number_of(block);
        let before = self.names.insert(block.lsn, number);
        assert!(before.is_none_or(|before| before == number), "{:?} names two bodies", block.lsn);
    }

    /// Asserts that no other body was ever seen at the place of a block (P20).
    pub(crate) fn check_name(&self, block: &Block, number: u64) {
        let before = self.names.get(&block.lsn);
        assert!(before.is_none_or(|before| *before == number), "{:?} names two bodies", block.lsn);
    }

    /// Compares a block with what was submitted under its number, byte for byte.
    pub(crate) fn compare(&self, block: &Block) -> u64 {
        let number = number_of(block);
        let submitted = self.submitted.get(&number).expect("a body that was never submitted");
        let mut entries = block.entries().map(|entry| entry.unwrap());
        for expected in &**submitted {
            assert_eq!(entries.next().as_ref(), Some(expected), "body {number} has changed");
        }
        assert_eq!(entries.next(), None, "body {number} has grown");
        number
    }

    /// The state to hand to a checkpoint of the whole log so far, and the floors, which move up to random places.
    pub(crate) fn checkpoint_state(&mut self, dice: &mut Dice) -> (Lsn, Vec<u8>, Vec<(u32, u64)>) {
        let covered = self.log.last().map_or(Lsn::ZERO, |last| last.end);
        let mut state = self.next_number.to_le_bytes().to_vec();
        state.extend((0..dice.index(900)).map(|_| dice.roll().to_le_bytes()[0]));
        self.next_number += 1;
        self.states.insert(state.clone(), State { blocks: self.log.len(), covered });
        for stream in self.streams.values_mut() {
            let ahead = stream.next - stream.floor;
            stream.floor += if dice.one_in(3) { dice.below(ahead + 1) } else { ahead };
        }
        let floors = self.streams.iter().map(|(id, stream)| (*id, stream.floor)).collect();
        (covered, state, floors)
    }
}

/// How large the bodies are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) one_run_in: u64,
    pub(crate) run_bytes_max: usize,
}

fn made_up_run(dice: &mut Dice, sizes: Sizes, place: (u32, u64, u64)) -> Run {
    let (stream, base_offset, time_ms) = place;
    let mut batches = vec![0; 1 + dice.index(sizes.run_bytes_max)];
    let first = dice.roll().to_le_bytes();
    for (index, byte) in batches.iter_mut().enumerate() {
        *byte = first[index % 8].wrapping_add(index.to_le_bytes()[1]);
    }
    let records = 1 + u32::try_from(dice.below(5)).unwrap();
    Run { stream, base_offset, records, batches: Bytes::from(batches), time_ms }
}

fn number_of(block: &Block) -> u64 {
    match block.entries().next() {
        Some(Ok(Entry::Command { kind: NUMBERS, payload })) if payload.len() >= 8 => {
            u64::from_le_bytes(payload[..8].try_into().unwrap())
        }
        other => panic!("a block that was never submitted: {other:?}"),
    }
}

fn known(number: u64, block: &Block) -> Known {
    Known {
        number,
        lsn: block.lsn,
        end: block.end,
        index: block.index,
        time_ms: block.time_ms,
        body_len: block.body_len(),
    }
}
