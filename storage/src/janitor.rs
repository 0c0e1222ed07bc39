//! The work beside the log, so that a roll never waits: spares made ready, footers written, dead files given back.
//!
//! [`round`] is one turn of it. With [`Options::background`](crate::Options) a thread does it when it is woken (a roll, a freed
//! segment), and writes zeros over spares while little is written. A failed write or sync here ends writing, as everywhere.

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
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentId};
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
/// Zeros written between two syncs, so that a commit never waits long behind them.
const PREWRITE_BYTES: usize = 1 << 20;

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
        let is_full = match round(store) {
            Ok(is_full) => is_full,
            Err(error) => {
                store.poison.set(error);
                return;
            }
        };
        let prewrites = store.options.prewrite && store.slots.has_unwritten();
        let timeout = match (is_full, prewrites) {
            (true, _) => Some(RETRY_AFTER),
            (false, true) => Some(IDLE_FOR),
            (false, false) => None,
        };
        let is_woken = store.slots.wait(timeout);
        let Some(rate) = demand.bytes_per_second(store.progress.appended()) else { continue };
        store.slots.set_demand(rate);
        if !is_woken && prewrites && rate < IDLE_BYTES_PER_SECOND {
            prewrite(store);
        }
    }
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

/// One turn; whether the disk was too full for it.
pub(crate) fn round(store: &Store) -> Result<bool, StorageError> {
    write_footers(store)?;
    shrink(store)?;
    let mut is_full = false;
    loop {
        match store.slots.prepare() {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.is_no_space() => {
                is_full = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    store.slots.trim()?;
    Ok(is_full)
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

/// Gives back the unused rest of segments that a restart ended early.
fn shrink(store: &Store) -> Result<(), StorageError> {
    let short: Vec<_> = {
        let mut catalogue = write(&store.catalogue);
        let entries = catalogue.segments.values_mut();
        let short = entries.filter(|entry| entry.is_short && matches!(entry.held, Held::Footer));
        short
            .map(|entry| {
                entry.is_short = false;
                (Arc::clone(&entry.id), entry.end)
            })
            .collect()
    };
    for (id, end) in short {
        let Ok((segment, used, len)) = measure(store, &id, end) else {
            // A read that failed costs nothing but the space, until the next round.
            if let Some(entry) = write(&store.catalogue).segments.get_mut(&id.seq) {
                entry.is_short = true;
            }
            continue;
        };
        if used < len / 4 * 3 {
            segment
                .file
                .set_len(used)
                .map_err(|cause| StorageError::io("shorten", &segment.path, used, cause))?;
            store.slots.shrunk(len - used);
            if let Some(entry) = write(&store.catalogue).segments.get_mut(&id.seq) {
                entry.file_len = used;
            }
        }
    }
    Ok(())
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
    match write_zeros(&spare.segment, || store.slots.is_stopping()) {
        Ok(is_written) => {
            spare.is_written = is_written;
            store.slots.put_back(spare);
        }
        // What of it is on the disk, nobody knows: it is made ready again before it is used.
        Err(error) if error.is_no_space() => store.slots.retire_spare(spare),
        Err(error) => store.poison.set(error),
    }
}

/// Writes zeros over a segment behind its header, and syncs them. `false`: it was told to stop.
fn write_zeros(segment: &Segment, is_stopping: impl Fn() -> bool) -> Result<bool, StorageError> {
    let mut at = SEGMENT_HEADER_BYTES;
    let mut parts = Vec::new();
    while at < segment.id.size {
        if is_stopping() {
            return Ok(false);
        }
        let mut left = PREWRITE_BYTES.min((segment.id.size - at) as usize);
        let len = left as u32;
        parts.clear();
        while left > 0 {
            let part = left.min(ZEROS.len());
            parts.push(IoSlice::new(&ZEROS[..part]));
            left -= part;
        }
        segment.write_synced("write zeros over", &parts, at)?;
        at += len;
    }
    Ok(true)
}
