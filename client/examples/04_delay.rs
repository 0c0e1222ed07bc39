//! Messages for later: after a delay, or at a time.
//!
//! ```sh
//! cargo run -p posthaste --example 04_delay -- memory:
//! ```

use std::time::{Duration, SystemTime};

use posthaste::{Client, QueueOf};

const REMINDERS: QueueOf<String> = QueueOf::new("tour.reminders");

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let reminders = client.queue(REMINDERS);
    reminders.declare().await?;

    let due = SystemTime::now() + Duration::from_millis(300);
    reminders.publish(&"pay order 7".to_owned()).at(due).await?;
    reminders.publish(&"in a year".to_owned()).delay(Duration::from_secs(31_536_000)).await?;
    reminders.publish(&"now".to_owned()).await?;
    let stats = reminders.stats().await?;
    println!("{} ready, {} for later", stats.ready, stats.delayed);
    assert_eq!((stats.ready, stats.delayed), (1, 2));

    let mut jobs = reminders.consume().limit(2).await?;
    for expected in ["now", "pay order 7"] {
        let job = jobs.next().await.expect("two come")?;
        println!("{}", job.payload());
        assert_eq!(job.payload(), expected);
        job.ack_confirmed().await?;
    }
    assert!(SystemTime::now() >= due, "never before its time");

    reminders.delete().await?;
    client.close().await?;
    Ok(())
}
