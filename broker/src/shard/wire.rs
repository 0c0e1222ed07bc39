//! Reading and writing the bytes of commands and checkpoints: little-endian, varints (LEB128).
//!
//! Reading never panics and never allocates more than the bytes at hand justify.

use super::effects::Range;
use super::schedules::Schedule;
use bytes::Bytes;
use posthaste_protocol::cron::RECURRENCE_BYTES_MAX;
use posthaste_protocol::limits::{SCHEDULE_BATCH_BYTES_MAX, ZONE_BYTES_MAX};
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Kind, Settings};

/// LIMIT: bytes of a reason; more than the wire lets through.
const REASON_BYTES_MAX: usize = 4_096;

/// How many settings there are; one bit of a mask each, as on the wire.
const SETTINGS: usize = 11;
/// Those of them that need no mask.
const SETTINGS_PLAIN: usize = 7;
/// Stands where a presence byte would: a mask follows.
const SETTINGS_MASKED: u8 = 2;

/// All settings, in the order of their bits.
fn setting_values(settings: &Settings) -> [Option<u64>; SETTINGS] {
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
    } = *settings;
    [
        max_attempts.map(u64::from),
        lease_ms.map(u64::from),
        retry_min_ms.map(u64::from),
        retry_max_ms.map(u64::from),
        retain_ms,
        retain_bytes,
        max_messages,
        retry_factor_percent.map(u64::from),
        retry_jitter_percent.map(u64::from),
        id_window_ms,
        max_hold_ms.map(u64::from),
    ]
}

/// The same way back; `None`: a value is too large for its setting.
fn settings_of(values: [Option<u64>; SETTINGS]) -> Option<Settings> {
    let [
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
    ] = values;
    let narrow = |value: Option<u64>| value.map(u32::try_from).transpose().ok();
    Some(Settings {
        max_attempts: narrow(max_attempts)?,
        lease_ms: narrow(lease_ms)?,
        retry_min_ms: narrow(retry_min_ms)?,
        retry_max_ms: narrow(retry_max_ms)?,
        retain_ms,
        retain_bytes,
        max_messages,
        retry_factor_percent: narrow(retry_factor_percent)?,
        retry_jitter_percent: narrow(retry_jitter_percent)?,
        id_window_ms,
        max_hold_ms: narrow(max_hold_ms)?,
    })
}

/// What is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
}

/// Reads from the front of some bytes.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes, at: 0 }
    }

    /// An error at the place read last.
    pub(crate) fn error(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| Some((end, self.bytes.get(self.at..end)?)));
        let (end, taken) = taken.ok_or_else(|| self.error("the bytes end too early"))?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// The next number, left where it is.
    pub(crate) fn peek_u16(&self) -> Option<u16> {
        self.bytes.get(self.at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.error("neither 0 nor 1")),
        }
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.error("a number is longer than it has to be"));
                }
                return Ok(value);
            }
        }
        Err(self.error("a number does not fit"))
    }

    pub(crate) fn varint32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_overflow| self.error("a number does not fit"))
    }

    /// A count of things that take at least `bytes_min` each: never more than can follow.
    pub(crate) fn count(&mut self, bytes_min: usize) -> Result<usize, Malformed> {
        let count = self.varint()?;
        let fits = (self.remaining() / bytes_min.max(1)) as u64;
        if count > fits {
            return Err(self.error("a count is larger than the bytes that follow"));
        }
        usize::try_from(count).map_err(|_overflow| self.error("a number does not fit"))
    }

    pub(crate) fn text(&mut self, bytes_max: usize) -> Result<&'a str, Malformed> {
        let len = self.count(1)?;
        if len > bytes_max {
            return Err(self.error("a text is too long"));
        }
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_broken| self.error("a text is not UTF-8"))
    }

    pub(crate) fn reason(&mut self) -> Result<&'a str, Malformed> {
        self.text(REASON_BYTES_MAX)
    }

    pub(crate) fn name(&mut self) -> Result<Name, Malformed> {
        let text = self.text(usize::from(u8::MAX))?;
        Name::try_from(text).map_err(|error| self.error(error.rule()))
    }

    pub(crate) fn group_name(&mut self) -> Result<GroupName, Malformed> {
        let text = self.text(usize::from(u8::MAX))?;
        GroupName::try_from(text).map_err(|error| self.error(error.rule()))
    }

    pub(crate) fn kind(&mut self) -> Result<Kind, Malformed> {
        match self.u8()? {
            1 => Ok(Kind::Queue),
            2 => Ok(Kind::Topic),
            _ => Err(self.error("neither queue nor topic")),
        }
    }

    /// A presence byte and a value.
    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Input<'a>) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    /// See [`Output::put_settings`].
    pub(crate) fn settings(&mut self) -> Result<Settings, Malformed> {
        let mut values = [None; SETTINGS];
        if self.bytes.get(self.at) == Some(&SETTINGS_MASKED) {
            self.u8()?;
            let mask = self.varint()?;
            if mask >> SETTINGS != 0 || mask >> SETTINGS_PLAIN == 0 {
                return Err(self.error("a mask of settings with a bit too many, or too few"));
            }
            for (bit, value) in values.iter_mut().enumerate() {
                if mask >> bit & 1 == 1 {
                    *value = Some(self.varint()?);
                }
            }
        } else {
            for value in &mut values[..SETTINGS_PLAIN] {
                *value = self.option(Input::varint)?;
            }
        }
        settings_of(values).ok_or_else(|| self.error("a number does not fit"))
    }

    /// A range, told as its distance from `from` (to either side) and its length.
    pub(crate) fn range(&mut self, from: u64) -> Result<Range, Malformed> {
        let zigzag = self.varint()?;
        let distance = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        let first = from.wrapping_add(distance);
        let count = self.varint()?;
        match first.checked_add(count) {
            Some(end) if first < end => Ok(Range { first, end }),
            _ => Err(self.error("a range is empty or overflows")),
        }
    }

    /// A count and ranges, each told from the end of the one before.
    pub(crate) fn ranges(&mut self) -> Result<Vec<Range>, Malformed> {
        let count = self.count(2)?;
        let mut ranges: Vec<Range> = Vec::with_capacity(count);
        for _ in 0..count {
            let from = ranges.last().map_or(0, |range| range.end);
            ranges.push(self.range(from)?);
        }
        Ok(ranges)
    }

    pub(crate) fn schedule(&mut self) -> Result<Schedule, Malformed> {
        let (name, to) = (self.name()?, self.name()?);
        let when = self.text(RECURRENCE_BYTES_MAX as usize)?.to_owned();
        let zone = self.text(ZONE_BYTES_MAX as usize)?.to_owned();
        let len = self.count(1)?;
        if len > SCHEDULE_BATCH_BYTES_MAX as usize {
            return Err(self.error("the message of a schedule is too long"));
        }
        let batch = Bytes::copy_from_slice(self.take(len)?);
        Ok(Schedule { name, to, when, zone, batch, next_ms: self.varint()? })
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.remaining() > 0 {
            return Err(self.error("there are bytes too many"));
        }
        Ok(())
    }
}

