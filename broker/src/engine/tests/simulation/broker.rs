//! One life of the broker: from opening its store to its end, by request, failure or death.

use super::backstage::{Pace, Stagehand};
use super::network::{Tap, Wire};
use crate::config::Limits;
use crate::engine::backstage::Backstage;
use crate::engine::clock::Clock;
use crate::engine::run::{Driver, EngineError};
use crate::engine::start::{OpenError, open};
use crate::listen::Door;
use posthaste_storage::disk::SimDisk;
use posthaste_storage::{LogKeeper, Options, RecoveryReport};
use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// How the engine ended, once it has.
type Ended = Arc<Mutex<Option<Result<(), EngineError>>>>;

/// A running broker with a runtime of its own, so that dropping it is the death of the process.
pub(super) struct Life {
    pub(super) door: Door,
    pub(super) report: RecoveryReport,
    pub(super) pace: Pace,
    stop: CancellationToken,
    ended: Ended,
    disk: SimDisk,
    tap: Tap,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes note of panics of this thread, which a task of the broker would keep to itself.
pub(super) fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANIC.with_borrow_mut(|told| *told = Some(panic.to_string()));
            before(panic);
        }));
    });
}

/// The last panic since the last call.
pub(super) fn take_panic() -> Option<String> {
    PANIC.take()
}

/// A runtime whose time passes only when nothing else can happen.
pub(super) fn runtime() -> Runtime {
    let built = Builder::new_current_thread().enable_time().start_paused(true).build();
    built.expect("a runtime without threads or sockets can be built")
}

fn limits() -> Limits {
    Limits {
        idle: Duration::from_secs(2),
        handshake_timeout: Duration::from_secs(3),
        ..Limits::default()
    }
}

/// The thread of the log that keeps segments ready, in step with simulated time.
async fn keep_house(keeper: LogKeeper, pace: Pace) {
    loop {
        pace.rest(30).await;
        tokio::task::yield_now().await;
        keeper.maintain();
    }
}

impl Life {
    /// Recovers the store and starts everything behind the door. Inside a [`runtime`].
    pub(super) fn start(
        disk: &SimDisk,
        options: Options,
        wall_us: &Arc<AtomicU64>,
        tap: &Tap,
        seed: u64,
    ) -> Result<Life, OpenError> {
        let mut clock = Clock::simulated(Arc::clone(wall_us));
        let ready = open(Arc::new(disk.clone()), Path::new("data"), options, clock.now().wall_ms)?;
        clock.not_before(ready.core.shard().time_ms());
        let (report, directory) = (ready.report.clone(), Arc::clone(&ready.directory));
        let stop = CancellationToken::new();
        let keeper = ready.keeper.clone();
        let pace = Pace::new(seed);
        let hand = pace.clone();
        tokio::spawn(keep_house(keeper, pace.clone()));
        let (driver, sender) = Driver::with(ready, clock, None, stop.clone(), |writer, on_done| {
            Ok(Backstage::Simulated(Stagehand::new(writer, on_done, hand)))
        })
        .expect("no thread is needed");
        let door = Door::new(limits(), report.store, sender, directory);
        let ended = Ended::default();
        let told = Arc::clone(&ended);
        tokio::spawn(async move {
            let result = driver.run().await;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        let (disk, tap) = (disk.clone(), tap.clone());
        Ok(Life { door, report, pace, stop, ended, disk, tap })
    }

    /// A client arrives.
    pub(super) fn connect(&self, wire: &Wire) {
        let (reader, writer) = wire.broker_end(self.tap.clone(), self.disk.clone());
        self.door.admit(reader, writer, None);
    }

    /// Asks for an orderly stop.
    pub(super) fn stop(&self) {
        self.door.close();
        self.stop.cancel();
    }

    /// How the engine ended, if it has.
    pub(super) fn ended(&self) -> Option<Result<(), String>> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.as_ref().map(|result| result.as_ref().copied().map_err(ToString::to_string))
    }
}
