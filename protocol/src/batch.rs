//! Batches: records under one checksum, the unit of wire, log and delivery.
//!
//! A producer's library packs them, and from there they are carried as they are: broker and disk
//! change no byte, and the consumer checks the very checksum that the producer made. It begins with
//! the name of the destination, so a batch that got into another queue does not verify.
//!
//! ```text
//!  0  u32 len      whole batch            12  u32 count      records, at least 1
//!  4  u32 crc      destination, 8..len    16  u32 producer   0 = none
//!  8  u8  format   1                      20  u32 reserved   0
//!  9  u8  attrs    bits 0-2 codec (0),    24  u64 sequence   of the producer, from 1
//!                  8 DELAYED, 16 SLICED   32  u64 time_us    producer's clock
//! 10  u16 reserved 0                      40  records
//! ```

mod builder;
mod check;
mod record;
mod slice;
mod view;

pub use builder::{BatchBuilder, Record, RecordError};
pub use check::{
    DelayedRecords, RecordId, RecordIds, RecordLimits, check_records, delayed_records, record_ids,
};
pub use slice::{SliceCursor, pick_records, slice_batch};
pub use view::{Headers, PieceRecords, RecordView, Records};

use crate::error::{DecodeError, ErrorCode};
use crate::limits::{BATCH_BYTES_MAX, BATCH_HEADER_BYTES, BATCH_RECORDS_MAX, RECORD_BYTES_MIN};
use crate::mutant::mutant;
use crate::names::Name;
use crc32fast::Hasher;

const HEADER: usize = BATCH_HEADER_BYTES as usize;
/// The checksum covers everything from here on.
const COVERED: usize = 8;

/// The layout described here.
pub const FORMAT: u8 = 1;
/// Mask of the compression codec; no codec is known yet.
pub const ATTRS_CODEC: u8 = 0b111;
/// Some record has a time before which it is not delivered.
pub const ATTR_DELAYED: u8 = 8;
/// The broker cut this batch out of a larger one and made a new checksum.
pub const ATTR_SLICED: u8 = 16;

/// State of the checksum after the name of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seed(u32);

/// The seed of the batches for a queue or topic.
pub fn destination_seed(name: &Name) -> Seed {
    let name = if mutant("destination-not-covered") { "" } else { name.as_str() };
    Seed(crc32fast::hash(name.as_bytes()))
}

#[inline]
fn checksum(seed: Seed, covered: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed.0);
    hasher.update(covered);
    hasher.finalize()
}

/// What the first 40 bytes of a batch say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Bytes of the whole batch.
    pub len: u32,
    /// Checksum over destination and everything behind itself.
    pub crc: u32,
    /// Codec and marks.
    pub attrs: u8,
    /// Records, at least 1.
    pub count: u32,
    /// Producer number, 0 = none.
    pub producer: u32,
    /// The producer's number of this batch, from 1; 0 without a producer.
    pub sequence: u64,
    /// The producer's clock when it began the batch, in microseconds since 1970.
    pub time_us: u64,
}

impl BatchHeader {
    /// Reads the header of the batch at the front of `bytes` and checks its structure: the length
    /// fits, reserved bits are zero, the count is possible. Neither checksum nor records.
    #[inline]
    pub fn peek(bytes: &[u8]) -> Result<BatchHeader, DecodeError> {
        let Some(head) = bytes.first_chunk::<HEADER>() else {
            return Err(malformed(bytes.len(), "a batch is shorter than its header"));
        };
        let [l0, l1, l2, l3, c0, c1, c2, c3, format, attrs, r0, r1, rest @ ..] = *head;
        let [n0, n1, n2, n3, p0, p1, p2, p3, r2, r3, r4, r5, rest @ ..] = rest;
        let [s0, s1, s2, s3, s4, s5, s6, s7, time_us @ ..] = rest;
        let header = BatchHeader {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            attrs,
            count: u32::from_le_bytes([n0, n1, n2, n3]),
            producer: u32::from_le_bytes([p0, p1, p2, p3]),
            sequence: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            time_us: u64::from_le_bytes(time_us),
        };
        if format != FORMAT {
            return Err(unsupported(8, "an unknown format of a batch"));
        }
        if [r0, r1, r2, r3, r4, r5] != [0; 6] {
            return Err(unsupported(10, "reserved bytes of a batch are not zero"));
        }
        header.check(bytes.len())?;
        Ok(header)
    }

