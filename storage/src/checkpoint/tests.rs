use super::*;

const STORE: [u8; 16] = [4; 16];

fn coverage() -> Coverage {
    Coverage {
        store: STORE,
        generation: 7,
        covered: Lsn::new(9, 12_800),
        tip: Tip { index: 70, term: 1, chain: 0xABCD, time_ms: 1_700_000_000_000, epoch: 3 },
    }
}

fn segments() -> Vec<Listed> {
    let slice =
        |seq, first_offset| Slice { seq, first_offset, end_offset: first_offset + 9, bytes: 900 };
    let listed = |seq: u32, is_dead| Listed {
        id: SegmentId { slot: seq + 1, seq, salt: 5, size: 1 << 20 },
        end: 9_216,
        last_time_ms: 1_600,
        is_dead,
        slices: vec![(1, slice(seq, 10)), (8, slice(seq, 0))],
    };
    vec![listed(4, true), listed(6, false)]
}

fn decode_here(bytes: &[u8]) -> Result<Option<Checkpoint>, StorageError> {
    decode(bytes, &STORE, Path::new("ckpt"))
}

#[test]
fn checkpoint_reads_back() {
    for state in [&b""[..], b"state", &[7; 5_000]] {
        let bytes = encode(&coverage(), &segments(), state);
        let expected =
            Checkpoint { coverage: coverage(), segments: segments(), state: state.to_vec() };
        assert_eq!(decode_here(&bytes).unwrap(), Some(expected));
    }
}

#[test]
fn checkpoint_that_is_not_whole_is_none() {
    let bytes = encode(&coverage(), &segments(), b"state of the broker");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(decode_here(&flipped).unwrap(), None, "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert_eq!(decode_here(&bytes[..len]).unwrap(), None, "len {len}");
    }
    assert_eq!(decode(&bytes, &[3; 16], Path::new("ckpt")).unwrap(), None);
}

#[test]
fn lengths_that_lie_under_a_good_checksum_are_none() {
    let good = encode(&coverage(), &segments(), b"state");
    for at in [92, HEADER_BYTES + 8, HEADER_BYTES + 12, HEADER_BYTES + SECTION_BYTES + 8 + 8] {
        let mut bytes = good[..good.len() - 4].to_vec();
        put(&mut bytes, at, u32::MAX.to_le_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(decode_here(&bytes).unwrap(), None, "at {at}");
    }
}

#[test]
fn checkpoint_of_a_newer_format_is_refused() {
    let mut bytes = encode(&coverage(), &segments(), b"state");
    bytes.truncate(bytes.len() - 4);
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    assert!(matches!(decode_here(&bytes), Err(StorageError::NewerFormat { .. })));
}

#[test]
fn names_are_read_only_as_they_are_written() {
    assert_eq!(file_name(10), "000000000000000a.ckpt");
    assert_eq!(generation_of("000000000000000a.ckpt"), Some(10));
    for other in ["a.ckpt", "000000000000000A.ckpt", "000000000000000a.tmp", "x.ckpt"] {
        assert_eq!(generation_of(other), None, "{other}");
    }
    assert!(is_temporary("000000000000000a.tmp"));
    assert!(!is_temporary("notes.tmp"));
}
