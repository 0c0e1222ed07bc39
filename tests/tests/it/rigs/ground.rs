//! What rigs stand on: a broker whose data lies on a volume, and counts from the environment.

use posthaste_tests::history::Verdict;
use posthaste_tests::volume::SmallDisk;
use posthaste_tests::wait::PATIENCE;
use posthaste_tests::{Checking, FileSystem, TestBroker, Volume, told};
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::time::{Duration, Instant};

/// A broker with its data on a volume of its own. They go in this order, after the process.
pub(super) struct OnVolume {
    pub(super) volume: Volume,
    /// What the image lies on, if not in the place for images.
    pub(super) below: Option<SmallDisk>,
    pub(super) broker: TestBroker,
}

impl OnVolume {
    /// The volume, with no broker running yet; `None`: this machine cannot, which was said.
    pub(super) fn make(rig: &str, kind: FileSystem, mib: u64) -> Option<OnVolume> {
        let broker = TestBroker::prepare(&rig.replace(' ', "-"), &[]);
        let volume = Volume::make(kind, mib, &broker.data_dir());
        let volume = volume.inspect_err(|why| skip(rig, kind, why)).ok()?;
        Some(OnVolume { volume, below: None, broker })
    }

    /// The same on a disk of `below` MiB, which is smaller than what the volume says it has.
    pub(super) fn make_on(rig: &str, kind: FileSystem, mib: u64, below: u64) -> Option<OnVolume> {
        let broker = TestBroker::prepare(&rig.replace(' ', "-"), &[]);
        let dir = broker.scratch().join("disk");
        let below = SmallDisk::make(below, &dir);
        let below = below.inspect_err(|why| skip(rig, kind, why)).ok()?;
        let volume = Volume::make_in(kind, mib, &broker.data_dir(), &dir);
        let volume = volume.inspect_err(|why| skip(rig, kind, why)).ok()?;
        Some(OnVolume { volume, below: Some(below), broker })
    }

    /// Kills the broker, unless it has ended by itself.
    pub(super) fn end(&mut self) {
        if self.broker.is_running() {
            self.broker.kill();
        }
    }
}

impl Drop for OnVolume {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            // What the failed test saw, the page cache included.
            let (data, seen) = (self.data_dir(), self.scratch().join("data.seen"));
            drop(Command::new("cp").args(["-a", "--sparse=always"]).arg(data).arg(seen).status());
        }
    }
}

impl Deref for OnVolume {
    type Target = TestBroker;

    fn deref(&self) -> &TestBroker {
        &self.broker
    }
}

impl DerefMut for OnVolume {
    fn deref_mut(&mut self) -> &mut TestBroker {
        &mut self.broker
    }
}

fn skip(rig: &str, kind: FileSystem, why: &str) {
    told::skipped(&format!("{rig} on {}", kind.name()), why);
}

/// A number from the environment.
pub(super) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Waits until messages are confirmed and acked that were not before.
pub(super) fn work_goes_on(checking: &mut Checking, label: &str) {
    let (confirmed, acked) = checking.progress();
    let begun = Instant::now();
    loop {
        checking.assert_alive();
        let (more_confirmed, more_acked) = checking.progress();
        if more_confirmed > confirmed && more_acked > acked {
            return;
        }
        let stands = begun.elapsed() > PATIENCE;
        assert!(!stands, "work does not go on {label}:\n{}", checking.complaints());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A verdict that found nothing, over enough work to mean something.
pub(super) fn clean(verdict: Verdict, at_least: u64) -> Verdict {
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert!(verdict.confirmed > at_least && verdict.acked > at_least, "{verdict:?}");
    verdict
}

/// Runs a program with some of its system calls stopped or faked. The tracer steps aside, so that the
/// child is the program itself; calls are counted for each thread.
pub(super) const TRACE: [&str; 6] = ["strace", "-D", "-f", "-qq", "-o/dev/null", "--seccomp-bpf"];

/// Whether system calls can be stopped and faked here; if not, why.
pub(super) fn can_trace() -> Result<(), String> {
    let output = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "inject=sync:retval=0", "true"])
        .output()
        .map_err(|error| format!("strace cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("strace: {}", said.trim())) }
}
