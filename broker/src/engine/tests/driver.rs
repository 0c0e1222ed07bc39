//! The loop of [`Driver`] itself, with the real log thread and channels on a simulated disk.

use super::rig::{batch, name, publish, request};
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::engine::input::{Input, Item};
use crate::engine::outbox::{Allowance, OutboxDrain, outbox};
use crate::engine::run::Driver;
use crate::engine::start::open;
use posthaste_protocol::frame::{Cut, cut_frame};
use posthaste_protocol::request::{Kind, Settings};
use posthaste_protocol::{Request, Response};
use posthaste_storage::disk::SimDisk;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// The next responses of a connection, or a panic when none come.
async fn responses(drain: &mut OutboxDrain) -> Vec<Response> {
    let next = tokio::time::timeout(PATIENCE, drain.next()).await;
    let parts = next.expect("an answer within the deadline").expect("the engine holds the outbox");
    let mut bytes = bytes::BytesMut::new();
    for part in parts {
        bytes.extend_from_slice(&part);
        drain.written(part.len());
    }
    let mut found = Vec::new();
    while let Ok(Cut::Frame(frame)) = cut_frame(&mut bytes, 16 << 20) {
        found.push(Response::decode(&frame).expect("the broker speaks the protocol"));
    }
    found
}

#[tokio::test]
async fn every_input_of_a_busy_turn_is_handled() {
    const PUBLISHES: u64 = 900;
    let mut clock = Clock::new();
    let disk = Arc::new(SimDisk::memory());
    let options = Config::default().storage;
    let ready =
        open(disk, Path::new("data"), options, clock.now().wall_ms).expect("an empty disk opens");
    let stop = CancellationToken::new();
    let (driver, sender) = Driver::new(ready, clock, None, stop.clone()).expect("a thread");
    let (outbox, mut drain) = outbox(&Allowance::new(1 << 20));
    let send = |input: Input| sender.try_send(input).expect("the channel has room");
    let chunk = |items: Vec<Item>| Input::Chunk { connection: 1, items, budget: None };
    let declare =
        Request::Declare { kind: Kind::Queue, name: name("orders"), settings: Settings::default() };
    send(Input::Opened { connection: 1, outbox });
    send(chunk(vec![request(0, 1 << 40, declare)]));
    let engine = tokio::spawn(driver.run());
    let declared = responses(&mut drain).await;
    let [Response::Declared { id, .. }] = declared[..] else { panic!("not {declared:?}") };
    // One thread and no await: all of these wait before the engine's next turn, which is as full as can be.
    for number in 1..=PUBLISHES {
        send(chunk(vec![publish(number, id, batch("orders", 0, 0, &[b"x"]))]));
    }
    let mut confirmed = 0;
    while confirmed < PUBLISHES {
        for response in responses(&mut drain).await {
            match response {
                Response::Confirms(parts) => {
                    confirmed += parts.iter().map(|part| u64::from(part.count)).sum::<u64>();
                }
                other => panic!("a confirm, not {other:?}"),
            }
        }
    }
    stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, engine).await.expect("an end within the deadline");
    ended.expect("no panic").expect("an orderly stop");
}
