//! The seam between the client and whatever carries its bytes.

#[cfg(feature = "embedded")]
mod embedded;
mod url;

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::declare::BoxFuture;
use crate::error::{Failed, Failure, Local};

#[cfg(feature = "embedded")]
pub(crate) use embedded::Embedded;
pub(crate) use url::Endpoint;

/// A duplex byte stream to a broker; whatever is one, is one.
///
/// ```
/// use posthaste::Transport;
/// fn boxed(stream: tokio::net::TcpStream) -> Box<dyn Transport> {
///     Box::new(stream)
/// }
/// ```
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Transport for S {}

/// Makes one connection; see [`ClientBuilder::connector`](crate::ClientBuilder::connector).
type MakeTransport = dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn Transport>>> + Send + Sync;

/// A way of the application's own to reach a broker.
#[derive(Clone)]
pub(crate) struct Connector(pub(crate) Arc<MakeTransport>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// The receiving half of a connection.
pub(crate) type Reading = Box<dyn AsyncRead + Send + Unpin>;
/// The sending half of a connection.
pub(crate) type Writing = Box<dyn AsyncWrite + Send + Unpin>;

impl Endpoint {
    /// Makes one connection; of several addresses to the first that answers, each attempt
    /// beginning with another.
    pub(crate) async fn open(&self, attempt: u32) -> Result<(Reading, Writing), Failed> {
        match self {
            Self::Tcp(addresses) => {
                let mut last = Failure::local(Local::InvalidUrl, "the URL names no host");
                let turn = attempt as usize % addresses.len().max(1);
                let (before, after) = addresses.split_at(turn);
                for (host, port) in after.iter().chain(before) {
                    match tcp(host, *port).await {
                        Ok(halves) => return Ok(halves),
                        Err(error) => {
                            let text = format!("cannot reach {host}:{port}: {error}");
                            last = Failure::caused(Local::Refused, text, error);
                        }
                    }
                }
                Err(last)
            }
            Self::Custom(connector) => {
                let opened = (connector.0)().await;
                let stream = opened.map_err(|error| {
                    Failure::caused(Local::Refused, format!("cannot connect: {error}"), error)
                })?;
                let (reading, writing) = tokio::io::split(stream);
                Ok((Box::new(reading), Box::new(writing)))
            }
            #[cfg(feature = "embedded")]
            Self::Embedded(embedded) => embedded.open().await,
        }
    }
}

impl Endpoint {
    /// The client has ended: a broker inside this process may end too.
    pub(crate) async fn release(self) {
        match self {
            Self::Tcp(_) | Self::Custom(_) => {}
            #[cfg(feature = "embedded")]
            Self::Embedded(embedded) => embedded.release().await,
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<(Reading, Writing)> {
    let stream = TcpStream::connect((host, port)).await?;
    // Small frames must not wait for the answer to the ones before.
    stream.set_nodelay(true)?;
    let (reading, writing) = stream.into_split();
    Ok((Box::new(reading), Box::new(writing)))
}
