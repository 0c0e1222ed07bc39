//! Every bit of a mixed store of 1 MiB, turned over (P10).
//!
//! What is tried, and what is argued. The log is a function of the bytes it reads. So the bytes that opening, replaying and
//! reading every live record ask for are recorded first, and each flip is tried against what reads it:
//!
//! - read while opening: the whole store is opened and replayed, compared, and opened past the damage; records in the damaged
//!   file are read;
//! - read while reading a record: that record is read, with the index of its segment not in memory where the flip is there;
//! - read by nobody: nothing to try. That the argument holds is tested itself: one flip in 64 of *all* bits also opens, replays
//!   and reads everything.
//!
//! By hand every bit (POSTHASTE_DEPTH=64); in CI one in 64, and one in 512 of those that opening reads. The lines `BITS` say what each kind of place did: what is not noticed
//! because it has no meaning (padding, spares) or because nobody reads it any more is counted there, not hidden. What nobody reads
//! now is refused by its checksum when somebody does: the decoders of headers, indexes, checkpoints and superblocks have tests of
//! their own with every bit turned over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::Op;
use posthaste_storage::{Opened, Options, StorageError};

use crate::check;
use crate::crash::Label;
use crate::damage::{Verdict, examine, replay_past};
use crate::mixed::{Kind, Map, STORE_BYTES, forgetful_options, mixed_options, mixed_store};
use crate::model::{Model, Stream};
use crate::tally::Tally;
use crate::{depth, seed};

/// What became of a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The store was not opened.
    Refused,
    /// It was opened, and the report says what is damaged.
    Reported,
    /// A record could not be read, and the reader said so.
    ReadRefused,
    /// It was read, not believed and made up for by another copy, or had no meaning; everything was there.
    Harmless,
    /// Nobody read it.
    Unread,
}

/// One bit of a file, to be named.
struct Bit<'a>(&'a Path, u64);

impl fmt::Display for Bit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bit {}", self.0.display(), self.1)
    }
}

/// Which bytes of which file.
type Ranges = BTreeMap<PathBuf, Vec<Range<u64>>>;

/// The bytes that `work` reads.
fn reads_of(disk: &SimDisk, work: impl FnOnce()) -> Ranges {
    let reads = Arc::new(Mutex::new(Ranges::new()));
    let sink = Arc::clone(&reads);
    disk.on_call(move |call| {
        if call.op == Op::Read {
            let range = call.from..call.from + call.len as u64;
            sink.lock().unwrap().entry(call.path.to_path_buf()).or_default().push(range);
        }
    });
    work();
    disk.on_call(|_| {});
    let reads = reads.lock().unwrap();
    reads.clone()
}

fn holds(reads: &Ranges, path: &Path, byte: u64) -> bool {
    reads.get(path).is_some_and(|ranges| ranges.iter().any(|range| range.contains(&byte)))
}

/// Bytes of a file that are for the same and read by the same.
struct Piece {
    bytes: Range<u64>,
    kind: Kind,
    is_read_by_opening: bool,
    /// Which of the records.
    readers: Vec<usize>,
}

/// One live record as it is asked for.
struct Record {
    stream: u32,
    offset: u64,
    /// Which run of the stream.
    run: usize,
    reads: Ranges,
}

/// The store, what it promised, and who reads what.
struct Rig {
    disk: SimDisk,
    model: Model,
    /// Opened once, to read records from; the files of the log as they were.
    opened_disk: SimDisk,
    opened: Opened,
    opening: Ranges,
    records: Vec<Record>,
    tally: Tally,
    table: BTreeMap<(Kind, Outcome), u64>,
    /// What the newest checkpoint covers.
    covered: u64,
}

impl Rig {
    fn new(seed: u64) -> Self {
        let (disk, mut model) = mixed_store(seed);
        // A damaged checkpoint leaves the older one.
        let covered = model.checkpoint.take().unwrap().0;
        let opened_disk = disk.restart();
        let mut opened = None;
        let opening = reads_of(&opened_disk, || {
            opened =
                Some(check::verify_damaged(&opened_disk, &model, &forgetful_options()).unwrap());
        });
        let opened = opened.unwrap();
        let mut records = Vec::new();
        for (stream, known) in &model.streams {
            for (run, offset) in live_runs(known) {
                records.push(Record { stream: *stream, offset, run, reads: Ranges::new() });
            }
        }
        let mut rig = Self {
            disk,
            model,
            opened_disk,
            opened,
            opening,
            records,
            tally: Tally::of("bits"),
            table: BTreeMap::new(),
            covered,
        };
        rig.record_reads();
        rig
    }

