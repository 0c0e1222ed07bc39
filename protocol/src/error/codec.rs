//! An error reply as bytes: code, advice, sentence, names.

use super::{DecodeError, ErrorCode, ErrorReply};
use crate::limits::{ERROR_BYTES_MAX, NAME_BYTES_MAX, SIMILAR_MAX};
use crate::wire::{Reader, fitting, put_count, put_text};
use bytes::{BufMut, BytesMut};

impl ErrorReply {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(self.code.number());
        out.put_u32_le(self.retry_after_ms);
        put_text(out, &printable(&self.message), ERROR_BYTES_MAX);
        put_count(out, self.similar.len().min(SIMILAR_MAX as usize));
        for name in self.similar.iter().take(SIMILAR_MAX as usize) {
            put_text(out, &printable(fitting(name, NAME_BYTES_MAX)), NAME_BYTES_MAX);
        }
    }

    /// A code of a later version is read as an internal error whose sentence names it.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<ErrorReply, DecodeError> {
        let number = reader.u16()?;
        let retry_after_ms = reader.u32()?;
        let message = printable_text(reader, ERROR_BYTES_MAX)?;
        let similar =
            reader.list(SIMILAR_MAX, 2, |reader| printable_text(reader, NAME_BYTES_MAX))?;
        let (code, message) = match ErrorCode::from_u16(number) {
            Some(code) => (code, message),
            None => (ErrorCode::Internal, format!("PH-{number:04}: {message}")),
        };
        Ok(ErrorReply { code, retry_after_ms, message, similar })
    }
}

const fn is_printable(letter: char) -> bool {
    matches!(letter, ' '..='~')
}

fn printable(text: &str) -> String {
    text.chars().map(|letter| if is_printable(letter) { letter } else { '?' }).collect()
}

fn printable_text(reader: &mut Reader<'_>, bytes_max: u32) -> Result<String, DecodeError> {
    let before = reader.clone();
    let text = reader.text(bytes_max)?;
    if text.chars().all(is_printable) {
        return Ok(text.to_owned());
    }
    Err(before.malformed("an error has a character that is not printable ASCII"))
}
