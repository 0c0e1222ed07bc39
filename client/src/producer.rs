//! The producer: many messages, batched and pipelined, each still confirmed.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::codec::Codec;
use crate::core::{Batch, Lane, LaneLimits};
use crate::error::{Failed, PublishError};
#[cfg(feature = "events")]
use crate::event::Offload;
use crate::place::Place;
use crate::publish::{Properties, Receipt};
use crate::send::{send, try_send};

/// Larger batches would not fit into the smallest frame that a broker may ask for.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Options of a [`Producer`]; see [`Queue::producer`](crate::Queue::producer).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// use std::time::Duration;
/// let producer = client
///     .queue("orders")
///     .producer()
///     .linger(Duration::from_millis(2))
///     .max_batch(512, 1 << 20)
///     .max_in_flight(32 << 20)
///     .build();
/// # Ok(()) }
/// ```
#[must_use = "call build() to get the producer"]
pub struct ProducerBuilder<T = Bytes> {
    place: Place,
    pub(crate) codec: Codec<T>,
    #[cfg(feature = "events")]
    pub(crate) offload: Option<Offload<T>>,
    linger: Duration,
    batch_messages: usize,
    batch_bytes: usize,
    in_flight_bytes: usize,
}

impl<T> ProducerBuilder<T> {
    pub(crate) fn new(place: Place, codec: Codec<T>) -> Self {
        Self {
            place,
            codec,
            #[cfg(feature = "events")]
            offload: None,
            linger: Duration::from_millis(1),
            batch_messages: 1_024,
            batch_bytes: 256 << 10,
            in_flight_bytes: 16 << 20,
        }
    }

    /// How long a batch may wait for company. The default is 1 ms; zero sends as soon as the
    /// connection is free. A flush never waits.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// When a batch is full. The default is 1,024 messages or 256 KiB; more than 1 MiB counts as
    /// 1 MiB.
    pub fn max_batch(mut self, messages: usize, bytes: usize) -> Self {
        self.batch_messages = messages.max(1);
        self.batch_bytes = bytes.max(1);
        self
    }

    /// How many bytes may be unconfirmed before [`Producer::send`] waits. The default is 16 MiB.
    pub fn max_in_flight(mut self, bytes: usize) -> Self {
        self.in_flight_bytes = bytes.max(1);
        self
    }

    /// The producer.
    pub fn build(self) -> Producer<T> {
        let lane = self.place.own_lane(LaneLimits {
            linger: self.linger,
            batch_messages: self.batch_messages,
            batch_bytes: self.batch_bytes.min(BATCH_BYTES_MAX),
            in_flight_bytes: self.in_flight_bytes,
        });
        Producer {
            place: self.place,
            codec: self.codec,
            #[cfg(feature = "events")]
            offload: self.offload,
            lane,
        }
    }
}

impl<T> fmt::Debug for ProducerBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder")
            .field("to", &self.place)
            .field("linger", &self.linger)
            .field("batch_messages", &self.batch_messages)
            .field("batch_bytes", &self.batch_bytes)
            .field("in_flight_bytes", &self.in_flight_bytes)
            .finish_non_exhaustive()
    }
}

/// Publishes many messages, batched and pipelined, in order. Clones share the batches.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # let all = vec![posthaste::Bytes::from("7"); 100];
/// let producer = client.queue("orders").producer().build();
/// for one in &all {
///     let _confirm = producer.send(one).await?; // waits only for a free place
/// }
/// let done = producer.flush().await?;
/// assert_eq!(done.confirmed, all.len() as u64);
/// # Ok(()) }
/// ```
pub struct Producer<T = Bytes> {
    place: Place,
    codec: Codec<T>,
    #[cfg(feature = "events")]
    offload: Option<Offload<T>>,
    /// A wrong name is told by the first send.
    lane: Result<Arc<Lane>, Failed>,
}

