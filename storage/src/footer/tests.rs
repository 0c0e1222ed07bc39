use super::*;
use crate::block::{Block, BlockHeader, mix, padded_len};
use crate::body::RunSpan;
use crate::lsn::Lsn;

fn id() -> SegmentId {
    SegmentId { slot: 1, seq: 4, salt: 99, size: 1 << 20 }
}

/// An index of blocks with runs of up to five streams, with gaps in offsets and times that stand still.
fn random_index(seed: u64) -> (RunIndex, u32) {
    let mut state = seed;
    let mut roll = |below: u64| {
        state = mix(state);
        state % below
    };
    let mut index = RunIndex::default();
    let (mut at, mut offsets, mut time_ms) = (4608, [0_u64; 5], 100);
    for number in 0..roll(40) + 1 {
        let mut runs = Vec::new();
        let mut body_len = 0;
        for stream in 1..=5_u32 {
            if roll(2) == 0 {
                let next = &mut offsets[stream as usize - 1];
                *next += if roll(8) == 0 { roll(10) } else { 0 };
                let records = roll(4) as u32 + 1;
                let (at, len) = (body_len, 10 + roll(50) as u32);
                runs.push(RunSpan { stream, records, base_offset: *next, at, len });
                *next += u64::from(records);
                body_len += 32 + len;
            }
        }
        time_ms += roll(3);
        let padded = padded_len(u64::from(at), body_len as usize) as u32;
        let header = BlockHeader {
            flags: 0,
            shard: 0,
            lsn: Lsn::new(4, at),
            durable_lsn: Lsn::new(4, at),
            epoch: 1,
            padded_len: padded,
            index: number + 1,
            term: 1,
            time_ms,
            commit: number,
            chain: 0,
            entries: 0,
            body_len,
            body_crc: 0,
        };
        index.add(&Block::new(&header, Bytes::new(), runs, 0));
        at += padded;
    }
    (index, at)
}

#[test]
fn footer_answers_like_the_index_it_was_made_from() {
    for seed in 0..200 {
        let (index, end) = random_index(seed);
        let bytes = encode(&index, &id(), end);
        let (runs, streams, blocks) = index.counts();
        assert_eq!(bytes.len() as u64, footer_bytes(runs, streams, blocks));
        let footer = Footer::decode(Bytes::from(bytes), &id(), end).unwrap();
        assert_eq!(footer.slices(4), index.slices(4));
        assert_eq!(
            (footer.len() as u64, footer.blocks()),
            (footer_bytes(runs, streams, blocks), blocks)
        );
        let (first, last) = (index.blocks[0].time_ms, index.blocks[blocks - 1].time_ms);
        assert_eq!(footer.times(), Some((first, last)));
        for at in (0..end + 1_000).step_by(256) {
            assert_eq!(footer.block_before(at), index.block_before(at), "seed {seed} at {at}");
        }
        for stream in 0..7 {
            for value in 0..200 {
                for wanted in [Wanted::At(value), Wanted::After(value), Wanted::Since(value)] {
                    let (one, other) = (footer.find(stream, wanted), index.find(stream, wanted));
                    assert_eq!(one, other, "seed {seed} stream {stream} {wanted:?}");
                }
            }
        }
    }
}

#[test]
fn index_finds_what_a_walk_finds() {
    for seed in 0..100 {
        let (index, _) = random_index(seed);
        for (stream, runs) in &index.streams {
            for offset in 0..runs.end_offset + 2 {
                let walk = runs.runs.iter().rev().find(|run| run.base_offset <= offset);
                let walk = walk.or_else(|| runs.runs.first()).copied();
                let found = index.find(*stream, Wanted::At(offset)).map(|place| place.run);
                assert_eq!(found, walk, "seed {seed} stream {stream} offset {offset}");
            }
        }
    }
}

#[test]
fn footer_of_another_life_or_place_is_refused() {
    let (index, end) = random_index(3);
    let bytes = Bytes::from(encode(&index, &id(), end));
    assert!(Footer::decode(bytes.clone(), &id(), end).is_some());
    assert!(Footer::decode(bytes.clone(), &SegmentId { seq: 5, ..id() }, end).is_none());
    assert!(Footer::decode(bytes.clone(), &SegmentId { salt: 98, ..id() }, end).is_none());
    assert!(Footer::decode(bytes.clone(), &id(), end + 512).is_none());
    assert!(Footer::decode(bytes.slice(..bytes.len() - 1), &id(), end).is_none());
    assert_eq!(declared_len(&bytes, &SegmentId { size: end + 10, ..id() }, end), None);
}

#[test]
fn every_flipped_bit_of_a_footer_is_noticed() {
    let (index, end) = random_index(5);
    let bytes = encode(&index, &id(), end);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Footer::decode(Bytes::from(flipped), &id(), end).is_none(), "bit {bit}");
    }
}
