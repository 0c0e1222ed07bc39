//! Requests and replies on their way through the engine: who said it, and who is told.

use super::{Said, Takes};
use crate::engine::Now;
use crate::engine::core::{Connection, Core};
use crate::engine::input::ConnectionId;
use crate::engine::publish::reply_of;
use crate::engine::requests::Asked;
use crate::shard::effects::Refusal;
use posthaste_protocol::Response;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::limits::SERVICES_LISTED_MAX;
use posthaste_protocol::names::Name;
use posthaste_protocol::service::{ServiceCall, ServiceReply};

/// Bytes handed to one instance in a turn, so that its outbox is looked at in between.
const TURN_BYTES: usize = 2 << 20;

impl Core {
    pub(in crate::engine) fn service_call(
        &mut self,
        asked: Asked,
        call: ServiceCall,
        now: Now,
    ) -> Result<(), Refusal> {
        let from = asked.connection;
        let reply = match call {
            ServiceCall::Serve { name, in_flight_max } => {
                self.services.serve(from, &name, in_flight_max)?;
                ServiceReply::Serving
            }
            ServiceCall::Leave { name } => {
                let mut told = Vec::new();
                self.services.leave(from, &name, &mut told)?;
                self.tell_requesters(told);
                ServiceReply::Left
            }
            ServiceCall::Ask { name, timeout_ms, batch } => {
                let deadline_ms = now.mono_ms.saturating_add(u64::from(timeout_ms));
                return self.services.ask((from, asked.corr), &name, deadline_ms, &batch);
            }
            ServiceCall::Answer { name, ticket, answer } => {
                match self.services.answer(from, &name, ticket, answer) {
                    Some(said) => self.tell_requesters(vec![said]),
                    None => tracing::trace!(connection = from, "an answer for nobody"),
                }
                return Ok(());
            }
            ServiceCall::Services { after } => {
                let (items, more) =
                    self.services.list(after.as_ref(), SERVICES_LISTED_MAX as usize);
                ServiceReply::Services { items, more }
            }
        };
        self.say(from, asked.channel, asked.corr, &Response::Service(reply));
        Ok(())
    }

    /// Gives waiting requests to instances that can take them. `true`: more at once, when this
    /// turn's frames are on their way.
    pub(in crate::engine) fn hand_out(&mut self, now: Now) -> bool {
        let mut spent = Vec::new();
        while let Some(name) = self.services.next_pending() {
            if self.hand_out_all(&name, now) == Takes::Later {
                spent.push(name);
            }
        }
        let has_more = !spent.is_empty();
        spent.into_iter().for_each(|name| self.services.look_again(name));
        has_more
    }

    fn hand_out_all(&mut self, name: &Name, now: Now) -> Takes {
        loop {
            let (connections, mut last) = (&self.connections, Takes::Nothing);
            let takes = |connection| {
                last = connections.get(&connection).map_or(Takes::Nothing, takes);
                last
            };
            let Some((to, requested)) = self.services.hand_out(name, now.mono_ms, takes) else {
                return last;
            };
            self.say(to, 0, 0, &Response::Service(ServiceReply::Requested(requested)));
        }
    }

    /// Requests whose time is over.
    pub(in crate::engine) fn expire_requests(&mut self, now: Now) {
        if self.services.next_deadline().is_some_and(|at| at <= now.mono_ms) {
            let mut told = Vec::new();
            self.services.expire(now.mono_ms, &mut told);
            self.tell_requesters(told);
        }
    }

    /// A connection sends no more: what it asked and what it was asked is over.
    pub(in crate::engine) fn end_requests(&mut self, connection: ConnectionId) {
        let mut told = Vec::new();
        self.services.finished(connection, &mut told);
        self.tell_requesters(told);
    }

    /// What became of requests, to those who asked.
    fn tell_requesters(&mut self, told: Vec<Said>) {
        for Said { to, corr, what } in told {
            let Some(found) = self.connections.get_mut(&to) else { continue };
            let response = match what {
                Ok(_) if found.is_crowded() => Response::Error(reply_of(Refusal::new(
                    ErrorCode::ReplyLost,
                    "the reply came while this connection had more answers under way than it takes",
                ))),
                Ok(answer) => Response::Service(ServiceReply::Replied(answer)),
                Err(refusal) => Response::Error(reply_of(refusal)),
            };
            self.say(to, 0, corr, &response);
        }
    }
}

fn takes(connection: &Connection) -> Takes {
    match connection.is_blocked {
        true => Takes::Nothing,
        false if connection.turn_bytes() >= TURN_BYTES => Takes::Later,
        false => Takes::Now,
    }
}
