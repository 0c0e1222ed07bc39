//! What holds without a broker: help, usage errors, exit codes, which stream says what.

use crate::{Ran, run, run_with};
use serde_json::Value;

/// Commands that a person may type, wrongly; each must be refused before anything is connected.
const WRONG: &[&[&str]] = &[
    &[],
    &["frobnicate"],
    &["pub"],
    &["pub", "orders"],
    &["pub", "orders", "x", "--header", "no-equal-sign"],
    &["pub", "orders", "x", "--count", "0"],
    &["pub", "orders", "x", "--in", "5"],
    &["pub", "orders", "@f", "--lines", "--count", "2"],
    &["consume"],
    &["consume", "orders", "--wait", "two seconds"],
    &["consume", "orders", "--from", "latest"],
    &["consume", "orders", "--exec", "cat", "--meta"],
    &["peek", "orders", "-n", "0"],
    &["queue"],
    &["queue", "set"],
    &["queue", "set", "orders", "--retry", "10m..1s"],
    &["queue", "set", "orders", "--lease", "0"],
    &["req"],
    &["req", "pricing.quote"],
    &["reply", "pricing.quote"],
    &["reply", "pricing.quote", "--exec", "cat", "--concurrency", "0"],
    &["schedule"],
    &["schedule", "set", "x", "jobs", "x"],
    &["service"],
    &["group", "seek", "orders.events", "billing"],
    &["group", "seek", "orders.events", "billing", "--to", "newest"],
    &["ls", "-o", "yaml"],
    &["ls", "--timeout", "0"],
    &["serve", "--listen", "7420"],
    &["serve", "--http", "maybe"],
    &["serve", "--ready-fd", "-1"],
    &["bench"],
    &["bench", "pub", "orders", "--queues", "2"],
    &["bench", "pub", "--for", "5s", "--count", "10"],
    &["bench", "pub", "--durability", "memory"],
    &["bench", "pub", "--rate", "0"],
    &["bench", "e2e", "--size", "10"],
    &["completions", "tcsh-but-not-really"],
];

