//! [`RecoveryReport`]: what opening a store found and did, in one line.

use std::fmt;

use crate::error::Damage;
use crate::lsn::Lsn;

/// What opening a store found and did.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// The identity of the store.
    pub store: [u8; 16],
    /// Whether the store was created now.
    pub created: bool,
    /// Whether the last process closed the log on purpose.
    pub clean: bool,
    /// The number of this start; never used before.
    pub epoch: u32,
    /// What the checkpoint in use covers, if there is one.
    pub checkpoint: Option<Lsn>,
    /// Blocks replayed after it.
    pub blocks_replayed: u64,
    /// Bytes of the log read.
    pub bytes_replayed: u64,
    /// Segments with data.
    pub segments: usize,
    /// The end of the log; everything below is durable now.
    pub end: Lsn,
    /// Bytes of the torn tail that were cut.
    pub cut_bytes: u64,
    /// Bytes that were written again because the page cache is not trusted after an unclean stop.
    pub rewritten_bytes: u64,
    /// Damaged ranges, and damaged files that were not needed.
    pub damaged: Vec<Damage>,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.created {
            return write!(f, "store created, epoch {}", self.epoch);
        }
        let stop = if self.clean { "clean" } else { "unclean" };
        write!(
            f,
            "{stop} stop, epoch {}, {} segments, {} blocks ({} bytes) replayed up to {}",
            self.epoch, self.segments, self.blocks_replayed, self.bytes_replayed, self.end
        )?;
        if let Some(covered) = self.checkpoint {
            write!(f, " after the checkpoint at {covered}")?;
        }
        if self.cut_bytes > 0 {
            write!(f, ", torn tail of {} bytes cut", self.cut_bytes)?;
        }
        for damage in &self.damaged {
            write!(f, "; DAMAGED {damage}")?;
        }
        Ok(())
    }
}
