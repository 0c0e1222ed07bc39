//! When something recurs: five fields as in a crontab, `@daily` and its like, or `@every 10m`.
//!
//! ```text
//! minute 0-59 · hour 0-23 · day of month 1-31 · month 1-12 or jan-dec · day of week 0-7 or sun-sat
//! each: * or a list of N, N-M, with /STEP behind * or a range
//! ```
//! A day counts when its day of month and its day of week are both allowed; where both fields are restricted, one of them is
//! enough (as in Vixie's cron). This file knows the text; which moment that is, in which time zone, the broker knows.

/// LIMIT: bytes of a recurrence.
pub const RECURRENCE_BYTES_MAX: u32 = 256;
/// Shortest interval of `@every`: a second.
pub const EVERY_MS_MIN: u64 = 1_000;
/// Longest interval of `@every`: a year.
pub const EVERY_MS_MAX: u64 = 31_536_000_000;

/// When something recurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// At times of the clock.
    Cron(Cron),
    /// This long after the time before, in milliseconds.
    EveryMs(u64),
}

/// The times of a crontab line, as sets of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Bit 0 is Sunday.
    weekdays: u64,
}

/// What is wrong with the text of a recurrence, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at byte {at}")]
pub struct CronError {
    /// Byte of the text.
    pub at: usize,
    /// The rule that it breaks.
    pub what: &'static str,
}

impl CronError {
    /// The text, and a caret below the place.
    #[must_use]
    pub fn marked(&self, text: &str) -> String {
        let before = text.get(..self.at).unwrap_or(text);
        format!("{text}\n{}^ {}", " ".repeat(before.chars().count()), self.what)
    }
}

struct Field {
    min: u64,
    max: u64,
    /// From `min` on.
    names: &'static [&'static str],
    range: &'static str,
}

const MINUTE: Field = Field { min: 0, max: 59, names: &[], range: "a minute lies within 0 and 59" };
const HOUR: Field = Field { min: 0, max: 23, names: &[], range: "an hour lies within 0 and 23" };
const DAY: Field =
    Field { min: 1, max: 31, names: &[], range: "a day of the month lies within 1 and 31" };
const MONTH: Field = Field {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    range: "a month lies within 1 and 12, or is jan to dec",
};
const WEEKDAY: Field = Field {
    min: 0,
    max: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    range: "a day of the week lies within 0 and 7 (both are Sunday), or is sun to sat",
};

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl Recurrence {
    /// Reads the text of a recurrence.
    ///
    /// # Errors
    ///
    /// What is wrong, and at which byte.
    ///
    /// # Examples
    ///
    /// ```
    /// use posthaste_protocol::cron::Recurrence;
    ///
    /// assert!(Recurrence::parse("0 9 * * mon-fri").is_ok());
    /// let error = Recurrence::parse("0 25 * * *").unwrap_err();
    /// assert_eq!(error.marked("0 25 * * *"), "0 25 * * *\n  ^ an hour lies within 0 and 23");
    /// ```
    pub fn parse(text: &str) -> Result<Recurrence, CronError> {
        if text.len() > RECURRENCE_BYTES_MAX as usize {
            return Err(CronError { at: 0, what: "a recurrence has at most 256 bytes" });
        }
        let trimmed = text.trim_start();
        let start = text.len() - trimmed.len();
        let trimmed = trimmed.trim_end();
        if let Some(interval) = trimmed.strip_prefix("@every ") {
            let at = text.len() - text.trim_start().len() + "@every ".len();
            return every(interval, at).map(Recurrence::EveryMs);
        }
        if trimmed.starts_with('@') {
            let known = NICKNAMES.iter().find(|(name, _)| *name == trimmed);
            let what = "neither @hourly, @daily, @weekly, @monthly, @yearly nor @every INTERVAL";
            let (_, fields) = known.ok_or(CronError { at: start, what })?;
            return Cron::parse(fields).map(Recurrence::Cron);
        }
        Cron::parse(text).map(Recurrence::Cron)
    }
}

