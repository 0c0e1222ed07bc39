//! Values of the command line: durations, sizes, counts, places, headers, recurrences.

// The command line is a program and no library: its file is compiled here once more.
#[expect(dead_code, reason = "only the parsers are fed")]
#[path = "../../../broker/cli/src/values.rs"]
mod values;

use posthaste_protocol::cron::{EVERY_MS_MAX, EVERY_MS_MIN, Recurrence};
use std::time::Duration;

const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Feeds `data`.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(duration) = values::duration(text) {
        assert!(duration <= CENTURY, "{text:?} is longer than the longest");
        // Behind every duration stands a sum with the clock.
        assert!(std::time::SystemTime::now().checked_add(duration).is_some());
    }
    if let Ok(values::Retry { min, max, .. }) = values::retry(text) {
        assert!(min <= max);
    }
    let is_exact = |number: u64| number <= 1 << 53;
    assert!(values::size(text).is_ok_and(is_exact) || values::size(text).is_err());
    assert!(values::count(text).is_ok_and(is_exact) || values::count(text).is_err());
    assert!(values::rate(text) != Ok(0) && values::nonzero_count(text) != Ok(0));
    assert_ne!(values::nonzero_duration(text), Ok(Duration::ZERO));
    if let Ok((name, value)) = values::header(text) {
        assert_eq!(format!("{name}={value}"), text);
    }
    drop(values::place(text));
    match Recurrence::parse(text) {
        Ok(Recurrence::EveryMs(every_ms)) => {
            assert!((EVERY_MS_MIN..=EVERY_MS_MAX).contains(&every_ms));
        }
        Ok(Recurrence::Cron(cron)) => {
            assert!(cron.hours().next().is_some() && cron.minutes().next().is_some());
        }
        Err(error) => assert!(error.at <= text.len() && error.marked(text).contains('^')),
    }
    check_complaint(values::duration(text).err());
    check_complaint(values::size(text).err());
}

/// What a complaint says is ours, not the made-up text.
fn check_complaint(complaint: Option<values::BadValue>) {
    if let Some(complaint) = complaint {
        assert!(complaint.to_string().is_ascii());
    }
}
