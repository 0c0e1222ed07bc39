//! The broker on a simulated disk, with a clock that a test advances. The crate `posthaste-testing` is made of it.

use crate::config::Config;
use crate::embedded::pipe;
use crate::engine::input::Input;
use crate::running::{Ground, Running, StartError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::DuplexStream;
use tokio::sync::oneshot;

pub use crate::engine::testing::Controls;
pub use posthaste_storage::disk::SimDisk;
pub use posthaste_storage::disk::sim::{Call, Keep, Op};

/// Between two looks of a sync that takes its time.
const LOOK: Duration = Duration::from_millis(1);

/// A broker in this process that can be watched and ended by a test.
#[derive(Debug)]
pub struct TestEmbedded {
    running: Running,
}

impl TestEmbedded {
    /// Starts on what the disk holds.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(disk: SimDisk, controls: Controls) -> Result<TestEmbedded, StartError> {
        let mut config = Config { in_memory: true, ..Config::default() };
        // One thread less, and no work behind the back of a test.
        config.storage.background = false;
        let ground = Ground::of_test(disk, controls);
        Ok(TestEmbedded { running: Running::start_on(ground, &config, None).await? })
    }

    /// A new connection, as a client sees it.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        pipe(&self.running.door)
    }

    /// Waits until nothing is due and nothing is under way; gives the numbers of the connections.
    /// `None`: the broker has stopped.
    pub fn settle(&self) -> impl Future<Output = Option<Vec<u64>>> + Send + use<> {
        let sender = self.running.sender();
        async move {
            let (settled, is_settled) = oneshot::channel();
            sender.send(Input::Settle(settled)).await.ok()?;
            is_settled.await.ok()
        }
    }

    /// The end of the process: nothing is said and nothing more is written.
    pub fn abort(&self) {
        self.running.abort();
    }
}

/// What a disk that is slow does before a sync, until it is fast or over.
pub fn linger(call: Call<'_>, delay_ms: &AtomicU64, is_over: &AtomicBool) {
    let begun = Instant::now();
    let delay = || Duration::from_millis(delay_ms.load(Ordering::SeqCst));
    while call.op == Op::Sync && begun.elapsed() < delay() && !is_over.load(Ordering::SeqCst) {
        std::thread::sleep(LOOK);
    }
}
