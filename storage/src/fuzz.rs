//! Doors for fuzz targets to the decoders of bytes from a disk. Not part of the crate's contract.
//!
//! Checksums keep a fuzzer out, so each decoder comes with a function that makes the checksums of a made-up file right.
//! What a decoder accepts is looked at in every way the log would; all of it must end without a panic.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::block::{BLOCK_ALIGN, BlockHeader, HEADER_BYTES, Seed, padded_len};
use crate::checkpoint;
use crate::disk::{Disk, DiskFile, OpenMode, SimDisk};
use crate::fields::{put, u32_at, u64_at};
use crate::footer::{FOOTER_HEADER_BYTES, Footer};
use crate::index::Wanted;
use crate::lsn::Lsn;
use crate::recovery::scan::{Scanner, Step, claims_later_blocks, probe, torn_extent};
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentId};

const SALT: u64 = 0x1234_5678_9abc_def0;
const STORE: [u8; 16] = [7; 16];

fn id_of(len: usize) -> SegmentId {
    let size = u32::try_from(len).unwrap_or(u32::MAX).max(SEGMENT_HEADER_BYTES + 1);
    SegmentId { slot: 1, seq: 3, salt: SALT, size }
}

/// Makes what begins like a block at a sector of `file` a block of the scanned segment.
pub fn seal_blocks(file: &mut [u8]) {
    let seed = crc32fast::hash(&SALT.to_le_bytes());
    let magic = *b"PHBK";
    let mut at = SEGMENT_HEADER_BYTES as usize;
    while at + HEADER_BYTES <= file.len() {
        let room = file.len() - at - HEADER_BYTES;
        let block = &mut file[at..];
        if block.starts_with(&magic) {
            let body_len = u32_at(block, 76).min(u32::try_from(room).unwrap_or(u32::MAX));
            let padded = padded_len(at as u64, body_len as usize);
            block[4] = 1;
            // The place is right, unless the made-up file asks for another.
            if u64_at(block, 8) != u64::MAX {
                put(block, 8, Lsn::new(3, at as u32).0.to_le_bytes());
            }
            put(block, 28, u32::try_from(padded).unwrap_or(u32::MAX).to_le_bytes());
            put(block, 76, body_len.to_le_bytes());
            let crc = crc32fast::hash(&block[HEADER_BYTES..HEADER_BYTES + body_len as usize]);
            put(block, 80, crc.to_le_bytes());
            put(block, 84, [0; 8]);
            let mut header = crc32fast::Hasher::new_with_initial(seed);
            header.update(&block[..92]);
            put(block, 92, header.finalize().to_le_bytes());
        }
        at += BLOCK_ALIGN as usize;
    }
}

/// Walks over a segment file as recovery does; how many whole blocks it has.
pub fn scan_blocks(file: &[u8]) -> usize {
    let segment = segment_of(file);
    let limit = segment.id.size;
    let mut scanner = Scanner::new(&segment, limit);
    let (mut blocks, mut last) = (0, 0);
    loop {
        match scanner.next().expect("a disk in memory can be read") {
            Step::End => break,
            Step::Block(found) => {
                assert!(scanner.at() > last && scanner.at() <= limit, "a scan goes on and ends");
                last = scanner.at();
                blocks += 1;
                if let Ok(block) = found.decode() {
                    let entries = block.entries().filter(Result::is_ok).count();
                    assert!(entries <= found.body().len() / 8, "each entry has a prefix");
                }
                assert!(found.salvage().runs.len() <= found.body().len() / 8);
            }
            Step::Bad(bad) => {
                if let Some(block) = bad.block {
                    drop(block.salvage());
                }
                let before = scanner.at();
                if !scanner.skip_to_next().expect("a disk in memory can be read") {
                    break;
                }
                assert!(scanner.at() > before, "a skip goes on");
            }
        }
    }
    let from = SEGMENT_HEADER_BYTES;
    let torn = torn_extent(&segment, from, limit).expect("a disk in memory can be read");
    assert!(u64::from(torn) <= u64::from(limit));
    let probed = probe(&segment, from, limit).expect("a disk in memory can be read");
    assert!(blocks == 0 || probed.is_some(), "what is scanned is found");
    claims_later_blocks(&segment, 2, limit).expect("a disk in memory can be read");
    blocks
}

