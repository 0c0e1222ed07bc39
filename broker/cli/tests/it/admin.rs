//! Queues, topics and groups through the command line: differences, dry runs, consent.

use crate::server::Server;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

#[test]
fn set_creates_changes_and_leaves_alone_and_shows_the_difference() {
    let server = Server::start();
    let dry = server.run(&["queue", "set", "orders", "--max-attempts", "8", "--dry-run"]);
    assert_eq!((dry.code, dry.stdout.as_str()), (7, "would be created\tqueue\torders\n"));
    assert_eq!(server.run(&["queue", "show", "orders"]).code, 3, "a dry run changes nothing");
    let set = ["queue", "set", "orders", "--max-attempts", "8", "--lease", "45s"];
    assert_eq!(server.ok(&set), "created\tqueue\torders\n");
    assert_eq!(server.ok(&set), "unchanged\tqueue\torders\n");
    let dry = server.run(&["queue", "set", "orders", "--lease", "1m", "--dry-run"]);
    assert_eq!(dry.code, 7);
    assert_eq!(dry.stdout, "would be updated\tqueue\torders\n\tlease: 45s -> 1m\n");
    assert_eq!(
        server.ok(&["queue", "set", "orders", "--lease", "1m"]),
        "updated\tqueue\torders\n\tlease: 45s -> 1m\n"
    );
    let shown = json(&server.ok(&["queue", "show", "orders", "-o", "json"]));
    assert_eq!((&shown["settings"]["lease_ms"], &shown["v"]), (&60_000.into(), &1.into()));
    assert_eq!(shown["settings"]["max_attempts"], 8);
    let plain = server.ok(&["queue", "show", "orders"]);
    assert!(plain.contains("lease\t1m\n") && plain.contains("ready\t0\n"), "{plain}");
}

