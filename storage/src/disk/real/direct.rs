//! [`Direct`]: large aligned writes past the page cache.
//!
//! A log writes bytes that it will soon read from its own memory or not for a long time. Through the page cache each of them
//! is copied into a page that the kernel has to find first; past it, none is copied if it lies at a page already, as most
//! blocks do, and otherwise into one buffer that stays hot. Small and unaligned writes, and file systems that refuse, take
//! the ordinary way. Both ways need the same sync.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Writes below this are not worth a system call of their own kind.
const BYTES_MIN: usize = 32 * 1024;
/// Offset, length and memory are multiples of this: the page, and more than any disk asks for.
const ALIGN: usize = 4096;
/// Bytes per system call.
const PIECE: usize = 1024 * 1024;

/// The one buffer of the process; the log has one writer.
static PIECES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// A second descriptor of a file, for direct writes; opened when first needed.
#[derive(Debug, Default)]
pub(super) struct Direct {
    file: OnceLock<Option<File>>,
    is_refused: AtomicBool,
}

impl Direct {
    /// Writes the parts, if they are large and aligned and the file system takes it. `false`: the caller writes all of
    /// them the ordinary way.
    pub(super) fn write_at(
        &self,
        file: &File,
        parts: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<bool> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let is_aligned = len.is_multiple_of(ALIGN) && offset.is_multiple_of(ALIGN as u64);
        if len < BYTES_MIN || !is_aligned || self.is_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let Some(direct) = self.file.get_or_init(|| reopen(file)) else { return Ok(false) };
        if let [whole] = parts
            && whole.as_ptr().align_offset(ALIGN) == 0
        {
            return self.write_piece(direct, whole, offset, offset);
        }
        let mut buffer = PIECES.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = aligned(&mut buffer);
        let (mut filled, mut at) = (0, offset);
        for part in parts {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PIECE - filled));
                piece[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                rest = later;
                if filled == PIECE {
                    if !self.write_piece(direct, piece, at, offset)? {
                        return Ok(false);
                    }
                    at += PIECE as u64;
                    filled = 0;
                }
            }
        }
        if filled > 0 && !self.write_piece(direct, &piece[..filled], at, offset)? {
            return Ok(false);
        }
        Ok(true)
    }

    /// `false`: the file system refuses; what was written before is written again the ordinary way.
    fn write_piece(
        &self,
        file: &File,
        mut piece: &[u8],
        mut at: u64,
        start: u64,
    ) -> io::Result<bool> {
        while !piece.is_empty() {
            match rustix::io::pwrite(file, piece, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    at += written as u64;
                    piece = &piece[written..];
                }
                Err(Errno::INTR) => {}
                // Refused, or the rest behind a short write, which is not aligned any more.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                    self.is_refused.fetch_or(at == start, Ordering::Relaxed);
                    return Ok(false);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }
}

/// The same file again, whatever its name is now.
fn reopen(file: &File) -> Option<File> {
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::DIRECT.bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(flags).open(name).ok()
}

/// A piece's worth of the buffer, aligned.
fn aligned(buffer: &mut Vec<u8>) -> &mut [u8] {
    if buffer.is_empty() {
        buffer.resize(PIECE + ALIGN, 0);
    }
    let start = buffer.as_ptr().align_offset(ALIGN);
    &mut buffer[start..start + PIECE]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, DiskFile, OpenMode, RealDisk};

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at % 251) as u8).collect()
    }

    fn check(file: &dyn DiskFile, parts: &[&[u8]], offset: u64) {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        file.write_at(&slices, offset).unwrap();
        file.sync_data().unwrap();
        let mut read = vec![0; parts.concat().len()];
        assert_eq!(file.read_at(&mut read, offset).unwrap(), read.len());
        assert_eq!(read, parts.concat());
    }

    #[test]
    fn large_and_small_writes_beside_each_other_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("f"), OpenMode::Create).unwrap();
        file.allocate(8 << 20).unwrap();
        let bytes = pattern(3 << 20);
        check(&*file, &[&bytes[..100], &bytes[100..8_192]], 0);
        check(&*file, &[&bytes[..96], &bytes[96..2_500_000], &bytes[2_500_000..2_502_656]], 8_192);
        check(&*file, &[&bytes[7..519]], 8_192 + 2_502_656);
        check(&*file, &[&bytes[..65_536]], 8_192 + 2_502_656 + 512);
        check(&*file, &[&bytes], 4 << 20);
        let at_a_page = &bytes[bytes.as_ptr().align_offset(ALIGN)..];
        check(&*file, &[&at_a_page[..2_506_752]], 8_192);
    }

    #[test]
    fn only_large_aligned_writes_go_past_the_page_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = OpenOptions::new().write(true).create_new(true).open(&path).unwrap();
        let (direct, bytes) = (Direct::default(), pattern(PIECE + 65_536));
        for (len, offset) in [(4_096, 0), (65_536, 512), (65_535, 0)] {
            let parts = [IoSlice::new(&bytes[..len])];
            assert!(!direct.write_at(&file, &parts, offset).unwrap(), "{len} at {offset}");
        }
        assert_eq!(file.metadata().unwrap().len(), 0, "the caller writes it");
        let mut buffer = Vec::new();
        let flags = OFlags::DIRECT.bits().cast_signed();
        let is_possible =
            OpenOptions::new().write(true).custom_flags(flags).open(&path).is_ok_and(|file| {
                rustix::io::pwrite(file, &aligned(&mut buffer)[..4_096], 0).is_ok()
            });
        for len in [BYTES_MIN, 65_536, PIECE, PIECE + 65_536] {
            let parts = [IoSlice::new(&bytes[..len])];
            assert_eq!(direct.write_at(&file, &parts, 4_096).unwrap(), is_possible);
            assert!(!is_possible || std::fs::read(&path).unwrap()[4_096..] == bytes[..len]);
        }
    }
}
