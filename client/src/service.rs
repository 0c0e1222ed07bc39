//! Serving: a handler that answers the requests for a service, several at a time.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_protocol::limits::SERVICE_IN_FLIGHT_MAX;
use posthaste_protocol::names::Name;
use posthaste_protocol::service::Answer;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::client::Client;
use crate::codec::Codec;
use crate::core::{Arrived, Core, NewService, Outgoing, bounded_reason};
use crate::error::ConsumeError;
use crate::request::{RequestContext, checked, pack, unpack};

/// Requests worked on at once, unless said otherwise.
const CONCURRENCY: usize = 16;

/// Something that names a service: a plain string (JSON on both ways; feature `json`) or a
/// [`ServiceOf`].
///
/// ```
/// use posthaste::{ServiceName, ServiceOf};
/// const QUOTE: ServiceOf<u64, u64> = ServiceOf::new("pricing.quote");
/// fn named<N: ServiceName<u64, u64>>(name: N) -> String {
///     name.name().to_owned()
/// }
/// assert_eq!(named(QUOTE), named("pricing.quote"));
/// ```
pub trait ServiceName<Req, Resp> {
    /// The service's name.
    fn name(&self) -> &str;
    /// How requests and replies become bytes.
    fn codecs(&self) -> (Codec<Req>, Codec<Resp>);
}

#[cfg(feature = "json")]
impl<Req, Resp> ServiceName<Req, Resp> for &str
where
    Req: serde::Serialize + serde::de::DeserializeOwned,
    Resp: serde::Serialize + serde::de::DeserializeOwned,
{
    fn name(&self) -> &str {
        self
    }

    fn codecs(&self) -> (Codec<Req>, Codec<Resp>) {
        (Codec::json(), Codec::json())
    }
}

/// A service's name, and what travels to and from it. Keep it in a crate that both sides depend on.
///
/// ```
/// use posthaste::ServiceOf;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Ask {
///     sku: u64,
/// }
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Quote {
///     cents: u64,
/// }
/// const QUOTE: ServiceOf<Ask, Quote> = ServiceOf::new("pricing.quote");
/// let plain = ServiceOf::raw("pricing.quote"); // bytes on both ways
/// ```
pub struct ServiceOf<Req, Resp> {
    name: Cow<'static, str>,
    request: Codec<Req>,
    reply: Codec<Resp>,
}

#[cfg(feature = "json")]
impl<Req, Resp> ServiceOf<Req, Resp>
where
    Req: serde::Serialize + serde::de::DeserializeOwned,
    Resp: serde::Serialize + serde::de::DeserializeOwned,
{
    /// JSON on both ways.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), request: Codec::json(), reply: Codec::json() }
    }
}

impl<Req, Resp> ServiceOf<Req, Resp> {
    /// As the codecs write it.
    ///
    /// ```
    /// use posthaste::{Bytes, Codec, ServiceOf};
    /// const THUMBNAIL: ServiceOf<Bytes, Bytes> =
    ///     ServiceOf::with_codecs("images.thumbnail", Codec::raw(), Codec::raw());
    /// ```
    #[must_use]
    pub const fn with_codecs(name: &'static str, request: Codec<Req>, reply: Codec<Resp>) -> Self {
        Self { name: Cow::Borrowed(name), request, reply }
    }
}

impl ServiceOf<Bytes, Bytes> {
    /// Bytes as they are, on both ways.
    #[must_use]
    pub fn raw(name: impl Into<String>) -> Self {
        Self { name: Cow::Owned(name.into()), request: Codec::raw(), reply: Codec::raw() }
    }
}

impl<Req, Resp> ServiceName<Req, Resp> for ServiceOf<Req, Resp> {
    fn name(&self) -> &str {
        &self.name
    }

    fn codecs(&self) -> (Codec<Req>, Codec<Resp>) {
        (self.request, self.reply)
    }
}

impl<Req, Resp> Clone for ServiceOf<Req, Resp> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), request: self.request, reply: self.reply }
    }
}

impl<Req, Resp> fmt::Debug for ServiceOf<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceOf").field(&self.name).finish()
    }
}

/// Why a handler gives no reply. The requester reads the text. Any error becomes one with `?`.
///
/// ```
/// use posthaste::ServiceError;
/// let refused = ServiceError::new("no such order");
/// let failed: ServiceError = std::io::Error::other("the price list is gone").into();
/// assert_eq!(failed.reason(), "the price list is gone");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    reason: String,
}

impl ServiceError {
    /// A refusal in these words; beyond 1,000 bytes they are cut off.
    #[must_use]
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: bounded_reason(reason.to_string()) }
    }

    /// The words.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl<E: std::error::Error> From<E> for ServiceError {
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// An instance of a service to be; see [`Client::service`].
#[must_use = "nothing is served until serve() is awaited"]
pub struct Service<Req, Resp> {
    client: Client,
    name: String,
    request: Codec<Req>,
    reply: Codec<Resp>,
    concurrency: usize,
}

impl<Req, Resp> Service<Req, Resp> {
    pub(crate) fn new(client: Client, name: &str, codecs: (Codec<Req>, Codec<Resp>)) -> Self {
        let (request, reply) = codecs;
        Self { client, name: name.to_owned(), request, reply, concurrency: CONCURRENCY }
    }

    /// Requests worked on at once, 1 to 1,024. The default is 16. More than that wait at the broker,
    /// or go to other instances.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }
}

