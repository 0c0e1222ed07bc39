//! A broker as a user runs it: a process with a directory, which can be killed at any moment.

use crate::{Scratch, binary, eventually};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// A running (or just killed) broker. Dropping it kills it.
#[derive(Debug)]
pub struct TestBroker {
    scratch: Scratch,
    listen: String,
    extra: Vec<String>,
    /// The program that runs it, with arguments; empty: it is run directly.
    through: Vec<String>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    // Held open, because a closed pipe would be a fault of its own.
    _stdout: BufReader<ChildStdout>,
    http: String,
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Exit {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl From<Output> for Exit {
    fn from(output: Output) -> Exit {
        Exit {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl TestBroker {
    /// Starts a broker on a free port with an empty directory.
    pub fn start(name: &str) -> TestBroker {
        TestBroker::start_with(name, &[])
    }

    /// [`TestBroker::start`] with more arguments for `serve`.
    pub fn start_with(name: &str, extra: &[&str]) -> TestBroker {
        let mut broker = TestBroker::prepare(name, extra);
        broker.restart();
        broker
    }

    /// A directory and its settings, without a process.
    pub fn prepare(name: &str, extra: &[&str]) -> TestBroker {
        TestBroker {
            scratch: Scratch::new(name),
            listen: "127.0.0.1:0".to_owned(),
            extra: extra.iter().map(|&argument| argument.to_owned()).collect(),
            through: Vec::new(),
            running: None,
        }
    }

    /// From the next start on, it is run by another program, which must become it.
    pub fn run_through(&mut self, through: &[&str]) {
        self.through = through.iter().map(|&word| word.to_owned()).collect();
    }

    /// Starts it again on the same directory and the same port.
    ///
    /// # Panics
    /// When it runs already, or does not become ready.
    pub fn restart(&mut self) {
        if let Err(exit) = self.try_restart() {
            panic!("the broker ended before it was ready: {exit:?}");
        }
    }

    /// [`TestBroker::restart`] with more arguments for this life.
    ///
    /// # Panics
    /// When it runs already, or does not become ready.
    pub fn restart_with(&mut self, more: &[&str]) {
        let usual = self.extra.len();
        self.extra.extend(more.iter().map(|&argument| argument.to_owned()));
        self.restart();
        self.extra.truncate(usual);
    }

    /// Starts it again; it may end before it is ready.
    ///
    /// # Errors
    /// It ended; how, and what it had printed.
    ///
    /// # Panics
    /// When it runs already.
    pub fn try_restart(&mut self) -> Result<(), (ExitStatus, String)> {
        assert!(self.running.is_none(), "stop or kill it first");
        let mut child = self.serve().stdout(Stdio::piped()).spawn().expect("posthaste can be run");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        match ready(&mut stdout) {
            Ok((listen, http)) => {
                self.listen = listen;
                self.running = Some(Running { child, _stdout: stdout, http });
                Ok(())
            }
            Err(printed) => Err((child.wait().expect("it is our child"), printed)),
        }
    }

    /// The command line of this broker; its errors go to `broker.log`.
    ///
    /// # Panics
    /// When the log cannot be opened.
    pub fn serve(&self) -> Command {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path());
        let mut command = match self.through.split_first() {
            None => Command::new(binary::posthaste()),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary::posthaste());
                command
            }
        };
        command.arg("serve").arg("--data").arg(self.data_dir());
        command.args(["--http", "127.0.0.1:0", "--ready-fd", "1"]);
        if !self.extra.iter().any(|argument| argument == "--listen") {
            command.args(["--listen", &self.listen]);
        }
        command.args(&self.extra).stdin(Stdio::null()).stderr(log.expect("a log can be written"));
        command
    }

    /// A second broker on the same directory and another port, not yet run.
    pub fn serve_elsewhere(&self) -> Command {
        let mut command = Command::new(binary::posthaste());
        command.arg("serve").arg("--data").arg(self.data_dir());
        command.args(["--listen", "127.0.0.1:0", "--http", "off"]).stdin(Stdio::null());
        command
    }

    /// Runs it expecting that it ends by itself.
    pub fn serve_and_fail(&self) -> Exit {
        let output = self.serve().stderr(Stdio::piped()).output().expect("posthaste can be run");
        Exit::from(output)
    }

    /// Kills it as a crash would: no destructor runs, no buffer is flushed.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.child.kill().expect("a child can be killed");
        running.child.wait().expect("a killed child ends");
    }

    /// Starts it and kills it after `delay`, ready or not: a crash during recovery.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn start_and_kill(&mut self, delay: Duration) {
        self.start_and_kill_after(|| std::thread::sleep(delay));
    }

