//! Measures the log alone: commits of several sizes, and a restart after a kill.
//!
//! `cargo run --release -p posthaste-storage --example log_speed -- DIR [SECONDS [CASE]]`
//!
//! Prints one line per case; CASE is a part of a case's name and chooses it. DIR must be on the disk to be measured and is
//! left empty.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use posthaste_storage::disk::RealDisk;
use posthaste_storage::{Body, BodyBuilder, Opened, Options, open};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: log_speed DIR [SECONDS [CASE]]")?;
    let seconds = arguments.next().map_or(Ok(3.0), |seconds| seconds.parse())?;
    let case = arguments.next().unwrap_or_default();
    let dir = Path::new(&dir).join("log-speed");
    for (label, batch_bytes, batches) in [
        ("1 x 100 B", 140, 1),
        ("16 x 4 KiB", 4096, 16),
        ("64 x 16 KiB", 16 << 10, 64),
        ("2,000 runs of 512 B", 0, 2_000),
    ] {
        if label.contains(&case) {
            commits(&dir, label, batch_bytes, batches, Duration::from_secs_f64(seconds))?;
        }
    }
    if "restart".contains(&case) {
        restart(&dir)?;
    }
    Ok(())
}

fn open_log(dir: &Path) -> Result<Opened, Box<dyn Error>> {
    let opening = open(Arc::new(RealDisk), dir, Options::default())?;
    Ok(opening.replay(&mut |_| Ok(()))?)
}

/// One stream, `batches` batches a block; with `batch_bytes` 0 every batch is a run of its own.
fn body(batch: &Bytes, batches: usize, offset: u64) -> Body {
    let mut builder = BodyBuilder::new();
    if batch.len() == 512 {
        for stream in (1..).take(batches) {
            builder.run(stream, offset, 1, std::slice::from_ref(batch));
        }
    } else {
        let records = u32::try_from(batches).unwrap_or(u32::MAX);
        builder.run(1, offset, records, &vec![batch.clone(); batches]);
    }
    builder.finish()
}

fn commits(
    dir: &Path,
    label: &str,
    batch_bytes: usize,
    batches: usize,
    long: Duration,
) -> Result<(), Box<dyn Error>> {
    let opened = open_log(dir)?;
    let mut writer = opened.writer;
    let batch = Bytes::from(vec![7; if batch_bytes == 0 { 512 } else { batch_bytes }]);
    let (start, mut times, mut bytes, mut offset) = (Instant::now(), Vec::new(), 0, 0);
    let (mut last_checkpoint, mut building) = (0, Duration::ZERO);
    while start.elapsed() < long {
        let begun = Instant::now();
        let body = body(&batch, batches, offset);
        building += begun.elapsed();
        offset += batches as u64;
        let begun = Instant::now();
        let block = writer.commit(0, body)?;
        times.push(begun.elapsed());
        bytes += block.body_len() as u64;
        if bytes - last_checkpoint > 1 << 30 {
            // As an engine would, on the log's own time, which is included.
            opened.keeper.checkpoint(block.end, b"", &[])?;
            last_checkpoint = bytes;
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_micros();
    println!(
        "commit {label}: {:.0} commits/s, {:.0} MB/s, p50 {} us, p99 {} us, p99.9 {} us, building {:.1} %",
        times.len() as f64 / elapsed,
        bytes as f64 / elapsed / 1e6,
        at(0.5),
        at(0.99),
        at(0.999),
        building.as_secs_f64() / elapsed * 100.0,
    );
    drop((writer, opened.reader, opened.keeper));
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// 2 million messages of 100 bytes, 1,000 in a batch, 5 batches a block; then opened without a clean stop.
fn restart(dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut opened = open_log(dir)?;
    let batch = Bytes::from(vec![7; 1_000 * 104]);
    for block in 0..400 {
        let mut builder = BodyBuilder::new();
        builder.run(1, block * 5_000, 5_000, &vec![batch.clone(); 5]);
        opened.writer.commit(0, builder.finish())?;
    }
    drop(opened);
    for round in ["right after", "once more"] {
        let begun = Instant::now();
        let opened = open_log(dir)?;
        println!("restart {round}: {:?}, {}", begun.elapsed(), opened.report);
    }
    std::fs::remove_dir_all(dir)?;
    let begun = Instant::now();
    let opened = open_log(dir)?;
    println!("start of an empty store: {:?}, {}", begun.elapsed(), opened.report);
    drop(opened);
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
