//! Opens what is left of a store and compares it with the model.

use std::path::Path;
use std::sync::Arc;

use posthaste_storage::disk::sim::Dice;
use posthaste_storage::disk::{Disk, SimDisk};
use posthaste_storage::{
    Block, Entry, LogReader, Opened, Opening, Options, RecoveryReport, StorageError, open,
};

use crate::model::{Model, Stream};

/// Where the stores of these tests are.
pub(crate) const DIR: &str = "data";

/// Small segments, nothing in the background, repeatable.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 16 * 1024,
        segment_bytes_max: 16 * 1024,
        spares: 3,
        reserve_bytes: 0,
        tail_cache_bytes: 16 * 1024,
        footer_cache_bytes: 16 * 1024,
        block_bytes_max: 8 * 1024,
        checkpoint_log_bytes: 64 * 1024,
        // Less than a segment: files are cut in the middle before they go.
        give_back_bytes: 10 * 1024,
        background: false,
        prewrite: false,
        seed: Some(7),
        ..Options::default()
    }
}

/// For blocks of many pages.
pub(crate) fn large_options() -> Options {
    let (segment_bytes, block_bytes_max) = (256 * 1024, 128 * 1024);
    Options { segment_bytes, segment_bytes_max: segment_bytes, block_bytes_max, ..options() }
}

/// The options of a random run.
pub(crate) fn options_of(seed: u64) -> Options {
    let mut dice = Dice::new(seed ^ 0x0917);
    let segment_bytes = [16, 16, 20, 32][dice.index(4)] * 1024;
    Options {
        segment_bytes,
        segment_bytes_max: segment_bytes * (1 + u32::from(dice.one_in(3))),
        spares: 3 + dice.index(2),
        tail_cache_bytes: [0, 4, 16, 256][dice.index(4)] * 1024,
        prewrite: dice.one_in(2),
        give_back_bytes: [4, 10, 64][dice.index(3)] * 1024,
        ..options()
    }
}

/// Opens the store and holds the replayed blocks against the model: nothing confirmed is missing or changed, what was in
/// flight is there whole or not at all, nothing else is there. The model then holds what was found.
///
/// An error is for the caller to judge; a difference is a panic.
pub(crate) fn recover(
    disk: &SimDisk,
    model: &mut Model,
    options: Options,
) -> Result<Opened, StorageError> {
    recover_at(Arc::new(disk.clone()), Path::new(DIR), model, options)
}

/// [`recover`] of a store on any disk.
pub(crate) fn recover_at(
    disk: Arc<dyn Disk>,
    dir: &Path,
    model: &mut Model,
    options: Options,
) -> Result<Opened, StorageError> {
    let opening = open(disk, dir, options)?;
    let start = start_of(&opening, model);
    let mut blocks: Vec<Block> = Vec::new();
    let opened = opening.replay(&mut |block| {
        blocks.push(block.clone());
        Ok(())
    })?;
    adopt(model, start, &blocks);
    let report = &opened.report;
    check_report(report, model);
    model.store = Some(report.store);
    model.epoch = report.epoch;
    Ok(opened)
}

/// The number of blocks that the checkpoint in use stands for.
fn start_of(opening: &Opening, model: &Model) -> usize {
    let Some(bytes) = opening.checkpoint() else {
        assert_eq!(model.checkpoint, None, "the checkpoint is gone");
        return 0;
    };
    let state = model.states.get(bytes).expect("a state that was never handed to a checkpoint");
    assert!(Some(state.covered) >= model.checkpoint, "an older state than the confirmed one");
    state.blocks
}

fn check_report(report: &RecoveryReport, model: &Model) {
    let is_same = model.store.is_none_or(|store| store == report.store && !report.created);
    assert!(is_same, "another store: {report}");
    assert!(report.epoch > model.epoch, "the epoch did not move");
    assert_eq!(report.damaged, [], "damage where there is none");
}

/// What a recovery found that was held against a model and left it as it is.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) opened: Opened,
    /// Blocks of the whole log.
    pub(crate) blocks: usize,
    /// Those of them that were in flight.
    pub(crate) beyond: Vec<Block>,
}

