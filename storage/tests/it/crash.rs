//! A power cut at every call that can change the disk, several images each (P1, P2, P20).

use std::fmt;
use std::sync::{Arc, Mutex};

use posthaste_storage::Options;
use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::Dice;

use crate::check;
use crate::model::{Model, Sizes};
use crate::tally::Tally;
use crate::world::{Step, World, script};
use crate::{depth, seed};

/// One state that a crash can leave, and what was promised at that moment.
pub(crate) struct Case {
    pub(crate) label: CaseName,
    pub(crate) disk: SimDisk,
    pub(crate) model: Arc<Model>,
    pub(crate) options: Options,
}

impl Case {
    /// The world after the crash. The disk of the case stays as it is.
    pub(crate) fn world(&self) -> World {
        let mut world = World::on(self.disk.restart(), (*self.model).clone(), 99);
        world.options = self.options.clone();
        world
    }
}

/// Which image of a crash at which call.
#[derive(Debug, Clone)]
pub(crate) struct CaseName {
    of: Arc<str>,
    pub(crate) change: u64,
    image: usize,
}

impl fmt::Display for CaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} change={} image={}", self.of, self.change, self.image)
    }
}

/// Says which case failed.
pub(crate) struct Label<'a, D: fmt::Display>(pub(crate) &'a D);

impl<D: fmt::Display> Drop for Label<'_, D> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("failed: {}", self.0);
        }
    }
}

/// Does `work` on a world and collects what a crash right before each changing call, and one after the last, would leave:
/// `images` says how.
pub(crate) fn crash_everywhere(
    world: &mut World,
    images: impl Fn(&SimDisk) -> Vec<SimDisk> + Clone + Send + Sync + 'static,
    label: &str,
    work: impl FnOnce(&mut World),
) -> Vec<Case> {
    let cases = Arc::new(Mutex::new(Vec::new()));
    let options = world.options.clone();
    let collect = {
        let (disk, model, cases) =
            (world.disk.clone(), Arc::clone(&world.model), Arc::clone(&cases));
        let of: Arc<str> = label.into();
        move || {
            let change = disk.changes() + 1;
            let model = Arc::new(model.lock().unwrap().clone());
            let mut cases = cases.lock().unwrap();
            for (image, disk) in images(&disk).into_iter().enumerate() {
                let label = CaseName { of: Arc::clone(&of), change, image };
                let (model, options) = (Arc::clone(&model), options.clone());
                cases.push(Case { label, disk, model, options });
            }
        }
    };
    let at_call = collect.clone();
    world.disk.on_call(move |call| {
        if call.op.changes() {
            at_call();
        }
    });
    work(world);
    collect();
    // The hook holds the disk and the disk the hook.
    world.disk.on_call(|_| {});
    std::mem::take(&mut *cases.lock().unwrap())
}

/// All cases of one script on a new store.
fn cases_of_script(seed: u64, steps: &[Step], images: usize) -> Vec<Case> {
    cases_of(World::new(seed), seed, steps, images)
}

fn cases_of(mut world: World, seed: u64, steps: &[Step], images: usize) -> Vec<Case> {
    cases_named(&mut world, &format!("seed={seed}"), images, |world| world.run(steps).unwrap())
}

/// All cases of what `work` does, at most `images` at each call.
pub(crate) fn cases_named(
    world: &mut World,
    label: &str,
    images: usize,
    work: impl FnOnce(&mut World),
) -> Vec<Case> {
    crash_everywhere(world, move |disk: &SimDisk| disk.crash_images(images), label, work)
}

impl Case {
    /// What a crash right before each changing call of this disk's recovery, and one after the last, leaves. The recovery is
    /// held against the model on the way.
    pub(crate) fn crashes_in_recovery(&self, images: usize) -> Vec<Self> {
        let disk = self.disk.restart();
        let found = Arc::new(Mutex::new(Vec::new()));
        let collect = {
            let (found, hooked) = (Arc::clone(&found), disk.clone());
            move || found.lock().unwrap().push((hooked.changes() + 1, hooked.crash_images(images)))
        };
        let at_call = collect.clone();
        disk.on_call(move |call| {
            if call.op.changes() {
                at_call();
            }
        });
        check::verify(&disk, &self.model, &self.options).unwrap();
        collect();
        disk.on_call(|_| {});
        let of: Arc<str> = format!("{} /", self.label).into();
        let case = |change, (image, disk)| Self {
            label: CaseName { of: Arc::clone(&of), change, image },
            disk,
            model: Arc::clone(&self.model),
            options: self.options.clone(),
        };
        let found = std::mem::take(&mut *found.lock().unwrap());
        let cases = found.into_iter().flat_map(|(change, images)| {
            images.into_iter().enumerate().map(move |image| (change, image))
        });
        cases.map(|(change, image)| case(change, image)).collect()
    }

