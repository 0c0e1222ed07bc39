//! Publish many messages, batched and pipelined, and know that each is stored.
//!
//! ```sh
//! cargo run --release -p posthaste --example 06_producer -- memory:
//! ```

use std::time::{Duration, Instant};

use posthaste::{Bytes, Client};

const MESSAGES: u64 = 100_000;

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let readings = client.queue("tour.readings");
    readings.declare().await?;

    let producer =
        readings.producer().linger(Duration::from_millis(2)).max_batch(4_096, 1 << 20).build();
    let begun = Instant::now();
    for number in 0..MESSAGES {
        // Waits only when too many bytes are unconfirmed.
        let _confirm = producer.send(&Bytes::from(format!("reading {number}"))).await?;
    }
    // A confirm can be awaited by itself; the flush waits for all of them.
    let done = producer.flush().await?;
    println!("{} messages stored in {:?}", done.confirmed, begun.elapsed());
    assert_eq!(done.confirmed, MESSAGES);
    assert_eq!(readings.stats().await?.ready, MESSAGES);

    readings.delete().await?;
    client.close().await?;
    Ok(())
}
