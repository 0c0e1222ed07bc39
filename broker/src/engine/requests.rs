//! Requests about queues, topics and groups: admission, then the answer once it is true.

use super::Now;
use super::core::Core;
use super::input::ConnectionId;
use super::open::After;
use super::publish::reply_of;
use super::reads::{Answer, Plan, ReadJob};
use crate::shard::command::Command;
use crate::shard::effects::{Admitted, GroupId, Place, Refusal, StreamId};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::limits::META_BYTES_MAX;
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{DeadAction, Start};
use posthaste_protocol::response::Stats;
use posthaste_protocol::schedule::ScheduleCall;
use posthaste_protocol::service::ServiceCall;
use posthaste_protocol::{Request, Response};

/// Items per list answer.
const LIST_MAX: u32 = 1_000;
/// Bytes of descriptions or dead letters per answer, well below what a frame may have.
pub(super) const ANSWER_META_BYTES: usize = META_BYTES_MAX as usize / 2;
/// Dead letters per answer.
const DEAD_MAX: u32 = 1_000;
/// Messages per read.
const READ_MAX: u32 = 10_000;

/// Reads of one connection at once, each with an answer of up to 2 MiB.
const READS_MAX: u32 = 4;

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) connection: ConnectionId,
    pub(super) channel: u16,
    pub(super) corr: u64,
}

impl Core {
    pub(super) fn request(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        corr: u64,
        request: Request,
        now: Now,
    ) {
        let asked = Asked { connection, channel, corr };
        if let Err(refusal) = self.try_request(asked, request, now) {
            self.counters.refused += 1;
            let response = Response::Error(reply_of(refusal));
            self.say(connection, channel, corr, &response);
        }
    }

    fn try_request(&mut self, asked: Asked, request: Request, now: Now) -> Result<(), Refusal> {
        self.check_pace(asked, &request)?;
        match request {
            Request::Ping(token) => {
                self.say(asked.connection, asked.channel, asked.corr, &Response::Pong(token));
                Ok(())
            }
            Request::Declare { kind, name, settings } => {
                let admitted = self.shard.admit_declare(kind, &name, &settings)?;
                if settings.id_window_ms.is_some_and(|ms| ms > 0) && self.shard.lacks_id_key() {
                    self.open.command(&Command::IdKey { key: self.id_key });
                }
                let (declared, id) = admitted.answer;
                self.directory.insert(id, &name);
                self.append(asked, admitted.command, Response::Declared { declared, id });
                Ok(())
            }
            Request::DeclareGroup { topic, group, start, settings } => {
                let place = self.place(&topic, start)?;
                let admitted = self.shard.admit_declare_group(&topic, &group, place, &settings)?;
                let answer = admitted.answer;
                let response = Response::Declared { declared: answer.declared, id: answer.stream };
                self.append(asked, admitted.command, response);
                Ok(())
            }
            Request::Describe { name } => self.describe(asked, &name, now),
            Request::List { after, limit } => {
                self.list(asked, after.as_ref(), limit, now);
                Ok(())
            }
            Request::Delete { name, group } => self.delete(asked, &name, group.as_ref()),
            Request::OpenProducer { session } => {
                self.open_producer(asked, session);
                Ok(())
            }
            Request::Read { name, from, messages_max, bytes_max } => {
                self.read(asked, &name, from, messages_max, bytes_max)
            }
            Request::Seek { topic, group, to, dry_run } => {
                let place = self.place(&topic, to)?;
                let (_, id) = self.shard.find_group(&topic, Some(&group))?;
                let Admitted { answer, command } = self.shard.admit_seek(id, place, dry_run)?;
                self.cursors.remove(&id);
                let response = Response::Sought {
                    from: answer.from,
                    to: answer.to,
                    messages: answer.messages,
                };
                self.append(asked, command, response);
                Ok(())
            }
            Request::Purge { name, dry_run } => {
                let Admitted { answer, command } = self.shard.admit_purge(&name, dry_run)?;
                self.append(asked, command, Response::Done { messages: answer });
                Ok(())
            }
            Request::Dead { name, group, action } => {
                self.dead(asked, &name, group.as_ref(), &action)
            }
            Request::Stats => {
                let stats = self.stats(now);
                self.say(asked.connection, asked.channel, asked.corr, &Response::Stats(stats));
                Ok(())
            }
            Request::Service(call) => self.service_call(asked, call, now),
            Request::Schedule(call) => self.schedule_call(asked, call, now),
            Request::Consume(_)
            | Request::Credit(_)
            | Request::Settle { .. }
            | Request::Extend { .. }
            | Request::Cancel => self.consumer_request(asked, request, now),
            Request::Hello(_)
            | Request::Auth { .. }
            | Request::Publish { .. }
            | Request::Atomic(_)
            | Request::Close => {
                let message = "the connection should have answered this";
                Err(Refusal::new(ErrorCode::Internal, message))
            }
        }
    }

