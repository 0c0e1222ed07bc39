//! [`SimDisk`]: a disk in memory, repeatable from a seed, that can lose, tear and damage everything a real one can.
//!
//! Two uses, one code. [`SimDisk::memory`] is a plain fast disk without faults, where a sync costs nothing. [`SimDisk::new`]
//! keeps page cache and media apart, so that a test can stop after any call and look at every state a power cut could leave
//! ([`SimDisk::crash_images`]), make calls fail ([`SimDisk::fail`]), or damage what is stored (`rot`).
//!
//! What it holds to be possible after a power cut: each 512-byte sector, each change of length and each change of a name that
//! no sync covered is independently there or not, and a sector can be torn. Dropping a file never syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Disk, DiskFile, OpenMode};

mod content;
mod crash;
mod dice;
mod fault;
mod file;
mod names;
mod rot;
mod sparse;

use content::Content;
use fault::Machine;
use file::SimFile;
use names::{Names, Node, clean};

pub use crash::Keep;
pub use dice::Dice;
pub use fault::{Call, Effect, Fault, Op, is_power_off};

/// A disk in memory. A clone is another handle to the same disk.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

struct Shared {
    /// Whether cache and media are kept apart and calls are counted.
    is_tracked: bool,
    machine: Mutex<Machine>,
    names: Mutex<Names>,
    files: Mutex<BTreeMap<u64, Arc<FileCell>>>,
    next_file: AtomicU64,
    locks: Arc<Mutex<BTreeSet<String>>>,
    space: Arc<Space>,
}

/// One file, whatever its names.
struct FileCell {
    content: RwLock<Content>,
    space: Arc<Space>,
}

/// Chunks taken by all files, and how many there are.
struct Space {
    taken: AtomicU64,
    capacity: AtomicU64,
}

impl Drop for FileCell {
    fn drop(&mut self) {
        let taken = self.read().chunks_taken();
        self.space.taken.fetch_sub(taken, Ordering::Relaxed);
    }
}

impl FileCell {
    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lock that a panic elsewhere has not made useless: every state under these locks is whole between calls.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call that was let through.
#[derive(Clone, Copy)]
struct Ticket {
    /// Orders this call among all; 0 where nothing is tracked.
    call: u64,
    effect: Option<Effect>,
    /// A sync is to do nothing and say that it worked.
    is_lying: bool,
}

impl SimDisk {
    /// A disk with page cache, media and faults. The seed decides everything that is left to chance.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::build(true, seed, Names::new(true), BTreeMap::new())
    }

    /// A plain disk in memory: nothing survives the process, and a sync costs nothing.
    #[must_use]
    pub fn memory() -> Self {
        Self::build(false, 0, Names::new(false), BTreeMap::new())
    }

    fn build(is_tracked: bool, seed: u64, names: Names, files: BTreeMap<u64, Content>) -> Self {
        let taken = files.values().map(Content::chunks_taken).sum();
        let space =
            Arc::new(Space { taken: AtomicU64::new(taken), capacity: AtomicU64::new(u64::MAX) });
        let next_file = files.last_key_value().map_or(1, |(number, _)| number + 1);
        let cell = |content| {
            Arc::new(FileCell { content: RwLock::new(content), space: Arc::clone(&space) })
        };
        let files = files.into_iter().map(|(number, content)| (number, cell(content))).collect();
        Self {
            shared: Arc::new(Shared {
                is_tracked,
                machine: Mutex::new(Machine::new(seed)),
                names: Mutex::new(names),
                files: Mutex::new(files),
                next_file: AtomicU64::new(next_file),
                locks: Arc::default(),
                space,
            }),
        }
    }

