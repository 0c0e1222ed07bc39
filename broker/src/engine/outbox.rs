//! The way from the engine to one connection: bounded, counted in bytes, never waited for.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc};

/// Messages under way to one connection task. One message is one turn of the engine, so a
/// connection that leaves this many untaken has stopped reading.
const MESSAGES_MAX: usize = 1_024;

/// Frames for one connection, in order: heads and bodies as separate slices.
pub(crate) type Parts = Vec<Bytes>;

#[derive(Debug, Default)]
struct Shared {
    queued: AtomicUsize,
    is_blocked: AtomicBool,
    is_abandoned: AtomicBool,
    drained: Notify,
}

/// The engine's (and the reader's) end.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    sender: mpsc::Sender<Parts>,
    shared: Arc<Shared>,
    bytes_max: usize,
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct OutboxDrain {
    receiver: mpsc::Receiver<Parts>,
    shared: Arc<Shared>,
    bytes_max: usize,
}

/// The connection does not take what is sent to it, or is gone.
#[derive(Debug)]
pub(crate) struct Overflow;

pub(crate) fn outbox(bytes_max: usize) -> (Outbox, OutboxDrain) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let shared = Arc::new(Shared::default());
    let outbox = Outbox { sender, shared: Arc::clone(&shared), bytes_max };
    (outbox, OutboxDrain { receiver, shared, bytes_max })
}

impl Outbox {
    /// Queues frames without waiting.
    pub(crate) fn send(&self, parts: Parts) -> Result<(), Overflow> {
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        self.shared.queued.fetch_add(bytes, Ordering::SeqCst);
        self.sender.try_send(parts).map_err(|_full_or_closed| Overflow)
    }

    /// Whether deliveries should pause; if so the writer will report once it has drained.
    pub(crate) fn is_blocked(&self) -> bool {
        if self.shared.queued.load(Ordering::SeqCst) <= self.bytes_max {
            return false;
        }
        self.shared.is_blocked.store(true, Ordering::SeqCst);
        // ORDER: the flag first, then a second look, or the writer may drain in between and
        // nobody would be told.
        if self.shared.queued.load(Ordering::SeqCst) <= self.bytes_max / 2 {
            self.shared.is_blocked.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// Something could not be queued, so nothing behind it may be sent: the writer will end.
    pub(crate) fn abandon(&self) {
        self.shared.is_abandoned.store(true, Ordering::SeqCst);
    }

    /// Whether more answers should be refused rather than queued, counting `more` bytes.
    pub(crate) fn is_crowded(&self, more: usize) -> bool {
        self.shared.queued.load(Ordering::SeqCst) + more > self.bytes_max
    }

    /// Waits until the peer has taken enough of what it asked for.
    pub(crate) async fn room(&self) {
        while self.shared.queued.load(Ordering::SeqCst) > self.bytes_max {
            let notified = self.shared.drained.notified();
            if self.shared.queued.load(Ordering::SeqCst) <= self.bytes_max {
                return;
            }
            notified.await;
        }
    }
}

impl OutboxDrain {
    pub(crate) async fn next(&mut self) -> Option<Parts> {
        self.receiver.recv().await
    }

    pub(crate) fn try_next(&mut self) -> Option<Parts> {
        self.receiver.try_recv().ok()
    }

    /// Frames are missing from the queue; the connection cannot go on.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.shared.is_abandoned.load(Ordering::SeqCst)
    }

    /// Counts bytes as written; `true` when the engine waits to hear that there is room again.
    pub(crate) fn written(&self, bytes: usize) -> bool {
        let before = self.shared.queued.fetch_sub(bytes, Ordering::SeqCst);
        if before - bytes > self.bytes_max / 2 {
            return false;
        }
        self.shared.drained.notify_waiters();
        self.shared.is_blocked.swap(false, Ordering::SeqCst)
    }
}
