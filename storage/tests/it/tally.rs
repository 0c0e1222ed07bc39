//! [`Tally`]: counts what a rig has tried and prints it in one line when the rig ends, so that a script can add the figures up.

use std::fmt;
use std::time::Instant;

/// What one rig has tried. Prints `TALLY <rig>: <n> images, <n> crash points, ...` when it is dropped without a panic.
#[derive(Debug)]
pub(crate) struct Tally {
    rig: &'static str,
    counts: Vec<(&'static str, u64)>,
    began: Instant,
}

impl Tally {
    pub(crate) fn of(rig: &'static str) -> Self {
        Self { rig, counts: Vec::new(), began: Instant::now() }
    }

    /// Counts `more` things of a kind, named in the plural.
    pub(crate) fn add(&mut self, kind: &'static str, more: u64) {
        match self.counts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += more,
            None => self.counts.push((kind, more)),
        }
    }

    pub(crate) fn one(&mut self, kind: &'static str) {
        self.add(kind, 1);
    }

    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.counts.iter().find(|(known, _)| *known == kind).map_or(0, |(_, count)| *count)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TALLY {}:", self.rig)?;
        for (kind, count) in &self.counts {
            write!(f, " {count} {kind},")?;
        }
        write!(f, " {:.1} s", self.began.elapsed().as_secs_f64())
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            println!("{self}");
        }
    }
}
