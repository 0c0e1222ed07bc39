//! The engine on a simulated disk: real core, real shard, real log, no sockets, virtual time.

mod crash;
mod damage;
mod driver;
mod paths;
mod rig;
mod schedules;
pub(crate) mod simulation;
mod world;
