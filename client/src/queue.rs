//! A queue as the application sees it: a cheap handle, made of a name and a codec.
//!
//! Making a handle asks the broker nothing; a wrong name is told by the first operation.

use std::fmt;

use bytes::Bytes;

use crate::client::Client;
use crate::codec::Codec;
use crate::consume::Consume;
use crate::dead::DeadLetters;
use crate::declare::DeclareQueue;
use crate::error::{ConsumeError, RequestError};
use crate::info::{Description, QueueStats};
use crate::message::Peeked;
use crate::options::Start;
use crate::place::Place;
use crate::producer::ProducerBuilder;
use crate::publish::Publish;
use crate::reader::Reader;
use crate::sweep::Sweep;
use crate::worker::Worker;

/// A queue: each message goes to one consumer, until acknowledged. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::Bytes;
/// let orders = client.queue("orders");
/// orders.declare().await?;
/// orders.publish(&Bytes::from("order 7")).await?;
/// let mut jobs = orders.consume().await?;
/// if let Some(job) = jobs.next().await {
///     job?.ack().await?;
/// }
/// # Ok(()) }
/// ```
pub struct Queue<T = Bytes> {
    pub(crate) place: Place,
    pub(crate) codec: Codec<T>,
}

impl<T> Queue<T> {
    pub(crate) fn new(client: Client, name: &str, codec: Codec<T>) -> Self {
        Self { place: Place::new(client, name), codec }
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.place.name()
    }

    /// The client this handle belongs to.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.place.client()
    }

    /// Creates the queue, or changes its settings; repeating it changes nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// use std::time::Duration;
    /// let lease = Duration::from_secs(60);
    /// client.queue("orders").declare().max_attempts(8).lease(lease).await?;
    /// # Ok(()) }
    /// ```
    pub fn declare(&self) -> DeclareQueue {
        DeclareQueue::new(self.place.clone())
    }

    /// Publishes one message. The single `await` means stored: synced to the broker's disk.
    ///
    /// Publishes that run at the same time share batches, so a thousand of them in flight are
    /// nearly as fast as a [`Producer`](crate::Producer).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// use posthaste::Bytes;
    /// let receipt = client.queue("orders").publish(&Bytes::from("7")).key("customer-42").await?;
    /// println!("stored at {}", receipt.position);
    /// # Ok(()) }
    /// ```
    pub fn publish<'a>(&'a self, message: &'a T) -> Publish<'a, T> {
        Publish::new(&self.place, self.codec, message)
    }

    /// A producer: batches and pipelines many messages, still confirmed one by one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # let all = vec![posthaste::Bytes::from("7"); 100];
    /// let producer = client.queue("orders").producer().build();
    /// for one in &all {
    ///     let _confirm = producer.send(one).await?;
    /// }
    /// assert_eq!(producer.flush().await?.confirmed, all.len() as u64);
    /// # Ok(()) }
    /// ```
    pub fn producer(&self) -> ProducerBuilder<T> {
        ProducerBuilder::new(self.place.clone(), self.codec)
    }

    /// Opens a consumer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// let mut jobs = client.queue("orders").consume().prefetch(16).await?;
    /// while let Some(job) = jobs.next().await {
    ///     job?.ack().await?;
    /// # break;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn consume(&self) -> Consume<T> {
        Consume::new(self.place.clone(), None, Start::Earliest, self.codec)
    }

    /// A worker: a handler for each message, many at a time, with retries and an orderly end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # let shutdown = std::future::ready(());
    /// client
    ///     .queue("orders")
    ///     .worker()
    ///     .concurrency(8)
    ///     .run(shutdown, |body, ctx| async move {
    ///         println!("{body:?}, attempt {}", ctx.attempt());
    ///         Ok(())
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn worker(&self) -> Worker<T> {
        Worker::new(self.consume())
    }

    /// Looks at the oldest messages without taking them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// for message in client.queue("orders").peek(10).await? {
    ///     println!("{}: {} bytes", message.position(), message.bytes().len());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn peek(&self, max: usize) -> Result<Vec<Peeked<T>>, ConsumeError> {
        self.read(Start::Earliest).up_to(max).await
    }

    /// Reads messages without taking them, up to the newest; settled ones are left out.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// use posthaste::Start;
    /// let mut all = client.queue("orders").read(Start::Earliest);
    /// while let Some(message) = all.next().await {
    ///     println!("{}", message?.position());
    /// # break;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn read(&self, from: Start) -> Reader<T> {
        Reader::new(self.place.clone(), self.codec, from, false)
    }

    /// The same, and then waits for new messages, for ever.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// use posthaste::Start;
    /// let mut news = client.queue("orders").tail(Start::Earliest);
    /// while let Some(message) = news.next().await {
    ///     println!("{}", message?.position());
    /// # break;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn tail(&self, from: Start) -> Reader<T> {
        Reader::new(self.place.clone(), self.codec, from, true)
    }

    /// The queue's dead letters.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// let replayed = client.queue("orders").dead_letters().replay_all().await?;
    /// println!("{replayed} messages are ready again");
    /// # Ok(()) }
    /// ```
    pub fn dead_letters(&self) -> DeadLetters<T> {
        DeadLetters::new(self.place.clone(), None, self.codec)
    }

    /// Removes all messages that are ready or delayed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// let would = client.queue("orders").purge().dry_run().await?;
    /// println!("{would} messages would go");
    /// # Ok(()) }
    /// ```
    pub fn purge(&self) -> Sweep {
        Sweep::purge(self.place.clone())
    }

    /// Settings and counts.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// println!("{:?}", client.queue("orders").describe().await?);
    /// # Ok(()) }
    /// ```
    pub async fn describe(&self) -> Result<Description, RequestError> {
        Ok(self.place.describe().await?)
    }

    /// Counts.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// println!("{} ready", client.queue("orders").stats().await?.ready);
    /// # Ok(()) }
    /// ```
    pub async fn stats(&self) -> Result<QueueStats, RequestError> {
        let group = self.place.describe().await?.groups.into_iter().next().unwrap_or_default();
        Ok(QueueStats {
            ready: group.ready,
            leased: group.leased,
            delayed: group.delayed,
            dead: group.dead,
            settled: group.settled,
            consumers: group.consumers,
            oldest_age: group.oldest_age,
        })
    }

    /// Removes the queue with all its messages.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// client.queue("orders").delete().await?;
    /// # Ok(()) }
    /// ```
    pub async fn delete(&self) -> Result<(), RequestError> {
        Ok(self.place.delete(None).await?)
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), codec: self.codec }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.name()).finish()
    }
}
