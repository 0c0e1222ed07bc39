//! Frames in and out, and frames that no encoder would make.

use bytes::BytesMut;
use posthaste_protocol::frame::{Cut, Frame, cut_frame};
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

/// A changed frame is refused, or is the one encoding of another value.
pub(crate) fn check_refused_or_exact(bytes: &[u8]) {
    let Ok(Cut::Frame(frame)) = cut(bytes) else { return };
    let Ok(said) = Said::decode(&frame) else { return };
    let again = said.encode(frame.header.channel, frame.header.corr);
    // A code of a later version is shown in the sentence, so it does not go back as it came.
    let is_error = matches!(said, Said::Response(Response::Error(_) | Response::Closing(_)));
    assert!(again == bytes || is_error, "{said:?}\n{bytes:02x?}\n{again:02x?}");
}
