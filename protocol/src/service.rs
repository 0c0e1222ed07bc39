//! Request and reply: what requesters, responders and the broker say to each other.
//!
//! ```text
//! requester                    broker                    responder
//!                                        ◀── serve "q" ───
//!   ── ask "q", 2 s ───▶
//!                                        ── requested 7 ─▶   1,990 ms left
//!                                        ◀── answer 7 ────
//!   ◀──── replied ──────
//! ```
//!
//! Nothing of this is stored. Bodies are batches of one record each, under the name of the service,
//! and nobody between requester and responder changes them.

use crate::error::DecodeError;
use crate::limits::{
    REASON_BYTES_MAX, REQUEST_TIMEOUT_MS_MAX, SERVICE_IN_FLIGHT_MAX, SERVICES_LISTED_MAX,
};
use crate::names::Name;
use crate::wire::{Reader, put_count, put_name, put_text};
use bytes::{BufMut, Bytes, BytesMut};

/// What a client says about services, all of it on channel 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceCall {
    /// This connection is an instance of a service from now on.
    Serve {
        /// The service.
        name: Name,
        /// Requests that it works on at once, at most; 1..=1,024.
        in_flight_max: u32,
    },
    /// It is none any more; requests that it has may still be answered.
    Leave {
        /// The service.
        name: Name,
    },
    /// A request to whoever is an instance of the service.
    Ask {
        /// The service.
        name: Name,
        /// Time for all of it, in milliseconds; 1..=3,600,000.
        timeout_ms: u32,
        /// A batch of one record; the payload of the frame.
        batch: Bytes,
    },
    /// What became of a request. Never answered; what nobody waits for any more is dropped.
    Answer {
        /// The service.
        name: Name,
        /// The number that came with the request.
        ticket: u64,
        /// What.
        answer: Answer,
    },
    /// Which services there are.
    Services {
        /// Only names after this one.
        after: Option<Name>,
    },
}

/// How a request ended at its responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done: a batch of one record; the payload of the frame.
    Done(Bytes),
    /// Failed or refused.
    Failed {
        /// Why. At most 1,000 bytes.
        reason: String,
    },
}

/// What the broker says about services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceReply {
    /// To serve.
    Serving,
    /// To leave: no more requests come.
    Left,
    /// To ask.
    Replied(Answer),
    /// A request for this instance; unasked.
    Requested(Requested),
    /// To services.
    Services {
        /// In name order.
        items: Vec<ServiceInfo>,
        /// Ask again after the last name.
        more: bool,
    },
}

/// A request on its way to a responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// The service.
    pub name: Name,
    /// Goes back with the answer.
    pub ticket: u64,
    /// Time left when it was sent, in milliseconds, at least 1.
    pub left_ms: u32,
    /// A batch of one record; the payload of the frame.
    pub batch: Bytes,
}

/// A service that has instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Its name.
    pub name: Name,
    /// Instances now.
    pub instances: u32,
    /// Requests that instances have.
    pub in_flight: u32,
    /// Requests that wait for a free instance.
    pub waiting: u32,
    /// Requests handed out since the first of the present instances came.
    pub requests: u64,
}

impl ServiceCall {
    /// The body, of those that have one.
    pub(crate) fn batch_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            ServiceCall::Ask { batch, .. }
            | ServiceCall::Answer { answer: Answer::Done(batch), .. } => Some(batch),
            _ => None,
        }
    }

    /// The same to look at.
    pub(crate) fn batch(&self) -> &[u8] {
        match self {
            ServiceCall::Ask { batch, .. }
            | ServiceCall::Answer { answer: Answer::Done(batch), .. } => batch,
            _ => &[],
        }
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            ServiceCall::Serve { name, in_flight_max } => {
                put_name(out, Some(name.as_str()));
                out.put_u32_le(*in_flight_max);
            }
            ServiceCall::Leave { name } => put_name(out, Some(name.as_str())),
            ServiceCall::Ask { name, timeout_ms, .. } => {
                put_name(out, Some(name.as_str()));
                out.put_u32_le(*timeout_ms);
            }
            ServiceCall::Answer { name, ticket, answer } => {
                put_name(out, Some(name.as_str()));
                out.put_u64_le(*ticket);
                answer.encode(out);
            }
            ServiceCall::Services { after } => put_name(out, after.as_ref().map(Name::as_str)),
        }
    }

    /// Everything but the body.
    pub(crate) fn decode(
        kind: u8,
        reader: &mut Reader<'_>,
    ) -> Result<Option<ServiceCall>, DecodeError> {
        use crate::request::kind;
        Ok(Some(match kind {
            kind::SERVE => ServiceCall::Serve {
                name: reader.name()?,
                in_flight_max: within(
                    reader,
                    SERVICE_IN_FLIGHT_MAX,
                    "an instance works on 1 to 1,024 requests at once",
                )?,
            },
            kind::LEAVE => ServiceCall::Leave { name: reader.name()? },
            kind::ASK => ServiceCall::Ask {
                name: reader.name()?,
                timeout_ms: within(
                    reader,
                    REQUEST_TIMEOUT_MS_MAX,
                    "the time for a request must lie within 1 ms and an hour",
                )?,
                batch: Bytes::new(),
            },
            kind::ANSWER => ServiceCall::Answer {
                name: reader.name()?,
                ticket: reader.u64()?,
                answer: Answer::decode(reader)?,
            },
            kind::SERVICES => ServiceCall::Services { after: reader.optional_name()? },
            _ => return Ok(None),
        }))
    }
}

