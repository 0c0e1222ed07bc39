//! What may wait for a disk, beside the loop: the log thread, reads and checkpoints.
//!
//! The simulation does the same work in step with simulated time, on the loop's own thread.

use super::input::Input;
use super::run::EngineError;
use posthaste_storage::writer::{CommitHandle, Refused};
use posthaste_storage::{Block, Body, LogWriter, StorageError};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Called once for every body taken, in order.
pub(crate) type OnDone = Box<dyn FnMut(Result<Arc<Block>, StorageError>) + Send>;

/// See the module.
#[derive(Debug)]
pub(crate) enum Backstage {
    /// A log thread, and the runtime's threads for everything else.
    Threads(CommitHandle),
    #[cfg(test)]
    Simulated(super::tests::simulation::Stagehand),
}

impl Backstage {
    /// *Errors*: the system has no thread left.
    pub(crate) fn threads(writer: LogWriter, on_done: OnDone) -> std::io::Result<Backstage> {
        posthaste_storage::writer::spawn(writer, on_done).map(Backstage::Threads)
    }

    /// Hands a body to the log. Never waits.
    pub(super) fn submit(&self, time_ms: u64, body: Body) -> Result<(), Refused> {
        match self {
            Backstage::Threads(commits) => commits.submit(time_ms, body),
            #[cfg(test)]
            Backstage::Simulated(hand) => hand.submit(time_ms, body),
        }
    }

    /// Does the work and sends what comes of it to the engine.
    pub(super) fn start(
        &self,
        sender: &mpsc::Sender<Input>,
        work: impl FnOnce() -> Input + Send + 'static,
    ) {
        let sender = sender.clone();
        match self {
            Backstage::Threads(_) => {
                tokio::task::spawn_blocking(move || {
                    // A broker that has stopped meanwhile needs no answer.
                    drop(sender.blocking_send(work()));
                });
            }
            #[cfg(test)]
            Backstage::Simulated(hand) => hand.start(sender, work),
        }
    }

    /// Does the last work, seals the log and ends.
    pub(super) async fn seal(
        self,
        work: impl FnOnce() -> Result<(), StorageError> + Send + 'static,
    ) -> Result<(), EngineError> {
        match self {
            Backstage::Threads(commits) => {
                let sealed = tokio::task::spawn_blocking(move || {
                    work()?;
                    commits.shutdown()
                });
                match sealed.await {
                    Ok(result) => result.map_err(EngineError::Log),
                    Err(panicked) => Err(EngineError::Apply(panicked.to_string())),
                }
            }
            #[cfg(test)]
            Backstage::Simulated(hand) => hand.seal(work).await.map_err(EngineError::Log),
        }
    }
}
