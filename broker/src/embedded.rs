//! The same broker inside another process, without sockets.

use crate::config::Config;
use crate::engine::run::EngineError;
use crate::listen::Door;
use crate::running::{Running, StartError};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::DuplexStream;

/// Bytes that fit between a client and the broker in one direction.
const PIPE_BYTES: usize = 256 << 10;

/// A broker in this process. Must be used inside the tokio runtime that started it.
#[derive(Debug)]
pub struct Embedded {
    running: Running,
}

impl Embedded {
    /// A broker that keeps everything in memory: for tests and demonstrations.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn memory() -> Result<Embedded, StartError> {
        Embedded::start(Config { in_memory: true, ..Config::default() }).await
    }

    /// A durable broker with its data in `data_dir`, which is created if missing.
    ///
    /// # Errors
    /// See [`StartError`]; another process may hold the directory.
    pub async fn open(data_dir: impl Into<PathBuf>) -> Result<Embedded, StartError> {
        Embedded::start(Config { data_dir: data_dir.into(), ..Config::default() }).await
    }

    /// A broker with these settings; addresses are ignored.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Embedded, StartError> {
        Ok(Embedded { running: Running::start(&config, None).await? })
    }

    /// A new connection, as a client sees it.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        pipe(&self.running.door)
    }

    /// Orderly stop; see [`crate::Broker::shutdown`].
    ///
    /// # Errors
    /// The log failed on the way; what was confirmed is kept.
    pub async fn shutdown(self) -> Result<(), Arc<EngineError>> {
        self.running.stop().await
    }
}

/// A connection through a door of this process.
pub(crate) fn pipe(door: &Door) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let (reader, writer) = tokio::io::split(ours);
    door.admit(reader, writer, None);
    theirs
}
