//! Peers that are slow, or greedy for memory, with limits small enough to be reached at once.

use crate::{Config, Embedded, Limits};
use bytes::{Bytes, BytesMut};
use posthaste_protocol::frame::{CutOf, CutPreface, cut_preface};
use posthaste_protocol::request::Hello;
use posthaste_protocol::{ErrorCode, PREFACE, Request, Response};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const PATIENCE: Duration = Duration::from_secs(20);

async fn broker(limits: Limits) -> Embedded {
    let config = Config { in_memory: true, limits, ..Config::default() };
    Embedded::start(config).await.expect("a broker in memory starts")
}

struct Peer {
    stream: DuplexStream,
    buffer: BytesMut,
}

impl Peer {
    async fn greet(broker: &Embedded) -> Peer {
        let mut peer = Peer { stream: broker.connect(), buffer: BytesMut::new() };
        peer.send(&PREFACE).await;
        let client = "test".to_owned();
        let hello = Hello { features: 0, client, frame_bytes_max: 4 << 20, idle_ms: 60_000 };
        peer.send(&frame(1 << 63, &Request::Hello(hello))).await;
        while !matches!(cut_preface(&mut peer.buffer), Ok(CutPreface::Major(_))) {
            peer.read().await;
        }
        assert!(matches!(peer.heard().await, Some((_, Response::Welcome(_)))));
        peer
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the broker is there");
    }

    async fn read(&mut self) -> usize {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer));
        read.await.expect("the broker says something").expect("the stream is whole")
    }

    /// The next answer with its id; `None` when the broker has closed.
    async fn heard(&mut self) -> Option<(u64, Response)> {
        loop {
            match Response::cut(&mut self.buffer, 4 << 20).expect("a whole frame") {
                CutOf::Frame { header, said } => return Some((header.corr, said.expect("sense"))),
                CutOf::NeedMore(_) if self.read().await == 0 => return None,
                CutOf::NeedMore(_) => {}
            }
        }
    }

    async fn closes_with(&mut self, code: ErrorCode) {
        match self.heard().await {
            Some((0, Response::Closing(reply))) => assert_eq!(reply.code, code),
            other => panic!("{other:?}"),
        }
        assert!(self.heard().await.is_none(), "nothing comes behind closing");
    }
}

fn frame(corr: u64, request: &Request) -> BytesMut {
    let mut out = BytesMut::new();
    request.encode(0, corr, &mut out);
    out
}

/// A publish to nowhere, of so many bytes.
fn large(bytes: usize) -> BytesMut {
    let batch = Bytes::from(vec![0; bytes]);
    frame(1, &Request::Publish { target: 99, durability: 0, expects: None, batch })
}

#[tokio::test]
async fn a_frame_that_trickles_in_is_ended_and_told_so() {
    let frame_timeout = Duration::from_millis(200);
    let broker = broker(Limits { frame_timeout, ..Limits::default() }).await;
    let mut slow = Peer::greet(&broker).await;
    let begun = tokio::time::Instant::now();
    for byte in &large(100)[..30] {
        slow.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    slow.closes_with(ErrorCode::Timeout).await;
    assert!(begun.elapsed() >= frame_timeout);
    broker.shutdown().await.expect("an orderly stop");
}

#[tokio::test]
async fn silence_beyond_what_was_agreed_is_ended_and_told_so() {
    let idle = Duration::from_millis(100);
    let broker = broker(Limits { idle, ..Limits::default() }).await;
    let mut silent = Peer::greet(&broker).await;
    silent.closes_with(ErrorCode::Timeout).await;
    broker.shutdown().await.expect("an orderly stop");
}

#[tokio::test]
async fn a_handshake_that_stops_behind_the_preface_is_told_so() {
    let handshake_timeout = Duration::from_millis(100);
    let broker = broker(Limits { handshake_timeout, ..Limits::default() }).await;
    let mut peer = Peer { stream: broker.connect(), buffer: BytesMut::new() };
    peer.send(&PREFACE).await;
    while !matches!(cut_preface(&mut peer.buffer), Ok(CutPreface::Major(_))) {
        peer.read().await;
    }
    peer.closes_with(ErrorCode::Timeout).await;
    broker.shutdown().await.expect("an orderly stop");
}

#[tokio::test]
async fn p29_large_frames_wait_for_room_and_small_ones_do_not() {
    let broker = broker(Limits { assembly_bytes_max: 100 << 10, ..Limits::default() }).await;
    let large = large(80 << 10);
    let mut first = Peer::greet(&broker).await;
    first.send(&large[..40 << 10]).await;
    // The broker has begun with it when it has answered somebody who came later, twice.
    let mut second = Peer::greet(&broker).await;
    let mut small = Peer::greet(&broker).await;
    for number in 0..20 {
        small.send(&frame(number + (1 << 63), &Request::Ping(number))).await;
        assert!(matches!(small.heard().await, Some((_, Response::Pong(_)))));
    }
    // A second large one has no room beside it: it is not read to its end, and not refused.
    second.send(&large).await;
    let waited = tokio::time::timeout(Duration::from_millis(300), second.heard()).await;
    assert!(waited.is_err(), "{waited:?}");
    small.send(&frame(1, &Request::Ping(7))).await;
    assert!(matches!(small.heard().await, Some((_, Response::Pong(7)))));
    // With the first gone it goes on where it was.
    drop(first);
    match second.heard().await {
        Some((1, Response::Error(reply))) => assert_eq!(reply.code, ErrorCode::NotFound),
        other => panic!("{other:?}"),
    }
    broker.shutdown().await.expect("an orderly stop");
}
