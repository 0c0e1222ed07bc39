//! The bytes in docs/storage-format.md are the bytes of the code, in both directions.
//!
//! A block of the document is named in its first line: three backticks, `hex`, the name. What stands behind `#` is for people.
//! Zeros at the end of what is shown are left out where the text says so.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;

use crate::block::{
    BEACON, Block, BlockHeader, OPEN, OpenMark, ROLL, RollMark, SEAL, Seed, padded_len,
};
use crate::body::{BodyBuilder, run_spans};
use crate::checkpoint::{self, Coverage, Listed};
use crate::error::StorageError;
use crate::footer::{self, Footer};
use crate::format::{CURRENT, Versions};
use crate::index::{RunIndex, Slice};
use crate::lsn::Lsn;
use crate::segment::SegmentId;
use crate::superblock::{State, Superblock};
use crate::writer::Tip;

const DOCUMENT: &str = include_str!("../../../docs/storage-format.md");
const STORE: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const SALT: u64 = 0x1817_1615_1413_1211;
const TIME_MS: u64 = 1_700_000_000_000;

/// The blocks of the document by name.
fn blocks() -> BTreeMap<&'static str, Vec<u8>> {
    let mut blocks = BTreeMap::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else { continue };
        let mut bytes = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            let hex = line.split('#').next().unwrap();
            bytes.extend(hex.split_whitespace().map(|hex| u8::from_str_radix(hex, 16).unwrap()));
        }
        assert!(blocks.insert(name, bytes).is_none(), "two blocks are named {name}");
    }
    blocks
}

fn shown(name: &str, bytes: &[u8]) -> String {
    let mut text = format!("```hex {name}\n");
    for line in bytes.chunks(16) {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&hex.join(" "));
        text.push('\n');
    }
    text + "```\n"
}

fn check(name: &str, bytes: &[u8]) {
    let found = blocks().remove(name);
    let right = found.as_deref() == Some(bytes);
    assert!(right, "docs/storage-format.md should say\n{}", shown(name, bytes));
}

/// A page of which only the first bytes and the checksum at its end are not zero.
fn check_page(name: &str, page: &[u8], used: usize) {
    assert_eq!(page.len(), 4096);
    assert!(page[used..4092].iter().all(|byte| *byte == 0));
    check(name, &[&page[..used], &page[4092..]].concat());
}

fn id() -> SegmentId {
    SegmentId { slot: 3, seq: 5, salt: SALT, size: 16 << 20 }
}

fn header(flags: u8, at: u32, body: &[u8]) -> BlockHeader {
    BlockHeader {
        flags,
        shard: 0,
        lsn: Lsn::new(5, at),
        durable_lsn: Lsn::new(5, at),
        epoch: 2,
        padded_len: padded_len(u64::from(at), body.len()) as u32,
        index: 41,
        term: 1,
        time_ms: TIME_MS,
        commit: 41,
        chain: 0x0102_0304_0506_0708,
        entries: u32::from(!body.is_empty()),
        body_len: body.len() as u32,
        body_crc: crc32fast::hash(body),
    }
}

fn seed() -> Seed {
    id().seed()
}

/// The block of the document: one run and one command.
fn block() -> (BlockHeader, Bytes) {
    let mut builder = BodyBuilder::new();
    builder.run(7, 1_000, 2, &[Bytes::from_static(b"one batch"), Bytes::from_static(b"another")]);
    builder.command(6, b"settle");
    let body = builder.finish();
    let (body, _) = body.buffer.freeze();
    let mut header = BlockHeader { index: 42, entries: 2, ..header(0, 4608, &body) };
    header.chain = header.chain_after(0x0102_0304_0506_0708);
    (header, body)
}

#[test]
fn superblock_is_as_documented() {
    let superblock = Superblock {
        store: STORE,
        generation: 9,
        epoch: 2,
        state: State::InUse,
        durable_lsn: Lsn::new(4, 9216),
        opening_slot: 3,
        opening_seq: 5,
    };
    check_page("superblock", &superblock.encode(), 72);
}

#[test]
fn segment_header_is_as_documented() {
    let bytes = id().encode(&STORE);
    check_page("segment-header", &bytes, 68);
    assert_eq!(SegmentId::decode(&bytes, &STORE, Path::new("slot")).unwrap(), Some(id()));
}

