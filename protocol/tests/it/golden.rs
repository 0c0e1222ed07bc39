//! The bytes in docs/protocol.md are the bytes of the code, in both directions, and so are the
//! numbers in its tables.
//!
//! A block of the document is named in its first line: three backticks, `hex`, the name. What stands
//! behind `#` is for people.

use crate::batches::{Message, reseal, seed};
use crate::wire::{Said, frame};
use bytes::Bytes;
use posthaste_protocol::batch::{BatchBuilder, Records, slice_batch, verify_batch};
use posthaste_protocol::frame::PREFACE;
use posthaste_protocol::limits;
use posthaste_protocol::request::*;
use posthaste_protocol::response::*;
use posthaste_protocol::schedule::{ScheduleCall, ScheduleInfo, ScheduleReply};
use posthaste_protocol::service::{Answer, Requested, ServiceCall, ServiceInfo, ServiceReply};
use posthaste_protocol::{ErrorCode, ErrorReply, GroupName, Name, NameError};
use std::collections::BTreeMap;

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The blocks of the document by name.
fn blocks() -> BTreeMap<&'static str, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else { continue };
        let mut bytes = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            let hex = line.split('#').next().unwrap();
            bytes.extend(hex.split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap()));
        }
        assert!(blocks.insert(name, bytes).is_none(), "two blocks are named {name}");
    }
    blocks
}

/// As it should stand in the document.
fn shown(name: &str, bytes: &[u8]) -> String {
    let mut text = format!("```hex {name}\n");
    for line in bytes.chunks(24) {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&hex.join(" "));
        text.push('\n');
    }
    text + "```\n"
}

fn check(name: &str, bytes: &[u8]) {
    let found = blocks().remove(name);
    assert!(found.as_deref() == Some(bytes), "docs/protocol.md should say\n{}", shown(name, bytes));
}

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

fn group(text: &str) -> Option<GroupName> {
    Some(GroupName::try_from(text).unwrap())
}

fn plain_batch() -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in [&b"hello"[..], b"", b"world"] {
        let message = Message { value: value.to_vec(), ..Message::default() };
        message.push(&mut builder).unwrap();
    }
    builder.finish(seed("orders"), 0, 0, 1_700_000_000_000_000)
}

fn full_message() -> Message {
    Message {
        value: b"{}".to_vec(),
        key: Some("customer-7".into()),
        headers: vec![("trace".into(), "01".into()), ("note".into(), "é".into())],
        not_before_ms: Some(1_700_000_060_000),
        expires_ms: Some(1_700_000_120_000),
        priority: Some(9),
        id: Some("m-1".into()),
    }
}

fn full_batch() -> Bytes {
    let mut builder = BatchBuilder::new();
    full_message().push(&mut builder).unwrap();
    builder.finish(seed("orders"), 3, 1, 1_700_000_000_000_000)
}

