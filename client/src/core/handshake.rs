//! The first exchange on a connection: preface and hello against preface and welcome.

use std::io;

use bytes::BytesMut;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::frame::MAJOR;
use posthaste_protocol::limits::{FRAME_BYTES_MAX, HANDSHAKE_FRAME_BYTES_MAX, PEER_BYTES_MAX};
use posthaste_protocol::request::Hello;
use posthaste_protocol::response::Welcome;
use posthaste_protocol::{Cut, CutPreface, PREFACE, Request, Response, cut_frame, cut_preface};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::{Failed, Failure, Local};
use crate::transport::{Reading, Writing};

/// Silence after which this side gives a connection up, unless the broker asks for less.
const IDLE_MS: u32 = 15_000;

/// Introduces the client. `inbound` keeps what came behind the welcome.
pub(crate) async fn handshake(
    reading: &mut Reading,
    writing: &mut Writing,
    inbound: &mut BytesMut,
    name: &str,
) -> Result<Welcome, Failed> {
    let mut hello = BytesMut::from(&PREFACE[..]);
    let client = client_text(name);
    let request = Hello { features: 0, client, frame_bytes_max: FRAME_BYTES_MAX, idle_ms: IDLE_MS };
    // Request ids of the handshake are free; the counting begins behind it.
    Request::Hello(request).encode(0, 0, &mut hello);
    let sent = async {
        writing.write_all(&hello).await?;
        writing.flush().await
    };
    sent.await.map_err(|error| broken(&error))?;
    expect_preface(reading, inbound).await?;
    loop {
        let cut = cut_frame(inbound, HANDSHAKE_FRAME_BYTES_MAX);
        let frame = match cut.map_err(|error| Failure::coded(error.code(), error.to_string()))? {
            Cut::NeedMore(_) => {
                fill(reading, inbound).await?;
                continue;
            }
            Cut::Frame(frame) => frame,
        };
        let response = Response::decode(&frame)
            .map_err(|error| Failure::coded(error.code(), error.to_string()))?;
        return match response {
            Response::Welcome(welcome) => Ok(welcome),
            Response::Error(reply) | Response::Closing(reply) => Err(Failure::reply(reply)),
            _ => Err(Failure::coded(ErrorCode::ProtocolError, "the broker did not say welcome")),
        };
    }
}

async fn expect_preface(reading: &mut Reading, inbound: &mut BytesMut) -> Result<(), Failed> {
    loop {
        let cut = cut_preface(inbound);
        match cut.map_err(|error| Failure::coded(error.code(), error.what()))? {
            CutPreface::Major(MAJOR) => return Ok(()),
            CutPreface::Major(major) => {
                let text = format!(
                    "the broker speaks version {major} of the protocol, this client {MAJOR}"
                );
                return Err(Failure::coded(ErrorCode::Unsupported, text));
            }
            CutPreface::NeedMore(_) => fill(reading, inbound).await?,
        }
    }
}

async fn fill(reading: &mut Reading, inbound: &mut BytesMut) -> Result<(), Failed> {
    match reading.read_buf(inbound).await {
        Ok(0) => Err(broken(&io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(()),
        Err(error) => Err(broken(&error)),
    }
}

fn broken(error: &io::Error) -> Failed {
    let text = format!("the connection broke while it was being opened: {error}");
    Failure::local(Local::Disconnected, text)
}

/// What the broker shows of this client: its name, and this crate's version.
fn client_text(name: &str) -> String {
    let version = concat!(" posthaste-rust/", env!("CARGO_PKG_VERSION"));
    let room = PEER_BYTES_MAX as usize - version.len();
    let printable: String =
        name.chars().filter(|one| one.is_ascii_graphic() || *one == ' ').collect();
    let cut = printable.get(..printable.len().min(room)).unwrap_or_default();
    format!("{cut}{version}")
}
