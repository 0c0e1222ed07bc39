//! Walking over the records of a batch without looking into them more than needed.

use super::record::{ID, NOT_BEFORE, split_fields, split_record};
use super::{BatchHeader, HEADER, malformed, records_of};
use crate::error::{DecodeError, ErrorCode};
use crate::limits::MESSAGE_BYTES_MAX;

/// What a broker accepts of a record, as far as it can be configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLimits {
    /// Key, headers, times, id and body together.
    pub message_bytes_max: u32,
}

impl Default for RecordLimits {
    fn default() -> RecordLimits {
        RecordLimits { message_bytes_max: MESSAGE_BYTES_MAX }
    }
}

/// Checks the records of a batch: lengths, count, flags, limits; that keys, headers and ids are
/// UTF-8; that the header says whether some record is delayed. A plain record costs a few
/// nanoseconds.
pub fn check_records(bytes: &[u8], limits: &RecordLimits) -> Result<(), DecodeError> {
    let header = BatchHeader::peek(bytes)?;
    let end = header.len as usize;
    let mut rest = records_of(bytes, &header);
    let mut all_flags = 0;
    for _ in 0..header.count {
        let (flags, body, next) = split_record(rest, end)?;
        if body.len() > limits.message_bytes_max as usize {
            let what = "the message is larger than accepted";
            return Err(DecodeError::new(ErrorCode::MessageTooLarge, end - rest.len(), what));
        }
        if flags != 0 {
            split_fields(flags, body, end - next.len())?;
            all_flags |= flags;
        }
        rest = next;
    }
    if !rest.is_empty() {
        return Err(malformed(end - rest.len(), "bytes follow the last record"));
    }
    if header.is_delayed() != (all_flags & NOT_BEFORE != 0) {
        return Err(malformed(9, "the mark for delayed records does not match the records"));
    }
    Ok(())
}

/// Index and time of each record that has a time before which it is not delivered. Ends at the
/// first record that cannot be read: [`check_records`] comes before.
pub fn delayed_records(bytes: &[u8]) -> DelayedRecords<'_> {
    match BatchHeader::peek(bytes) {
        Ok(header) if header.is_delayed() => DelayedRecords {
            rest: records_of(bytes, &header),
            end: header.len as usize,
            index: 0,
            count: header.count,
        },
        _ => DelayedRecords { rest: &[], end: HEADER, index: 0, count: 0 },
    }
}

/// See [`delayed_records`].
#[derive(Clone, Debug)]
pub struct DelayedRecords<'a> {
    rest: &'a [u8],
    end: usize,
    index: u32,
    count: u32,
}

impl Iterator for DelayedRecords<'_> {
    type Item = (u32, u64);

    fn next(&mut self) -> Option<(u32, u64)> {
        while self.index < self.count {
            let (flags, body, next) = split_record(self.rest, self.end).ok()?;
            let index = self.index;
            self.rest = next;
            self.index += 1;
            if flags & NOT_BEFORE != 0 {
                let (fields, _) = split_fields(flags, body, self.end - next.len()).ok()?;
                return fields.not_before_ms.map(|time_ms| (index, time_ms));
            }
        }
        None
    }
}

/// A record that has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordId<'a> {
    /// Its number in the batch.
    pub index: u32,
    /// The application's own id.
    pub id: &'a str,
    /// Its key.
    pub key: Option<&'a str>,
    /// Its body.
    pub value: &'a [u8],
}

/// The records that have an id. Ends at the first record that cannot be read: [`check_records`] comes
/// before.
pub fn record_ids(bytes: &[u8]) -> RecordIds<'_> {
    match BatchHeader::peek(bytes) {
        Ok(header) => RecordIds {
            rest: records_of(bytes, &header),
            end: header.len as usize,
            index: 0,
            count: header.count,
        },
        Err(_malformed) => RecordIds { rest: &[], end: HEADER, index: 0, count: 0 },
    }
}

/// See [`record_ids`].
#[derive(Clone, Debug)]
pub struct RecordIds<'a> {
    rest: &'a [u8],
    end: usize,
    index: u32,
    count: u32,
}

impl<'a> Iterator for RecordIds<'a> {
    type Item = RecordId<'a>;

    fn next(&mut self) -> Option<RecordId<'a>> {
        while self.index < self.count {
            let (flags, body, next) = split_record(self.rest, self.end).ok()?;
            let index = self.index;
            self.rest = next;
            self.index += 1;
            if flags & ID != 0 {
                let (fields, value) = split_fields(flags, body, self.end - next.len()).ok()?;
                return fields.id.map(|id| RecordId { index, id, key: fields.key, value });
            }
        }
        None
    }
}