#[expect(clippy::too_many_lines, reason = "one of each")]
fn requests() -> Vec<(&'static str, u16, u64, Request)> {
    let id = REQUEST_ID_FIRST;
    let held = Held { first: 100, count: 3, epoch: 0x1_0000_0002 };
    let retry = Outcome::Retry { delay_ms: Some(5_000), reason: "busy".into() };
    let settings = Settings {
        max_attempts: Some(5),
        lease_ms: Some(30_000),
        retain_ms: Some(86_400_000),
        ..Settings::default()
    };
    let credit = Credit { messages: 1_000, bytes: 1 << 20, begun: 0 };
    let hello = Hello {
        features: 0,
        client: "posthaste-rust 0.1.0".into(),
        frame_bytes_max: 4 << 20,
        idle_ms: 15_000,
    };
    let auth = Request::Auth { mechanism: "PLAIN".into(), data: Bytes::from_static(b"\0a\0b") };
    let consume = Consume {
        name: name("events"),
        group: group("mailer"),
        start: Start::Earliest,
        lease_ms: Some(60_000),
        credit,
    };
    let dead = |action| Request::Dead { name: name("orders"), group: None, action };
    vec![
        ("hello", 0, id, Request::Hello(hello)),
        ("auth", 0, id + 1, auth),
        ("ping", 0, id + 2, Request::Ping(7)),
        ("close", 0, id + 3, Request::Close),
        (
            "declare",
            0,
            id + 4,
            Request::Declare { kind: Kind::Topic, name: name("events"), settings },
        ),
        (
            "declare-group",
            0,
            id + 5,
            Request::DeclareGroup {
                topic: name("events"),
                group: GroupName::try_from("mailer").unwrap(),
                start: Start::TimeMs(1_700_000_000_000),
                settings: Settings {
                    retry_min_ms: Some(10),
                    retry_factor_percent: Some(150),
                    retry_jitter_percent: Some(20),
                    ..Settings::default()
                },
            },
        ),
        ("describe", 0, id + 6, Request::Describe { name: name("orders") }),
        ("list", 0, id + 7, Request::List { after: Some(name("events")), limit: 100 }),
        ("delete", 0, id + 8, Request::Delete { name: name("events"), group: group("mailer") }),
        ("open-producer", 0, id + 9, Request::OpenProducer { session: *b"0123456789abcdef" }),
        (
            "publish",
            0,
            1,
            Request::Publish { target: 2, durability: 0, expects: None, batch: plain_batch() },
        ),
        ("consume", 1, id + 10, Request::Consume(consume)),
        ("credit", 1, 0, Request::Credit(Credit { messages: 50, bytes: 4_096, begun: 123 })),
        (
            "settle",
            1,
            id + 11,
            Request::Settle {
                confirm: true,
                items: vec![
                    Settle { held, outcome: Outcome::Ack },
                    Settle { held: Held { first: 103, count: 1, ..held }, outcome: retry },
                    Settle {
                        held: Held { first: 104, count: 1, ..held },
                        outcome: Outcome::Release,
                    },
                    Settle {
                        held: Held { first: 105, count: 1, ..held },
                        outcome: Outcome::DeadLetter { reason: "not an order".into() },
                    },
                ],
            },
        ),
        ("extend", 1, id + 12, Request::Extend { lease_ms: 30_000, items: vec![held] }),
        ("cancel", 1, id + 13, Request::Cancel),
        (
            "read",
            0,
            id + 14,
            Request::Read {
                name: name("orders"),
                from: Start::Offset(10),
                messages_max: 5,
                bytes_max: 65_536,
            },
        ),
        (
            "seek",
            0,
            id + 15,
            Request::Seek {
                topic: name("events"),
                group: GroupName::try_from("mailer").unwrap(),
                to: Start::Latest,
                dry_run: true,
            },
        ),
        ("purge", 0, id + 16, Request::Purge { name: name("orders"), dry_run: false }),
        ("dead-list", 0, id + 17, dead(DeadAction::List { from: 0, limit: 20 })),
        ("dead-replay", 0, id + 18, dead(DeadAction::Replay { offset: Some(105), dry_run: false })),
        ("dead-drop", 0, id + 19, dead(DeadAction::Drop { offset: None, dry_run: true })),
        ("stats", 0, id + 20, Request::Stats),
        (
            "publish-expecting",
            0,
            2,
            Request::Publish { target: 2, durability: 0, expects: Some(103), batch: plain_batch() },
        ),
        ("atomic", 0, 4, Request::Atomic(atomic(held))),
    ]
}

fn atomic(held: Held) -> Atomic {
    let settle = Settle { held, outcome: Outcome::Ack };
    Atomic {
        producer: 3,
        sequence: 1,
        parts: vec![AtomicPart { target: 2, expects: Some(103) }],
        settles: vec![AtomicSettle { channel: 1, settle }],
        batches: full_batch(),
    }
}

fn service_batch(value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new();
    Message { value: value.to_vec(), ..Message::default() }.push(&mut builder).unwrap();
    builder.finish(seed("pricing.quote"), 0, 0, 1_700_000_000_000_000)
}

