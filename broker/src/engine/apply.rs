//! Blocks into the shard: the same steps for a block just committed and for one replayed.

use crate::shard::Shard;
use crate::shard::command::Command;
use crate::shard::effects::{AppliedBatch, AppliedRun, Effects, StateError};
use posthaste_protocol::DecodeError;
use posthaste_protocol::batch::{BatchHeader, delayed_records};
use posthaste_storage::{Block, Entry, Run, StorageError};

/// A block that is intact but says what cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("{0}")]
    Storage(#[from] StorageError),
    #[error("{0}")]
    State(#[from] StateError),
    #[error("a stored batch cannot be read: {0}")]
    Batch(#[from] DecodeError),
    #[error("a stored command of kind {kind} cannot be read: {why}")]
    Command { kind: u8, why: String },
}

/// Applies every entry of a block, in order.
pub(crate) fn apply_block(
    shard: &mut Shard,
    block: &Block,
    effects: &mut Effects,
) -> Result<(), ApplyError> {
    for entry in block.entries() {
        match entry? {
            Entry::Run(run) => apply_run(shard, block.time_ms, &run, effects)?,
            Entry::Command { kind, payload } => {
                let command = Command::decode(kind, &payload)
                    .map_err(|error| ApplyError::Command { kind, why: error.to_string() })?;
                shard.apply_command(block.time_ms, &command, effects);
            }
        }
    }
    Ok(())
}

fn apply_run(
    shard: &mut Shard,
    now_ms: u64,
    run: &Run,
    effects: &mut Effects,
) -> Result<(), ApplyError> {
    let mut delayed = Vec::new();
    let mut ids = Vec::new();
    let mut headers = Vec::new();
    let mut rest = &run.batches[..];
    while !rest.is_empty() {
        let header = BatchHeader::peek(rest)?;
        let (batch, behind) = rest.split_at(header.len as usize);
        let first = delayed.len();
        if header.is_delayed() {
            delayed.extend(delayed_records(batch));
        }
        let first_id = ids.len();
        ids.extend(shard.identify(run.stream, batch).into_iter().flatten());
        headers.push((header, first..delayed.len(), first_id..ids.len()));
        rest = behind;
    }
    let batches = headers.iter().map(|(header, delays, identified)| AppliedBatch {
        count: header.count,
        producer: header.producer,
        sequence: header.sequence,
        delayed: &delayed[delays.clone()],
        ids: &ids[identified.clone()],
    });
    let applied = AppliedRun {
        stream: run.stream,
        base_offset: run.base_offset,
        records: run.records,
        batches,
    };
    shard.apply_run(now_ms, applied, effects)?;
    Ok(())
}
