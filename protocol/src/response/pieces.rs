//! Pieces of a stream: a table in the meta section, and their batches, one behind the other, in
//! the payload. So batches travel from the log to the socket without being copied or looked at.
//!
//! ```text
//!  0  u64 base_offset   12  u32 count      20  u32 flags (1 = redelivered)   32  u32 len
//!  8  u32 from          16  u32 attempt    24  u64 time_ms                   36  u32 0
//! ```

use super::{Piece, kind};
use crate::error::{DecodeError, ErrorCode};
use crate::frame::Draft;
use crate::limits::{BATCH_HEADER_BYTES, FRAME_HEADER_BYTES, PIECE_BYTES, PIECES_MAX};
use crate::wire::{Reader, put_count};
use bytes::{Bytes, BytesMut};

const PIECE: usize = PIECE_BYTES as usize;
const FLAG_REDELIVERED: u32 = 1;

/// A piece without its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceHead {
    /// Offset of the first record in the batches.
    pub base_offset: u64,
    /// First record meant, counted from `base_offset`.
    pub from: u32,
    /// How many records, at least 1.
    pub count: u32,
    /// Attempt, from 1.
    pub attempt: u32,
    /// `false`: certainly never delivered to this group before.
    pub redelivered: bool,
    /// When the broker accepted it, in milliseconds since 1970.
    pub time_ms: u64,
    /// Bytes of the batches.
    pub len: u32,
}

impl PieceHead {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        let mut row = [0; PIECE];
        row[0..8].copy_from_slice(&self.base_offset.to_le_bytes());
        row[8..12].copy_from_slice(&self.from.to_le_bytes());
        row[12..16].copy_from_slice(&self.count.to_le_bytes());
        row[16..20].copy_from_slice(&self.attempt.to_le_bytes());
        row[20..24].copy_from_slice(&u32::from(self.redelivered).to_le_bytes());
        row[24..32].copy_from_slice(&self.time_ms.to_le_bytes());
        row[32..36].copy_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&row);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<PieceHead, DecodeError> {
        let before = reader.clone();
        let (base_offset, from, count) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let (attempt, flags, time_ms) = (reader.u32()?, reader.u32()?, reader.u64()?);
        let (len, reserved) = (reader.u32()?, reader.u32()?);
        if flags & !FLAG_REDELIVERED != 0 || reserved != 0 {
            return Err(before.unsupported("a piece with an unknown flag"));
        }
        if count == 0 || len < BATCH_HEADER_BYTES {
            return Err(before.malformed("a piece without messages"));
        }
        let until = from.checked_add(count).map(u64::from);
        if until.and_then(|until| base_offset.checked_add(until)).is_none() {
            return Err(before.malformed("a piece that ends behind the last possible offset"));
        }
        let redelivered = flags & FLAG_REDELIVERED != 0;
        Ok(PieceHead { base_offset, from, count, attempt, redelivered, time_ms, len })
    }

    fn with(self, batches: Bytes) -> Piece {
        let PieceHead { base_offset, from, count, attempt, redelivered, time_ms, .. } = self;
        Piece { base_offset, from, count, attempt, redelivered, time_ms, batches }
    }
}

impl Piece {
    /// The piece without its batches.
    pub fn head(&self) -> PieceHead {
        let &Piece { base_offset, from, count, attempt, redelivered, time_ms, .. } = self;
        let len = u32::try_from(self.batches.len()).unwrap_or(u32::MAX);
        PieceHead { base_offset, from, count, attempt, redelivered, time_ms, len }
    }

    pub(super) fn put_head(&self, out: &mut BytesMut) {
        self.head().put(out);
    }
}

/// Appends header and meta of a delivery. The caller sends the batches of the pieces behind it, in
/// the same order, without copying them.
pub fn encode_deliver_head(
    channel: u16,
    epoch: u64,
    lease_ms: u32,
    pieces: &[PieceHead],
    out: &mut BytesMut,
) {
    out.reserve(64 + pieces.len().saturating_mul(PIECE));
    let draft = Draft::begin(out, kind::DELIVER, channel, 0);
    put_deliver(epoch, lease_ms, pieces.iter().copied(), out);
    draft.finish(out, pieces.iter().map(|piece| piece.len as usize).sum());
}

/// The fields of a delivery.
pub(super) fn put_deliver(
    epoch: u64,
    lease_ms: u32,
    pieces: impl ExactSizeIterator<Item = PieceHead>,
    out: &mut BytesMut,
) {
    let mut fixed = [0; 12];
    fixed[0..8].copy_from_slice(&epoch.to_le_bytes());
    fixed[8..12].copy_from_slice(&lease_ms.to_le_bytes());
    out.extend_from_slice(&fixed);
    put_count(out, pieces.len());
    pieces.for_each(|piece| piece.put(out));
}

/// Hands out the batches of pieces, which lie in the payload in the order of the table.
pub(super) struct Batches<'a> {
    /// The payload, and perhaps what comes before it.
    bytes: &'a Bytes,
    start: usize,
    next: usize,
}

impl<'a> Batches<'a> {
    /// The batches in `bytes` from `start` on.
    pub(super) fn new(bytes: &'a Bytes, start: usize) -> Batches<'a> {
        Batches { bytes, start, next: start }
    }

    /// The next piece of the table, with its batches.
    pub(super) fn piece(&mut self, reader: &mut Reader<'_>) -> Result<Piece, DecodeError> {
        let before = reader.clone();
        let head = PieceHead::decode(reader)?;
        let end = self.next.saturating_add(head.len as usize);
        if end > self.bytes.len() {
            return Err(before.malformed("a piece goes on behind the end of the payload"));
        }
        let batches = self.bytes.slice(self.next..end);
        self.next = end;
        Ok(head.with(batches))
    }

    /// A table of pieces.
    pub(super) fn pieces(&mut self, reader: &mut Reader<'_>) -> Result<Vec<Piece>, DecodeError> {
        reader.list(PIECES_MAX, PIECE, |reader| self.piece(reader))
    }

    /// Everything that is left of the payload.
    pub(super) fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.next..);
        self.next = self.bytes.len();
        rest
    }

    /// All of the payload was handed out.
    pub(super) fn finish(&self, meta_len: u32) -> Result<(), DecodeError> {
        if self.next == self.bytes.len() {
            return Ok(());
        }
        let used = self.next - self.start;
        let at = (FRAME_HEADER_BYTES as usize).saturating_add(meta_len as usize);
        let what = "bytes of the payload belong to nothing";
        Err(DecodeError::new(ErrorCode::MalformedFrame, at.saturating_add(used), what))
    }
}
