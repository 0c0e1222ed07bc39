//! The values inside of requests as bytes, and the ranges that they must lie in.

use super::{
    Atomic, AtomicPart, AtomicSettle, Consume, Credit, DeadAction, Held, Hello, Kind, Outcome,
    Settings, Settle, Start,
};
use crate::batch::BatchHeader;
use crate::error::{DecodeError, ErrorCode};
use crate::limits::{
    ATOMIC_PARTS_MAX, ATOMIC_SETTLES_MAX, ATTEMPTS_MAX, DELAY_MS_MAX, FRAME_BYTES_MIN, HOLD_MS_MAX,
    ID_WINDOW_MS_MAX, ID_WINDOW_MS_MIN, LEASE_MS_MAX, LEASE_MS_MIN, LIST_MAX, PEER_BYTES_MAX,
    REASON_BYTES_MAX, RETRY_FACTOR_PERCENT_MAX, RETRY_FACTOR_PERCENT_MIN, RETRY_JITTER_PERCENT_MAX,
    RETRY_MS_MAX,
};
use crate::wire::{Reader, fitting, put_bool, put_count, put_name, put_option, put_text};
use bytes::{BufMut, Bytes, BytesMut};

const QUEUE: u8 = 1;
const TOPIC: u8 = 2;

const EARLIEST: u8 = 1;
const LATEST: u8 = 2;
const OFFSET: u8 = 3;
const TIME_MS: u8 = 4;

const ACK: u8 = 1;
const RETRY: u8 = 2;
const RELEASE: u8 = 3;
const DEAD_LETTER: u8 = 4;

const LIST: u8 = 1;
const REPLAY: u8 = 2;
const DROP: u8 = 3;

impl Hello {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.features);
        put_text(out, &self.client, PEER_BYTES_MAX);
        out.put_u32_le(self.frame_bytes_max);
        out.put_u32_le(self.idle_ms);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Hello, DecodeError> {
        let features = reader.u64()?;
        let client = reader.text(PEER_BYTES_MAX)?.to_owned();
        let before = reader.clone();
        let frame_bytes_max = reader.u32()?;
        if frame_bytes_max < FRAME_BYTES_MIN {
            return Err(before.invalid("frames of 2 MiB, at least, must be accepted"));
        }
        Ok(Hello { features, client, frame_bytes_max, idle_ms: reader.u32()? })
    }
}

impl Kind {
    pub(crate) fn encode(self, out: &mut BytesMut) {
        out.put_u8(match self {
            Kind::Queue => QUEUE,
            Kind::Topic => TOPIC,
        });
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Kind, DecodeError> {
        let before = reader.clone();
        match reader.u8()? {
            QUEUE => Ok(Kind::Queue),
            TOPIC => Ok(Kind::Topic),
            _ => Err(before.unsupported("neither queue (1) nor topic (2)")),
        }
    }
}

/// How many settings there are; one bit of the mask each.
const SETTINGS: usize = 11;

/// The value of a setting, as wide as it travels.
#[derive(Clone, Copy)]
enum Value {
    Narrow(u32),
    Wide(u64),
}

/// Reads the settings of a mask, from the lowest bit up.
struct Masked<'r, 'a> {
    reader: &'r mut Reader<'a>,
    mask: u32,
}

impl Masked<'_, '_> {
    fn is_next(&mut self) -> bool {
        let is_next = self.mask & 1 == 1;
        self.mask >>= 1;
        is_next
    }

    fn narrow(&mut self) -> Result<Option<u32>, DecodeError> {
        if self.is_next() { self.reader.u32().map(Some) } else { Ok(None) }
    }

