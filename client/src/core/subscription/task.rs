//! The connection task's side of a consumer: deliveries in, settles and credit out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::limits::RECORD_BYTES_MIN;
use posthaste_protocol::request::{Consume, Credit, Held as Range};
use posthaste_protocol::response::{Deliver, Piece};
use tokio::time::Instant;

use super::super::batch::lock;
use super::{
    End, Generation, Incoming, Outgoing, Subscription, answer, give_back, unsettled, wake,
};
use crate::error::{Failed, Failure, Local};

impl Subscription {
    pub(crate) fn channel(&self) -> u16 {
        self.channel.load(Ordering::Relaxed)
    }

    pub(crate) fn set_channel(&self, channel: u16) {
        self.channel.store(channel, Ordering::Relaxed);
    }

    /// The next collection is the last.
    pub(crate) fn want_cancel(&self) {
        let mut state = lock(&self.state);
        state.wants_cancel = true;
        state.is_closing = true;
    }

    /// The request that opens it on a new connection.
    pub(crate) fn begin(&self, generation: Generation) -> Consume {
        let mut state = lock(&self.state);
        state.generation = generation;
        self.generation.store(generation, Ordering::Release);
        let left = self.left();
        let messages = self.terms.prefetch.min(u32::try_from(left).unwrap_or(u32::MAX));
        state.grantable = left - u64::from(messages);
        Consume {
            name: self.terms.name.clone(),
            group: self.terms.group.clone(),
            start: self.terms.start,
            lease_ms: self.terms.lease_ms,
            credit: Credit { messages, bytes: self.terms.prefetch_bytes, begun: 0 },
        }
    }

    /// The broker opened it.
    pub(crate) fn opened(&self) {
        if let Some(opened) = lock(&self.state).opened.take() {
            // Who stopped waiting for it cancels it.
            opened.send(Ok(())).unwrap_or_default();
        }
    }

    /// Messages came. An error means that the broker says what cannot be.
    pub(crate) fn deliver(self: &Arc<Self>, deliver: Deliver) -> Result<(), Failed> {
        if !deliver.pieces.iter().all(is_possible) {
            let text = "the broker delivered an impossible range";
            return Err(Failure::coded(ErrorCode::ProtocolError, text));
        }
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        for piece in deliver.pieces {
            let first = piece.base_offset.saturating_add(u64::from(piece.from));
            let range = state.held.insert(deliver.epoch, first, piece.count);
            if state.is_closing {
                give_back(state, range, 0);
            } else {
                state.incoming.push_back(Incoming { range, epoch: deliver.epoch, piece });
            }
        }
        if state.is_closing {
            self.announce(guard);
            return Ok(());
        }
        let waker = state.waker.take();
        drop(guard);
        wake(waker);
        Ok(())
    }

    /// What is to be sent now.
    pub(crate) fn collect(&self) -> Outgoing {
        let mut state = lock(&self.state);
        state.is_announced = false;
        let cancel = state.wants_cancel;
        let extensions = std::mem::take(&mut state.extensions);
        Outgoing { settles: state.settles.take(), extensions, credit: state.credit.take(), cancel }
    }

    /// Leases that end before `until` unless they are renewed.
    pub(crate) fn held(&self, now: Instant, until: Instant) -> Vec<Range> {
        let mut state = lock(&self.state);
        let all = state.held.unsettled();
        state.extended.retain(|_, end| *end > now);
        if state.extended.is_empty() && !state.holds.is_limited() {
            return all;
        }
        let left_out = |offset: &u64| {
            state.extended.get(offset).is_some_and(|end| *end > until)
                || state.holds.is_over(*offset, now)
        };
        all.into_iter().flat_map(|range| without(range, left_out)).collect()
    }

    /// The broker says that these are not held.
    pub(crate) fn lost(&self, stale: &[Range]) {
        if stale.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        let lost = state.held.lose(stale);
        stale.iter().for_each(|range| state.holds.lost(range.first, range.count));
        drop(state);
        self.settled.notify_waiters();
        let name = &self.terms.name;
        tracing::warn!(%name, lost, stale = stale.len(), "leases had expired; the messages are delivered again");
    }

    /// The broker renews these to the end of the longest hold, and no longer.
    pub(crate) fn near_limit(&self, limited: &[Range]) {
        let deliveries: u64 = limited.iter().map(|range| u64::from(range.count)).sum();
        let name = &self.terms.name;
        tracing::warn!(%name, deliveries, "held nearly as long as the queue or group allows; they go back unless they are settled");
    }

    /// The connection broke: all leases are gone.
    pub(crate) fn disconnected(&self) {
        let waiters = {
            let mut state = lock(&self.state);
            self.generation.store(0, Ordering::Release);
            state.generation = 0;
            state.incoming.clear();
            state.held.clear();
            state.credit = None;
            state.extended.clear();
            state.holds.clear();
            let mut waiters = state.settles.clear();
            waiters.extend(state.extensions.drain(..).map(|one| one.waiter));
            waiters
        };
        self.settled.notify_waiters();
        for waiter in waiters {
            answer(waiter, Err(unsettled()));
        }
    }

    /// There will be no more deliveries.
    pub(crate) fn end(&self, failure: Option<Failed>) {
        self.disconnected();
        let mut state = lock(&self.state);
        let opened = state.opened.take();
        let canceled = std::mem::take(&mut state.canceled);
        let waker = state.waker.take();
        let reason = failure.clone();
        state.end.get_or_insert(failure.map_or(End::Orderly, End::Failed));
        drop(state);
        if let Some(opened) = opened {
            let failure =
                reason.unwrap_or_else(|| Failure::local(Local::Closed, "the consumer was closed"));
            // The application may have stopped waiting for it.
            opened.send(Err(failure)).unwrap_or_default();
        }
        canceled.into_iter().for_each(|waiter| waiter.send(()).unwrap_or_default());
        wake(waker);
    }
}

/// LIMIT: a bit is kept for each message, so there are no more than their bytes can hold.
fn is_possible(piece: &Piece) -> bool {
    let records_max = piece.batches.len() / RECORD_BYTES_MIN as usize;
    let begin = piece.base_offset.checked_add(u64::from(piece.from));
    let end = begin.and_then(|begin| begin.checked_add(u64::from(piece.count)));
    (1..=records_max).contains(&(piece.count as usize)) && end.is_some()
}

/// The parts of a range whose offsets are not `left_out`.
fn without(range: Range, left_out: impl Fn(&u64) -> bool) -> Vec<Range> {
    let mut parts: Vec<Range> = Vec::new();
    let offsets = range.first..range.first + u64::from(range.count);
    for first in offsets.filter(|offset| !left_out(offset)) {
        match parts.last_mut() {
            Some(last) if last.first + u64::from(last.count) == first => last.count += 1,
            _ => parts.push(Range { first, count: 1, epoch: range.epoch }),
        }
    }
    parts
}
