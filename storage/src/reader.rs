//! [`LogReader`]: reads committed runs, from memory or from files.

use crate::body::Run;
use crate::error::StorageError;
use crate::lsn::Lsn;

/// Reads what is committed. Cheap to clone, usable from every thread.
#[derive(Debug, Clone)]
pub struct LogReader;

/// Room on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that the file system has left.
    pub free_bytes: u64,
    /// Bytes of all segment files.
    pub log_bytes: u64,
    /// False while what is left is kept for acknowledgements.
    pub publishes_allowed: bool,
}

impl LogReader {
    /// The run with `offset`, or the next one after it, if it is in memory.
    #[must_use]
    pub fn tail(&self, _stream: u32, _offset: u64) -> Option<Run> {
        None
    }

    /// The run with `offset`, or the next one after it. Blocks on the disk.
    pub fn read(&self, _stream: u32, _offset: u64) -> Result<Option<Run>, StorageError> {
        Ok(None)
    }

    /// The first offset that was accepted at `from_time_ms` or later.
    pub fn run_time(&self, _stream: u32, _from_time_ms: u64) -> Result<Option<u64>, StorageError> {
        Ok(None)
    }

    /// Bytes of the stream that the log holds.
    #[must_use]
    pub fn stream_bytes(&self, _stream: u32) -> u64 {
        0
    }

    /// The end of what is committed.
    #[must_use]
    pub fn committed(&self) -> Lsn {
        Lsn::ZERO
    }

    /// Room on the disk.
    #[must_use]
    pub fn space(&self) -> Space {
        Space {
            free_bytes: 0,
            log_bytes: 0,
            publishes_allowed: true,
        }
    }
}
