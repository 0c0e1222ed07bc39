//! One record as bytes: where its fields are, and what they may be.
//!
//! ```text
//! varint body_len · u8 flags · [key] · [headers] · [not_before] · [expires] · [priority] · [id] · value
//!        flags: 1 KEY · 2 HEADERS · 4 NOT_BEFORE · 8 EXPIRES · 16 PRIORITY · 32 ID
//! ```
//!
//! A varint is a LEB128 number of 32 bits in its shortest form. Everything behind the flags counts
//! as the message; a plain record has nothing there but its value.

use super::{malformed, unsupported};
use crate::error::{DecodeError, ErrorCode};
use crate::limits::{HEADERS_BYTES_MAX, HEADERS_MAX, ID_BYTES_MAX, KEY_BYTES_MAX, TIME_MS_MAX};

pub(super) const KEY: u8 = 1;
pub(super) const HEADERS: u8 = 2;
pub(super) const NOT_BEFORE: u8 = 4;
pub(super) const EXPIRES: u8 = 8;
pub(super) const PRIORITY: u8 = 16;
pub(super) const ID: u8 = 32;
const KNOWN: u8 = KEY | HEADERS | NOT_BEFORE | EXPIRES | PRIORITY | ID;

const CUT_SHORT: &str = "a record goes on behind the end";
const HEADERS_RULE: &str = "the headers are larger than 16 KiB";

/// The fields of a record, except flags and value; starts are places in the body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) key: Option<&'a str>,
    pub(super) key_start: usize,
    /// Name, value, name, value, … each with its length.
    pub(super) headers: &'a [u8],
    pub(super) headers_start: usize,
    pub(super) not_before_ms: Option<u64>,
    pub(super) expires_ms: Option<u64>,
    pub(super) priority: Option<u8>,
    pub(super) id: Option<&'a str>,
    pub(super) id_start: usize,
}

/// Cuts the first record off `rest`: its flags, the rest of its body, and what follows it.
///
/// `end` is where `rest` ends in the batch, for errors.
#[inline]
pub(super) fn split_record(rest: &[u8], end: usize) -> Result<(u8, &[u8], &[u8]), DecodeError> {
    let (body_len, after) = match rest.split_first() {
        Some((&short @ 0..=0x7f, after)) => (u32::from(short), after),
        _ => varint(rest, end)?,
    };
    match after.split_at_checked(body_len as usize) {
        Some(([flags, body @ ..], next)) => Ok((*flags, body, next)),
        Some(([], _)) => Err(malformed(end - rest.len(), "a record without flags")),
        None => Err(malformed(end - rest.len(), CUT_SHORT)),
    }
}

/// A LEB128 number and what follows it. `end` is where `bytes` ends in the batch.
pub(super) fn varint(bytes: &[u8], end: usize) -> Result<(u32, &[u8]), DecodeError> {
    let mut value = 0;
    for (index, shift) in (0..35).step_by(7).enumerate() {
        let Some((&byte, after)) = bytes.get(index..).and_then(<[u8]>::split_first) else {
            return Err(malformed(end - bytes.len(), CUT_SHORT));
        };
        // The fifth byte has room for four bits only.
        if shift == 28 && byte > 0x0f {
            break;
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(malformed(end - bytes.len(), "a number is not in its shortest form"));
            }
            return Ok((value, after));
        }
    }
    Err(malformed(end - bytes.len(), "a number has more than 32 bits"))
}

/// How many bytes [`varint_of`] gives.
#[inline]
pub(super) const fn varint_bytes(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0xfff_ffff => 4,
        _ => 5,
    }
}

/// The LEB128 form of a number below 2^32, at the front of five bytes, and its length.
#[inline]
pub(super) fn varint_of(value: usize) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut rest = value;
    let len = varint_bytes(value);
    for (index, byte) in bytes.iter_mut().enumerate().take(len) {
        // The mask keeps what fits into a byte.
        let [low, ..] = (rest & 0x7f).to_le_bytes();
        *byte = if index + 1 < len { low | 0x80 } else { low };
        rest >>= 7;
    }
    (bytes, len)
}

