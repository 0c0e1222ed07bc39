//! Loading what an event refers to: bounded, and checked before anybody sees it.

use std::fmt;
use std::future::IntoFuture;
use std::io::{self, Read};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::reference::Reference;
use crate::codec::CodecError;
use crate::declare::BoxFuture;
use crate::error::{Failed, Failure, LoadError, Local};
use crate::trace_context::hex;

/// LIMIT: of one load, unless the application asks for another.
const LOAD_BYTES_DEFAULT: u64 = 64 << 20;
/// Memory is taken in steps that grow with what has really come.
const FIRST_BYTES_MAX: usize = 64 << 10;

/// Something that can get what an event refers to: a store, a server, a database.
///
/// ```
/// use posthaste::{BoxFuture, Fetch, LoadError, Loading, Resolve};
///
/// /// Knows one thing only.
/// struct Fixed;
/// impl Resolve for Fixed {
///     fn fetch<'a>(
///         &'a self,
///         what: Fetch<'a>,
///         mut body: Loading,
///     ) -> BoxFuture<'a, Result<Loading, LoadError>> {
///         Box::pin(async move {
///             match what {
///                 Fetch::Reference(there) if there.url() == "fixed:it" => body.push(b"7")?,
///                 _ => return Err(LoadError::not_found("only fixed:it is known")),
///             }
///             Ok(body)
///         })
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// let there = posthaste::Reference::new("fixed:it").size(1);
/// assert_eq!(there.load(&Fixed).await?, "7");
/// # Ok(()) }
/// ```
pub trait Resolve: Send + Sync {
    /// Gets it and pushes it into `body`, which refuses too much of it; gives `body` back.
    ///
    /// Size and digest are checked by who asked.
    fn fetch<'a>(
        &'a self,
        what: Fetch<'a>,
        body: Loading,
    ) -> BoxFuture<'a, Result<Loading, LoadError>>;
}

/// What is to be got.
///
/// ```
/// use posthaste::Fetch;
/// fn shown(what: Fetch<'_>) -> String {
///     match what {
///         Fetch::Reference(there) => there.url().to_owned(),
///         Fetch::Current { source, subject } => format!("{source} {}", subject.unwrap_or("-")),
///         _ => String::new(),
///     }
/// }
/// assert_eq!(shown(Fetch::Current { source: "/shop", subject: Some("7") }), "/shop 7");
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Fetch<'a> {
    /// What a reference names.
    Reference(&'a Reference),
    /// What a notice is about, as it is now.
    Current {
        /// The event's source.
        source: &'a str,
        /// The event's subject.
        subject: Option<&'a str>,
    },
}

/// The bytes of a load as they come in: never more than the limit, nor than the reference said.
///
/// ```
/// use posthaste::{LoadError, Loading};
/// fn read(file: &mut std::fs::File, mut body: Loading) -> Result<Loading, LoadError> {
///     body.read_from(file)?; // or piece by piece, with push
///     Ok(body)
/// }
/// ```
#[derive(Debug)]
pub struct Loading {
    bytes: Vec<u8>,
    digest: Sha256,
    limit: u64,
    expected: Option<u64>,
}

impl Loading {
    fn begin(what: &Fetch<'_>, limit: u64) -> Result<Self, Failed> {
        let expected = match what {
            Fetch::Reference(reference) => reference.size,
            Fetch::Current { .. } => None,
        };
        if expected.is_some_and(|size| size > limit) {
            let size = expected.unwrap_or_default();
            return Err(too_large(limit, &format!("it has {size}")));
        }
        let first = usize::try_from(expected.unwrap_or_default()).unwrap_or(usize::MAX);
        let bytes = Vec::with_capacity(first.min(FIRST_BYTES_MAX));
        Ok(Self { bytes, digest: Sha256::new(), limit, expected })
    }

    /// Adds a piece. *Errors*: of kind `TooLarge` above the limit, `Mismatch` above the size that
    /// the reference gives.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), LoadError> {
        let size = self.bytes.len() as u64 + piece.len() as u64;
        if let Some(expected) = self.expected.filter(|expected| size > *expected) {
            return Err(wrong_size(expected, &format!("more came, {size} at least")).into());
        }
        if size > self.limit {
            return Err(too_large(self.limit, "more came").into());
        }
        self.digest.update(piece);
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Adds everything that can be read, in small pieces; blocks as the reader does.
    pub fn read_from(&mut self, reader: &mut dyn Read) -> Result<(), LoadError> {
        let mut piece = vec![0; FIRST_BYTES_MAX];
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(read) => self.push(piece.get(..read).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(LoadError::unreachable("reading broke off", error)),
            }
        }
    }

    /// Refuses before anything is read, if it is known how many bytes would come.
    ///
    /// ```
    /// use posthaste::{LoadError, Loading};
    /// fn begin(length: Option<u64>, body: &Loading) -> Result<(), LoadError> {
    ///     body.announce(length)
    /// }
    /// ```
    pub fn announce(&self, bytes: Option<u64>) -> Result<(), LoadError> {
        let Some(bytes) = bytes else { return Ok(()) };
        if let Some(expected) = self.expected.filter(|expected| bytes > *expected) {
            return Err(wrong_size(expected, &format!("{bytes} would come")).into());
        }
        if bytes > self.limit {
            return Err(too_large(self.limit, &format!("{bytes} would come")).into());
        }
        Ok(())
    }

    fn finish(self, what: &Fetch<'_>) -> Result<Bytes, Failed> {
        let size = self.bytes.len() as u64;
        if let Some(expected) = self.expected.filter(|expected| size != *expected) {
            return Err(wrong_size(expected, &format!("{size} came")));
        }
        if let Fetch::Reference(Reference { sha256: Some(expected), url, .. }) = what {
            let digest: [u8; 32] = self.digest.finalize().into();
            if digest != *expected {
                let (digest, expected) = (hex(&digest), hex(expected));
                let text = format!("{url} has the digest {digest}, and its reference {expected}");
                return Err(Failure::local(Local::DigestMismatch, text));
            }
        }
        Ok(self.bytes.into())
    }
}

