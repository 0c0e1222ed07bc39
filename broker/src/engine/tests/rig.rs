//! Drives a [`Core`] by hand: every commit, read and clock tick happens when the test says so.

use crate::engine::Now;
use crate::engine::core::Core;
use crate::engine::input::{ConnectionId, Input, Item};
use crate::engine::outbox::{Allowance, OutboxDrain, outbox};
use crate::engine::start::{OpenError, Ready, open};
use bytes::{Bytes, BytesMut};
use posthaste_protocol::batch::{BatchBuilder, BatchHeader, Record, destination_seed};
use posthaste_protocol::frame::{Cut, cut_frame};
use posthaste_protocol::names::Name;
use posthaste_protocol::{Request, Response};
use posthaste_storage::disk::SimDisk;
use posthaste_storage::{Body, LogKeeper, LogWriter, Lsn, Options, RecoveryReport, StorageError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Wall clock at the start of every rig.
pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;

pub(super) fn name(text: &str) -> Name {
    Name::try_from(text).expect("tests use valid names")
}

pub(super) fn small_options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        segment_bytes_max: 64 << 10,
        spares: 3,
        reserve_bytes: 0,
        tail_cache_bytes: 64 << 10,
        block_bytes_max: 32 << 10,
        checkpoint_log_bytes: 256 << 10,
        background: false,
        prewrite: false,
        seed: Some(7),
        ..Options::default()
    }
}

/// One batch with these bodies.
pub(super) fn batch(to: &str, producer: u32, sequence: u64, bodies: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for body in bodies {
        let record = Record { value: body, ..Record::default() };
        builder.push(&record).expect("small records fit");
    }
    builder.finish(destination_seed(&name(to)), producer, sequence, 1)
}

pub(super) struct Rig {
    pub(super) core: Core,
    pub(super) report: RecoveryReport,
    writer: LogWriter,
    keeper: LogKeeper,
    applied: Lsn,
    pub(super) now: Now,
    drains: BTreeMap<ConnectionId, (OutboxDrain, BytesMut)>,
    next_connection: ConnectionId,
    /// The log has failed; nothing happens any more.
    is_dead: bool,
}

impl Rig {
    pub(super) fn open(disk: &SimDisk, now: Now) -> Result<Rig, OpenError> {
        Rig::open_with(disk, now, small_options())
    }

    pub(super) fn open_with(disk: &SimDisk, now: Now, options: Options) -> Result<Rig, OpenError> {
        let disk = Arc::new(disk.clone());
        let Ready { core, writer, keeper, report, .. } =
            open(disk, Path::new("data"), options, now.wall_ms)?;
        let applied = core.log().committed();
        let drains = BTreeMap::new();
        let (next_connection, is_dead) = (1, false);
        Ok(Rig { core, report, writer, keeper, applied, now, drains, next_connection, is_dead })
    }

    pub(super) fn fresh() -> Rig {
        let now = Now { wall_ms: EPOCH_MS, mono_ms: 0 };
        Rig::open(&SimDisk::memory(), now).expect("an empty disk opens")
    }

    pub(super) fn connect(&mut self) -> ConnectionId {
        let connection = self.next_connection;
        self.next_connection += 1;
        let (sender, drain) = outbox(&Allowance::new(1 << 20));
        self.drains.insert(connection, (drain, BytesMut::new()));
        self.core.on_input(Input::Opened { connection, outbox: sender }, self.now);
        connection
    }

    pub(super) fn send(&mut self, connection: ConnectionId, items: Vec<Item>) {
        self.core.on_input(Input::Chunk { connection, items, budget: None }, self.now);
    }

    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        self.core.on_input(Input::Closed { connection }, self.now);
    }

    /// Everything that can happen without time passing.
    pub(super) fn settle(&mut self) -> Result<(), StorageError> {
        if self.is_dead {
            return Err(StorageError::Poisoned);
        }
        loop {
            self.core.on_time(self.now);
            let mut is_idle = true;
            // What is said before the commit reaches the clients, whatever becomes of the commit.
            self.core.flush();
            while let Some(body) = self.core.next_block(self.now) {
                self.commit(body)?;
                is_idle = false;
            }
            while self.core.dispatch(self.now) {}
            for job in self.core.take_reads() {
                let log = self.core.log().clone();
                self.core.on_input(job.run(&log), self.now);
                is_idle = false;
            }
            self.core.flush();
            if is_idle && self.core.is_quiet() {
                return Ok(());
            }
        }
    }

    /// Makes the oldest block under way durable.
    pub(super) fn commit(&mut self, body: Body) -> Result<(), StorageError> {
        let committed = self.writer.commit(self.now.wall_ms, body);
        self.is_dead = committed.is_err();
        let block = committed?;
        self.core.on_committed(&block, self.now).expect("a committed block applies");
        self.applied = block.end;
        Ok(())
    }

    pub(super) fn advance(&mut self, ms: u64) {
        self.now = Now { wall_ms: self.now.wall_ms + ms, mono_ms: self.now.mono_ms + ms };
    }

    pub(super) fn checkpoint(&mut self) -> Result<(), StorageError> {
        let (state, floors) = (self.core.shard().checkpoint(), self.core.shard().floors());
        self.keeper.checkpoint(self.applied, &state, &floors)?;
        self.keeper.maintain();
        Ok(())
    }

    /// Orderly stop.
    pub(super) fn stop(mut self) -> Result<(), StorageError> {
        self.core.detach_everyone(self.now);
        self.settle()?;
        self.checkpoint()?;
        self.writer.seal()
    }

    /// What the connection was sent since the last look: channel, request id, response.
    pub(super) fn received(&mut self, connection: ConnectionId) -> Vec<(u16, u64, Response)> {
        let (drain, buffer) = self.drains.get_mut(&connection).expect("a connection of this rig");
        while let Some(parts) = drain.try_next() {
            for part in parts {
                buffer.extend_from_slice(&part);
                drain.written(part.len());
            }
        }
        let mut responses = Vec::new();
        while let Ok(Cut::Frame(frame)) = cut_frame(buffer, 16 << 20) {
            let response = Response::decode(&frame).expect("the broker speaks the protocol");
            responses.push((frame.header.channel, frame.header.corr, response));
        }
        responses
    }

    /// Sends one request on channel 0 and returns its answer, also one that came before the power went.
    pub(super) fn ask(
        &mut self,
        connection: ConnectionId,
        request: Request,
    ) -> Result<Response, StorageError> {
        self.ask_on(connection, 0, request)
    }

    pub(super) fn ask_on(
        &mut self,
        connection: ConnectionId,
        channel: u16,
        request: Request,
    ) -> Result<Response, StorageError> {
        const CORR: u64 = 1 << 40;
        let request = Box::new(request);
        self.send(connection, vec![Item::Request { channel, corr: CORR, request }]);
        let settled = self.settle();
        let received = self.received(connection);
        match received.into_iter().find(|(_, corr, _)| *corr == CORR) {
            Some((_, _, answer)) => Ok(answer),
            None => Err(settled.expect_err("every request is answered")),
        }
    }
}

pub(super) fn publish(number: u64, target: u32, batch: Bytes) -> Item {
    let header = BatchHeader::peek(&batch).expect("tests build valid batches");
    Item::Publish { number, target, expects: None, header, batch }
}

pub(super) fn request(channel: u16, corr: u64, request: Request) -> Item {
    Item::Request { channel, corr, request: Box::new(request) }
}