impl<T> Producer<T> {
    /// Puts a message into the open batch, waiting only if too many bytes are unconfirmed. The
    /// message is stored when its [`Confirm`] says so, or when [`Producer::flush`] returns.
    ///
    /// *Cancel safety*: a dropped future has sent nothing.
    pub async fn send(&self, message: &T) -> Result<Confirm, PublishError> {
        self.put(message, None).await
    }

    /// The same with an ordering key.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # let producer = client.queue("orders").producer().build();
    /// let _confirm = producer.send_keyed("customer-42", &posthaste::Bytes::from("7")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn send_keyed(&self, key: &str, message: &T) -> Result<Confirm, PublishError> {
        self.send_with(message, &Properties::new().key(key)).await
    }

    /// The same with any properties.
    pub async fn send_with(
        &self,
        message: &T,
        properties: &Properties,
    ) -> Result<Confirm, PublishError> {
        self.put(message, Some(properties)).await
    }

    #[inline]
    async fn put(
        &self,
        message: &T,
        properties: Option<&Properties>,
    ) -> Result<Confirm, PublishError> {
        #[cfg(feature = "events")]
        if let Some(offload) = &self.offload {
            let sending = async {
                match offload.replaced(message).await? {
                    Some(other) => self.push(&other, properties).await,
                    None => self.push(message, properties).await,
                }
            };
            return Box::pin(sending).await;
        }
        self.push(message, properties).await
    }

    #[inline]
    async fn push(
        &self,
        message: &T,
        properties: Option<&Properties>,
    ) -> Result<Confirm, PublishError> {
        let lane = self.lane()?;
        if let Some(confirm) = try_send(lane, self.codec, message, properties)? {
            return Ok(confirm);
        }
        Ok(Box::pin(send(lane, self.codec, message, properties)).await?)
    }

    /// Sends what is batched and waits until everything sent so far is stored. Tells the first
    /// failure since the last flush, if there was one.
    ///
    /// *Cancel safety*: what is batched is sent all the same.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # let producer = client.queue("orders").producer().build();
    /// println!("{} stored", producer.flush().await?.confirmed);
    /// # Ok(()) }
    /// ```
    pub async fn flush(&self) -> Result<Flushed, PublishError> {
        let lane = self.lane()?;
        for batch in lane.flush() {
            let mut slot = None;
            // Failures are in the lane's account, and told from there.
            let decided = poll_fn(|cx| batch.poll(&mut slot, cx.waker())).await;
            drop(decided);
        }
        Ok(Flushed { confirmed: lane.take_account()? })
    }

    fn lane(&self) -> Result<&Arc<Lane>, PublishError> {
        self.lane.as_ref().map_err(|failure| PublishError(Arc::clone(failure)))
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self {
            place: self.place.clone(),
            codec: self.codec,
            #[cfg(feature = "events")]
            offload: self.offload.clone(),
            lane: self.lane.clone(),
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("to", &self.place).finish_non_exhaustive()
    }
}

/// Resolves when a message that [`Producer::send`] took is stored.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # let producer = client.queue("orders").producer().build();
/// let confirm = producer.send(&posthaste::Bytes::from("7")).await?;
/// println!("stored at {}", confirm.await?.position);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "await the confirm, or call Producer::flush before you exit"]
pub struct Confirm {
    batch: Arc<Batch>,
    index: u32,
    /// This confirm's place among those who wait for the batch.
    slot: Option<usize>,
    id: Option<String>,
}

impl Confirm {
    pub(crate) fn new(batch: Arc<Batch>, index: u32, id: Option<String>) -> Self {
        Self { batch, index, slot: None, id }
    }
}

impl Future for Confirm {
    type Output = Result<Receipt, PublishError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.batch.poll(&mut this.slot, cx.waker()).map(|outcome| {
            let (position, duplicate) = outcome?.place_of(this.index)?;
            Ok(Receipt { id: this.id.take(), position, duplicate })
        })
    }
}

/// What a [`Producer::flush`] waited for.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # let producer = client.queue("orders").producer().build();
/// let posthaste::Flushed { confirmed, .. } = producer.flush().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Messages stored since the last flush.
    pub confirmed: u64,
}
