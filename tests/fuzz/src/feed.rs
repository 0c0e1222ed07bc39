//! Made-up bytes as choices: numbers that like the edges, and pieces.

/// The rest of an input.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    rest: &'a [u8],
}

impl<'a> Feed<'a> {
    /// Over a whole input.
    #[must_use]
    pub fn new(rest: &'a [u8]) -> Feed<'a> {
        Feed { rest }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte; zero behind the end.
    pub fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *byte
    }

    /// The next bytes, at most as many as there are.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// One of `count`.
    pub fn below(&mut self, count: u8) -> u8 {
        self.byte() % count.max(1)
    }

    /// A number: mostly a small one, sometimes an edge, sometimes any.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..200 => u64::from(small % 50),
            200..210 => u64::MAX,
            210..216 => u64::MAX - u64::from(self.byte()),
            216..222 => u64::from(u32::MAX),
            222..228 => 1 << (self.byte() % 64),
            228..236 => u64::from(self.byte()) * 256 + u64::from(self.byte()),
            _ => {
                let mut bytes = [0; 8];
                let taken = self.take(8);
                bytes[..taken.len()].copy_from_slice(taken);
                u64::from_le_bytes(bytes)
            }
        }
    }

    /// [`Feed::number`] in 32 bits.
    pub fn number32(&mut self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }
}
