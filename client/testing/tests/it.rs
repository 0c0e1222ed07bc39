//! Each method of the test broker does what it says, quickly.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use posthaste::{Backoff, Bytes, Client, Consumer, Delivery, ErrorKind, Queue, ServiceError};
use posthaste_testing::TestBroker;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// On a busy machine; without it, nothing here takes as long.
const SOON: Duration = Duration::from_secs(20);

async fn queue(client: &Client, name: &str) -> Queue {
    let queue = client.queue(name);
    queue.declare().await.unwrap();
    queue
}

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn take(consumer: &mut Consumer) -> Delivery {
    tokio::time::timeout(SOON, consumer.next()).await.unwrap().unwrap().unwrap()
}

/// Nothing comes, although the broker has nothing more to do.
async fn is_quiet(queue: &Queue) -> bool {
    queue.stats().await.unwrap().ready == 0
}

#[tokio::test]
async fn a_broker_starts_in_milliseconds() {
    let begun = Instant::now();
    for _ in 0..10 {
        let broker = TestBroker::start().await;
        broker.client().ready().await.unwrap();
    }
    println!("start and connect: {:?} each", begun.elapsed() / 10);
    assert!(begun.elapsed() < 10 * SECOND, "{:?} for ten", begun.elapsed());
}

#[tokio::test]
async fn a_delay_of_an_hour_takes_no_time_and_ends_not_before_its_hour() {
    let broker = TestBroker::start().await;
    let jobs = queue(&broker.client(), "jobs").await;
    let begun = Instant::now();
    jobs.publish(&body("later")).delay(HOUR).await.unwrap();
    broker.advance(HOUR - 60 * SECOND).await;
    assert!(is_quiet(&jobs).await, "a minute is missing");
    broker.advance(60 * SECOND).await;
    let mut consumer = jobs.consume().await.unwrap();
    take(&mut consumer).await.ack_confirmed().await.unwrap();
    assert!(begun.elapsed() < SOON);
}

#[tokio::test]
async fn what_is_published_after_an_advance_reckons_from_the_time_of_the_broker() {
    let broker = TestBroker::start().await;
    let jobs = queue(&broker.client(), "jobs").await;
    broker.advance(365 * DAY).await;
    jobs.publish(&body("later")).delay(HOUR).await.unwrap();
    assert_eq!(jobs.stats().await.unwrap().delayed, 1, "not in the past of the broker");
    broker.advance(HOUR).await;
    let mut consumer = jobs.consume().await.unwrap();
    let job = take(&mut consumer).await;
    assert!(job.published_at() > std::time::SystemTime::now() + 364 * DAY);
    assert!(broker.now() > std::time::SystemTime::now() + 364 * DAY);
    job.ack_confirmed().await.unwrap();
}

#[tokio::test]
async fn a_lease_runs_out_when_time_is_advanced_past_it() {
    let broker = TestBroker::start().await;
    let jobs = queue(&broker.client(), "jobs").await;
    jobs.publish(&body("x")).await.unwrap();
    let mut stuck = jobs.consume().lease(60 * SECOND).limit(1).await.unwrap();
    let held = take(&mut stuck).await;
    broker.advance(30 * SECOND).await;
    assert_eq!(jobs.stats().await.unwrap().leased, 1);
    broker.advance(31 * SECOND).await;
    let mut other = broker.client().queue("jobs").consume().await.unwrap();
    let again = take(&mut other).await;
    assert!(again.redelivered());
    assert_eq!(held.ack_confirmed().await.unwrap_err().kind(), ErrorKind::LeaseExpired);
    again.ack_confirmed().await.unwrap();
    broker.drained("jobs").await;
}

#[tokio::test]
async fn backoff_passes_when_time_is_advanced() {
    let broker = TestBroker::start().await;
    let jobs = broker.client().queue("jobs");
    jobs.declare().retry(Backoff::fixed(HOUR)).await.unwrap();
    jobs.publish(&body("x")).await.unwrap();
    let mut consumer = jobs.consume().await.unwrap();
    take(&mut consumer).await.retry().await.unwrap();
    let delayed = async { while jobs.stats().await.unwrap().delayed == 0 {} };
    tokio::time::timeout(SOON, delayed).await.unwrap();
    broker.advance(2 * HOUR).await;
    assert_eq!(take(&mut consumer).await.attempt(), 2);
}