/// `90s`, `10m`, `1h30m`, `1d`.
fn every(text: &str, at: usize) -> Result<u64, CronError> {
    const RULE: &str = "an interval is made of numbers with d, h, m or s, as 1h30m";
    let mut sum = 0u64;
    let mut number: Option<u64> = None;
    for (index, char) in text.bytes().enumerate() {
        let error = CronError { at: at + index, what: RULE };
        if char.is_ascii_digit() {
            let digit = u64::from(char - b'0');
            let grown = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit));
            number = Some(grown.ok_or(error)?);
            continue;
        }
        let unit_ms = match char {
            b'd' => 86_400_000,
            b'h' => 3_600_000,
            b'm' => 60_000,
            b's' => 1_000,
            _ => return Err(error),
        };
        let part = number.take().and_then(|number| number.checked_mul(unit_ms));
        sum = part.and_then(|part| sum.checked_add(part)).ok_or(error)?;
    }
    if number.is_some() || text.is_empty() {
        return Err(CronError { at: at + text.len(), what: RULE });
    }
    if !(EVERY_MS_MIN..=EVERY_MS_MAX).contains(&sum) {
        return Err(CronError { at, what: "an interval lies within a second and a year" });
    }
    Ok(sum)
}

impl Cron {
    fn parse(text: &str) -> Result<Cron, CronError> {
        let mut words = words(text);
        let mut next = |field: &Field| match words.next() {
            Some((at, word)) => set(field, at, word),
            None => Err(CronError {
                at: text.trim_end().len(),
                what: "five fields are needed: minute, hour, day of month, month, day of week",
            }),
        };
        let (minutes, hours, days) = (next(&MINUTE)?, next(&HOUR)?, next(&DAY)?);
        let (months, mut weekdays) = (next(&MONTH)?, next(&WEEKDAY)?);
        if let Some((at, _)) = words.next() {
            return Err(CronError { at, what: "there are only five fields" });
        }
        weekdays = (weekdays | weekdays >> 7) & 0x7f;
        let cron = Cron { minutes, hours, days, months, weekdays };
        if !cron.can_be() {
            return Err(CronError { at: 0, what: "there is no such day in any year" });
        }
        Ok(cron)
    }

    /// Whether there is such a day at all; the 30th of February is none.
    fn can_be(&self) -> bool {
        const LONGEST: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        if !self.is_any_weekday() {
            return true;
        }
        (1..).zip(LONGEST).any(|(month, longest)| {
            let up_to = (1 << (longest + 1)) - 1;
            has(self.months, month) && self.days & up_to != 0
        })
    }

    fn is_any_weekday(&self) -> bool {
        self.weekdays == 0x7f
    }

    fn is_any_day(&self) -> bool {
        self.days == all(&DAY)
    }

    /// Whether it may be this day: the month from 1, the day from 1, the weekday from Sunday, 0.
    #[must_use]
    pub fn is_day(&self, month: u32, day: u32, weekday: u32) -> bool {
        let (day, weekday) = (has(self.days, day), has(self.weekdays, weekday));
        let is_day = match (self.is_any_day(), self.is_any_weekday()) {
            (false, false) => day || weekday,
            _ => day && weekday,
        };
        is_day && has(self.months, month)
    }

    /// The hours, in order.
    pub fn hours(&self) -> impl Iterator<Item = u32> {
        (0..24).filter(|hour| has(self.hours, *hour))
    }

    /// The minutes of each hour, in order.
    pub fn minutes(&self) -> impl Iterator<Item = u32> + Clone {
        (0..60).filter(|minute| has(self.minutes, *minute))
    }

    /// Every hour counts, so an hour that comes twice does, too.
    #[must_use]
    pub fn is_hourly(&self) -> bool {
        self.hours == all(&HOUR)
    }
}