#[test]
fn local_blocks_are_as_documented() {
    let mark = OpenMark {
        store: STORE,
        salt: SALT,
        slot: 3,
        size: 16 << 20,
        prev_seq: 4,
        prev_end: Lsn::new(4, 9216),
    };
    let body = mark.encode();
    let mut open = header(OPEN, 4096, &body);
    open.durable_lsn = mark.prev_end;
    check("open-block", &[&open.encode(seed())[..], &body].concat());
    let body = RollMark { next_slot: 8, next_seq: 6, next_salt: 0x2221 }.encode();
    check("roll-block", &[&header(ROLL, 5120, &body).encode(seed())[..], &body].concat());
    check("beacon-block", &header(BEACON, 5120, &[]).encode(seed()));
    check("seal-block", &header(BEACON | SEAL, 5120, &[]).encode(seed()));
}

#[test]
fn block_is_as_documented() {
    let (header, body) = block();
    check("block", &[&header.encode(seed())[..], &body].concat());
    let known = blocks()["block"].clone();
    assert_eq!(BlockHeader::decode(&known, seed()), Some(header));
}

#[test]
fn footer_is_as_documented() {
    let (header, body) = block();
    let runs = run_spans(&body).unwrap();
    let mut index = RunIndex::default();
    index.add(&Block::new(&header, body, runs, 0));
    check("footer", &footer::encode(&index, &id(), 5632));
    assert!(Footer::decode(Bytes::from(blocks()["footer"].clone()), &id(), 5632).is_some());
}

#[test]
fn checkpoint_is_as_documented() {
    let coverage = Coverage {
        store: STORE,
        generation: 3,
        covered: Lsn::new(5, 5120),
        tip: Tip { index: 42, term: 1, chain: 0xAB, time_ms: TIME_MS, epoch: 2 },
    };
    let slice = Slice { seq: 4, first_offset: 900, end_offset: 1_000, bytes: 12_345 };
    let listed = Listed {
        id: SegmentId { slot: 2, seq: 4, salt: 0x31, size: 16 << 20 },
        end: 9216,
        last_time_ms: TIME_MS,
        is_dead: false,
        slices: vec![(7, slice)],
    };
    check("checkpoint", &checkpoint::encode(&coverage, &[listed], b"state of the broker"));
}

#[test]
fn chain_is_as_documented() {
    let (header, _) = block();
    let row = format!("`chain` of the block above: `{:016x}`", header.chain);
    assert!(DOCUMENT.contains(&row), "docs/storage-format.md should say: {row}");
}

#[test]
fn versions_read_back_from_their_places_and_decide_who_may_open() {
    let versions =
        Versions { major: 1, minor: 0x0203, compat: 4, read_only: 0x0500, incompatible: 0x06 };
    let mut bytes = [0xFF; 40];
    versions.put(&mut bytes, 8);
    let wanted = [1, 0, 3, 2, 4, 0, 0, 0, 0, 5, 0, 0, 6, 0, 0, 0];
    assert_eq!((&bytes[8..24], bytes[7], bytes[24]), (&wanted[..], 0xFF, 0xFF));
    assert_eq!(Versions::at(&bytes, 8), versions);
    let found = |versions: Versions| match versions.check(Path::new("x")) {
        Ok(()) => 0,
        Err(StorageError::NewerFormat { found, known: 1, .. }) => found,
        Err(error) => panic!("{error}"),
    };
    let known = Versions { minor: 7, compat: 9, ..CURRENT };
    assert_eq!(found(known), 0, "what is compatible is no reason to refuse");
    assert_eq!(found(versions), 0x0506);
    assert_eq!(found(Versions { read_only: 2, ..CURRENT }), 2);
    assert_eq!(found(Versions { incompatible: 8, ..CURRENT }), 8);
    assert_eq!(found(Versions { major: 2, ..CURRENT }), 2);
}

#[test]
fn newer_format_is_refused_by_any_of_its_bits() {
    let check = |read_only, incompatible| {
        Versions { read_only, incompatible, ..CURRENT }.check(Path::new("file")).map_err(drop)
    };
    assert_eq!(check(0, 0), Ok(()));
    assert_eq!([(1, 0), (0, 1), (1, 1), (4, 2)].map(|(a, b)| check(a, b)), [Err(()); 4]);
}
