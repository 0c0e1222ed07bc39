//! The simulated disk against its own claims: what a power cut may and may not leave.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice};

use super::*;

const FILE: &str = "store/f";

fn open(disk: &SimDisk, path: &str) -> Arc<dyn DiskFile> {
    disk.open(Path::new(path), OpenMode::Create).unwrap()
}

/// A disk with a durable empty file in a durable directory.
fn disk_with_file() -> (SimDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(7);
    disk.create_dir_all(Path::new("store")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    let file = open(&disk, FILE);
    disk.sync_dir(Path::new("store")).unwrap();
    (disk, file)
}

fn put(file: &Arc<dyn DiskFile>, bytes: &[u8], offset: u64) {
    file.write_at(&[IoSlice::new(bytes)], offset).unwrap();
}

fn bytes(disk: &SimDisk) -> Vec<u8> {
    disk.bytes(Path::new(FILE)).unwrap()
}

#[test]
fn a_plain_disk_reads_what_was_written_and_zeros_elsewhere() {
    let disk = SimDisk::memory();
    disk.create_dir_all(Path::new("/store/deep")).unwrap();
    let file = open(&disk, "store/deep/f");
    file.write_at(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")], 5_000).unwrap();
    let mut buf = [1; 8];
    assert_eq!(file.read_at(&mut buf, 4_998).unwrap(), 6);
    assert_eq!(&buf, b"\0\0abcd\x01\x01");
    file.sync_data().unwrap();
    file.set_len(5_001).unwrap();
    file.set_len(5_004).unwrap();
    file.read_at(&mut buf[..4], 5_000).unwrap();
    assert_eq!(&buf[..4], b"a\0\0\0");
    assert_eq!(file.read_at(&mut buf, 5_004).unwrap(), 0);
    assert_eq!(disk.list(Path::new("store")).unwrap(), ["deep"]);
    assert_eq!(disk.pending(), 0);
}

#[test]
fn random_writes_and_cuts_read_back_like_a_vector() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("SEED={seed}");
    let mut dice = Dice::new(seed);
    for disk in [SimDisk::memory(), SimDisk::new(seed)] {
        let file = open(&disk, "f");
        let mut model: Vec<u8> = Vec::new();
        for _ in 0..300 {
            let offset = dice.index(20_000);
            if dice.one_in(5) {
                file.set_len(offset as u64).unwrap();
                model.resize(offset, 0);
            } else {
                let piece = vec![dice.roll() as u8; dice.index(9_000)];
                put(&file, &piece, offset as u64);
                if !piece.is_empty() {
                    model.resize(model.len().max(offset + piece.len()), 0);
                    model[offset..offset + piece.len()].copy_from_slice(&piece);
                }
            }
            assert_eq!(disk.bytes(Path::new("f")).unwrap(), model);
            if dice.one_in(10) {
                file.sync_data().unwrap();
                disk.sync_dir(Path::new("")).unwrap();
                let cut = disk.restart().power_cut(Keep::Nothing);
                if disk.shared.is_tracked {
                    assert_eq!(cut.bytes(Path::new("f")).unwrap(), model);
                }
            }
        }
    }
}

#[test]
fn reserved_space_costs_no_memory_and_counts_against_the_capacity() {
    let disk = SimDisk::memory();
    disk.set_capacity(Some(64 << 20));
    let file = open(&disk, "f");
    file.allocate(48 << 20).unwrap();
    assert_eq!(disk.free_bytes(Path::new("")).unwrap(), 16 << 20);
    let cells = locked(&disk.shared.files);
    assert_eq!(cells.values().next().unwrap().read().cache.stored(0..u64::MAX), 0);
    drop(cells);
    let other = open(&disk, "g");
    assert_eq!(other.allocate(17 << 20).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(other.len().unwrap(), 0);
    put(&file, &[1; 10_000], 1 << 20);
    assert_eq!(disk.free_bytes(Path::new("")).unwrap(), 16 << 20);
    drop(file);
    disk.remove(Path::new("f")).unwrap();
    assert_eq!(disk.free_bytes(Path::new("")).unwrap(), 64 << 20);
    put(&other, &[1; 4_097], 0);
    assert_eq!(disk.free_bytes(Path::new("")).unwrap(), (64 << 20) - 8_192);
    other.set_len(1).unwrap();
    assert_eq!(disk.free_bytes(Path::new("")).unwrap(), (64 << 20) - 4_096);
}

#[test]
fn a_far_offset_is_refused_before_anything_is_reserved() {
    let file = open(&SimDisk::memory(), "f");
    for offset in [u64::MAX, 1 << 60] {
        let error = file.write_at(&[IoSlice::new(b"x")], offset).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(file.set_len(offset).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(file.read_at(&mut [0], offset).unwrap(), 0);
    }
}

#[test]
fn unsynced_sectors_survive_in_every_combination() {
    let (disk, file) = disk_with_file();
    put(&file, &[b'o'; 2_048], 0);
    file.sync_data().unwrap();
    put(&file, &[b'n'; 2_048], 0);
    assert_eq!(disk.pending(), 4);
    let mut seen = BTreeSet::new();
    let mut torn = 0;
    for image in disk.crash_images(64) {
        let bytes = bytes(&image);
        assert_eq!(bytes.len(), 2_048);
        let whole = |sector: &[u8]| sector.iter().all(|byte| *byte == sector[0]);
        if bytes.chunks(512).all(whole) {
            seen.insert(bytes.iter().step_by(512).copied().collect::<Vec<u8>>());
        } else {
            torn += 1;
            // Torn means new bytes first, old bytes after.
            assert!(bytes.chunks(512).all(<[u8]>::is_sorted));
        }
    }
    assert_eq!(seen.len(), 16);
    assert!(torn > 0);
}

#[test]
fn many_pending_sectors_are_sampled_with_both_extremes_and_a_tear() {
    let (disk, file) = disk_with_file();
    file.allocate(64 * 512).unwrap();
    file.sync_data().unwrap();
    put(&file, &[b'n'; 64 * 512], 0);
    let images: Vec<Vec<u8>> = disk.crash_images(40).iter().map(bytes).collect();
    assert_eq!(images.len(), 40);
    assert_eq!(images[0], [0; 64 * 512]);
    assert_eq!(images[1], [b'n'; 64 * 512]);
    assert!(images.iter().any(|image| image.chunks(512).any(|s| s[0] != s[511])));
    let different: BTreeSet<&Vec<u8>> = images.iter().collect();
    assert_eq!(different.len(), 40);
}

#[test]
fn a_sync_covers_content_and_size_of_its_file_only() {
    let (disk, file) = disk_with_file();
    let other = open(&disk, "store/g");
    disk.sync_dir(Path::new("store")).unwrap();
    put(&file, b"one", 0);
    put(&other, b"two", 0);
    file.sync_data().unwrap();
    drop(other);
    for image in disk.crash_images(64) {
        assert_eq!(bytes(&image), b"one");
    }
    let nothing = disk.power_cut(Keep::Nothing);
    assert_eq!(nothing.bytes(Path::new("store/g")).unwrap(), b"");
}

#[test]
fn a_size_can_survive_without_the_data_and_the_data_without_the_size() {
    let (disk, file) = disk_with_file();
    put(&file, b"data", 0);
    let seen: BTreeSet<Vec<u8>> = disk.crash_images(4).iter().map(bytes).collect();
    assert!(seen.contains(&b""[..]));
    assert!(seen.contains(&b"data"[..]));
    assert!(seen.contains(&b"\0\0\0\0"[..]));
}

#[test]
fn names_are_undecided_until_the_directory_is_synced() {
    let (disk, file) = disk_with_file();
    put(&file, b"old", 0);
    file.sync_data().unwrap();
    let new = open(&disk, "store/f.tmp");
    put(&new, b"new", 0);
    new.sync_data().unwrap();
    disk.rename(Path::new("store/f.tmp"), Path::new(FILE)).unwrap();
    let seen: BTreeSet<Vec<u8>> = disk.crash_images(64).iter().map(bytes).collect();
    assert_eq!(seen, [b"new".to_vec(), b"old".to_vec()].into());
    disk.sync_dir(Path::new("store")).unwrap();
    assert_eq!(disk.pending(), 0);
    assert_eq!(bytes(&disk.power_cut(Keep::Nothing)), b"new");
}

#[test]
fn a_renaming_can_survive_without_the_data() {
    let (disk, _file) = disk_with_file();
    let new = open(&disk, "store/f.tmp");
    put(&new, b"new", 0);
    disk.rename(Path::new("store/f.tmp"), Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new("store")).unwrap();
    assert_eq!(bytes(&disk.power_cut(Keep::Nothing)), b"");
}

#[test]
fn a_removal_can_be_undone_by_a_crash_and_a_directory_can_vanish() {
    let (disk, file) = disk_with_file();
    put(&file, b"x", 0);
    file.sync_data().unwrap();
    disk.remove(Path::new(FILE)).unwrap();
    assert_eq!(bytes(&disk.power_cut(Keep::Nothing)), b"x");
    assert!(!disk.power_cut(Keep::Everything).exists(Path::new(FILE)).unwrap());
    disk.create_dir_all(Path::new("other")).unwrap();
    open(&disk, "other/f");
    disk.sync_dir(Path::new("other")).unwrap();
    let image = disk.power_cut(Keep::Nothing);
    assert!(!image.exists(Path::new("other")).unwrap());
    assert!(!image.exists(Path::new("other/f")).unwrap());
}

#[test]
fn the_power_goes_at_the_call_asked_for_and_stays_off() {
    let (disk, file) = disk_with_file();
    disk.crash_at(disk.changes() + 2);
    put(&file, b"one", 0);
    file.len().unwrap();
    let error = file.sync_data().unwrap_err();
    assert!(is_power_off(&error) && disk.is_off());
    assert!(is_power_off(&file.read_at(&mut [0], 0).unwrap_err()));
    assert!(!is_power_off(&ErrorKind::Other.into()));
    assert_eq!(bytes(&disk.power_cut(Keep::Nothing)), b"");
    assert_eq!(bytes(&disk.power_cut(Keep::Everything)), b"one");
}

#[test]
fn a_failed_sync_that_forgets_shows_new_bytes_until_eviction() {
    let (disk, file) = disk_with_file();
    put(&file, b"old", 0);
    file.sync_data().unwrap();
    disk.fail(Fault::new(Op::Sync, Effect::ForgetWrites(ErrorKind::Other)).on(FILE));
    put(&file, b"new", 0);
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    let restarted = disk.restart();
    assert_eq!(bytes(&restarted), b"new");
    restarted.evict();
    assert_eq!(bytes(&restarted), b"old");
    assert_eq!(bytes(&disk.power_cut(Keep::Everything)), b"old");
}

#[test]
fn a_failed_sync_that_keeps_is_made_good_by_the_next() {
    let (disk, file) = disk_with_file();
    disk.fail(Fault::new(Op::Sync, Effect::Error(ErrorKind::Other)).after(1));
    file.sync_data().unwrap();
    put(&file, b"new", 0);
    file.sync_data().unwrap_err();
    disk.evict();
    assert_eq!(bytes(&disk), b"new");
    file.sync_data().unwrap();
    assert_eq!(bytes(&disk.power_cut(Keep::Nothing)), b"new");
    assert_eq!(disk.faults_struck(), 1);
}

#[test]
fn faults_strike_by_kind_path_and_count() {
    let (disk, file) = disk_with_file();
    disk.fail(Fault::new(Op::Write, Effect::ErrorAfter(ErrorKind::StorageFull, 2)).on("f"));
    assert!(file.write_at(&[IoSlice::new(b"abc")], 0).is_err());
    assert_eq!(bytes(&disk), b"ab");
    disk.fail(Fault::new(Op::Read, Effect::ReadAtMost(1)).times(2));
    let mut buf = [0; 2];
    for expected in [1, 1, 2] {
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), expected);
    }
    disk.fail(Fault::new(Op::Read, Effect::Error(ErrorKind::Other)).forever());
    file.read_at(&mut buf, 0).unwrap_err();
    disk.heal();
    file.read_at(&mut buf, 0).unwrap();
}

#[test]
fn a_lying_sync_keeps_everything_pending() {
    let (disk, file) = disk_with_file();
    disk.lie(true);
    put(&file, b"x", 0);
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("store")).unwrap();
    assert!(disk.pending() > 0);
    assert_eq!(bytes(&disk.power_cut(Keep::Nothing)), b"");
}

