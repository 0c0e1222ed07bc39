//! What the connection task knows and does, apart from reading and writing.
//!
//! It survives connections: what is not finished on one goes on with the next. Everything here is
//! owned by that one task, so nothing here is locked.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::request::{Held, REQUEST_ID_FIRST};
use posthaste_protocol::response::Welcome;
use posthaste_protocol::service::ServiceReply;
use posthaste_protocol::{Frame, Response};
use tokio::time::Instant;

use super::calls::{Calls, Expected};
use super::consumers::Consumers;
use super::lane::{Fetched, Lane};
use super::outbox::Outbox;
use super::publisher::{Publisher, Verdict};
use super::services::Services;
use super::{Core, Inbox, closed, lock, random, settles::Waiter, subscription::answer};
use crate::error::{Failed, Failure, Local};

/// The state of the connection task.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) core: Arc<Core>,
    pub(crate) out: Outbox,
    pub(crate) calls: Calls,
    publisher: Publisher,
    consumers: Consumers,
    services: Services,
    lingering: BinaryHeap<Reverse<Lingering>>,
    /// Kept for its memory.
    inbox: Inbox,
    close_by: Option<Instant>,
    /// Batches that had expired when closing began.
    expired_before: u64,
    /// The broker did something on this connection.
    was_answered: bool,
    store: Option<[u8; 16]>,
    is_connected: bool,
}

/// A lane whose open batch waits for company.
#[derive(Debug)]
struct Lingering {
    until: Instant,
    lane: Arc<Lane>,
}

