//! A shard and the naive model side by side, with a log between them: what is admitted is appended,
//! and applied to both when it commits. After every step they must agree.

use super::model::{Batch, Entry, Fate, Lease, Model, Run, Spot, backoff_ms, max_hold_ms, offsets};
use super::random::Random;
use crate::shard::Shard;
use crate::shard::command::{Cause, Command, End};
use crate::shard::effects::*;
use posthaste_protocol::request::{Held, Outcome, Settings, Settle};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A consumer as its application sees it.
#[derive(Clone, Debug)]
pub(crate) struct Consumer {
    pub(crate) group: GroupId,
    pub(crate) lease_ms: u32,
    pub(crate) messages: u32,
    pub(crate) sent: u64,
    pub(crate) begun: u64,
    pub(crate) blocked: bool,
}

/// How a message ended, as the log says it.
pub(crate) type Ended = BTreeMap<u64, (End, Cause)>;

pub(crate) struct World {
    pub(crate) shard: Shard,
    pub(crate) model: Model,
    pub(crate) random: Random,
    /// Appended, not committed.
    pub(crate) open: VecDeque<Entry>,
    pub(crate) log: Vec<(u64, Entry)>,
    /// A checkpoint and how much of the log it covers.
    pub(crate) checkpoint: Option<(Vec<u8>, usize)>,
    pub(crate) consumers: BTreeMap<ConsumerId, Consumer>,
    pub(crate) delivered: BTreeSet<(GroupId, u64)>,
    /// Nothing has happened yet after which flags are only a caution.
    pub(crate) flags_are_exact: bool,
    pub(crate) now_ms: u64,
    pub(crate) mono_ms: u64,
    pub(crate) starts: u32,
    pub(crate) consumers_ever: u64,
}

impl World {
    pub(crate) fn new(random: Random) -> World {
        World {
            shard: Shard::new(),
            model: Model::default(),
            random,
            open: VecDeque::new(),
            log: Vec::new(),
            checkpoint: None,
            consumers: BTreeMap::new(),
            delivered: BTreeSet::new(),
            flags_are_exact: true,
            now_ms: 1_700_000_000_000,
            mono_ms: 0,
            starts: 0,
            consumers_ever: 0,
        }
    }

    pub(crate) fn append(&mut self, commands: impl IntoIterator<Item = Command>) {
        self.open.extend(commands.into_iter().map(Entry::Command));
    }

    pub(crate) fn publish(&mut self, run: Run) {
        self.open.push_back(Entry::Run(run));
    }

    /// The next block: up to `count` entries.
    pub(crate) fn commit(&mut self, count: usize) {
        for _ in 0..count {
            let Some(entry) = self.open.pop_front() else { break };
            let gone = apply(&mut self.shard, self.now_ms, &entry);
            for consumer in gone {
                self.consumers.remove(&consumer).expect("only attached consumers go");
            }
            self.model.apply(self.now_ms, &entry);
            self.log.push((self.now_ms, entry));
        }
    }

    pub(crate) fn attach(&mut self, group: GroupId) -> ConsumerId {
        self.consumers_ever += 1;
        let id = ConsumerId(self.consumers_ever);
        let lease_ms = 100 + self.random.below(2_000) as u32;
        let hold_ms = max_hold_ms(self.settings(group)).unwrap_or(u64::MAX);
        let granted_ms = lease_ms.min(u32::try_from(hold_ms).unwrap_or(u32::MAX));
        assert_eq!(self.shard.attach(id, group, Some(lease_ms)), Some(granted_ms));
        let lease_ms = granted_ms;
        let new = Consumer { group, lease_ms, messages: 0, sent: 0, begun: 0, blocked: false };
        self.consumers.insert(id, new);
        id
    }

    fn settings(&self, group: GroupId) -> &Settings {
        &self.model.streams[&self.model.groups[&group].stream].settings
    }

    pub(crate) fn credit(&mut self, id: ConsumerId, messages: u32) {
        let consumer = self.consumers.get_mut(&id).expect("attached");
        consumer.messages += messages;
        consumer.begun += self.random.below(consumer.sent - consumer.begun + 1);
        self.shard.add_credit(id, messages, 1 << 30, consumer.begun);
    }

    pub(crate) fn block(&mut self, id: ConsumerId, blocked: bool) {
        self.consumers.get_mut(&id).expect("attached").blocked = blocked;
        self.shard.set_blocked(id, blocked);
    }

