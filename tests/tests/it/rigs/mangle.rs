//! Files damaged between two runs of the real binary: refused with a name and advice, or put right, and
//! never believed.

use posthaste_protocol::request::Outcome;
use posthaste_tests::craft::crc32;
use posthaste_tests::{Raw, TestBroker};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MESSAGES: usize = 60;

fn body(n: usize) -> String {
    format!("message number {n:03} of sixty")
}

/// A queue with messages in a block each, and the broker stopped as asked.
fn store(name: &str, is_clean: bool) -> TestBroker {
    let mut broker = TestBroker::start(name);
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(posthaste_protocol::request::Kind::Queue, "orders");
    for n in 0..MESSAGES {
        raw.store(queue, "orders", body(n).as_bytes());
    }
    drop(raw);
    if is_clean {
        broker.stop();
    } else {
        broker.kill();
    }
    broker
}

/// All files of the store but the lock.
fn files(broker: &TestBroker) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![broker.data_dir()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if !path.ends_with("LOCK") {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

fn find(bytes: &[u8], what: &str) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what.as_bytes())
}

/// Changes one byte of a message where it lies.
fn damage(broker: &TestBroker, n: usize) -> PathBuf {
    for (path, mut bytes) in files(broker) {
        if let Some(at) = find(&bytes, &body(n)) {
            bytes[at + 3] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
            return path;
        }
    }
    panic!("message {n} is in no file");
}

/// The messages that are delivered, in order; each is acked.
fn drain(broker: &TestBroker) -> Vec<String> {
    let mut raw = Raw::greet(broker.address());
    let ready = usize::try_from(raw.counts("orders").ready).unwrap();
    raw.consume(1, "orders", 1_000);
    let got = raw.take("orders", ready);
    for one in &got {
        assert!(raw.settle(one, Outcome::Ack), "the lease is held");
    }
    got.iter().map(|got| got.text().to_owned()).collect()
}

fn all_but(lost: &[usize]) -> Vec<String> {
    (0..MESSAGES).filter(|n| !lost.contains(n)).map(body).collect()
}

fn refused(broker: &TestBroker, code: &str, advice: &[&str]) {
    let before = files(broker);
    let exit = broker.serve_and_fail();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    for part in [&[code, "nothing was changed"], advice].concat() {
        assert!(exit.stderr.contains(part), "{part} is missing in {}", exit.stderr);
    }
    assert!(files(broker) == before, "a refused start changed something");
}

#[test]
fn p12_a_damaged_block_is_refused_by_name_and_costs_its_message_only() {
    let mut broker = store("damaged", false);
    let path = damage(&broker, 20);
    refused(
        &broker,
        "PH-0604",
        &[path.to_str().unwrap(), "keep:", "serve:", "--quarantine-damage"],
    );
    broker.restart_with(&["--quarantine-damage"]);
    assert!(broker.log().contains("damage"), "{}", broker.log());
    broker.kill();
    // It was accepted once; nobody has to say so again.
    broker.restart();
    assert_eq!(drain(&broker), all_but(&[20]));
    broker.stop();
    broker.restart();
    broker.stop();
}

#[test]
fn p10_a_byte_that_changed_while_the_broker_was_away_is_never_delivered() {
    let mut broker = store("rotten", true);
    damage(&broker, 7);
    damage(&broker, 41);
    // After a clean stop nothing is read again at the start; what is delivered is.
    broker.restart();
    let mut raw = Raw::greet(broker.address());
    raw.consume(1, "orders", 1_000);
    let got = raw.take("orders", MESSAGES - 2);
    let got: Vec<String> = got.iter().map(|got| got.text().to_owned()).collect();
    assert_eq!(got, all_but(&[7, 41]));
    assert_eq!(raw.counts("orders").dead, 2, "what is lost is among the dead letters");
    assert!(broker.log().contains("lost to damage"), "{}", broker.log());
    broker.stop();
}

/// Writes a later version into a header and makes its checksum good again.
fn make_newer(path: &Path, copies: &[usize]) {
    let mut bytes = std::fs::read(path).unwrap();
    for at in copies {
        bytes[at + 8] += 1;
        let crc = crc32(&[&bytes[*at..at + 4092]]);
        bytes[at + 4092..at + 4096].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn p34_data_of_a_newer_version_is_refused_and_left_as_it_is() {
    let mut broker = store("newer", true);
    let whole = files(&broker);
    let segment = whole.keys().find(|path| path.extension().is_some_and(|end| end == "seg"));
    let super_block = broker.data_dir().join("SUPER");
    for (path, copies) in [(&super_block, &[0, 4096][..]), (segment.unwrap(), &[0][..])] {
        make_newer(path, copies);
        refused(&broker, "PH-0603", &["newer version"]);
        std::fs::write(path, &whole[path]).unwrap();
    }
    broker.restart();
    assert_eq!(drain(&broker), all_but(&[]));
    broker.stop();
}

#[test]
fn p13_checkpoints_that_are_lost_or_garbage_are_not_needed() {
    for (name, mangle) in [
        ("deleted", (|path| std::fs::remove_file(path).unwrap()) as fn(&Path)),
        ("truncated", |path| std::fs::write(path, &std::fs::read(path).unwrap()[..100]).unwrap()),
        ("emptied", |path| std::fs::write(path, "").unwrap()),
        ("garbage", |path| std::fs::write(path, [0xA5; 9_000]).unwrap()),
    ] {
        let mut broker = store(&format!("checkpoint-{name}"), true);
        broker.restart();
        broker.stop();
        let newest = files(&broker)
            .into_keys()
            .filter(|path| path.starts_with(broker.data_dir().join("ckpt")))
            .max();
        mangle(&newest.unwrap());
        broker.restart();
        assert_eq!(drain(&broker), all_but(&[]), "{name}");
        broker.stop();
    }
}

#[test]
fn p14_a_segment_that_is_gone_is_named_and_put_back_serves_again() {
    let mut broker = store("gone", false);
    let whole = files(&broker);
    let (path, bytes) = whole.iter().find(|(_, bytes)| find(bytes, &body(3)).is_some()).unwrap();
    std::fs::remove_file(path).unwrap();
    refused(&broker, "PH-060", &[]);
    std::fs::write(path, bytes).unwrap();
    broker.restart();
    assert_eq!(drain(&broker), all_but(&[]));
    broker.stop();
}
