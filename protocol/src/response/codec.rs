//! Responses as frames. A reply has the number of its command with bit 7 set; confirms go under
//! the number of publish, deliveries under that of credit, errors under 0.

use super::pieces::{Batches, put_deliver};
use super::{
    Confirmed, DeadLetter, Declared, Deliver, Description, Outcomes, Piece, Response, Stats,
    Welcome,
};
use crate::error::{DecodeError, ErrorCode, ErrorReply};
use crate::frame::{CutOf, Draft, FLAG_ERROR, Frame, FrameHeader, Whole};
use crate::limits::{LIST_MAX, META_BYTES_MAX};
use crate::request::Held;
use crate::schedule::ScheduleReply;
use crate::service::ServiceReply;
use crate::wire::{Reader, put_bool, put_count};
use bytes::{BufMut, BytesMut};

/// Numbers of what the broker says.
#[expect(missing_docs, reason = "the names are those of the variants of Response")]
pub mod kind {
    use crate::frame::KIND_REPLY;
    use crate::request::kind;

    pub const ERROR: u8 = KIND_REPLY;
    pub const WELCOME: u8 = KIND_REPLY | kind::HELLO;
    pub const PONG: u8 = KIND_REPLY | kind::PING;
    pub const CLOSING: u8 = KIND_REPLY | kind::CLOSE;
    pub const DECLARED: u8 = KIND_REPLY | kind::DECLARE;
    pub const DESCRIBED: u8 = KIND_REPLY | kind::DESCRIBE;
    pub const LISTED: u8 = KIND_REPLY | kind::LIST;
    pub const DELETED: u8 = KIND_REPLY | kind::DELETE;
    pub const PRODUCER_OPENED: u8 = KIND_REPLY | kind::OPEN_PRODUCER;
    pub const CONFIRMS: u8 = KIND_REPLY | kind::PUBLISH;
    pub const CONSUMING: u8 = KIND_REPLY | kind::CONSUME;
    pub const DELIVER: u8 = KIND_REPLY | kind::CREDIT;
    pub const SETTLED: u8 = KIND_REPLY | kind::SETTLE;
    pub const EXTENDED: u8 = KIND_REPLY | kind::EXTEND;
    pub const CANCELED: u8 = KIND_REPLY | kind::CANCEL;
    pub const RECORDS: u8 = KIND_REPLY | kind::READ;
    pub const SOUGHT: u8 = KIND_REPLY | kind::SEEK;
    pub const DONE: u8 = KIND_REPLY | kind::PURGE;
    pub const DEAD_LETTERS: u8 = KIND_REPLY | kind::DEAD;
    pub const STATS: u8 = KIND_REPLY | kind::STATS;
    pub const RECEIPTS: u8 = KIND_REPLY | kind::ATOMIC;
    pub const SERVING: u8 = KIND_REPLY | kind::SERVE;
    pub const LEFT: u8 = KIND_REPLY | kind::LEAVE;
    pub const REPLIED: u8 = KIND_REPLY | kind::ASK;
    pub const REQUESTED: u8 = KIND_REPLY | kind::ANSWER;
    pub const SERVICES: u8 = KIND_REPLY | kind::SERVICES;
    pub const SCHEDULE_SET: u8 = KIND_REPLY | kind::SET_SCHEDULE;
    pub const SCHEDULE_CANCELED: u8 = KIND_REPLY | kind::CANCEL_SCHEDULE;
    pub const SCHEDULES: u8 = KIND_REPLY | kind::LIST_SCHEDULES;
}

impl Response {
    /// The number under which it travels.
    pub const fn kind(&self) -> u8 {
        match self {
            Response::Welcome(_) => kind::WELCOME,
            Response::Pong(_) => kind::PONG,
            Response::Closing(_) => kind::CLOSING,
            Response::Declared { .. } => kind::DECLARED,
            Response::Described(_) => kind::DESCRIBED,
            Response::Listed { .. } => kind::LISTED,
            Response::Deleted => kind::DELETED,
            Response::ProducerOpened { .. } => kind::PRODUCER_OPENED,
            Response::Confirms(_) => kind::CONFIRMS,
            Response::Receipts(_) => kind::RECEIPTS,
            Response::Consuming { .. } => kind::CONSUMING,
            Response::Deliver(_) => kind::DELIVER,
            Response::Settled { .. } => kind::SETTLED,
            Response::Extended { .. } => kind::EXTENDED,
            Response::Canceled => kind::CANCELED,
            Response::Records { .. } => kind::RECORDS,
            Response::Sought { .. } => kind::SOUGHT,
            Response::Done { .. } => kind::DONE,
            Response::DeadLetters { .. } => kind::DEAD_LETTERS,
            Response::Stats(_) => kind::STATS,
            Response::Service(ServiceReply::Serving) => kind::SERVING,
            Response::Service(ServiceReply::Left) => kind::LEFT,
            Response::Service(ServiceReply::Replied(_)) => kind::REPLIED,
            Response::Service(ServiceReply::Requested(_)) => kind::REQUESTED,
            Response::Service(ServiceReply::Services { .. }) => kind::SERVICES,
            Response::Schedule(ScheduleReply::Set { .. }) => kind::SCHEDULE_SET,
            Response::Schedule(ScheduleReply::Canceled) => kind::SCHEDULE_CANCELED,
            Response::Schedule(ScheduleReply::Listed { .. }) => kind::SCHEDULES,
            Response::Error(_) => kind::ERROR,
        }
    }

