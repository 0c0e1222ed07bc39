//! Reading the records of a batch, as slices of it. Any bytes may come: errors, never panics.

use super::record::{ID, KEY, sized, split_fields, split_record};
use super::{BatchHeader, HEADER, Seed, malformed, verify_batch};
use crate::error::DecodeError;
use crate::limits::{HEADERS_BYTES_MAX, HEADERS_MAX, ID_BYTES_MAX, KEY_BYTES_MAX};
use crate::response::Piece;
use bytes::{Buf, Bytes};

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// The body: a slice of the batch.
    pub value: Bytes,
    /// Not delivered before this wall-clock time, in milliseconds since 1970.
    pub not_before_ms: Option<u64>,
    /// Of no use after this wall-clock time, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
    /// Everything between flags and value; empty in a plain record.
    fields: Bytes,
    /// Where key, headers and id lie in `fields`. Without them no bytes.
    key: Span,
    headers: Span,
    id: Span,
    flags: u8,
    /// Higher goes first, where that is asked for.
    pub priority: Option<u8>,
}

/// A part of a record's fields, which are smaller than 64 KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u16,
    len: u16,
}

// Key, headers with up to three bytes of lengths each, times, priority, id.
const _: () = assert!(
    KEY_BYTES_MAX + HEADERS_BYTES_MAX + 6 * HEADERS_MAX + ID_BYTES_MAX + 32 <= u16::MAX as u32
);

impl Span {
    fn new(start: usize, len: usize) -> Span {
        // LIMIT: the fields were checked; see the assertion above.
        let narrow = |number| u16::try_from(number).unwrap_or(u16::MAX);
        Span { start: narrow(start), len: narrow(len) }
    }

    fn of(self, fields: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        fields.get(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

impl RecordView {
    #[inline]
    fn plain(value: Bytes) -> RecordView {
        RecordView {
            value,
            not_before_ms: None,
            expires_ms: None,
            fields: Bytes::new(),
            key: Span::default(),
            headers: Span::default(),
            id: Span::default(),
            flags: 0,
            priority: None,
        }
    }

    /// Messages of one key keep their order.
    pub fn key(&self) -> Option<&str> {
        if self.flags & KEY == 0 { None } else { self.text(self.key) }
    }

    /// The application's own id.
    pub fn id(&self) -> Option<&str> {
        if self.flags & ID == 0 { None } else { self.text(self.id) }
    }

    /// Names and values, in the order in which they were given.
    pub fn headers(&self) -> Headers<'_> {
        Headers { rest: self.headers.of(&self.fields) }
    }

    /// It was checked to be UTF-8 when the record was read.
    fn text(&self, span: Span) -> Option<&str> {
        std::str::from_utf8(span.of(&self.fields)).ok()
    }
}

/// Names and values of a record's headers.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        if self.rest.is_empty() {
            return None;
        }
        let (name, rest) = sized(self.rest, self.rest.len()).ok()?;
        let (value, rest) = sized(rest, rest.len()).ok()?;
        self.rest = rest;
        Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
    }
}

/// The records of one batch. After an error there are no more.
///
/// [`Iterator::nth`] and [`Iterator::skip`] go over records without reading them.
#[derive(Clone, Debug)]
pub struct Records {
    batch: Bytes,
    position: usize,
    left: u32,
}

impl Records {
    /// The records of the batch at the front of `batch`. Only its header is checked: neither
    /// checksum nor limits of size.
    pub fn new(mut batch: Bytes) -> Result<Records, DecodeError> {
        let header = BatchHeader::peek(&batch)?;
        batch.truncate(header.len as usize);
        Ok(Records { batch, position: HEADER, left: header.count })
    }

    /// Goes over one record; the error, if any, is the last item.
    #[inline]
    fn step(&mut self) -> Option<Result<(u8, usize, usize), DecodeError>> {
        let (end, rest) = (self.batch.len(), self.batch.get(self.position..).unwrap_or_default());
        if self.left == 0 {
            if rest.is_empty() {
                return None;
            }
            let at = self.position;
            self.position = end;
            return Some(Err(malformed(at, "bytes follow the last record")));
        }
        match split_record(rest, end) {
            Ok((flags, body, next)) => {
                self.position = end - next.len();
                self.left -= 1;
                Some(Ok((flags, self.position - body.len(), self.position)))
            }
            Err(error) => {
                self.stop();
                Some(Err(error))
            }
        }
    }