    fn wide(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.is_next() { self.reader.u64().map(Some) } else { Ok(None) }
    }
}

impl Settings {
    /// All settings, in the order of their bits in the mask.
    fn values(&self) -> [Option<Value>; SETTINGS] {
        let Settings {
            max_attempts,
            lease_ms,
            retry_min_ms,
            retry_max_ms,
            retain_ms,
            retain_bytes,
            max_messages,
            retry_factor_percent,
            retry_jitter_percent,
            id_window_ms,
            max_hold_ms,
        } = *self;
        [
            max_attempts.map(Value::Narrow),
            lease_ms.map(Value::Narrow),
            retry_min_ms.map(Value::Narrow),
            retry_max_ms.map(Value::Narrow),
            retain_ms.map(Value::Wide),
            retain_bytes.map(Value::Wide),
            max_messages.map(Value::Wide),
            retry_factor_percent.map(Value::Narrow),
            retry_jitter_percent.map(Value::Narrow),
            id_window_ms.map(Value::Wide),
            max_hold_ms.map(Value::Narrow),
        ]
    }

    /// Bytes of settings in a frame.
    pub(crate) fn meta_bytes(&self) -> usize {
        let bytes = self.values().into_iter().flatten().map(|value| match value {
            Value::Narrow(_) => 4,
            Value::Wide(_) => 8,
        });
        4 + bytes.sum::<usize>()
    }

    /// A mask of the settings that follow, and these in order.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let values = self.values();
        let bits = values.iter().zip(0..).map(|(value, bit)| u32::from(value.is_some()) << bit);
        out.put_u32_le(bits.sum());
        values.into_iter().flatten().for_each(|value| match value {
            Value::Narrow(value) => out.put_u32_le(value),
            Value::Wide(value) => out.put_u64_le(value),
        });
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Settings, DecodeError> {
        let before = reader.clone();
        let mask = reader.u32()?;
        if mask >> SETTINGS != 0 {
            return Err(before.unsupported("an unknown setting"));
        }
        // ORDER: fields are read as they are written here, in the order of their bits.
        let mut fields = Masked { reader, mask };
        Ok(Settings {
            max_attempts: fields.narrow()?,
            lease_ms: fields.narrow()?,
            retry_min_ms: fields.narrow()?,
            retry_max_ms: fields.narrow()?,
            retain_ms: fields.wide()?,
            retain_bytes: fields.wide()?,
            max_messages: fields.wide()?,
            retry_factor_percent: fields.narrow()?,
            retry_jitter_percent: fields.narrow()?,
            id_window_ms: fields.wide()?,
            max_hold_ms: fields.narrow()?,
        })
    }

    /// As above, and each value is one that may be asked for.
    pub(super) fn decode_wanted(reader: &mut Reader<'_>) -> Result<Settings, DecodeError> {
        let before = reader.clone();
        let settings = Settings::decode(reader)?;
        match settings.check() {
            Ok(()) => Ok(settings),
            Err(rule) => Err(before.invalid(rule)),
        }
    }

    /// Whether each value is one that may be asked for; if not, the rule that it breaks.
    pub fn check(&self) -> Result<(), &'static str> {
        let lies = |value: Option<u32>, min, max| value.is_none_or(|v| (min..=max).contains(&v));
        if !lies(self.max_attempts, 1, ATTEMPTS_MAX) {
            return Err("the most attempts must lie within 1 and 1,000,000");
        }
        if !lies(self.lease_ms, LEASE_MS_MIN, LEASE_MS_MAX) {
            return Err(LEASE_RULE);
        }
        if !lies(self.retry_min_ms, 0, RETRY_MS_MAX) || !lies(self.retry_max_ms, 0, RETRY_MS_MAX) {
            return Err("the delay before a retry must be a week at most");
        }
        let (min, max) = (RETRY_FACTOR_PERCENT_MIN, RETRY_FACTOR_PERCENT_MAX);
        if !lies(self.retry_factor_percent, min, max) {
            return Err("the factor of retries must lie within 100 and 1,000 percent");
        }
        if !lies(self.retry_jitter_percent, 0, RETRY_JITTER_PERCENT_MAX) {
            return Err("the jitter of retries must be 100 percent at most");
        }
        let is_window = |ms: &u64| *ms == 0 || (ID_WINDOW_MS_MIN..=ID_WINDOW_MS_MAX).contains(ms);
        if !self.id_window_ms.as_ref().is_none_or(is_window) {
            return Err("the window of message ids must be none, or within a second and 30 days");
        }
        if !lies(self.max_hold_ms.filter(|ms| *ms > 0), LEASE_MS_MIN, HOLD_MS_MAX) {
            return Err("the longest hold must be none, or lie within 100 ms and a week");
        }
        match (self.retry_min_ms, self.retry_max_ms) {
            (Some(min), Some(max)) if min > max => {
                Err("the shortest delay before a retry must not be longer than the longest")
            }
            _ => Ok(()),
        }
    }
}

