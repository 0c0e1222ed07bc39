use std::path::{Path, PathBuf};

use super::*;
use crate::block::{HEADER_BYTES, Seed};
use crate::checkpoint::{self, Checkpoint};
use crate::disk::SimDisk;
use crate::recovery::tests::{BLOCKS, replay, slot_files, store};
use crate::segment::SegmentId;
use crate::store::Places;

/// Every block of the store takes so many bytes, and five of them stand in a segment.
const BLOCK: u32 = 4_608;
const ROLL_AT: u32 = 6 * BLOCK;

/// The file of a segment, and what its blocks are checked with.
fn segment(disk: &SimDisk, seq: u32) -> (PathBuf, Seed) {
    let is_it = |path: &PathBuf| {
        let bytes = disk.bytes(path).unwrap();
        let store = bytes[24..40].try_into().unwrap();
        SegmentId::decode(&bytes, &store, path).unwrap().filter(|id| id.seq == seq)
    };
    slot_files(disk).into_iter().find_map(|path| is_it(&path).map(|id| (path, id.seed()))).unwrap()
}

/// Gives the block at a place of the last segment but `back` another header, with a good checksum.
fn change(disk: &SimDisk, seq: u32, at: u32, change: impl FnOnce(&mut BlockHeader)) {
    let (path, seed) = segment(disk, seq);
    let bytes = disk.bytes(&path).unwrap();
    let mut header = BlockHeader::decode(&bytes[at as usize..], seed).unwrap();
    change(&mut header);
    disk.overwrite(&path, &header.encode(seed), u64::from(at)).unwrap();
}

fn damage_of(disk: &SimDisk) -> Damage {
    match replay(disk, false) {
        Err(StorageError::Damaged(damage)) => *damage,
        other => panic!("{:?}", other.map(|(indexes, _)| indexes)),
    }
}

#[test]
fn good_block_that_does_not_follow_the_one_before_is_damage() {
    let changes: [fn(&mut BlockHeader); 4] = [
        |header| header.index += 1,
        |header| header.index -= 1,
        |header| header.chain ^= 1,
        |header| header.epoch = 0,
    ];
    let places = [(2, 2 * BLOCK), (5, 2 * BLOCK), (5, 4 * BLOCK), (2, ROLL_AT)];
    for (seq, at) in places {
        for one in changes {
            let disk = store();
            change(&disk, seq, at, one);
            let damage = damage_of(&disk);
            assert_eq!(damage.from, Lsn::new(seq, at));
            assert!(damage.to > damage.from, "{damage}");
            assert!(damage.what.contains("follow"), "{damage}");
        }
    }
}

#[test]
fn torn_block_at_the_end_is_cut_and_its_bytes_are_counted() {
    let last = 4 * BLOCK;
    let cut = |tear: &dyn Fn(&SimDisk, &Path)| {
        let disk = store();
        let (path, _) = segment(&disk, 5);
        tear(&disk, &path);
        let (indexes, opened) = replay(&disk, false).unwrap();
        assert_eq!(indexes.len() as u64, BLOCKS - 1);
        assert_eq!((opened.report.end, &opened.report.damaged), (Lsn::new(5, last), &vec![]));
        opened.report.cut_bytes
    };
    let sector = u64::from(last / 512);
    assert_eq!(cut(&|disk, path| disk.zero_sector(path, sector).unwrap()), 4_608);
    assert_eq!(cut(&|disk, path| disk.zero_sector(path, sector + 1).unwrap()), 4_608);
    assert_eq!(cut(&|disk, path| disk.flip_bit(path, u64::from(last + 40) * 8).unwrap()), 4_608);
    let only_front = |disk: &SimDisk, path: &Path| {
        disk.overwrite(path, &[0; 4_096], u64::from(last) + 512).unwrap();
        disk.overwrite(path, &[1; 4], u64::from(last)).unwrap();
    };
    assert_eq!(cut(&only_front), 512);
    let nothing = |disk: &SimDisk, path: &Path| {
        disk.overwrite(path, &[0; BLOCK as usize], u64::from(last)).unwrap();
    };
    assert_eq!(cut(&nothing), 0);
    let used_before = |disk: &SimDisk, path: &Path| {
        let rest = disk.bytes(path).unwrap().len() - last as usize;
        disk.overwrite(path, &vec![1; rest], u64::from(last)).unwrap();
    };
    assert_eq!(cut(&used_before), 0, "nobody knows what was written last");
    let used_before_with_header = |disk: &SimDisk, path: &Path| {
        let rest = disk.bytes(path).unwrap().len() - last as usize - 512;
        disk.overwrite(path, &vec![1; rest], u64::from(last) + 512).unwrap();
    };
    assert_eq!(cut(&used_before_with_header), 4_608, "its header says how long it was");
}