    /// Recovers the disk of the case itself and compares; how many blocks the log has.
    pub(crate) fn verify(&self) -> usize {
        let found = check::verify(&self.disk, &self.model, &self.options).unwrap();
        found.read_all(&self.model);
        found.blocks
    }
}

/// Goes on after a crash: recovers, compares, works, and looks again.
pub(crate) fn live_on(case: &Case, steps: &[Step]) -> World {
    let mut world = case.world();
    world.open().unwrap();
    world.read_all();
    world.run(steps).unwrap();
    world.read_all();
    world
}

#[test]
fn p01_confirmed_blocks_survive_every_crash_image() {
    // Goal: no crash loses a confirmed block, and the log works on afterwards. How: a script with rolls, checkpoints, reclaim,
    // recycling, clean and unclean restarts; all places for a crash; a restart after the work that follows, too.
    let seed = seed();
    let mut tally = Tally::of("crashes of random scripts");
    for round in 0..depth() {
        let seed = seed + round;
        for case in cases_of_script(seed, &script(seed, 60), 4) {
            let _label = Label(&case.label);
            live_on(&case, &[Step::Commit, Step::Reopen, Step::Commit]);
            tally.one("images");
        }
    }
    assert!(tally.count("images") > 500);
}

#[test]
fn p02_an_unconfirmed_block_is_there_whole_or_not_at_all() {
    // Goal: a crash in the middle of a commit leaves all of the block or nothing. How: bodies of many sectors, many images of
    // each commit; both outcomes must have been seen.
    let seed = seed();
    let mut tally = Tally::of("commits cut off");
    for round in 0..2 * depth() {
        // Blocks of several sectors, and blocks of many pages.
        let is_large = round % 2 == 1;
        let mut world = World::new(seed + round / 2);
        world.options = if is_large { check::large_options() } else { check::options() };
        let run_bytes_max = if is_large { 30_000 } else { 2_400 };
        world.sizes = Sizes { one_run_in: 1, run_bytes_max };
        for case in cases_of(world, seed, &[Step::Commit; 6], 20) {
            let _label = Label(&case.label);
            if case.model.in_flight.is_empty() {
                continue;
            }
            let world = live_on(&case, &[]);
            match world.model().log.len() - case.model.log.len() {
                0 => tally.one("absent"),
                1 => tally.one("whole"),
                more => panic!("{more} blocks in flight"),
            }
            tally.one("images");
        }
    }
    assert!(tally.count("whole") > 20 && tally.count("absent") > 20, "{tally}");
}

#[test]
fn p20_one_place_names_one_block_for_ever() {
    // Goal: an LSN that was ever seen never names another block, also when tails are cut and written again. How: crash,
    // recover, commit, crash again, four times in a row, with one model that remembers every place.
    let seed = seed();
    let mut dice = Dice::new(seed);
    let mut tally = Tally::of("lives in a row");
    for round in 0..30 * depth() {
        let label = format!("seed={seed} round={round}");
        let _label = Label(&label);
        let mut disk = SimDisk::new(seed ^ round);
        let mut model = Model::default();
        for life in 0..5 {
            let mut world = World::on(disk, model, dice.roll());
            let steps = script(dice.roll(), 12);
            let calls = world.disk.changes() + 1 + dice.below(60);
            if life < 4 {
                world.disk.crash_at(calls);
            }
            let result = world.run(&steps);
            assert!(result.is_ok() || world.disk.is_off(), "{result:?}");
            world.die();
            let mut images = world.disk.crash_images(8);
            disk = images.swap_remove(dice.index(images.len()));
            tally.one("images");
            model = world.model().clone();
        }
        World::on(disk, model, 1).open().unwrap();
    }
}
