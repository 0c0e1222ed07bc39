//! The parts of the paths in nanoseconds: `cargo bench -p posthaste-benches`. Figures of a noisy machine; for a regression that a
//! noisy machine cannot show there are the instruction counts of `benches/instructions`.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use posthaste_benches::path::{Path, batch, seed};
use posthaste_protocol::{CutOf, Request, SliceCursor, verify_batch};
use posthaste_storage::disk::RealDisk;
use posthaste_storage::{BodyBuilder, Opened, Options, open};
use std::sync::Arc;

fn main() {
    divan::main();
}

/// Messages of a batch.
const COUNTS: [u32; 3] = [1, 100, 1_000];

#[divan::bench(args = COUNTS)]
fn codec_encode_batch(bencher: Bencher<'_, '_>, count: u32) {
    bencher.counter(ItemsCount::new(count)).bench(|| batch(black_box(count), 100));
}

#[divan::bench(args = COUNTS)]
fn codec_verify_batch(bencher: Bencher<'_, '_>, count: u32) {
    let batch = batch(count, 100);
    bencher.counter(ItemsCount::new(count)).bench(|| verify_batch(black_box(&batch), seed()));
}

#[divan::bench(args = COUNTS)]
fn codec_cut_frame(bencher: Bencher<'_, '_>, count: u32) {
    let mut frame = bytes::BytesMut::new();
    let publish =
        Request::Publish { target: 1, durability: 0, expects: None, batch: batch(count, 100) };
    publish.encode(0, 1, &mut frame);
    bencher.counter(ItemsCount::new(count)).with_inputs(|| frame.clone()).bench_values(
        |mut wire| {
            let cut = Request::cut(&mut wire, 16 << 20).unwrap();
            assert!(matches!(cut, CutOf::Frame { .. }));
            wire
        },
    );
}

#[divan::bench(args = COUNTS)]
fn codec_slice_half_of_a_batch(bencher: Bencher<'_, '_>, count: u32) {
    let batch = batch(count, 100);
    bencher.counter(ItemsCount::new(count)).bench(|| {
        let mut cursor = SliceCursor::new(batch.clone(), seed()).unwrap();
        cursor.slice(0, count.div_ceil(2)).unwrap()
    });
}

#[divan::bench(args = [100, 4_096, 1 << 20])]
fn checksum(bencher: Bencher<'_, '_>, len: usize) {
    let bytes = vec![7_u8; len];
    bencher.counter(BytesCount::new(len)).bench(|| crc32fast::hash(black_box(&bytes)));
}

/// Runs of one batch each in a block.
#[divan::bench(args = [1, 100])]
fn block_build(bencher: Bencher<'_, '_>, runs: u32) {
    let batch = batch(100, 100);
    bencher.counter(ItemsCount::new(runs)).bench(|| {
        let mut body = BodyBuilder::new();
        for stream in 0..runs {
            body.run(stream, 0, 100, std::slice::from_ref(&batch));
        }
        body.finish()
    });
}

/// A fresh store in a folder that goes away with it.
fn store(segment_bytes: u32) -> (tempfile::TempDir, Opened) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes, tail_cache_bytes: 0, ..Options::default() };
    let opening = open(Arc::new(RealDisk), &folder.path().join("data"), options).unwrap();
    let opened = opening.replay(&mut |_| Ok(())).unwrap();
    (folder, opened)
}

/// One write and one fdatasync.
#[divan::bench(args = [1, 40, 1_000], sample_count = 50)]
fn log_append(bencher: Bencher<'_, '_>, kib: usize) {
    let (_folder, mut opened) = store(64 << 20);
    let batch = batch(1, kib * 1_024);
    let mut offset = 0;
    bencher.counter(BytesCount::new(kib * 1_024)).bench_local(|| {
        let mut body = BodyBuilder::new();
        body.run(1, offset, 1, std::slice::from_ref(&batch));
        offset += 1;
        opened.writer.commit(1, body.finish()).unwrap()
    });
}

/// A run of a sealed segment by its offset: look-up in the footer, one read, its checksum.
#[divan::bench]
fn footer_look_up(bencher: Bencher<'_, '_>) {
    const RUNS: u64 = 2_000;
    let (_folder, mut opened) = store(1 << 20);
    let batch = batch(10, 100);
    for run in 0..RUNS {
        let mut body = BodyBuilder::new();
        body.run(1, run * 10, 10, std::slice::from_ref(&batch));
        opened.writer.commit(1, body.finish()).unwrap();
    }
    let mut offset = 0;
    bencher.bench_local(|| {
        offset = (offset + 7_919) % (RUNS * 10);
        opened.reader.read(1, offset).unwrap().unwrap()
    });
}

#[divan::bench(args = COUNTS)]
fn path_publish(bencher: Bencher<'_, '_>, count: u32) {
    let mut path = Path::new(count, 100);
    bencher.counter(ItemsCount::new(count)).bench_local(|| path.publish());
}

#[divan::bench(args = COUNTS)]
fn path_publish_deliver_settle(bencher: Bencher<'_, '_>, count: u32) {
    let mut path = Path::new(count, 100);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        path.publish();
        let (delivered, ..) = path.deliver();
        path.settle(delivered);
    });
}

/// Each message settled on its own, the last one first.
#[divan::bench(args = COUNTS)]
fn path_settled_backwards(bencher: Bencher<'_, '_>, count: u32) {
    let mut path = Path::new(count, 100);
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        path.publish();
        let (delivered, ..) = path.deliver();
        path.settle_backwards(delivered);
    });
}
