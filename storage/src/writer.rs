//! [`LogWriter`]: the one place that appends, and the thread around it.

use std::sync::Arc;

use crate::block::Block;
use crate::body::Body;
use crate::error::StorageError;

/// Appends to the log. One owner; every call returns when the disk has it, or fails for good.
#[derive(Debug)]
pub struct LogWriter;

impl LogWriter {
    /// Makes one block durable.
    pub fn commit(&mut self, _time_ms: u64, _body: Body) -> Result<Arc<Block>, StorageError> {
        Err(StorageError::Poisoned)
    }

    /// Writes a block without entries, so that the last real one has a later witness.
    pub fn beacon(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Closes the log on purpose.
    pub fn seal(self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Commits bodies on a thread of its own.
#[derive(Debug)]
pub struct CommitHandle;

/// Why a body was not taken.
#[derive(Debug)]
pub enum Refused {
    /// One is being committed and one waits already.
    Busy(Body),
    /// The thread is gone.
    Stopped(Body),
}

/// Starts the thread. `on_done` is called on it, once for every body taken, in order.
pub fn spawn(
    _writer: LogWriter,
    _on_done: impl FnMut(Result<Arc<Block>, StorageError>) + Send + 'static,
) -> std::io::Result<CommitHandle> {
    Ok(CommitHandle)
}

impl CommitHandle {
    /// Hands a body to the thread. Never waits.
    pub fn submit(&self, _time_ms: u64, body: Body) -> Result<(), Refused> {
        Err(Refused::Stopped(body))
    }

    /// Commits what was taken, seals the log and ends the thread.
    pub fn shutdown(self) -> Result<(), StorageError> {
        Ok(())
    }
}
