//! Recurring messages through the command line.

use crate::server::Server;
use serde_json::Value;

#[test]
fn a_schedule_is_set_listed_and_canceled() {
    let server = Server::start();
    server.ok(&["queue", "set", "jobs"]);
    let set = ["schedule", "set", "tick", "jobs", "tick", "--every", "1h", "-k", "k"];
    let told = server.ok(&set);
    assert!(told.starts_with("created\tschedule\ttick\tnext in "), "{told}");
    assert!(server.ok(&set).starts_with("unchanged\tschedule\ttick\t"));
    let cron = ["--cron", "30 2 * * mon-fri", "--zone", "Europe/Berlin"];
    let nightly = ["schedule", "set", "nightly", "jobs", "all shops"];
    server.ok(&[&nightly[..], &cron[..]].concat());
    let listed = server.ok(&["schedule", "ls", "-o", "jsonl"]);
    let listed: Vec<Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["schedule"], "nightly");
    assert_eq!(listed[0]["zone"], "Europe/Berlin");
    assert_eq!((&listed[1]["when"], &listed[1]["published"]), (&"@every 3600s".into(), &0.into()));
    assert_eq!(server.ok(&["schedule", "cancel", "tick"]), "canceled\tschedule\ttick\n");
    let gone = server.run(&["schedule", "cancel", "tick"]);
    assert_eq!(gone.code, 3, "{gone:?}");
    assert!(gone.stderr.contains("posthaste schedule ls"), "{}", gone.stderr);
}

#[test]
fn a_line_that_cannot_be_read_is_shown_with_a_caret_at_the_place() {
    let server = Server::start();
    let ran = server.run(&["schedule", "set", "x", "jobs", "x", "--cron", "0 25 * * *"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("0 25 * * *\n  ^ an hour lies within 0 and 23"), "{}", ran.stderr);
    let ran = server.run(&["schedule", "set", "x", "jobs", "x", "--every", "1500ms"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let ran = server.run(&["schedule", "set", "x", "job", "x", "--cron", "@daily"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let ran = server.run(&["schedule", "set", "x", "jobs", "x"]);
    assert_eq!(ran.code, 2, "neither --cron nor --every: {ran:?}");
}

#[test]
fn a_schedule_goes_on_after_the_broker_was_killed() {
    let mut server = Server::start();
    server.ok(&["queue", "set", "jobs"]);
    server.ok(&["schedule", "set", "tick", "jobs", "tick", "--every", "1s"]);
    server.kill();
    server.start_again();
    let got = server.ok(&["consume", "jobs", "--count", "2"]);
    assert_eq!(got, "tick\ntick\n");
}