    /// One turn of the dispatcher; `false`: nobody can be sent anything.
    pub(crate) fn dispatch(&mut self, count_max: u64) -> bool {
        let Some(group) = self.shard.next_dispatch() else {
            self.nobody_waits();
            return false;
        };
        let ready = self.shard.peek_ready(group).expect("a group in turn has ready messages");
        let picked = self.shard.pick_consumer(group).expect("and a consumer with credit");
        let count = ready.count.min(count_max).min(u64::from(picked.messages));
        let epoch = self.shard.next_epoch();
        let lease = LeaseOf {
            group,
            consumer: picked.consumer,
            epoch,
            offset: ready.offset,
            count,
            bytes: 1,
            mono_ms: self.mono_ms,
        };
        let hold_ms = max_hold_ms(self.settings(group));
        let tenth = |ms: u64| (self.mono_ms + ms).div_ceil(100) * 100;
        let limit_ms = hold_ms.map_or(u64::MAX, tenth);
        self.is_due(group, ready, count);
        assert!(self.shard.lease(lease), "what was peeked can be leased");
        let consumer = self.consumers.get_mut(&picked.consumer).expect("attached");
        assert_eq!((consumer.group, consumer.messages), (group, picked.messages));
        assert!(!consumer.blocked);
        consumer.messages -= count as u32;
        let messages = &mut self.model.groups.get_mut(&group).expect("known").messages;
        for offset in ready.offset..ready.offset + count {
            let lease = Lease {
                consumer: picked.consumer,
                epoch,
                attempt: ready.attempt,
                deadline_ms: limit_ms.min(self.mono_ms + u64::from(consumer.lease_ms)),
                limit_ms,
                sequence: consumer.sent,
            };
            messages.get_mut(&offset).expect("known").spot = Spot::Leased(lease);
            consumer.sent += 1;
            self.delivered.insert((group, offset));
        }
        true
    }

    /// What the shard wants to deliver may be delivered, in this order and with these flags.
    fn is_due(&self, group: GroupId, ready: Ready, count: u64) {
        let messages = &self.model.groups[&group].messages;
        let lowest = |spot: Spot| {
            let mut here = messages.iter();
            here.find(|(_, m)| m.fate == Fate::Open && m.spot == spot).map(|(offset, _)| *offset)
        };
        let first = lowest(Spot::Returned).or_else(|| lowest(Spot::Ready));
        assert_eq!(first, Some(ready.offset), "returned first, lowest first");
        for offset in ready.offset..ready.offset + count {
            let message = &messages[&offset];
            assert!(message.is_ready(), "{offset} is delivered though {message:?}");
            assert_eq!(ready.attempt, message.attempts + 1, "attempts only grow");
            let before = self.delivered.contains(&(group, offset));
            assert!(ready.redelivered || !before, "{offset}: a second delivery is flagged");
            if self.flags_are_exact {
                assert_eq!(ready.redelivered, before, "{offset}: flagged without need");
            }
        }
    }

    /// When the dispatcher rests, no ready message and willing consumer meet.
    fn nobody_waits(&self) {
        for consumer in self.consumers.values().filter(|c| c.messages > 0 && !c.blocked) {
            let group = &self.model.groups[&consumer.group];
            let is_idle = group.seeks > 0 || group.count(super::model::Message::is_ready) == 0;
            assert!(is_idle, "{consumer:?} waits for what is ready");
        }
    }

    pub(crate) fn settle(&mut self, id: ConsumerId, items: &[Settle]) {
        let (mut expected, mut stale) = (Ended::new(), Vec::new());
        let mut soonest = BTreeMap::new();
        let group_id = self.consumers[&id].group;
        let settings = self.settings(group_id).clone();
        for Settle { held, outcome } in items {
            for offset in held.first..held.first + u64::from(held.count) {
                let group = self.model.groups.get_mut(&group_id).expect("known");
                let message = group.messages.get_mut(&offset);
                let lease = message.as_ref().and_then(|m| match m.spot {
                    Spot::Leased(lease) if m.fate == Fate::Open => Some(lease),
                    _ => None,
                });
                let lease = lease.filter(|l| (l.consumer, l.epoch) == (id, held.epoch));
                let (Some(lease), Some(message)) = (lease, message) else {
                    stale.push(offset);
                    continue;
                };
                message.spot = Spot::Settling;
                let (end, cause) = match outcome {
                    Outcome::Release => {
                        message.spot = Spot::Returned;
                        continue;
                    }
                    Outcome::Ack => (End::Ack, Cause::Consumer),
                    Outcome::DeadLetter { reason } => {
                        (End::Dead { reason: reason.clone() }, Cause::Consumer)
                    }
                    Outcome::Retry { reason, .. } if lease.attempt >= MAX_ATTEMPTS => {
                        (End::Dead { reason: reason.clone() }, Cause::MaxAttempts)
                    }
                    Outcome::Retry { delay_ms, reason } => {
                        let delay = delay_ms.unwrap_or_else(|| {
                            let (least, most) = backoff_ms(&settings, lease.attempt);
                            soonest.insert(offset, self.now_ms + least);
                            most
                        });
                        let due_ms = if delay == 0 { 0 } else { self.now_ms + delay };
                        (End::Retry { due_ms, reason: reason.clone() }, Cause::Consumer)
                    }
                };
                expected.insert(offset, (end, cause));
            }
        }
        let result = self.shard.settle(id, items, self.now_ms);
        let mut ends = ended(&result.commands, group_id);
        for (offset, soonest_ms) in soonest {
            let (
                Some((End::Retry { due_ms, .. }, _)),
                Some((End::Retry { due_ms: latest, .. }, _)),
            ) = (ends.get_mut(&offset), expected.get(&offset))
            else {
                continue;
            };
            // 0 is at once.
            let time = |due_ms: u64| if due_ms == 0 { self.now_ms } else { due_ms };
            let allowed = soonest_ms..=time(*latest);
            assert!(allowed.contains(&time(*due_ms)), "{offset} is due at {due_ms}");
            *due_ms = *latest;
        }
        assert_eq!(ends, expected);
        let told = result.stale.iter().flat_map(|h| h.first..h.first + u64::from(h.count));
        assert_eq!(told.collect::<Vec<_>>(), stale);
        self.append(result.commands);
    }

