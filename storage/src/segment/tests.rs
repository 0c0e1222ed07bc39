use super::*;
use crate::disk::{Disk, OpenMode};

const STORE: [u8; 16] = [9; 16];

fn id() -> SegmentId {
    SegmentId { slot: 3, seq: 8, salt: 77, size: 16 << 20 }
}

fn decode(bytes: &[u8]) -> Result<Option<SegmentId>, StorageError> {
    SegmentId::decode(bytes, &STORE, Path::new("slot"))
}

#[test]
fn header_reads_back() {
    let bytes = id().encode(&STORE);
    assert_eq!(bytes.len(), 4096);
    assert_eq!(decode(&bytes).unwrap(), Some(id()));
    assert_eq!(decode(&bytes[..4095]).unwrap(), None);
    assert_eq!(decode(&[]).unwrap(), None);
    assert_eq!(decode(&[0; 4096]).unwrap(), None);
}

#[test]
fn every_flipped_bit_of_a_segment_header_is_noticed() {
    let bytes = id().encode(&STORE);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode(&flipped).unwrap(), None, "bit {bit}");
    }
}

#[test]
fn segment_of_another_store_is_refused() {
    let bytes = id().encode(&[8; 16]);
    assert!(matches!(decode(&bytes), Err(StorageError::NotAStore { .. })));
}

#[test]
fn slot_names_are_read_only_as_they_are_written() {
    assert_eq!(slot_name(42), "slot-000042.seg");
    assert_eq!(slot_of("slot-000042.seg"), Some(42));
    assert_eq!(slot_of(&slot_name(12_345_678)), Some(12_345_678));
    let others = ["slot-42.seg", "slot-.seg", "slot-+00042.seg", "slot-000042.seg.bak", "README"];
    for other in others {
        assert_eq!(slot_of(other), None, "{other}");
    }
}

#[test]
fn header_without_its_magic_or_with_senseless_fields_is_none_although_its_checksum_is_good() {
    let with = |change: fn(&mut Vec<u8>)| {
        let mut bytes = id().encode(&STORE);
        change(&mut bytes);
        let crc = crc32fast::hash(&bytes[..CRC_AT]);
        put(&mut bytes, CRC_AT, crc.to_le_bytes());
        decode(&bytes).unwrap()
    };
    assert_eq!(with(|_| ()), Some(id()));
    assert_eq!(with(|bytes| bytes[0] ^= 1), None, "another magic");
    assert_eq!(with(|bytes| bytes[40] = 1), None, "another log");
    assert_eq!(with(|bytes| put(bytes, 48, [0; 8])), None, "no sequence number");
    assert_eq!(with(|bytes| put(bytes, 64, SEGMENT_HEADER_BYTES.to_le_bytes())), None, "no room");
}

#[test]
fn read_beyond_the_end_of_a_file_is_an_error_and_not_zeros() {
    let (disk, path) = (crate::disk::SimDisk::memory(), Path::new("slot"));
    let file = disk.open(path, OpenMode::Create).unwrap();
    file.write_at(&[IoSlice::new(&[7; 100])], 0).unwrap();
    let segment = Segment { id: Arc::new(id()), file, path: Arc::new(path.to_path_buf()) };
    assert_eq!(segment.read(90, 10).unwrap(), [7; 10]);
    assert!(matches!(segment.read(91, 10), Err(StorageError::Damaged(_))));
}
