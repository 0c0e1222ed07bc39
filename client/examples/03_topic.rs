//! One topic, two groups: each gets every event, and one of them replays.
//!
//! ```sh
//! cargo run -p posthaste --example 03_topic -- posthaste://127.0.0.1:7420
//! ```

use posthaste::{Client, Group, Start, TopicOf};

const EVENTS: TopicOf<String> = TopicOf::new("example.events");

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = match std::env::args().nth(1) {
        Some(url) => Client::connect(url).await?,
        None => Client::from_env().await?,
    };
    let events = client.topic(EVENTS);
    events.declare().await?;
    for event in ["created", "paid", "shipped"] {
        events.publish(&event.to_owned()).await?;
    }

    let billing = events.group("billing");
    show(&billing, 3).await?;
    show(&events.group("search"), 3).await?;

    println!("billing is {} behind", billing.lag().await?.messages);
    billing.seek(Start::Earliest).await?;
    println!("after a seek it is {} behind", billing.lag().await?.messages);

    events.delete().await?;
    client.close().await?;
    Ok(())
}

/// Takes and acks so many events.
async fn show(group: &Group<String>, count: usize) -> Result<(), posthaste::Error> {
    let mut feed = group.consume().await?;
    for _ in 0..count {
        let Some(event) = feed.next().await else { break };
        let event = event?;
        println!("{} got {:?} at {}", group.name(), event.payload(), event.position());
        event.ack_confirmed().await?;
    }
    Ok(())
}
