//! A broker for a test: the built binary, a directory and a port of its own, killed at the end.

use crate::{Ran, command, run_with};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// No wait of a test is longer; a healthy one needs a fraction.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A directory that goes away with the test.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("posthaste-cli-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A broker that runs.
#[derive(Debug)]
pub(crate) struct Server {
    child: Option<Child>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<ChildStderr>,
    pub(crate) address: String,
    scratch: Scratch,
}

impl Server {
    /// Durable, in a new directory.
    pub(crate) fn start() -> Server {
        let mut server = Server {
            child: None,
            stdout: None,
            stderr: None,
            address: "127.0.0.1:0".into(),
            scratch: Scratch::new(),
        };
        server.start_again();
        server
    }

    /// On the same directory and, from the second time on, the same port.
    pub(crate) fn start_again(&mut self) {
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        self.stderr = child.stderr.take();
        self.child = Some(child);
        let (tx, rx) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            drop(tx.send((read, line, stdout)));
        });
        let (read, line, stdout) = rx.recv_timeout(DEADLINE).expect("serve becomes ready");
        read.unwrap();
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("ready"), "{line:?}");
        self.address = words.next().unwrap().to_owned();
        self.stdout = Some(stdout);
    }

    /// The command line of this broker.
    pub(crate) fn command(&self) -> Command {
        let data = self.data();
        let args = [
            "serve",
            "--listen",
            &self.address,
            "--http",
            "off",
            "--ready-fd",
            "1",
            "--data",
            data.to_str().unwrap(),
        ];
        command(&args, None)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("posthaste://{}", self.address)
    }

    /// Runs a client command.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, b"")
    }

    pub(crate) fn run_with(&self, args: &[&str], stdin: &[u8]) -> Ran {
        run_with(args, Some(&self.url()), stdin)
    }

    /// Runs a client command that must end well, and gives its output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.stdout
    }

    /// A client command to be started by hand.
    pub(crate) fn client(&self, args: &[&str]) -> Command {
        let mut command = command(args, Some(&self.url()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// As a crash: no handler runs.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends a signal, waits for the end, and gives the exit code and what was said.
    pub(crate) fn stop(&mut self, signal: &str) -> (i32, String) {
        let mut child = self.child.take().unwrap();
        send(signal, child.id());
        let code = wait(&mut child);
        let mut said = String::new();
        self.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (code, said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

pub(crate) fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").args(["-s", signal, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits for the end of a process, for as long as a test may take.
pub(crate) fn wait(child: &mut Child) -> i32 {
    let mut code = None;
    eventually("the process ends", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    code.and_then(|status| status.code()).unwrap_or(-1)
}

/// Looks until it is so, and fails after the deadline.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
