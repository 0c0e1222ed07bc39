//! Contracts: a name together with the payload that travels under it, shared by both sides.

use std::fmt;

use bytes::Bytes;

use crate::codec::Codec;

/// A type that has a codec of its own, so that a contract needs to name none: everything that serde
/// can write and read (as JSON, feature `json`), events (feature `events`), and what implements it.
///
/// ```
/// use posthaste::{Bytes, Codec, Payload, QueueOf};
///
/// /// Pixels, one byte each.
/// struct Frame(Bytes);
/// impl Payload for Frame {
///     const CODEC: Codec<Frame> = Codec::new(
///         |frame, out| {
///             out.extend_from_slice(&frame.0);
///             Ok(())
///         },
///         |bytes| Ok(Frame(bytes)),
///     );
/// }
/// const FRAMES: QueueOf<Frame> = QueueOf::new("frames");
/// ```
pub trait Payload: Sized {
    /// How it becomes bytes and comes back.
    const CODEC: Codec<Self>;
}

#[cfg(feature = "json")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Payload for T {
    const CODEC: Codec<T> = Codec::json();
}

/// Something that names a queue: a plain string (payload [`Bytes`]) or a [`QueueOf`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("tallies").declare().await?;
/// use posthaste::{Bytes, Queue, QueueOf};
/// const TALLIES: QueueOf<Vec<u64>> = QueueOf::new("tallies");
/// let raw: Queue<Bytes> = client.queue("tallies");
/// let typed: Queue<Vec<u64>> = client.queue(TALLIES);
/// # Ok(()) }
/// ```
pub trait QueueName {
    /// What its messages carry.
    type Payload;
    /// The queue's name.
    fn name(&self) -> &str;
    /// How the payload becomes bytes.
    fn codec(&self) -> Codec<Self::Payload>;
}

/// Something that names a topic: a plain string (payload [`Bytes`]) or a [`TopicOf`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::{Topic, TopicOf};
/// const PRICES: TopicOf<(String, u64)> = TopicOf::new("prices");
/// let prices: Topic<(String, u64)> = client.topic(PRICES);
/// # Ok(()) }
/// ```
pub trait TopicName {
    /// What its messages carry.
    type Payload;
    /// The topic's name.
    fn name(&self) -> &str;
    /// How the payload becomes bytes.
    fn codec(&self) -> Codec<Self::Payload>;
}

macro_rules! plain_names {
    ($trait:ident: $($type:ty),*) => { $(
        impl $trait for $type {
            type Payload = Bytes;

            fn name(&self) -> &str {
                self
            }

            fn codec(&self) -> Codec<Bytes> {
                Codec::raw()
            }
        }
    )* };
}

plain_names!(QueueName: &str, String, &String);
plain_names!(TopicName: &str, String, &String);

macro_rules! contracts {
    ($($(#[$doc:meta])* $name:ident, $trait:ident;)*) => { $(
        $(#[$doc])*
        pub struct $name<T> {
            name: &'static str,
            codec: Codec<T>,
        }

        impl<T: Payload> $name<T> {
            /// A contract whose payload travels as [`Payload`] says: most types as JSON, events
            /// as CloudEvents.
            #[must_use]
            pub const fn new(name: &'static str) -> Self {
                Self { name, codec: T::CODEC }
            }
        }

        impl<T> $name<T> {
            /// A contract whose payload travels as `codec` writes it.
            #[must_use]
            pub const fn with_codec(name: &'static str, codec: Codec<T>) -> Self {
                Self { name, codec }
            }
        }

        impl<T> $trait for $name<T> {
            type Payload = T;

            fn name(&self) -> &str {
                self.name
            }

            fn codec(&self) -> Codec<T> {
                self.codec
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $name<T> {}

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.name).finish()
            }
        }
    )* };
}

contracts! {
    /// A queue's name and its payload. Keep it in a crate that both sides depend on: then the
    /// compiler refuses a publish of the wrong type.
    ///
    /// ```
    /// use posthaste::QueueOf;
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Order {
    ///     id: u64,
    /// }
    /// const ORDERS: QueueOf<Order> = QueueOf::new("orders");
    /// ```
    QueueOf, QueueName;
    /// A topic's name and its payload.
    ///
    /// ```
    /// use posthaste::TopicOf;
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Shipped {
    ///     order: u64,
    /// }
    /// const SHIPMENTS: TopicOf<Shipped> = TopicOf::new("shipments");
    /// ```
    TopicOf, TopicName;
}
