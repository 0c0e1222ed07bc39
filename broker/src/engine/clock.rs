//! [`Clock`]: the time of the broker, made of the system's wall clock and a clock that only goes on.
//!
//! Wall clocks jump. The broker's wall time never steps back, follows small steps forward at once and large ones
//! at double pace. What removes messages by their age sees no jumps between two starts either: see `shard::aging`.

use super::Now;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A larger step forward of the system's clock is followed slowly.
const STEP_US: u64 = 600_000_000;

/// Both clocks of the process.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The last reading: monotonic and wall, in microseconds.
    last: Option<(u64, u64)>,
    /// The wall time that the log had reached before this process, in microseconds.
    logged_us: u64,
    is_catching_up: bool,
    system: System,
}

/// Where the wall clock is read.
#[derive(Debug)]
enum System {
    Real,
    #[cfg(test)]
    Simulated(std::sync::Arc<std::sync::atomic::AtomicU64>),
    /// The real one, and what a test added to it before and since the start.
    #[cfg(feature = "testing")]
    Ahead {
        controls: super::testing::Controls,
        at_start_us: u64,
    },
}

impl System {
    /// Since 1970.
    fn micros(&self) -> u64 {
        match self {
            System::Real => {
                micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
            }
            #[cfg(test)]
            System::Simulated(wall_us) => wall_us.load(std::sync::atomic::Ordering::Relaxed),
            #[cfg(feature = "testing")]
            System::Ahead { controls, .. } => System::Real.micros() + controls.ahead_us(),
        }
    }

    /// What is to be added to the time that has passed since the start.
    fn ahead_us(&self) -> u64 {
        #[cfg(feature = "testing")]
        if let System::Ahead { controls, at_start_us } = self {
            return controls.ahead_us() - at_start_us;
        }
        0
    }
}

impl Clock {
    pub(crate) fn new() -> Clock {
        let (start, system) = (Instant::now(), System::Real);
        Clock { start, last: None, logged_us: 0, is_catching_up: false, system }
    }

    /// Reads the wall clock from a number, in microseconds, that the test sets.
    #[cfg(test)]
    pub(crate) fn simulated(wall_us: std::sync::Arc<std::sync::atomic::AtomicU64>) -> Clock {
        Clock { system: System::Simulated(wall_us), ..Clock::new() }
    }

    /// Runs ahead of the system's clocks by what a test says.
    #[cfg(feature = "testing")]
    pub(crate) fn ahead(controls: super::testing::Controls) -> Clock {
        let at_start_us = controls.ahead_us();
        Clock { system: System::Ahead { controls, at_start_us }, ..Clock::new() }
    }

    /// The log has been here already: time goes on from there, whatever the system's clock says.
    pub(crate) fn not_before(&mut self, wall_ms: u64) {
        self.logged_us = wall_ms.saturating_mul(1_000);
    }

    /// Reads both.
    pub(crate) fn now(&mut self) -> Now {
        let mono_us = micros(self.start.elapsed()) + self.system.ahead_us();
        self.read(self.system.micros(), mono_us)
    }

    fn read(&mut self, system_us: u64, mono_us: u64) -> Now {
        let wall_us = match self.last {
            None => system_us,
            Some((last_mono_us, last_wall_us)) => {
                let passed_us = mono_us.saturating_sub(last_mono_us);
                let wall_us = follow(last_wall_us, passed_us, system_us);
                self.note(wall_us < system_us, system_us.saturating_sub(wall_us));
                wall_us
            }
        };
        let wall_us = wall_us.max(self.logged_us);
        self.last = Some((mono_us, wall_us));
        Now { wall_ms: wall_us / 1_000, mono_ms: mono_us / 1_000 }
    }

    fn note(&mut self, is_behind: bool, by_us: u64) {
        if is_behind && !self.is_catching_up {
            tracing::warn!(
                seconds = by_us / 1_000_000,
                "the system's clock jumped ahead; broker time follows at double pace, a restart follows at once"
            );
        }
        self.is_catching_up = is_behind;
    }
}

/// Where the wall time is after `passed_us`, when the system says `system_us`.
fn follow(wall_us: u64, passed_us: u64, system_us: u64) -> u64 {
    let expected_us = wall_us.saturating_add(passed_us);
    if system_us <= expected_us.saturating_add(STEP_US) {
        return system_us.max(expected_us);
    }
    expected_us.saturating_add(passed_us)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const NOON: u64 = 1_700_000_000 * SECOND;
    const YEAR: u64 = 31_536_000 * SECOND;

    fn read(clock: &mut Clock, system_us: u64, mono_us: u64) -> u64 {
        clock.read(system_us, mono_us).wall_ms * 1_000
    }

    #[test]
    fn small_steps_forward_are_followed_at_once_and_steps_back_never() {
        let mut clock = Clock::new();
        assert_eq!(read(&mut clock, NOON, 0), NOON);
        assert_eq!(read(&mut clock, NOON + 60 * SECOND, SECOND), NOON + 60 * SECOND);
        assert_eq!(read(&mut clock, NOON - YEAR, 3 * SECOND), NOON + 62 * SECOND);
        assert_eq!(read(&mut clock, NOON + 70 * SECOND, 4 * SECOND), NOON + 70 * SECOND);
    }

    #[test]
    fn p31_a_jump_of_years_ahead_is_followed_at_double_pace_and_forgotten_when_it_is_taken_back() {
        let mut clock = Clock::new();
        read(&mut clock, NOON, 0);
        assert_eq!(read(&mut clock, NOON + 20 * YEAR, SECOND), NOON + 2 * SECOND);
        assert_eq!(read(&mut clock, NOON + 20 * YEAR, 11 * SECOND), NOON + 22 * SECOND);
        assert!(clock.is_catching_up);
        assert_eq!(read(&mut clock, NOON + 100 * SECOND, 100 * SECOND), NOON + 111 * SECOND);
        assert_eq!(read(&mut clock, NOON + 200 * SECOND, 200 * SECOND), NOON + 211 * SECOND);
        assert_eq!(read(&mut clock, NOON + 300 * SECOND, 288 * SECOND), NOON + 300 * SECOND);
        assert!(!clock.is_catching_up);
    }

    #[test]
    fn time_goes_on_where_the_log_was() {
        let mut clock = Clock::new();
        clock.not_before(NOON / 1_000);
        assert_eq!(read(&mut clock, NOON - YEAR, SECOND), NOON);
        assert_eq!(read(&mut clock, NOON - YEAR, 2 * SECOND), NOON + SECOND);
    }
}
