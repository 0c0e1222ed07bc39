//! One request to a service and its reply.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use posthaste_protocol::names::Name;
use posthaste_protocol::service::{Answer, ServiceCall, ServiceReply};
use posthaste_protocol::{
    BatchBuilder, ErrorCode, Record, RecordView, Records, Request as Wire, Response,
    destination_seed, verify_batch,
};

use crate::client::Client;
use crate::codec::Codec;
use crate::declare::BoxFuture;
use crate::error::{Failed, Failure, Local, RequestError};
use crate::options::unix_ms;
use crate::place::unexpected;

/// A request on its way; see [`Client::request`]. Awaiting it sends it, and gives the reply.
///
/// Nothing is stored: a request lives as long as the connections of both sides. While there is no
/// connection to the broker it waits for the next one, within its time.
///
/// *Errors*: [`ErrorKind::NoResponder`](crate::ErrorKind::NoResponder) at once if no instance is
/// connected; [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) if there is no reply in time;
/// [`ErrorKind::Indeterminate`](crate::ErrorKind::Indeterminate) at once if the instance that had
/// it is gone; [`ErrorKind::Failed`](crate::ErrorKind::Failed) with the words of a service that
/// failed.
///
/// *Cancel safety*: a dropped future may or may not have been answered; nobody hears of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::ErrorKind;
/// use std::time::Duration;
/// let asked = client.request::<_, u64, u64>("pricing.quote", &7);
/// let error = asked.timeout(Duration::from_secs(2)).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NoResponder);
/// # Ok(()) }
/// ```
#[must_use = "nothing is sent until this is awaited"]
pub struct Request<'a, Req, Resp> {
    client: Client,
    name: String,
    request: &'a Req,
    encode: Codec<Req>,
    decode: Codec<Resp>,
    headers: Vec<(String, String)>,
    timeout: Duration,
}

impl<'a, Req, Resp> Request<'a, Req, Resp> {
    pub(crate) fn new(
        client: Client,
        name: &str,
        codecs: (Codec<Req>, Codec<Resp>),
        request: &'a Req,
    ) -> Self {
        let timeout = client.core().options().request_timeout;
        let (encode, decode) = codecs;
        let name = name.to_owned();
        Self { client, name, request, encode, decode, headers: Vec::new(), timeout }
    }

    /// Time for all of it, up to an hour. The default is the client's request timeout. The responder
    /// sees what is left of it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds a header, which the responder sees.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl<Req, Resp> fmt::Debug for Request<'_, Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("service", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl<'a, Req: Sync, Resp: 'a> IntoFuture for Request<'a, Req, Resp> {
    type Output = Result<Resp, RequestError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let prepared = self.prepare();
        let (client, decode, timeout) = (self.client, self.decode, self.timeout);
        Box::pin(async move {
            let (name, call) = prepared?;
            match client.core().ask(Wire::Service(call), timeout).await? {
                Response::Service(ServiceReply::Replied(Answer::Done(batch))) => {
                    let reply = unpack(&name, batch)?;
                    (decode.decode)(reply.value).map_err(|error| {
                        let text = format!("the reply of \"{name}\": {error}");
                        Failure::local(Local::Decode, text).into()
                    })
                }
                Response::Service(ServiceReply::Replied(Answer::Failed { reason })) => {
                    Err(Failure::coded(ErrorCode::RequestFailed, reason).into())
                }
                other => Err(unexpected("a request", &other).into()),
            }
        })
    }
}

impl<Req, Resp> Request<'_, Req, Resp> {
    fn prepare(&self) -> Result<(Name, ServiceCall), Failed> {
        let name = checked(&self.name)?;
        let batch = pack(&name, self.encode, self.request, &self.headers)?;
        Ok((name.clone(), ServiceCall::Ask { name, timeout_ms: 1, batch }))
    }
}

/// The name of a service.
pub(crate) fn checked(given: &str) -> Result<Name, Failed> {
    Name::try_from(given).map_err(|refused| {
        Failure::coded(ErrorCode::InvalidName, format!("{given:?} is not a name: {refused}"))
    })
}

/// A body as it travels: a batch of one record.
pub(crate) fn pack<T>(
    name: &Name,
    codec: Codec<T>,
    payload: &T,
    headers: &[(String, String)],
) -> Result<Bytes, Failed> {
    let mut encoded = Vec::new();
    let value = match codec.borrow {
        Some(borrow) => borrow(payload),
        None => {
            (codec.encode)(payload, &mut encoded).map_err(|error| {
                Failure::local(Local::Encode, format!("the payload cannot be encoded: {error}"))
            })?;
            &encoded
        }
    };
    let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut builder = BatchBuilder::new();
    let record = Record { value, headers: &headers, ..Record::default() };
    builder.push(&record).map_err(|error| Failure::coded(error.code(), error.to_string()))?;
    let now_us = unix_ms(SystemTime::now()).saturating_mul(1_000);
    Ok(builder.finish(destination_seed(name), 0, 0, now_us))
}

/// The record of a body that has travelled.
pub(crate) fn unpack(name: &Name, batch: Bytes) -> Result<RecordView, Failed> {
    let unreadable = |what: &dyn fmt::Display| -> Failed {
        Failure::coded(ErrorCode::ChecksumMismatch, format!("a body of \"{name}\": {what}"))
    };
    verify_batch(&batch, destination_seed(name)).map_err(|error| unreadable(&error))?;
    let mut records = Records::new(batch).map_err(|error| unreadable(&error))?;
    match records.next() {
        Some(Ok(record)) => Ok(record),
        Some(Err(error)) => Err(unreadable(&error)),
        None => Err(unreadable(&"it is empty")),
    }
}

/// What a responder knows of a request besides its payload.
///
/// ```
/// # async fn demo(client: posthaste::Client) -> Result<(), posthaste::Error> {
/// let quotes = client.service("pricing.quote");
/// quotes
///     .serve(std::future::pending(), |sku: u64, context| async move {
///         println!("{} ms left, {:?}", context.time_left().as_millis(), context.header("trace"));
///         Ok(sku * 99)
///     })
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RequestContext {
    pub(crate) service: Arc<str>,
    pub(crate) deadline: tokio::time::Instant,
    pub(crate) record: Arc<RecordView>,
}

impl RequestContext {
    /// The service that was asked.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// When the requester stops waiting, counted from the moment the request arrived here.
    #[must_use]
    pub fn deadline(&self) -> std::time::Instant {
        self.deadline.into_std()
    }

    /// How much of the requester's time is left.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(tokio::time::Instant::now())
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(one, _)| *one == name).map(|(_, value)| value)
    }

    /// All headers, in the order they were given.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.record.headers()
    }
}

impl fmt::Debug for RequestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestContext")
            .field("service", &self.service)
            .field("time_left", &self.time_left())
            .finish_non_exhaustive()
    }
}
