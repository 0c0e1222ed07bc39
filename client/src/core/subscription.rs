//! One consumer, between the connection task and the application.
//!
//! Deliveries come in here, settles and credit go out. Each side holds the lock for moments. The
//! generation says which connection the leases belong to: when it breaks, all of them are gone, and
//! whatever the application still holds of it can only be told so.

mod holds;
mod task;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use posthaste_protocol::Seed;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::limits::{LEASE_MS_MAX, LEASE_MS_MIN};
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Credit, Held as Range, Outcome, Start};
use posthaste_protocol::response::Piece;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::holds::Holds;
use super::Core;
use super::batch::lock;
use super::held::{Held, RangeNo};
use super::settles::{SettleFrame, Settles, Waiter};
use crate::error::{Failed, Failure, Local};
use crate::options::whole_ms_u32;

/// Which connection a lease belongs to; 0 = none.
pub(crate) type Generation = u64;

/// What a consumer asks for.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) name: Name,
    pub(crate) group: Option<GroupName>,
    pub(crate) start: Start,
    pub(crate) lease_ms: Option<u32>,
    pub(crate) prefetch: u32,
    pub(crate) prefetch_bytes: u64,
    /// Deliveries in all; there is no more credit than that.
    pub(crate) limit: Option<u64>,
    /// How long leases are renewed once the application has the message; `None`: all the time.
    pub(crate) renew_for: Option<Duration>,
    pub(crate) seed: Seed,
}

/// A consumer, shared by the connection task, the application's stream and its deliveries.
#[derive(Debug)]
pub(crate) struct Subscription {
    core: Arc<Core>,
    pub(crate) terms: Terms,
    /// Set once, by the connection task.
    channel: AtomicU16,
    generation: AtomicU64,
    /// Deliveries that the application got.
    handed: AtomicU64,
    state: Mutex<State>,
    /// Something was settled, or lost.
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    generation: Generation,
    incoming: VecDeque<Incoming>,
    waker: Option<Waker>,
    end: Option<End>,
    held: Held,
    settles: Settles,
    extensions: Vec<Extension>,
    /// Until when the application asked for single leases: renewals must not shorten them.
    extended: BTreeMap<u64, Instant>,
    holds: Holds,
    credit: Option<Credit>,
    /// Messages that this connection may still be given credit for.
    grantable: u64,
    is_announced: bool,
    /// The stream is gone: what still comes in goes back.
    is_closing: bool,
    wants_cancel: bool,
    opened: Option<oneshot::Sender<Result<(), Failed>>>,
    canceled: Vec<oneshot::Sender<()>>,
}

/// A lease that the application wants longer.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) lease_ms: u32,
    pub(crate) waiter: Waiter,
}

/// Why there are no more deliveries.
#[derive(Clone, Debug)]
enum End {
    Orderly,
    Failed(Failed),
}

/// A piece of a delivery, on its way to the application.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) range: RangeNo,
    /// Of the lease.
    pub(crate) epoch: u64,
    pub(crate) piece: Piece,
}

/// What the application finds when it asks for more.
#[derive(Debug)]
pub(crate) enum Taken {
    /// These, of this connection.
    Pieces(Generation, VecDeque<Incoming>),
    End(Option<Failed>),
}

/// Which message a delivery stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseKey {
    pub(crate) generation: Generation,
    pub(crate) range: RangeNo,
    pub(crate) index: u32,
}

/// What is to be sent for a consumer.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) settles: Vec<SettleFrame>,
    pub(crate) extensions: Vec<Extension>,
    pub(crate) credit: Option<Credit>,
    pub(crate) cancel: bool,
}

impl Subscription {
    /// A consumer that the connection task does not know yet; the receiver says whether it opened.
    pub(crate) fn new(
        core: Arc<Core>,
        terms: Terms,
    ) -> (Arc<Self>, oneshot::Receiver<Result<(), Failed>>) {
        let (opened, receiver) = oneshot::channel();
        let state = State { opened: Some(opened), ..State::default() };
        let subscription = Self {
            core,
            terms,
            channel: AtomicU16::new(0),
            generation: AtomicU64::new(0),
            handed: AtomicU64::new(0),
            state: Mutex::new(state),
            settled: Notify::new(),
        };
        (Arc::new(subscription), receiver)
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation.load(Ordering::Acquire)
    }

