//! [`SimFile`]: an open file of a [`SimDisk`].
//!
//! Each call takes its ticket first, which counts it and may fail it, and then holds the file's own lock only: readers of one
//! file do not wait for the writer of another.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::content::Content;
use super::fault::{Effect, Op};
use super::sparse::FILE_BYTES_MAX;
use super::{FileCell, SimDisk};
use crate::disk::DiskFile;

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) path: PathBuf,
    pub(super) cell: Arc<FileCell>,
    pub(super) is_writable: bool,
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let ticket = self.disk.enter_at(Op::Read, &self.path, offset, buf.len())?;
        let most = match ticket.effect {
            Some(Effect::ReadAtMost(most)) => most.min(buf.len()),
            _ => buf.len(),
        };
        Ok(self.cell.read().read(&mut buf[..most], offset))
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let asked: usize = parts.iter().map(|part| part.len()).sum();
        let ticket = self.disk.enter_at(Op::Write, &self.path, offset, asked)?;
        self.check_writable()?;
        check_end(offset, asked)?;
        let (mut allowed, mut result) = match ticket.effect {
            Some(Effect::ErrorAfter(kind, bytes)) => (bytes.min(asked), Err(kind.into())),
            _ => (asked, Ok(())),
        };
        let mut content = self.cell.write();
        if let Err(error) = self.take_space(&content, offset..offset + allowed as u64) {
            allowed = 0;
            result = Err(error);
        }
        let mut end = offset;
        for part in parts {
            let step = part.len().min(allowed);
            content.write(ticket.call, &part[..step], end);
            end += step as u64;
            allowed -= step;
        }
        content.note_sectors(ticket.call, offset..end);
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        let ticket = self.disk.enter(Op::Sync, &self.path)?;
        if !self.disk.shared.is_tracked || ticket.is_lying {
            return Ok(());
        }
        if let Some(Effect::ForgetWrites(kind)) = ticket.effect {
            self.cell.write().forget_sectors();
            return Err(kind.into());
        }
        self.cell.write().settle();
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let ticket = self.disk.enter(Op::Allocate, &self.path)?;
        self.check_writable()?;
        check_end(len, 0)?;
        let mut content = self.cell.write();
        self.take_space(&content, 0..len)?;
        content.allocate(ticket.call, len);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let ticket = self.disk.enter(Op::SetLen, &self.path)?;
        self.check_writable()?;
        check_end(len, 0)?;
        let mut content = self.cell.write();
        let before = content.chunks_taken();
        content.set_len(ticket.call, len);
        let given_back = before - content.chunks_taken();
        self.disk.shared.space.taken.fetch_sub(given_back, Ordering::Relaxed);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.enter(Op::Len, &self.path)?;
        Ok(self.cell.read().len)
    }

    fn data_from(&self, offset: u64) -> io::Result<u64> {
        self.disk.enter(Op::Len, &self.path)?;
        Ok(self.cell.read().data_from(offset))
    }

    fn map(&self, _range: Range<u64>) -> io::Result<Option<Bytes>> {
        self.disk.enter(Op::Map, &self.path)?;
        Ok(None)
    }
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.is_writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    /// Takes what a write to the range needs from the capacity, all of it or nothing.
    fn take_space(&self, content: &Content, range: Range<u64>) -> io::Result<()> {
        let missing = content.chunks_missing(range);
        if missing == 0 {
            return Ok(());
        }
        let space = &self.disk.shared.space;
        let capacity = space.capacity.load(Ordering::Relaxed);
        let fits = |taken: u64| taken.checked_add(missing).filter(|sum| *sum <= capacity);
        match space.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::StorageFull.into()),
        }
    }
}

fn check_end(offset: u64, bytes: usize) -> io::Result<()> {
    match offset.checked_add(bytes as u64) {
        Some(end) if end <= FILE_BYTES_MAX => Ok(()),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile").field("path", &self.path).finish_non_exhaustive()
    }
}