    /// Notes what each record reads, the index of its segment included.
    fn record_reads(&mut self) {
        let reads = |rig: &Self, record: &Record| {
            reads_of(&rig.opened_disk, || assert!(!rig.refuses(record), "a record is not there"))
        };
        let mut seen: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for number in 0..self.records.len() {
            let warm = reads(self, &self.records[number]);
            let path = warm.keys().next().unwrap().clone();
            seen.entry(path.clone()).or_insert(number);
            self.records[number].reads = warm;
        }
        for number in 0..self.records.len() {
            let path = self.records[number].reads.keys().next().unwrap();
            for other in seen.iter().filter(|(other, _)| *other != path).map(|(_, other)| other) {
                self.refuses(&self.records[*other]);
            }
            self.records[number].reads = reads(self, &self.records[number]);
        }
    }

    /// Reads one record of the opened store. True: refused. Panics if anything else but the record is handed out.
    fn refuses(&self, record: &Record) -> bool {
        let run = &self.model.streams[&record.stream].runs[record.run];
        match self.opened.reader.read(record.stream, record.offset) {
            Ok(Some(read)) if read == *run => false,
            Ok(other) => panic!("{other:?} in place of {run:?}"),
            Err(error) => {
                assert!(matches!(error, StorageError::Damaged(_)), "{error:?}");
                true
            }
        }
    }

    /// The pieces of a file that the same readers read.
    fn pieces(&self, map: &Map) -> Vec<Piece> {
        let path = &map.path;
        let mut cuts: BTreeSet<u64> = [0, map.bytes.len() as u64].into();
        cuts.extend(map.parts.iter().map(|(range, _)| range.start as u64));
        let records = self.records.iter().map(|record| &record.reads);
        for ranges in records.chain([&self.opening]).filter_map(|reads| reads.get(path)) {
            cuts.extend(ranges.iter().flat_map(|range| [range.start, range.end]));
        }
        let cuts: Vec<u64> =
            cuts.into_iter().filter(|cut| *cut <= map.bytes.len() as u64).collect();
        let piece = |ends: &[u64]| Piece {
            bytes: ends[0]..ends[1],
            kind: map.kind(usize::try_from(ends[0]).unwrap()),
            is_read_by_opening: holds(&self.opening, path, ends[0]),
            readers: (0..self.records.len())
                .filter(|record| holds(&self.records[*record].reads, path, ends[0]))
                .collect(),
        };
        cuts.windows(2).map(piece).collect()
    }

    /// Tries one flip against everything that reads the byte.
    fn flip(&mut self, path: &Path, piece: &Piece, bit: u64) -> Outcome {
        if piece.is_read_by_opening {
            return self.flip_and_open(path, bit, piece.kind);
        }
        if piece.readers.is_empty() {
            assert_ne!(piece.kind, Kind::Replayed, "a block that nobody reads");
            return Outcome::Unread;
        }
        if piece.kind == Kind::Index {
            self.forget_index_of(path);
        }
        self.opened_disk.flip_bit(path, bit).unwrap();
        let refuses = |record: &&usize| self.refuses(&self.records[**record]);
        let refused = piece.readers.iter().filter(refuses).count();
        self.opened_disk.flip_bit(path, bit).unwrap();
        self.tally.add("records read", piece.readers.len() as u64);
        if piece.kind == Kind::Index {
            self.forget_index_of(path);
            assert_eq!(refused, 0, "the index is made again");
            return Outcome::Harmless;
        }
        assert_eq!((piece.kind, refused), (Kind::Covered, piece.readers.len()));
        Outcome::ReadRefused
    }

    /// Reads a record with the index of another segment: only one index is kept in memory.
    fn forget_index_of(&self, path: &Path) {
        let has_index = |ranges: &Vec<Range<u64>>| ranges.len() > 2;
        let other = self.records.iter().find(|record| {
            !record.reads.contains_key(path) && record.reads.values().all(has_index)
        });
        assert!(!self.refuses(other.unwrap()));
    }

