//! Reading a checkpoint. The bytes are checked like any input: what does not fit is refused.

use super::{MAGIC, MAGIC_BEFORE, SECTION_HEADER_BYTES, Section, VERSION, crc};
use crate::shard::aging::{Aging, Jump};
use crate::shard::dedup::{Producer, Producers, Receipt};
use crate::shard::effects::{GroupId, Range, StateError};
use crate::shard::group::{Group, Rules};
use crate::shard::message_ids::Seen;
use crate::shard::progress::{Charge, Dead, Ledger, Progress};
use crate::shard::ranges::{RangeMap, RangeSet};
use crate::shard::ready::Live;
use crate::shard::stream::{NotBefore, Stream, Times};
use crate::shard::wire::{Input, Malformed};
use crate::shard::{CleanStop, Ids, Shard, touch};
use posthaste_protocol::mutant;
use std::collections::{BTreeMap, VecDeque};

impl Shard {
    /// The shard of a checkpoint; its live half is as after an unclean stop until
    /// [`super::super::command::Command::Started`] is applied.
    ///
    /// # Errors
    /// Bytes that are damaged, or that this version does not know.
    pub fn restore(checkpoint: &[u8]) -> Result<Shard, StateError> {
        let mut input = Input::new(checkpoint);
        let magic = input.take(MAGIC.len())?;
        let is_old = magic == MAGIC_BEFORE;
        if magic != MAGIC && !is_old {
            return Err(input.error("these are not the bytes of a shard's state").into());
        }
        let mut shard = Shard::new();
        for section in Section::ALL {
            let is_here = input.peek_u16() == Some(section as u16);
            if !section.is_old() && is_old || section.is_optional() && !is_here {
                continue;
            }
            let at = checkpoint.len() - input.remaining() + SECTION_HEADER_BYTES;
            let bytes = read_section(&mut input, section)?;
            let mut body = Input::new(bytes);
            let read = shard.read_body(section, &mut body).and_then(|()| body.end());
            // Tell the place in the whole checkpoint.
            read.map_err(|error| Malformed { at: at + error.at, ..error })?;
        }
        input.end()?;
        shard.ids.cover(Ids {
            stream: shard.streams.keys().next_back().copied().unwrap_or(0),
            group: shard.groups.keys().next_back().map_or(0, |group| group.0),
            producer: shard.producers.iter().map(|(id, _)| id).max().unwrap_or(0),
        });
        shard.revive_live();
        shard.check().map_err(|_what| input.error("the state contradicts itself"))?;
        Ok(shard)
    }

