//! How often, how long, and what a failing run leaves behind.

use super::world::{Mode, World, run};

/// Operations of one history.
const OPERATIONS: u64 = 400;
/// Operations of one history that has to come to rest by itself.
const LIVENESS_OPERATIONS: u64 = 120;

fn from_env(key: &str, default: u64) -> u64 {
    std::env::var(key).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn checked(seed: u64, operations: u64, mode: Mode) -> World {
    let world = run(seed, operations, mode);
    if !world.history.violations.is_empty() {
        eprintln!("{}", world.history.trail());
        let broken = world.history.violations.iter();
        let broken: String = broken.map(|one| format!("  {}: {}\n", one.rule, one.what)).collect();
        panic!("SEED={seed} POSTHASTE_HISTORIES=1 breaks\n{broken}");
    }
    world
}

#[test]
fn p01_to_p32_hold_in_random_histories_with_faults() {
    let (seed, depth) = (from_env("SEED", 1), from_env("POSTHASTE_DEPTH", 1));
    println!("SEED={seed} POSTHASTE_DEPTH={depth}");
    let histories = from_env("POSTHASTE_HISTORIES", 100 * depth);
    let (mut operations, mut deliveries, mut lives) = (0, 0, 0);
    for seed in seed..seed + histories {
        let world = checked(seed, OPERATIONS, Mode::Safety);
        operations += world.operations;
        deliveries += u64::from(world.history.deliveries);
        lives += u64::from(world.lives);
    }
    println!(
        "TALLY random histories: {histories} histories, {operations} operations, {deliveries} deliveries, {lives} lives, 0 broken rules"
    );
}

#[test]
fn p25_when_the_faults_end_everything_is_delivered_without_a_restart() {
    let (seed, depth) = (from_env("SEED", 1), from_env("POSTHASTE_DEPTH", 1));
    println!("SEED={seed} POSTHASTE_DEPTH={depth}");
    let histories = from_env("POSTHASTE_HISTORIES", 100 * depth);
    let mut operations = 0;
    for seed in seed..seed + histories {
        operations += checked(seed, LIVENESS_OPERATIONS, Mode::Liveness).operations;
    }
    println!("TALLY liveness: {histories} seeds, {operations} operations, 0 stalls");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let seed = from_env("SEED", 11);
    for seed in seed..seed + 4 {
        let once = run(seed, OPERATIONS, Mode::Safety);
        let again = run(seed, OPERATIONS, Mode::Safety);
        assert_eq!(once.history.fingerprint(), again.history.fingerprint(), "SEED={seed}");
        assert_eq!(once.history.events, again.history.events, "SEED={seed}");
    }
}
