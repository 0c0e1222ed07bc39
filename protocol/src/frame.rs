//! Preface and frames: how commands follow one another on a connection.
//!
//! ```text
//!  0  u32 len        whole frame                 8  u64 corr       request id
//!  4  u8  kind       command; bit 7 = broker    16  u32 meta_len   bytes of meta
//!  5  u8  flags      1 ERROR, 2 MORE            20  u32 crc        over bytes 0..20 and meta
//!  6  u16 channel    0 = connection             24  meta, then payload
//! ```
//!
//! Lengths are checked before a byte is waited for, the checksum before a field is believed. The
//! payload is not covered: it consists of batches, which have their own checksums.

use crate::error::{DecodeError, ErrorCode};
use crate::limits::{FRAME_HEADER_BYTES, META_BYTES_MAX};
use crate::mutant::mutant;
use bytes::{Buf, Bytes, BytesMut};
use crc32fast::Hasher;

/// Version of the protocol: the last byte of the preface.
pub const MAJOR: u8 = 1;
/// What each side sends before its first frame. CR, LF and SUB show up text-mode damage.
pub const PREFACE: [u8; 8] = [b'P', b'H', b'S', b'T', b'\r', b'\n', 0x1a, MAJOR];

/// Flag of an error reply.
pub const FLAG_ERROR: u8 = 1;
/// Reserved for frames that are continued.
pub const FLAG_MORE: u8 = 2;
/// Set in the kind of everything that the broker says.
pub const KIND_REPLY: u8 = 0x80;

const HEADER: usize = FRAME_HEADER_BYTES as usize;

/// A header without its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the whole frame.
    pub len: u32,
    /// Command number; bit 7 is set in what the broker says.
    pub kind: u8,
    /// 1 = error reply, 2 = reserved.
    pub flags: u8,
    /// 0 = the connection, else a consumer.
    pub channel: u16,
    /// Request id.
    pub corr: u64,
    /// Bytes of the meta section.
    pub meta_len: u32,
}

/// A frame whose header and meta are as they were sent. The payload is not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: FrameHeader,
    /// Fields of the command.
    pub meta: Bytes,
    /// Batches, if any.
    pub payload: Bytes,
}

/// What was at the front of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A frame; it is not in the buffer any more.
    Frame(Frame),
    /// Not enough; this many bytes, at least, are missing.
    NeedMore(usize),
}

/// What was at the front of a buffer, decoded at once. See [`Request::cut`](crate::Request::cut)
/// and [`Response::cut`](crate::Response::cut).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutOf<T> {
    /// A frame; it is not in the buffer any more.
    Frame {
        /// Its header.
        header: FrameHeader,
        /// What it says, or why it says nothing; then the connection goes on, unless
        /// [`DecodeError::closes_connection`].
        said: Result<T, DecodeError>,
    },
    /// Not enough; this many bytes, at least, are missing.
    NeedMore(usize),
}

/// What was at the front of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutPreface {
    /// A preface of this major version; it is not in the buffer any more.
    Major(u8),
    /// A preface so far; this many bytes are missing.
    NeedMore(usize),
}

/// Cuts the preface off the front of `buf`. The first byte that does not belong to a preface is an
/// error at once, so that an HTTP or TLS client is found out by what it has sent.
pub fn cut_preface(buf: &mut BytesMut) -> Result<CutPreface, DecodeError> {
    let (magic, _) = PREFACE.split_at(7);
    if let Some(at) = buf.iter().zip(magic).position(|(got, wanted)| got != wanted) {
        let what = "this is not the posthaste protocol";
        return Err(DecodeError::framing(ErrorCode::MalformedFrame, at, what));
    }
    let Some([.., major]) = buf.first_chunk::<8>().copied() else {
        return Ok(CutPreface::NeedMore(PREFACE.len() - buf.len()));
    };
    buf.advance(PREFACE.len());
    Ok(CutPreface::Major(major))
}

