//! Failures: retries with backoff, attempts that are used up, dead letters with their reasons, replay.
//!
//! ```sh
//! cargo run -p posthaste --example 03_retries -- memory:
//! ```

use std::time::Duration;

use posthaste::{Backoff, Client, Failure, QueueOf};
use tokio::sync::mpsc;

const PAYMENTS: QueueOf<String> = QueueOf::new("tour.payments");

#[tokio::main]
async fn main() -> Result<(), posthaste::Error> {
    let client = Client::connect(std::env::args().nth(1).as_deref().unwrap_or("memory:")).await?;
    let payments = client.queue(PAYMENTS);
    let backoff = Backoff::exponential(Duration::from_millis(1)..=Duration::from_millis(20));
    payments.declare().max_attempts(3).retry(backoff).await?;
    for payment in ["good", "flaky", "stolen card", "broken"] {
        payments.publish(&payment.to_owned()).await?;
    }

    let (say, mut said) = mpsc::channel(100);
    let shutdown = async {
        let mut attempts = 0;
        // good 1, flaky 2, stolen card 1, broken 3
        while attempts < 7 {
            let (payment, attempt): (String, u32) = said.recv().await.expect("the worker goes on");
            println!("attempt {attempt} of {payment:?}");
            attempts += 1;
        }
    };
    let handle = move |payment: String, ctx: posthaste::Ctx| {
        let say = say.clone();
        async move {
            say.send((payment.clone(), ctx.attempt())).await?;
            match &*payment {
                "flaky" if ctx.attempt() == 1 => {
                    Err(Failure::retry_in(Duration::ZERO, "the bank did not answer"))
                }
                "stolen card" => Err(Failure::permanent("the card was reported stolen")),
                // Whatever `?` meets is a retry, and so is a panic.
                "broken" => Err(std::io::Error::other("no such account").into()),
                _ => Ok(()),
            }
        }
    };
    payments.worker().run(shutdown, handle).await?;

    let dead = payments.dead_letters();
    let page = dead.list(0, 10).await?;
    for letter in &page.letters {
        println!("{:?}: {} attempts, {}", letter.payload()?, letter.attempts(), letter.reason());
    }
    assert_eq!(page.total, 2);

    // The account exists now: the letters go back, and count their attempts from 1 again.
    assert_eq!(dead.replay_all().await?, 2);
    let mut jobs = payments.consume().limit(2).await?;
    while let Some(job) = jobs.next().await {
        let job = job?;
        assert_eq!(job.attempt(), 1);
        job.ack_confirmed().await?;
    }
    assert_eq!(payments.stats().await?.dead, 0);
    payments.delete().await?;
    client.close().await?;
    Ok(())
}
