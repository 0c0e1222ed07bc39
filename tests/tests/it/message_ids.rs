//! Message ids with a window, in a process that is killed.

use bytes::Bytes;
use posthaste_protocol::request::{Kind, Settings};
use posthaste_protocol::response::{Fate, Outcomes};
use posthaste_protocol::{BatchBuilder, ErrorCode, Record, destination_seed};
use posthaste_tests::raw::name;
use posthaste_tests::{Raw, TestBroker};

const WINDOW_MS: u64 = 3_600_000;

fn declare(raw: &mut Raw, queue: &str, window_ms: u64) -> u32 {
    let settings = Settings { id_window_ms: Some(window_ms), ..Settings::default() };
    raw.declare_with(Kind::Queue, queue, settings)
}

fn batch(queue: &str, messages: &[(&str, &str)]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for (id, body) in messages {
        let id = Some(*id).filter(|id| !id.is_empty());
        builder.push(&Record { value: body.as_bytes(), id, ..Record::default() }).unwrap();
    }
    builder.finish(destination_seed(&name(queue)), 0, 0, 0)
}

#[test]
fn ids_are_remembered_over_kill_dash_nine_from_the_log_and_from_a_checkpoint() {
    let mut broker = TestBroker::start("message-ids");
    let mut raw = Raw::greet(broker.address());
    let queue = declare(&mut raw, "orders", WINDOW_MS);
    let number = raw.publish(queue, batch("orders", &[("1", "a"), ("2", "b")]));
    assert_eq!(raw.outcome(number), Ok(0));
    for life in ["from the log", "from a checkpoint"] {
        if life == "from a checkpoint" {
            broker.stop();
        } else {
            broker.kill();
        }
        broker.restart();
        let mut raw = Raw::greet(broker.address());
        let number = raw.publish(queue, batch("orders", &[("1", "a"), ("2", "b")]));
        assert_eq!(raw.outcome(number), Ok(0), "{life}");
        assert_eq!(raw.counts("orders").ready, 2, "{life}");
    }
}

#[test]
fn records_of_one_publish_meet_their_own_fates() {
    let broker = TestBroker::start("message-ids");
    let mut raw = Raw::greet(broker.address());
    let queue = declare(&mut raw, "orders", WINDOW_MS);
    let number = raw.publish(queue, batch("orders", &[("1", "a")]));
    assert_eq!(raw.outcome(number), Ok(0));
    let number =
        raw.publish(queue, batch("orders", &[("2", "b"), ("1", "a"), ("1", "x"), ("", "c")]));
    let one = |fate, base_offset| Outcomes { target: queue, count: 1, base_offset, fate };
    let wanted = [
        one(Fate::Stored, 1),
        one(Fate::Duplicate, 0),
        one(Fate::Conflict, 0),
        one(Fate::Stored, 2),
    ];
    assert_eq!(raw.receipts(number), wanted);
    raw.consume(1, "orders", 10);
    let bodies: Vec<_> = raw.take("orders", 3).iter().map(|got| got.text().to_string()).collect();
    assert_eq!(bodies, ["a", "b", "c"], "what was cut out arrives under a good checksum");
}

#[test]
fn when_no_more_ids_can_be_remembered_new_ones_are_refused_by_name() {
    let broker = TestBroker::start_with("message-ids", &["--message-ids", "2"]);
    let mut raw = Raw::greet(broker.address());
    let queue = declare(&mut raw, "orders", WINDOW_MS);
    let number = raw.publish(queue, batch("orders", &[("1", "a"), ("2", "b")]));
    assert_eq!(raw.outcome(number), Ok(0));
    let number = raw.publish(queue, batch("orders", &[("3", "c")]));
    assert_eq!(raw.outcome(number), Err(ErrorCode::IdsFull));
    let number = raw.publish(queue, batch("orders", &[("2", "b")]));
    assert_eq!(raw.outcome(number), Ok(1), "a known one is answered");
    let number = raw.publish(queue, batch("orders", &[("", "d")]));
    assert_eq!(raw.outcome(number), Ok(2), "and one without an id stored");
}
