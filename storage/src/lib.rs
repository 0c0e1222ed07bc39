//! The log of Posthaste: blocks in segments, durable when committed.
//!
//! ```text
//! data/LOCK                     held by the one process that uses the store
//! data/SUPER                    identity, number of starts; two copies
//! data/log-0/slot-000001.seg    segments: header, OPEN block, blocks, ROLL block, index
//! data/ckpt/<number>.ckpt       the two newest checkpoints
//! ```
//!
//! [`open`] recovers, [`LogWriter::commit`] appends one block and returns when `fdatasync` has returned, [`LogReader`] reads
//! what is committed and never anything else, [`LogKeeper`] writes checkpoints and gives dead segments back.
//! Batches of records are opaque bytes with a count. There is no runtime here: plain threads and files.

pub mod disk;

mod block;
mod body;
mod catalogue;
mod checkpoint;
mod error;
mod fields;
mod footer;
mod format;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod index;
mod janitor;
mod keeper;
mod locks;
mod lsn;
mod mutant;
mod options;
mod random;
mod reader;
mod reclaim;
mod recovery;
mod report;
mod sealed;
mod segment;
mod slots;
mod store;
mod superblock;
mod sync;
mod tail;
pub mod writer;

pub use block::Block;
pub use body::{Body, BodyBuilder, Entries, Entry, Run};
pub use error::{Damage, StorageError};
pub use keeper::{CheckpointDone, LogKeeper};
pub use lsn::Lsn;
pub use options::Options;
pub use random::random_u64;
pub use reader::{LogReader, Space};
pub use recovery::{Opened, Opening, open};
pub use report::RecoveryReport;
pub use writer::LogWriter;