fn wrong_size(expected: u64, came: &str) -> Failed {
    let text = format!("the reference says {expected} bytes, and {came}");
    Failure::local(Local::SizeMismatch, text)
}

fn too_large(limit: u64, came: &str) -> Failed {
    let text = format!("at most {limit} bytes are loaded, and {came}");
    Failure::local(Local::LoadTooLarge, text)
}

/// Errors for implementations of [`Resolve`] and [`Store`](crate::Store).
impl LoadError {
    /// What is referred to does not exist (any more).
    ///
    /// ```
    /// let error = posthaste::LoadError::not_found("order 7 was deleted");
    /// assert_eq!((error.kind(), error.is_retryable()), (posthaste::ErrorKind::NotFound, false));
    /// ```
    pub fn not_found(why: impl fmt::Display) -> Self {
        Failure::local(Local::ReferenceNotFound, why.to_string()).into()
    }

    /// This resolver cannot or must not get it.
    ///
    /// ```
    /// let error = posthaste::LoadError::unsupported("only https is fetched");
    /// assert_eq!(error.code(), "PH-0912");
    /// ```
    pub fn unsupported(why: impl fmt::Display) -> Self {
        Failure::local(Local::ReferenceUnsupported, why.to_string()).into()
    }

    /// The store or server failed; trying again may help.
    ///
    /// ```
    /// let cause = std::io::Error::other("disk on fire");
    /// assert!(posthaste::LoadError::unreachable("the store failed", cause).is_retryable());
    /// ```
    pub fn unreachable(
        what: impl fmt::Display,
        cause: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        let text = format!("{what}: {cause}");
        Failure::caused(Local::ReferenceUnreachable, text, cause).into()
    }
}

/// A load that is to be awaited; see [`Event::load`](crate::Event::load) and [`Reference::load`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// use posthaste::{Event, FolderStore};
/// let event = Event::full("counted", 7_u64);
/// assert_eq!(event.load(&FolderStore::new("/srv/claims")).up_to(1 << 20).await?, 7);
/// # Ok(()) }
/// ```
#[must_use = "nothing is loaded until this is awaited"]
pub struct Load<'a, T> {
    from: Origin<'a, T>,
    limit: u64,
}

enum Origin<'a, T> {
    Here(T),
    There { resolver: &'a dyn Resolve, what: Fetch<'a>, decode: fn(Bytes) -> Result<T, CodecError> },
}

impl<'a, T> Load<'a, T> {
    pub(super) fn ready(data: T) -> Self {
        Self { from: Origin::Here(data), limit: LOAD_BYTES_DEFAULT }
    }

    pub(super) fn new(
        resolver: &'a dyn Resolve,
        what: Fetch<'a>,
        decode: fn(Bytes) -> Result<T, CodecError>,
    ) -> Self {
        Self { from: Origin::There { resolver, what, decode }, limit: LOAD_BYTES_DEFAULT }
    }

    /// Loads at most so many bytes. What is larger is refused, before it is fetched if the
    /// reference gives its size.
    pub fn up_to(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }
}

impl<T> fmt::Debug for Load<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.from {
            Origin::Here(_) => None,
            Origin::There { what, .. } => Some(what),
        };
        f.debug_struct("Load").field("what", &what).field("limit", &self.limit).finish()
    }
}

impl<'a, T: Send + 'a> IntoFuture for Load<'a, T> {
    type Output = Result<T, LoadError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (resolver, what, decode) = match self.from {
                Origin::Here(data) => return Ok(data),
                Origin::There { resolver, what, decode } => (resolver, what, decode),
            };
            let body = Loading::begin(&what, self.limit)?;
            let bytes = resolver.fetch(what, body).await?.finish(&what)?;
            decode(bytes).map_err(|error| {
                let text = format!("what was loaded is not the event's data: {error}");
                Failure::local(Local::Decode, text).into()
            })
        })
    }
}
