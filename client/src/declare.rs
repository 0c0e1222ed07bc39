//! Declaring: builders that become one request when awaited.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use posthaste_protocol::request::{Kind, Settings};
use posthaste_protocol::{Request, Response};

use crate::error::{DeclareError, Failed};
use crate::options::{Backoff, Declared, Start, whole_ms, whole_ms_u32};
use crate::place::{GroupPlace, Place, unexpected};

/// A future in a box; what builders turn into where speed does not matter.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

async fn declare(place: &Place, request: Request) -> Result<Declared, DeclareError> {
    match place.call(request).await? {
        Response::Declared { declared, .. } => Ok(declared.into()),
        other => Err(unexpected("declare", &other).into()),
    }
}

fn set_retry(
    settings: &mut Settings,
    Backoff { min, max, factor_percent, jitter_percent }: Backoff,
) {
    settings.retry_min_ms = Some(whole_ms_u32(min));
    settings.retry_max_ms = Some(whole_ms_u32(max));
    settings.retry_factor_percent = Some(factor_percent);
    settings.retry_jitter_percent = Some(jitter_percent);
}

/// Creates or changes a queue; see [`Queue::declare`](crate::Queue::declare).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::Backoff;
/// use std::time::Duration;
/// let second = Duration::from_secs(1);
/// let retry = Backoff::exponential(second..=600 * second);
/// client.queue("orders").declare().max_attempts(8).retry(retry).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is declared until this is awaited"]
pub struct DeclareQueue {
    place: Place,
    settings: Settings,
}

impl DeclareQueue {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, settings: Settings::default() }
    }

    /// Attempts before a message becomes a dead letter.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = Some(attempts);
        self
    }

    /// How long a consumer may hold a message without renewing; the client renews by itself.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease_ms = Some(whole_ms_u32(lease));
        self
    }

    /// How long a message can be held at most, however often its lease is
    /// renewed; then it goes back, one attempt later. Zero sets no limit; the default is an hour, or the lease if that is longer.
    pub fn max_hold(mut self, time: Duration) -> Self {
        self.settings.max_hold_ms = Some(whole_ms_u32(time));
        self
    }

    /// Waits before a retry that names no time of its own.
    pub fn retry(mut self, backoff: Backoff) -> Self {
        set_retry(&mut self.settings, backoff);
        self
    }

    /// Refuse publishes beyond this many unsettled messages.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.settings.max_messages = Some(messages);
        self
    }

    /// Store a message that was published under an id less than this ago once: later publishes of it get the
    /// receipt of the first. Zero, the default, remembers no ids; else 1 s to 30 days. The broker keeps some 60
    /// bytes for each id.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// use std::time::Duration;
    /// client.queue("orders").declare().id_window(Duration::from_secs(3600)).await?;
    /// # Ok(()) }
    /// ```
    pub fn id_window(mut self, window: Duration) -> Self {
        self.settings.id_window_ms = Some(whole_ms(window));
        self
    }
}

impl IntoFuture for DeclareQueue {
    type Output = Result<Declared, DeclareError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let name = self.place.checked()?.clone();
            let settings = self.settings;
            declare(&self.place, Request::Declare { kind: Kind::Queue, name, settings }).await
        })
    }
}

/// Creates or changes a topic; see [`Topic::declare`](crate::Topic::declare).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// client.topic("orders.events").declare().retain_bytes(10 << 30).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is declared until this is awaited"]
pub struct DeclareTopic {
    place: Place,
    settings: Settings,
}

impl DeclareTopic {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, settings: Settings::default() }
    }

    /// Messages older than this may be deleted. Zero keeps them for ever.
    pub fn retain_for(mut self, time: Duration) -> Self {
        self.settings.retain_ms = Some(whole_ms(time));
        self
    }

    /// The oldest messages beyond this many bytes may be deleted. Zero sets no limit.
    pub fn retain_bytes(mut self, bytes: u64) -> Self {
        self.settings.retain_bytes = Some(bytes);
        self
    }

    /// For groups that say nothing else: attempts before a message becomes a dead letter.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = Some(attempts);
        self
    }

    /// For groups that say nothing else: how long a consumer may hold a message without renewing.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease_ms = Some(whole_ms_u32(lease));
        self
    }

    /// For groups that say nothing else: how long a message can be held at most, however often its lease is
    /// renewed; then it goes back, one attempt later. Zero sets no limit; the default is an hour, or the lease if that is longer.
    pub fn max_hold(mut self, time: Duration) -> Self {
        self.settings.max_hold_ms = Some(whole_ms_u32(time));
        self
    }

    /// For groups that say nothing else: waits before a retry.
    pub fn retry(mut self, backoff: Backoff) -> Self {
        set_retry(&mut self.settings, backoff);
        self
    }

    /// Store a message that was published under an id less than this ago once: later publishes of it get the
    /// receipt of the first. Zero, the default, remembers no ids; else 1 s to 30 days. The broker keeps some 60
    /// bytes for each id.
    pub fn id_window(mut self, window: Duration) -> Self {
        self.settings.id_window_ms = Some(whole_ms(window));
        self
    }
}

impl IntoFuture for DeclareTopic {
    type Output = Result<Declared, DeclareError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let name = self.place.checked()?.clone();
            let settings = self.settings;
            declare(&self.place, Request::Declare { kind: Kind::Topic, name, settings }).await
        })
    }
}

/// Creates or changes a group; see [`Group::declare`](crate::Group::declare).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.topic("orders.events").declare().await?;
/// client.topic("orders.events").group("billing").declare().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is declared until this is awaited"]
pub struct DeclareGroup {
    place: GroupPlace,
    start: Start,
    settings: Settings,
}

impl DeclareGroup {
    pub(crate) fn new(place: GroupPlace, start: Start) -> Self {
        Self { place, start, settings: Settings::default() }
    }

    /// Attempts before a message becomes a dead letter of this group.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = Some(attempts);
        self
    }

    /// How long a consumer may hold a message without renewing; the client renews by itself.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease_ms = Some(whole_ms_u32(lease));
        self
    }

    /// How long a message can be held at most, however often its lease is
    /// renewed; then it goes back, one attempt later. Zero sets no limit; the default is an hour, or the lease if that is longer.
    pub fn max_hold(mut self, time: Duration) -> Self {
        self.settings.max_hold_ms = Some(whole_ms_u32(time));
        self
    }

    /// Waits before a retry that names no time of its own.
    pub fn retry(mut self, backoff: Backoff) -> Self {
        set_retry(&mut self.settings, backoff);
        self
    }

    fn request(&self) -> Result<Request, Failed> {
        Ok(Request::DeclareGroup {
            topic: self.place.topic().checked()?.clone(),
            group: self.place.checked()?.clone(),
            start: self.start.to_wire(),
            settings: self.settings.clone(),
        })
    }
}

impl IntoFuture for DeclareGroup {
    type Output = Result<Declared, DeclareError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { declare(self.place.topic(), self.request()?).await })
    }
}
