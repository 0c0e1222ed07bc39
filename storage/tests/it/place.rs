//! Bytes with good checksums in a place or at a time where they do not belong (P11).

use std::path::{Path, PathBuf};

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Dice, Keep};

use crate::check::options;
use crate::crash::Label;
use crate::damage::{Verdict, checkpoints, examine, file_of, segments};
use crate::model::{Known, Model};
use crate::rot::covered_bytes;
use crate::tally::Tally;
use crate::world::{Step, World, script};
use crate::{depth, seed};

/// Nothing is missing in silence.
fn check_noticed_or_complete(disk: &SimDisk, model: &Model) -> bool {
    match examine(disk, model, options()) {
        Verdict::Refused(_) => true,
        Verdict::Opened(found) => {
            assert!(found.missing.is_empty() && found.skipped == 0, "{found:?}");
            found.unreadable > 0 || !found.report.damaged.is_empty()
        }
    }
}

#[test]
fn p11_sectors_of_another_time_or_place_are_never_taken_for_the_log() {
    // Goal: bytes with good checksums that are not where or when they belong are noticed. How: a store whose segments were
    // used before; sectors go back to their older content, land elsewhere, or change places.
    let seed = seed();
    let mut world = World::after(seed, &script(seed, 120));
    world.checkpoint().unwrap();
    world.run(&[Step::Commit; 12]).unwrap();
    world.seal().unwrap();
    let (model, disk) = (world.model().clone(), world.disk.power_cut(Keep::Nothing));
    let mut dice = Dice::new(seed);
    let files = disk.files();
    let mut noticed = 0;
    for round in 0..400 * depth() {
        let damaged = disk.restart();
        let (one, other) = (pick(&mut dice, &damaged, &files), pick(&mut dice, &damaged, &files));
        let kind = dice.below(4);
        let label = format!("seed={seed} round={round} kind={kind} {one:?} {other:?}");
        let _label = Label(&label);
        match kind {
            0 => drop(damaged.stale_sector(one.0, one.1).unwrap()),
            1 => damaged.misdirect_sector(one, other).unwrap(),
            2 => damaged.swap_sectors(one, other).unwrap(),
            _ => damaged.zero_sector(one.0, one.1).unwrap(),
        }
        noticed += u32::from(check_noticed_or_complete(&damaged, &model));
    }
    println!("{noticed} noticed");
    assert!(noticed > 20);
}

fn pick<'a>(dice: &mut Dice, disk: &SimDisk, files: &'a [PathBuf]) -> (&'a Path, u64) {
    loop {
        let path = &files[dice.index(files.len())];
        let sectors = disk.bytes(path).unwrap().len() as u64 / 512;
        if sectors > 0 {
            return (path, dice.below(sectors));
        }
    }
}

#[test]
fn p11_no_sector_can_be_zero_older_or_another_without_notice() {
    // Goal: as above, without luck. How: every sector zero, and as it was before; every pair of sectors, of all files, exchanged,
    // and one of them in place of the other. One pair in 256; all with POSTHASTE_DEPTH=256.
    let seed = seed();
    let mut tally = Tally::of("sectors");
    let mut world = World::after(seed, &script(seed, 120));
    world.checkpoint().unwrap();
    world.run(&[Step::Commit; 12]).unwrap();
    world.seal().unwrap();
    let (model, disk) = (world.model().clone(), world.disk.power_cut(Keep::Nothing));
    let files = disk.files();
    let count = |path: &PathBuf| disk.bytes(path).unwrap().len() as u64 / 512;
    let all: Vec<(&Path, u64)> = files
        .iter()
        .flat_map(|path| (0..count(path)).map(move |number| (path.as_path(), number)))
        .collect();
    let mut look = |kind: &'static str, label: &str, damage: &dyn Fn(&SimDisk)| {
        let label = format!("seed={seed} {kind} {label}");
        let _label = Label(&label);
        let damaged = disk.restart();
        damage(&damaged);
        tally.one(kind);
        tally.add("noticed", u64::from(check_noticed_or_complete(&damaged, &model)));
    };
    let odds = (256 / depth()).max(1);
    let mut dice = Dice::new(seed);
    for one in &all {
        let label = format!("{one:?}");
        look("zeroed", &label, &|disk| disk.zero_sector(one.0, one.1).unwrap());
        look("stale", &label, &|disk| {
            disk.stale_sector(one.0, one.1).unwrap();
        });
        for other in all.iter().filter(|other| *other != one) {
            if dice.one_in(odds) {
                let label = format!("{one:?} {other:?}");
                look("misdirected", &label, &|disk| disk.misdirect_sector(*one, *other).unwrap());
                look("swapped", &label, &|disk| disk.swap_sectors(*one, *other).unwrap());
            }
        }
    }
    assert!(tally.count("noticed") > 20);
}