    /// Opens the whole store with one bit turned over, and past the damage.
    fn flip_and_open(&mut self, path: &Path, bit: u64, kind: Kind) -> Outcome {
        let damaged = self.disk.restart();
        damaged.flip_bit(path, bit).unwrap();
        self.tally.one("opened");
        let (damaged_again, model) = (damaged.restart(), &self.model);
        match check::verify_damaged(&damaged, model, &mixed_options()) {
            Err(StorageError::Damaged(damage)) => {
                assert_eq!(damage.path, path, "{damage}");
                assert_eq!(kind, Kind::Replayed, "{damage}");
                self.open_past(&damaged_again, damage.from.offset());
                Outcome::Refused
            }
            Err(error) => panic!("{error:?}"),
            Ok(opened) => {
                assert_ne!(kind, Kind::Replayed, "a damaged block was taken");
                assert_eq!(opened.report.cut_bytes, 0);
                // The records of the damaged file, as this start sees them.
                for record in self.records.iter().filter(|r| r.reads.contains_key(path)) {
                    let run = &model.streams[&record.stream].runs[record.run];
                    let read = opened.reader.read(record.stream, record.offset).unwrap();
                    assert_eq!(read.as_ref(), Some(run));
                }
                if opened.report.damaged.is_empty() { Outcome::Harmless } else { Outcome::Reported }
            }
        }
    }

    /// With quarantine, nothing but the damaged block is missing from the replay.
    fn open_past(&mut self, damaged: &SimDisk, offset: u32) {
        let past = Options { quarantine: true, ..mixed_options() };
        let (missing, report) = replay_past(damaged, &self.model, past);
        assert!(!report.damaged.is_empty(), "{report}");
        assert!(missing.len() <= 1, "{missing:?}");
        assert!(missing.iter().all(|known| known.lsn.offset() == offset), "{missing:?}");
        self.tally.one("opened past the damage");
    }

    /// Opens, replays and reads everything, whoever reads the byte; the outcome must be no worse than the argument says.
    fn flip_and_try_all(&mut self, path: &Path, bit: u64, outcome: Outcome) {
        let damaged = self.disk.restart();
        damaged.flip_bit(path, bit).unwrap();
        let verdict = examine(&damaged, &self.model, mixed_options());
        let is_refused = matches!(verdict, Verdict::Refused(_));
        assert_eq!(is_refused, outcome == Outcome::Refused, "{verdict:?}");
        if let Verdict::Opened(found) = verdict {
            assert!(found.missing.is_empty() && found.skipped == 0, "{found:?}");
            assert_eq!(found.unreadable > 0, outcome == Outcome::ReadRefused, "{found:?}");
            assert_eq!(!found.report.damaged.is_empty(), outcome == Outcome::Reported);
        }
        self.tally.one("tried against everything");
    }
}

fn live_runs(stream: &Stream) -> Vec<(usize, u64)> {
    let live = stream.runs.iter().enumerate().filter(|(_, run)| run.end_offset() > stream.floor);
    live.map(|(number, run)| (number, run.base_offset)).collect()
}

#[test]
fn p10_every_bit_of_a_mixed_store_is_detected_or_means_nothing() {
    let seed = seed();
    let mut rig = Rig::new(seed);
    let covered = rig.covered;
    for path in rig.disk.files() {
        let map = Map::of(&rig.disk, &path, covered);
        rig.tally.add("bytes", map.bytes.len() as u64);
        for piece in rig.pieces(&map) {
            let stride = if piece.is_read_by_opening { 512 } else { 64 };
            // Odd, so that it meets each bit of a word.
            let stride = (stride / if depth() < 64 { depth() } else { 512 }) | 1;
            let start = piece.bytes.start * 8;
            let first = start + (seed % stride + stride - start % stride) % stride;
            for bit in (first..piece.bytes.end * 8).step_by(usize::try_from(stride).unwrap()) {
                let label = Bit(&path, bit);
                let _label = Label(&label);
                let outcome = rig.flip(&path, &piece, bit);
                *rig.table.entry((piece.kind, outcome)).or_default() += 1;
                rig.tally.one("flips");
                if rig.tally.count("flips").is_multiple_of(64) {
                    rig.flip_and_try_all(&path, bit, outcome);
                }
            }
        }
    }
    for ((kind, outcome), count) in &rig.table {
        println!("BITS {kind:?} {outcome:?}: {count}");
    }
    let of = |kind, outcome| rig.table.get(&(kind, outcome)).copied().unwrap_or(0);
    rig.tally.add("delivered wrong", 0);
    assert!(rig.tally.count("bytes") >= STORE_BYTES as u64, "{}", rig.tally);
    assert!(
        of(Kind::Replayed, Outcome::Refused) > 0 && of(Kind::Covered, Outcome::ReadRefused) > 0
    );
    assert!(of(Kind::Checkpoint, Outcome::Reported) > 0 && of(Kind::Index, Outcome::Harmless) > 0);
    assert_eq!(of(Kind::Checkpoint, Outcome::Harmless), 0);
}
