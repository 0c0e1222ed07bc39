//! The second half of opening: reads the log in order and decides what a bad place means.
//!
//! ```text
//! D = the highest place known to have been durable: said by any later block, the superblock, the checkpoint, or the next segment
//! F = the first bad place
//! D >  F   damage: bytes that were synced, perhaps confirmed. Never cut.
//! D <= F   torn tail: the log ends at F. Nothing behind it was ever confirmed.
//! ```

use bytes::Bytes;

use super::begin::probe_limit;
use super::chain::{Link, check_announced, lost_open};
use super::scan::{Bad, Scanned, Scanner, Step, probe, torn_extent};
use super::{GENESIS, Opening};
use crate::block::{Block, BlockHeader, ROLL, RollMark};
use crate::disk::OpenMode;
use crate::error::{Damage, StorageError};
use crate::index::{RunIndex, Slice};
use crate::lsn::Lsn;
use crate::mutant::mutant;
use crate::sealed::read_footer;
use crate::segment::Segment;
use crate::writer::Tip;

/// One segment of the chain, read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) segment: Segment,
    pub(super) end: u32,
    pub(super) file_len: u64,
    /// Real blocks in it.
    pub(super) blocks: usize,
    pub(super) last_time_ms: u64,
    /// None: it is in the footer.
    pub(super) index: Option<RunIndex>,
    pub(super) slices: Vec<(u32, Slice)>,
}

/// A block that no later evidence calls durable.
#[derive(Debug)]
pub(super) struct Unproven {
    pub(super) segment: Segment,
    pub(super) header: BlockHeader,
    pub(super) raw: Bytes,
}

/// What the log says.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) reads: Vec<Read>,
    pub(super) unproven: Vec<Unproven>,
    pub(super) tip: Tip,
    /// The end of the log.
    pub(super) end: Lsn,
    /// The highest place that is known to have been durable.
    pub(super) durable: Lsn,
    pub(super) is_clean: bool,
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    pub(super) cut_bytes: u64,
    pub(super) damaged: Vec<Damage>,
}

struct Replay<'a> {
    opening: &'a Opening,
    each: &'a mut dyn FnMut(&Block) -> Result<(), StorageError>,
    covered: Lsn,
    /// Whether `tip` is what the next block must follow; not so before the first, and after a gap.
    is_certain: bool,
    /// The last block read.
    last: Option<BlockHeader>,
    last_body: Bytes,
    done: Replayed,
}

/// How the reading of one segment goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Block,
    /// Here the log ends in this segment.
    Stop,
}

pub(super) fn run(
    opening: &Opening,
    each: &mut dyn FnMut(&Block) -> Result<(), StorageError>,
) -> Result<Replayed, StorageError> {
    let coverage = opening.checkpoint.as_ref().map(|checkpoint| checkpoint.coverage);
    let covered = coverage.map_or(Lsn::ZERO, |coverage| coverage.covered);
    let mut replay = Replay {
        opening,
        each,
        covered,
        is_certain: true,
        last: None,
        last_body: Bytes::new(),
        done: Replayed {
            reads: Vec::new(),
            unproven: Vec::new(),
            tip: coverage.map_or(GENESIS, |coverage| coverage.tip),
            end: Lsn::ZERO,
            durable: covered.max(opening.superblock.durable_lsn),
            is_clean: false,
            blocks: 0,
            bytes: 0,
            cut_bytes: 0,
            damaged: Vec::new(),
        },
    };
    for link in &opening.chain.links {
        replay.segment(link)?;
    }
    replay.check_end()?;
    Ok(replay.done)
}

