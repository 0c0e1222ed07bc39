//! Names, batches and records that break a rule.

use super::Arena;
use posthaste_protocol::request::{Kind, Outcome, Settings, kind};
use posthaste_protocol::{ErrorCode, Request, Response};
use posthaste_tests::Raw;
use posthaste_tests::craft::{self, BatchDraft, FrameDraft, record, sized, varint};
use posthaste_tests::raw::name;

const KEY: u8 = 1;
const HEADERS: u8 = 2;
const NOT_BEFORE: u8 = 4;

#[test]
pub(super) fn names_outside_the_rule_are_refused() {
    let arena = Arena::new();
    let long = [b'x'; 201];
    let names: [&[u8]; 16] = [
        b"",
        b".",
        b"..",
        b".hidden",
        b"a/b",
        b"../../etc",
        b"C:\\x",
        b"a b",
        b"a\0b",
        b"a\r\nb",
        b"a*",
        b"^a$",
        "é".as_bytes(),
        "\u{202e}a".as_bytes(),
        b"\xff\xfe",
        &long,
    ];
    for name in names {
        // Looked up, declared, deleted.
        let declared = [&[1][..], &craft::name(name), &[0; 8]].concat();
        let deleted = [craft::name(name), vec![0]].concat();
        let metas = [
            (kind::DESCRIBE, craft::name(name)),
            (kind::DECLARE, declared),
            (kind::DELETE, deleted),
        ];
        for (kind, meta) in metas {
            let mut raw = arena.greet();
            raw.send(&FrameDraft::new(kind, &meta).bytes());
            match raw.heard().map(|(_, response)| response) {
                Some(Response::Error(reply)) => {
                    assert_eq!(reply.code, ErrorCode::InvalidName, "{name:?}: {}", reply.message);
                    assert!(reply.message.is_ascii(), "no byte of the peer comes back");
                }
                other => panic!("the name {name:?} in command {kind} gave {other:?}"),
            }
        }
    }
    let exit = arena.broker.run(&["queue", "set", "a/b"]);
    assert!(exit.stderr.contains("PH-0202"), "{exit:?}");
    let listed = arena.broker.ok(&["ls", "-o", "jsonl"]);
    assert_eq!(listed.lines().count(), 1, "only the victim's queue is there: {listed}");
    arena.finish();
}

#[test]
pub(super) fn a_name_that_only_looks_hostile_is_harmless() {
    let arena = Arena::new();
    for name in ["CON", "a..b", "-rf", "..."].into_iter().filter(|name| !name.starts_with('.')) {
        arena.broker.ok(&["queue", "set", "--", name]);
        arena.broker.ok(&["pub", "--", name, "x"]);
        assert_eq!(arena.broker.ok(&["consume", "--count", "1", "--", name]), "x\n");
    }
    arena.finish();
}

/// Publishes a batch that must be refused; the connection must go on.
fn refused(raw: &mut Raw, target: u32, draft: &BatchDraft, codes: &[ErrorCode]) {
    let number = raw.publish(target, draft.bytes().into());
    match raw.outcome(number) {
        Err(code) => assert!(codes.contains(&code), "{code:?} for {draft:?}"),
        Ok(offset) => panic!("stored at {offset}: {draft:?}"),
    }
}

#[test]
pub(super) fn damaged_and_impossible_batches_are_refused_and_nothing_is_stored() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    let good = || BatchDraft::new("orders", &[record(0, b"one"), record(0, b"two")]);
    let malformed = [ErrorCode::MalformedFrame];
    let change = |edit: fn(&mut BatchDraft)| {
        let mut draft = good();
        edit(&mut draft);
        draft
    };
    let wrong_crc = change(|draft| draft.crc_error = 1);
    refused(&mut raw, target, &wrong_crc, &[ErrorCode::ChecksumMismatch]);
    let unsupported = [ErrorCode::Unsupported];
    refused(&mut raw, target, &change(|draft| draft.format = 2), &unsupported);
    refused(&mut raw, target, &change(|draft| draft.attrs = 1), &unsupported);
    refused(&mut raw, target, &change(|draft| draft.attrs = 0x80), &unsupported);
    for count in [0, 1, 3, 65_537, u32::MAX] {
        let mut draft = good();
        draft.count = count;
        refused(&mut raw, target, &draft, &malformed);
    }
    for len in [0, 39, 41, 1 << 20, u32::MAX] {
        let mut draft = good();
        draft.len = Some(len);
        refused(&mut raw, target, &draft, &malformed);
    }
    // A producer without a sequence, and a producer that this connection has not opened.
    refused(
        &mut raw,
        target,
        &change(|draft| draft.producer = 5),
        &[ErrorCode::MalformedFrame, ErrorCode::InvalidArgument, ErrorCode::ProducerFenced],
    );
    let foreign = change(|draft| (draft.producer, draft.sequence) = (5, 1));
    refused(&mut raw, target, &foreign, &[ErrorCode::ProducerFenced]);
    assert_eq!(raw.counts("orders").ready, 0);
    raw.store(target, "orders", b"good");
    arena.finish();
}

