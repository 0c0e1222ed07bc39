//! Frames: lengths, checksums, unknown and misplaced commands.

use super::Arena;
use posthaste_protocol::request::kind;
use posthaste_protocol::{ErrorCode, PREFACE, Request, Response};
use posthaste_tests::Raw;
use posthaste_tests::craft::FrameDraft;
use posthaste_tests::raw::{encode, hello};
use std::time::Duration;

const FRAME_BYTES_MAX: u32 = 4 << 20;

/// Sends bytes behind a hello; the broker must close with this code.
fn closes(arena: &Arena, bytes: &[u8], code: ErrorCode) {
    let mut raw = arena.greet();
    raw.send(bytes);
    raw.closes_with(code);
}

#[test]
pub(super) fn a_length_beyond_the_limit_is_refused_before_anything_follows() {
    let arena = Arena::new();
    closes(&arena, &u32::MAX.to_le_bytes(), ErrorCode::FrameTooLarge);
    closes(&arena, &(FRAME_BYTES_MAX + 1).to_le_bytes(), ErrorCode::FrameTooLarge);
    // Before the hello the limit is 4 KiB.
    let mut raw = Raw::connect(arena.address());
    raw.send(&[&PREFACE[..], &5_000u32.to_le_bytes()].concat());
    raw.skip_preface();
    raw.closes_with(ErrorCode::FrameTooLarge);
    arena.finish();
}

