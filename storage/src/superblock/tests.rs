use super::*;
use crate::disk::SimDisk;

fn superblock() -> Superblock {
    Superblock {
        store: [5; 16],
        generation: 0,
        epoch: 3,
        state: State::InUse,
        durable_lsn: Lsn::new(2, 9216),
        opening_slot: 4,
        opening_seq: 6,
    }
}

fn stored() -> (SimDisk, SuperFile, Superblock) {
    let disk = SimDisk::memory();
    let dir = Path::new("data");
    disk.create_dir_all(dir).unwrap();
    let mut superblock = superblock();
    let file = superblock.create(&disk, dir).unwrap();
    (disk, file, superblock)
}

fn damage(disk: &SimDisk, at: u64) {
    let path = Path::new("data").join(SUPER);
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_at(&[IoSlice::new(&[0xFF; 4])], at).unwrap();
}

fn load(disk: &SimDisk) -> Result<Superblock, StorageError> {
    Superblock::load(disk, Path::new("data"))
}

#[test]
fn newest_copy_counts_and_the_other_stands_in_for_it() {
    let (disk, file, mut superblock) = stored();
    assert_eq!(load(&disk).unwrap(), superblock);
    superblock.epoch = 4;
    superblock.store_next(&file).unwrap();
    assert_eq!(load(&disk).unwrap(), superblock);
    damage(&disk, (superblock.generation % 2) * 4096 + 100);
    assert_eq!(load(&disk).unwrap().epoch, 3);
    damage(&disk, ((superblock.generation + 1) % 2) * 4096 + 100);
    assert!(matches!(load(&disk), Err(StorageError::Damaged(_))));
}

#[test]
fn newest_copy_of_a_newer_format_is_refused_although_the_other_is_known() {
    let (disk, file, mut superblock) = stored();
    superblock.generation += 1;
    let mut copy = superblock.encode();
    copy[8] = 2;
    let crc = crc32fast::hash(&copy[..CRC_AT]);
    put(&mut copy, CRC_AT, crc.to_le_bytes());
    file.write(&copy, (superblock.generation % 2) * 4096).unwrap();
    assert!(matches!(load(&disk), Err(StorageError::NewerFormat { found: 2, .. })));
}

#[test]
fn every_flipped_bit_of_a_copy_is_noticed() {
    let bytes = superblock().encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Superblock::decode(&flipped).is_none(), "bit {bit}");
    }
}

#[test]
fn every_state_reads_back() {
    for state in [State::Creating, State::InUse, State::Closed] {
        let bytes = Superblock { state, ..superblock() }.encode();
        assert_eq!(Superblock::decode(&bytes).unwrap().0.state, state);
    }
}

#[test]
fn copy_that_is_short_or_has_another_magic_is_none_although_its_checksum_is_good() {
    let mut bytes = superblock().encode();
    assert!(Superblock::decode(&bytes[..COPY_BYTES - 1]).is_none());
    bytes[0] ^= 1;
    let crc = crc32fast::hash(&bytes[..CRC_AT]);
    put(&mut bytes, CRC_AT, crc.to_le_bytes());
    assert!(Superblock::decode(&bytes).is_none());
}
