//! Atomic groups and conditional publishes, in a process that is killed.

use bytes::Bytes;
use posthaste::{Client, ErrorKind};
use posthaste_protocol::request::{Atomic, AtomicPart, Kind, Outcome};
use posthaste_protocol::{BatchBuilder, ErrorCode, Record, Request, destination_seed};
use posthaste_tests::raw::{Got, name};
use posthaste_tests::{Random, Raw, TestBroker, eventually, told};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

fn batch(queue: &str, body: &str, (producer, sequence): (u32, u64)) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(&Record { value: body.as_bytes(), ..Record::default() }).unwrap();
    builder.finish(destination_seed(&name(queue)), producer, sequence, 0)
}

/// One message for each queue.
fn group(to: &[(&str, u32)], body: &str, (producer, sequence): (u32, u64)) -> Atomic {
    let parts = to.iter().map(|(_, target)| AtomicPart { target: *target, expects: None });
    let batches = to.iter().map(|(queue, _)| batch(queue, body, (producer, sequence)));
    let batches: Vec<Bytes> = batches.collect();
    let (parts, batches) = (parts.collect(), batches.concat().into());
    Atomic { producer, sequence, parts, settles: Vec::new(), batches }
}

#[test]
fn a_group_that_a_kill_cuts_off_is_there_whole_or_not_at_all() {
    let mut broker = TestBroker::start("atomic");
    let mut random = Random::from_env();
    let mut raw = Raw::greet(broker.address());
    let queues = ["one", "two", "three"].map(|queue| (queue, raw.declare(Kind::Queue, queue)));
    let (mut stored, mut sequence) = (0, 0);
    for cycle in 0..12 {
        let mut raw = Raw::greet(broker.address());
        let producer = raw.open_producer([7; 16]);
        for _ in 0..random.within(1..200) {
            sequence += 1;
            let group = group(&queues, &format!("{sequence}"), (producer, sequence));
            raw.publish_as(&Request::Atomic(group));
        }
        // Some are stored, some are on their way, some will never arrive.
        std::thread::sleep(Duration::from_millis(random.within(0..20)));
        broker.kill();
        broker.restart();
        let mut raw = Raw::greet(broker.address());
        let ready = queues.map(|(queue, _)| raw.counts(queue).ready);
        assert_eq!(ready, [ready[0]; 3], "cycle {cycle}: half a group is there");
        stored = ready[0];
    }
    told::done("atomic groups", &format!("{stored} of {sequence} groups over 12 kills"));
    assert!(stored > 0, "nothing was ever stored");
}

#[test]
fn a_group_that_is_refused_names_its_part_and_does_nothing() {
    let broker = TestBroker::start("atomic");
    let mut raw = Raw::greet(broker.address());
    let queues = ["one", "two"].map(|queue| (queue, raw.declare(Kind::Queue, queue)));
    let producer = raw.open_producer([7; 16]);
    let good = group(&queues, "x", (producer, 1));
    let mut gone = good.clone();
    gone.parts[1].target = 99;
    let mut elsewhere = good.clone();
    elsewhere.parts.swap(0, 1);
    let mut conditional = good.clone();
    conditional.parts[1].expects = Some(5);
    let mut unequal = good.clone();
    unequal.sequence = 2;
    let mut cut = good.clone();
    cut.batches.truncate(good.batches.len() - 1);
    let mut twice = good.clone();
    twice.parts[1] = twice.parts[0];
    twice.batches =
        [batch("one", "x", (producer, 1)), batch("one", "x", (producer, 1))].concat().into();
    for (bad, code) in [
        (gone, ErrorCode::NotFound),
        (elsewhere, ErrorCode::ChecksumMismatch),
        (conditional, ErrorCode::OffsetMismatch),
        (unequal, ErrorCode::InvalidArgument),
        (cut, ErrorCode::MalformedFrame),
        (twice, ErrorCode::InvalidArgument),
        (Atomic { producer: 0, ..good.clone() }, ErrorCode::InvalidArgument),
        (
            Atomic { parts: vec![], batches: Bytes::new(), ..good.clone() },
            ErrorCode::InvalidArgument,
        ),
    ] {
        let number = raw.publish_as(&Request::Atomic(bad.clone()));
        assert_eq!(raw.outcome(number), Err(code), "{bad:?}");
        assert_eq!((raw.counts("one").ready, raw.counts("two").ready), (0, 0));
    }
    let number = raw.publish_as(&Request::Atomic(good));
    let told: Vec<_> =
        raw.receipts(number).iter().map(|one| (one.target, one.base_offset)).collect();
    assert_eq!(told, [(queues[0].1, 0), (queues[1].1, 0)]);
}

