//! The client against the real broker, inside this process: the words of both sides fit together.

use std::time::{Duration, Instant, SystemTime};

use posthaste::{
    Backoff, Bytes, Client, ConnState, Consumer, Declared, Delivery, ErrorKind, Kind, QueueOf,
    Start, TopicOf,
};

async fn memory() -> Client {
    Client::connect("memory:").await.expect("a broker")
}

async fn take<T: 'static>(consumer: &mut Consumer<T>) -> Delivery<T> {
    let next = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await;
    next.expect("a delivery in time").expect("a stream that goes on").expect("no error")
}

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test]
async fn a_message_goes_through_and_comes_once() {
    const NUMBERS: QueueOf<Vec<u64>> = QueueOf::new("numbers");
    let client = memory().await;
    let numbers = client.queue(NUMBERS);
    assert_eq!(numbers.declare().max_attempts(3).await.unwrap(), Declared::Created);
    assert_eq!(numbers.declare().max_attempts(3).await.unwrap(), Declared::Unchanged);
    assert_eq!(numbers.declare().max_attempts(4).await.unwrap(), Declared::Updated);
    let receipt = numbers.publish(&vec![1, 2]).key("k").header("h", "v").id("i").await.unwrap();
    assert!(!receipt.duplicate);
    let mut consumer = numbers.consume().await.unwrap();
    let job = take(&mut consumer).await;
    assert_eq!(job.payload(), &[1, 2]);
    assert_eq!((job.position(), job.attempt(), job.redelivered()), (receipt.position, 1, false));
    assert_eq!((job.key(), job.header("h"), job.id()), (Some("k"), Some("v"), Some("i")));
    let published = job.published_at();
    let minute = Duration::from_secs(60);
    assert!(published > SystemTime::now() - minute && published < SystemTime::now() + minute);
    job.ack_confirmed().await.unwrap();
    let stats = numbers.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased, stats.settled, stats.consumers), (0, 0, 1, 1));
    client.close().await.unwrap();
    assert!(consumer.next().await.is_none());
}

