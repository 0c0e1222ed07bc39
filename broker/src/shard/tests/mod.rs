//! Tests of the shard as a whole: scripts, and random histories against a naive model.

mod history;
mod model;
pub(crate) mod random;
mod world;
