//! The worker: a consumer with a handler, which keeps many messages under way and settles each by
//! what its handler says.

mod crew;
mod ctx;
mod failure;
mod lines;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use posthaste_protocol::limits::CREDIT_MESSAGES_MAX;

use self::crew::{Crew, Rules};
pub use self::ctx::Ctx;
pub use self::failure::Failure;
use crate::consume::Consume;
use crate::consumer::Consumer;
use crate::core::random;
use crate::error::ConsumeError;

/// Options of a worker, which [`Worker::run`] starts; see [`Queue::worker`](crate::Queue::worker)
/// and [`Group::worker`](crate::Group::worker).
///
/// What it promises: a message is acked only after its handler returned Ok; a handler that fails,
/// panics or takes too long has failed that attempt, with the reason, and the worker goes on; leases
/// are renewed while handlers run; a broken connection is repaired behind it.
///
/// ```
/// use posthaste::{Client, Failure, QueueOf};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
/// const ORDERS: QueueOf<Order> = QueueOf::new("orders");
///
/// # async fn ship(_: &Order) -> Result<(), std::io::Error> { Ok(()) }
/// async fn work(client: Client) -> Result<(), posthaste::Error> {
///     let shutdown = async {
///         tokio::signal::ctrl_c().await.ok();
///     };
///     client
///         .queue(ORDERS)
///         .worker()
///         .concurrency(32)
///         .ordered_by_key()
///         .run(shutdown, |order: Order, _ctx| async move {
///             if order.id == 0 {
///                 return Err(Failure::permanent("order id 0")); // to the dead letters
///             }
///             ship(&order).await?; // any error: retry with the queue's backoff
///             Ok(())
///         })
///         .await?;
///     Ok(())
/// }
/// ```
#[must_use = "nothing is consumed until run() is awaited"]
pub struct Worker<T = Bytes> {
    consume: Consume<T>,
    rules: Rules,
}

impl<T> Worker<T> {
    pub(crate) fn new(consume: Consume<T>) -> Self {
        Self { consume, rules: Rules::default() }
    }

    /// Handlers that may run at the same time: 1 to 65,535. The default is 16.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.rules.concurrency = handlers.clamp(1, CREDIT_MESSAGES_MAX as usize);
        self
    }

    /// Runs the messages of one key one after the other, in the order of their delivery, and other
    /// keys beside them. Messages without a key are free.
    ///
    /// This is the order within this worker. What a retry does to the order of a key, and what other
    /// consumers do beside it, is decided by the queue or group.
    ///
    /// So that keys can be told apart, the worker takes as many messages more as wait behind others
    /// of their key, up to the prefetch.
    pub fn ordered_by_key(mut self) -> Self {
        self.rules.ordered_by_key = true;
        self
    }

    /// Messages that may wait in this process for a handler. The default is 64.
    pub fn prefetch(mut self, messages: u32) -> Self {
        self.consume = self.consume.prefetch(messages);
        self
    }

    /// Bytes that may wait in this process for a handler. The default is 8 MiB.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.consume = self.consume.prefetch_bytes(bytes);
        self
    }

    /// The lease of this worker's deliveries, renewed while their handlers run: what a crash or a
    /// lost connection delays them by at most. The default is the setting of the queue or group.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.consume = self.consume.lease(lease);
        self
    }

    /// How long one handler may take; then it is dropped and the attempt has failed. The default is
    /// no limit. A handler that blocks its thread cannot be dropped.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.rules.time_limit = Some(limit);
        self
    }

    /// How long handlers that have begun may go on after the shutdown; then they are dropped and
    /// their messages delivered again. The default is 30 s.
    pub fn drain_for(mut self, grace: Duration) -> Self {
        self.rules.drain = grace;
        self
    }

    /// Consumes until `shutdown` resolves, then drains: takes no more, gives back what no handler
    /// has begun, lets those that have begun end, and returns when the broker has their settles.
    ///
    /// If the consumer cannot be opened for the time being it is tried again, with the client's
    /// reconnect backoff. Handlers run as tasks of the runtime.
    ///
    /// *Errors*: of kind `Timeout` when handlers had to be dropped; `Closed` when the client was
    /// closed or the queue, topic or group deleted; and whatever refuses the consumer for good.
    /// Everything begun was drained by then.
    ///
    /// *Cancel safety*: dropping the future drops the handlers; their messages are delivered again,
    /// one attempt later.
    pub async fn run<F, Fut>(
        self,
        shutdown: impl Future<Output = ()>,
        handler: F,
    ) -> Result<(), ConsumeError>
    where
        T: Send + 'static,
        F: Fn(T, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        tokio::pin!(shutdown);
        let consumer = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            opened = self.open() => opened?,
        };
        let (room, room_bytes) = self.consume.room();
        Crew::new(self.rules, room, room_bytes, handler).run(consumer, shutdown).await
    }

    async fn open(&self) -> Result<Consumer<T>, ConsumeError>
    where
        T: 'static,
    {
        let mut attempt = 0;
        loop {
            let error = match self.consume.clone().await {
                Ok(consumer) => return Ok(consumer),
                Err(error) => error,
            };
            if !error.is_retryable() {
                return Err(error);
            }
            attempt += 1;
            let backoff = &self.consume.client().core().options().backoff;
            let pause = backoff.delay(attempt, random::number());
            let pause = pause.max(error.retry_after().unwrap_or_default());
            tracing::warn!(%error, ?pause, "the worker cannot consume yet");
            tokio::time::sleep(pause).await;
        }
    }
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("consume", &self.consume)
            .field("rules", &self.rules)
            .finish()
    }
}
