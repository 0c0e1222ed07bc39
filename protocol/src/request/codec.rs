//! Requests as frames. The number of a command is its place in [`kind`], for ever.

use super::TargetId;
use super::fields::{lease_ms, limit};
use super::{
    Atomic, Consume, Credit, DeadAction, Held, Hello, Kind, Request, Settings, Settle, Start,
};
use crate::error::{DecodeError, ErrorCode};
use crate::frame::{CutOf, Draft, Frame, FrameHeader, Whole, put_head};
use crate::limits::{
    AUTH_BYTES_MAX, LIST_MAX, MECHANISM_BYTES_MAX, READ_MESSAGES_MAX, SETTLE_ITEMS_MAX,
};
use crate::names::{GroupName, Name};
use crate::schedule::ScheduleCall;
use crate::service::ServiceCall;
use crate::wire::{Reader, put_bool, put_bytes, put_count, put_name, put_text};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Numbers of the commands that a client sends.
#[expect(missing_docs, reason = "the names are those of the variants of Request")]
pub mod kind {
    pub const HELLO: u8 = 1;
    pub const AUTH: u8 = 2;
    pub const PING: u8 = 3;
    pub const CLOSE: u8 = 4;
    pub const DECLARE: u8 = 5;
    pub const DECLARE_GROUP: u8 = 6;
    pub const DESCRIBE: u8 = 7;
    pub const LIST: u8 = 8;
    pub const DELETE: u8 = 9;
    pub const OPEN_PRODUCER: u8 = 10;
    pub const PUBLISH: u8 = 11;
    pub const CONSUME: u8 = 12;
    pub const CREDIT: u8 = 13;
    pub const SETTLE: u8 = 14;
    pub const EXTEND: u8 = 15;
    pub const CANCEL: u8 = 16;
    pub const READ: u8 = 17;
    pub const SEEK: u8 = 18;
    pub const PURGE: u8 = 19;
    pub const DEAD: u8 = 20;
    pub const STATS: u8 = 21;
    pub const ATOMIC: u8 = 22;
    pub const SERVE: u8 = 48;
    pub const LEAVE: u8 = 49;
    pub const ASK: u8 = 50;
    pub const ANSWER: u8 = 51;
    pub const SERVICES: u8 = 52;
    pub const SET_SCHEDULE: u8 = 56;
    pub const CANCEL_SCHEDULE: u8 = 57;
    pub const LIST_SCHEDULES: u8 = 58;
}

/// Flag of a publish: the offset that its first message must get follows.
const EXPECTS: u8 = 1;

impl Request {
    /// The number of the command.
    pub const fn kind(&self) -> u8 {
        match self {
            Request::Hello(_) => kind::HELLO,
            Request::Auth { .. } => kind::AUTH,
            Request::Ping(_) => kind::PING,
            Request::Close => kind::CLOSE,
            Request::Declare { .. } => kind::DECLARE,
            Request::DeclareGroup { .. } => kind::DECLARE_GROUP,
            Request::Describe { .. } => kind::DESCRIBE,
            Request::List { .. } => kind::LIST,
            Request::Delete { .. } => kind::DELETE,
            Request::OpenProducer { .. } => kind::OPEN_PRODUCER,
            Request::Publish { .. } => kind::PUBLISH,
            Request::Consume(_) => kind::CONSUME,
            Request::Credit(_) => kind::CREDIT,
            Request::Settle { .. } => kind::SETTLE,
            Request::Extend { .. } => kind::EXTEND,
            Request::Cancel => kind::CANCEL,
            Request::Read { .. } => kind::READ,
            Request::Seek { .. } => kind::SEEK,
            Request::Purge { .. } => kind::PURGE,
            Request::Dead { .. } => kind::DEAD,
            Request::Stats => kind::STATS,
            Request::Atomic(_) => kind::ATOMIC,
            Request::Service(ServiceCall::Serve { .. }) => kind::SERVE,
            Request::Service(ServiceCall::Leave { .. }) => kind::LEAVE,
            Request::Service(ServiceCall::Ask { .. }) => kind::ASK,
            Request::Service(ServiceCall::Answer { .. }) => kind::ANSWER,
            Request::Service(ServiceCall::Services { .. }) => kind::SERVICES,
            Request::Schedule(ScheduleCall::Set { .. }) => kind::SET_SCHEDULE,
            Request::Schedule(ScheduleCall::Cancel { .. }) => kind::CANCEL_SCHEDULE,
            Request::Schedule(ScheduleCall::List { .. }) => kind::LIST_SCHEDULES,
        }
    }

