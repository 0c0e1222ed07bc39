//! Metrics and health over HTTP. Reads only, small answers, no message ever passes here.
//!
//! `/livez`: the process answers, also while it recovers. `/readyz`: recovered and able to
//! confirm. `/metrics`: Prometheus text.

mod guests;

use crate::running::{Health, StartError};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The HTTP door; closes when dropped.
#[derive(Debug)]
pub(crate) struct Http {
    local_addr: SocketAddr,
    health: Arc<OnceLock<Watched>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    metrics: PrometheusHandle,
    health: Arc<OnceLock<Watched>>,
}

/// What readiness follows: the engine, and whether its disk takes anything.
#[derive(Debug)]
struct Watched {
    health: watch::Receiver<Health>,
    is_stalled: Arc<AtomicBool>,
}

/// Serves from now on; not ready until [`Http::serve_health`].
pub(crate) fn start(
    listener: TcpListener,
    address: SocketAddr,
    metrics: PrometheusHandle,
) -> Result<Http, StartError> {
    let local_addr =
        listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
    let health = Arc::new(OnceLock::new());
    let shared = Shared { metrics, health: Arc::clone(&health) };
    let router = Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(shared);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(guests::Guests::new(listener), router).await {
            tracing::error!(%error, "metrics and health are not served any more");
        }
    });
    Ok(Http { local_addr, health, task })
}

impl Http {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The engine runs: readiness follows it from now on.
    pub(crate) fn serve_health(
        &self,
        health: watch::Receiver<Health>,
        is_stalled: Arc<AtomicBool>,
    ) {
        self.health.get_or_init(|| Watched { health, is_stalled });
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    let is_stalled = |watched: &Watched| watched.is_stalled.load(Ordering::Relaxed);
    let watched = shared.health.get();
    match watched.map(|watched| watched.health.borrow().clone()) {
        None => (StatusCode::SERVICE_UNAVAILABLE, "recovering\n"),
        Some(Health::Running) if watched.is_some_and(is_stalled) => {
            (StatusCode::SERVICE_UNAVAILABLE, "stalled: the disk takes nothing at the moment\n")
        }
        Some(Health::Running) => (StatusCode::OK, "ready\n"),
        Some(Health::Stopped) => (StatusCode::SERVICE_UNAVAILABLE, "stopped\n"),
        Some(Health::Failed(_)) => (StatusCode::SERVICE_UNAVAILABLE, "the log failed\n"),
    }
}

async fn render(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.render())
}
