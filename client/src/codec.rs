//! How a payload becomes bytes and comes back: two plain functions that travel with a contract.
//!
//! A [`Codec`] is chosen once, by the contract or by naming a queue with a plain string (raw
//! [`Bytes`]), so that no trait bound has to follow the payload type through an application.

use std::error::Error as StdError;
use std::fmt;

use bytes::Bytes;

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
}

impl<T> Codec<T> {
    /// A codec of two functions: one appends the payload to a buffer, the other reads it back.
    #[must_use]
    pub const fn new(
        encode: fn(&T, &mut Vec<u8>) -> Result<(), CodecError>,
        decode: fn(Bytes) -> Result<T, CodecError>,
    ) -> Self {
        Self { encode, decode, borrow: None }
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
        Self { encode, decode: Ok, borrow: Some(borrow) }
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
        Self { encode: encode::<T>, decode: decode::<T>, borrow: None }
    }
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Codec<T> {}

impl<T> fmt::Debug for Codec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Codec")
    }
}
