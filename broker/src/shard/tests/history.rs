//! Goal: nothing is lost, nothing is delivered after its ack, flags and attempts are right, counts
//! add up: whatever happens, in whatever order, with crashes and clean stops in between.
//!
//! How: random work on a shard and on the naive model, compared after every step. At the end all
//! consumers come back, time passes, and everything open must be delivered and acked.

use super::model::{Entry, Fate, Model, Spot, offsets};
use super::publishing::window_of;
use super::random::Random;
use super::world::{MAX_ATTEMPTS, World, apply};
use crate::shard::Shard;
use crate::shard::command::Command;
use crate::shard::effects::*;
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Held, Kind, Outcome, Settings, Settle};

const NAMES: u64 = 4;
const GROUPS: u64 = 3;

fn name(n: u64) -> (Name, Kind) {
    let kind = if n.is_multiple_of(2) { Kind::Queue } else { Kind::Topic };
    (Name::try_from(format!("stream-{n}").as_str()).unwrap(), kind)
}

impl World {
    pub(super) fn any_stream(&mut self) -> Option<StreamId> {
        let at = self.random.below(self.model.streams.len().max(1) as u64) as usize;
        self.model.streams.keys().nth(at).copied()
    }

    fn any_group(&mut self) -> Option<GroupId> {
        let at = self.random.below(self.model.groups.len().max(1) as u64) as usize;
        self.model.groups.keys().nth(at).copied()
    }

    pub(super) fn any_consumer(&mut self) -> Option<ConsumerId> {
        let at = self.random.below(self.consumers.len().max(1) as u64) as usize;
        self.consumers.keys().nth(at).copied()
    }

    /// A range that the consumer holds, held once, or never held.
    pub(super) fn any_held(&mut self, id: ConsumerId) -> Held {
        let group = &self.model.groups[&self.consumers[&id].group];
        let held = group.messages.iter().filter_map(|(offset, m)| match m.spot {
            Spot::Leased(lease) if lease.consumer == id => Some((*offset, lease.epoch)),
            _ => None,
        });
        let held: Vec<_> = held.collect();
        let count = 1 + self.random.below(6) as u32;
        if held.is_empty() || self.random.one_in(10) {
            let epoch = self.random.below(1 << 41);
            return Held { first: self.random.below(40), count, epoch };
        }
        let (first, epoch) = held[self.random.below(held.len() as u64) as usize];
        Held { first, count, epoch }
    }

    fn any_outcome(&mut self) -> Outcome {
        let reason = "because".to_owned();
        match self.random.below(10) {
            0..5 => Outcome::Ack,
            5 => Outcome::Retry { delay_ms: Some(0), reason },
            6 => Outcome::Retry { delay_ms: Some(self.random.below(5_000)), reason },
            7 => Outcome::Retry { delay_ms: None, reason },
            8 => Outcome::Release,
            _ => Outcome::DeadLetter { reason },
        }
    }

    fn declare_any(&mut self) {
        let n = self.random.below(NAMES);
        let id_window_ms = window_of(&name(n).0);
        let settings = Settings { id_window_ms, ..self.any_settings() };
        let (name, kind) = name(n);
        let admitted = self.shard.admit_declare(kind, &name, &settings).expect("valid");
        self.append(admitted.command);
        if kind == Kind::Topic {
            // Names count up like ids, so that both sides list groups in one order.
            let group = GroupName::try_from(format!("g-{:05}", self.log.len()).as_str()).unwrap();
            let groups = self.model.groups.values();
            let many = groups.filter(|group| self.model.streams[&group.stream].name == name);
            if many.count() as u64 >= GROUPS {
                return;
            }
            let start = self.any_place();
            let admitted =
                self.shard.admit_declare_group(&name, &group, start, &Settings::default());
            self.append(admitted.expect("valid").command);
        }
    }