/// Writes what [`Input`] reads.
pub(crate) trait Output {
    fn put(&mut self, bytes: &[u8]);

    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(&[(value & 0x7f) as u8 | 0x80]);
            value >>= 7;
        }
        self.put(&[value as u8]);
    }

    fn put_bool(&mut self, value: bool) {
        self.put(&[u8::from(value)]);
    }

    fn put_text(&mut self, text: &str) {
        self.put_varint(text.len() as u64);
        self.put(text.as_bytes());
    }

    /// What is written can be read again: a reason is cut where it is too long.
    fn put_reason(&mut self, reason: &str) {
        let mut end = reason.len().min(REASON_BYTES_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.put_text(&reason[..end]);
    }

    fn put_kind(&mut self, kind: Kind) {
        self.put(&[match kind {
            Kind::Queue => 1,
            Kind::Topic => 2,
        }]);
    }

    fn put_option(&mut self, value: Option<u64>) {
        self.put_bool(value.is_some());
        if let Some(value) = value {
            self.put_varint(value);
        }
    }

    /// Settings: a presence byte and a value each, as long as there are only the first seven. With others: the byte 2,
    /// a mask of all that follow, and their values in the order of their bits.
    fn put_settings(&mut self, settings: &Settings) {
        let values = setting_values(settings);
        let (plain, others) = values.split_at(SETTINGS_PLAIN);
        if others.iter().all(Option::is_none) {
            return plain.iter().for_each(|value| self.put_option(*value));
        }
        let bits = values.iter().enumerate().map(|(bit, value)| u64::from(value.is_some()) << bit);
        self.put(&[SETTINGS_MASKED]);
        self.put_varint(bits.sum());
        values.iter().flatten().for_each(|value| self.put_varint(*value));
    }

    fn put_schedule(&mut self, schedule: &Schedule) {
        let Schedule { name, to, when, zone, batch, next_ms } = schedule;
        for text in [name.as_str(), to.as_str(), when, zone] {
            self.put_text(text);
        }
        self.put_varint(batch.len() as u64);
        self.put(batch);
        self.put_varint(*next_ms);
    }

    fn put_range(&mut self, from: u64, range: Range) {
        let distance = range.first.wrapping_sub(from);
        let sign = if distance >> 63 == 1 { u64::MAX } else { 0 };
        self.put_varint((distance << 1) ^ sign);
        self.put_varint(range.count());
    }

    fn put_ranges(&mut self, ranges: impl Iterator<Item = Range> + Clone) {
        self.put_varint(ranges.clone().count() as u64);
        let mut from = 0;
        for range in ranges {
            self.put_range(from, range);
            from = range.end;
        }
    }
}

impl Output for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_sizes_come_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            bytes.put_varint(value);
            let mut input = Input::new(&bytes);
            assert_eq!((input.varint(), input.remaining()), (Ok(value), 0));
        }
    }

    #[test]
    fn a_number_has_one_spelling() {
        assert!(Input::new(&[0x80, 0x00]).varint().is_err());
        let mut too_large = [0xff; 10];
        too_large[9] = 2;
        assert!(Input::new(&too_large).varint().is_err());
        assert!(Input::new(&[0xff; 11]).varint().is_err());
        assert!(Input::new(&[0x80]).varint().is_err());
    }

    #[test]
    fn ranges_come_back_in_any_order() {
        let ranges = [(5, 9), (20, 21), (0, 3), (u64::MAX - 1, u64::MAX), (1, u64::MAX)];
        let ranges = ranges.map(|(first, end)| Range { first, end });
        let mut bytes = Vec::new();
        bytes.put_ranges(ranges.iter().copied());
        assert_eq!(Input::new(&bytes).ranges(), Ok(ranges.to_vec()));
    }

    #[test]
    fn a_count_cannot_promise_more_than_follows() {
        assert!(Input::new(&[0xff, 0xff, 0xff, 0x7f, 1, 1]).ranges().is_err());
        assert!(Input::new(&[1, 0, 0]).ranges().is_err(), "empty range");
        assert!(Input::new(&[1, 1, 5]).ranges().is_err(), "overflow");
    }
}
