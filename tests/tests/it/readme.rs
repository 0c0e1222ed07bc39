//! The README's commands do what the README shows. `…` stands for anything in a line, and white space
//! counts as one space: a terminal gets two where a pipe gets a tab.

use posthaste_tests::{TestBroker, binary};
use std::process::Command;

const README: &str = include_str!("../../../README.md");
/// Commands that are run by hand, and by continuous integration.
const BY_HAND: [&str; 2] = ["cargo run --release -- serve", "cargo test --workspace"];

/// Commands of the console blocks, each with the output that is shown.
fn commands() -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in README.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            found.push((command.to_owned(), Vec::new()));
        } else if let Some((_, output)) = found.last_mut().filter(|_| inside) {
            output.push(line.to_owned());
        }
    }
    found
}

#[test]
fn the_readme_shows_what_happens() {
    let broker = TestBroker::start("readme");
    let commands = commands();
    let posthaste = binary::posthaste().to_str().unwrap();
    assert!(BY_HAND.iter().all(|one| commands.iter().any(|(command, _)| command == one)));
    for (command, shown) in commands {
        if BY_HAND.contains(&command.as_str()) {
            continue;
        }
        // A measurement of five seconds proves no more here than one of a moment.
        let script = command.replace("./target/release/posthaste", posthaste);
        let script = script.replace("--for 5s", "--for 300ms");
        assert_ne!(command, script, "only the binary is run: {command}");
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("POSTHASTE_URL", broker.url())
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{command}: {stderr}");
        if !shown.is_empty() {
            let lines: Vec<String> = stdout.lines().map(spaced).collect();
            let same = lines.len() == shown.len()
                && lines.iter().zip(&shown).all(|(line, shown)| fits(line, &spaced(shown)));
            assert!(same, "{command} prints\n{stdout}and the README shows\n{}", shown.join("\n"));
        }
    }
}

fn spaced(line: &str) -> String {
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn fits(line: &str, shown: &str) -> bool {
    let Some((head, tail)) = shown.split_once('…') else { return line == shown };
    line.strip_prefix(head).is_some_and(|rest| {
        (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).any(|at| fits(&rest[at..], tail))
    })
}

#[test]
fn ellipses_stand_for_anything() {
    assert!(fits("stored  orders  17", "stored  orders  …"));
    assert!(fits("a b c", "a … c") && !fits("a b d", "a … c"));
}
