//! The load: `posthaste bench` as a process, and what it said at its end.

use super::curve::{Curve, Load, Spot};
use super::record::{Figure, Figures};
use crate::peer;
use crate::peers::posthaste::URL;
use crate::proc::Usage;
use crate::server::{Process, Server};
use crate::visit::mb;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Between two looks at the memory of the broker.
const LOOK: Duration = Duration::from_millis(100);
/// Deliveries a second to all groups together that are asked for: more than they can get here.
const DELIVERIES_OFFERED: u64 = 4_000_000;
/// LIMIT: for declaring before the load, and for deleting after it.
const SCENERY_MAX: Duration = Duration::from_secs(120);
/// LIMIT: for consuming what was published when the time was over.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// LIMIT: a program that was asked to end is killed after that.
const GRACE: Duration = Duration::from_secs(120);
/// LIMIT: a fill is given up after that.
const FILL_MAX: Duration = Duration::from_secs(900);
/// LIMIT: messages of all connections together that may be unconfirmed, so that the load fits into memory.
const IN_FLIGHT_MAX: u64 = 1_000_000;
/// Measured for each queue at least: 10 s of 100,000.
const MICROS_FOR_EACH_QUEUE: u64 = 100;
/// A window that is this much shorter than asked for was cut.
const WINDOW_SLACK: f64 = 0.9;
/// How much it says when it fails.
const LINES: usize = 6;

/// Length of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
}

impl Times {
    /// One connection goes through all queues in turn, and some turns must be within the window.
    fn at(self, spot: Spot) -> Self {
        let turns = match spot.curve {
            Curve::Queues => Duration::from_micros(spot.x * MICROS_FOR_EACH_QUEUE),
            _ => Duration::ZERO,
        };
        Self { warm_up: self.warm_up.max(turns / 2), window: self.window.max(turns) }
    }
}

/// A load to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) args: Vec<String>,
    /// Seconds that must have been measured; a fill is measured by its count.
    pub(crate) window: Option<f64>,
    /// When it is asked to end.
    pub(crate) patience: Duration,
    /// Whether messages of its own may stay behind a backlog.
    pub(crate) leaves: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) figures: Figures,
    pub(crate) confirmed: u64,
    pub(crate) note: Option<String>,
}

impl Call {
    /// The load at a point; `dest` is a queue that exists.
    pub(crate) fn at(spot: Spot, times: Times, dest: Option<&str>) -> Self {
        let times = times.at(spot);
        let verb = match spot.load {
            Load::FanOut => "fanout",
            Load::EndToEnd | Load::OtherQueue | Load::SameQueue => "e2e",
            Load::Publish | Load::Idle | Load::Declared => "pub",
        };
        let size = spot.curve.size(spot.x);
        let batch = peer::batch(size);
        let connections = if spot.curve == Curve::Connections { spot.x } else { 1 };
        let mut args = vec!["bench".to_owned(), verb.to_owned()];
        args.extend(dest.map(str::to_owned));
        let mut add = |name: &str, value: String| args.extend([name.to_owned(), value]);
        match spot.curve {
            Curve::Connections => add("--connections", spot.x.to_string()),
            Curve::Queues => add("--queues", spot.x.to_string()),
            Curve::Groups => {
                add("--groups", spot.x.to_string());
                // A closed loop would be 200,000 messages ahead of all groups, and never drained.
                add("--rate", (DELIVERIES_OFFERED / spot.x.max(1)).to_string());
                add("--linger", "1ms".to_owned());
            }
            Curve::Size | Curve::Backlog => {}
        }
        add("--size", size.to_string());
        add("--batch", batch.to_string());
        add("--in-flight", in_flight(batch, connections).to_string());
        add("--warm-up", format!("{}ms", times.warm_up.as_millis()));
        add("--for", format!("{}ms", times.window.as_millis()));
        let drain = if verb == "pub" { Duration::ZERO } else { DRAIN_MAX };
        Self {
            args,
            window: Some(times.window.as_secs_f64()),
            patience: times.warm_up + times.window + drain + SCENERY_MAX,
            leaves: spot.load == Load::SameQueue,
        }
    }

    /// Publishes so many messages to a queue that exists.
    pub(crate) fn fill(dest: &str, count: u64, size: usize) -> Self {
        let (count, size) = (count.to_string(), size.to_string());
        let args = ["bench", "pub", dest, "--count", &count, "--size", &size];
        let args = args.into_iter().map(str::to_owned).collect();
        Self { args, window: None, patience: FILL_MAX, leaves: false }
    }

