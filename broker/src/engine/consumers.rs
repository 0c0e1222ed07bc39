//! Requests of consumers: attach, credit, settle, extend, cancel, and what a lost peer held.

use super::Now;
use super::core::{Core, consumer};
use super::input::ConnectionId;
use super::publish::reply_of;
use super::requests::Asked;
use crate::shard::effects::{Extended, Refusal, SettleResult};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::limits::CONSUMERS_PER_CONNECTION_MAX;
use posthaste_protocol::request::{Consume, Held, Kind, Settings};
use posthaste_protocol::{Request, Response};

/// Stale ranges of one answer: as many as fit, so that whoever waits for it is told in one piece.
/// Items that met a limit may stand beside them.
const STALE_MAX: usize = 8_000;

impl Core {
    pub(super) fn consumer_request(
        &mut self,
        asked: Asked,
        request: Request,
        now: Now,
    ) -> Result<(), Refusal> {
        let who = consumer(asked.connection, asked.channel);
        match request {
            Request::Consume(consume) => self.consume(asked, consume),
            Request::Credit(credit) => {
                // Credit for a consumer that was canceled meanwhile means nothing.
                self.shard.add_credit(who, credit.messages, credit.bytes, credit.begun);
                Ok(())
            }
            Request::Settle { confirm, items } => {
                let SettleResult { commands, stale } = self.shard.settle(who, &items, now.wall_ms);
                for command in commands {
                    self.open.command(&command);
                }
                let stale = self.say_stale(asked, stale);
                if confirm {
                    let response = Response::Settled { stale };
                    self.say_after(asked.connection, asked.channel, asked.corr, response);
                } else if !stale.is_empty() {
                    let response = Response::Settled { stale };
                    self.say(asked.connection, asked.channel, 0, &response);
                }
                Ok(())
            }
            Request::Extend { lease_ms, items } => {
                let Extended { stale, limited } =
                    self.shard.extend(who, &items, now.mono_ms, lease_ms);
                let stale = self.say_stale(asked, stale);
                let response = Response::Extended { stale, limited };
                self.say(asked.connection, asked.channel, asked.corr, &response);
                Ok(())
            }
            Request::Cancel => {
                self.detach(asked.connection, asked.channel, now);
                self.append(asked, None, Response::Canceled);
                Ok(())
            }
            _ => Err(Refusal::new(ErrorCode::Internal, "not a request of a consumer")),
        }
    }

    /// A range that is asked for may have more holes than fit into a frame: tells all but the last
    /// part of them at once, and gives that.
    fn say_stale(&mut self, asked: Asked, mut stale: Vec<Held>) -> Vec<Held> {
        let last = stale.len().saturating_sub(1) / STALE_MAX * STALE_MAX;
        let rest = stale.split_off(last);
        for part in stale.chunks(STALE_MAX) {
            let response = Response::Settled { stale: part.to_vec() };
            self.say(asked.connection, asked.channel, 0, &response);
        }
        rest
    }

    fn consume(&mut self, asked: Asked, consume: Consume) -> Result<(), Refusal> {
        if asked.channel == 0 {
            let message = "a consumer needs a channel of its own, from 1";
            return Err(Refusal::new(ErrorCode::InvalidArgument, message));
        }
        let found = self.shard.find(&consume.name)?;
        let command = match (found.kind, &consume.group) {
            (Kind::Queue, None) => None,
            (Kind::Queue, Some(_)) => {
                let message = "a queue has no groups: leave the group out";
                return Err(Refusal::new(ErrorCode::InvalidArgument, message));
            }
            (Kind::Topic, None) => {
                let message = "consuming a topic needs a group: name one";
                return Err(Refusal::new(ErrorCode::InvalidArgument, message));
            }
            (Kind::Topic, Some(group)) => {
                let known = self.shard.find_group(&consume.name, Some(group)).is_ok();
                let place = self.place(&consume.name, consume.start)?;
                let settings = Settings::default();
                match known {
                    true => None,
                    false => {
                        self.shard
                            .admit_declare_group(&consume.name, group, place, &settings)?
                            .command
                    }
                }
            }
        };
        self.attach_after(asked, command, Request::Consume(consume));
        Ok(())
    }

    /// The group is there: opens the consumer.
    pub(super) fn attach(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        corr: u64,
        consume: &Consume,
    ) {
        let response = match self.try_attach(connection, channel, consume) {
            Ok(lease_ms) => Response::Consuming { lease_ms },
            Err(refusal) => Response::Error(reply_of(refusal)),
        };
        self.say(connection, channel, corr, &response);
    }

    fn try_attach(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        consume: &Consume,
    ) -> Result<u32, Refusal> {
        let (_, group) = self.shard.find_group(&consume.name, consume.group.as_ref())?;
        let Some(found) = self.connections.get_mut(&connection) else {
            return Err(Refusal::new(ErrorCode::ProtocolError, "the connection is gone"));
        };
        if found.consumers.contains_key(&channel) {
            let message = "this channel has a consumer already";
            return Err(Refusal::new(ErrorCode::Conflict, message));
        }
        if found.consumers.len() >= usize::from(CONSUMERS_PER_CONNECTION_MAX) {
            let message = "this connection has as many consumers as it is allowed to have";
            return Err(Refusal::new(ErrorCode::QuotaExceeded, message));
        }
        let who = consumer(connection, channel);
        let Some(lease_ms) = self.shard.attach(who, group, consume.lease_ms) else {
            return Err(Refusal::new(ErrorCode::NotFound, "the group was deleted"));
        };
        found.consumers.insert(channel, group);
        let credit = consume.credit;
        self.shard.add_credit(who, credit.messages, credit.bytes, credit.begun);
        Ok(lease_ms)
    }

    fn detach(&mut self, connection: ConnectionId, channel: u16, now: Now) {
        let Some(found) = self.connections.get_mut(&connection) else {
            return;
        };
        if found.consumers.remove(&channel).is_some() {
            for command in self.shard.detach(consumer(connection, channel), now.wall_ms) {
                self.open.command(&command);
            }
        }
    }

    /// What a leaving connection held goes back.
    pub(super) fn detach_all(&mut self, connection: ConnectionId, now: Now) {
        let Some(found) = self.connections.get(&connection) else {
            return;
        };
        for channel in found.consumers.keys().copied().collect::<Vec<_>>() {
            self.detach(connection, channel, now);
        }
    }
}
