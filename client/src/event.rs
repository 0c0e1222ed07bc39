//! Events: what happened, with its data, a reference to it, or neither; CloudEvents 1.0 on the wire.

mod binding;
#[cfg(feature = "http")]
mod http;
mod load;
mod offload;
mod reference;
mod store;
mod time;
mod uuid;

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "http")]
pub use self::http::HttpResolver;
pub use self::load::{Fetch, Load, Loading, Resolve};
pub(crate) use self::offload::Offload;
pub use self::reference::Reference;
pub use self::store::{FolderStore, Store};
use crate::codec::{Attributes, Codec, CodecError};
use crate::contract::Payload;

/// Something that happened. As the payload of a contract it travels as a CloudEvent 1.0 in binary
/// mode: its attributes as headers, its data as the body.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::{Body, Event, Reference, TopicOf};
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
/// const ORDERS: TopicOf<Event<Order>> = TopicOf::new("orders.events");
/// let orders = client.topic(ORDERS);
/// # orders.declare().await?;
///
/// // With its data, with a reference to it, or as a notice that something changed.
/// let created = Event::full("order.created", Order { id: 7 }).source("/shop").subject("7");
/// let invoice = Reference::new("https://files.example/7.pdf").size(1_204_224);
/// let invoiced = Event::reference("order.invoiced", invoice).source("/billing").subject("7");
/// let changed = Event::notice("order.changed").source("/shop").subject("7");
/// for event in [&created, &invoiced, &changed] {
///     orders.publish(event).key("7").await?;
/// }
/// # let mut feed = orders.group("billing").consume().await?;
/// # let Some(Ok(delivery)) = feed.next().await else { panic!("an event") };
/// match &delivery.payload().body {
///     Body::Full(order) => println!("order {}", order.id),
///     Body::Reference(there) => println!("look at {}", there.url()),
///     Body::Notice => println!("ask {}", delivery.payload().source),
///     _ => {}
/// }
/// # delivery.ack().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event<T> {
    /// Names this event together with its source; travels as the message's id. A new one is a UUID
    /// of version 7.
    pub id: String,
    /// What happened: CloudEvents' `type`, such as `order.created`.
    pub kind: String,
    /// Where it happened, as a URI reference; empty stands for `/<client name>` when published.
    pub source: String,
    /// What it happened to, within the source.
    pub subject: Option<String>,
    /// When it happened. A new event happens now.
    pub time: Option<SystemTime>,
    /// The media type of the data; for JSON it may stay `None`.
    pub content_type: Option<String>,
    /// Where the data's schema is.
    pub data_schema: Option<String>,
    /// Further attributes, by names of lower-case letters and digits. `partitionkey` is the
    /// message's key, `expirytime` its time to live.
    pub extensions: BTreeMap<String, String>,
    /// The data, a reference to it, or neither.
    pub body: Body<T>,
}

/// What an [`Event`] carries.
///
/// ```
/// use posthaste::{Body, Event};
/// let event: Event<u64> = Event::full("counted", 7);
/// assert_eq!(event.body, Body::Full(7));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Body<T> {
    /// The data itself: small, complete, replayable. Costs its size in the log.
    Full(T),
    /// Where the data is: large or confidential. It must be kept as long as the event is.
    Reference(Reference),
    /// Neither: something changed, look it up. Readers see the present, not what was.
    Notice,
}

impl<T> Event<T> {
    /// An event with its data.
    #[must_use]
    pub fn full(kind: impl Into<String>, data: T) -> Self {
        Self::new(kind.into(), Body::Full(data))
    }

    /// An event whose data is somewhere else.
    #[must_use]
    pub fn reference(kind: impl Into<String>, reference: Reference) -> Self {
        Self::new(kind.into(), Body::Reference(reference))
    }

    /// An event without data.
    #[must_use]
    pub fn notice(kind: impl Into<String>) -> Self {
        Self::new(kind.into(), Body::Notice)
    }

    fn new(kind: String, body: Body<T>) -> Self {
        let now = SystemTime::now();
        Self {
            id: uuid::v7(now),
            kind,
            source: String::new(),
            subject: None,
            time: Some(now),
            content_type: None,
            data_schema: None,
            extensions: BTreeMap::new(),
            body,
        }
    }