#[tokio::test]
async fn a_retry_policy_is_kept_and_delays_retries() {
    let client = memory().await;
    let queue = client.queue("q");
    let delay = Duration::from_millis(40);
    let retry = Backoff::exponential(delay..=Duration::from_secs(60));
    queue.declare().retry(retry.factor_percent(300).jitter_percent(50)).await.unwrap();
    let settings = queue.describe().await.unwrap().settings;
    assert_eq!((settings.retry_min, settings.retry_max), (Some(delay), Some(1_500 * delay)));
    assert_eq!(settings.retry_factor_percent, Some(300));
    assert_eq!(settings.retry_jitter_percent, Some(50));
    queue.publish(&body("later")).await.unwrap();
    let mut consumer = queue.consume().await.unwrap();
    let mut job = take(&mut consumer).await;
    // Half of 40 ms, half of 120 ms; the clock of the broker counts whole milliseconds.
    for least in [19, 59] {
        let begun = Instant::now();
        job.retry().await.unwrap();
        job = take(&mut consumer).await;
        assert!(begun.elapsed() >= Duration::from_millis(least), "{:?}", begun.elapsed());
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_failed_message_comes_again_and_dies_with_its_reason() {
    let client = memory().await;
    let queue = client.queue("q");
    queue.declare().max_attempts(3).await.unwrap();
    queue.publish(&body("poison")).await.unwrap();
    let mut consumer = queue.consume().await.unwrap();
    take(&mut consumer).await.retry_in(Duration::ZERO).await.unwrap();
    let second = take(&mut consumer).await;
    assert_eq!((second.attempt(), second.redelivered()), (2, true));
    drop(second);
    let third = take(&mut consumer).await;
    assert_eq!(third.attempt(), 3);
    third.retry_because(Some(Duration::ZERO), "still broken").await.unwrap();
    let dead = queue.dead_letters();
    let page = loop {
        let page = dead.list(0, 10).await.unwrap();
        if page.total > 0 {
            break page;
        }
        tokio::task::yield_now().await;
    };
    let letter = &page.letters[0];
    assert_eq!((letter.attempts(), letter.bytes()), (3, &body("poison")));
    assert!(letter.reason().contains("still broken"), "{}", letter.reason());
    assert_eq!(dead.replay_all().dry_run().await.unwrap(), 1);
    assert_eq!(dead.replay(letter.position()).await.unwrap(), 1);
    let again = take(&mut consumer).await;
    assert_eq!((again.attempt(), again.redelivered()), (1, true));
    again.dead_letter("enough").await.unwrap();
    while dead.list(0, 1).await.unwrap().total == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(dead.discard_all().await.unwrap(), 1);
    assert_eq!(dead.list(0, 1).await.unwrap().total, 0);
}

#[tokio::test]
async fn looking_never_takes() {
    let client = memory().await;
    let queue = client.queue("q");
    queue.declare().await.unwrap();
    for number in 0..5 {
        queue.publish(&body(&number.to_string())).await.unwrap();
    }
    let mut consumer = queue.consume().await.unwrap();
    take(&mut consumer).await.ack_confirmed().await.unwrap();
    consumer.shutdown(Duration::from_secs(5)).await.unwrap();
    let peeked: Vec<_> =
        queue.peek(3).await.unwrap().iter().map(|one| one.bytes().clone()).collect();
    assert_eq!(peeked, ["1", "2", "3"]);
    assert_eq!(queue.stats().await.unwrap().ready, 4);
    let mut tail = queue.tail(Start::Latest);
    let (next, stored) = tokio::join!(tail.next(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        queue.publish(&body("new")).await
    });
    stored.unwrap();
    assert_eq!(next.unwrap().unwrap().payload().unwrap(), "new");
    assert_eq!(queue.purge().dry_run().await.unwrap(), 5);
    assert_eq!(queue.purge().await.unwrap(), 5);
    assert!(queue.peek(3).await.unwrap().is_empty());
}

#[tokio::test]
async fn groups_of_a_topic_go_their_own_ways() {
    const EVENTS: TopicOf<String> = TopicOf::new("events");
    let client = memory().await;
    let events = client.topic(EVENTS);
    events.declare().retain_for(Duration::from_secs(3600)).await.unwrap();
    for event in ["a", "b", "c"] {
        events.publish(&event.to_owned()).await.unwrap();
    }
    let billing = events.group("billing");
    let mut feed = billing.consume().await.unwrap();
    for event in ["a", "b", "c"] {
        let delivery = take(&mut feed).await;
        assert_eq!(delivery.payload(), event);
        delivery.ack_confirmed().await.unwrap();
    }
    assert_eq!(billing.lag().await.unwrap().messages, 0);
    let late = events.group("late").start(Start::Latest);
    late.declare().max_attempts(2).await.unwrap();
    assert_eq!(late.lag().await.unwrap().messages, 0);
    let would = billing.seek(Start::Position(1)).dry_run().await.unwrap();
    assert_eq!((would.to, would.messages), (1, 2));
    billing.seek(Start::Position(1)).await.unwrap();
    let replayed = take(&mut feed).await;
    assert_eq!((replayed.payload().as_str(), replayed.redelivered()), ("b", true));
    drop(feed);
    let all = client.list().await.unwrap();
    assert_eq!((all.len(), all[0].kind, all[0].groups.len()), (1, Kind::Topic, 2));
    late.delete().await.unwrap();
    assert_eq!(late.info().await.unwrap_err().kind(), ErrorKind::NotFound);
    events.delete().await.unwrap();
    assert_eq!(events.describe().await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_arrive_complete_and_in_order() {
    const MESSAGES: u64 = 20_000;
    let client = memory().await;
    let queue = client.queue("q");
    queue.declare().await.unwrap();
    let producing = tokio::spawn({
        let producer = queue.producer().max_batch(100, 1 << 20).build();
        async move {
            for number in 0..MESSAGES {
                let _confirm = producer.send(&body(&number.to_string())).await.unwrap();
            }
            producer.flush().await.unwrap().confirmed
        }
    });
    let mut consumer = queue.consume().prefetch(1_000).await.unwrap();
    for number in 0..MESSAGES {
        let job = take(&mut consumer).await;
        assert_eq!((job.payload(), job.position()), (&body(&number.to_string()), number));
        job.ack().await.unwrap();
    }
    assert_eq!(producing.await.unwrap(), MESSAGES);
    consumer.shutdown(Duration::from_secs(5)).await.unwrap();
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.ready, stats.leased, stats.settled), (0, 0, MESSAGES));
    let broker = client.stats().await.unwrap();
    assert_eq!((broker.published, broker.acked), (MESSAGES, MESSAGES));
}

#[tokio::test]
async fn what_is_wrong_has_a_name() {
    let client = memory().await;
    client.queue("orders").declare().await.unwrap();
    let error = client.queue("ordrs").publish(&body("x")).await.unwrap_err();
    assert_eq!((error.kind(), error.similar()), (ErrorKind::NotFound, &["orders".to_owned()][..]));
    let error = client.topic("orders").declare().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "PH-0203"));
    client.queue("small").declare().max_messages(1).await.unwrap();
    client.queue("small").publish(&body("x")).await.unwrap();
    let error = client.queue("small").publish(&body("y")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code(), error.is_retryable()),
        (ErrorKind::Busy, "PH-0302", true)
    );
}

