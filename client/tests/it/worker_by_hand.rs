//! Workers against a broker by hand: what goes over the wire while handlers run, and what a worker
//! does when the broker refuses or the connection breaks.

use std::time::Duration;

use posthaste::{Bytes, ErrorKind};
use posthaste_protocol::Request;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::{Outcome, Settle};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::fake::{connected, delivery, held, piece};

fn ack(first: u64, epoch: u64) -> Vec<Settle> {
    vec![Settle { held: held(first, 1, epoch), outcome: Outcome::Ack }]
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_while_a_handler_runs() {
    let (_fake, mut peer, client) = connected().await;
    let hour = Duration::from_secs(3_600);
    let work =
        client.queue("q").worker().run(std::future::pending(), move |_: Bytes, _| async move {
            tokio::time::sleep(hour).await;
            Ok(())
        });
    let _working = tokio::spawn(work);
    let (channel, _) = peer.open_consumer(9_000).await;
    let begun = Instant::now();
    peer.deliver(channel, delivery(1, vec![piece("q", 7, &["a"])])).await;
    let mut renewals = 0;
    loop {
        let said = peer.next().await;
        match said.request {
            Request::Extend { lease_ms, items } => {
                assert_eq!((lease_ms, items), (9_000, vec![held(7, 1, 1)]));
                renewals += 1;
            }
            Request::Credit(_) => {}
            Request::Settle { items, .. } => {
                assert_eq!(items, ack(7, 1));
                break;
            }
            other => panic!("not expected: {other:?}"),
        }
    }
    assert_eq!((begun.elapsed().as_secs(), renewals), (3_600, 1_200), "each third of a lease");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_refused_for_now_tries_again_with_growing_pauses() {
    let (_fake, mut peer, client) = connected().await;
    let worker = client.queue("q").worker();
    let working = tokio::spawn(worker.run(std::future::pending(), |_: Bytes, _| async { Ok(()) }));
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let asked = Instant::now();
        let said = peer.next().await;
        assert!(matches!(said.request, Request::Consume(_)), "{said:?}");
        pauses.push(asked.elapsed());
        peer.refuse(said.id, ErrorCode::Busy, &[]).await;
    }
    let advised = Duration::from_millis(250);
    assert!(pauses[1..].iter().all(|pause| *pause >= advised), "as the broker asked: {pauses:?}");
    assert!(pauses[5] > pauses[1], "{pauses:?}");
    let said = peer.next().await;
    peer.refuse(said.id, ErrorCode::NotFound, &[]).await;
    assert_eq!(working.await.unwrap().unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn after_a_broken_connection_the_worker_goes_on_and_late_results_settle_nothing() {
    let (mut fake, mut peer, client) = connected().await;
    let (release, gate) = mpsc::channel::<()>(10);
    let gate = std::sync::Arc::new(tokio::sync::Mutex::new(gate));
    let (begun, mut beginning) = mpsc::channel(10);
    let work = client.queue("q").worker().run(std::future::pending(), move |body: Bytes, _| {
        let (gate, begun) = (std::sync::Arc::clone(&gate), begun.clone());
        async move {
            begun.send(body).await.expect("the test listens");
            gate.lock().await.recv().await;
            Ok(())
        }
    });
    let _working = tokio::spawn(work);
    let (channel, _) = peer.open_consumer(9_000).await;
    peer.deliver(channel, delivery(1, vec![piece("q", 7, &["a"])])).await;
    assert_eq!(beginning.recv().await.unwrap(), "a");
    drop(peer);
    let mut peer = fake.accept().await;
    let (channel, _) = peer.open_consumer(9_000).await;
    // The first handler ends now, and its lease is of another connection.
    release.send(()).await.unwrap();
    peer.deliver(channel, delivery(2, vec![piece("q", 7, &["a"])])).await;
    assert_eq!(beginning.recv().await.unwrap(), "a");
    release.send(()).await.unwrap();
    let (_, _, items) = peer.settle().await;
    assert_eq!(items, ack(7, 2));
}
