//! One topic, two groups: each gets every event, and one of them replays.
//!
//! ```sh
//! cargo run -p posthaste --example 05_topic -- memory:
//! ```

use posthaste::{Client, Group, Start, TopicOf};

const EVENTS: TopicOf<String> = TopicOf::new("tour.events");

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let events = client.topic(EVENTS);
    events.declare().await?;
    let all = ["created", "paid", "shipped"];
    for event in all {
        events.publish(&event.to_owned()).await?;
    }

    // A group is made by its first consumer, and starts with the oldest message.
    let (billing, search) = (events.group("billing"), events.group("search"));
    assert_eq!(take(&billing, 3).await?, all);
    assert_eq!(take(&search, 2).await?, all[..2]);
    println!("billing is {} behind, search {}", lag(&billing).await?, lag(&search).await?);
    assert_eq!((lag(&billing).await?, lag(&search).await?), (0, 1));

    // Replay: the one group only.
    billing.seek(Start::Earliest).await?;
    println!("after a seek, billing is {} behind", lag(&billing).await?);
    assert_eq!((lag(&billing).await?, lag(&search).await?), (3, 1));
    assert_eq!(take(&billing, 3).await?, all);

    // Whoever only looks takes nothing from anybody.
    let seen = events.read(Start::Earliest).up_to(10).await?;
    assert_eq!((seen.len(), lag(&search).await?), (3, 1));

    events.delete().await?;
    client.close().await?;
    Ok(())
}

/// Takes and acks so many events.
async fn take(group: &Group<String>, count: u64) -> Result<Vec<String>, posthaste::Error> {
    let mut feed = group.consume().limit(count).await?;
    let mut taken = Vec::new();
    while let Some(event) = feed.next().await {
        let (event, delivery) = event?.into_parts();
        delivery.ack_confirmed().await?;
        taken.push(event);
    }
    Ok(taken)
}

async fn lag(group: &Group<String>) -> Result<u64, posthaste::Error> {
    Ok(group.lag().await?.messages)
}