    /// The same event around another body.
    fn with_body<U>(&self, body: Body<U>) -> Event<U> {
        Event {
            id: self.id.clone(),
            kind: self.kind.clone(),
            source: self.source.clone(),
            subject: self.subject.clone(),
            time: self.time,
            content_type: self.content_type.clone(),
            data_schema: self.data_schema.clone(),
            extensions: self.extensions.clone(),
            body,
        }
    }

    /// Its id, in place of the one it was given.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Where it happened.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = source.into();
        self
    }

    /// What it happened to.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// A further attribute.
    ///
    /// ```
    /// use posthaste::Event;
    /// let event = Event::full("counted", 7_u64).extension("tenant", "acme");
    /// assert_eq!(event.extensions["tenant"], "acme");
    /// ```
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.extensions.insert(name.into(), value.into());
        self
    }

    /// The data: the event's own, or loaded through the resolver and then checked against the
    /// size and digest of the reference. At most 64 MiB unless [`Load::up_to`] says otherwise.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// use posthaste::{Event, FolderStore, Store};
    /// # let folder = std::env::temp_dir().join(format!("posthaste-doc-{}", std::process::id()));
    /// let store = FolderStore::new(&folder);
    /// let reference = store.put("[1,2,3]".into()).await?;
    /// let event: Event<Vec<u64>> = Event::reference("counted", reference);
    /// assert_eq!(event.load(&store).await?, [1, 2, 3]);
    /// # std::fs::remove_dir_all(folder).ok();
    /// # Ok(()) }
    /// ```
    pub fn load<'a>(&'a self, resolver: &'a dyn Resolve) -> Load<'a, T>
    where
        T: DeserializeOwned + Clone,
    {
        let what = match &self.body {
            Body::Full(data) => return Load::ready(data.clone()),
            Body::Reference(reference) => Fetch::Reference(reference),
            Body::Notice => {
                Fetch::Current { source: &self.source, subject: self.subject.as_deref() }
            }
        };
        Load::new(resolver, what, |bytes| serde_json::from_slice(&bytes).map_err(Into::into))
    }
}

impl<T: Serialize + DeserializeOwned> Codec<Event<T>> {
    /// CloudEvents 1.0 in binary mode with JSON data: the codec of the contracts of events.
    ///
    /// ```
    /// use posthaste::{Codec, Event, TopicOf};
    /// const COUNTS: TopicOf<Event<u64>> = TopicOf::with_codec("counts", Codec::event());
    /// ```
    #[must_use]
    pub const fn event() -> Self {
        fn encode<T: Serialize>(event: &Event<T>, out: &mut Vec<u8>) -> Result<(), CodecError> {
            match &event.body {
                Body::Full(data) => serde_json::to_writer(out, data).map_err(Into::into),
                Body::Reference(_) | Body::Notice => Ok(()),
            }
        }
        let attributes = Attributes {
            content_type: Some(binding::JSON),
            write: |event, source, properties| {
                binding::write(event, Some(binding::JSON), source, properties)
            },
            read: |envelope| {
                binding::read(envelope, |content_type, data| {
                    binding::must_be_json(content_type)?;
                    serde_json::from_slice(data).map_err(Into::into)
                })
            },
        };
        Self::with_attributes(encode::<T>, attributes)
    }
}

impl Codec<Event<Bytes>> {
    /// CloudEvents 1.0 in binary mode with data of any kind; [`Event::content_type`] says which.
    ///
    /// ```
    /// use posthaste::{Bytes, Codec, Event, TopicOf};
    /// const SCANS: TopicOf<Event<Bytes>> = TopicOf::with_codec("scans", Codec::raw_event());
    /// ```
    #[must_use]
    pub const fn raw_event() -> Self {
        fn encode(event: &Event<Bytes>, out: &mut Vec<u8>) -> Result<(), CodecError> {
            if let Body::Full(data) = &event.body {
                out.extend_from_slice(data);
            }
            Ok(())
        }
        let attributes = Attributes {
            content_type: None,
            write: |event, source, properties| binding::write(event, None, source, properties),
            read: |envelope| binding::read(envelope, |_, data| Ok(data.clone())),
        };
        Self::with_attributes(encode, attributes)
    }
}

impl<T: Serialize + DeserializeOwned> Payload for Event<T> {
    const CODEC: Codec<Self> = Codec::event();
}
