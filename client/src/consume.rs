//! Opening a consumer: a builder that becomes one when awaited.

use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use bytes::Bytes;
use posthaste_protocol::destination_seed;
use posthaste_protocol::limits::CREDIT_MESSAGES_MAX;

use crate::client::Client;
use crate::codec::Codec;
use crate::consumer::Consumer;
use crate::core::Terms;
use crate::declare::BoxFuture;
use crate::error::{ConsumeError, Failed};
use crate::options::{Start, Undecodable, whole_ms_u32};
use crate::place::{GroupPlace, Place};

/// Opens a [`Consumer`]; see [`Queue::consume`](crate::Queue::consume) and
/// [`Group::consume`](crate::Group::consume).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// use std::time::Duration;
/// let jobs = client
///     .queue("orders")
///     .consume()
///     .prefetch(16)
///     .prefetch_bytes(1 << 20)
///     .lease(Duration::from_secs(60))
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is consumed until this is awaited"]
pub struct Consume<T = Bytes> {
    place: Place,
    group: Option<GroupPlace>,
    start: Start,
    codec: Codec<T>,
    prefetch: u32,
    prefetch_bytes: usize,
    limit: Option<u64>,
    lease: Option<Duration>,
    renew_for: Option<Duration>,
    undecodable: Undecodable,
}

impl<T> Consume<T> {
    pub(crate) fn new(
        place: Place,
        group: Option<GroupPlace>,
        start: Start,
        codec: Codec<T>,
    ) -> Self {
        Self {
            place,
            group,
            start,
            codec,
            prefetch: 64,
            prefetch_bytes: 8 << 20,
            limit: None,
            lease: None,
            renew_for: None,
            undecodable: Undecodable::default(),
        }
    }

    /// Messages that may wait in this process for the application. The default is 64.
    pub fn prefetch(mut self, messages: u32) -> Self {
        self.prefetch = messages;
        self
    }

    /// Bytes that may wait in this process for the application. The default is 8 MiB.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// Ends the stream after so many deliveries, and never takes more than that from the broker: what it does not
    /// deliver stays untouched for others, without the redelivered flag. The default is no limit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// let mut jobs = client.queue("orders").consume().limit(1).await?;
    /// while let Some(job) = jobs.next().await {
    ///     job?.ack().await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn limit(mut self, messages: u64) -> Self {
        self.limit = Some(messages);
        self
    }

    /// The lease of this consumer's deliveries. The default is the setting of the queue or group.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long the lease of a delivery is renewed by itself, from the moment that the application
    /// took it: what takes longer goes back when its last lease runs out, unless it is
    /// [held](crate::Delivery::hold). Zero renews nothing that was taken. The default is no limit.
    /// Renewals come once in a third of a lease, so it ends up to that much earlier.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// use std::time::Duration;
    /// // A consumer that hangs loses its message after ten minutes, and another one gets it.
    /// let jobs = client.queue("orders").consume().renew_for(Duration::from_secs(600)).await?;
    /// # Ok(()) }
    /// ```
    pub fn renew_for(mut self, limit: Duration) -> Self {
        self.renew_for = Some(limit);
        self
    }

    /// What becomes of messages whose payload cannot be read.
    pub fn undecodable(mut self, undecodable: Undecodable) -> Self {
        self.undecodable = undecodable;
        self
    }
}

impl<T> Clone for Consume<T> {
    fn clone(&self) -> Self {
        Self {
            place: self.place.clone(),
            group: self.group.clone(),
            start: self.start,
            codec: self.codec,
            prefetch: self.prefetch,
            prefetch_bytes: self.prefetch_bytes,
            limit: self.limit,
            lease: self.lease,
            renew_for: self.renew_for,
            undecodable: self.undecodable,
        }
    }
}

impl<T> fmt::Debug for Consume<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consume")
            .field("from", &self.place)
            .field("group", &self.group)
            .field("start", &self.start)
            .field("prefetch", &self.prefetch)
            .field("prefetch_bytes", &self.prefetch_bytes)
            .field("limit", &self.limit)
            .field("lease", &self.lease)
            .field("renew_for", &self.renew_for)
            .field("undecodable", &self.undecodable)
            .finish_non_exhaustive()
    }
}

impl<T> Consume<T> {
    pub(crate) fn client(&self) -> &Client {
        self.place.client()
    }

    /// Messages and bytes that may wait.
    pub(crate) fn room(&self) -> (usize, usize) {
        (self.prefetch.clamp(1, CREDIT_MESSAGES_MAX) as usize, self.prefetch_bytes.max(1))
    }

    fn terms(&self) -> Result<Terms, Failed> {
        let name = self.place.checked()?.clone();
        Ok(Terms {
            seed: destination_seed(&name),
            name,
            group: self.group.as_ref().map(GroupPlace::checked).transpose()?.cloned(),
            start: self.start.to_wire(),
            lease_ms: self.lease.map(whole_ms_u32),
            prefetch: self.prefetch.clamp(1, CREDIT_MESSAGES_MAX),
            limit: self.limit,
            renew_for: self.renew_for,
            prefetch_bytes: u64::try_from(self.prefetch_bytes.max(1)).unwrap_or(u64::MAX),
        })
    }
}

impl<T: 'static> IntoFuture for Consume<T> {
    type Output = Result<Consumer<T>, ConsumeError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let terms = self.terms()?;
            let client = self.place.client().clone();
            let subscription = client.core().subscribe(terms).await?;
            Ok(Consumer::new(subscription, client, self.codec, self.undecodable))
        })
    }
}
