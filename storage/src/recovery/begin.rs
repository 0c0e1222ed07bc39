//! The first half of opening: lock, identity, checkpoints. Writes nothing, except to create a store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chain::{Chain, Sources};
use super::survey::Survey;
use super::{Opening, scan};
use crate::block::{BLOCK_ALIGN, mix};
use crate::checkpoint::{self, Checkpoint};
use crate::disk::{Disk, OpenMode};
use crate::error::{Damage, StorageError};
use crate::fields::put;
use crate::lsn::Lsn;
use crate::options::Options;
use crate::segment::{SEGMENT_HEADER_BYTES, read_full};
use crate::store::{DirectoryLock, Places};
use crate::superblock::{SUPER, SUPER_TEMPORARY, State, Superblock};

const LOCK: &str = "LOCK";

/// Names that a directory may have and still be empty: our own lock, a superblock that was not finished, what a new file system has.
const EMPTY: [&str; 3] = [LOCK, SUPER_TEMPORARY, "lost+found"];

/// The checkpoint files found.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// Whole ones, newest last.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) damaged: Vec<Damage>,
    pub(crate) next_generation: u64,
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: Options,
) -> Result<Opening, StorageError> {
    let places = Places::new(dir);
    create_directory(&*disk, dir, &options)?;
    let lock = take_lock(&*disk, dir)?;
    let superblock = identify(&*disk, &places, &options)?;
    let is_new = superblock.state == State::Creating;
    let (checkpoint, checkpoints) = if is_new {
        (None, Checkpoints { next_generation: 1, ..Checkpoints::default() })
    } else {
        choose_checkpoint(&*disk, &places, &superblock)?
    };
    let survey = Survey::of(&*disk, &places, &superblock)?;
    if is_new {
        refuse_used(&survey, &places)?;
    }
    let sources = Sources {
        disk: &*disk,
        places: &places,
        superblock: &superblock,
        checkpoint: checkpoint.as_ref(),
        options: &options,
    };
    let chain = Chain::of(&survey, sources)?;
    Ok(Opening {
        disk,
        places,
        options,
        lock,
        superblock,
        is_new,
        checkpoint,
        checkpoints,
        survey,
        chain,
    })
}

fn create_directory(disk: &dyn Disk, dir: &Path, options: &Options) -> Result<(), StorageError> {
    let exists = disk.exists(dir).map_err(|cause| StorageError::io("look at", dir, 0, cause))?;
    if exists {
        return Ok(());
    }
    if !options.create {
        return Err(StorageError::NotAStore {
            path: dir.to_path_buf(),
            what: "the directory is missing",
        });
    }
    disk.create_dir_all(dir).map_err(|cause| StorageError::io("create", dir, 0, cause))
}

fn take_lock(disk: &dyn Disk, dir: &Path) -> Result<DirectoryLock, StorageError> {
    let path = dir.join(LOCK);
    match disk.lock(&path) {
        Ok(lock) => Ok(DirectoryLock(lock)),
        Err(cause) if cause.kind() == std::io::ErrorKind::WouldBlock => {
            Err(StorageError::AlreadyLocked { path })
        }
        Err(cause) => Err(StorageError::io("lock", &path, 0, cause)),
    }
}

/// The superblock of the store that is here, or of a new one.
fn identify(
    disk: &dyn Disk,
    places: &Places,
    options: &Options,
) -> Result<Superblock, StorageError> {
    let dir = &places.dir;
    let names = disk.list(dir).map_err(|cause| StorageError::io("list", dir, 0, cause))?;
    let has = |name: &str| names.iter().any(|found| found == name);
    let refuse = |what| Err(StorageError::NotAStore { path: dir.clone(), what });
    if has(SUPER) {
        let superblock = Superblock::load(disk, dir)?;
        if superblock.state == State::Creating {
            create_directories(disk, places)?;
        } else if !has("log-0") {
            return refuse("the directory log-0 is missing");
        } else if !has("ckpt") {
            return refuse("the directory ckpt is missing");
        }
        return Ok(superblock);
    }
    if has("log-0") || has("ckpt") {
        return refuse("the file SUPER is missing");
    }
    if !options.create {
        return refuse("there is no store");
    }
    if names.iter().any(|name| !EMPTY.contains(&name.as_str())) {
        return refuse("the directory holds other files");
    }
    create(disk, places, options)
}

/// Creates the superblock and the directories. The first segment is opened like after any start; until then the state is
/// *creating*, so that a crash in between is taken up again.
fn create(disk: &dyn Disk, places: &Places, options: &Options) -> Result<Superblock, StorageError> {
    let mut superblock = Superblock {
        store: identity(options),
        generation: 0,
        epoch: 0,
        state: State::Creating,
        durable_lsn: Lsn::ZERO,
        opening_slot: 0,
        opening_seq: 0,
    };
    superblock.create(disk, &places.dir)?;
    create_directories(disk, places)?;
    Ok(superblock)
}

