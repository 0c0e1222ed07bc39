//! Writing a checkpoint.

use super::{MAGIC, SECTION_HEADER_BYTES, Section, VERSION, crc};
use crate::shard::Shard;
use crate::shard::dedup::Producer;
use crate::shard::group::Group;
use crate::shard::stream::Stream;
use crate::shard::wire::Output;

impl Shard {
    /// The durable state; equal bytes for equal state. For a clean stop take it when the last
    /// consumer is detached and everything appended is applied: only then can the next start tell
    /// what was never delivered.
    #[must_use]
    pub fn checkpoint(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let mut bytes = Vec::new();
        for section in Section::ALL {
            bytes.clear();
            match section {
                Section::Shard => self.put_shard(&mut bytes),
                Section::Streams => {
                    bytes.put_varint(self.streams.len() as u64);
                    self.streams.values().for_each(|stream| put_stream(stream, &mut bytes));
                }
                Section::Groups => {
                    bytes.put_varint(self.groups.len() as u64);
                    self.groups.values().for_each(|group| put_group(group, &mut bytes));
                }
                Section::Producers => {
                    bytes.put_varint(self.producers.len() as u64);
                    for (id, producer) in self.producers.iter() {
                        put_producer(id, producer, &mut bytes);
                    }
                }
                Section::CleanStop => self.put_clean_stop(&mut bytes),
                Section::Ledgers => self.put_ledgers(&mut bytes),
                Section::MessageIds => self.put_message_ids(&mut bytes),
                Section::Schedules => self.put_schedules(&mut bytes),
                Section::End => {}
            }
            if !bytes.is_empty() || !section.is_optional() {
                put_section(section, &bytes, &mut out);
            }
        }
        out
    }

    fn put_shard(&self, out: &mut Vec<u8>) {
        out.put_varint(self.time_ms);
        for id in [self.ids.stream, self.ids.group, self.ids.producer] {
            out.put_varint(u64::from(id));
        }
        out.put_varint(self.aging.started_ms);
        out.put_varint(self.aging.jumps.len() as u64);
        for jump in &self.aging.jumps {
            out.put_varint(jump.at_ms);
            out.put_varint(jump.left_ms);
        }
    }

    fn put_ledgers(&self, out: &mut Vec<u8>) {
        if self.groups.is_empty() {
            return;
        }
        out.put_varint(self.groups.len() as u64);
        for group in self.groups.values() {
            out.put_varint(u64::from(group.id.0));
            out.put_varint(group.progress.ledger.published);
            out.put_varint(group.progress.ledger.settled);
        }
    }

    fn put_message_ids(&self, out: &mut Vec<u8>) {
        let ids = &self.message_ids;
        if ids.is_unused() && ids.key.is_none() {
            return;
        }
        out.reserve(28 * ids.len());
        out.put_bool(ids.key.is_some());
        if let Some(key) = &ids.key {
            out.put(key);
        }
        out.put_varint(ids.iter().len() as u64);
        for (stream, window) in ids.iter() {
            out.put_varint(u64::from(stream));
            out.put_varint(window.buckets().len() as u64);
            for (since_ms, until_ms, ids) in window.buckets() {
                out.put_varint(since_ms);
                out.put_varint(until_ms);
                out.put_varint(ids.len() as u64);
                for (hash, seen) in ids {
                    out.put(&hash.to_le_bytes());
                    out.put(&seen.offset.to_le_bytes());
                    out.put(&seen.print.to_le_bytes());
                }
            }
        }
    }

    fn put_schedules(&self, out: &mut Vec<u8>) {
        if self.schedules.is_empty() {
            return;
        }
        let schedules = self.schedules.iter();
        out.put_varint(schedules.len() as u64);
        for (id, schedule, last_ms, published) in schedules {
            out.put_varint(u64::from(id));
            out.put_schedule(schedule);
            out.put_varint(last_ms);
            out.put_varint(published);
        }
    }

