//! A naive broker: one entry per message and group, nothing clever. What the shard must agree with.

use crate::shard::command::{Cause, Command, End};
use crate::shard::effects::{ConsumerId, GroupId, Identified, Range, StreamId};
use posthaste_protocol::names::Name;
use posthaste_protocol::request::Settings;
use std::collections::BTreeMap;

/// One appended or committed entry of the log.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Command(Command),
    Run(Run),
    /// An atomic group of this number: one entry, whatever is in it.
    Group(u64, Vec<Entry>),
}

impl Entry {
    /// The runs in it.
    pub(crate) fn runs(&self) -> Vec<&Run> {
        match self {
            Entry::Run(run) => vec![run],
            Entry::Command(_) => Vec::new(),
            Entry::Group(_, entries) => entries.iter().flat_map(Entry::runs).collect(),
        }
    }
}

/// A run of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) stream: StreamId,
    pub(crate) base_offset: u64,
    pub(crate) batches: Vec<Batch>,
}

#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) count: u32,
    pub(crate) producer: u32,
    pub(crate) sequence: u64,
    pub(crate) delayed: Vec<(u32, u64)>,
    pub(crate) ids: Vec<Identified>,
}

/// What was stored under an id last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) offset: u64,
    pub(crate) print: u32,
    pub(crate) at_ms: u64,
}

impl Run {
    pub(crate) fn records(&self) -> u32 {
        self.batches.iter().map(|batch| batch.count).sum()
    }
}

/// What becomes of a message in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Open,
    Settled,
    Dead,
}

/// Where an open message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// Never delivered since the start or last seek.
    Ready,
    /// Ready ahead of those.
    Returned,
    Delayed,
    Leased(Lease),
    Settling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) consumer: ConsumerId,
    pub(crate) epoch: u64,
    pub(crate) attempt: u32,
    pub(crate) deadline_ms: u64,
    /// No extension goes beyond this.
    pub(crate) limit_ms: u64,
    pub(crate) sequence: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) fate: Fate,
    pub(crate) spot: Spot,
    pub(crate) attempts: u32,
    pub(crate) due_ms: u64,
    /// Not like new, so it goes ahead after a start.
    pub(crate) charged: bool,
}

impl Message {
    const NEW: Message =
        Message { fate: Fate::Open, spot: Spot::Ready, attempts: 0, due_ms: 0, charged: false };

    fn delayed(due_ms: u64) -> Message {
        Message { spot: Spot::Delayed, due_ms, charged: true, ..Message::NEW }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.fate == Fate::Open && matches!(self.spot, Spot::Ready | Spot::Returned)
    }

    /// As after a start at this time.
    fn settle_down(&mut self, now_ms: u64) {
        self.spot = match self.charged {
            true if self.due_ms > now_ms => Spot::Delayed,
            true => Spot::Returned,
            false => Spot::Ready,
        };
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) stream: StreamId,
    pub(crate) start: u64,
    pub(crate) seeks: u32,
    pub(crate) messages: BTreeMap<u64, Message>,
}

impl Group {
    pub(crate) fn count(&self, wanted: impl Fn(&Message) -> bool) -> u64 {
        self.messages.values().filter(|message| wanted(message)).count() as u64
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) name: Name,
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) delays: BTreeMap<u64, u64>,
    pub(crate) settings: Settings,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// Number of the setting, when it is due, how often it has published.
    pub(crate) schedules: BTreeMap<Name, (u32, u64, u64)>,
    /// Where the batches of producers are.
    pub(crate) stored: BTreeMap<(u32, u64), (StreamId, u64)>,
    /// What was stored under ids; none is forgotten.
    pub(crate) ids: BTreeMap<(StreamId, u128), Known>,
    /// Where the messages of atomic groups are: stream, first offset and count.
    pub(crate) atomic: BTreeMap<u64, Vec<(StreamId, u64, u32)>>,
    /// The latest time of an entry.
    pub(crate) latest_ms: u64,
}

impl Model {
    /// From nothing to the end of the log, as after a start at this time.
    pub(crate) fn replay(log: &[(u64, Entry)], now_ms: u64) -> Model {
        let mut model = Model::default();
        for (time_ms, entry) in log {
            model.apply(*time_ms, entry);
        }
        for group in model.groups.values_mut() {
            group.seeks = 0;
            group.messages.values_mut().for_each(|message| message.settle_down(now_ms));
        }
        model
    }

