//! Who may know whom: arrows between the crates, and inside the broker between its rooms.

use super::{check, tree};

/// Package, what it may use of ours, and what it must not use of others'.
const CRATES: &[(&str, &[&str], &[&str])] = &[
    // Itself: the tests of a crate turn its seeded bugs on.
    ("protocol", &["posthaste-protocol"], &["tokio", "memmap2", "metrics"]),
    ("storage", &["posthaste-storage"], &["tokio", "serde"]),
    ("broker", &["posthaste-protocol", "posthaste-storage", "posthaste-broker"], &[]),
    // Itself: its tests turn its own `embedded` feature on.
    ("client", &["posthaste-protocol", "posthaste-broker (optional)", "posthaste"], &[]),
    ("client/testing", &["posthaste", "posthaste-broker"], &[]),
    ("broker/cli", &["posthaste-broker", "posthaste", "posthaste-protocol"], &[]),
    // The broker for its state machine, which is timed without sockets and disks.
    ("benches", &["posthaste-broker", "posthaste-protocol", "posthaste-storage"], &[]),
    ("tests", &["posthaste", "posthaste-protocol"], &[]),
];

/// Dependencies of a manifest, development and build ones included; `(optional)` is said.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.trim_matches(['[', ']']).ends_with("dependencies");
        } else if inside && !line.starts_with('#') && line.contains('=') {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            let optional = line.contains("optional = true");
            found.push(format!("{name}{}", if optional { " (optional)" } else { "" }));
        }
    }
    found
}

#[test]
fn arrows_between_crates_are_the_drawn_ones() {
    let mut offences = Vec::new();
    for (folder, ours, forbidden) in CRATES {
        let path = format!("{folder}/Cargo.toml");
        let manifest = std::fs::read_to_string(tree::root().join(&path)).unwrap();
        for used in dependencies(&manifest) {
            let name = used.split(' ').next().unwrap_or_default();
            let wrong = if name.starts_with("posthaste") {
                // A crate of ours used by the tests of a crate is an arrow too, only the client's
                // own examples may start a broker in the process.
                !ours.contains(&used.as_str()) && !ours.contains(&name)
            } else {
                forbidden.contains(&name)
            };
            if wrong {
                offences.push(format!("{path} must not depend on {used}"));
            }
        }
    }
    check("arrows between crates (ARCHITECTURE.md draws them)", &offences);
}

#[test]
fn shard_is_pure() {
    let forbidden = [
        "crate::engine",
        "crate::listen",
        "crate::http",
        "crate::config",
        "posthaste_storage",
        "tokio",
        "std::fs",
        "std::net",
        "std::thread",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
    ];
    let mut offences = Vec::new();
    for file in tree::files() {
        let in_shard = file.path.starts_with("broker/src/shard/");
        if !in_shard || !file.is_production() {
            continue;
        }
        for (number, line) in file.production_lines() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = forbidden.iter().find(|word| code.contains(**word)) {
                offences.push(format!("{}:{number} uses {word}", file.path));
            }
        }
    }
    check("the shard is a pure state machine: no I/O, clock, threads or hash order", &offences);
}

#[test]
fn listeners_own_no_semantics() {
    let mut offences = Vec::new();
    for file in tree::files() {
        let listener = file.path.starts_with("broker/src/listen/");
        for (number, line) in file.production_lines() {
            let code = line.split("//").next().unwrap_or_default();
            if listener && (code.contains("crate::shard") || code.contains("posthaste_storage")) {
                offences.push(format!("{}:{number} {}", file.path, code.trim()));
            }
        }
    }
    check("listeners talk to the engine only", &offences);
}

#[test]
fn unsafe_code_stays_in_storage() {
    let mut offences = Vec::new();
    for folder in ["protocol", "broker", "client", "client/testing"] {
        let path = tree::root().join(folder).join("src/lib.rs");
        let text = std::fs::read_to_string(path).unwrap();
        if !text.contains("#![forbid(unsafe_code)]") {
            offences.push(format!("{folder}/src/lib.rs lacks #![forbid(unsafe_code)]"));
        }
    }
    check("only the disk's door may be unsafe", &offences);
}

#[test]
fn manifest_sections_are_read() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\nposthaste.workspace = true\n\
                    b = { version = \"1\", optional = true }\n[dev-dependencies]\nc = \"1\"\n[lints]\nd = 1\n";
    assert_eq!(dependencies(manifest), ["posthaste", "b (optional)", "c"]);
}