/// [`recover`] without a copy of the model, for rigs that look at millions of disks.
pub(crate) fn verify(
    disk: &SimDisk,
    model: &Model,
    options: &Options,
) -> Result<Verified, StorageError> {
    let found = hold_against(disk, model, options)?;
    check_report(&found.opened.report, model);
    Ok(found)
}

/// [`verify`] of a store whose report may speak of damage; nothing of the log may be missing all the same.
pub(crate) fn verify_damaged(
    disk: &SimDisk,
    model: &Model,
    options: &Options,
) -> Result<Opened, StorageError> {
    hold_against(disk, model, options).map(|found| found.opened)
}

fn hold_against(
    disk: &SimDisk,
    model: &Model,
    options: &Options,
) -> Result<Verified, StorageError> {
    let opening = open(Arc::new(disk.clone()), Path::new(DIR), options.clone())?;
    let mut blocks = start_of(&opening, model);
    let mut flying = model.in_flight.iter();
    let mut beyond = Vec::new();
    let opened = opening.replay(&mut |block| {
        let number = model.compare(block);
        assert_eq!(block.index, blocks as u64 + 1, "the order has a gap");
        model.check_name(block, number);
        match model.log.get(blocks) {
            Some(known) => known.check(number, block),
            None => {
                let is_in_flight = flying.any(|flying| *flying == number);
                assert!(is_in_flight, "body {number} is neither confirmed nor in flight");
                beyond.push(block.clone());
            }
        }
        blocks += 1;
        Ok(())
    })?;
    assert!(blocks >= model.log.len(), "lost: {:?}", &model.log[blocks..]);
    Ok(Verified { opened, blocks, beyond })
}

impl Verified {
    /// Reads every live record, also those of blocks that were in flight.
    pub(crate) fn read_all(&self, model: &Model) {
        let reader = &self.opened.reader;
        let mut ends: Vec<(u32, u64)> = Vec::new();
        for (id, stream) in &model.streams {
            read_live(reader, *id, stream);
            ends.push((*id, stream.next));
        }
        for entry in self.beyond.iter().flat_map(Block::entries) {
            if let Entry::Run(run) = entry.unwrap() {
                let read = reader.read(run.stream, run.base_offset).unwrap();
                assert_eq!(read.as_ref(), Some(&run), "stream {}", run.stream);
                ends.retain(|(id, _)| *id != run.stream);
                ends.push((run.stream, run.end_offset()));
            }
        }
        for (id, end) in ends {
            assert_eq!(reader.read(id, end).unwrap(), None, "beyond the end of stream {id}");
        }
    }
}

/// Compares replayed blocks, the first of which is number `start` of the log, and notes the new ones.
fn adopt(model: &mut Model, start: usize, blocks: &[Block]) {
    for (position, block) in (start..).zip(blocks) {
        let number = model.compare(block);
        assert_eq!(block.index, position as u64 + 1, "the order has a gap");
        match model.log.get(position) {
            Some(known) => known.check(number, block),
            None => {
                let next = model.in_flight.iter().position(|flying| *flying == number);
                let next = next
                    .unwrap_or_else(|| panic!("body {number} is neither confirmed nor in flight"));
                model.in_flight.drain(..next);
                model.confirm(number, block);
            }
        }
    }
    let found = start + blocks.len();
    assert!(found >= model.log.len(), "lost: {:?}", &model.log[found..]);
    // What was in flight and is not in the log now must never come back.
    model.in_flight.clear();
}

/// Reads every live record of every stream.
pub(crate) fn read_all(reader: &LogReader, model: &Model) {
    for (id, stream) in &model.streams {
        read_live(reader, *id, stream);
        assert_eq!(reader.read(*id, stream.next).unwrap(), None, "beyond the end of stream {id}");
    }
}

fn read_live(reader: &LogReader, id: u32, stream: &Stream) {
    for run in stream.runs.iter().filter(|run| run.end_offset() > stream.floor) {
        let offset = run.base_offset.max(stream.floor);
        let read = reader.read(id, offset);
        assert_eq!(read.unwrap().as_ref(), Some(run), "stream {id} offset {offset}");
        let tail = reader.tail(id, offset);
        assert!(
            tail.is_none() || tail.as_ref() == Some(run),
            "tail of stream {id} offset {offset}"
        );
    }
}
