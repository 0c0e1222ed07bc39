//! Connections that are too many, that vanish, or that end in the middle of something.

use super::{Arena, SOON};
use posthaste_protocol::request::{Kind, Outcome};
use posthaste_protocol::{ErrorCode, PREFACE, Response};
use posthaste_tests::craft::FrameDraft;
use posthaste_tests::raw::{batch, encode, hello_of};
use posthaste_tests::{Raw, TestBroker, eventually};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Runs it so that it may open so many files.
fn limit_files(broker: &mut TestBroker, files: u32) {
    let script = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
    broker.run_through(&["sh", "-c", &script]);
}

/// LIMIT of the broker: connections of one address that have not said hello.
const SILENT_MAX: usize = 256;

#[test]
pub(super) fn who_says_nothing_takes_so_many_places_and_for_so_long() {
    let arena = Arena::new();
    let silent: Vec<Raw> = (0..SILENT_MAX).map(|_| Raw::connect(arena.address())).collect();
    let begun = Instant::now();
    // The broker takes them one after another, so the first that is too many may come early.
    let mut refused = eventually("one is refused", || {
        let mut raw = Raw::connect(arena.address());
        raw.is_closed_within(Duration::from_millis(200)).then_some(raw)
    });
    refused.skip_preface();
    refused.closes_with(ErrorCode::TooManyConnections);
    // Those who are in go on meanwhile, and the silent ones are gone after their deadline.
    arena.let_the_victim_work();
    eventually("there is room again", || {
        let mut raw = Raw::connect(arena.address());
        raw.send(&PREFACE);
        (raw.read_some_bytes(8) == PREFACE && !raw.is_closed_within(Duration::from_millis(50)))
            .then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(12), "after {:?}", begun.elapsed());
    drop(silent);
    arena.finish();
}

#[test]
pub(super) fn a_flood_of_connects_disturbs_nobody_and_fills_no_log() {
    let arena = Arena::new();
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        for round in 0..20 {
            // A socket of the system's own may be used up, which is not the broker's fault.
            let Ok(mut stream) = TcpStream::connect(arena.address()) else { continue };
            if round % 2 == 0 {
                drop(stream.write_all(b"\xff\xff\xff\xff\xff\xff\xff\xff"));
            }
            count += 1;
        }
    }
    println!("{count} connections in {:?}", begun.elapsed());
    assert!(count > 20);
    arena.let_the_victim_work();
    drop(arena.greet());
    let told = || arena.broker.log().contains("connections were refused or ended");
    eventually("the operator hears of it", || told().then_some(()));
    arena.finish();
}

#[test]
pub(super) fn p30_at_the_limit_of_files_the_new_one_is_refused_by_name_and_the_others_go_on() {
    let mut broker = TestBroker::prepare("files", &[]);
    limit_files(&mut broker, 160);
    broker.restart();
    let arena = Arena::of(broker);
    let mut mine = Vec::new();
    let refused = loop {
        let mut raw = Raw::connect(arena.address());
        raw.send(&PREFACE);
        raw.skip_preface();
        raw.request(0, &posthaste_tests::raw::hello());
        match raw.heard().expect("an answer").1 {
            Response::Welcome(_) => mine.push(raw),
            Response::Closing(reply) => break reply,
            other => panic!("{other:?}"),
        }
        assert!(mine.len() < 160);
    };
    assert_eq!(refused.code, ErrorCode::TooManyConnections, "{}", refused.message);
    assert!(mine.len() > 60, "{} had room", mine.len());
    arena.let_the_victim_work();
    // What is not for clients still has its files: metrics, and a queue that is new.
    let mut http = TcpStream::connect(arena.broker.http()).unwrap();
    http.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let id = mine[0].declare(Kind::Queue, "beyond");
    mine[0].store(id, "beyond", b"x");
    drop(mine);
    eventually("there is room again", || {
        let mut raw = Raw::connect(arena.address());
        raw.send(&PREFACE);
        raw.skip_preface();
        raw.request(0, &posthaste_tests::raw::hello());
        matches!(raw.heard()?.1, Response::Welcome(_)).then_some(())
    });
    arena.finish();
}

