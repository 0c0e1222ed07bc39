use std::io::IoSlice;

use super::*;
use crate::block::{BEACON, padded_len};
use crate::disk::SimDisk;
use crate::lsn::Lsn;

const STORE: [u8; 16] = [4; 16];

fn id() -> SegmentId {
    SegmentId { slot: 3, seq: 7, salt: 55, size: 64 << 10 }
}

fn mark() -> OpenMark {
    let prev_end = Lsn::new(6, 9_216);
    OpenMark { store: STORE, salt: 55, slot: 3, size: 64 << 10, prev_seq: 6, prev_end }
}

fn header(body: &[u8]) -> BlockHeader {
    let lsn = Lsn::new(7, SEGMENT_HEADER_BYTES);
    BlockHeader {
        flags: OPEN,
        shard: 0,
        lsn,
        durable_lsn: lsn,
        epoch: 1,
        padded_len: padded_len(u64::from(SEGMENT_HEADER_BYTES), body.len()) as u32,
        index: 0,
        term: 1,
        time_ms: 0,
        commit: 0,
        chain: 0,
        entries: 1,
        body_len: body.len() as u32,
        body_crc: crc32fast::hash(body),
    }
}

/// An OPEN block as the bytes of its sector.
fn open_block(header: &BlockHeader, mark: &OpenMark) -> Vec<u8> {
    let mut block = [header.encode(Seed::of_salt(55)).to_vec(), mark.encode()].concat();
    block.resize(512, 0);
    block
}

fn of_mark(mark: &OpenMark) -> Vec<u8> {
    open_block(&header(&mark.encode()), mark)
}

/// What is said of a file in `slot` that begins with these bytes.
fn look(slot: u32, front: &[u8], block: &[u8]) -> Result<SlotFile, StorageError> {
    let disk = SimDisk::memory();
    let path = Path::new("slot");
    let file = disk.open(path, OpenMode::Create).unwrap();
    file.write_at(&[IoSlice::new(front), IoSlice::new(block)], 0).unwrap();
    file.set_len(64 << 10).unwrap();
    let superblock = Superblock {
        store: STORE,
        generation: 1,
        epoch: 1,
        state: State::InUse,
        durable_lsn: Lsn::ZERO,
        opening_slot: 0,
        opening_seq: 0,
    };
    look_at(&disk, path, slot, &superblock)
}

/// Who a file says it is, whether by its header, and whether its OPEN block is good.
fn told(file: SlotFile) -> (Option<SegmentId>, bool, bool) {
    (file.id.map(|id| (*id).clone()), file.has_header, file.open.is_some())
}

const NO_HEADER: [u8; SEGMENT_HEADER_BYTES as usize] = [0; SEGMENT_HEADER_BYTES as usize];

#[test]
fn each_of_header_and_first_block_tells_who_a_segment_is() {
    let (front, block) = (id().encode(&STORE), of_mark(&mark()));
    assert_eq!(told(look(3, &front, &block).unwrap()), (Some(id()), true, true));
    assert_eq!(told(look(3, &front, &[]).unwrap()), (Some(id()), true, false));
    assert_eq!(told(look(3, &NO_HEADER, &block).unwrap()), (Some(id()), false, true));
    assert_eq!(told(look(3, &NO_HEADER, &[]).unwrap()), (None, false, false));
    assert_eq!(told(look(3, &[], &[]).unwrap()), (None, false, false));
}

#[test]
fn first_block_of_another_store_or_slot_says_nothing_of_a_file_without_a_header() {
    for other in [OpenMark { store: [5; 16], ..mark() }, OpenMark { slot: 4, ..mark() }] {
        let file = look(3, &NO_HEADER, &of_mark(&other)).unwrap();
        assert_eq!(told(file), (None, false, false));
    }
}

#[test]
fn first_block_beside_a_header_counts_only_if_it_says_the_same() {
    let front = id().encode(&STORE);
    let others = [
        OpenMark { store: [5; 16], ..mark() },
        OpenMark { slot: 4, ..mark() },
        OpenMark { salt: 56, ..mark() },
    ];
    for other in others {
        assert_eq!(told(look(3, &front, &of_mark(&other)).unwrap()), (Some(id()), true, false));
    }
    let later = BlockHeader { lsn: Lsn::new(8, SEGMENT_HEADER_BYTES), ..header(&mark().encode()) };
    let file = look(3, &front, &open_block(&later, &mark())).unwrap();
    assert_eq!(told(file), (Some(id()), true, false));
}

#[test]
fn first_block_that_is_not_whole_or_no_first_block_is_none() {
    let (body, seven) = (mark().encode(), header(&mark().encode()));
    let found = |header: BlockHeader, mark: &OpenMark| open_mark(&open_block(&header, mark), 55);
    assert_eq!(found(seven, &mark()), Some((7, mark())));
    assert_eq!(found(BlockHeader { flags: OPEN | BEACON, ..seven }, &mark()), None);
    assert_eq!(found(BlockHeader { lsn: Lsn::new(7, 4_608), ..seven }, &mark()), None);
    assert_eq!(found(BlockHeader { body_crc: seven.body_crc ^ 1, ..seven }, &mark()), None);
    let before = |prev_seq| found(header(&body), &OpenMark { prev_seq, ..mark() });
    assert_eq!(before(6).map(|(seq, _)| seq), Some(7));
    for prev_seq in [7, 8] {
        let later = OpenMark { prev_seq, ..mark() };
        assert_eq!(open_mark(&of_mark(&later), 55), None, "the one before comes after it");
    }
    let cut = &of_mark(&mark())[..HEADER_BYTES + body.len() - 1];
    assert_eq!(open_mark(cut, 55), None);
    assert_eq!(open_mark(&of_mark(&mark()), 56), None);
}

#[test]
fn segment_under_the_name_of_another_is_refused() {
    for block in [vec![], of_mark(&mark())] {
        let refused = look(4, &id().encode(&STORE), &block);
        assert!(matches!(refused, Err(StorageError::NotAStore { .. })), "{refused:?}");
    }
}

#[test]
fn newest_opened_is_the_one_with_the_highest_number() {
    let file = |seq, is_open: bool| SlotFile {
        slot: seq,
        len: 0,
        path: PathBuf::new(),
        id: Some(Arc::new(SegmentId { seq, ..id() })),
        has_header: true,
        open: is_open.then(mark),
    };
    let files = vec![file(4, true), file(9, false), file(6, true), file(2, true)];
    let survey = Survey { files };
    assert_eq!(survey.newest_opened().map(SlotFile::seq), Some(6));
    assert_eq!(survey.by_seq(9).map(|file| file.slot), Some(9));
    assert!(survey.by_seq(5).is_none());
    assert!(Survey::default().newest_opened().is_none());
}
