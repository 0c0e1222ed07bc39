//! Who answers requests, and which requests are under way. Live only: nothing of it is logged.
//!
//! ```text
//! ask ─▶ waiting ──an instance has a place──▶ with an instance ──answer──▶ told
//!           │                                       │
//!           └─ time is over, the last instance or ──┴─ time is over, its connection ended
//!              the requester went
//! ```
//!
//! A request that an instance has is never given to another one: it may have been worked on. What
//! is to be said comes out as [`Said`]; connections and bytes belong to the core.

mod core;
mod place;

pub(super) use self::place::Takes;
use self::place::{Instances, Registration};
use super::input::ConnectionId;
use crate::shard::effects::Refusal;
use bytes::Bytes;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::limits::{
    REQUESTS_BYTES_PER_CONNECTION_MAX, REQUESTS_PER_CONNECTION_MAX, SERVICES_PER_CONNECTION_MAX,
};
use posthaste_protocol::names::{Name, nearest};
use posthaste_protocol::service::{Answer, Requested, ServiceInfo};
use std::collections::{BTreeMap, BTreeSet};

/// LIMIT: bytes of requests that wait for an instance, of all connections together.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Number of a request, never used again in this process.
type Ticket = u64;

/// Something to say to a requester.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) to: ConnectionId,
    pub(super) corr: u64,
    pub(super) what: Result<Answer, Refusal>,
}

/// A request under way.
#[derive(Debug)]
struct Request {
    service: Name,
    /// `None` once it was told, or went.
    requester: Option<(ConnectionId, u64)>,
    deadline_ms: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Waiting(Bytes),
    With(ConnectionId, Registration),
}

/// A service with at least one instance.
#[derive(Debug, Default)]
struct Service {
    instances: Instances,
    waiting: BTreeSet<Ticket>,
    requests: u64,
}

/// What one connection has to do with requests.
#[derive(Debug, Default)]
struct Share {
    asked: BTreeSet<Ticket>,
    waiting_bytes: usize,
    serves: BTreeSet<Name>,
    has: BTreeSet<Ticket>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) replied: u64,
    pub(crate) failed: u64,
    pub(crate) no_responder: u64,
    pub(crate) timed_out: u64,
    pub(crate) lost: u64,
    pub(crate) refused: u64,
    pub(crate) answers_dropped: u64,
}

/// All services and requests.
#[derive(Debug, Default)]
pub(super) struct Services {
    by_name: BTreeMap<Name, Service>,
    requests: BTreeMap<Ticket, Request>,
    by_deadline: BTreeSet<(u64, Ticket)>,
    shares: BTreeMap<ConnectionId, Share>,
    /// Services that may have something to hand out.
    pending: BTreeSet<Name>,
    last_ticket: Ticket,
    last_registration: Registration,
    waiting_bytes: usize,
    pub(super) tally: Tally,
}

impl Services {
    /// A connection becomes an instance.
    pub(super) fn serve(
        &mut self,
        connection: ConnectionId,
        name: &Name,
        in_flight_max: u32,
    ) -> Result<(), Refusal> {
        let share = self.shares.entry(connection).or_default();
        if share.serves.contains(name) {
            let message = format!("this connection is an instance of \"{name}\" already");
            return Err(Refusal::new(ErrorCode::Conflict, message));
        }
        if share.serves.len() >= SERVICES_PER_CONNECTION_MAX as usize {
            let message = "this connection is an instance of as many services as it may be";
            return Err(Refusal::new(ErrorCode::QuotaExceeded, message));
        }
        share.serves.insert(name.clone());
        let service = self.by_name.entry(name.clone()).or_default();
        self.last_registration += 1;
        service.instances.enter(connection, self.last_registration, in_flight_max);
        self.pending.insert(name.clone());
        Ok(())
    }

    /// A connection is no instance any more. What it has it may still answer.
    pub(super) fn leave(
        &mut self,
        connection: ConnectionId,
        name: &Name,
        told: &mut Vec<Said>,
    ) -> Result<(), Refusal> {
        let share = self.shares.get_mut(&connection);
        if !share.is_some_and(|share| share.serves.remove(name)) {
            let message = format!("this connection is no instance of \"{name}\"");
            return Err(Refusal::new(ErrorCode::NotFound, message));
        }
        self.withdraw(connection, name, told);
        self.forget_if_idle(connection);
        Ok(())
    }

    /// A request arrives.
    pub(super) fn ask(
        &mut self,
        requester: (ConnectionId, u64),
        name: &Name,
        deadline_ms: u64,
        batch: &[u8],
    ) -> Result<(), Refusal> {
        if !self.by_name.contains_key(name) {
            self.tally.no_responder += 1;
            return Err(self.no_responder(name));
        }
        self.check_room(requester.0, batch.len()).inspect_err(|_| self.tally.refused += 1)?;
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        let share = self.shares.entry(requester.0).or_default();
        share.asked.insert(ticket);
        share.waiting_bytes += batch.len();
        self.waiting_bytes += batch.len();
        // A copy: a slice would keep all of the buffer that it arrived in.
        let place = Place::Waiting(Bytes::copy_from_slice(batch));
        let service = name.clone();
        let request = Request { service, requester: Some(requester), deadline_ms, place };
        self.requests.insert(ticket, request);
        self.by_deadline.insert((deadline_ms, ticket));
        if let Some(service) = self.by_name.get_mut(name) {
            service.waiting.insert(ticket);
        }
        self.pending.insert(name.clone());
        Ok(())
    }

