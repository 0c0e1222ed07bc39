//! All consumers of a connection, by channel. Owned by the connection task.
//!
//! Opens them (again on each new connection), sends what they collected, renews their leases, and
//! ends them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use posthaste_protocol::Request;
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::limits::{CONSUMERS_PER_CONNECTION_MAX, LEASE_MS_MIN, SETTLE_ITEMS_MAX};
use posthaste_protocol::request::Held as Range;
use posthaste_protocol::response::Deliver;
use tokio::time::Instant;

use super::calls::{Calls, Expected};
use super::outbox::Outbox;
use super::settles::{Waiter, overlaps};
use super::subscription::{Extension, Generation, Subscription, answer};
use crate::error::{Failed, Failure};

/// After a refusal that may pass, a known consumer is opened again so much later.
const REOPEN: Duration = Duration::from_secs(1);

/// Every consumer, and what the broker knows of it.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    by_channel: BTreeMap<u16, Entry>,
    generation: Generation,
    is_connected: bool,
}

#[derive(Debug)]
struct Entry {
    subscription: Arc<Subscription>,
    phase: Phase,
    lease: Duration,
    /// When to renew leases, or to open again.
    due: Option<Instant>,
    was_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not known to the broker.
    Closed,
    Opening,
    Open,
    Canceling,
}

impl Consumers {
    /// Takes over a new consumer, and opens it if there is a connection.
    pub(crate) fn add(
        &mut self,
        subscription: Arc<Subscription>,
        out: &mut Outbox,
        calls: &mut Calls,
    ) {
        let free = (1..=CONSUMERS_PER_CONNECTION_MAX)
            .find(|channel| !self.by_channel.contains_key(channel));
        let Some(channel) = free else {
            let text = format!("{CONSUMERS_PER_CONNECTION_MAX} consumers are open on this client");
            let code = ErrorCode::QuotaExceeded;
            subscription.end(Some(Failure::coded(code, text)));
            return;
        };
        subscription.set_channel(channel);
        let entry = Entry {
            subscription,
            phase: Phase::Closed,
            lease: Duration::ZERO,
            due: None,
            was_open: false,
        };
        self.by_channel.insert(channel, entry);
        if self.is_connected {
            self.open(channel, out, calls);
        }
    }

    /// Opens everything on a new connection.
    pub(crate) fn connected(&mut self, out: &mut Outbox, calls: &mut Calls) {
        self.generation += 1;
        self.is_connected = true;
        let channels: Vec<u16> = self.by_channel.keys().copied().collect();
        for channel in channels {
            self.open(channel, out, calls);
        }
    }

    fn open(&mut self, channel: u16, out: &mut Outbox, calls: &mut Calls) {
        let Some(entry) = self.by_channel.get_mut(&channel) else { return };
        let request = Request::Consume(entry.subscription.begin(self.generation));
        entry.phase = Phase::Opening;
        entry.due = None;
        calls.send(out, channel, &request, Expected::Consume(channel));
    }

    /// The connection broke. Consumers that were being ended are ended by that.
    pub(crate) fn disconnected(&mut self) {
        self.is_connected = false;
        self.by_channel.retain(|_, entry| {
            entry.subscription.disconnected();
            let stays = entry.phase != Phase::Canceling;
            entry.phase = Phase::Closed;
            entry.due = None;
            if !stays {
                entry.subscription.end(None);
            }
            stays
        });
    }

    /// Sends what a consumer has collected.
    pub(crate) fn send(
        &mut self,
        subscription: &Arc<Subscription>,
        out: &mut Outbox,
        calls: &mut Calls,
    ) {
        let channel = subscription.channel();
        let found = self.by_channel.get_mut(&channel);
        let Some(entry) = found.filter(|one| Arc::ptr_eq(&one.subscription, subscription)) else {
            subscription.end(None);
            return;
        };
        let outgoing = subscription.collect();
        if matches!(entry.phase, Phase::Closed | Phase::Canceling) {
            if outgoing.cancel && entry.phase == Phase::Closed {
                self.remove(channel, None);
            }
            return;
        }
        for frame in outgoing.settles {
            let confirm = !frame.waiters.is_empty();
            let request = Request::Settle { confirm, items: frame.items };
            if confirm {
                calls.send(out, channel, &request, Expected::Settle(frame.waiters));
            } else {
                calls.tell(out, channel, &request);
            }
        }
        for Extension { lease_ms, waiter } in outgoing.extensions {
            let request = Request::Extend { lease_ms, items: vec![waiter.0] };
            calls.send(out, channel, &request, Expected::Settle(vec![waiter]));
        }
        if let Some(credit) = outgoing.credit {
            calls.tell(out, channel, &Request::Credit(credit));
        }
        if outgoing.cancel {
            entry.phase = Phase::Canceling;
            entry.due = None;
            calls.send(out, channel, &Request::Cancel, Expected::Cancel(channel));
        }
    }

