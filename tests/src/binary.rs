//! Finds the `posthaste` binary that belongs to the running tests, and builds it when it is missing or
//! older than its sources. `cargo test --workspace` has built it already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Path of the binary, in the profile of the running tests.
///
/// # Panics
/// When it cannot be built.
pub fn posthaste() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let profile = profile_dir();
        let path = profile.join(format!("posthaste{}", std::env::consts::EXE_SUFFIX));
        if !is_fresh(&path) {
            build(&profile, &["-p", "posthaste-cli", "--bin", "posthaste"]);
        }
        assert!(path.exists(), "cargo built posthaste, but not at {}", path.display());
        path
    })
}

/// Path of an example of the client, in the profile of the running tests.
///
/// # Panics
/// When the examples cannot be built.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let profile = profile_dir();
    let path = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if !is_fresh(&path) {
        // One build makes all of them; those that did not change keep their times.
        BUILT.get_or_init(|| build(&profile, &["-p", "posthaste", "--examples"]));
    }
    assert!(path.exists(), "cargo built the examples, but none at {}", path.display());
    path
}

/// Path of the checker, which cargo builds with the tests.
pub fn checker() -> PathBuf {
    profile_dir().join(format!("checker{}", std::env::consts::EXE_SUFFIX))
}

/// `target/<profile>`: the test executable lies in `deps` below it.
fn profile_dir() -> PathBuf {
    let mut path = std::env::current_exe().expect("a process knows its executable");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path
}

fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

fn is_fresh(binary: &Path) -> bool {
    let Ok(built) = fs::metadata(binary).and_then(|metadata| metadata.modified()) else {
        return false;
    };
    let sources = ["Cargo.lock", "protocol", "storage", "broker", "client"];
    sources.iter().all(|source| newest(&root().join(source)) <= built)
}

fn newest(path: &Path) -> SystemTime {
    let metadata = fs::metadata(path).expect("a source of the workspace can be read");
    if metadata.is_file() {
        let source =
            path.extension().is_some_and(|end| end == "rs" || end == "toml" || end == "lock");
        return if source {
            metadata.modified().expect("files have times")
        } else {
            SystemTime::UNIX_EPOCH
        };
    }
    let entries = fs::read_dir(path).expect("a source folder can be read");
    entries
        .flatten()
        .filter(|entry| entry.file_name() != "tests" && entry.file_name() != "target")
        .map(|entry| newest(&entry.path()))
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn build(profile: &Path, what: &[&str]) {
    let target = profile.parent().expect("a profile lies in a target directory");
    let name = profile.file_name().expect("a profile has a name");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).arg("build").args(what);
    cargo.arg("--target-dir").arg(target);
    cargo.arg("--profile").arg(if name == "debug" { "dev".as_ref() } else { name });
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "{what:?} does not build");
}
