//! Publishing: what a confirm means, how messages share frames, and what happens when not all is well.

use std::future::IntoFuture;
use std::time::{Duration, SystemTime};

use posthaste::{Bytes, ConnState, ErrorKind, Properties, QueueOf};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::{Records, Request, Response, destination_seed, verify_batch};
use tokio::time::Instant;

use crate::fake::{connected, connected_by, settle_down, welcome};

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn one_await_means_confirmed_and_nothing_less() {
    let (_fake, mut peer, client) = connected().await;
    let orders = client.queue("orders");
    let seven = body("seven");
    let mut publishing = Box::pin(orders.publish(&seven).id("order-7").into_future());
    assert!(futures_poll(&mut publishing).await.is_none());
    peer.open_producer(5, 9, false).await;
    let published = peer.publish().await;
    assert_eq!((published.number, published.target), (1, 5));
    let name = "orders".try_into().unwrap();
    verify_batch(&published.batch, destination_seed(&name)).unwrap();
    let header = published.header();
    assert_eq!((header.producer, header.sequence, header.count), (9, 1, 1));
    assert!(futures_poll(&mut publishing).await.is_none(), "not confirmed yet");
    peer.confirm(1, 1, 41).await;
    let receipt = publishing.await.unwrap();
    assert_eq!((receipt.position, receipt.duplicate), (41, false));
    assert_eq!(receipt.id.as_deref(), Some("order-7"));
}

/// Polls once after everything else has run.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let polled = tokio::time::timeout(Duration::from_millis(1), future).await;
    polled.ok()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_publishes_in_flight_share_frames() {
    let (_fake, mut peer, client) = connected().await;
    let orders = client.queue("orders");
    let tasks: Vec<_> = (0..1_000)
        .map(|number| {
            let orders = orders.clone();
            tokio::spawn(async move {
                let message = body(&format!("message {number}"));
                (message.clone(), orders.publish(&message).await.unwrap().position)
            })
        })
        .collect();
    peer.open_producer(5, 9, false).await;
    let mut stored = Vec::new();
    let mut frames = 0;
    while stored.len() < 1_000 {
        let published = peer.publish().await;
        frames += 1;
        peer.confirm(published.number, 1, stored.len() as u64).await;
        stored.extend(published.bodies());
    }
    assert!(frames <= 3, "{frames} frames for 1,000 messages");
    for task in tasks {
        let (message, position) = task.await.unwrap();
        assert_eq!(stored[usize::try_from(position).unwrap()], message);
    }
}