impl Replay<'_> {
    fn is_tail(&self, link: &Link) -> bool {
        self.opening.chain.links.last().is_some_and(|tail| tail.id.seq == link.id.seq)
    }

    fn segment(&mut self, link: &Link) -> Result<(), StorageError> {
        let segment = link.file.open_as(&*self.opening.disk, &link.id, OpenMode::ReadWrite)?;
        let known_end = link.end;
        let mut scanner = Scanner::new(&segment, known_end.unwrap_or(link.id.size));
        // What the checkpoint covers needs no reading if the index of the segment is whole.
        let footer = known_end
            .filter(|end| self.covered.seq() == link.id.seq && self.covered.offset() <= *end)
            .and_then(|end| read_footer(&segment, end));
        let mut index = RunIndex::default();
        if footer.is_some() {
            // The first block is not read, and not needed; with quarantine it may be lost.
            self.done.damaged.extend(link.file.open.is_none().then(|| lost_open(&link.file)));
            scanner.seek(self.covered.offset());
        } else {
            // Blocks that the checkpoint covers are read for the index; what they follow is not known.
            self.is_certain &= self.covered.seq() != link.id.seq;
        }
        let end = self.blocks(link, &segment, &mut scanner, &mut index)?;
        self.done.end = Lsn::new(link.id.seq, end);
        self.done.reads.push(match footer {
            Some(footer) => Read {
                slices: footer.slices(link.id.seq),
                last_time_ms: footer.times().map_or(0, |(_, last)| last),
                blocks: footer.blocks(),
                file_len: link.file.len,
                index: None,
                segment,
                end,
            },
            None => Read {
                slices: index.slices(link.id.seq),
                last_time_ms: self.done.tip.time_ms,
                blocks: index.blocks.len(),
                file_len: link.file.len,
                index: Some(index),
                segment,
                end,
            },
        });
        Ok(())
    }

    /// Reads the blocks of a segment; the end of the log in it.
    fn blocks(
        &mut self,
        link: &Link,
        segment: &Segment,
        scanner: &mut Scanner<'_>,
        index: &mut RunIndex,
    ) -> Result<u32, StorageError> {
        loop {
            let at = scanner.at();
            let bad = match scanner.next()? {
                Step::End => return Ok(at),
                Step::Bad(bad) => bad,
                Step::Block(scanned) => match self.check(&scanned.header) {
                    Ok(()) => {
                        let end = scanned.header.end().offset();
                        if self.block(segment, &scanned, index)? == Next::Stop && link.end.is_none()
                        {
                            return Ok(end);
                        }
                        continue;
                    }
                    Err(what) => {
                        // A whole block of this life in a place where it cannot be: never a torn write.
                        scanner.seek(at);
                        let bad = Bad { what, torn_bytes: 0, block: None };
                        self.damage(link, segment, scanner, &bad, Lsn::new(link.id.seq, at + 1))?;
                        continue;
                    }
                },
            };
            match self.verdict(link, segment, at, &bad)? {
                Some(durable) => self.damage(link, segment, scanner, &bad, durable)?,
                None => {
                    self.done.cut_bytes = self.cut_bytes(segment, at, &bad)?;
                    return Ok(at);
                }
            }
        }
    }

    /// Whether a block may follow the one before.
    fn check(&self, header: &BlockHeader) -> Result<(), &'static str> {
        let tip = &self.done.tip;
        if header.epoch < self.last.map_or(0, |last| last.epoch) {
            return Err("a block of an earlier start follows a later one");
        }
        if !self.is_certain {
            return Ok(());
        }
        let follows = if header.is_local() {
            (header.index, header.chain) == (tip.index, tip.chain)
        } else {
            header.index == tip.index + 1 && header.chain == header.chain_after(tip.chain)
        };
        if follows { Ok(()) } else { Err("a block does not follow the one before it") }
    }

    /// Takes in one good block.
    fn block(
        &mut self,
        segment: &Segment,
        scanned: &Scanned,
        index: &mut RunIndex,
    ) -> Result<Next, StorageError> {
        let header = scanned.header;
        let here =
            |what| StorageError::damaged(&segment.path, u64::from(header.lsn.offset()), what);
        let done = &mut self.done;
        done.tip = Tip {
            index: header.index,
            term: header.term,
            chain: header.chain,
            time_ms: done.tip.time_ms.max(header.time_ms),
            epoch: header.epoch,
        };
        if header.lsn < self.covered && header.end() >= self.covered {
            self.check_covered(header.end())?;
        }
        self.is_certain = true;
        let done = &mut self.done;
        done.bytes += u64::from(header.padded_len);
        done.durable = done.durable.max(header.durable_lsn);
        let durable = done.durable;
        done.unproven.retain(|block| block.header.end() > durable);
        if !header.is_local() {
            let block = scanned.decode().map_err(here)?;
            index.add(&block);
            if header.end() > self.covered {
                done.blocks += 1;
                (self.each)(&block)?;
            }
        }
        if header.end() > durable {
            done.unproven.push(Unproven {
                segment: segment.clone(),
                header,
                raw: scanned.raw.clone(),
            });
        }
        self.last = Some(header);
        self.last_body = if header.is_local() { scanned.body() } else { Bytes::new() };
        let is_last = header.flags & ROLL != 0 || header.is_seal();
        Ok(if is_last { Next::Stop } else { Next::Block })
    }

    /// At the place that the checkpoint covers, the log must say what the checkpoint says.
    fn check_covered(&self, end: Lsn) -> Result<(), StorageError> {
        let Some(checkpoint) = &self.opening.checkpoint else { return Ok(()) };
        let (found, said) = (&self.done.tip, &checkpoint.coverage.tip);
        if end == self.covered && (found.index, found.chain) == (said.index, said.chain) {
            return Ok(());
        }
        let path = &self.opening.places.checkpoint_dir;
        Err(StorageError::damaged(path, 0, "the checkpoint does not belong to this log"))
    }

    /// What a bad place means: how far the log is known to have been durable, or None for a torn tail.
    fn verdict(
        &self,
        link: &Link,
        segment: &Segment,
        at: u32,
        bad: &Bad,
    ) -> Result<Option<Lsn>, StorageError> {
        let here = Lsn::new(link.id.seq, at);
        if mutant("cut-at-damage") {
            return Ok(None);
        }
        if let Some(end) = link.end {
            return Ok(Some(Lsn::new(link.id.seq, end)));
        }
        let later = probe(segment, at.saturating_add(512), link.id.size)?;
        if !self.is_tail(link) {
            // The OPEN block of the next segment is lost: what is before it was durable, however far it goes.
            let is_damage = bad.torn_bytes > 0 || later.is_some();
            return Ok(is_damage.then_some(Lsn::new(link.id.seq, at + 1)));
        }
        let durable = later.map_or(self.done.durable, |later| later.durable.max(self.done.durable));
        Ok((durable > here).then_some(durable))
    }

    /// How much of an unfinished write is cut off, as far as one can tell.
    fn cut_bytes(&self, segment: &Segment, at: u32, bad: &Bad) -> Result<u64, StorageError> {
        if bad.torn_bytes > 0 {
            return Ok(u64::from(bad.torn_bytes));
        }
        let window = probe_limit(segment.id.size, &self.opening.options);
        let to = at.saturating_add(window).min(segment.id.size);
        torn_extent(segment, at, to).map(u64::from)
    }

    /// Bytes that were durable are gone: ends the start, or notes the gap and goes on behind it.
    fn damage(
        &mut self,
        link: &Link,
        segment: &Segment,
        scanner: &mut Scanner<'_>,
        bad: &Bad,
        durable: Lsn,
    ) -> Result<(), StorageError> {
        let from = Lsn::new(link.id.seq, scanner.at());
        let found = scanner.skip_to_next()?;
        let next = Lsn::new(link.id.seq, scanner.at());
        let blocks = if found { self.blocks_before(scanner)? } else { None };
        // Behind the last good block, the damage goes as far as the log was known to go.
        let to = match (found, link.end) {
            (true, _) => next,
            (false, Some(end)) => Lsn::new(link.id.seq, end),
            (false, None) => durable,
        };
        let damage = Damage {
            path: segment.path.to_path_buf(),
            offset: u64::from(from.offset()),
            from,
            to,
            blocks,
            what: bad.what,
        };
        if !self.opening.options.quarantine {
            return Err(StorageError::Damaged(Box::new(damage)));
        }
        if !found {
            let end = if to.seq() == link.id.seq { to.offset() } else { from.offset() };
            scanner.end_at(end.max(from.offset()));
        }
        self.is_certain = false;
        self.done.damaged.push(damage);
        Ok(())
    }

    /// Real blocks between the last good one and the one that the scanner stands at.
    fn blocks_before(&self, scanner: &mut Scanner<'_>) -> Result<Option<u64>, StorageError> {
        let at = scanner.at();
        let next = scanner.next()?;
        scanner.seek(at);
        let Step::Block(next) = next else { return Ok(None) };
        let before = if next.header.is_local() { next.header.index } else { next.header.index - 1 };
        Ok(before.checked_sub(self.done.tip.index))
    }

    /// The log must reach everything that was durable, and a segment that its last block announces must be there.
    fn check_end(&mut self) -> Result<(), StorageError> {
        let end = self.done.end;
        self.done.is_clean = self.last.is_some_and(|last| last.is_seal() && last.end() == end);
        let Some(tail) = self.opening.chain.links.last() else { return Ok(()) };
        let announced = self.last.filter(|last| last.flags & ROLL != 0 && last.end() == end);
        if announced.is_some()
            && let Some(mark) = RollMark::decode(&self.last_body)
            && !check_announced(&self.opening.survey, mark.next_slot, mark.next_seq)
        {
            return Err(StorageError::MissingSegment {
                path: self.opening.places.log_dir.clone(),
                seq: mark.next_seq,
                what: "the segment before it names it",
            });
        }
        if self.done.durable > end && self.done.damaged.is_empty() {
            let damage = Damage {
                path: tail.file.path.clone(),
                offset: u64::from(end.offset()),
                from: end,
                to: self.done.durable,
                blocks: None,
                what: "the log ends before a place that was durable",
            };
            if !self.opening.options.quarantine {
                return Err(StorageError::Damaged(Box::new(damage)));
            }
            self.done.damaged.push(damage);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
