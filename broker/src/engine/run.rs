//! Drives [`Core`] with the real log thread, channels and clocks.

use super::Now;
use super::backstage::{Backstage, OnDone};
use super::clock::Clock;
use super::core::{Core, IN_FLIGHT_MAX};
use super::input::Input;
use super::metrics::Handles;
use super::start::Ready;
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::mutant;
use posthaste_storage::{Block, LogKeeper, LogWriter, Lsn, StorageError};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Chunks that wait for the engine; together with the ingest budget this bounds memory.
const INPUTS_MAX: usize = 1_024;
/// Blocks that are done and not yet applied.
const COMMITTED_MAX: usize = IN_FLIGHT_MAX;
/// Inputs taken per turn before commits and deliveries are looked at.
const INPUTS_PER_TURN: usize = 64;
/// Retention and metrics.
const TICK: Duration = Duration::from_secs(1);
/// A checkpoint is written this often if anything happened, however little.
const CHECKPOINT_EVERY_MS: u64 = 300_000;
/// A block that is not stored after this long: the disk stalls, or has no room.
const STALL_MS: u64 = 800;
/// How often a stop looks whether it waits for room on the disk in vain.
const STOP_LOOKS: Duration = Duration::from_millis(200);
/// Rest after a checkpoint failed.
const CHECKPOINT_RETRY_MS: u64 = 10_000;

/// Why the engine stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A write or sync of the log failed. Nothing was confirmed since; restart to recover.
    #[error("the log failed, nothing more can be confirmed: {0}")]
    Log(StorageError),
    /// A committed block could not be applied: a defect.
    #[error("a committed block could not be applied: {0}")]
    Apply(String),
}

/// The engine as a task.
#[derive(Debug)]
pub(crate) struct Driver {
    core: Core,
    clock: Clock,
    inputs: mpsc::Receiver<Input>,
    /// For what comes back from the I/O pool.
    sender: mpsc::Sender<Input>,
    backstage: Backstage,
    committed: mpsc::Receiver<Result<Arc<Block>, StorageError>>,
    keeper: LogKeeper,
    handles: Option<Handles>,
    stop: CancellationToken,
    applied: Lsn,
    checkpoints: Checkpoints,
    /// When the log began with the block under way, in monotonic milliseconds.
    submitted_ms: Option<u64>,
    is_stalled: Arc<AtomicBool>,
    #[cfg(feature = "testing")]
    settled: Vec<super::testing::Settled>,
}

/// When the next checkpoint may start.
#[derive(Debug, Default)]
struct Checkpoints {
    is_running: bool,
    is_dirty: bool,
    not_before_ms: u64,
    last_ms: u64,
}

impl Driver {
    /// Starts the log thread of an opened store. What is sent to the engine goes through the sender.
    ///
    /// *Errors*: the system has no thread left.
    pub(crate) fn new(
        ready: Ready,
        clock: Clock,
        handles: Option<Handles>,
        stop: CancellationToken,
    ) -> io::Result<(Driver, mpsc::Sender<Input>)> {
        Driver::with(ready, clock, handles, stop, Backstage::threads)
    }

    /// The same, with the log and reads done by somebody else.
    pub(crate) fn with(
        ready: Ready,
        clock: Clock,
        handles: Option<Handles>,
        stop: CancellationToken,
        backstage: impl FnOnce(LogWriter, OnDone) -> io::Result<Backstage>,
    ) -> io::Result<(Driver, mpsc::Sender<Input>)> {
        let Ready { core, writer, keeper, .. } = ready;
        let applied = core.log().committed();
        let (sender, inputs) = mpsc::channel(INPUTS_MAX);
        let (on_done, committed) = mpsc::channel(COMMITTED_MAX);
        let on_done: OnDone = Box::new(move |done| {
            // No more blocks are under way than there is room for; a stopped engine needs nothing.
            drop(on_done.try_send(done));
        });
        let driver = Driver {
            core,
            clock,
            inputs,
            sender: sender.clone(),
            backstage: backstage(writer, on_done)?,
            committed,
            keeper,
            handles,
            stop,
            applied,
            checkpoints: Checkpoints::default(),
            submitted_ms: None,
            is_stalled: Arc::default(),
            #[cfg(feature = "testing")]
            settled: Vec::new(),
        };
        Ok((driver, sender))
    }

