//! Walks over delivered pieces, one message at a time, and keeps the account of what was taken.
//!
//! Nothing is decoded ahead: a delivery costs the application when it takes it.

use std::collections::VecDeque;

use posthaste_protocol::request::Credit;
use posthaste_protocol::{DecodeError, PieceRecords, Seed};

use crate::core::{Generation, Incoming, LeaseKey};
use crate::envelope::Envelope;

/// What was delivered and not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    generation: Generation,
    pieces: VecDeque<Incoming>,
    open: Option<Open>,
    /// Taken from this connection, ever.
    begun: u64,
    /// Taken since credit was last given.
    taken: Credit,
}

#[derive(Debug)]
struct Open {
    records: PieceRecords,
    key: LeaseKey,
    count: u32,
    attempt: u32,
    redelivered: bool,
    time_ms: u64,
    epoch: u64,
    bytes: u64,
}

/// One message under a lease.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) envelope: Envelope,
    pub(crate) key: LeaseKey,
    pub(crate) position: u64,
    pub(crate) attempt: u32,
    pub(crate) redelivered: bool,
    pub(crate) time_ms: u64,
    pub(crate) epoch: u64,
}

/// What the cursor came upon.
#[derive(Debug)]
pub(crate) enum Step {
    Message(Message),
    /// The rest of a piece cannot be read: `count` messages from this one on.
    Damaged {
        key: LeaseKey,
        count: u32,
        error: DecodeError,
    },
    /// Ask for more.
    Empty,
}

impl Cursor {
    /// Which connection the messages here belong to.
    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    /// Goes on with these, of this connection; what is left of another one is void.
    pub(crate) fn refill(&mut self, generation: Generation, pieces: VecDeque<Incoming>) {
        if generation != self.generation {
            *self = Self { generation, ..Self::default() };
        }
        self.pieces.extend(pieces);
    }

    /// Forgets everything: the leases are gone.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    #[inline]
    pub(crate) fn next(&mut self, seed: Seed) -> Step {
        loop {
            let Some(open) = &mut self.open else {
                let Some(incoming) = self.pieces.pop_front() else { return Step::Empty };
                self.open = Some(Open::new(&incoming, self.generation, seed));
                continue;
            };
            let key = open.key;
            match open.records.next() {
                Some(Ok((position, record))) => {
                    open.key.index += 1;
                    let message = Message {
                        envelope: record.into(),
                        key,
                        position,
                        attempt: open.attempt,
                        redelivered: open.redelivered,
                        time_ms: open.time_ms,
                        epoch: open.epoch,
                    };
                    let is_last = open.key.index >= open.count;
                    self.count(1);
                    if is_last {
                        self.close();
                    }
                    return Step::Message(message);
                }
                Some(Err(error)) => {
                    let count = open.count.saturating_sub(key.index);
                    self.close();
                    self.count(count);
                    return Step::Damaged { key, count, error };
                }
                None => self.close(),
            }
        }
    }

    fn count(&mut self, messages: u32) {
        self.begun += u64::from(messages);
        self.taken.messages = self.taken.messages.saturating_add(messages);
    }

    /// The bytes of a piece are free when all of its messages were taken.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.taken.bytes = self.taken.bytes.saturating_add(open.bytes);
        }
    }

    /// Credit to give back if enough has come together, or at once if `urgent`.
    #[inline]
    pub(crate) fn credit(&mut self, urgent: bool, half: Credit) -> Option<Credit> {
        let is_due = self.taken.messages >= half.messages || self.taken.bytes >= half.bytes;
        if !is_due && !urgent {
            return None;
        }
        let taken = std::mem::take(&mut self.taken);
        Some(Credit { begun: self.begun, ..taken })
    }

    /// The first message that was not taken, if any is here.
    pub(crate) fn untaken(&self) -> Option<LeaseKey> {
        let open = self.open.as_ref().filter(|open| open.key.index < open.count);
        let next = open.map(|open| open.key);
        next.or_else(|| {
            let range = self.pieces.front()?.range;
            Some(LeaseKey { generation: self.generation, range, index: 0 })
        })
    }
}

impl Open {
    fn new(incoming: &Incoming, generation: Generation, seed: Seed) -> Self {
        let piece = &incoming.piece;
        Self {
            records: piece.records(seed),
            key: LeaseKey { generation, range: incoming.range, index: 0 },
            count: piece.count,
            attempt: piece.attempt,
            redelivered: piece.redelivered,
            time_ms: piece.time_ms,
            epoch: incoming.epoch,
            bytes: piece.batches.len() as u64,
        }
    }
}
