//! Batches: what passes the broker's checks can be read and sliced to the last record.

use crate::feed::Feed;
use bytes::Bytes;
use posthaste_protocol::batch::{RecordLimits, SliceCursor};
use posthaste_protocol::{
    BatchHeader, Name, RecordView, Records, Seed, check_records, delayed_records, destination_seed,
    slice_batch, verify_batch,
};

const DESTINATION: &str = "orders";

/// Feeds `data`.
pub fn run(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mode = feed.byte();
    let (from, count) = (feed.number32(), feed.number32());
    let mut bytes = feed.rest().to_vec();
    if mode & 1 == 1 {
        seal(&mut bytes);
    }
    let seed = seed();
    let header = verify_batch(&bytes, seed);
    let checked = check_records(&bytes, &RecordLimits::default());
    let delayed = delayed_records(&bytes).count();
    drop(slice_batch(&bytes, seed, from, count));
    let batch = Bytes::from(bytes);
    // The walk over records that nobody has checked ends too.
    let walked = Records::new(batch.clone()).map(|records| records.take(1 << 17).count());
    if let (Ok(header), Ok(())) = (header, checked) {
        assert_eq!(walked.expect("a checked batch can be read"), header.count as usize);
        assert!(delayed <= header.count as usize);
        check_slices(&batch, seed, &header, from, count);
    }
}

/// The seed of the destination of all these batches.
///
/// # Panics
/// Never: the name is one.
#[must_use]
pub fn seed() -> Seed {
    destination_seed(&Name::try_from(DESTINATION).expect("a name"))
}

fn seal(bytes: &mut [u8]) {
    if bytes.len() < 40 {
        return;
    }
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes[8] = 1;
    bytes[9] &= 0x18;
    bytes[10..12].fill(0);
    bytes[20..24].fill(0);
    let mut crc = crc32fast::Hasher::new();
    crc.update(DESTINATION.as_bytes());
    crc.update(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
}

fn check_slices(batch: &Bytes, seed: Seed, header: &BatchHeader, from: u32, count: u32) {
    let all = records(batch);
    let from = from % header.count;
    let count = 1 + count % (header.count - from);
    let slice = slice_batch(batch, seed, from, count).expect("a part of a checked batch");
    let mut cursor = SliceCursor::new(batch.clone(), seed).expect("a checked batch");
    assert_eq!(cursor.slice(from, count).expect("the same part"), slice);
    let sliced = verify_batch(&slice, seed).expect("a slice is a batch");
    assert_eq!(sliced.count, count);
    check_records(&slice, &RecordLimits::default()).expect("a slice of checked records");
    assert_eq!(records(&slice)[..], all[from as usize..(from + count) as usize]);
}

fn records(batch: &Bytes) -> Vec<RecordView> {
    let records = Records::new(batch.clone()).expect("a checked batch");
    records.collect::<Result<_, _>>().expect("checked records")
}
