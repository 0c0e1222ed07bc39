//! The checker as a process of its own, and the verdict over what it wrote.

use crate::history::{Event, Judge, Verdict};
use crate::wait::within;
use crate::{TestBroker, binary};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Groups that the checker empties.
const GROUPS: [&str; 3] = ["work", "news/one", "news/two"];
/// Those of them with a single consumer.
const ORDERED: [&str; 2] = ["news/one", "news/two"];

/// A running checker. Dropping it kills it.
#[derive(Debug)]
pub struct Checking {
    child: Child,
    history: PathBuf,
    complaints: PathBuf,
    confirmed: Arc<AtomicU64>,
    acked: Arc<AtomicU64>,
}

impl Checking {
    /// Starts it against a broker.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(broker: &TestBroker) -> Checking {
        let history = broker.scratch().join("history");
        let complaints = broker.scratch().join("checker.log");
        let mut child = Command::new(binary::checker())
            .arg(broker.url())
            .arg(&history)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&complaints).expect("a log can be made"))
            .spawn()
            .expect("the checker can be run");
        let stdout = child.stdout.take().expect("stdout is piped");
        let confirmed = Arc::new(AtomicU64::new(0));
        let acked = Arc::new(AtomicU64::new(0));
        let told = (Arc::clone(&confirmed), Arc::clone(&acked));
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut words = line.split(' ');
                if words.next() == Some("progress") {
                    let mut number = || words.next()?.parse().ok();
                    told.0.store(number().unwrap_or_default(), Ordering::Relaxed);
                    told.1.store(number().unwrap_or_default(), Ordering::Relaxed);
                }
            }
        });
        Checking { child, history, complaints, confirmed, acked }
    }

    /// Publishes confirmed and acks confirmed, so far.
    pub fn progress(&self) -> (u64, u64) {
        (self.confirmed.load(Ordering::Relaxed), self.acked.load(Ordering::Relaxed))
    }

    /// What it complained about.
    pub fn complaints(&self) -> String {
        let text = std::fs::read_to_string(&self.complaints).unwrap_or_default();
        let mut last: Vec<&str> = text.lines().rev().take(20).collect();
        last.reverse();
        last.join("\n")
    }

    /// It must be alive: a checker that ended has seen something that cannot be.
    ///
    /// # Panics
    /// When it ended.
    pub fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("it is our child");
        assert!(ended.is_none(), "the checker ended with {ended:?}:\n{}", self.complaints());
    }

    /// Lets it empty every group, and judges.
    ///
    /// # Panics
    /// When not everything is delivered and settled in time.
    pub fn verdict(mut self) -> Verdict {
        let mut stdin = self.child.stdin.take().expect("stdin is piped");
        writeln!(stdin, "drain").expect("the checker listens");
        let ended = within(Duration::from_secs(120), "the checker drains", || {
            self.child.try_wait().expect("it is our child")
        });
        assert!(ended.success(), "the checker ended with {ended}:\n{}", self.complaints());
        let mut judge = Judge::new(&ORDERED);
        let file = File::open(&self.history).expect("there is a history");
        for line in BufReader::new(file).lines() {
            let line = line.expect("a line of the history");
            judge.event(Event::parse(&line).expect("an event"));
        }
        judge.verdict(&GROUPS)
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
