//! [`Slots`]: the segment files. Spares are made ready before they are needed; dead segments are used again.
//!
//! A spare has its space, and a header with a new sequence number and salt, synced. A dead file becomes a spare only when
//! nobody holds its old [`SegmentId`] any more. What a failed preparation made is removed again.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::block::mix;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::StorageError;
use crate::locks::lock;
use crate::mutant::mutant;
use crate::options::Options;
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentId, cut, slot_name};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex};

/// LIMIT: segments that publishes leave for acknowledgements, and for the next start, on a full disk.
const KEPT_FOR_ACKS: u64 = 3;
/// LIMIT: dead files kept for later use while little is written, and while new segments are large because much is.
const STOCK: [usize; 2] = [2, 8];
/// How long the free space that the system reported is believed.
const FREE_FOR: Duration = Duration::from_millis(50);

/// A segment file that is ready for its first block.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) segment: Segment,
    /// All its bytes were written before, which makes syncs cheaper.
    pub(crate) is_written: bool,
}

/// A file that the log does not need.
#[derive(Debug)]
pub(crate) struct DeadSlot {
    pub(crate) slot: u32,
    pub(crate) len: u64,
    /// Its last life, which readers may still hold.
    pub(crate) pin: Option<Arc<SegmentId>>,
    pub(crate) is_written: bool,
}

/// Whether a new file may take the space that is kept for checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    KeepReserve,
    /// Opening a store must work on a full disk.
    UseReserve,
}

#[derive(Debug)]
struct State {
    /// By sequence number.
    ready: VecDeque<Spare>,
    dead: VecDeque<DeadSlot>,
    next_slot: u32,
    next_seq: u32,
    /// Bytes of all segment files.
    log_bytes: u64,
    /// The size of new files.
    class_bytes: u32,
    free: Option<(u64, Instant)>,
    is_stopping: bool,
    is_woken: bool,
}

/// The segment files of one log.
#[derive(Debug)]
pub(crate) struct Slots {
    disk: Arc<dyn Disk>,
    log_dir: PathBuf,
    store: [u8; 16],
    options: Options,
    state: Mutex<State>,
    wake: Condvar,
    /// A commit waits for a segment, and there is no room for one.
    is_waited_for: AtomicBool,
}

/// What is known of the files at the start.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) dead: Vec<DeadSlot>,
    pub(crate) next_slot: u32,
    pub(crate) next_seq: u32,
    pub(crate) log_bytes: u64,
}