#[test]
fn wrong_usage_is_exit_code_2_with_a_message_on_stderr_only() {
    for args in WRONG {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{args:?}");
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn help_fits_a_screen_and_begins_with_what_and_examples() {
    let commands: &[&[&str]] = &[
        &[],
        &["serve"],
        &["pub"],
        &["pub", "orders"],
        &["consume"],
        &["tail"],
        &["peek"],
        &["req"],
        &["reply"],
        &["schedule"],
        &["schedule", "set"],
        &["service"],
        &["service", "ls"],
        &["queue"],
        &["queue", "set"],
        &["topic"],
        &["group"],
        &["group", "seek"],
        &["ls"],
        &["report"],
        &["dead"],
        &["purge"],
        &["ping"],
        &["bench"],
        &["completions"],
        &["explain"],
    ];
    for command in commands {
        let args: Vec<&str> = command.iter().copied().chain(["-h"]).collect();
        let ran = run(&args);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
        let lines = ran.stdout.lines().count();
        assert!(lines <= 50, "{args:?} has {lines} lines");
        if command.len() < 2 {
            let examples = ran.stdout.find("Examples:").expect("examples");
            assert!(examples < ran.stdout.find("Usage:").expect("usage"), "{args:?}");
        }
    }
}

#[test]
fn nothing_listening_is_exit_code_6_with_a_code_and_the_next_step() {
    // Port 1 of loopback: nobody listens there, and the system says so at once.
    let commands: &[&[&str]] = &[
        &["ping"],
        &["ls"],
        &["pub", "orders", "x"],
        &["consume", "orders", "--count", "1"],
        &["queue", "set", "orders"],
        &["bench", "pub", "--count", "1"],
    ];
    for command in commands {
        let ran = run_with(command, Some("posthaste://127.0.0.1:1"), b"");
        assert_eq!(ran.code, 6, "{command:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{command:?}");
        assert!(ran.stderr.starts_with("error PH-0907: "), "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("posthaste://127.0.0.1:1"), "{}", ran.stderr);
        assert!(ran.stderr.contains("more:"), "{}", ran.stderr);
    }
}

#[test]
fn the_flag_wins_over_the_variable() {
    let args = ["ping", "--url", "posthaste://127.0.0.1:2"];
    let ran = run_with(&args, Some("posthaste://127.0.0.1:1"), b"");
    assert!(ran.stderr.contains("127.0.0.1:2"), "{}", ran.stderr);
}

#[test]
fn errors_are_json_when_the_output_is() {
    for format in ["json", "jsonl"] {
        let ran = run_with(&["ping", "-o", format], Some("posthaste://127.0.0.1:1"), b"");
        let error: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(error["v"], 1);
        assert_eq!(error["error"]["code"], "PH-0907");
        assert_eq!(error["error"]["exit"], 6);
    }
}

#[test]
fn a_url_that_is_none_is_wrong_usage() {
    let ran = run_with(&["ping"], Some("http://127.0.0.1"), b"");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("PH-0906"), "{}", ran.stderr);
}

#[test]
fn control_characters_of_an_argument_are_escaped_in_errors() {
    let ran = run(&["explain", "\x1b[2Jhello"]);
    assert_eq!(ran.code, 3);
    assert!(!ran.stderr.contains('\x1b'), "{:?}", ran.stderr);
}

#[test]
fn colour_is_never_written_to_a_pipe() {
    for args in [&["-h"][..], &["explain", "201"], &["frobnicate"], &["ping"]] {
        let Ran { stdout, stderr, .. } = run_with(args, Some("posthaste://127.0.0.1:1"), b"");
        assert!(!stdout.contains('\x1b') && !stderr.contains('\x1b'), "{args:?}");
    }
}

#[test]
fn every_code_is_explained_as_text_and_as_json() {
    let all = run(&["explain", "-o", "jsonl"]);
    let codes: Vec<Value> =
        all.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(codes.len() > 20);
    for object in &codes {
        let code = object["code"].as_str().unwrap();
        let ran = run(&["explain", code]);
        assert_eq!(ran.code, 0, "{code}");
        assert!(ran.stdout.starts_with(code) && ran.stdout.contains("What to do:"), "{code}");
    }
    let listed = run(&["explain"]);
    assert_eq!(listed.stdout.lines().count(), codes.len());
    assert!(listed.stdout.lines().all(|line| line.split('\t').count() == 2));
}

#[test]
fn a_script_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = run(&["completions", shell]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{shell}");
        assert!(ran.stdout.contains("consume") && ran.stdout.contains("bench"), "{shell}");
    }
}

#[test]
fn an_alias_of_another_tool_works_and_names_the_real_verb() {
    let ran = run_with(&["list"], Some("posthaste://127.0.0.1:1"), b"");
    assert_eq!(ran.code, 6);
    assert!(ran.stderr.starts_with("note: list is called ls here"), "{}", ran.stderr);
    let quiet = run_with(&["list", "-q"], Some("posthaste://127.0.0.1:1"), b"");
    assert!(quiet.stderr.starts_with("error"), "{}", quiet.stderr);
}

#[test]
fn an_address_that_others_reach_is_refused_without_the_long_flag() {
    for args in [
        &["serve", "--dev", "--listen", "0.0.0.0:0"][..],
        &["serve", "--dev", "--listen", "[::]:0"],
        &["serve", "--dev", "--listen", "127.0.0.1:0", "--http", "0.0.0.0:0"],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!(ran.stderr.starts_with("error PH-0605: "), "{}", ran.stderr);
        assert!(ran.stderr.contains("--listen-insecure-no-auth-no-tls"), "{}", ran.stderr);
    }
}

#[test]
fn a_file_that_cannot_be_read_stores_nothing() {
    let ran = run(&["pub", "orders", "@no/such/file"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.starts_with("error PH-0704: cannot read no/such/file"), "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing was stored."));
}
