//! Values as a person writes them: `2s`, `1h30m`, `1 KiB`, `50k/s`, `k=v`, `-2h`.
//!
//! Each parser accepts one notation and says in its error what it would have accepted. A number
//! without a unit is never guessed to be seconds or bytes where that could be wrong by a thousand.

use std::fmt;
use std::time::Duration;

/// A value that could not be read; the text says what is accepted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadValue(String);

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadValue {}

fn bad<T>(text: impl Into<String>) -> Result<T, BadValue> {
    Err(BadValue(text.into()))
}

/// Units of time in milliseconds; the order is that of the error text.
const TIME_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// Reads `500ms`, `2s`, `1h30m`, `2h 5m`, `1.5s`, `7d`. `0` needs no unit.
pub(crate) fn duration(text: &str) -> Result<Duration, BadValue> {
    let hint = "write a duration as 500ms, 2s, 1h30m or 7d";
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return bad(hint);
    }
    let mut total_ms = 0.0f64;
    while !rest.is_empty() {
        let (number, after) = split_number(rest).map_or_else(|| bad(hint), Ok)?;
        let unit_len = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_len);
        let Some((_, factor)) = TIME_UNITS.iter().find(|(name, _)| *name == unit) else {
            return bad(hint);
        };
        #[expect(clippy::cast_precision_loss, reason = "the factors are far below 2^53")]
        {
            total_ms += number * *factor as f64;
        }
        rest = next.trim_start();
    }
    // LIMIT: a hundred years, so that sums with the clock cannot overflow anywhere behind this.
    if total_ms > 100.0 * 366.0 * 86_400_000.0 {
        return bad("the longest duration is 100 years");
    }
    Ok(Duration::from_micros(rounded(total_ms * 1_000.0)))
}

/// A duration that may not be zero.
pub(crate) fn nonzero_duration(text: &str) -> Result<Duration, BadValue> {
    match duration(text)? {
        Duration::ZERO => bad("must be longer than 0"),
        value => Ok(value),
    }
}

/// A retry policy: `1s..10m` doubles, `5s` stays; `factor=1.5` and `jitter=20%` may follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    pub(crate) factor_percent: u32,
    pub(crate) jitter_percent: u32,
}

/// Reads a retry policy.
pub(crate) fn retry(text: &str) -> Result<Retry, BadValue> {
    let mut parts = text.split(',').map(str::trim);
    let range = parts.next().unwrap_or_default();
    let (min, max) = match range.split_once("..") {
        Some((min, max)) => (duration(min)?, duration(max)?),
        None => (duration(range)?, duration(range)?),
    };
    if min > max {
        return bad("the first duration must not be longer than the second, as in 1s..10m");
    }
    let factor_percent = if min == max { 100 } else { 200 };
    let mut retry = Retry { min, max, factor_percent, jitter_percent: 0 };
    for part in parts {
        match part.split_once('=') {
            Some(("factor", factor)) => retry.factor_percent = percent(factor, 100.0)?,
            Some(("jitter", jitter)) => {
                let jitter = jitter.strip_suffix('%');
                let hint = "write the jitter in percent, as in jitter=20%";
                retry.jitter_percent = jitter.map_or_else(|| bad(hint), |n| percent(n, 1.0))?;
            }
            _ => return bad(format!("\"{part}\" is neither factor=N nor jitter=N%")),
        }
    }
    if !(100..=1_000).contains(&retry.factor_percent) {
        return bad("the factor lies within 1 and 10");
    }
    if retry.jitter_percent > 100 {
        return bad("the jitter is 100% at most");
    }
    Ok(retry)
}

/// A number times so much, rounded, in percent.
fn percent(text: &str, times: f64) -> Result<u32, BadValue> {
    let number = split_number(text).filter(|(_, rest)| rest.is_empty());
    let (number, _) = number.map_or_else(|| bad(format!("\"{text}\" is not a number")), Ok)?;
    u32::try_from(rounded(number * times)).or_else(|_large| bad("the number is too large"))
}

/// Factors of sizes. Decimal and binary, as the disk and the memory makers write them.
const SIZE_UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads `100`, `1KiB`, `1 MiB`, `10GB`.
pub(crate) fn size(text: &str) -> Result<u64, BadValue> {
    let hint = "write a size as 100, 1KiB, 10MB or 1GiB";
    let (number, unit) = split_number(text.trim()).map_or_else(|| bad(hint), Ok)?;
    match SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim()) {
        Some((_, factor)) => scaled(number, *factor, hint),
        None => bad(hint),
    }
}

/// Reads `100`, `10k`, `2.5M`: how many.
pub(crate) fn count(text: &str) -> Result<u64, BadValue> {
    let hint = "write a number as 1000, 50k or 2M";
    let (number, unit) = split_number(text.trim()).map_or_else(|| bad(hint), Ok)?;
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "M" | "m" => 1_000_000,
        "G" | "g" => 1_000_000_000,
        _ => return bad(hint),
    };
    scaled(number, factor, hint)
}

/// A count that may not be zero.
pub(crate) fn nonzero_count(text: &str) -> Result<u64, BadValue> {
    match count(text)? {
        0 => bad("must be at least 1"),
        value => Ok(value),
    }
}

