//! The client: one connection, shared by all its clones, repaired behind their backs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_protocol::names::Name;
use posthaste_protocol::service::{ServiceCall, ServiceReply};
use posthaste_protocol::{Request as Wire, Response};

use crate::atomic::Atomic;
use crate::builder::ClientBuilder;
use crate::contract::{QueueName, TopicName};
use crate::core::Core;
use crate::error::{CloseError, ConnectError, Failure, Local, RequestError};
use crate::info::{BrokerInfo, BrokerStats, Description, ServiceInfo};
use crate::options::ConnState;
use crate::place::unexpected;
use crate::queue::Queue;
use crate::request::Request;
use crate::service::{Service, ServiceName};
use crate::topic::Topic;

/// The variable that [`Client::from_env`] reads.
const URL_VARIABLE: &str = "POSTHASTE_URL";

/// A connection to a broker. Cheap to clone; all clones share the connection.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// use posthaste::Client;
/// let client = Client::connect("memory:").await?;
/// let orders = client.queue("orders");
/// # client.close().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// What all clones and everything made by them hold; its end is the client's.
struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.abandon();
    }
}

impl Client {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { handle: Arc::new(Handle { core }) }
    }

    /// Connects to `posthaste://host[:port]`, or to a broker inside this process (`memory:`,
    /// `embedded:./folder`; feature `embedded`). Fails if the broker cannot be reached now; once
    /// connected, the client reconnects by itself.
    pub async fn connect(url: impl AsRef<str>) -> Result<Client, ConnectError> {
        Self::builder().url(url.as_ref()).connect().await
    }

    /// The same with the URL in the environment variable `POSTHASTE_URL`, or
    /// `posthaste://127.0.0.1:7420` if there is none.
    ///
    /// ```no_run
    /// # async fn demo() -> Result<(), posthaste::Error> {
    /// let client = posthaste::Client::from_env().await?;
    /// # Ok(()) }
    /// ```
    pub async fn from_env() -> Result<Client, ConnectError> {
        match std::env::var(URL_VARIABLE) {
            Ok(url) => Self::connect(url).await,
            Err(std::env::VarError::NotPresent) => Self::builder().connect().await,
            Err(error) => {
                let text = format!("{URL_VARIABLE} is not text");
                Err(Failure::caused(Local::InvalidUrl, text, error).into())
            }
        }
    }

    /// All options.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A queue, by a plain name (payload `Bytes`) or by its contract.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("numbers").declare().await?;
    /// use posthaste::QueueOf;
    /// const NUMBERS: QueueOf<u64> = QueueOf::new("numbers");
    /// let raw = client.queue("numbers");
    /// let typed = client.queue(NUMBERS);
    /// # Ok(()) }
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "contracts are constants, names are literals"
    )]
    pub fn queue<N: QueueName>(&self, name: N) -> Queue<N::Payload> {
        Queue::new(self.clone(), name.name(), name.codec())
    }

    /// A topic, by a plain name (payload `Bytes`) or by its contract.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.topic("orders.events").declare().await?;
    /// let events = client.topic("orders.events");
    /// # Ok(()) }
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "contracts are constants, names are literals"
    )]
    pub fn topic<N: TopicName>(&self, name: N) -> Topic<N::Payload> {
        Topic::new(self.clone(), name.name(), name.codec())
    }

    /// Asks a service, and waits for the reply of one of its instances. Live: nothing is stored, and
    /// without an instance it fails at once.
    ///
    /// ```
    /// # async fn demo(client: posthaste::Client) -> Result<(), posthaste::Error> {
    /// use std::time::Duration;
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Ask {
    ///     sku: u64,
    /// }
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Quote {
    ///     cents: u64,
    /// }
    /// let ask = Ask { sku: 7 };
    /// let quote: Quote = client.request("pricing.quote", &ask).timeout(Duration::from_secs(2)).await?;
    /// # Ok(()) }
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "contracts are constants, names are literals"
    )]
    pub fn request<'a, N, Req, Resp>(&self, service: N, request: &'a Req) -> Request<'a, Req, Resp>
    where
        N: ServiceName<Req, Resp>,
    {
        Request::new(self.clone(), service.name(), service.codecs(), request)
    }

    /// A service of which this client becomes an instance by
    /// [`serve`](crate::Service::serve).
    ///
    /// ```
    /// # async fn demo(client: posthaste::Client) -> Result<(), posthaste::Error> {
    /// use posthaste::ServiceOf;
    /// const QUOTE: ServiceOf<u64, u64> = ServiceOf::new("pricing.quote");
    /// let stopped = std::future::pending();
    /// client.service(QUOTE).serve(stopped, |sku, _context| async move { Ok(sku * 99) }).await?;
    /// # Ok(()) }
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "contracts are constants, names are literals"
    )]
    pub fn service<N, Req, Resp>(&self, service: N) -> Service<Req, Resp>
    where
        N: ServiceName<Req, Resp>,
    {
        Service::new(self.clone(), service.name(), service.codecs())
    }

    /// The services that have instances now, in name order.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// for one in client.services().await? {
    ///     println!("{}: {} instances, {} requests wait", one.name, one.instances, one.waiting);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn services(&self) -> Result<Vec<ServiceInfo>, RequestError> {
        let mut all = Vec::new();
        let mut after: Option<Name> = None;
        loop {
            let call = ServiceCall::Services { after: after.clone() };
            match self.core().call(Wire::Service(call)).await? {
                Response::Service(ServiceReply::Services { items, more }) => {
                    after = items.last().map(|item| item.name.clone());
                    all.extend(items.into_iter().map(ServiceInfo::from));
                    if !more || after.is_none() {
                        return Ok(all);
                    }
                }
                other => return Err(unexpected("services", &other).into()),
            }
        }
    }

    /// Begins an atomic group: publishes to any queues and topics and settles of deliveries, all or none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # for name in ["orders", "bills", "mail"] { client.queue(name).declare().await?; }
    /// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
    /// let (bills, mail) = (client.queue("bills"), client.queue("mail"));
    /// let mut orders = client.queue("orders").consume().await?;
    /// if let Some(order) = orders.next().await.transpose()? {
    ///     let text = order.payload().clone();
    ///     client.atomic().publish(&bills, &text).publish(&mail, &text).ack(order).commit().await?;
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use = "nothing happens until it is committed"]
    pub fn atomic(&self) -> Atomic {
        Atomic::new(self.clone())
    }

    /// How the client stands with the broker.
    #[must_use]
    pub fn state(&self) -> ConnState {
        self.handle.core.state()
    }

    /// Waits until the client is connected. Never for ever: fails when the client is closed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// let client = posthaste::Client::builder().url("memory:").connect_lazy()?;
    /// client.ready().await?;
    /// # Ok(()) }
    /// ```
    pub async fn ready(&self) -> Result<(), ConnectError> {
        Ok(self.handle.core.ready().await?)
    }

    /// Closes in order: stops consuming, gives back what was prefetched, waits until everything
    /// published is confirmed (up to the publish timeout), and says goodbye. All clones are closed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// client.close().await?;
    /// # Ok(()) }
    /// ```
    pub async fn close(self) -> Result<(), CloseError> {
        Ok(self.handle.core.close().await?)
    }

    /// Looks a name up.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// # client.queue("orders").declare().await?;
    /// println!("{:?}", client.describe("orders").await?.kind);
    /// # Ok(()) }
    /// ```
    pub async fn describe(&self, name: &str) -> Result<Description, RequestError> {
        self.queue(name).describe().await
    }

    /// All queues and topics, in name order, groups included.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// for one in client.list().await? {
    ///     println!("{:?} {}", one.kind, one.name);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn list(&self) -> Result<Vec<Description>, RequestError> {
        let mut all = Vec::new();
        let mut after: Option<Name> = None;
        loop {
            match self.core().call(Wire::List { after: after.clone(), limit: 1_000 }).await? {
                Response::Listed { items, more } => {
                    after = items.last().map(|item| item.name.clone());
                    all.extend(items.into_iter().map(Description::from));
                    if !more || after.is_none() {
                        return Ok(all);
                    }
                }
                other => return Err(unexpected("list", &other).into()),
            }
        }
    }

    /// Counters of the whole broker.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// println!("{} connections", client.stats().await?.connections);
    /// # Ok(()) }
    /// ```
    pub async fn stats(&self) -> Result<BrokerStats, RequestError> {
        match self.handle.core.call(Wire::Stats).await? {
            Response::Stats(stats) => Ok(stats.into()),
            other => Err(unexpected("stats", &other).into()),
        }
    }

    /// Asks the broker for a sign of life, and says how long it took.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// println!("{:?}", client.ping().await?);
    /// # Ok(()) }
    /// ```
    pub async fn ping(&self) -> Result<Duration, RequestError> {
        let begun = tokio::time::Instant::now();
        match self.handle.core.call(Wire::Ping(0)).await? {
            Response::Pong(_) => Ok(begun.elapsed()),
            other => Err(unexpected("ping", &other).into()),
        }
    }

    /// What is known of the broker at the other end; waits for a connection.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// println!("{}", client.broker().await?.server);
    /// # Ok(()) }
    /// ```
    pub async fn broker(&self) -> Result<BrokerInfo, RequestError> {
        Ok(self.handle.core.broker().await?)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.handle.core
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("state", &self.state()).finish_non_exhaustive()
    }
}