const fn has(set: u64, bit: u32) -> bool {
    bit < 64 && set >> bit & 1 == 1
}

const fn all(field: &Field) -> u64 {
    span(field.min, field.max)
}

const fn span(first: u64, last: u64) -> u64 {
    (u64::MAX >> (63 - last)) & (u64::MAX << first)
}

/// Words and where they begin.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let start = text.as_ptr() as usize;
    text.split_ascii_whitespace().map(move |word| (word.as_ptr() as usize - start, word))
}

/// The set that a field stands for.
fn set(field: &Field, at: usize, word: &str) -> Result<u64, CronError> {
    let mut set = 0;
    let mut at = at;
    for part in word.split(',') {
        set |= part_of(field, at, part)?;
        at += part.len() + 1;
    }
    Ok(set)
}

fn part_of(field: &Field, at: usize, part: &str) -> Result<u64, CronError> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some((at + range.len() + 1, step))),
        None => (part, None),
    };
    let (first, last) = if range == "*" {
        // Sunday has two numbers; one is enough.
        (field.min, field.max.min(if field.max == 7 { 6 } else { field.max }))
    } else if let Some((first, last)) = range.split_once('-') {
        let behind = at + first.len() + 1;
        let (first, last) = (value(field, at, first)?, value(field, behind, last)?);
        if first > last {
            return Err(CronError { at, what: "a range begins behind its end" });
        }
        (first, last)
    } else {
        let value = value(field, at, range)?;
        if let Some((at, _)) = step {
            return Err(CronError { at: at - 1, what: "a step needs * or a range before it" });
        }
        (value, value)
    };
    let Some((at, text)) = step else { return Ok(span(first, last)) };
    let step = text.parse::<u64>().ok().filter(|step| (1..=field.max).contains(step));
    let step = step.ok_or(CronError { at, what: "a step is a number from 1, within the field" })?;
    let values = (first..=last).filter(|value| (value - first).is_multiple_of(step));
    Ok(values.fold(0, |set, value| set | 1 << value))
}

