//! Where claim checks put their data: a store, and the simplest one, a folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::load::{Fetch, Loading, Resolve};
use super::reference::Reference;
use crate::core::random;
use crate::declare::BoxFuture;
use crate::error::LoadError;
use crate::trace_context::{hex, unhex};

/// How references to a [`FolderStore`] begin; the digest follows.
const SCHEME: &str = "folder:";

/// Something that keeps data and gives a reference to it.
///
/// ```
/// use posthaste::{BoxFuture, Bytes, LoadError, Reference, Store};
///
/// /// Puts everything into a bucket of an object store.
/// struct Bucket;
/// impl Store for Bucket {
///     fn put(&self, data: Bytes) -> BoxFuture<'_, Result<Reference, LoadError>> {
///         Box::pin(async move {
///             let url = upload(&data).await.map_err(|e| LoadError::unreachable("the bucket", e))?;
///             Ok(Reference::new(url).size(data.len() as u64))
///         })
///     }
/// }
/// # async fn upload(_: &[u8]) -> Result<String, std::io::Error> { Ok(String::new()) }
/// ```
pub trait Store: Send + Sync {
    /// Keeps the data durably, for longer than any event that refers to it, and says where.
    ///
    /// Repeating it with the same data must be harmless: a publish that is tried again does so.
    fn put(&self, data: Bytes) -> BoxFuture<'_, Result<Reference, LoadError>>;
}

/// An object store in a folder, for one machine or a shared file system: one file for each object,
/// named by its SHA-256 digest, synced before the reference is given out.
///
/// References read `folder:<digest>` and mean the same object in every copy of the folder. Nothing
/// is ever removed by itself: remove files that are older than every event that may refer to them.
/// A crash while writing may leave a file whose name ends in `.part`; it means nothing.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// use posthaste::{FolderStore, Store};
/// # let folder = std::env::temp_dir().join(format!("posthaste-store-{}", std::process::id()));
/// let store = FolderStore::new(&folder);
/// let reference = store.put("a large scan".into()).await?;
/// assert_eq!(reference.byte_size(), Some(12));
/// assert_eq!(reference.load(&store).await?, "a large scan");
/// assert!(store.remove(&reference).await?);
/// assert!(reference.load(&store).await.is_err());
/// # std::fs::remove_dir_all(folder).ok();
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct FolderStore {
    folder: PathBuf,
}

impl FolderStore {
    /// In this folder, which the first [`put`](Store::put) creates.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Removes an object; `false` if there is none.
    pub async fn remove(&self, reference: &Reference) -> Result<bool, LoadError> {
        let path = self.path(reference)?;
        blocking("removing the object", move || match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    /// Where an object is. Only a digest is taken from the reference: no other file can be named.
    fn path(&self, reference: &Reference) -> Result<PathBuf, LoadError> {
        let digits = reference.url.strip_prefix(SCHEME).filter(|text| unhex::<32>(text).is_some());
        match digits {
            Some(digits) => Ok(self.folder.join(digits)),
            None => Err(LoadError::unsupported(format!(
                "{} is not a reference to a folder: {SCHEME} and 64 hex digits",
                reference.url
            ))),
        }
    }
}

impl Store for FolderStore {
    fn put(&self, data: Bytes) -> BoxFuture<'_, Result<Reference, LoadError>> {
        let folder = self.folder.clone();
        Box::pin(blocking("keeping the data", move || {
            let digest: [u8; 32] = Sha256::digest(&data).into();
            write(&folder, &hex(&digest), &data)?;
            let reference = Reference::new(format!("{SCHEME}{}", hex(&digest)));
            Ok(reference.size(data.len() as u64).sha256(digest))
        }))
    }
}

impl Resolve for FolderStore {
    fn fetch<'a>(
        &'a self,
        what: Fetch<'a>,
        mut body: Loading,
    ) -> BoxFuture<'a, Result<Loading, LoadError>> {
        Box::pin(async move {
            let Fetch::Reference(reference) = what else {
                let text = "a folder holds what references name, not what a notice is about";
                return Err(LoadError::unsupported(text));
            };
            let path = self.path(reference)?;
            let reading = tokio::task::spawn_blocking(move || match File::open(&path) {
                Ok(mut file) => {
                    body.read_from(&mut file)?;
                    Ok(body)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Err(LoadError::not_found(format!("{} is not there", path.display())))
                }
                Err(error) => Err(LoadError::unreachable(path.display(), error)),
            });
            reading.await.map_err(|error| LoadError::unreachable("reading was cut off", error))?
        })
    }
}

/// Runs file work where it may block.
async fn blocking<R: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> io::Result<R> + Send + 'static,
) -> Result<R, LoadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| LoadError::unreachable(what, error)),
        Err(error) => Err(LoadError::unreachable(what, error)),
    }
}

/// The whole object or none of it, also after a loss of power.
fn write(folder: &Path, name: &str, data: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let part = folder.join(format!("{name}.{:016x}.part", random::number()));
    let written = File::create_new(&part).and_then(|mut file| {
        file.write_all(data)?;
        // ORDER: the bytes are on disk before the name is.
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&part, folder.join(name)));
    if let Err(error) = placed {
        if let Err(left) = fs::remove_file(&part) {
            tracing::warn!(part = %part.display(), error = %left, "a useless file is left");
        }
        return Err(error);
    }
    File::open(folder)?.sync_all()
}
