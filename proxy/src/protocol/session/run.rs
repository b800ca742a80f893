//! Bytes on their way through: runs of the input as they are, and what is put between them.

use std::ops::Range;

/// Collects what is to be written. While only one stretch of the input is passed, nothing is copied.
#[derive(Debug, Default)]
pub struct Run {
    pass: Range<usize>,
    made: Vec<u8>,
}

impl Run {
    /// A run that builds what it must in `made`, emptied first.
    pub fn new(mut made: Vec<u8>) -> Self {
        made.clear();
        Run { pass: 0..0, made }
    }

    /// Passes a stretch of `input` as it is.
    pub fn pass(&mut self, input: &[u8], range: Range<usize>) {
        if self.pass.end == range.start && !self.pass.is_empty() {
            self.pass.end = range.end;
        } else if self.pass.is_empty() {
            self.pass = range;
        } else {
            self.settle(input);
            self.pass = range;
        }
    }

    /// The place to put bytes of our own, behind all that was passed so far.
    pub fn made(&mut self, input: &[u8]) -> &mut Vec<u8> {
        self.settle(input);
        &mut self.made
    }

    /// All bytes, in order.
    pub fn bytes<'a>(&'a mut self, input: &'a [u8]) -> &'a [u8] {
        if self.made.is_empty() {
            return &input[self.pass.clone()];
        }
        self.settle(input);
        &self.made
    }

    /// Gives back the memory it built in.
    pub fn into_buffer(self) -> Vec<u8> {
        self.made
    }

    fn settle(&mut self, input: &[u8]) {
        if !self.pass.is_empty() {
            self.made.extend_from_slice(&input[self.pass.clone()]);
            self.pass = 0..0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjoining_stretches_are_not_copied() {
        let mut run = Run::default();
        run.pass(b"abcdef", 0..2);
        run.pass(b"abcdef", 2..4);
        assert_eq!(run.bytes(b"abcdef"), b"abcd");
        assert!(run.into_buffer().is_empty());
    }

    #[test]
    fn what_is_put_between_keeps_its_place() {
        let mut run = Run::default();
        run.pass(b"abcdef", 0..2);
        run.made(b"abcdef").push(b'-');
        run.pass(b"abcdef", 3..5);
        assert_eq!(run.bytes(b"abcdef"), b"ab-de");
    }
}
