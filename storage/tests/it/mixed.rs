//! A mixed store of a megabyte, and what each of its bytes is for.

use std::ops::Range;
use std::path::{Path, PathBuf};

use posthaste_storage::Options;
use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::Keep;

use crate::check::options;
use crate::model::{Model, Sizes};
use crate::world::{Step, World};

pub(crate) const STORE_BYTES: usize = 1 << 20;

pub(crate) fn mixed_options() -> Options {
    Options {
        segment_bytes: 64 * 1024,
        segment_bytes_max: 64 * 1024,
        block_bytes_max: 32 * 1024,
        footer_cache_bytes: 1 << 20,
        tail_cache_bytes: 0,
        ..options()
    }
}

/// Keeps one index in memory, so that a rig can have it read again.
pub(crate) fn forgetful_options() -> Options {
    Options { footer_cache_bytes: 0, ..mixed_options() }
}

/// Batches of many sizes, restarts, beacons, two checkpoints that free nothing, indexes; closed, so that all has a witness.
pub(crate) fn mixed_store(seed: u64) -> (SimDisk, Model) {
    let mut world = World::new(seed);
    world.options = mixed_options();
    world.open().unwrap();
    let mut round = 0;
    // Without the spares.
    let bytes_of = |world: &World| -> usize {
        let files = world.disk.files();
        let bytes = |path: &PathBuf| world.disk.bytes(path).unwrap().len();
        files.iter().map(bytes).sum::<usize>().saturating_sub(3 * 64 * 1024)
    };
    let mut checkpoints = 0;
    while bytes_of(&world) < STORE_BYTES || checkpoints < 2 {
        world.sizes = Sizes {
            one_run_in: 1 + round % 3,
            run_bytes_max: [30, 300, 1_500, 9_000, 2_000, 200, 20][round as usize % 7],
        };
        world.commit().unwrap();
        match round % 40 {
            11 => world.step(Step::Beacon).unwrap(),
            23 => world.step(Step::Maintain).unwrap(),
            37 if round % 80 == 37 => world.step(Step::Reopen).unwrap(),
            _ => {}
        }
        if bytes_of(&world) >= STORE_BYTES * (8 + checkpoints) / 10 && checkpoints < 2 {
            world.checkpoint_that_frees_nothing();
            checkpoints += 1;
        }
        round += 1;
    }
    world.step(Step::Maintain).unwrap();
    world.seal().unwrap();
    let model = world.model().clone();
    (world.disk.power_cut(Keep::Everything), model)
}

/// What a place in a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A block that is replayed, as far as its checksums go.
    Replayed,
    /// A block below the checkpoint, as far as its checksums go.
    Covered,
    SegmentHeader,
    Index,
    Superblock,
    Checkpoint,
    /// Zeros behind a block's body.
    Padding,
    /// Behind the last block of a segment, or a segment that is not used.
    Unused,
}

/// One file with what its bytes are for.
pub(crate) struct Map {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) parts: Vec<(Range<usize>, Kind)>,
}

impl Map {
    pub(crate) fn of(disk: &SimDisk, path: &Path, covered: u64) -> Self {
        let bytes = disk.bytes(path).unwrap();
        let name = path.to_string_lossy();
        let parts = match () {
            // The lock file is empty.
            () if bytes.is_empty() => Vec::new(),
            () if name.ends_with("SUPER") => vec![(0..bytes.len(), Kind::Superblock)],
            () if name.ends_with(".ckpt") => vec![(0..bytes.len(), Kind::Checkpoint)],
            () => parts_of_segment(&bytes, covered),
        };
        Self { path: path.to_path_buf(), bytes, parts }
    }

    pub(crate) fn kind(&self, byte: usize) -> Kind {
        let part = self.parts.partition_point(|(range, _)| range.end <= byte);
        self.parts.get(part).map_or(Kind::Unused, |(_, kind)| *kind)
    }
}

/// Walks the blocks by what their headers claim; the store is whole.
fn parts_of_segment(bytes: &[u8], covered: u64) -> Vec<(Range<usize>, Kind)> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let lsn_at = |at: usize| u64::from_le_bytes(bytes[at + 8..at + 16].try_into().unwrap());
    let mut parts = vec![(0..4_096, Kind::SegmentHeader)];
    let seq = u64::from_le_bytes(bytes[48..56].try_into().unwrap());
    let mut at = 4_096;
    while bytes.len() >= at + 96
        && bytes.starts_with(b"PHSEG")
        && bytes[at..].starts_with(b"PHBK")
        && lsn_at(at) == seq << 32 | at as u64
    {
        // Of the segment that the checkpoint ends in, the OPEN block is read, and the rest below is not.
        let is_read = lsn_at(at) >= covered || (at == 4_096 && seq == covered >> 32);
        let kind = if is_read { Kind::Replayed } else { Kind::Covered };
        let end = at + 96 + u32_at(at + 76);
        parts.push((at..end, kind));
        at += u32_at(at + 28);
        parts.push((end..at, Kind::Padding));
    }
    if bytes.get(at..).is_some_and(|rest| rest.starts_with(b"PHINDEX\x01")) {
        let end = at + u32_at(at + 36);
        parts.push((at..end, Kind::Index));
        at = end;
    }
    if parts.len() == 1 {
        // Not used: no OPEN block.
        parts.clear();
        at = 0;
    }
    parts.push((at..bytes.len(), Kind::Unused));
    parts
}
