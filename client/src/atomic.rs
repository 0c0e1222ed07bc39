//! Atomic groups: several publishes, and settles of deliveries, as one.

use std::fmt;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use posthaste_protocol::RecordError;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::limits::{ATOMIC_PARTS_MAX, ATOMIC_SETTLES_MAX, DELAY_MS_MAX};
use posthaste_protocol::request::{AtomicSettle, Outcome, Settle};

use crate::client::Client;
use crate::codec::Codec;
use crate::core::{Part, bounded_reason};
use crate::delivery::Delivery;
use crate::error::{Failed, Failure, Local, PublishError};
use crate::lease::Lease;
use crate::options::whole_ms;
use crate::place::Place;
use crate::publish::{Properties, Receipt};
use crate::queue::Queue;
use crate::send::with_record;
use crate::topic::Topic;

/// Where a message of an [`Atomic`] goes: a [`Queue`] or a [`Topic`].
///
/// ```
/// use posthaste::{Atomic, PublishTo};
/// fn add(group: Atomic, to: &impl PublishTo<posthaste::Bytes>) -> Atomic {
///     group.publish(to, &posthaste::Bytes::from("7"))
/// }
/// ```
pub trait PublishTo<T>: sealed::To<T> {}

mod sealed {
    use super::{Codec, Place};

    #[expect(missing_debug_implementations, reason = "nobody gets one")]
    pub struct Target<'a, T> {
        pub(crate) place: &'a Place,
        pub(crate) codec: Codec<T>,
    }

    pub trait To<T> {
        fn target(&self) -> Target<'_, T>;
    }
}

impl<T> PublishTo<T> for Queue<T> {}
impl<T> PublishTo<T> for Topic<T> {}

impl<T> sealed::To<T> for Queue<T> {
    fn target(&self) -> sealed::Target<'_, T> {
        sealed::Target { place: &self.place, codec: self.codec }
    }
}

impl<T> sealed::To<T> for Topic<T> {
    fn target(&self) -> sealed::Target<'_, T> {
        sealed::Target { place: &self.place, codec: self.codec }
    }
}

/// Publishes to any queues and topics, and settles of deliveries of this client, all or none; see
/// [`Client::atomic`].
///
/// It is one entry of the broker's log: visible at once, and after a crash there whole or not at all. When one
/// part is refused nothing is done, and the error names the part; deliveries then go back like any that are
/// dropped without being settled. Up to 64 queues and topics, 1,024 deliveries and 4 MB in all.
#[must_use = "nothing happens until it is committed"]
pub struct Atomic {
    client: Client,
    parts: Vec<Part>,
    /// Of each message: its part, its place there, and its id.
    messages: Vec<(usize, u32, Option<String>)>,
    settles: Vec<(Lease, Outcome)>,
    failure: Option<Failed>,
}

impl Atomic {
    pub(crate) fn new(client: Client) -> Self {
        let (parts, messages, settles) = (Vec::new(), Vec::new(), Vec::new());
        Self { client, parts, messages, settles, failure: None }
    }

    /// Adds a message.
    pub fn publish<T>(self, to: &impl PublishTo<T>, message: &T) -> Self {
        self.publish_with(to, message, &Properties::new())
    }

    /// Adds a message with a key, headers, an id or a delay. One that was stored under its id before keeps its
    /// place and does not keep the others from being stored.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// use posthaste::{Bytes, Properties};
    /// let (orders, order) = (client.queue("orders"), Bytes::from("7"));
    /// let keyed = Properties::new().key("customer-42");
    /// client.atomic().publish_with(&orders, &order, &keyed).commit().await?;
    /// # Ok(()) }
    /// ```
    pub fn publish_with<T>(
        mut self,
        to: &impl PublishTo<T>,
        message: &T,
        properties: &Properties,
    ) -> Self {
        let sealed::Target { place, codec } = to.target();
        let packed = self.pack(place, codec, message, properties);
        self.note(packed);
        self
    }

    /// Only if the message at this position is the last of the queue or topic.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("account-7").declare().await?;
    /// use posthaste::Bytes;
    /// let account = client.topic("account-7");
    /// let (paid, closed) = (Bytes::from("paid"), Bytes::from("closed"));
    /// let last = account.publish(&Bytes::from("opened")).await?.position;
    /// let group = client.atomic().publish(&account, &paid).publish(&account, &closed);
    /// group.if_last(&account, last).commit().await?;
    /// # Ok(()) }
    /// ```
    pub fn if_last<T>(self, to: &impl PublishTo<T>, position: u64) -> Self {
        self.expect(to.target().place, position.saturating_add(1))
    }

    /// Only if nothing was ever published to the queue or topic.
    pub fn if_empty<T>(self, to: &impl PublishTo<T>) -> Self {
        self.expect(to.target().place, 0)
    }

    /// Adds an ack.
    pub fn ack<T>(self, delivery: Delivery<T>) -> Self {
        self.settle(delivery, Outcome::Ack)
    }

    /// Adds a retry after this time, one attempt later.
    pub fn retry_in<T>(self, delivery: Delivery<T>, delay: Duration) -> Self {
        let delay_ms = Some(whole_ms(delay).min(DELAY_MS_MAX));
        self.settle(delivery, Outcome::Retry { delay_ms, reason: String::new() })
    }

