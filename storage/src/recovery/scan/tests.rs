use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::block::padded_len;
use crate::body::BodyBuilder;
use crate::disk::{Disk, OpenMode, SimDisk};
use crate::segment::SegmentId;

const SIZE: u32 = 64 << 10;
const SEQ: u32 = 5;

/// A segment of zeros with these bytes at these places.
fn segment(pieces: &[(u32, &[u8])]) -> Segment {
    let path = PathBuf::from("slot");
    let file = SimDisk::memory().open(&path, OpenMode::Create).unwrap();
    file.set_len(u64::from(SIZE)).unwrap();
    for (at, bytes) in pieces {
        file.write_at(&[IoSlice::new(bytes)], u64::from(*at)).unwrap();
    }
    let id = Arc::new(SegmentId { slot: 1, seq: SEQ, salt: 9, size: SIZE });
    Segment { id, file, path: Arc::new(path) }
}

/// A block with one run, for segment `seq` and byte `at`.
fn block(seq: u32, at: u32, bytes: usize) -> Vec<u8> {
    let mut builder = BodyBuilder::new();
    builder.run(1, 0, 1, &[Bytes::from(vec![7; bytes])]);
    let body = builder.finish();
    let header = BlockHeader {
        flags: 0,
        shard: 0,
        lsn: Lsn::new(seq, at),
        durable_lsn: Lsn::new(seq, at),
        epoch: 1,
        padded_len: padded_len(u64::from(at), body.len()) as u32,
        index: 1,
        term: 1,
        time_ms: 1,
        commit: 0,
        chain: 0,
        entries: 1,
        body_len: body.len() as u32,
        body_crc: body.crc,
    };
    [&header.encode(Seed::of_salt(9))[..], body.buffer.as_ref()].concat()
}

#[test]
fn file_without_identity_claims_what_its_sectors_say_in_their_place() {
    let claims = |seq, at, written_at| {
        let segment = segment(&[(written_at, &block(seq, at, 10))]);
        claims_later_blocks(&segment, SEQ, 16_384).unwrap()
    };
    assert!(claims(6, 4_608, 4_608));
    assert!(claims(9, 8_192, 8_192));
    assert!(claims(6, 16_384 - 512, 16_384 - 512));
    assert!(!claims(5, 4_608, 4_608), "the log has come as far without it");
    assert!(!claims(4, 4_608, 4_608));
    assert!(!claims(6, 8_192, 4_608), "a block of another place");
    assert!(!claims(6, 4_096, 4_096), "a first block alone was never followed by anything");
    assert!(!claims(6, 16_384, 16_384), "beyond what is looked at");
    assert!(!claims(6, 4_864, 4_864), "in the middle of a sector");
}

#[test]
fn torn_write_goes_as_far_as_its_last_sector_that_is_not_zero() {
    let extent = |pieces: &[(u32, &[u8])]| torn_extent(&segment(pieces), 8_192, 16_384).unwrap();
    assert_eq!(extent(&[]), 0);
    assert_eq!(extent(&[(8_192, &[1])]), 512);
    assert_eq!(extent(&[(8_192 + 511, &[1]), (9_000, &[1])]), 1_024);
    assert_eq!(extent(&[(12_000, &[1])]), 12_288 - 8_192);
    assert_eq!(extent(&[(16_384 - 513, &[1])]), 8_192 - 512);
    assert_eq!(extent(&[(16_384 - 1, &[1])]), 0, "old bytes: nothing can be said");
    assert_eq!(extent(&[(8_191, &[1]), (16_384, &[1])]), 0, "not before, not behind");
}

#[test]
fn probe_finds_the_first_header_of_this_life_in_its_place() {
    let found = |pieces: &[(u32, &[u8])]| {
        let evidence = probe(&segment(pieces), 8_192, 16_384).unwrap();
        evidence.map(|evidence| (evidence.first, evidence.durable))
    };
    let (one, two) = (block(SEQ, 9_216, 10), block(SEQ, 12_288, 10));
    let (at_one, at_two) = (Lsn::new(SEQ, 9_216), Lsn::new(SEQ, 12_288));
    assert_eq!(found(&[(12_288, &two), (9_216, &one)]), Some((at_one, at_one)));
    assert_eq!(found(&[(10_240, &one), (12_288, &two)]), Some((at_two, at_two)));
    assert_eq!(found(&[(9_216, &block(6, 9_216, 10))]), None);
    assert_eq!(found(&[(16_384, &block(SEQ, 16_384, 10))]), None);
    assert_eq!(found(&[(8_192 - 512, &block(SEQ, 8_192 - 512, 10))]), None);
}