#[test]
pub(super) fn impossible_records_are_refused_and_nothing_is_stored() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    let malformed = [ErrorCode::MalformedFrame];
    let hundred_thousand: Vec<u8> = [varint(100_000), [1, b'n', 0].repeat(100_000)].concat();
    let records: [(&str, Vec<u8>); 13] = [
        ("a header whose name is no text", record(HEADERS, b"\x01\x02\xff\xfe\x01v")),
        ("a header whose value is no text", record(HEADERS, b"\x01\x01n\x02\xc3\x28")),
        ("a header without a name", record(HEADERS, b"\x01\x00\x01v")),
        ("a hundred thousand headers", record(HEADERS, &hundred_thousand)),
        ("a length in too many bytes", vec![0x84, 0x00, 0, b'a', b'b', b'c']),
        ("a length of ten bytes", [vec![0xFF; 9], vec![1, 0]].concat()),
        ("a length beyond the batch", vec![0x7F, 0]),
        ("an empty record", vec![0]),
        ("unknown flags", record(0x40, b"x")),
        ("a key beyond the record", record(KEY, &varint(100))),
        ("a key that is no text", record(KEY, &sized(b"\xff\xfe"))),
        ("headers without end", record(HEADERS, &varint(u32::MAX))),
        ("a time that is cut off", record(NOT_BEFORE, &[0; 4])),
    ];
    for (what, bytes) in records {
        let draft = BatchDraft::new("orders", &[bytes]);
        let number = raw.publish(target, draft.bytes().into());
        let outcome = raw.outcome(number).expect_err(what);
        let codes = [malformed[0], ErrorCode::MessageTooLarge, ErrorCode::Unsupported];
        assert!(codes.contains(&outcome), "{what}: {outcome:?}");
    }
    assert_eq!(raw.counts("orders").ready, 0);
    arena.finish();
}

#[test]
pub(super) fn keys_headers_and_bodies_beyond_their_limits_are_too_large() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    let header = |n: usize| [sized(format!("name-{n}").as_bytes()), sized(b"v")].concat();
    let many: Vec<u8> = (0..65).flat_map(header).collect();
    let big = [sized(b"n"), sized(&vec![b'v'; 17 << 10])].concat();
    let too_large = [
        record(KEY, &sized(&[b'k'; 1_025])),
        record(HEADERS, &[varint(65), many].concat()),
        record(HEADERS, &[varint(1), big].concat()),
        record(0, &vec![0; (1 << 20) + 1]),
    ];
    for bytes in too_large {
        let draft = BatchDraft::new("orders", &[bytes]);
        let number = raw.publish(target, draft.bytes().into());
        assert_eq!(raw.outcome(number), Err(ErrorCode::MessageTooLarge));
    }
    let twice = [varint(2), header(1), header(1)].concat();
    let draft = BatchDraft::new("orders", &[record(HEADERS, &twice)]);
    let number = raw.publish(target, draft.bytes().into());
    let outcome = raw.outcome(number).expect_err("a header twice");
    assert!([ErrorCode::InvalidArgument, ErrorCode::MalformedFrame].contains(&outcome));
    // Names that differ in case are different; exactly at the limit everything is taken.
    let cases = [varint(2), sized(b"Trace"), sized(b"1"), sized(b"trace"), sized(b"2")].concat();
    let number =
        raw.publish(target, BatchDraft::new("orders", &[record(HEADERS, &cases)]).bytes().into());
    raw.outcome(number).unwrap();
    for bytes in [record(KEY, &sized(&[b'k'; 1_024])), record(0, &vec![0; 1 << 20])] {
        let number = raw.publish(target, BatchDraft::new("orders", &[bytes]).bytes().into());
        raw.outcome(number).unwrap();
    }
    assert_eq!(raw.counts("orders").ready, 3);
    arena.finish();
}

#[test]
pub(super) fn numbers_out_of_range_are_refused() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let declare = |settings| Request::Declare { kind: Kind::Queue, name: name("q"), settings };
    let invalid = [
        Settings { lease_ms: Some(0), ..Settings::default() },
        Settings { lease_ms: Some(u32::MAX), ..Settings::default() },
        Settings { max_attempts: Some(0), ..Settings::default() },
        Settings { max_attempts: Some(u32::MAX), ..Settings::default() },
        Settings { retry_max_ms: Some(u32::MAX), ..Settings::default() },
    ];
    for settings in invalid {
        raw.refused(0, &declare(settings), ErrorCode::InvalidArgument);
    }
    let unsupported = Request::Publish {
        target: 1,
        durability: 9,
        expects: None,
        batch: posthaste_tests::raw::batch("victim", &[b"x"]),
    };
    raw.refused(0, &unsupported, ErrorCode::Unsupported);
    arena.finish();
}

#[test]
pub(super) fn text_of_a_stranger_is_escaped_where_people_read_it() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "jobs");
    raw.store(target, "jobs", b"\x1b[2J<script>");
    raw.consume(1, "jobs", 1);
    let got = raw.take("jobs", 1).remove(0);
    let reason = "\x1b[31mroot\x07\nPH-0000 all is well".to_owned();
    assert!(raw.settle(&got, Outcome::DeadLetter { reason }));
    let shown = arena.broker.ok(&["dead", "show", "jobs"]);
    assert!(!shown.contains(['\x1b', '\x07']), "{shown:?}");
    assert_eq!(shown.lines().filter(|line| line.contains("PH-0000")).count(), 1, "{shown:?}");
    arena.finish();
}
