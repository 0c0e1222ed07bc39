//! The end: in order if there is time, never with anybody left waiting.

use std::time::Duration;

use posthaste::{Bytes, ConnState, ErrorKind};
use posthaste_protocol::request::Outcome;
use posthaste_protocol::{Request, Response};
use tokio::time::Instant;

use crate::fake::{connected, connected_by, delivery, fake, piece, welcome};

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn close_sends_what_lingers_and_waits_for_its_confirm() {
    let (_fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().linger(Duration::from_secs(100)).build();
    let confirm = producer.send(&body("a")).await.unwrap();
    let closing = tokio::spawn(client.clone().close());
    peer.open_producer(1, 9, false).await;
    assert_eq!(peer.publish().await.bodies(), ["a"]);
    peer.confirm(1, 1, 0).await;
    let said = peer.next().await;
    assert!(matches!(said.request, Request::Close), "{said:?}");
    assert!(peer.is_closed().await);
    closing.await.unwrap().unwrap();
    confirm.await.unwrap();
    assert_eq!(client.state(), ConnState::Closed);
}

#[tokio::test(start_paused = true)]
async fn close_ends_streams_and_sends_their_settles_first() {
    let (_fake, mut peer, client) = connected().await;
    let queue = client.queue("q");
    let opening = tokio::spawn(async move { queue.consume().await });
    let (channel, _) = peer.open_consumer(30_000).await;
    let mut consumer = opening.await.unwrap().unwrap();
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a", "b"])])).await;
    let job = consumer.next().await.unwrap().unwrap();
    let late = consumer.next().await.unwrap().unwrap();
    job.ack().await.unwrap();
    let closing = tokio::spawn(client.close());
    assert_eq!(peer.settle().await.2[0].outcome, Outcome::Ack);
    let said = peer.next().await;
    assert!(matches!(said.request, Request::Cancel), "{said:?}");
    peer.say(channel, said.id, Response::Canceled).await;
    assert!(matches!(peer.next().await.request, Request::Close));
    closing.await.unwrap().unwrap();
    assert!(consumer.next().await.is_none());
    assert_eq!(late.ack().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn close_gives_up_in_time_and_says_so() {
    let timeout = Duration::from_secs(5);
    let (_fake, mut peer, client) =
        connected_by(|builder| builder.publish_timeout(timeout), welcome()).await;
    let producer = client.queue("orders").producer().build();
    let confirm = producer.send(&body("a")).await.unwrap();
    peer.open_producer(1, 9, false).await;
    peer.publish().await;
    let begun = Instant::now();
    let waiting = tokio::spawn(confirm);
    client.close().await.map_or_else(
        |error| assert_eq!(error.kind(), ErrorKind::Timeout),
        |()| panic!("a message was not confirmed"),
    );
    assert!(begun.elapsed() <= Duration::from_secs(6));
    assert!(waiting.await.unwrap().is_err(), "nobody is left waiting");
}

#[tokio::test(start_paused = true)]
async fn after_the_end_everything_says_closed() {
    let (_fake, mut peer, client) = connected().await;
    let (orders, producer) = (client.queue("orders"), client.queue("orders").producer().build());
    let closing = tokio::spawn(client.clone().close());
    assert!(matches!(peer.next().await.request, Request::Close));
    closing.await.unwrap().unwrap();
    let message = body("x");
    for _ in 0..3 {
        assert_eq!(orders.publish(&message).await.unwrap_err().kind(), ErrorKind::Closed);
        let confirm = producer.send(&message).await.unwrap();
        assert_eq!(confirm.await.unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(producer.flush().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(orders.declare().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(orders.consume().await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.ready().await.unwrap_err().kind(), ErrorKind::Closed);
    client.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_still_sends_what_was_taken() {
    let (_fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().linger(Duration::from_secs(100)).build();
    let confirm = producer.send(&body("a")).await.unwrap();
    drop((client, producer));
    peer.open_producer(1, 9, false).await;
    peer.publish().await;
    peer.confirm(1, 1, 4).await;
    assert_eq!(confirm.await.unwrap().position, 4);
    assert!(matches!(peer.next().await.request, Request::Close));
    assert!(peer.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_connected_closes_at_once() {
    let (_fake, builder) = fake();
    let client = builder.connect_lazy().unwrap();
    let begun = Instant::now();
    client.close().await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_client_outlives_it() {
    let (mut fake, mut peer, client) = connected().await;
    let producer = client.queue("orders").producer().build();
    let queue = client.queue("q");
    let confirm = producer.send(&body("a")).await.unwrap();
    peer.open_producer(1, 9, false).await;
    peer.publish().await;
    peer.confirm(1, 1, 0).await;
    confirm.await.unwrap();
    let opening = tokio::spawn(async move { queue.consume().await });
    let (channel, _) = peer.open_consumer(30_000).await;
    let mut consumer = opening.await.unwrap().unwrap();
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a"])])).await;
    let job = consumer.next().await.unwrap().unwrap();
    drop((client, producer, consumer));
    // A delivery keeps its client alive.
    job.ack().await.unwrap();
    assert_eq!(peer.settle().await.2.len(), 1);
    let said = peer.next().await;
    assert!(matches!(said.request, Request::Cancel), "{said:?}");
    peer.say(channel, said.id, Response::Canceled).await;
    assert!(matches!(peer.next().await.request, Request::Close));
    assert!(peer.is_closed().await);
    assert!(fake.is_forgotten().await, "something keeps the client's state");
}
