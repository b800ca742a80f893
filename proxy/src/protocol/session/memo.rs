//! What was found out about texts, remembered within bounds.

use std::collections::HashMap;

/// A bounded map from texts to what was found out about them. What was not asked for since half of it was filled anew goes
/// first.
#[derive(Debug)]
pub struct Memo<T> {
    young: HashMap<Box<[u8]>, T>,
    old: HashMap<Box<[u8]>, T>,
    young_bytes: usize,
}

/// Bytes of texts in each half.
const HALF_BYTES_MAX: usize = 1 << 20;

/// A longer text is looked at each time.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// What an entry takes beside its text.
const ENTRY_BYTES: usize = 128;

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo {
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
        }
    }
}

impl<T: Clone> Memo<T> {
    /// What is known of a text, or is found out now.
    pub fn of(&mut self, text: &[u8], find: impl FnOnce() -> T) -> T {
        if let Some(known) = self.young.get(text) {
            return known.clone();
        }
        let (text, found) = match self.old.remove_entry(text) {
            Some(known) => known,
            None if text.len() > TEXT_BYTES_MAX => return find(),
            None => (text.into(), find()),
        };
        self.young_bytes += text.len() + ENTRY_BYTES;
        self.young.insert(text, found.clone());
        if self.young_bytes > HALF_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        found
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Memo::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let mut memo = Memo::default();
        let often = b"often".as_slice();
        assert_eq!(memo.of(often, || 1), 1);
        for number in 0..100_000_u32 {
            memo.of(&number.to_be_bytes(), || 2);
            if number % 100 == 0 {
                assert_eq!(memo.of(often, || 3), 1);
            }
        }
        assert!(memo.young.len() + memo.old.len() < 20_000);
        memo.clear();
        assert_eq!(memo.of(often, || 3), 3);
    }
}
