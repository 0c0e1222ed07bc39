//! A topic as the application sees it: a cheap handle, made of a name and a codec.

use std::fmt;

use bytes::Bytes;

use crate::client::Client;
use crate::codec::Codec;
use crate::declare::DeclareTopic;
use crate::error::RequestError;
use crate::group::Group;
use crate::info::Description;
use crate::options::Start;
use crate::place::{GroupPlace, Place};
use crate::producer::ProducerBuilder;
use crate::publish::Publish;
use crate::reader::Reader;
use crate::sweep::Sweep;

/// A topic: each group gets each message, and can replay. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::Bytes;
/// let events = client.topic("orders.events");
/// events.declare().await?;
/// events.publish(&Bytes::from("created 7")).await?;
/// let mut feed = events.group("billing").consume().await?;
/// if let Some(event) = feed.next().await {
///     event?.ack().await?;
/// }
/// # Ok(()) }
/// ```
pub struct Topic<T = Bytes> {
    pub(crate) place: Place,
    pub(crate) codec: Codec<T>,
}

impl<T> Topic<T> {
    pub(crate) fn new(client: Client, name: &str, codec: Codec<T>) -> Self {
        Self { place: Place::new(client, name), codec }
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.place.name()
    }

    /// The client this handle belongs to.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.place.client()
    }

    /// Creates the topic, or changes its settings; repeating it changes nothing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// use std::time::Duration;
    /// let week = Duration::from_secs(7 * 86_400);
    /// client.topic("orders.events").declare().retain_for(week).await?;
    /// # Ok(()) }
    /// ```
    pub fn declare(&self) -> DeclareTopic {
        DeclareTopic::new(self.place.clone())
    }

    /// Publishes one message. The single `await` means stored: synced to the broker's disk.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// use posthaste::Bytes;
    /// client.topic("orders.events").publish(&Bytes::from("created 7")).key("7").await?;
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
    /// # client.topic("orders.events").declare().await?;
    /// let producer = client.topic("orders.events").producer().build();
    /// let confirm = producer.send(&posthaste::Bytes::from("created 7")).await?;
    /// confirm.await?;
    /// # Ok(()) }
    /// ```
    pub fn producer(&self) -> ProducerBuilder<T> {
        ProducerBuilder::new(self.place.clone(), self.codec)
    }

    /// A group of this topic. It comes into being with its first consumer, or by declaring it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// let mut feed = client.topic("orders.events").group("billing").consume().await?;
    /// # Ok(()) }
    /// ```
    pub fn group(&self, name: &str) -> Group<T> {
        Group::new(GroupPlace::new(self.place.clone(), name), self.codec)
    }

    /// Reads messages without a group, up to the newest.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// # client.topic("orders.events").publish(&posthaste::Bytes::from("7")).await?;
    /// use posthaste::Start;
    /// let mut all = client.topic("orders.events").read(Start::Earliest);
    /// while let Some(event) = all.next().await {
    ///     println!("{}", event?.position());
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
    /// # client.topic("orders.events").declare().await?;
    /// # client.topic("orders.events").publish(&posthaste::Bytes::from("7")).await?;
    /// use posthaste::Start;
    /// let mut news = client.topic("orders.events").tail(Start::Earliest);
    /// while let Some(event) = news.next().await {
    ///     println!("{}", event?.position());
    /// # break;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn tail(&self, from: Start) -> Reader<T> {
        Reader::new(self.place.clone(), self.codec, from, true)
    }

    /// Removes all messages.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// client.topic("orders.events").purge().await?;
    /// # Ok(()) }
    /// ```
    pub fn purge(&self) -> Sweep {
        Sweep::purge(self.place.clone())
    }

    /// Settings, counts and groups.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// println!("{:?}", client.topic("orders.events").describe().await?.groups);
    /// # Ok(()) }
    /// ```
    pub async fn describe(&self) -> Result<Description, RequestError> {
        Ok(self.place.describe().await?)
    }

    /// Removes the topic with all its messages and groups.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// client.topic("orders.events").delete().await?;
    /// # Ok(()) }
    /// ```
    pub async fn delete(&self) -> Result<(), RequestError> {
        Ok(self.place.delete(None).await?)
    }
}

impl<T> Clone for Topic<T> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), codec: self.codec }
    }
}

impl<T> fmt::Debug for Topic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.name()).finish()
    }
}
