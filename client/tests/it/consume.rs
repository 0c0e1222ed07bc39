//! Consuming: credit, order, settling, and what goes back.

use std::time::Duration;

use posthaste::{Bytes, Consumer, ErrorKind, QueueOf, Start, Undecodable};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::{Outcome, Settle};
use posthaste_protocol::response::Piece;
use posthaste_protocol::{Request, Response};
use tokio::time::Instant;

use crate::fake::{Fake, Peer, connected, delivery, held, piece, settle_down};

const LEASE_MS: u32 = 30_000;

/// A consumer of the queue `q` with this prefetch.
async fn consuming(prefetch: u32) -> (Fake, Peer, posthaste::Client, Consumer, u16) {
    let (fake, mut peer, client) = connected().await;
    let queue = client.queue("q");
    let opening = tokio::spawn(async move { queue.consume().prefetch(prefetch).await });
    let (channel, _) = peer.open_consumer(LEASE_MS).await;
    let consumer = opening.await.expect("no panic").expect("opened");
    (fake, peer, client, consumer, channel)
}

async fn take(consumer: &mut Consumer) -> posthaste::Delivery {
    let next = tokio::time::timeout(Duration::from_secs(5), consumer.next()).await;
    next.expect("a delivery in time").expect("a stream that goes on").expect("no error")
}

