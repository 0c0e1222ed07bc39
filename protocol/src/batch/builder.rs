//! Packing records into a batch, each encoded once, straight to where it travels from.

use super::record::{EXPIRES, HEADERS, ID, KEY, NOT_BEFORE, PRIORITY, varint_bytes, varint_of};
use super::{ATTR_DELAYED, BatchHeader, HEADER, RecordLimits, Seed};
use crate::error::ErrorCode;
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, ID_BYTES_MAX,
    KEY_BYTES_MAX, TIME_MS_MAX,
};
use bytes::{BufMut, Bytes, BytesMut};

/// A message on its way into a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// The body.
    pub value: &'a [u8],
    /// Messages of one key keep their order.
    pub key: Option<&'a str>,
    /// Names and values; no name twice.
    pub headers: &'a [(&'a str, &'a str)],
    /// Not delivered before this wall-clock time, in milliseconds since 1970.
    pub not_before_ms: Option<u64>,
    /// Of no use after this wall-clock time, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// Higher goes first, where that is asked for.
    pub priority: Option<u8>,
    /// The application's own id.
    pub id: Option<&'a str>,
}

/// Why a record does not go into a batch. The batch is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Key, headers and body together.
    #[error("the message has {bytes} bytes, more than the {bytes_max} that are accepted")]
    MessageTooLarge {
        /// What it has.
        bytes: usize,
        /// What is accepted.
        bytes_max: u32,
    },
    /// More than 1,024 bytes.
    #[error("the key has {bytes} bytes, more than 1,024")]
    KeyTooLarge {
        /// What it has.
        bytes: usize,
    },
    /// More than 256 bytes.
    #[error("the message id has {bytes} bytes, more than 256")]
    IdTooLarge {
        /// What it has.
        bytes: usize,
    },
    /// More than 64.
    #[error("the message has {count} headers, more than 64")]
    TooManyHeaders {
        /// What it has.
        count: usize,
    },
    /// More than 16 KiB of names and values.
    #[error("the headers have {bytes} bytes, more than 16 KiB")]
    HeadersTooLarge {
        /// What they have.
        bytes: usize,
    },
    /// A header's name is empty.
    #[error("a header has no name")]
    UnnamedHeader,
    /// A header's name comes twice.
    #[error("two headers have the same name")]
    DuplicateHeader,
    /// A time behind the year 9999.
    #[error("a time lies behind the year 9999")]
    TimeOutOfRange,
    /// This one must begin the next batch.
    #[error("the batch is full")]
    BatchFull,
}

impl RecordError {
    /// The code with which the broker would refuse it.
    pub const fn code(&self) -> ErrorCode {
        match self {
            RecordError::MessageTooLarge { .. }
            | RecordError::KeyTooLarge { .. }
            | RecordError::IdTooLarge { .. }
            | RecordError::TooManyHeaders { .. }
            | RecordError::HeadersTooLarge { .. } => ErrorCode::MessageTooLarge,
            RecordError::UnnamedHeader
            | RecordError::DuplicateHeader
            | RecordError::TimeOutOfRange => ErrorCode::InvalidArgument,
            RecordError::BatchFull => ErrorCode::Busy,
        }
    }
}

/// Packs records into batches, one after the other. It keeps its memory from batch to batch as
/// long as nobody holds the batches before.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// Room for the header and the records so far; empty if there are none.
    bytes: BytesMut,
    count: u32,
    attrs: u8,
    limits: RecordLimits,
    /// Size of the batch before, as a guess for the next.
    expected: usize,
}

impl BatchBuilder {
    /// A builder that accepts what a broker accepts by default.
    pub fn new() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// A builder that accepts what this broker accepts.
    pub fn with_limits(limits: RecordLimits) -> BatchBuilder {
        BatchBuilder { limits, ..BatchBuilder::default() }
    }

