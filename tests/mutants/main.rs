//! The proof of the proof: a test that never failed may be blind, so each seeded bug must make one fail.
//!
//! A seed is one line of the product behind `mutant("name")`, see `protocol/src/mutant.rs`. For each, the tests that should
//! notice it are started from the executables that `cargo test` has built, with `POSTHASTE_MUTANT=name`, until one fails.
//! `POSTHASTE_MUTANTS=all` starts all of them and writes `docs/mutants.md`; `POSTHASTE_MUTANTS=name` tries one seed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

mod programs;
mod seeds;

use programs::{Outcome, Programs};
use seeds::{SEEDS, Seed};

/// What the page says of changes that a program makes, which take hours and are tried by hand.
const BY_HAND: &str = include_str!("by_hand.md");

fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// One test against one seed.
struct Tried {
    test: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// What the tests of one seed said.
struct Verdict {
    seed: &'static Seed,
    tried: Vec<Tried>,
}

impl Verdict {
    fn is_caught(&self) -> bool {
        self.tried.iter().any(|tried| tried.outcome == Outcome::Caught)
    }
}

fn judge(seed: &'static Seed, programs: &Programs, wants_all: bool) -> Verdict {
    let mut tried = Vec::new();
    for test in seed.tests {
        let begun = Instant::now();
        let outcome = programs.run(test, seed.name);
        tried.push(Tried { test, outcome, took: begun.elapsed() });
        if outcome == Outcome::Caught && !wants_all {
            break;
        }
    }
    Verdict { seed, tried }
}

/// All seeds, two at a time; in the order of the table.
fn judge_all(seeds: &[&'static Seed], programs: &Programs, wants_all: bool) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = judge(seed, programs, wants_all);
                    verdicts.lock().unwrap_or_else(PoisonError::into_inner).push(verdict);
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap();
    let place = |name| seeds.iter().position(|seed| seed.name == name);
    verdicts.sort_by_key(|verdict| place(verdict.seed.name));
    verdicts
}

fn rows(verdicts: &[Verdict]) -> String {
    let mut rows = String::new();
    for Verdict { seed, tried } in verdicts {
        let said: Vec<String> = tried.iter().map(|tried| tried.outcome.row(tried)).collect();
        let (name, promise, bug) = (seed.name, seed.promise, seed.bug);
        writeln!(rows, "| `{name}` | {bug} | {promise} | {} |", said.join("<br>")).unwrap();
    }
    rows
}

impl Outcome {
    fn row(self, tried: &Tried) -> String {
        let test = tried.test;
        match self {
            Outcome::Caught => format!("`{test}` {:.1} s", tried.took.as_secs_f64()),
            other => format!("({test}: {})", other.as_str()),
        }
    }
}

#[test]
fn every_seeded_bug_is_noticed() {
    let wanted = std::env::var("POSTHASTE_MUTANTS").unwrap_or_default();
    let wants_all = wanted == "all";
    let is_wanted = |seed: &&Seed| wants_all || wanted.is_empty() || seed.name == wanted;
    let seeds: Vec<&Seed> = SEEDS.iter().filter(is_wanted).collect();
    assert!(!seeds.is_empty(), "there is no seed {wanted}");
    let programs = Programs::find(&root());
    let begun = Instant::now();
    let verdicts = judge_all(&seeds, &programs, wants_all || !wanted.is_empty());
    let table = rows(&verdicts);
    println!("{table}{} seeds in {:.0} s", seeds.len(), begun.elapsed().as_secs_f64());
    if wants_all {
        write_page(&table, verdicts.len());
    }
    let missing: Vec<&str> = verdicts
        .iter()
        .flat_map(|verdict| &verdict.tried)
        .filter_map(|tried| (tried.outcome == Outcome::NoSuchTest).then_some(tried.test))
        .collect();
    assert!(missing.is_empty(), "these tests have another name now: {missing:?}");
    let survivors: Vec<&str> =
        verdicts.iter().filter(|v| !v.is_caught()).map(|v| v.seed.name).collect();
    assert!(survivors.is_empty(), "nobody noticed: {survivors:?}\n{table}");
}

fn write_page(table: &str, seeds: usize) {
    let stamp = programs::commit_and_date(&root());
    let page = format!(
        "# Seeded bugs\n\n\
         A test that has never failed may be blind. So the product has {seeds} bugs on purpose, each behind a switch that only\n\
         test builds have, and each must make a test fail. CI tries each seed until the first test notices it; this page is\n\
         written when all tests named for a seed are tried:\n\n\
         ```sh\nPOSTHASTE_MUTANTS=all cargo test -p posthaste-tests --test mutants -- --nocapture\n```\n\n\
         To see a rig fail, start it with a seed: `POSTHASTE_MUTANT=confirm-before-sync cargo test -p posthaste-storage`.\n\n\
         Written by that command: {stamp}.\n\n\
         | seed | what it does | breaks | noticed by, and after how long |\n| --- | --- | --- | --- |\n{table}\n{BY_HAND}"
    );
    fs::write(root().join("docs/mutants.md"), page).unwrap();
}

/// Every `mutant("name")` in the sources of the product.
fn seeds_in(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            seeds_in(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let calls = text.split("mutant(\"").skip(1);
            found.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}

#[test]
fn the_table_names_every_seed_in_the_sources_once() {
    let mut found = Vec::new();
    for folder in ["protocol/src", "storage/src", "broker/src"] {
        seeds_in(&root().join(folder), &mut found);
    }
    found.sort_unstable();
    let mut listed: Vec<&str> = SEEDS.iter().map(|seed| seed.name).collect();
    listed.sort_unstable();
    assert_eq!(found, listed, "left the sources, right the table");
    let distinct: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(distinct.len(), listed.len(), "a name is used twice");
    let page = fs::read_to_string(root().join("docs/mutants.md")).unwrap();
    let unknown: Vec<&&str> =
        listed.iter().filter(|name| !page.contains(&format!("| `{name}` |"))).collect();
    assert!(unknown.is_empty(), "docs/mutants.md lacks {unknown:?}: write it again");
}

/// A default feature or a plain dependency with the switch would put it into what users run.
#[test]
fn only_tests_turn_the_switch_on() {
    let mut offences = Vec::new();
    for folder in ["protocol", "storage", "broker", "broker/cli", "client", "benches", "tests", "."]
    {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let mut section = "";
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            let is_code = !line.starts_with('#') && line.contains("mutant\"");
            let is_feature = section == "[features]" && line.starts_with("mutant = ");
            let is_ours = section == "[[test]]" || section == "[dev-dependencies]";
            if is_code && !is_feature && !is_ours {
                offences.push(format!("{folder}/Cargo.toml: {line}"));
            }
        }
    }
    assert!(offences.is_empty(), "{offences:#?}");
}