fn segment_of(bytes: &[u8]) -> Segment {
    let disk = SimDisk::memory();
    let path = PathBuf::from("slot-000001.seg");
    let file: Arc<dyn DiskFile> =
        disk.open(&path, OpenMode::Create).expect("a disk in memory has room");
    file.write_at(&[IoSlice::new(bytes)], 0).expect("a disk in memory has room");
    Segment { id: Arc::new(id_of(bytes.len())), file, path: Arc::new(path) }
}

/// Makes the identity and the checksums of a made-up footer right.
pub fn seal_footer(bytes: &mut [u8]) {
    if bytes.len() < FOOTER_HEADER_BYTES {
        return;
    }
    put(bytes, 0, *b"PHINDEX\x01");
    put(bytes, 8, 3_u32.to_le_bytes());
    put(bytes, 12, SEGMENT_HEADER_BYTES.to_le_bytes());
    put(bytes, 16, SALT.to_le_bytes());
    put(bytes, 36, u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    let crc = crc32fast::hash(&bytes[FOOTER_HEADER_BYTES..]);
    put(bytes, 40, crc.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..60]);
    put(bytes, 60, crc.to_le_bytes());
}

/// Reads a footer and searches it; whether it was one.
pub fn read_footer(bytes: &[u8]) -> bool {
    let id = id_of(bytes.len() + SEGMENT_HEADER_BYTES as usize);
    let copy = Bytes::copy_from_slice(bytes);
    let Some(footer) = Footer::decode(copy, &id, SEGMENT_HEADER_BYTES) else { return false };
    let slices = footer.slices(3);
    assert!(slices.len() <= bytes.len() && footer.blocks() <= bytes.len());
    let streams = slices.iter().map(|(stream, _)| *stream).take(64);
    for stream in streams.chain([0, 1, u32::MAX]) {
        for number in [0, 1, 1 << 20, u64::MAX] {
            for wanted in [Wanted::At(number), Wanted::After(number), Wanted::Since(number)] {
                let place = footer.find(stream, wanted);
                assert!(place.is_none_or(|_| footer.len() > FOOTER_HEADER_BYTES));
            }
        }
    }
    for end in [0, SEGMENT_HEADER_BYTES, u32::MAX] {
        assert!(footer.block_before(end).is_none() || footer.blocks() > 0);
    }
    assert_eq!(footer.times().is_some(), footer.blocks() > 0);
    true
}

/// Makes the identity, the lengths and the checksums of a made-up checkpoint file right.
pub fn seal_checkpoint(bytes: &mut [u8]) {
    const HEADER: usize = 128;
    let Some(crc_at) = bytes.len().checked_sub(4).filter(|at| *at >= HEADER) else { return };
    put(bytes, 0, *b"PHCKPT\0\x01");
    crate::format::CURRENT.put(bytes, 8);
    put(bytes, 24, STORE);
    let mut at = HEADER;
    while at + 24 <= crc_at {
        let room = (crc_at - at - 24) as u64;
        let len = u64_at(bytes, at + 8).min(room);
        put(bytes, at + 8, len.to_le_bytes());
        let end = at + 24 + len as usize;
        let crc = crc32fast::hash(&bytes[at + 24..end]);
        put(bytes, at + 16, crc.to_le_bytes());
        at = end.next_multiple_of(8);
    }
    let crc = crc32fast::hash(&bytes[..crc_at]);
    put(bytes, crc_at, crc.to_le_bytes());
}

/// Reads a checkpoint file; the state in it. What is read is written and read again to the same.
pub fn read_checkpoint(bytes: &[u8]) -> Option<Vec<u8>> {
    let path = Path::new("0000000000000001.ckpt");
    let found = checkpoint::decode(bytes, &STORE, path).ok()??;
    let again = checkpoint::encode(&found.coverage, &found.segments, &found.state);
    let again = checkpoint::decode(&again, &STORE, path).expect("the version is the present one");
    assert_eq!(again.as_ref(), Some(&found));
    Some(found.state)
}

/// Whether bytes are the header of a block of the scanned segment.
pub fn is_block_header(bytes: &[u8]) -> bool {
    let Some(header) = BlockHeader::decode(bytes, Seed::of_salt(SALT)) else { return false };
    assert_eq!(header.encode(Seed::of_salt(SALT))[..], bytes[..HEADER_BYTES]);
    assert!(header.end() > header.lsn);
    true
}
