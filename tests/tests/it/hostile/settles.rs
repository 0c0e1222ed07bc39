//! Settling twice, too much and too often; credit of nothing and of everything.

use super::Arena;
use posthaste_protocol::request::{Consume, Credit, Held, Kind, Outcome, Settle};
use posthaste_protocol::{Request, Response};
use posthaste_tests::raw::{batch, consume};
use posthaste_tests::{Raw, eventually};

/// What a case with holes is made of.
const MESSAGES: u32 = 30_000;
/// LIMIT of the protocol: messages that one consumer may have credit for.
const CREDIT_MAX: u64 = 65_535;

#[test]
pub(super) fn what_is_settled_stays_settled_whatever_is_said_again() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    raw.store(target, "orders", b"x");
    raw.consume(1, "orders", 1);
    let got = raw.take("orders", 1).remove(0);
    assert!(raw.settle(&got, Outcome::Ack));
    let again = [
        Outcome::Ack,
        Outcome::Release,
        Outcome::Retry { delay_ms: None, reason: "changed my mind".into() },
        Outcome::DeadLetter { reason: "changed my mind".into() },
    ];
    for outcome in again {
        assert!(!raw.settle(&got, outcome.clone()), "{outcome:?} came too late");
    }
    let counts = raw.counts("orders");
    assert_eq!(
        (counts.settled, counts.ready, counts.leased, counts.delayed, counts.dead),
        (1, 0, 0, 0, 0)
    );
    arena.finish();
}

#[test]
pub(super) fn a_range_with_holes_settles_what_is_held_and_names_the_rest() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    let number = raw.publish(target, batch("orders", &[&b"x"[..]; 10]));
    raw.outcome(number).unwrap();
    raw.consume(1, "orders", 10);
    let got = raw.take("orders", 10);
    assert!(raw.settle(&got[4], Outcome::Ack));
    let held = Held { first: 0, count: 1_000_000, epoch: got[0].epoch };
    let items = vec![Settle { held, outcome: Outcome::Ack }];
    let Response::Settled { stale } = raw.ask(1, &Request::Settle { confirm: true, items }) else {
        panic!("no answer to a settle");
    };
    let named: u64 = stale.iter().map(|held| u64::from(held.count)).sum();
    assert_eq!(named, 1_000_000 - 9, "{stale:?}");
    assert!(stale.iter().any(|held| (held.first, held.count) == (4, 1)), "{stale:?}");
    assert_eq!(raw.counts("orders").settled, 10);
    arena.finish();
}

#[test]
pub(super) fn a_million_settles_of_nothing_cost_nobody_anything() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    raw.declare(Kind::Queue, "orders");
    raw.consume(1, "orders", 1);
    let rounds = if cfg!(debug_assertions) { 25 } else { 250 };
    for round in 0..rounds {
        let items = (0..4_096).map(|n| Settle {
            held: Held { first: round * 4_096 + n, count: 1, epoch: 1 },
            outcome: Outcome::Ack,
        });
        let request = Request::Settle { confirm: true, items: items.collect() };
        match raw.ask(1, &request) {
            Response::Settled { stale } => assert!(!stale.is_empty()),
            other => panic!("{other:?}"),
        }
    }
    println!("{} settles of what nobody holds", rounds * 4_096);
    let counts = raw.counts("orders");
    assert_eq!((counts.settled, counts.ready), (0, 0));
    arena.finish();
}

