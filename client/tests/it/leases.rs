//! Leases: renewed by ranges while something is held, and not a moment longer.

use std::time::Duration;

use posthaste::{Consumer, Delivery, ErrorKind};
use posthaste_protocol::request::Held;
use posthaste_protocol::{Request, Response};
use tokio::time::Instant;

use crate::fake::{Fake, Peer, connected, delivery, held, piece};

/// A consumer of `q` with a lease of 9 s, and so many deliveries in hand.
async fn holding(bodies: &[&str]) -> (Fake, Peer, posthaste::Client, Consumer, Vec<Delivery>, u16) {
    let (fake, mut peer, client) = connected().await;
    let queue = client.queue("q");
    let opening = tokio::spawn(async move { queue.consume().prefetch(1_000).await });
    let (channel, _) = peer.open_consumer(9_000).await;
    let mut consumer = opening.await.expect("no panic").expect("opened");
    peer.deliver(channel, delivery(4, vec![piece("q", 100, bodies)])).await;
    let mut jobs = Vec::new();
    for _ in bodies {
        jobs.push(consumer.next().await.expect("a stream").expect("a delivery"));
    }
    (fake, peer, client, consumer, jobs, channel)
}

async fn extend(peer: &mut Peer) -> (u64, u32, Vec<Held>) {
    loop {
        let said = peer.next().await;
        match said.request {
            Request::Extend { lease_ms, items } => return (said.id, lease_ms, items),
            Request::Settle { .. } | Request::Credit(_) => {}
            other => panic!("not an extend: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_by_ranges_while_deliveries_are_alive() {
    let begun = Instant::now();
    let (_fake, mut peer, _client, _consumer, mut jobs, _) = holding(&["a", "b", "c", "d"]).await;
    let (_, lease_ms, items) = extend(&mut peer).await;
    assert_eq!((lease_ms, items), (9_000, vec![held(100, 4, 4)]));
    assert_eq!(begun.elapsed().as_secs(), 3, "a third of the lease");
    jobs.remove(1).ack().await.unwrap();
    let (_, _, items) = extend(&mut peer).await;
    assert_eq!(items, [held(100, 1, 4), held(102, 2, 4)]);
    assert_eq!(begun.elapsed().as_secs(), 6);
    for job in jobs {
        job.ack().await.unwrap();
    }
    peer.settle().await;
    let quiet = peer.next_within(Duration::from_secs(60)).await;
    assert!(quiet.is_none(), "nothing is held: {quiet:?}");
}

#[tokio::test(start_paused = true)]
async fn prefetched_messages_do_not_burn_their_lease() {
    let (_fake, mut peer, _client, mut consumer, jobs, channel) = holding(&["a"]).await;
    peer.deliver(channel, delivery(5, vec![piece("q", 101, &["b", "c"])])).await;
    let (_, _, items) = extend(&mut peer).await;
    assert_eq!(items, [held(100, 1, 4), held(101, 2, 5)]);
    drop(jobs);
    consumer.next().await.unwrap().unwrap().ack().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_could_not_be_renewed_is_lost() {
    let (_fake, mut peer, _client, _consumer, mut jobs, channel) = holding(&["a", "b"]).await;
    let (id, _, _) = extend(&mut peer).await;
    peer.say(channel, id, Response::Extended { stale: vec![held(101, 1, 4)], limited: vec![] })
        .await;
    let (_, _, items) = extend(&mut peer).await;
    assert_eq!(items, [held(100, 1, 4)], "what is lost is not renewed");
    let lost = jobs.remove(1).ack().await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::LeaseExpired);
    jobs.remove(0).ack().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_longer_lease_is_asked_for_and_not_shortened_again() {
    let (_fake, mut peer, _client, _consumer, jobs, channel) = holding(&["a", "b"]).await;
    let extending = jobs[0].extend(Duration::from_secs(60));
    let broker = async {
        let (id, lease_ms, items) = extend(&mut peer).await;
        assert_eq!((lease_ms, items), (60_000, vec![held(100, 1, 4)]));
        peer.say(channel, id, Response::Extended { stale: vec![], limited: vec![] }).await;
    };
    let (outcome, ()) = tokio::join!(extending, broker);
    outcome.unwrap();
    let (_, lease_ms, items) = extend(&mut peer).await;
    assert_eq!((lease_ms, items), (9_000, vec![held(101, 1, 4)]));
    let begun = Instant::now();
    loop {
        let (_, _, items) = extend(&mut peer).await;
        if items == [held(100, 2, 4)] {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "renewed again before it ends");
    }
    assert!(begun.elapsed() > Duration::from_secs(40));
}

#[tokio::test(start_paused = true)]
async fn extending_a_lost_lease_fails() {
    let (_fake, mut peer, _client, _consumer, jobs, channel) = holding(&["a"]).await;
    let broker = async {
        let (id, _, items) = extend(&mut peer).await;
        peer.say(channel, id, Response::Extended { stale: items, limited: vec![] }).await;
    };
    let (outcome, ()) = tokio::join!(jobs[0].extend(Duration::from_secs(60)), broker);
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::LeaseExpired);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_renewed_as_long_as_the_consumer_said_unless_it_is_held() {
    let (_fake, mut peer, client) = connected().await;
    let queue = client.queue("q");
    let minute = Duration::from_secs(60);
    let opening = tokio::spawn(async move { queue.consume().renew_for(minute).await });
    let (channel, _) = peer.open_consumer(9_000).await;
    let mut consumer = opening.await.expect("no panic").expect("opened");
    peer.deliver(channel, delivery(4, vec![piece("q", 100, &["a", "b", "c"])])).await;
    let first = consumer.next().await.unwrap().unwrap();
    let second = consumer.next().await.unwrap().unwrap();
    let guard = second.hold();
    let begun = Instant::now();
    loop {
        let (_, _, items) = extend(&mut peer).await;
        if items != [held(100, 3, 4)] {
            assert_eq!(items, [held(101, 2, 4)], "what is held, and what was not taken");
            break;
        }
        assert!(begun.elapsed() < minute, "the first is renewed for ever");
    }
    assert!(begun.elapsed() >= minute - Duration::from_secs(3), "{:?}", begun.elapsed());
    drop(guard);
    loop {
        let (_, _, items) = extend(&mut peer).await;
        if items == [held(102, 1, 4)] {
            break;
        }
    }
    let _guard = first.hold();
    let (_, _, items) = extend(&mut peer).await;
    assert_eq!(items, [held(100, 1, 4), held(102, 1, 4)], "it can be held again");
    first.ack().await.unwrap();
    second.ack().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_delivery_in_two_parts_is_still_settled_once() {
    let (_fake, mut peer, _client, _consumer, mut jobs, _) = holding(&["a"]).await;
    let (body, job) = jobs.remove(0).into_parts();
    assert_eq!((&*body, job.payload(), job.position()), (&b"a"[..], &(), 100));
    job.ack().await.unwrap();
    let (_, _, items) = peer.settle().await;
    assert_eq!((items.len(), items[0].held), (1, held(100, 1, 4)));
    assert!(peer.next_within(Duration::from_secs(60)).await.is_none(), "settled once");
}

#[tokio::test(start_paused = true)]
async fn a_lease_beyond_the_longest_hold_is_refused_by_name() {
    let (_fake, mut peer, _client, _consumer, mut jobs, channel) = holding(&["a"]).await;
    let broker = async {
        let (id, _, items) = extend(&mut peer).await;
        peer.say(channel, id, Response::Extended { stale: vec![], limited: items }).await;
    };
    let (outcome, ()) = tokio::join!(jobs[0].extend(Duration::from_secs(60)), broker);
    let refused = outcome.unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (ErrorKind::HoldLimit, "PH-0405"));
    jobs.remove(0).ack().await.unwrap();
}
