//! Preface and frames as they arrive: in pieces, too large, too short, not ours.

use crate::random::Random;
use crate::wire::{Said, cut, frame};
use bytes::BytesMut;
use posthaste_protocol::frame::{Cut, CutOf, CutPreface, PREFACE, cut_frame, cut_preface};
use posthaste_protocol::service::{Answer, ServiceCall, ServiceReply};
use posthaste_protocol::{ErrorCode, Name, Request, Response};

fn ping(echo: u64) -> Vec<u8> {
    Said::Request(Request::Ping(echo)).encode(0, echo)
}

#[test]
fn frames_are_cut_however_their_bytes_arrive() {
    let mut random = Random::from_env(5);
    let mut sent = Vec::new();
    let mut stream = Vec::new();
    for turn in 0..210 {
        let request = random.request(turn);
        let channel = random.channel(&request);
        stream.extend(Said::Request(request.clone()).encode(channel, turn as u64));
        sent.push(Said::Request(request));
    }
    for bytes_at_once in [1, 3, 23, 24, 25, 100, 4_096, stream.len()] {
        let mut buf = BytesMut::new();
        let mut got = Vec::new();
        for chunk in stream.chunks(bytes_at_once) {
            buf.extend_from_slice(chunk);
            loop {
                match cut_frame(&mut buf, 4 << 20).unwrap() {
                    Cut::Frame(frame) => got.push(Said::decode(&frame).unwrap()),
                    Cut::NeedMore(bytes) => {
                        assert!(bytes > 0);
                        break;
                    }
                }
            }
        }
        assert_eq!(got, sent);
        assert!(buf.is_empty());
    }
}

#[test]
fn requests_are_cut_and_decoded_in_one_however_their_bytes_arrive() {
    let mut random = Random::from_env(13);
    let sent: Vec<Request> = (0..210).map(|turn| random.request(turn)).collect();
    let mut stream = BytesMut::new();
    for request in &sent {
        request.encode(random.channel(request), 9, &mut stream);
    }
    for bytes_at_once in [1, 31, 33, 100, 4_096, stream.len()] {
        let (mut buf, mut got) = (BytesMut::new(), Vec::new());
        for chunk in stream.chunks(bytes_at_once) {
            buf.extend_from_slice(chunk);
            while let CutOf::Frame { header, said } = Request::cut(&mut buf, 4 << 20).unwrap() {
                assert_eq!(header.corr, 9);
                got.push(said.unwrap());
            }
        }
        assert_eq!(got, sent);
        assert!(buf.is_empty());
    }
}

#[test]
fn what_is_missing_is_told_exactly_once_the_header_is_there() {
    let bytes = ping(1);
    for len in 0..bytes.len() {
        let mut buf = BytesMut::from(&bytes[..len]);
        let Ok(Cut::NeedMore(more)) = cut_frame(&mut buf, 4 << 20) else { panic!("at {len}") };
        assert_eq!(more, if len < 24 { 24 - len } else { bytes.len() - len });
        assert_eq!(buf, bytes[..len], "a part of a frame stays where it is");
    }
}

#[test]
fn a_declared_length_is_refused_before_anything_else_arrives() {
    let mut buf = BytesMut::from(&[0xff; 4][..]);
    let capacity = buf.capacity();
    let error = cut_frame(&mut buf, 4 << 20).unwrap_err();
    assert_eq!(error.code(), ErrorCode::FrameTooLarge);
    assert!(error.closes_connection());
    assert_eq!(buf.capacity(), capacity);
}

#[test]
fn the_limit_of_a_frame_is_exact() {
    let bytes = ping(1);
    let limit = bytes.len() as u32;
    let mut buf = BytesMut::from(&bytes[..]);
    assert_eq!(cut_frame(&mut buf, limit - 1).unwrap_err().code(), ErrorCode::FrameTooLarge);
    assert!(matches!(cut_frame(&mut buf, limit), Ok(Cut::Frame(_))));
}

#[test]
fn lengths_that_cannot_be_are_malformed() {
    for len in 0..24_u32 {
        let error = cut(&len.to_le_bytes()).unwrap_err();
        assert_eq!((error.code(), error.offset()), (ErrorCode::MalformedFrame, 0));
        assert!(error.closes_connection());
    }
    for meta_len in [9, 10, 0x1_0000, u32::MAX] {
        let mut bytes = ping(1);
        bytes[16..20].copy_from_slice(&meta_len.to_le_bytes());
        let error = cut(&bytes).unwrap_err();
        assert_eq!((error.code(), error.offset()), (ErrorCode::MalformedFrame, 16));
    }
    let mut bytes = vec![0; 4 << 20];
    bytes[0..4].copy_from_slice(&(4_u32 << 20).to_le_bytes());
    bytes[16..20].copy_from_slice(&((256_u32 << 10) + 1).to_le_bytes());
    assert_eq!(cut(&bytes).unwrap_err().offset(), 16);
}

