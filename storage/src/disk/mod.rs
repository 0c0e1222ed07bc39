//! The only door to files.
//!
//! Everything the log does to a disk goes through [`Disk`] and [`DiskFile`], so that the same log runs on a
//! real directory ([`RealDisk`]), in memory, and on a disk that loses, tears and damages things on purpose.
//!
//! What the traits promise is the least that a POSIX file system promises after a power cut:
//! file content and size are durable after [`DiskFile::sync_data`], names after [`Disk::sync_dir`],
//! and nothing else is. Dropping a file never syncs.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

mod real;
pub mod sim;

pub use real::RealDisk;
pub use sim::SimDisk;

/// How [`Disk::open`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read only.
    Read,
    /// An existing file, to read and write.
    ReadWrite,
    /// To read and write; created empty if missing, and kept as it is if not.
    Create,
}

/// Directories, names and locks.
pub trait Disk: Debug + Send + Sync {
    /// Creates a directory and its missing parents, for the owner only.
    ///
    /// *Durability*: none until the parent of each created directory is synced.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Whether a file or directory of that name is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens a file, for the owner only if it is created. Symbolic links are refused.
    ///
    /// *Durability*: the name of a created file is not durable until [`Disk::sync_dir`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing what had it.
    ///
    /// *Durability*: none until [`Disk::sync_dir`] of both directories; says nothing about the content of the file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes the name of a file. Open handles keep working.
    ///
    /// *Durability*: none until [`Disk::sync_dir`].
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable. The empty path is the current directory.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Bytes that this process may still use on the file system of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Takes an exclusive lock on a file (created if missing) until the returned value is dropped or the process ends.
    ///
    /// *Errors*: [`io::ErrorKind::WouldBlock`] if it is held, also by this process.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// One open file. All methods take places as arguments: there is no shared position.
pub trait DiskFile: Debug + Send + Sync {
    /// Reads into `buf` from byte `offset` on. May read less than asked; zero only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all parts, one after another, from byte `offset` on.
    ///
    /// *Errors*: after one, any part of the range may hold new bytes.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Makes the content and the size durable.
    ///
    /// *Errors*: final. What was written since the last success may be lost although reads still show it; a
    /// later success proves nothing about it.
    fn sync_data(&self) -> io::Result<()>;

    /// Reserves space for the first `len` bytes and makes the file at least that long. New bytes read as zero.
    ///
    /// *Errors*: the file is as it was before.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Cuts or extends the file. New bytes read as zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Lets go of what memory holds of the file and is not waiting to be written: the next read asks the disk.
    ///
    /// After a write or sync that failed, memory shows what the disk does not have. Worse, what is written over such a page
    /// may never get there, although the sync succeeds: ext4 does so in allocated space that was never written.
    fn forget(&self) {}

    /// Tells that these bytes will be read soon, so that the disk has more to do than one read at a time.
    fn expect(&self, _range: Range<u64>) {}

    /// The size in bytes.
    fn len(&self) -> io::Result<u64>;

    /// The first place from `offset` on that may hold anything but zeros; the end of the file if there is none.
    /// Lets go of what memory holds, as [`DiskFile::forget`] does.
    fn data_from(&self, offset: u64) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// A read-only memory map of a range, made resident first; `None` where the disk has no maps. The map lives as long as
    /// the returned bytes. The caller must not write to or cut that range meanwhile.
    fn map(&self, range: Range<u64>) -> io::Result<Option<Bytes>>;
}
