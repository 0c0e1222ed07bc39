//! A full disk: publishes are refused by name, everything else goes on, and when there is room again
//! they go on by themselves.

use super::ground::{OnVolume, TRACE, can_trace, clean, work_goes_on};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::{Credit, Kind, Outcome};
use posthaste_protocol::{Request, Response};
use posthaste_tests::http::get;
use posthaste_tests::raw::{Raw, batch};
use posthaste_tests::{Checking, FileSystem, TestBroker, eventually, told};
use std::time::Instant;

const RIG: &str = "full file system";

/// Publishes until it is refused for lack of space; how many were confirmed.
fn fill(broker: &TestBroker, queue: &str, bytes: usize) -> u64 {
    let mut raw = Raw::greet(broker.address());
    let target = raw.declare(Kind::Queue, queue);
    let body = vec![b'x'; bytes];
    for stored in 0..100_000 {
        let number = raw.publish(target, batch(queue, &[&body]));
        match raw.outcome(number) {
            Ok(_) => {}
            Err(code) => {
                assert_eq!(code, ErrorCode::NoSpace);
                return stored;
            }
        }
    }
    panic!("the disk is never full");
}

/// Whether a publish is taken now.
fn takes(broker: &TestBroker, queue: &str) -> bool {
    let mut raw = Raw::greet(broker.address());
    let target = raw.declare(Kind::Queue, queue);
    let number = raw.publish(target, batch(queue, &[b"one more"]));
    match raw.outcome(number) {
        Ok(_) => true,
        Err(code) => {
            assert_eq!(code, ErrorCode::NoSpace);
            false
        }
    }
}

/// Consumes so many messages; each ack is durable.
fn consume(broker: &TestBroker, queue: &str, count: usize) {
    let mut raw = Raw::greet(broker.address());
    raw.consume(1, queue, 4);
    for _ in 0..count {
        let got = raw.take(queue, 1);
        assert!(raw.settle(&got[0], Outcome::Ack), "the lease is held");
        raw.request(1, &Request::Credit(Credit { messages: 1, bytes: 1 << 20, begun: 0 }));
    }
}

fn go_on_when_full(kind: FileSystem) {
    let Some(mut on) = OnVolume::make(RIG, kind, 384) else { return };
    on.restart();
    on.ok(&["queue", "set", "short-lived"]);

    // Full by itself. What is there can be read, acked, deleted; stops and starts work.
    let stored = fill(&on, "bulk", 200_000);
    assert!(stored > 100, "{stored} messages filled it");
    consume(&on, "bulk", 20);
    on.ok(&["queue", "rm", "short-lived", "--yes"]);
    on.stop();
    on.restart();
    let taken = u64::from(takes(&on, "bulk"));
    on.kill();
    on.restart();
    assert_eq!(Raw::greet(on.address()).counts("bulk").ready, stored - 20 + taken);

    // Messages that are done make room.
    on.ok(&["purge", "bulk", "--yes"]);
    let purged = Instant::now();
    eventually("publishes are taken after a purge", || takes(&on, "bulk").then_some(()));
    let resumed = purged.elapsed();
    // Not before: a topic keeps its messages, and with them the segments that they are in.
    let mut checking = Checking::start(&on);
    work_goes_on(&mut checking, "after a purge");

    // Somebody else fills it to the last byte, and makes room again.
    on.volume.fill(64 << 10);
    let more = fill(&on, "bulk", 200_000);
    consume(&on, "bulk", 1);
    for _ in 0..2 {
        on.kill();
        on.restart();
        takes(&on, "bulk");
    }
    on.volume.empty();
    eventually("publishes are taken again", || takes(&on, "bulk").then_some(()));
    work_goes_on(&mut checking, "with room again");

    let verdict = clean(checking.verdict(), 10);
    on.stop();
    told::done(
        RIG,
        &format!(
            "1 fill on {}, refused after {stored} and {more}, taken again {resumed:.1?} after a purge, {}",
            kind.name(),
            verdict.figures()
        ),
    );
}

#[test]
fn p28_a_full_file_system_refuses_publishes_and_nothing_else_on_ext4() {
    go_on_when_full(FileSystem::Ext4);
}

#[test]
fn p28_a_full_file_system_refuses_publishes_and_nothing_else_on_xfs() {
    go_on_when_full(FileSystem::Xfs);
}

/// Room that the system says is there and does not give: the block that needs it waits, and the broker
/// goes on by itself.
#[test]
fn p28_a_block_without_room_waits_for_some_and_the_broker_lives() {
    // More than the segments that are ready take, however large they are made.
    const PUBLISHES: u64 = 260;
    let rig = "room that is not given";
    if let Err(why) = can_trace() {
        return told::skipped(rig, &why);
    }
    let mut broker = TestBroker::prepare("no-room", &[]);
    let refuse = ["-e", "trace=fallocate", "-e", "inject=fallocate:error=ENOSPC:when=2..40"];
    broker.run_through(&[&TRACE, refuse.as_slice()].concat());
    broker.restart();
    let mut raw = Raw::greet(broker.address());
    let target = raw.declare(Kind::Queue, "orders");
    // All at once, so that the log runs out of segments before somebody can be told to wait.
    let body = vec![b'x'; 900_000];
    for _ in 0..PUBLISHES {
        raw.publish(target, batch("orders", &[&body]));
    }
    let (mut stored, mut refused, mut was_red) = (0, 0, false);
    while stored + refused < PUBLISHES {
        match raw.heard().expect("the broker stays").1 {
            Response::Confirms(confirms) => {
                stored += confirms.iter().map(|one| u64::from(one.count)).sum::<u64>();
            }
            Response::Error(reply) => {
                assert_eq!(reply.code, ErrorCode::NoSpace);
                refused += 1;
            }
            _ => {}
        }
        was_red |= get(broker.http(), "/readyz").0 == 503;
    }
    assert!(stored > 10, "{stored} messages stored");
    eventually("publishes are taken again", || takes(&broker, "orders").then_some(()));
    assert_eq!(raw.counts("orders").ready, stored + 1);
    assert!(broker.is_running(), "it ended: {}", broker.log());
    broker.stop();
    told::done(rig, &format!("{PUBLISHES} publishes, {stored} stored, health was red: {was_red}"));
}
