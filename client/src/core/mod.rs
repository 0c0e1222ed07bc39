//! What all clones of a client share, and the task that owns the connection.
//!
//! ```text
//! handles ──lanes, calls, subscriptions──▶ Inbox ──▶ Driver (one task) ──▶ Outbox ──▶ socket
//!    ▲                                                  │
//!    └──────── outcomes, answers, deliveries ◀──────────┘
//! ```
//!
//! Handles never touch the socket, the task never runs application code. The inbox holds only what
//! changed, so the task's work is per batch, range and request, not per message.

mod batch;
mod calls;
mod consumers;
mod destination;
mod driver;
mod handshake;
mod held;
mod lane;
mod link;
mod outbox;
mod parcel;
mod publisher;
pub(crate) mod random;
mod services;
mod settles;
mod subscription;
mod supervisor;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste_protocol::names::Name;
use posthaste_protocol::request::AtomicSettle;
use posthaste_protocol::{BatchBuilder, RecordLimits, Request, Response};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::builder::ClientBuilder;
use crate::error::{Failed, Failure, Local};
use crate::info::BrokerInfo;
use crate::options::ConnState;

pub(crate) use batch::{Batch, Stored, lock, too_late};
pub(crate) use calls::Call;
pub(crate) use destination::Destination;
pub(crate) use lane::{Lane, LaneLimits, Push};
pub(crate) use parcel::{Parcel, Part};
pub(crate) use services::{Arrived, NewService, Outgoing};
pub(crate) use settles::bounded_reason;
pub(crate) use subscription::{Generation, Incoming, LeaseKey, Subscription, Taken, Terms};

/// Builders kept for reuse, so that a steady producer allocates nothing.
const SPARE_BUILDERS_MAX: usize = 64;
/// Single publishes never linger; what runs at the same time shares batches all the same.
const SHARED_LANE: LaneLimits = LaneLimits {
    linger: Duration::ZERO,
    batch_messages: 4_096,
    batch_bytes: 256 << 10,
    in_flight_bytes: 64 << 20,
};
/// How much longer than the broker this side waits for a reply.
const REPLY_GRACE: Duration = Duration::from_millis(500);
/// How long a client that was dropped without being closed goes on sending.
const DROP_GRACE: Duration = Duration::from_secs(1);

/// The shared state of one client.
#[derive(Debug)]
pub(crate) struct Core {
    options: ClientBuilder,
    inbox: Mutex<Inbox>,
    wake: Notify,
    status: watch::Sender<Status>,
    is_throttled: AtomicBool,
    destinations: Mutex<HashMap<Name, Known>>,
    builders: Mutex<Spares>,
    last_service: AtomicU64,
}

/// What changed since the task looked last.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    lanes: Vec<Arc<Lane>>,
    groups: Vec<Parcel>,
    calls: Vec<Call>,
    new_subscriptions: Vec<Arc<Subscription>>,
    subscriptions: Vec<Arc<Subscription>>,
    services: Vec<NewService>,
    leaving: Vec<(Name, u64)>,
    answers: Vec<Outgoing>,
    /// Close in order, by this time.
    close_by: Option<Instant>,
    /// The task has ended: nobody will look any more.
    is_shut: bool,
}

/// How the client stands.
#[derive(Debug)]
struct Status {
    state: ConnState,
    broker: Option<BrokerInfo>,
    /// Why the last attempt to connect failed.
    failure: Option<Failed>,
    /// What closing could not do any more.
    unfinished: Option<Failed>,
}

/// A name that something was published to.
#[derive(Debug)]
struct Known {
    destination: Arc<Destination>,
    /// What single publishes share.
    lane: Option<Arc<Lane>>,
}

#[derive(Debug, Default)]
struct Spares {
    limits: RecordLimits,
    builders: Vec<BatchBuilder>,
}

