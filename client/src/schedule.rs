//! Recurring messages: the broker publishes them by itself, again and again.

use std::fmt;
use std::future::IntoFuture;
use std::time::SystemTime;

use bytes::Bytes;
use posthaste_protocol::cron::Recurrence;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::names::Name;
use posthaste_protocol::schedule::{ScheduleCall, ScheduleReply};
use posthaste_protocol::{BatchBuilder, Record, Request, Response, destination_seed};

use crate::client::Client;
use crate::codec::Codec;
use crate::declare::BoxFuture;
use crate::error::{DeclareError, Failed, Failure, Local, RequestError};
use crate::options::{Declared, time_of};
use crate::place::{Place, unexpected};
use crate::publish::Properties;

/// A message that is to recur; see [`Publish::recurring`](crate::Publish::recurring). Awaiting it stores the schedule:
/// then it publishes at its times until it is canceled, whether this client lives or not.
///
/// Setting the same again changes nothing; setting it otherwise replaces it. A time that passes while the broker is
/// away, or while the queue or disk is full, publishes as soon as it can, once, however many passed.
///
/// *Errors*: [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such queue or topic;
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a recurrence, zone or message that cannot recur.
///
/// *Cancel safety*: a dropped future may or may not have set it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::Bytes;
/// let reports = client.queue("reports");
/// reports.declare().await?;
/// let nightly = Bytes::from("all shops");
/// let set = reports
///     .publish(&nightly)
///     .recurring("nightly-report", "30 2 * * mon-fri")
///     .zone("Europe/Berlin")
///     .await?;
/// println!("next at {:?}", set.next);
/// # Ok(()) }
/// ```
#[must_use = "nothing is set until this is awaited"]
pub struct Recurring<'a, T> {
    place: &'a Place,
    codec: Codec<T>,
    message: &'a T,
    properties: Properties,
    name: String,
    when: String,
    zone: String,
}

/// What came of setting a schedule.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # let jobs = client.queue("jobs");
/// # jobs.declare().await?;
/// let tick = posthaste::Bytes::from("tick");
/// let set = jobs.publish(&tick).recurring("tick", "@every 10m").await?;
/// assert_eq!(set.declared, posthaste::Declared::Created);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleSet {
    /// Created, updated or unchanged.
    pub declared: Declared,
    /// When it is due next.
    pub next: SystemTime,
}

impl<'a, T> Recurring<'a, T> {
    pub(crate) fn new(
        (place, codec, message): (&'a Place, Codec<T>, &'a T),
        properties: Properties,
        name: String,
        when: String,
    ) -> Self {
        Self { place, codec, message, properties, name, when, zone: "UTC".to_owned() }
    }

    /// The time zone of the times, by its IANA name; UTC if not said.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = zone.into();
        self
    }

    fn call(self) -> Result<(Client, Request), Failed> {
        let to = self.place.checked()?.clone();
        let name = Name::try_from(&*self.name).map_err(|_refused| {
            Failure::coded(ErrorCode::InvalidName, format!("{:?} is not a name", self.name))
        })?;
        Recurrence::parse(&self.when).map_err(|error| {
            let text = format!("{:?} is no recurrence: {error}", self.when);
            Failure::coded(ErrorCode::InvalidArgument, text)
        })?;
        let batch = pack(&to, self.codec, self.message, &self.properties)?;
        let client = self.place.client().clone();
        let call = ScheduleCall::Set { name, to, when: self.when, zone: self.zone, batch };
        Ok((client, Request::Schedule(call)))
    }
}

/// A batch of one record. It carries no time, so that the same message is always the same bytes.
fn pack<T>(to: &Name, codec: Codec<T>, message: &T, with: &Properties) -> Result<Bytes, Failed> {
    let mut encoded = Vec::new();
    let value = match codec.borrow {
        Some(borrow) => borrow(message),
        None => {
            (codec.encode)(message, &mut encoded).map_err(|error| {
                Failure::local(Local::Encode, format!("the payload cannot be encoded: {error}"))
            })?;
            &encoded
        }
    };
    let headers: Vec<_> = with.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let record = Record {
        value,
        key: with.key.as_deref(),
        headers: &headers,
        not_before_ms: with.not_before_ms,
        expires_ms: with.expires_ms,
        priority: with.priority,
        id: with.id.as_deref(),
    };
    let mut builder = BatchBuilder::new();
    builder.push(&record).map_err(|error| Failure::coded(error.code(), error.to_string()))?;
    Ok(builder.finish(destination_seed(to), 0, 0, 0))
}