    fn read_body(&mut self, section: Section, input: &mut Input<'_>) -> Result<(), Malformed> {
        match section {
            Section::Shard => {
                self.time_ms = input.varint()?;
                self.ids = Ids {
                    stream: input.varint32()?,
                    group: input.varint32()?,
                    producer: input.varint32()?,
                };
                if input.remaining() > 0 {
                    self.aging = read_aging(input)?;
                }
            }
            Section::Streams => each(input, 16, |input| {
                let stream = read_stream(input)?;
                let is_new = self.names.insert(stream.name.clone(), stream.id).is_none();
                let is_new = self.streams.insert(stream.id, stream).is_none() && is_new;
                known(is_new, input, "a queue or topic is there twice")
            })?,
            Section::Groups => each(input, 14, |input| self.read_group(input))?,
            Section::Producers => each(input, 21, |input| {
                let (id, producer) = read_producer(input)?;
                let producers = &mut self.producers;
                let is_new = producers.of_session(&producer.session).is_none()
                    && !producers.contains(id)
                    && producers.len() < Producers::PRODUCERS_MAX;
                known(is_new, input, "a producer is there twice, or one too many")?;
                producers.insert(id, producer);
                Ok(())
            })?,
            Section::CleanStop => {
                let groups = |input: &mut Input<'_>| {
                    let mut groups = CleanStop::new();
                    each(input, 3, |input| {
                        let group = GroupId(input.varint32()?);
                        let below = input.varint()?;
                        groups.insert(group, (below, read_set(input)?));
                        Ok(())
                    })?;
                    Ok(groups)
                };
                self.clean_stop = input.option(groups)?;
            }
            Section::Ledgers => each(input, 3, |input| {
                let group = self.groups.get_mut(&GroupId(input.varint32()?));
                let ledger = Ledger { published: input.varint()?, settled: input.varint()? };
                let group = group.ok_or_else(|| input.error("there is no such group"))?;
                group.progress.ledger = ledger;
                Ok(())
            })?,
            Section::MessageIds => self.read_message_ids(input)?,
            Section::Schedules => each(input, 9, |input| {
                let (id, schedule) = (input.varint32()?, input.schedule()?);
                let (last_ms, published) = (input.varint()?, input.varint()?);
                let is_new = self.schedules.restore(id, schedule, last_ms, published);
                known(is_new, input, "a schedule is there twice")
            })?,
            Section::End => {}
        }
        Ok(())
    }

    fn read_message_ids(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        self.message_ids.key = input.option(Input::array)?;
        each(input, 2, |input| {
            let stream = input.varint32()?;
            let window_ms =
                self.streams.get(&stream).and_then(|stream| stream.settings.id_window_ms);
            let window_ms = window_ms.filter(|window_ms| *window_ms > 0);
            let is_new = self.message_ids.window(stream).is_none();
            known(
                is_new && window_ms.is_some(),
                input,
                "ids of no queue or topic, or there twice",
            )?;
            self.message_ids.set_window(stream, window_ms.unwrap_or(0));
            each(input, 3, |input| {
                let (since_ms, until_ms) = (input.varint()?, input.varint()?);
                let mut ids = Vec::new();
                each(input, 28, |input| {
                    let hash = u128::from_le_bytes(input.array()?);
                    let offset = u64::from_le_bytes(input.array()?);
                    ids.push((hash, Seen { offset, print: input.u32()? }));
                    Ok(())
                })?;
                if !mutant("ids-not-persisted") {
                    self.message_ids.restore(stream, (since_ms, until_ms), ids);
                }
                Ok(())
            })
        })
    }

    fn read_group(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        let id = GroupId(input.varint32()?);
        let stream_id = input.varint32()?;
        let Some(stream) = self.streams.get_mut(&stream_id) else {
            return Err(input.error("a group has no queue or topic"));
        };
        let name = input.option(Input::group_name)?;
        let is_linked = match &name {
            None => stream.built_in == Some(id),
            Some(name) => {
                stream.built_in.is_none() && stream.groups.insert(name.clone(), id).is_none()
            }
        };
        known(is_linked, input, "a group is not one of its queue or topic")?;
        let settings = input.settings()?;
        let rules = Rules::of(&settings, &stream.settings);
        let progress = read_progress(input, stream.next_offset)?;
        let live = Live::default();
        let group = Group { id, stream: stream_id, name, settings, rules, progress, live };
        let is_new = self.groups.insert(id, group).is_none();
        known(is_new, input, "a group is there twice")
    }

    /// The live half, as if everything may have been delivered.
    fn revive_live(&mut self) {
        for group in self.groups.values_mut() {
            let Group { progress, live, .. } = &mut *group;
            live.delivered_below = progress.next;
            live.flagged_below = progress.next;
            live.rebuild(progress, self.time_ms);
            touch(group, &mut self.turns, &mut self.dues);
        }
    }
}

fn read_aging(input: &mut Input<'_>) -> Result<Aging, Malformed> {
    let mut aging = Aging { started_ms: input.varint()?, jumps: Vec::new() };
    each(input, 2, |input| {
        let (at_ms, left_ms) = (input.varint()?, input.varint()?);
        let is_later = aging.jumps.last().is_none_or(|jump| jump.at_ms < at_ms);
        known(is_later && left_ms > 0, input, "the starts are not in order")?;
        aging.jumps.push(Jump { at_ms, left_ms });
        Ok(())
    })?;
    Ok(aging)
}

fn read_section<'a>(input: &mut Input<'a>, section: Section) -> Result<&'a [u8], Malformed> {
    let header = input.take(SECTION_HEADER_BYTES - 4)?;
    let mut fields = Input::new(header);
    let (kind, version) = (fields.u16()?, fields.u16()?);
    let (class, zeros, len) = (fields.u8()?, fields.array::<3>()?, fields.u32()?);
    let is_known = kind == section as u16 && class == section.class() && zeros == [0; 3];
    if !is_known || version != VERSION {
        return Err(input.error("a section of another version, or not where it belongs"));
    }
    let sum = input.u32()?;
    let bytes = input.take(len as usize)?;
    if sum != crc(header, bytes) {
        return Err(input.error("the checksum of a section does not match"));
    }
    Ok(bytes)
}

