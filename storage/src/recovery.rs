//! Opens a store.

use std::path::Path;
use std::sync::Arc;

use crate::block::Block;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::keeper::LogKeeper;
use crate::options::Options;
use crate::reader::LogReader;
use crate::report::RecoveryReport;
use crate::writer::LogWriter;

/// Opens the store in `dir`: takes the lock, checks the identity and chooses the checkpoint.
pub fn open(_disk: Arc<dyn Disk>, dir: &Path, _options: Options) -> Result<Opening, StorageError> {
    Err(StorageError::NotAStore {
        path: dir.to_path_buf(),
        what: "the log is not built yet",
    })
}

/// A store that is locked and checked, and not yet replayed.
#[derive(Debug)]
pub struct Opening;

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
        None
    }

    /// Hands out every block after the checkpoint, in order, and makes the log ready to be written.
    pub fn replay(
        self,
        _each: &mut dyn FnMut(&Block) -> Result<(), StorageError>,
    ) -> Result<Opened, StorageError> {
        Ok(Opened {
            writer: LogWriter,
            reader: LogReader,
            keeper: LogKeeper,
            report: RecoveryReport::default(),
        })
    }
}