    /// Whether the request belongs to the consumer of a channel (1..) rather than to the
    /// connection (channel 0).
    pub const fn is_for_a_consumer(&self) -> bool {
        is_for_a_consumer(self.kind())
    }

    /// Appends the whole frame to `out`.
    pub fn encode(&self, channel: u16, corr: u64, out: &mut BytesMut) {
        let draft = Draft::begin(out, self.kind(), channel, corr);
        self.encode_meta(out);
        let payload = self.payload();
        draft.finish(out, payload.len());
        out.extend_from_slice(payload);
    }

    /// The batches, of commands that carry some.
    fn payload(&self) -> &[u8] {
        match self {
            Request::Publish { batch, .. } => batch,
            Request::Atomic(atomic) => &atomic.batches,
            Request::Service(call) => call.batch(),
            Request::Schedule(call) => call.batch(),
            _ => &[],
        }
    }

    /// Where the batches go, of commands that carry some.
    fn payload_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Request::Publish { batch, .. } => Some(batch),
            Request::Atomic(atomic) => Some(&mut atomic.batches),
            Request::Service(call) => call.batch_mut(),
            Request::Schedule(call) => call.batch_mut(),
            _ => None,
        }
    }

    fn encode_meta(&self, out: &mut BytesMut) {
        match self {
            Request::Hello(hello) => hello.encode(out),
            Request::Auth { mechanism, data } => {
                put_text(out, mechanism, MECHANISM_BYTES_MAX);
                put_bytes(out, data, AUTH_BYTES_MAX);
            }
            Request::Ping(echo) => out.put_u64_le(*echo),
            Request::Close | Request::Cancel | Request::Stats => {}
            Request::Declare { kind, name, settings } => {
                kind.encode(out);
                put_name(out, Some(name.as_str()));
                settings.encode(out);
            }
            Request::DeclareGroup { topic, group, start, settings } => {
                put_names(out, topic, Some(group));
                start.encode(out);
                settings.encode(out);
            }
            Request::Describe { name } => put_name(out, Some(name.as_str())),
            Request::List { after, limit } => {
                put_name(out, after.as_ref().map(AsRef::as_ref));
                out.put_u32_le(*limit);
            }
            Request::Delete { name, group } => put_names(out, name, group.as_ref()),
            Request::OpenProducer { session } => out.extend_from_slice(session),
            Request::Publish { target, durability, expects, .. } => {
                put_publish(*target, *durability, *expects, out);
            }
            Request::Atomic(atomic) => atomic.encode(out),
            Request::Consume(consume) => consume.encode(out),
            Request::Credit(credit) => credit.encode(out),
            Request::Settle { confirm, items } => {
                put_bool(out, *confirm);
                put_count(out, items.len());
                items.iter().for_each(|item| item.encode(out));
            }
            Request::Extend { lease_ms, items } => {
                out.put_u32_le(*lease_ms);
                put_count(out, items.len());
                items.iter().for_each(|item| item.encode(out));
            }
            Request::Read { name, from, messages_max, bytes_max } => {
                put_name(out, Some(name.as_str()));
                from.encode(out);
                out.put_u32_le(*messages_max);
                out.put_u32_le(*bytes_max);
            }
            Request::Seek { topic, group, to, dry_run } => {
                put_names(out, topic, Some(group));
                to.encode(out);
                put_bool(out, *dry_run);
            }
            Request::Purge { name, dry_run } => {
                put_name(out, Some(name.as_str()));
                put_bool(out, *dry_run);
            }
            Request::Dead { name, group, action } => {
                put_names(out, name, group.as_ref());
                action.encode(out);
            }
            Request::Service(call) => call.encode(out),
            Request::Schedule(call) => call.encode(out),
        }
    }

    /// Reads the command of a frame.
    ///
    /// # Errors
    ///
    /// An error is answered under the frame's id; the connection goes on unless
    /// [`DecodeError::closes_connection`].
    pub fn decode(frame: &Frame) -> Result<Request, DecodeError> {
        let mut request = decode_meta(&frame.header, &frame.meta, frame.payload.len())?;
        if let Some(batches) = request.payload_mut() {
            *batches = frame.payload.clone();
        }
        Ok(request)
    }

    /// [`cut_frame`](crate::cut_frame) and [`Request::decode`] in one, for the side that reads
    /// millions: a publish costs one reference count.
    ///
    /// # Errors
    ///
    /// Each error means that the bytes behind it cannot be trusted: the connection must close.
    pub fn cut(buf: &mut BytesMut, frame_bytes_max: u32) -> Result<CutOf<Request>, DecodeError> {
        let mut whole = match Whole::cut(buf, frame_bytes_max)? {
            Ok(whole) => whole,
            Err(bytes) => return Ok(CutOf::NeedMore(bytes)),
        };
        let (header, start) = (whole.header, whole.payload_start());
        let mut said = decode_meta(&header, whole.meta(), whole.bytes.len() - start);
        if let Some(batches) = said.as_mut().ok().and_then(Request::payload_mut) {
            whole.bytes.advance(start);
            *batches = whole.bytes;
        }
        Ok(CutOf::Frame { header, said })
    }
}

