//! The services of which this client is an instance. Owned by the connection task.
//!
//! Registers them (again on each new connection), hands requests to whoever serves, and sends the
//! answers. A request belongs to the connection that brought it: answers of an earlier one are
//! dropped, because the broker has told its requester already.

use std::collections::BTreeMap;
use std::time::Duration;

use posthaste_protocol::Request;
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::names::Name;
use posthaste_protocol::service::{Answer, Requested, ServiceCall};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::calls::{Calls, Expected};
use super::outbox::Outbox;
use crate::error::{Failed, Failure};

/// After a refusal that may pass, a known service is registered again so much later.
const AGAIN: Duration = Duration::from_secs(1);

/// Counts connections, so that an answer goes back where its request came from.
pub(crate) type Generation = u64;

/// A service to be registered.
#[derive(Debug)]
pub(crate) struct NewService {
    pub(crate) name: Name,
    /// Tells it from an earlier or refused one of the same name.
    pub(crate) id: u64,
    pub(crate) in_flight_max: u32,
    pub(crate) requests: mpsc::Sender<Arrived>,
    pub(crate) opened: oneshot::Sender<Result<(), Failed>>,
}

/// A request in the hands of this client.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) requested: Requested,
    pub(crate) deadline: Instant,
    pub(crate) generation: Generation,
}

/// An answer on its way.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) name: Name,
    pub(crate) ticket: u64,
    pub(crate) generation: Generation,
    pub(crate) answer: Answer,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    in_flight_max: u32,
    requests: mpsc::Sender<Arrived>,
    /// Who waits for the first registration.
    opened: Option<oneshot::Sender<Result<(), Failed>>>,
    is_leaving: bool,
    /// When to register again after a refusal.
    due: Option<Instant>,
}

/// Every service of this client.
#[derive(Debug, Default)]
pub(crate) struct Services {
    by_name: BTreeMap<Name, Entry>,
    generation: Generation,
    is_connected: bool,
}

impl Services {
    pub(crate) fn add(&mut self, new: NewService, out: &mut Outbox, calls: &mut Calls) {
        let NewService { name, id, in_flight_max, requests, opened } = new;
        if self.by_name.contains_key(&name) {
            let text = format!("this client serves \"{name}\" already");
            answer(opened, Err(Failure::coded(ErrorCode::Conflict, text)));
            return;
        }
        let entry = Entry {
            id,
            in_flight_max,
            requests,
            opened: Some(opened),
            is_leaving: false,
            due: None,
        };
        self.by_name.insert(name.clone(), entry);
        if self.is_connected {
            self.register(&name, out, calls);
        }
    }

    fn register(&mut self, name: &Name, out: &mut Outbox, calls: &mut Calls) {
        let Some(entry) = self.by_name.get_mut(name) else { return };
        entry.due = None;
        let (name, in_flight_max) = (name.clone(), entry.in_flight_max);
        let call = ServiceCall::Serve { name: name.clone(), in_flight_max };
        calls.send(out, 0, &Request::Service(call), Expected::Serve(name));
    }

    /// No more requests: the channel ends once the broker knows.
    pub(crate) fn leave(&mut self, name: &Name, id: u64, out: &mut Outbox, calls: &mut Calls) {
        let found = self.by_name.get_mut(name).filter(|entry| entry.id == id);
        let Some(entry) = found else { return };
        if !self.is_connected || entry.due.is_some() {
            self.by_name.remove(name);
        } else if !entry.is_leaving {
            entry.is_leaving = true;
            let call = ServiceCall::Leave { name: name.clone() };
            calls.send(out, 0, &Request::Service(call), Expected::Leave(name.clone()));
        }
    }

    pub(crate) fn connected(&mut self, out: &mut Outbox, calls: &mut Calls) {
        self.generation += 1;
        self.is_connected = true;
        for name in self.by_name.keys().cloned().collect::<Vec<_>>() {
            self.register(&name, out, calls);
        }
    }

    /// The connection broke: what was leaving has left.
    pub(crate) fn disconnected(&mut self) {
        self.is_connected = false;
        self.by_name.retain(|_, entry| {
            entry.due = None;
            !entry.is_leaving
        });
    }

    pub(crate) fn opened(&mut self, name: &Name) {
        if let Some(opened) = self.by_name.get_mut(name).and_then(|entry| entry.opened.take()) {
            answer(opened, Ok(()));
        }
    }

    /// The broker did not take the service. One that it had taken before is tried again.
    pub(crate) fn refused(&mut self, name: &Name, reply: ErrorReply, now: Instant) {
        let Some(entry) = self.by_name.get_mut(name) else { return };
        match entry.opened.take() {
            Some(opened) => {
                self.by_name.remove(name);
                answer(opened, Err(Failure::reply(reply)));
            }
            None => {
                tracing::warn!(%name, %reply, "the broker does not take the service; trying again");
                entry.due = Some(now + AGAIN);
            }
        }
    }

    pub(crate) fn left(&mut self, name: &Name) {
        self.by_name.remove(name);
    }

    /// A request. Whoever serves has room for as many as it said.
    pub(crate) fn requested(&mut self, requested: Requested, now: Instant, out: &mut Outgoings) {
        let deadline = now + Duration::from_millis(u64::from(requested.left_ms));
        let generation = self.generation;
        let refuse = |requested: Requested, why: &str| Outgoing {
            name: requested.name,
            ticket: requested.ticket,
            generation,
            answer: Answer::Failed { reason: why.to_owned() },
        };
        let Some(entry) = self.by_name.get(&requested.name) else {
            out.push(refuse(requested, "this client does not serve it any more"));
            return;
        };
        match entry.requests.try_send(Arrived { requested, deadline, generation }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(back)) => {
                out.push(refuse(back.requested, "more requests than this instance takes"));
            }
            Err(mpsc::error::TrySendError::Closed(back)) => {
                out.push(refuse(back.requested, "this instance is shutting down"));
            }
        }
    }

    /// Sends an answer, if it still can be of use.
    pub(crate) fn send(&self, outgoing: Outgoing, out: &mut Outbox, calls: &mut Calls) {
        if self.is_connected && outgoing.generation == self.generation {
            let Outgoing { name, ticket, answer, .. } = outgoing;
            let call = ServiceCall::Answer { name, ticket, answer };
            calls.tell(out, 0, &Request::Service(call));
        }
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.by_name.values().filter_map(|entry| entry.due).min()
    }

    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox, calls: &mut Calls) {
        let is_due = |entry: &Entry| entry.due.is_some_and(|due| due <= now);
        let due = self.by_name.iter().filter(|(_, entry)| is_due(entry));
        for name in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.register(&name, out, calls);
        }
    }

    /// The client closes: no more requests.
    pub(crate) fn finish(&mut self, out: &mut Outbox, calls: &mut Calls) {
        let all = self.by_name.iter().map(|(name, entry)| (name.clone(), entry.id));
        for (name, id) in all.collect::<Vec<_>>() {
            self.leave(&name, id, out, calls);
        }
    }
}

/// Answers that this side gives by itself.
pub(crate) type Outgoings = Vec<Outgoing>;

fn answer(opened: oneshot::Sender<Result<(), Failed>>, outcome: Result<(), Failed>) {
    if opened.send(outcome).is_err() {
        tracing::trace!("nobody waits for the service any more");
    }
}
