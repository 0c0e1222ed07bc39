//! The real disk against a temporary directory.

use std::io::{ErrorKind, IoSlice};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn read_all(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

#[test]
fn parts_are_written_one_after_another_at_the_offset() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.open(&dir.path().join("f"), OpenMode::Create).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(&[IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")], 3).unwrap();
    file.sync_data().unwrap();
    assert!(!file.is_empty().unwrap());
    assert_eq!(read_all(&*file), b"\0\0\0abcde");
    file.write_at(&[], 1).unwrap();
    file.write_at(&[IoSlice::new(b"")], 100).unwrap();
    assert_eq!(file.len().unwrap(), 8);
}

#[test]
fn more_parts_than_one_system_call_takes_are_all_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.open(&dir.path().join("f"), OpenMode::Create).unwrap();
    let numbers: Vec<[u8; 4]> = (0..5_000_u32).map(u32::to_le_bytes).collect();
    let parts: Vec<IoSlice<'_>> = numbers.iter().map(|number| IoSlice::new(number)).collect();
    file.write_at(&parts, 0).unwrap();
    assert_eq!(read_all(&*file), numbers.concat());
}

#[test]
fn files_and_directories_are_for_the_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b");
    RealDisk.create_dir_all(&nested).unwrap();
    RealDisk.create_dir_all(&nested).unwrap();
    RealDisk.open(&nested.join("f"), OpenMode::Create).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&nested), 0o700);
    assert_eq!(mode(&nested.join("f")), 0o600);
    RealDisk.sync_dir(&nested).unwrap();
    RealDisk.sync_dir(Path::new("")).unwrap();
    assert_eq!(RealDisk.sync_dir(&nested.join("g")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_symbolic_link_in_place_of_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    RealDisk.open(&dir.path().join("target"), OpenMode::Create).unwrap();
    symlink(dir.path().join("target"), dir.path().join("link")).unwrap();
    for mode in [OpenMode::Read, OpenMode::ReadWrite, OpenMode::Create] {
        assert!(RealDisk.open(&dir.path().join("link"), mode).is_err());
    }
    symlink(dir.path().join("nothing"), dir.path().join("dangling")).unwrap();
    assert!(RealDisk.exists(&dir.path().join("dangling")).unwrap());
}

#[test]
fn a_second_lock_would_block_until_the_first_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    let first = RealDisk.lock(&path).unwrap();
    assert_eq!(RealDisk.lock(&path).err().unwrap().kind(), ErrorKind::WouldBlock);
    drop(first);
    RealDisk.lock(&path).unwrap();
}

#[test]
fn allocated_space_reads_as_zero_and_takes_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let file = RealDisk.open(&path, OpenMode::Create).unwrap();
    file.write_at(&[IoSlice::new(b"x")], 0).unwrap();
    file.allocate(1 << 20).unwrap();
    file.allocate(0).unwrap();
    assert_eq!(file.len().unwrap(), 1 << 20);
    assert!(path.metadata().unwrap().blocks() * 512 >= 1 << 20);
    let mut expected = vec![0; 1 << 20];
    expected[0] = b'x';
    assert_eq!(read_all(&*file), expected);
}

#[test]
fn an_allocation_that_fails_leaves_the_file_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let file = RealDisk.open(&path, OpenMode::Create).unwrap();
    file.write_at(&[IoSlice::new(b"kept")], 0).unwrap();
    let blocks = path.metadata().unwrap().blocks();
    assert!(file.allocate(1 << 60).is_err());
    assert_eq!(read_all(&*file), b"kept");
    assert_eq!(path.metadata().unwrap().blocks(), blocks);
}

