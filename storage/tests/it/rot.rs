//! Flipped bits in synced bytes (P10).

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Dice, Keep};
use posthaste_storage::{Options, StorageError};

use crate::check::{self, options};
use crate::crash::Label;
use crate::damage::{Verdict, examine, file_of};
use crate::model::{Known, Model, Sizes};
use crate::world::{Step, World};
use crate::{depth, seed};

/// A small store with sealed segments, closed on purpose, so that every block has a later witness.
fn small_store(seed: u64) -> (SimDisk, Model) {
    let mut world = World::new(seed);
    world.sizes = Sizes { one_run_in: 2, run_bytes_max: 900 };
    world.options.spares = 3;
    world.run(&[Step::Commit; 40]).unwrap();
    world.seal().unwrap();
    let model = world.model().clone();
    (world.disk.power_cut(Keep::Nothing), model)
}

pub(crate) fn quarantine() -> Options {
    Options { quarantine: true, ..options() }
}

/// Where the bytes of a confirmed block are that a checksum covers.
pub(crate) fn covered_bytes(
    disk: &SimDisk,
    known: &Known,
) -> (std::path::PathBuf, std::ops::Range<u64>) {
    let start = u64::from(known.lsn.offset());
    (file_of(disk, known), start..start + 96 + known.body_len as u64)
}

#[test]
fn p10_a_flipped_bit_in_a_block_is_detected_and_never_delivered() {
    // Goal: no flip of a bit in a stored block goes unnoticed, none is handed out, and only its block is lost. How: one bit
    // in `step`, all of them with POSTHASTE_DEPTH=1024; open as always, and open past the damage.
    let seed = seed();
    let (disk, model) = small_store(seed);
    let step = (1_024 / depth()).max(1);
    let mut flips = 0;
    for known in &model.log {
        let (path, bytes) = covered_bytes(&disk, known);
        let bits = bytes.start * 8 + (seed + known.number) % step..bytes.end * 8;
        for bit in bits.step_by(usize::try_from(step).unwrap()) {
            let label = format!("seed={seed} {} bit {bit}", path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            damaged.flip_bit(&path, bit).unwrap();
            let verdict = examine(&damaged.restart(), &model, options());
            assert!(matches!(verdict, Verdict::Refused(StorageError::Damaged(_))), "{verdict:?}");
            let past = examine(&damaged, &model, quarantine());
            assert_eq!(past.found().missing, std::slice::from_ref(known), "{past:?}");
            assert!(!past.damaged().is_empty());
            flips += 1;
        }
    }
    println!("{flips} flips");
    assert!(flips > 50);
}

#[test]
fn p10_a_flipped_bit_anywhere_never_changes_what_is_delivered() {
    // Goal: also outside of blocks (headers, superblock, index, spares, padding) a flip never loses or changes a block in
    // silence. How: one bit in `step` of every file.
    let seed = seed();
    let (disk, model) = small_store(seed);
    let step = (4_096 / depth()).max(1);
    let mut refused = 0;
    for path in disk.files() {
        let bits = disk.bytes(&path).unwrap().len() as u64 * 8;
        for bit in (seed % step..bits).step_by(usize::try_from(step).unwrap()) {
            let label = format!("seed={seed} {} bit {bit}", path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            damaged.flip_bit(&path, bit).unwrap();
            match examine(&damaged, &model, options()) {
                Verdict::Refused(_) => refused += 1,
                Verdict::Opened(found) => {
                    assert!(found.missing.is_empty() && found.skipped == 0, "{found:?}");
                    assert_eq!(found.report.cut_bytes, 0, "{found:?}");
                }
            }
        }
    }
    println!("{refused} refused");
}

#[test]
fn p10_a_flipped_bit_in_a_header_or_the_superblock_is_detected() {
    let seed = seed();
    let (disk, model) = small_store(seed);
    let step = (1_024 / depth()).max(1);
    let path = file_of(&disk, &model.log[0]);
    for bit in (seed % step..4_096 * 8).step_by(usize::try_from(step).unwrap()) {
        let label = format!("seed={seed} {} bit {bit}", path.display());
        let _label = Label(&label);
        let damaged = disk.restart();
        damaged.flip_bit(&path, bit).unwrap();
        let verdict = examine(&damaged, &model, options());
        assert!(verdict.is_detected(), "{verdict:?}");
        if let Verdict::Opened(found) = &verdict {
            assert!(found.is_complete(), "{found:?}");
        }
    }
}

#[test]
fn p10_a_damaged_superblock_copy_never_hides_what_came_after_it() {
    // Goal: when the newest copy is bad the older one counts, which says that the log was closed earlier. What came later must
    // still be found. How: close, open, commit, die; damage one copy, then the other.
    let seed = seed();
    let mut world = World::after(seed, &[Step::Commit, Step::SealAndReopen, Step::Commit]);
    world.run(&[Step::Commit, Step::Beacon]).unwrap();
    world.die();
    let model = world.model().clone();
    let disk = world.disk.power_cut(Keep::Nothing);
    let path = std::path::Path::new(check::DIR).join("SUPER");
    for page in 0..2 {
        let damaged = disk.restart();
        damaged.flip_bit(&path, page * 4_096 * 8 + 99).unwrap();
        let mut found = model.clone();
        match check::recover(&damaged, &mut found, options()) {
            Ok(opened) => {
                check::read_all(&opened.reader, &found);
                assert!(!opened.report.clean, "{}", opened.report);
            }
            Err(error) => assert!(matches!(error, StorageError::Damaged(_)), "{error:?}"),
        }
    }
}

#[test]
fn p10_what_lies_below_the_checkpoint_is_verified_when_it_is_read() {
    let seed = seed();
    let mut world = World::after(seed, &[Step::Commit; 25]);
    let model = {
        // A checkpoint that keeps every record alive, so that nothing is replayed and everything is read from files.
        let covered = world.model().log.last().unwrap().end;
        let state = vec![9; 10];
        let floors: Vec<(u32, u64)> = world.model().streams.keys().map(|id| (*id, 0)).collect();
        world.log().keeper.checkpoint(covered, &state, &floors).unwrap();
        let blocks = world.model().log.len();
        world.model().states.insert(state, crate::model::State { blocks, covered });
        world.seal().unwrap();
        world.model().clone()
    };
    let disk = world.disk.power_cut(Keep::Nothing);
    let mut dice = Dice::new(seed);
    let mut detected = 0;
    for known in &model.log {
        for _ in 0..4 * depth() {
            let (path, bytes) = covered_bytes(&disk, known);
            let bit = bytes.start * 8 + dice.below((bytes.end - bytes.start) * 8);
            let label = format!("seed={seed} {} bit {bit}", path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            damaged.flip_bit(&path, bit).unwrap();
            let verdict = examine(&damaged, &model, options());
            if let Verdict::Opened(found) = &verdict {
                assert!(found.missing.is_empty() && found.skipped == 0, "{found:?}");
            }
            detected += u32::from(verdict.is_detected());
        }
    }
    println!("{detected} detected");
    assert!(detected > 0);
}
