//! The consumer: a stream of deliveries with bounded prefetch.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use posthaste_protocol::DecodeError;
use posthaste_protocol::request::{Credit, Outcome};

use crate::client::Client;
use crate::codec::Codec;
use crate::core::{LeaseKey, Subscription, Taken, bounded_reason};
use crate::cursor::{Cursor, Message, Step};
use crate::deliveries::Batch;
use crate::delivery::Delivery;
use crate::error::{CloseError, ConsumeError, Failed, Failure, Local};
use crate::message::decode;
use crate::options::Undecodable;

/// What is left of a shutdown's grace is never less than this.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What a consumer and its deliveries share; the end of the last of them ends the consumer at the
/// broker.
#[derive(Debug)]
pub(crate) struct Leasing {
    pub(crate) subscription: Arc<Subscription>,
    /// Keeps the connection alive.
    pub(crate) client: Client,
}

impl Leasing {
    /// Waits up to `grace` until nothing is held any more, and until the broker has taken the settles.
    pub(crate) async fn end(&self, grace: Duration) -> Result<(), Failed> {
        let deadline = tokio::time::Instant::now() + grace;
        let is_settled = self.subscription.settled(grace).await;
        let Some(ended) = self.subscription.cancel() else { return Ok(()) };
        let left = deadline.saturating_duration_since(tokio::time::Instant::now()).max(LAST_WORD);
        let is_ended = tokio::time::timeout(left, ended).await.is_ok();
        if is_settled && is_ended {
            return Ok(());
        }
        let text = if is_settled {
            "the broker did not confirm the end of the consumer in time"
        } else {
            "some deliveries were not settled in time; they are delivered again"
        };
        Err(Failure::local(Local::Timeout, text))
    }
}

impl Drop for Leasing {
    fn drop(&mut self) {
        // Nobody waits for the answer.
        drop(self.subscription.cancel());
    }
}

/// A stream of deliveries. It ends when its [`limit`](crate::Consume::limit) is reached, the client is closed, or
/// the queue, topic or group is deleted; a broken connection is repaired behind it.
///
/// Dropping it gives back what was prefetched; deliveries in the application's hands stay valid.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
/// let mut jobs = client.queue("orders").consume().await?;
/// while let Some(job) = jobs.next().await {
///     let job = job?;
///     println!("{:?}", job.payload());
///     job.ack().await?;
/// # break;
/// }
/// # Ok(()) }
/// ```
pub struct Consumer<T = Bytes> {
    lease: Arc<Leasing>,
    cursor: Cursor,
    codec: Codec<T>,
    undecodable: Undecodable,
    /// Credit is topped up when so much was taken.
    half: Credit,
}

impl<T> Consumer<T> {
    pub(crate) fn new(
        subscription: Arc<Subscription>,
        client: Client,
        codec: Codec<T>,
        undecodable: Undecodable,
    ) -> Self {
        let terms = &subscription.terms;
        let half = Credit {
            messages: (terms.prefetch / 2).max(1),
            bytes: (terms.prefetch_bytes / 2).max(1),
            begun: 0,
        };
        let lease = Arc::new(Leasing { subscription, client });
        Self { lease, cursor: Cursor::default(), codec, undecodable, half }
    }