fn service_calls() -> Vec<(&'static str, u16, u64, Request)> {
    let id = REQUEST_ID_FIRST;
    let quote = || name("pricing.quote");
    let ask = ServiceCall::Ask { name: quote(), timeout_ms: 2_000, batch: service_batch(b"7") };
    let answer = |answer| ServiceCall::Answer { name: quote(), ticket: 3, answer };
    let failed = Answer::Failed { reason: "no such order".into() };
    let calls = [
        ("serve", id + 22, ServiceCall::Serve { name: quote(), in_flight_max: 16 }),
        ("leave", id + 23, ServiceCall::Leave { name: quote() }),
        ("ask", id + 24, ask),
        ("answer-done", id + 25, answer(Answer::Done(service_batch(b"990")))),
        ("answer-failed", id + 26, answer(failed)),
        ("services", id + 27, ServiceCall::Services { after: None }),
    ];
    calls.map(|(name, id, call)| (name, 0, id, Request::Service(call))).into()
}

fn service_replies() -> Vec<(&'static str, u16, u64, Response)> {
    let id = REQUEST_ID_FIRST;
    let requested = Requested {
        name: name("pricing.quote"),
        ticket: 3,
        left_ms: 1_990,
        batch: service_batch(b"7"),
    };
    let info = ServiceInfo {
        name: name("pricing.quote"),
        instances: 2,
        in_flight: 3,
        waiting: 4,
        requests: 1_000,
    };
    let failed = Answer::Failed { reason: "no such order".into() };
    let replied = |answer| ServiceReply::Replied(answer);
    let replies = [
        ("serving", id + 22, ServiceReply::Serving),
        ("left", id + 23, ServiceReply::Left),
        ("replied-done", id + 24, replied(Answer::Done(service_batch(b"990")))),
        ("replied-failed", id + 24, replied(failed)),
        ("requested", 0, ServiceReply::Requested(requested)),
        ("services-reply", id + 27, ServiceReply::Services { items: vec![info], more: false }),
    ];
    replies.map(|(name, id, reply)| (name, 0, id, Response::Service(reply))).into()
}

fn schedule_calls() -> Vec<(&'static str, u16, u64, Request)> {
    let id = REQUEST_ID_FIRST;
    let mut builder = BatchBuilder::new();
    Message { value: b"all shops".to_vec(), ..Message::default() }.push(&mut builder).unwrap();
    let set = ScheduleCall::Set {
        name: name("nightly"),
        to: name("reports"),
        when: "30 2 * * mon-fri".into(),
        zone: "Europe/Berlin".into(),
        batch: builder.finish(seed("reports"), 0, 0, 0),
    };
    let calls = [
        ("set-schedule", id + 28, set),
        ("cancel-schedule", id + 29, ScheduleCall::Cancel { name: name("nightly") }),
        ("list-schedules", id + 30, ScheduleCall::List { after: None, limit: 100 }),
    ];
    calls.map(|(name, id, call)| (name, 0, id, Request::Schedule(call))).into()
}

fn schedule_replies() -> Vec<(&'static str, u16, u64, Response)> {
    let id = REQUEST_ID_FIRST;
    let info = ScheduleInfo {
        name: name("nightly"),
        to: name("reports"),
        when: "30 2 * * mon-fri".into(),
        zone: "Europe/Berlin".into(),
        next_ms: 1_700_000_000_000,
        last_ms: 0,
        published: 0,
        waits_for: "no room".into(),
    };
    let set = ScheduleReply::Set { declared: Declared::Created, next_ms: 1_700_000_000_000 };
    let replies = [
        ("schedule-set", id + 28, set),
        ("schedule-canceled", id + 29, ScheduleReply::Canceled),
        ("schedules", id + 30, ScheduleReply::Listed { items: vec![info], more: false }),
    ];
    replies.map(|(name, id, reply)| (name, 0, id, Response::Schedule(reply))).into()
}