#[tokio::test]
async fn the_deadline_of_a_request_comes_when_time_is_advanced() {
    let broker = TestBroker::start().await;
    let (asker, server) = (broker.client(), broker.client());
    let serve = |(): (), _| std::future::pending::<Result<u64, ServiceError>>();
    let serving = tokio::spawn(server.service("slow").serve(std::future::pending(), serve));
    while asker.services().await.unwrap().is_empty() {}
    let asked = tokio::spawn(async move {
        asker.request::<_, (), u64>("slow", &()).timeout(600 * SECOND).await
    });
    while server.services().await.unwrap()[0].in_flight == 0 {}
    broker.advance(HOUR).await;
    let error = tokio::time::timeout(SOON, asked).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    serving.abort();
}

#[tokio::test]
async fn cut_connections_are_repaired_and_nothing_is_lost_or_doubled() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    let jobs = queue(&client, "jobs").await;
    let mut consumer = jobs.consume().await.unwrap();
    for round in 0..5 {
        let text = format!("{round}");
        jobs.publish(&body(&text)).await.unwrap();
        let held = take(&mut consumer).await;
        broker.drop_connections().await;
        drop(held);
        let again = take(&mut consumer).await;
        assert!(again.redelivered());
        assert_eq!(again.payload(), &body(&text));
        again.ack_confirmed().await.unwrap();
    }
    broker.drained("jobs").await;
}

#[tokio::test]
async fn a_request_under_way_fails_at_once_when_connections_are_cut() {
    let broker = TestBroker::start().await;
    let (asker, server) = (broker.client(), broker.client());
    let serve = |(): (), _| std::future::pending::<Result<u64, ServiceError>>();
    let serving = tokio::spawn(server.service("slow").serve(std::future::pending(), serve));
    while asker.services().await.unwrap().is_empty() {}
    let asking = asker.clone();
    let asked = tokio::spawn(async move { asking.request::<_, (), u64>("slow", &()).await });
    while asker.services().await.unwrap()[0].in_flight == 0 {}
    broker.drop_connections().await;
    let error = tokio::time::timeout(SOON, asked).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    let back = async { while asker.services().await.unwrap().is_empty() {} };
    tokio::time::timeout(SOON, back).await.expect("the service registers again by itself");
    serving.abort();
}

#[tokio::test]
async fn a_crash_keeps_what_was_confirmed_and_loses_what_was_not_synced() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    let jobs = queue(&client, "jobs").await;
    for n in 0..10 {
        jobs.publish(&body(&format!("{n}"))).await.unwrap();
    }
    let mut consumer = jobs.consume().await.unwrap();
    for _ in 0..5 {
        take(&mut consumer).await.ack_confirmed().await.unwrap();
    }
    // This ack is written, and its sync never returns.
    broker.slow_disk(HOUR);
    let sixth = take(&mut consumer).await;
    let position = sixth.position();
    sixth.ack().await.unwrap();
    // Behind the ack on the same connection: the broker has it.
    client.ping().await.unwrap();
    drop((jobs, consumer, client));
    broker.crash_and_restart().await;
    let left = broker.published("jobs").await;
    let texts: Vec<_> = left.iter().map(|one| String::from_utf8_lossy(one.bytes())).collect();
    assert_eq!(texts, ["5", "6", "7", "8", "9"]);
    let mut again = broker.client().queue("jobs").consume().await.unwrap();
    let first = take(&mut again).await;
    assert_eq!(first.position(), position, "its ack was not synced");
    assert!(first.redelivered());
}