    /// The next delivery; `None` when the stream has ended.
    ///
    /// *Cancel safety*: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Delivery<T>, ConsumeError>> {
        poll_fn(|cx| self.poll_delivery(cx)).await
    }

    /// Up to `max` deliveries: returns when there are so many, or after `wait`, perhaps with none.
    ///
    /// *Cancel safety*: deliveries taken by a dropped future go back, one attempt later.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// use std::time::Duration;
    /// let mut jobs = client.queue("orders").consume().prefetch(1_000).await?;
    /// let batch = jobs.next_batch(500, Duration::from_millis(100)).await?;
    /// println!("{} at once", batch.len());
    /// batch.ack_all().await?;
    /// # Ok(()) }
    /// ```
    pub async fn next_batch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Batch<T>, ConsumeError> {
        let mut deliveries = Vec::new();
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        while deliveries.len() < max {
            tokio::select! {
                biased;
                next = self.next() => match next {
                    Some(Ok(delivery)) => deliveries.push(delivery),
                    Some(Err(error)) if deliveries.is_empty() => return Err(error),
                    // What is in hand comes first; a lasting error comes again.
                    Some(Err(_)) | None => break,
                },
                () = &mut deadline => break,
            }
        }
        Ok(Batch::new(deliveries))
    }

    /// Stops taking, gives back what was prefetched, waits up to `grace` until the deliveries in
    /// the application's hands are settled, and until the broker has taken the settles.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// # let consumer = client.queue("orders").consume().await?;
    /// consumer.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(self, grace: Duration) -> Result<(), CloseError> {
        Ok(self.stop().end(grace).await?)
    }

    /// Stops taking and gives back what was prefetched; deliveries in other hands stay valid while
    /// what comes back lives.
    pub(crate) fn stop(self) -> Arc<Leasing> {
        Arc::clone(&self.lease)
    }

    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Option<<Self as Stream>::Item>> {
        loop {
            let subscription = &self.lease.subscription;
            if subscription.left() == 0 {
                return Poll::Ready(None);
            }
            if self.cursor.generation() != subscription.generation() {
                self.cursor.clear();
            }
            match self.cursor.next(subscription.terms.seed) {
                Step::Message(message) => {
                    if let Some(item) = self.hand_over(message) {
                        return Poll::Ready(Some(item));
                    }
                }
                Step::Damaged { key, count, error } => self.refuse(key, count, &error),
                Step::Empty => match subscription.take(cx.waker()) {
                    Poll::Pending => {
                        self.top_up(false);
                        return Poll::Pending;
                    }
                    Poll::Ready(Taken::Pieces(generation, pieces)) => {
                        self.cursor.refill(generation, pieces);
                    }
                    Poll::Ready(Taken::End(None)) => return Poll::Ready(None),
                    Poll::Ready(Taken::End(Some(failure))) => {
                        return Poll::Ready(Some(Err(failure.into())));
                    }
                },
            }
        }
    }

    /// Makes a delivery of a message; `None` if it went to the dead letters instead.
    fn hand_over(&mut self, message: Message) -> Option<Result<Delivery<T>, ConsumeError>> {
        // What was begun before must be charged an attempt if this process dies over it.
        self.top_up(message.redelivered || message.attempt > 1);
        match decode(self.codec, &message.envelope, message.position) {
            Ok(payload) => {
                self.lease.subscription.handed_over(message.position);
                Some(Ok(Delivery::new(payload, message, Arc::clone(&self.lease))))
            }
            Err(failure) => {
                self.lease.subscription.passed_over(1);
                let reason = bounded_reason(format!("decode: {}", failure.message));
                let name = &self.lease.subscription.terms.name;
                tracing::warn!(%name, position = message.position, "a payload could not be read");
                let (outcome, item) = match self.undecodable {
                    Undecodable::DeadLetter => (Outcome::DeadLetter { reason }, None),
                    Undecodable::Surface => {
                        (Outcome::Retry { delay_ms: None, reason }, Some(Err(failure.into())))
                    }
                };
                self.settle(message.key, outcome);
                item
            }
        }
    }

    /// Messages whose bytes arrived damaged are retried: the broker's copy may be whole, and if it
    /// is not, they end among the dead letters.
    fn refuse(&mut self, key: LeaseKey, count: u32, error: &DecodeError) {
        let name = &self.lease.subscription.terms.name;
        tracing::error!(%name, count, %error, "delivered bytes are damaged");
        self.lease.subscription.passed_over(count);
        self.top_up(true);
        for index in key.index..key.index.saturating_add(count) {
            let reason = bounded_reason(format!("damaged on the way: {error}"));
            self.settle(LeaseKey { index, ..key }, Outcome::Retry { delay_ms: None, reason });
        }
    }

    fn settle(&self, key: LeaseKey, outcome: Outcome) {
        if let Err(failure) = self.lease.subscription.settle(key, outcome) {
            tracing::debug!(%failure, "the message was lost before it was settled");
        }
    }

    fn top_up(&mut self, urgent: bool) {
        if let Some(credit) = self.cursor.credit(urgent, self.half) {
            self.lease.subscription.grant(self.cursor.generation(), credit);
        }
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.lease.subscription.close_stream(self.cursor.untaken());
    }
}

impl<T> Unpin for Consumer<T> {}

impl<T> Stream for Consumer<T> {
    type Item = Result<Delivery<T>, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_delivery(cx)
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.lease.subscription.terms.name;
        f.debug_struct("Consumer").field("from", name).finish_non_exhaustive()
    }
}