    fn check_room(&self, connection: ConnectionId, bytes: usize) -> Result<(), Refusal> {
        let refuse = |message: &str| Err(Refusal::new(ErrorCode::TooManyRequests, message));
        let (asked, waiting_bytes) = match self.shares.get(&connection) {
            Some(share) => (share.asked.len(), share.waiting_bytes),
            None => (0, 0),
        };
        if asked >= REQUESTS_PER_CONNECTION_MAX as usize {
            return refuse("this connection has 1,024 requests without a reply");
        }
        if waiting_bytes + bytes > REQUESTS_BYTES_PER_CONNECTION_MAX as usize {
            return refuse("8 MiB of requests of this connection wait for an instance");
        }
        if self.waiting_bytes + bytes > WAITING_BYTES_MAX {
            return refuse("64 MiB of requests of all connections wait for an instance");
        }
        Ok(())
    }

    fn no_responder(&self, name: &Name) -> Refusal {
        let message = format!("no instance of a service named \"{name}\" is connected");
        let similar = nearest(name.as_str(), self.by_name.keys().map(Name::as_str));
        Refusal { code: ErrorCode::NoResponder, message, similar }
    }

    /// A responder says what became of a request.
    pub(super) fn answer(
        &mut self,
        connection: ConnectionId,
        name: &Name,
        ticket: Ticket,
        answer: Answer,
    ) -> Option<Said> {
        let is_its = self.requests.get(&ticket).is_some_and(|request| {
            matches!(request.place, Place::With(with, _) if with == connection)
                && request.service == *name
        });
        if !is_its {
            self.tally.answers_dropped += 1;
            return None;
        }
        let request = self.requests.remove(&ticket)?;
        if let Place::With(_, registration) = request.place {
            self.give_back(connection, name, registration);
        }
        if let Some(share) = self.shares.get_mut(&connection) {
            share.has.remove(&ticket);
        }
        self.forget_if_idle(connection);
        match &answer {
            _ if request.requester.is_none() => self.tally.answers_dropped += 1,
            Answer::Done(_) => self.tally.replied += 1,
            Answer::Failed { .. } => self.tally.failed += 1,
        }
        self.tell(ticket, &request, Ok(answer))
    }

    /// A connection sends no more: it answers nothing, and it may be gone altogether, so what it asked
    /// is over as well.
    pub(super) fn finished(&mut self, connection: ConnectionId, told: &mut Vec<Said>) {
        let Some(share) = self.shares.get_mut(&connection) else { return };
        let (serves, has) = (std::mem::take(&mut share.serves), std::mem::take(&mut share.has));
        for name in serves {
            self.withdraw(connection, &name, told);
        }
        for ticket in has {
            if let Some(request) = self.requests.remove(&ticket) {
                let message = format!(
                    "the instance of \"{}\" that had the request is gone; it may have been done",
                    request.service
                );
                told.extend(self.lose(ticket, &request, message));
            }
        }
        let asked = self.shares.get(&connection).map(|share| share.asked.clone());
        for ticket in asked.into_iter().flatten() {
            if let Some(mut request) = self.requests.remove(&ticket) {
                let message = "this connection sends no more, so nothing waits for the reply";
                told.extend(self.lose(ticket, &request, message.to_owned()));
                if matches!(request.place, Place::With(..)) {
                    request.requester = None;
                    self.requests.insert(ticket, request);
                }
            }
        }
        self.forget_if_idle(connection);
    }

    fn lose(&mut self, ticket: Ticket, request: &Request, message: String) -> Option<Said> {
        self.tally.lost += 1;
        self.tell(ticket, request, Err(Refusal::new(ErrorCode::ReplyLost, message)))
    }

    /// Time passes: who has waited long enough is told.
    pub(super) fn expire(&mut self, now_ms: u64, told: &mut Vec<Said>) {
        while let Some((deadline_ms, ticket)) = self.by_deadline.first().copied()
            && deadline_ms <= now_ms
        {
            told.extend(self.expire_one(ticket));
            self.by_deadline.remove(&(deadline_ms, ticket));
        }
    }

