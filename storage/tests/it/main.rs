//! The promises of the log, tested on a disk that can lose, tear and damage everything it may.
//!
//! Each test is named after its promise (`p01_` ... as in `docs/guarantees.md`). A [`world::World`] runs a script of commits,
//! rolls, checkpoints and restarts on a [`SimDisk`](posthaste_storage::disk::SimDisk) while a [`model::Model`] notes what was
//! confirmed; [`check::recover`] opens what a crash, a fault or rot left, and compares.
//!
//! `SEED=n` runs another script. `POSTHASTE_DEPTH=n` (default 1) multiplies the number of cases; use a release build for it.
//! Each rig ends with a line `TALLY <rig>: <n> <what>, ...`. The figures, each from one command, where `it` stands for
//! `cargo test --release --locked -p posthaste-storage --test it -- --nocapture`:
//!
//! ```text
//! crash images                 storage/tests/deep.sh images 20000000            (about 70 us each; prints the sum)
//! every call a crash point     it p01_every                                     (up to 64 images each)
//! two crashes inside recovery  POSTHASTE_DEPTH=64 it p35                        (all, and a sample of three)
//! histories with faults        storage/tests/deep.sh histories 1000000 p01_confirmed_blocks_survive_many
//! every bit of a megabyte      POSTHASTE_DEPTH=64 it p10_every_bit              (what is not noticed: lines BITS)
//! every pair of sectors        POSTHASTE_DEPTH=256 it p11_no_sector
//! every length of every file   POSTHASTE_DEPTH=512 it p14_a_file_of
//! every call that fails        POSTHASTE_DEPTH=6 it p07_whichever
//! schedules of threads         cargo test --release --locked -p posthaste-storage --features schedules --test schedules -- --nocapture
//! undefined behaviour          storage/tests/miri.sh
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the rigs around the tests"
)]

mod bits;
mod check;
mod crash;
mod damage;
mod due;
mod enumerate;
mod errors;
mod faults;
mod files;
mod mixed;
mod model;
mod older;
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