    fn stop(&mut self) {
        self.left = 0;
        self.position = self.batch.len();
    }

    /// A record that has more than a value.
    #[inline(never)]
    fn view(&self, flags: u8, start: usize, end: usize) -> Result<RecordView, DecodeError> {
        let body = self.batch.get(start..end).unwrap_or_default();
        let (fields, value) = split_fields(flags, body, end)?;
        let len = |text: Option<&str>| text.map_or(0, str::len);
        Ok(RecordView {
            value: self.batch.slice(end - value.len()..end),
            fields: self.batch.slice(start..end - value.len()),
            key: Span::new(fields.key_start, len(fields.key)),
            headers: Span::new(fields.headers_start, fields.headers.len()),
            id: Span::new(fields.id_start, len(fields.id)),
            flags,
            not_before_ms: fields.not_before_ms,
            expires_ms: fields.expires_ms,
            priority: fields.priority,
        })
    }
}

impl Iterator for Records {
    type Item = Result<RecordView, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Result<RecordView, DecodeError>> {
        let (flags, start, end) = match self.step()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        if flags == 0 {
            return Some(Ok(RecordView::plain(self.batch.slice(start..end))));
        }
        let view = self.view(flags, start, end);
        if view.is_err() {
            self.stop();
        }
        Some(view)
    }

    fn nth(&mut self, n: usize) -> Option<Result<RecordView, DecodeError>> {
        for _ in 0..n {
            if let Err(error) = self.step()? {
                return Some(Err(error));
            }
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One error may follow instead of, or after, the records.
        (0, Some(self.left as usize + 1))
    }
}

impl std::iter::FusedIterator for Records {}

/// The records that a [`Piece`] means, with their offsets. Each batch is verified before the first
/// of its records is given. After an error there are no more.
#[derive(Clone, Debug)]
pub struct PieceRecords {
    /// Batches not begun.
    batches: Bytes,
    seed: Seed,
    /// Records of the batch that is being read.
    records: Option<Records>,
    /// Number of the next record, counted from the first of the piece's batches.
    index: u32,
    from: u32,
    until: u32,
    base_offset: u64,
}

impl Piece {
    /// The records meant, for a piece of the destination of `seed`.
    pub fn records(&self, seed: Seed) -> PieceRecords {
        PieceRecords {
            batches: self.batches.clone(),
            seed,
            records: None,
            index: 0,
            from: self.from,
            until: self.from.saturating_add(self.count),
            base_offset: self.base_offset,
        }
    }
}

impl PieceRecords {
    /// Finds the next batch with a record that is meant.
    fn open(&mut self) -> Result<(), DecodeError> {
        loop {
            if self.batches.is_empty() {
                return Err(malformed(0, "a piece has fewer records than it says"));
            }
            let header = BatchHeader::peek(&self.batches)?;
            let len = header.len as usize;
            let next_index = self.index.saturating_add(header.count);
            if next_index <= self.from {
                self.batches.advance(len);
                self.index = next_index;
                continue;
            }
            let batch = self.batches.split_to(len);
            verify_batch(&batch, self.seed)?;
            let mut records = Records::new(batch)?;
            if let Some(skipped) = self.from.checked_sub(self.index.saturating_add(1)) {
                records.nth(skipped as usize).transpose()?;
                self.index = self.from;
            }
            self.records = Some(records);
            return Ok(());
        }
    }

    /// Nothing comes after this error.
    fn fail<T>(&mut self, error: DecodeError) -> Option<Result<T, DecodeError>> {
        self.until = 0;
        Some(Err(error))
    }
}

impl Iterator for PieceRecords {
    type Item = Result<(u64, RecordView), DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Result<(u64, RecordView), DecodeError>> {
        if self.index.max(self.from) >= self.until {
            return None;
        }
        loop {
            match self.records.as_mut().and_then(Iterator::next) {
                Some(Ok(record)) => {
                    let offset = self.base_offset.saturating_add(u64::from(self.index));
                    self.index += 1;
                    return Some(Ok((offset, record)));
                }
                Some(Err(error)) => return self.fail(error),
                None => {
                    if let Err(error) = self.open() {
                        return self.fail(error);
                    }
                }
            }
        }
    }
}

impl std::iter::FusedIterator for PieceRecords {}
