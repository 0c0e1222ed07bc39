//! Publish, deliver and settle, each as the engine does it for one batch, on one queue with one consumer.

use bytes::{Bytes, BytesMut};
use posthaste_broker::shard::Shard;
use posthaste_broker::shard::effects::{
    Admit, AppliedBatch, AppliedRun, ConsumerId, Effects, GroupId, LeaseOf, Offer, StreamId,
};
use posthaste_protocol::request::{Held, Kind, Outcome, Settings, Settle};
use posthaste_protocol::response::Confirmed;
use posthaste_protocol::{
    BatchBuilder, CutOf, Name, PieceHead, Record, Request, Response, Seed, SliceCursor,
    destination_seed, encode_deliver_head, verify_batch,
};
use posthaste_storage::{Body, BodyBuilder};

const NOW_MS: u64 = 1_800_000_000_000;
const QUEUE: &str = "orders";
const FRAME_BYTES_MAX: u32 = 16 << 20;
const CONSUMER: ConsumerId = ConsumerId(1);
/// Messages and bytes that the consumer takes; each delivery gives back what it took.
const CREDIT: (u32, u64) = (10_000, 8 << 20);

/// A batch of `count` messages of `size` bytes for the queue of the paths.
///
/// # Panics
/// When the batch would be larger than the protocol allows.
#[must_use]
pub fn batch(count: u32, size: usize) -> Bytes {
    let value = vec![b'x'; size];
    let mut builder = BatchBuilder::new();
    for _ in 0..count {
        let record = Record { value: &value, ..Record::default() };
        builder.push(&record).expect("within the limits");
    }
    builder.finish(seed(), 0, 0, 1)
}

/// The seed of the queue of the paths.
///
/// # Panics
/// Never: the name is a constant.
#[must_use]
pub fn seed() -> Seed {
    destination_seed(&Name::try_from(QUEUE).expect("a valid name"))
}

/// What was delivered and waits for its settle.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    /// First offset.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// Of the lease.
    pub epoch: u64,
}

/// One queue, one consumer, one batch that is published again and again.
#[derive(Debug)]
pub struct Path {
    shard: Shard,
    effects: Effects,
    stream: StreamId,
    group: GroupId,
    frame: BytesMut,
    batch: Bytes,
    seed: Seed,
    published: u64,
}

impl Path {
    /// Batches of `count` messages of `size` bytes.
    ///
    /// # Panics
    /// When a fresh shard refuses a queue: a defect.
    #[must_use]
    pub fn new(count: u32, size: usize) -> Self {
        let name = Name::try_from(QUEUE).expect("a valid name");
        let (mut shard, mut effects) = (Shard::new(), Effects::default());
        shard.set_incarnation(1);
        let admitted = shard.admit_declare(Kind::Queue, &name, &Settings::default());
        let command = admitted.expect("a fresh shard takes a queue").command;
        shard.apply_command(NOW_MS, &command.expect("it was not there"), &mut effects);
        let (found, group) = shard.find_group(&name, None).expect("just declared");
        shard.attach(CONSUMER, group, None).expect("the group is there");
        shard.add_credit(CONSUMER, CREDIT.0, CREDIT.1, 0);
        let batch = batch(count, size);
        let mut frame = BytesMut::new();
        let publish = Request::Publish {
            target: found.stream,
            durability: 0,
            expects: None,
            batch: batch.clone(),
        };
        publish.encode(0, 1, &mut frame);
        let (stream, seed) = (found.stream, seed());
        Self { shard, effects, stream, group, frame, batch, seed, published: 0 }
    }

