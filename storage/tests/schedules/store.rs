//! A small store on a simulated disk whose calls are places where another thread may go on.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use posthaste_storage::disk::SimDisk;
use posthaste_storage::{Body, BodyBuilder, Opened, Options, open};
use shuttle::sync::atomic::{AtomicU64, Ordering};

/// Tiny segments, so that few commits roll, and no memory of blocks, so that readers go to the files.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 8 * 1024,
        segment_bytes_max: 8 * 1024,
        spares: 3,
        reserve_bytes: 0,
        tail_cache_bytes: 0,
        footer_cache_bytes: 0,
        block_bytes_max: 2 * 1024,
        background: false,
        prewrite: false,
        seed: Some(7),
        ..Options::default()
    }
}

/// Opens the store. From then on every call of the disk lets another thread go on first.
pub(crate) fn open_on(disk: &SimDisk, options: Options) -> Opened {
    let opened = open(Arc::new(disk.clone()), Path::new("data"), options).unwrap();
    let opened = opened.replay(&mut |_| Ok(())).unwrap();
    // Not a yield, which says that others are more urgent; a place where another may go on.
    let place = AtomicU64::new(0);
    disk.on_call(move |_| {
        place.fetch_add(1, Ordering::SeqCst);
    });
    opened
}

/// The records of one run, told by its offset.
pub(crate) fn batches(offset: u64) -> Bytes {
    vec![offset.to_le_bytes()[0]; 1_500].into()
}

pub(crate) fn body(offset: u64) -> Body {
    let mut body = BodyBuilder::new();
    body.run(1, offset, 1, &[batches(offset)]);
    body.finish()
}
