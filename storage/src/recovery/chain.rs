//! [`Chain`]: the segments that the log consists of, and the proof that none is missing.
//!
//! From the newest opened segment each OPEN block names the one before and where the log ended in it, down to the segment that
//! the checkpoint covers, or to the first of the store. Below that, the checkpoint lists what there must be. What is in
//! neither is a spare; a spare that holds blocks all the same is damage.

use std::sync::Arc;

use super::begin::{holds_blocks, probe_limit};
use super::scan::{self, Scanner, Step};
use super::survey::{SlotFile, Survey};
use crate::block::BLOCK_ALIGN;
use crate::checkpoint::{Checkpoint, Listed};
use crate::disk::{Disk, OpenMode};
use crate::error::{Damage, StorageError};
use crate::lsn::Lsn;
use crate::mutant::mutant;
use crate::options::Options;
use crate::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentId};
use crate::store::Places;
use crate::superblock::{State, Superblock};

/// A segment that is read at the start.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) file: SlotFile,
    pub(crate) id: Arc<SegmentId>,
    /// The end of the log in it, if something durable says so: the next segment, or a SEAL block that the superblock names.
    pub(crate) end: Option<u32>,
    /// The segment before, and the end of the log in it.
    pub(crate) before: (u32, Lsn),
}

/// A segment below the checkpoint, which is not read.
#[derive(Debug)]
pub(crate) struct Older {
    pub(crate) listed: Listed,
    pub(crate) file_len: u64,
}

/// The segments of the log.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// Oldest first; the last is the tail.
    pub(crate) links: Vec<Link>,
    pub(crate) older: Vec<Older>,
    /// Files that the log does not need: slot and length.
    pub(crate) spares: Vec<(u32, u64)>,
    pub(crate) next_slot: u32,
    pub(crate) next_seq: u32,
    pub(crate) log_bytes: u64,
    /// Files with a lost header.
    pub(crate) damaged: Vec<Damage>,
}

/// What a chain is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) places: &'a Places,
    pub(super) superblock: &'a Superblock,
    pub(super) checkpoint: Option<&'a Checkpoint>,
    pub(super) options: &'a Options,
}

impl Chain {
    pub(super) fn of(survey: &Survey, sources: Sources<'_>) -> Result<Self, StorageError> {
        let maker = Maker { survey, sources };
        let links = maker.links()?;
        let mut chain = Self { older: maker.older()?, ..Self::default() };
        let used = |slot: u32| {
            links.iter().any(|link: &Link| link.id.slot == slot)
                || chain.older.iter().any(|older| older.listed.id.slot == slot)
        };
        let files = || survey.files.iter();
        chain.spares =
            files().filter(|file| !used(file.slot)).map(|file| (file.slot, file.len)).collect();
        chain.damaged =
            files().filter(|file| used(file.slot) && !file.has_header).map(lost_header).collect();
        chain.next_slot = files().map(|file| file.slot + 1).max().unwrap_or(1);
        let superblock = sources.superblock;
        let seen = [superblock.opening_seq, superblock.durable_lsn.seq(), maker.covered().seq()];
        chain.next_seq = files().map(SlotFile::seq).chain(seen).max().unwrap_or(0) + 1;
        chain.next_seq -= u32::from(mutant("reuse-generation"));
        chain.log_bytes = files().map(|file| file.len).sum();
        chain.links = links;
        Ok(chain)
    }
}

fn lost_header(file: &SlotFile) -> Damage {
    Damage {
        path: file.path.clone(),
        offset: 0,
        from: Lsn::ZERO,
        to: Lsn::ZERO,
        blocks: None,
        what: "the header of the segment is lost; another copy of what it says was used",
    }
}

struct Maker<'a> {
    survey: &'a Survey,
    sources: Sources<'a>,
}