/// Reads `50k/s`, `2000/s` or `2000`: messages per second.
pub(crate) fn rate(text: &str) -> Result<u64, BadValue> {
    match count(text.trim().strip_suffix("/s").unwrap_or(text)) {
        Ok(0) => bad("the rate must be at least 1/s"),
        Ok(value) => Ok(value),
        Err(_) => bad("write a rate as 2000/s or 50k/s"),
    }
}

/// Reads `name=value`; the value may hold further `=`.
pub(crate) fn header(text: &str) -> Result<(String, String), BadValue> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bad("write a header as name=value"),
    }
}

/// Where to read from, or to move a group to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The oldest message kept.
    Earliest,
    /// Behind the newest message.
    Latest,
    /// This offset.
    Offset(u64),
    /// The first message accepted since this long ago.
    Ago(Duration),
}

/// Reads `earliest`, `latest`, an offset, or `-2h`.
pub(crate) fn place(text: &str) -> Result<Place, BadValue> {
    let hint = "write earliest, latest, an offset as 1200, or a time ago as -2h";
    match text {
        "earliest" => Ok(Place::Earliest),
        "latest" => Ok(Place::Latest),
        _ => match text.strip_prefix('-') {
            Some(ago) => duration(ago).map_or_else(|_| bad(hint), |ago| Ok(Place::Ago(ago))),
            None => text.parse().map_or_else(|_| bad(hint), |at| Ok(Place::Offset(at))),
        },
    }
}

impl Place {
    pub(crate) fn start(self) -> posthaste::Start {
        match self {
            Self::Earliest => posthaste::Start::Earliest,
            Self::Latest => posthaste::Start::Latest,
            Self::Offset(offset) => posthaste::Start::Position(offset),
            Self::Ago(ago) => posthaste::Start::Ago(ago),
        }
    }
}

/// Splits a leading decimal number off. `None` if there is none.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end =
        text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let number: f64 = digits.replace('_', "").parse().ok()?;
    Some((number, rest))
}

fn scaled(number: f64, factor: u64, hint: &str) -> Result<u64, BadValue> {
    #[expect(clippy::cast_precision_loss, reason = "the factors are powers far below 2^53")]
    let product = number * factor as f64;
    // LIMIT: above 2^53 a decimal no longer means what was written.
    if product > 9.0e15 || product.fract() != 0.0 {
        return bad(hint);
    }
    Ok(rounded(product))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "callers pass non-negative values below 2^53; the cast saturates beyond"
)]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> Option<u128> {
        duration(text).ok().map(|d| d.as_millis())
    }

    #[test]
    fn durations_need_a_unit_and_may_be_sums() {
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("2s"), Some(2_000));
        assert_eq!(ms("1.5s"), Some(1_500));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("2h 5m"), Some(7_500_000));
        assert_eq!(ms("7d"), Some(604_800_000));
        assert_eq!(ms("0"), Some(0));
        for wrong in ["", "2", "s", "2x", "-2s", "1h30", "9999999w", "1..2s", "2 s 3", "ß", "1e3s"]
        {
            assert_eq!(ms(wrong), None, "{wrong:?}");
        }
        assert!(nonzero_duration("0").is_err());
    }

    #[test]
    fn a_retry_policy_is_a_range_with_a_factor_and_jitter() {
        let s = Duration::from_secs;
        let policy = |min, max, factor_percent, jitter_percent| {
            Ok(Retry { min: s(min), max: s(max), factor_percent, jitter_percent })
        };
        assert_eq!(retry("1s..10m"), policy(1, 600, 200, 0));
        assert_eq!(retry("5s"), policy(5, 5, 100, 0));
        assert_eq!(retry("1s..10m,factor=1.5,jitter=20%"), policy(1, 600, 150, 20));
        assert_eq!(retry("1s..10m, jitter=100%"), policy(1, 600, 200, 100));
        for wrong in [
            "",
            "10m..1s",
            "1s..",
            "1s,factor=0.5",
            "1s,factor=11",
            "1s,factor=x",
            "1s,factor=",
            "1s,jitter=101%",
            "1s,jitter=20",
            "1s,jitter=-1%",
            "1s,often",
            "1s,factor=99999999999",
        ] {
            assert!(retry(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes_counts_and_rates_mean_what_is_written() {
        assert_eq!(size("100"), Ok(100));
        assert_eq!(size("1KiB"), Ok(1_024));
        assert_eq!(size("1 MiB"), Ok(1 << 20));
        assert_eq!(size("1.5kB"), Ok(1_500));
        assert_eq!(count("50k"), Ok(50_000));
        assert_eq!(count("1_000"), Ok(1_000));
        assert_eq!(rate("50k/s"), Ok(50_000));
        assert_eq!(rate("2000"), Ok(2_000));
        for wrong in ["", "k", "1.5", "12q", "99999999999G", "-1", "."] {
            assert!(count(wrong).is_err(), "{wrong:?}");
        }
        assert!(size("1 mib").is_err());
        assert!(rate("0/s").is_err());
    }

    #[test]
    fn places_are_names_offsets_or_times_ago() {
        assert_eq!(place("earliest"), Ok(Place::Earliest));
        assert_eq!(place("1200"), Ok(Place::Offset(1_200)));
        assert_eq!(place("-2h"), Ok(Place::Ago(Duration::from_secs(7_200))));
        for wrong in ["", "-", "-5", "newest", "1.5"] {
            assert!(place(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_header_value_may_hold_equal_signs() {
        assert_eq!(header("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(header("=b").is_err());
        assert!(header("a").is_err());
    }
}