    fn process(&self, program: &Path) -> Process {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        Process::new(program, &[&args[..], &["-o", "json", "-q", "-y", "--url", URL]].concat())
    }

    /// As a person would type it.
    pub(crate) fn shown(&self, program: &Path) -> String {
        self.process(program).shown()
    }

    /// Runs it against a broker, whose memory is looked at meanwhile.
    pub(crate) async fn run(&self, program: &Path, server: &mut Server) -> Result<Said> {
        let process = self.process(program);
        let mut command = Command::new(&process.program);
        command.args(&process.args).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let tree = server.tree();
        let (before, begun) = (tree.usage(), Instant::now());
        let child = command.spawn().with_context(|| process.shown())?;
        let pid = child.id();
        let output = child.wait_with_output();
        tokio::pin!(output);
        let (mut after, mut peak, mut asked) = (before, before.resident_bytes, None);
        let output = loop {
            tokio::select! {
                output = &mut output => break output?,
                () = tokio::time::sleep(LOOK) => {}
            }
            let usage = tree.usage();
            // A broker that has just ended has used nothing.
            after = if usage == Usage::default() { after } else { usage };
            peak = peak.max(usage.resident_bytes);
            match asked {
                None if begun.elapsed() > self.patience => {
                    interrupt(pid)?;
                    asked = Some(Instant::now());
                }
                Some(since) if Instant::elapsed(&since) > GRACE => {
                    bail!("it did not end within {GRACE:?} of being asked to: killed");
                }
                _ => {}
            }
        };
        let usage = tree.usage();
        after = if usage == Usage::default() { after } else { usage };
        let said = self.judge(&output, asked.is_some());
        // What ended the broker says more than what its client saw of it.
        server.check()?;
        let mut said = said?;
        if let Some(each) = said.figures.get_mut(&Figure::BrokerCpuSecondsPerMillion) {
            *each *= after.cpu_seconds - before.cpu_seconds;
        }
        said.figures.insert(Figure::PeakMb, mb(peak));
        Ok(said)
    }

    /// What its output is worth. The figure of CPU time is for one second of it.
    fn judge(&self, output: &Output, was_asked: bool) -> Result<Said> {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let last = stdout.lines().next_back().unwrap_or_default();
        let Ok(report) = serde_json::from_str::<Value>(last) else {
            bail!("{}: {}", output.status, tail(&output.stderr));
        };
        let number = |name: &str| report[name].as_f64();
        let missing = report["missing"].as_u64().unwrap_or(0);
        let may_miss = was_asked || self.leaves;
        if missing > 0 && !may_miss {
            bail!("{missing} confirmed messages were not received");
        }
        if !output.status.success() && missing == 0 {
            bail!("{}: {}", output.status, tail(&output.stderr));
        }
        let seconds = number("seconds").context("a result without its length")?;
        if self.window.is_some_and(|window| seconds < window * WINDOW_SLACK) {
            bail!("it ended after {seconds:.2} s of measuring: {}", tail(&output.stderr));
        }
        if report["measured"].as_u64() == Some(0) {
            bail!("nothing was done within the {seconds:.2} s of measuring");
        }
        let confirmed = report["confirmed"].as_u64().unwrap_or(0);
        let handled = number("received").unwrap_or(0.0).max(number("confirmed").unwrap_or(0.0));
        let mut figures = Figures::new();
        let mut add = |figure, value: Option<f64>| figures.extend(value.map(|v| (figure, v)));
        add(Figure::MessagesPerSecond, number("messages_per_second"));
        add(Figure::MegabytesPerSecond, number("bytes_per_second").map(|bytes| bytes / 1e6));
        if report["latency_samples"].as_u64().unwrap_or(0) > 0 {
            let millis = |name: &str| report["latency_us"][name].as_f64().map(|us| us / 1e3);
            add(Figure::P50Ms, millis("p50"));
            add(Figure::P99Ms, millis("p99"));
        }
        let per_million = (handled > 0.0).then(|| 1e6 / handled);
        add(Figure::BrokerCpuSecondsPerMillion, per_million);
        let note = (missing > 0).then(|| match was_asked {
            true => format!("ended while it drained, {missing} messages not received yet"),
            false => format!("{missing} messages stayed behind the backlog"),
        });
        Ok(Said { figures, confirmed, note })
    }
}

/// Messages of one connection that may be unconfirmed: 32 batches, or its share of what all may have.
fn in_flight(batch: usize, connections: u64) -> u64 {
    let (batch, share) = (batch as u64, IN_FLIGHT_MAX / connections.max(1));
    (32 * batch).min(share).max(batch)
}