#[test]
fn a_retry_policy_is_set_shown_and_replaced_whole() {
    let server = Server::start();
    server.ok(&["queue", "set", "orders", "--retry", "2s..5m,factor=1.5,jitter=20%"]);
    let shown = json(&server.ok(&["queue", "show", "orders", "-o", "json"]));
    let settings = &shown["settings"];
    assert_eq!(settings["retry_factor_percent"], 150);
    assert_eq!(settings["retry_jitter_percent"], 20);
    assert_eq!(
        server.ok(&["queue", "set", "orders", "--retry", "2s"]),
        "updated\tqueue\torders\n\tretry_max: 5m -> 2s\n\tretry_factor: 1.5 -> 1\n\t\
         retry_jitter: 20% -> 0%\n"
    );
    let ran = server.run(&["queue", "set", "orders", "--retry", "1s..10m,factor=11"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("the factor lies within 1 and 10"), "{}", ran.stderr);
}

#[test]
fn a_longest_hold_is_set_and_taken_away() {
    let server = Server::start();
    server.ok(&["queue", "set", "orders", "--max-hold", "2h"]);
    let shown = json(&server.ok(&["queue", "show", "orders", "-o", "json"]));
    assert_eq!(shown["settings"]["max_hold_ms"], 7_200_000);
    let none = server.ok(&["queue", "set", "orders", "--max-hold", "0"]);
    assert_eq!(none, "updated\tqueue\torders\n\tmax_hold: 2h -> none\n");
    let ran = server.run(&["queue", "set", "orders", "--lease", "1m", "--max-hold", "1s"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("lease_ms 60000 is above max_hold_ms 1000"), "{}", ran.stderr);
}

#[test]
fn a_value_out_of_range_is_refused_by_name() {
    let server = Server::start();
    let ran = server.run(&["queue", "set", "orders", "--max-attempts", "0"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("PH-0204"), "{}", ran.stderr);
}

#[test]
fn a_queue_is_no_topic() {
    let server = Server::start();
    server.ok(&["queue", "set", "orders"]);
    for command in [
        &["topic", "set", "orders"][..],
        &["topic", "show", "orders"],
        &["topic", "rm", "orders", "--yes"],
        &["group", "ls", "orders"],
    ] {
        let ran = server.run(command);
        assert_eq!(ran.code, 4, "{command:?}: {ran:?}");
        assert!(ran.stderr.contains("PH-0203"), "{}", ran.stderr);
    }
    server.ok(&["queue", "show", "orders"]);
}

#[test]
fn nothing_is_destroyed_without_consent() {
    let server = Server::start();
    server.ok(&["queue", "set", "orders"]);
    server.ok(&["pub", "orders", "x", "--count", "3"]);
    for (command, dry, done) in [
        (
            &["purge", "orders"][..],
            "would be removed\torders\t3 messages\n",
            "removed\torders\t3 messages\n",
        ),
        (
            &["queue", "rm", "orders"],
            "would be removed\tqueue\torders\t0 messages\n",
            "removed\tqueue\torders\t0 messages\n",
        ),
    ] {
        let refused = server.run(command);
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{refused:?}");
        let again = format!("run:  posthaste {} --yes\n", command.join(" "));
        assert!(refused.stderr.contains(&again), "{}", refused.stderr);
        let dried = server.run(&[command, &["--dry-run"]].concat());
        assert_eq!((dried.code, dried.stdout.as_str()), (7, dry), "{dried:?}");
        assert_eq!(server.ok(&[command, &["--yes"]].concat()), done);
    }
    assert_eq!(server.run(&["queue", "show", "orders"]).code, 3);
    assert_eq!(server.run(&["queue", "rm", "orders", "--yes"]).code, 3);
}

#[test]
fn groups_of_a_topic_have_positions_of_their_own() {
    let server = Server::start();
    assert_eq!(server.ok(&["topic", "set", "news", "--retain", "7d"]), "created\ttopic\tnews\n");
    server.run_with(&["pub", "news", "--lines"], b"a\nb\nc\n");
    let two = ["consume", "news", "--group", "billing", "--count", "2"];
    assert_eq!(server.ok(&two), "a\nb\n");
    assert_eq!(server.ok(&["consume", "news", "-g", "search", "--count", "3"]), "a\nb\nc\n");
    let groups = server.ok(&["group", "ls", "news"]);
    let lags: Vec<Vec<&str>> = groups
        .lines()
        .map(|line| {
            line.split('\t')
                .enumerate()
                .filter(|(at, _)| [0, 2].contains(at))
                .map(|(_, f)| f)
                .collect()
        })
        .collect();
    assert_eq!(lags, [["billing", "1"], ["search", "0"]], "{groups}");
    let seek = ["group", "seek", "news", "search", "--to", "earliest"];
    let dry = server.run(&[&seek[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, 7, "{dry:?}");
    assert!(dry.stdout.starts_with("would move\tnews/search\t"), "{dry:?}");
    assert_eq!(server.run(&seek).code, 2, "without consent");
    server.ok(&[&seek[..], &["--yes"]].concat());
    let again = server.ok(&["consume", "news", "-g", "search", "--count", "3"]);
    assert_eq!(again, "a\nb\nc\n");
    server.ok(&["group", "rm", "news", "search", "--yes"]);
    assert_eq!(server.ok(&["group", "ls", "news"]).lines().count(), 1);
}

#[test]
fn a_topic_cannot_be_consumed_without_a_group() {
    let server = Server::start();
    server.ok(&["topic", "set", "news"]);
    let ran = server.run(&["consume", "news", "--wait", "50ms"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("--group GROUP"), "{}", ran.stderr);
}

#[test]
fn lists_are_plain_when_piped_and_objects_on_request() {
    let server = Server::start();
    assert_eq!(server.ok(&["ls"]), "");
    server.ok(&["queue", "set", "orders"]);
    server.ok(&["topic", "set", "news"]);
    server.ok(&["pub", "orders", "x", "--count", "1200"]);
    let plain = server.ok(&["ls"]);
    let rows: Vec<Vec<&str>> = plain.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((rows[0][0], rows[0][1]), ("news", "topic"), "{plain}");
    assert_eq!(rows[1][..3], ["orders", "queue", "1200"], "{plain}");
    let all = json(&server.ok(&["ls", "-o", "json"]));
    assert_eq!((&all["v"], &all["targets"][1]["name"]), (&1.into(), &"orders".into()));
    let each = server.ok(&["ls", "-o", "jsonl"]);
    assert!(each.lines().all(|line| json(line)["v"] == 1), "{each}");
    let report = server.ok(&["report", "--over", "0"]);
    assert!(report.contains("orders\t1200\t0\t0\t0\t"), "{report}");
    assert!(report.contains("no consumers"), "{report}");
    let report = json(&server.ok(&["report", "--over", "10ms", "-o", "json"]));
    assert_eq!(report["queues"][0]["in_per_second"], 0);
    assert_eq!(report["broker"]["published"], 1200);
}

#[test]
fn ping_tells_who_answers_and_how_fast() {
    let server = Server::start();
    let pong = server.ok(&["ping"]);
    assert!(pong.starts_with("pong\t") && pong.ends_with(" us\n"), "{pong:?}");
    assert!(json(&server.ok(&["ping", "-o", "json"]))["round_trip_us"].is_u64());
}
