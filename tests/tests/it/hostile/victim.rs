//! A client that does everything right: its time for one message, in quiet and under attack.
//!
//! `POSTHASTE_STRICT=1` holds it to the figure of the promises, confirm p99 within twice the quiet
//! one; for a release build, one test at a time. Otherwise the machine is shared with other tests,
//! and the usual round is held against the usual quiet one, as it is where an attack is over before
//! there are enough rounds for a percentile.

use posthaste_protocol::request::{Kind, Outcome};
use posthaste_tests::Raw;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A debug build beside a hundred other tests is slower than what is promised of the product.
const IS_SLOW: bool = cfg!(debug_assertions);
/// The slowest round takes less than this even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(if IS_SLOW { 20 } else { 3 });
/// Below this nobody has been held up, whatever the quiet time was.
const FLOOR: Duration = Duration::from_millis(if IS_SLOW { 150 } else { 20 });
const STRICT_FLOOR: Duration = Duration::from_millis(2);
const QUIET_ROUNDS: usize = 25;
/// Rounds of which the slowest hundredth is more than an accident.
const ROUNDS_OF_P99: usize = 300;
/// Quick rounds in a row after which the disk has done what the test before left behind.
const CALM_ROUNDS: usize = 100;
/// Rounds whose median is one window.
const WINDOW: usize = 20;

/// Confirm and whole round of one message.
type Round = (Duration, Duration);

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    rounds: AtomicU64,
    times: Mutex<Vec<Round>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Victim {
    shared: Arc<Shared>,
    quiet: Vec<Round>,
    thread: Option<JoinHandle<()>>,
}

impl Victim {
    /// Measures the quiet, then goes on in a thread of its own.
    pub(super) fn beside(address: &str) -> Victim {
        let mut raw = Raw::greet(address);
        let id = raw.declare(Kind::Queue, "victim");
        raw.consume(1, "victim", 60_000);
        round(&mut raw, id);
        let mut rounds = QUIET_ROUNDS;
        if is_strict() {
            become_calm(&mut raw, id);
            rounds = ROUNDS_OF_P99 * 2;
        }
        let quiet = (0..rounds).map(|_| round(&mut raw, id)).collect();
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while !its.over.load(Ordering::Relaxed) {
                let took = round(&mut raw, id);
                its.times.lock().unwrap().push(took);
                its.rounds.fetch_add(1, Ordering::Relaxed);
            }
            // And once more, behind the attack.
            its.times.lock().unwrap().push(round(&mut raw, id));
        });
        Victim { shared, quiet, thread: Some(thread) }
    }

    pub(super) fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::Relaxed)
    }

    /// Ends it, and judges how it fared.
    pub(super) fn finish(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().expect("the victim goes on");
        let times = self.shared.times.lock().unwrap();
        let (quiet, under) = (Figures::of(&self.quiet), Figures::of(&times));
        println!("victim in quiet {quiet:?}, under attack {under:?}");
        assert!(under.slowest < PATIENCE, "the victim waited for {:?}", under.slowest);
        if is_strict() && times.len() >= ROUNDS_OF_P99 {
            let allowed = (quiet.confirm_p99 * 2).max(STRICT_FLOOR);
            assert!(under.confirm_p99 <= allowed, "{under:?} beside {quiet:?}");
        } else if times.len() >= WINDOW {
            let floor = if is_strict() { STRICT_FLOOR } else { FLOOR };
            let allowed = (quiet.usual * 2).max(floor);
            assert!(under.usual <= allowed, "{under:?} beside {quiet:?}");
        }
    }
}

/// What rounds took.
#[derive(Debug)]
struct Figures {
    confirm_p99: Duration,
    /// The median of the windows' medians.
    usual: Duration,
    slowest: Duration,
    #[expect(dead_code, reason = "printed")]
    rounds: usize,
}

impl Figures {
    fn of(rounds: &[Round]) -> Figures {
        let mut confirms: Vec<_> = rounds.iter().map(|(confirm, _)| *confirm).collect();
        confirms.sort_unstable();
        let windows =
            rounds.chunks(WINDOW).map(|window| median(window.iter().map(|(_, all)| *all)));
        Figures {
            confirm_p99: confirms[(confirms.len() - 1) * 99 / 100],
            usual: median(windows),
            slowest: rounds.iter().map(|(_, all)| *all).max().unwrap_or_default(),
            rounds: rounds.len(),
        }
    }
}

fn is_strict() -> bool {
    std::env::var_os("POSTHASTE_STRICT").is_some()
}

/// Waits until files that were removed before are off the disk: they hold up syncs meanwhile.
fn become_calm(raw: &mut Raw, id: u32) {
    let synced = std::process::Command::new("sync").status().expect("sync can be run");
    assert!(synced.success());
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut quick = 0;
    while quick < CALM_ROUNDS && Instant::now() < deadline {
        quick = if round(raw, id).1 < STRICT_FLOOR { quick + 1 } else { 0 };
    }
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn round(raw: &mut Raw, id: u32) -> Round {
    let begun = Instant::now();
    raw.store(id, "victim", b"victim");
    let confirmed = begun.elapsed();
    let got = raw.take("victim", 1).remove(0);
    assert!(raw.settle(&got, Outcome::Ack));
    (confirmed, begun.elapsed())
}