fn description() -> Description {
    Description {
        id: 2,
        kind: Kind::Queue,
        name: name("orders"),
        settings: Settings { max_messages: Some(0), ..Settings::default() },
        first_offset: 1,
        next_offset: 106,
        bytes: 4_321,
        groups: vec![GroupInfo {
            name: None,
            settings: Settings { max_attempts: Some(20), ..Settings::default() },
            floor: 100,
            ready: 1,
            leased: 2,
            delayed: 3,
            dead: 4,
            settled: 95,
            consumers: 1,
            oldest_ms: 250,
            published: 105,
            unaccounted: 0,
        }],
    }
}

fn piece() -> Piece {
    Piece {
        base_offset: 100,
        from: 0,
        count: 3,
        attempt: 2,
        redelivered: true,
        time_ms: 1_700_000_000_001,
        batches: plain_batch(),
    }
}

fn responses() -> Vec<(&'static str, u16, u64, Response)> {
    let id = REQUEST_ID_FIRST;
    let welcome = Welcome {
        features: 0,
        server: "posthaste 0.1.0".into(),
        store: *b"fedcba9876543210",
        frame_bytes_max: 4 << 20,
        message_bytes_max: 1 << 20,
        publish_bytes_max: 8 << 20,
        idle_ms: 15_000,
    };
    let confirmed = Confirmed { first: 1, count: 2, target: 2, base_offset: 100, duplicate: false };
    let fates = [(Fate::Stored, 103), (Fate::Duplicate, 7), (Fate::Conflict, 0)];
    let fates =
        fates.map(|(fate, base_offset)| Outcomes { target: 2, count: 1, base_offset, fate });
    let stale = vec![Held { first: 101, count: 1, epoch: 0x1_0000_0002 }];
    let error = ErrorReply {
        code: ErrorCode::NotFound,
        retry_after_ms: 0,
        message: "there is no queue or topic named \"ordrs\"".into(),
        similar: vec!["orders".into()],
    };
    let closing =
        ErrorReply { retry_after_ms: 1_000, ..ErrorReply::new(ErrorCode::ShuttingDown, "bye") };
    let stats = Stats {
        published: 1,
        delivered: 2,
        acked: 3,
        dead_lettered: 4,
        connections: 5,
        targets: 6,
        log_bytes: 7,
        free_bytes: 8,
        uptime_ms: 9,
    };
    let dead = DeadLetter {
        offset: 105,
        attempts: 1,
        dead_ms: 1_700_000_000_002,
        reason: "not an order".into(),
        piece: Piece { count: 1, ..piece() },
    };
    let lost = Confirmed { first: 3, count: 1, target: 2, base_offset: u64::MAX, duplicate: true };
    let deliver = Deliver { epoch: 0x1_0000_0002, lease_ms: 60_000, pieces: vec![piece()] };
    let records = Response::Records { pieces: vec![piece()], next_offset: 103, end_offset: 106 };
    vec![
        ("welcome", 0, id, Response::Welcome(welcome)),
        ("pong", 0, id + 2, Response::Pong(7)),
        ("closing", 0, 0, Response::Closing(closing)),
        ("declared", 0, id + 4, Response::Declared { declared: Declared::Created, id: 2 }),
        ("described", 0, id + 6, Response::Described(description())),
        ("listed", 0, id + 7, Response::Listed { items: vec![description()], more: true }),
        ("deleted", 0, id + 8, Response::Deleted),
        ("producer-opened", 0, id + 9, Response::ProducerOpened { producer: 3, resumed: true }),
        ("confirms", 0, 0, Response::Confirms(vec![confirmed, lost])),
        ("receipts", 0, 3, Response::Receipts(fates.to_vec())),
        ("consuming", 1, id + 10, Response::Consuming { lease_ms: 60_000 }),
        ("deliver", 1, 0, Response::Deliver(deliver)),
        ("settled", 1, id + 11, Response::Settled { stale }),
        (
            "extended",
            1,
            id + 12,
            Response::Extended {
                stale: vec![],
                limited: vec![Held { first: 100, count: 3, epoch: 4 }],
            },
        ),
        ("canceled", 1, id + 13, Response::Canceled),
        ("records", 0, id + 14, records),
        ("sought", 0, id + 15, Response::Sought { from: 100, to: 106, messages: 0 }),
        ("done", 0, id + 16, Response::Done { messages: 12 }),
        ("dead-letters", 0, id + 17, Response::DeadLetters { items: vec![dead], total: 4 }),
        ("stats-reply", 0, id + 20, Response::Stats(stats)),
        ("error", 0, id + 21, Response::Error(error)),
    ]
}

