//! Maps and sets of offsets that are kept as ranges: equal neighbours are one entry.
//!
//! Ranges are keyed by their end, so that taking a prefix (what settling in order does) changes an
//! entry in place. Ranges never overlap, are never empty, and two that touch differ in value.

use super::effects::Range;
use std::collections::BTreeMap;
use std::ops::Bound;

/// From ranges of offsets to values. All operations are logarithmic in the number of ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeMap<V> {
    by_end: BTreeMap<u64, Span<V>>,
    count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Span<V> {
    first: u64,
    value: V,
}

impl<V> Default for RangeMap<V> {
    fn default() -> RangeMap<V> {
        RangeMap { by_end: BTreeMap::new(), count: 0 }
    }
}

impl<V: Clone + PartialEq> RangeMap<V> {
    /// How many offsets are in it.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How many ranges it takes to say so.
    pub(crate) fn ranges(&self) -> usize {
        self.by_end.len()
    }

    pub(crate) fn clear(&mut self) {
        self.by_end.clear();
        self.count = 0;
    }

    /// The range that contains `offset`, or else the next one behind it.
    pub(crate) fn at_or_after(&self, offset: u64) -> Option<(Range, &V)> {
        self.from(offset).next()
    }

    /// The range that contains `offset`.
    pub(crate) fn get(&self, offset: u64) -> Option<(Range, &V)> {
        self.at_or_after(offset).filter(|(range, _)| range.first <= offset)
    }

    /// All ranges that end behind `offset`, in order.
    pub(crate) fn from(&self, offset: u64) -> impl Iterator<Item = (Range, &V)> + Clone {
        self.by_end
            .range((Bound::Excluded(offset), Bound::Unbounded))
            .map(|(end, span)| (Range { first: span.first, end: *end }, &span.value))
    }

    /// All ranges, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Range, &V)> + Clone {
        self.from(0)
    }

    /// The lowest range.
    pub(crate) fn first(&self) -> Option<(Range, &V)> {
        self.iter().next()
    }

    /// The parts of `within` that are in the map, clipped, in order.
    pub(crate) fn parts(&self, within: Range) -> impl Iterator<Item = (Range, &V)> {
        self.from(within.first)
            .take_while(move |(range, _)| range.first < within.end)
            .map(move |(range, value)| (clip(range, within), value))
    }

    /// The parts of `within` that are not in the map, in order.
    pub(crate) fn gaps(&self, within: Range) -> impl Iterator<Item = Range> {
        let mut covered = self.parts(within).map(|(range, _)| range);
        let mut at = within.first;
        std::iter::from_fn(move || {
            while at < within.end {
                let part = covered.next().unwrap_or(Range { first: within.end, end: within.end });
                let gap = Range { first: at, end: part.first };
                at = part.end;
                if gap.first < gap.end {
                    return Some(gap);
                }
            }
            None
        })
    }

    /// Adds a range of which nothing is in the map yet.
    pub(crate) fn insert(&mut self, range: Range, value: V) {
        debug_assert!(range.first < range.end, "a range holds at least one offset");
        debug_assert!(self.parts(range).next().is_none(), "inserted ranges do not overlap");
        self.count += range.count();
        let mut first = range.first;
        if self.by_end.get(&range.first).is_some_and(|left| left.value == value)
            && let Some(left) = self.by_end.remove(&range.first)
        {
            first = left.first;
        }
        if let Some((_, right)) = self.by_end.range_mut(range.end..).next()
            && right.first == range.end
            && right.value == value
        {
            right.first = first;
            return;
        }
        self.by_end.insert(range.end, Span { first, value });
    }

    /// Sets a range, whatever was there.
    pub(crate) fn set(&mut self, range: Range, value: V) {
        self.remove(range);
        self.insert(range, value);
    }

    /// Takes out what is in `within`; says how many offsets that were.
    pub(crate) fn remove(&mut self, within: Range) -> u64 {
        self.take(within, |_| true, |_, _| {})
    }

    /// Takes out the parts of `within` whose value is `wanted` and shows each to `taken`, in
    /// order; says how many offsets that were.
    pub(crate) fn take(
        &mut self,
        within: Range,
        wanted: impl Fn(&V) -> bool,
        mut taken: impl FnMut(Range, &V),
    ) -> u64 {
        let mut at = within.first;
        let mut count = 0;
        while at < within.end {
            let Some((end, span)) =
                self.by_end.range_mut((Bound::Excluded(at), Bound::Unbounded)).next()
            else {
                break;
            };
            let whole = Range { first: span.first, end: *end };
            if whole.first >= within.end {
                break;
            }
            at = whole.end;
            if !wanted(&span.value) {
                continue;
            }
            let part = clip(whole, within);
            count += part.count();
            taken(part, &span.value);
            self.cut(whole, part);
        }
        self.count -= count;
        count
    }

    /// Cuts `part` out of the entry `whole`.
    fn cut(&mut self, whole: Range, part: Range) {
        let head = Range { first: whole.first, end: part.first };
        if part.end < whole.end {
            let Some(span) = self.by_end.get_mut(&whole.end) else { return };
            span.first = part.end;
            if head.first < head.end {
                let value = span.value.clone();
                self.by_end.insert(head.end, Span { first: head.first, value });
            }
        } else if let Some(span) = self.by_end.remove(&whole.end)
            && head.first < head.end
        {
            self.by_end.insert(head.end, span);
        }
    }

    /// Takes out the lowest range.
    pub(crate) fn pop_first(&mut self) -> Option<(Range, V)> {
        let (end, span) = self.by_end.pop_first()?;
        let range = Range { first: span.first, end };
        self.count -= range.count();
        Some((range, span.value))
    }
}

