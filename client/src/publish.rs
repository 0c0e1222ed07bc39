//! One publish: a builder that is its own future. Awaited once, it means stored.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use crate::codec::Codec;
use crate::declare::BoxFuture;
use crate::error::{Failed, Failure, Local, PublishError};
use crate::options::unix_ms;
use crate::place::Place;
use crate::producer::Confirm;
use crate::schedule::Recurring;
use crate::send::{send, try_send};
use crate::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};

/// What a message can carry besides its payload. The options of [`Publish`], as a value, for
/// [`Producer::send_with`](crate::Producer::send_with).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # let producer = client.queue("orders").producer().build();
/// use posthaste::{Bytes, Properties};
/// let properties = Properties::new().key("customer-42").header("trace", "00-ab");
/// let _confirm = producer.send_with(&Bytes::from("order 7"), &properties).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) id: Option<String>,
    pub(crate) not_before_ms: Option<u64>,
    /// Which times were given by how far off they are.
    pub(crate) is_delay: bool,
    pub(crate) is_ttl: bool,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) priority: Option<u8>,
    /// Of one publish: the offset that it must get.
    pub(crate) expects: Option<u64>,
}

impl Properties {
    /// None of them.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The ordering key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The application's own id of the message. Where the queue or topic has an id window
    /// ([`DeclareQueue::id_window`](crate::DeclareQueue::id_window)), a message is stored once under it.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Deliver it no earlier than this long from now.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        let now = SystemTime::now();
        let mut properties = self.at(now.checked_add(delay).unwrap_or(now));
        properties.is_delay = true;
        properties
    }

    /// Deliver it no earlier than this.
    #[must_use]
    pub fn at(mut self, time: SystemTime) -> Self {
        // Rounded up: never earlier than asked for.
        let rounded = time.checked_add(Duration::from_nanos(999_999)).unwrap_or(time);
        self.not_before_ms = Some(unix_ms(rounded));
        self.is_delay = false;
        self
    }

    /// It is of no use after this long from now.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        let now = SystemTime::now();
        self.expires_ms = Some(unix_ms(now.checked_add(ttl).unwrap_or(now)));
        self.is_ttl = true;
        self
    }

    /// Its priority; it travels with the message.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The trace it belongs to, in place of one that was set before; `None` leaves that as it is.
    #[must_use]
    pub fn trace(mut self, trace: impl Into<Option<TraceContext>>) -> Self {
        if let Some(trace) = trace.into() {
            self.headers.retain(|(name, _)| name != TRACEPARENT && name != TRACESTATE);
            self.headers.push((TRACEPARENT.to_owned(), trace.to_string()));
            let state = trace.state().map(|state| (TRACESTATE.to_owned(), state.to_owned()));
            self.headers.extend(state);
        }
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a message is stored.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// let receipt = client.queue("orders").publish(&posthaste::Bytes::from("7")).id("order-7").await?;
/// assert_eq!(receipt.id.as_deref(), Some("order-7"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The id it was published under, if one was given.
    pub id: Option<String>,
    /// Its number in the queue or topic; `u64::MAX` for a duplicate whose place is forgotten.
    pub position: u64,
    /// It had been stored already: this was a resend after a broken connection, or the same message was
    /// published under its id within the window.
    pub duplicate: bool,
}

/// One message on its way; see [`Queue::publish`](crate::Queue::publish). Awaiting it publishes,
/// and gives the [`Receipt`] once the message is stored.
///
/// If the connection is broken it waits for the next one, up to the client's publish timeout; then
/// it fails with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout). It never says stored falsely.
///
/// *Cancel safety*: a dropped future may or may not have published.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// use posthaste::Bytes;
/// use std::time::Duration;
/// let orders = client.queue("orders");
/// let reminder = Bytes::from("order 7 is due");
/// orders.publish(&reminder).delay(Duration::from_secs(600)).header("source", "shop").await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is sent until this is awaited"]
pub struct Publish<'a, T> {
    place: &'a Place,
    codec: Codec<T>,
    message: &'a T,
    properties: Properties,
}

impl<'a, T> Publish<'a, T> {
    pub(crate) fn new(place: &'a Place, codec: Codec<T>, message: &'a T) -> Self {
        Self { place, codec, message, properties: Properties::default() }
    }

