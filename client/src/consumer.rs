//! The consumer: a stream of deliveries with bounded prefetch.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;

use crate::codec::Codec;
use crate::declare::BoxFuture;
use crate::delivery::Delivery;
use crate::error::{CloseError, ConsumeError, Failure, Local, SettleError};
use crate::options::{Start, Undecodable};
use crate::place::{GroupPlace, Place};

/// Opens a [`Consumer`]; see [`Queue::consume`](crate::Queue::consume) and
/// [`Group::consume`](crate::Group::consume).
///
/// ```no_run
/// # async fn demo(client: posthaste::Client) -> Result<(), posthaste::Error> {
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
    lease: Option<Duration>,
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
            lease: None,
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

    /// The lease of this consumer's deliveries. The default is the setting of the queue or group.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// What becomes of messages whose payload cannot be read.
    pub fn undecodable(mut self, undecodable: Undecodable) -> Self {
        self.undecodable = undecodable;
        self
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
            .field("lease", &self.lease)
            .field("undecodable", &self.undecodable)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> IntoFuture for Consume<T> {
    type Output = Result<Consumer<T>, ConsumeError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let _ = self.codec;
            Err(Failure::local(Local::Disconnected, "not connected").into())
        })
    }
}

/// A stream of deliveries. It ends only when the client is closed or the queue, topic or group is
/// deleted; a broken connection is repaired behind it.
///
/// ```no_run
/// # async fn demo(client: posthaste::Client) -> Result<(), posthaste::Error> {
/// let mut jobs = client.queue("orders").consume().await?;
/// while let Some(job) = jobs.next().await {
///     let job = job?;
///     println!("{:?}", job.payload());
///     job.ack().await?;
/// }
/// # Ok(()) }
/// ```
pub struct Consumer<T = Bytes> {
    place: Place,
    codec: Codec<T>,
}

impl<T> Consumer<T> {
    /// The next delivery; `None` when the stream has ended.
    ///
    /// *Cancel safety*: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Delivery<T>, ConsumeError>> {
        std::future::poll_fn(|cx| self.poll_delivery(cx)).await
    }

    /// Up to `max` deliveries: returns when there are so many, or after `wait`, perhaps with none.
    ///
    /// ```no_run
    /// # async fn demo(client: posthaste::Client) -> Result<(), posthaste::Error> {
    /// use std::time::Duration;
    /// let mut jobs = client.queue("orders").consume().prefetch(1_000).await?;
    /// let batch = jobs.next_batch(500, Duration::from_millis(100)).await?;
    /// println!("{} at once", batch.len());
    /// batch.ack_all().await?;
    /// # Ok(()) }
    /// ```
    pub async fn next_batch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Batch<T>, ConsumeError> {
        let _ = (max, self.codec);
        tokio::time::sleep(wait).await;
        Ok(Batch {
            deliveries: Vec::new(),
        })
    }

    /// Stops taking, gives back what was prefetched, waits up to `grace` until the deliveries in
    /// the application's hands are settled, and makes sure that the settles are durable.
    ///
    /// ```no_run
    /// # async fn demo(consumer: posthaste::Consumer) -> Result<(), posthaste::Error> {
    /// consumer.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(self, grace: Duration) -> Result<(), CloseError> {
        tokio::time::sleep(grace).await;
        Ok(())
    }

    fn poll_delivery(&mut self, _cx: &mut Context<'_>) -> Poll<Option<<Self as Stream>::Item>> {
        Poll::Ready(None)
    }
}

impl<T> Stream for Consumer<T> {
    type Item = Result<Delivery<T>, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_delivery(cx)
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("from", &self.place)
            .finish_non_exhaustive()
    }
}

/// Deliveries that were taken together.
///
/// ```no_run
/// # async fn demo(mut consumer: posthaste::Consumer) -> Result<(), posthaste::Error> {
/// use std::time::Duration;
/// let batch = consumer.next_batch(100, Duration::from_secs(1)).await?;
/// for job in &batch {
///     println!("{:?}", job.payload());
/// }
/// batch.ack_all().await?;
/// # Ok(()) }
/// ```
#[must_use = "a delivery that is dropped without being settled goes back"]
pub struct Batch<T = Bytes> {
    deliveries: Vec<Delivery<T>>,
}

impl<T> Batch<T> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Delivery<T>> {
        self.deliveries.iter()
    }

    /// Acks all of them.
    pub async fn ack_all(self) -> Result<(), SettleError> {
        for delivery in self.deliveries {
            delivery.ack().await?;
        }
        Ok(())
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = Delivery<T>;
    type IntoIter = std::vec::IntoIter<Delivery<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.deliveries.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Batch<T> {
    type Item = &'a Delivery<T>;
    type IntoIter = std::slice::Iter<'a, Delivery<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).finish()
    }
}
