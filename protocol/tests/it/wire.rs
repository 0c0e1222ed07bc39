//! Frames in and out, and frames that no encoder would make.

use bytes::BytesMut;
use posthaste_protocol::frame::{Cut, CutOf, Frame, cut_frame};
use posthaste_protocol::limits::FRAME_BYTES_MAX;
use posthaste_protocol::{DecodeError, Request, Response};

/// A request or response with what stands in the header around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Request(Request),
    Response(Response),
}

impl Said {
    pub(crate) fn encode(&self, channel: u16, corr: u64) -> Vec<u8> {
        let mut out = BytesMut::new();
        match self {
            Said::Request(request) => request.encode(channel, corr, &mut out),
            Said::Response(response) => response.encode(channel, corr, &mut out),
        }
        out.to_vec()
    }

    pub(crate) fn decode(frame: &Frame) -> Result<Said, DecodeError> {
        if frame.header.kind & 0x80 == 0 {
            Request::decode(frame).map(Said::Request)
        } else {
            Response::decode(frame).map(Said::Response)
        }
    }
}

pub(crate) fn cut(bytes: &[u8]) -> Result<Cut, DecodeError> {
    cut_frame(&mut BytesMut::from(bytes), FRAME_BYTES_MAX)
}

/// The one frame that `bytes` are.
pub(crate) fn frame(bytes: &[u8]) -> Frame {
    let mut buf = BytesMut::from(bytes);
    match cut_frame(&mut buf, FRAME_BYTES_MAX) {
        Ok(Cut::Frame(frame)) if buf.is_empty() => frame,
        other => panic!("not one frame: {other:?} of {bytes:02x?}"),
    }
}

/// Makes length, meta length and checksum of a frame right again after a change.
pub(crate) fn reseal(bytes: &mut [u8], meta_len: usize) {
    let len = bytes.len() as u32;
    bytes[0..4].copy_from_slice(&len.to_le_bytes());
    bytes[16..20].copy_from_slice(&(meta_len as u32).to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..20]);
    hasher.update(&bytes[24..24 + meta_len]);
    bytes[20..24].copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// Bytes of the meta section.
pub(crate) fn meta_len(bytes: &[u8]) -> usize {
    u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize
}

/// What [`Request::cut`] and [`Response::cut`] make of the bytes.
fn cut_at_once(bytes: &[u8]) -> Result<Option<Result<Said, DecodeError>>, DecodeError> {
    let mut buf = BytesMut::from(bytes);
    Ok(if bytes.get(4).is_some_and(|kind| kind & 0x80 == 0) {
        match Request::cut(&mut buf, FRAME_BYTES_MAX)? {
            CutOf::Frame { said, .. } => Some(said.map(Said::Request)),
            CutOf::NeedMore(_) => None,
        }
    } else {
        match Response::cut(&mut buf, FRAME_BYTES_MAX)? {
            CutOf::Frame { said, .. } => Some(said.map(Said::Response)),
            CutOf::NeedMore(_) => None,
        }
    })
}

/// A changed frame is refused, or is the one encoding of another value; and both ways of cutting
/// agree on it.
pub(crate) fn check_refused_or_exact(bytes: &[u8]) {
    let cut = cut(bytes);
    let said = cut.map(|cut| match cut {
        Cut::Frame(frame) => Some((frame.header, Said::decode(&frame))),
        Cut::NeedMore(_) => None,
    });
    let at_once = cut_at_once(bytes);
    assert_eq!(said.clone().map(|said| said.map(|(_, said)| said)), at_once);
    let Ok(Some((header, Ok(said)))) = said else { return };
    let again = said.encode(header.channel, header.corr);
    // A code of a later version is shown in the sentence, so it does not go back as it came.
    let is_error = matches!(said, Said::Response(Response::Error(_) | Response::Closing(_)));
    assert!(again == bytes || is_error, "{said:?}\n{bytes:02x?}\n{again:02x?}");
}