#[test]
fn rot_changes_what_is_stored_and_can_be_undone() {
    let (disk, file) = disk_with_file();
    put(&file, &[b'o'; 1_500], 0);
    file.sync_data().unwrap();
    put(&file, &[b'n'; 512], 0);
    file.sync_data().unwrap();
    let path = Path::new(FILE);
    let before = bytes(&disk);
    disk.flip_bit(path, 11).unwrap();
    assert_eq!(bytes(&disk)[1], b'n' ^ 8);
    disk.flip_bit(path, 11).unwrap();
    assert_eq!(bytes(&disk), before);
    disk.swap_sectors((path, 0), (path, 1)).unwrap();
    assert_eq!(bytes(&disk)[0], b'o');
    disk.swap_sectors((path, 0), (path, 1)).unwrap();
    assert!(disk.stale_sector(path, 0).unwrap());
    assert_eq!(bytes(&disk), [b'o'; 1_500]);
    disk.zero_sector(path, 2).unwrap();
    assert_eq!(bytes(&disk)[1_024..], [0; 476]);
    disk.misdirect_sector((path, 0), (path, 2)).unwrap();
    assert_eq!(bytes(&disk.power_cut(Keep::Nothing)), [b'o'; 1_500]);
    disk.cut_file(path, 3).unwrap();
    disk.rename_file(path, Path::new("store/g")).unwrap();
    assert_eq!(disk.files(), [Path::new("store/g")]);
    disk.put(path, b"all").unwrap();
    disk.lose(Path::new("store/g")).unwrap();
    assert_eq!(bytes(&disk.power_cut(Keep::Nothing)), b"all");
}

