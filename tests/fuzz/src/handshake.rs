//! The first bytes of a connection: a broker answers with its preface, a sentence for browsers, or nothing.

use crate::feed::Feed;
use crate::frame;
use crate::peer::{Peer, broker};
use bytes::BytesMut;
use posthaste_broker::Embedded;
use posthaste_protocol::frame::CutOf;
use posthaste_protocol::{PREFACE, Response};
use std::cell::OnceCell;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

const HELLO: u8 = 1;

thread_local! {
    /// Before the hello nothing is remembered, so one broker serves all inputs.
    static BROKER: OnceCell<(Runtime, Embedded)> = const { OnceCell::new() };
}

/// Feeds `data`.
///
/// # Panics
/// When the broker answers something else, or not at all.
pub fn run(data: &[u8]) {
    BROKER.with(|cell| {
        let (runtime, broker) = cell.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            let broker = runtime.block_on(broker());
            (runtime, broker)
        });
        runtime.block_on(talk(broker, data));
    });
}

async fn talk(broker: &Embedded, data: &[u8]) {
    let mut feed = Feed::new(data);
    let mode = feed.byte();
    let piece = 1 + usize::from(feed.byte());
    let bytes = match mode % 3 {
        0 => feed.rest().to_vec(),
        1 => [&PREFACE[..], feed.rest()].concat(),
        _ => [&PREFACE[..], &frame::frame(HELLO, 0, 0, feed.rest(), &[])].concat(),
    };
    let mut stream = broker.connect();
    for piece in bytes.chunks(piece) {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        if mode & 0x80 != 0 {
            tokio::task::yield_now().await;
        }
    }
    drop(stream.shutdown().await);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    drop(read.await.expect("the broker closes"));
    check_answer(&bytes, &answer);
    if mode & 0x40 != 0 {
        Peer::greet(broker).await.leave().await;
    }
}

fn check_answer(sent: &[u8], answer: &[u8]) {
    if answer.is_empty() {
        return assert!(!sent.starts_with(&PREFACE[..8]), "a preface gets a preface");
    }
    if answer.starts_with(b"HTTP/1.1 400 ") {
        return assert!(!sent.starts_with(b"PHST"));
    }
    assert!(frame::is_preface(answer) && frame::is_preface(sent), "{answer:02x?}");
    let mut rest = BytesMut::from(&answer[PREFACE.len()..]);
    while let CutOf::Frame { said, .. } = Response::cut(&mut rest, 4 << 20).expect("whole frames") {
        said.expect("a readable answer");
    }
    assert!(rest.is_empty(), "the broker closed inside a frame");
}