#[test]
fn p11_a_segment_of_an_earlier_moment_is_never_taken_for_the_present_one() {
    // Goal: one file restored from an old copy, or copied over another, loses nothing in silence.
    let seed = seed();
    for round in 0..4 * depth() {
        let mut world = World::after(seed + round, &script(seed + round, 40));
        let old = world.disk.power_cut(Keep::Nothing);
        world.run(&script(seed + round + 50, 40)).unwrap();
        world.seal().unwrap();
        let (model, disk) = (world.model().clone(), world.disk.power_cut(Keep::Nothing));
        for path in disk.files() {
            let mut others = vec![(path.clone(), &old)];
            others.extend(
                segments(&disk).into_iter().chain(checkpoints(&disk)).map(|path| (path, &disk)),
            );
            for (other, from) in others {
                let Ok(bytes) = from.bytes(&other) else {
                    continue;
                };
                let label =
                    format!("seed={} {} over {}", seed + round, other.display(), path.display());
                let _label = Label(&label);
                let damaged = disk.restart();
                damaged.put(&path, &bytes).unwrap();
                check_noticed_or_complete(&damaged, &model);
            }
        }
    }
}

#[test]
fn p11_files_of_another_history_of_the_same_store_are_never_taken_for_ours() {
    // Goal: a backup was started beside the original, so that both have segments with the same numbers; one file of it lands in
    // the original. How: fork a disk, go on with other bodies and other salts, put files and pieces of files over.
    let seed = seed();
    let mut dice = Dice::new(seed);
    for round in 0..4 * depth() {
        let mut world = World::after(seed + round, &script(seed + round, 25));
        world.die();
        let mut other = World::on(world.disk.restart(), world.model().clone(), !seed);
        world.options.seed = Some(seed ^ 0xA);
        other.options.seed = Some(seed ^ 0xB);
        for world in [&mut world, &mut other] {
            world.run(&[Step::Commit; 20]).unwrap();
            world.seal().unwrap();
        }
        let (disk, model) = (world.disk.power_cut(Keep::Nothing), world.model().clone());
        for path in other.disk.files() {
            let (Ok(theirs), Ok(ours)) = (other.disk.bytes(&path), disk.bytes(&path)) else {
                continue;
            };
            let label = format!("seed={} {}", seed + round, path.display());
            let _label = Label(&label);
            let damaged = disk.restart();
            damaged.put(&path, &theirs).unwrap();
            check_noticed_or_complete(&damaged, &model);
            let end = ours.len().min(theirs.len()) / 512;
            for _ in 0..10 * end.min(1) {
                let from = dice.index(end);
                let to = from + 1 + dice.index((end - from).min(8));
                let label = format!("{label} sectors {from}..{to}");
                let _label = Label(&label);
                let damaged = disk.restart();
                damaged.overwrite(&path, &theirs[from * 512..to * 512], from as u64 * 512).unwrap();
                check_noticed_or_complete(&damaged, &model);
            }
        }
    }
}

#[test]
fn p11_whole_blocks_in_the_place_of_others_are_damage() {
    // Goal: a block that is good in itself counts only where it belongs. How: each pair of blocks of one length changes places,
    // or one is there twice.
    let seed = seed();
    let mut world = World::after(seed, &[Step::Commit; 60]);
    world.seal().unwrap();
    let (disk, model) = (world.disk.power_cut(Keep::Nothing), world.model().clone());
    let len = |known: &Known| known.end.0 - known.lsn.0;
    let mut dice = Dice::new(seed);
    let mut pairs = 0;
    for one in &model.log {
        for other in
            model.log.iter().filter(|other| other.number > one.number && len(other) == len(one))
        {
            if !dice.one_in((12 / depth()).max(1)) {
                continue;
            }
            let label = format!("seed={seed} {:?} and {:?}", one.lsn, other.lsn);
            let _label = Label(&label);
            let places = [one, other]
                .map(|known| (file_of(&disk, known), covered_bytes(&disk, known).1.start));
            let block = |place: &(PathBuf, u64)| {
                let start = usize::try_from(place.1).unwrap();
                disk.bytes(&place.0).unwrap()[start..][..usize::try_from(len(one)).unwrap()]
                    .to_vec()
            };
            let swapped = disk.restart();
            let copied = disk.restart();
            for (from, to) in [(0, 1), (1, 0)] {
                swapped.overwrite(&places[to].0, &block(&places[from]), places[to].1).unwrap();
            }
            copied.overwrite(&places[1].0, &block(&places[0]), places[1].1).unwrap();
            for damaged in [swapped, copied] {
                let verdict = examine(&damaged, &model, options());
                assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
            }
            pairs += 1;
        }
    }
    println!("{pairs} pairs");
    assert!(pairs > 5);
}