    /// A client that asks faster than it reads is told so; it cannot make the broker hoard.
    fn check_pace(&self, asked: Asked, request: &Request) -> Result<(), Refusal> {
        let is_question = matches!(
            request,
            Request::Ping(_)
                | Request::Describe { .. }
                | Request::List { .. }
                | Request::Read { .. }
                | Request::Dead { .. }
                | Request::Stats
                | Request::Service(ServiceCall::Ask { .. } | ServiceCall::Services { .. })
                | Request::Schedule(ScheduleCall::List { .. })
        );
        let Some(connection) = self.connections.get(&asked.connection) else { return Ok(()) };
        if is_question && (connection.is_crowded() || connection.reads >= READS_MAX) {
            let message = "this connection has more answers under way than it takes";
            return Err(Refusal::new(ErrorCode::Busy, message));
        }
        Ok(())
    }

    fn start_read(&mut self, plan: Plan, answer: Answer) {
        if let Some(connection) = self.connections.get_mut(&plan.asked.connection) {
            connection.reads += 1;
            self.reads.push(ReadJob::Reply(plan, answer));
        }
    }

    /// Appends the command, and answers once it is committed.
    pub(super) fn append(&mut self, asked: Asked, command: Option<Command>, response: Response) {
        if let Some(command) = command {
            match &command {
                Command::Delete { stream } => {
                    self.directory.remove(*stream);
                    self.cursors.clear();
                }
                Command::DeleteGroup { group } => {
                    self.cursors.remove(group);
                }
                _ => {}
            }
            self.open.command(&command);
        }
        self.say_after(asked.connection, asked.channel, asked.corr, response);
    }

    /// Turns a wish into a place; times are looked up in the log.
    pub(super) fn place(&self, topic: &Name, start: Start) -> Result<Place, Refusal> {
        Ok(match start {
            Start::Earliest => Place::Earliest,
            Start::Latest => Place::Latest,
            Start::Offset(offset) => Place::Offset(offset),
            Start::TimeMs(time_ms) => {
                let found = self.shard.find(topic)?;
                match self.log.run_time(found.stream, time_ms) {
                    Ok(Some(offset)) => Place::Offset(offset),
                    Ok(None) => Place::Latest,
                    Err(error) => {
                        tracing::error!(%error, "the log cannot be searched by time");
                        let message = "the log cannot be searched by time: name an offset";
                        return Err(Refusal::new(ErrorCode::DataLoss, message));
                    }
                }
            }
        })
    }

    fn describe(&mut self, asked: Asked, name: &Name, now: Now) -> Result<(), Refusal> {
        self.shard.find(name)?;
        if let Some(mut description) = self.shard.describe(name, now.wall_ms) {
            description.bytes = self.log.stream_bytes(description.id);
            let response = Response::Described(description);
            self.say(asked.connection, asked.channel, asked.corr, &response);
        }
        Ok(())
    }

    fn list(&mut self, asked: Asked, after: Option<&Name>, limit: u32, now: Now) {
        let limit = limit.clamp(1, LIST_MAX) as usize;
        // No more is put together than goes into the answer: lists are cheap to ask for.
        let (mut items, more) =
            self.shard.list_within(after, limit, ANSWER_META_BYTES, now.wall_ms);
        for item in &mut items {
            item.bytes = self.log.stream_bytes(item.id);
        }
        let response = Response::Listed { items, more };
        self.say(asked.connection, asked.channel, asked.corr, &response);
    }

    fn delete(
        &mut self,
        asked: Asked,
        name: &Name,
        group: Option<&GroupName>,
    ) -> Result<(), Refusal> {
        let admitted = match group {
            Some(group) => self.shard.admit_delete_group(name, group)?,
            None => self.shard.admit_delete(name)?,
        };
        self.append(asked, admitted.command, Response::Deleted);
        Ok(())
    }

