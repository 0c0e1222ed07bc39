//! Publish many messages, batched and pipelined, and know that each is stored.
//!
//! ```sh
//! cargo run --release -p posthaste --example 02_producer -- posthaste://127.0.0.1:7420
//! ```

use std::time::{Duration, Instant};

use posthaste::{Bytes, Client};

const MESSAGES: u64 = 100_000;

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = match std::env::args().nth(1) {
        Some(url) => Client::connect(url).await?,
        None => Client::from_env().await?,
    };
    let readings = client.queue("example.readings");
    readings.declare().await?;

    let producer =
        readings.producer().linger(Duration::from_millis(2)).max_batch(4_096, 1 << 20).build();
    let begun = Instant::now();
    for number in 0..MESSAGES {
        // Waits only when too many bytes are unconfirmed.
        let _confirm = producer.send(&Bytes::from(format!("reading {number}"))).await?;
    }
    let done = producer.flush().await?;
    println!("{} messages stored in {:?}", done.confirmed, begun.elapsed());

    readings.purge().await?;
    client.close().await?;
    Ok(())
}