fn read_stream(input: &mut Input<'_>) -> Result<Stream, Malformed> {
    let id = input.varint32()?;
    let kind = input.kind()?;
    let name = input.name()?;
    let settings = input.settings()?;
    let built_in = input.option(Input::varint32)?.map(GroupId);
    let first_offset = input.varint()?;
    let next_offset = input.varint()?;
    let is_whole = first_offset <= next_offset && next_offset < u64::MAX;
    known(is_whole, input, "a queue or topic ends before it starts")?;
    let gap_ms = input.varint()?;
    let mut samples = VecDeque::new();
    each(input, 2, |input| {
        samples.push_back((input.varint()?, input.varint()?));
        Ok(())
    })?;
    let prune_above = input.varint32()?;
    let times = read_map(input, 0, Input::varint)?;
    Ok(Stream {
        id,
        kind,
        name,
        settings,
        first_offset,
        next_offset,
        groups: BTreeMap::new(),
        built_in,
        times: Times { samples, gap_ms },
        not_before: NotBefore { times, prune_above },
        appended: next_offset,
        is_leaving: false,
    })
}

fn read_progress(input: &mut Input<'_>, next: u64) -> Result<Progress, Malformed> {
    let start = input.varint()?;
    let floor = input.varint()?;
    let mut closed = RangeSet::default();
    let mut from = floor;
    each(input, 2, |input| {
        let range = input.range(from)?;
        known(range.first >= from, input, "ranges are not in order")?;
        from = range.end;
        closed.insert(range);
        Ok(())
    })?;
    let charges = read_map(input, floor, |input| {
        Ok(Charge { attempts: input.varint32()?, due_ms: input.varint()? })
    })?;
    let dead = read_map(input, start, |input| {
        Ok(Dead {
            attempts: input.varint32()?,
            dead_ms: input.varint()?,
            reason: input.reason()?.into(),
        })
    })?;
    let ledger = Ledger::default();
    let mut progress = Progress { start, floor, next, closed, charges, dead, ledger };
    progress.check().map_err(|rule| input.error(rule))?;
    progress.ledger = progress.derived();
    Ok(progress)
}

fn read_producer(input: &mut Input<'_>) -> Result<(u32, Producer), Malformed> {
    let id = input.varint32()?;
    let mut producer = Producer {
        session: input.array()?,
        used_ms: input.varint()?,
        horizon: input.varint()?,
        accepted: read_set(input)?,
        ..Producer::default()
    };
    if mutant("dedup-not-persisted") {
        producer.accepted = RangeSet::default();
    }
    each(input, 5, |input| {
        producer.receipts.push_back(Receipt {
            sequence: input.varint()?,
            batches: input.varint()?,
            stream: input.varint32()?,
            base_offset: input.varint()?,
            records: input.varint32()?,
        });
        Ok(())
    })?;
    Ok((id, producer))
}

/// A count and as many things, each of at least `bytes_min`.
fn each<'a>(
    input: &mut Input<'a>,
    bytes_min: usize,
    mut read: impl FnMut(&mut Input<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    for _ in 0..input.count(bytes_min)? {
        read(input)?;
    }
    Ok(())
}

fn read_map<'a, V: Clone + PartialEq>(
    input: &mut Input<'a>,
    mut from: u64,
    value: impl Fn(&mut Input<'a>) -> Result<V, Malformed>,
) -> Result<RangeMap<V>, Malformed> {
    let mut map = RangeMap::default();
    each(input, 3, |input| {
        let range: Range = input.range(from)?;
        known(range.first >= from, input, "ranges are not in order")?;
        from = range.end;
        map.insert(range, value(input)?);
        Ok(())
    })?;
    Ok(map)
}

fn read_set(input: &mut Input<'_>) -> Result<RangeSet, Malformed> {
    let mut set = RangeSet::default();
    for range in input.ranges()? {
        set.insert(range);
    }
    Ok(set)
}

fn known(holds: bool, input: &Input<'_>, what: &'static str) -> Result<(), Malformed> {
    if holds { Ok(()) } else { Err(input.error(what)) }
}