    /// Limits the bytes that files can take, in whole chunks of 4 KiB; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        let chunks = bytes.map_or(u64::MAX, |bytes| bytes / sparse::CHUNK_BYTES as u64);
        self.shared.space.capacity.store(chunks, Ordering::Relaxed);
    }

    /// Adds a rule that makes calls fail. No effect on a plain disk.
    pub fn fail(&self, fault: Fault) {
        locked(&self.shared.machine).faults.push(fault);
    }

    /// Takes all rules away.
    pub fn heal(&self) {
        locked(&self.shared.machine).faults.clear();
    }

    /// How often a rule struck.
    #[must_use]
    pub fn faults_struck(&self) -> u64 {
        locked(&self.shared.machine).struck
    }

    /// Calls so far, of every kind.
    #[must_use]
    pub fn calls(&self) -> u64 {
        locked(&self.shared.machine).calls
    }

    /// Calls so far that can change what a crash leaves: the places for [`SimDisk::crash_at`].
    #[must_use]
    pub fn changes(&self) -> u64 {
        locked(&self.shared.machine).changes
    }

    /// Takes the power away at the `change`-th changing call (from 1): it and all later calls do nothing and fail.
    pub fn crash_at(&self, change: u64) {
        locked(&self.shared.machine).crash_at = Some(change);
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        locked(&self.shared.machine).power_is_off
    }

    /// Makes every sync do nothing and say that it worked. Only to prove that a checker notices.
    pub fn lie(&self, is_lying: bool) {
        locked(&self.shared.machine).is_lying = is_lying;
    }

    /// Tells a function of each call before it is carried out; it may block the call. No effect on a plain disk.
    pub fn on_call(&self, hook: impl Fn(Call<'_>) + Send + Sync + 'static) {
        locked(&self.shared.machine).hook = Some(Arc::new(hook));
    }

    /// Counts a call and looks up what is to happen to it.
    fn enter(&self, op: Op, path: &Path) -> io::Result<Ticket> {
        self.enter_at(op, path, 0, 0)
    }

    /// [`SimDisk::enter`] of a read or write.
    fn enter_at(&self, op: Op, path: &Path, from: u64, len: usize) -> io::Result<Ticket> {
        if !self.shared.is_tracked {
            return Ok(Ticket { call: 0, effect: None, is_lying: false });
        }
        let call = Call { op, path, from, len };
        let mut machine = locked(&self.shared.machine);
        if let Some(hook) = machine.hook.clone() {
            drop(machine);
            hook(call);
            machine = locked(&self.shared.machine);
        }
        let effect = machine.enter(call)?;
        Ok(Ticket { call: machine.calls, effect, is_lying: machine.is_lying })
    }

    fn cell(&self, number: u64) -> io::Result<Arc<FileCell>> {
        locked(&self.shared.files)
            .get(&number)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<FileCell>> {
        let ticket = self.enter(Op::Create, path)?;
        let mut names = locked(&self.shared.names);
        if let Some(Node::File(number)) = names.node(path)? {
            // Another thread made it since the caller looked.
            return self.cell(number);
        }
        let number = self.shared.next_file.fetch_add(1, Ordering::Relaxed);
        names.create(ticket.call, path, number)?;
        let cell = Arc::new(FileCell {
            content: RwLock::new(Content::new(self.shared.is_tracked)),
            space: Arc::clone(&self.shared.space),
        });
        locked(&self.shared.files).insert(number, Arc::clone(&cell));
        Ok(cell)
    }

    /// Lets go of files that no name leads to any more.
    fn forget_unreachable(&self, names: &Names) {
        let reachable = names.reachable();
        locked(&self.shared.files).retain(|number, _| reachable.contains(number));
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let ticket = self.enter(Op::CreateDir, path)?;
        locked(&self.shared.names).make_dir(ticket.call, path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.enter(Op::List, path)?;
        locked(&self.shared.names).list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.enter(Op::Exists, path)?;
        Ok(locked(&self.shared.names).node(path)?.is_some())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let node = locked(&self.shared.names).node(path)?;
        let cell = match (node, mode) {
            (None, OpenMode::Create) => self.create(path)?,
            (node, _) => {
                self.enter(Op::Open, path)?;
                match node {
                    Some(Node::File(number)) => self.cell(number)?,
                    Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
                    None => return Err(io::ErrorKind::NotFound.into()),
                }
            }
        };
        let is_writable = mode != OpenMode::Read;
        Ok(Arc::new(SimFile { disk: self.clone(), path: path.to_path_buf(), cell, is_writable }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ticket = self.enter(Op::Rename, from)?;
        let mut names = locked(&self.shared.names);
        if names.rename(ticket.call, from, to)?.is_some() {
            self.forget_unreachable(&names);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let ticket = self.enter(Op::Remove, path)?;
        let mut names = locked(&self.shared.names);
        names.remove(ticket.call, path)?;
        self.forget_unreachable(&names);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let ticket = self.enter(Op::SyncDir, path)?;
        let mut names = locked(&self.shared.names);
        if ticket.is_lying || !self.shared.is_tracked {
            return if names.is_dir(path) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) };
        }
        names.settle(path)?;
        self.forget_unreachable(&names);
        Ok(())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.enter(Op::FreeBytes, path)?;
        let space = &self.shared.space;
        let capacity = space.capacity.load(Ordering::Relaxed);
        let free = capacity.saturating_sub(space.taken.load(Ordering::Relaxed));
        Ok(free.saturating_mul(sparse::CHUNK_BYTES as u64))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.enter(Op::Lock, path)?;
        let key = clean(path)?.into_owned();
        // The file stays, as a lock file does on a real disk.
        self.open(path, OpenMode::Create)?;
        if !locked(&self.shared.locks).insert(key.clone()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { key, locks: Arc::clone(&self.shared.locks) }))
    }
}

/// A held lock file.
struct SimLock {
    key: String,
    locks: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        locked(&self.locks).remove(&self.key);
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shape = f.debug_struct("SimDisk");
        shape
            .field("is_tracked", &self.shared.is_tracked)
            .field("machine", &*locked(&self.shared.machine));
        shape.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
