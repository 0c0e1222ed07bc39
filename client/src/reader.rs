//! Reading without taking: pages of records, one request after the other.
//!
//! A reader holds no place at the broker: it knows where to read on, and asks.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::Start;
use posthaste_protocol::{DecodeError, Request, Response, destination_seed};

use crate::codec::Codec;
use crate::error::{ConsumeError, Failed, Failure};
use crate::message::Peeked;
use crate::options;
use crate::place::{Place, unexpected};

/// Messages asked for at once.
const PAGE_MESSAGES: u32 = 1_000;
/// Bytes asked for at once.
const PAGE_BYTES: u32 = 1 << 20;
/// A tail that has caught up asks again after this long, and ever more rarely.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause of a tail.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Reads messages in order without taking them; made by `read` and `tail` of a
/// [`Queue`](crate::Queue) or [`Topic`](crate::Topic).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.topic("orders.events").declare().await?;
/// # client.topic("orders.events").publish(&posthaste::Bytes::from("7")).await?;
/// use posthaste::Start;
/// let mut all = client.topic("orders.events").read(Start::Earliest);
/// while let Some(message) = all.next().await {
///     println!("{:?}", message?.bytes());
/// # break;
/// }
/// # Ok(()) }
/// ```
pub struct Reader<T = Bytes> {
    place: Place,
    codec: Codec<T>,
    from: Start,
    tail: bool,
    page: VecDeque<Peeked<T>>,
    page_messages: u32,
}

impl<T> Reader<T> {
    pub(crate) fn new(place: Place, codec: Codec<T>, from: options::Start, tail: bool) -> Self {
        let from = from.to_wire();
        Self { place, codec, from, tail, page: VecDeque::new(), page_messages: PAGE_MESSAGES }
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// use posthaste::Start;
    /// let ten = client.topic("orders.events").read(Start::Position(100)).up_to(10).await?;
    /// # Ok(()) }
    /// ```
    pub async fn up_to(mut self, max: usize) -> Result<Vec<Peeked<T>>, ConsumeError> {
        self.tail = false;
        self.page_messages = u32::try_from(max).unwrap_or(u32::MAX).clamp(1, PAGE_MESSAGES);
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
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(message) = self.page.pop_front() {
                return Ok(Some(message));
            }
            let is_at_end = self.read_page().await?;
            if !self.page.is_empty() || !is_at_end {
                continue;
            }
            if !self.tail {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Fetches the next page, and says whether the end was reached.
    async fn read_page(&mut self) -> Result<bool, Failed> {
        let name = self.place.checked()?.clone();
        let seed = destination_seed(&name);
        let request = Request::Read {
            name,
            from: self.from,
            messages_max: self.page_messages,
            bytes_max: PAGE_BYTES,
        };
        match self.place.call(request).await? {
            Response::Records { pieces, next_offset, end_offset } => {
                for piece in pieces {
                    for record in piece.records(seed) {
                        let (position, record) = record.map_err(damaged)?;
                        let (time_ms, codec) = (piece.time_ms, self.codec);
                        self.page.push_back(Peeked {
                            envelope: record.into(),
                            position,
                            time_ms,
                            codec,
                        });
                    }
                }
                let before = std::mem::replace(&mut self.from, Start::Offset(next_offset));
                // A page that leads nowhere is an end too, or this would ask without a pause.
                let is_stuck = self.page.is_empty() && before == self.from;
                Ok(next_offset >= end_offset || is_stuck)
            }
            other => Err(unexpected("read", &other)),
        }
    }
}

fn damaged(error: DecodeError) -> Failed {
    Failure::coded(ErrorCode::DataLoss, format!("a message cannot be read: {error}"))
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
