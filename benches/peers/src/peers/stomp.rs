//! A small STOMP 1.2 client with tokio: frames in, frames out, receipts matched by their number.
//! There is no usual Rust client for ActiveMQ, and STOMP is the protocol that all of them speak.

use anyhow::{Context, Result, anyhow, bail};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

/// A frame that the broker sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) command: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Frame {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Takes a whole frame from the front of what was read; `None` if there is not yet one.
pub(crate) fn parse(read: &mut BytesMut) -> Result<Option<Frame>> {
    // Between frames there may be line ends, which keep the connection alive.
    while matches!(read.first(), Some(b'\n' | b'\r')) {
        read.advance(1);
    }
    let Some(head_end) = read.windows(2).position(|pair| pair == b"\n\n") else { return Ok(None) };
    let head = std::str::from_utf8(&read[..head_end])?;
    let mut lines = head.lines();
    let command = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.replace("\\c", ":")))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map(|(_, value)| value.parse::<usize>()).transpose()?;
    let start = head_end + 2;
    let end = match length {
        Some(length) if read.len() > start + length => start + length,
        Some(_) => return Ok(None),
        None => match read[start..].iter().position(|byte| *byte == 0) {
            Some(at) => start + at,
            None => return Ok(None),
        },
    };
    read.advance(start);
    let body = read.split_to(end - start).freeze();
    read.advance(1);
    Ok(Some(Frame { command, headers, body }))
}

/// The writing half.
pub(crate) struct Writer {
    socket: BufWriter<OwnedWriteHalf>,
}

impl Writer {
    /// Writes a frame; it goes out with the next flush at the latest.
    pub(crate) async fn write(&mut self, head: &str, body: &[u8]) -> Result<()> {
        self.socket.write_all(head.as_bytes()).await?;
        if !body.is_empty() {
            self.socket.write_all(format!("content-length:{}\n", body.len()).as_bytes()).await?;
        }
        self.socket.write_all(b"\n").await?;
        self.socket.write_all(body).await?;
        Ok(self.socket.write_all(b"\0").await?)
    }

    pub(crate) async fn flush(&mut self) -> Result<()> {
        Ok(self.socket.flush().await?)
    }
}

/// The reading half.
pub(crate) struct Reader {
    socket: OwnedReadHalf,
    read: BytesMut,
}

impl Reader {
    /// A frame that is here already.
    pub(crate) fn ready(&mut self) -> Result<Option<Frame>> {
        let frame = parse(&mut self.read)?;
        match frame {
            Some(frame) if frame.command == "ERROR" => {
                let text = String::from_utf8_lossy(&frame.body).into_owned();
                bail!("{} {text}", frame.header("message").unwrap_or_default())
            }
            frame => Ok(frame),
        }
    }

    /// The next frame. *Cancel safety*: nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(frame);
            }
            self.read.reserve(64 * 1_024);
            if self.socket.read_buf(&mut self.read).await? == 0 {
                bail!("the broker closed the connection");
            }
        }
    }

    /// Skips to a receipt.
    pub(crate) async fn receipt(&mut self) -> Result<()> {
        while self.next().await?.command != "RECEIPT" {}
        Ok(())
    }
}

pub(crate) async fn connect(address: &str, client_id: Option<&str>) -> Result<(Writer, Reader)> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (reading, writing) = socket.into_split();
    let mut writer = Writer { socket: BufWriter::with_capacity(256 * 1_024, writing) };
    let mut reader = Reader { socket: reading, read: BytesMut::new() };
    let id = client_id.map(|id| format!("client-id:{id}\n")).unwrap_or_default();
    let head = format!("CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:0,0\n{id}");
    writer.write(&head, b"").await?;
    writer.flush().await?;
    let answer = reader.next().await?;
    if answer.command != "CONNECTED" {
        bail!("expected CONNECTED, got {}", answer.command);
    }
    Ok((writer, reader))
}

/// Receipts that are waited for.
#[derive(Clone, Default)]
pub(crate) struct Receipts(Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>);

/// Resolves when the receipt came.
pub(crate) type Receipt = oneshot::Receiver<()>;

impl Receipts {
    pub(crate) fn expect(&self, number: u64) -> Result<Receipt> {
        let (tx, rx) = oneshot::channel();
        self.lock()?.insert(number, tx);
        Ok(rx)
    }

    /// Reads receipts until the connection ends; whoever still waits then learns that it ended.
    pub(crate) async fn read(self, mut reader: Reader) {
        while let Ok(frame) = reader.next().await {
            if let Err(error) = self.settle(&frame) {
                eprintln!("  stomp: {error:#}");
                break;
            }
        }
        if let Ok(mut waiting) = self.lock() {
            waiting.clear();
        }
    }

    fn settle(&self, frame: &Frame) -> Result<()> {
        let number = frame.header("receipt-id").context("a frame that is no receipt")?.parse()?;
        if let Some(waiting) = self.lock()?.remove(&number) {
            // Nobody waits any more where a cell was broken off.
            let _heard = waiting.send(());
        }
        Ok(())
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>>> {
        self.0.lock().map_err(|poisoned| anyhow!("{poisoned}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_in_order() {
        let text = b"\nMESSAGE\nack:a\\c1\ncontent-length:3\n\nx\0y\0\nRECEIPT\nreceipt-id:7\n\n\0";
        for split in 0..text.len() {
            let mut read = BytesMut::from(&text[..split]);
            let mut frames = Vec::new();
            while let Some(frame) = parse(&mut read).expect("it is well-formed") {
                frames.push(frame);
            }
            read.extend_from_slice(&text[split..]);
            while let Some(frame) = parse(&mut read).expect("it is well-formed") {
                frames.push(frame);
            }
            assert_eq!(frames.len(), 2, "split at {split}");
            assert_eq!(&frames[0].body[..], b"x\0y");
            assert_eq!(frames[0].header("ack"), Some("a:1"));
            assert_eq!(frames[1].header("receipt-id"), Some("7"));
        }
    }
}
