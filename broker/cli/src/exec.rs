//! Runs a command for a delivery: the body on its standard input, what is known of the message in
//! its environment. Exit code 0 means done, anything else means failed.

use crate::context::say;
use crate::errors::{Exit, Failure};
use crate::interrupt::Interrupt;
use posthaste::Delivery;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// LIMIT: what a command prints as a reply; brokers accept no more.
const REPLY_BYTES_MAX: u64 = 1 << 20;
/// LIMIT: what is kept of what a command complains about.
const REASON_BYTES_MAX: u64 = 4 << 10;

/// How the command ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    /// And why, for the dead letters.
    Badly(String),
    /// The person asked twice: the command was killed.
    Interrupted,
}

pub(crate) async fn run(
    command: &str,
    delivery: &Delivery,
    interrupt: &mut Interrupt,
) -> Result<Ended, Failure> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("POSTHASTE_POSITION", delivery.position().to_string())
        .env("POSTHASTE_ATTEMPT", delivery.attempt().to_string())
        .env("POSTHASTE_REDELIVERED", if delivery.redelivered() { "1" } else { "0" })
        .env("POSTHASTE_KEY", environment(delivery.key().unwrap_or_default()))
        .stdin(Stdio::piped())
        // A group of its own: Ctrl-C asks this process to end after the message, not the command.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::new(Exit::Failed, None, format!("cannot run sh: {error}")))?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command that does not read its input is not wrong; its exit code decides.
            drop(stdin.write_all(delivery.bytes()).await);
        }
    };
    let done = async {
        let ((), status) = tokio::join!(feed, child.wait());
        status
    };
    tokio::pin!(done);
    let status = loop {
        tokio::select! {
            status = &mut done => break status,
            () = interrupt.asked() => {
                if interrupt.times() > 1 {
                    return Ok(Ended::Interrupted);
                }
                say("finishing the message at work; once more kills its command");
            }
        }
    };
    let status = status.map_err(|error| {
        Failure::new(Exit::Failed, None, format!("cannot wait for sh: {error}"))
    })?;
    if status.success() {
        return Ok(Ended::Well);
    }
    Ok(Ended::Badly(format!("the command ended with {status}")))
}

/// How a command that answers a request ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Replied {
    /// With this on its standard output.
    Well(Vec<u8>),
    /// And what it said on its standard error.
    Badly(String),
}

/// Runs a command for a request: the body on its standard input, the reply on its standard output.
/// When the future is dropped, the command is killed.
pub(crate) async fn reply(
    command: &str,
    body: &[u8],
    service: &str,
    left_ms: &str,
) -> std::io::Result<Replied> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("POSTHASTE_SERVICE", service)
        .env("POSTHASTE_TIME_LEFT_MS", left_ms)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // As above: its exit code decides.
            drop(stdin.write_all(body).await);
        }
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut reply, mut said) = (Vec::new(), Vec::new());
    let done = async {
        // ORDER: both pipes are read to their end, or dropped, before the end is waited for.
        let (read, _) = tokio::join!(
            read_some(stdout, REPLY_BYTES_MAX, &mut reply),
            read_some(stderr, REASON_BYTES_MAX, &mut said)
        );
        read.and(child.wait().await)
    };
    let ((), status) = tokio::join!(feed, done);
    let status = status?;
    if reply.len() as u64 > REPLY_BYTES_MAX {
        return Ok(Replied::Badly("the command printed more than a message may have".into()));
    }
    if status.success() {
        return Ok(Replied::Well(reply));
    }
    let said = String::from_utf8_lossy(&said);
    Ok(Replied::Badly(format!("{} ({status})", said.trim())))
}

/// Up to one byte more than `max`; the pipe is closed behind it.
async fn read_some(
    pipe: Option<impl AsyncRead + Unpin>,
    max: u64,
    into: &mut Vec<u8>,
) -> std::io::Result<()> {
    match pipe {
        Some(pipe) => pipe.take(max + 1).read_to_end(into).await.map(|_read| ()),
        None => Ok(()),
    }
}

/// A variable cannot hold a zero byte.
fn environment(text: &str) -> String {
    text.replace('\0', "")
}
