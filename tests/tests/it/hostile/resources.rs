//! Clients that take more than their share: credit, channels, sockets they do not read.

use super::Arena;
use posthaste_protocol::request::{Consume, Credit, Held, Kind, Outcome, Settings, Settle};
use posthaste_protocol::{ErrorCode, Request, Response};
use posthaste_tests::raw::{batch, consume, encode, name};
use posthaste_tests::{Raw, eventually};

#[test]
pub(super) fn credit_cannot_overflow() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    raw.consume(1, "orders", 0);
    for _ in 0..5 {
        let credit = Credit { messages: u32::MAX, bytes: u64::MAX, begun: u64::MAX };
        raw.request(1, &Request::Credit(credit));
    }
    raw.store(target, "orders", b"x");
    assert_eq!(raw.take("orders", 1).len(), 1);
    arena.finish();
}

#[test]
pub(super) fn settles_of_others_unknown_and_absurd_ranges_change_nothing() {
    let arena = Arena::new();
    let mut owner = arena.greet();
    let target = owner.declare(Kind::Queue, "orders");
    owner.store(target, "orders", b"mine");
    owner.consume(1, "orders", 1);
    let got = owner.take("orders", 1).remove(0);
    let mut thief = arena.greet();
    thief.consume(1, "orders", 1);
    let epochs = [got.epoch, 0, 1, u64::MAX];
    let ranges = [(got.offset, 1), (0, u32::MAX), (u64::MAX, 1), (u64::MAX - 3, 100), (5, 7)];
    for epoch in epochs {
        for (first, count) in ranges {
            let held = Held { first, count, epoch };
            let items = vec![Settle { held, outcome: Outcome::Ack }];
            match thief.ask(1, &Request::Settle { confirm: true, items }) {
                Response::Settled { stale } => assert!(!stale.is_empty(), "{held:?} was settled"),
                Response::Error(reply) => {
                    assert_eq!(reply.code, ErrorCode::InvalidArgument, "{}", reply.message);
                }
                other => panic!("{held:?}: {other:?}"),
            }
        }
    }
    let items = vec![got.held()];
    match thief.ask(1, &Request::Extend { lease_ms: 60_000, items }) {
        Response::Extended { stale, .. } => assert_eq!(stale.len(), 1),
        other => panic!("{other:?}"),
    }
    let counts = owner.counts("orders");
    assert_eq!((counts.leased, counts.settled, counts.dead), (1, 0, 0));
    assert!(owner.settle(&got, Outcome::Ack), "the owner still holds it");
    arena.finish();
}

#[test]
pub(super) fn channels_have_a_limit_and_one_consumer_each() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    raw.declare(Kind::Queue, "orders");
    for channel in 1..=1_000 {
        raw.consume(channel, "orders", 1);
    }
    let again = Request::Consume(consume("orders", 1));
    raw.refused(7, &again, ErrorCode::Conflict);
    for channel in [1_001, u16::MAX] {
        let corr = raw.request(channel, &again);
        match raw.answer(corr) {
            Response::Error(reply) => {
                let codes = [ErrorCode::QuotaExceeded, ErrorCode::InvalidArgument];
                assert!(codes.contains(&reply.code), "{}", reply.message);
            }
            other => panic!("channel {channel}: {other:?}"),
        }
    }
    let zero = Request::Consume(Consume { ..consume("orders", 1) });
    let corr = raw.request(0, &zero);
    assert!(matches!(raw.answer(corr), Response::Error(_) | Response::Closing(_)));
    arena.finish();
}

#[test]
pub(super) fn a_consumer_that_never_reads_costs_bounded_memory_and_loses_nothing() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "big");
    let mut deaf = Raw::greet(arena.address());
    let credit = Credit { messages: u32::MAX, bytes: u64::MAX, begun: 0 };
    deaf.request(1, &Request::Consume(Consume { credit, ..consume("big", 0) }));
    let body = vec![b'x'; 200_000];
    for n in 1..=500 {
        let number = raw.publish(target, batch("big", &[&body]));
        if n % 10 == 0 {
            raw.outcome(number).unwrap();
        }
    }
    // 100 MB are stored; what waits for the deaf one is bounded far below. The tail cache is the
    // broker's own and not the attacker's, so it is looked at by the count of what is leased.
    let counts = raw.counts("big");
    assert!(counts.leased < 250, "{counts:?}");
    // After the write deadline it is thrown out, and everything is ready again.
    eventually("its messages come back", || (raw.counts("big").ready == 500).then_some(()));
    drop(deaf);
    let mut arena = arena;
    arena.quiet_bytes += 96 << 20;
    arena.finish();
}

#[test]
pub(super) fn an_unknown_number_is_not_found() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    for target in [0, 99, u32::MAX] {
        let number = raw.publish(target, batch("victim", &[b"x"]));
        assert_eq!(raw.outcome(number), Err(ErrorCode::NotFound));
    }
    arena.finish();
}

#[test]
pub(super) fn a_deleted_queue_refuses_publishes_by_its_number() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "gone");
    raw.store(target, "gone", b"x");
    arena.broker.ok(&["queue", "rm", "gone", "--yes"]);
    let number = raw.publish(target, batch("gone", &[b"x"]));
    assert_eq!(raw.outcome(number), Err(ErrorCode::NotFound));
    raw.declare(Kind::Queue, "gone");
    let number = raw.publish(target, batch("gone", &[b"x"]));
    assert_eq!(raw.outcome(number), Err(ErrorCode::NotFound), "numbers are never reused");
    arena.finish();
}

#[test]
pub(super) fn thousands_of_refusals_at_once_are_all_told() {
    const PUBLISHES: u64 = 5_000;
    let arena = Arena::new();
    let mut raw = arena.greet();
    let request = Request::Publish {
        target: 99,
        durability: 0,
        expects: None,
        batch: batch("gone", &[b"x"]),
    };
    let frames: Vec<u8> =
        (1..=PUBLISHES).flat_map(|number| encode(0, number, &request).to_vec()).collect();
    raw.send(&frames);
    for number in 1..=PUBLISHES {
        assert_eq!(raw.outcome(number), Err(ErrorCode::NotFound), "of publish {number}");
    }
    arena.finish();
}

#[test]
pub(super) fn a_search_for_near_names_holds_nobody_up() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    // Names as long as they may be, near to each other and to what is looked for.
    let alike = |n: u32| name(&format!("{}-{n:03}", "x".repeat(196)));
    let asked: Vec<u64> = (0..400)
        .map(|n| {
            let (name, settings) = (alike(n), Settings::default());
            raw.request(0, &Request::Declare { kind: Kind::Queue, name, settings })
        })
        .collect();
    for corr in asked {
        assert!(matches!(raw.answer(corr), Response::Declared { .. }));
    }
    let begun = std::time::Instant::now();
    let describe = Request::Describe { name: name(&format!("{}y-zzz", "x".repeat(195))) };
    let frames: Vec<u8> =
        (0..100).flat_map(|n| encode(0, (1 << 40) + n, &describe).to_vec()).collect();
    raw.send(&frames);
    arena.let_the_victim_work();
    for n in 0..100 {
        match raw.answer((1 << 40) + n) {
            Response::Error(reply) => {
                assert!(matches!(reply.code, ErrorCode::NotFound | ErrorCode::Busy));
            }
            other => panic!("{other:?}"),
        }
    }
    println!("100 searches in {:?}", begun.elapsed());
    arena.finish();
}
