//! The reading half of a connection: bytes become checked chunks for the engine.
//!
//! Nothing a peer declares is believed before it is bounded: the frame's length is checked before
//! a byte of it is waited for, its checksum before it is decoded, a batch's checksum and records
//! before the engine sees it. Memory for batches comes out of one budget for all connections.

use super::handshake::Greeted;
use super::writer::WriteEnd;
use super::{Door, Ended};
use super::{schedule, service};
use crate::engine::input::{AtomicGroup, ConnectionId, GroupPart, Input, Item};
use crate::engine::outbox::Outbox;
use bytes::BytesMut;
use posthaste_protocol::batch::{RecordLimits, Seed, check_records, verify_batch};
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::frame::CutOf;
use posthaste_protocol::request::{Atomic, AtomicPart, TargetId};
use posthaste_protocol::schedule::ScheduleCall;
use posthaste_protocol::service::ServiceCall;
use posthaste_protocol::{DecodeError, Request, Response};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Read sizes: an idle connection holds little, a busy one reads much at a time.
const READ_BYTES_MIN: usize = 8 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
/// Memory for reads of all connections together, as far as their number goes.
const READS_BYTES: usize = 64 << 20;
/// What an idle connection may keep.
const IDLE_BYTES: usize = 64 << 10;
/// A frame from this size on waits for room until it has arrived whole.
const LARGE_BYTES: usize = 16 << 10;
/// A chunk is handed over when its batches reach this, even if more frames are there.
const CHUNK_BYTES: usize = 512 << 10;

pub(super) struct Reader<R> {
    reader: R,
    buffer: BytesMut,
    idle: Duration,
    read_bytes: usize,
    connection: ConnectionId,
    outbox: Outbox,
    door: Door,
    seeds: HashMap<TargetId, Seed>,
    /// Refusals of this turn.
    refusals: BytesMut,
    items: Vec<Item>,
    chunk_bytes: usize,
    /// Since when the front of the buffer is an unfinished frame.
    unfinished: Option<Instant>,
    /// Bytes that it lacks, as far as one can tell.
    missing: usize,
    /// Room for a large one.
    assembly: Option<OwnedSemaphorePermit>,
    has_closed: bool,
    /// The last read brought little.
    was_quiet: bool,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(
        reader: R,
        greeted: Greeted,
        connection: ConnectionId,
        outbox: Outbox,
        door: Door,
    ) -> Reader<R> {
        Reader {
            reader,
            buffer: greeted.buffer,
            idle: greeted.idle,
            read_bytes: READ_BYTES_MIN,
            connection,
            outbox,
            door,
            seeds: HashMap::new(),
            refusals: BytesMut::new(),
            items: Vec::new(),
            chunk_bytes: 0,
            unfinished: None,
            missing: 0,
            assembly: None,
            has_closed: false,
            was_quiet: true,
        }
    }

    /// Reads until the peer, the writer or the engine ends it.
    pub(super) async fn run(mut self, mut writing: JoinHandle<WriteEnd>) -> Ended {
        let engine = self.door.inner.engine.clone();
        loop {
            let next = tokio::select! {
                // In a fixed order, so that a simulated run can be repeated.
                biased;
                written = &mut writing => return write_ended(written),
                () = engine.closed() => {
                    // The engine has said goodbye. Without this outbox the writer ends behind it.
                    drop(self);
                    return match write_ended(writing.await) {
                        Ended::ByClient => Ended::ShuttingDown,
                        ended => ended,
                    };
                }
                next = self.turn() => next,
            };
            match next {
                Ok(true) => {}
                Ok(false) => break,
                Err(ended) => match ended.farewell() {
                    Some(reply) => return self.end(Some(reply), writing, ended).await,
                    None => return ended,
                },
            }
        }
        self.end(None, writing, Ended::ByClient).await
    }

    /// Lets what is under way be answered, then says why, then waits for the writer.
    async fn end(
        self,
        farewell: Option<ErrorReply>,
        writing: JoinHandle<WriteEnd>,
        why: Ended,
    ) -> Ended {
        let farewell = farewell.map(|reply| Box::new(Response::Closing(reply)));
        let (engine, connection) = (self.door.inner.engine.clone(), self.connection);
        // Without this clone of the outbox the engine's is the last: when it lets go, all is said.
        drop(self);
        if engine.send(Input::Finished { connection, farewell }).await.is_err() {
            return Ended::ShuttingDown;
        }
        match write_ended(writing.await) {
            Ended::ByClient => why,
            ended => ended,
        }
    }

