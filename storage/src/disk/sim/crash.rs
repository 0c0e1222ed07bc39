//! What a crash leaves of a [`SimDisk`].
//!
//! The pending changes of all files and names, in the order of the calls that made them, are the units of a power cut: an image
//! is the media plus a choice of units, one of them torn perhaps. Up to six units all choices are tried; beyond that the
//! likely shapes (none, all, all up to a point, all from a point on) and random ones.

use std::collections::BTreeMap;

use super::content::{Change, Content};
use super::names::Names;
use super::sparse::SECTOR_BYTES;
use super::{Dice, SimDisk, locked};

/// LIMIT: with more pending units than this, choices are sampled.
const UNITS_EXHAUSTIVE: usize = 6;

/// What a power cut does to the pending changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Only what was synced is left.
    Nothing,
    /// Everything reached the media in time.
    Everything,
}

/// One pending change, wherever it is.
#[derive(Clone, Copy)]
struct Unit {
    call: u64,
    place: Place,
    can_tear: bool,
}

#[derive(Clone, Copy)]
enum Place {
    Name(usize),
    InFile(u64, usize),
}

/// What becomes of a unit: how many of its first bytes are new. A change of name or length is whole or not there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kept(usize);

const LOST: Kept = Kept(0);
const WHOLE: Kept = Kept(SECTOR_BYTES);

/// The state of a disk, held still to make images of it.
struct Still {
    names: Names,
    files: BTreeMap<u64, Content>,
    units: Vec<Unit>,
    seed: u64,
}

impl SimDisk {
    /// How many changes no sync has covered.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.still().units.len()
    }

    /// Disks as a power cut at this moment could leave them, at most `limit`, each different in what survived. The order is
    /// repeatable from the seed. Images have no faults and no locks.
    #[must_use]
    pub fn crash_images(&self, limit: usize) -> Vec<SimDisk> {
        let still = self.still();
        let choices = choices(&still.units, limit, &mut Dice::new(still.seed));
        choices.iter().map(|choice| still.image(choice)).collect()
    }

    /// The disk after one power cut.
    #[must_use]
    pub fn power_cut(&self, keep: Keep) -> SimDisk {
        let still = self.still();
        let kept = if keep == Keep::Everything { WHOLE } else { LOST };
        still.image(&vec![kept; still.units.len()])
    }

    /// The disk after the death of the process alone: the page cache lives on, and what was pending still is.
    #[must_use]
    pub fn restart(&self) -> SimDisk {
        let still = self.still();
        Self::build(self.shared.is_tracked, still.seed, still.names, still.files)
    }

    /// The page cache lets go of clean pages, so that reads show what is on the media.
    pub fn evict(&self) {
        for cell in locked(&self.shared.files).values() {
            cell.write().evict();
        }
    }

    fn still(&self) -> Still {
        let names = locked(&self.shared.names).clone();
        let contents = locked(&self.shared.files);
        let contents = contents.iter().map(|(number, cell)| (*number, cell.read().clone()));
        let files: BTreeMap<u64, Content> = contents.collect();
        let mut units = Vec::new();
        for (index, change) in names.pending.iter().enumerate() {
            units.push(Unit { call: change.call, place: Place::Name(index), can_tear: false });
        }
        for (number, content) in &files {
            for (index, pending) in content.pending.iter().enumerate() {
                let can_tear = matches!(pending.change, Change::Sector { .. });
                let place = Place::InFile(*number, index);
                units.push(Unit { call: pending.call, place, can_tear });
            }
        }
        // Stable, so that the changes of one call stay in their order.
        units.sort_by_key(|unit| unit.call);
        Still { names, files, units, seed: locked(&self.shared.machine).dice.roll() }
    }
}

impl Still {
    fn image(&self, choice: &[Kept]) -> SimDisk {
        let mut names = self.names.clone();
        let mut files: BTreeMap<u64, Content> =
            self.files.iter().map(|(number, content)| (*number, content.on_media())).collect();
        for (unit, kept) in self.units.iter().zip(choice) {
            if *kept == LOST {
                continue;
            }
            match unit.place {
                Place::Name(index) => names.apply(index),
                Place::InFile(number, index) => {
                    let change =
                        self.files.get(&number).map(|content| &content.pending[index].change);
                    if let (Some(change), Some(content)) = (change, files.get_mut(&number)) {
                        content.apply(change, kept.0);
                    }
                }
            }
        }
        names.cut_power();
        let reachable = names.reachable();
        files.retain(|number, _| reachable.contains(number));
        files.values_mut().for_each(Content::cut_power);
        SimDisk::build(true, self.seed ^ 1, names, files)
    }
}

/// Different choices, at most `limit`, the most telling first.
fn choices(units: &[Unit], limit: usize, dice: &mut Dice) -> Vec<Vec<Kept>> {
    let count = units.len();
    let mut chosen = vec![vec![LOST; count], vec![WHOLE; count]];
    if count <= UNITS_EXHAUSTIVE {
        for bits in 1..(1_usize << count).saturating_sub(1) {
            chosen
                .push((0..count).map(|i| if bits >> i & 1 == 1 { WHOLE } else { LOST }).collect());
        }
    }
    chosen.dedup();
    let torn = units.iter().filter(|unit| unit.can_tear).count();
    let tries = if count <= UNITS_EXHAUSTIVE { 2 * torn } else { 2 * limit };
    for shape in 0..tries {
        let choice = if count <= UNITS_EXHAUSTIVE {
            tear_one(units, vec![WHOLE; count], dice)
        } else {
            sampled(units, shape, dice)
        };
        if !chosen.contains(&choice) {
            chosen.push(choice);
        }
    }
    // The two extremes stay in front; the rest is shuffled, so that a small limit sees every shape over many crashes.
    for index in (3..chosen.len()).rev() {
        let other = 2 + dice.index(index - 1);
        chosen.swap(index, other);
    }
    chosen.truncate(limit);
    chosen
}

/// One choice out of too many to try all.
fn sampled(units: &[Unit], shape: usize, dice: &mut Dice) -> Vec<Kept> {
    let count = units.len();
    let cut = dice.index(count + 1);
    let mut random =
        |odds: u64| (0..count).map(|_| if dice.one_in(odds) { LOST } else { WHOLE }).collect();
    let choice: Vec<Kept> = match shape % 6 {
        0 | 4 => (0..count).map(|i| if i < cut { WHOLE } else { LOST }).collect(),
        1 => (0..count).map(|i| if i < cut { LOST } else { WHOLE }).collect(),
        2 => random(2),
        3 => random(10),
        // All but one.
        _ => (0..count).map(|i| if i == cut { LOST } else { WHOLE }).collect(),
    };
    if shape % 6 == 4 || shape % 4 == 3 { tear_one(units, choice, dice) } else { choice }
}

/// Tears one sector at any byte, in a choice of the others.
fn tear_one(units: &[Unit], mut choice: Vec<Kept>, dice: &mut Dice) -> Vec<Kept> {
    let sectors: Vec<usize> = units
        .iter()
        .enumerate()
        .filter(|(_, unit)| unit.can_tear)
        .map(|(index, _)| index)
        .collect();
    if let Some(index) = sectors.get(dice.index(sectors.len())) {
        choice[*index] = Kept(1 + dice.index(SECTOR_BYTES - 1));
    }
    choice
}