#[test]
fn a_damaged_frame_closes_the_connection() {
    let mut bytes = ping(1);
    bytes[24] ^= 1;
    let error = cut(&bytes).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ChecksumMismatch);
    assert!(error.closes_connection());
}

#[test]
fn unknown_commands_and_flags_are_refused_and_the_connection_goes_on() {
    let mut bytes = ping(1);
    for kind in (23..48).chain(53..56).chain(59..=0x7f).chain([0]) {
        bytes[4] = kind;
        crate::wire::reseal(&mut bytes, 8);
        let error = Request::decode(&frame(&bytes)).unwrap_err();
        assert_eq!((error.code(), error.offset()), (ErrorCode::Unsupported, 4));
        assert!(!error.closes_connection());
    }
    bytes[4] = 3;
    for flag in 0..8 {
        bytes[5] = 1 << flag;
        crate::wire::reseal(&mut bytes, 8);
        let error = Request::decode(&frame(&bytes)).unwrap_err();
        assert_eq!((error.code(), error.offset()), (ErrorCode::Unsupported, 5));
    }
}

#[test]
fn commands_come_on_the_channel_that_they_belong_to() {
    for (request, wrong) in [(Request::Cancel, 0), (Request::Stats, 1)] {
        let frame = frame(&Said::Request(request).encode(wrong, 1));
        let error = Request::decode(&frame).unwrap_err();
        assert_eq!((error.code(), error.offset()), (ErrorCode::InvalidArgument, 6));
        assert!(!error.closes_connection());
    }
}

#[test]
fn a_payload_belongs_to_commands_that_have_one() {
    let mut bytes = ping(1);
    bytes.push(0);
    crate::wire::reseal(&mut bytes, 8);
    let error = Request::decode(&frame(&bytes)).unwrap_err();
    assert_eq!((error.code(), error.offset()), (ErrorCode::MalformedFrame, 32));

    let batch = bytes::Bytes::new();
    let publish =
        Said::Request(Request::Publish { target: 1, durability: 0, expects: None, batch });
    assert!(Said::decode(&frame(&publish.encode(0, 1))).is_err());
    let name = Name::try_from("q").unwrap();
    let ask = ServiceCall::Ask { name, timeout_ms: 1, batch: bytes::Bytes::new() };
    let ask = Said::Request(Request::Service(ask));
    assert!(Said::decode(&frame(&ask.encode(0, 1))).is_err(), "a request has a body");
    let replied = ServiceReply::Replied(Answer::Done(bytes::Bytes::new()));
    let replied = Said::Response(Response::Service(replied));
    assert!(Said::decode(&frame(&replied.encode(0, 1))).is_err(), "and so has its reply");
}

#[test]
fn a_preface_is_cut_however_its_bytes_arrive() {
    for len in 0..8 {
        let mut buf = BytesMut::from(&PREFACE[..len]);
        assert_eq!(cut_preface(&mut buf), Ok(CutPreface::NeedMore(8 - len)));
        assert_eq!(buf.len(), len);
    }
    for major in [0, 1, 2, 255] {
        let mut bytes = PREFACE;
        bytes[7] = major;
        let mut buf = BytesMut::from(&bytes[..]);
        buf.extend_from_slice(b"next");
        assert_eq!(cut_preface(&mut buf), Ok(CutPreface::Major(major)));
        assert_eq!(&buf[..], b"next");
    }
}

#[test]
fn other_protocols_are_found_out_by_their_first_bytes() {
    let others: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\n",
        b"POST ",
        b"PUT",
        b"AMQP\0\0\x09\x01",
        b"\x16\x03\x01",
        b"SSH-2.0-x",
        b"PROXY TCP4",
        b"\0\0\0\x10",
    ];
    for other in others {
        let error = cut_preface(&mut BytesMut::from(other)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MalformedFrame);
        assert!(error.closes_connection() && error.offset() < 2);
    }
    // What a transfer in text mode makes of it.
    assert!(cut_preface(&mut BytesMut::from(&b"PHST\n\x1a\x01"[..])).is_err());
}