    #[inline]
    fn check(&self, bytes_there: usize) -> Result<(), DecodeError> {
        if self.len as usize > bytes_there {
            return Err(malformed(0, "a batch goes on behind the end"));
        }
        if self.len > BATCH_BYTES_MAX {
            return Err(malformed(0, "a batch is larger than allowed"));
        }
        if self.attrs & !(ATTR_DELAYED | ATTR_SLICED) != 0 {
            return Err(unsupported(9, "an unknown codec or attribute of a batch"));
        }
        let room = self.len.saturating_sub(BATCH_HEADER_BYTES) / RECORD_BYTES_MIN;
        if self.count == 0 || self.count > room.min(BATCH_RECORDS_MAX) {
            return Err(malformed(12, "a batch with an impossible number of records"));
        }
        if (self.producer == 0) != (self.sequence == 0) {
            return Err(malformed(24, "producer and sequence come together"));
        }
        Ok(())
    }

    /// Whether some record has a time before which it is not delivered.
    pub const fn is_delayed(&self) -> bool {
        self.attrs & ATTR_DELAYED != 0
    }

    /// Whether the broker cut it out of a larger batch.
    pub const fn is_sliced(&self) -> bool {
        self.attrs & ATTR_SLICED != 0
    }

    /// The header as it travels. `records` begin behind it.
    fn encode(&self) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[0..4].copy_from_slice(&self.len.to_le_bytes());
        head[4..8].copy_from_slice(&self.crc.to_le_bytes());
        head[8] = FORMAT;
        head[9] = self.attrs;
        head[12..16].copy_from_slice(&self.count.to_le_bytes());
        head[16..20].copy_from_slice(&self.producer.to_le_bytes());
        head[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        head[32..40].copy_from_slice(&self.time_us.to_le_bytes());
        head
    }

    /// Writes the header over the first 40 bytes of a batch whose records are in place, with
    /// length and checksum as they are.
    fn seal(&self, seed: Seed, batch: &mut [u8]) {
        let len = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        if let Some(head) = batch.first_chunk_mut::<HEADER>() {
            *head = BatchHeader { len, ..*self }.encode();
        }
        let crc = checksum(seed, batch.get(COVERED..).unwrap_or_default());
        if let Some(slot) = batch.get_mut(4..COVERED) {
            slot.copy_from_slice(&crc.to_le_bytes());
        }
    }
}

/// Checks that `bytes` are one batch for the destination of `seed`: header and checksum, not the
/// records.
#[inline]
pub fn verify_batch(bytes: &[u8], seed: Seed) -> Result<BatchHeader, DecodeError> {
    let header = BatchHeader::peek(bytes)?;
    if header.len as usize != bytes.len() {
        return Err(malformed(header.len as usize, "bytes follow the batch"));
    }
    if checksum(seed, bytes.get(COVERED..).unwrap_or_default()) != header.crc {
        let what = "the checksum of the batch does not match, or it is for another destination";
        return Err(DecodeError::new(ErrorCode::ChecksumMismatch, 4, what));
    }
    Ok(header)
}

/// The records of a batch whose header was peeked.
#[inline]
fn records_of<'a>(bytes: &'a [u8], header: &BatchHeader) -> &'a [u8] {
    bytes.get(HEADER..header.len as usize).unwrap_or_default()
}

#[cold]
const fn malformed(offset: usize, what: &'static str) -> DecodeError {
    DecodeError::new(ErrorCode::MalformedFrame, offset, what)
}

#[cold]
const fn unsupported(offset: usize, what: &'static str) -> DecodeError {
    DecodeError::new(ErrorCode::Unsupported, offset, what)
}
