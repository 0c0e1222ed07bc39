//! Publish one message and consume it.
//!
//! ```sh
//! cargo run -p posthaste --example 01_hello -- memory:
//! cargo run -p posthaste --example 01_hello -- posthaste://127.0.0.1:7420
//! ```

use posthaste::{Client, QueueOf};
use serde::{Deserialize, Serialize};

/// What travels; a shared crate would hold it and its contract.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    item: String,
}

const ORDERS: QueueOf<Order> = QueueOf::new("tour.orders");

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let orders = client.queue(ORDERS);
    println!("queue {}: {:?}", orders.name(), orders.declare().max_attempts(8).await?);

    let order = Order { id: 7, item: "a very fast horse".to_owned() };
    let receipt = orders.publish(&order).key("customer-42").await?; // one await means stored
    println!("stored at position {}", receipt.position);

    let mut jobs = orders.consume().await?;
    let job = jobs.next().await.expect("the stream goes on until the client is closed")?;
    println!("attempt {} of {:?}", job.attempt(), job.payload());
    assert_eq!(job.payload(), &order);
    assert_eq!(job.key(), Some("customer-42"));
    job.ack_confirmed().await?; // it will never come again

    orders.delete().await?;
    client.close().await?;
    Ok(())
}