#[test]
fn a_conditional_publish_that_is_too_late_is_told_the_last_position() {
    let broker = TestBroker::start("atomic");
    let mut raw = Raw::greet(broker.address());
    let target = raw.declare(Kind::Queue, "orders");
    let mut only = |expects, body| {
        let batch = batch("orders", body, (0, 0));
        raw.publish_as(&Request::Publish { target, durability: 0, expects: Some(expects), batch })
    };
    let numbers = [only(0, "a"), only(0, "b"), only(1, "c"), only(9, "d")];
    let told = numbers.map(|number| raw.outcome(number));
    let mismatch = Err(ErrorCode::OffsetMismatch);
    assert_eq!(told, [Ok(0), mismatch, Ok(1), mismatch]);
    raw.consume(1, "orders", 10);
    let got: Vec<_> = raw.take("orders", 2).iter().map(Got::text).map(str::to_owned).collect();
    assert_eq!(got, ["a", "c"]);
    let got = raw.take("orders", 0);
    assert!(got.iter().all(|got| raw.settle(got, Outcome::Ack)));
}

/// Reads from one queue, writes to two and acks, as one; publishes each message twice under its id.
async fn pump(url: String, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) -> u64 {
    let client = Client::connect(&url).await.unwrap();
    let (input, one, two) = (client.queue("in"), client.queue("one"), client.queue("two"));
    let mut jobs = input.consume().await.unwrap();
    let worker = async {
        while let Some(job) = jobs.next().await {
            let Ok(job) = job else { continue };
            let body = job.payload().clone();
            let group = client.atomic().publish(&one, &body).publish(&two, &body).ack(job);
            match group.commit().await {
                Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                // The deliveries of a broken connection come again.
                Err(error) if error.kind() == ErrorKind::LeaseExpired => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let publisher = async {
        let other = Client::connect(&url).await.unwrap();
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let body = Bytes::from(format!("{sent}"));
            for client in [&client, &other] {
                let id = format!("id-{sent}");
                client.queue("in").publish(&body).id(id).await.unwrap();
            }
            sent += 1;
        }
        eventually_idle(&client).await;
        sent
    };
    tokio::select! {
        () = worker => panic!("the consumer ended"),
        sent = publisher => sent,
    }
}

async fn eventually_idle(client: &Client) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let stats = client.queue("in").stats().await.unwrap();
        if stats.ready + stats.leased + stats.delayed == 0 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{stats:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn consume_transform_produce_is_exactly_once_over_kills_and_ids_are_stored_once() {
    let cycles = std::env::var("KILL_CYCLES").map_or(12, |text| text.parse().unwrap());
    let mut random = Random::from_env();
    let mut broker = TestBroker::start("exactly-once");
    broker.ok(&["queue", "set", "in", "--id-window", "1h", "--max-attempts", "1000"]);
    broker.ok(&["queue", "set", "one"]);
    broker.ok(&["queue", "set", "two"]);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (url, flag, count) = (broker.url(), Arc::clone(&stop), Arc::clone(&done));
    let work = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(pump(url, flag, count))
    });
    for cycle in 0..cycles {
        let before = done.load(Ordering::Relaxed);
        eventually(&format!("work goes on in cycle {cycle}"), || {
            assert!(!work.is_finished(), "the pump has ended");
            (done.load(Ordering::Relaxed) > before + 10).then_some(())
        });
        std::thread::sleep(Duration::from_millis(random.within(0..60)));
        broker.kill();
        broker.restart();
    }
    stop.store(true, Ordering::Relaxed);
    let sent = work.join().unwrap();
    let mut raw = Raw::greet(broker.address());
    for queue in ["one", "two"] {
        assert_eq!(raw.counts(queue).ready, sent, "{queue}");
        let lines = broker.ok(&["consume", queue, "--count", &sent.to_string()]);
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        lines.lines().for_each(|line| *counts.entry(line.parse().unwrap()).or_default() += 1);
        let wrong: Vec<_> = (0..sent).filter(|n| counts.get(n) != Some(&1)).collect();
        assert!(wrong.is_empty(), "not exactly once in {queue}: {wrong:?}");
    }
    told::done("exactly once", &format!("{sent} messages through two hops over {cycles} kills"));
    assert!(sent > cycles, "{sent}");
}
