//! Message ids against the real broker: stored once within the window, and each message told its own fate.

use std::time::Duration;

use posthaste::{Bytes, Client, ErrorKind, Properties};

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn id(id: &str) -> Properties {
    Properties::new().id(id)
}

#[tokio::test]
async fn within_the_window_a_second_publish_gets_the_first_receipt() {
    let client = Client::connect("memory:").await.unwrap();
    let orders = client.queue("orders");
    orders.declare().id_window(Duration::from_secs(3_600)).await.unwrap();
    let window = orders.describe().await.unwrap().settings.id_window;
    assert_eq!(window, Some(Duration::from_secs(3_600)));
    let first = orders.publish(&body("seven")).id("7").key("k").await.unwrap();
    let again = orders.publish(&body("seven")).id("7").key("k").header("try", "2").await.unwrap();
    assert_eq!((again.position, again.duplicate, first.duplicate), (first.position, true, false));
    for other in
        [orders.publish(&body("eight")).id("7").key("k"), orders.publish(&body("seven")).id("7")]
    {
        let error = other.await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::IdConflict, "PH-0402"));
    }
    // Another client, another producer session: the id is what counts.
    assert_eq!(orders.stats().await.unwrap().ready, 1);
}

#[tokio::test]
async fn each_message_of_a_batch_is_told_its_own_fate() {
    let client = Client::connect("memory:").await.unwrap();
    let orders = client.queue("orders");
    orders.declare().id_window(Duration::from_secs(3_600)).await.unwrap();
    let known = orders.publish(&body("known")).id("known").await.unwrap().position;
    let producer = orders.producer().linger(Duration::from_secs(60)).build();
    let sent =
        [("new", "1"), ("known", "known"), ("", "2"), ("known", "other"), ("new", "1"), ("", "3")];
    let mut confirms = Vec::new();
    for (name, text) in sent {
        let properties = if name.is_empty() { Properties::new() } else { id(name) };
        confirms.push(producer.send_with(&body(text), &properties).await.unwrap());
    }
    let error = producer.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IdConflict, "one of them failed");
    let mut told = Vec::new();
    for confirm in confirms {
        let receipt = confirm.await;
        told.push(receipt.map(|one| (one.position, one.duplicate)).map_err(|error| error.kind()));
    }
    let next = known + 1;
    let wanted = [
        Ok((next, false)),
        Ok((known, true)),
        Ok((next + 1, false)),
        Err(ErrorKind::IdConflict),
        Ok((next, true)),
        Ok((next + 2, false)),
    ];
    assert_eq!(told, wanted);
    let stored: Vec<_> =
        orders.peek(10).await.unwrap().iter().map(|one| one.bytes().clone()).collect();
    assert_eq!(stored, ["known", "1", "2", "3"].map(body));
}

#[tokio::test]
async fn without_a_window_ids_only_travel() {
    let client = Client::connect("memory:").await.unwrap();
    let orders = client.queue("orders");
    orders.declare().await.unwrap();
    for _ in 0..2 {
        assert!(!orders.publish(&body("seven")).id("7").await.unwrap().duplicate);
    }
    let error = orders.declare().id_window(Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
