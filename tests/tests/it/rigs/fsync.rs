//! A sync that really fails: the disk below the file system has no room left, so that what was written
//! cannot be kept. The page cache holds it all the same and goes on showing it: the next sync even
//! succeeds. What a broker serves after that must be on the disk, and not only in the cache.
//!
//! `FAILING_SYNCS=200 SEED=1 cargo test --release -p posthaste-tests failing_sync`

use super::ground::{OnVolume, clean, number, work_goes_on};
use posthaste_protocol::request::Kind;
use posthaste_protocol::{Request, Response};
use posthaste_tests::raw::{Raw, batch, consume};
use posthaste_tests::volume::drop_caches;
use posthaste_tests::{Checking, Cut, FileSystem, Random, told};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const RIG: &str = "failing sync";

/// Offsets and bodies that were confirmed, or delivered.
type Messages = BTreeMap<u64, String>;

/// Publishes until the broker refuses or leaves; what was confirmed before. After the first refusal
/// nothing is confirmed, and the process ends by itself.
fn publish_until_it_fails(on: &mut OnVolume, queue: &str, room: u64) -> Messages {
    // What else goes on may end the broker as soon as there is no room.
    let mut raw = Raw::greet(on.address());
    let target = raw.declare(Kind::Queue, queue);
    on.below.as_ref().unwrap().fill(room);
    let mut confirmed = Messages::new();
    let mut failed = None;
    for n in 0.. {
        let body = format!("{n} {}", "x".repeat(if n % 3 == 0 { 60_000 } else { 12_000 }));
        raw.publish(target, batch(queue, &[body.as_bytes()]));
        loop {
            match raw.heard() {
                Some((_, Response::Confirms(confirms))) => {
                    assert!(failed.is_none(), "{confirms:?} after a refusal");
                    confirmed.insert(confirms[0].base_offset, body.clone());
                    break;
                }
                Some((_, Response::Error(_) | Response::Closing(_))) => {
                    failed.get_or_insert_with(Instant::now);
                }
                Some(_) => {}
                None => {
                    let failed = failed.unwrap_or_else(Instant::now);
                    let status = on.wait();
                    let late = failed.elapsed();
                    assert!(late < Duration::from_secs(2), "it ended after {late:?}");
                    assert_eq!(status.code(), Some(1), "it ended with {status}: {}", on.log());
                    return confirmed;
                }
            }
        }
    }
    unreachable!("numbers do not end")
}

/// Everything that a queue has to give.
fn drain(on: &OnVolume, queue: &str) -> Messages {
    let mut raw = Raw::greet(on.address());
    let ready = usize::try_from(raw.counts(queue).ready).unwrap();
    let mut all = consume(queue, 100_000);
    all.credit.bytes = 1 << 30;
    let answer = raw.ask(1, &Request::Consume(all));
    assert!(matches!(answer, Response::Consuming { .. }), "{answer:?}");
    let got = raw.take(queue, ready);
    got.iter().map(|got| (got.offset, got.text().to_owned())).collect()
}

fn one_failure(
    on: &mut OnVolume,
    checking: &mut Checking,
    random: &mut Random,
    round: u64,
) -> usize {
    let queue = format!("bulk-{round}");
    work_goes_on(checking, &format!("before failure {round}"));
    let confirmed = publish_until_it_fails(on, &queue, random.within(0..12 << 20));
    let log = on.log();
    assert!(log.contains("PH-0606"), "it does not say why it stopped: {log}");
    on.below.as_ref().unwrap().empty();
    // The cache is not dropped: it shows what the disk does not have. Only a file system that has given
    // up has to be mounted again.
    if !on.volume.is_writable() {
        on.volume.unmount();
        on.volume.mount();
    }
    on.restart();
    let served = drain(on, &queue);
    for (offset, body) in &confirmed {
        assert_eq!(served.get(offset), Some(body), "confirmed at {offset} of {queue}");
    }
    on.volume.cut(Cut::Hard);
    on.kill();
    on.volume.unmount();
    drop_caches();
    on.volume.mount();
    on.restart();
    let stored = drain(on, &queue);
    for (offset, body) in &served {
        assert_eq!(stored.get(offset), Some(body), "served at {offset} of {queue}, not on disk");
    }
    on.ok(&["queue", "rm", &queue, "--yes"]);
    on.stop();
    on.restart();
    served.len() - confirmed.len()
}

/// A store for some failures at a time: a topic keeps its messages, and the disk is small.
fn fail_again_and_again(kind: FileSystem, failures: u64) {
    let mut left = failures;
    while left > 0 {
        fail_some_times(kind, left.min(8));
        left -= left.min(8);
    }
}

fn fail_some_times(kind: FileSystem, rounds: u64) {
    let mut random = Random::from_env();
    let Some(mut on) = OnVolume::make_on(RIG, kind, 2_048, 700) else { return };
    on.restart();
    let mut checking = Checking::start(&on);
    let begun = Instant::now();
    let mut unconfirmed = 0;
    for round in 0..rounds {
        unconfirmed += one_failure(&mut on, &mut checking, &mut random, round);
    }
    let took = begun.elapsed();
    let verdict = clean(checking.verdict(), rounds);
    let name = kind.name();
    told::done(
        RIG,
        &format!(
            "{rounds} failing syncs on {name}, in {took:.1?}, 0 confirms after the error, {unconfirmed} \
             unconfirmed and kept, {}",
            verdict.figures()
        ),
    );
    on.stop();
}

#[test]
fn p08_what_is_served_after_a_failing_sync_is_on_disk_on_ext4() {
    fail_again_and_again(FileSystem::Ext4, number("FAILING_SYNCS", 3).div_ceil(2));
}

#[test]
fn p08_what_is_served_after_a_failing_sync_is_on_disk_on_xfs() {
    fail_again_and_again(FileSystem::Xfs, number("FAILING_SYNCS", 3) / 2);
}
