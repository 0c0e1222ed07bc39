//! Dead letters: messages that were given up on, kept with the reason.

use std::fmt;
use std::ops::Deref;
use std::time::SystemTime;

use bytes::Bytes;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::DeadAction;
use posthaste_protocol::{Request, Response, Seed, destination_seed, response};

use crate::codec::Codec;
use crate::error::{Failed, Failure, RequestError};
use crate::message::Peeked;
use crate::options::time_of;
use crate::place::{GroupPlace, Place, unexpected};
use crate::sweep::Sweep;

/// The dead letters of a queue or of a group.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// let dead = client.queue("orders").dead_letters();
/// for letter in dead.list(0, 100).await?.letters {
///     println!("{} after {} attempts: {}", letter.position(), letter.attempts(), letter.reason());
/// }
/// dead.replay_all().await?;
/// # Ok(()) }
/// ```
pub struct DeadLetters<T = Bytes> {
    place: Place,
    group: Option<GroupPlace>,
    codec: Codec<T>,
}

impl<T> DeadLetters<T> {
    pub(crate) fn new(place: Place, group: Option<GroupPlace>, codec: Codec<T>) -> Self {
        Self { place, group, codec }
    }

    /// Lists at most `limit` (1 to 1,000) of them, from a position on, without changing them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// println!("{} dead", client.queue("orders").dead_letters().list(0, 1).await?.total);
    /// # Ok(()) }
    /// ```
    pub async fn list(&self, from: u64, limit: u32) -> Result<DeadPage<T>, RequestError> {
        let name = self.place.checked()?.clone();
        let group = self.group.as_ref().map(GroupPlace::checked).transpose()?.cloned();
        let action = DeadAction::List { from, limit };
        let seed = destination_seed(&name);
        match self.place.call(Request::Dead { name, group, action }).await? {
            Response::DeadLetters { items, total } => {
                let letters: Result<Vec<_>, Failed> =
                    items.into_iter().map(|item| self.letter(item, seed)).collect();
                Ok(DeadPage { letters: letters?, total })
            }
            other => Err(unexpected("dead list", &other).into()),
        }
    }

    fn letter(&self, item: response::DeadLetter, seed: Seed) -> Result<DeadLetter<T>, Failed> {
        let Some(record) = item.piece.records(seed).next() else {
            let text = format!("the dead letter at {} came without its message", item.offset);
            return Err(Failure::coded(ErrorCode::ProtocolError, text));
        };
        let (position, record) = record.map_err(|error| {
            let text = format!("the dead letter at {} cannot be read: {error}", item.offset);
            Failure::coded(ErrorCode::DataLoss, text)
        })?;
        let (time_ms, codec) = (item.piece.time_ms, self.codec);
        Ok(DeadLetter {
            message: Peeked { envelope: record.into(), position, time_ms, codec },
            attempts: item.attempts,
            dead_ms: item.dead_ms,
            reason: item.reason,
        })
    }

    /// Makes one of them ready again, its attempts forgotten.
    pub fn replay(&self, position: u64) -> Sweep {
        Sweep::replay(self.place.clone(), self.group.clone(), Some(position))
    }

    /// Makes all of them ready again.
    pub fn replay_all(&self) -> Sweep {
        Sweep::replay(self.place.clone(), self.group.clone(), None)
    }

    /// Forgets one of them.
    pub fn discard(&self, position: u64) -> Sweep {
        Sweep::drop(self.place.clone(), self.group.clone(), Some(position))
    }

    /// Forgets all of them.
    pub fn discard_all(&self) -> Sweep {
        Sweep::drop(self.place.clone(), self.group.clone(), None)
    }
}

impl<T> fmt::Debug for DeadLetters<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Some dead letters, and how many there are.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// let page = client.queue("orders").dead_letters().list(0, 10).await?;
/// println!("{} of {}", page.letters.len(), page.total);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadPage<T = Bytes> {
    /// In order of position.
    pub letters: Vec<DeadLetter<T>>,
    /// Dead letters in all.
    pub total: u64,
}

/// A dead letter: a message (see [`Peeked`]) and why it was given up on.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// let page = client.queue("orders").dead_letters().list(0, 1).await?;
/// if let Some(letter) = page.letters.first() {
///     println!("{:?}: {}", letter.dead_at(), letter.reason());
/// }
/// # Ok(()) }
/// ```
pub struct DeadLetter<T = Bytes> {
    message: Peeked<T>,
    attempts: u32,
    dead_ms: u64,
    reason: String,
}

impl<T> DeadLetter<T> {
    /// Attempts made.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When it was given up on.
    #[must_use]
    pub fn dead_at(&self) -> SystemTime {
        time_of(self.dead_ms)
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl<T> Deref for DeadLetter<T> {
    type Target = Peeked<T>;

    fn deref(&self) -> &Peeked<T> {
        &self.message
    }
}

impl<T> fmt::Debug for DeadLetter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("message", &self.message)
            .field("attempts", &self.attempts)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}
