//! What goes wrong, and when: dice decide, a plan bounds how much.

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Dice, Effect, Fault, Op};
use std::io::ErrorKind;

/// How often each kind strikes, as one in so many turns of the world. 0 = never.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The power goes at one of the next calls.
    pub(super) power: u64,
    /// The process is killed between two calls; the page cache lives on.
    pub(super) kill: u64,
    /// An orderly stop and a start.
    pub(super) stop: u64,
    /// One sync or write fails, and what is tried afterwards works.
    pub(super) failing: u64,
    /// Reads fail for a while.
    pub(super) unreadable: u64,
    /// The disk is full for a while.
    pub(super) full: u64,
    /// The disk does not answer for a while.
    pub(super) stall: u64,
    /// A connection is cut.
    pub(super) cut: u64,
    /// A connection goes silent.
    pub(super) silence: u64,
    /// The wall clock jumps.
    pub(super) jump: u64,
    /// Nothing of the broker runs for seconds, up to a minute.
    pub(super) pause: u64,
    /// Bytes are slow.
    pub(super) slow: u64,
}

impl Plan {
    /// Some of the faults at some rate; a quarter of the plans has none.
    pub(super) fn of(dice: &mut Dice) -> Plan {
        let is_quiet = dice.one_in(4);
        let mut rate = |often: u64| match dice.below(3) {
            _ if is_quiet => 0,
            0 => 0,
            1 => often,
            _ => often * 4,
        };
        Plan {
            power: rate(120),
            kill: rate(150),
            stop: rate(200),
            failing: rate(150),
            unreadable: rate(60),
            full: rate(100),
            stall: rate(100),
            cut: rate(25),
            silence: rate(60),
            jump: rate(60),
            pause: rate(150),
            slow: rate(20),
        }
    }

    /// Faults that a broker lives through.
    pub(super) fn without_deaths(self) -> Plan {
        Plan { power: 0, kill: 0, stop: 0, failing: 0, unreadable: 0, ..self }
    }
}

pub(super) fn strikes(dice: &mut Dice, one_in: u64) -> bool {
    one_in > 0 && dice.one_in(one_in)
}

/// One failing call that ends the broker: a write or sync of the log, or a directory sync.
pub(super) fn failing(dice: &mut Dice) -> (Fault, &'static str) {
    let after = dice.below(6);
    let (fault, what) = match dice.below(4) {
        0 => (Fault::new(Op::Sync, Effect::ForgetWrites(ErrorKind::Other)), "a sync forgets"),
        1 => (Fault::new(Op::Sync, Effect::Error(ErrorKind::Other)), "a sync fails"),
        2 => {
            let bytes = dice.index(2_000);
            (Fault::new(Op::Write, Effect::ErrorAfter(ErrorKind::Other, bytes)), "a write tears")
        }
        _ => (Fault::new(Op::SyncDir, Effect::Error(ErrorKind::Other)), "a directory sync fails"),
    };
    (fault.after(after), what)
}

/// Reads that fail for so many calls.
pub(super) fn unreadable(dice: &mut Dice) -> Fault {
    Fault::new(Op::Read, Effect::Error(ErrorKind::Other)).times(1 + dice.below(20)).on(".seg")
}

/// What the death of the machine or the process leaves of a disk.
pub(super) fn survivor(disk: &SimDisk, dice: &mut Dice) -> SimDisk {
    if disk.is_off() {
        let mut images = disk.crash_images(4);
        return images.swap_remove(dice.index(images.len()));
    }
    let left = disk.restart();
    if dice.one_in(3) {
        left.evict();
    }
    left
}
