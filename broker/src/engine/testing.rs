//! What a test does to a broker in its own process: time that is ahead, a disk that is full, and
//! waiting until everything that is due has happened.

use super::core::Core;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// Shared by a broker and its test. A clone is another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ahead_us: AtomicU64,
    is_full: AtomicBool,
}

impl Controls {
    /// Both clocks of the broker jump ahead by `duration`, beside going on as they do.
    pub fn advance(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // LIMIT: a thousand years, so that no sum of times overflows.
        let micros = micros.min(1_000 * 31_536_000_000_000);
        self.shared.ahead_us.fetch_add(micros, Ordering::SeqCst);
    }

    /// How far the broker is ahead of the system's clock.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        Duration::from_micros(self.ahead_us())
    }

    /// The time of the broker.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        SystemTime::now().checked_add(self.ahead()).unwrap_or_else(SystemTime::now)
    }

    /// Whether the broker finds its disk too full for publishes.
    pub fn set_full(&self, is_full: bool) {
        self.shared.is_full.store(is_full, Ordering::SeqCst);
    }

    pub(crate) fn ahead_us(&self) -> u64 {
        self.shared.ahead_us.load(Ordering::SeqCst)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.shared.is_full.load(Ordering::SeqCst)
    }
}

/// Answered when nothing is under way, with the numbers of the connections.
pub(crate) type Settled = oneshot::Sender<Vec<u64>>;

impl Core {
    /// A test may say that the disk is full before it is.
    pub(crate) fn set_controls(&mut self, controls: Controls) {
        self.controls = Some(controls);
    }

    /// The disk is as full as the test says.
    pub(super) fn pretend(&mut self) {
        self.has_space &= !self.controls.as_ref().is_some_and(Controls::is_full);
    }

    pub(super) fn forget_space(&mut self) {
        self.space_checked_ms = None;
    }

    pub(super) fn connections(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }
}