    /// Starts it and kills it when `fault` has happened to it.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn start_and_kill_after(&mut self, fault: impl FnOnce()) {
        let child = self.serve().stdout(Stdio::null()).spawn();
        let mut child = child.expect("posthaste can be run");
        fault();
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// Asks it to stop, and waits until it has.
    ///
    /// # Panics
    /// When it does not run, or ends with an error.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "an orderly stop ends with {status}: {}", self.log());
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let running = self.running.as_mut().expect("it runs");
        // It stays ours until it has ended: a test that gives up leaves nobody behind.
        let ended =
            eventually("the broker ends", || running.child.try_wait().expect("it is our child"));
        self.running = None;
        ended
    }

    /// Sends it a signal by name.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        let running = self.running.as_ref().expect("it runs");
        let id = running.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
        assert!(status.success(), "kill -s {name} {id}");
    }

    /// Is the process still there?
    pub fn is_running(&mut self) -> bool {
        self.running
            .as_mut()
            .is_some_and(|running| running.child.try_wait().is_ok_and(|status| status.is_none()))
    }

    /// Address for clients, as host and port.
    pub fn address(&self) -> &str {
        &self.listen
    }

    /// Address for clients, as a URL.
    pub fn url(&self) -> String {
        format!("posthaste://{}", self.listen)
    }

    /// Address of metrics and health.
    ///
    /// # Panics
    /// When it does not run.
    pub fn http(&self) -> &str {
        &self.running.as_ref().expect("it runs").http
    }

    /// Where its data lies.
    pub fn data_dir(&self) -> PathBuf {
        self.scratch.join("data")
    }

    /// A place for files of the test.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// What it has said so far, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.join("broker.log")
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When it does not run, or the system does not say.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most resident memory that it had at once, in bytes.
    ///
    /// # Panics
    /// When it does not run, or the system does not say.
    pub fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let id = self.running.as_ref().expect("it runs").child.id();
        let mut status = String::new();
        let mut file = std::fs::File::open(format!("/proc/{id}/status")).expect("it is alive");
        file.read_to_string(&mut status).expect("the status is text");
        let line = status.lines().find(|line| line.starts_with(field)).expect("memory is told");
        let kib = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        kib.expect("memory is a number") * 1024
    }

    /// A client command against this broker, not yet run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary::posthaste());
        command.args(arguments).env("POSTHASTE_URL", self.url()).stdin(Stdio::null());
        command
    }

    /// Runs a client command to its end.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn run(&self, arguments: &[&str]) -> Exit {
        Exit::from(self.command(arguments).output().expect("posthaste can be run"))
    }

    /// Runs a client command that must succeed, and gives its output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let exit = self.run(arguments);
        assert_eq!(exit.code, Some(0), "{arguments:?} failed: {}\n{}", exit.stderr, self.log());
        exit.stdout
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.child.kill());
            drop(running.child.wait());
        }
        if std::thread::panicking() {
            eprintln!("the broker said:\n{}", self.log());
        }
    }
}

/// Reads lines until the broker says where it listens. Without that, what it printed.
fn ready(stdout: &mut impl BufRead) -> Result<(String, String), String> {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        let read = stdout.read_line(&mut line).expect("a pipe can be read");
        if read == 0 {
            return Err(seen);
        }
        seen.push_str(&line);
        if let Some(rest) = line.trim_end().strip_prefix("ready ") {
            let mut words = rest.split(' ');
            let listen = words.next().unwrap_or_default().to_owned();
            return Ok((listen, words.next().unwrap_or_default().to_owned()));
        }
    }
}
