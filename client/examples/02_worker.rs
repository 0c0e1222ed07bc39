//! A work queue: a handler for each message, many at a time, each customer's orders in their order.
//!
//! ```sh
//! cargo run -p posthaste --example 02_worker -- memory:
//! ```

use std::collections::HashMap;

use posthaste::{Client, QueueOf};
use tokio::sync::mpsc;

const ORDERS: QueueOf<u64> = QueueOf::new("tour.work");
const COUNT: usize = 100;

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let orders = client.queue(ORDERS);
    orders.declare().await?;
    for order in 0..COUNT as u64 {
        orders.publish(&order).key(format!("customer-{}", order % 5)).await?;
    }

    // The worker runs until this ends; a service would wait for a signal here.
    let (done, mut finished) = mpsc::channel(COUNT);
    let mut seen: HashMap<String, Vec<u64>> = HashMap::new();
    let shutdown = async {
        for _ in 0..COUNT {
            let (customer, order) = finished.recv().await.expect("the worker goes on");
            seen.entry(customer).or_default().push(order);
        }
    };
    orders
        .worker()
        .concurrency(8)
        .ordered_by_key()
        .run(shutdown, move |order, ctx| {
            let done = done.clone();
            async move {
                // Leases are renewed for as long as this takes.
                let customer = ctx.key().unwrap_or_default().to_owned();
                done.send((customer, order)).await?; // any error is a retry
                Ok(())
            }
        })
        .await?;

    for (customer, orders) in &seen {
        println!("{customer}: {} orders, the last was {:?}", orders.len(), orders.last());
        assert!(orders.len() == COUNT / 5 && orders.is_sorted(), "{orders:?}");
    }
    // What was done was acked before the worker returned.
    assert_eq!(orders.stats().await?.ready, 0);
    orders.delete().await?;
    client.close().await?;
    Ok(())
}