fn frames() -> Vec<(&'static str, u16, u64, Said)> {
    let requests = requests()
        .into_iter()
        .chain(service_calls())
        .chain(schedule_calls())
        .map(|(n, ch, id, said)| (n, ch, id, Said::Request(said)));
    let responses = responses()
        .into_iter()
        .chain(service_replies())
        .chain(schedule_replies())
        .map(|(n, ch, id, said)| (n, ch, id, Said::Response(said)));
    requests.chain(responses).collect()
}

#[test]
fn the_preface_in_the_document_is_ours() {
    check("preface", &PREFACE);
}

#[test]
fn frames_in_the_document_are_what_is_encoded() {
    for (name, channel, id, said) in frames() {
        check(name, &said.encode(channel, id));
    }
}

#[test]
fn frames_in_the_document_are_decoded() {
    let mut blocks = blocks();
    for (name, channel, id, said) in frames() {
        let frame = frame(&blocks.remove(name).unwrap_or_else(|| panic!("no block {name}")));
        assert_eq!((frame.header.channel, frame.header.corr), (channel, id), "{name}");
        assert_eq!(Said::decode(&frame), Ok(said), "{name}");
    }
    blocks.retain(|name, _| *name != "preface" && !name.starts_with("batch-"));
    assert!(blocks.is_empty(), "blocks without a test: {blocks:?}");
}

#[test]
fn batches_in_the_document_are_what_is_built_and_read() {
    check("batch-plain", &plain_batch());
    check("batch-full", &full_batch());
    let slice = slice_batch(&plain_batch(), seed("orders"), 2, 1).unwrap();
    check("batch-sliced", &slice);

    let mut blocks = blocks();
    let values = |name: &str, bytes: Option<Vec<u8>>| -> Vec<Message> {
        let bytes = Bytes::from(bytes.unwrap_or_else(|| panic!("no block {name}")));
        verify_batch(&bytes, seed("orders")).unwrap();
        Records::new(bytes).unwrap().map(|view| Message::of(&view.unwrap())).collect()
    };
    let plain = values("batch-plain", blocks.remove("batch-plain"));
    assert_eq!(plain.len(), 3);
    assert_eq!(plain[0].value, b"hello");
    assert_eq!(values("batch-full", blocks.remove("batch-full")), [full_message()]);
    assert_eq!(values("batch-sliced", blocks.remove("batch-sliced")), plain[2..]);
}

