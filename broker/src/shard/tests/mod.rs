//! Tests of the shard as a whole: scripts, and random histories against a naive model.

mod atomic;
mod audit;
mod catalog;
mod checkpoint;
mod delivery;
mod desk;
mod grouping;
mod history;
mod hostile;
mod ids;
mod model;
mod publishing;
pub(crate) mod random;
mod restart;
mod schedules;
mod topics;
mod world;
