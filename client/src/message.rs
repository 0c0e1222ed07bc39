//! A message as it was read, without having been taken.

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;

use crate::codec::Codec;
use crate::envelope::Envelope;
use crate::error::{ConsumeError, Failed, Failure, Local};
use crate::options::time_of;
use crate::trace_context::TraceContext;

/// A message that was looked at: nothing was taken, nothing changes.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
/// for message in client.queue("orders").peek(3).await? {
///     println!("{} {:?} {:?}", message.position(), message.key(), message.payload()?);
/// }
/// # Ok(()) }
/// ```
pub struct Peeked<T = Bytes> {
    pub(crate) envelope: Envelope,
    pub(crate) position: u64,
    pub(crate) time_ms: u64,
    pub(crate) codec: Codec<T>,
}

impl<T> Peeked<T> {
    /// The payload, read as the contract's type.
    pub fn payload(&self) -> Result<T, ConsumeError> {
        decode(self.codec, &self.envelope, self.position).map_err(Into::into)
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
        self.envelope.priority()
    }
}

impl<T> fmt::Debug for Peeked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peeked")
            .field("position", &self.position)
            .field("key", &self.key())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// Reads a payload, or says which message could not be read and why.
pub(crate) fn decode<T>(codec: Codec<T>, envelope: &Envelope, position: u64) -> Result<T, Failed> {
    codec.read(envelope).map_err(|error| {
        Failure::local(Local::Decode, format!("the message at {position}: {error}"))
    })
}