    fn put_clean_stop(&self, out: &mut Vec<u8>) {
        let is_stopped = self.groups.values().all(|group| group.live.leased() == 0);
        out.put_bool(is_stopped);
        if !is_stopped {
            return;
        }
        out.put_varint(self.groups.len() as u64);
        for group in self.groups.values() {
            out.put_varint(u64::from(group.id.0));
            out.put_varint(group.live.delivered_below);
            out.put_ranges(group.live.never_delivered(&group.progress).iter());
        }
    }
}

fn put_section(section: Section, bytes: &[u8], out: &mut Vec<u8>) {
    let mut header = [0; SECTION_HEADER_BYTES - 4];
    header[0..2].copy_from_slice(&(section as u16).to_le_bytes());
    header[2..4].copy_from_slice(&VERSION.to_le_bytes());
    header[4] = section.class();
    let len = u32::try_from(bytes.len()).expect("a section of the state stays below 4 GiB");
    header[8..12].copy_from_slice(&len.to_le_bytes());
    out.put(&header);
    out.put(&crc(&header, bytes).to_le_bytes());
    out.put(bytes);
}

fn put_stream(stream: &Stream, out: &mut Vec<u8>) {
    out.put_varint(u64::from(stream.id));
    out.put_kind(stream.kind);
    out.put_text(stream.name.as_str());
    out.put_settings(&stream.settings);
    out.put_option(stream.built_in.map(|group| u64::from(group.0)));
    out.put_varint(stream.first_offset);
    out.put_varint(stream.next_offset);
    out.put_varint(stream.times.gap_ms);
    out.put_varint(stream.times.samples.len() as u64);
    for (offset, time_ms) in &stream.times.samples {
        out.put_varint(*offset);
        out.put_varint(*time_ms);
    }
    out.put_varint(u64::from(stream.not_before.prune_above));
    out.put_varint(stream.not_before.times.ranges() as u64);
    let mut from = 0;
    for (range, due_ms) in stream.not_before.times.iter() {
        out.put_range(from, range);
        out.put_varint(*due_ms);
        from = range.end;
    }
}

fn put_group(group: &Group, out: &mut Vec<u8>) {
    let progress = &group.progress;
    out.put_varint(u64::from(group.id.0));
    out.put_varint(u64::from(group.stream));
    out.put_bool(group.name.is_some());
    if let Some(name) = &group.name {
        out.put_text(name.as_str());
    }
    out.put_settings(&group.settings);
    out.put_varint(progress.start);
    out.put_varint(progress.floor);
    out.put_varint(progress.closed.ranges() as u64);
    let mut from = progress.floor;
    for range in progress.closed.iter() {
        out.put_range(from, range);
        from = range.end;
    }
    out.put_varint(progress.charges.ranges() as u64);
    from = progress.floor;
    for (range, charge) in progress.charges.iter() {
        out.put_range(from, range);
        out.put_varint(u64::from(charge.attempts));
        out.put_varint(charge.due_ms);
        from = range.end;
    }
    out.put_varint(progress.dead.ranges() as u64);
    from = progress.start;
    for (range, dead) in progress.dead.iter() {
        out.put_range(from, range);
        out.put_varint(u64::from(dead.attempts));
        out.put_varint(dead.dead_ms);
        out.put_reason(&dead.reason);
        from = range.end;
    }
}

fn put_producer(id: u32, producer: &Producer, out: &mut Vec<u8>) {
    out.put_varint(u64::from(id));
    out.put(&producer.session);
    out.put_varint(producer.used_ms);
    out.put_varint(producer.horizon);
    out.put_ranges(producer.accepted.iter());
    out.put_varint(producer.receipts.len() as u64);
    for receipt in &producer.receipts {
        out.put_varint(receipt.sequence);
        out.put_varint(receipt.batches);
        out.put_varint(u64::from(receipt.stream));
        out.put_varint(receipt.base_offset);
        out.put_varint(u64::from(receipt.records));
    }
}