    pub(crate) fn extend(&mut self, id: ConsumerId, held: Held, lease_ms: u32) {
        let (mut stale, mut is_limited) = (Vec::new(), false);
        let group = self.model.groups.get_mut(&self.consumers[&id].group).expect("known");
        for offset in held.first..held.first + u64::from(held.count) {
            match group.messages.get_mut(&offset).map(|m| (m.fate, &mut m.spot)) {
                Some((Fate::Open, Spot::Leased(lease)))
                    if (lease.consumer, lease.epoch) == (id, held.epoch) =>
                {
                    let deadline_ms = self.mono_ms + u64::from(lease_ms);
                    is_limited |= deadline_ms > lease.limit_ms;
                    lease.deadline_ms = deadline_ms.min(lease.limit_ms);
                }
                _ => stale.push(offset),
            }
        }
        let told = self.shard.extend(id, &[held], self.mono_ms, lease_ms);
        assert_eq!(told.limited, if is_limited { vec![held] } else { vec![] });
        let told = told.stale.iter().flat_map(|h| h.first..h.first + u64::from(h.count));
        assert_eq!(told.collect::<Vec<_>>(), stale);
    }

    pub(crate) fn detach(&mut self, id: ConsumerId) {
        let consumer = self.consumers.remove(&id).expect("attached");
        let group = self.model.groups.get_mut(&consumer.group).expect("known");
        let mut expected = Ended::new();
        for (offset, message) in &mut group.messages {
            let Spot::Leased(lease) = message.spot else { continue };
            if lease.consumer != id || message.fate != Fate::Open {
                continue;
            }
            if lease.sequence < consumer.begun {
                message.spot = Spot::Settling;
                expected.insert(*offset, failed(&lease, Cause::Disconnected));
            } else {
                message.spot = Spot::Returned;
            }
        }
        let commands = self.shard.detach(id, self.now_ms);
        assert_eq!(ended(&commands, consumer.group), expected);
        self.append(commands);
    }

    /// Time goes by; the wall clock may jump besides.
    pub(crate) fn tick(&mut self, ms: u64, jump_ms: i64) {
        self.mono_ms += ms;
        self.now_ms = (self.now_ms + ms).saturating_add_signed(jump_ms);
        let mut expected: BTreeMap<GroupId, Ended> = BTreeMap::new();
        for (id, group) in &mut self.model.groups {
            for (offset, message) in &mut group.messages {
                if let (Fate::Open, Spot::Leased(lease)) = (message.fate, message.spot)
                    && lease.deadline_ms <= self.mono_ms
                {
                    message.spot = Spot::Settling;
                    let ends = expected.entry(*id).or_default();
                    let is_at_limit = lease.limit_ms <= self.mono_ms;
                    let cause = if is_at_limit { Cause::HeldTooLong } else { Cause::Expired };
                    ends.insert(*offset, failed(&lease, cause));
                }
            }
        }
        let is_due = self.shard.next_deadline().is_some_and(|at| at <= self.mono_ms);
        assert!(is_due || expected.is_empty(), "the alarm is not too late");
        let commands = self.shard.expire(self.mono_ms, self.now_ms);
        for id in self.model.groups.keys() {
            let told = ended(&commands, *id);
            assert_eq!(told, expected.remove(id).unwrap_or_default());
        }
        self.append(commands);
        let open: Vec<_> = self.model.groups.values().flat_map(|g| g.messages.values()).collect();
        let waiting = open.iter().filter(|m| m.fate == Fate::Open && m.spot == Spot::Delayed);
        let next = waiting.map(|message| message.due_ms).min();
        assert!(next.is_none() || self.shard.next_due() <= next, "the alarm is not too late");
        self.shard.wake_delayed(self.now_ms);
        self.model.wake(self.now_ms);
    }