    /// Whether the disk takes nothing at the moment. Nothing is lost and nothing is confirmed meanwhile.
    pub(crate) fn is_stalled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_stalled)
    }

    /// Runs until asked to stop, or until the log fails.
    pub(crate) async fn run(mut self) -> Result<(), EngineError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut has_more = false;
        let stop = self.stop.clone();
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                Some(done) = self.committed.recv() => self.on_committed(done)?,
                () = stop.cancelled() => return self.finish().await,
                _ = tick.tick() => self.on_tick(),
                Some(input) = self.inputs.recv(), if self.core.has_room() => self.on_inputs(input),
                () = tokio::time::sleep_until(deadline), if !has_more => {}
                () = tokio::task::yield_now(), if has_more => {}
            }
            has_more = self.turn()?;
            #[cfg(feature = "testing")]
            self.tell_settled(has_more);
        }
    }

    /// Tells the tests that wait for it that nothing is under way.
    #[cfg(feature = "testing")]
    fn tell_settled(&mut self, has_more: bool) {
        if !has_more && self.core.is_quiet() && self.inputs.is_empty() {
            for settled in self.settled.drain(..) {
                // A test that waits no longer is no matter.
                drop(settled.send(self.core.connections()));
            }
        }
    }

    /// A test waits: what a tick would do is done at once.
    #[cfg(feature = "testing")]
    fn on_settle(&mut self, settled: super::testing::Settled) {
        self.on_tick();
        self.core.forget_space();
        self.settled.push(settled);
    }

    fn deadline(&mut self) -> tokio::time::Instant {
        let now = self.clock.now();
        let wait = self
            .core
            .next_time(now)
            .map_or(TICK, |at| Duration::from_millis(at.saturating_sub(now.mono_ms)).min(TICK));
        tokio::time::Instant::now() + wait
    }

    fn on_inputs(&mut self, first: Input) {
        let now = self.clock.now();
        let mut next = Some(first);
        let mut left = INPUTS_PER_TURN;
        while let Some(input) = next {
            match input {
                Input::Checkpointed(result) => self.on_checkpointed(result, now),
                #[cfg(feature = "testing")]
                Input::Settle(settled) => self.on_settle(settled),
                input => self.core.on_input(input, now),
            }
            left -= 1;
            // ORDER: take one out of the channel only when it will be handled; it is nowhere else.
            next = match left > 0 && self.core.has_room() {
                true => self.inputs.try_recv().ok(),
                false => None,
            };
            if next.is_none() && mutant("input-dropped") {
                drop(self.inputs.try_recv());
            }
        }
    }

    /// Whatever has become due: deliveries, the next block, reads, frames. `true`: more at once.
    fn turn(&mut self) -> Result<bool, EngineError> {
        let now = self.clock.now();
        self.core.on_time(now);
        self.submit(now)?;
        // Confirms first: they are what publishers wait for.
        self.core.flush();
        let has_more = self.core.dispatch(now);
        // Dispatch may have found messages that are lost, which is logged.
        self.submit(now)?;
        self.start_reads();
        self.core.flush();
        Ok(has_more)
    }

    fn submit(&mut self, now: Now) -> Result<(), EngineError> {
        let Some(body) = self.core.next_block(now) else {
            return Ok(());
        };
        let time_ms = now.wall_ms.max(self.core.shard().time_ms());
        match self.backstage.submit(time_ms, body) {
            Ok(()) => {
                self.submitted_ms.get_or_insert(now.mono_ms);
                Ok(())
            }
            Err(_refused) => {
                self.core.on_failure();
                Err(EngineError::Log(StorageError::Poisoned))
            }
        }
    }

    fn on_committed(&mut self, done: Result<Arc<Block>, StorageError>) -> Result<(), EngineError> {
        let now = self.clock.now();
        let block = match done {
            Ok(block) => block,
            Err(error) => {
                tracing::error!(%error, "the log failed");
                self.core.on_failure();
                return Err(EngineError::Log(error));
            }
        };
        if let Err(error) = self.core.on_committed(&block, now) {
            self.core.on_failure();
            return Err(EngineError::Apply(error.to_string()));
        }
        self.submitted_ms = self.core.is_committing().then_some(now.mono_ms);
        self.applied = block.end;
        self.checkpoints.is_dirty = true;
        self.checkpoint_if_due(now);
        Ok(())
    }

    fn on_tick(&mut self) {
        let now = self.clock.now();
        self.look_for_stalls(now);
        self.core.retain(&self.keeper, now);
        self.checkpoint_if_due(now);
        self.core.audit();
        if let Some(handles) = &self.handles {
            self.core.publish_metrics(handles, now);
        }
    }

    fn look_for_stalls(&self, now: Now) {
        let is_stalled = self.submitted_ms.is_some_and(|since| now.mono_ms >= since + STALL_MS);
        if self.is_stalled.swap(is_stalled, Ordering::Relaxed) == is_stalled {
            return;
        }
        if is_stalled {
            let space = self.core.log().space();
            tracing::warn!(
                free_bytes = space.free_bytes,
                "the disk takes nothing; publishers wait"
            );
        } else {
            tracing::info!("the disk goes on");
        }
    }

    fn start_reads(&mut self) {
        for job in self.core.take_reads() {
            let log = self.core.log().clone();
            self.backstage.start(&self.sender, move || job.run(&log));
        }
    }

    fn checkpoint_if_due(&mut self, now: Now) {
        let checkpoints = &mut self.checkpoints;
        let is_old = now.mono_ms >= checkpoints.last_ms + CHECKPOINT_EVERY_MS;
        let is_due = self.keeper.due() || (checkpoints.is_dirty && is_old);
        if checkpoints.is_running || !is_due || now.mono_ms < checkpoints.not_before_ms {
            return;
        }
        checkpoints.is_running = true;
        checkpoints.is_dirty = false;
        checkpoints.last_ms = now.mono_ms;
        let (state, floors) = (self.core.shard().checkpoint(), self.core.shard().floors());
        let (keeper, covered) = (self.keeper.clone(), self.applied);
        self.backstage.start(&self.sender, move || {
            Input::Checkpointed(keeper.checkpoint(covered, &state, &floors).map(|_done| ()))
        });
    }

    fn on_checkpointed(&mut self, result: Result<(), StorageError>, now: Now) {
        self.checkpoints.is_running = false;
        if let Err(error) = result {
            // The log is whole without it: segments are kept until one succeeds.
            tracing::error!(%error, "a checkpoint failed; trying again later");
            self.checkpoints.is_dirty = true;
            self.checkpoints.not_before_ms = now.mono_ms + CHECKPOINT_RETRY_MS;
        }
    }

    /// Orderly stop: everything promised is kept, leases go back, state and log are sealed.
    async fn finish(mut self) -> Result<(), EngineError> {
        let now = self.clock.now();
        self.core.detach_everyone(now);
        loop {
            self.submit(now)?;
            self.core.flush();
            if self.core.is_quiet() {
                break;
            }
            match tokio::time::timeout(STOP_LOOKS, self.committed.recv()).await {
                Ok(Some(done)) => self.on_committed(done)?,
                Ok(None) => return Err(EngineError::Log(StorageError::Poisoned)),
                // Room may never come.
                Err(_) if self.core.log().space().is_waited_for => break,
                Err(_) => {}
            }
        }
        self.core.say_goodbye(&ErrorReply {
            code: ErrorCode::ShuttingDown,
            retry_after_ms: 1_000,
            message: "the broker is shutting down; everything confirmed is kept".into(),
            similar: Vec::new(),
        });
        // ORDER: the one under way covers less than the last, so it goes first.
        while self.checkpoints.is_running
            && let Some(input) = self.inputs.recv().await
        {
            if let Input::Checkpointed(result) = input {
                self.on_checkpointed(result, now);
            }
        }
        let (state, floors) = (self.core.shard().checkpoint(), self.core.shard().floors());
        let (keeper, covered) = (self.keeper, self.applied);
        let work = move || {
            if let Err(error) = keeper.checkpoint(covered, &state, &floors) {
                // A full disk must not keep the log from being closed.
                tracing::error!(%error, "no checkpoint at the stop; the next start reads the log");
            }
            Ok(())
        };
        self.backstage.seal(work).await
    }
}
