//! SipHash-2-4 with 128 bits of output: what a message id is remembered by.
//!
//! Keyed, so that nobody who does not know the key can find two ids with one hash. By J.-P. Aumasson and
//! D. J. Bernstein; the bytes of the output are read as one little-endian number.

/// The hash of `bytes` under `key`.
pub(crate) fn siphash128(key: [u8; 16], bytes: &[u8]) -> u128 {
    let key = u128::from_le_bytes(key);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the key")]
    let (k0, k1) = (key as u64, (key >> 64) as u64);
    let mut state = State([
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.absorb(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    if let Some(head) = last.get_mut(..rest.len()) {
        head.copy_from_slice(rest);
    }
    state.absorb(u64::from_le_bytes(last) | (bytes.len() as u64) << 56);
    state.0[2] ^= 0xee;
    let low = state.squeeze();
    state.0[1] ^= 0xdd;
    u128::from(low) | u128::from(state.squeeze()) << 64
}

struct State([u64; 4]);

impl State {
    #[inline]
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.round();
        self.0[0] ^= word;
    }

    fn squeeze(&mut self) -> u64 {
        (0..4).for_each(|_| self.round());
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }

    #[inline]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_its_authors() {
        let key: [u8; 16] = std::array::from_fn(|at| at as u8);
        let empty = 0x9302_55c7_1472_f66d_e6a8_25ba_047f_81a3;
        assert_eq!(siphash128(key, &[]), empty);
        let zero = 0x45fc_229b_1159_7634_44af_996b_d8c1_87da;
        assert_eq!(siphash128(key, &[0]), zero);
    }

    #[test]
    fn every_byte_and_the_key_count() {
        let id = b"order-7-from-the-shop";
        let hash = siphash128([7; 16], id);
        assert_ne!(hash, siphash128([8; 16], id));
        for at in 0..id.len() {
            let mut other = *id;
            other[at] ^= 1;
            assert_ne!(hash, siphash128([7; 16], &other));
            assert_ne!(hash, siphash128([7; 16], &id[..at]));
        }
    }
}
