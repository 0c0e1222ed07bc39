//! [`RealDisk`]: files of the operating system.
//!
//! Plain `pread` and `pwritev`, `fdatasync`, `fallocate` and `flock`. Files are created 0600 and directories 0700; a symbolic
//! link in place of a file is refused. An interrupted or short call is continued; every other error goes up unchanged.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, MmapOptions};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{Disk, DiskFile, OpenMode};

mod direct;

use direct::Direct;

/// Buffers handed to one `pwritev`. Linux takes 1,024; a call with more is refused there.
const PARTS_PER_WRITE: usize = 1_024;

/// Bytes written at a time where a file system cannot allocate and zeros are written instead.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The files of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(or_current(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(or_current(path))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        // Looks at the link itself, so that a dangling one is not taken for a free name.
        match path.symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = open_options(mode).open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(RealFile { file, direct: Direct::default() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(or_current(path))?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(or_current(path))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        let file = open_options(OpenMode::Create).open(path)?;
        match file.try_lock() {
            // The lock goes with the descriptor, so it survives no crash.
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The parent of a plain relative name is the empty path, which the operating system does not take.
fn or_current(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn open_options(mode: OpenMode) -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(mode != OpenMode::Read)
        .create(mode == OpenMode::Create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

#[derive(Debug)]
struct RealFile {
    file: File,
    direct: Direct,
}

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buf, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn write_at(&self, parts: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        if self.direct.write_at(&self.file, parts, offset)? {
            return Ok(());
        }
        for group in parts.chunks(PARTS_PER_WRITE) {
            offset = self.write_group(group, offset)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        // An interrupted fdatasync has not failed, so this is not the retry that hides a loss.
        loop {
            match self.file.sync_data() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let before = self.len()?;
        let result = match fallocate(&self.file, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(before, len),
            // XFS asks for room for the whole range first, even for a file that has it already.
            Err(Errno::NOSPC) if self.is_allocated(len)? => Ok(()),
            other => other.map_err(io::Error::from),
        };
        if result.is_err() {
            // A failed fallocate may leave space allocated past the end, which a cut to the same size frees.
            self.file.set_len(before)?;
        }
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn forget(&self) {
        // A file system that cannot has no such memory, or is believed as it is.
        rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed).ok();
    }

    fn expect(&self, range: Range<u64>) {
        // Of no bytes the system would understand: all that follow.
        let Some(len) = NonZeroU64::new(range.end.saturating_sub(range.start)) else { return };
        // A hint: what was not read ahead is read later.
        rustix::fs::fadvise(&self.file, range.start, Some(len), rustix::fs::Advice::WillNeed).ok();
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn data_from(&self, offset: u64) -> io::Result<u64> {
        // What was read ahead counts as data, also where there is nothing.
        self.forget();
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(place) => Ok(place),
            // From here on there are only holes.
            Err(Errno::NXIO) => self.len(),
            // A file system that does not know its holes.
            Err(_) => Ok(offset),
        }
    }

    fn map(&self, range: Range<u64>) -> io::Result<Option<Bytes>> {
        let (Ok(bytes), true) =
            (usize::try_from(range.end.saturating_sub(range.start)), range.end <= self.len()?)
        else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if bytes == 0 {
            return Ok(Some(Bytes::new()));
        }
        // SAFETY: the map is read-only and inside the file. The caller of `DiskFile::map` keeps the range unchanged
        // while the map lives: the log maps sealed segments only and reuses a slot when its last pin is gone.
        #[expect(unsafe_code, reason = "a memory map cannot be made without")]
        let map = unsafe { MmapOptions::new().offset(range.start).len(bytes).map(&self.file)? };
        // Faults the pages in here, where a bad disk is an error value, and not at the first look, where it is a signal.
        map.advise(Advice::PopulateRead)?;
        Ok(Some(Bytes::from_owner(map)))
    }
}

impl RealFile {
    /// Whether the file is that long, and has so much space that it cannot have holes worth speaking of.
    fn is_allocated(&self, len: u64) -> io::Result<bool> {
        let metadata = self.file.metadata()?;
        Ok(metadata.len() >= len && metadata.blocks().saturating_mul(512) >= len)
    }

    /// Writes one group of buffers, continuing after short and interrupted calls. Returns the offset behind it.
    fn write_group(&self, group: &[IoSlice<'_>], mut offset: u64) -> io::Result<u64> {
        let mut owned: Vec<IoSlice<'_>> = group.to_vec();
        let mut rest = owned.as_mut_slice();
        // Drops empty buffers in front, so that a write of zero bytes can only mean a disk that takes no more.
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match rustix::io::pwritev(&self.file, rest, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(offset)
    }

    /// Extends the file with written zeros: the fallback where a file system has no allocation.
    fn write_zeros(&self, mut from: u64, len: u64) -> io::Result<()> {
        while from < len {
            let step = (len - from).min(ZEROS.len() as u64);
            let zeros = ZEROS.get(..usize::try_from(step).unwrap_or(ZEROS.len())).unwrap_or(&ZEROS);
            self.write_at(&[IoSlice::new(zeros)], from)?;
            from += step;
        }
        Ok(())
    }
}

fn fallocate(file: &File, len: u64) -> Result<(), Errno> {
    if len == 0 {
        return Ok(());
    }
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