#[test]
pub(super) fn a_peer_that_vanished_is_found_out_and_its_messages_go_to_others() {
    let arena = Arena::new();
    let mut owner = arena.greet();
    let target = owner.declare(Kind::Queue, "orders");
    owner.store(target, "orders", b"mine");
    // It agrees to be heard each second, takes a message under a long lease, and is gone.
    let mut vanished = Raw::greet_with(arena.address(), &hello_of("vanished", 1_000));
    vanished.consume(1, "orders", 1);
    assert_eq!(vanished.take("orders", 1).len(), 1);
    let begun = Instant::now();
    owner.consume(1, "orders", 1);
    let got = owner.take("orders", 1).remove(0);
    assert!(got.redelivered, "it may have been worked on");
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1_500) && took < SOON, "given back after {took:?}");
    vanished.closes_with(ErrorCode::Timeout);
    assert!(owner.settle(&got, Outcome::Ack));
    arena.finish();
}

#[test]
pub(super) fn who_sends_no_more_hears_every_confirm_and_then_the_end() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    let numbers: Vec<u64> =
        (0..50).map(|_| raw.publish(target, batch("orders", &[b"x"]))).collect();
    raw.half_close();
    for number in numbers {
        raw.outcome(number).unwrap();
    }
    assert!(raw.heard().is_none(), "the broker closes when all is said");
    assert_eq!(arena.greet().counts("orders").ready, 50);
    arena.finish();
}

#[test]
pub(super) fn what_was_published_before_a_broken_frame_is_answered_before_the_end() {
    let arena = Arena::new();
    for round in 0..20 {
        let mut raw = arena.greet();
        let target = raw.declare(Kind::Queue, "orders");
        let number = raw.publish(target, batch("orders", &[b"x"]));
        if round % 2 == 0 {
            let mut broken = FrameDraft::new(3, &[0; 8]);
            broken.crc_error = 1;
            raw.send(&broken.bytes());
        } else {
            raw.send(&[0xff; 4]);
        }
        assert_eq!(raw.outcome(number), Ok(round));
        let code = [ErrorCode::ChecksumMismatch, ErrorCode::FrameTooLarge][round as usize % 2];
        raw.closes_with(code);
    }
    arena.finish();
}

#[test]
pub(super) fn a_reset_in_the_middle_of_a_batch_stores_nothing_of_it() {
    let arena = Arena::new();
    let target = arena.greet().declare(Kind::Queue, "orders");
    let request = posthaste_protocol::Request::Publish {
        target,
        durability: 0,
        expects: None,
        batch: batch("orders", &[b"one", b"two", b"three"]),
    };
    let frame = encode(0, 1, &request);
    for cut in [1, 24, 40, frame.len() / 2, frame.len() - 1] {
        let mut raw = Raw::connect(arena.address());
        raw.send(&PREFACE);
        raw.send(&encode(0, 9, &posthaste_tests::raw::hello()));
        raw.send(&frame[..cut]);
        // What was not read makes the system reset the connection instead of ending it.
        raw.wait_for_bytes();
        drop(raw);
    }
    let mut raw = arena.greet();
    assert_eq!(raw.describe("orders").next_offset, 0);
    raw.store(target, "orders", b"whole");
    arena.finish();
}

#[test]
pub(super) fn a_client_that_calls_itself_names_forges_no_line_of_the_log() {
    let arena = Arena::new();
    let forged = "x\n2026-01-01T00:00:00Z ERROR forged: all is lost\x1b[31m";
    let mut raw = Raw::greet_with(arena.address(), &hello_of(forged, 15_000));
    raw.send(&[0xff; 4]);
    raw.closes_with(ErrorCode::FrameTooLarge);
    drop(arena.greet());
    assert!(!arena.broker.log().contains("forged"), "{}", arena.broker.log());
    arena.finish();
}

