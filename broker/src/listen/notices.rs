//! What the operator is told about unwelcome connections: one line a second at most, with a count.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Pending {
    count: u64,
    last: String,
    told: Option<Instant>,
}

/// Collects what happened too often to be told one by one.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    pending: Mutex<Pending>,
}

impl Notices {
    /// Something happened. Gives when [`Notices::flush`] is to be called for what was held back,
    /// if nobody was asked to do so yet.
    pub(crate) fn note(&self, what: &dyn Display) -> Option<Instant> {
        let now = Instant::now();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.count += 1;
        if pending.count == 1 {
            pending.last = what.to_string();
        }
        let due = pending.told.map(|told| told + PAUSE);
        match due.filter(|due| *due > now) {
            Some(due) if pending.count == 1 => Some(due),
            Some(_) => None,
            None => {
                tell(&mut pending, now);
                None
            }
        }
    }

    /// Tells what was held back.
    pub(crate) fn flush(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.count > 0 {
            tell(&mut pending, Instant::now());
        }
    }
}

fn tell(pending: &mut Pending, now: Instant) {
    let (count, first) = (pending.count, std::mem::take(&mut pending.last));
    tracing::warn!(count, first, "connections were refused or ended for a fault of the peer");
    pending.count = 0;
    pending.told = Some(now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_once_a_second_and_its_rest_is_not_forgotten() {
        let notices = Notices::default();
        assert!(notices.note(&"first").is_none(), "told at once");
        let due = notices.note(&"second").expect("held back");
        assert_eq!(due, Instant::now() + PAUSE);
        assert!((0..1_000).all(|_| notices.note(&"more").is_none()), "one flush is enough");
        tokio::time::advance(PAUSE).await;
        notices.flush();
        assert_eq!(notices.pending.lock().unwrap().count, 0);
        assert!(notices.note(&"later").is_some(), "the pause counts from the last line");
    }
}
