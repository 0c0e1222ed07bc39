//! The work beside the log, so that a roll never waits: spares made ready, footers written, dead files given back.
//!
//! [`round`] is one turn of it. With [`Options::background`](crate::Options) a thread does it when it is woken (a roll, a freed
//! segment), and writes zeros over spares while little is written. A failed write or sync here ends writing, as everywhere.
//!
//! What it writes and gives back goes in small steps with a pause after each, for a sync of the log waits behind them: a file
//! system that tells the disk of freed space (`discard`) held syncs up for 0.3 s when a file of 256 MiB was removed at once.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catalogue::Held;
use crate::disk::OpenMode;
use crate::error::StorageError;
use crate::fields::round_up;
use crate::footer;
use crate::index::RunIndex;
use crate::locks::{read, write};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentId, cut};
use crate::store::Store;
use crate::sync::thread::{self, JoinHandle};

/// How long a full disk is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How long little must have been written before spares are written over.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// The shortest time over which demand is measured.
const MEASURED_FOR: Duration = Duration::from_millis(50);
/// What counts as little.
const IDLE_BYTES_PER_SECOND: u64 = 20_000_000;
static ZEROS: [u8; 256 * 1024] = [0; 256 * 1024];
/// Zeros written between two syncs, so that a commit never waits long behind them. Less is not better: each sync of new space
/// is a commit of the file system, which all others wait for.
const ZEROS_BYTES: u32 = 1 << 20;
/// How long the disk is left to the log between two steps that give space back: somebody may want it.
const PAUSE: Duration = Duration::from_millis(5);
/// And between two steps of zeros, which nobody waits for.
const ZEROS_PAUSE: Duration = Duration::from_millis(100);

/// Starts the thread.
pub(crate) fn spawn(store: Arc<Store>) -> Result<JoinHandle<()>, StorageError> {
    let dir = store.places.dir.clone();
    thread::Builder::new()
        .name("posthaste-janitor".into())
        .spawn(move || run(&store))
        .map_err(|cause| StorageError::io("start the janitor of", &dir, 0, cause))
}

fn run(store: &Store) {
    let mut demand = Demand { written: store.progress.appended(), since: Instant::now() };
    while !store.slots.is_stopping() {
        let after = match round(store) {
            Ok(after) => after,
            Err(error) => {
                store.poison.set(error);
                return;
            }
        };
        let prewrites = store.options.prewrite && store.slots.has_unwritten();
        let timeout = match after {
            After::More => Some(PAUSE),
            After::Full => Some(RETRY_AFTER),
            After::Done => prewrites.then_some(IDLE_FOR),
        };
        let is_woken = store.slots.wait(timeout);
        let Some(rate) = demand.bytes_per_second(store.progress.appended()) else { continue };
        store.slots.set_demand(rate);
        if prewrites && is_idle(is_woken, after, rate) {
            prewrite(store);
        }
    }
}

/// Whether there is nothing else to do, and little is written.
fn is_idle(is_woken: bool, after: After, bytes_per_second: u64) -> bool {
    !is_woken && after == After::Done && bytes_per_second < IDLE_BYTES_PER_SECOND
}

/// How fast the log grows, measured over times that are long enough to mean something.
struct Demand {
    written: u64,
    since: Instant,
}

impl Demand {
    fn bytes_per_second(&mut self, written: u64) -> Option<u64> {
        let elapsed = self.since.elapsed();
        if elapsed < MEASURED_FOR {
            return None;
        }
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let rate = (written - self.written).saturating_mul(1_000) / millis;
        *self = Self { written, since: Instant::now() };
        Some(rate)
    }
}

/// What is left after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Done,
    /// There may be more to give back.
    More,
    /// The disk was too full for a spare.
    Full,
}

/// One turn.
pub(crate) fn round(store: &Store) -> Result<After, StorageError> {
    write_footers(store)?;
    let is_full = !prepare(store)?;
    let left = shrink(store, store.options.give_back_bytes)?;
    let left = store.slots.trim(left)?;
    Ok(match (left, is_full) {
        (0, _) => After::More,
        (_, true) => After::Full,
        (_, false) => After::Done,
    })
}