/// Reads everything but the batch of a publish.
fn decode_meta(
    header: &FrameHeader,
    meta: &[u8],
    payload_len: usize,
) -> Result<Request, DecodeError> {
    if header.kind == kind::PUBLISH && header.flags == 0 && header.channel == 0 {
        return decode_publish(meta, payload_len);
    }
    if !matches!(
        header.kind,
        kind::HELLO..=kind::ATOMIC
            | kind::SERVE..=kind::SERVICES
            | kind::SET_SCHEDULE..=kind::LIST_SCHEDULES
    ) {
        return Err(DecodeError::new(ErrorCode::Unsupported, 4, "an unknown command"));
    }
    if header.flags != 0 {
        return Err(DecodeError::new(ErrorCode::Unsupported, 5, "an unknown flag"));
    }
    if is_for_a_consumer(header.kind) != (header.channel != 0) {
        let what = "commands of consumers need a channel from 1, all others channel 0";
        return Err(DecodeError::new(ErrorCode::InvalidArgument, 6, what));
    }
    let mut reader = Reader::new(meta);
    let mut request = match header.kind {
        kind::ATOMIC => return decode_atomic(&mut reader, payload_len),
        kind::CONSUME..=kind::CANCEL => decode_consumer(header.kind, &mut reader)?,
        kind::READ..=kind::STATS => decode_tool(header.kind, &mut reader)?,
        kind::SERVE..=kind::SERVICES => decode_service(header.kind, &mut reader)?,
        kind::SET_SCHEDULE..=kind::LIST_SCHEDULES => decode_schedule(header.kind, &mut reader)?,
        _ => decode_connection(header.kind, &mut reader)?,
    };
    reader.finish()?;
    match (request.payload_mut(), payload_len) {
        (None, 0) => Ok(request),
        (None, _) => Err(reader.malformed("this command has no payload")),
        (Some(_), 0) => Err(reader.malformed("this command needs a message")),
        (Some(_), _) => Ok(request),
    }
}

fn decode_service(kind: u8, reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    let unknown = || DecodeError::new(ErrorCode::Unsupported, 4, "an unknown command");
    ServiceCall::decode(kind, reader)?.map(Request::Service).ok_or_else(unknown)
}

fn decode_schedule(kind: u8, reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    let unknown = || DecodeError::new(ErrorCode::Unsupported, 4, "an unknown command");
    ScheduleCall::decode(kind, reader)?.map(Request::Schedule).ok_or_else(unknown)
}

fn put_names(out: &mut BytesMut, name: &Name, group: Option<&GroupName>) {
    put_name(out, Some(name.as_str()));
    put_name(out, group.map(GroupName::as_str));
}

const fn is_for_a_consumer(kind: u8) -> bool {
    matches!(kind, kind::CONSUME..=kind::CANCEL)
}

/// Appends header and meta of an atomic group. The caller sends its batches (`batches_len` bytes in all)
/// behind it, without copying them; those in `atomic` do not count.
pub fn encode_atomic_head(atomic: &Atomic, corr: u64, batches_len: usize, out: &mut BytesMut) {
    let draft = Draft::begin(out, kind::ATOMIC, 0, corr);
    atomic.encode(out);
    draft.finish(out, batches_len);
}

fn decode_atomic(reader: &mut Reader<'_>, payload_len: usize) -> Result<Request, DecodeError> {
    let atomic = Atomic::decode(reader)?;
    reader.finish()?;
    if atomic.parts.is_empty() != (payload_len == 0) {
        return Err(reader.malformed("an atomic group has a batch for each part"));
    }
    Ok(Request::Atomic(atomic))
}

fn publish_meta(target: TargetId, durability: u8, flags: u8) -> [u8; 8] {
    let [t0, t1, t2, t3] = target.to_le_bytes();
    [t0, t1, t2, t3, durability, flags, 0, 0]
}

fn put_publish(target: TargetId, durability: u8, expects: Option<u64>, out: &mut BytesMut) {
    let flags = if expects.is_some() { EXPECTS } else { 0 };
    out.extend_from_slice(&publish_meta(target, durability, flags));
    if let Some(offset) = expects {
        out.put_u64_le(offset);
    }
}

