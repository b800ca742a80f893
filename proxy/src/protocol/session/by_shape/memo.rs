//! What was found out about texts, remembered within bounds.

use std::hash::{BuildHasher, RandomState};

use crate::by_hash::ByHash;

/// A bounded map from texts to what was found out about them. A text is remembered when it is asked for again; what was not
/// asked for since half of the room was filled anew goes first.
#[derive(Debug)]
pub struct Memo<T> {
    hasher: RandomState,
    young: ByHash<u64, (Box<[u8]>, T)>,
    old: ByHash<u64, (Box<[u8]>, T)>,
    young_bytes: usize,
    /// Texts that were asked for once, of late, by a part of their hash. Two may share one: no harm is done.
    once: Box<[u32]>,
}

/// Bytes of texts in each half.
const HALF_BYTES_MAX: usize = 1 << 20;

/// A longer text is looked at each time.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// What an entry takes beside its text.
const ENTRY_BYTES: usize = 128;

/// How many texts are known to have been asked for once.
const ONCE: usize = 1024;

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo {
            hasher: RandomState::new(),
            young: ByHash::default(),
            old: ByHash::default(),
            young_bytes: 0,
            once: vec![0; ONCE].into(),
        }
    }
}

impl<T: Clone> Memo<T> {
    /// What is known of a text, or is found out now, and whether it is to be remembered.
    pub fn of(&mut self, text: &[u8], find: impl FnOnce() -> (T, bool)) -> T {
        let hash = self.hasher.hash_one(text);
        let is_it = |(other, _): &&(Box<[u8]>, T)| **other == *text;
        if let Some((_, known)) = self.young.get(&hash).filter(is_it) {
            return known.clone();
        }
        if self.old.get(&hash).filter(is_it).is_some()
            && let Some((text, known)) = self.old.remove(&hash)
        {
            return self.keep(hash, text, known);
        }
        let (found, is_kept) = find();
        match is_kept && text.len() <= TEXT_BYTES_MAX && self.is_again(hash) {
            true => self.keep(hash, text.into(), found),
            false => found,
        }
    }

    fn keep(&mut self, hash: u64, text: Box<[u8]>, found: T) -> T {
        self.young_bytes += text.len() + ENTRY_BYTES;
        self.young.insert(hash, (text, found.clone()));
        if self.young_bytes > HALF_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        found
    }

    /// Was this text asked for before, of late?
    fn is_again(&mut self, hash: u64) -> bool {
        let (place, mark) = (hash as usize % ONCE, (hash >> 32) as u32);
        std::mem::replace(&mut self.once[place], mark) == mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let mut memo = Memo::default();
        let often = b"often".as_slice();
        assert_eq!(memo.of(often, || (0, true)), 0);
        assert_eq!(memo.of(often, || (1, true)), 1, "once is not enough");
        for number in 0..100_000_u32 {
            memo.of(&number.to_be_bytes(), || (2, true));
            memo.of(&number.to_be_bytes(), || (2, true));
            if number % 100 == 0 {
                assert_eq!(memo.of(often, || (3, true)), 1);
            }
        }
        assert!(memo.young.len() + memo.old.len() < 20_000);
    }

    #[test]
    fn what_comes_once_takes_no_room() {
        let mut memo = Memo::default();
        for number in 0..100_000_u32 {
            memo.of(&number.to_be_bytes(), || (1, true));
        }
        assert!(memo.young.len() + memo.old.len() < 10);
        for turn in 0..3 {
            assert_eq!(memo.of(b"not to be kept", || (turn, false)), turn);
        }
    }
}
