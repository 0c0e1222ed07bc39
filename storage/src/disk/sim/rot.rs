//! Damage to what a [`SimDisk`] has stored, behind the back of the log: what bad media, a careless operator or a half-restored
//! backup does.
//!
//! Each of these changes cache and media alike, is not counted as a call and does not fail by a rule. Meant for a disk
//! with nothing pending, such as a crash image.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::sparse::SECTOR_BYTES;
use super::{FileCell, SimDisk, locked};

impl SimDisk {
    /// All files, sorted by path.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        locked(&self.shared.names).files().into_iter().map(|(path, _)| path).collect()
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let cell = self.named(path)?;
        let content = cell.read();
        let mut bytes = vec![0; usize::try_from(content.len).map_err(io::Error::other)?];
        content.read(&mut bytes, 0);
        Ok(bytes)
    }

    /// Puts bytes into an existing file, within its length.
    pub fn overwrite(&self, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        let cell = self.named(path)?;
        let mut content = cell.write();
        if offset + bytes.len() as u64 > content.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.damage(bytes, offset);
        Ok(())
    }

    /// Turns one bit of a file over; doing it twice undoes it.
    pub fn flip_bit(&self, path: &Path, bit: u64) -> io::Result<()> {
        let cell = self.named(path)?;
        let mut content = cell.write();
        let mut byte = [0];
        if content.read(&mut byte, bit / 8) == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.damage(&[byte[0] ^ (1 << (bit % 8))], bit / 8);
        Ok(())
    }

    /// Makes a sector zero.
    pub fn zero_sector(&self, path: &Path, number: u64) -> io::Result<()> {
        self.put_sector(path, number, &[0; SECTOR_BYTES])
    }

    /// Gives a sector back what it held before its present content. Says whether it had other content before.
    pub fn stale_sector(&self, path: &Path, number: u64) -> io::Result<bool> {
        let older = self.named(path)?.read().older.sector(number);
        match older {
            Some(older) => self.put_sector(path, number, &older).map(|()| true),
            None => Ok(false),
        }
    }

    /// A write that went to the wrong place: one sector shows up as another, perhaps of another file.
    pub fn misdirect_sector(&self, from: (&Path, u64), to: (&Path, u64)) -> io::Result<()> {
        let sector = self.named(from.0)?.read().cache.sector(from.1);
        self.put_sector(to.0, to.1, &sector)
    }

    /// Exchanges two sectors.
    pub fn swap_sectors(&self, one: (&Path, u64), other: (&Path, u64)) -> io::Result<()> {
        let first = self.named(one.0)?.read().cache.sector(one.1);
        let second = self.named(other.0)?.read().cache.sector(other.1);
        self.put_sector(one.0, one.1, &second)?;
        self.put_sector(other.0, other.1, &first)
    }

    /// Puts a whole file there, or in place of another.
    pub fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if locked(&self.shared.names).node(path)?.is_some() {
            self.lose(path)?;
        }
        let mut names = locked(&self.shared.names);
        let number = self.shared.next_file.fetch_add(1, Ordering::Relaxed);
        names.create(0, path, number)?;
        names.settle_all();
        drop(names);
        let mut content = super::Content::new(self.shared.is_tracked);
        content.write(0, bytes, 0);
        content.note_sectors(0, 0..bytes.len() as u64);
        content.settle();
        self.shared.space.taken.fetch_add(content.chunks_taken(), Ordering::Relaxed);
        let cell = FileCell { content: content.into(), space: Arc::clone(&self.shared.space) };
        locked(&self.shared.files).insert(number, Arc::new(cell));
        Ok(())
    }

    /// Takes a file away.
    pub fn lose(&self, path: &Path) -> io::Result<()> {
        let mut names = locked(&self.shared.names);
        names.remove(0, path)?;
        names.settle_all();
        self.forget_unreachable(&names);
        Ok(())
    }

    /// Gives a file another name.
    pub fn rename_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = locked(&self.shared.names);
        names.rename(0, from, to)?;
        names.settle_all();
        self.forget_unreachable(&names);
        Ok(())
    }

    /// Cuts a file short.
    pub fn cut_file(&self, path: &Path, len: u64) -> io::Result<()> {
        let bytes = self.bytes(path)?;
        let kept = usize::try_from(len).unwrap_or(bytes.len()).min(bytes.len());
        self.put(path, &bytes[..kept])
    }

    fn put_sector(&self, path: &Path, number: u64, sector: &[u8; SECTOR_BYTES]) -> io::Result<()> {
        let cell = self.named(path)?;
        let mut content = cell.write();
        let start = number * SECTOR_BYTES as u64;
        let within = content.len.saturating_sub(start).min(SECTOR_BYTES as u64);
        let within = usize::try_from(within).unwrap_or(SECTOR_BYTES);
        content.damage(&sector[..within], start);
        Ok(())
    }

    fn named(&self, path: &Path) -> io::Result<Arc<FileCell>> {
        let number = locked(&self.shared.names).file(path)?;
        self.cell(number)
    }
}
