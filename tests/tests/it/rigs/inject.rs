//! System calls of the real binary, one by one: it is killed at the nth, or the nth fails, in starts,
//! under load, in stops and in recoveries. Calls are counted for each thread.
//!
//! `INJECT_POINTS=400 cargo test --release -p posthaste-tests system_call` takes the points in order;
//! without it some are chosen by `SEED`.

use super::ground::{can_trace, clean, number, work_goes_on};
use posthaste_tests::{Checking, Random, TestBroker, told};
use std::path::Path;
use std::time::{Duration, Instant};

const RIG: &str = "system calls";
/// What happens at which call, and how many of them a thread makes in a short life.
const FAULTS: [(&str, &str, u64); 16] = [
    ("pwritev", "signal=KILL", 12),
    ("fdatasync", "signal=KILL", 12),
    ("pwritev", "error=EIO", 12),
    ("fdatasync", "error=EIO", 12),
    ("pwritev", "error=ENOSPC", 12),
    ("fdatasync", "error=ENOSPC", 12),
    ("fallocate", "signal=KILL", 4),
    ("fallocate", "error=ENOSPC", 4),
    ("fsync", "signal=KILL", 5),
    ("fsync", "error=EIO", 5),
    ("rename", "signal=KILL", 2),
    ("rename", "error=EIO", 2),
    ("openat", "signal=KILL", 10),
    ("openat", "error=EIO", 10),
    ("pread64", "error=EIO", 8),
    ("ftruncate", "signal=KILL", 2),
];

/// What one life under injection came to.
#[derive(Default)]
struct Lives {
    struck: u64,
    not_ready: u64,
    /// Writes and syncs that failed while it served.
    failures: u64,
    /// How long it took to end after one, in seconds.
    slowest_end: f64,
}

/// Runs one life in which `call` meets its fault for the nth time, and lets it end.
fn live(broker: &mut TestBroker, checking: &mut Checking, point: &str, trace: &Path) -> Lives {
    let (call, _) = point.split_once(':').unwrap();
    let (filter, inject) = (format!("trace={call}"), format!("inject={point}"));
    let output = trace.to_str().unwrap();
    broker.run_through(&[
        "strace",
        "-D",
        "-f",
        "-q",
        "-ttt",
        "-o",
        output,
        "--seccomp-bpf",
        "-e",
        &filter,
        "-e",
        &inject,
    ]);
    let mut life = Lives::default();
    let status = match broker.try_restart() {
        Err((status, _)) => {
            life.not_ready = 1;
            status
        }
        Ok(()) => {
            let (begun, (confirmed, _)) = (Instant::now(), checking.progress());
            while broker.is_running()
                && begun.elapsed() < Duration::from_millis(500)
                && checking.progress().0 < confirmed + 200
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            if broker.is_running() {
                broker.signal("TERM");
            }
            broker.wait()
        }
    };
    broker.run_through(&[]);
    let text = std::fs::read_to_string(trace).unwrap_or_default();
    let at = |what: &str| {
        let line = text.lines().find(|line| line.contains(what))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    let (struck, told, end) = (at("(INJECTED)"), at("SIGTERM"), at("exited with 1"));
    life.struck = u64::from(struck.is_some() || text.contains("killed by SIGKILL"));
    // A write or sync of the log that failed is the end, with a failing exit code.
    let is_final =
        point.starts_with("pwritev:error=EIO") || point.starts_with("fdatasync:error=EIO");
    if let (true, Some(struck)) = (is_final, struck)
        && told.is_none_or(|told| struck < told)
    {
        assert_eq!(status.code(), Some(1), "{point}: it ended with {status}: {}", broker.log());
        life.slowest_end = end.unwrap_or(struck) - struck;
        life.failures = 1;
    }
    life
}

#[test]
fn p07_whichever_system_call_fails_or_kills_nothing_confirmed_is_lost() {
    if let Err(why) = can_trace() {
        return told::skipped(RIG, &why);
    }
    let points = number("INJECT_POINTS", 24);
    let in_order = std::env::var("INJECT_POINTS").is_ok();
    let mut random = Random::from_env();
    let mut broker = TestBroker::start("system-calls");
    let mut checking = Checking::start(&broker);
    let trace = broker.scratch().join("trace");
    let mut sum = Lives::default();
    let begun = Instant::now();
    for at in 0..points {
        let kinds = FAULTS.len() as u64;
        let (call, fault, most) = FAULTS[usize::try_from(at % kinds).unwrap()];
        let nth = if in_order { 1 + at / kinds % most } else { random.within(1..most + 1) };
        let point = format!("{call}:{fault}:when={nth}");
        work_goes_on(&mut checking, &format!("before {point}"));
        if at % 3 == 0 {
            broker.stop();
        } else {
            broker.kill();
        }
        let life = live(&mut broker, &mut checking, &point, &trace);
        println!("{point}: struck {}", life.struck);
        sum.struck += life.struck;
        sum.not_ready += life.not_ready;
        sum.failures += life.failures;
        assert!(life.slowest_end < 2.0, "{point}: it ended after {} s", life.slowest_end);
        sum.slowest_end = sum.slowest_end.max(life.slowest_end);
        if let Err(exit) = broker.try_restart() {
            panic!("no start after {point}: {exit:?}");
        }
    }
    let took = begun.elapsed();
    let verdict = clean(checking.verdict(), points);
    broker.stop();
    assert!(sum.struck * 8 > points, "only {} of {points} points were reached", sum.struck);
    told::done(
        RIG,
        &format!(
            "{points} points, in {took:.1?}, {} struck, {} before ready, {} failed writes and syncs, \
             slowest end {:.2} s, {}",
            sum.struck,
            sum.not_ready,
            sum.failures,
            sum.slowest_end,
            verdict.figures()
        ),
    );
}