fn create_directories(disk: &dyn Disk, places: &Places) -> Result<(), StorageError> {
    for dir in [&places.log_dir, &places.checkpoint_dir] {
        disk.create_dir_all(dir).map_err(|cause| StorageError::io("create", dir, 0, cause))?;
    }
    let parent = places.dir.parent().unwrap_or_else(|| Path::new(""));
    for dir in [&places.dir, parent] {
        disk.sync_dir(dir).map_err(|cause| StorageError::io("sync", dir, 0, cause))?;
    }
    // Directories above may have been made too, by this process or one that died; they may also not be ours to open.
    for dir in parent.ancestors().skip(1) {
        drop(disk.sync_dir(dir));
    }
    Ok(())
}

fn identity(options: &Options) -> [u8; 16] {
    let [one, two] = match options.seed {
        Some(seed) => [mix(seed), mix(!seed)],
        None => [crate::random::random_u64(), crate::random::random_u64()],
    };
    let mut store = [0; 16];
    put(&mut store, 0, one.to_le_bytes());
    put(&mut store, 8, two.to_le_bytes());
    store
}

/// A superblock that says *creating* beside segments that were in use is not the superblock of this store's present.
fn refuse_used(survey: &Survey, places: &Places) -> Result<(), StorageError> {
    if survey.files.iter().any(|file| file.open.is_some()) {
        return Err(StorageError::damaged(
            &places.dir.join(SUPER),
            0,
            "the superblock is older than the segments",
        ));
    }
    Ok(())
}

/// The newest whole checkpoint.
fn choose_checkpoint(
    disk: &dyn Disk,
    places: &Places,
    superblock: &Superblock,
) -> Result<(Option<Checkpoint>, Checkpoints), StorageError> {
    let dir = &places.checkpoint_dir;
    let names = disk.list(dir).map_err(|cause| StorageError::io("list", dir, 0, cause))?;
    let mut generations: Vec<u64> =
        names.iter().filter_map(|name| checkpoint::generation_of(name)).collect();
    generations.sort_unstable();
    let mut found = Checkpoints {
        next_generation: generations.last().map_or(1, |newest| newest + 1),
        ..Checkpoints::default()
    };
    let mut newest = None;
    for generation in generations {
        let path = dir.join(checkpoint::file_name(generation));
        match load_checkpoint(disk, &path, superblock, generation)? {
            Some(checkpoint) => {
                found.files.push(path);
                newest = Some(checkpoint);
            }
            None => found.damaged.push(Damage {
                path,
                offset: 0,
                from: Lsn::ZERO,
                to: Lsn::ZERO,
                blocks: None,
                what: "the checkpoint is not whole; it is not used",
            }),
        }
    }
    Ok((newest, found))
}

fn load_checkpoint(
    disk: &dyn Disk,
    path: &Path,
    superblock: &Superblock,
    generation: u64,
) -> Result<Option<Checkpoint>, StorageError> {
    let error = |cause| StorageError::io("read", path, 0, cause);
    let file = disk.open(path, OpenMode::Read).map_err(error)?;
    let len = file.len().map_err(error)?;
    // LIMIT: a file cannot make more be reserved than it has bytes, and no checkpoint comes near the memory of a machine.
    let Ok(len) = usize::try_from(len.min(u64::from(u32::MAX))) else { return Ok(None) };
    let mut bytes = vec![0; len];
    let read = read_full(&*file, &mut bytes, 0).map_err(error)?;
    let found = checkpoint::decode(&bytes[..read], &superblock.store, path)?;
    Ok(found.filter(|checkpoint| checkpoint.coverage.generation == generation))
}

/// How far a spare is searched for blocks: two of the largest.
pub(super) fn probe_limit(size: u32, options: &Options) -> u32 {
    let blocks = options.block_bytes_max.max(Options::default().block_bytes_max);
    size.min(blocks.saturating_mul(2))
}

/// Whether a file without an OPEN block holds blocks all the same.
pub(super) fn holds_blocks(
    segment: &crate::segment::Segment,
    options: &Options,
) -> Result<bool, StorageError> {
    // The OPEN block itself proves nothing: torn, it was never followed by anything.
    let from = SEGMENT_HEADER_BYTES + BLOCK_ALIGN as u32;
    let to = probe_limit(segment.id.size, options);
    Ok(scan::probe(segment, from, to)?.is_some())
}
