//! The log under a checker of schedules: the real code, with every lock, channel and thread in the hands of `shuttle`.
//!
//! ```text
//! cargo test --release -p posthaste-storage --features schedules --test schedules -- --nocapture
//! ```
//!
//! One thread runs at a time, and at each call of a lock, a channel, a thread or the disk the checker chooses which goes on: at
//! random, and with the few changes of priority that most races need (PCT). `POSTHASTE_DEPTH=n` multiplies the number of
//! schedules. A failing schedule is printed and can be run again.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod commits;
mod pins;
mod store;

/// Runs `work` under many schedules and says how many.
fn check_schedules(name: &str, schedules: usize, work: impl Fn() + Send + Sync + Clone + 'static) {
    let depth = std::env::var("POSTHASTE_DEPTH").ok().and_then(|d| d.parse().ok()).unwrap_or(1);
    let half = schedules * depth / 2;
    shuttle::check_random(work.clone(), half);
    shuttle::check_pct(work, half, 3);
    println!("TALLY schedules of {name}: {} schedules", 2 * half);
}
