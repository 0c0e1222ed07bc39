//! What a confirm means, and what happens without one.

use posthaste_protocol::request::{Kind, Outcome, Start};
use posthaste_protocol::{BatchBuilder, ErrorCode, Record, Request, Response, destination_seed};
use posthaste_tests::raw::{Got, batch, consume, encode, name};
use posthaste_tests::{Raw, TestBroker, eventually};

#[test]
fn p01_confirmed_messages_survive_kill_dash_nine() {
    let mut broker = TestBroker::start("publish");
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "orders");
    for body in ["a", "b", "c"] {
        raw.store(queue, "orders", body.as_bytes());
    }
    broker.kill();
    broker.restart();
    let mut raw = Raw::greet(broker.address());
    raw.consume(1, "orders", 10);
    let got = raw.take("orders", 3);
    assert_eq!(got.iter().map(Got::text).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn p02_a_publish_cut_off_on_its_way_stores_nothing_of_its_batch() {
    let broker = TestBroker::start("publish");
    let mut raw = Raw::greet(broker.address());
    let target = raw.declare(Kind::Queue, "orders");
    let batch = batch("orders", &[b"one", b"two", b"three"]);
    let frame = encode(0, 1, &Request::Publish { target, durability: 0, expects: None, batch });
    for cut in [1, 23, 24, 31, frame.len() / 2, frame.len() - 1] {
        let mut torn = Raw::greet(broker.address());
        torn.send(&frame[..cut]);
        drop(torn);
    }
    // Whoever is told of the end of a connection is told in order, so a later publish is a fence.
    raw.store(target, "orders", b"fence");
    assert_eq!(raw.counts("orders").ready, 1);
}

#[test]
fn p03_one_confirm_covers_every_group_of_a_topic() {
    let mut broker = TestBroker::start("publish");
    let mut raw = Raw::greet(broker.address());
    let topic = raw.declare(Kind::Topic, "news");
    for group in ["one", "two", "three"] {
        broker.ok(&["consume", "news", "--group", group, "--wait", "10ms"]);
    }
    raw.store(topic, "news", b"extra");
    broker.kill();
    broker.restart();
    for group in ["one", "two", "three"] {
        let line = broker.ok(&["consume", "news", "--group", group, "--count", "1"]);
        assert_eq!(line, "extra\n", "{group}");
    }
}

#[test]
fn p17_a_batch_that_was_made_for_another_queue_is_refused() {
    let broker = TestBroker::start("publish");
    let mut raw = Raw::greet(broker.address());
    raw.declare(Kind::Queue, "mine");
    let other = raw.declare(Kind::Queue, "other");
    let number = raw.publish(other, batch("mine", &[b"secret"]));
    assert_eq!(raw.outcome(number), Err(ErrorCode::ChecksumMismatch));
    assert_eq!(raw.counts("other").ready, 0);
    raw.store(other, "other", b"the connection goes on");
}

#[test]
fn p20_offsets_name_one_message_across_restarts() {
    let mut broker = TestBroker::start("publish");
    let mut expected = Vec::new();
    for life in 0..4 {
        let mut raw = Raw::greet(broker.address());
        let queue = raw.declare(Kind::Queue, "orders");
        for n in 0..5 {
            let body = format!("{life}/{n}");
            let offset = raw.store(queue, "orders", body.as_bytes());
            expected.push((offset, body));
        }
        broker.kill();
        broker.restart();
    }
    let mut raw = Raw::greet(broker.address());
    raw.consume(1, "orders", 100);
    let got = raw.take("orders", expected.len());
    let got: Vec<_> = got.iter().map(|one| (one.offset, one.text().to_owned())).collect();
    assert_eq!(got, expected);
}

#[test]
fn p21_who_reads_after_a_confirm_sees_the_message() {
    let broker = TestBroker::start("publish");
    let mut writer = Raw::greet(broker.address());
    let mut reader = Raw::greet(broker.address());
    let queue = writer.declare(Kind::Queue, "orders");
    for n in 0..50u64 {
        writer.store(queue, "orders", b"x");
        assert_eq!(reader.describe("orders").next_offset, n + 1);
        let from = Start::Offset(n);
        let read = Request::Read { name: name("orders"), from, messages_max: 1, bytes_max: 1_000 };
        match reader.ask(0, &read) {
            Response::Records { pieces, .. } => assert_eq!(pieces.len(), 1, "message {n}"),
            other => panic!("a read was answered by {other:?}"),
        }
    }
}

#[test]
fn p27_a_resend_after_an_unknown_outcome_is_stored_once() {
    let mut broker = TestBroker::start("publish");
    let session = [7; 16];
    let open = |raw: &mut Raw| match raw.ask(0, &Request::OpenProducer { session }) {
        Response::ProducerOpened { producer, resumed } => (producer, resumed),
        other => panic!("no producer: {other:?}"),
    };
    let seal = |producer, sequence: u64| {
        let mut builder = BatchBuilder::new();
        for _ in 0..3 {
            builder.push(&Record { value: b"once", ..Record::default() }).unwrap();
        }
        builder.finish(destination_seed(&name("orders")), producer, sequence, 0)
    };
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "orders");
    let (producer, resumed) = open(&mut raw);
    assert!(!resumed);
    let number = raw.publish(queue, seal(producer, 1));
    let first = raw.outcome(number).unwrap();
    let number = raw.publish(queue, seal(producer, 1));
    assert_eq!(raw.outcome(number), Ok(first), "a resend on the same connection");
    for life in 0..3 {
        // The last publish of this life may or may not be stored when the broker dies.
        raw.publish(queue, seal(producer, 2 + life));
        broker.kill();
        broker.restart();
        raw = Raw::greet(broker.address());
        assert_eq!(open(&mut raw), (producer, true));
        for sequence in 1..=2 + life {
            let number = raw.publish(queue, seal(producer, sequence));
            assert_eq!(raw.outcome(number), Ok(first + 3 * (sequence - 1)));
        }
    }
    assert_eq!(raw.counts("orders").ready, 3 * 4);
}

