//! Too many names, names that others delete, producers that are not who they say, and odd times.

use super::Arena;
use posthaste_protocol::request::{
    Consume, DeadAction, Held, Kind, Outcome, Settings, Settle, Start, kind,
};
use posthaste_protocol::{ErrorCode, GroupName, Request, Response};
use posthaste_tests::Raw;
use posthaste_tests::craft::{self, BatchDraft, FrameDraft, record};
use posthaste_tests::raw::{batch, consume, name};

/// LIMIT of the broker: groups of one topic.
const GROUPS_MAX: u32 = 750;
const NOT_BEFORE: u8 = 4;
const EXPIRES: u8 = 8;

fn group(n: u32) -> GroupName {
    // As long as a name may be, so that what describes them all is as large as it can get.
    GroupName::try_from(format!("{n:0>200}").as_str()).unwrap()
}

#[test]
pub(super) fn p30_one_group_too_many_is_refused_by_name_and_the_others_are_described() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    raw.declare(Kind::Topic, "events");
    let declare = |n| Request::DeclareGroup {
        topic: name("events"),
        group: group(n),
        start: Start::Latest,
        settings: Settings::default(),
    };
    let asked: Vec<u64> = (0..GROUPS_MAX).map(|n| raw.request(0, &declare(n))).collect();
    for corr in asked {
        assert!(matches!(raw.answer(corr), Response::Declared { .. }));
    }
    raw.refused(0, &declare(GROUPS_MAX), ErrorCode::QuotaExceeded);
    let joined = Consume { group: Some(group(GROUPS_MAX)), ..consume("events", 1) };
    raw.refused(1, &Request::Consume(joined), ErrorCode::QuotaExceeded);
    assert!(matches!(raw.ask(0, &declare(0)), Response::Declared { .. }), "it is there");
    assert_eq!(raw.describe("events").groups.len(), GROUPS_MAX as usize);
    match raw.ask(0, &Request::List { after: None, limit: 1_000 }) {
        Response::Listed { items, .. } => assert_eq!(items[0].groups.len(), GROUPS_MAX as usize),
        other => panic!("{other:?}"),
    }
    arena.finish();
}

#[test]
pub(super) fn thousands_of_queues_cost_a_few_megabytes_and_hold_nobody_up() {
    const QUEUES: u32 = 3_000;
    let arena = Arena::new();
    let mut raw = arena.greet();
    for from in (0..QUEUES).step_by(500) {
        let asked: Vec<u64> = (from..from + 500)
            .map(|n| {
                let name = name(&format!("q-{n}"));
                let settings = Settings::default();
                raw.request(0, &Request::Declare { kind: Kind::Queue, name, settings })
            })
            .collect();
        for corr in asked {
            assert!(matches!(raw.answer(corr), Response::Declared { .. }));
        }
    }
    let more = arena.broker.resident_bytes().saturating_sub(arena.quiet_bytes);
    println!("{} bytes for each of {QUEUES} queues", more / u64::from(QUEUES));
    assert!(more < 24 << 20, "{more} bytes for {QUEUES} queues");
    arena.let_the_victim_work();
    arena.finish();
}

#[test]
pub(super) fn a_name_that_is_something_else_is_a_conflict_and_stays_what_it_is() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    raw.declare(Kind::Queue, "orders");
    let settings = Settings::default;
    let topic = Request::Declare { kind: Kind::Topic, name: name("orders"), settings: settings() };
    raw.refused(0, &topic, ErrorCode::Conflict);
    let group = GroupName::try_from("g").unwrap();
    let declare = Request::DeclareGroup {
        topic: name("orders"),
        group: group.clone(),
        start: Start::Latest,
        settings: settings(),
    };
    raw.refused(0, &declare, ErrorCode::Conflict);
    let joined = Consume { group: Some(group.clone()), ..consume("orders", 1) };
    raw.refused(1, &Request::Consume(joined), ErrorCode::InvalidArgument);
    let to = Start::Latest;
    let seek = Request::Seek { topic: name("orders"), group: group.clone(), to, dry_run: false };
    raw.refused(0, &seek, ErrorCode::InvalidArgument);
    let action = DeadAction::List { from: 0, limit: 1 };
    let dead = Request::Dead { name: name("orders"), group: Some(group), action };
    raw.refused(0, &dead, ErrorCode::InvalidArgument);
    assert_eq!(raw.describe("orders").kind, Kind::Queue);
    arena.finish();
}

