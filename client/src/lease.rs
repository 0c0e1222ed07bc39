//! The right to settle a message, once, and the guard that keeps it longer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthaste_protocol::request::{Held, Outcome};

use crate::client::Client;
use crate::consumer::Leasing;
use crate::core::{Core, LeaseKey, Subscription};
use crate::error::Failed;

/// One message's lease. The end of it without a settle gives the message back.
pub(crate) struct Lease {
    leasing: Arc<Leasing>,
    key: LeaseKey,
    is_settled: AtomicBool,
}

impl Lease {
    #[inline]
    pub(crate) fn new(leasing: Arc<Leasing>, key: LeaseKey) -> Self {
        Self { leasing, key, is_settled: AtomicBool::new(false) }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.leasing.client
    }

    /// Settles it; what was settled before answers that the lease is not held any more.
    pub(crate) fn settle(&self, outcome: Outcome) -> Result<(), Failed> {
        self.is_settled.store(true, Ordering::Relaxed);
        self.leasing.subscription.settle(self.key, outcome)
    }

    pub(crate) async fn settle_confirmed(&self, outcome: Outcome) -> Result<(), Failed> {
        self.is_settled.store(true, Ordering::Relaxed);
        let durable = self.leasing.subscription.settle_confirmed(self.key, outcome)?;
        self.leasing.subscription.answered(durable).await
    }

    /// Where it is held, as long as it is and this is a client of `core`.
    pub(crate) fn held(&self, core: &Arc<Core>) -> Result<(u16, Held), Failed> {
        self.leasing.subscription.place_of(core, self.key)
    }

    /// The broker has settled it together with others.
    pub(crate) fn settled_elsewhere(self) {
        self.is_settled.store(true, Ordering::Relaxed);
        self.leasing.subscription.settled_elsewhere(self.key);
    }

    pub(crate) async fn extend(&self, lease: Duration) -> Result<(), Failed> {
        self.leasing.subscription.extend(self.key, lease).await
    }

    pub(crate) fn hold(&self) -> LeaseGuard {
        let subscription = Arc::clone(&self.leasing.subscription);
        let offset = subscription.hold(self.key);
        LeaseGuard { subscription, key: self.key, offset }
    }
}

impl Drop for Lease {
    /// It was begun, so it counts as an attempt: a message that makes its consumers panic ends
    /// among the dead letters instead of going round for ever.
    fn drop(&mut self) {
        if *self.is_settled.get_mut() {
            return;
        }
        let reason = "dropped without being settled".to_owned();
        let outcome = Outcome::Retry { delay_ms: Some(0), reason };
        // A failure means that the message went back already.
        if self.leasing.subscription.settle(self.key, outcome).is_ok() {
            let name = &self.leasing.subscription.terms.name;
            tracing::warn!(%name, "a delivery was dropped without being settled; it goes back");
        }
    }
}

/// Keeps one lease renewed while it lives; see [`Delivery::hold`](crate::Delivery::hold).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
/// # let mut jobs = client.queue("orders").consume().await?;
/// # let Some(Ok(job)) = jobs.next().await else { panic!("a job") };
/// let guard: posthaste::LeaseGuard = job.hold();
/// drop(guard); // from here on the consumer's own rule holds again
/// # job.ack().await?;
/// # Ok(()) }
/// ```
#[must_use = "the lease is held only while the guard lives"]
pub struct LeaseGuard {
    subscription: Arc<Subscription>,
    key: LeaseKey,
    /// None: the lease was lost before.
    offset: Option<u64>,
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if let Some(offset) = self.offset {
            self.subscription.unhold(self.key, offset);
        }
    }
}

impl fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseGuard").field("position", &self.offset).finish_non_exhaustive()
    }
}
