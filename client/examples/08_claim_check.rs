//! The claim check: large data goes to a store by itself, and the event carries a reference with
//! size and digest.
//!
//! ```sh
//! cargo run -p posthaste --example 08_claim_check -- memory:
//! ```

use posthaste::{Body, Client, ErrorKind, Event, FolderStore, TopicOf};

const SCANS: TopicOf<Event<String>> = TopicOf::new("tour.scans");

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let scans = client.topic(SCANS);
    scans.declare().await?;
    let folder = std::env::temp_dir().join(format!("posthaste-tour-{}", std::process::id()));
    let store = FolderStore::new(&folder);

    let producer = scans.producer().offload(64 << 10, store.clone()).build();
    let large = "pixel ".repeat(500_000); // 3 MB: more than a message may have
    for data in ["small".to_owned(), large.clone()] {
        let _confirm = producer.send(&Event::full("scan.taken", data).source("/scanner")).await?;
    }
    producer.flush().await?;

    let mut feed = scans.group("archive").consume().await?;
    for expected in ["small", &large] {
        let delivery = feed.next().await.expect("two events")?;
        let event = delivery.payload();
        if let Body::Reference(there) = &event.body {
            println!("{} bytes at {}", there.byte_size().unwrap_or_default(), there.url());
        }
        assert_eq!(event.load(&store).await?, expected);

        // Data that was changed behind our back is not taken for what was published.
        if let Body::Reference(there) = &event.body {
            let wrong = there.clone().sha256([0; 32]);
            let error = wrong.load(&store).await.expect_err("another digest");
            println!("{error}");
            assert_eq!(error.kind(), ErrorKind::Mismatch);
            assert!(store.remove(there).await?);
        }
        delivery.ack_confirmed().await?;
    }

    scans.delete().await?;
    std::fs::remove_dir_all(folder).expect("the store's folder is ours");
    client.close().await?;
    Ok(())
}
