//! Shapes of texts that a replica has refused, though nothing in them says that they write: a STABLE function that calls one
//! that writes, one replaced since the names were read. They go to the primary until the names are read again.

use crate::Lex;
use crate::sql::cut;

/// A bounded set of shapes.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// The names they were judged by.
    stamp: u64,
    shapes: Vec<Box<[u8]>>,
    next: usize,
}

/// So many are remembered; the oldest goes first.
const SHAPES_MAX: usize = 64;
/// The longest that is.
const SHAPE_BYTES_MAX: usize = 16 * 1024;

impl Refused {
    /// A replica has refused this text.
    pub(crate) fn add(&mut self, text: &[u8], lex: Lex, stamp: u64) {
        if self.stamp != stamp {
            *self = Refused {
                stamp,
                ..Refused::default()
            };
        }
        let Ok(pieces) = cut(text, lex) else { return };
        if pieces.shape.len() > SHAPE_BYTES_MAX || self.shapes.iter().any(|known| **known == *pieces.shape) {
            return;
        }
        let shape = pieces.shape.into_boxed_slice();
        match self.shapes.get_mut(self.next) {
            Some(oldest) => *oldest = shape,
            None => self.shapes.push(shape),
        }
        self.next = (self.next + 1) % SHAPES_MAX;
    }

    /// Has a replica refused one that differs from this in its constants at most?
    pub(crate) fn has(&self, text: &[u8], lex: Lex, stamp: u64) -> bool {
        if self.shapes.is_empty() || self.stamp != stamp {
            return false;
        }
        cut(text, lex).is_ok_and(|pieces| self.shapes.iter().any(|known| **known == *pieces.shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_remembered_until_the_names_change() {
        let (mut refused, lex) = (Refused::default(), Lex::default());
        assert!(!refused.has(b"SELECT f(1)", lex, 1));
        refused.add(b"SELECT f(1)", lex, 1);
        assert!(refused.has(b"SELECT f(2)", lex, 1));
        assert!(!refused.has(b"SELECT g(1)", lex, 1));
        assert!(!refused.has(b"SELECT f(1)", lex, 2));
        refused.add(b"SELECT g(1)", lex, 2);
        assert!(!refused.has(b"SELECT f(1)", lex, 1) && !refused.has(b"SELECT f(1)", lex, 2));
    }

    #[test]
    fn there_is_an_end_to_them() {
        let (mut refused, lex) = (Refused::default(), Lex::default());
        for n in 0..SHAPES_MAX + 3 {
            refused.add(format!("SELECT f{n}()").as_bytes(), lex, 1);
        }
        assert_eq!(refused.shapes.len(), SHAPES_MAX);
        assert!(!refused.has(b"SELECT f2()", lex, 1) && refused.has(b"SELECT f3()", lex, 1));
    }
}
