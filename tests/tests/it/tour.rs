//! The tour: every example of the client runs as it is shown, inside the process and against a server,
//! unchanged but for the URL. Each asserts what it shows.

use std::path::Path;
use std::process::Command;

use posthaste_tests::{TestBroker, binary};

const README: &str = include_str!("../../../README.md");

/// The numbered examples, in order.
fn tour() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/examples");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

fn run(name: &str, url: &str) {
    let output = Command::new(binary::example(name)).arg(url).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {url}: {said}");
    assert!(!output.stdout.is_empty(), "{name} shows nothing");
}

#[test]
fn every_example_of_the_tour_runs_inside_the_process() {
    for name in tour() {
        run(&name, "memory:");
    }
}

#[test]
fn every_example_of_the_tour_runs_against_a_server() {
    let broker = TestBroker::start("tour");
    for name in tour() {
        run(&name, &broker.url());
    }
}

#[test]
fn the_tour_is_numbered_and_the_readme_leads_through_it() {
    for (at, name) in tour().iter().enumerate() {
        assert!(name.starts_with(&format!("{:02}_", at + 1)), "{name} is number {}", at + 1);
        assert!(
            README.contains(&format!("(client/examples/{name}.rs)")),
            "the README lacks {name}"
        );
    }
}