    /// Bytes of the batch so far, header included; 0 without records.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// No records yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// [`RecordError::BatchFull`] asks to [`finish`](BatchBuilder::finish) first; all others mean
    /// that the record fits into no batch. The batch stays as it was.
    #[inline]
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), RecordError> {
        let (flags, fields_bytes) = if record.is_plain() { (0, 0) } else { record.measure()? };
        let bytes = fields_bytes + record.value.len();
        let bytes_max = self.limits.message_bytes_max;
        if bytes > bytes_max as usize {
            return Err(RecordError::MessageTooLarge { bytes, bytes_max });
        }
        let (len, len_bytes) = varint_of(bytes + 1);
        let before = self.bytes.len().max(HEADER);
        let end = before + len_bytes + 1 + bytes;
        if end > BATCH_BYTES_MAX as usize || self.count >= BATCH_RECORDS_MAX {
            return Err(if self.count == 0 {
                RecordError::MessageTooLarge { bytes, bytes_max }
            } else {
                RecordError::BatchFull
            });
        }
        if self.count == 0 {
            self.bytes.reserve(self.expected.max(end));
            self.bytes.put_bytes(0, HEADER);
        } else {
            self.bytes.reserve(end - before);
        }
        self.bytes.extend_from_slice(len.get(..len_bytes).unwrap_or_default());
        self.bytes.put_u8(flags);
        if flags != 0 {
            record.put_fields(&mut self.bytes);
            self.attrs |= if flags & NOT_BEFORE != 0 { ATTR_DELAYED } else { 0 };
        }
        self.bytes.extend_from_slice(record.value);
        self.count += 1;
        Ok(())
    }

    /// Seals the batch and begins the next. Without records there is no batch, but empty bytes.
    ///
    /// `producer` and `sequence` are 0 together, or neither is.
    pub fn finish(&mut self, seed: Seed, producer: u32, sequence: u64, time_us: u64) -> Bytes {
        let (attrs, count) = (self.attrs, self.count);
        (self.attrs, self.count, self.expected) = (0, 0, self.bytes.len());
        let mut batch = self.bytes.split();
        // Length and checksum are filled in by the sealing.
        let header = BatchHeader { len: 0, crc: 0, attrs, count, producer, sequence, time_us };
        header.seal(seed, &mut batch);
        batch.freeze()
    }
}

impl Record<'_> {
    /// Nothing but a body.
    #[inline]
    const fn is_plain(&self) -> bool {
        self.key.is_none()
            && self.headers.is_empty()
            && self.not_before_ms.is_none()
            && self.expires_ms.is_none()
            && self.priority.is_none()
            && self.id.is_none()
    }

    /// Flags, and bytes of the fields between them and the value.
    fn measure(&self) -> Result<(u8, usize), RecordError> {
        let (mut flags, mut bytes) = (0, 0);
        if let Some(key) = self.key {
            if key.len() > KEY_BYTES_MAX as usize {
                return Err(RecordError::KeyTooLarge { bytes: key.len() });
            }
            flags |= KEY;
            bytes += sized_bytes(key);
        }
        if !self.headers.is_empty() {
            flags |= HEADERS;
            bytes += self.measure_headers()?;
        }
        for (time_ms, flag) in [(self.not_before_ms, NOT_BEFORE), (self.expires_ms, EXPIRES)] {
            if let Some(time_ms) = time_ms {
                if time_ms > TIME_MS_MAX {
                    return Err(RecordError::TimeOutOfRange);
                }
                flags |= flag;
                bytes += 8;
            }
        }
        if self.priority.is_some() {
            flags |= PRIORITY;
            bytes += 1;
        }
        if let Some(id) = self.id {
            if id.len() > ID_BYTES_MAX as usize {
                return Err(RecordError::IdTooLarge { bytes: id.len() });
            }
            flags |= ID;
            bytes += sized_bytes(id);
        }
        Ok((flags, bytes))
    }

    fn measure_headers(&self) -> Result<usize, RecordError> {
        let count = self.headers.len();
        if count > HEADERS_MAX as usize {
            return Err(RecordError::TooManyHeaders { count });
        }
        let mut plain = 0;
        let mut sized = varint_bytes(count);
        for (index, (name, value)) in self.headers.iter().enumerate() {
            if name.is_empty() {
                return Err(RecordError::UnnamedHeader);
            }
            if self.headers.iter().take(index).any(|(other, _)| other == name) {
                return Err(RecordError::DuplicateHeader);
            }
            plain += name.len() + value.len();
            sized += sized_bytes(name) + sized_bytes(value);
        }
        if plain > HEADERS_BYTES_MAX as usize {
            return Err(RecordError::HeadersTooLarge { bytes: plain });
        }
        Ok(sized)
    }

    fn put_fields(&self, out: &mut BytesMut) {
        if let Some(key) = self.key {
            put_sized(out, key);
        }
        if !self.headers.is_empty() {
            put_varint(out, self.headers.len());
            for (name, value) in self.headers {
                put_sized(out, name);
                put_sized(out, value);
            }
        }
        for time_ms in [self.not_before_ms, self.expires_ms].into_iter().flatten() {
            out.put_u64_le(time_ms);
        }
        if let Some(priority) = self.priority {
            out.put_u8(priority);
        }
        if let Some(id) = self.id {
            put_sized(out, id);
        }
    }
}

fn sized_bytes(text: &str) -> usize {
    varint_bytes(text.len()) + text.len()
}

fn put_sized(out: &mut BytesMut, text: &str) {
    put_varint(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_varint(out: &mut BytesMut, value: usize) {
    let (bytes, len) = varint_of(value);
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
}