    pub(crate) fn apply(&mut self, now_ms: u64, entry: &Entry) {
        self.latest_ms = self.latest_ms.max(now_ms);
        match entry {
            Entry::Run(run) => self.apply_run(now_ms, run),
            Entry::Command(command) => self.apply_command(now_ms, command),
            Entry::Group(number, entries) => {
                let runs = entry.runs().into_iter();
                let places = runs.map(|run| (run.stream, run.base_offset, run.records()));
                self.atomic.insert(*number, places.collect());
                entries.iter().for_each(|entry| self.apply(now_ms, entry));
            }
        }
    }

    fn apply_run(&mut self, now_ms: u64, run: &Run) {
        let Some(stream) = self.streams.get_mut(&run.stream) else { return };
        let groups = self.groups.values_mut().filter(|group| group.stream == run.stream);
        let mut groups: Vec<&mut Group> = groups.collect();
        for lost in stream.next..run.base_offset {
            for group in &mut groups {
                group.messages.insert(lost, Message { fate: Fate::Dead, ..Message::NEW });
            }
        }
        let mut offset = run.base_offset;
        for batch in &run.batches {
            if batch.producer != 0 {
                let place = (run.stream, offset);
                self.stored.insert((batch.producer, batch.sequence), place);
            }
            for id in &batch.ids {
                let offset = offset + u64::from(id.index);
                let known = Known { offset, print: id.print, at_ms: now_ms };
                self.ids.insert((run.stream, id.hash), known);
            }
            for index in 0..batch.count {
                let due = batch.delayed.iter().find(|(at, _)| *at == index).map(|(_, due)| *due);
                let due = due.filter(|due_ms| *due_ms > now_ms);
                stream.delays.extend(due.map(|due_ms| (offset, due_ms)));
                for group in &mut groups {
                    group.messages.insert(offset, due.map_or(Message::NEW, Message::delayed));
                }
                offset += 1;
            }
        }
        stream.next = offset;
    }

    fn apply_command(&mut self, now_ms: u64, command: &Command) {
        match command {
            Command::Started { .. }
            | Command::OpenProducer { .. }
            | Command::IdKey { .. }
            | Command::Atomic { .. } => {}
            Command::Declare { stream, name, settings, group, .. } => {
                let (name, settings) = (name.clone(), settings.clone());
                let (delays, new) = (BTreeMap::new(), settings.clone());
                let new = Stream { name, first: 0, next: 0, delays, settings: new };
                self.streams.entry(*stream).or_insert(new).settings = settings;
                if let Some(group) = group {
                    let new = Group { stream: *stream, ..Group::default() };
                    self.groups.entry(*group).or_insert(new);
                }
            }
            Command::DeclareGroup { group, stream, start, .. } => {
                if let Some(topic) = self.streams.get(stream) {
                    let start = (*start).clamp(topic.first, topic.next);
                    let mut new = Group { stream: *stream, start, ..Group::default() };
                    start_over(&mut new, topic, start, now_ms);
                    self.groups.entry(*group).or_insert(new);
                }
            }
            Command::Delete { stream } => {
                self.streams.remove(stream);
                self.groups.retain(|_, group| group.stream != *stream);
            }
            Command::DeleteGroup { group } => drop(self.groups.remove(group)),
            Command::Settle(settlement) => {
                for offset in settlement.ranges.iter().flat_map(offsets) {
                    self.settle(
                        now_ms,
                        settlement.group,
                        offset,
                        &settlement.end,
                        settlement.cause,
                    );
                }
            }
            Command::Seek { group, to } => {
                if let Some(group) = self.groups.get_mut(group) {
                    let topic = &self.streams[&group.stream];
                    group.seeks = group.seeks.saturating_sub(1);
                    start_over(group, topic, (*to).clamp(topic.first, topic.next), now_ms);
                }
            }
            Command::Purge { group, ranges } => {
                for offset in ranges.iter().flat_map(offsets) {
                    if let Some(message) = self.open(*group, offset) {
                        message.fate = Fate::Settled;
                    }
                }
            }
            Command::Trim { stream, before } => self.trim(*stream, *before),
            Command::DeadReplay { group, offset } => self.each_dead(*group, *offset, |message| {
                *message = Message { spot: Spot::Returned, charged: true, ..Message::NEW };
            }),
            Command::DeadDrop { group, offset } => {
                self.each_dead(*group, *offset, |message| message.fate = Fate::Settled);
            }
            Command::SetSchedule { id, schedule } => {
                let kept = self.schedules.entry(schedule.name.clone()).or_default();
                *kept = (*id, schedule.next_ms, kept.2);
            }
            Command::CancelSchedule { name } => drop(self.schedules.remove(name)),
            Command::SchedulePublished { id, next_ms, .. } => {
                let mut all = self.schedules.values_mut();
                if let Some(kept) = all.find(|(of, _, _)| of == id) {
                    *kept = (*id, *next_ms, kept.2 + 1);
                }
            }
        }
    }

