//! Publish one message and consume it.
//!
//! ```sh
//! cargo run -p posthaste --example 01_hello -- posthaste://127.0.0.1:7420
//! cargo run -p posthaste --example 01_hello --features embedded -- memory:
//! ```

use posthaste::{Client, QueueOf};
use serde::{Deserialize, Serialize};

/// What travels; a shared crate would hold it and its contract.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    id: u64,
    item: String,
}

const ORDERS: QueueOf<Order> = QueueOf::new("example.orders");

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = match std::env::args().nth(1) {
        Some(url) => Client::connect(url).await?,
        None => Client::from_env().await?,
    };
    let orders = client.queue(ORDERS);
    println!("queue {}: {:?}", orders.name(), orders.declare().max_attempts(8).await?);

    let order = Order { id: 7, item: "a very fast horse".to_owned() };
    let receipt = orders.publish(&order).key("customer-42").await?;
    println!("stored at position {}", receipt.position);

    let mut jobs = orders.consume().await?;
    if let Some(job) = jobs.next().await {
        let job = job?;
        println!("attempt {} of {:?}", job.attempt(), job.payload());
        job.ack().await?;
    }
    client.close().await?;
    Ok(())
}
