//! The merge: which of several sorted sources has the next row. It holds places and no rows; how two sources' first rows
//! compare is asked for.

use std::cmp::Ordering;

/// Sources in order of their first rows: a heap, the least one on top.
#[derive(Debug, Default)]
pub struct Ways {
    heap: Vec<usize>,
}

impl Ways {
    /// These sources all have a first row.
    pub fn new(sources: Vec<usize>, mut compare: impl FnMut(usize, usize) -> Ordering) -> Ways {
        let mut ways = Ways { heap: sources };
        for at in (0..ways.heap.len() / 2).rev() {
            ways.sift(at, &mut compare);
        }
        ways
    }

    /// The source whose first row is next.
    pub fn least(&self) -> Option<usize> {
        self.heap.first().copied()
    }

    /// That source has another first row now.
    pub fn advanced(&mut self, mut compare: impl FnMut(usize, usize) -> Ordering) {
        self.sift(0, &mut compare);
    }

    /// That source has no more rows.
    pub fn ended(&mut self, mut compare: impl FnMut(usize, usize) -> Ordering) {
        if !self.heap.is_empty() {
            self.heap.swap_remove(0);
            self.sift(0, &mut compare);
        }
    }

    fn sift(&mut self, mut at: usize, compare: &mut impl FnMut(usize, usize) -> Ordering) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let Some(&first) = self.heap.get(left) else { return };
            let mut least = left;
            if let Some(&second) = self.heap.get(right)
                && before(second, first, compare)
            {
                least = right;
            }
            if !before(self.heap[least], self.heap[at], compare) {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }
}

/// Of equal rows, those of the earlier source come first.
fn before(one: usize, other: usize, compare: &mut impl FnMut(usize, usize) -> Ordering) -> bool {
    compare(one, other).then(one.cmp(&other)) == Ordering::Less
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merged_is_sorted(mut sources in prop::collection::vec(prop::collection::vec(0_u8..20, 0..20), 0..9)) {
            for source in &mut sources {
                source.sort();
                source.reverse();
            }
            let mut expected = sources.concat();
            expected.sort();
            let with_rows: Vec<usize> = (0..sources.len()).filter(|&at| !sources[at].is_empty()).collect();
            let compare = |sources: &Vec<Vec<u8>>, one: usize, other: usize| sources[one].last().cmp(&sources[other].last());
            let mut ways = Ways::new(with_rows, |one, other| compare(&sources, one, other));
            let mut got = Vec::new();
            while let Some(least) = ways.least() {
                got.extend(sources[least].pop());
                match sources[least].is_empty() {
                    true => ways.ended(|one, other| compare(&sources, one, other)),
                    false => ways.advanced(|one, other| compare(&sources, one, other)),
                }
            }
            prop_assert_eq!(got, expected);
        }
    }
}
