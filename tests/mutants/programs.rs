//! The test executables of the crates: finds them, and runs one test of one with a seeded bug.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A test that has not ended by then has not noticed anything.
const DEADLINE: Duration = Duration::from_secs(180);

/// What a test said about a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It failed, after the bug had struck.
    Caught,
    /// It passed although the bug had struck.
    Missed,
    /// It never came to the place of the bug.
    NotReached,
    /// It did not end.
    Hung,
    /// The executable has no test of this name.
    NoSuchTest,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Outcome::Caught => "noticed",
            Outcome::Missed => "not noticed",
            Outcome::NotReached => "not reached",
            Outcome::Hung => "did not end",
            Outcome::NoSuchTest => "no such test",
        }
    }
}

/// Test executables by what stands before the first `::tests::it` or `::` of a test's name.
#[derive(Debug)]
pub(crate) struct Programs {
    by_crate: BTreeMap<String, PathBuf>,
    root: PathBuf,
}

impl Programs {
    /// Asks cargo for the executables. After `cargo test --workspace` nothing is built here: same command, same profile.
    pub(crate) fn find(root: &Path) -> Programs {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(root).args(["test", "--workspace", "--no-run", "--message-format=json"]);
        cargo.args(profile());
        let output = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
        assert!(output.status.success(), "the tests do not build");
        let messages = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
        let by_crate = messages.lines().filter_map(executable).collect();
        Programs { by_crate, root: root.to_path_buf() }
    }

    /// Runs one test, named as in `docs/guarantees.md`, with a seeded bug.
    pub(crate) fn run(&self, test: &str, seed: &str) -> Outcome {
        let (name, filter) = split(test);
        let Some(program) = self.by_crate.get(&name) else { return Outcome::NoSuchTest };
        let mut command = Command::new(program);
        // Where cargo starts a test: in the folder of its package.
        let folder = name.split("::").next().unwrap_or_default();
        command.current_dir(self.root.join(folder));
        command.args(["--exact", filter, "--nocapture", "--test-threads=1"]);
        command.env("POSTHASTE_MUTANT", seed).env("RUST_BACKTRACE", "0");
        for key in ["SEED", "POSTHASTE_DEPTH", "POSTHASTE_MUTANTS"] {
            command.env_remove(key);
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        outcome_of(child.expect("a test executable starts"))
    }
}

/// `storage::tests::it::crash::x` is the test `crash::x` of the executable `storage::tests::it`, `broker::shard::x` the test
/// `shard::x` of `broker`.
fn split(test: &str) -> (String, &str) {
    let (folder, rest) = test.split_once("::").expect("a crate and a test");
    match rest.strip_prefix("tests::it::").or_else(|| rest.strip_prefix("it::")) {
        Some(filter) => (format!("{folder}::it"), filter),
        None => (folder.to_owned(), rest),
    }
}

fn profile() -> Vec<String> {
    let path = std::env::current_exe().expect("a process knows its executable");
    let profile = path.ancestors().nth(2).and_then(Path::file_name).expect("target/<profile>/deps");
    match profile.to_str().expect("a name in UTF-8") {
        "debug" => Vec::new(),
        other => vec!["--profile".to_owned(), other.to_owned()],
    }
}

/// The crate's folder (with `::it` for its contract tests) and the executable, if a message of cargo tells of one.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let text = |key: &str| {
        let (_, rest) = message.split_once(&format!("\"{key}\":\""))?;
        Some(rest.split_once('"')?.0)
    };
    let program = text("executable")?;
    let package = text("manifest_path")?.strip_suffix("/Cargo.toml")?;
    let folder = package.rsplit('/').next()?;
    let name = match message {
        _ if message.contains("\"kind\":[\"lib\"]") => folder.to_owned(),
        _ if message.contains("\"kind\":[\"test\"]") && message.contains("\"name\":\"it\"") => {
            format!("{folder}::it")
        }
        _ => return None,
    };
    Some((name, PathBuf::from(program)))
}

fn outcome_of(mut child: Child) -> Outcome {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let readers = [out.map(read_all), err.map(read_all)];
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            break None;
        }
        // Another process cannot be awaited with a deadline; this is no wait for a condition in our own hands.
        std::thread::park_timeout(Duration::from_millis(5));
    };
    let said: String =
        readers.into_iter().flatten().map(|reader| reader.join().expect("no panic")).collect();
    match status {
        None => Outcome::Hung,
        Some(_) if said.contains("running 0 tests") => Outcome::NoSuchTest,
        Some(_) if !said.contains("strikes") => Outcome::NotReached,
        Some(status) if status.success() => Outcome::Missed,
        Some(_) => Outcome::Caught,
    }
}

fn read_all(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came until the pipe broke is what there is.
        drop(pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Which state of the product this is.
pub(crate) fn commit_and_date(root: &Path) -> String {
    let git = Command::new("git")
        .current_dir(root)
        .args(["log", "-1", "--format=product at commit %h of %cs"])
        .args(["--", "protocol", "storage", "broker"])
        .output();
    match git {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "commit unknown".to_owned(),
    }
}
