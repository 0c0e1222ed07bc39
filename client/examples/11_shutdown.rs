//! An orderly end: what has begun is finished and acked, what has not goes back untouched.
//!
//! ```sh
//! cargo run -p posthaste --example 11_shutdown -- memory:
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posthaste::{Client, QueueOf};
use tokio::sync::Barrier;

const JOBS: QueueOf<u64> = QueueOf::new("tour.jobs");

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let jobs = client.queue(JOBS);
    jobs.declare().await?;
    for job in 0..20 {
        jobs.publish(&job).await?;
    }

    // Stands for SIGTERM, which comes when four handlers are in the middle of their work.
    let middle = Arc::new(Barrier::new(5));
    let shutdown = async {
        middle.wait().await;
        println!("shutting down");
    };
    let finished = Arc::new(AtomicU64::new(0));
    let (middle_of, finished_by) = (Arc::clone(&middle), Arc::clone(&finished));
    jobs.worker()
        .concurrency(4)
        .drain_for(Duration::from_secs(30))
        .run(shutdown, move |_job, ctx| {
            let (middle, finished) = (Arc::clone(&middle_of), Arc::clone(&finished_by));
            async move {
                middle.wait().await;
                ctx.shutdown().await; // long work may look for this and hurry
                finished.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        })
        .await?;

    let finished = finished.load(Ordering::SeqCst);
    let stats = jobs.stats().await?;
    println!("{finished} were finished, {} are left for others", stats.ready);
    assert_eq!((finished, stats.settled, stats.ready, stats.leased), (4, 4, 16, 0));

    let mut rest = jobs.consume().limit(16).await?;
    while let Some(job) = rest.next().await {
        let job = job?;
        assert_eq!(job.attempt(), 1, "nobody had begun it");
        job.ack_confirmed().await?;
    }
    jobs.delete().await?;
    client.close().await?;
    Ok(())
}
