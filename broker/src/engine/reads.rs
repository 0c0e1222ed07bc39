//! Reads that may wait for a disk: planned on the loop, carried out beside it.
//!
//! A plan names committed offsets only, so what it finds is committed too.

use super::cursor::RunCursor;
use super::input::{Found, Input, ReadDone};
use super::requests::{ANSWER_META_BYTES, Asked};
use crate::shard::command::Cause;
use crate::shard::effects::{DeadItem, StreamId};
use posthaste_protocol::batch::{BatchBuilder, Record, Seed};
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::limits::PIECES_MAX;
use posthaste_protocol::response::{DeadLetter, Piece};
use posthaste_protocol::{DecodeError, Response};
use posthaste_storage::{LogReader, StorageError};
use std::ops::Range;

/// Bytes of batches in one answer, whatever was asked for.
const ANSWER_BYTES: usize = 2 << 20;

/// One read to make.
#[derive(Debug)]
pub(crate) enum ReadJob {
    /// A group's next messages are not in memory.
    Group { group: u32, stream: StreamId, offset: u64, end: u64 },
    /// A client looks without taking.
    Reply(Plan, Answer),
}

/// What to read for a client.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) asked: Asked,
    pub(super) stream: StreamId,
    pub(super) seed: Option<Seed>,
    /// First offset and count, in order.
    pub(super) ranges: Vec<(u64, u64)>,
    pub(super) bytes_max: u32,
}

/// What to make of it.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Messages, for peek and tail.
    Records { next_offset: u64, end_offset: u64 },
    /// Dead letters.
    Dead { items: Vec<DeadItem>, limit: usize, total: u64 },
}

impl ReadJob {
    /// Reads; blocks on the disk.
    pub(crate) fn run(self, log: &LogReader) -> Input {
        match self {
            ReadJob::Group { group, stream, offset, end } => {
                let found = find(log, stream, offset, end);
                Input::Read(ReadDone { group, stream, offset, found })
            }
            ReadJob::Reply(plan, answer) => {
                let Asked { connection, channel, corr } = plan.asked;
                let response = Box::new(answer_of(&plan, answer, log));
                Input::Reply { connection, channel, corr, response }
            }
        }
    }
}

/// The run with `offset`, or how much of `offset..end` cannot be had.
fn find(log: &LogReader, stream: StreamId, offset: u64, end: u64) -> Found {
    match log.read(stream, offset) {
        Ok(Some(run)) if run.base_offset <= offset => Found::Run(run),
        Ok(Some(run)) => Found::Lost(run.base_offset.min(end) - offset),
        Ok(None) => Found::Lost(end - offset),
        Err(StorageError::Damaged(_)) => {
            Found::Lost(behind_damage(log, stream, offset, end) - offset)
        }
        Err(error) => Found::Failed(error),
    }
}

/// Where the next run begins: all of a damaged one is lost, and nothing else.
fn behind_damage(log: &LogReader, stream: StreamId, damaged: u64, end: u64) -> u64 {
    // Where the index cannot tell, one message at a time finds the way too.
    let next = log.run_after(stream, damaged).map_or(damaged + 1, |next| next.unwrap_or(end));
    next.clamp(damaged + 1, end.max(damaged + 1))
}

fn answer_of(plan: &Plan, answer: Answer, log: &LogReader) -> Response {
    match answer {
        Answer::Records { next_offset, end_offset } => match plan.pieces(log, None) {
            Ok(found) => {
                let next_offset = found.stopped_at.unwrap_or(next_offset);
                Response::Records { pieces: found.pieces, next_offset, end_offset }
            }
            Err(error) => failed(&error),
        },
        Answer::Dead { items, limit, total } => match plan.pieces(log, Some(1)) {
            Ok(found) => {
                let mut items = dead_letters(&items, found);
                items.truncate(limit);
                let mut meta_bytes = 0;
                let fitting = items.iter().take_while(|item| {
                    meta_bytes += item.meta_bytes();
                    meta_bytes <= ANSWER_META_BYTES
                });
                items.truncate(fitting.count());
                Response::DeadLetters { items, total }
            }
            Err(error) => failed(&error),
        },
    }
}

/// Why a plan could not be carried out.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Storage(#[from] StorageError),
    #[error("{0}")]
    Batch(#[from] DecodeError),
    #[error("messages {from} to {last} are damaged; what follows begins at offset {next}", last = .next - 1)]
    Damaged { from: u64, next: u64 },
}

