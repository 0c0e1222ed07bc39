use super::*;
use crate::body::BodyBuilder;

fn header() -> BlockHeader {
    let lsn = Lsn::new(3, 4608);
    BlockHeader {
        flags: 0,
        shard: 0,
        lsn,
        durable_lsn: lsn,
        epoch: 2,
        padded_len: 512,
        index: 9,
        term: 1,
        time_ms: 1_700_000_000_000,
        commit: 8,
        chain: 0x1122_3344_5566_7788,
        entries: 1,
        body_len: 40,
        body_crc: 0xdead_beef,
    }
}

#[test]
fn header_reads_back_in_its_own_life_only() {
    let bytes = header().encode(Seed::of_salt(5));
    assert_eq!(BlockHeader::decode(&bytes, Seed::of_salt(5)), Some(header()));
    assert_eq!(BlockHeader::decode(&bytes, Seed::of_salt(6)), None);
    assert_eq!(BlockHeader::decode(&bytes[..95], Seed::of_salt(5)), None);
    assert_eq!(BlockHeader::claim(&bytes), Some((header().lsn, 512)));
    assert_eq!(BlockHeader::claim(&[0; 512]), None);
}

#[test]
fn every_flipped_bit_of_a_header_is_noticed() {
    let seed = Seed::of_salt(5);
    let bytes = header().encode(seed);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes;
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(BlockHeader::decode(&flipped, seed), None, "bit {bit}");
    }
}

#[test]
fn header_with_lengths_that_disagree_is_none_although_its_checksum_is_good() {
    let seed = Seed::of_salt(5);
    for (padded_len, body_len) in [(1024, 40), (512, 417), (0, 0), (512, u32::MAX)] {
        let wrong = BlockHeader { padded_len, body_len, ..header() };
        assert_eq!(BlockHeader::decode(&wrong.encode(seed), seed), None);
    }
    let flags = BlockHeader { flags: 0x80, ..header() };
    assert_eq!(BlockHeader::decode(&flags.encode(seed), seed), None);
}

#[test]
fn small_blocks_end_at_a_sector_and_large_ones_at_a_page() {
    assert_eq!(padded_len(4608, 0), 512);
    assert_eq!(padded_len(4608, 512 - 96), 512);
    assert_eq!(padded_len(4608, 512 - 95), 1024);
    assert_eq!(padded_len(4608, 32 * 1024 - 97), 32 * 1024);
    assert_eq!(4608 + padded_len(4608, 32 * 1024 - 96), 40_960);
    assert_eq!(padded_len(8192, 32 * 1024 - 96), 32 * 1024);
}

#[test]
fn chain_depends_on_every_replicated_field_and_on_what_was_before() {
    let one = header();
    let others = [
        BlockHeader { index: 10, ..one },
        BlockHeader { term: 2, ..one },
        BlockHeader { body_crc: 1, ..one },
        BlockHeader { body_len: 41, ..one },
        BlockHeader { time_ms: 1, ..one },
    ];
    for other in others {
        assert_ne!(other.chain_after(7), one.chain_after(7));
    }
    assert_ne!(one.chain_after(8), one.chain_after(7));
    // Local fields differ between replicas.
    let local = BlockHeader { lsn: Lsn::new(9, 4608), epoch: 77, ..one };
    assert_eq!(local.chain_after(7), one.chain_after(7));
}

#[test]
fn marks_read_back_and_refuse_other_bytes() {
    let open = OpenMark {
        store: [7; 16],
        salt: 5,
        slot: 3,
        size: 16 << 20,
        prev_seq: 2,
        prev_end: Lsn::new(2, 9216),
    };
    assert_eq!(OpenMark::decode(&open.encode()), Some(open));
    let roll = RollMark { next_slot: 4, next_seq: 4, next_salt: 6 };
    assert_eq!(RollMark::decode(&roll.encode()), Some(roll));
    assert_eq!(OpenMark::decode(&roll.encode()), None);
    assert_eq!(RollMark::decode(&open.encode()), None);
    assert_eq!(OpenMark::decode(&[]), None);
    assert_eq!(OpenMark::decode(&[open.encode(), vec![0]].concat()), None);
    assert_eq!(RollMark::decode(&[roll.encode(), vec![0]].concat()), None);
    assert_eq!(OpenMark::decode(&[0; OPEN_BODY_BYTES]), None);
    assert_eq!(RollMark::decode(&[0; ROLL_BODY_BYTES]), None);
}

#[test]
fn entries_are_slices_of_the_block() {
    let mut builder = BodyBuilder::new();
    builder.run(1, 10, 2, &[Bytes::from(vec![1; 100])]);
    let body = builder.finish();
    let (bytes, memory) = body.buffer.freeze();
    let block = Block::new(&header(), bytes.clone(), body.runs, memory);
    let Some(Ok(crate::Entry::Run(run))) = block.entries().next() else { panic!("no run") };
    let inside = bytes.as_ptr_range();
    assert!(inside.contains(&run.batches.as_ptr()));
    assert_eq!(run.time_ms, header().time_ms);
}
