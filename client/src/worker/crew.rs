//! The worker's loop: takes messages, starts a task for each, settles what comes back.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use posthaste_protocol::request::Outcome;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::lines::{Key, Lines};
use super::{Ctx, Failure};
use crate::consumer::Consumer;
use crate::core::bounded_reason;
use crate::delivery::Delivery;
use crate::error::{ConsumeError, Failure as Error, Local};

/// How long the drain waits for what it has dropped, and for the broker's last answer.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How a worker works.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) concurrency: usize,
    pub(super) ordered_by_key: bool,
    pub(super) time_limit: Option<Duration>,
    pub(super) drain: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            concurrency: 16,
            ordered_by_key: false,
            time_limit: None,
            drain: Duration::from_secs(30),
        }
    }
}

/// The handlers of a worker, and the messages that wait for them.
///
/// Invariant: a message is in the lines or among the running, and leaves only by being settled.
pub(super) struct Crew<T, F> {
    rules: Rules,
    /// LIMIT: messages, and their bytes, that may wait behind others of their key.
    room: (usize, usize),
    handler: Arc<F>,
    lines: Lines<Delivery<T>>,
    tasks: JoinSet<Result<(), Failure>>,
    running: HashMap<Id, Running>,
    stopping: watch::Sender<bool>,
}

/// A message whose handler has begun.
struct Running {
    delivery: Arc<Delivery<()>>,
    key: Option<Key>,
}

impl<T, F, Fut> Crew<T, F>
where
    T: Send + 'static,
    F: Fn(T, Ctx) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    pub(super) fn new(rules: Rules, room: usize, room_bytes: usize, handler: F) -> Self {
        Self {
            rules,
            room: (room, room_bytes),
            handler: Arc::new(handler),
            lines: Lines::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            stopping: watch::Sender::new(false),
        }
    }

    /// Works until the shutdown or the end of the stream, then drains.
    pub(super) async fn run(
        mut self,
        mut consumer: Consumer<T>,
        mut shutdown: impl Future<Output = ()> + Unpin,
    ) -> Result<(), ConsumeError> {
        let ended = loop {
            self.begin();
            tokio::select! {
                biased;
                () = &mut shutdown => break Ok(()),
                Some(done) = self.tasks.join_next_with_id() => self.ended(done),
                next = consumer.next(), if self.has_room() => match next {
                    Some(Ok(delivery)) => self.line_up(delivery),
                    Some(Err(error)) => break Err(error),
                    None => break Err(no_more()),
                },
            }
        };
        let drained = self.drain(consumer).await;
        ended.and(drained)
    }

    fn has_room(&self) -> bool {
        let (waiting, bytes) = self.lines.waiting();
        self.running.len() < self.rules.concurrency && waiting < self.room.0 && bytes < self.room.1
    }

    fn line_up(&mut self, delivery: Delivery<T>) {
        let bytes = delivery.bytes().len();
        let key = delivery.key().filter(|_| self.rules.ordered_by_key).map(str::to_owned);
        self.lines.push(key.as_deref(), bytes, delivery);
    }

    /// Starts the handlers that may start.
    fn begin(&mut self) {
        while self.running.len() < self.rules.concurrency {
            let Some((key, delivery)) = self.lines.begin() else { return };
            let (payload, delivery) = delivery.into_parts();
            let delivery = Arc::new(delivery);
            let ctx = Ctx::new(Arc::clone(&delivery), self.stopping.subscribe());
            let handler = Arc::clone(&self.handler);
            let limit = self.rules.time_limit;
            let task = self.tasks.spawn(async move {
                // The call itself may panic: it is part of the task.
                let work = async move { handler(payload, ctx).await };
                match limit {
                    None => work.await,
                    Some(limit) => timeout(limit, work).await.unwrap_or_else(|_elapsed| {
                        Err(Failure::retry(format!("the handler did not end within {limit:?}")))
                    }),
                }
            });
            self.running.insert(task.id(), Running { delivery, key });
        }
    }

    /// Settles the message of a handler that has ended.
    fn ended(&mut self, done: Result<(Id, Result<(), Failure>), JoinError>) {
        let (id, outcome) = match done {
            Ok((id, Ok(()))) => (id, Outcome::Ack),
            Ok((id, Err(failure))) => (id, failure.into_outcome()),
            Err(error) => (error.id(), panicked(error)),
        };
        if let Some(Running { delivery, key }) = self.running.remove(&id) {
            settle(&delivery, outcome);
            if let Some(key) = key {
                self.lines.done(&key);
            }
        }
    }

    /// Gives back what has not begun, and waits for what has.
    async fn drain(mut self, consumer: Consumer<T>) -> Result<(), ConsumeError> {
        self.stopping.send_replace(true);
        let mut waiting = self.lines.drain();
        waiting.sort_unstable_by_key(Delivery::position);
        for delivery in waiting {
            if let Err(error) = delivery.release().await {
                tracing::debug!(%error, "the message was lost before it was given back");
            }
        }
        // ORDER: what was taken goes back before what was not, or a key's order would change.
        let leasing = consumer.stop();
        let deadline = Instant::now() + self.rules.drain;
        while let Ok(Some(done)) = timeout_at(deadline, self.tasks.join_next_with_id()).await {
            self.ended(done);
        }
        let dropped = self.drop_the_rest().await;
        leasing.end(LAST_WORD).await?;
        if dropped == 0 {
            return Ok(());
        }
        let text = format!(
            "{dropped} handlers did not end within {:?} of the shutdown and were dropped; \
             their messages are delivered again",
            self.rules.drain
        );
        Err(Error::local(Local::Timeout, text).into())
    }

    /// Drops the handlers that still run, and counts them. One that blocks its thread goes on,
    /// without its message.
    async fn drop_the_rest(&mut self) -> usize {
        let mut dropped = 0;
        self.tasks.abort_all();
        let deadline = Instant::now() + LAST_WORD;
        while let Ok(Some(done)) = timeout_at(deadline, self.tasks.join_next_with_id()).await {
            // Some end by themselves at the last moment.
            dropped += usize::from(done.as_ref().is_err_and(JoinError::is_cancelled));
            self.ended(done);
        }
        for (_, Running { delivery, .. }) in self.running.drain() {
            dropped += 1;
            settle(&delivery, cut_off());
        }
        self.tasks.detach_all();
        dropped
    }
}

fn settle(delivery: &Delivery<()>, outcome: Outcome) {
    if !matches!(outcome, Outcome::Ack) {
        tracing::debug!(
            position = delivery.position(),
            ?outcome,
            "a handler has not done its work"
        );
    }
    if let Err(failure) = delivery.lease().settle(outcome) {
        tracing::debug!(%failure, "the message was lost before it was settled; it comes again");
    }
}

fn cut_off() -> Outcome {
    let reason = "the worker was shut down before the handler had ended".to_owned();
    Outcome::Retry { delay_ms: Some(0), reason }
}

/// A failed attempt, with what the panic said.
fn panicked(error: JoinError) -> Outcome {
    let payload = match error.try_into_panic() {
        Ok(payload) => payload,
        Err(_aborted) => return cut_off(),
    };
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let reason = format!("the handler panicked: {}", said.unwrap_or("without a text"));
    tracing::error!("{reason}");
    Outcome::Retry { delay_ms: None, reason: bounded_reason(reason) }
}

fn no_more() -> ConsumeError {
    let text = "the client was closed, or what the worker consumes was deleted";
    Error::local(Local::Closed, text).into()
}
