//! Length, words, markers, and nothing that belongs to one machine only.

use super::{check, tree};

const PRODUCTION_LINES_MAX: usize = 500;

/// Words that have a proper name here, and the name. Matched as whole words of identifiers and prose,
/// so `compare_exchange` and `acknowledge` are safe.
const WORDS: &[(&str, &str)] = &[
    ("nack", "retry, release or dead-letter"),
    ("nacked", "retried, released or dead-lettered"),
    ("requeue", "retry or release"),
    ("requeued", "ready again"),
    ("dlq", "dead letters"),
    ("wal", "log"),
    ("seqno", "sequence or offset"),
    ("tombstone", "settle"),
    ("blacklist", "deny list"),
    ("whitelist", "allow list"),
    ("mgr", "what it manages"),
];

/// File names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager"];

#[test]
fn files_are_short_enough_to_read() {
    let mut offences = Vec::new();
    for file in tree::files().iter().filter(|file| file.is_rust()) {
        let lines = if file.is_production() {
            file.production_lines().len()
        } else if file.path.starts_with("tests/") {
            file.text.lines().count()
        } else {
            continue;
        };
        if lines > PRODUCTION_LINES_MAX {
            offences.push(format!("{} has {lines} lines", file.path));
        }
    }
    check("500 lines are the wall; split by idea", &offences);
}

#[test]
fn files_say_what_they_own() {
    let mut offences = Vec::new();
    for file in tree::files().iter().filter(|file| file.is_production()) {
        if !file.text.starts_with("//!") {
            offences.push(file.path.clone());
        }
    }
    check("each file opens with //! what it owns and what holds in it", &offences);
}

#[test]
fn words_are_ours() {
    let mut offences = Vec::new();
    for file in tree::files() {
        let own = file.path.starts_with("tests/tests/it/tidy/");
        if own || !(file.is_production() || file.path.ends_with(".md")) {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            for word in words(line) {
                if let Some((_, better)) = WORDS.iter().find(|(bad, _)| *bad == word) {
                    let number = index + 1;
                    offences.push(format!("{}:{number} says {word}; say {better}", file.path));
                }
            }
        }
    }
    check("one word for one thing (CONTRIBUTING.md has the list)", &offences);
}

/// The words of a line in lower case; identifiers are split at `_` and at a capital.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in line.chars() {
        let begins = letter.is_uppercase() && was_lower;
        if begins || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            words.last_mut().unwrap().extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn identifiers_are_split_into_words() {
    assert_eq!(
        words("fn nack_itLater(compare_exchange)"),
        ["fn", "nack", "it", "later", "compare", "exchange"]
    );
}

#[test]
fn file_names_say_something() {
    let offences: Vec<String> = tree::files()
        .iter()
        .filter(|file| file.is_production())
        .filter(|file| {
            let stem = file.path.trim_end_matches("/mod.rs").trim_end_matches(".rs");
            EMPTY_NAMES.contains(&stem.rsplit('/').next().unwrap_or_default())
        })
        .map(|file| file.path.clone())
        .collect();
    check("a file is named after what it owns", &offences);
}

#[test]
fn nothing_is_left_unfinished() {
    // Written in two parts, so that this file does not accuse itself.
    let markers = [
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
        concat!("dbg", "!("),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    check("finish it or take it out", &occurrences(&markers));
}

#[test]
fn nothing_belongs_to_one_machine() {
    let traces = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/tm", "p/target"),
        concat!("/tm", "p/contract"),
        concat!("crates", ".io"),
        concat!("index.", "crates"),
        concat!("pypi", ".org"),
        concat!("npm", "js"),
    ];
    check("no path or host of a single machine", &occurrences(&traces));
}

fn occurrences(needles: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree::files() {
        for (index, line) in file.text.lines().enumerate() {
            if let Some(needle) = needles.iter().find(|needle| line.contains(**needle)) {
                offences.push(format!("{}:{} {needle}", file.path, index + 1));
            }
        }
    }
    offences
}
