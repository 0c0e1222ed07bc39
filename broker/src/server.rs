//! A broker as a server: clients over TCP, metrics and health over HTTP.

use crate::config::Config;
use crate::engine::metrics::Handles;
use crate::engine::run::EngineError;
use crate::http::{self, Http};
use crate::running::{Running, StartError, ended};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// A running broker. Dropping it without [`Broker::shutdown`] is like pulling the plug: what was
/// confirmed is kept, the next start recovers.
#[derive(Debug)]
pub struct Broker {
    running: Running,
    http: Option<Http>,
    local_addr: SocketAddr,
}

impl Broker {
    /// Starts a broker; when this returns, it accepts clients.
    ///
    /// # Errors
    /// The data directory or an address cannot be used. Nothing is left running.
    pub async fn start(config: Config) -> Result<Broker, StartError> {
        let listener = bind(config.listen).await?;
        let local_addr = listener
            .local_addr()
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let recorder = PrometheusBuilder::new().build_recorder();
        let handles = metrics::with_local_recorder(&recorder, Handles::register);
        let http = match config.http {
            Some(address) => Some(http::start(bind(address).await?, address, recorder.handle())?),
            None => None,
        };
        let running = Running::start(&config, Some(handles)).await?;
        if let Some(http) = &http {
            http.serve_health(running.health(), running.is_stalled());
        }
        running.door.listen(listener);
        Ok(Broker { running, http, local_addr })
    }

    /// Where clients connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where metrics and health are served.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(Http::local_addr)
    }

    /// One line on what was found in the data directory.
    #[must_use]
    pub fn opened(&self) -> &str {
        &self.running.summary
    }

    /// Whether recovery cut a torn tail or found damage.
    #[must_use]
    pub fn report(&self) -> &posthaste_storage::RecoveryReport {
        &self.running.report
    }

    /// Waits until the broker stops by itself, because its log failed. Cancel safe.
    pub async fn failed(&self) -> Arc<EngineError> {
        match ended(self.running.health()).await {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }

    /// Orderly stop: takes nothing new, commits what is under way, returns leases, writes a
    /// checkpoint, seals the log and closes connections.
    ///
    /// # Errors
    /// The log failed on the way; what was confirmed is kept.
    pub async fn shutdown(self) -> Result<(), Arc<EngineError>> {
        self.running.stop().await
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}