    fn any_settings(&mut self) -> Settings {
        let random = &mut self.random;
        let hold_ms = [None, Some(0), Some(100), Some(700), Some(3_000)];
        let max_hold_ms = hold_ms[random.below(5) as usize];
        let mut percent = |least: u32, most: u32| {
            let percent = least + random.below(u64::from(most - least) + 1) as u32;
            Some(percent).filter(|_| random.one_in(2))
        };
        Settings {
            max_attempts: Some(MAX_ATTEMPTS),
            max_hold_ms,
            lease_ms: max_hold_ms.map(|_| 100),
            retry_factor_percent: percent(100, 1_000),
            retry_jitter_percent: percent(0, 100),
            ..Settings::default()
        }
    }

    fn any_place(&mut self) -> Place {
        match self.random.below(4) {
            0 => Place::Earliest,
            1 => Place::Latest,
            _ => Place::Offset(self.random.below(60)),
        }
    }

    fn remove_any(&mut self) {
        let (name, _) = name(self.random.below(NAMES));
        if let Ok(admitted) = self.shard.admit_delete(&name) {
            self.append(admitted.command);
        }
    }

    /// Seek, purge, trim, dead letters, lost data.
    fn administer_any(&mut self) {
        let Some(group) = self.any_group() else { return };
        let stream = self.model.groups[&group].stream;
        let offset = Some(self.random.below(60)).filter(|_| self.random.one_in(2));
        let dry_run = self.random.one_in(5);
        match self.random.below(6) {
            0 => {
                let to = self.any_place();
                if let Ok(admitted) = self.shard.admit_seek(group, to, dry_run) {
                    if admitted.command.is_some() {
                        self.flags_are_exact = false;
                        let group = self.model.groups.get_mut(&group).unwrap();
                        group.seeks += 1;
                        for message in group.messages.values_mut() {
                            if matches!(message.spot, Spot::Leased(_)) {
                                message.spot = Spot::Settling;
                            }
                        }
                    }
                    self.append(admitted.command);
                }
            }
            1 => {
                let name = self.model.streams[&stream].name.clone();
                let admitted = self.shard.admit_purge(&name, dry_run).expect("known");
                self.is_purge_of_what_nobody_holds(stream, &admitted);
                self.append(admitted.command);
            }
            2 => {
                let before = self.random.below(60);
                let command = self.shard.admit_trim(stream, before);
                self.append(command);
            }
            3 => {
                let dead = self.dead_count(group, offset);
                let admitted = self.shard.admit_dead_replay(group, offset, dry_run);
                let admitted = admitted.expect("known");
                assert_eq!(admitted.answer, dead);
                self.append(admitted.command);
            }
            4 => {
                let dead = self.dead_count(group, offset);
                let admitted = self.shard.admit_dead_drop(group, offset, dry_run);
                let admitted = admitted.expect("known");
                assert_eq!(admitted.answer, dead);
                self.append(admitted.command);
            }
            _ => self.lose_any(group),
        }
    }

    fn dead_count(&self, group: GroupId, offset: Option<u64>) -> u64 {
        let dead = self.model.groups[&group].messages.iter().filter(|(at, message)| {
            message.fate == Fate::Dead && offset.is_none_or(|offset| offset == **at)
        });
        dead.count() as u64
    }

    fn is_purge_of_what_nobody_holds(&self, stream: StreamId, admitted: &Admitted<u64>) {
        let Some(Command::Purge { group, ranges }) = &admitted.command else {
            let is_trim = matches!(admitted.command, None | Some(Command::Trim { .. }));
            return assert!(is_trim, "{admitted:?} of {stream}");
        };
        let messages = &self.model.groups[group].messages;
        let purged = |offset: &u64| ranges.iter().any(|range| offsets(range).contains(offset));
        let open = messages.iter().filter(|(_, message)| message.fate == Fate::Open);
        let (gone, left): (Vec<_>, Vec<_>) = open.partition(|(offset, _)| purged(offset));
        assert_eq!(gone.len() as u64, admitted.answer);
        for ((_, message), is_gone) in
            gone.iter().map(|m| (m, true)).chain(left.iter().map(|m| (m, false)))
        {
            let is_leased = matches!(message.spot, Spot::Leased(_) | Spot::Settling);
            assert_eq!(is_leased, !is_gone);
        }
    }

