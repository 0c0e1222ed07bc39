//! Messages through the command line: what goes in comes out, byte for byte, and only once.

use crate::server::{Server, eventually, send, wait};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};

fn with_queue() -> Server {
    let server = Server::start();
    assert_eq!(server.ok(&["queue", "set", "orders"]), "created\tqueue\torders\n");
    server
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_lines_of_the_readme_work() {
    let server = with_queue();
    let stored = server.ok(&["pub", "orders", "{\"id\":7}"]);
    assert!(stored.starts_with("stored\torders\tposition "), "{stored:?}");
    assert_eq!(server.ok(&["consume", "orders", "--count", "1"]), "{\"id\":7}\n");
    assert_eq!(server.ok(&["consume", "orders", "--wait", "50ms"]), "");
}

#[test]
fn an_unknown_destination_is_exit_code_3_with_near_names_and_the_create_command() {
    let server = with_queue();
    let ran = server.run(&["pub", "ordrs", "x"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:?}");
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert!(said[0].starts_with("error PH-0201: ") && said[0].contains("ordrs"), "{said:?}");
    assert_eq!(
        said[1..],
        [
            "  nothing was stored.",
            "  similar: orders",
            "  create:  posthaste queue set ordrs",
            "  more:    posthaste explain PH-0201",
        ]
    );
    for command in
        [&["consume", "ordrs", "--count", "1"][..], &["peek", "ordrs"], &["purge", "ordrs"]]
    {
        assert_eq!(server.run(command).code, 3, "{command:?}");
    }
}

#[test]
fn a_name_outside_the_rules_is_wrong_usage() {
    let server = Server::start();
    for name in ["a b", ".hidden", "\x1b[2J", ""] {
        let ran = server.run(&["queue", "set", name]);
        assert_eq!(ran.code, 2, "{name:?}: {ran:?}");
        assert!(ran.stderr.starts_with("error PH-0202: "), "{}", ran.stderr);
        assert!(!ran.stderr.contains('\x1b'), "{:?}", ran.stderr);
    }
}

#[test]
fn lines_come_out_as_they_went_in() {
    let server = with_queue();
    let input = b"plain\n\nwindows\r\n\xff\xfe\0binary\ttab\nlast without an end";
    let ran = server.run_with(&["pub", "orders", "-", "--lines"], input);
    assert_eq!(ran.stdout, "stored 5 messages in orders\n", "{ran:?}");
    let out = server.run(&["consume", "orders", "--count", "5"]);
    assert_eq!(out.bytes, [&input[..], b"\n"].concat());
}

#[test]
fn many_lines_keep_their_order() {
    let server = with_queue();
    let input: Vec<u8> = (0..50_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    let file = server.scratch().join("lines.txt");
    std::fs::write(&file, &input).unwrap();
    let from = format!("@{}", file.display());
    assert_eq!(
        server.ok(&["pub", "orders", &from, "--lines"]),
        "stored 50000 messages in orders\n"
    );
    let out = server.run(&["consume", "orders", "--count", "50000"]);
    assert!(out.bytes == input, "{} bytes of {}", out.bytes.len(), input.len());
    assert_eq!(server.ok(&["consume", "orders", "--wait", "50ms"]), "");
}

#[test]
fn a_file_and_the_standard_input_are_one_message_each() {
    let server = with_queue();
    let file = server.scratch().join("body");
    std::fs::write(&file, b"two\nlines\n").unwrap();
    server.ok(&["pub", "orders", &format!("@{}", file.display())]);
    assert_eq!(server.run_with(&["pub", "orders", "-"], b"\0\xff").code, 0);
    let out = server.run(&["consume", "orders", "--count", "2"]);
    assert_eq!(out.bytes, b"two\nlines\n\n\0\xff\n");
}

#[test]
fn key_headers_and_count_travel() {
    let server = with_queue();
    let args =
        ["pub", "orders", "x", "--key", "c42", "--header", "a=1", "-H", "b=x=y", "--count", "3"];
    assert_eq!(server.ok(&args), "stored 3 messages in orders\n");
    let out = server.ok(&["consume", "orders", "--count", "2", "-o", "jsonl"]);
    for message in lines(&out) {
        assert_eq!(message["v"], 1);
        assert_eq!((&message["key"], &message["body"]), (&"c42".into(), &"x".into()));
        assert_eq!(message["headers"], serde_json::json!({"a": "1", "b": "x=y"}));
        assert_eq!((&message["attempt"], &message["redelivered"]), (&1.into(), &false.into()));
    }
    // On a queue of its own: one that was prefetched by the command before would be flagged.
    server.ok(&["queue", "set", "meta"]);
    server.ok(&["pub", "meta", "x", "-k", "c42", "-H", "a=1", "-H", "b=x=y"]);
    let meta = server.ok(&["consume", "meta", "--count", "1", "--meta"]);
    let fields: Vec<&str> = meta.trim_end().split('\t').collect();
    assert_eq!(fields[1..], ["1", "first", "c42", "a=1,b=x=y", "x"], "{meta:?}");
}

#[test]
fn a_delayed_message_waits() {
    let server = with_queue();
    server.ok(&["pub", "orders", "late", "--in", "1h"]);
    assert_eq!(server.ok(&["consume", "orders", "--wait", "50ms"]), "");
    let queue: Value =
        serde_json::from_str(&server.ok(&["queue", "show", "orders", "-o", "json"])).unwrap();
    assert_eq!(queue["groups"][0]["delayed"], 1);
    server.ok(&["pub", "orders", "soon", "--in", "100ms"]);
    assert_eq!(server.ok(&["consume", "orders", "--count", "1"]), "soon\n");
}

#[test]
fn looking_takes_nothing() {
    let server = with_queue();
    server.run_with(&["pub", "orders", "--lines"], b"a\nb\nc\n");
    for _ in 0..2 {
        assert_eq!(server.ok(&["peek", "orders", "-n", "2"]), "a\nb\n");
        let tail = ["tail", "orders", "--from", "earliest", "--count", "3"];
        assert_eq!(server.ok(&tail), "a\nb\nc\n");
    }
    let page: Value = serde_json::from_str(&server.ok(&["peek", "orders", "-o", "json"])).unwrap();
    assert_eq!(page["messages"].as_array().unwrap().len(), 3);
    let out = server.ok(&["consume", "orders", "--count", "3", "-o", "jsonl"]);
    assert!(lines(&out).iter().all(|m| m["attempt"] == 1 && m["redelivered"] == false), "{out}");
}

#[test]
fn tail_shows_what_arrives() {
    let server = with_queue();
    server.ok(&["pub", "orders", "before"]);
    let mut tail = server.client(&["tail", "orders", "--from", "earliest"]).spawn().unwrap();
    let mut out = BufReader::new(tail.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    server.ok(&["pub", "orders", "after"]);
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "before\nafter\n");
    send("INT", tail.id());
    assert_eq!(wait(&mut tail), 0);
}

#[test]
fn what_was_printed_before_ctrl_c_does_not_come_again() {
    let server = with_queue();
    server.run_with(&["pub", "orders", "--lines"], b"a\nb\nc\n");
    let mut consume = server.client(&["consume", "orders"]).spawn().unwrap();
    let mut out = BufReader::new(consume.stdout.take().unwrap());
    let mut printed = String::new();
    for _ in 0..3 {
        out.read_line(&mut printed).unwrap();
    }
    send("INT", consume.id());
    assert_eq!(wait(&mut consume), 0);
    assert_eq!(printed, "a\nb\nc\n");
    assert_eq!(server.ok(&["consume", "orders", "--wait", "50ms"]), "");
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly_and_loses_nothing() {
    let server = with_queue();
    let input: Vec<u8> = (0..200_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    server.run_with(&["pub", "orders", "--lines"], &input);
    let mut consume = server.client(&["consume", "orders"]).spawn().unwrap();
    let mut out = BufReader::new(consume.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    drop(out);
    assert_eq!(wait(&mut consume), 0);
    let mut said = String::new();
    consume.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((first.as_str(), said.as_str()), ("line 0\n", ""));
    // What could not be written was not acked, and is there for the next one.
    let queue: Value =
        serde_json::from_str(&server.ok(&["queue", "show", "orders", "-o", "json"])).unwrap();
    let ready = queue["groups"][0]["ready"].as_u64().unwrap();
    assert!(ready > 100_000, "{queue}");
}

#[test]
fn exec_acks_on_success_and_retries_until_the_dead_letters_otherwise() {
    let server = Server::start();
    server.ok(&["queue", "set", "orders", "--max-attempts", "2", "--retry", "1ms..1ms"]);
    server.run_with(&["pub", "orders", "--lines"], b"good\nbad\n");
    let seen = server.scratch().join("seen");
    let script = format!(
        "body=$(cat); echo \"$body $POSTHASTE_ATTEMPT\" >> {}; test \"$body\" = good",
        seen.display()
    );
    let ran = server.run(&["consume", "orders", "--exec", &script, "--wait", "500ms"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("the command ended with"), "{}", ran.stderr);
    let mut runs: Vec<String> =
        std::fs::read_to_string(&seen).unwrap().lines().map(str::to_owned).collect();
    runs.sort();
    assert_eq!(runs, ["bad 1", "bad 2", "good 1"]);
    assert_eq!(server.ok(&["dead", "ls"]), "orders\t\t1\n");
    let letters = server.ok(&["dead", "show", "orders", "-o", "jsonl"]);
    let letter = &lines(&letters)[0];
    assert_eq!((&letter["body"], &letter["attempts"]), (&"bad".into(), &2.into()));
    assert!(letter["reason"].as_str().unwrap().contains("exit status: 1"), "{letter}");
}

#[test]
fn dead_letters_are_replayed_or_dropped() {
    let server = Server::start();
    server.ok(&["queue", "set", "orders", "--max-attempts", "1"]);
    server.run_with(&["pub", "orders", "--lines"], b"a\nb\n");
    server.ok(&["consume", "orders", "--exec", "exit 3", "--wait", "300ms"]);
    assert_eq!(server.run(&["dead", "replay", "orders", "--dry-run"]).code, 7);
    let replayed = server.ok(&["dead", "replay", "orders", "--offset", &first_dead(&server)]);
    assert_eq!(replayed, "replayed\torders\t1 dead letters\n");
    assert_eq!(server.ok(&["consume", "orders", "--count", "1"]), "a\n");
    let asked = server.run(&["dead", "drop", "orders"]);
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.stderr.contains("run:  posthaste dead drop orders --yes"), "{}", asked.stderr);
    assert_eq!(
        server.ok(&["dead", "drop", "orders", "--yes"]),
        "dropped\torders\t1 dead letters\n"
    );
    assert_eq!(server.ok(&["dead", "ls"]), "");
    assert_eq!(server.run(&["dead", "drop", "orders", "--dry-run"]).code, 0);
}

fn first_dead(server: &Server) -> String {
    let letters = server.ok(&["dead", "show", "orders"]);
    letters.split('\t').next().unwrap().to_owned()
}

#[test]
fn publishing_lines_survives_a_crash_of_the_broker() {
    let mut server = with_queue();
    let count = 300_000;
    let input: Vec<u8> = (0..count).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    let file = server.scratch().join("lines.txt");
    std::fs::write(&file, &input).unwrap();
    let from = format!("@{}", file.display());
    let publish = server.client(&["pub", "orders", &from, "--lines"]).spawn().unwrap();
    eventually("something is stored", || {
        let shown = server.run(&["queue", "show", "orders", "-o", "json"]);
        let queue: Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
        queue["next_position"].as_u64().unwrap_or(0) > 1_000
    });
    server.kill();
    server.start_again();
    let published = publish.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&published.stdout).into_owned();
    assert_eq!(said, format!("stored {count} messages in orders\n"), "{published:?}");
    let out = server.run(&["consume", "orders", "--count", &count.to_string()]);
    assert!(out.bytes == input, "each line once and in order");
    assert_eq!(server.ok(&["consume", "orders", "--wait", "50ms"]), "");
}

#[test]
fn a_message_is_stored_once_under_its_id_within_the_window() {
    let server = Server::start();
    let created = server.ok(&["queue", "set", "orders", "--id-window", "1h"]);
    assert_eq!(created, "created\tqueue\torders\n");
    assert!(server.ok(&["queue", "show", "orders"]).contains("id_window\t1h"));
    let again = server.run(&["queue", "set", "orders", "--id-window", "2h", "--dry-run"]);
    assert_eq!((again.code, again.stdout.contains("id_window: 1h -> 2h")), (7, true), "{again:?}");
    let publish = |body: &str| server.run(&["pub", "orders", body, "--id", "order-7"]);
    assert_eq!(publish("seven").stdout, "stored\torders\tposition 0\n");
    assert_eq!(publish("seven").stdout, "stored before\torders\tposition 0\n");
    let refused = publish("eight");
    assert_eq!((refused.code, refused.stdout.as_str()), (4, ""), "{refused:?}");
    assert!(refused.stderr.starts_with("error PH-0402: "), "{refused:?}");
    assert_eq!(server.run(&["pub", "orders", "x", "--id", "1", "--count", "2"]).code, 2);
    assert_eq!(server.ok(&["consume", "orders", "--count", "1"]), "seven\n");
    assert_eq!(server.ok(&["consume", "orders", "--wait", "50ms"]), "");
}

#[test]
fn a_publish_is_stored_only_behind_the_expected_position() {
    let server = with_queue();
    let publish = |last: &str| server.run(&["pub", "orders", "x", "--if-last", last]);
    assert_eq!(publish("0").code, 4, "there is nothing yet");
    assert_eq!(publish("none").stdout, "stored\torders\tposition 0\n");
    let late = publish("none");
    assert_eq!((late.code, late.stdout.as_str()), (4, ""), "{late:?}");
    assert!(late.stderr.starts_with("error PH-0404: the last of orders is position 0"), "{late:?}");
    assert_eq!(publish("0").stdout, "stored\torders\tposition 1\n");
    assert_eq!(publish("-1").code, 2);
    assert_eq!(publish("last").code, 2);
}