impl Slots {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        log_dir: PathBuf,
        store: [u8; 16],
        options: Options,
        found: Inventory,
    ) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dead: found.dead.into(),
            next_slot: found.next_slot.max(1),
            next_seq: found.next_seq.max(1),
            log_bytes: found.log_bytes,
            class_bytes: options.segment_bytes,
            free: None,
            is_stopping: false,
            is_woken: false,
        };
        Self {
            disk,
            log_dir,
            store,
            options,
            state: Mutex::new(state),
            wake: Condvar::new(),
            is_waited_for: AtomicBool::new(false),
        }
    }

    /// A spare with a sequence number above `after_seq`, made now if none is ready.
    pub(crate) fn take(&self, after_seq: u32, room: Room) -> Result<Spare, StorageError> {
        loop {
            let ready = lock(&self.state).ready.pop_front();
            match ready {
                // One that was made while a later one was already used: it gets a new number.
                Some(spare) if spare.segment.id.seq <= after_seq => self.retire_spare(spare),
                Some(spare) => return Ok(spare),
                None => return self.make(room),
            }
        }
    }

    /// Makes one more spare ready if there are too few; whether it did.
    pub(crate) fn prepare(&self) -> Result<bool, StorageError> {
        if lock(&self.state).ready.len() >= self.options.spares {
            return Ok(false);
        }
        let spare = self.make(Room::KeepReserve)?;
        self.put_back(spare);
        Ok(true)
    }

    /// Puts a spare among the ready ones.
    pub(crate) fn put_back(&self, spare: Spare) {
        let mut state = lock(&self.state);
        let seq = spare.segment.id.seq;
        let at = state.ready.partition_point(|ready| ready.segment.id.seq < seq);
        state.ready.insert(at, spare);
    }

    /// Takes the spare that would be used last, if it was never written.
    pub(crate) fn take_unwritten(&self) -> Option<Spare> {
        let mut state = lock(&self.state);
        let at = state.ready.iter().rposition(|spare| !spare.is_written)?;
        state.ready.remove(at)
    }

    pub(crate) fn has_unwritten(&self) -> bool {
        lock(&self.state).ready.iter().any(|spare| !spare.is_written)
    }

    /// Takes a file that the log does not need any more.
    pub(crate) fn retire(&self, dead: DeadSlot) {
        lock(&self.state).dead.push_back(dead);
    }

    /// Takes back a spare that cannot be used as it is.
    pub(crate) fn retire_spare(&self, spare: Spare) {
        let id = spare.segment.id;
        self.retire(DeadSlot {
            slot: id.slot,
            len: u64::from(id.size),
            pin: None,
            is_written: spare.is_written,
        });
    }

    /// Gives up to `left` bytes of dead files beyond the stock back to the disk; what is left of `left`.
    pub(crate) fn trim(&self, mut left: u64) -> Result<u64, StorageError> {
        let is_large = lock(&self.state).class_bytes > self.options.segment_bytes;
        while left > 0
            && let Some(mut dead) = self.take_free(STOCK[usize::from(is_large)])
        {
            let path = self.log_dir.join(slot_name(dead.slot));
            let given = dead.len.min(left);
            if given == dead.len {
                self.disk
                    .remove(&path)
                    .map_err(|cause| StorageError::io("remove", &path, 0, cause))?;
            } else {
                dead.len -= given;
                cut(&*self.open(&path)?, &path, dead.len)?;
                lock(&self.state).dead.push_front(dead);
            }
            self.shrunk(given);
            left -= given;
        }
        Ok(left)
    }

    /// A dead file that nobody reads, if there are more than `keep`.
    fn take_free(&self, keep: usize) -> Option<DeadSlot> {
        let mut state = lock(&self.state);
        for _ in 0..state.dead.len() {
            if state.dead.len() <= keep {
                return None;
            }
            let mut dead = state.dead.pop_front()?;
            match dead.pin.take().map(Arc::try_unwrap) {
                None | Some(Ok(_)) => return Some(dead),
                Some(Err(_)) if mutant("reuse-pinned-segment") => return Some(dead),
                Some(Err(held)) => {
                    dead.pin = Some(held);
                    state.dead.push_back(dead);
                }
            }
        }
        None
    }

    /// Makes a spare of a dead file, or of a new one.
    fn make(&self, room: Room) -> Result<Spare, StorageError> {
        // A dead file that would have to grow may find no space where another needs none.
        let dead_count = lock(&self.state).dead.len();
        for _ in 0..dead_count {
            let Some(dead) = self.take_free(0) else { break };
            match self.make_again(&dead) {
                Err(error) if error.is_no_space() => {}
                made => return made,
            }
        }
        self.make_new(room)
    }

    fn make_again(&self, dead: &DeadSlot) -> Result<Spare, StorageError> {
        let path = self.log_dir.join(slot_name(dead.slot));
        let (mut len, mut is_written) = (dead.len, dead.is_written);
        let made = self.open(&path).and_then(|file| {
            if !is_written {
                // Its last writer may be a process that met a bad disk.
                file.forget();
            }
            let size = dead.len.max(u64::from(self.options.segment_bytes));
            if !is_written || size > dead.len {
                allocate(&*file, &path, size)?;
                is_written &= size == dead.len;
                lock(&self.state).log_bytes += size - dead.len;
                len = size;
            }
            self.stamp(file, dead.slot, len)
        });
        let segment = made.inspect_err(|_| {
            self.retire(DeadSlot { slot: dead.slot, len, pin: None, is_written: false });
        })?;
        Ok(Spare { segment, is_written })
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn DiskFile>, StorageError> {
        self.disk
            .open(path, OpenMode::ReadWrite)
            .map_err(|cause| StorageError::io("open", path, 0, cause))
    }

    fn make_new(&self, room: Room) -> Result<Spare, StorageError> {
        let size = u64::from(self.size_of_new(room)?);
        let slot = {
            let mut state = lock(&self.state);
            state.next_slot += 1;
            state.next_slot - 1
        };
        let path = self.log_dir.join(slot_name(slot));
        let made = self
            .disk
            .open(&path, OpenMode::Create)
            .map_err(|cause| StorageError::io("create", &path, 0, cause))
            .and_then(|file| {
                allocate(&*file, &path, size)?;
                let segment = self.stamp(file, slot, size)?;
                if mutant("skip-directory-sync") {
                    return Ok(segment);
                }
                // ORDER: the name is durable before the first block, or a crash could lose the whole file.
                self.disk
                    .sync_dir(&self.log_dir)
                    .map_err(|cause| StorageError::io("sync", &self.log_dir, 0, cause))?;
                Ok(segment)
            });
        let segment = made.inspect_err(|_| {
            if mutant("failed-allocation-stays") {
                return;
            }
            // Leaves nothing behind; if this fails too, the next start finds a file that it may use.
            drop(self.disk.remove(&path));
        })?;
        lock(&self.state).log_bytes += size;
        Ok(Spare { segment, is_written: false })
    }

    /// Writes and syncs a header with a new sequence number and salt.
    fn stamp(&self, file: Arc<dyn DiskFile>, slot: u32, len: u64) -> Result<Segment, StorageError> {
        let seq = {
            let mut state = lock(&self.state);
            state.next_seq += 1;
            state.next_seq - 1
        };
        let id = SegmentId {
            slot,
            seq,
            salt: self.salt(seq),
            size: u32::try_from(len).unwrap_or(u32::MAX) & !(SEGMENT_HEADER_BYTES - 1),
        };
        let path = self.log_dir.join(slot_name(slot));
        let segment = Segment { file, path: Arc::new(path), id: Arc::new(id) };
        let header = segment.id.encode(&self.store);
        segment.write_synced("stamp", &[IoSlice::new(&header)], 0)?;
        Ok(segment)
    }

    fn salt(&self, seq: u32) -> u64 {
        match self.options.seed {
            Some(seed) => mix(mix(seed) ^ u64::from(seq)),
            None => crate::random::random_u64(),
        }
    }

    /// The size for a new file: smaller when the disk is nearly full.
    fn size_of_new(&self, room: Room) -> Result<u32, StorageError> {
        let (class, small) = (lock(&self.state).class_bytes, self.options.segment_bytes);
        let free = self.free_bytes(true);
        let reserve = match room {
            Room::KeepReserve => self.options.reserve_bytes,
            Room::UseReserve => 0,
        };
        let left = free.saturating_sub(reserve);
        if left >= u64::from(class) * 4 {
            Ok(class)
        } else if left >= u64::from(small) {
            Ok(small)
        } else {
            Err(StorageError::NoSpace {
                operation: "make a segment in",
                path: self.log_dir.clone(),
                cause: None,
            })
        }
    }

    /// Free bytes of the disk; what could not be asked counts as it was before.
    fn free_bytes(&self, now: bool) -> u64 {
        let before = lock(&self.state).free;
        let is_fresh = before.is_some_and(|(_, when)| when.elapsed() < FREE_FOR);
        if let Some((free, _)) = before
            && is_fresh
            && !now
            && self.options.background
        {
            return free;
        }
        match self.disk.free_bytes(&self.log_dir) {
            Ok(free) => {
                lock(&self.state).free = Some((free, Instant::now()));
                free
            }
            Err(_) => before.map_or(u64::MAX, |(free, _)| free),
        }
    }

    /// Notes that a commit waits for room, or does not any more.
    pub(crate) fn set_waited_for(&self, is_waited_for: bool) {
        self.is_waited_for.store(is_waited_for, Ordering::Relaxed);
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.is_waited_for.load(Ordering::Relaxed)
    }

    /// Free bytes, bytes of all segment files, and whether publishes leave enough for acknowledgements.
    pub(crate) fn space(&self) -> (u64, u64, bool) {
        let free = self.free_bytes(false);
        let state = lock(&self.state);
        let usable = free.saturating_sub(self.options.reserve_bytes);
        let segments = (state.ready.len() + state.dead.len()) as u64
            + usable / u64::from(self.options.segment_bytes);
        // What the system calls free may not be to be had: a quota, or nothing left below the file system.
        let is_enough = segments > KEPT_FOR_ACKS && !self.is_waited_for();
        (free, state.log_bytes, is_enough || mutant("reserve-ignored"))
    }

    /// Sets the size of new files by what is being written: a segment should last for seconds.
    pub(crate) fn set_demand(&self, bytes_per_second: u64) {
        let small = self.options.segment_bytes;
        let large = self.options.segment_bytes_max.max(small);
        let class = [small.saturating_mul(8), small.saturating_mul(4)]
            .into_iter()
            .map(|class| class.min(large))
            .find(|class| u64::from(*class) <= bytes_per_second.saturating_mul(4))
            .unwrap_or(small);
        lock(&self.state).class_bytes = class;
    }

    /// A file became smaller.
    pub(crate) fn shrunk(&self, by: u64) {
        let mut state = lock(&self.state);
        state.log_bytes = state.log_bytes.saturating_sub(by);
    }

    /// Wakes the janitor.
    pub(crate) fn wake(&self) {
        lock(&self.state).is_woken = true;
        self.wake.notify_all();
    }

    /// Ends the janitor.
    pub(crate) fn stop(&self) {
        lock(&self.state).is_stopping = true;
        self.wake.notify_all();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        lock(&self.state).is_stopping
    }

    /// Waits until it is woken or stopped, or for `timeout`; whether it was woken.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = lock(&self.state);
        while !state.is_woken && !state.is_stopping {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return false,
                Some(left) => match self.wake.wait_timeout(state, left) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                },
                None => match self.wake.wait(state) {
                    Ok(state) => state,
                    Err(poisoned) => poisoned.into_inner(),
                },
            };
        }
        std::mem::take(&mut state.is_woken)
    }
}

fn allocate(file: &dyn DiskFile, path: &Path, size: u64) -> Result<(), StorageError> {
    file.allocate(size).map_err(|cause| StorageError::io("reserve space for", path, 0, cause))
}

#[cfg(test)]
mod tests;
