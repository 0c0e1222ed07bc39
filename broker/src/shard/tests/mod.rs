//! Tests of the shard as a whole: scripts, and random histories against a naive model.

pub(crate) mod random;
