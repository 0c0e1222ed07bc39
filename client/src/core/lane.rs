//! A lane: the open batch of one producer, and what of it is not confirmed.
//!
//! A message costs one short lock here and a copy into the open batch; the connection task fetches
//! whole batches. Invariants: batches leave in the order in which they were begun; bytes count as
//! in flight from their push until their batch is decided.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_protocol::{BatchBuilder, Record, RecordError};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Core;
use super::batch::{Batch, Stored, conflict, lock};
use super::destination::Destination;
use crate::error::{Failed, Failure, Local};

/// When a batch is full, and when its producer has to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneLimits {
    pub(crate) linger: Duration,
    pub(crate) batch_messages: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) in_flight_bytes: usize,
}

/// The open batch of a producer, and its accounts.
#[derive(Debug)]
pub(crate) struct Lane {
    core: Arc<Core>,
    pub(crate) destination: Arc<Destination>,
    limits: LaneLimits,
    state: Mutex<State>,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Filling>,
    full: VecDeque<Filled>,
    /// The connection task has been told that there is something.
    is_announced: bool,
    /// The connection task looks again when the linger time is over.
    is_lingering: bool,
    /// Somebody flushes: do not linger.
    is_urgent: bool,
    in_flight_bytes: usize,
    /// Batches that are not decided, oldest first.
    undecided: VecDeque<Arc<Batch>>,
    confirmed: u64,
    failure: Option<Failed>,
}

/// A batch that still takes messages.
#[derive(Debug)]
struct Filling {
    builder: BatchBuilder,
    batch: Arc<Batch>,
    since: Instant,
}

/// A batch that takes no more messages, and is not sealed yet.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) builder: BatchBuilder,
    pub(crate) batch: Arc<Batch>,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Push {
    /// It is message `index` of the batch.
    Pushed(Arc<Batch>, u32),
    /// Too much is in flight: wait for [`Lane::room`].
    Full,
}

/// What the connection task found in a lane.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) batches: VecDeque<Filled>,
    /// Look again at this time, for the batch that lingers.
    pub(crate) look_again: Option<Instant>,
}