#[tokio::test(start_paused = true)]
async fn cumulative_confirms_find_their_messages() {
    let (_fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().max_batch(2, 1 << 20).build();
    let mut confirms = Vec::new();
    for number in 0..5 {
        confirms.push(producer.send(&body(&number.to_string())).await.unwrap());
    }
    peer.open_producer(1, 9, false).await;
    for (number, count) in [(1, 2), (2, 2), (3, 1)] {
        let published = peer.publish().await;
        assert_eq!((published.number, published.header().count), (number, count));
        assert_eq!(published.header().sequence, number);
    }
    peer.confirm(1, 3, 100).await;
    for (index, confirm) in confirms.into_iter().enumerate() {
        assert_eq!(confirm.await.unwrap().position, 100 + index as u64);
    }
    assert_eq!(producer.flush().await.unwrap().confirmed, 5);
}

#[tokio::test(start_paused = true)]
async fn confirms_may_come_in_another_order() {
    let (_fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().max_batch(1, 1 << 20).build();
    let first = producer.send(&body("a")).await.unwrap();
    let second = producer.send(&body("b")).await.unwrap();
    peer.open_producer(1, 9, false).await;
    peer.publish().await;
    peer.publish().await;
    peer.confirm(2, 1, 20).await;
    assert_eq!(second.await.unwrap().position, 20);
    peer.confirm(1, 1, 10).await;
    assert_eq!(first.await.unwrap().position, 10);
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_fails_its_messages_and_no_other() {
    let (_fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().max_batch(1, 1 << 20).build();
    let refused = producer.send(&body("a")).await.unwrap();
    let stored = producer.send(&body("b")).await.unwrap();
    peer.open_producer(1, 9, false).await;
    peer.publish().await;
    peer.publish().await;
    peer.refuse(1, ErrorCode::QueueFull, &[]).await;
    peer.confirm(2, 1, 0).await;
    let error = refused.await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Busy, "PH-0302"));
    assert!(error.is_retryable() && error.help().is_some());
    assert_eq!(error.retry_after(), Some(Duration::from_millis(250)));
    stored.await.unwrap();
    let flushed = producer.flush().await.unwrap_err();
    assert_eq!(flushed.code(), "PH-0302");
    assert_eq!(producer.flush().await.unwrap().confirmed, 0, "a failure is told once");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_destination_is_told_with_similar_names() {
    let (_fake, mut peer, client) = connected().await;
    let publishing =
        tokio::spawn(async move { client.queue("ordrs").publish(&body("x")).await.unwrap_err() });
    let said = peer.next().await;
    assert!(matches!(said.request, Request::Describe { .. }), "{said:?}");
    peer.refuse(said.id, ErrorCode::NotFound, &["orders"]).await;
    let error = publishing.await.unwrap();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, "PH-0201"));
    assert_eq!(error.similar(), ["orders"]);
    assert!(error.to_string().ends_with("similar: orders"), "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn many_unknown_destinations_are_asked_for_a_few_at_a_time() {
    const QUEUES: usize = 1_000;
    let (_fake, mut peer, client) = connected().await;
    let mut sent = Vec::new();
    for queue in 0..QUEUES {
        let producer = client.queue(format!("q{queue}")).producer().build();
        sent.push(producer.send(&body("x")).await.unwrap());
    }
    let (mut stored, mut most) = (0, 0);
    while stored < QUEUES {
        let mut asked = Vec::new();
        while let Some(said) = peer.next_within(Duration::from_millis(50)).await {
            match said.request {
                Request::Describe { name } => asked.push((said.id, name)),
                Request::OpenProducer { .. } => {
                    let opened = Response::ProducerOpened { producer: 9, resumed: false };
                    peer.say(0, said.id, opened).await;
                }
                Request::Publish { .. } => {
                    peer.confirm(said.id, 1, 0).await;
                    stored += 1;
                }
                other => panic!("not expected: {other:?}"),
            }
        }
        most = most.max(asked.len());
        for (id, name) in asked {
            peer.describe(id, &name, 6).await;
        }
    }
    assert!((100..=256).contains(&most), "{most} at a time");
    for confirm in sent {
        confirm.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_means_timeout_not_ok_and_not_forever() {
    let (_fake, mut peer, client) = connected().await;
    let begun = Instant::now();
    let orders = client.queue("orders");
    let message = body("x");
    let publishing = orders.publish(&message).into_future();
    let broker = async {
        peer.open_producer(1, 9, false).await;
        peer.publish().await;
    };
    let (outcome, ()) = tokio::join!(publishing, broker);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Timeout, "PH-0902"));
    let waited = begun.elapsed();
    assert!((30.0..30.2).contains(&waited.as_secs_f64()), "{waited:?}");
    // A confirm that comes after all hurts nobody.
    peer.confirm(1, 1, 0).await;
    settle_down().await;
    assert_eq!(client.state(), ConnState::Ready);
}

#[tokio::test(start_paused = true)]
async fn the_window_bounds_what_is_unconfirmed() {
    let small = posthaste_protocol::response::Welcome { publish_bytes_max: 2_000, ..welcome() };
    let (_fake, mut peer, client) = connected_by(|builder| builder, small).await;
    let producer = client.queue("orders").producer().max_batch(1, 1 << 20).build();
    let mut confirms = Vec::new();
    for _ in 0..3 {
        confirms.push(producer.send(&Bytes::from(vec![0; 800])).await.unwrap());
    }
    peer.open_producer(1, 9, false).await;
    peer.publish().await;
    peer.publish().await;
    assert!(peer.next_within(Duration::from_secs(1)).await.is_none(), "the window is full");
    assert_eq!(client.state(), ConnState::Throttled);
    peer.confirm(1, 1, 0).await;
    assert_eq!(peer.publish().await.number, 3);
    peer.confirm(2, 2, 1).await;
    assert_eq!(producer.flush().await.unwrap().confirmed, 3);
    assert_eq!(client.state(), ConnState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_window_passes_alone() {
    let small = posthaste_protocol::response::Welcome { publish_bytes_max: 100, ..welcome() };
    let (_fake, mut peer, client) = connected_by(|builder| builder, small).await;
    let orders = client.queue("orders");
    let message = Bytes::from(vec![1; 5_000]);
    let broker = async {
        peer.open_producer(1, 9, false).await;
        let number = peer.publish().await.number;
        peer.confirm(number, 1, 0).await;
    };
    let (outcome, ()) = tokio::join!(orders.publish(&message).into_future(), broker);
    outcome.unwrap();
}

#[tokio::test(start_paused = true)]
async fn send_waits_for_room_and_gives_up_in_time() {
    let (_fake, mut peer, client) = connected().await;
    let builder = client.queue("orders").producer().linger(Duration::ZERO);
    let producer = builder.max_batch(1, 1 << 20).max_in_flight(1_000).build();
    let message = Bytes::from(vec![0; 600]);
    let first = producer.send(&message).await.unwrap();
    let waiting = tokio::spawn({
        let (producer, message) = (producer.clone(), message.clone());
        async move { producer.send(&message).await }
    });
    peer.open_producer(1, 9, false).await;
    peer.publish().await;
    settle_down().await;
    assert!(!waiting.is_finished(), "there is no room");
    peer.confirm(1, 1, 0).await;
    first.await.unwrap();
    let second = waiting.await.unwrap().unwrap();
    peer.publish().await;
    // No confirm for the second: the third finds no room until its time is up.
    let begun = Instant::now();
    let error = producer.send(&message).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() <= Duration::from_secs(31));
    assert_eq!(second.await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_batch_lingers_for_company_and_a_flush_does_not() {
    let (_fake, mut peer, client) = connected().await;
    let linger = Duration::from_millis(50);
    let producer = client.queue("orders").producer().linger(linger).build();
    let begun = Instant::now();
    let mut confirms = vec![producer.send(&body("a")).await.unwrap()];
    tokio::time::sleep(Duration::from_millis(20)).await;
    confirms.push(producer.send(&body("b")).await.unwrap());
    peer.open_producer(1, 9, false).await;
    assert_eq!(peer.publish().await.header().count, 2);
    let waited = begun.elapsed().as_millis();
    assert!((50..60).contains(&waited), "{waited} ms");
    peer.confirm(1, 1, 0).await;
    for confirm in confirms {
        confirm.await.unwrap();
    }
    // Again, for the lane must linger more than once.
    let begun = Instant::now();
    let _third = producer.send(&body("c")).await.unwrap();
    assert_eq!(peer.publish().await.header().count, 1);
    let waited = begun.elapsed().as_millis();
    assert!((50..60).contains(&waited), "{waited} ms");
    peer.confirm(2, 1, 2).await;
    assert_eq!(producer.flush().await.unwrap().confirmed, 3);

    let begun = Instant::now();
    let _fourth = producer.send(&body("d")).await.unwrap();
    let flushing = tokio::spawn({
        let producer = producer.clone();
        async move { producer.flush().await }
    });
    peer.publish().await;
    assert_eq!(begun.elapsed().as_millis(), 0);
    peer.confirm(3, 1, 3).await;
    assert_eq!(flushing.await.unwrap().unwrap().confirmed, 1);

    let begun = Instant::now();
    let _fifth = producer.send(&body("e")).await.unwrap();
    peer.publish().await;
    assert!(begun.elapsed() >= linger, "one flush is not for ever");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_linger() {
    let (_fake, mut peer, client) = connected().await;
    let linger = Duration::from_secs(10);
    let producer = client.queue("orders").producer().linger(linger).max_batch(3, 1 << 20).build();
    let begun = Instant::now();
    for _ in 0..7 {
        let _confirm = producer.send(&body("x")).await.unwrap();
    }
    peer.open_producer(1, 9, false).await;
    assert_eq!(peer.publish().await.header().count, 3);
    assert_eq!(peer.publish().await.header().count, 3);
    assert_eq!(begun.elapsed().as_secs(), 0);
    assert_eq!(peer.publish().await.header().count, 1);
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_message_too_large_is_refused_here_and_hurts_no_neighbour() {
    let (_fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().build();
    let good = producer.send(&body("good")).await.unwrap();
    let error = producer.send(&Bytes::from(vec![0; (1 << 20) + 1])).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::TooLarge, "PH-0301"));
    let long_key = Properties::new().key("k".repeat(2_000));
    let error = producer.send_with(&body("x"), &long_key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    peer.open_producer(1, 9, false).await;
    assert_eq!(peer.publish().await.bodies(), ["good"]);
    peer.confirm(1, 1, 0).await;
    good.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn properties_travel_with_the_message() {
    let (_fake, mut peer, client) = connected().await;
    const NUMBERS: QueueOf<Vec<u32>> = QueueOf::new("numbers");
    let numbers = client.queue(NUMBERS);
    let due = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let broker = async {
        peer.open_producer(1, 9, false).await;
        let published = peer.publish().await;
        peer.confirm(1, 1, 0).await;
        published
    };
    let message = vec![1, 2];
    let publishing =
        numbers.publish(&message).key("k").header("a", "1").header("b", "2").id("i").at(due);
    let publishing = publishing.priority(3).ttl(Duration::from_secs(60)).into_future();
    let (outcome, published) = tokio::join!(publishing, broker);
    outcome.unwrap();
    assert!(published.header().is_delayed());
    let record = Records::new(published.batch).unwrap().next().unwrap().unwrap();
    assert_eq!(&record.value[..], b"[1,2]");
    assert_eq!((record.key(), record.id(), record.priority), (Some("k"), Some("i"), Some(3)));
    assert_eq!(record.headers().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
    assert_eq!(record.not_before_ms, Some(2_000_000_000_000));
    assert!(record.expires_ms.is_some());
}

#[tokio::test(start_paused = true)]
async fn wrong_names_are_told_by_the_first_use() {
    let (_fake, _peer, client) = connected().await;
    let bad = client.queue("no spaces please");
    assert_eq!(bad.publish(&body("x")).await.unwrap_err().code(), "PH-0202");
    assert_eq!(bad.declare().await.unwrap_err().code(), "PH-0202");
    assert_eq!(bad.consume().await.unwrap_err().code(), "PH-0202");
    assert_eq!(bad.peek(1).await.unwrap_err().code(), "PH-0202");
    let producer = bad.producer().build();
    assert_eq!(producer.send(&body("x")).await.unwrap_err().code(), "PH-0202");
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_cannot_be_written_is_told() {
    let (_fake, _peer, client) = connected().await;
    type Odd = std::collections::BTreeMap<Vec<u8>, u8>;
    const ODD: QueueOf<Odd> = QueueOf::new("odd");
    let message = Odd::from([(vec![1], 1)]);
    let error = client.queue(ODD).publish(&message).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Encode, "PH-0904"));
}
