//! Runs a command for a delivery: the body on its standard input, what is known of the message in
//! its environment. Exit code 0 means done, anything else means failed.

use crate::context::say;
use crate::errors::{Exit, Failure};
use crate::interrupt::Interrupt;
use posthaste::Delivery;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

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

/// A variable cannot hold a zero byte.
fn environment(text: &str) -> String {
    text.replace('\0', "")
}