#[test]
pub(super) fn what_is_deleted_while_it_is_used_leaves_no_orphans() {
    let arena = Arena::new();
    let mut owner = arena.greet();
    let target = owner.declare(Kind::Queue, "gone");
    owner.store(target, "gone", b"x");
    let mut worker = arena.greet();
    worker.consume(1, "gone", 10);
    let got = worker.take("gone", 1).remove(0);
    // Publishes of one, and the deletion by another, at the same time.
    let numbers: Vec<u64> =
        (0..50).map(|_| owner.publish(target, batch("gone", &[b"x"]))).collect();
    let mut other = arena.greet();
    let delete = Request::Delete { name: name("gone"), group: None };
    assert!(matches!(other.ask(0, &delete), Response::Deleted));
    let stored = numbers.into_iter().filter_map(|number| match owner.outcome(number) {
        Ok(offset) => Some(offset),
        Err(code) => {
            assert_eq!(code, ErrorCode::NotFound);
            None
        }
    });
    println!("{} were stored before it was deleted", stored.count());
    other.refused(0, &delete, ErrorCode::NotFound);
    // The consumer hears of it, its channel is free, and what it held means nothing any more.
    let canceled = (0..100).find_map(|_| match worker.heard()? {
        (frame, Response::Canceled) => Some((frame.header.channel, frame.header.corr)),
        _ => None,
    });
    assert_eq!(canceled, Some((1, 0)));
    let items = vec![Settle { held: got.held(), outcome: Outcome::Ack }];
    match worker.ask(1, &Request::Settle { confirm: true, items }) {
        Response::Settled { stale } => assert_eq!(stale.len(), 1),
        Response::Error(reply) => assert_eq!(reply.code, ErrorCode::LeaseExpired),
        answer => panic!("{answer:?}"),
    }
    owner.declare(Kind::Queue, "gone");
    let fresh = owner.describe("gone");
    assert_eq!((fresh.next_offset, fresh.groups[0].consumers), (0, 0));
    worker.consume(1, "gone", 1);
    arena.finish();
}

#[test]
pub(super) fn a_purge_takes_what_nobody_holds_and_stales_nothing_else() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    for _ in 0..3 {
        raw.store(target, "orders", b"x");
    }
    raw.consume(1, "orders", 1);
    let got = raw.take("orders", 1).remove(0);
    let mut other = arena.greet();
    let purge = Request::Purge { name: name("orders"), dry_run: false };
    let Response::Done { messages } = other.ask(0, &purge) else { panic!("no answer to a purge") };
    let counts = raw.counts("orders");
    assert_eq!(counts.ready + counts.leased + counts.delayed, 3 - messages, "{counts:?}");
    let was_held = raw.settle(&got, Outcome::Ack);
    assert_eq!(was_held, messages == 2, "what was purged is stale, what was not is held");
    let counts = raw.counts("orders");
    assert_eq!((counts.ready, counts.leased, counts.settled), (0, 0, 3), "{counts:?}");
    arena.finish();
}

fn open(raw: &mut Raw, session: u128) -> (u32, bool) {
    match raw.ask(0, &Request::OpenProducer { session: session.to_le_bytes() }) {
        Response::ProducerOpened { producer, resumed } => (producer, resumed),
        other => panic!("{other:?}"),
    }
}

fn numbered(producer: u32, sequence: u64) -> BatchDraft {
    let mut draft = BatchDraft::new("orders", &[record(0, b"x")]);
    (draft.producer, draft.sequence) = (producer, sequence);
    draft
}

#[test]
pub(super) fn producers_repeat_jump_and_pretend_and_each_message_is_stored_once() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    let (mine, resumed) = open(&mut raw, 1);
    assert!(!resumed);
    let publish = |raw: &mut Raw, producer, sequence| {
        let number = raw.publish(target, numbered(producer, sequence).bytes().into());
        raw.outcome(number)
    };
    assert_eq!(publish(&mut raw, mine, 1), Ok(0));
    assert_eq!(publish(&mut raw, mine, 1), Ok(0), "a repetition is confirmed where it is");
    // Gaps are what is left of refused publishes: a jump is stored, and so is what lies in it.
    assert_eq!(publish(&mut raw, mine, u64::MAX - 1), Ok(1));
    assert_eq!(publish(&mut raw, mine, 2), Ok(2));
    assert_eq!(publish(&mut raw, mine, u64::MAX - 1), Ok(1));
    assert_eq!(publish(&mut raw, mine, u64::MAX), Err(ErrorCode::InvalidArgument));
    // The number of somebody else, and of nobody.
    let mut thief = arena.greet();
    for stranger in [mine, mine + 1, u32::MAX] {
        assert_eq!(publish(&mut thief, stranger, 7), Err(ErrorCode::ProducerFenced));
    }
    // Who opens the same session takes it over, and the one before is refused.
    assert_eq!(open(&mut thief, 1), (mine, true));
    assert_eq!(publish(&mut raw, mine, 3), Err(ErrorCode::ProducerFenced));
    assert_eq!(publish(&mut thief, mine, 2), Ok(2));
    assert_eq!(raw.describe("orders").next_offset, 3);
    arena.finish();
}

#[test]
pub(super) fn a_client_that_opens_sessions_without_end_costs_bounded_memory() {
    // 70,000 are more than the broker remembers; the default shows the trend within seconds.
    let depth = std::env::var("POSTHASTE_DEPTH").ok().and_then(|depth| depth.parse().ok());
    let sessions = 4_000 * depth.unwrap_or(1_u128);
    let arena = Arena::new();
    let mut raw = arena.greet();
    for from in (0..sessions).step_by(500) {
        let ask = |n: u128| Request::OpenProducer { session: (n + 1).to_le_bytes() };
        let asked: Vec<u64> = (from..from + 500).map(|n| raw.request(0, &ask(n))).collect();
        for corr in asked {
            assert!(matches!(raw.answer(corr), Response::ProducerOpened { .. }));
        }
    }
    println!("{sessions} sessions");
    arena.finish();
}

