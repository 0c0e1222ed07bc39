//! The files of the log: blocks, footers and checkpoints, as they are and with right checksums.

use crate::feed::Feed;
use posthaste_broker::shard::Shard;
use posthaste_storage::fuzz;

/// Bytes in front of the blocks of a segment.
const SEGMENT_HEADER_BYTES: usize = 4_096;

/// Feeds a segment file to the scan of the recovery.
pub fn blocks(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mode = feed.byte();
    let mut file = vec![0; SEGMENT_HEADER_BYTES];
    // Blocks stand at sectors; an input names the bytes of each, and zeros fill the rest.
    while !feed.is_empty() && file.len() < 1 << 18 {
        let len = usize::from(feed.byte()) * 4;
        let start = file.len();
        file.extend_from_slice(feed.take(len));
        let end = start + len.max(1).next_multiple_of(512);
        file.resize(end, 0);
    }
    if mode & 2 == 2 {
        file.truncate(file.len() - usize::from(mode));
    }
    let front = &file[SEGMENT_HEADER_BYTES.min(file.len())..];
    assert!(!fuzz::is_block_header(front) || front.starts_with(b"PHBK"));
    if mode & 1 == 1 {
        fuzz::seal_blocks(&mut file);
    }
    fuzz::scan_blocks(&file);
}

/// Feeds the index of a segment.
pub fn footer(data: &[u8]) {
    let (mode, mut bytes) = split(data);
    if mode & 1 == 1 {
        fuzz::seal_footer(&mut bytes);
    }
    fuzz::read_footer(&bytes);
}

/// Feeds a checkpoint file, and the state in it.
pub fn checkpoint(data: &[u8]) {
    let (mode, mut bytes) = split(data);
    if mode & 1 == 1 {
        fuzz::seal_checkpoint(&mut bytes);
    }
    if let Some(state) = fuzz::read_checkpoint(&bytes) {
        drop(Shard::restore(&state));
    }
}

fn split(data: &[u8]) -> (u8, Vec<u8>) {
    let (mode, rest) = data.split_first().unwrap_or((&0, &[]));
    (*mode, rest.to_vec())
}
