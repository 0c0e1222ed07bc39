//! The values inside of responses as bytes.

use super::pieces::Batches;
use super::{
    Confirmed, DeadLetter, Declared, Description, Fate, GroupInfo, Outcomes, Stats, Welcome,
};
use crate::error::DecodeError;
use crate::limits::{META_BYTES_MAX, PEER_BYTES_MAX, PIECE_BYTES, REASON_BYTES_MAX};
use crate::names::GroupName;
use crate::request::{Kind, Settings};
use crate::wire::{Reader, fitting, put_count, put_name, put_text};
use bytes::{BufMut, BytesMut};

const FLAG_DUPLICATE: u32 = 1;

const STORED: u32 = 0;
const DUPLICATE: u32 = 1;
const CONFLICT: u32 = 2;

impl Welcome {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.features);
        put_text(out, &self.server, PEER_BYTES_MAX);
        out.extend_from_slice(&self.store);
        out.put_u32_le(self.frame_bytes_max);
        out.put_u32_le(self.message_bytes_max);
        out.put_u64_le(self.publish_bytes_max);
        out.put_u32_le(self.idle_ms);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Welcome, DecodeError> {
        Ok(Welcome {
            features: reader.u64()?,
            server: reader.text(PEER_BYTES_MAX)?.to_owned(),
            store: reader.array()?,
            frame_bytes_max: reader.u32()?,
            message_bytes_max: reader.u32()?,
            publish_bytes_max: reader.u64()?,
            idle_ms: reader.u32()?,
        })
    }
}

impl Declared {
    pub(crate) fn encode(self, out: &mut BytesMut) {
        out.put_u8(match self {
            Declared::Created => 1,
            Declared::Unchanged => 2,
            Declared::Updated => 3,
        });
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Declared, DecodeError> {
        let before = reader.clone();
        match reader.u8()? {
            1 => Ok(Declared::Created),
            2 => Ok(Declared::Unchanged),
            3 => Ok(Declared::Updated),
            _ => Err(before.unsupported("an unknown outcome of a declare")),
        }
    }
}

impl GroupInfo {
    /// A group without name and settings.
    const BYTES_MIN: usize = 1 + 4 + 9 * 8 + 4;

    fn meta_bytes(&self) -> usize {
        let name = self.name.as_ref().map_or(0, |name| name.as_str().len());
        Self::BYTES_MIN - 4 + name + self.settings.meta_bytes()
    }

    fn encode(&self, out: &mut BytesMut) {
        put_name(out, self.name.as_ref().map(GroupName::as_str));
        self.settings.encode(out);
        let counts = [self.floor, self.ready, self.leased, self.delayed, self.dead, self.settled];
        counts.into_iter().for_each(|count| out.put_u64_le(count));
        out.put_u32_le(self.consumers);
        let counts = [self.oldest_ms, self.published, self.unaccounted];
        counts.into_iter().for_each(|count| out.put_u64_le(count));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<GroupInfo, DecodeError> {
        Ok(GroupInfo {
            name: reader.optional_group()?,
            settings: Settings::decode(reader)?,
            floor: reader.u64()?,
            ready: reader.u64()?,
            leased: reader.u64()?,
            delayed: reader.u64()?,
            dead: reader.u64()?,
            settled: reader.u64()?,
            consumers: reader.u32()?,
            oldest_ms: reader.u64()?,
            published: reader.u64()?,
            unaccounted: reader.u64()?,
        })
    }
}

impl Description {
    /// A description with the shortest name and no groups.
    pub(super) const BYTES_MIN: usize = 4 + 1 + 2 + 4 + 3 * 8 + 4;

    /// Bytes of this description in a frame, so that a list can end before it outgrows
    /// [`META_BYTES_MAX`].
    pub fn meta_bytes(&self) -> usize {
        let groups = self.groups.iter().map(GroupInfo::meta_bytes).sum::<usize>();
        let head = Self::BYTES_MIN - 1 - 4 + self.name.as_str().len();
        head + self.settings.meta_bytes() + groups
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.id);
        self.kind.encode(out);
        put_name(out, Some(self.name.as_str()));
        self.settings.encode(out);
        out.put_u64_le(self.first_offset);
        out.put_u64_le(self.next_offset);
        out.put_u64_le(self.bytes);
        put_count(out, self.groups.len());
        self.groups.iter().for_each(|group| group.encode(out));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Description, DecodeError> {
        Ok(Description {
            id: reader.u32()?,
            kind: Kind::decode(reader)?,
            name: reader.name()?,
            settings: Settings::decode(reader)?,
            first_offset: reader.u64()?,
            next_offset: reader.u64()?,
            bytes: reader.u64()?,
            groups: reader.list(META_BYTES_MAX, GroupInfo::BYTES_MIN, GroupInfo::decode)?,
        })
    }
}

impl Confirmed {
    pub(super) const BYTES: usize = 28;

