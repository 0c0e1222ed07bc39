//! Orderly stops at awkward moments.

use super::broker::{Life, count_panics, runtime, take_panic};
use super::network::{Tap, Wire};
use super::scene::{ORDERS, TARGETS, options};
use crate::engine::tests::rig::EPOCH_MS;
use bytes::BytesMut;
use posthaste_protocol::Request;
use posthaste_protocol::frame::PREFACE;
use posthaste_protocol::request::{Hello, Kind, REQUEST_ID_FIRST};
use posthaste_storage::disk::SimDisk;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longer than a checkpoint may wait.
const LONG: Duration = Duration::from_secs(301);

/// A client that declares a queue.
fn declares(wire: &Wire) {
    let mut out = BytesMut::from(&PREFACE[..]);
    let client = "simulation".into();
    let hello = Hello { features: 0, client, frame_bytes_max: 4 << 20, idle_ms: 1_000 };
    Request::Hello(hello).encode(0, REQUEST_ID_FIRST, &mut out);
    let (name, settings) = (TARGETS[ORDERS].name(), TARGETS[ORDERS].settings());
    let declare = Request::Declare { kind: Kind::Queue, name, settings };
    declare.encode(0, REQUEST_ID_FIRST + 1, &mut out);
    wire.send(&out);
    wire.carry(usize::MAX, 0);
}

#[test]
fn a_stop_waits_for_the_checkpoint_that_is_under_way() {
    count_panics();
    let wall_us = Arc::new(AtomicU64::new(EPOCH_MS * 1_000));
    let (disk, tap) = (SimDisk::new(1), Tap::default());
    runtime().block_on(async {
        let life = Life::start(&disk, options(), &wall_us, &tap, 1).expect("an empty disk opens");
        let wire = Wire::new(1);
        life.connect(&wire);
        declares(&wire);
        sleep(Duration::from_secs(1)).await;
        // The checkpoint that is due by then waits for the disk.
        life.pace.stall(Instant::now() + 2 * LONG);
        sleep(LONG).await;
        life.stop();
        sleep(LONG).await;
        assert_eq!(life.ended(), None, "it would cover less than the last one");
        sleep(LONG).await;
        assert_eq!(life.ended(), Some(Ok(())));
        assert_eq!(take_panic(), None);
    });
}
