//! Broken connections: what was sent is sent again as it was, stored once, and never claimed falsely.

use std::future::IntoFuture;
use std::time::Duration;

use posthaste::{Bytes, ConnState, ErrorKind};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::response::{Confirmed, Piece, Welcome};
use posthaste_protocol::{Request, Response};
use tokio::time::Instant;

use crate::fake::{connected, connected_by, delivery, piece, settle_down, welcome};

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_publishes_are_resent_byte_for_byte_in_order() {
    let (mut fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().max_batch(1, 1 << 20).build();
    let mut confirms = Vec::new();
    for text in ["a", "b", "c"] {
        confirms.push(producer.send(&body(text)).await.unwrap());
    }
    let session = peer.open_producer(5, 9, false).await;
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(peer.publish().await.batch);
    }
    peer.confirm(1, 1, 70).await;
    settle_down().await;
    drop(peer);

    // One more while there is no connection.
    confirms.push(producer.send(&body("d")).await.unwrap());
    let mut peer = fake.accept().await;
    assert_eq!(peer.open_producer(5, 9, true).await, session, "the same session");
    for (number, batch) in [(1, &sent[1]), (2, &sent[2])] {
        let again = peer.publish().await;
        assert_eq!((again.number, again.target), (number, 5));
        assert_eq!(again.batch, batch);
    }
    let fresh = peer.publish().await;
    assert_eq!((fresh.number, fresh.header().sequence), (3, 4));
    let resent = Confirmed { first: 1, count: 2, target: 5, base_offset: 71, duplicate: true };
    peer.say(0, 0, Response::Confirms(vec![resent])).await;
    peer.confirm(3, 1, 73).await;

    let mut receipts = Vec::new();
    for confirm in confirms {
        let receipt = confirm.await.unwrap();
        receipts.push((receipt.position, receipt.duplicate));
    }
    assert_eq!(receipts, [(70, false), (71, true), (72, true), (73, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_makes_what_was_sent_indeterminate_and_nothing_else() {
    let (mut fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().max_batch(1, 1 << 20).build();
    let unknown = producer.send(&body("a")).await.unwrap();
    peer.open_producer(5, 9, false).await;
    peer.publish().await;
    drop(peer);
    // Not before the client has seen it, or this one would be sent into the broken connection too.
    settle_down().await;
    let fresh = producer.send(&body("b")).await.unwrap();

    let mut peer = fake.accept().await;
    peer.open_producer(5, 10, false).await;
    let published = peer.publish().await;
    assert_eq!(published.bodies(), ["b"]);
    assert_eq!(published.header().producer, 10);
    peer.confirm(1, 1, 0).await;
    fresh.await.unwrap();
    let error = unknown.await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Indeterminate, "PH-0502"));
}

#[tokio::test(start_paused = true)]
async fn a_publish_waits_for_the_next_connection() {
    let (mut fake, peer, client) = connected().await;
    drop(peer);
    settle_down().await;
    assert_eq!(client.state(), ConnState::Reconnecting);
    let orders = client.queue("orders");
    let message = body("x");
    let broker = async {
        let mut peer = fake.accept().await;
        peer.open_producer(1, 9, false).await;
        peer.publish().await;
        peer.confirm(1, 1, 0).await;
        peer
    };
    let (outcome, _peer) = tokio::join!(orders.publish(&message).into_future(), broker);
    outcome.unwrap();
    assert_eq!(client.state(), ConnState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_publish_without_a_connection_fails_in_time() {
    let timeout = Duration::from_secs(3);
    let (fake, peer, client) =
        connected_by(|builder| builder.publish_timeout(timeout), welcome()).await;
    drop((fake, peer));
    let begun = Instant::now();
    let error = client.queue("orders").publish(&body("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let waited = begun.elapsed().as_secs_f64();
    assert!((3.0..3.2).contains(&waited), "{waited} s");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_asked_for_on_the_next_connection() {
    let (mut fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().max_batch(1, 1 << 20).build();
    let confirm = producer.send(&body("a")).await.unwrap();
    peer.open_producer(5, 9, false).await;
    let first = peer.publish().await;
    peer.refuse(1, ErrorCode::Indeterminate, &[]).await;
    let mut peer = fake.accept().await;
    peer.open_producer(5, 9, true).await;
    assert_eq!(peer.publish().await.batch, first.batch);
    peer.confirm(1, 1, 3).await;
    assert_eq!(confirm.await.unwrap().position, 3);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_shuts_down_is_not_an_error_of_the_publish() {
    let (mut fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().max_batch(1, 1 << 20).build();
    let confirm = producer.send(&body("a")).await.unwrap();
    peer.open_producer(5, 9, false).await;
    peer.publish().await;
    peer.refuse(1, ErrorCode::ShuttingDown, &[]).await;
    let leaving = posthaste_protocol::ErrorReply::new(ErrorCode::ShuttingDown, "leaving");
    peer.say(0, 0, Response::Closing(leaving)).await;
    let mut peer = fake.accept().await;
    peer.open_producer(5, 9, true).await;
    peer.publish().await;
    peer.confirm(1, 1, 3).await;
    assert_eq!(confirm.await.unwrap().position, 3);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_was_created_again_is_looked_up_again() {
    let (_fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().max_batch(1, 1 << 20).build();
    let first = producer.send(&body("a")).await.unwrap();
    let second = producer.send(&body("b")).await.unwrap();
    peer.open_producer(5, 9, false).await;
    peer.publish().await;
    peer.publish().await;
    peer.refuse(1, ErrorCode::NotFound, &[]).await;
    peer.refuse(2, ErrorCode::NotFound, &[]).await;
    let said = peer.next().await;
    let Request::Describe { name } = said.request else { panic!("{said:?}") };
    peer.describe(said.id, &name, 6).await;
    for (number, text) in [(3, "a"), (4, "b")] {
        let again = peer.publish().await;
        assert_eq!((again.number, again.target), (number, 6));
        assert_eq!(again.bodies(), [text]);
    }
    peer.confirm(3, 1, 0).await;
    peer.refuse(4, ErrorCode::NotFound, &[]).await;
    first.await.unwrap();
    let error = second.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "the second time it is believed");
}

#[tokio::test(start_paused = true)]
async fn another_broker_under_the_address_gets_its_own_numbers() {
    let (mut fake, mut peer, client) = connected().await;
    let orders = client.queue("orders");
    let message = body("x");
    let broker = async {
        peer.open_producer(5, 9, false).await;
        peer.publish().await;
        peer.confirm(1, 1, 0).await;
    };
    let (outcome, ()) = tokio::join!(orders.publish(&message).into_future(), broker);
    outcome.unwrap();
    drop(peer);
    let mut peer = fake.accept_with(Welcome { store: [8; 16], ..welcome() }).await;
    let broker = async {
        peer.open_producer(77, 1, false).await;
        assert_eq!(peer.publish().await.target, 77);
        peer.confirm(1, 1, 0).await;
    };
    let (outcome, ()) = tokio::join!(orders.publish(&message).into_future(), broker);
    outcome.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up() {
    let (mut fake, mut peer, client) =
        connected_by(|builder| builder, Welcome { idle_ms: 9_000, ..welcome() }).await;
    let begun = Instant::now();
    let said = peer.next().await;
    assert!(matches!(said.request, Request::Ping(_)), "{said:?}");
    assert_eq!(begun.elapsed().as_secs(), 3);
    peer.say(0, said.id, Response::Pong(0)).await;
    // From here on the broker says nothing, though the client asks.
    let mut again = fake.accept().await;
    let waited = begun.elapsed().as_secs_f64();
    assert!((12.0..12.2).contains(&waited), "{waited} s");
    assert!(again.next_within(Duration::from_secs(60)).await.is_none(), "idle_ms 0: no pings");
    assert_eq!(client.state(), ConnState::Ready);
}

#[tokio::test(start_paused = true)]
async fn reconnects_back_off_with_jitter() {
    let (mut fake, peer, _client) = connected().await;
    drop(peer);
    let mut begun = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..9 {
        drop(fake.accept_raw().await);
        waits.push(begun.elapsed().as_millis());
        begun = Instant::now();
    }
    for (attempt, wait) in waits.iter().enumerate() {
        let whole = (50 << attempt).min(5_000);
        assert!((whole / 2..=whole + 2).contains(wait), "attempt {attempt}: {waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_talks_nonsense_is_left_and_tried_again() {
    let (mut fake, mut peer, client) = connected().await;
    peer.say_raw(&[0xff; 64]).await;
    assert!(peer.is_closed().await);
    let mut peer = fake.accept().await;
    // A confirm for something that was never sent.
    peer.confirm(99, 1, 0).await;
    assert!(peer.is_closed().await);
    let mut peer = fake.accept().await;
    // More messages than bytes, and offsets beyond the last.
    let queue = client.queue("q");
    let opening = tokio::spawn(async move { queue.consume().await });
    for (base_offset, count) in [(0, u32::MAX), (u64::MAX, 1), (0, 0)] {
        let (channel, _) = peer.open_consumer(30_000).await;
        let nonsense = Piece { base_offset, count, ..piece("q", 0, &["a"]) };
        peer.deliver(channel, delivery(1, vec![nonsense])).await;
        assert!(peer.is_closed().await);
        peer = fake.accept().await;
    }
    peer.open_consumer(30_000).await;
    opening.await.unwrap().unwrap();
    assert_ne!(client.state(), ConnState::Closed);
}
