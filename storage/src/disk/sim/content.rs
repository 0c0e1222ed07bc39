//! [`Content`]: what one simulated file holds, twice: as reads see it (page cache) and as a power cut leaves it (media).
//!
//! Between the two stand the pending units: sector writes and length changes, in order, that no sync covered. A crash image is
//! the media plus any choice of them. Without tracking there is the cache only, and a sync has nothing to do.

use std::ops::Range;
use std::sync::Arc;

use super::sparse::{SECTOR_BYTES, Sector, Sparse, chunks_of};

/// One change that is in the cache and not yet on the media.
#[derive(Clone)]
pub(super) struct Pending {
    /// The call that made it; orders the changes of all files and names.
    pub(super) call: u64,
    pub(super) change: Change,
}

#[derive(Clone)]
pub(super) enum Change {
    Sector { number: u64, bytes: Written },
    Len(u64),
}

/// One sector of a write, in the bytes of the whole write.
#[derive(Clone)]
pub(super) struct Written {
    all: Arc<[u8]>,
    at: usize,
}

/// What each sector held on the media before its present content.
#[derive(Clone, Default)]
pub(super) struct Older {
    bytes: Sparse,
    /// One bit for each sector that had another content before.
    is_there: Vec<u64>,
}

impl Older {
    pub(super) fn sector(&self, number: u64) -> Option<Sector> {
        let (word, bit) = bit_of(number);
        let is_there = self.is_there.get(word).is_some_and(|bits| bits & bit != 0);
        is_there.then(|| self.bytes.sector(number))
    }

    fn put(&mut self, number: u64, sector: &Sector) {
        let (word, bit) = bit_of(number);
        if self.is_there.len() <= word {
            self.is_there.resize(word + 1, 0);
        }
        self.is_there[word] |= bit;
        self.bytes.write(sector, number * SECTOR_BYTES as u64);
    }
}

fn bit_of(number: u64) -> (usize, u64) {
    (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64))
}

#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) cache: Sparse,
    pub(super) len: u64,
    /// Bytes from the start for which space is reserved.
    reserved: u64,
    pub(super) media: Sparse,
    pub(super) media_len: u64,
    pub(super) pending: Vec<Pending>,
    pub(super) older: Older,
    tracked: bool,
}

impl Content {
    pub(super) fn new(tracked: bool) -> Self {
        Self { tracked, ..Self::default() }
    }

    /// Chunks that a write to the range would newly take from the capacity.
    pub(super) fn chunks_missing(&self, range: Range<u64>) -> u64 {
        let touched = chunks_of(range);
        let start = touched.start.max(self.chunks_reserved());
        if start >= touched.end {
            return 0;
        }
        touched.end - start - self.cache.stored(start..touched.end)
    }

    /// Chunks taken from the capacity.
    pub(super) fn chunks_taken(&self) -> u64 {
        let reserved = self.chunks_reserved();
        reserved + self.cache.stored(reserved..u64::MAX)
    }

    fn chunks_reserved(&self) -> u64 {
        chunks_of(0..self.reserved).end
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        self.cache.read(&mut buf[..count], offset);
        count
    }

    pub(super) fn write(&mut self, call: u64, bytes: &[u8], offset: u64) {
        self.cache.write(bytes, offset);
        let end = offset + bytes.len() as u64;
        if end > self.len {
            self.len = end;
            self.note(call, Change::Len(end));
        }
    }

    /// Records the sectors of a range, written before, as pending. Apart from [`Content::write`] so that a write of many parts
    /// is one write to the disk.
    pub(super) fn note_sectors(&mut self, call: u64, range: Range<u64>) {
        if !self.tracked || range.is_empty() {
            return;
        }
        let sector_bytes = SECTOR_BYTES as u64;
        let numbers = range.start / sector_bytes..range.end.div_ceil(sector_bytes);
        let count = usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX);
        let mut all = vec![0; count * SECTOR_BYTES];
        self.cache.read(&mut all, numbers.start * sector_bytes);
        let all: Arc<[u8]> = all.into();
        for (number, at) in numbers.zip((0..).step_by(SECTOR_BYTES)) {
            let bytes = Written { all: Arc::clone(&all), at };
            self.note(call, Change::Sector { number, bytes });
        }
    }

    /// The first place from `offset` on that was written, or the end.
    pub(super) fn data_from(&self, offset: u64) -> u64 {
        self.cache.stored_from(offset).map_or(self.len, |place| place.min(self.len))
    }

    pub(super) fn set_len(&mut self, call: u64, len: u64) {
        if len < self.len {
            self.cache.cut(len);
            self.reserved = self.reserved.min(len);
        }
        if len != self.len {
            self.len = len;
            self.note(call, Change::Len(len));
        }
    }

    pub(super) fn allocate(&mut self, call: u64, len: u64) {
        self.reserved = self.reserved.max(len);
        if len > self.len {
            self.set_len(call, len);
        }
    }

    fn note(&mut self, call: u64, change: Change) {
        if self.tracked {
            self.pending.push(Pending { call, change });
        }
    }

    /// A sync that works: the media catches up with the cache.
    pub(super) fn settle(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            self.apply(&pending.change, SECTOR_BYTES);
        }
    }

    /// A sync that fails and marks the pages clean all the same: reads still show them, and no later sync writes them.
    pub(super) fn forget_sectors(&mut self) {
        self.pending.retain(|pending| matches!(pending.change, Change::Len(_)));
    }

    /// The cache lets go of clean pages: what reads show is then what the media and the pending changes hold.
    pub(super) fn evict(&mut self) {
        if self.tracked {
            let mut image = self.clone();
            image.settle();
            self.cache = image.media;
            self.cache.cut(self.len);
        }
    }

    /// Puts one change on the media; of a sector only the first `bytes_new` bytes.
    pub(super) fn apply(&mut self, change: &Change, bytes_new: usize) {
        match change {
            Change::Len(len) => {
                if *len < self.media_len {
                    self.media.cut(*len);
                }
                self.media_len = *len;
            }
            Change::Sector { number, bytes } => {
                let before = self.media.sector(*number);
                let bytes = &bytes.all[bytes.at..][..SECTOR_BYTES];
                if before != bytes {
                    self.older.put(*number, &before);
                    self.media.write(&bytes[..bytes_new], number * SECTOR_BYTES as u64);
                }
            }
        }
    }

    /// What is on the media, with nothing in the cache and nothing pending: the start of a crash image.
    pub(super) fn on_media(&self) -> Self {
        Self {
            reserved: self.reserved,
            media: self.media.clone(),
            media_len: self.media_len,
            older: self.older.clone(),
            ..Self::new(self.tracked)
        }
    }

    /// After a power cut: the cache is empty, the media is the truth, and nothing is pending.
    pub(super) fn cut_power(&mut self) {
        self.media.cut(self.media_len);
        self.cache = self.media.clone();
        self.len = self.media_len;
        self.reserved = self.reserved.min(self.len);
    }

    /// Damages media and cache alike, behind the back of everybody.
    pub(super) fn damage(&mut self, bytes: &[u8], offset: u64) {
        self.cache.write(bytes, offset);
        self.media.write(bytes, offset);
    }
}
