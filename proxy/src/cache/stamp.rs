//! What an answer was made under, and whether that still holds.

use std::sync::Arc;

use crate::protocol::session::touched::{Generation, Generations};

/// The generations of the tables an answer comes from.
pub type Reads = Arc<[Arc<Generation>]>;

/// The generations an answer was asked for under. It is good as long as none of them has moved.
#[derive(Clone, Debug)]
pub struct Stamp {
    anything: u64,
    tables: Reads,
    /// The sum of their counts: each only grows, so it is the same as long as all of them are.
    count: u64,
    /// When the last of those changes was, by the cache's clock.
    pub changed_at: u64,
}

impl Stamp {
    /// As of now.
    pub fn now(generations: &Generations, reads: &Reads) -> Self {
        // Counts first: a change between the two makes the answer old, and the instant no earlier than it was.
        let anything = generations.anything.count();
        let count = sum(reads);
        let changes = reads.iter().map(|table| table.at());
        let changed_at = changes
            .chain([generations.anything.at()])
            .max()
            .unwrap_or_default();
        Stamp {
            anything,
            tables: reads.clone(),
            count,
            changed_at,
        }
    }

    /// Has nothing changed since?
    pub fn holds(&self, generations: &Generations) -> bool {
        generations.anything.count() == self.anything && sum(&self.tables) == self.count
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.tables.len() * size_of::<Arc<Generation>>()
    }
}

fn sum(reads: &Reads) -> u64 {
    reads.iter().fold(0, |sum, table| sum.wrapping_add(table.count()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::session::touched::Rows;

    #[test]
    fn a_tenants_change_is_the_tables_and_the_tenants_but_not_the_next_ones() {
        let generations = Generations::new(|| 5);
        let table = b"t"[..].into();
        let rows = |of| Rows {
            of,
            ..Rows::all(&table)
        };
        let stamp = |of| Stamp::now(&generations, &generations.of(&[rows(of)]).into());
        let holds = |change| {
            let stamps = [None, Some(1), Some(2)].map(stamp);
            generations.changed(&[rows(change)]);
            stamps.map(|stamp| stamp.holds(&generations))
        };
        assert_eq!(holds(Some(1)), [false, false, true]);
        assert_eq!(holds(Some(3)), [false, true, true]);
        assert_eq!(holds(None), [false, false, false]);
    }

    #[test]
    fn a_change_of_what_was_read_ends_it_and_another_does_not() {
        let generations = Generations::new(|| 5);
        let (read, other) = (b"t"[..].into(), b"u"[..].into());
        let reads: Reads = generations.of(&[Rows::all(&read)]).into();
        generations.of(&[Rows::all(&other)]);
        let stamp = Stamp::now(&generations, &reads);
        generations.changed(&[Rows::all(&other)]);
        assert!(stamp.holds(&generations));
        generations.changed(&[Rows::all(&read)]);
        assert!(!stamp.holds(&generations));
        let stamp = Stamp::now(&generations, &reads);
        assert_eq!(stamp.changed_at, 5);
        generations.all_changed();
        assert!(!stamp.holds(&generations));
    }
}