    fn open_producer(&mut self, asked: Asked, session: [u8; 16]) {
        let Admitted { answer, command } = self.shard.admit_open_producer(session);
        let producer = answer.producer;
        if let Some(before) = self.producers.insert(producer, asked.connection)
            && before != asked.connection
            && let Some(fenced) = self.connections.get_mut(&before)
        {
            fenced.producer = None;
        }
        if let Some(connection) = self.connections.get_mut(&asked.connection)
            && let Some(before) = connection.producer.replace(producer)
            && before != producer
        {
            // Whoever opens one session after another leaves nothing behind.
            self.producers.remove(&before);
        }
        let response = Response::ProducerOpened { producer, resumed: answer.resumed };
        self.append(asked, command, response);
    }

    fn read(
        &mut self,
        asked: Asked,
        name: &Name,
        from: Start,
        messages_max: u32,
        bytes_max: u32,
    ) -> Result<(), Refusal> {
        let found = self.shard.find(name)?;
        let mut offset = match self.place(name, from)? {
            Place::Earliest => found.first_offset,
            Place::Latest => found.next_offset,
            Place::Offset(offset) => offset.max(found.first_offset),
        };
        let mut left = u64::from(messages_max.clamp(1, READ_MAX));
        let mut ranges = Vec::new();
        while left > 0
            && let Some(range) = self.shard.readable(found.stream, offset)
        {
            let count = range.count().min(left);
            ranges.push((range.first, count));
            left -= count;
            offset = range.first + count;
        }
        if left > 0 {
            offset = found.next_offset;
        }
        let plan = self.plan(asked, found.stream, ranges, bytes_max);
        let answer = Answer::Records { next_offset: offset, end_offset: found.next_offset };
        self.start_read(plan, answer);
        Ok(())
    }

    fn dead(
        &mut self,
        asked: Asked,
        name: &Name,
        group: Option<&GroupName>,
        action: &DeadAction,
    ) -> Result<(), Refusal> {
        let (found, id) = self.shard.find_group(name, group)?;
        match action {
            DeadAction::List { from, limit } => {
                self.dead_list(asked, found.stream, id, *from, *limit);
            }
            DeadAction::Replay { offset, dry_run } => {
                let admitted = self.shard.admit_dead_replay(id, *offset, *dry_run)?;
                self.append(asked, admitted.command, Response::Done { messages: admitted.answer });
            }
            DeadAction::Drop { offset, dry_run } => {
                let admitted = self.shard.admit_dead_drop(id, *offset, *dry_run)?;
                self.append(asked, admitted.command, Response::Done { messages: admitted.answer });
            }
        }
        Ok(())
    }

    fn dead_list(&mut self, asked: Asked, stream: StreamId, group: GroupId, from: u64, limit: u32) {
        let limit = limit.clamp(1, DEAD_MAX) as usize;
        let (items, total) = self.shard.dead_list(group, from, limit);
        let ranges = items.iter().map(|item| (item.range.first, item.range.count())).collect();
        let plan = self.plan(asked, stream, ranges, u32::MAX);
        self.start_read(plan, Answer::Dead { items, limit, total });
    }

    fn plan(
        &self,
        asked: Asked,
        stream: StreamId,
        ranges: Vec<(u64, u64)>,
        bytes_max: u32,
    ) -> Plan {
        Plan { asked, stream, seed: self.directory.seed(stream), ranges, bytes_max }
    }

    pub(super) fn stats(&self, now: Now) -> Stats {
        let space = self.log.space();
        Stats {
            published: self.counters.confirmed,
            delivered: self.counters.delivered,
            acked: self.counters.totals.acked,
            dead_lettered: self.counters.totals.dead,
            connections: u32::try_from(self.connections.len()).unwrap_or(u32::MAX),
            targets: u32::try_from(self.shard.stream_count()).unwrap_or(u32::MAX),
            log_bytes: space.log_bytes,
            free_bytes: space.free_bytes,
            uptime_ms: now.mono_ms,
        }
    }

    /// A consumer's group may have to be created first.
    pub(super) fn attach_after(
        &mut self,
        asked: Asked,
        command: Option<Command>,
        request: Request,
    ) {
        if let Some(command) = command {
            self.open.command(&command);
        }
        self.open.waiting.afters.push(After::Attach {
            connection: asked.connection,
            channel: asked.channel,
            corr: asked.corr,
            request: Box::new(request),
        });
    }
}
