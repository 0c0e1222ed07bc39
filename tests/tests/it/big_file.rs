//! A text file, line by line, through the command line: one publisher, three consumers, and two deaths.
//!
//! `BIG_FILE_BYTES` sets the size, `BIG_FILE` takes a file of your own.

use posthaste_tests::text::{self, Difference, Lines};
use posthaste_tests::wait::within;
use posthaste_tests::{Raw, TestBroker};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long a gigabyte may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(1_800);

struct Consumer {
    child: Child,
    output: PathBuf,
}

impl Consumer {
    fn start(broker: &TestBroker, number: usize) -> Consumer {
        let output = broker.scratch().join(&format!("out-{number}"));
        let log = broker.scratch().join(&format!("consumer-{number}.log"));
        let child = broker
            .command(&["consume", "lines", "--meta"])
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(log).unwrap())
            .spawn()
            .unwrap();
        Consumer { child, output }
    }

    fn bytes(&self) -> u64 {
        self.output.metadata().map_or(0, |metadata| metadata.len())
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(&mut self) {
        let id = self.child.id().to_string();
        std::process::Command::new("kill").args(["-s", "TERM", &id]).status().unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "a consumer that was asked to stop ended with {status}");
    }
}

#[test]
fn big_file_arrives_byte_for_byte_over_two_deaths() {
    let mut broker = TestBroker::start("big-file");
    let path = input(&broker);
    let size = path.metadata().unwrap().len();
    broker.ok(&["queue", "set", "lines", "--max-attempts", "1000"]);
    let begun = Instant::now();
    let mut publisher = broker
        .command(&["pub", "lines", &format!("@{}", path.display()), "--lines", "--timeout", "60s"])
        .stdout(Stdio::null())
        .stderr(File::create(broker.scratch().join("publisher.log")).unwrap())
        .spawn()
        .unwrap();
    let mut consumers: Vec<Consumer> = (0..3).map(|n| Consumer::start(&broker, n)).collect();
    // Early: publishing is much faster than printing.
    reach(&consumers, size / 64, &mut publisher);
    broker.kill();
    let is_publishing = publisher.try_wait().unwrap().is_none();
    broker.restart();
    reach(&consumers, size / 3, &mut publisher);
    consumers[0].kill();
    let replacement = Consumer::start(&broker, 3);
    consumers.push(replacement);
    let published = within(PATIENCE, "everything is published", || publisher.try_wait().unwrap());
    let log = std::fs::read_to_string(broker.scratch().join("publisher.log")).unwrap();
    assert!(published.success(), "the publisher ended with {published}: {log}");
    let mut raw = Raw::greet(broker.address());
    within(PATIENCE, "everything is consumed", || {
        let counts = raw.counts("lines");
        (counts.ready + counts.leased + counts.delayed == 0).then_some(())
    });
    assert_eq!(raw.counts("lines").dead, 0);
    consumers.iter_mut().skip(1).for_each(Consumer::stop);
    println!("{size} bytes in {:?}; killed while publishing: {is_publishing}", begun.elapsed());
    let difference = compare(&path, &consumers);
    println!("{difference:?}");
    let repeated = difference.repeated;
    assert_eq!(difference, Difference { repeated, ..Difference::default() });
}

/// The text to send.
fn input(broker: &TestBroker) -> PathBuf {
    if let Ok(path) = std::env::var("BIG_FILE") {
        return PathBuf::from(path);
    }
    let bytes = std::env::var("BIG_FILE_BYTES").map_or(8 << 20, |text| text.parse().unwrap());
    let path = broker.scratch().join("text");
    text::write(&mut BufWriter::new(File::create(&path).unwrap()), bytes, 42).unwrap();
    path
}

/// Waits until the consumers have printed so much; a publisher that failed ends the wait.
fn reach(consumers: &[Consumer], bytes: u64, publisher: &mut Child) {
    within(PATIENCE, "the consumers get on", || {
        let published = publisher.try_wait().unwrap();
        assert!(published.is_none_or(|status| status.success()), "the publisher failed");
        let sum: u64 = consumers.iter().map(Consumer::bytes).sum();
        (sum >= bytes).then_some(())
    });
}

fn compare(path: &Path, consumers: &[Consumer]) -> Difference {
    let mut input = Lines::default();
    each_line(path, Ending::AsIs, |line| input.add(line));
    let (mut first, mut again) = (Lines::default(), Lines::default());
    for consumer in consumers {
        each_line(&consumer.output, Ending::Whole, |line| {
            let fields: Vec<&[u8]> = line.splitn(6, |byte| *byte == b'\t').collect();
            match (fields.get(2), fields.get(5)) {
                (Some(&b"first"), Some(body)) => first.add(body),
                (Some(&b"redelivered"), Some(body)) => again.add(body),
                _ => panic!("not a line of consume --meta: {:?}", String::from_utf8_lossy(line)),
            }
        });
    }
    println!("{} lines, {} first, {} again", input.count(), first.count(), again.count());
    text::compare(input, first, again)
}

/// What becomes of a last line without an end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is a line.
    AsIs,
    /// It is none: what a killed consumer had begun to print was not acked.
    Whole,
}

fn each_line(path: &Path, ending: Ending, mut each: impl FnMut(&[u8])) {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).unwrap());
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).unwrap() > 0 {
        if line.pop_if(|last| *last == b'\n').is_some() || ending == Ending::AsIs {
            each(&line);
        }
        line.clear();
    }
}