/// Appends header and meta of a publish. The caller sends the batch (`batch_len` bytes) behind it,
/// without copying it.
#[inline]
pub fn encode_publish_head(
    target: TargetId,
    durability: u8,
    expects: Option<u64>,
    corr: u64,
    batch_len: usize,
    out: &mut BytesMut,
) {
    if expects.is_none() {
        put_head(out, kind::PUBLISH, corr, &publish_meta(target, durability, 0), batch_len);
        return;
    }
    let draft = Draft::begin(out, kind::PUBLISH, 0, corr);
    put_publish(target, durability, expects, out);
    draft.finish(out, batch_len);
}

#[inline]
fn decode_publish(meta: &[u8], payload_len: usize) -> Result<Request, DecodeError> {
    let mut reader = Reader::new(meta);
    let target = reader.u32()?;
    let [durability, flags, reserved @ ..] = reader.array::<4>()?;
    if flags & !EXPECTS != 0 || reserved != [0; 2] {
        return Err(reader.unsupported("reserved bytes of a publish are not zero"));
    }
    let expects = if flags & EXPECTS == 0 { None } else { Some(reader.u64()?) };
    reader.finish()?;
    if payload_len == 0 {
        return Err(reader.malformed("a publish without a batch"));
    }
    Ok(Request::Publish { target, durability, expects, batch: Bytes::new() })
}

fn decode_connection(kind: u8, reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    Ok(match kind {
        kind::HELLO => Request::Hello(Hello::decode(reader)?),
        kind::AUTH => Request::Auth {
            mechanism: reader.text(MECHANISM_BYTES_MAX)?.to_owned(),
            data: Bytes::copy_from_slice(reader.bytes(AUTH_BYTES_MAX)?),
        },
        kind::PING => Request::Ping(reader.u64()?),
        kind::CLOSE => Request::Close,
        kind::DECLARE => Request::Declare {
            kind: Kind::decode(reader)?,
            name: reader.name()?,
            settings: Settings::decode_wanted(reader)?,
        },
        kind::DECLARE_GROUP => Request::DeclareGroup {
            topic: reader.name()?,
            group: reader.group()?,
            start: Start::decode(reader)?,
            settings: Settings::decode_wanted(reader)?,
        },
        kind::DESCRIBE => Request::Describe { name: reader.name()? },
        kind::LIST => {
            Request::List { after: reader.optional_name()?, limit: limit(reader, LIST_MAX)? }
        }
        kind::DELETE => Request::Delete { name: reader.name()?, group: reader.optional_group()? },
        kind::OPEN_PRODUCER => Request::OpenProducer { session: reader.array()? },
        _ => {
            return Err(DecodeError::new(ErrorCode::Unsupported, 4, "an unknown command"));
        }
    })
}

fn decode_consumer(kind: u8, reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    Ok(match kind {
        kind::CONSUME => Request::Consume(Consume::decode(reader)?),
        kind::CREDIT => Request::Credit(Credit::decode(reader)?),
        kind::SETTLE => Request::Settle {
            confirm: reader.bool()?,
            items: reader.list(SETTLE_ITEMS_MAX, Held::BYTES + 1, Settle::decode)?,
        },
        kind::EXTEND => Request::Extend {
            lease_ms: lease_ms(reader)?,
            items: reader.list(SETTLE_ITEMS_MAX, Held::BYTES, Held::decode)?,
        },
        kind::CANCEL => Request::Cancel,
        _ => {
            return Err(DecodeError::new(ErrorCode::Unsupported, 4, "an unknown command"));
        }
    })
}

fn decode_tool(kind: u8, reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    Ok(match kind {
        kind::READ => Request::Read {
            name: reader.name()?,
            from: Start::decode(reader)?,
            messages_max: limit(reader, READ_MESSAGES_MAX)?,
            bytes_max: reader.u32()?,
        },
        kind::SEEK => Request::Seek {
            topic: reader.name()?,
            group: reader.group()?,
            to: Start::decode(reader)?,
            dry_run: reader.bool()?,
        },
        kind::PURGE => Request::Purge { name: reader.name()?, dry_run: reader.bool()? },
        kind::DEAD => Request::Dead {
            name: reader.name()?,
            group: reader.optional_group()?,
            action: DeadAction::decode(reader)?,
        },
        kind::STATS => Request::Stats,
        _ => {
            return Err(DecodeError::new(ErrorCode::Unsupported, 4, "an unknown command"));
        }
    })
}