    #[inline]
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut row = [0; Self::BYTES];
        row[0..8].copy_from_slice(&self.first.to_le_bytes());
        row[8..12].copy_from_slice(&self.count.to_le_bytes());
        row[12..16].copy_from_slice(&self.target.to_le_bytes());
        row[16..24].copy_from_slice(&self.base_offset.to_le_bytes());
        row[24..28].copy_from_slice(&u32::from(self.duplicate).to_le_bytes());
        out.extend_from_slice(&row);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Confirmed, DecodeError> {
        let before = reader.clone();
        let (first, count, target) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let (base_offset, flags) = (reader.u64()?, reader.u32()?);
        if flags & !FLAG_DUPLICATE != 0 {
            return Err(before.unsupported("a confirm with an unknown flag"));
        }
        if count == 0 || first.checked_add(u64::from(count)).is_none() {
            return Err(before.malformed("a confirm of no publishes, or of impossible ones"));
        }
        let duplicate = flags & FLAG_DUPLICATE != 0;
        Ok(Confirmed { first, count, target, base_offset, duplicate })
    }
}

impl Outcomes {
    /// Bytes of it in a frame.
    pub const BYTES: usize = 20;

    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.target);
        out.put_u32_le(self.count);
        out.put_u64_le(self.base_offset);
        out.put_u32_le(match self.fate {
            Fate::Stored => STORED,
            Fate::Duplicate => DUPLICATE,
            Fate::Conflict => CONFLICT,
        });
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Outcomes, DecodeError> {
        let before = reader.clone();
        let (target, count, base_offset) = (reader.u32()?, reader.u32()?, reader.u64()?);
        let fate = match reader.u32()? {
            STORED => Fate::Stored,
            DUPLICATE => Fate::Duplicate,
            CONFLICT => Fate::Conflict,
            _ => return Err(before.unsupported("an unknown fate of a record")),
        };
        if count == 0 {
            return Err(before.malformed("a receipt of no records"));
        }
        Ok(Outcomes { target, count, base_offset, fate })
    }
}

impl DeadLetter {
    /// A dead letter without a reason.
    pub(super) const BYTES_MIN: usize = 8 + 4 + 8 + 2 + PIECE_BYTES as usize;

    /// Bytes of this dead letter in the meta section of a frame, so that a list can end before it
    /// outgrows [`META_BYTES_MAX`]. Its batch comes on top, in the payload.
    pub fn meta_bytes(&self) -> usize {
        Self::BYTES_MIN + fitting(&self.reason, REASON_BYTES_MAX).len()
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.offset);
        out.put_u32_le(self.attempts);
        out.put_u64_le(self.dead_ms);
        put_text(out, &self.reason, REASON_BYTES_MAX);
        self.piece.put_head(out);
    }

    pub(super) fn decode(
        reader: &mut Reader<'_>,
        batches: &mut Batches<'_>,
    ) -> Result<DeadLetter, DecodeError> {
        Ok(DeadLetter {
            offset: reader.u64()?,
            attempts: reader.u32()?,
            dead_ms: reader.u64()?,
            reason: reader.text(REASON_BYTES_MAX)?.to_owned(),
            piece: batches.piece(reader)?,
        })
    }
}

impl Stats {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let counts = [self.published, self.delivered, self.acked, self.dead_lettered];
        counts.into_iter().for_each(|count| out.put_u64_le(count));
        out.put_u32_le(self.connections);
        out.put_u32_le(self.targets);
        let sizes = [self.log_bytes, self.free_bytes, self.uptime_ms];
        sizes.into_iter().for_each(|size| out.put_u64_le(size));
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Stats, DecodeError> {
        Ok(Stats {
            published: reader.u64()?,
            delivered: reader.u64()?,
            acked: reader.u64()?,
            dead_lettered: reader.u64()?,
            connections: reader.u32()?,
            targets: reader.u32()?,
            log_bytes: reader.u64()?,
            free_bytes: reader.u64()?,
            uptime_ms: reader.u64()?,
        })
    }
}
