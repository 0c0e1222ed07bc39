//! Looks at a damaged store: what it hands out must be genuine, and what it does not hand out must be said.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_storage::disk::SimDisk;
use posthaste_storage::{
    Block, Damage, LogReader, Opened, Options, RecoveryReport, Run, StorageError, open,
};

use crate::check::DIR;
use crate::model::{Known, Model};

/// What opening a damaged store came to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It was not opened.
    Refused(StorageError),
    /// It was opened.
    Opened(Box<Found>),
}

/// What an opened store had.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) report: RecoveryReport,
    /// Confirmed blocks that the replay should have handed out, and did not.
    pub(crate) missing: Vec<Known>,
    /// Live runs that could not be read, and the reader said so.
    pub(crate) unreadable: usize,
    /// Live runs that the reader passed over as if they were not there.
    pub(crate) skipped: usize,
}

impl Found {
    /// Everything confirmed was handed out.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unreadable == 0 && self.skipped == 0
    }
}

impl Verdict {
    /// Whether the damage was noticed, by a refusal, in the report or by a reader.
    pub(crate) fn is_detected(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Opened(found) => !found.report.damaged.is_empty() || found.unreadable > 0,
        }
    }

    pub(crate) fn found(&self) -> &Found {
        match self {
            Self::Opened(found) => found,
            Self::Refused(error) => panic!("not opened: {error:?}"),
        }
    }

    pub(crate) fn damaged(&self) -> &[Damage] {
        &self.found().report.damaged
    }
}

/// Opens a store and reads all of it. Panics if a block or run is handed out that is not exactly what was submitted, at its
/// place and in its order.
pub(crate) fn examine(disk: &SimDisk, model: &Model, options: Options) -> Verdict {
    match replay(disk, model, options) {
        Err(error) => Verdict::Refused(error),
        Ok((opened, missing)) => {
            let (unreadable, skipped) = read_what_can_be(&opened.reader, model);
            Verdict::Opened(Box::new(Found { report: opened.report, missing, unreadable, skipped }))
        }
    }
}

/// Opens a store and replays it: what is missing, and what the report says. Records below the checkpoint are not read.
pub(crate) fn replay_past(
    disk: &SimDisk,
    model: &Model,
    options: Options,
) -> (Vec<Known>, RecoveryReport) {
    let (opened, missing) = replay(disk, model, options).unwrap();
    (missing, opened.report)
}

fn replay(
    disk: &SimDisk,
    model: &Model,
    options: Options,
) -> Result<(Opened, Vec<Known>), StorageError> {
    let opening = open(Arc::new(disk.clone()), Path::new(DIR), options)?;
    let start = match opening.checkpoint() {
        None => 0,
        Some(bytes) => {
            model.states.get(bytes).expect("a state that nobody handed to a checkpoint").blocks
        }
    };
    let mut delivered: Vec<Block> = Vec::new();
    // What a replay that ends in a refusal handed out is thrown away by whoever got it.
    let opened = opening.replay(&mut |block| {
        delivered.push(block.clone());
        Ok(())
    })?;
    for block in &delivered {
        check_genuine(model, block);
    }
    assert!(delivered.is_sorted_by_key(|block| block.index), "blocks out of order");
    let is_missing = |known: &&Known| delivered.iter().all(|block| block.index != known.index);
    let expected = model.log.get(start..).unwrap_or_default();
    let missing = expected.iter().filter(is_missing).cloned().collect();
    Ok((opened, missing))
}

fn check_genuine(model: &Model, block: &Block) {
    let number = model.compare(block);
    // The index of a block is its number in the log, from 1.
    let known = usize::try_from(block.index - 1).ok().and_then(|at| model.log.get(at));
    if let Some(known) = known {
        let found = (number, block.lsn, block.end, block.time_ms);
        assert_eq!(found, (known.number, known.lsn, known.end, known.time_ms), "another block");
    } else {
        assert!(
            model.in_flight.contains(&number),
            "body {number} was neither confirmed nor in flight"
        );
    }
}

fn read_what_can_be(reader: &LogReader, model: &Model) -> (usize, usize) {
    let (mut unreadable, mut skipped) = (0, 0);
    for (id, stream) in &model.streams {
        for run in stream.runs.iter().filter(|run| run.end_offset() > stream.floor) {
            match reader.read(*id, run.base_offset.max(stream.floor)) {
                Ok(Some(read)) if read == *run => {}
                Ok(other) => {
                    skipped += 1;
                    check_later(other.as_ref(), &stream.runs, run);
                }
                Err(_) => unreadable += 1,
            }
        }
    }
    (unreadable, skipped)
}

/// In place of a run that is lost, a reader may hand out a later one, and that must be genuine.
fn check_later(read: Option<&Run>, runs: &[Run], wanted: &Run) {
    if let Some(read) = read {
        assert!(runs.contains(read), "a run that nobody submitted");
        assert!(read.base_offset > wanted.base_offset, "a run before the one asked for");
    }
}

/// The file that holds a block, found by the place in the block's header.
pub(crate) fn file_of(disk: &SimDisk, known: &Known) -> PathBuf {
    let at = known.lsn.offset() as usize + 8;
    let holds = |path: &PathBuf| {
        let bytes = disk.bytes(path).unwrap();
        bytes.get(at..at + 8).is_some_and(|lsn| lsn == known.lsn.0.to_le_bytes())
    };
    disk.files().into_iter().find(holds).unwrap_or_else(|| panic!("no file holds {known:?}"))
}

/// The segment files, in the order of their names.
pub(crate) fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
}

/// The checkpoint files, in the order of their names.
pub(crate) fn checkpoints(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "ckpt")).collect()
}
