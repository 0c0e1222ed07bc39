//! Settles on their way: merged into ranges until the connection takes them.
//!
//! Pure. Acks, the bulk, are plain ranges that grow at the end and are sorted when taken; other
//! outcomes keep their order and merge with the one before.

use posthaste_protocol::limits::{REASON_BYTES_MAX, SETTLE_ITEMS_MAX};
use posthaste_protocol::request::{Held as Range, Outcome, Settle};
use tokio::sync::oneshot;

use crate::error::Failed;

/// Meta of one settle frame stays well below the wire's limit.
const META_BYTES: usize = 128 << 10;
/// An item without its reason, generously.
const ITEM_BYTES: usize = 48;

/// Who waits until a settle is durable.
pub(crate) type Waiter = (Range, oneshot::Sender<Result<(), Failed>>);

/// Settles that were not sent yet.
#[derive(Debug, Default)]
pub(crate) struct Settles {
    acks: Vec<Range>,
    others: Vec<Settle>,
    confirmed: Vec<Settle>,
    waiters: Vec<Waiter>,
}

/// The items of one settle frame.
#[derive(Debug)]
pub(crate) struct SettleFrame {
    pub(crate) items: Vec<Settle>,
    /// If there are any, the frame asks to be confirmed.
    pub(crate) waiters: Vec<Waiter>,
}

impl Settles {
    /// Adds a settle, merging it with the one before if they touch.
    pub(crate) fn push(&mut self, range: Range, outcome: Outcome) {
        if outcome == Outcome::Ack {
            if !self.acks.last_mut().is_some_and(|last| joins(last, range)) {
                self.acks.push(range);
            }
            return;
        }
        let last = self.others.last_mut().filter(|last| last.outcome == outcome);
        if !last.is_some_and(|last| joins(&mut last.held, range)) {
            self.others.push(Settle { held: range, outcome });
        }
    }

    /// Adds a settle whose durability somebody waits for.
    pub(crate) fn push_confirmed(
        &mut self,
        range: Range,
        outcome: Outcome,
        waiter: oneshot::Sender<Result<(), Failed>>,
    ) {
        self.waiters.push((range, waiter));
        let last = self.confirmed.last_mut().filter(|last| last.outcome == outcome);
        if !last.is_some_and(|last| joins(&mut last.held, range)) {
            self.confirmed.push(Settle { held: range, outcome });
        }
    }

    /// Takes all of it, cut into frames.
    pub(crate) fn take(&mut self) -> Vec<SettleFrame> {
        self.acks.sort_unstable_by_key(|range| (range.epoch, range.first));
        let mut merged: Vec<Settle> = Vec::with_capacity(self.others.len() + 1);
        for range in self.acks.drain(..) {
            if !merged.last_mut().is_some_and(|last| joins(&mut last.held, range)) {
                merged.push(Settle { held: range, outcome: Outcome::Ack });
            }
        }
        merged.append(&mut self.others);
        let mut frames = Vec::new();
        cut(merged, &mut frames);
        let confirmed_from = frames.len();
        cut(std::mem::take(&mut self.confirmed), &mut frames);
        for waiter in self.waiters.drain(..) {
            let mut candidates = frames.iter_mut().skip(confirmed_from);
            if let Some(frame) = candidates.find(|frame| covers(&frame.items, waiter.0)) {
                frame.waiters.push(waiter);
            }
        }
        frames
    }

    /// Forgets everything, as after a broken connection, and gives who waited.
    pub(crate) fn clear(&mut self) -> Vec<Waiter> {
        self.acks.clear();
        self.others.clear();
        self.confirmed.clear();
        std::mem::take(&mut self.waiters)
    }
}

/// Appends `next` to `last` if they touch under one lease.
fn joins(last: &mut Range, next: Range) -> bool {
    let touches = last.epoch == next.epoch && last.first + u64::from(last.count) == next.first;
    let Some(count) = last.count.checked_add(next.count).filter(|_| touches) else { return false };
    last.count = count;
    true
}

/// Whether one of the items contains the range.
pub(crate) fn covers(items: &[Settle], range: Range) -> bool {
    items.iter().any(|item| overlaps(item.held, range))
}

