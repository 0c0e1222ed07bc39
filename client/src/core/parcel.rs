//! A batch, or an atomic group, on its way through the connection task until it is decided.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use posthaste_protocol::request::{Atomic, AtomicPart, AtomicSettle};
use posthaste_protocol::{BatchBuilder, Record, Records, encode_atomic_head, encode_publish_head};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::batch::{Batch, Stored};
use super::destination::Destination;
use super::lane::Filled;
use super::outbox::Outbox;
use crate::error::Failed;

/// What is published as one, and who waits for it. Once sealed, its bytes never change, so that the broker
/// knows a resend for what it is.
#[derive(Debug)]
pub(crate) struct Parcel {
    cargo: Cargo,
    pub(crate) deadline: Instant,
    pub(crate) bytes: usize,
    pub(crate) messages: u32,
    /// It was on a connection that broke: the broker may have it.
    pub(crate) maybe_stored: bool,
    /// The broker did not know a target's number, and it was looked up again.
    pub(crate) is_resolved_anew: bool,
}

#[derive(Debug)]
enum Cargo {
    Batch(Arc<Batch>, Body),
    Group(Box<Group>),
}

/// An atomic group: batches and settles.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) parts: Vec<Part>,
    pub(crate) settles: Vec<AtomicSettle>,
    /// Producer and sequence, once it was sealed.
    sealed: Option<(u32, u64)>,
    reply: oneshot::Sender<Result<Stored, Failed>>,
}

/// A batch of a group.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) destination: Arc<Destination>,
    body: Body,
    /// The offset that its first message must get.
    pub(crate) expects: Option<u64>,
}

#[derive(Debug)]
enum Body {
    Open(BatchBuilder),
    Sealed(Bytes),
}

impl Part {
    pub(crate) fn new(destination: Arc<Destination>, builder: BatchBuilder) -> Self {
        Self { destination, body: Body::Open(builder), expects: None }
    }

    /// The batch, as long as it takes messages.
    pub(crate) fn builder(&mut self) -> Option<&mut BatchBuilder> {
        match &mut self.body {
            Body::Open(builder) => Some(builder),
            Body::Sealed(_) => None,
        }
    }
}

impl Parcel {
    pub(crate) fn new(filled: Filled) -> Self {
        let Filled { builder, batch } = filled;
        let (bytes, messages, deadline) = (builder.len_bytes(), builder.count(), batch.deadline);
        Self::of(Cargo::Batch(batch, Body::Open(builder)), deadline, bytes, messages)
    }

    /// A group; the receiver hears what became of it.
    pub(crate) fn group(
        mut parts: Vec<Part>,
        settles: Vec<AtomicSettle>,
        deadline: Instant,
    ) -> (Self, oneshot::Receiver<Result<Stored, Failed>>) {
        let (mut bytes, mut messages) = (0, 0);
        for builder in parts.iter_mut().filter_map(Part::builder) {
            bytes += builder.len_bytes();
            messages += builder.count();
        }
        let bytes = bytes + settles.iter().map(|one| one.settle.meta_bytes()).sum::<usize>();
        let (reply, receiver) = oneshot::channel();
        let group = Group { parts, settles, sealed: None, reply };
        // What counts nothing would not keep its place among those sent.
        (Self::of(Cargo::Group(Box::new(group)), deadline, bytes.max(1), messages), receiver)
    }

    fn of(cargo: Cargo, deadline: Instant, bytes: usize, messages: u32) -> Self {
        let (maybe_stored, is_resolved_anew) = (false, false);
        Self { cargo, deadline, bytes, messages, maybe_stored, is_resolved_anew }
    }

    /// A destination whose number has to be looked up first.
    pub(crate) fn unresolved(&self) -> Option<&Arc<Destination>> {
        self.destinations().find(|destination| destination.target().is_none())
    }

    /// The broker does not know one of its numbers (any more).
    pub(crate) fn forget_targets(&self) {
        self.destinations().for_each(|destination| destination.set_target(None));
    }

    fn destinations(&self) -> impl Iterator<Item = &Arc<Destination>> {
        let (one, more): (_, &[Part]) = match &self.cargo {
            Cargo::Batch(batch, _) => (Some(&batch.lane.destination), &[]),
            Cargo::Group(group) => (None, &group.parts),
        };
        one.into_iter().chain(more.iter().map(|part| &part.destination))
    }

    pub(crate) fn is_sealed(&self) -> bool {
        match &self.cargo {
            Cargo::Batch(_, body) => matches!(body, Body::Sealed(_)),
            Cargo::Group(group) => group.sealed.is_some(),
        }
    }

