//! Which moment a recurrence means, in a time zone. The zones are part of the program, so that the same version comes to the
//! same times on every machine.
//!
//! Where clocks are put forward, a time that is left out counts as the same stretch later; where they are put back, a
//! time that comes twice counts once, and twice only for a recurrence of every hour.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};
use posthaste_protocol::cron::{Cron, Recurrence};
use std::sync::LazyLock;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Days looked at for the next time: the 29th of February comes after eight years at the latest.
const DAYS_MAX: usize = 366 * 8 + 3;

/// The time zone of an IANA name.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok()
}

/// The first time after `now_ms`, in milliseconds since 1970; `None`: there is none before the calendar ends. What recurs
/// after an interval does so from `last_ms` on.
pub(super) fn next(
    recurrence: &Recurrence,
    zone: &TimeZone,
    last_ms: u64,
    now_ms: u64,
) -> Option<u64> {
    match recurrence {
        Recurrence::EveryMs(every_ms) => {
            let gone = now_ms.saturating_sub(last_ms) / every_ms;
            last_ms.checked_add(every_ms.checked_mul(gone.checked_add(1)?)?)
        }
        Recurrence::Cron(cron) => next_of_cron(cron, zone, now_ms),
    }
}

fn next_of_cron(cron: &Cron, zone: &TimeZone, now_ms: u64) -> Option<u64> {
    let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    // From the day before: its last hour may come again.
    let first = zone.to_datetime(now).date().checked_sub(1.day()).ok()?;
    let next =
        first.series(1.day()).take(DAYS_MAX).find_map(|day| first_of_day(cron, zone, day, now));
    u64::try_from(next?.as_millisecond()).ok()
}

/// The first time of a day that lies after `now`.
fn first_of_day(cron: &Cron, zone: &TimeZone, day: Date, now: Timestamp) -> Option<Timestamp> {
    let weekday = day.weekday().to_sunday_zero_offset();
    let (month, number, weekday) =
        (day.month().try_into(), day.day().try_into(), weekday.try_into());
    if !cron.is_day(month.ok()?, number.ok()?, weekday.ok()?) {
        return None;
    }
    let minutes = || cron.hours().flat_map(|hour| cron.minutes().map(move |minute| (hour, minute)));
    let times = minutes().filter_map(|(hour, minute)| {
        Some(day.at(hour.try_into().ok()?, minute.try_into().ok()?, 0, 0))
    });
    times.flat_map(|time| moments(cron, zone, time)).filter(|moment| *moment > now).min()
}

/// When a time of the clock is.
fn moments(cron: &Cron, zone: &TimeZone, time: DateTime) -> impl Iterator<Item = Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    let comes_twice = matches!(ambiguous.offset(), AmbiguousOffset::Fold { .. });
    let later = (comes_twice && cron.is_hourly()).then(|| ambiguous.later().ok());
    [ambiguous.compatible().ok(), later.flatten()].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond().try_into().unwrap()
    }

    fn times(when: &str, zone_name: &str, from: &str, count: usize) -> Vec<String> {
        let (recurrence, zone) = (Recurrence::parse(when).unwrap(), zone(zone_name).unwrap());
        let mut at = ms(from);
        let mut times = Vec::new();
        for _ in 0..count {
            let after = next(&recurrence, &zone, at, at).expect("there is a next time");
            assert!(after > at);
            at = after;
            times.push(Timestamp::from_millisecond(at.try_into().unwrap()).unwrap().to_string());
        }
        times
    }

    #[test]
    fn a_time_of_day_follows_the_zone_through_the_year() {
        assert_eq!(
            times("0 9 * * mon-fri", "Europe/Berlin", "2026-03-26T12:00:00Z", 3),
            ["2026-03-27T08:00:00Z", "2026-03-30T07:00:00Z", "2026-03-31T07:00:00Z"]
        );
        assert_eq!(times("0 9 * * *", "UTC", "2026-03-28T09:00:00Z", 1), ["2026-03-29T09:00:00Z"]);
    }

    #[test]
    fn a_time_that_is_left_out_comes_the_same_stretch_later() {
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
        );
        let quarters = times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3);
        assert_eq!(
            quarters,
            ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]
        );
    }

    #[test]
    fn a_time_that_comes_twice_counts_once_and_every_hour_counts_twice() {
        assert_eq!(
            times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(
            times("30 * * * *", "Europe/Berlin", "2026-10-24T23:40:00Z", 3),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"]
        );
        // Clocks go back at midnight: the last hour of the day before comes again.
        assert_eq!(
            times("30 * * * *", "America/Havana", "2026-11-01T03:40:00Z", 3),
            ["2026-11-01T04:30:00Z", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"]
        );
    }

    #[test]
    fn the_rarest_day_is_found() {
        assert_eq!(
            times("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1),
            ["2104-02-29T00:00:00Z"],
            "2100 is no leap year"
        );
        assert_eq!(times("@yearly", "UTC", "2026-01-01T00:00:00Z", 1), ["2027-01-01T00:00:00Z"]);
    }

    #[test]
    fn an_interval_keeps_its_beat_however_late_it_is_looked_at() {
        let every = Recurrence::parse("@every 10m").unwrap();
        let utc = zone("UTC").unwrap();
        let at = |last, now| next(&every, &utc, last, now);
        assert_eq!(at(0, 0), Some(600_000));
        assert_eq!(at(0, 599_999), Some(600_000));
        assert_eq!(at(0, 600_000), Some(1_200_000));
        assert_eq!(at(0, 6_000_001), Some(6_600_000));
        assert_eq!(at(5, 0), Some(600_005), "the clock may stand before the last time");
        assert_eq!(at(u64::MAX - 5, u64::MAX), None);
    }

    #[test]
    fn an_unknown_zone_is_none() {
        assert!(zone("Europe/Atlantis").is_none());
        assert!(zone("").is_none());
        assert!(zone("../../etc/passwd").is_none());
        assert!(zone("America/New_York").is_some());
    }

    #[test]
    fn the_end_of_the_calendar_is_no_panic() {
        let cron = Recurrence::parse("* * * * *").unwrap();
        let utc = zone("UTC").unwrap();
        assert_eq!(next(&cron, &utc, 0, u64::MAX), None);
        assert_eq!(next(&cron, &utc, 0, i64::MAX as u64), None);
        assert_eq!(next(&cron, &utc, 0, 253_402_300_740_000), None);
    }
}