/// Cuts one frame off the front of `buf`, or says how many more bytes are needed.
///
/// The length is checked against `frame_bytes_max` as soon as it is there; nothing is allocated.
///
/// # Errors
///
/// Each error means that the bytes behind it cannot be trusted: the connection must close.
pub fn cut_frame(buf: &mut BytesMut, frame_bytes_max: u32) -> Result<Cut, DecodeError> {
    let header = match check_front(buf, frame_bytes_max)? {
        Front::Frame(header) => header,
        Front::NeedMore(bytes) => return Ok(Cut::NeedMore(bytes)),
    };
    let meta_len = header.meta_len as usize;
    buf.advance(HEADER);
    let meta = take(buf, meta_len);
    let payload = take(buf, header.len as usize - HEADER - meta_len);
    Ok(Cut::Frame(Frame { header, meta, payload }))
}

/// A checked frame as one piece of bytes, cut off the front of a buffer.
pub(crate) struct Whole {
    pub(crate) header: FrameHeader,
    pub(crate) bytes: Bytes,
}

impl Whole {
    /// As [`cut_frame`], with one reference count for all of the frame.
    #[inline]
    pub(crate) fn cut(
        buf: &mut BytesMut,
        frame_bytes_max: u32,
    ) -> Result<Result<Whole, usize>, DecodeError> {
        Ok(match check_front(buf, frame_bytes_max)? {
            Front::Frame(header) => {
                let bytes = buf.split_to(header.len as usize).freeze();
                Ok(Whole { header, bytes })
            }
            Front::NeedMore(bytes) => Err(bytes),
        })
    }

    pub(crate) fn meta(&self) -> &[u8] {
        self.bytes.get(HEADER..self.payload_start()).unwrap_or_default()
    }

    pub(crate) fn payload_start(&self) -> usize {
        HEADER + self.header.meta_len as usize
    }
}

enum Front {
    Frame(FrameHeader),
    NeedMore(usize),
}

/// Checks the frame at the front of a buffer: lengths as soon as they are there, the checksum once
/// all of it is.
#[inline]
fn check_front(buf: &BytesMut, frame_bytes_max: u32) -> Result<Front, DecodeError> {
    let Some(head) = buf.first_chunk::<HEADER>() else {
        if let Some(len) = buf.first_chunk::<4>() {
            check_len(u32::from_le_bytes(*len), frame_bytes_max)?;
        }
        return Ok(Front::NeedMore(HEADER - buf.len()));
    };
    let (header, crc) = FrameHeader::parse(head);
    check_len(header.len, frame_bytes_max)?;
    check_meta_len(&header)?;
    let (len, meta_len) = (header.len as usize, header.meta_len as usize);
    if buf.len() < len {
        return Ok(Front::NeedMore(len - buf.len()));
    }
    let meta = buf.get(HEADER..HEADER + meta_len).unwrap_or_default();
    if checksum(head, meta) != crc {
        let what = "the checksum of the frame does not match";
        return Err(DecodeError::framing(ErrorCode::ChecksumMismatch, 20, what));
    }
    Ok(Front::Frame(header))
}

/// An empty section costs no reference count.
#[inline]
fn take(buf: &mut BytesMut, len: usize) -> Bytes {
    if len == 0 { Bytes::new() } else { buf.split_to(len).freeze() }
}

#[inline]
fn check_len(len: u32, frame_bytes_max: u32) -> Result<(), DecodeError> {
    if len > frame_bytes_max && !mutant("length-unbounded") {
        let what = "the frame is larger than agreed";
        return Err(DecodeError::framing(ErrorCode::FrameTooLarge, 0, what));
    }
    if len < FRAME_HEADER_BYTES {
        let what = "the frame is shorter than its header";
        return Err(DecodeError::framing(ErrorCode::MalformedFrame, 0, what));
    }
    Ok(())
}

#[inline]
fn check_meta_len(header: &FrameHeader) -> Result<(), DecodeError> {
    if header.meta_len > header.len - FRAME_HEADER_BYTES {
        let what = "the meta section goes on behind the end of the frame";
        return Err(DecodeError::framing(ErrorCode::MalformedFrame, 16, what));
    }
    if header.meta_len > META_BYTES_MAX {
        let what = "the meta section is larger than allowed";
        return Err(DecodeError::framing(ErrorCode::MalformedFrame, 16, what));
    }
    Ok(())
}