impl Driver {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self {
            publisher: Publisher::new(Arc::clone(&core), random::session()),
            core,
            out: Outbox::default(),
            calls: Calls::new(),
            consumers: Consumers::default(),
            services: Services::default(),
            lingering: BinaryHeap::new(),
            inbox: Inbox::default(),
            close_by: None,
            expired_before: 0,
            was_answered: false,
            store: None,
            is_connected: false,
        }
    }

    /// A connection is open.
    pub(crate) fn connected(&mut self, welcome: &Welcome) {
        if self.store.replace(welcome.store).is_some_and(|before| before != welcome.store) {
            tracing::warn!("another broker answers under the address of the one before");
            self.core.forget_targets();
        }
        self.core.set_message_bytes_max(welcome.message_bytes_max);
        self.publisher.connected(welcome.publish_bytes_max, welcome.frame_bytes_max);
        self.is_connected = true;
        self.was_answered = false;
        if self.close_by.is_none() {
            self.consumers.connected(&mut self.out, &mut self.calls);
            self.services.connected(&mut self.out, &mut self.calls);
        }
    }

    /// Whether this connection, or the last, was good for anything: the next failure then begins a
    /// new backoff.
    pub(crate) fn was_answered(&self) -> bool {
        self.was_answered
    }

    /// The connection broke.
    pub(crate) fn disconnected(&mut self) {
        self.is_connected = false;
        self.out = Outbox::default();
        for waiter in self.calls.disconnected() {
            let text = "the connection broke before the settle was confirmed; it may come again";
            answer(waiter, Err(Failure::local(Local::Disconnected, text)));
        }
        self.publisher.disconnected();
        self.consumers.disconnected();
        self.services.disconnected();
    }

    /// Takes over what handles handed in, does what is due, and encodes what can be sent.
    pub(crate) fn collect(&mut self, now: Instant) {
        let mut inbox = std::mem::take(&mut self.inbox);
        std::mem::swap(&mut inbox, &mut lock(&self.core.inbox));
        for subscription in inbox.new_subscriptions.drain(..) {
            self.consumers.add(subscription, &mut self.out, &mut self.calls);
        }
        for lane in inbox.lanes.drain(..) {
            let fetched = lane.fetch(now);
            self.accept(lane, fetched);
        }
        inbox.groups.drain(..).for_each(|group| self.publisher.accept_group(group));
        self.calls.queue(&mut inbox.calls);
        for subscription in inbox.subscriptions.drain(..) {
            self.consumers.send(&subscription, &mut self.out, &mut self.calls);
        }
        self.collect_services(&mut inbox);
        if let Some(deadline) = inbox.close_by.take() {
            self.begin_close(deadline);
        }
        self.inbox = inbox;
        self.end_lingering(now);
        self.publisher.expire(now);
        if self.is_connected {
            self.consumers.tick(now, &mut self.out, &mut self.calls);
            self.services.tick(now, &mut self.out, &mut self.calls);
            self.calls.fill(&mut self.out, now);
            self.publisher.fill(&mut self.out, &mut self.calls);
        }
    }

    /// ORDER: answers before leaving, so that what was done is said.
    fn collect_services(&mut self, inbox: &mut Inbox) {
        for new in inbox.services.drain(..) {
            self.services.add(new, &mut self.out, &mut self.calls);
        }
        for outgoing in inbox.answers.drain(..) {
            self.services.send(outgoing, &mut self.out, &mut self.calls);
        }
        for (name, id) in inbox.leaving.drain(..) {
            self.services.leave(&name, id, &mut self.out, &mut self.calls);
        }
    }

    fn accept(&mut self, lane: Arc<Lane>, fetched: Fetched) {
        self.publisher.accept(fetched.batches);
        if let Some(until) = fetched.look_again {
            self.lingering.push(Reverse(Lingering { until, lane }));
        }
    }

    fn end_lingering(&mut self, now: Instant) {
        let is_due = |next: &Reverse<Lingering>| next.0.until <= now;
        while self.lingering.peek().is_some_and(is_due) {
            let Some(Reverse(Lingering { lane, .. })) = self.lingering.pop() else { return };
            let fetched = lane.fetch_lingering(now);
            self.accept(lane, fetched);
        }
    }

    fn begin_close(&mut self, deadline: Instant) {
        let is_first = self.close_by.is_none();
        self.close_by = Some(self.close_by.map_or(deadline, |by| by.min(deadline)));
        if !is_first {
            return;
        }
        self.expired_before = self.publisher.expired();
        for Reverse(Lingering { lane, .. }) in std::mem::take(&mut self.lingering) {
            self.publisher.accept(lane.fetch_everything());
        }
        self.consumers.finish(&mut self.out, &mut self.calls);
        self.services.finish(&mut self.out, &mut self.calls);
    }

    /// Closing was asked for, and everything is done.
    pub(crate) fn is_finished(&self) -> bool {
        self.close_by.is_some()
            && self.publisher.is_empty()
            && self.calls.is_quiet()
            && self.lingering.is_empty()
    }

    /// Closing was asked for, and there is no time left.
    pub(crate) fn is_out_of_time(&self, now: Instant) -> bool {
        self.close_by.is_some_and(|by| by <= now)
    }

    /// When [`Driver::collect`] has something to do of its own accord.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let lingering = self.lingering.peek().map(|next| next.0.until);
        let consumers = self.consumers.next_due().filter(|_| self.is_connected);
        let services = self.services.next_due().filter(|_| self.is_connected);
        let all = [lingering, self.publisher.next_expiry(), consumers, services, self.close_by];
        all.into_iter().flatten().min()
    }

    /// Something came. An error ends the connection.
    pub(crate) fn on_frame(&mut self, frame: &Frame, now: Instant) -> Result<(), Failed> {
        let response = Response::decode(frame)
            .map_err(|error| Failure::coded(error.code(), error.to_string()))?;
        let (channel, id) = (frame.header.channel, frame.header.corr);
        self.was_answered |= !matches!(response, Response::Error(_) | Response::Closing(_));
        match response {
            Response::Confirms(confirms) => {
                confirms.iter().try_for_each(|confirmed| self.publisher.confirmed(confirmed))
            }
            Response::Receipts(outcomes) => self.publisher.receipts(id, &outcomes),
            Response::Deliver(deliver) => self.consumers.deliver(channel, deliver),
            Response::Error(reply) if id != 0 && id < REQUEST_ID_FIRST => {
                self.on_refused_publish(id, reply)
            }
            Response::Error(reply) => self.on_error(channel, id, reply, now),
            Response::Closing(reply) => Err(Failure::reply(reply)),
            Response::Settled { stale } => {
                self.on_settled(channel, id, &stale, &[]);
                Ok(())
            }
            Response::Extended { stale, limited } => {
                self.on_settled(channel, id, &stale, &limited);
                Ok(())
            }
            Response::Canceled => {
                self.calls.take(id);
                self.consumers.canceled(channel);
                Ok(())
            }
            Response::Service(ServiceReply::Requested(requested)) => {
                let mut refused = Vec::new();
                self.services.requested(requested, now, &mut refused);
                for outgoing in refused {
                    self.services.send(outgoing, &mut self.out, &mut self.calls);
                }
                Ok(())
            }
            other => {
                self.on_answer(id, other, now);
                Ok(())
            }
        }
    }

    /// What could not be settled, or not be extended as far as was asked for.
    fn on_settled(&mut self, channel: u16, id: u64, stale: &[Held], limited: &[Held]) {
        let waiters = match self.calls.take(id) {
            Some(Expected::Settle(waiters)) => waiters,
            _ => Vec::new(),
        };
        self.consumers.answered(channel, stale, limited, waiters);
    }

    fn on_refused_publish(&mut self, number: u64, reply: ErrorReply) -> Result<(), Failed> {
        let told = reply.clone();
        match self.publisher.refused(number, reply)? {
            Verdict::GoOn => Ok(()),
            Verdict::Reconnect => Err(Failure::reply(told)),
        }
    }

    fn on_answer(&mut self, id: u64, response: Response, now: Instant) {
        match (self.calls.take(id), response) {
            (Some(Expected::Call(call)), response) => call.answer(Ok(response)),
            (Some(Expected::Describe(destination)), Response::Described(found)) => {
                self.publisher.described(&destination, Ok(found.id));
            }
            (Some(Expected::OpenProducer), Response::ProducerOpened { producer, resumed }) => {
                self.publisher.opened(producer, resumed);
            }
            (Some(Expected::Consume(channel)), Response::Consuming { lease_ms }) => {
                self.consumers.opened(channel, lease_ms, now);
            }
            (Some(Expected::Serve(name)), Response::Service(ServiceReply::Serving)) => {
                self.services.opened(&name);
            }
            (Some(Expected::Leave(name)), _) => self.services.left(&name),
            (Some(Expected::Heartbeat), _) => {}
            (expected, response) => {
                tracing::debug!(?expected, ?response, "an answer that nothing waits for");
            }
        }
    }

    fn on_error(
        &mut self,
        channel: u16,
        id: u64,
        reply: ErrorReply,
        now: Instant,
    ) -> Result<(), Failed> {
        if reply.code.closes_connection() {
            return Err(Failure::reply(reply));
        }
        match self.calls.take(id) {
            Some(Expected::Call(call)) => call.answer(Err(Failure::reply(reply))),
            Some(Expected::Describe(destination)) => {
                self.publisher.described(&destination, Err(Failure::reply(reply)));
            }
            Some(Expected::OpenProducer) if reply.code == ErrorCode::ShuttingDown => {}
            Some(Expected::OpenProducer) => self.publisher.not_opened(&Failure::reply(reply)),
            Some(Expected::Consume(channel)) => self.consumers.refused(channel, reply, now),
            Some(Expected::Settle(waiters)) => refuse(waiters, &Failure::reply(reply)),
            Some(Expected::Cancel(channel)) => self.consumers.canceled(channel),
            Some(Expected::Serve(name)) => self.services.refused(&name, reply, now),
            Some(Expected::Leave(name)) => self.services.left(&name),
            Some(Expected::Heartbeat) | None => {
                tracing::warn!(channel, %reply, "the broker refused");
            }
        }
        Ok(())
    }

    /// Ends everything: nobody who waits goes on waiting.
    fn shut(&mut self) {
        let shut = Inbox { is_shut: true, ..Inbox::default() };
        let inbox = std::mem::replace(&mut *lock(&self.core.inbox), shut);
        let failure = closed();
        let lingering = std::mem::take(&mut self.lingering);
        let lanes = lingering.into_iter().map(|next| next.0.lane);
        for lane in inbox.lanes.into_iter().chain(lanes) {
            lane.fail_all(&failure);
        }
        let expired = self.publisher.expired().saturating_sub(self.expired_before);
        let undecided = self.publisher.fail_all(&failure) + expired;
        self.calls.fail_all(&failure);
        inbox.calls.into_iter().for_each(|call| call.answer(Err(closed())));
        // Who serves sees the end of its channel.
        drop((inbox.services, std::mem::take(&mut self.services)));
        inbox.new_subscriptions.into_iter().for_each(|one| one.end(Some(closed())));
        inbox.subscriptions.into_iter().for_each(|one| one.end(None));
        self.consumers.end_all();
        self.core.ended(undecided);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shut();
    }
}

fn refuse(waiters: Vec<Waiter>, failure: &Failed) {
    for waiter in waiters {
        answer(waiter, Err(Arc::clone(failure)));
    }
}

impl Ord for Lingering {
    fn cmp(&self, other: &Self) -> Ordering {
        self.until.cmp(&other.until)
    }
}

impl PartialOrd for Lingering {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Lingering {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until
    }
}

impl Eq for Lingering {}
