//! `bench`: it accounts for every message, and leaves nothing behind.

use crate::server::{Scratch, Server};
use serde_json::Value;

fn bench(server: &Server, args: &[&str]) -> Value {
    let out = server.ok(&[&["bench"], args, &["-o", "json"]].concat());
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

#[test]
fn each_kind_accounts_for_every_message_and_removes_its_queues() {
    let server = Server::start();
    for (kind, more) in [
        ("pub", &[][..]),
        ("pub", &["--batch", "1", "--in-flight", "100"]),
        ("pub", &["--connections", "2", "--queues", "3"]),
        ("pub", &["--rate", "20k/s"]),
        ("consume", &[]),
        ("e2e", &[]),
        ("e2e", &["--consumers", "2", "--connections", "2"]),
        ("e2e", &["--queues", "5"]),
        ("e2e", &["--rate", "20k/s", "--batch", "1"]),
    ] {
        let result = bench(&server, &[&[kind, "--count", "5000"], more].concat());
        assert_eq!(result["v"], 1);
        assert_eq!(result["bench"], kind);
        assert_eq!(result["durability"], "synced");
        assert_eq!(result["confirmed"], 5_000, "{kind} {more:?}: {result}");
        let received = if kind == "pub" { 0 } else { 5_000 };
        assert_eq!(result["received"], received, "{kind} {more:?}: {result}");
        assert_eq!(result["duplicates"], 0, "{result}");
        assert!(result["messages_per_second"].as_u64().unwrap() > 0, "{result}");
        assert!(result["bytes_per_second"].as_u64().unwrap() > 0, "{result}");
        if kind != "consume" {
            let latency = &result["latency_us"];
            let of = |quantile: &str| latency[quantile].as_f64().unwrap();
            assert!(0.0 < of("p50"), "{kind} {more:?}: {result}");
            assert!(of("p50") <= of("p99") && of("p99") <= of("p999"), "{result}");
            assert!(of("p999") <= of("max"), "{result}");
        }
    }
    assert_eq!(server.ok(&["ls"]), "");
}

#[test]
fn a_window_leaves_the_warm_up_out_and_states_it() {
    let server = Server::start();
    let result = bench(&server, &["pub", "--for", "300ms", "--warm-up", "200ms"]);
    assert_eq!(result["warm_up_seconds"], 0.2);
    let seconds = result["seconds"].as_f64().unwrap();
    assert!((0.3..5.0).contains(&seconds), "{result}");
    assert!(result["measured"].as_u64() < result["confirmed"].as_u64(), "{result}");
    let text = server.ok(&["bench", "pub", "--for", "100ms", "--warm-up", "50ms"]);
    assert!(text.contains("warm-up") && text.contains("(synced)"), "{text}");
}

#[test]
fn a_queue_of_somebody_else_is_not_consumed_by_mistake() {
    let server = Server::start();
    server.ok(&["queue", "set", "orders"]);
    server.ok(&["pub", "orders", "precious"]);
    let ran = server.run(&["bench", "e2e", "orders", "--count", "10"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(server.ok(&["peek", "orders"]), "precious\n");
    let result = bench(&server, &["e2e", "orders", "--count", "10", "--yes"]);
    assert_eq!((&result["foreign"], &result["missing"]), (&1.into(), &0.into()), "{result}");
    server.ok(&["queue", "show", "orders"]);
}

#[test]
fn repeated_runs_are_kept_whole_and_can_be_compared() {
    let server = Server::start();
    let folder = Scratch::new();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let page = file("page.html");
    let args = ["bench", "pub", "--count", "2000", "--verify", "--repeat", "3", "--html", &page];
    let out = server.ok(&[&args[..], &["-o", "json"]].concat());
    let all: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [runs @ .., series] = &all[..] else { panic!("{out}") };
    assert_eq!((runs.len(), series["repeat"].as_u64()), (3, Some(3)));
    assert!(runs.iter().all(|run| run["missing"] == 0 && run["received"] == 2_000), "{out}");
    let rate = |name: &str| series["messages_per_second"][name].as_f64().unwrap();
    assert!(rate("min") <= rate("median") && rate("median") <= rate("max"), "{series}");
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("<svg") && html.contains("99.9%") && !html.contains("http"), "{html}");

    std::fs::write(file("a.json"), &out).unwrap();
    let said = server.ok(&["bench", "compare", &file("a.json"), &file("a.json")]);
    assert!(said.lines().all(|line| line.ends_with("no difference at this noise")), "{said}");
    std::fs::write(file("one.json"), runs[0].to_string()).unwrap();
    let said = server.ok(&["bench", "compare", &file("one.json"), &file("a.json")]);
    assert!(said.contains("unknown: repeat each at least 3 times"), "{said}");
    std::fs::write(file("none.json"), "{}\n").unwrap();
    let ran = server.run(&["bench", "compare", &file("none.json"), &file("a.json")]);
    assert!(ran.code == 2 && ran.stderr.contains("holds no result"), "{ran:?}");
}

#[test]
fn a_ladder_ends_with_the_highest_rate_that_kept_the_limit() {
    let server = Server::start();
    // Nothing keeps this: the first step is the last.
    let strict = ["ladder", "--p99", "1ms", "--rate", "2M/s", "--for", "200ms", "--warm-up", "0"];
    let result = bench(&server, &strict);
    assert_eq!((&result["rate"], result["steps"].as_array().unwrap().len()), (&0.into(), 1));
    let ran = server.run(&["bench", "ladder", "--repeat", "2"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}