fn interrupt(pid: Option<u32>) -> Result<()> {
    if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        kill_process(pid, Signal::INT)?;
    }
    Ok(())
}

/// The error that it told, or the end of what it said, on one line.
fn tail(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let told = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).next_back();
    let error = told.map(|told| told["error"].clone()).unwrap_or_default();
    if let (Some(code), Some(message)) = (error["code"].as_str(), error["message"].as_str()) {
        return format!("{code} {message}");
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    const TIMES: Times =
        Times { warm_up: Duration::from_millis(500), window: Duration::from_secs(2) };

    fn call(curve: Curve, load: Load, x: u64) -> Call {
        Call::at(Spot { curve, load, x }, TIMES, None)
    }

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        let status = ExitStatus::from_raw(code << 8);
        Output { status, stdout: stdout.into(), stderr: stderr.into() }
    }

    const REPORT: &str = r#"{"seconds":2.0,"measured":1000,"messages_per_second":500,"bytes_per_second":50000,
        "confirmed":2000,"received":0,"missing":MISSING,"latency_us":{"p50":1500,"p99":9000},
        "latency_samples":10}"#;

    fn report(missing: u64) -> String {
        REPORT.replace("MISSING", &missing.to_string()).replace('\n', "")
    }

    #[test]
    fn the_load_names_what_grows() {
        let args = call(Curve::Connections, Load::Publish, 1_000).args.join(" ");
        let expected = "bench pub --connections 1000 --size 100 --batch 1000 --in-flight 1000 \
                        --warm-up 500ms --for 2000ms";
        assert_eq!(args, expected);
        let args = call(Curve::Groups, Load::FanOut, 30).args.join(" ");
        assert!(args.starts_with("bench fanout --groups 30 --rate 133333 --linger 1ms "), "{args}");
        let args = call(Curve::Size, Load::EndToEnd, 1 << 20).args.join(" ");
        assert!(args.contains("--size 1048576 --batch 1 --in-flight 32 "), "{args}");
    }

    #[test]
    fn the_last_line_is_the_result() {
        let out = output(0, &format!("{{}}\n{}\n", report(0)), "");
        let said = call(Curve::Size, Load::Publish, 10).judge(&out, false).expect("it ended well");
        assert_eq!(said.figures[&Figure::MessagesPerSecond] as u64, 500);
        assert_eq!(said.figures[&Figure::BrokerCpuSecondsPerMillion] as u64, 500);
        assert_eq!(said.figures[&Figure::P99Ms] as u64, 9);
        assert_eq!((said.confirmed, said.note), (2_000, None));
    }

    #[test]
    fn missing_messages_are_a_failure_unless_it_was_told_to_end_or_stands_behind_a_backlog() {
        let out = output(1, &report(7), "");
        let judged = |load, was_asked| call(Curve::Size, load, 100).judge(&out, was_asked);
        assert!(judged(Load::EndToEnd, false).is_err());
        let note = |load, was_asked| judged(load, was_asked).ok().and_then(|said| said.note);
        assert!(note(Load::EndToEnd, true).is_some_and(|note| note.contains("drained")));
        assert!(note(Load::SameQueue, false).is_some_and(|note| note.contains("7 messages")));
    }

    #[test]
    fn what_it_says_when_it_fails_is_kept() {
        let why = |stderr: &str| {
            let call = call(Curve::Groups, Load::FanOut, 1_000);
            let failed = call.judge(&output(4, "", stderr), false);
            failed.expect_err("it has no result").to_string()
        };
        assert_eq!(why("one\n\n  two\n"), "exit status: 4: one / two");
        let told = r#"{"error":{"code":"PH-0306","message":"at most 900 groups"},"v":1}"#;
        assert_eq!(why(told), "exit status: 4: PH-0306 at most 900 groups");
    }

    #[test]
    fn many_queues_are_measured_longer_and_nothing_is_no_rate() {
        let args = call(Curve::Queues, Load::Publish, 100_000).args.join(" ");
        assert!(args.ends_with("--warm-up 5000ms --for 10000ms"), "{args}");
        let out = output(0, &report(0).replace("1000", "0"), "");
        assert!(call(Curve::Queues, Load::Publish, 10).judge(&out, false).is_err());
    }

    #[test]
    fn a_window_that_was_cut_is_no_measurement() {
        let long = Times { window: Duration::from_secs(9), ..TIMES };
        let spot = Spot { curve: Curve::Groups, load: Load::FanOut, x: 3 };
        let judged = Call::at(spot, long, None).judge(&output(0, &report(0), ""), true);
        assert!(judged.is_err());
    }
}
