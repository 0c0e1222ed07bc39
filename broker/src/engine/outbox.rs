//! The way from the engine to one connection: bounded, counted in bytes, never waited for.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc};

/// Messages under way to one connection task. One message is one turn of the engine, so a
/// connection that leaves this many untaken has stopped reading.
const MESSAGES_MAX: usize = 1_024;

/// LIMIT: what waits for all clients together, as far as each keeps its least.
const ALL_BYTES_MAX: usize = 512 << 20;
/// LIMIT: what may wait for a client however many there are.
const BYTES_MIN: usize = 128 << 10;

/// What may wait for each client: less, the more there are.
#[derive(Debug)]
pub(crate) struct Allowance {
    bytes_max: usize,
    clients: AtomicUsize,
}

impl Allowance {
    /// At most `bytes_max` for each.
    pub(crate) fn new(bytes_max: usize) -> Arc<Allowance> {
        Arc::new(Allowance { bytes_max, clients: AtomicUsize::new(0) })
    }

    fn bytes_max(&self) -> usize {
        let share = ALL_BYTES_MAX / self.clients.load(Ordering::Relaxed).max(1);
        share.max(BYTES_MIN).min(self.bytes_max)
    }
}

/// Frames for one connection, in order: heads and bodies as separate slices.
pub(crate) type Parts = Vec<Bytes>;

#[derive(Debug)]
struct Shared {
    allowance: Arc<Allowance>,
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
}

/// The writer's end.
#[derive(Debug)]
pub(crate) struct OutboxDrain {
    receiver: mpsc::Receiver<Parts>,
    shared: Arc<Shared>,
}

/// The connection does not take what is sent to it, or is gone.
#[derive(Debug)]
pub(crate) struct Overflow;

pub(crate) fn outbox(allowance: &Arc<Allowance>) -> (Outbox, OutboxDrain) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    allowance.clients.fetch_add(1, Ordering::Relaxed);
    let shared = Arc::new(Shared {
        allowance: Arc::clone(allowance),
        queued: AtomicUsize::new(0),
        is_blocked: AtomicBool::new(false),
        is_abandoned: AtomicBool::new(false),
        drained: Notify::new(),
    });
    let outbox = Outbox { sender, shared: Arc::clone(&shared) };
    (outbox, OutboxDrain { receiver, shared })
}

impl Drop for OutboxDrain {
    fn drop(&mut self) {
        self.shared.allowance.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn bytes_max(&self) -> usize {
        self.allowance.bytes_max()
    }
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
        if self.shared.queued.load(Ordering::SeqCst) <= self.shared.bytes_max() {
            return false;
        }
        self.shared.is_blocked.store(true, Ordering::SeqCst);
        // ORDER: the flag first, then a second look, or the writer may drain in between and
        // nobody would be told.
        if self.shared.queued.load(Ordering::SeqCst) <= self.shared.bytes_max() / 2 {
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
        self.shared.queued.load(Ordering::SeqCst) + more > self.shared.bytes_max()
    }

    /// Waits until the peer has taken enough of what it asked for.
    pub(crate) async fn room(&self) {
        while self.shared.queued.load(Ordering::SeqCst) > self.shared.bytes_max() {
            let notified = self.shared.drained.notified();
            if self.shared.queued.load(Ordering::SeqCst) <= self.shared.bytes_max() {
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
        if before - bytes > self.shared.bytes_max() / 2 {
            return false;
        }
        self.shared.drained.notify_waiters();
        self.shared.is_blocked.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn p29_what_waits_for_each_client_shrinks_with_their_number() {
        let allowance = Allowance::new(8 << 20);
        let (first, mut drain) = outbox(&allowance);
        let frame = || vec![Bytes::from(vec![0; 1 << 20])];
        for _ in 0..8 {
            first.send(frame()).unwrap();
        }
        assert!(!first.is_blocked(), "alone it may have all of its own");
        let others: Vec<_> = (0..1_000).map(|_| outbox(&allowance)).collect();
        assert!(first.is_blocked() && first.is_crowded(0), "eight are too much beside a thousand");
        while let Some(parts) = drain.try_next() {
            drain.written(parts.iter().map(Bytes::len).sum());
        }
        assert!(!first.is_blocked(), "what was taken is forgotten");
        first.send(frame()).unwrap();
        drop(others);
        assert!(!first.is_blocked(), "and so are those who left");
    }
}