#[test]
fn every_kind_has_a_block() {
    let mut kinds: Vec<u8> =
        frames().into_iter().map(|(_, channel, id, said)| said.encode(channel, id)[4]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let responses = (0x80..=0x96).filter(|kind| ![0x82, 0x86].contains(kind));
    let requests = (1..=22).chain(48..=52).chain(56..=58);
    let responses = responses.chain(0xb0..=0xb4).chain(0xb8..=0xba);
    let all: Vec<u8> = requests.chain(responses).collect();
    assert_eq!(kinds, all);
}

#[test]
fn the_tables_of_commands_have_the_numbers_of_the_code() {
    for (name, _, _, said) in frames() {
        let kind = said.encode(1, 0)[4];
        let name = name.trim_end_matches("-reply");
        let name = name.trim_end_matches("-done").trim_end_matches("-failed");
        let name = match kind {
            11 => "publish",
            20 => "dead",
            _ => name,
        };
        let number = if kind < 0x80 { kind.to_string() } else { format!("0x{kind:02x}") };
        let row = format!("| {number} | {name} |");
        assert!(DOCUMENT.lines().any(|line| line.starts_with(&row)), "no row {row}");
    }
}

#[test]
fn the_table_of_errors_is_that_of_the_code() {
    for code in ErrorCode::ALL {
        let yes = |yes| if yes { "yes" } else { "no" };
        let row = format!(
            "| {code} | {} | {} | {} | {} {} |",
            code.title(),
            yes(code.is_retryable()),
            yes(code.closes_connection()),
            code.explanation(),
            code.advice(),
        );
        assert!(DOCUMENT.lines().any(|line| line == row), "docs/protocol.md should say\n{row}");
    }
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| PH-"));
    assert_eq!(rows.count(), ErrorCode::ALL.len());
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    let number = |number: u64| {
        let digits = number.to_string();
        let groups: Vec<&str> = digits
            .as_bytes()
            .rchunks(3)
            .rev()
            .map(|group| std::str::from_utf8(group).unwrap())
            .collect();
        groups.join(",")
    };
    let mut rows = 0;
    macro_rules! rows {
        ($($limit:ident),* $(,)?) => {$(
            let row = format!("| `{}` | {} |", stringify!($limit), number(u64::from(limits::$limit)));
            assert!(DOCUMENT.lines().any(|line| line.starts_with(&row)), "no row {row}");
            rows += 1;
        )*};
    }
    rows!(
        FRAME_HEADER_BYTES,
        FRAME_BYTES_MAX,
        FRAME_BYTES_MIN,
        HANDSHAKE_FRAME_BYTES_MAX,
        META_BYTES_MAX,
        BATCH_HEADER_BYTES,
        BATCH_BYTES_MAX,
        BATCH_RECORDS_MAX,
        MESSAGE_BYTES_MAX,
        KEY_BYTES_MAX,
        HEADERS_MAX,
        HEADERS_BYTES_MAX,
        ID_BYTES_MAX,
        TIME_MS_MAX,
        NAME_BYTES_MAX,
        PEER_BYTES_MAX,
        MECHANISM_BYTES_MAX,
        AUTH_BYTES_MAX,
        REASON_BYTES_MAX,
        ERROR_BYTES_MAX,
        SIMILAR_MAX,
        SETTLE_ITEMS_MAX,
        PIECES_MAX,
        LIST_MAX,
        READ_MESSAGES_MAX,
        CONSUMERS_PER_CONNECTION_MAX,
        CREDIT_MESSAGES_MAX,
        LEASE_MS_MIN,
        LEASE_MS_MAX,
        ATTEMPTS_MAX,
        RETRY_MS_MAX,
        ATOMIC_PARTS_MAX,
        ATOMIC_SETTLES_MAX,
        ID_WINDOW_MS_MIN,
        ID_WINDOW_MS_MAX,
        DELAY_MS_MAX,
        SERVICES_PER_CONNECTION_MAX,
        SERVICE_IN_FLIGHT_MAX,
        REQUESTS_PER_CONNECTION_MAX,
        REQUESTS_BYTES_PER_CONNECTION_MAX,
        REQUEST_TIMEOUT_MS_MAX,
        SERVICES_LISTED_MAX,
        SCHEDULE_BATCH_BYTES_MAX,
        ZONE_BYTES_MAX,
        SCHEDULES_LISTED_MAX,
    );
    assert_eq!(DOCUMENT.lines().filter(|line| line.starts_with("| `")).count(), rows);
}

#[test]
fn a_changed_byte_of_a_document_would_be_seen() {
    let mut bytes = blocks().remove("publish").unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let mut batch = bytes[32..].to_vec();
    assert!(verify_batch(&batch, seed("orders")).is_err());
    reseal(&mut batch);
    assert!(verify_batch(&batch, seed("q")).is_ok());
    assert_eq!(Name::try_from(""), Err(NameError::Empty));
}