impl Lane {
    pub(crate) fn new(
        core: Arc<Core>,
        destination: Arc<Destination>,
        limits: LaneLimits,
    ) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { core, destination, limits, state, room: Notify::new() })
    }

    /// The client that it belongs to.
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Puts a message into the open batch; one that must get a certain offset into a batch of its own.
    pub(crate) fn push(
        self: &Arc<Self>,
        record: &Record<'_>,
        expects: Option<u64>,
    ) -> Result<Push, Failed> {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        // A message larger than the whole allowance passes when nothing else is in flight.
        let bytes = state.in_flight_bytes.saturating_add(record.value.len());
        if bytes > self.limits.in_flight_bytes && state.in_flight_bytes > 0 {
            return Ok(Push::Full);
        }
        let pushed = self.push_into(state, record, expects)?;
        if self.needs_announcing(state) {
            state.is_announced = true;
            drop(guard);
            self.announce();
        }
        Ok(pushed)
    }

    fn push_into(
        self: &Arc<Self>,
        state: &mut State,
        record: &Record<'_>,
        expects: Option<u64>,
    ) -> Result<Push, Failed> {
        let is_alone = expects.is_some();
        let is_full = |open: &Filling| is_alone || self.is_full(open, record.value.len());
        if state.open.as_ref().is_some_and(is_full) {
            state.close_open();
        }
        loop {
            let open = state.open.get_or_insert_with(|| self.begin(expects));
            let before = open.builder.len_bytes();
            match open.builder.push(record) {
                Ok(()) => {}
                Err(RecordError::BatchFull) => {
                    state.close_open();
                    continue;
                }
                Err(error) => {
                    if open.builder.is_empty() {
                        state.open = None;
                    }
                    return Err(Failure::coded(error.code(), error.to_string()));
                }
            }
            let index = open.builder.count() - 1;
            state.in_flight_bytes += open.builder.len_bytes() - before;
            let batch = Arc::clone(&open.batch);
            if index == 0 {
                state.undecided.push_back(Arc::clone(&batch));
            }
            let is_full = is_alone
                || open.builder.count() as usize >= self.limits.batch_messages
                || open.builder.len_bytes() >= self.limits.batch_bytes;
            if is_full {
                state.close_open();
            }
            return Ok(Push::Pushed(batch, index));
        }
    }

    /// Whether a message of this size must begin the next batch.
    fn is_full(&self, open: &Filling, value_bytes: usize) -> bool {
        open.builder.len_bytes().saturating_add(value_bytes) > self.limits.batch_bytes
    }

    fn begin(self: &Arc<Self>, expects: Option<u64>) -> Filling {
        let since = Instant::now();
        let deadline = since + self.core.options().publish_timeout;
        let builder = self.core.spare_builder();
        Filling { builder, batch: Batch::new(Arc::clone(self), deadline, expects), since }
    }

    fn needs_announcing(&self, state: &State) -> bool {
        let lingers = state.is_lingering && state.full.is_empty() && !state.is_urgent;
        let is_empty = state.full.is_empty() && state.open.is_none();
        !(state.is_announced || lingers || is_empty)
    }

    /// Tells the connection task, or, if there is none any more, fails what is here.
    fn announce(self: &Arc<Self>) {
        if !self.core.announce_lane(Arc::clone(self)) {
            self.fail_all(&Failure::local(Local::Closed, "the client is closed"));
        }
    }

    /// Fetches what is to be sent now: full batches, and the open one unless it lingers.
    pub(crate) fn fetch(&self, now: Instant) -> Fetched {
        let mut state = lock(&self.state);
        state.is_announced = false;
        let due = state.open.as_ref().map(|open| open.since + self.limits.linger);
        match due {
            Some(due) if due > now && !state.is_urgent => {
                let look_again = (!state.is_lingering).then_some(due);
                state.is_lingering = true;
                Fetched { batches: std::mem::take(&mut state.full), look_again }
            }
            _ => {
                state.close_open();
                state.is_urgent = false;
                Fetched { batches: std::mem::take(&mut state.full), look_again: None }
            }
        }
    }

    /// The linger time that [`Fetched::look_again`] named is over.
    pub(crate) fn fetch_lingering(&self, now: Instant) -> Fetched {
        lock(&self.state).is_lingering = false;
        self.fetch(now)
    }

    /// Fetches all there is, lingering or not.
    pub(crate) fn fetch_everything(&self) -> VecDeque<Filled> {
        let mut state = lock(&self.state);
        state.is_announced = false;
        state.is_lingering = false;
        state.is_urgent = false;
        state.close_open();
        std::mem::take(&mut state.full)
    }

    /// A batch of this lane is about to be decided.
    fn settle_account(&self, batch: &Batch, bytes: usize, stored: u32, failure: Option<&Failed>) {
        let mut state = lock(&self.state);
        state.in_flight_bytes = state.in_flight_bytes.saturating_sub(bytes);
        state.confirmed += u64::from(stored);
        if let Some(failure) = failure {
            state.failure.get_or_insert_with(|| Arc::clone(failure));
        }
        // Batch and lane hold each other until here.
        let place = state.undecided.iter().position(|one| std::ptr::eq(&raw const **one, batch));
        place.and_then(|place| state.undecided.remove(place));
        drop(state);
        self.room.notify_waiters();
    }

    /// What an event says of its source if its publisher says nothing.
    pub(crate) fn source(&self) -> String {
        format!("/{}", self.core.options().name.as_deref().unwrap_or("posthaste"))
    }

    pub(crate) fn publish_timeout(&self) -> Duration {
        self.core.options().publish_timeout
    }

    /// Waits until there may be room again.
    pub(crate) fn room(&self) -> &Notify {
        &self.room
    }

    /// Sends what is here without lingering, and gives the batches to wait for.
    pub(crate) fn flush(self: &Arc<Self>) -> Vec<Arc<Batch>> {
        let mut state = lock(&self.state);
        state.is_urgent = state.open.is_some();
        let waiting = state.undecided.iter().map(Arc::clone).collect();
        if self.needs_announcing(&state) {
            state.is_announced = true;
            drop(state);
            self.announce();
        }
        waiting
    }

    /// Messages confirmed since the last call, or the first failure since then.
    pub(crate) fn take_account(&self) -> Result<u64, Failed> {
        let mut state = lock(&self.state);
        let confirmed = std::mem::take(&mut state.confirmed);
        state.failure.take().map_or(Ok(confirmed), Err)
    }

    /// Fails every message that the connection task has not fetched.
    pub(crate) fn fail_all(&self, failure: &Failed) {
        let batches = {
            let mut state = lock(&self.state);
            state.close_open();
            // So that the next message announces the lane again, and is failed again.
            state.is_announced = false;
            std::mem::take(&mut state.full)
        };
        for filled in batches {
            filled.fail(failure);
        }
    }
}

impl State {
    fn close_open(&mut self) {
        if let Some(Filling { builder, batch, .. }) = self.open.take() {
            self.full.push_back(Filled { builder, batch });
        }
    }
}

impl Filled {
    /// Nobody will store it.
    pub(crate) fn fail(&self, failure: &Failed) {
        self.batch.fail(self.builder.len_bytes(), failure);
    }
}

impl Batch {
    // ORDER: the account comes before the outcome, or a flush that the outcome wakes counts short.

    /// It lies on the broker's disk.
    pub(crate) fn store(&self, bytes: usize, messages: u32, stored: Stored) {
        let count = stored.count(messages);
        let failure = (count < messages).then(conflict);
        self.lane.settle_account(self, bytes, count, failure.as_ref());
        self.decide(Ok(stored));
    }

    /// It does not, or nobody can tell.
    pub(crate) fn fail(&self, bytes: usize, failure: &Failed) {
        self.lane.settle_account(self, bytes, 0, Some(failure));
        self.decide(Err(Arc::clone(failure)));
    }
}