    fn settle(&mut self, now_ms: u64, group: GroupId, offset: u64, end: &End, cause: Cause) {
        let Some(message) = self.open(group, offset) else { return };
        match end {
            End::Ack => message.fate = Fate::Settled,
            End::Dead { .. } => {
                message.fate = Fate::Dead;
                message.attempts += u32::from(cause != Cause::DataLoss);
            }
            End::Retry { due_ms, .. } => {
                message.attempts += 1;
                message.due_ms = *due_ms;
                message.charged = true;
                message.settle_down(now_ms);
            }
        }
    }

    fn open(&mut self, group: GroupId, offset: u64) -> Option<&mut Message> {
        let message = self.groups.get_mut(&group)?.messages.get_mut(&offset)?;
        Some(message).filter(|message| message.fate == Fate::Open)
    }

    fn trim(&mut self, stream: StreamId, before: u64) {
        let Some(topic) = self.streams.get_mut(&stream) else { return };
        topic.first = topic.first.max(before.min(topic.next));
        for group in self.groups.values_mut().filter(|group| group.stream == stream) {
            for (_, message) in group.messages.range_mut(..topic.first) {
                message.fate = Fate::Settled;
            }
        }
    }

    fn each_dead(&mut self, group: GroupId, offset: Option<u64>, change: impl Fn(&mut Message)) {
        let Some(group) = self.groups.get_mut(&group) else { return };
        for (at, message) in &mut group.messages {
            if message.fate == Fate::Dead && offset.is_none_or(|offset| offset == *at) {
                change(message);
            }
        }
    }

    /// Delayed messages whose time has come.
    pub(crate) fn wake(&mut self, now_ms: u64) {
        for message in self.groups.values_mut().flat_map(|group| group.messages.values_mut()) {
            if message.spot == Spot::Delayed && message.due_ms <= now_ms {
                message.spot = Spot::Returned;
            }
        }
    }
}

/// The longest hold, if there is a limit.
pub(crate) fn max_hold_ms(settings: &Settings) -> Option<u64> {
    let hold_ms = settings.max_hold_ms.map_or(3_600_000, u64::from);
    Some(hold_ms).filter(|hold_ms| *hold_ms > 0)
}

/// The soonest and the latest delay after this failed attempt, when the consumer names none.
pub(crate) fn backoff_ms(settings: &Settings, attempt: u32) -> (u64, u64) {
    let factor = f64::from(settings.retry_factor_percent.unwrap_or(200)) / 100.0;
    let longest = f64::from(settings.retry_max_ms.unwrap_or(600_000));
    let delay = (1_000.0 * factor.powi(attempt as i32 - 1)).min(longest).round() as u64;
    let cut = delay * u64::from(settings.retry_jitter_percent.unwrap_or(0)) / 100;
    (delay - cut, delay)
}

/// Everything from `to` on is as new, but for delays that are still ahead; dead letters below stay.
fn start_over(group: &mut Group, topic: &Stream, to: u64, now_ms: u64) {
    group.start = group.start.min(to);
    for (_, message) in group.messages.range_mut(..to) {
        if message.fate == Fate::Open {
            message.fate = Fate::Settled;
        }
    }
    for offset in to..topic.next {
        let due = topic.delays.get(&offset).filter(|due_ms| **due_ms > now_ms);
        group.messages.insert(offset, due.map_or(Message::NEW, |due| Message::delayed(*due)));
    }
}

pub(crate) fn offsets(range: &Range) -> std::ops::Range<u64> {
    range.first..range.end
}
