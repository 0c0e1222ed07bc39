//! Scripted scenarios with every call as the place of a crash, up to 64 images each, and crashes inside the recovery of those
//! (P1, P35).
//!
//! A crash point is a call that can change the disk: a crash at any other call leaves what one at the next changing call leaves.
//! Each image is recovered, held against what was promised at that moment, and read in full; one in 32 then lives on.

use posthaste_storage::disk::sim::Dice;

use crate::check;
use crate::crash::{Case, Label, cases_named, live_on};
use crate::model::Sizes;
use crate::tally::Tally;
use crate::world::{Step, World, script};
use crate::{depth, seed};

/// What the log is put through.
struct Scenario {
    name: &'static str,
    seed: u64,
    sizes: Sizes,
    is_large: bool,
    capacity: Option<u64>,
    steps: Vec<Step>,
}

impl Scenario {
    fn new(name: &'static str, seed: u64, steps: Vec<Step>) -> Self {
        let sizes = Sizes { one_run_in: 2, run_bytes_max: 1_800 };
        Self { name, seed, sizes, is_large: false, capacity: None, steps }
    }

    fn with_runs_of(mut self, run_bytes_max: usize) -> Self {
        self.sizes = Sizes { one_run_in: 1, run_bytes_max };
        self
    }

    fn world(&self) -> World {
        let mut world = World::new(self.seed);
        if self.is_large {
            world.options = check::large_options();
        }
        world.sizes = self.sizes;
        world.disk.set_capacity(self.capacity);
        world
    }

    /// At most `images` of a crash at each call.
    fn cases(&self, images: usize) -> Vec<Case> {
        let label = format!("seed={} {}", self.seed, self.name);
        cases_named(&mut self.world(), &label, images, |world| {
            world.open().unwrap();
            for step in &self.steps {
                match world.step(*step) {
                    Ok(()) => {}
                    // Refused before anything was written.
                    Err(error) if self.capacity.is_some() && is_no_space(&error) => {
                        world.model().in_flight.clear();
                    }
                    Err(error) => panic!("{label}: {error}"),
                }
            }
        })
    }
}

fn is_no_space(error: &posthaste_storage::StorageError) -> bool {
    matches!(error, posthaste_storage::StorageError::NoSpace { .. })
}

/// Every course that a log's life has, each short.
fn scenarios(seed: u64) -> Vec<Scenario> {
    use Step::{Beacon, Checkpoint, Commit, Maintain, Reopen, SealAndReopen};
    let times = |count: usize, steps: &[Step]| steps.repeat(count);
    let one = |name, steps| Scenario::new(name, seed, steps);
    let mut large = one("blocks of many pages", times(5, &[Commit])).with_runs_of(30_000);
    large.is_large = true;
    let mut full = one("a disk nearly full", times(8, &[Commit, Commit, Commit, Maintain]));
    full = full.with_runs_of(1_200);
    full.capacity = Some(112 * 1024);
    full.steps.extend(times(3, &[Checkpoint, Commit, Commit]));
    vec![
        one("starts of an empty store", times(4, &[Reopen])),
        one("small commits", times(12, &[Commit])),
        one("commits of many sectors", times(6, &[Commit])).with_runs_of(2_400),
        one("rolls", times(24, &[Commit])).with_runs_of(1_800),
        one("beacons", times(6, &[Commit, Beacon])).with_runs_of(900),
        one("clean restarts", times(5, &[Commit, SealAndReopen])),
        one("deaths of the process", times(5, &[Commit, Commit, Reopen])),
        one("checkpoints", times(5, &[Commit, Checkpoint])),
        one(
            "segments used again",
            times(7, &[Commit, Commit, Commit, Commit, Checkpoint, Maintain]),
        )
        .with_runs_of(1_800),
        one("indexes written, then a death", times(3, &[Commit, Commit, Commit, Maintain, Reopen])),
        one("everything at once", script(seed, 60)),
        large,
        full,
    ]
}

