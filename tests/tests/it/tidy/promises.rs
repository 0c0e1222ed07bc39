//! Documents tell the truth: each promise names a test that exists, each promise test is named, and
//! each file that a document points at is there.

use super::{check, tree};
use std::collections::BTreeSet;

const GUARANTEES: &str = "docs/guarantees.md";
const FEATURES: &str = "docs/features.md";
const HOSTILE: &str = "docs/hostile.md";
const HOSTILE_TESTS: &str = "tests/tests/it/hostile/";
const BYTEWISE: &str = "tests/tests/it/hostile/bytewise.rs";
/// A case that sends nothing.
const ONCE: [&str; 1] = ["a_small_limit_of_files_is_said_at_the_start"];

/// All tests of the workspace as (file, function name).
fn tests(files: &[tree::File]) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let mut marked = false;
        for line in file.text.lines().map(str::trim) {
            if line.starts_with("#[") {
                marked |= line == "#[test]" || line.contains("::test");
            } else if let Some(rest) = function(line) {
                if marked {
                    found.push((file.path.as_str(), rest));
                }
                marked = false;
            } else if !line.starts_with("//") {
                marked = false;
            }
        }
    }
    found
}

fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("pub(super) ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// `storage::it::crash::p01_x`: the folder of the crate, then some of the modules, then the function.
fn exists(link: &str, tests: &[(&str, &str)]) -> bool {
    let mut parts: Vec<&str> = link.split("::").collect();
    let Some(name) = parts.pop() else {
        return false;
    };
    // A module for tests inside of a file is no folder.
    let _inline = parts.pop_if(|last| *last == "tests");
    tests.iter().any(|(path, function)| {
        let folders: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
        let mut rest = folders.iter();
        *function == name
            && folders.first() == parts.first()
            && parts.iter().all(|part| rest.any(|folder| folder == part))
    })
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

fn is_test_link(word: &str) -> bool {
    word.contains("::") && word.chars().all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}

/// `p07_...` is a test of promise 7.
fn promise_number(name: &str) -> Option<u32> {
    let (digits, _) = name.strip_prefix('p')?.split_once('_')?;
    if digits.len() == 2 { digits.parse().ok() } else { None }
}

#[test]
fn each_promise_names_a_test_that_exists() {
    let files = tree::files();
    let tests = tests(&files);
    let text = &files.iter().find(|file| file.path == GUARANTEES).unwrap().text;
    let links: Vec<&str> = quoted(text).into_iter().filter(|word| is_test_link(word)).collect();
    let mut offences: Vec<String> = links
        .iter()
        .filter(|link| !exists(link, &tests))
        .map(|link| format!("{GUARANTEES} names {link}, and there is no such test"))
        .collect();
    for (path, name) in &tests {
        let named = links.iter().any(|link| link.ends_with(&format!("::{name}")));
        if promise_number(name).is_some() && !named {
            offences.push(format!("{path} has {name}, and {GUARANTEES} does not name it"));
        }
    }
    check("promises and their tests", &offences);
}

/// Rows look like `| 1 | ... |`. Each case has tests that exist, or waits for something to attack.
#[test]
fn each_hostile_case_names_tests_that_exist_or_waits_for_its_surface() {
    let files = tree::files();
    let tests = tests(&files);
    let text = &files.iter().find(|file| file.path == HOSTILE).unwrap().text;
    let mut offences: Vec<String> = quoted(text)
        .into_iter()
        .filter(|word| is_test_link(word) && !exists(word, &tests))
        .map(|link| format!("{HOSTILE} names {link}, and there is no such test"))
        .collect();
    let row = |number: u32| text.lines().find(|line| line.starts_with(&format!("| {number} |")));
    for number in 1..=46 {
        let Some(row) = row(number) else {
            offences.push(format!("case {number} is missing in {HOSTILE}"));
            continue;
        };
        if !quoted(row).into_iter().any(is_test_link) && !row.contains("waits for its surface") {
            offences.push(format!("case {number} has no test, and does not say why"));
        }
    }
    let once_more = &files.iter().find(|file| file.path == BYTEWISE).unwrap().text;
    for (path, name) in tests.iter().filter(|(path, _)| path.starts_with(HOSTILE_TESTS)) {
        let is_case = text.contains(&format!("::{name}`")) && !ONCE.contains(name);
        if is_case && !once_more.contains(&format!(" {name}\n")) {
            offences.push(format!("{path} has {name}, which is not run byte by byte"));
        }
    }
    check("hostile cases and their tests", &offences);
}

/// A row of a table below the head of the table.
fn is_row(line: &&str) -> bool {
    line.starts_with("| ") && !line.starts_with("| feature |") && !line.starts_with("| --- |")
}

#[test]
fn each_feature_names_tests_that_exist() {
    let files = tree::files();
    let tests = tests(&files);
    let text = &files.iter().find(|file| file.path == FEATURES).unwrap().text;
    let mut offences = Vec::new();
    for row in text.lines().filter(is_row) {
        let links: Vec<&str> = quoted(row).into_iter().filter(|word| is_test_link(word)).collect();
        if links.is_empty() {
            offences.push(format!("{FEATURES} names no test in the row {row}"));
        }
        let missing = links.into_iter().filter(|link| !exists(link, &tests));
        offences.extend(
            missing.map(|link| format!("{FEATURES} names {link}, and there is no such test")),
        );
    }
    check("features and their tests", &offences);
}

/// Rows look like `| P1 | ... |`. A row either names a test or stands below the heading "Not yet".
#[test]
fn each_promise_is_kept_by_a_test_or_said_to_be_open() {
    let text = std::fs::read_to_string(tree::root().join(GUARANTEES)).unwrap();
    let mut offences = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = false;
    for line in text.lines() {
        if line.starts_with("## ") {
            open = line.starts_with("## Not yet");
        }
        let Some(row) = line.strip_prefix("| P") else {
            continue;
        };
        let id = row.split(' ').next().unwrap_or_default();
        let Ok(number) = id.parse::<u32>() else {
            continue;
        };
        if !seen.insert(number) {
            offences.push(format!("P{number} stands twice"));
        }
        let linked = quoted(line).into_iter().any(is_test_link);
        if !open && !linked {
            offences.push(format!("P{number} is said to hold, and names no test"));
        }
    }
    for number in 1..=40 {
        if !seen.contains(&number) {
            offences.push(format!("P{number} is missing"));
        }
    }
    check("a promise is held by a test, or is not made yet", &offences);
}

#[test]
fn documents_point_at_files_that_exist() {
    let root = tree::root();
    let mut offences = Vec::new();
    for file in tree::files().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root.join(&file.path).parent().unwrap().to_owned();
        for target in link_targets(&file.text) {
            if !folder.join(target).exists() {
                offences.push(format!("{} links to {target}", file.path));
            }
        }
        for word in quoted(&file.text) {
            let source = word.ends_with(".rs") || word.ends_with(".md") || word.ends_with('/');
            let plain = !word.contains(['*', '<', ' ', '{', '…', '$']) && !word.starts_with('.');
            let ours = !word.starts_with('/') && !word.contains("posthaste-data");
            if word.contains('/') && source && plain && ours && !root.join(word).exists() {
                offences.push(format!("{} speaks of `{word}`", file.path));
            }
        }
    }
    check("documents name files that are there", &offences);
}

/// Targets of `[text](target)` inside this repository, without their anchors.
fn link_targets(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or_default())
        .collect()
}

#[test]
fn links_to_tests_are_resolved() {
    let tests = [("storage/tests/it/crash.rs", "p01_x"), ("broker/src/shard/tests.rs", "p22_y")];
    assert!(exists("storage::it::crash::p01_x", &tests));
    assert!(exists("broker::shard::tests::p22_y", &tests));
    assert!(!exists("broker::it::p22_y", &tests));
    assert!(!exists("storage::it::crash::p01_z", &tests));
    assert_eq!(promise_number("p01_x"), Some(1));
    assert_eq!(promise_number("peek_x"), None);
}
