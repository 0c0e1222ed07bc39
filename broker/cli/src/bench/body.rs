//! The bodies that the benchmark publishes, and what a receiver reads from them.
//!
//! A stamped body tells its run, its publisher, its number and its (intended) time of sending, so
//! that a receiver can tell lost, repeated and foreign messages apart:
//! ```text
//! 0 u32 run | 4 u32 publisher | 8 u64 number | 16 u64 nanoseconds since the run began | filler
//! ```

use bytes::{Bytes, BytesMut};
use std::hash::{BuildHasher, RandomState};

/// Bytes in front of the filler.
pub(crate) const STAMP_BYTES: usize = 24;

/// What a stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) publisher: u32,
    pub(crate) number: u64,
    pub(crate) nanos: u64,
}

/// A number that tells this run from any other.
pub(crate) fn run_id() -> u32 {
    let random = RandomState::new().hash_one(std::process::id());
    u32::try_from(random >> 32).unwrap_or(1)
}

/// Makes bodies of one publisher.
#[derive(Debug)]
pub(crate) struct Bodies {
    run: u32,
    publisher: u32,
    next: u64,
    filler: Vec<u8>,
}

impl Bodies {
    pub(crate) fn new(run: u32, publisher: u32, size: usize) -> Self {
        Self { run, publisher, next: 0, filler: filler(size) }
    }

    /// `count` stamped bodies, cut from one allocation.
    pub(crate) fn stamped(&mut self, count: usize, nanos: u64) -> Vec<Bytes> {
        let size = self.filler.len();
        let mut all = BytesMut::with_capacity(size * count);
        for _ in 0..count {
            let start = all.len();
            all.extend_from_slice(&self.filler);
            let body = &mut all[start..];
            body[0..4].copy_from_slice(&self.run.to_le_bytes());
            body[4..8].copy_from_slice(&self.publisher.to_le_bytes());
            body[8..16].copy_from_slice(&self.next.to_le_bytes());
            body[16..24].copy_from_slice(&nanos.to_le_bytes());
            self.next += 1;
        }
        let mut rest = all.freeze();
        (0..count).map(|_| rest.split_to(size)).collect()
    }
}

/// Printable bytes that do not repeat soon.
pub(crate) fn filler(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letter = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        b"abcdefghijklmnopqrstuvwxyz012345"[(*state >> 32) as usize % 32]
    };
    (0..size).map(|_| letter(&mut state)).collect()
}

/// Reads a stamp of this run. `None` is a message of somebody else.
pub(crate) fn read(run: u32, body: &[u8]) -> Option<Stamp> {
    let field = |at: usize| body.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let head = field(0)?;
    if head & 0xffff_ffff != u64::from(run) {
        return None;
    }
    let publisher = u32::try_from(head >> 32).ok()?;
    Some(Stamp { publisher, number: field(8)?, nanos: field(16)? })
}

/// Which numbers of which publisher were received; one bit a message.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    publishers: Vec<Vec<u64>>,
    /// Messages received for the first time.
    pub(crate) distinct: u64,
    /// Messages received again.
    pub(crate) repeated: u64,
}

/// LIMIT: publishers and numbers beyond these are none of ours, whatever their stamp says.
const PUBLISHERS_MAX: usize = 10_000;
const NUMBERS_MAX: u64 = 1 << 36;

impl Seen {
    /// Notes a stamp; `false` if it cannot be of this run.
    pub(crate) fn note(&mut self, publisher: u32, number: u64) -> bool {
        let publisher = publisher as usize;
        if publisher >= PUBLISHERS_MAX || number >= NUMBERS_MAX {
            return false;
        }
        if self.publishers.len() <= publisher {
            self.publishers.resize_with(publisher + 1, Vec::new);
        }
        let bits = &mut self.publishers[publisher];
        let (word, bit) = ((number / 64) as usize, 1u64 << (number % 64));
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        if bits[word] & bit == 0 {
            bits[word] |= bit;
            self.distinct += 1;
        } else {
            self.repeated += 1;
        }
        true
    }

    /// Takes another consumer's view in.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.repeated += other.repeated;
        for (publisher, bits) in other.publishers.iter().enumerate() {
            if self.publishers.len() <= publisher {
                self.publishers.resize_with(publisher + 1, Vec::new);
            }
            let mine = &mut self.publishers[publisher];
            if mine.len() < bits.len() {
                mine.resize(bits.len(), 0);
            }
            for (mine, theirs) in mine.iter_mut().zip(bits) {
                self.repeated += u64::from((*mine & theirs).count_ones());
                self.distinct += u64::from((theirs & !*mine).count_ones());
                *mine |= theirs;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_and_a_foreign_one_is_not() {
        let mut bodies = Bodies::new(7, 3, 100);
        let made = bodies.stamped(3, 1_000);
        assert!(made.iter().all(|body| body.len() == 100));
        assert_eq!(read(7, &made[2]), Some(Stamp { publisher: 3, number: 2, nanos: 1_000 }));
        assert_eq!(
            bodies.stamped(1, 0).first().and_then(|b| read(7, b)).map(|s| s.number),
            Some(3)
        );
        assert_eq!(read(8, &made[0]), None);
        assert_eq!(read(7, b"short"), None);
        assert_eq!(read(7, &made[0][..23]), None);
    }

    #[test]
    fn repetitions_are_counted_within_and_across_consumers() {
        let (mut a, mut b) = (Seen::default(), Seen::default());
        for number in 0..100 {
            assert!(a.note(0, number));
        }
        assert!(a.note(0, 5));
        for number in 90..200 {
            assert!(b.note(0, number));
        }
        assert!(b.note(2, 0));
        a.merge(&b);
        assert_eq!((a.distinct, a.repeated), (201, 11));
        assert!(!a.note(0, u64::MAX));
        assert!(!a.note(u32::MAX, 0));
    }
}