/// Reads the fields at the front of a record's body; what is left is the value.
///
/// `end` is where `body` ends in the batch.
pub(super) fn split_fields(
    flags: u8,
    body: &[u8],
    end: usize,
) -> Result<(Fields<'_>, &[u8]), DecodeError> {
    if flags & !KNOWN != 0 {
        return Err(unsupported(end - body.len(), "an unknown flag of a record"));
    }
    let mut fields = Fields::default();
    let mut rest = body;
    if flags & KEY != 0 {
        let key;
        (key, rest) = text(rest, end, KEY_BYTES_MAX, "the key is larger than 1,024 bytes")?;
        fields.key = Some(key);
        fields.key_start = body.len() - rest.len() - key.len();
    }
    if flags & HEADERS != 0 {
        (fields.headers, rest) = headers(rest, end)?;
        fields.headers_start = body.len() - rest.len() - fields.headers.len();
    }
    if flags & NOT_BEFORE != 0 {
        let time_ms;
        (time_ms, rest) = time(rest, end)?;
        fields.not_before_ms = Some(time_ms);
    }
    if flags & EXPIRES != 0 {
        let time_ms;
        (time_ms, rest) = time(rest, end)?;
        fields.expires_ms = Some(time_ms);
    }
    if flags & PRIORITY != 0 {
        let Some((&priority, after)) = rest.split_first() else {
            return Err(malformed(end - rest.len(), CUT_SHORT));
        };
        fields.priority = Some(priority);
        rest = after;
    }
    if flags & ID != 0 {
        let id;
        (id, rest) = text(rest, end, ID_BYTES_MAX, "the message id is larger than 256 bytes")?;
        fields.id = Some(id);
        fields.id_start = body.len() - rest.len() - id.len();
    }
    Ok((fields, rest))
}

fn time(rest: &[u8], end: usize) -> Result<(u64, &[u8]), DecodeError> {
    let Some((time_ms, after)) = rest.split_first_chunk::<8>() else {
        return Err(malformed(end - rest.len(), CUT_SHORT));
    };
    let time_ms = u64::from_le_bytes(*time_ms);
    if time_ms > TIME_MS_MAX {
        let what = "a time lies behind the year 9999";
        return Err(DecodeError::new(ErrorCode::InvalidArgument, end - rest.len(), what));
    }
    Ok((time_ms, after))
}

/// Bytes with their length in front.
pub(super) fn sized(rest: &[u8], end: usize) -> Result<(&[u8], &[u8]), DecodeError> {
    let (len, after) = varint(rest, end)?;
    after.split_at_checked(len as usize).ok_or_else(|| malformed(end - rest.len(), CUT_SHORT))
}

fn text<'a>(
    rest: &'a [u8],
    end: usize,
    bytes_max: u32,
    rule: &'static str,
) -> Result<(&'a str, &'a [u8]), DecodeError> {
    let (bytes, after) = sized(rest, end)?;
    if bytes.len() > bytes_max as usize {
        return Err(DecodeError::new(ErrorCode::MessageTooLarge, end - rest.len(), rule));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok((text, after)),
        Err(error) => {
            let at = end - after.len() - bytes.len() + error.valid_up_to();
            Err(malformed(at, "a key, header or id is not UTF-8"))
        }
    }
}

/// The list without its count, and what follows it.
fn headers(rest: &[u8], end: usize) -> Result<(&[u8], &[u8]), DecodeError> {
    let (count, list) = varint(rest, end)?;
    if count == 0 {
        return Err(malformed(end - rest.len(), "an empty list of headers"));
    }
    if count > HEADERS_MAX {
        let what = "more than 64 headers";
        return Err(DecodeError::new(ErrorCode::MessageTooLarge, end - rest.len(), what));
    }
    let mut names: [&str; HEADERS_MAX as usize] = [""; HEADERS_MAX as usize];
    let mut room = HEADERS_BYTES_MAX;
    let mut after = list;
    for index in 0..count as usize {
        let before = after;
        let (name, value);
        (name, after) = text(after, end, room, HEADERS_RULE)?;
        room = room.saturating_sub(u32::try_from(name.len()).unwrap_or(u32::MAX));
        (value, after) = text(after, end, room, HEADERS_RULE)?;
        room = room.saturating_sub(u32::try_from(value.len()).unwrap_or(u32::MAX));
        if name.is_empty() {
            return Err(malformed(end - before.len(), "a header without a name"));
        }
        if names.iter().take(index).any(|other| *other == name) {
            return Err(malformed(end - before.len(), "two headers with the same name"));
        }
        if let Some(slot) = names.get_mut(index) {
            *slot = name;
        }
    }
    let used = list.len() - after.len();
    Ok((list.get(..used).unwrap_or_default(), after))
}
