//! How a payload becomes bytes and comes back: two plain functions that travel with a contract.
//!
//! A [`Codec`] is chosen once, by the contract or by naming a queue with a plain string (raw
//! [`Bytes`]), so that no trait bound has to follow the payload type through an application.

use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;

use crate::envelope::Envelope;
use crate::publish::Properties;

/// Why a codec refused a payload.
pub type CodecError = Box<dyn StdError + Send + Sync>;

/// Writes payloads of type `T` as bytes, and reads them back.
///
/// ```
/// use posthaste::{Codec, QueueOf};
///
/// /// Text, as UTF-8.
/// const TEXT: Codec<String> = Codec::new(
///     |text, out| {
///         out.extend_from_slice(text.as_bytes());
///         Ok(())
///     },
///     |bytes| Ok(String::from_utf8(bytes.to_vec())?),
/// );
/// const LINES: QueueOf<String> = QueueOf::with_codec("lines", TEXT);
/// ```
pub struct Codec<T> {
    pub(crate) encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
    pub(crate) decode: fn(Bytes) -> Result<T, CodecError>,
    /// The bytes as they lie in memory, for payloads that are bytes already.
    pub(crate) borrow: Option<fn(&T) -> &[u8]>,
    /// For payloads that travel in headers as well.
    pub(crate) attributes: Option<Attributes<T>>,
}

/// The part of a payload that travels beside the body.
#[cfg_attr(not(feature = "events"), expect(dead_code, reason = "only events have one"))]
pub(crate) struct Attributes<T> {
    /// Adds it to what the publish gave; the text stands for a source that was not given.
    pub(crate) write: fn(&T, &str, &mut Properties) -> Result<(), CodecError>,
    /// The whole payload out of a message.
    pub(crate) read: fn(&Envelope) -> Result<T, CodecError>,
    /// What the body is, unless the payload says something else.
    pub(crate) content_type: Option<&'static str>,
}

impl<T> Codec<T> {
    /// A codec of two functions: one appends the payload to a buffer, the other reads it back.
    #[must_use]
    pub const fn new(
        encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
        decode: fn(Bytes) -> Result<T, CodecError>,
    ) -> Self {
        Self { encode, decode, borrow: None, attributes: None }
    }

    /// A codec of a payload that travels in headers as well.
    #[cfg(feature = "events")]
    pub(crate) const fn with_attributes(
        encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
        attributes: Attributes<T>,
    ) -> Self {
        fn alone<T>(_bytes: Bytes) -> Result<T, CodecError> {
            Err("this payload is more than its body".into())
        }
        Self { encode, decode: alone::<T>, borrow: None, attributes: Some(attributes) }
    }

    /// Reads a payload out of a message.
    pub(crate) fn read(&self, envelope: &Envelope) -> Result<T, CodecError> {
        match &self.attributes {
            None => (self.decode)(envelope.value().clone()),
            Some(attributes) => (attributes.read)(envelope),
        }
    }
}

impl Codec<Bytes> {
    /// Bytes as they are.
    ///
    /// ```
    /// use posthaste::{Bytes, Codec, QueueOf};
    /// const FRAMES: QueueOf<Bytes> = QueueOf::with_codec("frames", Codec::raw());
    /// ```
    #[must_use]
    pub const fn raw() -> Self {
        fn encode(payload: &Bytes, out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.extend_from_slice(payload);
            Ok(())
        }
        fn borrow(payload: &Bytes) -> &[u8] {
            payload
        }
        Self { encode, decode: Ok, borrow: Some(borrow), attributes: None }
    }
}

#[cfg(feature = "json")]
impl<T: serde::Serialize + serde::de::DeserializeOwned> Codec<T> {
    /// JSON through serde: the codec of [`QueueOf::new`](crate::QueueOf::new) and
    /// [`TopicOf::new`](crate::TopicOf::new).
    ///
    /// ```
    /// use posthaste::{Codec, QueueOf};
    /// const NUMBERS: QueueOf<Vec<u64>> = QueueOf::with_codec("numbers", Codec::json());
    /// ```
    #[must_use]
    pub const fn json() -> Self {
        fn encode<T: serde::Serialize>(payload: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
            serde_json::to_writer(out, payload).map_err(Into::into)
        }
        #[expect(clippy::needless_pass_by_value, reason = "codecs of other types keep the bytes")]
        fn decode<T: serde::de::DeserializeOwned>(bytes: Bytes) -> Result<T, CodecError> {
            serde_json::from_slice(&bytes).map_err(Into::into)
        }
        Self { encode: encode::<T>, decode: decode::<T>, borrow: None, attributes: None }
    }
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Codec<T> {}

impl<T> Clone for Attributes<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Attributes<T> {}

impl<T> fmt::Debug for Codec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}
