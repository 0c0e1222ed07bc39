//! Readers, writer, keeper and the background thread at the same time (P1, P16).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use posthaste_storage::disk::sim::Dice;
use posthaste_storage::disk::{Disk, RealDisk, SimDisk};
use posthaste_storage::{BodyBuilder, LogReader, Opened, Options, open};

use crate::check::options;
use crate::crash::Label;
use crate::model::Model;
use crate::tally::Tally;
use crate::world::{World, script};
use crate::{depth, seed};

/// The records of one run, told by its place: so that a reader knows what it must see.
fn batches(stream: u32, base_offset: u64) -> Bytes {
    let mut dice = Dice::new(u64::from(stream) << 48 ^ base_offset);
    let words = 20 + dice.index(60);
    (0..words).flat_map(|_| dice.roll().to_le_bytes()).collect()
}

/// How far the writer and the readers are.
#[derive(Debug, Default)]
struct Marks {
    /// Below may be gone.
    floor: AtomicU64,
    /// Above is nothing yet.
    next: AtomicU64,
    reads: AtomicU64,
    is_over: AtomicBool,
}

/// Commits and frees as fast as it can, until the readers had their share.
fn write_and_free(opened: &mut Opened, marks: &Marks, rounds: u64) {
    for round in 0.. {
        let is_enough = round >= rounds && marks.reads.load(Ordering::Relaxed) > 100;
        if is_enough || marks.is_over.load(Ordering::Relaxed) {
            break;
        }
        let mut body = BodyBuilder::new();
        for stream in [1, 2] {
            body.run(stream, round, 1, &[batches(stream, round)]);
        }
        let block = opened.writer.commit(round, body.finish()).unwrap();
        marks.next.store(round + 1, Ordering::Release);
        if round % 32 == 31 {
            // Stream 2 lags behind, so that readers of it are in the oldest segments, which are freed under their eyes.
            let keep_from = round.saturating_sub(80);
            marks.floor.store(keep_from, Ordering::Release);
            opened.keeper.checkpoint(block.end, b"", &[(1, round), (2, keep_from)]).unwrap();
        }
    }
}

fn read_along(reader: &LogReader, seed: u64, marks: &Marks) {
    let mut dice = Dice::new(seed);
    let _over = Over(marks);
    while !marks.is_over.load(Ordering::Relaxed) {
        let from = marks.floor.load(Ordering::Acquire);
        let to = marks.next.load(Ordering::Acquire);
        // At the very edge of what is freed, and sometimes below it.
        let offset = from.saturating_sub(dice.below(3)) + dice.below((to - from).min(20));
        let Some(run) = reader.read(2, offset).unwrap() else {
            assert!(offset >= to, "offset {offset} of {to} is not there");
            continue;
        };
        let is_freed = offset < marks.floor.load(Ordering::Acquire);
        assert!(run.base_offset == offset || is_freed, "{offset} is passed over");
        assert_eq!(run.batches, batches(2, run.base_offset), "bytes of another life");
        marks.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends all when one ends, also by a panic, so that the test fails and does not hang.
struct Over<'a>(&'a Marks);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

fn check_readers(disk: Arc<dyn Disk>, dir: &Path, options: Options, rounds: u64) {
    let opening = open(disk, dir, options).unwrap();
    let mut opened = opening.replay(&mut |_| Ok(())).unwrap();
    let marks = Marks::default();
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (reader, marks) = (opened.reader.clone(), &marks);
            scope.spawn(move || read_along(&reader, seed() + number, marks));
        }
        let _over = Over(&marks);
        write_and_free(&mut opened, &marks, rounds);
    });
    println!("{marks:?}");
}

#[test]
fn p16_a_reader_never_sees_bytes_of_another_life_of_a_segment() {
    // Goal: a segment is not used again while somebody reads it. How: tiny segments, no tail cache, readers at the edge of
    // what is freed; each run must be exactly what belongs to its offset.
    let small =
        Options { tail_cache_bytes: 0, footer_cache_bytes: 2_000, background: true, ..options() };
    check_readers(Arc::new(SimDisk::memory()), Path::new("data"), small.clone(), 800 * depth());
    let dir = tempfile::tempdir().unwrap();
    check_readers(Arc::new(RealDisk), dir.path(), small, 120 * depth());
}

#[test]
fn p01_confirmed_blocks_survive_with_the_background_thread_at_work() {
    // The thread makes the order of calls a matter of luck, so the same seed can take another course; the promise holds in all.
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut tally = Tally::of("crashes beside the background thread");
    for round in 0..15 * depth() {
        let label = format!("seed={seed} round={round}");
        let _label = Label(&label);
        let mut world = World::new(seed + round);
        world.options.background = true;
        world.disk.crash_at(1 + dice.below(300));
        let result = world.run(&script(dice.roll(), 60));
        assert!(result.is_ok() || world.disk.is_off(), "{result:?}");
        world.die();
        for disk in world.disk.crash_images(6) {
            tally.one("images");
            let mut again = World::on(disk, Model::clone(&world.model()), 1);
            again.open().unwrap();
            again.read_all();
        }
    }
}
