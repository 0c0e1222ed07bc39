//! From a directory to a core that is ready to serve: recover, replay, log the start.

use super::apply::{ApplyError, apply_block};
use super::core::Core;
use super::directory::Directory;
use crate::shard::Shard;
use crate::shard::command::Command;
use crate::shard::effects::{Effects, StateError};
use posthaste_storage::disk::Disk;
use posthaste_storage::{
    BodyBuilder, LogKeeper, LogWriter, Opened, Options, RecoveryReport, StorageError, random_u64,
};
use std::path::Path;
use std::sync::Arc;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The log refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The newest checkpoint is intact but not understood.
    #[error("the checkpoint cannot be used: {0}")]
    Checkpoint(#[from] StateError),
    /// A block is intact but contradicts the state before it.
    #[error("the log cannot be replayed: {0}")]
    Replay(String),
}

/// What [`open`] hands out.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) core: Core,
    pub(crate) writer: LogWriter,
    pub(crate) keeper: LogKeeper,
    pub(crate) report: RecoveryReport,
    pub(crate) directory: Arc<Directory>,
}

/// Opens the store and brings the shard to the end of the log.
///
/// The start itself is logged and durable before this returns: from it on, every delivery of a
/// message that could have been sent before is flagged.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: Options,
    wall_ms: u64,
) -> Result<Ready, OpenError> {
    let id_key = id_key(options.seed);
    let opening = posthaste_storage::open(disk, dir, options)?;
    let mut shard = match opening.checkpoint() {
        Some(state) => Shard::restore(state)?,
        None => Shard::new(),
    };
    let mut failed: Option<ApplyError> = None;
    let opened = opening.replay(&mut |block| {
        if failed.is_none() {
            failed = apply_block(&mut shard, block, &mut Effects::default()).err();
        }
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(OpenError::Replay(error.to_string()));
    }
    let Opened { mut writer, reader, keeper, report } = opened;
    shard.set_incarnation(report.epoch);
    log_start(&mut writer, &mut shard, report.clean, wall_ms)?;
    if !report.damaged.is_empty() {
        // The operator has accepted the loss once: the next start must not meet the same damage in its replay.
        keeper.checkpoint(reader.committed(), &shard.checkpoint(), &shard.floors())?;
    }
    let directory = Arc::new(Directory::default());
    fill(&directory, &shard);
    let core = Core::new(shard, reader, Arc::clone(&directory), id_key);
    Ok(Ready { core, writer, keeper, report, directory })
}

/// A key that nobody can foresee, or one that can be repeated for tests.
fn id_key(seed: Option<u64>) -> [u8; 16] {
    let half = || seed.unwrap_or_else(random_u64);
    (u128::from(half()) << 64 | u128::from(half())).to_le_bytes()
}

fn log_start(
    writer: &mut LogWriter,
    shard: &mut Shard,
    clean: bool,
    wall_ms: u64,
) -> Result<(), OpenError> {
    let started = Command::Started { clean };
    let mut payload = Vec::new();
    started.encode(&mut payload);
    let mut body = BodyBuilder::new();
    body.command(started.kind(), &payload);
    let time_ms = wall_ms.max(shard.time_ms());
    let block = writer.commit(time_ms, body.finish())?;
    apply_block(shard, &block, &mut Effects::default())
        .map_err(|error| OpenError::Replay(error.to_string()))
}

fn fill(directory: &Directory, shard: &Shard) {
    let mut after = None;
    loop {
        let (items, more) = shard.list(after.as_ref(), 1_000, 0);
        for item in &items {
            directory.insert(item.id, &item.name);
        }
        match items.last() {
            Some(last) if more => after = Some(last.name.clone()),
            _ => return,
        }
    }
}
