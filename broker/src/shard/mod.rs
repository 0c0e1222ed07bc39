//! The pure shard state machine: queues, topics, groups, leases, retries, dead letters, dedup.
//!
//! Two halves. *Durable state* changes only in [`Shard::apply_command`] and [`Shard::apply_run`],
//! from committed entries; it is what a checkpoint holds. *Live state* (consumers, credit, leases,
//! what is ready) is rebuilt from it at the start. No I/O, no clock, no threads, no randomness:
//! time comes in as `now_ms` (wall clock, logged) and `mono_ms` (monotonic, for leases).
//!
//! The engine asks [`Shard`] for admission (`admit_*`, `settle`, `expire`, `detach`), appends the
//! commands and runs it gets, and applies them when their block is committed. A start is:
//! [`Shard::restore`], apply what the log has behind the checkpoint, [`Shard::set_incarnation`],
//! append and apply [`command::Command::Started`]; then consumers may come.

mod admit;
mod aging;
mod apply;
mod audit;
mod catalog;
mod checkpoint;
mod codec;
pub mod command;
mod dedup;
mod dispatch;
pub mod effects;
mod expiry;
mod group;
mod lease;
mod message_ids;
mod overlay;
mod pending;
mod progress;
mod query;
mod ranges;
mod ready;
mod retry;
pub mod schedules;
mod settle;
mod siphash;
mod stream;
mod timers;
mod wire;

#[cfg(test)]
mod tests;

use aging::Aging;
use audit::Audit;
use dedup::Producers;
use effects::{ConsumerId, GroupId, Range, StreamId};
use group::Group;
use lease::Consumer;
use message_ids::MessageIds;
use overlay::Overlay;
use posthaste_protocol::names::Name;
use ranges::RangeSet;
use schedules::Schedules;
use std::collections::{BTreeMap, VecDeque};
use stream::Stream;
use timers::Timers;

/// One deterministic state machine.
#[derive(Debug, Default)]
pub struct Shard {
    // Durable.
    streams: BTreeMap<StreamId, Stream>,
    names: BTreeMap<Name, StreamId>,
    groups: BTreeMap<GroupId, Group>,
    producers: Producers,
    message_ids: MessageIds,
    ids: Ids,
    /// Time of the newest block applied.
    time_ms: u64,
    aging: Aging,
    schedules: Schedules,

    // Live.
    consumers: BTreeMap<ConsumerId, Consumer>,
    /// Groups that may have something to dispatch, in turn.
    turns: VecDeque<GroupId>,
    /// No lease of a consumer ends before its time here.
    deadlines: Timers<ConsumerId>,
    /// No delayed message of a group is due before its time here.
    dues: Timers<GroupId>,
    overlay: Overlay,
    audit: Audit,
    /// What a clean stop left; void as soon as anything is applied.
    clean_stop: Option<CleanStop>,
    incarnation: u32,
    epochs: u64,
    /// Scratch, to allocate nothing per settle.
    parts: Vec<Range>,
}

/// Per group: nothing at or above the offset was ever delivered, nor anything in the set.
type CleanStop = BTreeMap<GroupId, (u64, RangeSet)>;

/// The highest numbers ever given. None is given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ids {
    stream: u32,
    group: u32,
    producer: u32,
}

impl Ids {
    /// Numbers that came from the log count as given.
    fn cover(&mut self, other: Ids) {
        self.stream = self.stream.max(other.stream);
        self.group = self.group.max(other.group);
        self.producer = self.producer.max(other.producer);
    }
}

impl Shard {
    /// An empty shard.
    #[must_use]
    pub fn new() -> Shard {
        Shard::default()
    }

    /// Number of this process's start; goes into lease epochs. Call before the first lease.
    pub fn set_incarnation(&mut self, incarnation: u32) {
        self.incarnation = incarnation;
    }

    /// After something may have become ready or delayed: keeps the group's alarm and turn.
    fn touch(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id) {
            touch(group, &mut self.turns, &mut self.dues);
        }
    }
}

/// [`Shard::touch`] for a group at hand.
fn touch(group: &mut Group, turns: &mut VecDeque<GroupId>, dues: &mut Timers<GroupId>) {
    let due = group.live.delays.next();
    if due != group.live.alarm_ms {
        group.live.alarm_ms = due;
        dues.set(group.id, due);
    }
    if !group.live.is_queued && !group.live.willing.is_empty() && group.ready() > 0 {
        group.live.is_queued = true;
        turns.push_back(group.id);
    }
}