    /// The shard and the model say the same, and the shard agrees with itself.
    pub(crate) fn agree(&mut self) {
        assert_eq!(self.shard.check(), Ok(()));
        self.check_schedules();
        assert_eq!((self.shard.audit(8), self.shard.unaccounted_in_all()), (Vec::new(), 0));
        for (id, stream) in &self.model.streams {
            let told = self.shard.describe(&stream.name, self.now_ms).expect("known");
            assert_eq!((told.id, told.next_offset), (*id, stream.next));
            let mut groups = self.model.groups.iter().filter(|(_, group)| group.stream == *id);
            let mut infos = told.groups.iter();
            assert_eq!(infos.len(), groups.clone().count());
            // Both are in the order of declaration: names of groups count up.
            assert!(infos.by_ref().zip(groups.by_ref()).all(|(info, (_, group))| {
                let count = |wanted: fn(&Spot) -> bool| {
                    group.count(|m| m.fate == Fate::Open && wanted(&m.spot))
                };
                let ready = count(|spot| matches!(spot, Spot::Ready | Spot::Returned));
                let leased = count(|spot| matches!(spot, Spot::Leased(_) | Spot::Settling));
                let delayed = count(|spot| matches!(spot, Spot::Delayed));
                let dead = group.count(|message| message.fate == Fate::Dead);
                assert_eq!(
                    (info.ready, info.leased, info.delayed, info.dead),
                    (ready, leased, delayed, dead)
                );
                let all = ready + leased + delayed + dead + info.settled;
                assert_eq!(all, stream.next - group.start, "the four states add up");
                assert_eq!((info.published, info.unaccounted), (all, 0), "and are counted right");
                let open = group.messages.iter().find(|(_, m)| m.fate == Fate::Open);
                assert_eq!(info.floor, open.map_or(stream.next, |(offset, _)| *offset));
                true
            }));
        }
        assert_eq!(self.shard.stream_count(), self.model.streams.len());
    }
}

pub(crate) const MAX_ATTEMPTS: u32 = 3;

/// What a failure of the consumer comes to.
fn failed(lease: &Lease, cause: Cause) -> (End, Cause) {
    let reason = cause.as_str().to_owned();
    if lease.attempt >= MAX_ATTEMPTS {
        (End::Dead { reason }, Cause::MaxAttempts)
    } else {
        (End::Retry { due_ms: 0, reason }, cause)
    }
}

/// The settlements of a group, message by message; none twice.
pub(crate) fn ended(commands: &[Command], group: GroupId) -> Ended {
    let mut all = Ended::new();
    for command in commands {
        let Command::Settle(settlement) = command else { panic!("not a settlement: {command:?}") };
        if settlement.group == group {
            for offset in settlement.ranges.iter().flat_map(offsets) {
                let end = (settlement.end.clone(), settlement.cause);
                assert_eq!(all.insert(offset, end), None, "{offset} ends twice");
            }
        }
    }
    all
}

/// Applies an entry, by way of its bytes. Returns the consumers that are gone.
pub(crate) fn apply(shard: &mut Shard, now_ms: u64, entry: &Entry) -> Vec<ConsumerId> {
    let mut effects = Effects::default();
    match entry {
        Entry::Group(_, entries) => {
            return entries.iter().flat_map(|entry| apply(shard, now_ms, entry)).collect();
        }
        Entry::Command(command) => {
            let mut bytes = Vec::new();
            command.encode(&mut bytes);
            let read = Command::decode(command.kind(), &bytes).expect("what is written is read");
            assert_eq!(read, *command);
            shard.apply_command(now_ms, &read, &mut effects);
        }
        Entry::Run(run) => {
            let batches = run.batches.iter().map(|batch| {
                let Batch { count, producer, sequence, delayed, ids } = batch;
                let (count, producer, sequence) = (*count, *producer, *sequence);
                AppliedBatch { count, producer, sequence, delayed, ids }
            });
            let Run { stream, base_offset, .. } = *run;
            let applied = AppliedRun { stream, base_offset, records: run.records(), batches };
            shard.apply_run(now_ms, applied, &mut effects).expect("in order");
        }
    }
    let gone = effects.list.iter().filter_map(|effect| match effect {
        Effect::ConsumerGone { consumer } => Some(*consumer),
        Effect::Rejected { .. } | Effect::Lost { .. } => None,
    });
    gone.collect()
}
