//! What texts do, remembered by their bytes: one that comes again is looked up in place of being read. One per thread,
//! bounded in bytes.
//!
//! A text is kept when it comes a second time: those that differ in their constants alone cost no copy and push nothing out.
//! Exact: a text is found only if every byte of it, the way it is read and the names it is read by are the same.

use crate::refused::Refused;
use crate::{Access, Lex, Names, Why, access};

/// A bounded set of texts and what they do.
#[derive(Debug, Default)]
pub struct Texts {
    /// Empty until the first text comes.
    slots: Vec<Slot>,
    bytes: usize,
    refused: Refused,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    /// The hash of the text that was looked for here last and not found.
    missed: u64,
    kept: Option<Box<Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    stamp: u64,
    standard_conforming_strings: bool,
    text: Box<[u8]>,
    access: Access,
}

/// Each text has one place of these.
const SLOTS: usize = 4096;
/// The longest text that is kept.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// How much all of them may take.
const BYTES_MAX: usize = 4 << 20;

impl Texts {
    /// What a text does, by these names; `stamp` tells them from all others.
    pub fn access(&mut self, text: &[u8], lex: Lex, names: &Names, stamp: u64) -> Access {
        let access = self.look_up(text, lex, names, stamp);
        match access {
            Access::Read if self.refused.has(text, lex, stamp) => Access::Write(Why::Refused),
            access => access,
        }
    }

    /// A replica has refused a text: it, and those that differ in their constants alone, are reads no longer.
    pub fn refused(&mut self, text: &[u8], lex: Lex, stamp: u64) {
        self.refused.add(text, lex, stamp);
    }

    fn look_up(&mut self, text: &[u8], lex: Lex, names: &Names, stamp: u64) -> Access {
        if text.len() > TEXT_BYTES_MAX {
            return access(text, lex, Some(names));
        }
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); SLOTS];
        }
        let hash = hash(text, stamp);
        let slot = &mut self.slots[hash as usize % SLOTS];
        if let Some(kept) = &slot.kept
            && kept.stamp == stamp
            && kept.standard_conforming_strings == lex.standard_conforming_strings
            && *kept.text == *text
        {
            return kept.access.clone();
        }
        let access = access(text, lex, Some(names));
        if std::mem::replace(&mut slot.missed, hash) == hash {
            let kept = Kept {
                stamp,
                standard_conforming_strings: lex.standard_conforming_strings,
                text: text.into(),
                access: access.clone(),
            };
            let before = slot.kept.replace(Box::new(kept));
            self.bytes -= before.map_or(0, |before| cost(&before.text));
            self.bytes += cost(text);
        }
        if self.bytes > BYTES_MAX {
            self.slots.fill(Slot::default());
            self.bytes = 0;
        }
        access
    }

    /// About how many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(text: &[u8]) -> usize {
    text.len() + size_of::<Kept>() + 64
}

/// Spreads texts over the places. Who makes two of them meet has them read anew, no more.
fn hash(text: &[u8], seed: u64) -> u64 {
    const ODD: u128 = 0x9E37_79B9_7F4A_7C15;
    // Both halves of the product, or what differs in the upper bits alone would stay there.
    let mix = |state: u64, word: u64| {
        let product = u128::from(state.rotate_left(5) ^ word) * ODD;
        (product as u64) ^ (product >> 64) as u64
    };
    let (words, rest) = text.as_chunks::<8>();
    let mut state = mix(seed, text.len() as u64);
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    for byte in rest {
        state = mix(state, u64::from(*byte));
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn what_is_remembered_is_what_is_read() {
        let mut names = Names::default();
        names.add(Kind::VolatileFunction, b"writes");
        let (mut texts, plain, escaped) = (
            Texts::default(),
            Lex::default(),
            Lex {
                standard_conforming_strings: false,
            },
        );
        for _ in 0..4 {
            for line in include_str!("../cases/access.txt").lines() {
                let text = line.split(" | ").next().unwrap_or_default().as_bytes();
                for lex in [plain, escaped] {
                    for (names, stamp) in [(&names, 1), (&Names::default(), 2)] {
                        let told = texts.access(text, lex, names, stamp);
                        assert_eq!(told, access(text, lex, Some(names)), "{line}");
                    }
                }
            }
        }
        assert!(texts.bytes() > 0);
    }

    #[test]
    fn a_text_is_kept_when_it_comes_again() {
        let (mut texts, names) = (Texts::default(), Names::default());
        let mut read = |text: &str| {
            texts.access(text.as_bytes(), Lex::default(), &names, 1);
            texts.bytes()
        };
        for n in 0..10_000 {
            assert_eq!(read(&format!("SELECT {n}")), 0, "each comes once");
        }
        assert_eq!(read("SELECT x"), 0);
        let kept = read("SELECT x");
        assert!(kept > 0);
        assert_eq!(read("SELECT x"), kept, "it is there");
    }

    #[test]
    fn what_a_replica_refused_is_no_read_by_these_names() {
        let (mut texts, names, lex) = (Texts::default(), Names::default(), Lex::default());
        let read = |texts: &mut Texts, text: &str, stamp| texts.access(text.as_bytes(), lex, &names, stamp);
        for _ in 0..3 {
            assert!(read(&mut texts, "SELECT 1 + 1", 1).is_read());
        }
        texts.refused(b"SELECT 1 + 1", lex, 1);
        assert_eq!(read(&mut texts, "SELECT 1 + 1", 1), Access::Write(Why::Refused));
        assert_eq!(read(&mut texts, "SELECT 2 + 3", 1), Access::Write(Why::Refused));
        assert!(read(&mut texts, "SELECT 2 - 3", 1).is_read());
        assert!(read(&mut texts, "SELECT 1 + 1", 2).is_read(), "other names");
    }

    #[test]
    fn there_is_an_end_to_it() {
        let (mut texts, names) = (Texts::default(), Names::default());
        for n in 0..3000 {
            let text = format!("SELECT {n}, '{}'", "x".repeat(8000));
            for _ in 0..2 {
                texts.access(text.as_bytes(), Lex::default(), &names, 1);
                assert!(texts.bytes() <= BYTES_MAX);
            }
        }
        let long = format!("SELECT '{}'", "x".repeat(TEXT_BYTES_MAX));
        let before = texts.bytes();
        for _ in 0..2 {
            assert!(texts.access(long.as_bytes(), Lex::default(), &names, 1).is_read());
        }
        assert_eq!(texts.bytes(), before);
    }
}
