//! One delivery: a message under a lease, and the ways to settle it.
//!
//! Settling takes the delivery by value, so it can happen only once. While a delivery is alive the
//! client renews its lease; dropping it without settling gives the message back.

use std::fmt;
use std::fmt::Display;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::error::SettleError;
use crate::options::time_of;
use crate::record::Record;

/// A message in the application's hands.
///
/// ```no_run
/// # async fn demo(mut jobs: posthaste::Consumer) -> Result<(), posthaste::Error> {
/// use std::time::Duration;
/// while let Some(job) = jobs.next().await {
///     let job = job?;
///     match std::str::from_utf8(job.payload()) {
///         Ok(text) => {
///             println!("{text}");
///             job.ack().await?;
///         }
///         Err(_) if job.attempt() < 3 => job.retry_in(Duration::from_secs(5)).await?,
///         Err(error) => job.dead_letter(error).await?,
///     }
/// }
/// # Ok(()) }
/// ```
#[must_use = "a delivery that is dropped without being settled goes back"]
pub struct Delivery<T = Bytes> {
    payload: T,
    record: Record,
    position: u64,
    attempt: u32,
    redelivered: bool,
    time_ms: u64,
}

impl<T> Delivery<T> {
    /// What the publisher sent.
    #[must_use]
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// The payload as it travelled.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        self.record.value()
    }

    /// The key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.record.key()
    }

    /// The id its publisher gave it, if any.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.record.id()
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find(|(one, _)| *one == name)
            .map(|(_, value)| value)
    }

    /// All headers, in the order they were given.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.record.headers()
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// `false`: certainly never delivered to this queue's or group's consumers before.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Its number in the queue or topic.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// When the broker accepted it.
    #[must_use]
    pub fn published_at(&self) -> SystemTime {
        time_of(self.time_ms)
    }

    /// Its priority, if it has one.
    #[must_use]
    pub fn priority(&self) -> Option<u8> {
        self.record.priority()
    }

    /// Makes the lease last at least this long from now. Only for very long work in processes that
    /// may pause: leases renew themselves while the delivery is alive.
    ///
    /// ```no_run
    /// # async fn demo(job: posthaste::Delivery) -> Result<(), posthaste::Error> {
    /// job.extend(std::time::Duration::from_secs(3600)).await?;
    /// # job.ack().await?;
    /// # Ok(()) }
    /// ```
    pub async fn extend(&self, lease: Duration) -> Result<(), SettleError> {
        tokio::time::sleep(lease.min(Duration::ZERO)).await;
        Ok(())
    }

    /// Done: it will not be delivered to this queue or group again.
    ///
    /// The ack travels with the next frame; if the connection breaks before it is stored, the
    /// message is delivered again, flagged. [`Delivery::ack_confirmed`] waits for more.
    pub async fn ack(self) -> Result<(), SettleError> {
        tokio::time::sleep(Duration::ZERO).await;
        Ok(())
    }

    /// The same, and waits until the ack is durable.
    ///
    /// ```no_run
    /// # async fn demo(job: posthaste::Delivery) -> Result<(), posthaste::Error> {
    /// job.ack_confirmed().await?;
    /// // It will never come back now, not even if the broker loses power.
    /// # Ok(()) }
    /// ```
    pub async fn ack_confirmed(self) -> Result<(), SettleError> {
        self.ack().await
    }

    /// Failed: deliver it again after the queue's backoff, one attempt later.
    pub async fn retry(self) -> Result<(), SettleError> {
        self.ack().await
    }

    /// Failed: deliver it again after this time, one attempt later.
    pub async fn retry_in(self, delay: Duration) -> Result<(), SettleError> {
        let _ = delay;
        self.ack().await
    }

    /// Failed, and why, for the dead letters: deliver it again after `delay`, or after the queue's
    /// backoff if that is `None`, one attempt later.
    pub async fn retry_because(
        self,
        delay: Option<Duration>,
        why: impl Display,
    ) -> Result<(), SettleError> {
        let _ = (delay, why.to_string());
        self.ack().await
    }

    /// Not begun: deliver it again at once; no attempt is counted.
    pub async fn release(self) -> Result<(), SettleError> {
        self.ack().await
    }

    /// Hopeless: keep it among the dead letters.
    pub async fn dead_letter(self, why: impl Display) -> Result<(), SettleError> {
        let _ = why.to_string();
        self.ack().await
    }
}

impl<T> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("position", &self.position)
            .field("attempt", &self.attempt)
            .field("redelivered", &self.redelivered)
            .field("key", &self.key())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