#[test]
pub(super) fn times_beyond_the_calendar_are_refused_and_those_of_the_past_do_no_harm() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    let publish = |raw: &mut Raw, flags: u8, time_ms: u64| {
        let bytes = record(flags, &[&time_ms.to_le_bytes()[..], b"x"].concat());
        let mut draft = BatchDraft::new("orders", &[bytes]);
        draft.attrs = if flags == NOT_BEFORE { 8 } else { 0 };
        let number = raw.publish(target, draft.bytes().into());
        raw.outcome(number)
    };
    for flags in [NOT_BEFORE, EXPIRES] {
        for time_ms in [u64::MAX, 1 << 63, 253_402_300_800_000] {
            let refused = publish(&mut raw, flags, time_ms).expect_err("a time that is none");
            let codes = [ErrorCode::InvalidArgument, ErrorCode::MalformedFrame];
            assert!(codes.contains(&refused), "{time_ms}: {refused:?}");
        }
    }
    assert_eq!(raw.describe("orders").next_offset, 0);
    publish(&mut raw, NOT_BEFORE, 0).unwrap();
    publish(&mut raw, NOT_BEFORE, 253_402_300_799_999).unwrap();
    publish(&mut raw, EXPIRES, 253_402_300_799_999).unwrap();
    let counts = raw.counts("orders");
    assert_eq!((counts.ready, counts.delayed), (2, 1), "{counts:?}");
    // A lease and a delay that nobody may ask for change nothing.
    raw.consume(1, "orders", 1);
    let got = raw.take("orders", 1).remove(0);
    for lease_ms in [0, 99, u32::MAX] {
        let extend = Request::Extend { lease_ms, items: vec![got.held()] };
        raw.refused(1, &extend, ErrorCode::InvalidArgument);
    }
    let retry = Outcome::Retry { delay_ms: Some(u64::MAX), reason: String::new() };
    let items = vec![Settle { held: got.held(), outcome: retry }];
    raw.refused(1, &Request::Settle { confirm: true, items }, ErrorCode::InvalidArgument);
    let lease = Consume { lease_ms: Some(u32::MAX), ..consume("orders", 1) };
    raw.refused(2, &Request::Consume(lease), ErrorCode::InvalidArgument);
    let absurd = Held { first: u64::MAX, count: u32::MAX, epoch: got.epoch };
    let items = vec![Settle { held: absurd, outcome: Outcome::Ack }];
    raw.refused(1, &Request::Settle { confirm: true, items }, ErrorCode::InvalidArgument);
    assert!(raw.settle(&got, Outcome::Ack), "it is still held");
    arena.finish();
}

#[test]
pub(super) fn wildcards_mean_nothing() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    raw.declare(Kind::Queue, "a.b");
    for pattern in [&b"*"[..], b"a.*", b"a.?", b"[a-z]", b".*", b"a|b", b"%", b"(a+)+$"] {
        for (kind, meta) in [
            (kind::DESCRIBE, craft::name(pattern)),
            (kind::DELETE, [craft::name(pattern), vec![0]].concat()),
            (kind::PURGE, [craft::name(pattern), vec![0]].concat()),
        ] {
            raw.send(&FrameDraft::new(kind, &meta).bytes());
            match raw.heard().map(|(_, response)| response) {
                Some(Response::Error(reply)) => assert_eq!(reply.code, ErrorCode::InvalidName),
                other => panic!("{pattern:?} in command {kind}: {other:?}"),
            }
        }
    }
    raw.refused(0, &Request::Describe { name: name("a") }, ErrorCode::NotFound);
    raw.describe("a.b");
    arena.finish();
}

#[test]
pub(super) fn delays_of_many_messages_for_many_groups_are_refused_at_once() {
    const GROUPS: u32 = 300;
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Topic, "events");
    let asked: Vec<u64> = (0..GROUPS)
        .map(|n| {
            let declare = Request::DeclareGroup {
                topic: name("events"),
                group: GroupName::try_from(format!("g{n}").as_str()).unwrap(),
                start: Start::Latest,
                settings: Settings::default(),
            };
            raw.request(0, &declare)
        })
        .collect();
    for corr in asked {
        assert!(matches!(raw.answer(corr), Response::Declared { .. }));
    }
    // 655 KB, of which each message would be remembered by each group: twenty million times.
    let mut batch = |count: u64| {
        let records: Vec<Vec<u8>> = (0..count)
            .map(|n| record(NOT_BEFORE, &(250_000_000_000_000 + n * 1_000).to_le_bytes()))
            .collect();
        let mut draft = BatchDraft::new("events", &records);
        draft.attrs = 8;
        let number = raw.publish(target, draft.bytes().into());
        raw.outcome(number)
    };
    assert_eq!(batch(65_536), Err(ErrorCode::InvalidArgument));
    assert_eq!(batch(100), Ok(0), "a few are taken");
    assert_eq!(raw.describe("events").groups[0].delayed, 100);
    arena.finish();
}
