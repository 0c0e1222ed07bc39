//! Reading and writing of fields: little-endian integers, texts and lists in a frame's meta.
//!
//! The reader never goes beyond its bytes, never trusts a count, and knows at which byte of the
//! frame it stands. What it reads has exactly one encoding.

use crate::error::{DecodeError, ErrorCode};
use crate::limits::{FRAME_HEADER_BYTES, META_BYTES_MAX, NAME_BYTES_MAX};
use crate::names::{self, GroupName, Name};
use bytes::{BufMut, BytesMut};

const CUT_SHORT: &str = "the fields go on behind the end";

/// Reads fields from the front of a meta section.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Where `rest` ends, in bytes from the start of the frame.
    end: usize,
}

impl<'a> Reader<'a> {
    /// A reader of the meta section of a frame.
    pub(crate) const fn new(meta: &'a [u8]) -> Reader<'a> {
        Reader { rest: meta, end: meta.len() + FRAME_HEADER_BYTES as usize }
    }

    /// The byte of the frame that is read next.
    pub(crate) const fn at(&self) -> usize {
        self.end - self.rest.len()
    }

    pub(crate) const fn error(&self, code: ErrorCode, what: &'static str) -> DecodeError {
        DecodeError::new(code, self.at(), what)
    }

    pub(crate) const fn malformed(&self, what: &'static str) -> DecodeError {
        self.error(ErrorCode::MalformedFrame, what)
    }

    pub(crate) const fn invalid(&self, what: &'static str) -> DecodeError {
        self.error(ErrorCode::InvalidArgument, what)
    }

    pub(crate) const fn unsupported(&self, what: &'static str) -> DecodeError {
        self.error(ErrorCode::Unsupported, what)
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.malformed(CUT_SHORT));
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// The next `count` bytes.
    pub(crate) fn slice(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.malformed(CUT_SHORT));
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        let before = self.clone();
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(before.malformed("neither yes (1) nor no (0)")),
        }
    }

    /// A byte that says whether a value follows, and the value.
    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    /// Opaque bytes with a u16 length of at most `bytes_max`.
    pub(crate) fn bytes(&mut self, bytes_max: u32) -> Result<&'a [u8], DecodeError> {
        let before = self.clone();
        let len = self.u16()?;
        if u32::from(len) > bytes_max {
            return Err(before.invalid("a text is longer than allowed"));
        }
        self.slice(usize::from(len))
    }

    /// UTF-8 with a u16 length of at most `bytes_max`.
    pub(crate) fn text(&mut self, bytes_max: u32) -> Result<&'a str, DecodeError> {
        let before = self.clone();
        let bytes = self.bytes(bytes_max)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(error) => Err(before
                .malformed("a text is not UTF-8")
                .moved(error.valid_up_to().saturating_add(2))),
        }
    }

    pub(crate) fn name(&mut self) -> Result<Name, DecodeError> {
        let before = self.clone();
        match self.raw_name()?.map(Name::try_from) {
            Some(Ok(name)) => Ok(name),
            Some(Err(error)) => Err(before.error(ErrorCode::InvalidName, error.rule())),
            None => Err(before.error(ErrorCode::InvalidName, names::NameError::Empty.rule())),
        }
    }

    pub(crate) fn optional_name(&mut self) -> Result<Option<Name>, DecodeError> {
        let before = self.clone();
        match self.raw_name()?.map(Name::try_from).transpose() {
            Ok(name) => Ok(name),
            Err(error) => Err(before.error(ErrorCode::InvalidName, error.rule())),
        }
    }

    pub(crate) fn group(&mut self) -> Result<GroupName, DecodeError> {
        let before = self.clone();
        match self.optional_group()? {
            Some(group) => Ok(group),
            None => Err(before.error(ErrorCode::InvalidName, names::NameError::Empty.rule())),
        }
    }

    pub(crate) fn optional_group(&mut self) -> Result<Option<GroupName>, DecodeError> {
        let before = self.clone();
        match self.raw_name()?.map(GroupName::try_from).transpose() {
            Ok(group) => Ok(group),
            Err(error) => Err(before.error(ErrorCode::InvalidName, error.rule())),
        }
    }

    /// A name before it is checked against the allow list; no bytes stand for none.
    fn raw_name(&mut self) -> Result<Option<&'a str>, DecodeError> {
        let before = self.clone();
        let len = self.u8()?;
        if u32::from(len) > NAME_BYTES_MAX {
            return Err(
                before.error(ErrorCode::InvalidName, names::NameError::TooLong { bytes: 0 }.rule())
            );
        }
        let bytes = self.slice(usize::from(len))?;
        match std::str::from_utf8(bytes) {
            Ok("") => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                let at = error.valid_up_to();
                let rule = names::NameError::Character { at }.rule();
                Err(before.error(ErrorCode::InvalidName, rule))
            }
        }
    }

    /// A list of at most `count_max` values, each of which takes at least `bytes_min` bytes.
    pub(crate) fn list<T>(
        &mut self,
        count_max: u32,
        bytes_min: usize,
        mut read: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let before = self.clone();
        let count = self.u32()?;
        if count > count_max {
            return Err(before.invalid("a list has more items than allowed"));
        }
        // LIMIT: memory follows the bytes that are here, not the number that was declared.
        if (count as usize).saturating_mul(bytes_min) > self.rest.len() {
            return Err(before.malformed("a list declares more items than there are bytes"));
        }
        let mut values = Vec::with_capacity(count as usize);
        for _ in 0..count {
            values.push(read(self)?);
        }
        Ok(values)
    }

    /// All fields were read and nothing is left.
    pub(crate) const fn finish(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.malformed("bytes follow the last field"))
    }
}

pub(crate) fn put_bool(out: &mut BytesMut, value: bool) {
    out.put_u8(u8::from(value));
}

pub(crate) fn put_option<T>(
    out: &mut BytesMut,
    value: Option<T>,
    put: impl FnOnce(&mut BytesMut, T),
) {
    put_bool(out, value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

/// Bytes with a u16 length; what is beyond `bytes_max` is cut off.
pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8], bytes_max: u32) {
    let len = bytes.len().min(bytes_max as usize);
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    out.put_u16_le(len);
    out.extend_from_slice(bytes.get(..usize::from(len)).unwrap_or_default());
}

/// Text with a u16 length; whole characters beyond `bytes_max` are cut off.
pub(crate) fn put_text(out: &mut BytesMut, text: &str, bytes_max: u32) {
    put_bytes(out, fitting(text, bytes_max).as_bytes(), bytes_max);
}

/// As much of `text` as fits into `bytes_max`, in whole characters.
pub(crate) fn fitting(text: &str, bytes_max: u32) -> &str {
    let mut end = text.len().min(bytes_max as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A name, or nothing.
pub(crate) fn put_name(out: &mut BytesMut, name: Option<&str>) {
    let name = name.unwrap_or_default();
    out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name.as_bytes());
}

/// The length of a list.
///
/// Lists are bounded by [`crate::limits`]; a longer one is refused by the peer.
pub(crate) fn put_count(out: &mut BytesMut, count: usize) {
    debug_assert!(count <= META_BYTES_MAX as usize, "a list longer than a frame");
    out.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
}