#[test]
pub(super) fn the_door_for_metrics_speaks_http_only_and_takes_nobody_for_long() {
    let arena = Arena::new();
    let mut stranger = Raw::connect(arena.broker.http());
    stranger.send(&PREFACE);
    stranger.send(&encode(0, 1, &posthaste_tests::raw::hello()));
    let answer = stranger.read_to_end();
    assert!(!answer.starts_with(&PREFACE), "{answer:?}");
    // A hundred that say nothing: the oldest make room, and a health check is answered.
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(arena.broker.http()).unwrap()).collect();
    let mut check = Raw::connect(arena.broker.http());
    check.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8(check.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let gone = eventually("the oldest are sent away", || {
        let gone = silent.iter().filter(|stream| is_gone(stream)).count();
        (gone >= 60).then_some(gone)
    });
    assert!(gone < 100, "the newest may stay");
    arena.finish();
}

fn is_gone(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
pub(super) fn large_frames_that_never_end_share_one_memory() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let target = raw.declare(Kind::Queue, "orders");
    // Eighty frames of 3 MB that stop one byte before their end: 240 MB, if all were taken.
    let publish = encode(
        0,
        1,
        &posthaste_protocol::Request::Publish {
            target,
            durability: 0,
            expects: None,
            batch: batch("orders", &[&vec![b'x'; 1 << 20][..]; 3]),
        },
    );
    let unfinished = &publish[..publish.len() - 1];
    let stuck: Vec<Raw> = (0..80)
        .map(|_| {
            let mut raw = arena.greet();
            raw.send_what_fits(unfinished);
            raw
        })
        .collect();
    arena.let_the_victim_work();
    // And what is small is not held up by what is large.
    assert_eq!(raw.store(target, "orders", b"small"), 0);
    drop(stuck);
    let number = raw.publish(target, batch("orders", &[&vec![b'x'; 1 << 20][..]; 3]));
    raw.outcome(number).expect("room again for a large one");
    // Buffers that grow are copied, so for a moment a frame is there twice.
    let mut arena = arena;
    arena.quiet_bytes += 48 << 20;
    arena.finish();
}

#[test]
pub(super) fn a_publisher_that_never_reads_is_held_back_and_disturbs_nobody() {
    let arena = Arena::new();
    let target = arena.greet().declare(Kind::Queue, "flood");
    let mut flooder = arena.greet();
    let request = posthaste_protocol::Request::Publish {
        target,
        durability: 0,
        expects: None,
        batch: batch("flood", &[&vec![b'x'; 60_000][..]; 8]),
    };
    // Much more than may be under way: the socket is not read when blocks are.
    let begun = Instant::now();
    let mut number = 0;
    while begun.elapsed() < Duration::from_secs(2) && number < 400 {
        number += 1;
        flooder.send(&encode(0, number, &request));
    }
    arena.let_the_victim_work();
    println!("{number} publishes of half a megabyte in {:?}", begun.elapsed());
    let confirmed = (1..=number).filter(|number| flooder.outcome(*number).is_ok()).count() as u64;
    assert_eq!(confirmed, number, "held back is not refused");
    assert_eq!(arena.greet().counts("flood").ready, number * 8);
    let mut arena = arena;
    // 64 MiB each for what is not on disk, for frames under way and for the cache, and buffers.
    arena.quiet_bytes += 192 << 20;
    arena.finish();
}

#[test]
fn a_small_limit_of_files_is_said_at_the_start() {
    let mut broker = TestBroker::prepare("few-files", &[]);
    limit_files(&mut broker, 128);
    broker.restart();
    assert!(broker.log().contains("open files limit"), "{}", broker.log());
    drop(Raw::greet(broker.address()));
}
