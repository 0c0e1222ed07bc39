//! [`StorageError`]: what can go wrong with the log, with what an operator needs to act on it.
//!
//! A variant names the operation, the path, the place and the cause. The first failed write or sync of the log is final:
//! the writer answers [`StorageError::Poisoned`] from then on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::lsn::Lsn;

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another process, or another handle of this one, holds the store.
    #[error("{} is in use by another process", path.display())]
    AlreadyLocked {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory holds something, but not a whole store of ours.
    #[error("{} is not a complete store: {what}", path.display())]
    NotAStore {
        /// The directory or file.
        path: PathBuf,
        /// What is missing or wrong.
        what: &'static str,
    },
    /// A segment that must be there is not.
    #[error("segment {seq} is missing from {}: {what}", path.display())]
    MissingSegment {
        /// The directory of the log.
        path: PathBuf,
        /// Its sequence number.
        seq: u32,
        /// How it is known that it must be there.
        what: &'static str,
    },
    /// A newer version of this program wrote it.
    #[error("{} has format {found}, this program knows formats up to {known}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The version found, or the unknown feature bits.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// Bytes that were durable are not what was written.
    #[error("damaged: {0}")]
    Damaged(Box<Damage>),
    /// The disk is full. Nothing of the refused call was written.
    #[error("no space to {operation} {}", path.display())]
    NoSpace {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said, if it was asked.
        #[source]
        cause: Option<io::Error>,
    },
    /// A body is larger than a block may be.
    #[error("a block body of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        bytes_max: usize,
    },
    /// An earlier write or sync of the log failed; nothing is written until a restart.
    #[error("the log stopped at an earlier failed write or sync")]
    Poisoned,
    /// The disk refused an operation.
    #[error("cannot {operation} {} at byte {offset}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The place in it.
        offset: u64,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// A range of the log whose durable bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// The first bad byte in it.
    pub offset: u64,
    /// The first place that cannot be read.
    pub from: Lsn,
    /// The next place that can, or up to which data is known to have been durable.
    pub to: Lsn,
    /// Blocks lost, where the numbers around the gap tell.
    pub blocks: Option<u64>,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path} at byte {}: {}", self.offset, self.what)?;
        if self.to > self.from {
            write!(f, " (log from {} to {}", self.from, self.to)?;
            match self.blocks {
                Some(1) => write!(f, ", 1 block)")?,
                Some(blocks) => write!(f, ", {blocks} blocks)")?,
                None => write!(f, ")")?,
            }
        }
        Ok(())
    }
}

impl StorageError {
    /// An operation that the disk refused; a full disk gets its own variant.
    pub(crate) fn io(operation: &'static str, path: &Path, offset: u64, cause: io::Error) -> Self {
        let path = path.to_path_buf();
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { operation, path, cause: Some(cause) }
            }
            _ => Self::Io { operation, path, offset, cause },
        }
    }

    /// Damage of one place in a file, outside the order of the log.
    pub(crate) fn damaged(path: &Path, offset: u64, what: &'static str) -> Self {
        Self::Damaged(Box::new(Damage {
            path: path.to_path_buf(),
            offset,
            from: Lsn::ZERO,
            to: Lsn::ZERO,
            blocks: None,
            what,
        }))
    }

    /// Whether the disk has no room, which may pass by itself.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }
}
