//! Batches of one producer that are appended and not committed, by sequence.
//!
//! Nearly all come and go in the order of their sequences, so they stand in a queue; the others are kept aside.

use super::effects::StreamId;
use std::collections::{BTreeMap, VecDeque};

/// Where a batch will be: stream and base offset.
pub(crate) type Place = (StreamId, u64);

/// See the module. No operation takes longer than the logarithm of the number of batches, except [`Pending::remove`] of
/// one in the middle of those in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    in_order: VecDeque<(u64, Place)>,
    aside: BTreeMap<u64, Place>,
}

impl Pending {
    pub(crate) fn get(&self, sequence: u64) -> Option<Place> {
        let is_new = self.in_order.back().is_none_or(|(last, _)| *last < sequence);
        let place = if is_new { None } else { self.find(sequence) };
        match place {
            Some(at) => self.in_order.get(at).map(|(_, place)| *place),
            None => self.aside.get(&sequence).copied(),
        }
    }

    /// Adds a batch that is not among them.
    pub(crate) fn insert(&mut self, sequence: u64, place: Place) {
        if self.in_order.back().is_none_or(|(last, _)| *last < sequence) {
            self.in_order.push_back((sequence, place));
        } else {
            self.aside.insert(sequence, place);
        }
    }

    pub(crate) fn remove(&mut self, sequence: u64) {
        if self.in_order.front().is_some_and(|(first, _)| *first == sequence) {
            self.in_order.pop_front();
        } else if self.aside.remove(&sequence).is_none()
            && let Some(at) = self.find(sequence)
        {
            self.in_order.remove(at);
        }
    }

    fn find(&self, sequence: u64) -> Option<usize> {
        self.in_order.binary_search_by_key(&sequence, |(sequence, _)| *sequence).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::tests::random::Random;

    #[test]
    fn it_is_a_map() {
        let mut dice = Random::new();
        let (mut pending, mut map) = (Pending::default(), BTreeMap::new());
        for step in 0..20_000 {
            let sequence = dice.below(60);
            match dice.below(3) {
                0 if !map.contains_key(&sequence) => {
                    pending.insert(sequence, (1, step));
                    map.insert(sequence, (1, step));
                }
                1 => {
                    // Mostly the oldest.
                    let first = map.first_key_value().map(|(first, _)| *first);
                    let gone = if dice.one_in(4) { sequence } else { first.unwrap_or(sequence) };
                    pending.remove(gone);
                    map.remove(&gone);
                }
                _ => {}
            }
            assert_eq!(pending.get(sequence), map.get(&sequence).copied(), "step {step}");
        }
        for sequence in 0..60 {
            pending.remove(sequence);
        }
        assert_eq!(pending, Pending::default());
    }
}
