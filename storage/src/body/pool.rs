//! Buffers of block bodies, used again.
//!
//! Fresh memory costs a page fault for every 4 KiB, which at a gigabyte a second is a tenth of a core. A few large buffers are
//! kept per process; everything else goes back to the allocator, so that an idle broker stays small.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::block::{HEADER_BYTES, PAGE};

/// LIMIT: buffers kept, and the sizes worth keeping.
const KEPT: usize = 4;
const WORTH_KEEPING: std::ops::RangeInclusive<usize> = 128 * 1024..=4 * 1024 * 1024;
/// Up to this length, a body in a larger buffer is copied into a tight one, so that the tail cache does not hold
/// megabytes for kilobytes.
const COPY_UP_TO: usize = 64 * 1024;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A growing buffer that goes back to the pool when the last slice of it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Where the content begins; before it there is room for the header of a block.
    start: usize,
}

impl Buffer {
    /// One that is full: it has no room before its content.
    pub(crate) fn full(bytes: Vec<u8>) -> Self {
        Self { bytes, start: 0 }
    }

    /// One with this content.
    pub(crate) fn holding(content: &[u8]) -> Self {
        let mut buffer = Self::default();
        buffer.open().0.extend_from_slice(content);
        buffer
    }

    /// All bytes, and where the content begins. The first call takes a recycled allocation, and puts the content so that a
    /// header before it begins at a page: what is written past the page cache has to.
    pub(crate) fn open(&mut self) -> (&mut Vec<u8>, usize) {
        if self.start == 0 {
            self.bytes = recycled();
            let page = match self.bytes.capacity() {
                0 => 0,
                _ => self.bytes.as_ptr().align_offset(PAGE as usize),
            };
            self.start = page + HEADER_BYTES;
            self.bytes.resize(self.start, 0);
        }
        (&mut self.bytes, self.start)
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Gives `write` the content with a header before it and zeros behind it, `len` bytes in one piece.
    pub(crate) fn framed<T>(
        &mut self,
        header: &[u8; HEADER_BYTES],
        len: usize,
        write: impl FnOnce(&[u8]) -> T,
    ) -> T {
        let (bytes, start) = self.open();
        let (from, end) = (start - HEADER_BYTES, bytes.len());
        bytes[from..start].copy_from_slice(header);
        bytes.resize(from + len, 0);
        let written = write(&bytes[from..]);
        bytes.truncate(end);
        written
    }

    /// The content, and the memory it keeps alive.
    pub(crate) fn freeze(self) -> (Bytes, usize) {
        let (len, capacity) = (self.len(), self.bytes.capacity());
        if len <= COPY_UP_TO && capacity > 2 * len {
            return (Bytes::copy_from_slice(self.as_ref()), len);
        }
        (Bytes::from_owner(self), capacity)
    }
}

/// An empty allocation, a large one if one is free.
pub(crate) fn recycled() -> Vec<u8> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
}

/// Gives the kept buffers back to the allocator.
pub(crate) fn release() {
    let kept = std::mem::take(&mut *FREE.lock().unwrap_or_else(PoisonError::into_inner));
    drop(kept);
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !WORTH_KEEPING.contains(&self.bytes.capacity()) {
            return;
        }
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut free, std::mem::take(&mut self.bytes));
    }
}

fn keep(free: &mut Vec<Vec<u8>>, mut buffer: Vec<u8>) {
    if free.len() < KEPT {
        buffer.clear();
        free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_body_is_copied_out_of_a_buffer_that_is_more_than_twice_its_length() {
        let memory = |len: usize, capacity: usize| {
            let mut bytes = Vec::with_capacity(capacity);
            bytes.resize(len, 1);
            assert_eq!(bytes.capacity(), capacity);
            let (frozen, memory) = Buffer::full(bytes).freeze();
            assert_eq!(frozen, vec![1; len]);
            memory
        };
        assert_eq!(memory(100, 201), 100);
        assert_eq!(memory(100, 200), 200);
        assert_eq!(memory(COPY_UP_TO, 4 * COPY_UP_TO), COPY_UP_TO);
        assert_eq!(memory(COPY_UP_TO + 1, 4 * COPY_UP_TO), 4 * COPY_UP_TO);
    }

    #[test]
    fn few_buffers_are_kept_and_they_are_empty() {
        let mut free = Vec::new();
        (0..KEPT + 2).for_each(|_| keep(&mut free, vec![1; 10]));
        assert_eq!(free.len(), KEPT);
        assert!(free.iter().all(|buffer| buffer.is_empty() && buffer.capacity() >= 10));
    }
}