#[inline]
fn checksum(head: &[u8; HEADER], meta: &[u8]) -> u32 {
    const COVERED: usize = HEADER - 4;
    let (covered, _) = head.split_at(COVERED);
    let mut hasher = Hasher::new();
    // Publishes, most frames of all, have eight bytes of fields: one pass costs half of two.
    if let Ok(meta) = <&[u8; 8]>::try_from(meta) {
        let mut joined = [0; COVERED + 8];
        joined[..COVERED].copy_from_slice(covered);
        joined[COVERED..].copy_from_slice(meta);
        hasher.update(&joined);
    } else {
        hasher.update(covered);
        hasher.update(meta);
    }
    hasher.finalize()
}

impl FrameHeader {
    /// The fields and the checksum; nothing is checked.
    #[inline]
    fn parse(head: &[u8; HEADER]) -> (FrameHeader, u32) {
        let [l0, l1, l2, l3, kind, flags, c0, c1, rest @ ..] = *head;
        let [r0, r1, r2, r3, r4, r5, r6, r7, m0, m1, m2, m3, crc @ ..] = rest;
        let header = FrameHeader {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            kind,
            flags,
            channel: u16::from_le_bytes([c0, c1]),
            corr: u64::from_le_bytes([r0, r1, r2, r3, r4, r5, r6, r7]),
            meta_len: u32::from_le_bytes([m0, m1, m2, m3]),
        };
        (header, u32::from_le_bytes(crc))
    }

    /// The header as it travels, for this meta section.
    #[inline]
    fn seal(&self, meta: &[u8]) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[0..4].copy_from_slice(&self.len.to_le_bytes());
        head[4] = self.kind;
        head[5] = self.flags;
        head[6..8].copy_from_slice(&self.channel.to_le_bytes());
        head[8..16].copy_from_slice(&self.corr.to_le_bytes());
        head[16..20].copy_from_slice(&self.meta_len.to_le_bytes());
        let crc = checksum(&head, meta);
        head[20..24].copy_from_slice(&crc.to_le_bytes());
        head
    }
}

/// A frame being written: first the room for its header, then the meta fields by the caller.
#[derive(Debug)]
pub(crate) struct Draft {
    start: usize,
    kind: u8,
    flags: u8,
    channel: u16,
    corr: u64,
}

impl Draft {
    pub(crate) fn begin(out: &mut BytesMut, kind: u8, channel: u16, corr: u64) -> Draft {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        let flags = if kind == KIND_REPLY { FLAG_ERROR } else { 0 };
        Draft { start, kind, flags, channel, corr }
    }

    /// Everything behind the header was meta; `payload_len` bytes will follow.
    pub(crate) fn finish(self, out: &mut BytesMut, payload_len: usize) {
        let meta_len = out.len() - self.start - HEADER;
        debug_assert!(meta_len <= META_BYTES_MAX as usize, "a meta section of {meta_len} bytes");
        let frame = out.get_mut(self.start..).and_then(|frame| frame.split_first_chunk_mut());
        if let Some((head, meta)) = frame {
            *head = sealed(self.kind, self.flags, self.channel, self.corr, meta, payload_len);
        }
    }
}

/// The header of a frame with this meta section. Lengths beyond 4 GiB become a frame that no peer
/// accepts.
#[inline]
fn sealed(
    kind: u8,
    flags: u8,
    channel: u16,
    corr: u64,
    meta: &[u8],
    payload_len: usize,
) -> [u8; HEADER] {
    let len = HEADER.saturating_add(meta.len()).saturating_add(payload_len);
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let meta_len = u32::try_from(meta.len()).unwrap_or(u32::MAX);
    FrameHeader { len, kind, flags, channel, corr, meta_len }.seal(meta)
}

/// A whole head in one go, for the paths where each call counts.
#[inline]
pub(crate) fn put_head(
    out: &mut BytesMut,
    kind: u8,
    corr: u64,
    meta: &[u8; 8],
    payload_len: usize,
) {
    let mut whole = [0; HEADER + 8];
    whole[..HEADER].copy_from_slice(&sealed(kind, 0, 0, corr, meta, payload_len));
    whole[HEADER..].copy_from_slice(meta);
    out.extend_from_slice(&whole);
}