    /// Encodes it under this publish number, sealed now if it was not. A builder comes back for reuse.
    pub(crate) fn encode(
        &mut self,
        number: u64,
        producer: u32,
        next_sequence: &mut u64,
        out: &mut Outbox,
    ) -> Option<BatchBuilder> {
        match &mut self.cargo {
            Cargo::Batch(batch, body) => {
                let destination = &batch.lane.destination;
                let (bytes, spare) = body.seal(destination, producer, || next(next_sequence));
                let (target, expects) = (destination.target().unwrap_or_default(), batch.expects);
                out.encode(|head| {
                    encode_publish_head(target, 0, expects, number, bytes.len(), head);
                });
                out.append(bytes);
                spare
            }
            Cargo::Group(group) => {
                group.encode(number, producer, next_sequence, out);
                None
            }
        }
    }

    /// Takes the seal off, because the producer session it was made under is gone. Only right for
    /// what is certainly not stored. `false` if the bytes cannot be read.
    pub(crate) fn unseal(&mut self) -> bool {
        match &mut self.cargo {
            Cargo::Batch(_, body) => body.unseal(),
            Cargo::Group(group) => {
                group.sealed = None;
                group.parts.iter_mut().all(|part| part.body.unseal())
            }
        }
    }

    pub(crate) fn store(self, stored: Stored) {
        match self.cargo {
            Cargo::Batch(batch, _) => batch.store(self.bytes, self.messages, stored),
            Cargo::Group(group) => group.answer(Ok(stored)),
        }
    }

    pub(crate) fn fail(self, failure: &Failed) {
        match self.cargo {
            Cargo::Batch(batch, _) => batch.fail(self.bytes, failure),
            Cargo::Group(group) => group.answer(Err(Arc::clone(failure))),
        }
    }
}

impl Group {
    fn encode(&mut self, number: u64, producer: u32, next_sequence: &mut u64, out: &mut Outbox) {
        let (producer, sequence) =
            *self.sealed.get_or_insert_with(|| (producer, next(next_sequence)));
        let mut batches = Vec::with_capacity(self.parts.len());
        let mut parts = Vec::with_capacity(self.parts.len());
        for Part { destination, body, expects } in &mut self.parts {
            let (bytes, _spare) = body.seal(destination, producer, || sequence);
            let target = destination.target().unwrap_or_default();
            parts.push(AtomicPart { target, expects: *expects });
            batches.push(bytes);
        }
        let settles = self.settles.clone();
        let atomic = Atomic { producer, sequence, parts, settles, batches: Bytes::new() };
        let bytes = batches.iter().map(Bytes::len).sum();
        out.encode(|head| encode_atomic_head(&atomic, number, bytes, head));
        batches.into_iter().for_each(|batch| out.append(batch));
    }

    fn answer(self, outcome: Result<Stored, Failed>) {
        if self.reply.send(outcome).is_err() {
            tracing::trace!("an atomic group was decided for nobody");
        }
    }
}

impl Body {
    fn seal(
        &mut self,
        destination: &Destination,
        producer: u32,
        sequence: impl FnOnce() -> u64,
    ) -> (Bytes, Option<BatchBuilder>) {
        let sealed = match self {
            Self::Sealed(bytes) => return (bytes.clone(), None),
            Self::Open(builder) => builder.finish(destination.seed, producer, sequence(), now_us()),
        };
        let spare = match std::mem::replace(self, Self::Sealed(sealed.clone())) {
            Self::Open(builder) => Some(builder),
            Self::Sealed(_) => None,
        };
        (sealed, spare)
    }

    fn unseal(&mut self) -> bool {
        let Self::Sealed(bytes) = &self else { return true };
        let Some(builder) = rebuild(bytes.clone()) else { return false };
        *self = Self::Open(builder);
        true
    }
}

fn next(sequence: &mut u64) -> u64 {
    *sequence += 1;
    *sequence - 1
}

/// Packs the records of a batch anew.
fn rebuild(batch: Bytes) -> Option<BatchBuilder> {
    let mut builder = BatchBuilder::new();
    for record in Records::new(batch).ok()? {
        let record = record.ok()?;
        let headers: Vec<_> = record.headers().collect();
        let packed = builder.push(&Record {
            value: &record.value,
            key: record.key(),
            headers: &headers,
            not_before_ms: record.not_before_ms,
            expires_ms: record.expires_ms,
            priority: record.priority,
            id: record.id(),
        });
        packed.ok()?;
    }
    Some(builder)
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
