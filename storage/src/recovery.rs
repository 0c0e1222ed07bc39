//! Opens a store: who it is, what it must contain, what the log says, and where it ends.
//!
//! ```text
//! open    lock → superblock → checkpoint → survey of the files → chain of segments       nothing is written
//! replay  blocks in order, each verified → verdict at the first bad place → tail written again → superblock → OPEN
//! ```
//!
//! Three verdicts at a bad place (see [`replay`](self)): a torn tail is cut and reported; anything below the durable evidence is
//! damage and stops the start (or, with quarantine, is reported as a gap); nothing is ever cut on a guess. Recovery writes
//! nothing before all of the log was read, and never into the segment that was the tail: a crash inside it changes nothing.

use std::path::Path;
use std::sync::Arc;

use crate::block::Block;
use crate::checkpoint::Checkpoint;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::keeper::LogKeeper;
use crate::options::Options;
use crate::reader::LogReader;
use crate::report::RecoveryReport;
use crate::store::{DirectoryLock, Places};
use crate::superblock::Superblock;
use crate::writer::{LogWriter, Tip};

mod begin;
mod chain;
mod finish;
mod replay;
pub(crate) mod scan;
mod survey;

#[cfg(test)]
mod tests;

/// Before the first block of a store.
pub(crate) const GENESIS: Tip = Tip { index: 0, term: 1, chain: 0, time_ms: 0, epoch: 0 };

/// Opens the store in `dir`: takes the lock, checks the identity, chooses the checkpoint. A missing or empty directory becomes
/// a new store if the options allow it.
///
/// *Errors*: a store that is in use, incomplete, of a newer format or damaged is refused, and nothing is changed.
pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: Options) -> Result<Opening, StorageError> {
    begin::open(disk, dir, options)
}

/// A store that is locked and checked, and not yet replayed.
#[derive(Debug)]
pub struct Opening {
    disk: Arc<dyn Disk>,
    places: Places,
    options: Options,
    lock: DirectoryLock,
    superblock: Superblock,
    is_new: bool,
    checkpoint: Option<Checkpoint>,
    checkpoints: begin::Checkpoints,
    survey: survey::Survey,
    chain: chain::Chain,
}

/// A store in use.
#[derive(Debug)]
pub struct Opened {
    /// Appends.
    pub writer: LogWriter,
    /// Reads.
    pub reader: LogReader,
    /// Checkpoints.
    pub keeper: LogKeeper,
    /// What was found and done.
    pub report: RecoveryReport,
}

impl Opening {
    /// The state bytes of the checkpoint in use.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&[u8]> {
        self.checkpoint.as_ref().map(|checkpoint| checkpoint.state.as_slice())
    }

    /// Hands out every block after the checkpoint, in order, and makes the log ready to be written. An error of `each` ends it.
    ///
    /// *Durability*: when this returns Ok, every block that was handed out is durable.
    ///
    /// *Errors*: [`StorageError::Damaged`] for damage below the durable evidence; blocks before it were handed out.
    pub fn replay(
        self,
        each: &mut dyn FnMut(&Block) -> Result<(), StorageError>,
    ) -> Result<Opened, StorageError> {
        let replayed = replay::run(&self, each)?;
        finish::run(self, replayed)
    }
}