#[test]
fn a_lock_is_held_once_and_not_by_a_crash_image() {
    let disk = SimDisk::new(1);
    let path = Path::new("LOCK");
    let held = disk.lock(path).unwrap();
    assert_eq!(disk.clone().lock(path).err().unwrap().kind(), ErrorKind::WouldBlock);
    disk.restart().lock(path).unwrap();
    drop(held);
    disk.lock(path).unwrap();
}

#[test]
fn a_file_without_a_name_can_still_be_used() {
    let (disk, file) = disk_with_file();
    disk.remove(Path::new(FILE)).unwrap();
    put(&file, b"x", 0);
    file.sync_data().unwrap();
    assert_eq!(file.len().unwrap(), 1);
    disk.sync_dir(Path::new("store")).unwrap();
    assert_eq!(locked(&disk.shared.files).len(), 0);
}

#[test]
fn a_hook_sees_each_call_before_it_is_carried_out() {
    let (disk, file) = disk_with_file();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    disk.on_call(move |call| locked(&sink).push(call.op));
    put(&file, b"x", 0);
    file.sync_data().unwrap();
    assert_eq!(*locked(&seen), [Op::Write, Op::Sync]);
}

#[test]
fn the_same_seed_gives_the_same_images() {
    let images = || {
        let (disk, file) = disk_with_file();
        put(&file, &[b'n'; 20_000], 0);
        disk.crash_images(30).iter().map(bytes).collect::<Vec<_>>()
    };
    assert_eq!(images(), images());
}

#[test]
fn names_that_cannot_be_are_refused() {
    let (disk, _file) = disk_with_file();
    let kind = |path: &str, mode| disk.open(Path::new(path), mode).err().unwrap().kind();
    assert_eq!(kind("store/none", OpenMode::Read), ErrorKind::NotFound);
    assert_eq!(kind("none/f", OpenMode::Create), ErrorKind::NotFound);
    assert_eq!(kind("store", OpenMode::Read), ErrorKind::IsADirectory);
    assert_eq!(kind("../f", OpenMode::Create), ErrorKind::InvalidInput);
    let file = disk.open(Path::new(FILE), OpenMode::Read).unwrap();
    let error = file.write_at(&[IoSlice::new(b"x")], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let over_file = disk.create_dir_all(Path::new("store/f/d")).unwrap_err();
    assert_eq!(over_file.kind(), ErrorKind::NotADirectory);
}
