//! Peers that do not speak our protocol, or do not speak at all.

use super::Arena;
use posthaste_protocol::PREFACE;
use posthaste_tests::Raw;
use std::time::{Duration, Instant};

#[test]
pub(super) fn http_gets_one_sentence_and_others_get_nothing() {
    let arena = Arena::new();
    let mut browser = Raw::connect(arena.address());
    browser.send(b"GET /<script>alert(1)</script> HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = String::from_utf8(browser.read_to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("Posthaste"), "{answer}");
    assert!(!answer.contains("script"), "nothing of the request is repeated: {answer}");
    let strangers: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"AMQP\x00\x00\x09\x01",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        b"\x00\x00\x00\x20\x00\x12\x00\x03",
        b"PHST\n\x1a\x01\x01",
    ];
    for stranger in strangers {
        let begun = Instant::now();
        let mut raw = Raw::connect(arena.address());
        raw.send(stranger);
        assert_eq!(raw.read_to_end(), b"", "{stranger:?}");
        assert!(begun.elapsed() < Duration::from_secs(2), "closed after {:?}", begun.elapsed());
    }
    arena.finish();
}

#[test]
pub(super) fn another_major_version_gets_ours_and_is_closed() {
    let arena = Arena::new();
    for major in [0, 2, 255] {
        let mut raw = Raw::connect(arena.address());
        let mut preface = PREFACE;
        preface[7] = major;
        raw.send(&preface);
        assert_eq!(raw.read_to_end(), PREFACE);
    }
    arena.finish();
}

#[test]
pub(super) fn silence_and_slowness_are_ended_by_a_deadline() {
    let arena = Arena::new();
    let mut silent = Raw::connect(arena.address());
    let mut after_preface = Raw::connect(arena.address());
    after_preface.send(&PREFACE);
    let mut slow = Raw::connect(arena.address());
    let begun = Instant::now();
    for byte in &PREFACE[..7] {
        slow.send(&[*byte]);
        assert!(!slow.is_closed_within(Duration::from_millis(300)), "it has five seconds");
    }
    for raw in [&mut silent, &mut after_preface, &mut slow] {
        assert!(raw.is_closed_within(Duration::from_secs(10)), "after {:?}", begun.elapsed());
    }
    assert!(begun.elapsed() < Duration::from_secs(12));
    arena.finish();
}

#[test]
pub(super) fn connections_that_come_and_go_leave_nothing_behind() {
    let arena = Arena::new();
    for round in 0..300 {
        let mut raw = Raw::connect(arena.address());
        match round % 3 {
            0 => {}
            1 => raw.send(&PREFACE),
            _ => drop(arena.greet()),
        }
    }
    arena.finish();
}