const LEASE_RULE: &str = "the lease must lie within 100 ms and a day";

pub(super) fn lease_ms(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let before = reader.clone();
    let lease_ms = reader.u32()?;
    if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease_ms) {
        return Ok(lease_ms);
    }
    Err(before.invalid(LEASE_RULE))
}

/// A number of things to be told, from 1.
pub(super) fn limit(reader: &mut Reader<'_>, max: u32) -> Result<u32, DecodeError> {
    let before = reader.clone();
    let limit = reader.u32()?;
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(before.invalid(match max {
        LIST_MAX => "the limit must lie within 1 and 1,000",
        _ => "the limit must lie within 1 and 10,000",
    }))
}

impl Start {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        match *self {
            Start::Earliest => out.put_u8(EARLIEST),
            Start::Latest => out.put_u8(LATEST),
            Start::Offset(offset) => {
                out.put_u8(OFFSET);
                out.put_u64_le(offset);
            }
            Start::TimeMs(time_ms) => {
                out.put_u8(TIME_MS);
                out.put_u64_le(time_ms);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Start, DecodeError> {
        let before = reader.clone();
        match reader.u8()? {
            EARLIEST => Ok(Start::Earliest),
            LATEST => Ok(Start::Latest),
            OFFSET => reader.u64().map(Start::Offset),
            TIME_MS => reader.u64().map(Start::TimeMs),
            _ => Err(before.unsupported("an unknown kind of start")),
        }
    }
}

impl Held {
    /// Bytes of a held range in a frame.
    pub(crate) const BYTES: usize = 20;

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.first);
        out.put_u32_le(self.count);
        out.put_u64_le(self.epoch);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Held, DecodeError> {
        let before = reader.clone();
        let (first, count, epoch) = (reader.u64()?, reader.u32()?, reader.u64()?);
        if count == 0 {
            return Err(before.invalid("a range without messages"));
        }
        if first.checked_add(u64::from(count)).is_none() {
            return Err(before.invalid("a range that ends behind the last possible offset"));
        }
        Ok(Held { first, count, epoch })
    }
}

impl Settle {
    /// Bytes of this item in a frame, so that a settle can be split before it outgrows
    /// [`META_BYTES_MAX`](crate::limits::META_BYTES_MAX).
    pub fn meta_bytes(&self) -> usize {
        let text = |reason: &str| 2 + fitting(reason, REASON_BYTES_MAX).len();
        let outcome = match &self.outcome {
            Outcome::Ack | Outcome::Release => 1,
            Outcome::Retry { delay_ms, reason } => {
                // The outcome, whether there is a delay, the delay, the reason.
                2 + 8 * usize::from(delay_ms.is_some()) + text(reason)
            }
            Outcome::DeadLetter { reason } => 1 + text(reason),
        };
        Held::BYTES + outcome
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        self.held.encode(out);
        match &self.outcome {
            Outcome::Ack => out.put_u8(ACK),
            Outcome::Retry { delay_ms, reason } => {
                out.put_u8(RETRY);
                put_option(out, *delay_ms, BufMut::put_u64_le);
                put_text(out, reason, REASON_BYTES_MAX);
            }
            Outcome::Release => out.put_u8(RELEASE),
            Outcome::DeadLetter { reason } => {
                out.put_u8(DEAD_LETTER);
                put_text(out, reason, REASON_BYTES_MAX);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Settle, DecodeError> {
        let held = Held::decode(reader)?;
        let before = reader.clone();
        let outcome = match reader.u8()? {
            ACK => Outcome::Ack,
            RETRY => {
                let delay_ms = reader.option(Reader::u64)?;
                if delay_ms.is_some_and(|delay_ms| delay_ms > DELAY_MS_MAX) {
                    return Err(before.invalid("the delay of a retry must be a year at most"));
                }
                Outcome::Retry { delay_ms, reason: reason(reader)? }
            }
            RELEASE => Outcome::Release,
            DEAD_LETTER => Outcome::DeadLetter { reason: reason(reader)? },
            _ => return Err(before.unsupported("an unknown outcome")),
        };
        Ok(Settle { held, outcome })
    }
}

impl Atomic {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.producer);
        out.put_u64_le(self.sequence);
        put_count(out, self.parts.len());
        for part in &self.parts {
            out.put_u32_le(part.target);
            put_option(out, part.expects, BufMut::put_u64_le);
        }
        put_count(out, self.settles.len());
        for AtomicSettle { channel, settle } in &self.settles {
            out.put_u16_le(*channel);
            settle.encode(out);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Atomic, DecodeError> {
        let (producer, sequence) = (reader.u32()?, reader.u64()?);
        let parts = reader.list(ATOMIC_PARTS_MAX, 5, |reader| {
            Ok(AtomicPart { target: reader.u32()?, expects: reader.option(Reader::u64)? })
        })?;
        let settles = reader.list(ATOMIC_SETTLES_MAX, 2 + Held::BYTES + 1, |reader| {
            Ok(AtomicSettle { channel: reader.u16()?, settle: Settle::decode(reader)? })
        })?;
        Ok(Atomic { producer, sequence, parts, settles, batches: Bytes::new() })
    }

    /// The batch of each part.
    ///
    /// # Errors
    ///
    /// The bytes are no batches, or not as many as there are parts.
    pub fn split(&self) -> Result<Vec<Bytes>, DecodeError> {
        let (mut rest, mut batches) = (self.batches.clone(), Vec::with_capacity(self.parts.len()));
        for _ in &self.parts {
            let len = BatchHeader::peek(&rest)?.len as usize;
            batches.push(rest.split_to(len));
        }
        if rest.is_empty() {
            return Ok(batches);
        }
        let what = "bytes follow the last batch of an atomic group";
        Err(DecodeError::new(ErrorCode::MalformedFrame, self.batches.len() - rest.len(), what))
    }
}

pub(crate) fn reason(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    reader.text(REASON_BYTES_MAX).map(str::to_owned)
}

impl Credit {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u32_le(self.messages);
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.begun);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Credit, DecodeError> {
        Ok(Credit { messages: reader.u32()?, bytes: reader.u64()?, begun: reader.u64()? })
    }
}

impl Consume {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_name(out, Some(self.name.as_str()));
        put_name(out, self.group.as_ref().map(AsRef::as_ref));
        self.start.encode(out);
        put_option(out, self.lease_ms, BufMut::put_u32_le);
        self.credit.encode(out);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Consume, DecodeError> {
        Ok(Consume {
            name: reader.name()?,
            group: reader.optional_group()?,
            start: Start::decode(reader)?,
            lease_ms: reader.option(lease_ms)?,
            credit: Credit::decode(reader)?,
        })
    }
}

impl DeadAction {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        let (tag, offset, dry_run) = match *self {
            DeadAction::List { from, limit } => {
                out.put_u8(LIST);
                out.put_u64_le(from);
                return out.put_u32_le(limit);
            }
            DeadAction::Replay { offset, dry_run } => (REPLAY, offset, dry_run),
            DeadAction::Drop { offset, dry_run } => (DROP, offset, dry_run),
        };
        out.put_u8(tag);
        put_option(out, offset, BufMut::put_u64_le);
        put_bool(out, dry_run);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<DeadAction, DecodeError> {
        let before = reader.clone();
        match reader.u8()? {
            LIST => Ok(DeadAction::List { from: reader.u64()?, limit: limit(reader, LIST_MAX)? }),
            REPLAY => {
                let offset = reader.option(Reader::u64)?;
                Ok(DeadAction::Replay { offset, dry_run: reader.bool()? })
            }
            DROP => {
                let offset = reader.option(Reader::u64)?;
                Ok(DeadAction::Drop { offset, dry_run: reader.bool()? })
            }
            _ => Err(before.error(ErrorCode::Unsupported, "an unknown action on dead letters")),
        }
    }
}
