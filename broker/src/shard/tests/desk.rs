//! A shard at hand for scripts: what is admitted is applied at once, unless the script holds it back.

use crate::shard::Shard;
use crate::shard::command::Command;
use crate::shard::effects::*;
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Held, Kind, Outcome, Settings, Settle};
use posthaste_protocol::response::GroupInfo;

/// Start of the scripts' wall clock.
pub(crate) const NOON: u64 = 1_000_000;

/// A publish that asks for admission.
pub(crate) fn offer(stream: StreamId, producer: u32, sequence: u64, records: u32) -> Offer {
    Offer { stream, producer, sequence, records, expects: None }
}

pub(crate) struct Desk {
    pub(crate) shard: Shard,
    pub(crate) now_ms: u64,
    pub(crate) mono_ms: u64,
    pub(crate) effects: Effects,
    next_consumer: u64,
}

/// A delivery, as the consumer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) consumer: ConsumerId,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) attempt: u32,
    pub(crate) redelivered: bool,
    pub(crate) epoch: u64,
}

impl Delivery {
    pub(crate) fn held(&self) -> Held {
        let count = u32::try_from(self.count).unwrap();
        Held { first: self.first, count, epoch: self.epoch }
    }

    /// First offset, count, attempt, flag.
    pub(crate) fn facts(&self) -> (u64, u64, u32, bool) {
        (self.first, self.count, self.attempt, self.redelivered)
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

pub(crate) fn group_name(text: &str) -> GroupName {
    GroupName::try_from(text).unwrap()
}

impl Desk {
    pub(crate) fn new() -> Desk {
        Desk::of(Shard::new())
    }

    pub(crate) fn of(shard: Shard) -> Desk {
        let effects = Effects::default();
        Desk { shard, now_ms: NOON, mono_ms: 0, effects, next_consumer: 0 }
    }

    pub(crate) fn apply(&mut self, commands: impl IntoIterator<Item = Command>) {
        for command in commands {
            self.shard.apply_command(self.now_ms, &command, &mut self.effects);
        }
        assert_eq!(self.shard.check(), Ok(()));
    }

    pub(crate) fn queue(&mut self, text: &str, settings: &Settings) -> (StreamId, GroupId) {
        let admitted = self.shard.admit_declare(Kind::Queue, &name(text), settings).unwrap();
        self.apply(admitted.command);
        let (found, group) = self.shard.find_group(&name(text), None).unwrap();
        (found.stream, group)
    }

    pub(crate) fn topic(&mut self, text: &str, settings: &Settings) -> StreamId {
        let admitted = self.shard.admit_declare(Kind::Topic, &name(text), settings).unwrap();
        self.apply(admitted.command);
        admitted.answer.1
    }

    pub(crate) fn group(&mut self, topic: &str, text: &str, start: Place) -> GroupId {
        let (topic, group) = (name(topic), group_name(text));
        let settings = Settings::default();
        let admitted = self.shard.admit_declare_group(&topic, &group, start, &settings).unwrap();
        self.apply(admitted.command);
        admitted.answer.group
    }

    /// Publishes one batch and commits it.
    pub(crate) fn publish(&mut self, stream: StreamId, count: u32) -> u64 {
        self.publish_delayed(stream, count, &[])
    }

    pub(crate) fn publish_delayed(
        &mut self,
        stream: StreamId,
        count: u32,
        delayed: &[(u32, u64)],
    ) -> u64 {
        let Admit::Ok { base_offset } = self.shard.admit_publish(&offer(stream, 0, 0, count))
        else {
            panic!("refused")
        };
        let batch = AppliedBatch { count, producer: 0, sequence: 0, delayed, ids: &[] };
        self.run(stream, base_offset, &[batch]).unwrap();
        base_offset
    }

    pub(crate) fn run(
        &mut self,
        stream: StreamId,
        base_offset: u64,
        batches: &[AppliedBatch<'_>],
    ) -> Result<(), StateError> {
        let records = batches.iter().map(|batch| batch.count).sum();
        let batches = batches.iter().copied();
        let run = AppliedRun { stream, base_offset, records, batches };
        let done = self.shard.apply_run(self.now_ms, run, &mut self.effects);
        assert_eq!(self.shard.check(), Ok(()));
        done
    }

    /// A consumer with credit for this many messages.
    pub(crate) fn consumer(&mut self, group: GroupId, messages: u32) -> ConsumerId {
        self.next_consumer += 1;
        let id = ConsumerId(self.next_consumer);
        self.shard.attach(id, group, None).unwrap();
        self.shard.add_credit(id, messages, 1 << 20, 0);
        id
    }

    /// One delivery of at most `count_max` messages, if anybody's turn has come.
    pub(crate) fn deliver(&mut self, count_max: u64) -> Option<Delivery> {
        let group = self.shard.next_dispatch()?;
        let ready = self.shard.peek_ready(group).expect("something is ready");
        let picked = self.shard.pick_consumer(group).expect("somebody wants it");
        let epoch = self.shard.next_epoch();
        let count = ready.count.min(count_max).min(u64::from(picked.messages));
        let Ready { offset, attempt, redelivered, .. } = ready;
        let (consumer, mono_ms) = (picked.consumer, self.mono_ms);
        let lease = LeaseOf { group, consumer, epoch, offset, count, bytes: 1, mono_ms };
        assert!(self.shard.lease(lease));
        assert_eq!(self.shard.check(), Ok(()));
        Some(Delivery { consumer, first: offset, count, attempt, redelivered, epoch })
    }

    /// Everything that can be delivered now: first offset, count, attempt, flag.
    pub(crate) fn deliver_all(&mut self) -> Vec<(u64, u64, u32, bool)> {
        std::iter::from_fn(|| self.deliver(u64::MAX)).map(|delivery| delivery.facts()).collect()
    }

    /// Settles a whole delivery and commits it.
    pub(crate) fn settle(&mut self, delivery: Delivery, outcome: Outcome) {
        let item = Settle { held: delivery.held(), outcome };
        let result = self.shard.settle(delivery.consumer, &[item], self.now_ms);
        assert_eq!(result.stale, []);
        self.apply(result.commands);
    }

    pub(crate) fn detach(&mut self, consumer: ConsumerId) {
        let commands = self.shard.detach(consumer, self.now_ms);
        self.apply(commands);
    }

    pub(crate) fn tick(&mut self, ms: u64) {
        self.now_ms += ms;
        self.mono_ms += ms;
        let commands = self.shard.expire(self.mono_ms, self.now_ms);
        self.apply(commands);
        self.shard.wake_delayed(self.now_ms);
    }

    /// What is told of a name's only group.
    pub(crate) fn info(&self, text: &str) -> GroupInfo {
        let described = self.shard.describe(&name(text), self.now_ms).unwrap();
        described.groups[0].clone()
    }

    /// The next process: of a checkpoint, with no log behind it.
    pub(crate) fn restart(self, clean: bool) -> Desk {
        let mut desk = Desk::of(Shard::restore(&self.shard.checkpoint()).unwrap());
        desk.now_ms = self.now_ms;
        desk.apply([Command::Started { clean }]);
        desk
    }
}
