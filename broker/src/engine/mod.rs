//! The loop around the pure shard: admits, builds blocks, confirms, dispatches.
//!
//! [`Core`] is synchronous and owns everything but files and sockets: inputs and committed blocks
//! go in, blocks to commit, frames to send and reads to make come out. [`run`] drives it with a
//! real log thread and channels; the crash tests drive it by hand on a simulated disk.
//!
//! Nothing leaves that rests on a block that is not committed: what a block promises waits in its
//! `afters` until [`Core::on_committed`].

pub(crate) mod apply;
mod atomic;
pub(crate) mod backstage;
mod calendar;
pub(crate) mod clock;
mod consumers;
pub(crate) mod core;
mod cursor;
pub(crate) mod directory;
mod dispatch;
pub(crate) mod input;
pub(crate) mod metrics;
mod open;
pub(crate) mod outbox;
mod promises;
mod publish;
mod reads;
mod requests;
pub(crate) mod run;
mod schedules;
mod services;
pub(crate) mod start;
#[cfg(feature = "testing")]
pub(crate) mod testing;

#[cfg(test)]
mod tests;

/// The two clocks, read once per turn at the edge.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    /// Wall clock, milliseconds since 1970; never steps back within a process.
    pub(crate) wall_ms: u64,
    /// Monotonic, milliseconds since the broker started.
    pub(crate) mono_ms: u64,
}
