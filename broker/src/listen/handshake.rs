//! Preface and hello: small, timed, and without any effect on the broker.

use super::Ended;
use crate::config::Limits;
use bytes::{Buf, BytesMut};
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::frame::{Cut, PREFACE, cut_frame};
use posthaste_protocol::limits::HANDSHAKE_FRAME_BYTES_MAX;
use posthaste_protocol::response::Welcome;
use posthaste_protocol::{DecodeError, Request, Response};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Answer to a browser or a health check that took the wrong port.
const NOT_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 46\r\nConnection: close\r\n\r\nThis is the client port of a Posthaste broker\n";

/// Of a request on the wrong port, so much is taken before the connection is closed.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// How long a peer that is refused may take to hear why.
const PATIENCE: Duration = Duration::from_secs(1);

/// A client that has said hello, and what it sent behind it.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) buffer: BytesMut,
    /// The silence that was agreed on.
    pub(super) idle: Duration,
}

/// Reads preface and hello, answers both.
pub(super) async fn shake<R, W>(
    reader: &mut R,
    writer: &mut W,
    limits: &Limits,
    store: [u8; 16],
) -> Result<Greeted, Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let deadline = Instant::now() + limits.handshake_timeout;
    let mut buffer = BytesMut::with_capacity(1_024);
    let preface = async {
        read_preface(reader, writer, &mut buffer).await?;
        writer.write_all(&PREFACE).await.map_err(Ended::from)
    };
    within(deadline, preface).await?;
    // From here on the peer understands a frame that says why it is refused.
    let greeted = within(deadline, greet(reader, writer, buffer, limits, store)).await;
    if let Err(ended) = &greeted
        && let Some(reply) = ended.farewell()
    {
        say_goodbye(writer, reply).await;
    }
    greeted
}

async fn within<T>(
    deadline: Instant,
    step: impl Future<Output = Result<T, Ended>>,
) -> Result<T, Ended> {
    match tokio::time::timeout_at(deadline, step).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Ended::TooSlow),
    }
}

/// Says why, as far as the peer takes it.
async fn say_goodbye<W: AsyncWrite + Unpin>(writer: &mut W, why: ErrorReply) {
    let mut out = BytesMut::new();
    Response::Closing(why).encode(0, 0, &mut out);
    let sent = tokio::time::timeout(PATIENCE, async {
        writer.write_all(&out).await?;
        writer.shutdown().await
    });
    if !matches!(sent.await, Ok(Ok(()))) {
        tracing::debug!("a refused client left before it could be told");
    }
}

/// Tells a client that it cannot be taken, and closes.
pub(super) async fn refuse<W: AsyncWrite + Unpin>(mut writer: W, why: ErrorReply) {
    if let Ok(Ok(())) = tokio::time::timeout(PATIENCE, writer.write_all(&PREFACE)).await {
        say_goodbye(&mut writer, why).await;
    }
}

async fn greet<R, W>(
    reader: &mut R,
    writer: &mut W,
    mut buffer: BytesMut,
    limits: &Limits,
    store: [u8; 16],
) -> Result<Greeted, Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (corr, welcome) = read_hello(reader, &mut buffer, limits, store).await?;
    let idle = Duration::from_millis(u64::from(welcome.idle_ms));
    let mut out = BytesMut::new();
    Response::Welcome(welcome).encode(0, corr, &mut out);
    writer.write_all(&out).await?;
    Ok(Greeted { buffer, idle })
}

async fn read_preface<R, W>(
    reader: &mut R,
    writer: &mut W,
    buffer: &mut BytesMut,
) -> Result<(), Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (magic, version) = (&PREFACE[..7], PREFACE[7]);
    while buffer.len() < PREFACE.len() {
        let seen = buffer.len().min(magic.len());
        if buffer[..seen] != magic[..seen] {
            return Err(turn_away(reader, writer, buffer).await?);
        }
        if reader.read_buf(buffer).await? == 0 {
            return Err(Ended::ByClient);
        }
    }
    if buffer[..7] != *magic {
        return Err(turn_away(reader, writer, buffer).await?);
    }
    let theirs = buffer[7];
    buffer.advance(PREFACE.len());
    if theirs != version {
        writer.write_all(&PREFACE).await?;
        writer.shutdown().await?;
        return Err(Ended::Version(theirs));
    }
    Ok(())
}

/// A browser gets one sentence, however slowly its first word comes; others get nothing.
async fn turn_away<R, W>(
    reader: &mut R,
    writer: &mut W,
    seen: &mut BytesMut,
) -> Result<Ended, Ended>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    const METHODS: [&[u8]; 5] = [b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI"];
    let may_be = |seen: &[u8]| METHODS.iter().any(|method| method.starts_with(seen));
    while seen.len() < 4 && may_be(seen) {
        if reader.read_buf(seen).await? == 0 {
            return Ok(Ended::Alien);
        }
    }
    if METHODS.iter().any(|method| seen.starts_with(method)) {
        writer.write_all(NOT_HTTP).await?;
        writer.shutdown().await?;
        // What is still on its way is taken, or the system would reset the connection and the
        // sentence with it.
        let mut left = REQUEST_BYTES_MAX;
        while left > 0 {
            seen.clear();
            match reader.read_buf(seen).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
    }
    writer.shutdown().await?;
    Ok(Ended::Alien)
}

async fn read_hello<R: AsyncRead + Unpin>(
    reader: &mut R,
    buffer: &mut BytesMut,
    limits: &Limits,
    store: [u8; 16],
) -> Result<(u64, Welcome), Ended> {
    loop {
        match cut_frame(buffer, HANDSHAKE_FRAME_BYTES_MAX)? {
            Cut::Frame(frame) => {
                let Request::Hello(hello) = Request::decode(&frame)? else {
                    let error = DecodeError::new(
                        ErrorCode::ProtocolError,
                        4,
                        "the first frame must be hello",
                    );
                    return Err(error.into());
                };
                let idle_ms = u32::try_from(limits.idle.as_millis()).unwrap_or(u32::MAX);
                let welcome = Welcome {
                    features: 0,
                    server: concat!("posthaste ", env!("CARGO_PKG_VERSION")).into(),
                    store,
                    frame_bytes_max: limits.frame_bytes_max.min(hello.frame_bytes_max),
                    message_bytes_max: limits.message_bytes_max,
                    publish_bytes_max: limits.publish_bytes_max,
                    idle_ms: idle_ms.min(hello.idle_ms.max(1_000)),
                };
                return Ok((frame.header.corr, welcome));
            }
            Cut::NeedMore(_) => {
                if reader.read_buf(buffer).await? == 0 {
                    return Err(Ended::ByClient);
                }
            }
        }
    }
}
