//! Rows that a cursor holds: a stretch of those it gives, by their numbers. Where they come from is not for this file.

use crate::protocol::frame;

/// The rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// So many rows before them are not held.
    pub before: u64,
    /// DataRow messages, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    /// All rows there are.
    pub(super) fn of(messages: Vec<u8>) -> Rows {
        let (mut ends, mut at) = (Vec::new(), 0);
        while let Ok(Some(header)) = frame::header(&messages[at..])
            && messages.len() - at >= header.total
        {
            at += header.total;
            ends.push(at);
        }
        Rows {
            before: 0,
            bytes: messages,
            ends,
        }
    }

    /// The last row that was come to.
    pub(super) fn last(&self) -> u64 {
        self.before + self.ends.len() as u64
    }

    /// How much they take.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>()
    }

    /// The DataRow of a number from 1, if it is held.
    pub(super) fn row(&self, number: u64) -> Option<&[u8]> {
        let place = usize::try_from(number.checked_sub(self.before + 1)?).ok()?;
        let from = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(from..*self.ends.get(place)?)
    }

    /// Adds the next row, if `take` adds one.
    pub(super) fn add<E>(&mut self, take: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>) -> Result<bool, E> {
        let has_come = take(&mut self.bytes)?;
        if has_come {
            self.ends.push(self.bytes.len());
        }
        Ok(has_come)
    }

    /// Those up to this number are held no longer.
    pub(super) fn forget(&mut self, number: u64) {
        let count = usize::try_from(number.saturating_sub(self.before)).unwrap_or(usize::MAX);
        let count = count.min(self.ends.len());
        let Some(bytes) = count.checked_sub(1).map(|last| self.ends[last]) else {
            return;
        };
        self.before += count as u64;
        self.bytes = self.bytes.split_off(bytes);
        self.ends = self.ends[count..].iter().map(|end| end - bytes).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::reply;

    #[test]
    fn rows_that_were_passed_are_forgotten() {
        let mut messages = Vec::new();
        for value in ["a", "bb", "ccc"] {
            reply::data_row(&mut messages, [Some(value.as_bytes())].into_iter());
        }
        let mut rows = Rows::of(messages.clone());
        let third = messages.get(25..);
        assert_eq!((rows.last(), rows.row(3)), (3, third));
        assert_eq!((rows.row(0), rows.row(4)), (None, None));
        rows.forget(2);
        assert_eq!((rows.before, rows.last(), rows.row(2)), (2, 3, None));
        assert_eq!(rows.row(3), third);
        rows.forget(9);
        assert_eq!((rows.before, rows.last(), rows.held()), (3, 3, 0));
    }
}