impl Maker<'_> {
    fn covered(&self) -> Lsn {
        self.sources.checkpoint.map_or(Lsn::ZERO, |checkpoint| checkpoint.coverage.covered)
    }

    /// From the tail down to the segment that the checkpoint covers; returned oldest first.
    fn links(&self) -> Result<Vec<Link>, StorageError> {
        let opened = self.survey.newest_opened();
        let newest_seq = opened.map_or(0, SlotFile::seq);
        let closed_end = self.closed_end(opened)?;
        // Behind a log that was closed on purpose there is nothing to look for.
        let headless = if closed_end.is_some() { None } else { self.newest_headless(newest_seq)? };
        self.check_opening(newest_seq)?;
        let Some(tail) = headless.or(opened) else {
            return self.no_links();
        };
        if let Some(id) = &tail.id
            && tail.len < u64::from(id.size)
        {
            return Err(StorageError::damaged(
                &tail.path,
                tail.len,
                "the file is shorter than it was made",
            ));
        }
        let mut links = Vec::new();
        let mut next = Some((tail, closed_end));
        while let Some((file, end)) = next {
            let link = self.link(file, end)?;
            next = self.before(&link)?;
            links.push(link);
        }
        links.reverse();
        Ok(links)
    }

    /// Where the log was closed in its newest segment: the superblock says so, and a SEAL block ends exactly there.
    fn closed_end(&self, newest: Option<&SlotFile>) -> Result<Option<u32>, StorageError> {
        let superblock = self.sources.superblock;
        let end = superblock.durable_lsn;
        let Some((file, id)) = newest.and_then(|file| Some((file, file.id.as_ref()?))) else {
            return Ok(None);
        };
        if superblock.state != State::Closed || end.seq() != id.seq {
            return Ok(None);
        }
        let segment = file.open_as(self.sources.disk, id, OpenMode::Read)?;
        let mut scanner = Scanner::new(&segment, end.offset());
        scanner.seek(end.offset().saturating_sub(BLOCK_ALIGN as u32));
        match scanner.next()? {
            Step::Block(last) if last.header.is_seal() => Ok(Some(end.offset())),
            _ => Ok(None),
        }
    }

    /// Nothing was opened yet: right for a store that was just created, and for nothing else.
    fn no_links(&self) -> Result<Vec<Link>, StorageError> {
        let known = self.covered().max(self.sources.superblock.durable_lsn);
        if known == Lsn::ZERO {
            return Ok(Vec::new());
        }
        Err(self.missing(known.seq(), "no segment of the log is there"))
    }

    fn missing(&self, seq: u32, what: &'static str) -> StorageError {
        StorageError::MissingSegment { path: self.sources.places.log_dir.clone(), seq, what }
    }

    fn link(&self, file: &SlotFile, end: Option<u32>) -> Result<Link, StorageError> {
        let Some(id) = &file.id else {
            return Err(StorageError::damaged(&file.path, 0, "the segment does not say who it is"));
        };
        if end.is_some_and(|end| file.len < u64::from(end)) {
            return Err(StorageError::damaged(
                &file.path,
                file.len,
                "the file ends before the log in it",
            ));
        }
        let before = match &file.open {
            Some(mark) => (mark.prev_seq, mark.prev_end),
            // Only with quarantine: the numbers are the only witness of what was before.
            None => (self.newest_below(id.seq)?, Lsn::ZERO),
        };
        Ok(Link { file: file.clone(), id: Arc::clone(id), end, before })
    }

    /// The newest segment below `seq` that was opened, or that holds blocks although its first one is lost.
    fn newest_below(&self, seq: u32) -> Result<u32, StorageError> {
        let mut newest = 0;
        for file in &self.survey.files {
            let is_newer = newest < file.seq() && file.seq() < seq;
            if is_newer && (file.open.is_some() || self.holds_later_blocks(file, newest)?) {
                newest = file.seq();
            }
        }
        Ok(newest)
    }

    /// The segment before a link, and where the log ended in it. None where the checkpoint takes over, and at the first.
    fn before(&self, link: &Link) -> Result<Option<(&SlotFile, Option<u32>)>, StorageError> {
        let (seq, end) = link.before;
        let covered = self.covered();
        if link.id.seq <= covered.seq() || seq < covered.seq() {
            return Ok(None);
        }
        if seq == 0 {
            return Ok(None);
        }
        let Some(file) = self.survey.by_seq(seq) else {
            return Err(self.missing(seq, "the segment after it says that it was there"));
        };
        let end = (end != Lsn::ZERO).then(|| end.offset());
        if file.open.is_none() && !self.sources.options.quarantine {
            return Err(StorageError::Damaged(Box::new(lost_open(file))));
        }
        Ok(Some((file, end)))
    }

    /// A segment above all opened ones that holds blocks without a good OPEN block: damage, or with quarantine the tail.
    fn newest_headless(&self, newest_seq: u32) -> Result<Option<&SlotFile>, StorageError> {
        let mut found: Option<&SlotFile> = None;
        for file in self.survey.files.iter().filter(|file| file.open.is_none()) {
            if !self.holds_later_blocks(file, newest_seq)? {
                continue;
            }
            if !self.sources.options.quarantine || file.id.is_none() {
                return Err(StorageError::Damaged(Box::new(lost_open(file))));
            }
            if found.is_none_or(|found| found.seq() < file.seq()) {
                found = Some(file);
            }
        }
        Ok(found)
    }

    fn holds_later_blocks(&self, file: &SlotFile, newest_seq: u32) -> Result<bool, StorageError> {
        let (disk, options) = (self.sources.disk, self.sources.options);
        let open = |id: &Arc<SegmentId>| -> Result<Segment, StorageError> {
            file.open_as(disk, id, OpenMode::Read)
        };
        match &file.id {
            Some(id) if id.seq <= newest_seq => Ok(false),
            Some(id) => holds_blocks(&open(id)?, options),
            None => {
                let id = file.unknown();
                scan::claims_later_blocks(&open(&id)?, newest_seq, probe_limit(id.size, options))
            }
        }
    }

    /// The segment that the last start was about to open must still be there, opened or not.
    fn check_opening(&self, newest_seq: u32) -> Result<(), StorageError> {
        let superblock = self.sources.superblock;
        if superblock.opening_seq <= newest_seq {
            return Ok(());
        }
        check_announced(self.survey, superblock.opening_slot, superblock.opening_seq)
            .then_some(())
            .ok_or_else(|| self.missing(superblock.opening_seq, "the last start made it"))
    }

    /// The segments that the checkpoint lists.
    fn older(&self) -> Result<Vec<Older>, StorageError> {
        let listed = self.sources.checkpoint.map_or(&[][..], |checkpoint| &checkpoint.segments);
        let mut older = Vec::new();
        for listed in listed {
            let id = &listed.id;
            let file = self.survey.files.iter().find(|file| file.slot == id.slot);
            let is_here = |file: &&SlotFile| match &file.id {
                // Without its header, one that was given back is on the way to its next life.
                Some(found) => {
                    (found.seq, found.salt) == (id.seq, id.salt)
                        && (file.has_header || !listed.is_dead)
                }
                // Both copies of its name are lost; the checkpoint is the third.
                None => !listed.is_dead,
            };
            match file.filter(is_here) {
                Some(file) if file.len < u64::from(listed.end) => {
                    let what = "the file ends before the log in it";
                    return Err(StorageError::damaged(&file.path, file.len, what));
                }
                Some(file) => older.push(Older { listed: listed.clone(), file_len: file.len }),
                None if listed.is_dead => {}
                None => return Err(self.missing(id.seq, "the checkpoint lists it")),
            }
        }
        Ok(older)
    }
}

/// Whether a segment that was about to be opened is there: not opened yet, or in a later life, or on the way to one.
pub(super) fn check_announced(survey: &Survey, slot: u32, seq: u32) -> bool {
    let Some(file) = survey.files.iter().find(|file| file.slot == slot) else {
        return false;
    };
    match &file.id {
        Some(id) if id.seq >= seq => id.seq > seq || file.len >= u64::from(id.size),
        Some(_) if file.has_header => false,
        // On the way to a new header; that never makes a file shorter than the part that names it.
        _ => file.len >= u64::from(SEGMENT_HEADER_BYTES) + BLOCK_ALIGN,
    }
}

/// The OPEN block of a segment is not whole.
pub(super) fn lost_open(file: &SlotFile) -> Damage {
    Damage {
        path: file.path.clone(),
        offset: u64::from(SEGMENT_HEADER_BYTES),
        from: Lsn::new(file.seq(), SEGMENT_HEADER_BYTES),
        to: Lsn::new(file.seq(), SEGMENT_HEADER_BYTES + BLOCK_ALIGN as u32),
        blocks: None,
        what: "the first block of the segment is damaged",
    }
}

#[cfg(test)]
mod tests;
