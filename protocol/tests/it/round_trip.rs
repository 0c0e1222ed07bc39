//! What one side encodes the other decodes, for every kind of request and response.

use crate::random::Random;
use crate::wire::{Said, check_refused_or_exact, frame, reseal};
use bytes::BytesMut;
use posthaste_protocol::request::{REQUEST_ID_FIRST, Settle};
use posthaste_protocol::response::{Deliver, Description, Piece, PieceHead};
use posthaste_protocol::{ErrorCode, Request, Response, encode_deliver_head, encode_publish_head};
use std::collections::BTreeSet;

const TURNS: usize = 4_200;

fn check(said: &Said, channel: u16, corr: u64) -> u8 {
    let bytes = said.encode(channel, corr);
    check_refused_or_exact(&bytes);
    let frame = frame(&bytes);
    assert_eq!(frame.header.len as usize, bytes.len());
    assert_eq!((frame.header.channel, frame.header.corr), (channel, corr));
    assert_eq!(Said::decode(&frame).as_ref(), Ok(said));
    frame.header.kind
}

#[test]
fn every_request_is_decoded_as_it_was_encoded() {
    let mut random = Random::from_env(1);
    let mut kinds = BTreeSet::new();
    for turn in 0..TURNS {
        let request = random.request(turn);
        let (channel, corr) = (random.channel(&request), random.number());
        let kind = request.kind();
        assert_eq!(check(&Said::Request(request), channel, corr), kind);
        kinds.insert(kind);
    }
    assert_eq!(kinds, (1..=22).chain(48..=52).chain(56..=58).collect());
}

#[test]
fn every_response_is_decoded_as_it_was_encoded() {
    let mut random = Random::from_env(2);
    let mut kinds = BTreeSet::new();
    for turn in 0..TURNS {
        let response = random.response(turn);
        let (channel, corr) = (random.number() as u16, random.number());
        let kind = response.kind();
        assert_eq!(check(&Said::Response(response), channel, corr), kind);
        kinds.insert(kind);
    }
    // Auth has no answer of its own yet; a declared group is answered like a declared topic.
    let all = (0x80..=0x96).filter(|kind| ![0x82, 0x86].contains(kind));
    let all = all.chain(0xb0..=0xb4).chain(0xb8..=0xba).collect();
    assert_eq!(kinds, all);
}

#[test]
fn fast_paths_make_the_same_bytes() {
    let mut random = Random::from_env(3);
    for _ in 0..500 {
        let (batch, target, durability) = (random.batch(), random.number32(), random.u64() as u8);
        let corr = random.number();
        let mut fast = BytesMut::new();
        let expects = random.chance().then(|| random.number());
        encode_publish_head(target, durability, expects, corr, batch.len(), &mut fast);
        fast.extend_from_slice(&batch);
        let slow =
            Said::Request(Request::Publish { target, durability, expects, batch }).encode(0, corr);
        assert_eq!(fast, slow);

        let Response::Deliver(deliver) = random.response(10) else { panic!() };
        let heads: Vec<PieceHead> = deliver.pieces.iter().map(Piece::head).collect();
        let mut fast = BytesMut::new();
        let Deliver { epoch, lease_ms, .. } = deliver;
        encode_deliver_head(7, epoch, lease_ms, &heads, &mut fast);
        deliver.pieces.iter().for_each(|piece| fast.extend_from_slice(&piece.batches));
        assert_eq!(fast, Said::Response(Response::Deliver(deliver)).encode(7, 0));
    }
}

#[test]
fn sizes_told_beforehand_are_the_sizes_in_the_frame() {
    let mut random = Random::from_env(4);
    for _ in 0..500 {
        let items: Vec<Settle> = (0..5).map(|_| random.settle()).collect();
        let told = 1 + 4 + items.iter().map(Settle::meta_bytes).sum::<usize>();
        let bytes = Said::Request(Request::Settle { confirm: true, items }).encode(1, 0);
        assert_eq!(bytes.len(), 24 + told);

        let items = vec![random.description(), random.description()];
        let told = 1 + 4 + items.iter().map(Description::meta_bytes).sum::<usize>();
        let bytes = Said::Response(Response::Listed { items, more: false }).encode(0, 0);
        assert_eq!(bytes.len(), 24 + told);

        let items = vec![random.dead_letter()];
        let told = 8 + 4 + items[0].meta_bytes() + items[0].piece.batches.len();
        let bytes = Said::Response(Response::DeadLetters { items, total: 1 }).encode(0, 0);
        assert_eq!(bytes.len(), 24 + told);
    }
}

#[test]
fn texts_that_are_too_long_are_cut_between_characters() {
    let settle = |reason: String| {
        let held = posthaste_protocol::request::Held { first: 1, count: 1, epoch: 1 };
        let outcome = posthaste_protocol::request::Outcome::DeadLetter { reason };
        Request::Settle { confirm: false, items: vec![Settle { held, outcome }] }
    };
    let said = Said::Request(settle(format!("{}é{}", "x".repeat(999), "y".repeat(70_000))));
    let decoded = Said::decode(&frame(&said.encode(1, 0))).unwrap();
    assert_eq!(decoded, Said::Request(settle("x".repeat(999))));
}

#[test]
fn errors_carry_printable_ascii_only() {
    let reply = posthaste_protocol::ErrorReply {
        code: ErrorCode::Internal,
        retry_after_ms: 0,
        message: "disk\u{1b}[31m \u{e9}\r\nforged".into(),
        similar: vec!["a".into(), "b".into(), "c".into(), "d".into()],
    };
    let said = Said::Response(Response::Error(reply));
    let Ok(Said::Response(Response::Error(reply))) = Said::decode(&frame(&said.encode(0, 1)))
    else {
        panic!()
    };
    assert_eq!(reply.message, "disk?[31m ???forged");
    assert_eq!(reply.similar, ["a", "b", "c"]);

    // Code, advice, length of the sentence, sentence.
    let mut forged = Said::Response(Response::Error(reply)).encode(0, 1);
    for byte in [b'\n', 0x1b, 0x7f] {
        forged[32] = byte;
        let meta_len = forged.len() - 24;
        reseal(&mut forged, meta_len);
        let error = Said::decode(&frame(&forged)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MalformedFrame);
    }
}

#[test]
fn request_ids_and_publish_numbers_cannot_be_confused() {
    assert_eq!(REQUEST_ID_FIRST, 0x8000_0000_0000_0000);
}
