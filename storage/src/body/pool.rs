//! Buffers of block bodies, used again.
//!
//! Fresh memory costs a page fault for every 4 KiB, which at a gigabyte a second is a tenth of a core. A few large buffers are
//! kept per process; everything else goes back to the allocator, so that an idle broker stays small.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// LIMIT: buffers kept, and the sizes worth keeping.
const KEPT: usize = 4;
const WORTH_KEEPING: std::ops::RangeInclusive<usize> = 128 * 1024..=4 * 1024 * 1024;
/// Up to this length, a body in a larger buffer is copied into a tight one, so that the tail cache does not hold
/// megabytes for kilobytes.
const COPY_UP_TO: usize = 64 * 1024;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A growing buffer that goes back to the pool when the last slice of it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// The bytes, in a recycled allocation if nothing was written yet.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.0.capacity() == 0 {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            self.0 = free.pop().unwrap_or_default();
        }
        &mut self.0
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The bytes, and the memory they keep alive.
    pub(crate) fn freeze(self) -> (Bytes, usize) {
        let (len, capacity) = (self.0.len(), self.0.capacity());
        if len <= COPY_UP_TO && capacity > 2 * len {
            return (Bytes::copy_from_slice(&self.0), len);
        }
        (Bytes::from_owner(self), capacity)
    }
}

/// Gives the kept buffers back to the allocator.
pub(crate) fn release() {
    let kept = std::mem::take(&mut *FREE.lock().unwrap_or_else(PoisonError::into_inner));
    drop(kept);
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !WORTH_KEEPING.contains(&self.0.capacity()) {
            return;
        }
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut free, std::mem::take(&mut self.0));
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
            let (frozen, memory) = Buffer(bytes).freeze();
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
