//! Frames: what a peer sends first of all. Whole or in pieces, it is refused or means one thing only.

use crate::feed::Feed;
use bytes::BytesMut;
use posthaste_protocol::frame::{Cut, CutOf, CutPreface, FrameHeader, cut_frame, cut_preface};
use posthaste_protocol::{DecodeError, Request, Response};

const FRAME_BYTES_MAX: u32 = 1 << 16;

/// What is said in a frame.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Request(Request),
    Response(Box<Response>),
}

/// What a row of bytes is: frames, and why it ends.
#[derive(Clone, Debug, Default, PartialEq)]
struct Read {
    frames: Vec<(FrameHeader, Result<Said, DecodeError>)>,
    error: Option<DecodeError>,
}

/// Feeds `data`.
pub fn run(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mode = feed.byte();
    let bytes = if mode & 1 == 0 { feed.rest().to_vec() } else { sealed(feed) };
    assert!(!is_preface(&bytes) || bytes.starts_with(b"PHST"));
    for response in [false, true] {
        let whole = read(&[&bytes], response, false);
        assert_eq!(whole, read(&[&bytes], response, true), "both ways of cutting agree");
        let pieces: Vec<&[u8]> = bytes.chunks(1 + usize::from(mode >> 3)).collect();
        assert_eq!(whole, read(&pieces, response, true), "pieces mean the same");
        whole.frames.iter().for_each(|(header, said)| check_exact(header, said, &bytes));
    }
}

/// Frames with right lengths and checksums around made-up fields.
fn sealed(mut feed: Feed<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    while !feed.is_empty() && out.len() < 1 << 14 {
        let (kind, flags) = (feed.byte(), feed.byte() & 3);
        let (channel, meta_len) = (u16::from(feed.byte()), usize::from(feed.byte()));
        let meta = feed.take(meta_len);
        let payload_len = usize::from(feed.byte());
        let payload = feed.take(payload_len);
        out.extend(frame(kind, flags, channel, meta, payload));
    }
    out
}

/// One frame with right lengths and a right checksum.
#[must_use]
pub fn frame(kind: u8, flags: u8, channel: u16, meta: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    let len = 24 + meta.len() + payload.len();
    head.extend((len as u32).to_le_bytes());
    head.extend([kind, flags]);
    head.extend(channel.to_le_bytes());
    head.extend((1_u64 << 63).to_le_bytes());
    head.extend((meta.len() as u32).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&head);
    crc.update(meta);
    head.extend(crc.finalize().to_le_bytes());
    [&head, meta, payload].concat()
}

fn read(pieces: &[&[u8]], response: bool, at_once: bool) -> Read {
    let mut buffer = BytesMut::new();
    let mut read = Read::default();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match next(&mut buffer, response, at_once) {
                Ok(Some(frame)) => read.frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    read.error = Some(error);
                    return read;
                }
            }
        }
    }
    read
}

type Frame = (FrameHeader, Result<Said, DecodeError>);

fn next(
    buffer: &mut BytesMut,
    response: bool,
    at_once: bool,
) -> Result<Option<Frame>, DecodeError> {
    let boxed = |said: Response| Said::Response(Box::new(said));
    if !at_once {
        return Ok(match cut_frame(buffer, FRAME_BYTES_MAX)? {
            Cut::NeedMore(_) => None,
            Cut::Frame(frame) if response => {
                Some((frame.header, Response::decode(&frame).map(boxed)))
            }
            Cut::Frame(frame) => Some((frame.header, Request::decode(&frame).map(Said::Request))),
        });
    }
    Ok(if response {
        match Response::cut(buffer, FRAME_BYTES_MAX)? {
            CutOf::NeedMore(_) => None,
            CutOf::Frame { header, said } => Some((header, said.map(boxed))),
        }
    } else {
        match Request::cut(buffer, FRAME_BYTES_MAX)? {
            CutOf::NeedMore(_) => None,
            CutOf::Frame { header, said } => Some((header, said.map(Said::Request))),
        }
    })
}

/// What decodes has one encoding: the bytes that it came from.
fn check_exact(header: &FrameHeader, said: &Result<Said, DecodeError>, bytes: &[u8]) {
    let Ok(said) = said else { return };
    let mut again = BytesMut::new();
    match said {
        // A code of a later version is shown in the sentence, so it does not go back as it came.
        Said::Response(response)
            if matches!(**response, Response::Error(_) | Response::Closing(_)) =>
        {
            return;
        }
        Said::Response(response) => response.encode(header.channel, header.corr, &mut again),
        Said::Request(request) => request.encode(header.channel, header.corr, &mut again),
    }
    let found = bytes.windows(again.len()).any(|window| window == &again[..]);
    assert!(found, "{said:?} is encoded as other bytes: {again:02x?}");
}

/// Whether bytes begin as a preface of any version.
#[must_use]
pub fn is_preface(bytes: &[u8]) -> bool {
    matches!(cut_preface(&mut BytesMut::from(bytes)), Ok(CutPreface::Major(_)))
}