    /// Everything that came in, or a wake-up later.
    pub(crate) fn take(&self, waker: &Waker) -> Poll<Taken> {
        let mut state = lock(&self.state);
        if !state.incoming.is_empty() {
            let pieces = std::mem::take(&mut state.incoming);
            return Poll::Ready(Taken::Pieces(state.generation, pieces));
        }
        match &state.end {
            Some(End::Orderly) => return Poll::Ready(Taken::End(None)),
            Some(End::Failed(failure)) => {
                let failure = Arc::clone(failure);
                state.end = Some(End::Orderly);
                return Poll::Ready(Taken::End(Some(failure)));
            }
            None => {}
        }
        match &mut state.waker {
            Some(mine) => mine.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Poll::Pending
    }

    /// Deliveries that the application may still get.
    pub(crate) fn left(&self) -> u64 {
        let limit = self.terms.limit.unwrap_or(u64::MAX);
        limit.saturating_sub(self.handed.load(Ordering::Relaxed))
    }

    /// The application got one more, the one at this offset.
    pub(crate) fn handed_over(&self, offset: u64) {
        if self.terms.limit.is_some() {
            self.handed.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(limit) = self.terms.renew_for {
            lock(&self.state).holds.taken(offset, Instant::now() + limit);
        }
    }

    /// Renews a lease until [`Subscription::unhold`]; gives its offset, `None` if it is lost.
    pub(crate) fn hold(&self, key: LeaseKey) -> Option<u64> {
        let mut state = lock(&self.state);
        let is_current = state.generation == key.generation;
        let range = is_current.then(|| state.held.holds(key.range, key.index)).flatten()?;
        state.holds.hold(range.first);
        Some(range.first)
    }

    pub(crate) fn unhold(&self, key: LeaseKey, offset: u64) {
        let mut state = lock(&self.state);
        if state.generation == key.generation {
            state.holds.unhold(offset);
        }
    }

    /// So many were taken and not handed over: others may come in their place.
    pub(crate) fn passed_over(&self, messages: u32) {
        let mut state = lock(&self.state);
        state.grantable = state.grantable.saturating_add(u64::from(messages));
    }

    /// The application has begun so many deliveries of this connection, and made room for more.
    pub(crate) fn grant(self: &Arc<Self>, generation: Generation, more: Credit) {
        let mut state = lock(&self.state);
        if state.generation != generation || state.is_closing {
            return;
        }
        let messages = more.messages.min(u32::try_from(state.grantable).unwrap_or(u32::MAX));
        state.grantable -= u64::from(messages);
        let credit = state.credit.get_or_insert_default();
        credit.messages = credit.messages.saturating_add(messages);
        credit.bytes = credit.bytes.saturating_add(more.bytes);
        credit.begun = more.begun;
        self.announce(state);
    }

    /// Settles one message; the answer is this side's, not the broker's.
    pub(crate) fn settle(self: &Arc<Self>, key: LeaseKey, outcome: Outcome) -> Result<(), Failed> {
        let mut state = lock(&self.state);
        let range = claim(&mut state, key)?;
        state.settles.push(range, outcome);
        self.tell_closing(&state);
        self.announce(state);
        Ok(())
    }

    /// The same; the receiver hears when it is durable.
    pub(crate) fn settle_confirmed(
        self: &Arc<Self>,
        key: LeaseKey,
        outcome: Outcome,
    ) -> Result<oneshot::Receiver<Result<(), Failed>>, Failed> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        let range = claim(&mut state, key)?;
        state.settles.push_confirmed(range, outcome, sender);
        self.tell_closing(&state);
        self.announce(state);
        Ok(receiver)
    }

    /// The channel and the range of one message, as long as it is held and this is a consumer of `core`.
    pub(crate) fn place_of(&self, core: &Arc<Core>, key: LeaseKey) -> Result<(u16, Range), Failed> {
        if !Arc::ptr_eq(&self.core, core) {
            let text = "the delivery came from another client";
            return Err(Failure::coded(ErrorCode::InvalidArgument, text));
        }
        let state = lock(&self.state);
        let is_current = state.generation == key.generation;
        let range = is_current.then(|| state.held.holds(key.range, key.index)).flatten();
        Ok((self.channel(), range.ok_or_else(|| expired(&state))?))
    }

    /// One message was settled together with others, and the broker has said so.
    pub(crate) fn settled_elsewhere(&self, key: LeaseKey) {
        let mut state = lock(&self.state);
        if claim(&mut state, key).is_ok() {
            self.tell_closing(&state);
        }
    }

    /// Makes one lease last this long from now.
    pub(crate) async fn extend(
        self: &Arc<Self>,
        key: LeaseKey,
        lease: Duration,
    ) -> Result<(), Failed> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = lock(&self.state);
            let is_current = state.generation == key.generation;
            let range = is_current.then(|| state.held.holds(key.range, key.index)).flatten();
            let range = range.ok_or_else(|| expired(&state))?;
            let lease_ms = whole_ms_u32(lease).clamp(LEASE_MS_MIN, LEASE_MS_MAX);
            state.extensions.push(Extension { lease_ms, waiter: (range, sender) });
            state.extended.insert(range.first, Instant::now() + lease);
            self.announce(state);
        }
        self.answered(receiver).await
    }

    /// The broker's answer to a settle or an extension, within the request timeout.
    pub(crate) async fn answered(
        &self,
        answer: oneshot::Receiver<Result<(), Failed>>,
    ) -> Result<(), Failed> {
        match tokio::time::timeout(self.core.options().request_timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_gone)) => Err(super::closed()),
            Err(_elapsed) => Err(self.core.no_answer(self.core.options().request_timeout)),
        }
    }

    /// The stream is gone: gives back what was not taken, from this message on.
    pub(crate) fn close_stream(self: &Arc<Self>, untaken: Option<LeaseKey>) {
        let mut guard = lock(&self.state);
        let state = &mut *guard;
        state.is_closing = true;
        state.credit = None;
        state.waker = None;
        if let Some(key) = untaken.filter(|key| key.generation == state.generation) {
            give_back(state, key.range, key.index);
        } else if let Some(front) = state.incoming.front() {
            let range = front.range;
            give_back(state, range, 0);
        }
        state.incoming.clear();
        self.announce(guard);
    }

    /// Waits until nothing is held any more, for at most `grace`.
    pub(crate) async fn settled(&self, grace: Duration) -> bool {
        let all = async {
            loop {
                let changed = self.settled.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if lock(&self.state).held.len() == 0 {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(grace, all).await.is_ok()
    }

    /// Ends it at the broker; the receiver hears when that has happened.
    pub(crate) fn cancel(self: &Arc<Self>) -> Option<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return None;
        }
        state.wants_cancel = true;
        state.is_closing = true;
        state.canceled.push(sender);
        self.announce(state);
        Some(receiver)
    }

    /// Only an end that was asked for waits for settles.
    fn tell_closing(&self, state: &State) {
        if state.is_closing {
            self.settled.notify_waiters();
        }
    }

    /// Tells the connection task that there is something to collect.
    fn announce(self: &Arc<Self>, mut state: std::sync::MutexGuard<'_, State>) {
        if std::mem::replace(&mut state.is_announced, true) {
            return;
        }
        drop(state);
        self.core.announce_subscription(Arc::clone(self));
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn give_back(state: &mut State, range: RangeNo, index: u32) {
    for range in state.held.settle_from(range, index) {
        state.settles.push(range, Outcome::Release);
    }
}

fn claim(state: &mut State, key: LeaseKey) -> Result<Range, Failed> {
    let is_current = state.generation == key.generation;
    let range = is_current.then(|| state.held.settle(key.range, key.index)).flatten();
    let range = range.ok_or_else(|| expired(state))?;
    state.holds.settled(range.first);
    Ok(range)
}

fn expired(state: &State) -> Failed {
    match &state.end {
        Some(End::Failed(failure)) => Arc::clone(failure),
        Some(End::Orderly) => Failure::local(Local::Closed, "the consumer was closed"),
        None => Failure::coded(
            ErrorCode::LeaseExpired,
            "the lease of this delivery is not held any more",
        ),
    }
}

fn unsettled() -> Failed {
    let text = "the connection broke before the settle was confirmed; the message may come again";
    Failure::local(Local::Disconnected, text)
}

/// Answers somebody who waits for a settle and may have stopped waiting.
pub(crate) fn answer((_, waiter): Waiter, outcome: Result<(), Failed>) {
    if waiter.send(outcome).is_err() {
        tracing::trace!("a settle was confirmed to nobody");
    }
}