#[test]
fn a_publisher_that_half_closes_still_gets_its_confirms() {
    let broker = TestBroker::start("publish");
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "orders");
    let last = (0..20).map(|_| raw.publish(queue, batch("orders", &[b"x"]))).last().unwrap();
    raw.half_close();
    raw.outcome(last).unwrap();
    assert_eq!(raw.read_to_end(), b"", "and then it closes");
}

#[test]
fn an_unknown_destination_stores_nothing_and_names_the_near_ones() {
    let broker = TestBroker::start("publish");
    broker.ok(&["queue", "set", "orders"]);
    let exit = broker.run(&["pub", "ordrs", "{}"]);
    assert_eq!(exit.code, Some(3), "{exit:?}");
    for part in ["PH-0201", "ordrs", "similar", "orders", "posthaste queue set ordrs"] {
        assert!(exit.stderr.contains(part), "{part} is missing in {}", exit.stderr);
    }
    assert!(!broker.ok(&["ls"]).contains("ordrs"), "nothing was created by a typing error");
}

#[test]
fn publishes_of_many_connections_are_all_stored() {
    let broker = TestBroker::start("publish");
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "orders");
    let mut others: Vec<Raw> = (0..20).map(|_| Raw::greet(broker.address())).collect();
    let mut last = Vec::new();
    for _ in 0..10 {
        last = others.iter_mut().map(|one| one.publish(queue, batch("orders", &[b"x"]))).collect();
    }
    for (one, number) in others.iter_mut().zip(last) {
        one.outcome(number).unwrap();
    }
    assert_eq!(raw.counts("orders").ready, 200);
}

#[test]
fn a_queue_with_a_limit_refuses_the_next_publish_and_takes_it_after_an_ack() {
    let broker = TestBroker::start("publish");
    broker.ok(&["queue", "set", "small", "--max-messages", "2"]);
    let mut raw = Raw::greet(broker.address());
    let queue = raw.declare(Kind::Queue, "small");
    raw.store(queue, "small", b"1");
    raw.store(queue, "small", b"2");
    let number = raw.publish(queue, batch("small", &[b"3"]));
    assert_eq!(raw.outcome(number), Err(ErrorCode::QueueFull));
    let corr = raw.request(1, &Request::Consume(consume("small", 1)));
    raw.answer(corr);
    let got = raw.take("small", 1);
    assert!(raw.settle(&got[0], Outcome::Ack));
    raw.store(queue, "small", b"3");
}

#[test]
fn delayed_messages_wait_and_survive_a_restart() {
    let mut broker = TestBroker::start("publish");
    broker.ok(&["queue", "set", "later"]);
    broker.ok(&["pub", "later", "tomorrow", "--in", "1d"]);
    broker.ok(&["pub", "later", "soon", "--in", "300ms"]);
    let mut raw = Raw::greet(broker.address());
    assert!(raw.counts("later").delayed >= 1);
    broker.kill();
    broker.restart();
    let mut raw = Raw::greet(broker.address());
    raw.consume(1, "later", 10);
    assert_eq!(raw.take("later", 1)[0].text(), "soon");
    let counts = eventually("one is delayed", || {
        let counts = raw.counts("later");
        (counts.delayed == 1).then_some(counts)
    });
    assert_eq!((counts.ready, counts.leased), (0, 1));
}