    fn expire_one(&mut self, ticket: Ticket) -> Option<Said> {
        let mut request = self.requests.remove(&ticket)?;
        self.tally.timed_out += 1;
        let name = &request.service;
        let message = match &request.place {
            Place::Waiting(_) => format!("every instance of \"{name}\" was busy; none has seen it"),
            Place::With(..) => format!("an instance of \"{name}\" has the request; it may be done"),
        };
        let late = Refusal::new(ErrorCode::ReplyTimeout, message);
        let said = self.tell(ticket, &request, Err(late));
        if matches!(request.place, Place::With(..)) {
            // Its instance keeps the place taken until it answers or goes.
            request.requester = None;
            self.requests.insert(ticket, request);
        }
        said
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.by_deadline.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// The connection takes requests again.
    pub(super) fn unblock(&mut self, connection: ConnectionId) {
        let Some(share) = self.shares.get(&connection) else { return };
        for name in &share.serves {
            if let Some(service) = self.by_name.get_mut(name) {
                service.instances.unblock(connection);
                self.pending.insert(name.clone());
            }
        }
    }

    /// A service that may have something to hand out.
    fn next_pending(&mut self) -> Option<Name> {
        self.pending.pop_first()
    }

    /// Look at the service again next turn.
    fn look_again(&mut self, name: Name) {
        self.pending.insert(name);
    }

    /// The next request of a service for the next of its instances with a place that
    /// `takes` one. A request whose time is over stays for [`Services::expire`].
    fn hand_out(
        &mut self,
        name: &Name,
        now_ms: u64,
        takes: impl FnMut(ConnectionId) -> Takes,
    ) -> Option<(ConnectionId, Requested)> {
        let service = self.by_name.get_mut(name)?;
        let requests = &self.requests;
        let is_due = |ticket: &Ticket| requests.get(ticket).is_some_and(|r| r.deadline_ms > now_ms);
        let ticket = service.waiting.iter().copied().find(is_due)?;
        let (connection, registration) = service.instances.next(takes)?;
        service.waiting.remove(&ticket);
        service.requests += 1;
        let request = self.requests.get_mut(&ticket)?;
        let place = std::mem::replace(&mut request.place, Place::With(connection, registration));
        let Place::Waiting(batch) = place else { return None };
        let left_ms = u32::try_from(request.deadline_ms - now_ms).unwrap_or(u32::MAX);
        let asker = request.requester.map(|(asker, _)| asker);
        self.waiting_bytes -= batch.len();
        if let Some(share) = asker.and_then(|asker| self.shares.get_mut(&asker)) {
            share.waiting_bytes -= batch.len();
        }
        self.shares.entry(connection).or_default().has.insert(ticket);
        Some((connection, Requested { name: name.clone(), ticket, left_ms, batch }))
    }

    /// Services after a name, in order.
    pub(super) fn list(&self, after: Option<&Name>, limit: usize) -> (Vec<ServiceInfo>, bool) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let mut rest = self.by_name.range::<Name, _>((from, Unbounded));
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let info = |(name, service): (&Name, &Service)| ServiceInfo {
            name: name.clone(),
            instances: count(service.instances.count()),
            in_flight: service.instances.in_flight(),
            waiting: count(service.waiting.len()),
            requests: service.requests,
        };
        let items = rest.by_ref().take(limit).map(info).collect();
        (items, rest.next().is_some())
    }

    /// Services, and requests without a reply, now.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.by_name.len(), self.by_deadline.len())
    }

    /// An instance goes. When it was the last one, who waits for the service is told so.
    fn withdraw(&mut self, connection: ConnectionId, name: &Name, told: &mut Vec<Said>) {
        let Some(service) = self.by_name.get_mut(name) else { return };
        service.instances.leave(connection);
        if service.instances.count() > 0 {
            return;
        }
        let Some(service) = self.by_name.remove(name) else { return };
        self.pending.remove(name);
        for ticket in service.waiting {
            if let Some(request) = self.requests.remove(&ticket) {
                self.tally.no_responder += 1;
                let refusal = self.no_responder(name);
                told.extend(self.tell(ticket, &request, Err(refusal)));
            }
        }
    }

    fn give_back(&mut self, connection: ConnectionId, name: &Name, registration: Registration) {
        if let Some(service) = self.by_name.get_mut(name) {
            service.instances.give_back(connection, registration);
            if !service.waiting.is_empty() {
                self.pending.insert(name.clone());
            }
        }
    }

    /// The request is over for its requester.
    fn tell(
        &mut self,
        ticket: Ticket,
        request: &Request,
        what: Result<Answer, Refusal>,
    ) -> Option<Said> {
        let (to, corr) = request.requester?;
        self.by_deadline.remove(&(request.deadline_ms, ticket));
        let mut waiting = 0;
        if let Place::Waiting(batch) = &request.place {
            waiting = batch.len();
            if let Some(service) = self.by_name.get_mut(&request.service) {
                service.waiting.remove(&ticket);
            }
        }
        self.waiting_bytes -= waiting;
        if let Some(share) = self.shares.get_mut(&to) {
            share.asked.remove(&ticket);
            share.waiting_bytes -= waiting;
        }
        self.forget_if_idle(to);
        Some(Said { to, corr, what })
    }

    fn forget_if_idle(&mut self, connection: ConnectionId) {
        let idle = |share: &Share| {
            share.asked.is_empty() && share.serves.is_empty() && share.has.is_empty()
        };
        if self.shares.get(&connection).is_some_and(idle) {
            self.shares.remove(&connection);
        }
    }
}

#[cfg(test)]
mod tests;