#[tokio::test]
async fn a_delayed_message_comes_when_it_is_due() {
    let client = memory().await;
    let queue = client.queue("q");
    queue.declare().await.unwrap();
    let delay = Duration::from_millis(300);
    let begun = Instant::now();
    queue.publish(&body("later")).delay(delay).await.unwrap();
    queue.publish(&body("now")).await.unwrap();
    let mut consumer = queue.consume().await.unwrap();
    for _ in 0..2 {
        let job = take(&mut consumer).await;
        assert!(job.payload() == "now" || begun.elapsed() >= delay, "not before its time");
        job.ack().await.unwrap();
    }
}

#[tokio::test]
async fn a_lease_is_renewed_for_as_long_as_the_delivery_lives() {
    let client = memory().await;
    let queue = client.queue("q");
    queue.declare().lease(Duration::from_millis(1_500)).await.unwrap();
    queue.publish(&body("slow")).await.unwrap();
    let mut one = queue.consume().await.unwrap();
    let mut other = queue.consume().await.unwrap();
    let job = take(&mut one).await;
    let nothing = other.next_batch(1, Duration::from_millis(2_500)).await.unwrap();
    assert!(nothing.is_empty(), "it is still being worked on");
    job.ack_confirmed().await.unwrap();
    assert_eq!(queue.stats().await.unwrap().settled, 1);
}

#[tokio::test]
async fn a_folder_keeps_what_was_confirmed() {
    let folder = std::env::temp_dir().join(format!("posthaste-client-{}", std::process::id()));
    let url = format!("embedded:{}", folder.display());
    for round in 0..3u64 {
        let client = Client::connect(&url).await.unwrap();
        let same = Client::connect(&url).await.unwrap();
        let queue = client.queue("q");
        queue.declare().await.unwrap();
        let receipt = same.queue("q").publish(&body("x")).await.unwrap();
        assert_eq!(receipt.position, round);
        assert_eq!(queue.peek(10).await.unwrap().len() as u64, round + 1);
        client.close().await.unwrap();
        assert_eq!(same.state(), ConnState::Ready, "the broker goes on for the other client");
        same.close().await.unwrap();
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn memory_brokers_are_shared_by_name_only() {
    let (one, other) = (memory().await, memory().await);
    one.queue("q").declare().await.unwrap();
    assert_eq!(other.describe("q").await.unwrap_err().kind(), ErrorKind::NotFound);
    let one = Client::connect("memory:shared").await.unwrap();
    let other = Client::connect("memory:shared").await.unwrap();
    one.queue("q").declare().await.unwrap();
    other.describe("q").await.unwrap();
}
