//! The door for clients: accepts sockets, bounds them, and runs one task pair per connection.
//!
//! A connection task owns its socket and nothing else: it cuts frames, checks them, hands chunks
//! to the engine and writes what the engine puts into its outbox.

mod handshake;
mod notices;
mod places;
mod reader;
mod schedule;
mod service;
mod writer;

use crate::config::Limits;
use crate::engine::directory::Directory;
use crate::engine::input::Input;
use crate::engine::outbox::{Allowance, outbox};
use notices::Notices;
use places::{Place, Places};
use posthaste_protocol::ErrorCode;
use posthaste_protocol::error::ErrorReply;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// LIMIT: refused connections that are being told why.
const REFUSALS_MAX: usize = 64;

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
    assembly: Arc<Semaphore>,
    allowance: Arc<Allowance>,
    places: Arc<Places>,
    /// For those who are told that there is no place.
    refusals: Arc<Semaphore>,
    notices: Notices,
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
            allowance: Allowance::new(limits.outbound_bytes_max),
            assembly: Arc::new(Semaphore::new(limits.assembly_bytes_max)),
            places: Arc::new(Places::new(&limits)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            notices: Notices::default(),
            next_connection: AtomicU64::new(1),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            limits,
        };
        Door { inner: Arc::new(inner) }
    }

    /// Takes clients from a listening socket until [`Door::close`].
    pub(crate) fn listen(&self, listener: TcpListener) {
        self.inner.places.count_files();
        let door = self.clone();
        self.inner.tasks.spawn(async move {
            let stop = door.inner.stop.clone();
            stop.run_until_cancelled(door.accept(listener)).await;
        });
    }

    /// Takes one client over a transport that is already connected; without an address it is in
    /// this process.
    pub(crate) fn admit<R, W>(&self, reader: R, writer: W, peer: Option<SocketAddr>)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let door = self.clone();
        match self.inner.places.enter(peer.map(|peer| peer.ip())) {
            Ok(place) => {
                self.inner.tasks.spawn(async move {
                    let ended = door.converse(reader, writer, place).await;
                    door.tell(&ended, peer);
                });
            }
            Err(reply) => {
                self.note(&Refused { why: &reply.message, peer });
                // Beyond so many at once, a refused connection is closed without a word.
                if let Ok(permit) = Arc::clone(&self.inner.refusals).try_acquire_owned() {
                    self.inner.tasks.spawn(async move {
                        handshake::refuse(writer, reply).await;
                        drop((reader, permit));
                    });
                }
            }
        }
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
        // Held open, so that there is a file to take one connection with when there is none left.
        let mut spare = spare(&listener);
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let (reader, writer) = prepared(stream).into_split();
                    self.admit(reader, writer, Some(peer));
                    if spare.is_none() {
                        spare = self::spare(&listener);
                    }
                }
                Err(error) => {
                    // A peer that vanished, or no files left: existing clients go on.
                    self.note(&error);
                    if is_out_of_files(&error) && spare.take().is_some() {
                        self.refuse_one(&listener).await;
                        spare = self::spare(&listener);
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    /// Takes one connection with the last file there is, and says why it cannot stay.
    async fn refuse_one(&self, listener: &TcpListener) {
        let accepted = tokio::time::timeout(Duration::ZERO, listener.accept());
        if let Ok(Ok((stream, _))) = accepted.await {
            handshake::refuse(stream, places::out_of_files()).await;
        }
    }

    /// How a connection ended: to the operator if it was a fault of the peer.
    fn tell(&self, ended: &Ended, peer: Option<SocketAddr>) {
        tracing::debug!(?peer, %ended, "connection closed");
        if !matches!(ended, Ended::ByClient | Ended::ShuttingDown | Ended::Io(_)) {
            self.note(&Refused { why: &ended.to_string(), peer });
        }
    }

    fn note(&self, what: &dyn Display) {
        if let Some(due) = self.inner.notices.note(what) {
            let door = self.clone();
            self.inner.tasks.spawn(async move {
                let stop = door.inner.stop.clone();
                stop.run_until_cancelled(tokio::time::sleep_until(due)).await;
                door.inner.notices.flush();
            });
        }
    }

    /// One connection from preface to end; tells why it ended.
    async fn converse<R, W>(&self, mut reader: R, mut writer: W, mut place: Place) -> Ended
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
        place.greeted();
        let greeted = match shaken {
            Some(Ok(greeted)) => greeted,
            Some(Err(ended)) => return ended,
            None => return Ended::ShuttingDown,
        };
        let connection = inner.next_connection.fetch_add(1, Ordering::Relaxed);
        let (outbox, drain) = outbox(&inner.allowance);
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

fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|none| code == Some(none.raw_os_error()))
}

fn spare(listener: &TcpListener) -> Option<OwnedFd> {
    listener.as_fd().try_clone_to_owned().ok()
}

/// A connection that was not taken, or not kept.
struct Refused<'a> {
    why: &'a str,
    peer: Option<SocketAddr>,
}

impl Display for Refused<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "{peer}: {}", self.why),
            None => f.write_str(self.why),
        }
    }
}

#[cfg(test)]
mod tests;
