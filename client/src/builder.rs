//! The options of a client, with their defaults.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::core::Core;
use crate::declare::BoxFuture;
use crate::error::{ConnectError, Failed};
use crate::options::Backoff;
use crate::transport::{Connector, Endpoint, Transport};

/// Options of a [`Client`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// use std::time::Duration;
/// let client = posthaste::Client::builder()
///     .url("memory:")
///     .name("billing")
///     .publish_timeout(Duration::from_secs(5))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "call connect() to get the client"]
pub struct ClientBuilder {
    pub(crate) url: String,
    pub(crate) name: Option<String>,
    pub(crate) backoff: Backoff,
    pub(crate) publish_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    connector: Option<Connector>,
    #[cfg(feature = "testing")]
    pub(crate) ahead: Option<TimeAhead>,
}

/// How far the broker's time is ahead.
#[cfg(feature = "testing")]
#[derive(Clone)]
pub(crate) struct TimeAhead(pub(crate) Arc<dyn Fn() -> Duration + Send + Sync>);

#[cfg(feature = "testing")]
impl std::fmt::Debug for TimeAhead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TimeAhead")
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        let reconnect = Duration::from_millis(50)..=Duration::from_secs(5);
        Self {
            url: "posthaste://127.0.0.1:7420".to_owned(),
            name: None,
            backoff: Backoff::exponential(reconnect).jitter(),
            publish_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            connector: None,
            #[cfg(feature = "testing")]
            ahead: None,
        }
    }
}

impl ClientBuilder {
    /// Where the broker is. The default is `posthaste://127.0.0.1:7420`.
    pub fn url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    /// What the broker's log and connection list call this client. The default is the program's
    /// name.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Waits between reconnects; jitter is always added. The default is 50 ms to 5 s.
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.backoff = if backoff.jitter_percent == 0 { backoff.jitter() } else { backoff };
        self
    }

    /// How long a publish may take, reconnects included. The default is 30 s.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }

    /// How long any other request may take, reconnects included. The default is 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long one attempt to connect may take. The default is 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Reaches the broker in a way of your own instead of by the URL: through a tunnel, a proxy, or
    /// a simulated network. Called once for each connection.
    ///
    /// ```no_run
    /// # async fn demo() -> Result<(), posthaste::Error> {
    /// use posthaste::{Client, Transport};
    /// use tokio::net::UnixStream;
    /// let client = Client::builder()
    ///     .connector(|| {
    ///         Box::pin(async {
    ///             let stream = UnixStream::connect("/run/posthaste").await?;
    ///             Ok(Box::new(stream) as Box<dyn Transport>)
    ///         })
    ///     })
    ///     .connect()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn connector<F>(mut self, connect: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, io::Result<Box<dyn Transport>>> + Send + Sync + 'static,
    {
        self.connector = Some(Connector(Arc::new(connect)));
        self
    }

    /// The broker's time is ahead of the system's by what this says: what is given by how far off
    /// it is (`delay`, `ttl`) is reckoned from there. For tests with `posthaste-testing`.
    ///
    /// ```
    /// use std::time::Duration;
    /// let builder = posthaste::Client::builder().time_ahead(|| Duration::from_secs(60));
    /// ```
    #[cfg(feature = "testing")]
    pub fn time_ahead(mut self, ahead: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.ahead = Some(TimeAhead(Arc::new(ahead)));
        self
    }

    /// Connects; fails if the broker cannot be reached now.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let client = self.connect_lazy()?;
        client.core().first_connection().await?;
        Ok(client)
    }

    /// A client that goes on trying until the broker is there; publishes wait meanwhile. Fails only
    /// if the URL cannot be read. Must be called inside a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// let client = posthaste::Client::builder().url("posthaste://db1").connect_lazy()?;
    /// # Ok(()) }
    /// ```
    pub fn connect_lazy(mut self) -> Result<Client, ConnectError> {
        self.name = Some(self.shown_name());
        Ok(Client::new(Core::start(self)?))
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint, Failed> {
        match &self.connector {
            Some(connector) => Ok(Endpoint::Custom(connector.clone())),
            None => Endpoint::parse(&self.url),
        }
    }

    /// The given name, or the program's.
    pub(crate) fn shown_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let program = std::env::current_exe().ok();
            let name = program.as_deref().and_then(Path::file_name);
            name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        })
    }
}
