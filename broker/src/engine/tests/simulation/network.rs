//! Wires between clients and the broker. Bytes move when the world says so, in pieces of any
//! size; a wire can break with bytes under way, or go silent for ever.

use bytes::{Buf, Bytes, BytesMut};
use posthaste_storage::disk::SimDisk;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes the broker may have under way to one client.
const WINDOW: usize = 1 << 20;

/// What the broker has written, in the order it was written, over all wires.
#[derive(Clone, Default)]
pub(super) struct Tap {
    inner: Arc<Mutex<Written>>,
}

#[derive(Default)]
struct Written {
    /// When the present broker was born: in simulated milliseconds, and by its own clock.
    born: Option<(u64, Instant)>,
    list: Vec<(u32, u64, Bytes)>,
}

impl Tap {
    pub(super) fn set_born(&self, at_ms: u64, born: Instant) {
        self.written().born = Some((at_ms, born));
    }

    /// The broker is gone: what its remains do cannot be seen.
    pub(super) fn close(&self) {
        self.written().born = None;
    }

    /// Wire, time and bytes of everything written since the last call; no bytes: the broker has
    /// let go of the wire.
    pub(super) fn take(&self) -> Vec<(u32, u64, Bytes)> {
        std::mem::take(&mut self.written().list)
    }

    fn note(&self, wire: u32, bytes: &[u8]) {
        let mut written = self.written();
        let Some((at_ms, born)) = written.born else { return };
        let since = u64::try_from(born.elapsed().as_millis()).unwrap_or(u64::MAX);
        written.list.push((wire, at_ms + since, Bytes::copy_from_slice(bytes)));
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection. A clone is another handle to it.
#[derive(Clone)]
pub(super) struct Wire {
    number: u32,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Sent by the client, not arrived; arrived, not read.
    leaving: BytesMut,
    arrived: BytesMut,
    /// Written by the broker, not arrived; arrived, not read.
    returning: BytesMut,
    returned: BytesMut,
    client_has_closed: bool,
    broker_has_closed: bool,
    is_broken: bool,
    is_silent: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wire {
    pub(super) fn new(number: u32) -> Wire {
        Wire { number, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The broker's end.
    pub(super) fn broker_end(&self, tap: Tap, disk: SimDisk) -> (BrokerReader, BrokerWriter) {
        let reader = BrokerReader(self.clone(), tap.clone());
        (reader, BrokerWriter { wire: self.clone(), tap, disk })
    }

    /// The client writes.
    pub(super) fn send(&self, bytes: &[u8]) {
        self.state().leaving.extend_from_slice(bytes);
    }

    /// What has arrived at the client.
    pub(super) fn receive(&self, into: &mut BytesMut) {
        let returned = &mut self.state().returned;
        if !returned.is_empty() {
            into.extend_from_slice(returned);
            returned.clear();
        }
    }

    /// The client closes in order: what it sent still arrives.
    pub(super) fn close(&self) {
        self.state().client_has_closed = true;
    }

    /// The connection is gone; what is under way is lost on both sides.
    pub(super) fn cut(&self) {
        let mut state = self.state();
        state.is_broken = true;
        state.leaving.clear();
        state.returning.clear();
        state.wake();
    }

    /// Nothing arrives any more, and nobody is told.
    pub(super) fn silence(&self) {
        self.state().is_silent = true;
    }

    /// What was under way moves again, though its client has given up.
    pub(super) fn haunt(&self) {
        self.state().is_silent = false;
    }

    /// Whether the client can see that it is over: a reset, or the broker's end behind the last byte.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state();
        state.is_broken
            || (state.broker_has_closed && state.returning.is_empty() && !state.is_silent)
    }

    /// Moves up to so many bytes in each direction.
    pub(super) fn carry(&self, there: usize, back: usize) {
        let mut state = self.state();
        if state.is_silent || state.is_broken {
            return;
        }
        let State { leaving, arrived, returning, returned, .. } = &mut *state;
        let (there, back) = (there.min(leaving.len()), back.min(returning.len()));
        if there > 0 {
            arrived.extend_from_slice(&leaving[..there]);
            leaving.advance(there);
        }
        if back > 0 {
            returned.extend_from_slice(&returning[..back]);
            returning.advance(back);
        }
        let has_ended = state.client_has_closed && state.leaving.is_empty();
        if (there > 0 || has_ended)
            && let Some(waker) = state.reader.take()
        {
            waker.wake();
        }
        if back > 0
            && let Some(waker) = state.writer.take()
        {
            waker.wake();
        }
    }
}

impl State {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

pub(super) struct BrokerReader(Wire, Tap);

impl Drop for BrokerReader {
    /// The broker hears nobody here any more.
    fn drop(&mut self) {
        self.1.note(self.0.number, &[]);
    }
}

impl AsyncRead for BrokerReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if state.is_broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = state.arrived.len().min(buffer.remaining());
        if count > 0 {
            buffer.put_slice(&state.arrived[..count]);
            state.arrived.advance(count);
            return Poll::Ready(Ok(()));
        }
        if state.client_has_closed && state.leaving.is_empty() {
            return Poll::Ready(Ok(()));
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

pub(super) struct BrokerWriter {
    wire: Wire,
    tap: Tap,
    disk: SimDisk,
}

impl AsyncWrite for BrokerWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.disk.is_off() {
            // The machine is dead: what runs on in the simulation cannot be seen.
            return Poll::Ready(Ok(bytes.len()));
        }
        let mut state = self.wire.state();
        if state.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(WINDOW.saturating_sub(state.returning.len()));
        if count == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.returning.extend_from_slice(&bytes[..count]);
        self.tap.note(self.wire.number, &bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.state().broker_has_closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for BrokerWriter {
    fn drop(&mut self) {
        self.wire.state().broker_has_closed = true;
    }
}