    /// A frame from a socket to a confirm: cut, check, admit, build the block, apply it, say so.
    ///
    /// # Panics
    /// When the batch is refused: a defect.
    pub fn publish(&mut self) -> (Body, BytesMut) {
        let mut wire = self.frame.clone();
        let cut = Request::cut(&mut wire, FRAME_BYTES_MAX).expect("a valid frame");
        let CutOf::Frame { said: Ok(Request::Publish { target, batch, .. }), .. } = cut else {
            panic!("a whole publish")
        };
        let header = verify_batch(&batch, self.seed).expect("a valid batch");
        let offer = Offer {
            stream: target,
            producer: 0,
            sequence: 0,
            records: header.count,
            expects: None,
        };
        let Admit::Ok { base_offset } = self.shard.admit_publish(&offer) else {
            panic!("a queue without limits takes it")
        };
        let mut body = BodyBuilder::new();
        body.run(target, base_offset, header.count, &[batch]);
        let body = body.finish();
        let count = header.count;
        let applied = AppliedBatch { count, producer: 0, sequence: 0, delayed: &[], ids: &[] };
        let (records, batches) = (header.count, [applied]);
        let run = AppliedRun { stream: self.stream, base_offset, records, batches };
        self.shard.apply_run(NOW_MS, run, &mut self.effects).expect("offsets follow one another");
        self.published += 1;
        let confirm =
            Confirmed { first: self.published, count: 1, target, base_offset, duplicate: false };
        let mut out = BytesMut::new();
        Response::Confirms(vec![confirm]).encode(0, 0, &mut out);
        (body, out)
    }

    /// The next batch to the consumer: whose turn, lease, slice of the log, head of the frame.
    ///
    /// # Panics
    /// When nothing is ready: publish first.
    pub fn deliver(&mut self) -> (Delivered, BytesMut, Bytes) {
        let group = self.shard.next_dispatch().expect("something is ready");
        let ready = self.shard.peek_ready(group).expect("something is ready");
        let picked = self.shard.pick_consumer(group).expect("the consumer has credit");
        let mut cursor = SliceCursor::new(self.batch.clone(), self.seed).expect("a valid batch");
        let whole = cursor.header().count;
        let count = u32::try_from(ready.count).unwrap_or(u32::MAX).min(whole);
        let bytes = cursor.slice(0, count).expect("within the batch");
        let epoch = self.shard.next_epoch();
        let leased = self.shard.lease(LeaseOf {
            group,
            consumer: picked.consumer,
            epoch,
            offset: ready.offset,
            count: u64::from(count),
            bytes: bytes.len() as u64,
            mono_ms: 0,
        });
        assert!(leased, "it was ready");
        let head = PieceHead {
            base_offset: ready.offset,
            from: 0,
            count,
            attempt: ready.attempt,
            redelivered: ready.redelivered,
            time_ms: NOW_MS,
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        self.shard.add_credit(CONSUMER, count, bytes.len() as u64, 0);
        let mut out = BytesMut::new();
        encode_deliver_head(1, epoch, picked.lease_ms, &[head], &mut out);
        (Delivered { first: ready.offset, count, epoch }, out, bytes)
    }

    /// Acks all of a delivery in one range.
    pub fn settle(&mut self, delivered: Delivered) {
        let Delivered { first, count, epoch } = delivered;
        self.settle_each(&[Settle { held: Held { first, count, epoch }, outcome: Outcome::Ack }]);
    }

    /// Acks each message of a delivery on its own, the last one first: the worst order for sets of ranges.
    pub fn settle_backwards(&mut self, delivered: Delivered) {
        let Delivered { first, count, epoch } = delivered;
        let held = |first| Held { first, count: 1, epoch };
        for at in (0..u64::from(count)).rev() {
            self.settle_each(&[Settle { held: held(first + at), outcome: Outcome::Ack }]);
        }
    }

    /// Settles and applies.
    ///
    /// # Panics
    /// When something was not held: a defect.
    fn settle_each(&mut self, items: &[Settle]) {
        let result = self.shard.settle(CONSUMER, items, NOW_MS);
        assert!(result.stale.is_empty(), "all of it was held");
        for command in &result.commands {
            self.shard.apply_command(NOW_MS, command, &mut self.effects);
        }
    }

    /// The group of the queue.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_all_the_way() {
        let mut path = Path::new(100, 100);
        for round in 0..20 {
            path.publish();
            let (delivered, head, bytes) = path.deliver();
            assert_eq!((delivered.first, delivered.count), (round * 100, 100));
            assert!(!head.is_empty() && bytes.len() > 100 * 100);
            if round % 2 == 0 { path.settle(delivered) } else { path.settle_backwards(delivered) }
        }
        assert!(path.shard.peek_ready(path.group()).is_none(), "nothing is left");
    }
}
