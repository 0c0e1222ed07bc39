//! Bytes on their way out: everything that is queued leaves in one vectored write.
//!
//! Small pieces are copied next to each other; a large batch keeps its own buffer and is written
//! from where it lies.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Batches below this are cheaper to copy than to write from their place.
const COPY_BYTES_MAX: usize = 4 << 10;
/// Slices handed to the system in one call.
const SLICES_MAX: usize = 64;
/// The open buffer is closed beyond this, so that a written one can be given back early.
const OPEN_BYTES: usize = 64 << 10;

/// What was encoded and not written yet, in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    closed: VecDeque<Bytes>,
    open: BytesMut,
    bytes: usize,
    is_flushed: bool,
}

impl Outbox {
    /// Encodes into the buffer.
    pub(crate) fn encode(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        let before = self.open.len();
        encode(&mut self.open);
        self.bytes += self.open.len() - before;
        if self.open.len() >= OPEN_BYTES {
            self.close();
        }
    }

    /// Appends a batch behind its head.
    pub(crate) fn append(&mut self, batch: Bytes) {
        self.bytes += batch.len();
        if batch.len() <= COPY_BYTES_MAX {
            self.open.extend_from_slice(&batch);
            return;
        }
        self.close();
        self.closed.push_back(batch);
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.closed.push_back(self.open.split().freeze());
        }
    }

    /// Bytes that were not written yet.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Nothing to write and nothing to flush.
    pub(crate) fn is_idle(&self) -> bool {
        self.bytes == 0 && self.is_flushed
    }

    /// Makes some progress: one write, or the flush behind the last one.
    ///
    /// *Cancel safety*: nothing is lost and nothing is written twice.
    pub(crate) async fn progress<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_progress(writer, cx)).await
    }

    fn poll_progress<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes == 0 {
            let flushed = Pin::new(writer).poll_flush(cx);
            self.is_flushed = matches!(flushed, Poll::Ready(Ok(())));
            return flushed;
        }
        self.close();
        self.is_flushed = false;
        let written = {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut used = 0;
            for (slice, bytes) in slices.iter_mut().zip(&self.closed) {
                *slice = IoSlice::new(bytes);
                used += 1;
            }
            let slices = slices.get(..used).unwrap_or_default();
            match Pin::new(writer).poll_write_vectored(cx, slices) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        };
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.closed.front_mut().filter(|_| written > 0) {
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.closed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn everything_arrives_in_order_through_a_narrow_pipe() {
        let (mut near, mut far) = tokio::io::duplex(1_000);
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for round in 0..200u32 {
            let head = round.to_le_bytes();
            outbox.encode(|out| out.extend_from_slice(&head));
            let body = vec![round as u8; (round as usize * 97) % 9_000];
            outbox.append(Bytes::from(body.clone()));
            expected.extend_from_slice(&head);
            expected.extend_from_slice(&body);
        }
        assert_eq!(outbox.len(), expected.len());
        let reading = tokio::spawn(async move {
            let mut got = vec![0; expected.len()];
            far.read_exact(&mut got).await.unwrap();
            got == expected
        });
        while !outbox.is_idle() {
            outbox.progress(&mut near).await.unwrap();
        }
        assert!(reading.await.unwrap());
    }
}
