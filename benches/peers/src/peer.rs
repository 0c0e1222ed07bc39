//! What a broker must offer to be compared. One small file per peer implements this; the workloads
//! know nothing else of it.

use crate::counters::Counters;
use crate::server::Launch;
use anyhow::Result;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// A setting that differs from what the peer does when nobody says anything, or that matters enough
/// to be said: for the skeptic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) what: String,
    pub(crate) why: String,
    /// Where the peer's own documentation says so.
    pub(crate) doc: String,
}

impl Setting {
    pub(crate) fn new(what: &str, why: &str, doc: &str) -> Self {
        Self { what: what.into(), why: why.into(), doc: doc.into() }
    }
}

/// Who is measured, and how it was set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// As in the tables: `redis-always`.
    pub(crate) name: String,
    pub(crate) version: String,
    /// What a confirm means, in one line.
    pub(crate) confirm_means: String,
    /// Whether everything confirmed survives a power cut.
    pub(crate) synced: bool,
    pub(crate) client: String,
    pub(crate) settings: Vec<Setting>,
    /// How it was started.
    pub(crate) commands: Vec<String>,
}

/// How messages are handed to the peer's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// One message per call, many calls in flight.
    Single,
    /// Many messages per call, in whatever the peer has for that.
    Batched,
}

/// The queues, or the topic with its groups, of one cell.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) name: String,
    /// Queues; 1 if there are groups.
    pub(crate) queues: usize,
    /// Groups that each get every message; 0 is a plain queue.
    pub(crate) groups: usize,
    /// Consumers that share the work.
    pub(crate) consumers: usize,
    pub(crate) size: usize,
    pub(crate) mode: Mode,
    /// Nothing may wait for company.
    pub(crate) at_once: bool,
    /// Each message waits for the confirm of the one before it.
    pub(crate) alone: bool,
}

impl Scene {
    pub(crate) fn queue(&self, at: usize) -> String {
        format!("{}-{}", self.name, at % self.queues.max(1))
    }

    /// Messages that make a batch of a thousand or of 1 MiB, whichever is less.
    pub(crate) fn batch(&self) -> usize {
        batch(self.size)
    }
}

/// Messages of a batch: a thousand or 1 MiB, whichever is less.
pub(crate) fn batch(size: usize) -> usize {
    ((1 << 20) / size.max(1)).clamp(1, 1_000)
}

/// A broker in one configuration.
pub(crate) trait Peer: Send + Sync + 'static {
    type Publisher: Publisher;
    type Consumer: Consumer;

    fn facts(&self) -> Facts;

    /// Writes its configuration into the scratch directory and tells how to start it there.
    fn launch(&self, dir: &Path) -> Result<Launch>;

    /// One attempt to reach it; an error means: not yet.
    fn reach(&self) -> impl Future<Output = Result<()>> + Send;

    /// Whether it has batches, so that [`Mode::Batched`] means something.
    fn has_batches(&self) -> bool {
        true
    }

    /// The mode for workloads in which publishing is not what is measured.
    fn usual_mode(&self) -> Mode {
        if self.has_batches() { Mode::Batched } else { Mode::Single }
    }

    /// The mode for a thousand queues in turn.
    fn mode_for_many(&self) -> Mode {
        self.usual_mode()
    }

    /// Whether it compiles itself while it runs, so that its first seconds say nothing.
    fn warms_up(&self) -> bool {
        false
    }

    /// Messages that may be unconfirmed.
    fn window(&self, mode: Mode, size: usize) -> usize;

    fn declare(&self, scene: &Scene) -> impl Future<Output = Result<()>> + Send;

    /// Takes away what [`declare`](Peer::declare) made, so that its backlog burdens no later cell.
    fn strike(&self, scene: &Scene) -> impl Future<Output = Result<()>> + Send;

    fn publisher(
        &self,
        scene: &Scene,
        counters: Arc<Counters>,
    ) -> impl Future<Output = Result<Self::Publisher>> + Send;

    /// A consumer on a connection of its own: the `index`th of the queue, or the one of the
    /// `index`th group.
    fn consumer(
        &self,
        scene: &Scene,
        index: usize,
    ) -> impl Future<Output = Result<Self::Consumer>> + Send;
}

/// The publishing end of one connection.
pub(crate) trait Publisher: Send + 'static {
    /// Publishes: the first to queue `turn`, the next to the one after. Waits while the window is
    /// full. Confirms are counted when they come.
    fn publish(&mut self, turn: usize, bodies: &[Bytes])
    -> impl Future<Output = Result<()>> + Send;

    /// Waits until everything is confirmed.
    fn flush(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// The consuming end of one connection.
pub(crate) trait Consumer: Send + 'static {
    /// Waits for messages and takes those that are there; adds the stamp of each.
    fn take(&mut self, stamps: &mut Vec<u64>) -> impl Future<Output = Result<()>> + Send;

    /// Acks what [`take`](Consumer::take) gave, each message on its own.
    fn ack(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Waits until the acks have gone out.
    fn close(self) -> impl Future<Output = Result<()>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_a_thousand_messages_or_one_mebibyte() {
        assert_eq!([10, 100, 1_024, 16_384, 4 << 20].map(batch), [1_000, 1_000, 1_000, 64, 1]);
    }
}
