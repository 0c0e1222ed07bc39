//! The door for clients: accepts sockets, bounds them, and runs one task pair per connection.
//!
//! A connection task owns its socket and nothing else: it cuts frames, checks them, hands chunks
//! to the engine and writes what the engine puts into its outbox.

mod handshake;
mod reader;
mod writer;

use crate::config::Limits;
use crate::engine::directory::Directory;
use crate::engine::input::Input;
use crate::engine::outbox::outbox;
use posthaste_protocol::ErrorCode;
use posthaste_protocol::error::ErrorReply;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What every connection task shares.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    store: [u8; 16],
    engine: mpsc::Sender<Input>,
    directory: Arc<Directory>,
    ingest: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    next_connection: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Door {
    pub(crate) fn new(
        limits: Limits,
        store: [u8; 16],
        engine: mpsc::Sender<Input>,
        directory: Arc<Directory>,
    ) -> Door {
        let inner = Inner {
            store,
            engine,
            directory,
            ingest: Arc::new(Semaphore::new(limits.ingest_bytes_max)),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            handshakes: Arc::new(Semaphore::new(limits.handshakes_max)),
            next_connection: AtomicU64::new(1),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            limits,
        };
        Door { inner: Arc::new(inner) }
    }

    /// Takes clients from a listening socket until [`Door::close`].
    pub(crate) fn listen(&self, listener: TcpListener) {
        let door = self.clone();
        self.inner.tasks.spawn(async move {
            let stop = door.inner.stop.clone();
            stop.run_until_cancelled(door.accept(listener)).await;
        });
    }

    /// Takes one client over a transport that is already connected.
    pub(crate) fn admit<R, W>(&self, reader: R, writer: W, peer: String)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let permits = (
            Arc::clone(&self.inner.connections).try_acquire_owned(),
            Arc::clone(&self.inner.handshakes).try_acquire_owned(),
        );
        let door = self.clone();
        self.inner.tasks.spawn(async move {
            if let (Ok(connection), Ok(handshake)) = permits {
                let ended = door.converse(reader, writer, handshake).await;
                tracing::debug!(peer, %ended, "connection closed");
                drop(connection);
            } else {
                handshake::refuse(writer, too_many()).await;
            }
        });
    }

    /// Stops accepting; connections end when the engine drops their outboxes.
    pub(crate) fn close(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
    }

    /// Waits until every connection has ended.
    pub(crate) async fn closed(&self) {
        self.inner.tasks.wait().await;
    }

    async fn accept(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let (reader, writer) = prepared(stream).into_split();
                    self.admit(reader, writer, peer.to_string());
                }
                Err(error) => {
                    // Out of file descriptors or a peer that vanished: existing clients go on.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// One connection from preface to end; tells why it ended.
    async fn converse<R, W>(
        &self,
        mut reader: R,
        mut writer: W,
        handshake: OwnedSemaphorePermit,
    ) -> Ended
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let inner = &self.inner;
        let shaken = inner
            .stop
            .run_until_cancelled(handshake::shake(
                &mut reader,
                &mut writer,
                &inner.limits,
                inner.store,
            ))
            .await;
        drop(handshake);
        let greeted = match shaken {
            Some(Ok(greeted)) => greeted,
            Some(Err(ended)) => return ended,
            None => return Ended::ShuttingDown,
        };
        let connection = inner.next_connection.fetch_add(1, Ordering::Relaxed);
        let (outbox, drain) = outbox(inner.limits.outbound_bytes_max);
        let opened = Input::Opened { connection, outbox: outbox.clone() };
        if inner.engine.send(opened).await.is_err() {
            return Ended::ShuttingDown;
        }
        let writing = writer::write(
            writer,
            drain,
            connection,
            inner.engine.clone(),
            inner.limits.write_timeout,
        );
        let writing = inner.tasks.spawn(writing);
        let reading = reader::Reader::new(reader, greeted, connection, outbox, self.clone());
        let ended = reading.run(writing).await;
        // The engine may be gone already, when the broker stops.
        drop(inner.engine.send(Input::Closed { connection }).await);
        ended
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("closed by the client")]
    ByClient,
    #[error("the broker is shutting down")]
    ShuttingDown,
    #[error("not a Posthaste client")]
    Alien,
    #[error("the client speaks another protocol version: {0}")]
    Version(u8),
    #[error("{0}")]
    Protocol(#[from] posthaste_protocol::DecodeError),
    #[error("nothing heard for too long")]
    Silent,
    #[error("a frame or the handshake took too long")]
    TooSlow,
    #[error("the client does not take what is sent to it")]
    NotReading,
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Ended {
    /// What the client is told before the connection closes, if it can still be told anything.
    fn farewell(&self) -> Option<ErrorReply> {
        let message = match self {
            Ended::Protocol(error) => return Some(error.to_reply()),
            Ended::Silent => "nothing was heard for twice the agreed silence",
            Ended::TooSlow => "a frame or the handshake took too long",
            _ => return None,
        };
        let (code, similar) = (ErrorCode::Timeout, Vec::new());
        Some(ErrorReply { code, retry_after_ms: 1_000, message: message.into(), similar })
    }
}

fn prepared(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    stream
}

fn too_many() -> ErrorReply {
    ErrorReply {
        code: ErrorCode::TooManyConnections,
        retry_after_ms: 1_000,
        message: "the broker has as many connections as it is allowed to have".into(),
        similar: Vec::new(),
    }
}