/// What a plan gathered.
struct Gathered {
    pieces: Vec<Piece>,
    /// Where it stopped because the answer was full.
    stopped_at: Option<u64>,
    /// Dead letters whose bytes are damaged: an empty message stands for each.
    lost: Vec<Range<u64>>,
}

impl Plan {
    /// Reads the ranges; `one` limits each piece to that many messages. Damage ends what came before it, or is the error
    /// if nothing did; where pieces are single messages, it costs those that it hit.
    fn pieces(&self, log: &LogReader, one: Option<u64>) -> Result<Gathered, ReadError> {
        let bytes_max = (self.bytes_max as usize).min(ANSWER_BYTES);
        let mut found = Gathered { pieces: Vec::new(), stopped_at: None, lost: Vec::new() };
        let Some(seed) = self.seed else {
            return Ok(found);
        };
        let (mut bytes, mut cursor) = (0, None::<RunCursor>);
        for (first, count) in &self.ranges {
            let (mut offset, end) = (*first, first + count);
            while offset < end {
                if bytes >= bytes_max || found.pieces.len() >= PIECES_MAX as usize {
                    found.stopped_at = Some(offset);
                    return Ok(found);
                }
                if !cursor.as_ref().is_some_and(|cursor| cursor.covers(offset)) {
                    let run = match log.read(self.stream, offset) {
                        Ok(Some(run)) => run,
                        Ok(None) => break,
                        Err(StorageError::Damaged(damage)) => {
                            tracing::error!(stream = self.stream, offset, %damage, "a message cannot be read");
                            let next = behind_damage(log, self.stream, offset, end);
                            if one.is_none() {
                                return found.ended_at(offset, next);
                            }
                            found.add_lost(offset..next.min(end), &seed);
                            offset = next;
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    };
                    // A gap: what is missing was deleted or lost meanwhile.
                    offset = offset.max(run.base_offset);
                    cursor = Some(RunCursor::new(run, seed));
                    continue;
                }
                let Some(cursor) = cursor.as_mut() else { break };
                let messages = one.unwrap_or(u64::MAX).min(end - offset);
                let left = (bytes_max - bytes) as u64;
                let cut = cursor.cut(offset, messages, left)?;
                bytes += cut.batches.len();
                offset += u64::from(cut.count);
                found.pieces.push(Piece {
                    base_offset: cut.base_offset,
                    from: cut.from,
                    count: cut.count,
                    attempt: 1,
                    redelivered: false,
                    time_ms: cursor.time_ms(),
                    batches: cut.batches,
                });
            }
        }
        Ok(found)
    }
}

impl Gathered {
    fn ended_at(mut self, from: u64, next: u64) -> Result<Self, ReadError> {
        if self.pieces.is_empty() {
            return Err(ReadError::Damaged { from, next });
        }
        self.stopped_at = Some(from);
        Ok(self)
    }

    fn add_lost(&mut self, offsets: Range<u64>, seed: &Seed) {
        let left = PIECES_MAX as usize - self.pieces.len();
        for base_offset in offsets.clone().take(left) {
            let mut nothing = BatchBuilder::new();
            if nothing.push(&Record::default()).is_err() {
                return;
            }
            self.pieces.push(Piece {
                base_offset,
                from: 0,
                count: 1,
                attempt: 1,
                redelivered: false,
                time_ms: 0,
                batches: nothing.finish(*seed, 0, 0, 1),
            });
        }
        self.lost.push(offsets);
    }
}

fn dead_letters(items: &[DeadItem], found: Gathered) -> Vec<DeadLetter> {
    let mut letters = Vec::with_capacity(found.pieces.len());
    for piece in found.pieces {
        let offset = piece.base_offset + u64::from(piece.from);
        let Some(item) = items.iter().find(|i| (i.range.first..i.range.end).contains(&offset))
        else {
            continue;
        };
        letters.push(DeadLetter {
            offset,
            attempts: item.attempts,
            dead_ms: item.dead_ms,
            reason: if found.lost.iter().any(|lost| lost.contains(&offset)) {
                Cause::DataLoss.as_str().to_owned()
            } else {
                item.reason.clone()
            },
            piece,
        });
    }
    letters
}

fn failed(error: &ReadError) -> Response {
    tracing::error!(%error, "a read failed");
    let message = match error {
        ReadError::Damaged { .. } => error.to_string(),
        _ => "the stored messages cannot be read; the broker's log says why".into(),
    };
    Response::Error(ErrorReply {
        code: ErrorCode::DataLoss,
        retry_after_ms: 0,
        message,
        similar: Vec::new(),
    })
}