    /// Appends the whole frame to `out`.
    pub fn encode(&self, channel: u16, corr: u64, out: &mut BytesMut) {
        let draft = Draft::begin(out, self.kind(), channel, corr);
        self.encode_meta(out);
        if let Response::Service(reply) = self {
            draft.finish(out, reply.batch().len());
            out.extend_from_slice(reply.batch());
            return;
        }
        draft.finish(out, self.pieces().map(|piece| piece.batches.len()).sum());
        self.pieces().for_each(|piece| out.extend_from_slice(&piece.batches));
    }

    /// What its payload consists of.
    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        let (pieces, dead): (&[Piece], &[DeadLetter]) = match self {
            Response::Deliver(deliver) => (&deliver.pieces, &[]),
            Response::Records { pieces, .. } => (pieces, &[]),
            Response::DeadLetters { items, .. } => (&[], items),
            _ => (&[], &[]),
        };
        pieces.iter().chain(dead.iter().map(|dead| &dead.piece))
    }

    fn encode_meta(&self, out: &mut BytesMut) {
        match self {
            Response::Welcome(welcome) => welcome.encode(out),
            Response::Pong(echo) => out.put_u64_le(*echo),
            Response::Closing(reply) | Response::Error(reply) => reply.encode(out),
            Response::Declared { declared, id } => {
                declared.encode(out);
                out.put_u32_le(*id);
            }
            Response::Described(description) => description.encode(out),
            Response::Listed { items, more } => {
                put_bool(out, *more);
                put_count(out, items.len());
                items.iter().for_each(|item| item.encode(out));
            }
            Response::Deleted | Response::Canceled => {}
            Response::ProducerOpened { producer, resumed } => {
                out.put_u32_le(*producer);
                put_bool(out, *resumed);
            }
            Response::Confirms(confirms) => {
                put_count(out, confirms.len());
                confirms.iter().for_each(|confirmed| confirmed.encode(out));
            }
            Response::Receipts(outcomes) => {
                put_count(out, outcomes.len());
                outcomes.iter().for_each(|outcome| outcome.encode(out));
            }
            Response::Consuming { lease_ms } => out.put_u32_le(*lease_ms),
            Response::Deliver(Deliver { epoch, lease_ms, pieces }) => {
                put_deliver(*epoch, *lease_ms, pieces.iter().map(Piece::head), out);
            }
            Response::Settled { stale } => put_held(out, stale),
            Response::Extended { stale, limited } => {
                put_held(out, stale);
                put_held(out, limited);
            }
            Response::Records { pieces, next_offset, end_offset } => {
                out.put_u64_le(*next_offset);
                out.put_u64_le(*end_offset);
                put_count(out, pieces.len());
                pieces.iter().for_each(|piece| piece.put_head(out));
            }
            Response::Sought { from, to, messages } => {
                out.put_u64_le(*from);
                out.put_u64_le(*to);
                out.put_u64_le(*messages);
            }
            Response::Done { messages } => out.put_u64_le(*messages),
            Response::DeadLetters { items, total } => {
                out.put_u64_le(*total);
                put_count(out, items.len());
                items.iter().for_each(|item| item.encode(out));
            }
            Response::Stats(stats) => stats.encode(out),
            Response::Service(reply) => reply.encode(out),
            Response::Schedule(reply) => reply.encode(out),
        }
    }

    /// Reads what the broker said. The batches of pieces are slices of the frame, not verified.
    pub fn decode(frame: &Frame) -> Result<Response, DecodeError> {
        decode_meta(&frame.header, &frame.meta, Batches::new(&frame.payload, 0))
    }

    /// [`cut_frame`](crate::cut_frame) and [`Response::decode`] in one.
    ///
    /// # Errors
    ///
    /// Each error means that the bytes behind it cannot be trusted: the connection must close.
    pub fn cut(buf: &mut BytesMut, frame_bytes_max: u32) -> Result<CutOf<Response>, DecodeError> {
        let whole = match Whole::cut(buf, frame_bytes_max)? {
            Ok(whole) => whole,
            Err(bytes) => return Ok(CutOf::NeedMore(bytes)),
        };
        let batches = Batches::new(&whole.bytes, whole.payload_start());
        let said = decode_meta(&whole.header, whole.meta(), batches);
        Ok(CutOf::Frame { header: whole.header, said })
    }
}

