//! An engine with its log thread and its door: what a server and an embedded broker share.

use crate::config::Config;
use crate::engine::clock::Clock;
use crate::engine::core::Core;
use crate::engine::metrics::Handles;
use crate::engine::run::{Driver, EngineError};
use crate::engine::start::{OpenError, Ready, open};
use crate::listen::Door;
use posthaste_protocol::request::Kind;
use posthaste_protocol::response::Description;
use posthaste_storage::RecoveryReport;
use posthaste_storage::disk::{Disk, RealDisk, SimDisk};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("{source}")]
    Open {
        /// Which.
        data_dir: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The process lacks something (threads, memory).
    #[error("cannot start: {0}")]
    System(String),
}

/// How the engine is.
#[derive(Clone, Debug)]
pub(crate) enum Health {
    Running,
    Stopped,
    Failed(Arc<EngineError>),
}

/// A running engine.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) door: Door,
    pub(crate) report: RecoveryReport,
    pub(crate) summary: String,
    health: watch::Receiver<Health>,
    is_stalled: Arc<AtomicBool>,
    stop: CancellationToken,
    #[cfg(feature = "testing")]
    task: tokio::task::AbortHandle,
    #[cfg(feature = "testing")]
    sender: tokio::sync::mpsc::Sender<crate::engine::input::Input>,
}

/// What a broker stands on.
pub(crate) struct Ground {
    disk: Arc<dyn Disk>,
    clock: Clock,
    #[cfg(feature = "testing")]
    controls: Option<crate::testing::Controls>,
}

impl Ground {
    /// The real one, or memory.
    fn of(config: &Config) -> Ground {
        let disk: Arc<dyn Disk> = match config.in_memory {
            true => Arc::new(SimDisk::memory()),
            false => Arc::new(RealDisk),
        };
        Ground {
            disk,
            clock: Clock::new(),
            #[cfg(feature = "testing")]
            controls: None,
        }
    }

    /// A disk and a time that a test has in its hands.
    #[cfg(feature = "testing")]
    pub(crate) fn of_test(disk: SimDisk, controls: crate::testing::Controls) -> Ground {
        let clock = Clock::ahead(controls.clone());
        Ground { disk: Arc::new(disk), clock, controls: Some(controls) }
    }
}

impl Running {
    /// Recovers the store and starts everything behind the door.
    pub(crate) async fn start(
        config: &Config,
        handles: Option<Handles>,
    ) -> Result<Running, StartError> {
        Running::start_on(Ground::of(config), config, handles).await
    }

    /// The same on another ground.
    pub(crate) async fn start_on(
        ground: Ground,
        config: &Config,
        handles: Option<Handles>,
    ) -> Result<Running, StartError> {
        let Ground { disk, mut clock, .. } = ground;
        let mut ready = open_store(disk, config, clock.now().wall_ms).await?;
        #[cfg(feature = "testing")]
        if let Some(controls) = ground.controls {
            ready.core.set_controls(controls);
        }
        ready.core.limit_message_ids(config.limits.message_ids_max);
        clock.not_before(ready.core.shard().time_ms());
        let summary = summary_of(&ready.core, &ready.report);
        let (report, directory) = (ready.report.clone(), Arc::clone(&ready.directory));
        let stop = CancellationToken::new();
        let (driver, sender) = Driver::new(ready, clock, handles, stop.clone())
            .map_err(|error| StartError::System(error.to_string()))?;
        let door = Door::new(config.limits.clone(), report.store, sender.clone(), directory);
        let is_stalled = driver.is_stalled();
        let (health_sender, health) = watch::channel(Health::Running);
        let task = tokio::spawn(async move {
            let ended = match driver.run().await {
                Ok(()) => Health::Stopped,
                Err(error) => Health::Failed(Arc::new(error)),
            };
            health_sender.send_replace(ended);
        });
        #[cfg(not(feature = "testing"))]
        drop((task, sender));
        Ok(Running {
            door,
            report,
            summary,
            health,
            is_stalled,
            stop,
            #[cfg(feature = "testing")]
            task: task.abort_handle(),
            #[cfg(feature = "testing")]
            sender,
        })
    }

    /// The end of the process, as far as the broker can tell: nothing is said and nothing is written.
    #[cfg(feature = "testing")]
    pub(crate) fn abort(&self) {
        self.door.close();
        self.task.abort();
    }

    /// A way to the engine.
    #[cfg(feature = "testing")]
    pub(crate) fn sender(&self) -> tokio::sync::mpsc::Sender<crate::engine::input::Input> {
        self.sender.clone()
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Whether the disk takes nothing at the moment.
    pub(crate) fn is_stalled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_stalled)
    }

    /// Orderly stop; returns when state and log are sealed and every connection is closed.
    pub(crate) async fn stop(&self) -> Result<(), Arc<EngineError>> {
        self.door.close();
        self.stop.cancel();
        let ended = ended(self.health()).await;
        self.door.closed().await;
        ended
    }
}

/// Waits until the engine has ended.
pub(crate) async fn ended(mut health: watch::Receiver<Health>) -> Result<(), Arc<EngineError>> {
    let last = health.wait_for(|health| !matches!(health, Health::Running)).await;
    match last.as_deref() {
        Ok(Health::Failed(error)) => Err(Arc::clone(error)),
        Ok(_) => Ok(()),
        Err(_gone) => Err(Arc::new(EngineError::Apply("the engine task is gone".into()))),
    }
}

async fn open_store(
    disk: Arc<dyn Disk>,
    config: &Config,
    wall_ms: u64,
) -> Result<Ready, StartError> {
    let dir = config.data_dir.clone();
    let mut options = config.storage.clone();
    options.quarantine = config.quarantine_damage;
    let in_memory = config.in_memory;
    if in_memory {
        // What is not needed any more is given back sooner, and nothing is written twice.
        options.prewrite = false;
        options.checkpoint_log_bytes = options.checkpoint_log_bytes.min(64 << 20);
    }
    let opened = tokio::task::spawn_blocking(move || open(disk, &dir, options, wall_ms));
    match opened.await {
        Ok(Ok(ready)) => Ok(ready),
        Ok(Err(source)) => Err(StartError::Open { data_dir: config.data_dir.clone(), source }),
        Err(panicked) => Err(StartError::System(panicked.to_string())),
    }
}

/// What was found, for the start banner.
fn summary_of(core: &Core, report: &RecoveryReport) -> String {
    if report.created {
        return "a new store".into();
    }
    let (mut targets, mut messages, mut after) = (0, 0, None);
    loop {
        let (items, more) = core.shard().list(after.as_ref(), 1_000, 0);
        targets += items.len();
        messages += items.iter().map(kept).sum::<u64>();
        match items.last() {
            Some(last) if more => after = Some(last.name.clone()),
            _ => break,
        }
    }
    let plural = |count: u64| if count == 1 { "" } else { "s" };
    let (targets, what) = (targets as u64, plural(messages));
    format!("{targets} queue{} and topics with {messages} message{what}; {report}", plural(targets))
}

/// Messages that are still there.
fn kept(item: &Description) -> u64 {
    match item.kind {
        Kind::Topic => item.next_offset - item.first_offset,
        Kind::Queue => item.groups.iter().map(|g| g.ready + g.leased + g.delayed + g.dead).sum(),
    }
}
