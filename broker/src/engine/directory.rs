//! Numbers of queues and topics, for connection tasks: existence and the seed of the checksum.
//!
//! Written by the engine before a number is told to anyone, so a task never meets a number that
//! it should know and does not. A number that was deleted stays refused by the engine.

use posthaste_protocol::batch::{Seed, destination_seed};
use posthaste_protocol::names::Name;
use posthaste_protocol::request::TargetId;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

#[derive(Debug, Default)]
pub(crate) struct Directory {
    seeds: RwLock<HashMap<TargetId, Seed>>,
}

impl Directory {
    pub(crate) fn insert(&self, target: TargetId, name: &Name) {
        let mut seeds = self.seeds.write().unwrap_or_else(PoisonError::into_inner);
        seeds.insert(target, destination_seed(name));
    }

    pub(crate) fn remove(&self, target: TargetId) {
        self.seeds.write().unwrap_or_else(PoisonError::into_inner).remove(&target);
    }

    pub(crate) fn seed(&self, target: TargetId) -> Option<Seed> {
        self.seeds.read().unwrap_or_else(PoisonError::into_inner).get(&target).copied()
    }
}
