//! The log thread: takes one body, commits it, says so, takes the next. Where there is no room for a block, it waits for some.
//!
//! While one block is written and synced, the next may wait here, and another is filled by the caller. When nothing comes for
//! a while, a beacon gives the last block a witness.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::LogWriter;
use crate::block::Block;
use crate::body::Body;
use crate::error::StorageError;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{receive, sleep};

/// How often a log that is out of space looks for some.
const LOOK_FOR_SPACE: Duration = Duration::from_millis(100);
/// LIMIT: bodies that wait while one is committed. One is what the broker makes use of; it may come before the thread has
/// taken the one before.
const ORDERS_MAX: usize = 2;
/// How long the log is idle before a beacon.
const BEACON_AFTER: Duration = Duration::from_millis(100);

/// Commits bodies on a thread of its own. Dropping it without [`CommitHandle::shutdown`] leaves the log as a crash would.
#[derive(Debug)]
pub struct CommitHandle {
    /// First, so that the thread knows of the end before it sees that nothing more can come.
    ending: Ending,
    orders: SyncSender<Order>,
    thread: JoinHandle<Result<(), StorageError>>,
}

/// Whether the handle is gone, or about to go: a thread that holds two bodies does not look for orders.
#[derive(Debug, Default)]
struct Ending(Arc<AtomicBool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Why a body was not taken.
#[derive(Debug)]
pub enum Refused {
    /// Two wait already.
    Busy(Body),
    /// The thread is gone.
    Stopped(Body),
}

#[derive(Debug)]
enum Order {
    Commit(u64, Body),
    Seal,
}

/// The other end of the handle.
#[derive(Debug)]
struct Taken {
    orders: Receiver<Order>,
    is_ending: Arc<AtomicBool>,
}

/// Starts the thread. `on_done` is called on it, once for every body taken, in order.
pub fn spawn(
    writer: LogWriter,
    on_done: impl FnMut(Result<Arc<Block>, StorageError>) + Send + 'static,
) -> io::Result<CommitHandle> {
    let (orders, taken) = sync_channel(ORDERS_MAX);
    let ending = Ending::default();
    let taken = Taken { orders: taken, is_ending: Arc::clone(&ending.0) };
    let thread = thread::Builder::new()
        .name("posthaste-log".into())
        .spawn(move || run(writer, &taken, on_done))?;
    Ok(CommitHandle { ending, orders, thread })
}

impl CommitHandle {
    /// Hands a body to the thread. Never waits.
    pub fn submit(&self, time_ms: u64, body: Body) -> Result<(), Refused> {
        let refused = match self.orders.try_send(Order::Commit(time_ms, body)) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        match refused {
            TrySendError::Full(Order::Commit(_, body)) => Err(Refused::Busy(body)),
            TrySendError::Disconnected(Order::Commit(_, body)) => Err(Refused::Stopped(body)),
            // Only what was sent comes back.
            TrySendError::Full(Order::Seal) | TrySendError::Disconnected(Order::Seal) => Ok(()),
        }
    }

    /// Commits what was taken, seals the log and ends the thread.
    ///
    /// *Errors*: the seal's, or [`StorageError::Poisoned`] if the thread had ended before.
    pub fn shutdown(self) -> Result<(), StorageError> {
        drop(self.ending);
        // If the thread is gone, its result says why.
        drop(self.orders.send(Order::Seal));
        drop(self.orders);
        self.thread.join().unwrap_or(Err(StorageError::Poisoned))
    }
}

fn run(
    mut writer: LogWriter,
    taken: &Taken,
    mut on_done: impl FnMut(Result<Arc<Block>, StorageError>),
) -> Result<(), StorageError> {
    let mut is_idle = false;
    let mut kept = None;
    loop {
        let order = if let Some(order) = kept.take() {
            order
        } else if is_idle {
            taken.orders.recv().map_err(RecvTimeoutError::from)
        } else {
            receive(&taken.orders, BEACON_AFTER)
        };
        match order {
            Ok(Order::Commit(time_ms, body)) => {
                is_idle = false;
                kept = wait_for_space(&mut writer, taken, &body);
                on_done(writer.commit(time_ms, body));
            }
            Ok(Order::Seal) => return writer.seal(),
            Err(RecvTimeoutError::Timeout) => {
                is_idle = true;
                // A failed beacon has poisoned the log; the next commit says so.
                if let Err(error) = writer.beacon() {
                    writer.running.store.poison.set(error);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Err(StorageError::Poisoned),
        }
    }
}

/// Waits while there is no room for a body, and somebody waits for it; what came meanwhile.
fn wait_for_space(
    writer: &mut LogWriter,
    taken: &Taken,
    body: &Body,
) -> Option<Result<Order, RecvTimeoutError>> {
    let store = Arc::clone(&writer.running.store);
    let mut kept = None;
    let came = loop {
        match writer.make_room(body) {
            Err(error) if store.poison.is_set() => {
                // The commit says so.
                store.poison.set(error);
                break kept;
            }
            Err(error) if error.is_no_space() => {}
            _ => break kept,
        }
        store.slots.set_waited_for(true);
        if kept.is_some() {
            if taken.is_ending.load(Ordering::Acquire) {
                break kept;
            }
            sleep(LOOK_FOR_SPACE);
            continue;
        }
        match receive(&taken.orders, LOOK_FOR_SPACE) {
            Err(RecvTimeoutError::Timeout) => {}
            // The next one waits, too.
            Ok(Order::Commit(time_ms, body)) => kept = Some(Ok(Order::Commit(time_ms, body))),
            ended => break Some(ended),
        }
    };
    store.slots.set_waited_for(false);
    came
}
