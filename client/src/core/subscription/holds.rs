//! Whose leases are renewed, where the application has set a limit to renewals.
//!
//! Pure, and empty without that limit: then everything that is held is renewed.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// What is known of messages in the application's hands, by offset.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Until when they are renewed.
    until: BTreeMap<u64, Instant>,
    /// How many guards hold them.
    guards: BTreeMap<u64, u32>,
}

impl Holds {
    /// The application took it; it is renewed until then.
    pub(super) fn taken(&mut self, offset: u64, until: Instant) {
        self.until.insert(offset, until);
    }

    pub(super) fn hold(&mut self, offset: u64) {
        *self.guards.entry(offset).or_default() += 1;
    }

    pub(super) fn unhold(&mut self, offset: u64) {
        if let Some(guards) = self.guards.get_mut(&offset) {
            *guards -= 1;
            if *guards == 0 {
                self.guards.remove(&offset);
            }
        }
    }

    pub(super) fn settled(&mut self, offset: u64) {
        if !self.until.is_empty() {
            self.until.remove(&offset);
        }
    }

    /// The leases of so many messages from this one on are gone.
    pub(super) fn lost(&mut self, first: u64, count: u32) {
        let end = first.saturating_add(u64::from(count));
        while let Some((&offset, _)) = self.until.range(first..end).next() {
            self.until.remove(&offset);
        }
    }

    /// Whether some message may be left out of a renewal.
    pub(super) fn is_limited(&self) -> bool {
        !self.until.is_empty()
    }

    /// Whether this one's lease is to run out.
    pub(super) fn is_over(&self, offset: u64, now: Instant) -> bool {
        let is_past = self.until.get(&offset).is_some_and(|until| *until <= now);
        is_past && !self.guards.contains_key(&offset)
    }

    /// All leases are gone.
    pub(super) fn clear(&mut self) {
        self.until.clear();
        self.guards.clear();
    }
}