/// A set of offsets. All operations are logarithmic in the number of ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeSet(RangeMap<()>);

impl RangeSet {
    /// How many offsets are in it.
    pub(crate) fn count(&self) -> u64 {
        self.0.count()
    }

    /// How many ranges it takes to say so.
    pub(crate) fn ranges(&self) -> usize {
        self.0.ranges()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn contains(&self, offset: u64) -> bool {
        self.0.get(offset).is_some()
    }

    /// The range that contains `offset`, or else the next one behind it.
    pub(crate) fn at_or_after(&self, offset: u64) -> Option<Range> {
        self.0.at_or_after(offset).map(|(range, ())| range)
    }

    /// All ranges, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Range> + Clone {
        self.0.iter().map(|(range, ())| range)
    }

    /// The lowest range.
    pub(crate) fn first(&self) -> Option<Range> {
        self.0.first().map(|(range, ())| range)
    }

    /// The parts of `within` that are in the set, in order.
    pub(crate) fn parts(&self, within: Range) -> impl Iterator<Item = Range> {
        self.0.parts(within).map(|(range, ())| range)
    }

    /// The parts of `within` that are not in the set, in order.
    pub(crate) fn gaps(&self, within: Range) -> impl Iterator<Item = Range> {
        self.0.gaps(within)
    }

    /// Adds a range, some of which may be in the set.
    pub(crate) fn insert(&mut self, range: Range) {
        self.0.remove(range);
        self.0.insert(range, ());
    }

    /// Takes out what is in `within`; says how many offsets that were.
    pub(crate) fn remove(&mut self, within: Range) -> u64 {
        self.0.remove(within)
    }

    /// Takes out the lowest range.
    pub(crate) fn pop_first(&mut self) -> Option<Range> {
        self.0.pop_first().map(|(range, ())| range)
    }
}

