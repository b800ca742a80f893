//! What was found out about texts, remembered for all that differ in their constants alone: a program that writes its values
//! into its texts sends another one each time.

mod memo;

use routing_rules::cache::says_a_time;
use routing_rules::{Lex, Literal, Room, cut_in};

use memo::Memo;

/// What was found out about texts, and about their shapes.
#[derive(Debug)]
pub struct ByShape<T> {
    texts: Memo<T>,
    shapes: Memo<T>,
}

/// The shape of the text that was cut last.
#[derive(Debug, Default)]
pub struct LastShape {
    text: Vec<u8>,
    room: Room,
    has_shape: bool,
}

/// A longer text is cut each time it is asked for, and its room is given up with the next.
const TEXT_BYTES_MAX: usize = 16 * 1024;

impl LastShape {
    /// The shape of a text in which backslashes escape nothing, if the texts of that shape are alike: no constant says a time,
    /// and no name beyond ASCII is another one to clients of other encodings.
    fn of(&mut self, text: &[u8]) -> Option<&[u8]> {
        if self.text != text || text.is_empty() {
            self.cut(text);
        }
        self.has_shape.then_some(&*self.room.shape)
    }

    fn cut(&mut self, text: &[u8]) {
        let mut room = std::mem::take(&mut self.room);
        if self.text.is_empty() {
            // A long text's, or none's.
            room = Room::default();
        }
        self.text.clear();
        self.has_shape = false;
        let lex = Lex {
            standard_conforming_strings: true,
        };
        let Ok(pieces) = cut_in(text, lex, room) else {
            return;
        };
        let mut texts = pieces
            .literals
            .iter()
            .filter(|(_, kind)| *kind != Literal::Number);
        let is_of_a_moment =
            texts.any(|(piece, _)| says_a_time(pieces.text(*piece as usize).as_bytes()).is_some());
        self.has_shape = !is_of_a_moment && pieces.shape.is_ascii();
        self.room = pieces.into_room();
        if text.len() <= TEXT_BYTES_MAX {
            self.text.extend_from_slice(text);
        }
    }
}

impl<T> Default for ByShape<T> {
    fn default() -> Self {
        ByShape {
            texts: Memo::default(),
            shapes: Memo::default(),
        }
    }
}

impl<T: Clone> ByShape<T> {
    /// What is known of a text, or is found out now, and whether that is so for all texts of its shape.
    pub fn of(&mut self, text: &[u8], last: &mut LastShape, find: impl FnOnce() -> (T, bool)) -> T {
        let shapes = &mut self.shapes;
        self.texts.of(text, || {
            let found = match last.of(text) {
                Some(shape) => shapes.of(shape, find),
                None => find().0,
            };
            (found, true)
        })
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = ByShape::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_found_out_once_for_all_its_texts() {
        let (mut known, mut last, mut asked) = (ByShape::default(), LastShape::default(), 0);
        for number in 0..100 {
            let text = format!("SELECT v FROM t WHERE k = {number} AND w = 'x{number}'");
            known.of(text.as_bytes(), &mut last, || {
                asked += 1;
                ((), true)
            });
        }
        assert_eq!(asked, 2, "it is remembered when it is asked for again");
        for _ in 0..3 {
            known.of(b"SELECT v FROM t ORDER BY 1", &mut last, || {
                asked += 1;
                ((), false)
            });
        }
        assert_eq!(asked, 4, "a text is remembered, if not for its shape");
    }

    #[test]
    fn a_shape_is_there_where_its_texts_are_alike() {
        let mut last = LastShape::default();
        let mut is_there = |text: &str| last.of(text.as_bytes()).is_some();
        assert!(is_there("SELECT 'ein Schlüssel'"));
        assert!(is_there("SELECT now FROM t"));
        assert!(is_there(""));
        for text in [
            "SELECT 'now'",
            "SELECT E'now'",
            "SELECT $$now$$",
            "SELECT schlüssel",
            "SELECT U&'x'",
        ] {
            assert!(!is_there(text), "{text}");
        }
    }
}