    /// The broker opened a consumer.
    pub(crate) fn opened(&mut self, channel: u16, lease_ms: u32, now: Instant) {
        let Some(entry) = self.by_channel.get_mut(&channel) else { return };
        if entry.phase == Phase::Opening {
            entry.phase = Phase::Open;
            entry.was_open = true;
            entry.lease = Duration::from_millis(u64::from(lease_ms.max(LEASE_MS_MIN)));
            entry.due = Some(now + entry.lease / 3);
            entry.subscription.opened();
        }
    }

    /// The broker did not open a consumer. One that was open before is tried again if that can help.
    pub(crate) fn refused(&mut self, channel: u16, reply: ErrorReply, now: Instant) {
        let Some(entry) = self.by_channel.get_mut(&channel) else { return };
        // A broker whose log fails does not know what became of the request; to ask the next one is safe.
        let can_help = reply.code.is_retryable() || reply.code == ErrorCode::Indeterminate;
        if entry.was_open && can_help && entry.phase == Phase::Opening {
            entry.phase = Phase::Closed;
            entry.due = Some(now + REOPEN);
            return;
        }
        self.remove(channel, Some(Failure::reply(reply)));
    }

    /// Messages for a consumer. One that is being ended needs none.
    pub(crate) fn deliver(&self, channel: u16, deliver: Deliver) -> Result<(), Failed> {
        match self.by_channel.get(&channel) {
            Some(entry) if entry.phase != Phase::Canceling => entry.subscription.deliver(deliver),
            _ => Ok(()),
        }
    }

    /// The broker answered a settle or an extend, or tells unasked what was stale.
    pub(crate) fn answered(
        &self,
        channel: u16,
        stale: &[Range],
        limited: &[Range],
        waiters: Vec<Waiter>,
    ) {
        let is_renewal = waiters.is_empty();
        for waiter in waiters {
            let is_in = |ranges: &[Range]| ranges.iter().any(|range| overlaps(*range, waiter.0));
            let outcome = if is_in(stale) {
                let text = "the lease was not held any more; the message is delivered again";
                Err(Failure::coded(ErrorCode::LeaseExpired, text))
            } else if is_in(limited) {
                let text = "the lease lasts to the end of the longest hold, and no longer";
                Err(Failure::coded(ErrorCode::HoldLimit, text))
            } else {
                Ok(())
            };
            answer(waiter, outcome);
        }
        if let Some(entry) = self.by_channel.get(&channel) {
            entry.subscription.lost(stale);
            if is_renewal && !limited.is_empty() {
                entry.subscription.near_limit(limited);
            }
        }
    }

    /// The broker ended a consumer: as asked, or because what it consumes was deleted.
    pub(crate) fn canceled(&mut self, channel: u16) {
        self.remove(channel, None);
    }

    fn remove(&mut self, channel: u16, failure: Option<Failed>) {
        if let Some(entry) = self.by_channel.remove(&channel) {
            entry.subscription.end(failure);
        }
    }

    /// When [`Consumers::tick`] has something to do.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.by_channel.values().filter_map(|entry| entry.due).min()
    }

    /// Renews leases, and opens again what was refused for the time being.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox, calls: &mut Calls) {
        let mut reopen = Vec::new();
        for (&channel, entry) in &mut self.by_channel {
            if entry.due.is_none_or(|due| due > now) {
                continue;
            }
            if entry.phase == Phase::Closed {
                reopen.push(channel);
                continue;
            }
            entry.due = Some(now + entry.lease / 3);
            let lease_ms = u32::try_from(entry.lease.as_millis()).unwrap_or(u32::MAX);
            for items in
                entry.subscription.held(now, now + entry.lease).chunks(SETTLE_ITEMS_MAX as usize)
            {
                let request = Request::Extend { lease_ms, items: items.to_vec() };
                calls.send(out, channel, &request, Expected::Settle(Vec::new()));
            }
        }
        for channel in reopen {
            self.open(channel, out, calls);
        }
    }

    /// The client closes: what was settled goes out, what was not goes back, and streams end.
    pub(crate) fn finish(&mut self, out: &mut Outbox, calls: &mut Calls) {
        let all: Vec<_> =
            self.by_channel.values().map(|entry| Arc::clone(&entry.subscription)).collect();
        for subscription in all {
            subscription.want_cancel();
            self.send(&subscription, out, calls);
            subscription.end(None);
        }
    }

    /// The client ends: no stream goes on.
    pub(crate) fn end_all(&mut self) {
        for (_, entry) in std::mem::take(&mut self.by_channel) {
            entry.subscription.end(None);
        }
    }
}
