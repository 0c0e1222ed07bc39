//! The outcome of one batch, shared by the confirms of its messages.
//!
//! One allocation per batch: a message's confirm is a reference and an index. Invariant: the
//! outcome is decided once, and whoever decides wakes everybody who waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::response::{Fate, Outcomes};
use tokio::time::Instant;

use super::lane::Lane;
use crate::error::{Failed, Failure, Local};

/// Takes a lock. A panic elsewhere does not make the state behind it wrong: every critical section
/// of this crate leaves it whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of the messages of a batch, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// They lie one behind the other.
    Together {
        /// Offset of the first; `u64::MAX` if that is not known any more.
        base_offset: u64,
        duplicate: bool,
    },
    /// Each met its own fate; as the broker told.
    Apart(Arc<[Outcomes]>),
}

impl Stored {
    /// Position of message `index`, and whether it is a duplicate.
    pub(crate) fn place_of(&self, index: u32) -> Result<(u64, bool), Failed> {
        match self {
            // u64::MAX stands for unknown, and stays so.
            Stored::Together { base_offset, duplicate } => {
                Ok((base_offset.saturating_add(u64::from(index)), *duplicate))
            }
            Stored::Apart(outcomes) => {
                let mut rest = index;
                for one in &**outcomes {
                    if let Some(behind) = rest.checked_sub(one.count) {
                        rest = behind;
                        continue;
                    }
                    let place = one.base_offset.saturating_add(u64::from(rest));
                    return match one.fate {
                        Fate::Stored => Ok((place, false)),
                        Fate::Duplicate => Ok((place, true)),
                        Fate::Conflict => Err(conflict()),
                    };
                }
                Err(Failure::local(Local::Disconnected, "the broker told of too few messages"))
            }
        }
    }

    /// Messages of `all` that are stored.
    pub(crate) fn count(&self, all: u32) -> u32 {
        match self {
            Stored::Together { .. } => all,
            Stored::Apart(outcomes) => {
                let stored = outcomes.iter().filter(|one| one.fate != Fate::Conflict);
                stored.map(|one| one.count).sum()
            }
        }
    }
}

/// What those hear whose id another message has.
pub(crate) fn conflict() -> Failed {
    let text = "another message was stored under this id within the window; this one was not";
    Failure::coded(ErrorCode::IdConflict, text)
}

/// A batch that somebody waits for.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) lane: Arc<Lane>,
    pub(crate) deadline: Instant,
    /// The offset that its first message must get.
    pub(crate) expects: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Open(Vec<Waker>),
    Stored(Stored),
    Failed(Failed),
}

impl Batch {
    pub(crate) fn new(lane: Arc<Lane>, deadline: Instant, expects: Option<u64>) -> Arc<Self> {
        Arc::new(Self { lane, deadline, expects, state: Mutex::new(State::Open(Vec::new())) })
    }

    /// Tells everybody. Only the first outcome counts.
    pub(crate) fn decide(&self, outcome: Result<Stored, Failed>) {
        let decided = match outcome {
            Ok(stored) => State::Stored(stored),
            Err(failure) => State::Failed(failure),
        };
        let mut state = lock(&self.state);
        let State::Open(wakers) = &mut *state else { return };
        let wakers = std::mem::take(wakers);
        *state = decided;
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The outcome; until then `waker` is woken once. `slot` is the caller's place among those who
    /// wait, so that polling again does not enlist again.
    pub(crate) fn poll(
        &self,
        slot: &mut Option<usize>,
        waker: &Waker,
    ) -> Poll<Result<Stored, Failed>> {
        match &mut *lock(&self.state) {
            State::Stored(stored) => Poll::Ready(Ok(stored.clone())),
            State::Failed(failure) => Poll::Ready(Err(Arc::clone(failure))),
            State::Open(wakers) => {
                match slot.and_then(|slot| wakers.get_mut(slot)) {
                    Some(mine) => mine.clone_from(waker),
                    None => {
                        *slot = Some(wakers.len());
                        wakers.push(waker.clone());
                    }
                }
                Poll::Pending
            }
        }
    }
}

/// What those hear whose publish took too long.
pub(crate) fn too_late() -> Failed {
    Failure::local(Local::Timeout, "the message was not confirmed within the publish timeout")
}
