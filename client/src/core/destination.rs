//! A name that is published to: its checksum seed, and its number at the broker, once known.

use std::sync::atomic::{AtomicU32, Ordering};

use posthaste_protocol::names::Name;
use posthaste_protocol::request::TargetId;
use posthaste_protocol::{Seed, destination_seed};

/// A queue or topic as producers see it.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) name: Name,
    pub(crate) seed: Seed,
    /// 0 = not known. Numbers are never reused, so one that was right stays right or is refused.
    target: AtomicU32,
}

impl Destination {
    pub(crate) fn new(name: Name) -> Self {
        let seed = destination_seed(&name);
        Self { name, seed, target: AtomicU32::new(0) }
    }

    pub(crate) fn target(&self) -> Option<TargetId> {
        // Only the connection task writes and reads it; no order with other memory is needed.
        match self.target.load(Ordering::Relaxed) {
            0 => None,
            target => Some(target),
        }
    }

    pub(crate) fn set_target(&self, target: Option<TargetId>) {
        self.target.store(target.unwrap_or(0), Ordering::Relaxed);
    }
}
