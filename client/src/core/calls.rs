//! Requests that wait for their answer, by request id.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use posthaste_protocol::limits::REQUEST_TIMEOUT_MS_MAX;
use posthaste_protocol::names::Name;
use posthaste_protocol::request::{DeadAction, REQUEST_ID_FIRST};
use posthaste_protocol::service::ServiceCall;
use posthaste_protocol::{Request, Response};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::destination::Destination;
use super::outbox::Outbox;
use super::settles::Waiter;
use crate::error::{Failed, Failure, Local};
use crate::options::whole_ms_u32;

/// A request of the application.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    /// Of a request to a service: the time that is left is told when it is sent.
    pub(crate) deadline: Option<Instant>,
    pub(crate) reply: oneshot::Sender<Result<Response, Failed>>,
}

impl Call {
    /// The application may have stopped waiting; then the answer is for nobody.
    pub(crate) fn answer(self, answer: Result<Response, Failed>) {
        if self.reply.send(answer).is_err() {
            tracing::trace!("an answer came after its request had timed out");
        }
    }

    /// Whether sending it twice does no more than sending it once.
    fn is_repeatable(&self) -> bool {
        match &self.request {
            Request::Delete { .. } | Request::Service(ServiceCall::Ask { .. }) => false,
            Request::Purge { dry_run, .. } => *dry_run,
            Request::Dead { action, .. } => match action {
                DeadAction::List { .. } => true,
                DeadAction::Replay { dry_run, .. } | DeadAction::Drop { dry_run, .. } => *dry_run,
            },
            _ => true,
        }
    }
}

/// Whom an answer is for.
#[derive(Debug)]
pub(crate) enum Expected {
    /// The application.
    Call(Call),
    /// The publisher: what number a name has.
    Describe(Arc<Destination>),
    /// The publisher: its session.
    OpenProducer,
    /// The consumer of this channel was opened.
    Consume(u16),
    /// Settles became durable, or leases longer.
    Settle(Vec<Waiter>),
    /// The consumer of this channel was ended.
    Cancel(u16),
    /// This client became an instance of a service.
    Serve(Name),
    /// It is none any more.
    Leave(Name),
    /// A sign of life.
    Heartbeat,
}

/// All requests of one client.
#[derive(Debug)]
pub(crate) struct Calls {
    next_id: u64,
    pending: HashMap<u64, Expected>,
    unsent: VecDeque<Call>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self { next_id: REQUEST_ID_FIRST, pending: HashMap::new(), unsent: VecDeque::new() }
    }

    pub(crate) fn queue(&mut self, calls: &mut Vec<Call>) {
        self.unsent.extend(calls.drain(..));
    }

    /// Nothing of the application waits.
    pub(crate) fn is_quiet(&self) -> bool {
        self.unsent.is_empty()
            && !self.pending.values().any(|one| {
                matches!(
                    one,
                    Expected::Call(_)
                        | Expected::Settle(_)
                        | Expected::Cancel(_)
                        | Expected::Leave(_)
                )
            })
    }

    /// Sends what the application asked for.
    pub(crate) fn fill(&mut self, out: &mut Outbox, now: Instant) {
        while let Some(mut call) = self.unsent.pop_front() {
            if call.reply.is_closed() {
                continue;
            }
            if let Request::Service(ServiceCall::Ask { timeout_ms, .. }) = &mut call.request
                && let Some(deadline) = call.deadline
            {
                // What has no time left goes out with the shortest there is: the broker says so.
                let left = whole_ms_u32(deadline.saturating_duration_since(now));
                *timeout_ms = left.clamp(1, REQUEST_TIMEOUT_MS_MAX);
            }
            let id = self.take_id();
            out.encode(|bytes| call.request.encode(0, id, bytes));
            self.pending.insert(id, Expected::Call(call));
        }
    }

    /// Sends a request of the connection itself.
    pub(crate) fn send(
        &mut self,
        out: &mut Outbox,
        channel: u16,
        request: &Request,
        expected: Expected,
    ) {
        let id = self.take_id();
        out.encode(|bytes| request.encode(channel, id, bytes));
        self.pending.insert(id, expected);
    }

    /// Sends a request whose answer comes only if something is wrong.
    pub(crate) fn tell(&mut self, out: &mut Outbox, channel: u16, request: &Request) {
        let id = self.take_id();
        out.encode(|bytes| request.encode(channel, id, bytes));
    }

    pub(crate) fn take(&mut self, id: u64) -> Option<Expected> {
        self.pending.remove(&id)
    }

    fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        // Wraps after 2^63 requests.
        self.next_id = id.checked_add(1).unwrap_or(REQUEST_ID_FIRST);
        id
    }

    /// The connection broke: repeatable calls are sent again, others fail; the rest is begun anew
    /// by whom it belongs to. Gives the settles that nobody will confirm.
    pub(crate) fn disconnected(&mut self) -> Vec<Waiter> {
        let mut waiters = Vec::new();
        let mut again = Vec::new();
        for (id, expected) in self.pending.drain() {
            match expected {
                Expected::Call(call) if call.is_repeatable() => again.push((id, call)),
                Expected::Call(call) => {
                    let text = "the connection broke before the answer came; it may have happened";
                    call.answer(Err(Failure::local(Local::Disconnected, text)));
                }
                Expected::Settle(mut ones) => waiters.append(&mut ones),
                Expected::Describe(_)
                | Expected::OpenProducer
                | Expected::Consume(_)
                | Expected::Cancel(_)
                | Expected::Serve(_)
                | Expected::Leave(_)
                | Expected::Heartbeat => {}
            }
        }
        again.sort_unstable_by_key(|(id, _)| *id);
        for (_, call) in again.into_iter().rev() {
            self.unsent.push_front(call);
        }
        waiters
    }

    /// The client ends.
    pub(crate) fn fail_all(&mut self, failure: &Failed) {
        for waiter in self.disconnected() {
            super::subscription::answer(waiter, Err(Arc::clone(failure)));
        }
        for call in self.unsent.drain(..) {
            call.answer(Err(Arc::clone(failure)));
        }
    }
}