fn retry(delay_ms: Option<u64>, reason: &str) -> Outcome {
    Outcome::Retry { delay_ms, reason: reason.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_asks_for_64_messages_and_8_mib() {
    let (_fake, mut peer, client) = connected().await;
    let queue = client.queue("orders");
    let opening = tokio::spawn(async move { queue.consume().await });
    let (channel, consume) = peer.open_consumer(LEASE_MS).await;
    assert!(channel >= 1);
    assert_eq!((consume.credit.messages, consume.credit.bytes), (64, 8 << 20));
    assert_eq!((consume.name.as_str(), consume.group, consume.lease_ms), ("orders", None, None));
    opening.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limited_consumer_never_takes_more_than_it_delivers() {
    let (_fake, mut peer, client) = connected().await;
    let queue = client.queue("q");
    let opening = tokio::spawn(async move { queue.consume().prefetch(4).limit(6).await });
    let (channel, consume) = peer.open_consumer(LEASE_MS).await;
    assert_eq!(consume.credit.messages, 4);
    let mut consumer = opening.await.unwrap().unwrap();
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a", "b", "c", "d"])])).await;
    let mut jobs = vec![take(&mut consumer).await, take(&mut consumer).await];
    assert_eq!(peer.credit().await.messages, 2, "four are on their way of six");
    jobs.extend([take(&mut consumer).await, take(&mut consumer).await]);
    assert_eq!(peer.credit().await.messages, 0, "six are on their way");
    peer.deliver(channel, delivery(1, vec![piece("q", 4, &["e", "f"])])).await;
    jobs.extend([take(&mut consumer).await, take(&mut consumer).await]);
    assert!(consumer.next().await.is_none(), "the stream ends at its limit");
}

#[tokio::test(start_paused = true)]
async fn a_group_says_where_it_starts() {
    let (_fake, mut peer, client) = connected().await;
    let group = client.topic("events").group("billing").start(Start::Position(7));
    let lease = Duration::from_secs(9);
    let opening = tokio::spawn(async move { group.consume().lease(lease).await });
    let (_, consume) = peer.open_consumer(9_000).await;
    assert_eq!(consume.group.unwrap().as_str(), "billing");
    assert_eq!(consume.start, posthaste_protocol::request::Start::Offset(7));
    assert_eq!(consume.lease_ms, Some(9_000));
    opening.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn deliveries_come_in_order_with_what_belongs_to_them() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    let part = Piece { from: 1, count: 2, ..piece("q", 10, &["a", "b", "c", "d"]) };
    let again = Piece { attempt: 3, redelivered: true, ..piece("q", 5, &["e"]) };
    peer.deliver(channel, delivery(1, vec![part, again])).await;
    for (text, position, attempt) in [("b", 11, 1), ("c", 12, 1), ("e", 5, 3)] {
        let job = take(&mut consumer).await;
        assert_eq!(job.payload(), text);
        assert_eq!((job.position(), job.attempt()), (position, attempt));
        assert_eq!(job.redelivered(), attempt > 1);
        assert_eq!((job.key(), job.header("none")), (Some("k"), None));
        job.ack().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn credit_is_topped_up_at_half_with_what_was_begun() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(4).await;
    let all = piece("q", 0, &["a", "b", "c", "d"]);
    let bytes = all.batches.len() as u64;
    peer.deliver(channel, delivery(1, vec![all])).await;
    let mut jobs = vec![take(&mut consumer).await];
    assert!(peer.next_within(Duration::from_secs(1)).await.is_none(), "less than half is taken");
    jobs.push(take(&mut consumer).await);
    let credit = peer.credit().await;
    assert_eq!((credit.messages, credit.begun), (2, 2));
    jobs.push(take(&mut consumer).await);
    jobs.push(take(&mut consumer).await);
    // The bytes of a piece come back when it is used up.
    let credit = peer.credit().await;
    assert_eq!((credit.messages, credit.bytes, credit.begun), (2, bytes, 4));
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_large_piece_come_back_before_half_of_the_messages() {
    let (_fake, mut peer, client) = connected().await;
    let queue = client.queue("q");
    let opening = tokio::spawn(async move { queue.consume().prefetch_bytes(1_000).await });
    let (channel, _) = peer.open_consumer(LEASE_MS).await;
    let mut consumer = opening.await.unwrap().unwrap();
    let large = piece("q", 0, &["x".repeat(900).as_str()]);
    let bytes = large.batches.len() as u64;
    peer.deliver(channel, delivery(1, vec![large])).await;
    let _job = take(&mut consumer).await;
    let credit = peer.credit().await;
    assert_eq!((credit.messages, credit.bytes, credit.begun), (1, bytes, 1));
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_message_is_told_as_begun_at_once() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    let again = Piece { redelivered: true, ..piece("q", 0, &["a"]) };
    peer.deliver(channel, delivery(1, vec![again])).await;
    let _job = take(&mut consumer).await;
    let credit = peer.credit().await;
    assert_eq!((credit.messages, credit.begun), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn acks_merge_into_ranges_whatever_their_order() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(1_000).await;
    let bodies: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    peer.deliver(channel, delivery(8, vec![piece("q", 500, &bodies)])).await;
    let mut jobs = Vec::new();
    for _ in 0..100 {
        jobs.push(take(&mut consumer).await);
    }
    let kept = jobs.remove(50);
    jobs.reverse();
    for job in jobs {
        job.ack().await.unwrap();
    }
    let (_, confirm, items) = peer.settle().await;
    assert!(!confirm);
    let acked = |held| Settle { held, outcome: Outcome::Ack };
    assert_eq!(items, [acked(held(500, 50, 8)), acked(held(551, 49, 8))]);
    kept.ack().await.unwrap();
    assert_eq!(peer.settle().await.2, [acked(held(550, 1, 8))]);
}

#[tokio::test(start_paused = true)]
async fn every_outcome_travels() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    let all = piece("q", 0, &["a", "b", "c", "d", "e", "f"]);
    peer.deliver(channel, delivery(1, vec![all])).await;
    take(&mut consumer).await.retry().await.unwrap();
    take(&mut consumer).await.retry_in(Duration::from_millis(1_500)).await.unwrap();
    take(&mut consumer).await.retry_because(None, "busy").await.unwrap();
    take(&mut consumer).await.release().await.unwrap();
    take(&mut consumer).await.dead_letter("hopeless").await.unwrap();
    drop(take(&mut consumer).await);
    let (_, _, items) = peer.settle().await;
    let outcomes: Vec<Outcome> = items.into_iter().map(|item| item.outcome).collect();
    let dead = Outcome::DeadLetter { reason: "hopeless".to_owned() };
    let expected = [
        retry(None, ""),
        retry(Some(1_500), ""),
        retry(None, "busy"),
        Outcome::Release,
        dead,
        retry(Some(0), "dropped without being settled"),
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_ack_waits_until_it_is_durable() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a", "b", "c"])])).await;
    let (first, second) = (take(&mut consumer).await, take(&mut consumer).await);
    let acking = tokio::spawn(first.ack_confirmed());
    let other = tokio::spawn(second.ack_confirmed());
    let (id, confirm, items) = peer.settle().await;
    assert!(confirm);
    assert_eq!(items.len(), 1, "two acks are one range: {items:?}");
    settle_down().await;
    assert!(!acking.is_finished() && !other.is_finished());
    let stale = vec![held(1, 1, 1)];
    peer.say(channel, id, Response::Settled { stale }).await;
    acking.await.unwrap().unwrap();
    let error = other.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::LeaseExpired, "PH-0401"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_broker_calls_stale_cannot_be_settled() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a", "b"])])).await;
    let (lost, good) = (take(&mut consumer).await, take(&mut consumer).await);
    peer.say(channel, 0, Response::Settled { stale: vec![held(0, 1, 1)] }).await;
    settle_down().await;
    assert_eq!(lost.ack().await.unwrap_err().kind(), ErrorKind::LeaseExpired);
    good.ack().await.unwrap();
    assert_eq!(peer.settle().await.2.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_goes_on_with_the_next_connection() {
    let (mut fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a", "b"])])).await;
    let old = take(&mut consumer).await;
    drop(peer);
    let mut peer = fake.accept().await;
    let (channel, consume) = peer.open_consumer(LEASE_MS).await;
    assert_eq!((consume.credit.messages, consume.credit.begun), (64, 0));
    // The lease went with the connection, and the broker delivers anew.
    assert_eq!(old.ack().await.unwrap_err().kind(), ErrorKind::LeaseExpired);
    let again = Piece { redelivered: true, ..piece("q", 0, &["a", "b"]) };
    peer.deliver(channel, delivery(2, vec![again])).await;
    let job = take(&mut consumer).await;
    assert_eq!((&job.payload()[..], job.redelivered()), (&b"a"[..], true));
    // What is renewed from here on is of this connection only.
    let renewal = loop {
        if let Request::Extend { items, .. } = peer.next().await.request {
            break items;
        }
    };
    assert_eq!(renewal, [held(0, 2, 2)]);
    job.ack().await.unwrap();
    assert_eq!(peer.settle().await.2[0].held, held(0, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_was_prefetched_from_a_broken_connection_is_not_delivered() {
    let (mut fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["old"])])).await;
    settle_down().await;
    drop(peer);
    let mut peer = fake.accept().await;
    let (channel, _) = peer.open_consumer(LEASE_MS).await;
    let again = Piece { redelivered: true, ..piece("q", 0, &["new"]) };
    peer.deliver(channel, delivery(2, vec![again])).await;
    settle_down().await;
    let job = take(&mut consumer).await;
    assert_eq!(job.payload(), "new");
    job.ack().await.unwrap();
    assert_eq!(peer.settle().await.2[0].held, held(0, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn the_stream_ends_when_the_queue_is_deleted() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    peer.say(channel, 0, Response::Canceled).await;
    assert!(consumer.next().await.is_none());
    assert!(consumer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_gone_after_a_reconnect_is_told_by_the_stream() {
    let (mut fake, peer, _client, mut consumer, _channel) = consuming(64).await;
    drop(peer);
    let mut peer = fake.accept().await;
    let said = peer.next().await;
    assert!(matches!(said.request, Request::Consume(_)), "{said:?}");
    let reply = posthaste_protocol::ErrorReply::new(ErrorCode::NotFound, "gone");
    peer.say(said.channel, said.id, Response::Error(reply)).await;
    let error = consumer.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(consumer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_may_pass_is_tried_again_for_a_known_consumer() {
    let (mut fake, peer, _client, mut consumer, _channel) = consuming(64).await;
    drop(peer);
    let mut peer = fake.accept().await;
    let said = peer.next().await;
    let reply = posthaste_protocol::ErrorReply::new(ErrorCode::Busy, "later");
    peer.say(said.channel, said.id, Response::Error(reply)).await;
    let (channel, _) = peer.open_consumer(LEASE_MS).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a"])])).await;
    take(&mut consumer).await.ack().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_consumer_outlives_a_broker_whose_disk_fails_while_it_is_opened_again() {
    let (mut fake, peer, _client, mut consumer, _channel) = consuming(64).await;
    drop(peer);
    let mut peer = fake.accept().await;
    let said = peer.next().await;
    let reply = posthaste_protocol::ErrorReply::new(ErrorCode::Indeterminate, "the disk failed");
    peer.say(said.channel, said.id, Response::Error(reply)).await;
    drop(peer);
    let mut peer = fake.accept().await;
    let (channel, _) = peer.open_consumer(LEASE_MS).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a"])])).await;
    take(&mut consumer).await.ack().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn consuming_from_nowhere_fails_at_once() {
    let (_fake, mut peer, client) = connected().await;
    let queue = client.queue("nowhere");
    let opening = tokio::spawn(async move { queue.consume().await });
    let said = peer.next().await;
    peer.refuse(said.id, ErrorCode::NotFound, &["here"]).await;
    let error = opening.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.similar()), (ErrorKind::NotFound, &["here".to_owned()][..]));
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_payload_goes_to_the_dead_letters_and_the_stream_goes_on() {
    const NUMBERS: QueueOf<u64> = QueueOf::new("q");
    let (_fake, mut peer, client) = connected().await;
    let queue = client.queue(NUMBERS);
    let opening = tokio::spawn(async move { queue.consume().await });
    let (channel, _) = peer.open_consumer(LEASE_MS).await;
    let mut consumer = opening.await.unwrap().unwrap();
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["nonsense", "42"])])).await;
    let job = consumer.next().await.unwrap().unwrap();
    assert_eq!((*job.payload(), job.position()), (42, 1));
    let (_, _, items) = peer.settle().await;
    let Outcome::DeadLetter { reason } = &items[0].outcome else { panic!("{items:?}") };
    assert!(reason.starts_with("decode: "), "{reason}");
    assert_eq!(items[0].held, held(0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_payload_surfaces_if_asked_for() {
    const NUMBERS: QueueOf<u64> = QueueOf::new("q");
    let (_fake, mut peer, client) = connected().await;
    let queue = client.queue(NUMBERS);
    let opening =
        tokio::spawn(async move { queue.consume().undecodable(Undecodable::Surface).await });
    let (channel, _) = peer.open_consumer(LEASE_MS).await;
    let mut consumer = opening.await.unwrap().unwrap();
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["nonsense", "42"])])).await;
    let error = consumer.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Decode, "PH-0905"));
    assert_eq!(*consumer.next().await.unwrap().unwrap().payload(), 42);
    assert!(matches!(peer.settle().await.2[0].outcome, Outcome::Retry { .. }));
}

#[tokio::test(start_paused = true)]
async fn damaged_bytes_are_not_delivered() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    let mut damaged = piece("q", 0, &["a", "b"]);
    let mut bytes = damaged.batches.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    damaged.batches = Bytes::from(bytes);
    let foreign = piece("another", 2, &["c"]);
    peer.deliver(channel, delivery(1, vec![damaged, foreign, piece("q", 3, &["d"])])).await;
    assert_eq!(take(&mut consumer).await.payload(), "d");
    let (_, _, items) = peer.settle().await;
    let refused: Vec<_> = items
        .iter()
        .filter(|item| matches!(&item.outcome, Outcome::Retry { reason, .. } if reason.contains("damaged")))
        .map(|item| item.held)
        .collect();
    assert_eq!(refused, [held(0, 3, 1)]);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_consumer_gives_back_what_was_not_taken() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a", "b", "c"])])).await;
    let job = take(&mut consumer).await;
    drop(consumer);
    let (_, _, items) = peer.settle().await;
    assert_eq!(items, [Settle { held: held(1, 2, 1), outcome: Outcome::Release }]);
    // What is still on its way goes back too, and the delivery in hand stays good.
    peer.deliver(channel, delivery(2, vec![piece("q", 3, &["d"])])).await;
    let (_, _, items) = peer.settle().await;
    assert_eq!(items, [Settle { held: held(3, 1, 2), outcome: Outcome::Release }]);
    job.ack().await.unwrap();
    let (_, _, items) = peer.settle().await;
    assert_eq!(items, [Settle { held: held(0, 1, 1), outcome: Outcome::Ack }]);
    let said = peer.next().await;
    assert!(matches!(said.request, Request::Cancel), "{said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_comes_when_it_is_full_or_when_its_time_is_up() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    let wait = Duration::from_secs(2);
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a", "b", "c"])])).await;
    let begun = Instant::now();
    let batch = consumer.next_batch(2, wait).await.unwrap();
    assert_eq!((batch.len(), begun.elapsed().as_secs()), (2, 0));
    batch.ack_all().await.unwrap();
    let batch = consumer.next_batch(2, wait).await.unwrap();
    assert_eq!((batch.len(), begun.elapsed().as_secs()), (1, 2));
    let batch_two = consumer.next_batch(2, wait).await.unwrap();
    assert!(batch_two.is_empty());
    for job in batch {
        job.ack().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_what_is_in_hand() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a", "b"])])).await;
    let job = take(&mut consumer).await;
    let ending = tokio::spawn(consumer.shutdown(Duration::from_secs(10)));
    assert_eq!(peer.settle().await.2[0].outcome, Outcome::Release);
    settle_down().await;
    assert!(!ending.is_finished());
    job.ack().await.unwrap();
    assert_eq!(peer.settle().await.2[0].outcome, Outcome::Ack);
    let said = peer.next().await;
    assert!(matches!(said.request, Request::Cancel), "{said:?}");
    peer.say(channel, said.id, Response::Canceled).await;
    ending.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_gives_up_in_time() {
    let (_fake, mut peer, _client, mut consumer, channel) = consuming(64).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 0, &["a"])])).await;
    let _job = take(&mut consumer).await;
    let begun = Instant::now();
    let error = consumer.shutdown(Duration::from_secs(4)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() <= Duration::from_secs(6));
}