/// Makes spares; whether there was room for them.
fn prepare(store: &Store) -> Result<bool, StorageError> {
    loop {
        match store.slots.prepare() {
            Ok(true) => {}
            Ok(false) => return Ok(true),
            Err(error) if error.is_no_space() => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Writes the index of each segment that has ended, and forgets it.
fn write_footers(store: &Store) -> Result<(), StorageError> {
    for (segment, index, end) in frozen(store) {
        if let Err(error) = write_footer(&segment, &index, end) {
            // It stays in memory; the next start makes it again.
            return if error.is_no_space() { Ok(()) } else { Err(error) };
        }
        let mut catalogue = write(&store.catalogue);
        if let Some(entry) = catalogue.segments.get_mut(&segment.id.seq) {
            entry.held = Held::Footer;
            entry.open = None;
        }
    }
    Ok(())
}

fn frozen(store: &Store) -> Vec<(Segment, Arc<RunIndex>, u32)> {
    let catalogue = read(&store.catalogue);
    let entries = catalogue.segments.values();
    let frozen = entries.filter_map(|entry| match (&entry.held, &entry.open) {
        (Held::Frozen(index), Some(segment)) => {
            Some((segment.clone(), Arc::clone(index), entry.end))
        }
        _ => None,
    });
    frozen.collect()
}

/// Writes the index of a segment behind its blocks, without a sync: it is derived.
pub(crate) fn write_footer(
    segment: &Segment,
    index: &RunIndex,
    end: u32,
) -> Result<(), StorageError> {
    let bytes = footer::encode(index, &segment.id, end);
    segment.file.write_at(&[IoSlice::new(&bytes)], u64::from(end)).map_err(|cause| {
        StorageError::io("write the index of", &segment.path, u64::from(end), cause)
    })
}

/// Gives up to `left` bytes of segments back that a restart ended early; what is left of `left`.
fn shrink(store: &Store, mut left: u64) -> Result<u64, StorageError> {
    for (id, end) in short(store) {
        if left == 0 {
            break;
        }
        // A read that failed costs nothing but the space, until the next round.
        let Ok((segment, used, len)) = measure(store, &id, end) else { continue };
        let is_worth_it = used < len / 4 * 3;
        let to = if is_worth_it { used.max(len.saturating_sub(left)) } else { len };
        if to < len {
            cut(&*segment.file, &segment.path, to)?;
            store.slots.shrunk(len - to);
            left -= len - to;
        }
        if let Some(entry) = write(&store.catalogue).segments.get_mut(&id.seq) {
            entry.file_len = to;
            entry.is_short = to > used && is_worth_it;
        }
    }
    Ok(left)
}

fn short(store: &Store) -> Vec<(Arc<SegmentId>, u32)> {
    let catalogue = read(&store.catalogue);
    let entries = catalogue.segments.values();
    let short = entries.filter(|entry| entry.is_short && matches!(entry.held, Held::Footer));
    short.map(|entry| (Arc::clone(&entry.id), entry.end)).collect()
}

/// A segment that has its index: how much of its file is used, and how long that is.
fn measure(
    store: &Store,
    id: &Arc<SegmentId>,
    end: u32,
) -> Result<(Segment, u64, u64), StorageError> {
    let sealed = store.sealed(id, end)?;
    let used =
        round_up(u64::from(end) + sealed.footer.len() as u64, u64::from(SEGMENT_HEADER_BYTES));
    let segment = store.open_segment(id, OpenMode::ReadWrite)?;
    let len =
        segment.file.len().map_err(|cause| StorageError::io("look at", &segment.path, 0, cause))?;
    Ok((segment, used, len))
}

/// Writes zeros over one spare, so that later syncs need not note where its bytes are.
fn prewrite(store: &Store) {
    let Some(mut spare) = store.slots.take_unwritten() else { return };
    let is_needed = || store.slots.wait(Some(ZEROS_PAUSE)) || store.slots.is_stopping();
    match write_zeros(&spare.segment, is_needed) {
        Ok(is_written) => {
            spare.is_written = is_written;
            store.slots.put_back(spare);
        }
        // What of it is on the disk, nobody knows: it is made ready again before it is used.
        Err(error) if error.is_no_space() => store.slots.retire_spare(spare),
        Err(error) => store.poison.set(error),
    }
}

/// Writes zeros over a segment behind its header, and syncs them. `false`: there is something else to do.
fn write_zeros(segment: &Segment, is_needed: impl Fn() -> bool) -> Result<bool, StorageError> {
    let mut at = SEGMENT_HEADER_BYTES;
    while at < segment.id.size {
        if is_needed() {
            return Ok(false);
        }
        let mut left = ZEROS_BYTES.min(segment.id.size - at) as usize;
        let start = at;
        let mut parts = Vec::new();
        while left > 0 {
            let part = &ZEROS[..left.min(ZEROS.len())];
            parts.push(IoSlice::new(part));
            left -= part.len();
            at += part.len() as u32;
        }
        segment.write_synced("write zeros over", &parts, start)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
