//! One delivery: a message under a lease, and the ways to settle it.
//!
//! Settling takes the delivery by value, so it can happen only once. While a delivery is alive the
//! client renews its lease; dropping it without settling gives the message back.

use std::fmt;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use posthaste_protocol::limits::DELAY_MS_MAX;
use posthaste_protocol::request::Outcome;

use crate::client::Client;
use crate::consumer::Leasing;
use crate::core::bounded_reason;
use crate::cursor::Message;
use crate::envelope::Envelope;
use crate::error::SettleError;
use crate::lease::{Lease, LeaseGuard};
use crate::options::{time_of, whole_ms};
use crate::trace_context::TraceContext;

/// A message in the application's hands.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
/// # let mut jobs = client.queue("orders").consume().await?;
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
/// # break;
/// }
/// # Ok(()) }
/// ```
#[must_use = "a delivery that is dropped without being settled goes back"]
pub struct Delivery<T = Bytes> {
    payload: T,
    envelope: Envelope,
    position: u64,
    time_ms: u64,
    attempt: u32,
    redelivered: bool,
    epoch: u64,
    lease: Lease,
}

impl<T> Delivery<T> {
    #[inline]
    pub(crate) fn new(payload: T, message: Message, leasing: Arc<Leasing>) -> Self {
        let Message { envelope, key, position, attempt, redelivered, time_ms, epoch } = message;
        let lease = Lease::new(leasing, key);
        Self { payload, envelope, position, time_ms, attempt, redelivered, epoch, lease }
    }