impl Core {
    /// Starts the connection task.
    pub(crate) fn start(options: ClientBuilder) -> Result<Arc<Self>, Failed> {
        let endpoint = options.endpoint()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Failure::caused(Local::Closed, "a client needs a tokio runtime", error)
        })?;
        let status =
            Status { state: ConnState::Connecting, broker: None, failure: None, unfinished: None };
        let core = Arc::new(Self {
            options,
            inbox: Mutex::default(),
            wake: Notify::new(),
            status: watch::Sender::new(status),
            is_throttled: AtomicBool::new(false),
            destinations: Mutex::default(),
            builders: Mutex::default(),
            last_service: AtomicU64::new(1),
        });
        runtime.spawn(supervisor::run(Arc::clone(&core), endpoint));
        Ok(core)
    }

    pub(crate) fn options(&self) -> &ClientBuilder {
        &self.options
    }

    /// A time that was given by how far off it is, in the time of the broker.
    pub(crate) fn ahead(&self, time_ms: Option<u64>, is_relative: bool) -> Option<u64> {
        #[cfg(feature = "testing")]
        if is_relative && let Some(ahead) = &self.options.ahead {
            let ahead_ms = u64::try_from((ahead.0)().as_millis()).unwrap_or(u64::MAX);
            return time_ms.map(|time_ms| time_ms.saturating_add(ahead_ms));
        }
        // Without the feature both times are the same.
        let _: bool = is_relative;
        time_ms
    }

    // ---- how it stands ----

    pub(crate) fn state(&self) -> ConnState {
        match self.status.borrow().state {
            ConnState::Ready if self.is_throttled.load(Ordering::Relaxed) => ConnState::Throttled,
            state => state,
        }
    }

    fn set_throttled(&self, is_throttled: bool) {
        self.is_throttled.store(is_throttled, Ordering::Relaxed);
    }

    /// Waits for the first connection, or gives up with the first failure.
    pub(crate) async fn first_connection(&self) -> Result<(), Failed> {
        let is_decided =
            |status: &Status| status.state != ConnState::Connecting || status.failure.is_some();
        let failure = match self.status.subscribe().wait_for(is_decided).await {
            Ok(status) => match (&status.state, &status.failure) {
                (ConnState::Connecting, Some(failure)) => Arc::clone(failure),
                (ConnState::Closed, _) => closed(),
                // Lost again already, perhaps: it is connected anew, and every call has its own timeout.
                _ => return Ok(()),
            },
            Err(_gone) => closed(),
        };
        self.close_by(Instant::now());
        Err(failure)
    }

    /// Waits for a connection.
    pub(crate) async fn ready(&self) -> Result<(), Failed> {
        let is_decided =
            |status: &Status| matches!(status.state, ConnState::Ready | ConnState::Closed);
        match self.status.subscribe().wait_for(is_decided).await {
            Ok(status) if status.state == ConnState::Ready => Ok(()),
            _ => Err(closed()),
        }
    }

    pub(crate) async fn broker(&self) -> Result<BrokerInfo, Failed> {
        let known = async {
            self.ready().await?;
            self.status.borrow().broker.clone().ok_or_else(closed)
        };
        let timeout = self.options.request_timeout;
        tokio::time::timeout(timeout, known)
            .await
            .unwrap_or_else(|_elapsed| Err(self.no_answer(timeout)))
    }

    // ---- what handles hand over ----

    /// One request and its answer, within the request timeout, reconnects included.
    pub(crate) async fn call(&self, request: Request) -> Result<Response, Failed> {
        let timeout = self.options.request_timeout;
        self.call_within(request, None, timeout, timeout).await
    }

    /// A request to a service. The broker says when its time is over, and whether anybody saw it;
    /// only if the broker does not, this side does, a little later.
    pub(crate) async fn ask(
        &self,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, Failed> {
        let deadline = Instant::now() + timeout;
        self.call_within(request, Some(deadline), timeout, timeout + REPLY_GRACE).await
    }

    async fn call_within(
        &self,
        request: Request,
        deadline: Option<Instant>,
        told: Duration,
        timeout: Duration,
    ) -> Result<Response, Failed> {
        let (reply, answer) = oneshot::channel();
        let call = Call { request, deadline, reply };
        if !self.post(|inbox| inbox.calls.push(call)) {
            return Err(closed());
        }
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_gone)) => Err(closed()),
            Err(_elapsed) => Err(self.no_answer(told)),
        }
    }

    fn no_answer(&self, timeout: Duration) -> Failed {
        let status = self.status.borrow();
        match (&status.state, &status.failure) {
            (ConnState::Ready, _) | (_, None) => {
                Failure::local(Local::Timeout, format!("no answer within {timeout:?}"))
            }
            (_, Some(failure)) => {
                let text = format!("not connected within {timeout:?}: {}", failure.message);
                Failure::local(Local::Timeout, text)
            }
        }
    }

    /// Opens a consumer.
    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        terms: Terms,
    ) -> Result<Arc<Subscription>, Failed> {
        let (subscription, opened) = Subscription::new(Arc::clone(self), terms);
        let mut guard = CancelOnDrop(Some(Arc::clone(&subscription)));
        if !self.post(|inbox| inbox.new_subscriptions.push(Arc::clone(&subscription))) {
            return Err(closed());
        }
        match tokio::time::timeout(self.options.request_timeout, opened).await {
            Ok(opened) => opened.unwrap_or_else(|_gone| Err(closed()))?,
            Err(_elapsed) => return Err(self.no_answer(self.options.request_timeout)),
        }
        guard.0 = None;
        Ok(subscription)
    }

    /// A number for a service, never given again.
    pub(crate) fn next_service(&self) -> u64 {
        self.last_service.fetch_add(1, Ordering::Relaxed)
    }

    /// Becomes an instance of a service.
    pub(crate) async fn serve(
        &self,
        new: NewService,
        opened: oneshot::Receiver<Result<(), Failed>>,
    ) -> Result<(), Failed> {
        if !self.post(|inbox| inbox.services.push(new)) {
            return Err(closed());
        }
        let timeout = self.options.request_timeout;
        match tokio::time::timeout(timeout, opened).await {
            Ok(opened) => opened.unwrap_or_else(|_gone| Err(closed())),
            Err(_elapsed) => Err(self.no_answer(timeout)),
        }
    }

    /// Is an instance of a service no longer.
    pub(crate) fn leave(&self, name: Name, id: u64) {
        self.post(|inbox| inbox.leaving.push((name, id)));
    }

    /// Answers a request. When nobody sends any more, nobody waits for it either.
    pub(crate) fn answer(&self, outgoing: Outgoing) {
        self.post(|inbox| inbox.answers.push(outgoing));
    }

    /// A lane has something to fetch. `false` if there is nobody to fetch it.
    fn announce_lane(&self, lane: Arc<Lane>) -> bool {
        self.post(|inbox| inbox.lanes.push(lane))
    }

    /// A consumer has something to collect. When nobody collects any more, its end has been told.
    fn announce_subscription(&self, subscription: Arc<Subscription>) {
        self.post(|inbox| inbox.subscriptions.push(subscription));
    }

    fn post(&self, put: impl FnOnce(&mut Inbox)) -> bool {
        let mut inbox = lock(&self.inbox);
        if inbox.is_shut {
            return false;
        }
        put(&mut inbox);
        drop(inbox);
        self.wake.notify_one();
        true
    }

    // ---- lanes ----

    /// The lane that single publishes to a name share.
    pub(crate) fn shared_lane(self: &Arc<Self>, name: &Name) -> Arc<Lane> {
        let mut destinations = lock(&self.destinations);
        let known = destinations.entry(name.clone()).or_insert_with(|| Known::new(name));
        let lane = known.lane.get_or_insert_with(|| {
            Lane::new(Arc::clone(self), Arc::clone(&known.destination), SHARED_LANE)
        });
        Arc::clone(lane)
    }

    /// A lane of a producer of its own.
    pub(crate) fn own_lane(self: &Arc<Self>, name: &Name, limits: LaneLimits) -> Arc<Lane> {
        let mut destinations = lock(&self.destinations);
        let known = destinations.entry(name.clone()).or_insert_with(|| Known::new(name));
        Lane::new(Arc::clone(self), Arc::clone(&known.destination), limits)
    }

    /// A name that something is published to.
    pub(crate) fn destination(&self, name: &Name) -> Arc<Destination> {
        let mut destinations = lock(&self.destinations);
        let known = destinations.entry(name.clone()).or_insert_with(|| Known::new(name));
        Arc::clone(&known.destination)
    }

    /// Publishes and settles as one; gives what became of it.
    pub(crate) async fn commit(
        &self,
        parts: Vec<Part>,
        settles: Vec<AtomicSettle>,
    ) -> Result<Stored, Failed> {
        let deadline = Instant::now() + self.options.publish_timeout;
        let (parcel, decided) = Parcel::group(parts, settles, deadline);
        if !self.post(|inbox| inbox.groups.push(parcel)) {
            return Err(closed());
        }
        decided.await.unwrap_or_else(|_gone| Err(closed()))
    }

    /// Another broker answers under the same address: no number of a target holds any more.
    fn forget_targets(&self) {
        lock(&self.destinations).values().for_each(|known| known.destination.set_target(None));
    }

    pub(crate) fn spare_builder(&self) -> BatchBuilder {
        let mut spares = lock(&self.builders);
        let limits = spares.limits;
        spares.builders.pop().unwrap_or_else(|| BatchBuilder::with_limits(limits))
    }

    fn keep_builder(&self, builder: BatchBuilder) {
        let mut spares = lock(&self.builders);
        if spares.builders.len() < SPARE_BUILDERS_MAX {
            spares.builders.push(builder);
        }
    }

    /// The broker accepts messages up to this size.
    fn set_message_bytes_max(&self, message_bytes_max: u32) {
        let mut spares = lock(&self.builders);
        if spares.limits.message_bytes_max != message_bytes_max {
            spares.limits = RecordLimits { message_bytes_max };
            spares.builders.clear();
        }
    }

    // ---- the end ----

    /// Closes in order and waits for the end.
    pub(crate) async fn close(&self) -> Result<(), Failed> {
        self.close_by(Instant::now() + self.options.publish_timeout);
        let is_closed = |status: &Status| status.state == ConnState::Closed;
        match self.status.subscribe().wait_for(is_closed).await {
            Ok(status) => status.unfinished.clone().map_or(Ok(()), Err),
            Err(_gone) => Ok(()),
        }
    }

    /// The last handle is gone.
    pub(crate) fn abandon(&self) {
        self.close_by(Instant::now() + DROP_GRACE);
    }

    fn close_by(&self, deadline: Instant) {
        self.post(|inbox| {
            let by = inbox.close_by.map_or(deadline, |by| by.min(deadline));
            inbox.close_by = Some(by);
        });
    }
}

/// Ends a consumer whose opening nobody waits for any more.
struct CancelOnDrop(Option<Arc<Subscription>>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(subscription) = &self.0 {
            drop(subscription.cancel());
        }
    }
}

impl Known {
    fn new(name: &Name) -> Self {
        Self { destination: Arc::new(Destination::new(name.clone())), lane: None }
    }
}

/// What everybody hears who comes after the end.
pub(crate) fn closed() -> Failed {
    Failure::local(Local::Closed, "the client is closed")
}