impl<Req, Resp> Service<Req, Resp>
where
    Req: Send + 'static,
    Resp: Send + Sync + 'static,
{
    /// Answers requests until `shutdown` is ready; then takes no more, finishes those at work, and
    /// returns. Instances of the same name, in this process and in others, get requests in turn.
    /// A broken connection is repaired, and the service goes on.
    ///
    /// Each request runs as a task of its own. Its future is dropped when the requester's time is
    /// over, because nobody waits for it any more. A handler that fails or panics fails its request
    /// only.
    ///
    /// *Errors*: the broker does not take the service, or the client is closed.
    ///
    /// *Cancel safety*: dropping the future stops serving; requests at work are aborted, and their
    /// requesters are told.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// use posthaste::ServiceError;
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let service = client.service("pricing.quote").concurrency(32);
    /// let serving = tokio::spawn(service.serve(
    ///     async { drop(stopped.await) },
    ///     |sku: u64, _context| async move {
    ///         if sku == 0 {
    ///             return Err(ServiceError::new("there is no article 0"));
    ///         }
    ///         Ok(sku * 99)
    ///     },
    /// ));
    /// # while client.services().await?.is_empty() {}
    /// let cents: u64 = client.request("pricing.quote", &7_u64).await?;
    /// assert_eq!(cents, 693);
    /// drop(stop);
    /// # serving.await.unwrap()?;
    /// # Ok(()) }
    /// ```
    pub async fn serve<F, Fut>(
        self,
        shutdown: impl Future<Output = ()>,
        handler: F,
    ) -> Result<(), ConsumeError>
    where
        F: Fn(Req, RequestContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, ServiceError>> + Send + 'static,
    {
        let in_flight_max = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        let in_flight_max = in_flight_max.clamp(1, SERVICE_IN_FLIGHT_MAX);
        let name = checked(&self.name)?;
        let core = Arc::clone(self.client.core());
        let (requests, mut arriving) = mpsc::channel(in_flight_max as usize);
        let (opened, is_open) = oneshot::channel();
        let id = core.next_service();
        let new = NewService { name: name.clone(), id, in_flight_max, requests, opened };
        let leaving = Leaving { core: Arc::clone(&core), name: name.clone(), id };
        core.serve(new, is_open).await?;
        let handler = Arc::new(Handler {
            service: name.as_str().into(),
            name,
            core,
            request: self.request,
            reply: self.reply,
            handle: handler,
        });
        let mut at_work = JoinSet::new();
        let mut leaving = Some(leaving);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                arrived = arriving.recv() => match arrived {
                    Some(arrived) => {
                        at_work.spawn(Arc::clone(&handler).work(arrived));
                    }
                    // The broker sends no more, or the client was closed.
                    None => break,
                },
                () = &mut shutdown, if leaving.is_some() => leaving = None,
                Some(_done) = at_work.join_next() => {}
            }
        }
        while at_work.join_next().await.is_some() {}
        match leaving {
            None => Ok(()),
            Some(_) => Err(crate::core::closed().into()),
        }
    }
}

impl<Req, Resp> fmt::Debug for Service<Req, Resp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

/// Leaves the service when dropped.
struct Leaving {
    core: Arc<Core>,
    name: Name,
    id: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.core.leave(self.name.clone(), self.id);
    }
}

struct Handler<F, Req, Resp> {
    service: Arc<str>,
    name: Name,
    core: Arc<Core>,
    request: Codec<Req>,
    reply: Codec<Resp>,
    handle: F,
}

impl<F, Fut, Req, Resp> Handler<F, Req, Resp>
where
    F: Fn(Req, RequestContext) -> Fut,
    Fut: Future<Output = Result<Resp, ServiceError>>,
{
    async fn work(self: Arc<Self>, arrived: Arrived) {
        let Arrived { requested, deadline, generation } = arrived;
        let mut answering = Answering {
            core: Arc::clone(&self.core),
            name: self.name.clone(),
            ticket: requested.ticket,
            generation,
            answer: Answer::Failed { reason: "the handler panicked or was stopped".into() },
        };
        let handled = tokio::time::timeout_at(deadline, self.handle(requested.batch, deadline));
        answering.answer = match handled.await {
            Ok(Ok(batch)) => Answer::Done(batch),
            Ok(Err(ServiceError { reason })) => Answer::Failed { reason },
            Err(_elapsed) => Answer::Failed { reason: "not done within the time given".into() },
        };
    }

    async fn handle(
        &self,
        batch: Bytes,
        deadline: tokio::time::Instant,
    ) -> Result<Bytes, ServiceError> {
        let failed = |failure: crate::error::Failed| ServiceError::new(failure);
        let record = Arc::new(unpack(&self.name, batch).map_err(failed)?);
        let request = (self.request.decode)(record.value.clone()).map_err(|error| {
            ServiceError::new(format_args!("the request cannot be read: {error}"))
        })?;
        let service = Arc::clone(&self.service);
        let context = RequestContext { service, deadline, record };
        let reply = (self.handle)(request, context).await?;
        pack(&self.name, self.reply, &reply, &[]).map_err(failed)
    }
}

/// A request that is answered when this is dropped, whatever happens.
struct Answering {
    core: Arc<Core>,
    name: Name,
    ticket: u64,
    generation: u64,
    answer: Answer,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let empty = Answer::Failed { reason: String::new() };
        self.core.answer(Outgoing {
            name: self.name.clone(),
            ticket: self.ticket,
            generation: self.generation,
            answer: std::mem::replace(&mut self.answer, empty),
        });
    }
}