    /// What the publisher sent.
    #[must_use]
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// The payload as it travelled.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        self.envelope.value()
    }

    /// The key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.envelope.key()
    }

    /// The id its publisher gave it, if any.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.envelope.id()
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(one, _)| *one == name).map(|(_, value)| value)
    }

    /// All headers, in the order they were given.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.envelope.headers()
    }

    /// The trace it belongs to, if its headers name one that can be read.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::of(self.headers())
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

    /// A number for stores that must not believe a consumer whose lease is over: it grows with every lease of the queue or
    /// group, also across restarts of the broker, and no two consumers ever have the same. Keep the largest one next to
    /// what is changed (per message key, or per row), and refuse a change that comes with a smaller one.
    ///
    /// The broker itself goes by the same number: it refuses to settle under any but the present lease. Messages that
    /// came together may share theirs.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// # let mut jobs = client.queue("orders").consume().await?;
    /// # let Some(Ok(job)) = jobs.next().await else { panic!("a job") };
    /// let stored = 0; // SELECT fence FROM accounts WHERE id = ...
    /// assert!(job.fencing_token() > stored, "somebody else has taken over");
    /// # job.ack().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.epoch
    }

    /// When the broker accepted it.
    #[must_use]
    pub fn published_at(&self) -> SystemTime {
        time_of(self.time_ms)
    }

    /// Its priority, if it has one.
    #[must_use]
    pub fn priority(&self) -> Option<u8> {
        self.envelope.priority()
    }

    /// Makes the lease last at least this long from now. Only for very long work in processes that
    /// may pause: leases renew themselves while the delivery is alive.
    ///
    /// No extension goes beyond the longest hold of the queue or group ([`ErrorKind::HoldLimit`]): then the lease lasts
    /// until that, and the message goes back if it is not settled.
    ///
    /// [`ErrorKind::HoldLimit`]: crate::ErrorKind::HoldLimit
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// # let mut jobs = client.queue("orders").consume().await?;
    /// # let Some(Ok(job)) = jobs.next().await else { panic!("a job") };
    /// job.extend(std::time::Duration::from_secs(3600)).await?;
    /// # job.ack().await?;
    /// # Ok(()) }
    /// ```
    pub async fn extend(&self, lease: Duration) -> Result<(), SettleError> {
        Ok(self.lease.extend(lease).await?)
    }

    /// Keeps the lease renewed for as long as the guard lives, also after the consumer's
    /// [`renew_for`](crate::Consume::renew_for) has passed. Without that option leases are renewed
    /// all the time, and the guard changes nothing. Settling ends the lease, guard or not.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// use std::time::Duration;
    /// let minute = Duration::from_secs(60);
    /// let mut jobs = client.queue("orders").consume().renew_for(minute).await?;
    /// # let Some(Ok(job)) = jobs.next().await else { panic!("a job") };
    /// let guard = job.hold(); // this one may take hours
    /// job.ack().await?;
    /// # drop(guard);
    /// # Ok(()) }
    /// ```
    pub fn hold(&self) -> LeaseGuard {
        self.lease.hold()
    }

    /// The payload by value, and the rest of the delivery, which still has to be settled.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// # let mut jobs = client.queue("orders").consume().await?;
    /// # let Some(Ok(job)) = jobs.next().await else { panic!("a job") };
    /// let (body, job) = job.into_parts();
    /// println!("attempt {} of {body:?}", job.attempt());
    /// job.ack().await?;
    /// # Ok(()) }
    /// ```
    pub fn into_parts(self) -> (T, Delivery<()>) {
        let Self { payload, envelope, position, time_ms, attempt, redelivered, epoch, lease } =
            self;
        let rest = Delivery {
            payload: (),
            envelope,
            position,
            time_ms,
            attempt,
            redelivered,
            epoch,
            lease,
        };
        (payload, rest)
    }

    /// The client that it came through.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.lease.client()
    }

    /// Done: it will not be delivered to this queue or group again.
    ///
    /// The ack travels with the next frame; if the connection breaks before it is stored, the
    /// message is delivered again, flagged. [`Delivery::ack_confirmed`] waits for more.
    pub async fn ack(self) -> Result<(), SettleError> {
        self.settle(Outcome::Ack)
    }

    /// The same, and waits until the ack is durable.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// # let mut jobs = client.queue("orders").consume().await?;
    /// # let Some(Ok(job)) = jobs.next().await else { panic!("a job") };
    /// job.ack_confirmed().await?;
    /// // It will never come back now, not even if the broker loses power.
    /// # Ok(()) }
    /// ```
    pub async fn ack_confirmed(self) -> Result<(), SettleError> {
        Ok(self.lease.settle_confirmed(Outcome::Ack).await?)
    }

    /// Failed: deliver it again after the queue's backoff, one attempt later.
    pub async fn retry(self) -> Result<(), SettleError> {
        self.settle(Outcome::Retry { delay_ms: None, reason: String::new() })
    }

    /// Failed: deliver it again after this time, one attempt later.
    pub async fn retry_in(self, delay: Duration) -> Result<(), SettleError> {
        let delay_ms = Some(whole_ms(delay).min(DELAY_MS_MAX));
        self.settle(Outcome::Retry { delay_ms, reason: String::new() })
    }

    /// Failed, and why, for the dead letters: deliver it again after `delay`, or after the queue's
    /// backoff if that is `None`, one attempt later.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// # let mut jobs = client.queue("orders").consume().await?;
    /// # let Some(Ok(job)) = jobs.next().await else { panic!("a job") };
    /// job.retry_because(None, "the shop does not answer").await?;
    /// # Ok(()) }
    /// ```
    pub async fn retry_because(
        self,
        delay: Option<Duration>,
        why: impl Display,
    ) -> Result<(), SettleError> {
        let delay_ms = delay.map(|delay| whole_ms(delay).min(DELAY_MS_MAX));
        self.settle(Outcome::Retry { delay_ms, reason: bounded_reason(why.to_string()) })
    }

    /// Not begun: deliver it again at once; no attempt is counted.
    pub async fn release(self) -> Result<(), SettleError> {
        self.settle(Outcome::Release)
    }

    /// Hopeless: keep it among the dead letters.
    pub async fn dead_letter(self, why: impl Display) -> Result<(), SettleError> {
        self.settle(Outcome::DeadLetter { reason: bounded_reason(why.to_string()) })
    }

    fn settle(self, outcome: Outcome) -> Result<(), SettleError> {
        Ok(self.lease.settle(outcome)?)
    }

    /// To be settled with others.
    pub(crate) fn into_lease(self) -> Lease {
        self.lease
    }

    /// For settling it while others look at it.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
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
