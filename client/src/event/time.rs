//! Times as text (RFC 3339), in UTC, from the year 0 to 9999.

use std::time::{Duration, SystemTime};

const DAY: i64 = 86_400;
/// From the year 0, 1 March, to 1970, 1 January, in days.
const TO_1970: i64 = 719_468;

/// `2026-11-23T17:05:00.25Z`, with as many digits as it needs; `None` outside of the years 0 to 9999.
pub(super) fn format(time: SystemTime) -> Option<String> {
    let (seconds, nanos) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).ok()?, after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let seconds = -i64::try_from(before.as_secs()).ok()?;
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds - 1, 1_000_000_000 - nanos),
            }
        }
    };
    let (year, month, day) = date_of(seconds.div_euclid(DAY));
    if !(0..=9_999).contains(&year) {
        return None;
    }
    let rest = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanos > 0 {
        text.push_str(format!(".{nanos:09}").trim_end_matches('0'));
    }
    text.push('Z');
    Some(text)
}

/// Reads it back, from any offset to UTC. Digits behind the ninth are cut off.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let has = |at: usize, one: &[u8]| text.as_bytes().get(at).is_some_and(|b| one.contains(b));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_shaped =
        has(4, b"-") && has(7, b"-") && has(10, b"Tt ") && has(13, b":") && has(16, b":");
    let days = days_of(year, month, day);
    // A leap second counts as the second behind it.
    if !is_shaped || hour > 23 || minute > 59 || second > 60 || date_of(days) != (year, month, day)
    {
        return None;
    }
    let (nanos, zone) = fraction(text.get(19..)?)?;
    let seconds = days * DAY + hour * 3_600 + minute * 60 + second - offset(zone)?;
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if seconds < 0 { epoch.checked_sub(whole) } else { epoch.checked_add(whole) };
    time?.checked_add(Duration::from_nanos(nanos))
}

/// Nanoseconds of a fraction, if there is one, and what follows it.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(rest) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let (digits, zone) = rest.split_at(end);
    let nanos = format!("{digits:0<9}").get(..9)?.parse().ok()?;
    (!digits.is_empty()).then_some((nanos, zone))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let is_two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !is_two(hours) || !is_two(minutes) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Days since 1970 of a date. Years begin in March here: the leap day is their last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - TO_1970
}

/// The date of so many days since 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + TO_1970;
    let (era, in_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * of_era + of_era / 4 - of_era / 100);
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: u64) -> SystemTime {
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        (if seconds < 0 { epoch - whole } else { epoch + whole }) + Duration::from_nanos(nanos)
    }

    #[test]
    fn times_are_written_and_read_back() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_522_947_075, 250_000_000, "2018-04-05T16:51:15.25Z"),
            (253_402_300_799, 999_999_999, "9999-12-31T23:59:59.999999999Z"),
            (-1, 500_000_000, "1969-12-31T23:59:59.5Z"),
            (-62_167_219_200, 0, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(format(at(seconds, nanos)).as_deref(), Some(text));
            assert_eq!(parse(text), Some(at(seconds, nanos)), "{text}");
        }
        assert_eq!(format(at(253_402_300_800, 0)), None);
    }

    #[test]
    fn every_day_of_some_centuries_has_its_date() {
        for days in -40_000..100_000 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
    }

    #[test]
    fn offsets_count_and_nonsense_is_refused() {
        let noon = parse("2018-04-05T12:00:00Z");
        assert_eq!(parse("2018-04-05t14:30:00.000+02:30"), noon);
        assert_eq!(parse("2018-04-05T07:00:00-05:00"), noon);
        assert_eq!(parse("2016-12-31T23:59:60Z"), parse("2017-01-01T00:00:00Z"));
        for bad in [
            "",
            "2018-04-05",
            "2018-04-05T12:00:00",
            "2018-02-29T12:00:00Z",
            "2018-13-01T12:00:00Z",
            "2018-00-01T12:00:00Z",
            "2018-04-05T24:00:00Z",
            "2018-04-05T12:00:00.Z",
            "2018-04-05T12:00:00.5",
            "2018-04-05T12:00:00+2:00",
            "2018-04-05T12:00:00Zz",
            "+018-04-05T12:00:00Z",
            "2018-04-05T12:00:0éZ",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
