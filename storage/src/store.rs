//! [`Store`]: what the writer, the readers, the keeper and the janitor share.
//!
//! The writer is the only one who adds to it, and only after `fdatasync` returned. Lock order, where two are held:
//! footers, then catalogue.

use std::path::PathBuf;
use std::sync::Arc;

use crate::block::Block;
use crate::catalogue::Catalogue;
use crate::disk::Disk;
use crate::error::StorageError;
use crate::keeper::Kept;
use crate::locks::{lock, write};
use crate::lsn::Lsn;
use crate::mutant::mutant;
use crate::options::Options;
use crate::sealed::FooterCache;
use crate::slots::Slots;
use crate::superblock::{SuperFile, Superblock};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::JoinHandle;
use crate::sync::{Mutex, RwLock};
use crate::tail::TailCache;

/// Where everything of one store lies.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) dir: PathBuf,
    pub(crate) log_dir: PathBuf,
    pub(crate) checkpoint_dir: PathBuf,
}

impl Places {
    pub(crate) fn new(dir: &std::path::Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            log_dir: dir.join("log-0"),
            checkpoint_dir: dir.join("ckpt"),
        }
    }
}

/// The lock of the directory, held as long as the store lives.
pub(crate) struct DirectoryLock(
    #[expect(dead_code, reason = "held for its drop")] pub(crate) Box<dyn Send + Sync>,
);

impl std::fmt::Debug for DirectoryLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DirectoryLock")
    }
}

/// The first failure that ended writing.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    is_set: AtomicBool,
    /// Until somebody was told.
    cause: Mutex<Option<StorageError>>,
}

impl Poison {
    /// Ends writing because of an error that its caller gets.
    pub(crate) fn with(&self, cause: StorageError) -> StorageError {
        self.is_set.store(!mutant("go-on-after-error"), Ordering::Release);
        cause
    }

    /// Ends writing because of an error that the next caller gets.
    pub(crate) fn set(&self, cause: StorageError) {
        self.is_set.store(true, Ordering::Release);
        lock(&self.cause).get_or_insert(cause);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    pub(crate) fn check(&self) -> Result<(), StorageError> {
        if self.is_set.load(Ordering::Acquire) {
            return Err(lock(&self.cause).take().unwrap_or(StorageError::Poisoned));
        }
        Ok(())
    }
}

/// What all handles share.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) places: Places,
    pub(crate) options: Options,
    pub(crate) id: [u8; 16],
    pub(crate) catalogue: RwLock<Catalogue>,
    pub(crate) tail: RwLock<TailCache>,
    pub(crate) footers: Mutex<FooterCache>,
    pub(crate) slots: Slots,
    pub(crate) poison: Poison,
    pub(crate) kept: Mutex<Kept>,
    pub(crate) superblock: Mutex<(Superblock, SuperFile)>,
    pub(crate) progress: Progress,
    /// Last, so that it goes after everything that may still write.
    pub(crate) _lock: DirectoryLock,
}

/// Counters that readers look at without a lock.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The end of what is committed.
    committed: AtomicU64,
    /// Bytes of blocks written since the start.
    appended: AtomicU64,
}

impl Progress {
    pub(crate) fn starting_at(end: Lsn) -> Self {
        Self { committed: AtomicU64::new(end.0), appended: AtomicU64::new(0) }
    }

    pub(crate) fn committed(&self) -> Lsn {
        Lsn(self.committed.load(Ordering::Acquire))
    }

    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self, end: Lsn, bytes: u32) {
        self.appended.fetch_add(u64::from(bytes), Ordering::Relaxed);
        self.committed.store(end.0, Ordering::Release);
    }
}

impl Store {
    /// Makes a durable block visible; the bytes that the footer of its segment takes now.
    pub(crate) fn publish(&self, block: &Arc<Block>) -> u64 {
        let footer_bytes = write(&self.catalogue).add_block(block);
        let gone = write(&self.tail).push(block, self.options.tail_cache_bytes);
        self.progress.advance(block.end, block.end.offset() - block.lsn.offset());
        drop(gone);
        footer_bytes
    }

    /// Writes the superblock: everything below `durable_lsn` is durable, and the store is in `state`.
    pub(crate) fn write_superblock(
        &self,
        change: impl FnOnce(&mut Superblock),
    ) -> Result<(), StorageError> {
        let (superblock, file) = &mut *lock(&self.superblock);
        change(superblock);
        superblock.store_next(file)
    }
}

/// A running store: what the public handles hold. When the last is dropped, the janitor ends and the directory is free.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) store: Arc<Store>,
    janitor: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(store: Store) -> Result<Self, StorageError> {
        let store = Arc::new(store);
        let janitor = if store.options.background {
            Some(crate::janitor::spawn(Arc::clone(&store))?)
        } else {
            None
        };
        Ok(Self { store, janitor })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.store.slots.stop();
        if let Some(janitor) = self.janitor.take() {
            // A janitor that panicked has nothing to say here; its poison is seen by the writer.
            drop(janitor.join());
        }
    }
}
