//! Little-endian fields at fixed places.
//!
//! Readers take a slice that the caller has checked to be long enough for the layout; a place outside it reads as zero, so
//! that no byte from a disk can panic.

/// The `N` bytes at `at`, zero where the slice ends early.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(found) = at.checked_add(N).and_then(|end| bytes.get(at..end)) {
        out.copy_from_slice(found);
    }
    out
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(crate) fn bytes16_at(bytes: &[u8], at: usize) -> [u8; 16] {
    array(bytes, at)
}

/// Puts `field` at `at` of a buffer that the caller has sized for it.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}

/// `value` rounded up to a multiple of `unit`, a power of two.
pub(crate) const fn round_up(value: u64, unit: u64) -> u64 {
    (value + unit - 1) & !(unit - 1)
}

/// A length as the `u32` of the formats. Everything the log keeps in memory is far below 4 GiB.
pub(crate) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("lengths inside the log are bounded below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_past_the_end_gives_zero() {
        assert_eq!(u32_at(&[1, 2, 3], 0), 0);
        assert_eq!(u64_at(&[], usize::MAX), 0);
        assert_eq!(u16_at(&[1, 2, 3], 1), 0x0302);
    }

    #[test]
    fn rounding_up_keeps_multiples() {
        assert_eq!(round_up(0, 512), 0);
        assert_eq!(round_up(1, 512), 512);
        assert_eq!(round_up(512, 512), 512);
    }
}
