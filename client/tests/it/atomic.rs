//! Atomic groups and conditional publishes against the real broker.

use std::time::Duration;

use posthaste::{Bytes, Client, ErrorKind, Properties};

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn with_queues(names: &[&str]) -> Client {
    let client = Client::connect("memory:").await.expect("a broker");
    for name in names {
        client.queue(*name).declare().await.expect("it is declared");
    }
    client
}

#[tokio::test]
async fn a_group_is_visible_at_once_and_its_deliveries_are_settled() {
    let client = with_queues(&["orders", "bills"]).await;
    client.topic("events").declare().await.unwrap();
    client.topic("events").group("all").declare().await.unwrap();
    let (orders, bills, events) =
        (client.queue("orders"), client.queue("bills"), client.topic("events"));
    for text in ["1", "2", "3"] {
        orders.publish(&body(text)).await.unwrap();
    }
    let mut jobs = orders.consume().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(jobs.next().await.unwrap().unwrap());
    }
    let mut held = held.into_iter();
    let keyed = Properties::new().key("k").id("e-1");
    let group = client.atomic().publish(&bills, &body("a")).publish(&events, &body("b"));
    let group = group.publish_with(&bills, &body("c"), &keyed).ack(held.next().unwrap());
    let group = group
        .dead_letter(held.next().unwrap(), "no")
        .retry_in(held.next().unwrap(), Duration::ZERO);
    let receipts = group.commit().await.unwrap();
    let told: Vec<_> = receipts.iter().map(|one| (one.position, one.id.as_deref())).collect();
    assert_eq!(told, [(0, None), (0, None), (1, Some("e-1"))]);
    let stats = orders.stats().await.unwrap();
    assert_eq!((stats.settled, stats.dead), (1, 1));
    let again = jobs.next().await.unwrap().unwrap();
    assert_eq!((again.payload(), again.attempt()), (&body("3"), 2));
    let kept: Vec<_> = bills.peek(9).await.unwrap().iter().map(|one| one.bytes().clone()).collect();
    assert_eq!(kept, [body("a"), body("c")]);
    again.ack_confirmed().await.unwrap();
    assert_eq!(client.atomic().commit().await.unwrap(), [], "nothing to do is done");
}

#[tokio::test]
async fn a_refused_group_does_nothing_and_gives_the_delivery_back() {
    let client = with_queues(&["orders"]).await;
    let (orders, gone) = (client.queue("orders"), client.queue("gone"));
    orders.publish(&body("1")).await.unwrap();
    let mut jobs = orders.consume().await.unwrap();
    let job = jobs.next().await.unwrap().unwrap();
    let group = client.atomic().publish(&orders, &body("2")).publish(&gone, &body("3")).ack(job);
    assert_eq!(group.commit().await.unwrap_err().kind(), ErrorKind::NotFound);
    let job = jobs.next().await.unwrap().unwrap();
    assert_eq!((job.payload(), job.attempt()), (&body("1"), 2));
    let late = client.atomic().publish(&orders, &body("2")).if_empty(&orders).ack(job);
    let error = late.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::OffsetMismatch, "PH-0404"));
    assert!(
        error.message().starts_with("publish 1 of the group: the last of orders is position 0")
    );
    let nothing = client.atomic().if_empty(&orders).commit().await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Invalid);
    let other = Client::connect("memory:").await.unwrap();
    let foreign = other.atomic().publish(&orders, &body("2")).commit().await.unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::Invalid);
    assert_eq!(orders.describe().await.unwrap().next_position, 1);
}

#[tokio::test]
async fn a_group_has_limits() {
    let client = with_queues(&["orders"]).await;
    let mut group = client.atomic();
    for n in 0..65 {
        group = group.publish(&client.queue(format!("q-{n}").as_str()), &body("x"));
    }
    assert_eq!(group.commit().await.unwrap_err().kind(), ErrorKind::Invalid);
    let (orders, large) = (client.queue("orders"), Bytes::from(vec![0; 1_000_000]));
    let mut group = client.atomic();
    for _ in 0..5 {
        group = group.publish(&orders, &large);
    }
    assert_eq!(group.commit().await.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(orders.stats().await.unwrap().ready, 0);
}

#[tokio::test]
async fn of_many_writers_each_position_has_one() {
    let client = with_queues(&[]).await;
    client.topic("account").declare().await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let account = client.topic("account");
        writers.spawn(async move {
            let mut last = None;
            for n in 0..25 {
                loop {
                    let entry = body(&format!("{writer}/{n}"));
                    let publish = account.publish(&entry);
                    let publish = match last {
                        None => publish.if_empty(),
                        Some(last) => publish.if_last(last),
                    };
                    match publish.await {
                        Ok(receipt) => {
                            last = Some(receipt.position);
                            break;
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::OffsetMismatch);
                            let next = account.describe().await.unwrap().next_position;
                            last = next.checked_sub(1);
                        }
                    }
                }
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(client.topic("account").describe().await.unwrap().next_position, 100);
}
