//! Looks at a damaged store: what it hands out must be genuine, and what it does not hand out must be said.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use posthaste_storage::disk::SimDisk;
use posthaste_storage::{
    Block, Damage, LogReader, Options, RecoveryReport, Run, StorageError, open,
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
    let opening = match open(Arc::new(disk.clone()), Path::new(DIR), options) {
        Ok(opening) => opening,
        Err(error) => return Verdict::Refused(error),
    };
    let start = match opening.checkpoint() {
        None => 0,
        Some(bytes) => {
            model.states.get(bytes).expect("a state that nobody handed to a checkpoint").blocks
        }
    };
    let mut delivered: Vec<Block> = Vec::new();
    let opened = opening.replay(&mut |block| {
        delivered.push(block.clone());
        Ok(())
    });
    // What a replay that ends in a refusal handed out is thrown away by whoever got it.
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => return Verdict::Refused(error),
    };
    for block in &delivered {
        check_genuine(model, block);
    }
    assert!(delivered.is_sorted_by_key(|block| block.index), "blocks out of order");
    let is_missing = |known: &&Known| delivered.iter().all(|block| block.index != known.index);
    let expected = model.log.get(start..).unwrap_or_default();
    let missing = expected.iter().filter(is_missing).cloned().collect();
    let (unreadable, skipped) = read_what_can_be(&opened.reader, model);
    Verdict::Opened(Box::new(Found { report: opened.report, missing, unreadable, skipped }))
}

fn check_genuine(model: &Model, block: &Block) {
    let number = model.compare(block);
    let known = model.log.iter().find(|known| known.index == block.index);
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
