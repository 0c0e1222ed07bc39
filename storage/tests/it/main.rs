//! The promises of the log, tested on a disk that can lose, tear and damage everything it may.
//!
//! Each test is named after its promise (`p01_` ... as in `docs/guarantees.md`). A [`world::World`] runs a script of commits,
//! rolls, checkpoints and restarts on a [`SimDisk`](posthaste_storage::disk::SimDisk) while a [`model::Model`] notes what was
//! confirmed; [`check::recover`] opens what a crash, a fault or rot left, and compares.
//!
//! `SEED=n` runs another script. `POSTHASTE_DEPTH=n` (default 1) multiplies the number of cases; use a release build for it.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the rigs around the tests"
)]

mod bits;
mod check;
mod crash;
mod damage;
mod enumerate;
mod errors;
mod faults;
mod files;
mod model;
mod place;
mod plain;
mod rig;
mod rot;
mod space;
mod stop;
mod tally;
mod threads;
mod verdict;
mod world;

/// The seed of a random test, printed so that a failure can be run again.
fn seed() -> u64 {
    let seed = number_from("SEED").unwrap_or(1);
    println!("SEED={seed}");
    seed
}

/// How many times the small default number of cases to try.
fn depth() -> u64 {
    number_from("POSTHASTE_DEPTH").unwrap_or(1).max(1)
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
