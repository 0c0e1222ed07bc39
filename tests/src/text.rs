//! A large text that looks like text: prose, empty lines, tabs, letters beyond ASCII, very long lines and
//! repetitions. Made from this repository's own documents, the same for the same seed.

use crate::Random;
use std::io::{self, Write};

const WORDS: &str = concat!(
    include_str!("../../ARCHITECTURE.md"),
    include_str!("../../CONTRIBUTING.md"),
    include_str!("../../LICENSE-APACHE"),
);

/// Writes at least `bytes` bytes of lines.
///
/// # Errors
/// When `out` fails.
pub fn write(out: &mut impl Write, bytes: u64, seed: u64) -> io::Result<()> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut random = Random::new(seed);
    let mut written = 0;
    let mut line = String::new();
    let mut number = 0u64;
    while written < bytes {
        line.clear();
        number += 1;
        match random.within(0..200) {
            // An empty line, and one that has been there before.
            0 => {}
            1 => line.push_str("The same line, again and again.\t\r"),
            kind => {
                let count = if kind == 2 { 2_000 } else { random.within(1..20) };
                line.push_str(&number.to_string());
                for _ in 0..count {
                    line.push(if random.once_in(30) { '\t' } else { ' ' });
                    line.push_str(words[random.within(0..words.len() as u64) as usize]);
                }
                if random.once_in(20) {
                    line.push_str(" Žluťoučký kůň · 郵便 · ✉ ");
                }
            }
        }
        line.push('\n');
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
    }
    out.flush()
}

/// Counts lines by their hash: three sorted lists answer whether everything arrived.
#[derive(Clone, Debug, Default)]
pub struct Lines(Vec<u64>);

impl Lines {
    /// Adds one line, without its end.
    pub fn add(&mut self, line: &[u8]) {
        // FNV-1a with a final mix: 64 bits are enough for a hundred million lines.
        let mut hash = line.iter().fold(0xCBF2_9CE4_8422_2325u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        hash ^= hash >> 32;
        self.0.push(hash.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// How what came out differs from what went in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Went in and did not come out.
    pub missing: u64,
    /// Came out and never went in.
    pub alien: u64,
    /// Came out more often than it went in, without a flag.
    pub unflagged: u64,
    /// Came out more often than it went in, flagged: legal.
    pub repeated: u64,
}

/// Compares as multisets: `first` came out without the redelivered flag, `again` with it.
pub fn compare(input: Lines, first: Lines, again: Lines) -> Difference {
    let [mut input, mut first, mut again] = [input.0, first.0, again.0];
    input.sort_unstable();
    first.sort_unstable();
    again.sort_unstable();
    let mut difference = Difference::default();
    let (mut a, mut b, mut c) = (&input[..], &first[..], &again[..]);
    loop {
        let next = [a.first(), b.first(), c.first()].into_iter().flatten().min();
        let Some(&hash) = next else { return difference };
        let went_in = take(&mut a, hash);
        let came_first = take(&mut b, hash);
        let came_again = take(&mut c, hash);
        let came = came_first + came_again;
        if went_in == 0 {
            difference.alien += came;
        } else {
            difference.missing += went_in.saturating_sub(came);
            difference.unflagged += came_first.saturating_sub(went_in);
            difference.repeated += came.saturating_sub(went_in.max(came_first));
        }
    }
}

fn take(sorted: &mut &[u64], hash: u64) -> u64 {
    let count = sorted.iter().take_while(|&&other| other == hash).count();
    *sorted = &sorted[count..];
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Lines {
        let mut lines = Lines::default();
        text.split_whitespace().for_each(|line| lines.add(line.as_bytes()));
        lines
    }

    #[test]
    fn differences_are_told_apart() {
        let compared = |first, again| compare(lines("a b b c"), lines(first), lines(again));
        assert_eq!(compared("a b b c", ""), Difference::default());
        assert_eq!(compared("a b b", "c"), Difference::default());
        assert_eq!(compared("a b b c", "c"), Difference { repeated: 1, ..Difference::default() });
        assert_eq!(compared("a b c", ""), Difference { missing: 1, ..Difference::default() });
        assert_eq!(compared("a b b c c", ""), Difference { unflagged: 1, ..Difference::default() });
        assert_eq!(compared("a b b c d", "e"), Difference { alien: 2, ..Difference::default() });
    }

    #[test]
    fn text_is_the_same_for_the_same_seed() {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        write(&mut one, 100_000, 7).unwrap();
        write(&mut two, 100_000, 7).unwrap();
        assert!(one.len() >= 100_000 && one == two);
        assert!(one.windows(2).any(|pair| pair == b"\n\n"));
    }
}
