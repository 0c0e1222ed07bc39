//! A power cut after every change that the script makes on the disk, several survivors of each.
//!
//! `POSTHASTE_DEPTH=n` multiplies survivors; `SEED` repeats a run.

use super::rig::{EPOCH_MS, Rig};
use super::world::{History, World, check};
use crate::engine::Now;
use posthaste_storage::StorageError;
use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Effect, Fault, Keep, Op};
use std::io::ErrorKind;

fn from_env(key: &str, default: u64) -> u64 {
    std::env::var(key).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const START: Now = Now { wall_ms: EPOCH_MS, mono_ms: 0 };

/// Says where a run was when a check failed.
struct At(String);

impl Drop for At {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed at {}", self.0);
        }
    }
}

/// Lives until the power goes; what was promised until then.
fn live(disk: &SimDisk) -> (History, Result<(), StorageError>) {
    let mut history = History::default();
    let result = match Rig::open(disk, START) {
        Ok(rig) => World::new(rig, &mut history).live(disk),
        Err(crate::engine::start::OpenError::Storage(error)) => Err(error),
        Err(error) => panic!("a fresh store does not replay: {error}"),
    };
    (history, result)
}

fn changes_of_a_whole_life(seed: u64) -> u64 {
    let disk = SimDisk::new(seed);
    let (history, result) = live(&disk);
    result.unwrap_or_else(|error| panic!("the script runs to its end: {error}"));
    check(&disk.restart(), START, &history);
    disk.changes()
}

#[test]
fn p01_to_p06_hold_in_every_crash_image_of_a_brokers_life() {
    let (seed, depth) = (from_env("SEED", 1), from_env("POSTHASTE_DEPTH", 1));
    println!("SEED={seed} POSTHASTE_DEPTH={depth}");
    let changes = changes_of_a_whole_life(seed);
    let mut images = 0;
    for change in 1..=changes {
        let disk = SimDisk::new(seed.wrapping_mul(1_000_003).wrapping_add(change));
        disk.crash_at(change);
        let (history, result) = live(&disk);
        assert!(
            result.is_err() || !disk.is_off(),
            "change {change}: the script outlived the power"
        );
        let survivors = disk.crash_images(4 * usize::try_from(depth).expect("small"));
        for (number, image) in survivors.iter().enumerate() {
            let _at = At(format!("change {change}, image {number}"));
            check(image, START, &history);
            images += 1;
        }
    }
    println!("TALLY a broker's life cut off: {changes} crash points, {images} images");
    assert!(images > changes, "each crash point has survivors");
}

#[test]
fn p35_a_crash_inside_recovery_changes_nothing() {
    let (seed, depth) = (from_env("SEED", 2), from_env("POSTHASTE_DEPTH", 1));
    println!("SEED={seed} POSTHASTE_DEPTH={depth}");
    let changes = changes_of_a_whole_life(seed);
    let step = (23 / depth).max(1);
    for change in (5..=changes).step_by(usize::try_from(step).expect("small")) {
        let disk = SimDisk::new(seed.wrapping_mul(1_000_003).wrapping_add(change));
        disk.crash_at(change);
        let (history, _) = live(&disk);
        let image = disk.crash_images(1).remove(0);
        let whole = image.restart();
        let once = check(&whole, START, &history);
        for inner in 1..=12 {
            let _at = At(format!("change {change}, inner {inner}"));
            let nested = image.restart();
            nested.crash_at(inner);
            // The second cut strikes somewhere inside the start, or after it.
            drop(Rig::open(&nested, START));
            for survivor in nested.crash_images(2) {
                assert_eq!(
                    check(&survivor, START, &history),
                    once,
                    "change {change}, inner {inner}"
                );
            }
        }
    }
}

#[test]
fn p35_two_crashes_inside_recovery_change_nothing() {
    let (seed, depth) = (from_env("SEED", 4), from_env("POSTHASTE_DEPTH", 1));
    println!("SEED={seed} POSTHASTE_DEPTH={depth}");
    let changes = changes_of_a_whole_life(seed);
    let step = usize::try_from((97 / depth).max(1)).expect("small");
    let mut images = 0;
    for change in (3..=changes).step_by(step) {
        let disk = SimDisk::new(seed.wrapping_mul(1_000_003).wrapping_add(change));
        disk.crash_at(change);
        let (history, _) = live(&disk);
        let image = disk.crash_images(1).remove(0);
        let once = check(&image.restart(), START, &history);
        for (first, second) in
            (1..=9).flat_map(|first| [1, 2, 3, 5, 8].map(|second| (first, second)))
        {
            let _at = At(format!("change {change}, first {first}, second {second}"));
            let nested = image.restart();
            nested.crash_at(first);
            drop(Rig::open(&nested, START));
            let again = nested.crash_images(2).pop().expect("a survivor");
            again.crash_at(second);
            drop(Rig::open(&again, START));
            let survivor = again.crash_images(2).pop().expect("a survivor");
            assert_eq!(check(&survivor, START, &history), once);
            images += 1;
        }
    }
    println!(
        "TALLY two crashes inside a broker's recovery: {changes} crash points, {images} images"
    );
}

#[test]
fn p07_nothing_is_confirmed_after_a_sync_has_failed() {
    let seed = from_env("SEED", 3);
    println!("SEED={seed}");
    for nth in 0.. {
        let _at = At(format!("sync {nth}"));
        let disk = SimDisk::new(seed + nth);
        let fault = Fault::new(Op::Sync, Effect::ForgetWrites(ErrorKind::Other));
        disk.fail(fault.after(nth).on(".seg"));
        let (history, result) = live(&disk);
        if disk.faults_struck() == 0 {
            assert!(nth > 20, "the script syncs more often than that");
            return;
        }
        assert!(result.is_err(), "the broker went on");
        // P8: the page cache may say otherwise; what only it has must not be served.
        let survivor = disk.restart();
        survivor.heal();
        let served = check(&survivor, START, &history);
        survivor.evict();
        assert_eq!(check(&survivor.power_cut(Keep::Nothing), START, &history), served);
    }
}