#[tokio::test]
async fn clients_go_on_after_a_crash_and_store_what_was_under_way_once() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    let jobs = queue(&client, "jobs").await;
    let producing = tokio::spawn(async move {
        for n in 0..200 {
            jobs.publish(&body(&format!("{n}"))).await.unwrap();
        }
    });
    for _ in 0..5 {
        broker.crash_and_restart().await;
    }
    tokio::time::timeout(SOON, producing).await.unwrap().unwrap();
    let stored = broker.published("jobs").await;
    let texts: Vec<_> = stored.iter().map(|one| String::from_utf8_lossy(one.bytes())).collect();
    assert_eq!(texts, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn time_goes_on_where_it_was_after_a_crash() {
    let broker = TestBroker::start().await;
    let jobs = queue(&broker.client(), "jobs").await;
    jobs.publish(&body("later")).delay(2 * HOUR).await.unwrap();
    broker.advance(HOUR).await;
    broker.crash_and_restart().await;
    assert_eq!(jobs.stats().await.unwrap().delayed, 1);
    broker.advance(HOUR).await;
    let mut consumer = jobs.consume().await.unwrap();
    take(&mut consumer).await.ack_confirmed().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_publishes_by_name_and_lets_consumers_work() {
    let broker = TestBroker::start().await;
    let hasty = broker.client_builder().publish_timeout(SECOND / 5);
    let client = hasty.connect().await.unwrap();
    let jobs = queue(&client, "jobs").await;
    jobs.publish(&body("before")).await.unwrap();
    broker.full_disk().await;
    let error = jobs.publish(&body("during")).await.unwrap_err();
    assert!([ErrorKind::NoSpace, ErrorKind::Timeout].contains(&error.kind()), "{error}");
    let mut consumer = jobs.consume().await.unwrap();
    take(&mut consumer).await.ack_confirmed().await.unwrap();
    broker.free_disk().await;
    jobs.publish(&body("after")).await.unwrap();
    let left = broker.published("jobs").await;
    assert_eq!(&left.last().unwrap().bytes()[..], b"after");
}

#[tokio::test]
async fn a_slow_disk_holds_confirms_up_until_it_is_fast_again() {
    let broker = TestBroker::start().await;
    let jobs = queue(&broker.client(), "jobs").await;
    let slow = Duration::from_millis(100);
    broker.slow_disk(slow);
    let begun = Instant::now();
    jobs.publish(&body("x")).await.unwrap();
    assert!(begun.elapsed() >= slow);
    // Whoever waits when the disk becomes fast waits no longer.
    broker.slow_disk(HOUR);
    let waiting = jobs.clone();
    let waits = tokio::spawn(async move { waiting.publish(&body("y")).await });
    assert!(tokio::time::timeout(slow, broker.client().ping()).await.is_ok());
    assert!(!waits.is_finished());
    broker.slow_disk(Duration::ZERO);
    tokio::time::timeout(SOON, waits).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn drained_waits_for_the_last_ack_and_does_not_wait_for_dead_letters() {
    let broker = TestBroker::start().await;
    let jobs = queue(&broker.client(), "jobs").await;
    broker.drained("jobs").await;
    jobs.publish(&body("good")).await.unwrap();
    jobs.publish(&body("bad")).await.unwrap();
    let mut consumer = jobs.consume().await.unwrap();
    let good = take(&mut consumer).await;
    take(&mut consumer).await.dead_letter("bad").await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(100), broker.drained("jobs")).await;
    assert!(waits.is_err(), "one is held");
    good.ack().await.unwrap();
    broker.drained("jobs").await;
    assert_eq!(jobs.stats().await.unwrap().dead, 1);
}

#[tokio::test]
#[should_panic(expected = "cannot be looked at")]
async fn drained_says_when_there_is_no_such_queue() {
    TestBroker::start().await.drained("nowhere").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_are_apart_and_work_in_any_runtime() {
    let (one, two) = (TestBroker::start().await, TestBroker::start().await);
    queue(&one.client(), "jobs").await.publish(&body("x")).await.unwrap();
    one.advance(DAY).await;
    assert!(two.client().list().await.unwrap().is_empty());
    assert!(two.now() < std::time::SystemTime::now() + HOUR);
    assert_eq!(one.published("jobs").await.len(), 1);
}
