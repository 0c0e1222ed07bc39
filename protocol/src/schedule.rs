//! Schedules: a message that the broker publishes again and again, by itself.
//!
//! A schedule is stored like a queue. Its message is a batch of one record, made by the client under the name of the queue or
//! topic that it goes to, and published as it is.

use crate::cron::RECURRENCE_BYTES_MAX;
use crate::error::DecodeError;
use crate::limits::{
    LIST_MAX, REASON_BYTES_MAX, SCHEDULE_BATCH_BYTES_MAX, SCHEDULES_LISTED_MAX, ZONE_BYTES_MAX,
};
use crate::names::Name;
use crate::response::Declared;
use crate::wire::{Reader, put_bool, put_count, put_name, put_text};
use bytes::{BufMut, Bytes, BytesMut};

/// What a client says about schedules, all of it on channel 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleCall {
    /// Creates or changes a schedule.
    Set {
        /// Its name.
        name: Name,
        /// The queue or topic that its messages go to.
        to: Name,
        /// When; see [`Recurrence`](crate::cron::Recurrence).
        when: String,
        /// The time zone of that, by its IANA name; `UTC` is one.
        zone: String,
        /// A batch of one record; the payload of the frame.
        batch: Bytes,
    },
    /// Removes a schedule.
    Cancel {
        /// Which.
        name: Name,
    },
    /// Lists schedules in name order.
    List {
        /// Only names after this one.
        after: Option<Name>,
        /// 1..=1,000; fewer may come.
        limit: u32,
    },
}

/// What the broker says about schedules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleReply {
    /// To set.
    Set {
        /// Created, updated or unchanged.
        declared: Declared,
        /// When it is due next, in milliseconds since 1970.
        next_ms: u64,
    },
    /// To cancel.
    Canceled,
    /// To list.
    Listed {
        /// In name order.
        items: Vec<ScheduleInfo>,
        /// Ask again after the last name.
        more: bool,
    },
}

/// A schedule, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleInfo {
    /// Its name.
    pub name: Name,
    /// Where its messages go.
    pub to: Name,
    /// When.
    pub when: String,
    /// The time zone.
    pub zone: String,
    /// When it is due next, in milliseconds since 1970.
    pub next_ms: u64,
    /// When it published last; 0: never.
    pub last_ms: u64,
    /// Messages published.
    pub published: u64,
    /// Why it is late; empty if it is not.
    pub waits_for: String,
}

impl ScheduleCall {
    /// The message, of the one that has one.
    pub(crate) fn batch_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            ScheduleCall::Set { batch, .. } => Some(batch),
            _ => None,
        }
    }

    /// The same to look at.
    pub(crate) fn batch(&self) -> &[u8] {
        match self {
            ScheduleCall::Set { batch, .. } => batch,
            _ => &[],
        }
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            ScheduleCall::Set { name, to, when, zone, .. } => {
                put_name(out, Some(name.as_str()));
                put_name(out, Some(to.as_str()));
                put_text(out, when, RECURRENCE_BYTES_MAX);
                put_text(out, zone, ZONE_BYTES_MAX);
            }
            ScheduleCall::Cancel { name } => put_name(out, Some(name.as_str())),
            ScheduleCall::List { after, limit } => {
                put_name(out, after.as_ref().map(Name::as_str));
                out.put_u32_le(*limit);
            }
        }
    }

    /// Everything but the message.
    pub(crate) fn decode(
        kind: u8,
        reader: &mut Reader<'_>,
    ) -> Result<Option<ScheduleCall>, DecodeError> {
        use crate::request::kind;
        Ok(Some(match kind {
            kind::SET_SCHEDULE => ScheduleCall::Set {
                name: reader.name()?,
                to: reader.name()?,
                when: reader.text(RECURRENCE_BYTES_MAX)?.to_owned(),
                zone: reader.text(ZONE_BYTES_MAX)?.to_owned(),
                batch: Bytes::new(),
            },
            kind::CANCEL_SCHEDULE => ScheduleCall::Cancel { name: reader.name()? },
            kind::LIST_SCHEDULES => {
                let after = reader.optional_name()?;
                let before = reader.clone();
                let limit = reader.u32()?;
                if !(1..=LIST_MAX).contains(&limit) {
                    return Err(before.invalid("a list has 1 to 1,000 items"));
                }
                ScheduleCall::List { after, limit }
            }
            _ => return Ok(None),
        }))
    }
}

impl ScheduleReply {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            ScheduleReply::Set { declared, next_ms } => {
                declared.encode(out);
                out.put_u64_le(*next_ms);
            }
            ScheduleReply::Canceled => {}
            ScheduleReply::Listed { items, more } => {
                put_bool(out, *more);
                put_count(out, items.len());
                items.iter().for_each(|item| item.encode(out));
            }
        }
    }

    pub(crate) fn decode(
        kind: u8,
        reader: &mut Reader<'_>,
    ) -> Result<Option<ScheduleReply>, DecodeError> {
        use crate::response::kind;
        Ok(Some(match kind {
            kind::SCHEDULE_SET => {
                ScheduleReply::Set { declared: Declared::decode(reader)?, next_ms: reader.u64()? }
            }
            kind::SCHEDULE_CANCELED => ScheduleReply::Canceled,
            kind::SCHEDULES => {
                let more = reader.bool()?;
                let items = reader.list(
                    SCHEDULES_LISTED_MAX,
                    ScheduleInfo::BYTES_MIN,
                    ScheduleInfo::decode,
                )?;
                ScheduleReply::Listed { items, more }
            }
            _ => return Ok(None),
        }))
    }
}

impl ScheduleInfo {
    const BYTES_MIN: usize = 2 + 2 + 3 * 2 + 3 * 8;

    fn encode(&self, out: &mut BytesMut) {
        put_name(out, Some(self.name.as_str()));
        put_name(out, Some(self.to.as_str()));
        put_text(out, &self.when, RECURRENCE_BYTES_MAX);
        put_text(out, &self.zone, ZONE_BYTES_MAX);
        out.put_u64_le(self.next_ms);
        out.put_u64_le(self.last_ms);
        out.put_u64_le(self.published);
        put_text(out, &self.waits_for, REASON_BYTES_MAX);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<ScheduleInfo, DecodeError> {
        Ok(ScheduleInfo {
            name: reader.name()?,
            to: reader.name()?,
            when: reader.text(RECURRENCE_BYTES_MAX)?.to_owned(),
            zone: reader.text(ZONE_BYTES_MAX)?.to_owned(),
            next_ms: reader.u64()?,
            last_ms: reader.u64()?,
            published: reader.u64()?,
            waits_for: reader.text(REASON_BYTES_MAX)?.to_owned(),
        })
    }
}

// The largest message of a schedule fits into the smallest frame.
const _: () = assert!(SCHEDULE_BATCH_BYTES_MAX < crate::limits::FRAME_BYTES_MIN / 2);
