//! HTTP connections within bounds: so many at once, and none for long.
//!
//! Health checks come when things are bad, so a new connection is always taken: the oldest goes.

use axum::serve::Listener;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// LIMIT: connections at once.
const GUESTS_MAX: usize = 32;
/// LIMIT: how long one may stay; whoever comes regularly connects again.
const STAY: Duration = Duration::from_secs(60);

/// Takes connections.
#[derive(Debug)]
pub(super) struct Guests {
    listener: TcpListener,
    /// The oldest first; those who have left are still in it.
    known: VecDeque<CancellationToken>,
}

/// One connection.
pub(super) struct Guest {
    stream: TcpStream,
    sent_away: Pin<Box<WaitForCancellationFutureOwned>>,
    stay: Pin<Box<Sleep>>,
    token: CancellationToken,
}

impl Guests {
    pub(super) fn new(listener: TcpListener) -> Guests {
        Guests { listener, known: VecDeque::new() }
    }

    fn welcome(&mut self, stream: TcpStream) -> Guest {
        self.known.retain(|token| !token.is_cancelled());
        while self.known.len() >= GUESTS_MAX
            && let Some(oldest) = self.known.pop_front()
        {
            oldest.cancel();
        }
        let token = CancellationToken::new();
        self.known.push_back(token.clone());
        let sent_away = Box::pin(token.clone().cancelled_owned());
        Guest { stream, sent_away, stay: Box::pin(sleep(STAY)), token }
    }
}

impl Listener for Guests {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => return (self.welcome(stream), peer),
                Err(error) => {
                    tracing::debug!(%error, "cannot accept an HTTP connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Guest {
    /// Whether it may go on.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let is_over = self.sent_away.as_mut().poll(context).is_ready()
            || self.stay.as_mut().poll(context).is_ready();
        if is_over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