impl Answer {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Answer::Done(_) => out.put_u8(1),
            Answer::Failed { reason } => {
                out.put_u8(2);
                put_text(out, reason, REASON_BYTES_MAX);
            }
        }
    }

    /// Everything but the body.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Answer, DecodeError> {
        let before = reader.clone();
        match reader.u8()? {
            1 => Ok(Answer::Done(Bytes::new())),
            2 => Ok(Answer::Failed { reason: reader.text(REASON_BYTES_MAX)?.to_owned() }),
            _ => Err(before.unsupported("an unknown outcome of a request")),
        }
    }
}

impl ServiceReply {
    /// The body, of those that have one.
    pub(crate) fn batch_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            ServiceReply::Replied(Answer::Done(batch))
            | ServiceReply::Requested(Requested { batch, .. }) => Some(batch),
            _ => None,
        }
    }

    /// The same to look at.
    pub(crate) fn batch(&self) -> &[u8] {
        match self {
            ServiceReply::Replied(Answer::Done(batch))
            | ServiceReply::Requested(Requested { batch, .. }) => batch,
            _ => &[],
        }
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            ServiceReply::Serving | ServiceReply::Left => {}
            ServiceReply::Replied(answer) => answer.encode(out),
            ServiceReply::Requested(Requested { name, ticket, left_ms, .. }) => {
                put_name(out, Some(name.as_str()));
                out.put_u64_le(*ticket);
                out.put_u32_le(*left_ms);
            }
            ServiceReply::Services { items, more } => {
                out.put_u8(u8::from(*more));
                put_count(out, items.len());
                items.iter().for_each(|item| item.encode(out));
            }
        }
    }

    /// Everything but the body.
    pub(crate) fn decode(
        kind: u8,
        reader: &mut Reader<'_>,
    ) -> Result<Option<ServiceReply>, DecodeError> {
        use crate::response::kind;
        Ok(Some(match kind {
            kind::SERVING => ServiceReply::Serving,
            kind::LEFT => ServiceReply::Left,
            kind::REPLIED => ServiceReply::Replied(Answer::decode(reader)?),
            kind::REQUESTED => ServiceReply::Requested(Requested {
                name: reader.name()?,
                ticket: reader.u64()?,
                left_ms: reader.u32()?,
                batch: Bytes::new(),
            }),
            kind::SERVICES => {
                let more = reader.bool()?;
                let items = reader.list(
                    SERVICES_LISTED_MAX,
                    ServiceInfo::BYTES_MIN,
                    ServiceInfo::decode,
                )?;
                ServiceReply::Services { items, more }
            }
            _ => return Ok(None),
        }))
    }
}

impl ServiceInfo {
    const BYTES_MIN: usize = 2 + 4 + 4 + 4 + 8;

    fn encode(&self, out: &mut BytesMut) {
        put_name(out, Some(self.name.as_str()));
        out.put_u32_le(self.instances);
        out.put_u32_le(self.in_flight);
        out.put_u32_le(self.waiting);
        out.put_u64_le(self.requests);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<ServiceInfo, DecodeError> {
        Ok(ServiceInfo {
            name: reader.name()?,
            instances: reader.u32()?,
            in_flight: reader.u32()?,
            waiting: reader.u32()?,
            requests: reader.u64()?,
        })
    }
}

fn within(reader: &mut Reader<'_>, max: u32, rule: &'static str) -> Result<u32, DecodeError> {
    let before = reader.clone();
    let number = reader.u32()?;
    if (1..=max).contains(&number) { Ok(number) } else { Err(before.invalid(rule)) }
}
