//! Reading sealed segments: `pread` into memory of our own against read-only memory maps.
//!
//! `cargo run --release -p posthaste-storage --example sealed_reads -- DIR [ROUNDS]`
//!
//! Reads and verifies every wanted run of a file of 128 MiB, as a consumer that catches up does: all runs one after another,
//! or one run in every MiB (one queue of many). From the page cache and after it was dropped. Prints MB/s of wanted bytes:
//! median, lowest and highest of all rounds. DIR must be on the disk to be measured.

use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use posthaste_storage::disk::{Disk, DiskFile, OpenMode, RealDisk};
use rustix::fs::{Advice, fadvise};

const SEGMENT_BYTES: u64 = 128 << 20;
const MIB: u64 = 1 << 20;

/// A way to get the bytes of one run.
#[derive(Clone, Copy)]
enum Way {
    /// One `pread` into a buffer that is handed on.
    Pread,
    /// A map of just the run.
    MapRun,
    /// A map of a window, kept until a run outside of it is wanted.
    MapWindow(u64),
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: sealed_reads DIR [ROUNDS]")?;
    let rounds = arguments.next().map_or(Ok(7), |rounds| rounds.parse())?;
    let path = Path::new(&dir).join("sealed-reads.seg");
    let file = RealDisk.open(&path, OpenMode::Create)?;
    let chunk: Vec<u8> = (0..MIB).map(|at| (at * 31 % 251) as u8).collect();
    for at in (0..SEGMENT_BYTES).step_by(MIB as usize) {
        file.write_at(&[IoSlice::new(&chunk)], at)?;
    }
    file.sync_data()?;
    println!("run bytes | wanted | cache | way | MB/s median (lowest to highest of {rounds})");
    for run in [1 << 10, 16 << 10, 128 << 10, 1 << 20] {
        for (wanted, step) in [("all", run), ("one per MiB", MIB)] {
            for cache in ["warm", "cold"] {
                let ways = [
                    ("pread", Way::Pread),
                    ("map of the run", Way::MapRun),
                    ("map of 1 MiB", Way::MapWindow(MIB)),
                    ("map of the segment", Way::MapWindow(SEGMENT_BYTES)),
                ];
                for (name, way) in ways {
                    let speeds =
                        speeds(&*file, &path, (run, step), (way, cache == "cold"), rounds)?;
                    println!("{run} | {wanted} | {cache} | {name} | {speeds}");
                }
            }
            if run == step && run == MIB {
                break;
            }
        }
    }
    std::fs::remove_file(path)?;
    Ok(())
}

fn speeds(
    file: &dyn DiskFile,
    path: &Path,
    (run, step): (u64, u64),
    (way, is_cold): (Way, bool),
    rounds: usize,
) -> Result<String, Box<dyn Error>> {
    let mut speeds = Vec::new();
    for _ in 0..rounds {
        if is_cold {
            fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
        }
        let start = Instant::now();
        let mut window = (0..0, Bytes::new());
        let mut bytes = 0;
        for at in (0..SEGMENT_BYTES).step_by(step as usize) {
            let run = at..at + run;
            bytes += run.end - run.start;
            black_box(crc32fast::hash(&get(file, way, run, &mut window)?));
        }
        speeds.push(bytes as f64 / start.elapsed().as_secs_f64() / 1e6);
    }
    speeds.sort_by(f64::total_cmp);
    let (low, high) = (speeds[0], speeds[rounds - 1]);
    Ok(format!("{:.0} ({low:.0} to {high:.0})", speeds[rounds / 2]))
}

fn get(
    file: &dyn DiskFile,
    way: Way,
    run: Range<u64>,
    window: &mut (Range<u64>, Bytes),
) -> Result<Bytes, Box<dyn Error>> {
    match way {
        Way::Pread => {
            let mut bytes = vec![0; (run.end - run.start) as usize];
            file.read_at(&mut bytes, run.start)?;
            Ok(Bytes::from(bytes))
        }
        Way::MapRun => {
            let page = run.start / 4096 * 4096;
            let map = file.map(page..run.end)?.ok_or("the disk has no maps")?;
            Ok(map.slice((run.start - page) as usize..))
        }
        Way::MapWindow(bytes) => {
            if !window.0.contains(&run.start) {
                let start = run.start / bytes * bytes;
                let range = start..start + bytes;
                let map = file.map(range.clone())?.ok_or("the disk has no maps")?;
                *window = (range, map);
            }
            let start = (run.start - window.0.start) as usize;
            Ok(window.1.slice(start..start + (run.end - run.start) as usize))
        }
    }
}
