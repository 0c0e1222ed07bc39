//! The pure shard state machine: queues, topics, groups, leases, retries, dead letters, dedup.
//!
//! Two halves. *Durable state* changes only in [`Shard::apply_command`] and [`Shard::apply_run`],
//! from committed entries; it is what a checkpoint holds. *Live state* (consumers, credit, leases,
//! what is ready) is rebuilt from it at the start. No I/O, no clock, no threads, no randomness:
//! time comes in as `now_ms` (wall clock, logged) and `mono_ms` (monotonic, for leases).
//!
//! The engine asks [`Shard`] for admission (`admit_*`, `settle`, `expire`, `detach`), appends the
//! commands and runs it gets, and applies them when their block is committed.

mod api;
pub mod command;
pub mod effects;

/// One deterministic state machine.
#[derive(Debug)]
pub struct Shard {}