#[test]
pub(super) fn no_credit_is_no_message_and_endless_credit_is_what_the_protocol_allows() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    for _ in 0..2 {
        let number = raw.publish(target, batch("orders", &vec![&b"x"[..]; 40_000]));
        raw.outcome(number).unwrap();
    }
    for (channel, credit) in [
        (1, Credit { messages: 0, bytes: u64::MAX, begun: u64::MAX }),
        (2, Credit { messages: u32::MAX, bytes: 0, begun: 0 }),
    ] {
        let none = Consume { credit, ..consume("orders", 0) };
        assert!(matches!(raw.ask(channel, &Request::Consume(none)), Response::Consuming { .. }));
    }
    raw.ask(0, &Request::Ping(1));
    assert_eq!(raw.counts("orders").leased, 0, "both have credit for nothing");
    let credit = Credit { messages: u32::MAX, bytes: u64::MAX, begun: 0 };
    let all = Consume { credit, ..consume("orders", 0) };
    assert!(matches!(raw.ask(3, &Request::Consume(all)), Response::Consuming { .. }));
    for _ in 0..3 {
        raw.request(3, &Request::Credit(credit));
    }
    let leased = eventually("all of the credit is used", || {
        let counts = raw.counts("orders");
        (counts.leased >= CREDIT_MAX).then_some(counts.leased)
    });
    // What was sent before a top-up is not taken back by it, and no sum wraps around.
    assert!(leased <= 80_000);
    let mut arena = arena;
    arena.quiet_bytes += 16 << 20;
    arena.finish();
}

/// A consumer on channel 1 that holds every second of so many messages, all under one epoch.
fn hold_every_second(raw: &mut Raw) -> Held {
    let target = raw.declare(Kind::Queue, "orders");
    let number = raw.publish(target, batch("orders", &vec![&b"x"[..]; MESSAGES as usize]));
    raw.outcome(number).unwrap();
    let credit = Credit { messages: MESSAGES, bytes: u64::MAX, begun: 0 };
    let all = Consume { credit, ..consume("orders", 0) };
    assert!(matches!(raw.ask(1, &Request::Consume(all)), Response::Consuming { .. }));
    let got = raw.take("orders", MESSAGES as usize);
    // Every second one is acked, then all of them: half of them are holes.
    for some in got.chunks(8_192) {
        let items =
            some.iter().step_by(2).map(|got| Settle { held: got.held(), outcome: Outcome::Ack });
        let request = Request::Settle { confirm: true, items: items.collect() };
        assert!(matches!(raw.ask(1, &request), Response::Settled { stale } if stale.is_empty()));
    }
    let held = Held { first: got[0].offset, count: MESSAGES, epoch: got[0].epoch };
    assert!(got.iter().all(|got| got.epoch == held.epoch), "one delivery, or this tests nothing");
    held
}

#[test]
pub(super) fn a_range_with_ten_thousand_holes_is_answered_in_frames_that_can_be_read() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let held = hold_every_second(&mut raw);
    let Response::Extended { stale, .. } =
        raw.ask(1, &Request::Extend { lease_ms: 60_000, items: vec![held] })
    else {
        panic!("no answer to an extend");
    };
    assert!(!stale.is_empty());
    let items = vec![Settle { held, outcome: Outcome::Ack }];
    let corr = raw.request(1, &Request::Settle { confirm: true, items });
    let mut stale = Vec::new();
    loop {
        match raw.heard().expect("the broker answers") {
            (frame, Response::Settled { stale: some }) => {
                stale.extend(some);
                if frame.header.corr == corr {
                    break;
                }
            }
            (_, other) => panic!("{other:?}"),
        }
    }
    let named: u64 = stale.iter().map(|held| u64::from(held.count)).sum();
    assert!(named >= u64::from(MESSAGES / 2), "{named} are named");
    assert_eq!(raw.counts("orders").settled, u64::from(MESSAGES));
    arena.finish();
}

#[test]
pub(super) fn ten_thousand_holes_asked_for_four_thousand_times_cost_what_they_cost_once() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let held = hold_every_second(&mut raw);
    let extend = Request::Extend { lease_ms: 60_000, items: vec![held; 4_096] };
    assert!(matches!(raw.ask(1, &extend), Response::Extended { .. }));
    let strange = Held { epoch: held.epoch + 1, ..held };
    let items = vec![Settle { held: strange, outcome: Outcome::Release }; 4_096];
    assert!(matches!(
        raw.ask(1, &Request::Settle { confirm: true, items }),
        Response::Settled { .. }
    ));
    arena.let_the_victim_work();
    let counts = raw.counts("orders");
    assert_eq!((counts.leased, counts.ready), (u64::from(MESSAGES / 2), 0), "{counts:?}");
    arena.finish();
}
