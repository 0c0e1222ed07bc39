//! The bodies that are published. The first eight bytes are the nanosecond at which the message was
//! sent, or meant to be sent; the rest is printable and does not repeat soon.

use bytes::{Bytes, BytesMut};

/// Bytes in front of the filler; no body is smaller.
const STAMP_BYTES: usize = 8;

/// Makes bodies of one size.
pub(crate) struct Bodies {
    filler: Vec<u8>,
}

impl Bodies {
    pub(crate) fn new(size: usize) -> Self {
        Self { filler: filler(size.max(STAMP_BYTES)) }
    }

    /// One body per stamp, cut from one allocation.
    pub(crate) fn stamped(&self, stamps: impl Iterator<Item = u64>) -> Vec<Bytes> {
        let mut all = BytesMut::new();
        let mut count = 0;
        for stamp in stamps {
            let start = all.len();
            all.extend_from_slice(&self.filler);
            all[start..start + STAMP_BYTES].copy_from_slice(&stamp.to_le_bytes());
            count += 1;
        }
        let mut rest = all.freeze();
        (0..count).map(|_| rest.split_to(self.filler.len())).collect()
    }

    /// `count` times the same body, for workloads in which nobody reads the stamp.
    pub(crate) fn alike(&self, count: usize) -> Vec<Bytes> {
        vec![Bytes::from(self.filler.clone()); count]
    }
}

fn filler(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"abcdefghijklmnopqrstuvwxyz012345"[(state >> 32) as usize % 32]
    };
    (0..size).map(|_| letter()).collect()
}

/// The stamp of a received body.
pub(crate) fn stamp(body: &[u8]) -> u64 {
    let head = body.get(..STAMP_BYTES).and_then(|head| head.try_into().ok());
    head.map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_from_a_body_of_the_asked_size() {
        let made = Bodies::new(100).stamped([7, 8].into_iter());
        assert_eq!(made.iter().map(Bytes::len).collect::<Vec<_>>(), [100, 100]);
        assert_eq!(made.iter().map(|body| stamp(body)).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(made[0][8..], made[1][8..]);
        assert_eq!(stamp(b"short"), 0);
    }
}