    /// Adds a dead letter.
    pub fn dead_letter<T>(self, delivery: Delivery<T>, why: impl Display) -> Self {
        self.settle(delivery, Outcome::DeadLetter { reason: bounded_reason(why.to_string()) })
    }

    /// Stores all of it, and gives the receipts of the messages in the order in which they were added.
    ///
    /// If the connection breaks it is sent again and stored once; deliveries of the broken connection are then
    /// lost, so a group that was not stored before fails with
    /// [`ErrorKind::LeaseExpired`](crate::ErrorKind::LeaseExpired).
    ///
    /// *Cancel safety*: a dropped future may or may not have committed, all of it or nothing.
    pub async fn commit(mut self) -> Result<Vec<Receipt>, PublishError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure.into());
        }
        if self.parts.is_empty() && self.settles.is_empty() {
            return Ok(Vec::new());
        }
        if self.parts.iter_mut().any(|part| part.builder().is_none_or(|builder| builder.is_empty()))
        {
            let text =
                "the group expects something of a queue or topic to which it publishes nothing";
            return Err(Failure::coded(ErrorCode::InvalidArgument, text).into());
        }
        let core = self.client.core();
        let mut settles = Vec::with_capacity(self.settles.len());
        for (lease, outcome) in &self.settles {
            let (channel, held) = lease.held(core)?;
            settles
                .push(AtomicSettle { channel, settle: Settle { held, outcome: outcome.clone() } });
        }
        let mut first = 0;
        let mut firsts = Vec::with_capacity(self.parts.len());
        for part in &mut self.parts {
            firsts.push(first);
            first += part.builder().map_or(0, |builder| builder.count());
        }
        let stored = core.commit(std::mem::take(&mut self.parts), settles).await?;
        self.settles.drain(..).for_each(|(lease, _)| lease.settled_elsewhere());
        let receipts = self.messages.drain(..).map(|(part, index, id)| {
            let first = firsts.get(part).copied().unwrap_or_default();
            let (position, duplicate) = stored.place_of(first + index)?;
            Ok(Receipt { id, position, duplicate })
        });
        receipts.collect::<Result<_, Failed>>().map_err(PublishError)
    }

    fn settle<T>(mut self, delivery: Delivery<T>, outcome: Outcome) -> Self {
        self.settles.push((delivery.into_lease(), outcome));
        if self.settles.len() > ATOMIC_SETTLES_MAX as usize {
            let text = format!("an atomic group settles at most {ATOMIC_SETTLES_MAX} deliveries");
            self.note(Err(Failure::coded(ErrorCode::InvalidArgument, text)));
        }
        self
    }

    fn expect(mut self, place: &Place, offset: u64) -> Self {
        let expected = self.part(place).map(|part| {
            if let Some(part) = self.parts.get_mut(part) {
                part.expects = Some(offset);
            }
        });
        self.note(expected);
        self
    }

    /// The first failure is told by the commit.
    fn note(&mut self, done: Result<(), Failed>) {
        if let Err(failure) = done {
            self.failure.get_or_insert(failure);
        }
    }

    fn pack<T>(
        &mut self,
        place: &Place,
        codec: Codec<T>,
        message: &T,
        properties: &Properties,
    ) -> Result<(), Failed> {
        let part = self.part(place)?;
        let mut value = Vec::new();
        (codec.encode)(message, &mut value).map_err(|error| {
            Failure::local(Local::Encode, format!("the payload cannot be encoded: {error}"))
        })?;
        let Some(builder) = self.parts.get_mut(part).and_then(Part::builder) else { return Ok(()) };
        let index = builder.count();
        let core = place.client().core();
        let packed = with_record(core, &value, properties, |record| builder.push(record));
        packed.map_err(|error| match error {
            RecordError::BatchFull => {
                let text =
                    "the messages of an atomic group for one queue or topic exceed one batch";
                Failure::coded(ErrorCode::MessageTooLarge, text)
            }
            error => Failure::coded(error.code(), error.to_string()),
        })?;
        self.messages.push((part, index, properties.id.clone()));
        Ok(())
    }

    /// The part of a queue or topic.
    fn part(&mut self, place: &Place) -> Result<usize, Failed> {
        let core = self.client.core();
        if !Arc::ptr_eq(core, place.client().core()) {
            let text = "the queue or topic belongs to another client";
            return Err(Failure::coded(ErrorCode::InvalidArgument, text));
        }
        let destination = core.destination(place.checked()?);
        let is_this = |part: &Part| Arc::ptr_eq(&part.destination, &destination);
        if let Some(known) = self.parts.iter().position(is_this) {
            return Ok(known);
        }
        if self.parts.len() >= ATOMIC_PARTS_MAX as usize {
            let text = format!("an atomic group has at most {ATOMIC_PARTS_MAX} queues and topics");
            return Err(Failure::coded(ErrorCode::InvalidArgument, text));
        }
        self.parts.push(Part::new(destination, core.spare_builder()));
        Ok(self.parts.len() - 1)
    }
}

impl fmt::Debug for Atomic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Atomic")
            .field("messages", &self.messages.len())
            .field("settles", &self.settles.len())
            .finish_non_exhaustive()
    }
}