fn decode_meta(
    header: &FrameHeader,
    meta: &[u8],
    mut batches: Batches<'_>,
) -> Result<Response, DecodeError> {
    let flags = if header.kind == kind::ERROR { FLAG_ERROR } else { 0 };
    if header.flags != flags {
        return Err(DecodeError::new(ErrorCode::Unsupported, 5, "an unknown flag"));
    }
    let mut reader = Reader::new(meta);
    let response = decode_fields(header.kind, &mut reader, &mut batches)?;
    reader.finish()?;
    batches.finish(header.meta_len)?;
    Ok(response)
}

fn decode_fields(
    kind: u8,
    reader: &mut Reader<'_>,
    batches: &mut Batches<'_>,
) -> Result<Response, DecodeError> {
    Ok(match kind {
        kind::ERROR => Response::Error(ErrorReply::decode(reader)?),
        kind::WELCOME => Response::Welcome(Welcome::decode(reader)?),
        kind::PONG => Response::Pong(reader.u64()?),
        kind::CLOSING => Response::Closing(ErrorReply::decode(reader)?),
        kind::DECLARED => {
            Response::Declared { declared: Declared::decode(reader)?, id: reader.u32()? }
        }
        kind::DESCRIBED => Response::Described(Description::decode(reader)?),
        kind::LISTED => {
            let more = reader.bool()?;
            let items = reader.list(LIST_MAX, Description::BYTES_MIN, Description::decode)?;
            Response::Listed { items, more }
        }
        kind::DELETED => Response::Deleted,
        kind::PRODUCER_OPENED => {
            Response::ProducerOpened { producer: reader.u32()?, resumed: reader.bool()? }
        }
        kind::CONFIRMS => {
            Response::Confirms(reader.list(META_BYTES_MAX, Confirmed::BYTES, Confirmed::decode)?)
        }
        kind::RECEIPTS => {
            Response::Receipts(reader.list(META_BYTES_MAX, Outcomes::BYTES, Outcomes::decode)?)
        }
        kind::CONSUMING => Response::Consuming { lease_ms: reader.u32()? },
        kind::DELIVER => {
            let (epoch, lease_ms) = (reader.u64()?, reader.u32()?);
            Response::Deliver(Deliver { epoch, lease_ms, pieces: batches.pieces(reader)? })
        }
        kind::SETTLED => Response::Settled { stale: decode_held(reader)? },
        kind::EXTENDED => {
            let stale = decode_held(reader)?;
            Response::Extended { stale, limited: decode_held(reader)? }
        }
        kind::CANCELED => Response::Canceled,
        kind::RECORDS => {
            let (next_offset, end_offset) = (reader.u64()?, reader.u64()?);
            Response::Records { pieces: batches.pieces(reader)?, next_offset, end_offset }
        }
        kind::SOUGHT => {
            Response::Sought { from: reader.u64()?, to: reader.u64()?, messages: reader.u64()? }
        }
        kind::DONE => Response::Done { messages: reader.u64()? },
        kind::DEAD_LETTERS => {
            let total = reader.u64()?;
            let items = reader.list(LIST_MAX, DeadLetter::BYTES_MIN, |reader| {
                DeadLetter::decode(reader, batches)
            })?;
            Response::DeadLetters { items, total }
        }
        kind::STATS => Response::Stats(Stats::decode(reader)?),
        kind::SCHEDULE_SET..=kind::SCHEDULES => {
            let unknown = || DecodeError::new(ErrorCode::Unsupported, 4, "an unknown response");
            ScheduleReply::decode(kind, reader)?.map(Response::Schedule).ok_or_else(unknown)?
        }
        _ => return decode_service(kind, reader, batches),
    })
}

fn decode_service(
    kind: u8,
    reader: &mut Reader<'_>,
    batches: &mut Batches<'_>,
) -> Result<Response, DecodeError> {
    let Some(mut reply) = ServiceReply::decode(kind, reader)? else {
        return Err(DecodeError::new(ErrorCode::Unsupported, 4, "an unknown response"));
    };
    if let Some(batch) = reply.batch_mut() {
        *batch = batches.rest();
        if batch.is_empty() {
            return Err(reader.malformed("a request or an answer without a body"));
        }
    }
    Ok(Response::Service(reply))
}

fn put_held(out: &mut BytesMut, all: &[Held]) {
    put_count(out, all.len());
    all.iter().for_each(|held| held.encode(out));
}

fn decode_held(reader: &mut Reader<'_>) -> Result<Vec<Held>, DecodeError> {
    // Parts of items may be stale, so there may be more of them than there were items.
    reader.list(META_BYTES_MAX, Held::BYTES, Held::decode)
}
