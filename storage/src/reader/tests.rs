use std::path::Path;

use super::*;
use crate::body::BodyBuilder;
use crate::disk::SimDisk;
use crate::{Opened, Options, open};

/// Records of 8,000 bytes at every tenth offset.
const STRIDE: u64 = 10;

fn opened(disk: &SimDisk) -> Opened {
    let options = Options {
        segment_bytes: 64 << 10,
        segment_bytes_max: 64 << 10,
        reserve_bytes: 0,
        block_bytes_max: 16 << 10,
        tail_cache_bytes: 0,
        background: false,
        prewrite: false,
        seed: Some(1),
        ..Options::default()
    };
    let opening = open(Arc::new(disk.clone()), Path::new("data"), options).unwrap();
    opening.replay(&mut |_| Ok(())).unwrap()
}

/// A log of several segments, and the places of its blocks.
fn log(disk: &SimDisk) -> (Opened, Vec<Lsn>) {
    let mut opened = opened(disk);
    let commit = |number| {
        let mut builder = BodyBuilder::new();
        builder.run(1, number * STRIDE, 1, &[Bytes::from(vec![number as u8; 8_000])]);
        opened.writer.commit(number, builder.finish()).unwrap().lsn
    };
    let places = (0..20).map(commit).collect();
    (opened, places)
}

fn base(run: Result<Option<Run>, StorageError>) -> Option<u64> {
    run.unwrap().map(|run| run.base_offset)
}

#[test]
fn between_runs_the_next_one_is_found_wherever_the_index_is() {
    let (opened, places) = log(&SimDisk::memory());
    assert!(places[19].seq() > 2);
    for _ in 0..2 {
        for number in 0..20 {
            let (here, next) = (number * STRIDE, (number < 19).then_some((number + 1) * STRIDE));
            assert_eq!(base(opened.reader.read(1, here)), Some(here));
            for within in [1, STRIDE - 1] {
                assert_eq!(base(opened.reader.read(1, here + within)), next, "{here}");
            }
            for within in [0, 1, STRIDE - 1] {
                assert_eq!(opened.reader.run_after(1, here + within).unwrap(), next, "{here}");
            }
        }
        assert_eq!(opened.reader.run_after(2, 0).unwrap(), None);
        // From now on the indexes of ended segments are on the disk.
        opened.keeper.maintain();
    }
}

#[test]
fn index_that_was_made_again_with_gaps_gives_what_is_good_and_says_where_it_is_not() {
    let disk = SimDisk::memory();
    let (opened, places) = log(&disk);
    opened.keeper.maintain();
    let slot = Path::new("data/log-0/slot-000001.seg");
    let bytes = disk.bytes(slot).unwrap();
    let index = bytes.windows(8).position(|bytes| bytes == b"PHINDEX\x01").unwrap();
    disk.overwrite(slot, &[0; 8], index as u64).unwrap();
    let in_first = places.iter().filter(|lsn| lsn.seq() == 1).count() as u64;
    assert!(in_first > 4);
    disk.overwrite(slot, &[0; 96], u64::from(places[1].offset())).unwrap();
    disk.overwrite(slot, &[0; 96], u64::from(places[in_first as usize - 1].offset())).unwrap();
    let read = |number| opened.reader.read(1, number * STRIDE);
    for good in [0, 2, 3, in_first, in_first + 1] {
        assert_eq!(base(read(good)), Some(good * STRIDE));
    }
    for lost in [1, in_first - 1] {
        let error = read(lost).unwrap_err();
        assert!(matches!(error, StorageError::Damaged(_)), "{error:?}");
    }
    assert_eq!(opened.reader.run_after(1, STRIDE).unwrap(), Some(2 * STRIDE));
    let behind = opened.reader.run_after(1, (in_first - 1) * STRIDE).unwrap();
    assert_eq!(behind, Some(in_first * STRIDE));
}

#[test]
fn run_is_read_up_to_the_last_byte_of_its_segment_and_not_beyond() {
    let disk = SimDisk::memory();
    let (opened, places) = log(&disk);
    let entry = crate::index::RunEntry { base_offset: 0, at: places[0].offset() + 96, len: 8_000 };
    let place = Place { run: entry, time_ms: 0 };
    let segment = |size| {
        let found = opened.reader.find(1, 1, Wanted::At(0)).unwrap().unwrap().segment;
        Segment { id: Arc::new(crate::segment::SegmentId { size, ..(*found.id).clone() }), ..found }
    };
    let end = entry.at + RUN_HEADER_BYTES as u32 + entry.len;
    assert_eq!(load(&segment(end), 1, place).unwrap().records, 1);
    let error = load(&segment(end - 1), 1, place).unwrap_err();
    assert!(error.to_string().contains("outside the segment"), "{error}");
}
