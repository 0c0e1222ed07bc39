//! A claim check: where data is, and how to know it again.

use bytes::Bytes;

use super::load::{Fetch, Load, Resolve};

/// Where an event's data is, and what it must be.
///
/// ```
/// use posthaste::Reference;
/// let invoice = Reference::new("https://files.example/7.pdf")
///     .media_type("application/pdf")
///     .size(1_204_224)
///     .sha256([0xe3; 32]);
/// assert_eq!(invoice.url(), "https://files.example/7.pdf");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub(super) url: String,
    pub(super) media_type: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<[u8; 32]>,
}

impl Reference {
    /// To what is at a URL, of any size and content.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), media_type: None, size: None, sha256: None }
    }

    /// The media type of what is there.
    #[must_use]
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// It has this many bytes; anything else is refused when it is loaded.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// It has this SHA-256 digest; anything else is refused when it is loaded.
    #[must_use]
    pub fn sha256(mut self, digest: [u8; 32]) -> Self {
        self.sha256 = Some(digest);
        self
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its size in bytes, if the publisher said so.
    #[must_use]
    pub fn byte_size(&self) -> Option<u64> {
        self.size
    }

    /// Its SHA-256 digest, if the publisher said so.
    #[must_use]
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.sha256
    }

    /// Loads the bytes, and checks them against size and digest. At most 64 MiB unless
    /// [`Load::up_to`] says otherwise.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// use posthaste::{FolderStore, Store};
    /// # let folder = std::env::temp_dir().join(format!("posthaste-ref-{}", std::process::id()));
    /// let store = FolderStore::new(&folder);
    /// let reference = store.put("a large scan".into()).await?;
    /// assert_eq!(reference.load(&store).up_to(1 << 20).await?, "a large scan");
    /// # std::fs::remove_dir_all(folder).ok();
    /// # Ok(()) }
    /// ```
    pub fn load<'a>(&'a self, resolver: &'a dyn Resolve) -> Load<'a, Bytes> {
        Load::new(resolver, Fetch::Reference(self), Ok)
    }
}
