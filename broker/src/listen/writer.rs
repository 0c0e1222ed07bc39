//! The writing half of a connection: everything that is queued leaves in few vectored writes.

use crate::engine::input::{ConnectionId, Input};
use crate::engine::outbox::OutboxDrain;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Slices per system call.
const SLICES_MAX: usize = 64;

/// Why the writer ended.
#[derive(Debug)]
pub(super) enum WriteEnd {
    /// The engine has nothing more to say.
    Done,
    /// The peer took nothing for too long.
    Stalled,
    /// The socket failed.
    Failed(io::Error),
}

/// Writes until the engine drops the outbox, then shuts the socket down.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut drain: OutboxDrain,
    connection: ConnectionId,
    engine: mpsc::Sender<Input>,
    patience: Duration,
) -> WriteEnd {
    let mut queue = VecDeque::new();
    while let Some(parts) = drain.next().await {
        queue.extend(parts);
        while !queue.is_empty() {
            if drain.is_abandoned() {
                return WriteEnd::Stalled;
            }
            while queue.len() < SLICES_MAX
                && let Some(parts) = drain.try_next()
            {
                queue.extend(parts);
            }
            let written =
                match tokio::time::timeout(patience, write_some(&mut writer, &queue)).await {
                    Ok(Ok(written)) => written,
                    Ok(Err(error)) => return WriteEnd::Failed(error),
                    Err(_elapsed) => return WriteEnd::Stalled,
                };
            advance(&mut queue, written);
            if drain.written(written) && engine.send(Input::Drained { connection }).await.is_err() {
                break;
            }
        }
    }
    match writer.shutdown().await {
        Ok(()) => WriteEnd::Done,
        Err(error) => WriteEnd::Failed(error),
    }
}

async fn write_some<W: AsyncWrite + Unpin>(
    writer: &mut W,
    queue: &VecDeque<Bytes>,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let mut count = 0;
    for (slice, part) in slices.iter_mut().zip(queue) {
        *slice = IoSlice::new(part);
        count += 1;
    }
    match writer.write_vectored(&slices[..count]).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        written => Ok(written),
    }
}

fn advance(queue: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = queue.front_mut() {
        if front.len() > written {
            front.advance(written);
            return;
        }
        written -= front.len();
        queue.pop_front();
    }
}