/// Whether two ranges share a message under one lease.
pub(crate) fn overlaps(one: Range, other: Range) -> bool {
    one.epoch == other.epoch
        && one.first < other.first.saturating_add(u64::from(other.count))
        && other.first < one.first.saturating_add(u64::from(one.count))
}

fn cut(items: Vec<Settle>, frames: &mut Vec<SettleFrame>) {
    let mut room = 0;
    let mut frame: Option<SettleFrame> = None;
    for item in items {
        let bytes = ITEM_BYTES + reason_bytes(&item.outcome);
        let is_full = |frame: &SettleFrame| frame.items.len() >= SETTLE_ITEMS_MAX as usize;
        if bytes > room || frame.as_ref().is_none_or(is_full) {
            frames.extend(frame.take());
            room = META_BYTES;
        }
        room -= bytes;
        let open =
            frame.get_or_insert_with(|| SettleFrame { items: Vec::new(), waiters: Vec::new() });
        open.items.push(item);
    }
    frames.extend(frame);
}

fn reason_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Ack | Outcome::Release => 0,
        Outcome::Retry { reason, .. } | Outcome::DeadLetter { reason } => reason.len(),
    }
}

/// Cuts a reason to what the wire carries, at a character boundary.
pub(crate) fn bounded_reason(mut reason: String) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX as usize);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, count: u32, epoch: u64) -> Range {
        Range { first, count, epoch }
    }

    fn acked(frames: &[SettleFrame]) -> Vec<Range> {
        frames.iter().flat_map(|frame| frame.items.iter().map(|item| item.held)).collect()
    }

    #[test]
    fn acks_in_any_order_become_ranges() {
        let mut settles = Settles::default();
        for offset in [3, 1, 2, 9, 0, 5] {
            settles.push(range(offset, 1, 4), Outcome::Ack);
        }
        settles.push(range(4, 1, 5), Outcome::Ack);
        let frames = settles.take();
        assert_eq!(
            acked(&frames),
            [range(0, 4, 4), range(5, 1, 4), range(9, 1, 4), range(4, 1, 5)]
        );
        assert!(settles.take().is_empty());
    }

    #[test]
    fn different_outcomes_do_not_merge() {
        let mut settles = Settles::default();
        settles.push(range(0, 1, 1), Outcome::Release);
        settles.push(range(1, 1, 1), Outcome::Release);
        settles.push(range(2, 1, 1), Outcome::Retry { delay_ms: None, reason: String::new() });
        settles.push(range(3, 1, 1), Outcome::Retry { delay_ms: Some(1), reason: String::new() });
        assert_eq!(acked(&settles.take()), [range(0, 2, 1), range(2, 1, 1), range(3, 1, 1)]);
    }

    #[test]
    fn frames_respect_the_limits_of_the_wire() {
        let mut settles = Settles::default();
        for offset in 0..5_000 {
            settles.push(range(offset * 2, 1, 1), Outcome::Ack);
        }
        for offset in 0..300 {
            let reason = format!("{offset}{}", "x".repeat(990));
            settles.push(range(offset, 1, 2), Outcome::DeadLetter { reason });
        }
        let frames = settles.take();
        assert_eq!(acked(&frames).len(), 5_300);
        for frame in frames {
            let bytes = frame.items.iter().map(|item| ITEM_BYTES + reason_bytes(&item.outcome));
            assert!(bytes.sum::<usize>() <= META_BYTES);
            assert!(frame.items.len() <= SETTLE_ITEMS_MAX as usize);
        }
    }

    #[test]
    fn waiters_go_with_the_frame_that_carries_their_message() {
        let mut settles = Settles::default();
        settles.push(range(7, 1, 1), Outcome::Ack);
        let (sender, _receiver) = oneshot::channel();
        settles.push_confirmed(range(8, 1, 1), Outcome::Ack, sender);
        let frames = settles.take();
        assert_eq!(frames.len(), 2);
        assert!(frames[0].waiters.is_empty());
        assert_eq!(frames[1].waiters.len(), 1);
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        assert_eq!(bounded_reason("ä".repeat(600)).len(), 1_000);
        assert_eq!(bounded_reason("x".repeat(1_001)).len(), 1_000);
        assert_eq!(bounded_reason("short".to_owned()), "short");
    }
}