#[test]
fn p01_every_call_of_every_scenario_can_be_the_last() {
    // Goal: whatever the log does when the power goes, what was confirmed is there. How: each scenario, each changing call, up
    // to 64 images; one in 32 works on, restarts and works on.
    let seed = seed();
    let mut tally = Tally::of("crash");
    for round in 0..4 * depth() {
        for scenario in scenarios(seed + round) {
            let cases = scenario.cases(64);
            tally.add("crash points", points(&cases));
            for (number, case) in cases.iter().enumerate() {
                let _label = Label(&case.label);
                if number % 32 == 0 {
                    live_on(case, &[Step::Commit, Step::Reopen, Step::Commit]);
                    tally.one("lived on");
                }
                case.verify();
                tally.one("images");
            }
        }
    }
    assert!(tally.count("images") > 10_000, "{tally}");
}

/// At how many calls these cases crash.
fn points(cases: &[Case]) -> u64 {
    let mut points: Vec<u64> = cases.iter().map(|case| case.label.change).collect();
    points.dedup();
    points.len() as u64
}

/// How many of the cases inside cases are looked at, and how many images of each.
struct Nesting {
    /// Of the outer cases, one in this many.
    outer: u64,
    /// Of the crashes inside their recovery, one in this many is crashed again.
    inner: u64,
    /// Of those, one in this many is crashed a third time.
    innermost: u64,
}

impl Nesting {
    /// Two levels of everything from depth 64 on, and three of a sample.
    fn of(depth: u64) -> Self {
        let at_least_one = |odds: u64| (odds / depth).max(1);
        Self { outer: at_least_one(3), inner: at_least_one(64), innermost: at_least_one(4_096) }
    }
}

#[test]
fn p35_recovery_that_crashes_again_and_again_ends_where_one_recovery_does() {
    // Goal: recovery can be cut at any call, again and again, and the next one ends in the same log. How: images of a crash at
    // every call of every scenario; each recovered with a crash at every call of the recovery; each of those again; a sample of
    // those again.
    let seed = seed();
    let nesting = Nesting::of(depth());
    let mut tally = Tally::of("nested crashes");
    for round in 0..depth().div_ceil(64) {
        let mut dice = Dice::new(seed + round);
        for scenario in scenarios(seed + round) {
            for case in &scenario.cases(4) {
                if dice.one_in(nesting.outer) {
                    let _label = Label(&case.label);
                    let expected = case.verify();
                    let mut nested = Nested { nesting: &nesting, expected, tally: &mut tally };
                    nested.crash(case, 1, &mut dice);
                }
            }
        }
    }
    assert!(tally.count("images") > 500, "{tally}");
}

struct Nested<'a> {
    nesting: &'a Nesting,
    /// Blocks that the log has after a recovery that is not disturbed.
    expected: usize,
    tally: &'a mut Tally,
}

impl Nested<'_> {
    /// Crashes inside the recovery of a case, and inside the recovery of what that leaves.
    fn crash(&mut self, case: &Case, level: usize, dice: &mut Dice) {
        let cases = case.crashes_in_recovery([4, 3, 2][level - 1]);
        self.tally.add("crash points", points(&cases));
        for inner in &cases {
            let _label = Label(&inner.label);
            assert_eq!(inner.verify(), self.expected, "the log is another");
            self.tally.one("images");
            self.tally.one(["nested once", "nested twice", "nested three times"][level - 1]);
            let odds = [self.nesting.inner, self.nesting.innermost];
            if odds.get(level - 1).is_some_and(|odds| dice.one_in(*odds)) {
                self.crash(inner, level + 1, dice);
            }
        }
    }
}

#[test]
fn a_scenario_meets_every_kind_of_call() {
    // The scenarios are only as good as the calls they make.
    use posthaste_storage::disk::sim::Op;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    for scenario in scenarios(seed()) {
        let mut world = scenario.world();
        let sink = std::sync::Arc::clone(&seen);
        world.disk.on_call(move |call| sink.lock().unwrap().push(call.op));
        world.open().unwrap();
        scenario.steps.iter().for_each(|step| drop(world.step(*step)));
        world.disk.on_call(|_| {});
    }
    let seen = seen.lock().unwrap();
    for op in [
        Op::CreateDir,
        Op::Create,
        Op::Rename,
        Op::Remove,
        Op::SyncDir,
        Op::Write,
        Op::Sync,
        Op::Allocate,
        Op::SetLen,
    ] {
        assert!(seen.contains(&op), "no scenario has a call of {op:?}");
    }
}
