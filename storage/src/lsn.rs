//! [`Lsn`]: a place in the log of one machine.
//!
//! `segment sequence << 32 | byte offset in the segment`. Strictly increasing along the log and never used twice, because a
//! segment gets a new sequence number for each life of its file. It is local: nothing outside storage may keep one, except
//! as the coverage of a checkpoint.

use std::fmt;

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// The place of byte `offset` in segment `seq`.
    #[must_use]
    pub const fn new(seq: u32, offset: u32) -> Self {
        Self((seq as u64) << 32 | offset as u64)
    }

    /// The sequence number of the segment.
    #[must_use]
    pub const fn seq(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The byte offset in the segment.
    #[must_use]
    pub const fn offset(self) -> u32 {
        // The low half is the offset; the cut is the meaning.
        self.0 as u32
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq(), self.offset())
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_segment_is_later_whatever_its_offset() {
        assert!(Lsn::new(2, 0) > Lsn::new(1, u32::MAX));
        assert_eq!((Lsn::new(7, 512).seq(), Lsn::new(7, 512).offset()), (7, 512));
        assert_eq!(Lsn::new(7, 512).to_string(), "7:512");
    }
}