#[test]
fn damaged_last_block_of_a_segment_whose_next_one_is_lost_is_said() {
    for (bytes, count) in [(&[0xFF; 4][..], 2), (&[0; 512], 1)] {
        let disk = store();
        let (path, _) = segment(&disk, 3);
        // Behind the magic, place and length: the header claims to be there, or nothing does.
        let at = if count == 2 { ROLL_AT + 40 } else { ROLL_AT };
        disk.overwrite(&path, bytes, u64::from(at)).unwrap();
        let (next, _) = segment(&disk, 4);
        disk.zero_sector(&next, 8).unwrap();
        assert!(replay(&disk, false).is_err());
        let (indexes, opened) = replay(&disk, true).unwrap();
        assert_eq!(indexes, (1..=BLOCKS).collect::<Vec<_>>());
        let damaged = &opened.report.damaged;
        assert_eq!(damaged.len(), count, "{damaged:?}");
        assert!(damaged.iter().all(|one| one.to > one.from), "{damaged:?}");
        assert_eq!(damaged[count - 1].path, next);
        assert!(count == 1 || damaged[0].from == Lsn::new(3, ROLL_AT), "{damaged:?}");
    }
}

#[test]
fn checkpoint_that_says_something_else_than_the_log_stops_the_start() {
    let changes: [fn(&mut Checkpoint); 4] = [
        |_| (),
        |checkpoint| checkpoint.coverage.tip.index += 1,
        |checkpoint| checkpoint.coverage.tip.chain ^= 1,
        |checkpoint| checkpoint.coverage.covered.0 -= 512,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let disk = store();
        let (_, mut opened) = replay(&disk, false).unwrap();
        let mut ends = Vec::new();
        for offset in BLOCKS..BLOCKS + 3 {
            let mut builder = crate::BodyBuilder::new();
            builder.run(1, offset, 1, &[Bytes::from(vec![1; 4_000])]);
            ends.push(opened.writer.commit(offset, builder.finish()).unwrap().end);
        }
        opened.keeper.checkpoint(ends[1], b"state", &[(1, 0)]).unwrap();
        let store = opened.report.store;
        drop(opened);
        let path = Places::new(Path::new("data")).checkpoint_dir.join(checkpoint::file_name(1));
        let mut said =
            checkpoint::decode(&disk.bytes(&path).unwrap(), &store, &path).unwrap().unwrap();
        change(&mut said);
        disk.put(&path, &checkpoint::encode(&said.coverage, &said.segments, &said.state)).unwrap();
        match replay(&disk, false) {
            Ok((indexes, _)) => assert_eq!((number, indexes), (0, vec![BLOCKS + 3])),
            Err(StorageError::Damaged(damage)) => {
                assert_eq!(damage.what, "the checkpoint does not belong to this log");
                assert!(number > 0, "{damage}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn block_header_is_whole_in_the_bytes_that_these_tests_change() {
    let disk = store();
    let (path, seed) = segment(&disk, 1);
    let bytes = disk.bytes(&path).unwrap();
    let header = BlockHeader::decode(&bytes[BLOCK as usize..], seed).unwrap();
    assert_eq!((header.index, header.padded_len), (1, BLOCK));
    assert_eq!(header.encode(seed)[..], bytes[BLOCK as usize..BLOCK as usize + HEADER_BYTES]);
    assert_eq!(BlockHeader::decode(&bytes[ROLL_AT as usize..], seed).unwrap().flags, ROLL);
}

#[test]
fn damage_in_a_segment_whose_next_one_is_lost_costs_only_what_it_hit() {
    let disk = store();
    let (path, _) = segment(&disk, 3);
    disk.zero_sector(&path, u64::from(2 * BLOCK / 512)).unwrap();
    disk.zero_sector(&segment(&disk, 4).0, 8).unwrap();
    let (indexes, opened) = replay(&disk, true).unwrap();
    let lost: Vec<u64> = (1..=BLOCKS).filter(|index| !indexes.contains(index)).collect();
    assert_eq!((lost, opened.report.damaged.len()), (vec![12], 2), "{}", opened.report);
    assert_eq!(opened.report.damaged[0].blocks, Some(1));
}

#[test]
fn index_of_a_segment_with_a_damaged_end_is_not_written_over_the_evidence() {
    let disk = store();
    drop(replay(&disk, false).unwrap());
    let (path, _) = segment(&disk, 5);
    disk.zero_sector(&path, u64::from(4 * BLOCK / 512)).unwrap();
    let damaged = 4 * BLOCK as usize..5 * BLOCK as usize;
    let before = disk.bytes(&path).unwrap()[damaged.clone()].to_vec();
    let (indexes, opened) = replay(&disk, true).unwrap();
    assert_eq!(indexes.len() as u64, BLOCKS - 1);
    assert_eq!(opened.report.damaged[0].to, Lsn::new(5, 5 * BLOCK));
    opened.keeper.maintain();
    assert!(disk.bytes(&path).unwrap()[damaged] == before);
}
