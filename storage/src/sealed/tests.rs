use std::path::PathBuf;

use super::*;
use crate::disk::{Disk, SimDisk};

/// The bytes of the index of a segment without a block.
const INDEX: usize = FOOTER_HEADER_BYTES;

fn sealed(seq: u32) -> Arc<Sealed> {
    let id = Arc::new(SegmentId { slot: seq, seq, salt: 1, size: 1 << 20 });
    let bytes = Bytes::from(footer::encode(&RunIndex::default(), &id, 4_608));
    let footer = Footer::decode(bytes, &id, 4_608).unwrap();
    let path = PathBuf::from("slot");
    let file = SimDisk::memory().open(&path, OpenMode::Create).unwrap();
    Arc::new(Sealed {
        segment: Segment { id, file, path: Arc::new(path) },
        footer,
        has_gaps: false,
    })
}

fn filled(count: u32, bytes_max: usize) -> FooterCache {
    let mut cache = FooterCache::default();
    (1..=count).for_each(|seq| cache.insert(&sealed(seq), bytes_max));
    cache
}

fn held(cache: &FooterCache) -> Vec<u32> {
    let mut held: Vec<u32> = cache.sealed.keys().copied().collect();
    held.sort_unstable();
    assert_eq!(cache.bytes, held.len() * INDEX, "what it counts is what it holds");
    held
}

#[test]
fn cache_of_indexes_stays_within_its_bytes_and_lets_the_oldest_go() {
    let mut cache = filled(20, usize::MAX);
    cache.insert(&sealed(21), 11 * INDEX);
    assert_eq!(held(&cache), (11..=21).collect::<Vec<_>>());
    cache.insert(&sealed(22), 12 * INDEX);
    assert_eq!(held(&cache), (11..=22).collect::<Vec<_>>(), "it may be full to the last byte");
    cache.insert(&sealed(23), 12 * INDEX - 1);
    assert_eq!(held(&cache), (13..=23).collect::<Vec<_>>());
}

#[test]
fn cache_of_indexes_keeps_what_is_used() {
    let mut cache = filled(20, usize::MAX);
    for seq in (1..=20).rev() {
        assert_eq!(cache.get(seq).unwrap().segment.id.seq, seq);
    }
    assert!(cache.get(21).is_none());
    cache.insert(&sealed(21), 11 * INDEX);
    assert_eq!(held(&cache), (1..=10).chain([21]).collect::<Vec<_>>());
}

#[test]
fn cache_of_indexes_holds_the_one_in_use_however_small_it_is() {
    let mut cache = filled(3, 0);
    assert_eq!(held(&cache), [3]);
    cache.insert(&sealed(3), 0);
    assert_eq!(held(&cache), [3], "the same one counts once");
    cache.remove(2);
    assert_eq!(held(&cache), [3]);
    cache.remove(3);
    assert_eq!(held(&cache), [] as [u32; 0]);
}

#[test]
fn cache_of_indexes_keeps_so_many_files_open_and_no_more() {
    let max = OPEN_MAX as u32;
    assert_eq!(held(&filled(max, usize::MAX)), (1..=max).collect::<Vec<_>>());
    assert_eq!(held(&filled(max + 2, usize::MAX)), (3..=max + 2).collect::<Vec<_>>());
}
