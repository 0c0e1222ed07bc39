use super::*;
use crate::block::{BlockHeader, padded_len};
use crate::body::BodyBuilder;
use crate::lsn::Lsn;
use bytes::Bytes;

/// Block `number` with one record of each stream, 1,000 bytes each.
fn block(number: u32, streams: &[u32]) -> Arc<Block> {
    let mut builder = BodyBuilder::new();
    for stream in streams {
        builder.run(*stream, u64::from(number), 1, &[Bytes::from(vec![number as u8; 1_000])]);
    }
    let body = builder.finish();
    let lsn = Lsn::new(number, 4608);
    let header = BlockHeader {
        flags: 0,
        shard: 0,
        lsn,
        durable_lsn: lsn,
        epoch: 1,
        padded_len: padded_len(4608, body.len()) as u32,
        index: u64::from(number),
        term: 1,
        time_ms: u64::from(number),
        commit: 0,
        chain: 0,
        entries: body.entries,
        body_len: body.len() as u32,
        body_crc: body.crc,
    };
    let (bytes, memory) = body.buffer.freeze();
    Arc::new(Block::new(&header, bytes, body.runs, memory))
}

#[test]
fn cache_stays_within_its_bytes_and_keeps_the_newest() {
    let mut cache = TailCache::default();
    let mut gone = 0;
    for number in 0..100 {
        gone += cache.push(&block(number, &[1, 2]), 20_000).len();
        assert!(cache.bytes <= 20_000);
    }
    assert_eq!(gone + cache.blocks.len(), 100);
    assert!(cache.blocks.len() >= 5);
    assert_eq!(cache.find(1, 99).unwrap().batches, Bytes::from(vec![99; 1_000]));
    assert_eq!(cache.find(1, 5), None);
    assert_eq!(cache.find(1, 100), None);
    assert_eq!(cache.find(3, 99), None);
}

#[test]
fn cache_does_not_guess_about_what_it_no_longer_has() {
    let mut cache = TailCache::default();
    for number in [10, 11, 15] {
        cache.push(&block(number, &[1]), 100_000);
    }
    // Before its oldest run there may be others; between its runs there are none.
    assert_eq!(cache.find(1, 9), None);
    assert_eq!(cache.find(1, 12).unwrap().base_offset, 15);
}

#[test]
fn cache_forgets_streams_that_have_nothing_in_it() {
    let mut cache = TailCache::default();
    for number in 0..50 {
        cache.push(&block(number, &[number]), 5_000);
    }
    assert!(cache.streams.len() <= 5);
    assert_eq!(cache.streams.len(), cache.blocks.len());
    cache.push(&block(51, &[1]), 0);
    assert_eq!((cache.bytes, cache.blocks.len(), cache.streams.len()), (0, 0, 0));
}

#[test]
fn cache_counts_what_its_blocks_and_each_of_their_runs_take() {
    let mut cache = TailCache::default();
    let (one, many) = (block(1, &[1]), block(2, &[1; 500]));
    cache.push(&one, usize::MAX);
    let of_one = cache.bytes;
    cache.push(&many, usize::MAX);
    let of_many = cache.bytes - of_one;
    let runs = size_of::<Cached>() + size_of::<crate::body::RunSpan>();
    assert_eq!(of_one, size_of::<Block>() + one.body_memory + runs);
    assert_eq!(of_many, size_of::<Block>() + many.body_memory + 500 * runs);
}

#[test]
fn cache_may_be_full_to_the_last_byte() {
    let mut cache = TailCache::default();
    cache.push(&block(1, &[1]), usize::MAX);
    let bytes = cache.bytes;
    assert_eq!(cache.push(&block(2, &[1]), 2 * bytes).len(), 0);
    assert_eq!(cache.push(&block(3, &[1]), 2 * bytes - 1).len(), 2);
}