#[test]
pub(super) fn a_frame_of_exactly_the_limit_is_read() {
    let arena = Arena::new();
    for len in [FRAME_BYTES_MAX - 1, FRAME_BYTES_MAX] {
        let mut raw = arena.greet();
        let mut ping = FrameDraft::new(kind::PING, &[7; 8]);
        ping.payload = vec![0; len as usize - 32];
        raw.send(&ping.bytes());
        // A ping has no payload, which is an error of its own, behind the framing.
        match raw.heard().map(|(_, response)| response) {
            Some(Response::Closing(reply) | Response::Error(reply)) => {
                assert_ne!(reply.code, ErrorCode::FrameTooLarge, "{}", reply.message);
            }
            Some(Response::Pong(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    arena.finish();
}

#[test]
pub(super) fn a_length_shorter_than_a_header_is_malformed() {
    let arena = Arena::new();
    for len in [0u32, 1, 23] {
        closes(&arena, &len.to_le_bytes(), ErrorCode::MalformedFrame);
    }
    arena.finish();
}

#[test]
pub(super) fn inner_lengths_beyond_the_frame_are_malformed() {
    let arena = Arena::new();
    for meta_len in [9, 1 << 20, u32::MAX - 23, u32::MAX] {
        let mut draft = FrameDraft::new(kind::PING, &[0; 8]);
        draft.meta_len = Some(meta_len);
        closes(&arena, &draft.bytes(), ErrorCode::MalformedFrame);
    }
    arena.finish();
}

#[test]
pub(super) fn counts_that_overflow_are_malformed() {
    let arena = Arena::new();
    for count in [1u32, 4_097, 0x0800_0001, u32::MAX] {
        // Settle: confirm flag, then the count of items that do not follow.
        let meta = [&[1][..], &count.to_le_bytes()].concat();
        let mut draft = FrameDraft::new(kind::SETTLE, &meta);
        draft.channel = 1;
        let mut raw = arena.greet();
        raw.send(&draft.bytes());
        match raw.heard().map(|(_, response)| response) {
            Some(Response::Closing(reply) | Response::Error(reply)) => {
                let codes = [ErrorCode::MalformedFrame, ErrorCode::InvalidArgument];
                assert!(codes.contains(&reply.code), "{count}: {} {}", reply.code, reply.message);
            }
            other => panic!("{count} items: {other:?}"),
        }
    }
    arena.finish();
}

#[test]
pub(super) fn a_wrong_checksum_closes_the_connection() {
    let arena = Arena::new();
    let mut draft = FrameDraft::new(kind::PING, &[0; 8]);
    draft.crc_error = 1;
    closes(&arena, &draft.bytes(), ErrorCode::ChecksumMismatch);
    let good = encode(0, 9, &Request::Ping(3));
    for byte in [4, 6, 8, 16, 20, 24, 31] {
        let mut damaged = good.to_vec();
        damaged[byte] ^= 0x10;
        let mut raw = arena.greet();
        raw.send(&damaged);
        match raw.heard().map(|(_, response)| response) {
            Some(Response::Closing(reply)) => {
                let codes = [ErrorCode::ChecksumMismatch, ErrorCode::MalformedFrame];
                assert!(codes.contains(&reply.code), "byte {byte}: {}", reply.code);
            }
            other => panic!("damage of byte {byte} gave {other:?}"),
        }
    }
    arena.finish();
}

#[test]
pub(super) fn unknown_commands_and_flags_are_unsupported_and_the_connection_stays() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    for unknown in [0, 23, 99, 127] {
        raw.send(&FrameDraft::new(unknown, &[]).bytes());
        expect_error(&mut raw, ErrorCode::Unsupported);
    }
    for flags in [1, 2, 0x80] {
        let mut draft = FrameDraft::new(kind::PING, &[0; 8]);
        draft.flags = flags;
        raw.send(&draft.bytes());
        expect_error(&mut raw, ErrorCode::Unsupported);
    }
    assert_eq!(raw.ask(0, &Request::Ping(4)), Response::Pong(4));
    arena.finish();
}

fn expect_error(raw: &mut Raw, code: ErrorCode) {
    match raw.heard() {
        Some((frame, Response::Error(reply))) => {
            assert_eq!((reply.code, frame.header.corr), (code, 77), "{}", reply.message);
        }
        other => panic!("{code:?} was expected, and {other:?} came"),
    }
}

#[test]
pub(super) fn what_only_a_broker_says_is_refused_from_a_client() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    raw.send(&FrameDraft::new(0x80 | kind::PING, &[0; 8]).bytes());
    match raw.heard().map(|(_, response)| response) {
        Some(Response::Closing(_) | Response::Error(_)) => {}
        other => panic!("{other:?}"),
    }
    arena.finish();
}

#[test]
pub(super) fn a_command_before_hello_closes_the_connection() {
    let arena = Arena::new();
    for request in [Request::Ping(1), Request::Stats] {
        let mut raw = Raw::connect(arena.address());
        raw.send(&[&PREFACE[..], &encode(0, 1, &request)].concat());
        raw.skip_preface();
        raw.closes_with(ErrorCode::ProtocolError);
    }
    arena.finish();
}

#[test]
pub(super) fn hello_twice_closes_the_connection() {
    let arena = Arena::new();
    closes(&arena, &encode(0, 1, &hello()), ErrorCode::ProtocolError);
    arena.finish();
}

#[test]
pub(super) fn authentication_is_a_slot_that_says_so() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    let data = bytes::Bytes::from_static(b"secret");
    let auth = Request::Auth { mechanism: "PLAIN".to_owned(), data };
    raw.refused(0, &auth, ErrorCode::Unsupported);
    arena.finish();
}

#[test]
pub(super) fn a_truncated_frame_changes_nothing() {
    let arena = Arena::new();
    let frame =
        encode(0, 1, &Request::Delete { name: posthaste_tests::raw::name("victim"), group: None });
    for cut in 1..frame.len() {
        let mut raw = arena.greet();
        raw.send(&frame[..cut]);
        raw.half_close();
        assert!(raw.is_closed_within(Duration::from_secs(5)), "cut at {cut}");
    }
    arena.finish();
}

#[test]
pub(super) fn a_conversation_byte_by_byte_is_a_conversation() {
    let arena = Arena::new();
    let mut raw = Raw::connect(arena.address());
    raw.send_byte_by_byte(&PREFACE);
    raw.skip_preface();
    raw.send_byte_by_byte(&encode(0, 1, &hello()));
    assert!(matches!(raw.answer(1), Response::Welcome(_)));
    raw.send_byte_by_byte(&encode(0, 2, &Request::Ping(8)));
    assert_eq!(raw.answer(2), Response::Pong(8));
    arena.finish();
}