#[test]
fn place_without_a_header_may_still_say_how_long_a_torn_block_was() {
    let here = Lsn::new(SEQ, 4_608);
    let torn = |bytes: &[u8]| no_header(bytes, here).torn_bytes;
    let mut long = block(SEQ, 4_608, 2_000);
    assert_eq!(torn(&long), 2_560);
    long[28..32].copy_from_slice(&[0; 4]);
    assert_eq!(torn(&long), 512, "at least the sector that it stands in");
    assert_eq!(torn(&block(SEQ, 8_192, 2_000)), 0);
    assert_eq!(torn(&[0; 96]), 0);
}

#[test]
fn scanner_walks_block_by_block_and_stays_at_a_bad_place() {
    let (one, two) = (block(SEQ, 4_096, 1_000), block(SEQ, 5_632, 10));
    let segment = segment(&[(4_096, &one), (5_632, &two)]);
    let mut scanner = Scanner::new(&segment, 8_192);
    for (at, raw) in [(4_096, &one), (5_632, &two)] {
        assert_eq!(scanner.at(), at);
        let Step::Block(found) = scanner.next().unwrap() else { panic!("no block at {at}") };
        assert_eq!(found.raw, raw[..]);
    }
    for _ in 0..2 {
        assert_eq!(scanner.at(), 6_144);
        assert!(matches!(scanner.next().unwrap(), Step::Bad(_)));
    }
    scanner.seek(4_096);
    assert!(matches!(scanner.next().unwrap(), Step::Block(_)));
    scanner.end_at(5_632);
    assert!(matches!(scanner.next().unwrap(), Step::End));
}

#[test]
fn scanner_says_why_a_place_is_bad() {
    let what = |pieces: &[(u32, &[u8])], limit, len| {
        let segment = segment(pieces);
        segment.file.set_len(len).unwrap();
        match Scanner::new(&segment, limit).next().unwrap() {
            Step::Bad(bad) => (bad.what, bad.torn_bytes, bad.block.is_some()),
            other => panic!("{other:?}"),
        }
    };
    let (good, elsewhere) = (block(SEQ, 4_096, 1_000), block(SEQ, 8_192, 1_000));
    let mut bad_body = block(SEQ, 4_096, 1_000);
    bad_body[500] ^= 1;
    let all = u64::from(SIZE);
    assert_eq!(what(&[], SIZE, all), ("no block stands here", 0, false));
    let found = what(&[(4_096, &elsewhere)], SIZE, all);
    assert_eq!(found, ("a block of another place stands here", 1_536, false));
    let found = what(&[(4_096, &good)], 4_096 + 1_535, all);
    assert_eq!(found, ("a block is longer than its segment", 1_536, false));
    let found = what(&[(4_096, &good)], SIZE, 4_096 + 1_000);
    assert_eq!(found, ("the file ends inside a block", 1_536, false));
    let found = what(&[(4_096, &bad_body)], SIZE, all);
    assert_eq!(found, ("the checksum of a block's body is wrong", 1_536, true));
}

#[test]
fn scanner_skips_to_the_next_whole_block() {
    let (mut bad, good) = (block(SEQ, 4_608, 10), block(SEQ, 9_216, 10));
    bad[130] ^= 1;
    let segment = segment(&[(4_608, &bad), (9_216, &good)]);
    let mut scanner = Scanner::new(&segment, SIZE);
    assert!(scanner.skip_to_next().unwrap());
    assert_eq!(scanner.at(), 9_216);
    assert!(!scanner.skip_to_next().unwrap());
    assert_eq!(scanner.at(), SIZE);
    let mut scanner = Scanner::new(&segment, 9_216);
    assert!(!scanner.skip_to_next().unwrap(), "behind the limit");
    assert_eq!(scanner.at(), 9_216);
}