fn value(field: &Field, at: usize, text: &str) -> Result<u64, CronError> {
    let error = CronError { at, what: field.range };
    let lower = text.to_ascii_lowercase();
    if let Some(index) = field.names.iter().position(|name| *name == lower) {
        return Ok(field.min + index as u64);
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok().filter(|_| is_number);
    value.filter(|value| (field.min..=field.max).contains(value)).ok_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str) -> Cron {
        match Recurrence::parse(text) {
            Ok(Recurrence::Cron(cron)) => cron,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str) -> (usize, &'static str) {
        let error = Recurrence::parse(text).expect_err(text);
        (error.at, error.what)
    }

    #[test]
    fn lists_ranges_steps_and_names_are_read() {
        let cron = cron(" 5,10-12,*/30 8-18/5  1 jan,Mar MON-fri ");
        assert_eq!(cron.minutes().collect::<Vec<_>>(), [0, 5, 10, 11, 12, 30]);
        assert_eq!(cron.hours().collect::<Vec<_>>(), [8, 13, 18]);
        assert_eq!(cron.months, 0b1010);
        assert_eq!(cron.weekdays, 0b011_1110);
        assert!(!cron.is_hourly());
    }

    #[test]
    fn sunday_has_two_numbers_and_a_name() {
        assert_eq!(cron("0 0 * * 0"), cron("0 0 * * 7"));
        assert_eq!(cron("0 0 * * sun"), cron("0 0 * * 7"));
        assert_eq!(cron("0 0 * * 5-7").weekdays, 0b110_0001);
        assert_eq!(cron("0 0 * * */2").weekdays, 0b101_0101);
        assert_eq!(cron("@weekly"), cron("0 0 * * 0"));
    }

    #[test]
    fn of_two_restricted_kinds_of_day_one_is_enough() {
        let both = cron("0 0 13 * fri");
        assert!(both.is_day(1, 13, 2) && both.is_day(1, 14, 5) && !both.is_day(1, 14, 4));
        let day = cron("0 0 13 * *");
        assert!(day.is_day(1, 13, 2) && !day.is_day(1, 14, 5));
        let weekday = cron("0 0 * 2 fri");
        assert!(weekday.is_day(2, 14, 5) && !weekday.is_day(1, 14, 5));
    }

    #[test]
    fn intervals_are_sums_of_units() {
        let every = |text| Recurrence::parse(text);
        assert_eq!(every("@every 90s"), Ok(Recurrence::EveryMs(90_000)));
        assert_eq!(every(" @every 1h30m"), Ok(Recurrence::EveryMs(5_400_000)));
        assert_eq!(every("@every 365d"), Ok(Recurrence::EveryMs(EVERY_MS_MAX)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let fields = "five fields are needed: minute, hour, day of month, month, day of week";
        assert_eq!(refused(""), (0, fields));
        assert_eq!(refused("* * * * "), (7, fields));
        assert_eq!(refused("* * * * * *"), (10, "there are only five fields"));
        assert_eq!(refused("60 * * * *"), (0, MINUTE.range));
        assert_eq!(refused("0,, * * * *"), (2, MINUTE.range));
        assert_eq!(refused("0 -1 * * *"), (2, HOUR.range));
        assert_eq!(refused("0 +1 * * *"), (2, HOUR.range));
        assert_eq!(refused("0 1,2,24 * * *"), (6, HOUR.range));
        assert_eq!(refused("0 0 0 * *"), (4, DAY.range));
        assert_eq!(refused("0 0 1-32 * *"), (6, DAY.range));
        assert_eq!(refused("0 0 1 foo *"), (6, MONTH.range));
        assert_eq!(refused("0 0 1 1 8"), (8, WEEKDAY.range));
        assert_eq!(refused("0 18-8 * * *"), (2, "a range begins behind its end"));
        assert_eq!(refused("5/10 * * * *"), (1, "a step needs * or a range before it"));
        let step = "a step is a number from 1, within the field";
        assert_eq!(refused("*/0 * * * *"), (2, step));
        assert_eq!(refused("*/99999999999999999999 * * * *"), (2, step));
        assert_eq!(refused("*/60 * * * *"), (2, step));
        assert_eq!(refused("0 0 30,31 2 *"), (0, "there is no such day in any year"));
        let interval = "an interval is made of numbers with d, h, m or s, as 1h30m";
        assert_eq!(refused("@every 10"), (9, interval));
        assert_eq!(refused("@every "), (0, NICKNAME_RULE));
        assert_eq!(refused("@every 10y"), (9, interval));
        assert_eq!(refused("@every m"), (7, interval));
        assert_eq!(refused("@every 99999999999999999999d"), (26, interval));
        assert_eq!(refused("@every 0s"), (7, "an interval lies within a second and a year"));
        assert_eq!(refused(" @sometimes"), (1, NICKNAME_RULE));
        assert_eq!(refused(&"*".repeat(300)), (0, "a recurrence has at most 256 bytes"));
    }

    const NICKNAME_RULE: &str =
        "neither @hourly, @daily, @weekly, @monthly, @yearly nor @every INTERVAL";

    #[test]
    fn the_place_is_marked_below_the_text() {
        let text = "ü 25 * * *";
        let error = CronError { at: 3, what: "here" };
        assert_eq!(error.marked(text), "ü 25 * * *\n  ^ here");
    }

    #[test]
    fn no_text_makes_it_panic() {
        let words = ["*", "1", "-", "/", ",", " ", "@every ", "99", "jan", "sun", "d", "m", "é"];
        let mut state = 7u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..(state >> 60) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text += words[(state >> 33) as usize % words.len()];
            }
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if let Err(error) = Recurrence::parse(&text) {
                assert!(error.at <= text.len(), "{text:?}: {error:?}");
                assert!(error.marked(&text).contains('^'));
            }
        }
    }
}
