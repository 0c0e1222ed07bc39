//! The command line as a script or a person meets it: the built binary, its output, its exit codes.
#![expect(clippy::unwrap_used, reason = "a test panics where it finds something wrong")]
mod admin;
mod benching;
mod contract;
mod messages;
mod schedules;
mod server;
mod serving;

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
    /// Stdout as it is.
    bytes: Vec<u8>,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }
}

fn command(args: &[&str], url: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.args(args).env_remove("POSTHASTE_URL").env("COLUMNS", "100");
    if let Some(url) = url {
        command.env("POSTHASTE_URL", url);
    }
    command
}

fn run(args: &[&str]) -> Ran {
    run_with(args, None, b"")
}

/// Runs to the end, or fails the test when that does not come.
fn run_with(args: &[&str], url: Option<&str>, stdin: &[u8]) -> Ran {
    let mut child = command(args, url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A command that does not read its input closes it.
    let feed = std::thread::spawn(move || drop(to.write_all(&stdin)));
    let id = child.id();
    let (done, ended) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || drop(done.send(child.wait_with_output())));
    let output = ended.recv_timeout(server::DEADLINE).unwrap_or_else(|_late| {
        server::send("KILL", id);
        panic!("{args:?} does not end: {:?}", ended.recv_timeout(server::DEADLINE));
    });
    let output = output.unwrap();
    feed.join().unwrap();
    output.into()
}
