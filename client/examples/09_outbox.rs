//! The outbox: a service changes its database and publishes what it did, and a crash between the two
//! neither loses nor invents an event.
//!
//! The event is written into the database, in the same transaction as the change. A relay publishes
//! what is there and marks it. If it dies in between it publishes again, under the same id, and the
//! topic, which remembers ids for an hour, keeps the first and drops the second.
//!
//! ```sh
//! cargo run -p posthaste --example 09_outbox -- memory:
//! ```

use std::sync::Mutex;
use std::time::Duration;

use posthaste::{Body, Client, Event, Topic, TopicOf};

const ORDERS: TopicOf<Event<u64>> = TopicOf::new("tour.outbox");

/// Stands for a database: what is changed under one lock is changed in one transaction.
#[derive(Default)]
struct Database {
    orders: Vec<u64>,
    outbox: Vec<Event<u64>>,
}

/// The service: knows nothing of the broker, and works while that is away.
fn place_order(database: &Mutex<Database>, order: u64) {
    let mut transaction = database.lock().expect("no thread panicked");
    transaction.orders.push(order);
    transaction.outbox.push(Event::full("order.created", order).source("/shop"));
}

/// Publishes what is in the outbox, in order, and removes what is stored. `crash_after`: it dies
/// behind so many publishes, before it has marked the last of them.
async fn relay(
    database: &Mutex<Database>,
    topic: &Topic<Event<u64>>,
    crash_after: usize,
) -> Result<(), posthaste::Error> {
    for published in 1.. {
        let next = database.lock().expect("no thread panicked").outbox.first().cloned();
        let Some(event) = next else { break };
        let receipt = topic.publish(&event).await?; // Ok means stored
        println!("event {} at {}, again: {}", event.id, receipt.position, receipt.duplicate);
        if published == crash_after {
            println!("the relay dies before it has marked it");
            break;
        }
        database.lock().expect("no thread panicked").outbox.remove(0);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let topic = client.topic(ORDERS);
    topic.declare().id_window(Duration::from_secs(3_600)).await?;
    let database = Mutex::new(Database::default());
    for order in 1..=5 {
        place_order(&database, order);
    }

    relay(&database, &topic, 3).await?; // dies between publish and mark
    relay(&database, &topic, usize::MAX).await?; // and comes back
    assert!(database.lock().expect("no thread panicked").outbox.is_empty());

    let mut shipped = Vec::new();
    let mut feed = topic.group("shipping").consume().limit(5).await?;
    while let Some(delivery) = feed.next().await {
        let (event, delivery) = delivery?.into_parts();
        if let Body::Full(order) = event.body {
            shipped.push(order);
        }
        delivery.ack_confirmed().await?;
    }
    println!("shipped {shipped:?}");
    assert_eq!(shipped, database.lock().expect("no thread panicked").orders);
    assert_eq!(topic.group("shipping").lag().await?.messages, 0, "nothing came twice");

    topic.delete().await?;
    client.close().await?;
    Ok(())
}