    /// The ordering key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.properties = self.properties.key(key);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties = self.properties.header(name, value);
        self
    }

    /// The application's own id of the message. Where the queue or topic has an id window
    /// ([`DeclareQueue::id_window`](crate::DeclareQueue::id_window)), a message is stored once under it: within
    /// the window a second publish gets the receipt of the first, and another message under that id is
    /// [`ErrorKind::IdConflict`](crate::ErrorKind::IdConflict).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # use std::time::Duration;
    /// let orders = client.queue("orders");
    /// orders.declare().id_window(Duration::from_secs(3600)).await?;
    /// let order = posthaste::Bytes::from("7");
    /// let first = orders.publish(&order).id("order-7").await?;
    /// let again = orders.publish(&order).id("order-7").await?;
    /// assert!(again.duplicate && again.position == first.position);
    /// # Ok(()) }
    /// ```
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.properties = self.properties.id(id);
        self
    }

    /// Deliver it no earlier than this long from now.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.properties = self.properties.delay(delay);
        self
    }

    /// Deliver it no earlier than this.
    pub fn at(mut self, time: SystemTime) -> Self {
        self.properties = self.properties.at(time);
        self
    }

    /// It is of no use after this long from now.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.properties = self.properties.ttl(ttl);
        self
    }

    /// Its priority; it travels with the message.
    pub fn priority(mut self, priority: u8) -> Self {
        self.properties = self.properties.priority(priority);
        self
    }

    /// The [trace](TraceContext) it belongs to; `None` is none.
    pub fn trace(mut self, trace: impl Into<Option<TraceContext>>) -> Self {
        self.properties = self.properties.trace(trace);
        self
    }

    /// All of the above at once, in place of what was set before.
    pub fn properties(mut self, properties: Properties) -> Self {
        let expects = self.properties.expects;
        self.properties = Properties { expects, ..properties };
        self
    }

    /// Store it only if the message at this position is the last of the queue or topic; else it is
    /// [`ErrorKind::OffsetMismatch`](crate::ErrorKind::OffsetMismatch), which tells the position of the last.
    /// Who decides on what has been read before, and publishes so, overlooks nobody else's message.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// use posthaste::{Bytes, ErrorKind};
    /// let account = client.topic("account-7");
    /// account.declare().await?;
    /// let opened = account.publish(&Bytes::from("opened")).if_empty().await?;
    /// account.publish(&Bytes::from("paid 5")).if_last(opened.position).await?;
    /// let late = account.publish(&Bytes::from("closed")).if_last(opened.position).await;
    /// assert!(late.is_err_and(|error| error.kind() == ErrorKind::OffsetMismatch));
    /// # Ok(()) }
    /// ```
    pub fn if_last(mut self, position: u64) -> Self {
        self.properties.expects = Some(position.saturating_add(1));
        self
    }

    /// Store it only if nothing was ever published to the queue or topic.
    pub fn if_empty(mut self) -> Self {
        self.properties.expects = Some(0);
        self
    }

    /// Not once but again and again, by the broker itself: a schedule of this name. `when` is a line as in a crontab
    /// (`30 2 * * mon-fri`), a nickname (`@daily`) or an interval (`@every 10m`). A recurring message has no id, delay or
    /// time to live. See [`Recurring`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # let jobs = client.queue("jobs");
    /// # jobs.declare().await?;
    /// let tick = posthaste::Bytes::from("tick");
    /// jobs.publish(&tick).header("kind", "tick").recurring("tick", "@every 10m").await?;
    /// # Ok(()) }
    /// ```
    pub fn recurring(self, name: impl Into<String>, when: impl Into<String>) -> Recurring<'a, T> {
        let what = (self.place, self.codec, self.message);
        Recurring::new(what, self.properties, name.into(), when.into())
    }
}

impl<T> fmt::Debug for Publish<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("to", &self.place)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

impl<'a, T: Sync> IntoFuture for Publish<'a, T> {
    type Output = Result<Receipt, PublishError>;
    type IntoFuture = Publishing<'a, T>;

    fn into_future(self) -> Publishing<'a, T> {
        Publishing { state: State::Begun(self) }
    }
}

/// The future of a [`Publish`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// use posthaste::{Bytes, Publishing};
/// let (orders, body) = (client.queue("orders"), Bytes::from("7"));
/// let publishing: Publishing<'_, Bytes> = orders.publish(&body).into_future();
/// publishing.await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is sent until this is awaited"]
pub struct Publishing<'a, T> {
    state: State<'a, T>,
}

enum State<'a, T> {
    Begun(Publish<'a, T>),
    /// Too much is in flight; rare enough for a box.
    Waiting(BoxFuture<'a, Result<Confirm, Failed>>),
    Sent(Confirm),
    Done,
}

impl<T> fmt::Debug for Publishing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Begun(_) => "begun",
            State::Waiting(_) => "waiting",
            State::Sent(_) => "sent",
            State::Done => "done",
        };
        f.debug_tuple("Publishing").field(&state).finish()
    }
}

impl<T> Unpin for Publishing<'_, T> {}

impl<T: Sync> Future for Publishing<'_, T> {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.state {
                State::Begun(_) => {
                    let State::Begun(publish) = std::mem::replace(&mut self.state, State::Done)
                    else {
                        continue;
                    };
                    self.state = publish.begin()?;
                }
                State::Waiting(waiting) => match waiting.as_mut().poll(cx) {
                    Poll::Ready(confirm) => self.state = State::Sent(confirm?),
                    Poll::Pending => return Poll::Pending,
                },
                State::Sent(confirm) => return Pin::new(confirm).poll(cx),
                State::Done => {
                    let failure = Failure::local(Local::Closed, "this publish failed before");
                    return Poll::Ready(Err(failure.into()));
                }
            }
        }
    }
}

impl<'a, T: Sync> Publish<'a, T> {
    fn begin(self) -> Result<State<'a, T>, Failed> {
        let lane = self.place.shared_lane()?;
        let properties = Some(&self.properties).filter(|properties| !properties.is_empty());
        if let Some(confirm) = try_send(lane, self.codec, self.message, properties)? {
            return Ok(State::Sent(confirm));
        }
        let waiting = async move {
            let properties = Some(&self.properties);
            send(self.place.shared_lane()?, self.codec, self.message, properties).await
        };
        Ok(State::Waiting(Box::pin(waiting)))
    }
}