/// The part of `range` inside `within`; they must meet.
fn clip(range: Range, within: Range) -> Range {
    Range { first: range.first.max(within.first), end: range.end.min(within.end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::tests::random::Random;

    fn range(first: u64, end: u64) -> Range {
        Range { first, end }
    }

    fn listed(set: &RangeSet) -> Vec<(u64, u64)> {
        set.iter().map(|range| (range.first, range.end)).collect()
    }

    #[test]
    fn neighbours_become_one_range() {
        let mut set = RangeSet::default();
        set.insert(range(5, 7));
        set.insert(range(9, 10));
        set.insert(range(7, 9));
        assert_eq!(listed(&set), [(5, 10)]);
        set.insert(range(0, 20));
        assert_eq!(listed(&set), [(0, 20)]);
        assert_eq!(set.count(), 20);
    }

    #[test]
    fn removing_the_middle_leaves_both_sides() {
        let mut set = RangeSet::default();
        set.insert(range(0, 10));
        assert_eq!(set.remove(range(3, 5)), 2);
        assert_eq!(listed(&set), [(0, 3), (5, 10)]);
        assert_eq!(set.gaps(range(0, 12)).collect::<Vec<_>>(), [range(3, 5), range(10, 12)]);
        assert_eq!(set.remove(range(2, 20)), 6);
        assert_eq!(listed(&set), [(0, 2)]);
    }

    #[test]
    fn unequal_neighbours_stay_apart() {
        let mut map = RangeMap::default();
        map.insert(range(0, 5), 'a');
        map.insert(range(5, 9), 'b');
        assert_eq!(map.ranges(), 2);
        map.set(range(4, 6), 'a');
        assert_eq!(map.first(), Some((range(0, 6), &'a')));
        assert_eq!(map.get(6), Some((range(6, 9), &'b')));
    }

    #[test]
    fn the_highest_offset_breaks_nothing() {
        let mut set = RangeSet::default();
        set.insert(range(u64::MAX - 2, u64::MAX));
        assert!(set.contains(u64::MAX - 1));
        assert!(!set.contains(u64::MAX));
        assert_eq!(set.remove(range(0, u64::MAX)), 2);
    }

    /// Goal: every operation agrees with a plain array of values.
    #[test]
    fn ranges_agree_with_an_array_under_random_work() {
        const OFFSETS: u64 = 48;
        let mut random = Random::new();
        for _ in 0..4_000 {
            let mut map: RangeMap<u8> = RangeMap::default();
            let mut array = [None::<u8>; OFFSETS as usize];
            for _ in 0..24 {
                let first = random.below(OFFSETS);
                let end = first + 1 + random.below(OFFSETS - first);
                let within = range(first, end);
                let slots = &mut array[first as usize..end as usize];
                if random.below(3) == 0 {
                    let wanted = random.below(3) as u8;
                    let mut seen = 0;
                    let taken =
                        map.take(within, |value| *value != wanted, |part, _| seen += part.count());
                    let hits = slots.iter_mut().filter(|slot| slot.is_some_and(|v| v != wanted));
                    let expected = hits.map(|slot| *slot = None).count() as u64;
                    assert_eq!((taken, seen), (expected, expected));
                } else {
                    let value = random.below(3) as u8;
                    map.set(within, value);
                    slots.fill(Some(value));
                }
                same(&map, &array);
            }
        }
    }

    fn same(map: &RangeMap<u8>, array: &[Option<u8>]) {
        let all = range(0, array.len() as u64);
        for (offset, slot) in array.iter().enumerate() {
            assert_eq!(map.get(offset as u64).map(|(_, value)| *value), *slot);
        }
        let free: u64 = map.gaps(all).map(Range::count).sum();
        let held: u64 = map.parts(all).map(|(part, _)| part.count()).sum();
        assert_eq!(held, map.count());
        assert_eq!(held, array.iter().flatten().count() as u64);
        assert_eq!(free + held, all.count());
        let pairs: Vec<_> = map.iter().collect();
        for pair in pairs.windows(2) {
            assert!(pair[0].0.end <= pair[1].0.first);
            assert!(pair[0].0.end < pair[1].0.first || pair[0].1 != pair[1].1, "merged");
        }
    }
}