    /// The front of what is ready cannot be read.
    fn lose_any(&mut self, group: GroupId) {
        let Some(ready) = self.shard.peek_ready(group) else { return };
        let count = 1 + self.random.below(ready.count.min(3));
        self.flags_are_exact = false;
        let command = self.shard.lost(group, ready.offset, count);
        for offset in ready.offset..ready.offset + count {
            let group = self.model.groups.get_mut(&group).unwrap();
            group.messages.get_mut(&offset).unwrap().spot = Spot::Settling;
        }
        self.append([command]);
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => self.declare_any(),
            1 if self.random.one_in(8) => self.remove_any(),
            2..5 => self.publish_any(),
            5 => self.publish_atomic_any(),
            6..9 => self.publish_ids_any(),
            9..14 => {
                let count = 1 + self.random.below(6) as usize;
                self.commit(count);
            }
            14..16 if self.consumers.len() < 6 => {
                if let Some(group) = self.any_group() {
                    self.attach(group);
                }
            }
            16..20 => {
                if let Some(id) = self.any_consumer() {
                    let messages = self.random.below(10) as u32;
                    self.credit(id, messages);
                }
            }
            20 => {
                if let Some(id) = self.any_consumer() {
                    let blocked = self.random.one_in(2);
                    self.block(id, blocked);
                }
            }
            21..27 => {
                let count = 1 + self.random.below(8);
                self.dispatch(count);
            }
            27..34 => {
                if let Some(id) = self.any_consumer() {
                    let count = 1 + self.random.below(3);
                    let items: Vec<Settle> = (0..count)
                        .map(|_| Settle { held: self.any_held(id), outcome: self.any_outcome() })
                        .collect();
                    self.settle(id, &items);
                }
            }
            34 => {
                if let Some(id) = self.any_consumer() {
                    let held = self.any_held(id);
                    let lease_ms = 100 + self.random.below(3_000) as u32;
                    self.extend(id, held, lease_ms);
                }
            }
            35 if self.random.one_in(2) => {
                if let Some(id) = self.any_consumer() {
                    self.detach(id);
                }
            }
            35 => self.schedule_any(),
            36..38 => {
                let ms = 10 + self.random.below(900);
                let jump = if self.random.one_in(20) { 3_600_000 } else { 0 };
                let sign = if self.random.one_in(2) { 1 } else { -1 };
                self.tick(ms, sign * jump);
            }
            38 => self.administer_any(),
            39 if self.random.one_in(4) => self.restart(),
            _ => {}
        }
    }

    fn restart(&mut self) {
        match self.random.below(4) {
            0 => self.crash(),
            1 => self.stop(),
            _ => self.save(),
        }
    }

    /// A checkpoint comes back as it was.
    fn save(&mut self) {
        let bytes = self.shard.checkpoint();
        let restored = Shard::restore(&bytes).expect("what is written is read");
        assert_eq!(durable(&restored.checkpoint()), durable(&bytes));
        self.checkpoint = Some((bytes, self.log.len()));
    }

    /// What was appended and not committed is gone, and so is all that is live. Sometimes a
    /// committed run in the middle of the log is damaged.
    fn crash(&mut self) {
        let some = self.random.below(self.open.len() as u64 + 1) as usize;
        self.commit(some);
        let before = self.shard.checkpoint();
        self.open.clear();
        self.consumers.clear();
        let covered = self.checkpoint.as_ref().map_or(0, |(_, covered)| *covered);
        let damaged = self.random.one_in(3) && self.damage(covered);

        let mut shard = self.checkpoint.as_ref().map_or_else(Shard::new, |(bytes, _)| {
            Shard::restore(bytes).expect("what is written is read")
        });
        for (time_ms, entry) in &self.log[covered..] {
            assert_eq!(apply(&mut shard, *time_ms, entry), []);
        }
        if !damaged {
            let replayed = shard.checkpoint();
            assert_eq!(durable(&replayed), durable(&before), "replay comes to the same state");
        }
        self.start(shard, false);
    }

    /// Loses a run that is followed by another one of its stream.
    fn damage(&mut self, covered: usize) -> bool {
        let runs = self.log.iter().enumerate().skip(covered);
        let runs = runs.filter_map(|(index, (_, entry))| match entry {
            Entry::Run(run) => Some((index, run.stream)),
            Entry::Command(_) | Entry::Group(..) => None,
        });
        let runs: Vec<_> = runs.collect();
        let mut before_last = runs
            .iter()
            .enumerate()
            .filter(|(at, (_, stream))| runs[at + 1..].iter().any(|(_, later)| later == stream));
        let Some((_, (index, _))) = before_last.next() else { return false };
        self.log.remove(*index);
        true
    }

    /// Everybody goes, everything is applied, a checkpoint is written.
    fn stop(&mut self) {
        for id in self.consumers.keys().copied().collect::<Vec<_>>() {
            self.detach(id);
        }
        self.commit(usize::MAX);
        self.save();
        let shard = self.checkpoint.as_ref().map(|(bytes, _)| Shard::restore(bytes));
        self.start(shard.expect("just saved").expect("what is written is read"), true);
    }

    fn start(&mut self, shard: Shard, clean: bool) {
        self.flags_are_exact = false;
        self.shard = shard;
        self.starts += 1;
        self.shard.set_incarnation(self.starts);
        self.model = Model::replay(&self.log, self.now_ms);
        self.append([Command::Started { clean }]);
        self.commit(1);
    }

    /// Everything open is delivered and acked in the end.
    fn drain(&mut self) {
        self.commit(usize::MAX);
        for id in self.consumers.keys().copied().collect::<Vec<_>>() {
            self.detach(id);
        }
        for group in self.model.groups.keys().copied().collect::<Vec<_>>() {
            let id = self.attach(group);
            self.credit(id, 10_000);
        }
        for _ in 0..20_000 {
            let open = |m: &super::model::Message| m.fate == Fate::Open;
            if self.open.is_empty() && self.model.groups.values().all(|g| g.count(open) == 0) {
                return;
            }
            if !self.dispatch(100) {
                self.tick(60_000, 0);
            }
            for id in self.consumers.keys().copied().collect::<Vec<_>>() {
                let held = self.any_held(id);
                self.settle(id, &[Settle { held, outcome: Outcome::Ack }]);
            }
            self.commit(usize::MAX);
        }
        panic!("something open is never delivered");
    }
}

/// A checkpoint without what is only of this node: its last section.
fn durable(checkpoint: &[u8]) -> Vec<u8> {
    let mut at = 8;
    let mut sections = Vec::new();
    while at < checkpoint.len() {
        let len = u32::from_le_bytes(checkpoint[at + 8..at + 12].try_into().unwrap()) as usize;
        let end = at + 16 + len;
        if checkpoint[at + 4] == 1 {
            sections.extend_from_slice(&checkpoint[at..end]);
        }
        at = end;
    }
    sections
}

#[test]
fn the_shard_agrees_with_a_naive_broker_through_random_histories() {
    let mut seeds = Random::new();
    for _ in 0..100 {
        let mut world = World::new(Random::from(seeds.below(u64::MAX)));
        for producer in [1, 2, 3] {
            let admitted = world.shard.admit_open_producer([producer; 16]);
            world.append(admitted.command);
        }
        world.append([Command::Started { clean: true }]);
        world.commit(4);
        for _ in 0..500 {
            world.step();
            world.agree();
        }
        world.drain();
        world.agree();
    }
}
