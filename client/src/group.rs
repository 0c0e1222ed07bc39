//! A group of a topic as the application sees it: a cheap handle, made of names and a codec.

use std::fmt;

use bytes::Bytes;

use crate::codec::Codec;
use crate::consume::Consume;
use crate::dead::DeadLetters;
use crate::declare::DeclareGroup;
use crate::error::RequestError;
use crate::info::{GroupInfo, Lag};
use crate::options::Start;
use crate::place::GroupPlace;
use crate::seek::Seek;
use crate::worker::Worker;

/// A group: a named position on a topic, shared by its consumers. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.topic("orders.events").declare().await?;
/// use posthaste::Start;
/// let search = client.topic("orders.events").group("search").start(Start::Latest);
/// let mut feed = search.consume().await?;
/// # Ok(()) }
/// ```
pub struct Group<T = Bytes> {
    place: GroupPlace,
    start: Start,
    codec: Codec<T>,
}

impl<T> Group<T> {
    pub(crate) fn new(place: GroupPlace, codec: Codec<T>) -> Self {
        Self { place, start: Start::Earliest, codec }
    }

    /// The group's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.place.group()
    }

    /// Where the group starts if it is new. The default is [`Start::Earliest`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("prices").declare().await?;
    /// use posthaste::Start;
    /// let live = client.topic("prices").group("live").start(Start::Latest).consume().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Creates the group without consuming, or changes its settings.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// client.topic("orders.events").group("billing").declare().max_attempts(3).await?;
    /// # Ok(()) }
    /// ```
    pub fn declare(&self) -> DeclareGroup {
        DeclareGroup::new(self.place.clone(), self.start)
    }

    /// Joins the group.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// # client.topic("orders.events").publish(&posthaste::Bytes::from("7")).await?;
    /// let mut feed = client.topic("orders.events").group("billing").consume().await?;
    /// while let Some(event) = feed.next().await {
    ///     event?.ack().await?;
    /// # break;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn consume(&self) -> Consume<T> {
        Consume::new(self.place.topic().clone(), Some(self.place.clone()), self.start, self.codec)
    }

    /// A worker: a handler for each message, many at a time, with retries and an orderly end.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// # let shutdown = std::future::ready(());
    /// client
    ///     .topic("orders.events")
    ///     .group("billing")
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

    /// Moves the group: forward to skip, back to replay.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// # client.topic("orders.events").group("billing").declare().await?;
    /// use posthaste::Start;
    /// client.topic("orders.events").group("billing").seek(Start::Earliest).await?;
    /// # Ok(()) }
    /// ```
    pub fn seek(&self, to: Start) -> Seek {
        Seek::new(self.place.clone(), to)
    }

    /// How far the group is behind.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// # client.topic("orders.events").group("billing").declare().await?;
    /// println!("{} behind", client.topic("orders.events").group("billing").lag().await?.messages);
    /// # Ok(()) }
    /// ```
    pub async fn lag(&self) -> Result<Lag, RequestError> {
        let info = self.info().await?;
        let messages = info.ready + info.leased + info.delayed;
        Ok(Lag { messages, age: info.oldest_age })
    }

    /// Settings and counts.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// # client.topic("orders.events").group("billing").declare().await?;
    /// println!("{:?}", client.topic("orders.events").group("billing").info().await?);
    /// # Ok(()) }
    /// ```
    pub async fn info(&self) -> Result<GroupInfo, RequestError> {
        Ok(self.place.info().await?)
    }

    /// The group's dead letters.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// # client.topic("orders.events").group("billing").declare().await?;
    /// let dead = client.topic("orders.events").group("billing").dead_letters();
    /// println!("{}", dead.list(0, 10).await?.total);
    /// # Ok(()) }
    /// ```
    pub fn dead_letters(&self) -> DeadLetters<T> {
        DeadLetters::new(self.place.topic().clone(), Some(self.place.clone()), self.codec)
    }

    /// Removes the group; the topic's messages stay.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// # client.topic("orders.events").group("billing").declare().await?;
    /// client.topic("orders.events").group("billing").delete().await?;
    /// # Ok(()) }
    /// ```
    pub async fn delete(&self) -> Result<(), RequestError> {
        Ok(self.place.topic().delete(Some(&self.place)).await?)
    }
}

impl<T> Clone for Group<T> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), start: self.start, codec: self.codec }
    }
}

impl<T> fmt::Debug for Group<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.place.topic().name()).field(&self.name()).finish()
    }
}