    /// One read and the frames in it. `false`: the peer sends no more.
    async fn turn(&mut self) -> Result<bool, Ended> {
        // The frames in front of a bad one count, whether they came together or not.
        let cut = self.cut_frames().await;
        self.hand_over().await?;
        cut?;
        if self.has_closed {
            return Ok(false);
        }
        self.outbox.room().await;
        let deadline = match self.unfinished {
            Some(since) => since + self.door.inner.limits.frame_timeout,
            None => Instant::now() + self.idle * 2,
        };
        let Ok(read) = tokio::time::timeout_at(deadline, self.read()).await else {
            return Err(if self.unfinished.is_some() { Ended::TooSlow } else { Ended::Silent });
        };
        let read = read?;
        if read >= self.read_bytes / 2 {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Ok(read > 0)
    }

    /// One read, once there is memory for what is to come.
    async fn read(&mut self) -> Result<usize, Ended> {
        let large = self.buffer.len() + self.missing;
        if self.unfinished.is_some() && large > LARGE_BYTES && self.assembly.is_none() {
            let inner = &self.door.inner;
            let bytes = u32::try_from(large.min(inner.limits.assembly_bytes_max));
            let room = Arc::clone(&inner.assembly).acquire_many_owned(bytes.unwrap_or(u32::MAX));
            self.assembly = Some(room.await.map_err(|_closed| Ended::ShuttingDown)?);
        }
        let share = READS_BYTES / self.door.inner.places.connections().max(1);
        self.read_bytes = self.read_bytes.min(share.max(READ_BYTES_MIN));
        if self.buffer.is_empty() && self.buffer.capacity() > IDLE_BYTES && self.was_quiet {
            // Whoever was busy once does not keep the memory for ever.
            self.buffer = BytesMut::new();
        }
        if self.buffer.capacity() - self.buffer.len() < self.read_bytes / 2 {
            self.buffer.reserve(self.read_bytes);
        }
        let read = self.reader.read_buf(&mut self.buffer).await?;
        self.was_quiet = read < READ_BYTES_MIN;
        Ok(read)
    }

    async fn cut_frames(&mut self) -> Result<(), Ended> {
        let frame_bytes_max = self.door.inner.limits.frame_bytes_max;
        while !self.has_closed {
            match Request::cut(&mut self.buffer, frame_bytes_max)? {
                CutOf::NeedMore(missing) => {
                    self.missing = missing;
                    self.unfinished = match self.buffer.is_empty() {
                        true => None,
                        false => self.unfinished.or_else(|| Some(Instant::now())),
                    };
                    return Ok(());
                }
                CutOf::Frame { header, said } => {
                    (self.unfinished, self.assembly) = (None, None);
                    self.take(header.channel, header.corr, said)?;
                    if self.chunk_bytes >= CHUNK_BYTES {
                        self.hand_over().await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        channel: u16,
        corr: u64,
        request: Result<Request, DecodeError>,
    ) -> Result<(), Ended> {
        match request {
            Ok(Request::Publish { target, durability, expects, batch }) => {
                match self.check(target, durability, &batch) {
                    Ok(header) => {
                        self.chunk_bytes += batch.len();
                        let number = corr;
                        self.items.push(Item::Publish { number, target, expects, header, batch });
                    }
                    Err(reply) => self.refuse(0, corr, reply),
                }
            }
            Ok(Request::Atomic(atomic)) => match self.check_atomic(&atomic) {
                Ok(parts) => {
                    self.chunk_bytes += atomic.batches.len();
                    let Atomic { producer, sequence, settles, .. } = atomic;
                    let group = Box::new(AtomicGroup { producer, sequence, parts, settles });
                    self.items.push(Item::Atomic { number: corr, group });
                }
                Err(reply) => self.refuse(0, corr, reply),
            },
            Ok(Request::Service(call)) => self.take_service(channel, corr, call),
            Ok(Request::Schedule(call)) => self.take_schedule(channel, corr, call),
            Ok(Request::Close) => self.has_closed = true,
            Ok(Request::Hello(_)) => {
                let error = DecodeError::new(ErrorCode::ProtocolError, 4, "hello came twice");
                return Err(error.into());
            }
            Ok(Request::Auth { .. }) => {
                let error = DecodeError::new(
                    ErrorCode::Unsupported,
                    4,
                    "this broker asks for no authentication",
                );
                self.refuse(channel, corr, error.to_reply());
            }
            Ok(request) => {
                self.items.push(Item::Request { channel, corr, request: Box::new(request) });
            }
            Err(error) if error.closes_connection() => return Err(error.into()),
            Err(error) => self.refuse(channel, corr, error.to_reply()),
        }
        Ok(())
    }

    /// The batches of an atomic group, each of the group's producer and number.
    fn check_atomic(&mut self, atomic: &Atomic) -> Result<Vec<GroupPart>, ErrorReply> {
        if atomic.producer == 0 || atomic.parts.is_empty() && atomic.settles.is_empty() {
            let message = "an atomic group has a producer session, and something to do";
            return Err(DecodeError::new(ErrorCode::InvalidArgument, 0, message).to_reply());
        }
        let batches = atomic.split().map_err(DecodeError::to_reply)?;
        let mut parts = Vec::with_capacity(batches.len());
        for ((number, part), batch) in (1..).zip(&atomic.parts).zip(batches) {
            let AtomicPart { target, expects } = *part;
            let named = |reply: ErrorReply| {
                let message = format!("publish {number} of the group: {}", reply.message);
                ErrorReply { message, ..reply }
            };
            let header = self.check(target, 0, &batch).map_err(named)?;
            if (header.producer, header.sequence) != (atomic.producer, atomic.sequence) {
                let message = "its batch is not of the group's producer and number";
                let error = DecodeError::new(ErrorCode::InvalidArgument, 16, message);
                return Err(named(error.to_reply()));
            }
            parts.push(GroupPart { target, expects, header, batch });
        }
        Ok(parts)
    }

    fn take_service(&mut self, channel: u16, corr: u64, mut call: ServiceCall) {
        self.chunk_bytes += match service::check(&call, &self.door.inner.limits) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refuse(channel, corr, error.to_reply());
                // Who waits for the answer is told as well.
                match service::refused(call, error) {
                    Some(instead) => call = instead,
                    None => return,
                }
                0
            }
        };
        let request = Box::new(Request::Service(call));
        self.items.push(Item::Request { channel, corr, request });
    }

    fn take_schedule(&mut self, channel: u16, corr: u64, call: ScheduleCall) {
        match schedule::check(&call, &self.door.inner.limits) {
            Ok(()) => {
                let request = Box::new(Request::Schedule(call));
                self.items.push(Item::Request { channel, corr, request });
            }
            Err(error) => self.refuse(channel, corr, error.to_reply()),
        }
    }

    fn check(
        &mut self,
        target: TargetId,
        durability: u8,
        batch: &[u8],
    ) -> Result<posthaste_protocol::batch::BatchHeader, ErrorReply> {
        if durability != 0 {
            let message = "the only durability of this version is synced (0)";
            return Err(DecodeError::new(ErrorCode::Unsupported, 0, message).to_reply());
        }
        let Some(seed) = self.seed(target) else {
            let message = "there is no queue or topic with this number (any more)";
            return Err(DecodeError::new(ErrorCode::NotFound, 0, message).to_reply());
        };
        let header = verify_batch(batch, seed).map_err(DecodeError::to_reply)?;
        let limits = RecordLimits { message_bytes_max: self.door.inner.limits.message_bytes_max };
        check_records(batch, &limits).map_err(DecodeError::to_reply)?;
        Ok(header)
    }

    fn seed(&mut self, target: TargetId) -> Option<Seed> {
        if let Some(seed) = self.seeds.get(&target) {
            return Some(*seed);
        }
        let seed = self.door.inner.directory.seed(target)?;
        self.seeds.insert(target, seed);
        Some(seed)
    }

    async fn hand_over(&mut self) -> Result<(), Ended> {
        self.tell_refusals();
        if self.items.is_empty() {
            return Ok(());
        }
        let budget = self.budget().await?;
        let items = std::mem::take(&mut self.items);
        self.chunk_bytes = 0;
        let chunk = Input::Chunk { connection: self.connection, items, budget };
        self.door.inner.engine.send(chunk).await.map_err(|_closed| Ended::ShuttingDown)
    }

    async fn budget(&mut self) -> Result<Option<OwnedSemaphorePermit>, Ended> {
        if self.chunk_bytes == 0 {
            return Ok(None);
        }
        let inner = &self.door.inner;
        let bytes = self.chunk_bytes.min(inner.limits.ingest_bytes_max);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match Arc::clone(&inner.ingest).acquire_many_owned(bytes).await {
            Ok(permit) => Ok(Some(permit)),
            Err(_closed) => Err(Ended::ShuttingDown),
        }
    }

    /// Says no. Refusals of one turn leave together, however many they are.
    fn refuse(&mut self, channel: u16, corr: u64, reply: ErrorReply) {
        Response::Error(reply).encode(channel, corr, &mut self.refusals);
    }

    fn tell_refusals(&mut self) {
        if self.refusals.is_empty() {
            return;
        }
        if self.outbox.send(vec![self.refusals.split().freeze()]).is_err() {
            // What cannot be told must not be left out: the connection ends.
            tracing::debug!(connection = self.connection, "no room for a refusal");
            self.outbox.abandon();
        }
    }
}

fn write_ended(joined: Result<WriteEnd, tokio::task::JoinError>) -> Ended {
    match joined {
        Ok(WriteEnd::Done) => Ended::ByClient,
        Ok(WriteEnd::Stalled) => Ended::NotReading,
        Ok(WriteEnd::Failed(error)) => Ended::Io(error),
        Err(panicked) => Ended::Io(std::io::Error::other(panicked)),
    }
}