#[test]
fn zeros_written_in_place_of_an_allocation_reach_the_length_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let file = open_options(OpenMode::Create).open(&path).unwrap();
    let file = RealFile { file, direct: Direct::default() };
    file.write_at(&[IoSlice::new(b"kept")], 0).unwrap();
    file.write_zeros(4, 200_000).unwrap();
    let bytes = read_all(&file);
    assert_eq!(bytes.len(), 200_000);
    assert_eq!(&bytes[..4], b"kept");
    assert!(bytes[4..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_map_shows_the_range_and_outlives_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let file = RealDisk.open(&path, OpenMode::Create).unwrap();
    file.write_at(&[IoSlice::new(b"0123456789")], 0).unwrap();
    let map = file.map(2..7).unwrap().unwrap();
    assert!(file.map(2..11).is_err());
    assert!(file.map(3..3).unwrap().unwrap().is_empty());
    RealDisk.remove(&path).unwrap();
    drop(file);
    assert_eq!(&map[..], b"23456");
}

#[test]
fn names_are_listed_sorted_and_renamed_over() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b", "a", "c"] {
        RealDisk.open(&dir.path().join(name), OpenMode::Create).unwrap();
    }
    RealDisk.rename(&dir.path().join("c"), &dir.path().join("a")).unwrap();
    assert_eq!(RealDisk.list(dir.path()).unwrap(), ["a", "b"]);
    assert!(!RealDisk.exists(&dir.path().join("c")).unwrap());
    let missing = RealDisk.open(&dir.path().join("c"), OpenMode::ReadWrite);
    assert_eq!(missing.err().unwrap().kind(), ErrorKind::NotFound);
    assert!(RealDisk.free_bytes(dir.path()).unwrap() > 0);
}

#[test]
fn no_byte_that_was_written_is_passed_over_as_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let places = [5, 70_000, 70_001, 1 << 20, (4 << 20) - 1];
    let sim: Arc<dyn Disk> = Arc::new(crate::disk::SimDisk::new(1));
    sim.create_dir_all(Path::new("d")).unwrap();
    let files = [
        RealDisk.open(&dir.path().join("f"), OpenMode::Create).unwrap(),
        sim.open(Path::new("d/f"), OpenMode::Create).unwrap(),
    ];
    for file in files {
        file.allocate(4 << 20).unwrap();
        for (number, place) in places.into_iter().enumerate() {
            file.write_at(&[IoSlice::new(b"x")], place).unwrap();
            if number % 2 == 0 {
                file.sync_data().unwrap();
            }
        }
        for place in places {
            let from = (place / 1_000) * 1_000;
            let found = file.data_from(from).unwrap();
            assert!((from..=place).contains(&found), "{from} to {found}, passes {place}");
        }
        assert!(file.data_from(2 << 20).unwrap() > 2 << 20, "a hole is passed over");
        file.set_len(8 << 20).unwrap();
        assert_eq!(file.data_from(5 << 20).unwrap(), 8 << 20);
    }
}

#[test]
fn length_is_set_and_a_removed_name_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let file = RealDisk.open(&path, OpenMode::Create).unwrap();
    for len in [5_000, 100] {
        file.set_len(len).unwrap();
        assert_eq!(file.len().unwrap(), len);
    }
    RealDisk.remove(&path).unwrap();
    assert!(!RealDisk.exists(&path).unwrap());
    assert_eq!(RealDisk.remove(&path).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn name_that_cannot_be_looked_at_is_not_taken_for_a_free_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    RealDisk.open(&path, OpenMode::Create).unwrap();
    RealDisk.exists(&path.join("below a file")).unwrap_err();
}

#[test]
fn failed_reads_and_syncs_are_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let written_only = File::create(dir.path().join("f")).unwrap();
    let file = RealFile { file: written_only, direct: Direct::default() };
    file.read_at(&mut [0; 8], 0).unwrap_err();
    let device = RealFile { file: File::open("/dev/null").unwrap(), direct: Direct::default() };
    device.sync_data().unwrap_err();
}

#[test]
fn file_with_holes_is_not_taken_for_one_that_has_its_space() {
    let dir = tempfile::tempdir().unwrap();
    let file = open_options(OpenMode::Create).open(dir.path().join("f")).unwrap();
    let file = RealFile { file, direct: Direct::default() };
    file.set_len(1 << 20).unwrap();
    assert!(!file.is_allocated(1 << 20).unwrap());
    file.allocate(1 << 20).unwrap();
    assert!(file.is_allocated(1 << 20).unwrap());
    assert!(!file.is_allocated((1 << 20) + 1).unwrap(), "the file is not so long");
}
