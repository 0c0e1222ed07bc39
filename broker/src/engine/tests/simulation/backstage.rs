//! The log and the reads of a simulated broker: as slow as the dice say, on the same thread.

use crate::engine::backstage::OnDone;
use crate::engine::input::Input;
use posthaste_storage::disk::sim::Dice;
use posthaste_storage::writer::Refused;
use posthaste_storage::{Body, LogWriter, StorageError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long the log is idle before a beacon; as the real one.
const BEACON_AFTER: Duration = Duration::from_millis(100);
/// How often a log that is out of space looks for some; as the real one.
const LOOK_FOR_SPACE: Duration = Duration::from_millis(100);

/// How slow the disk is.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    shared: Arc<Mutex<(Dice, Option<Instant>)>>,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Pace {
        Pace { shared: Arc::new(Mutex::new((Dice::new(seed), None))) }
    }

    /// Nothing is answered until then.
    pub(super) fn stall(&self, until: Instant) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(until);
    }

    async fn wait(&self) {
        let is_quick = self.shared.lock().unwrap_or_else(PoisonError::into_inner).0.one_in(2);
        self.rest(if is_quick { 1 } else { 4 }).await;
    }

    /// Less than so long, or until a stall is over.
    pub(super) async fn rest(&self, below_ms: u64) {
        let until = {
            let (dice, stalled) = &mut *self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            let ms = dice.below(below_ms);
            let until = (ms > 0).then(|| Instant::now() + Duration::from_millis(ms));
            until.max(*stalled)
        };
        if let Some(until) = until {
            tokio::time::sleep_until(until).await;
        }
    }
}

enum Order {
    Commit(u64, Body),
    Seal(oneshot::Sender<Result<(), StorageError>>),
}

/// Carries out what may wait for a disk.
#[derive(Debug)]
pub(crate) struct Stagehand {
    orders: mpsc::UnboundedSender<Order>,
    pace: Pace,
}

impl Stagehand {
    pub(super) fn new(writer: LogWriter, on_done: OnDone, pace: Pace) -> Stagehand {
        let (orders, taken) = mpsc::unbounded_channel();
        tokio::spawn(write(writer, taken, on_done, pace.clone()));
        Stagehand { orders, pace }
    }

    pub(crate) fn submit(&self, time_ms: u64, body: Body) -> Result<(), Refused> {
        match self.orders.send(Order::Commit(time_ms, body)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(Order::Commit(_, body))) => Err(Refused::Stopped(body)),
            Err(_seal) => Ok(()),
        }
    }

    pub(crate) fn start(
        &self,
        sender: mpsc::Sender<Input>,
        work: impl FnOnce() -> Input + Send + 'static,
    ) {
        let pace = self.pace.clone();
        tokio::spawn(async move {
            pace.wait().await;
            let done = work();
            pace.wait().await;
            drop(sender.send(done).await);
        });
    }

    pub(crate) async fn seal(
        self,
        work: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        work()?;
        let (answer, sealed) = oneshot::channel();
        drop(self.orders.send(Order::Seal(answer)));
        sealed.await.unwrap_or(Err(StorageError::Poisoned))
    }
}

fn has_room(writer: &mut LogWriter, body: &Body) -> bool {
    !matches!(writer.make_room(body), Err(error) if error.is_no_space())
}

async fn write(
    mut writer: LogWriter,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mut on_done: OnDone,
    pace: Pace,
) {
    let mut is_idle = false;
    let mut kept = None;
    loop {
        let order = if kept.is_some() {
            kept.take()
        } else if is_idle {
            orders.recv().await
        } else {
            match tokio::time::timeout(BEACON_AFTER, orders.recv()).await {
                Ok(order) => order,
                Err(_elapsed) => {
                    is_idle = true;
                    // A failed beacon has poisoned the log; the next commit says so.
                    drop(writer.beacon());
                    continue;
                }
            }
        };
        match order {
            Some(Order::Commit(time_ms, body)) => {
                is_idle = false;
                pace.wait().await;
                while kept.is_none() && !has_room(&mut writer, &body) {
                    tokio::time::sleep(LOOK_FOR_SPACE).await;
                    kept = orders.try_recv().ok();
                }
                let done = writer.commit(time_ms, body);
                pace.wait().await;
                on_done(done);
            }
            Some(Order::Seal(answer)) => {
                drop(answer.send(writer.seal()));
                return;
            }
            None => return,
        }
    }
}