impl<'a, T: Sync> IntoFuture for Recurring<'a, T> {
    type Output = Result<ScheduleSet, DeclareError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let call = self.call();
        Box::pin(async move {
            let (client, request) = call?;
            match client.core().call(request).await? {
                Response::Schedule(ScheduleReply::Set { declared, next_ms }) => {
                    Ok(ScheduleSet { declared: declared.into(), next: time_of(next_ms) })
                }
                other => Err(unexpected("set schedule", &other).into()),
            }
        })
    }
}

impl<T> fmt::Debug for Recurring<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recurring")
            .field("name", &self.name)
            .field("to", &self.place)
            .field("when", &self.when)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

/// A schedule; see [`Client::schedules`](crate::Client::schedules).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// let late = client.schedules().await?.into_iter().filter(|one| one.waits_for.is_some()).count();
/// # assert_eq!(late, 0);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// The queue or topic that it publishes to.
    pub to: String,
    /// When, as it was given.
    pub when: String,
    /// The time zone of that.
    pub zone: String,
    /// When it is due next.
    pub next: SystemTime,
    /// When it published last.
    pub last: Option<SystemTime>,
    /// Messages published.
    pub published: u64,
    /// Why it is late.
    pub waits_for: Option<String>,
}

impl From<posthaste_protocol::schedule::ScheduleInfo> for ScheduleInfo {
    fn from(info: posthaste_protocol::schedule::ScheduleInfo) -> Self {
        Self {
            name: info.name.to_string(),
            to: info.to.to_string(),
            when: info.when,
            zone: info.zone,
            next: time_of(info.next_ms),
            last: Some(info.last_ms).filter(|ms| *ms > 0).map(time_of),
            published: info.published,
            waits_for: Some(info.waits_for).filter(|why| !why.is_empty()),
        }
    }
}

impl Client {
    /// All schedules, in name order.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// for one in client.schedules().await? {
    ///     println!("{}: {} to {}, next {:?}", one.name, one.when, one.to, one.next);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn schedules(&self) -> Result<Vec<ScheduleInfo>, RequestError> {
        let mut all = Vec::new();
        let mut after: Option<Name> = None;
        loop {
            let call = ScheduleCall::List { after: after.clone(), limit: 1_000 };
            match self.core().call(Request::Schedule(call)).await? {
                Response::Schedule(ScheduleReply::Listed { items, more }) => {
                    after = items.last().map(|item| item.name.clone());
                    all.extend(items.into_iter().map(ScheduleInfo::from));
                    if !more || after.is_none() {
                        return Ok(all);
                    }
                }
                other => return Err(unexpected("list schedules", &other).into()),
            }
        }
    }

    /// Removes a schedule. What it has published stays.
    ///
    /// *Errors*: [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # let jobs = client.queue("jobs");
    /// # jobs.declare().await?;
    /// # jobs.publish(&posthaste::Bytes::from("x")).recurring("tick", "@hourly").await?;
    /// client.cancel_schedule("tick").await?;
    /// # Ok(()) }
    /// ```
    pub async fn cancel_schedule(&self, name: &str) -> Result<(), RequestError> {
        let name = Name::try_from(name).map_err(|_refused| {
            Failure::coded(ErrorCode::InvalidName, format!("{name:?} is not a name"))
        })?;
        match self.core().call(Request::Schedule(ScheduleCall::Cancel { name })).await? {
            Response::Schedule(ScheduleReply::Canceled) => Ok(()),
            other => Err(unexpected("cancel schedule", &other).into()),
        }
    }
}
