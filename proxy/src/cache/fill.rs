//! Takes an answer down while it passes to the client, to be kept. Pure: bytes in, an answer or none out.

use std::ops::Range;

use crate::protocol::frame::{self, HEADER};

/// An answer as it passes.
#[derive(Debug)]
pub struct Recorder {
    bytes: Vec<u8>,
    seen: Seen,
}

/// What was found in it.
#[derive(Debug, Default)]
struct Seen {
    bytes_max: usize,
    /// The transaction's status the answer must end with.
    status: u8,
    /// Up to where frames were looked at.
    at: usize,
    description: Option<(usize, usize)>,
    rows: Option<usize>,
    complete: Option<(usize, usize)>,
}

/// How far it has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Recorded<'a> {
    /// More is to come.
    Going,
    /// It is whole.
    Whole {
        /// RowDescription; empty if there was none.
        description: &'a [u8],
        /// DataRows and CommandComplete.
        rows: &'a [u8],
    },
    /// It is none to be kept, because of this.
    No(&'static str),
}

impl Recorder {
    /// Of an answer of at most so many bytes, behind which the session is in this state.
    pub fn new(bytes_max: usize, status: u8) -> Self {
        Recorder {
            bytes: Vec::new(),
            seen: Seen {
                bytes_max,
                status,
                ..Seen::default()
            },
        }
    }

    /// These bytes pass next.
    pub fn pass<'a>(&'a mut self, bytes: &'a [u8]) -> Recorded<'a> {
        // Most answers come in one piece: nothing is taken down of those.
        let is_whole = self.bytes.is_empty();
        if !is_whole {
            self.bytes.extend_from_slice(bytes);
        }
        match self.seen.look(if is_whole { bytes } else { &self.bytes }) {
            Some(Ok((description, rows))) => {
                let all = if is_whole { bytes } else { &self.bytes };
                Recorded::Whole {
                    description: &all[description],
                    rows: &all[rows],
                }
            }
            Some(Err(why)) => Recorded::No(why),
            None => {
                if is_whole {
                    self.bytes.extend_from_slice(bytes);
                }
                Recorded::Going
            }
        }
    }
}

/// Where an answer's description and its rows stand, or why it is none to be kept.
type Parts = Result<(Range<usize>, Range<usize>), &'static str>;

impl Seen {
    /// Looks at the frames that came since; `None`: more is to come.
    fn look(&mut self, bytes: &[u8]) -> Option<Parts> {
        loop {
            let rest = &bytes[self.at..];
            let header = match frame::header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(_) => return Some(Err("it is malformed")),
            };
            if rest.len() < header.total {
                break;
            }
            let (from, to) = (self.at, self.at + header.total);
            self.at = to;
            match header.kind {
                // What a server reports is for this client alone.
                b'1' | b'2' | b'S' if self.rows.is_none() && self.complete.is_none() => {}
                b'T' if self.description.is_none() && self.rows.is_none() => {
                    self.description = Some((from, to))
                }
                b'D' if self.complete.is_none() => {
                    self.rows.get_or_insert(from);
                }
                b'C' if self.complete.is_none() => self.complete = Some((from, to)),
                b'Z' => return Some(self.end(bytes, from)),
                b'E' => return Some(Err("it is an error")),
                _ => return Some(Err("it is more than rows")),
            }
        }
        (bytes.len() > self.bytes_max).then_some(Err("it is too long"))
    }

    fn end(&self, bytes: &[u8], ready: usize) -> Parts {
        let Some((tag, complete)) = self.complete.filter(|(_, to)| *to == ready) else {
            return Err("it is no answer");
        };
        if bytes.get(ready + HEADER) != Some(&self.status) {
            return Err("it changed the transaction");
        }
        // A CommandComplete alone if there was no row.
        let from = self.rows.unwrap_or(tag);
        if complete - from > self.bytes_max {
            return Err("it is too long");
        }
        if !bytes[tag + HEADER..complete].starts_with(b"SELECT ") {
            return Err("it is no answer");
        }
        let (start, end) = self.description.unwrap_or((from, from));
        Ok((start..end, from..complete))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"1\0\0\0\x042\0\0\0\x04T\0\0\0\x06\0\0D\0\0\0\x06\0\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";

    /// Description and rows, or why there are none.
    fn whole(bytes: &[u8], step: usize) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        let mut recorder = Recorder::new(1000, b'I');
        let mut is_over = false;
        let mut last = Err("it is going on");
        for part in bytes.chunks(step) {
            assert!(!is_over);
            last = match recorder.pass(part) {
                Recorded::Going => continue,
                Recorded::Whole { description, rows } => Ok((description.to_vec(), rows.to_vec())),
                Recorded::No(why) => Err(why),
            };
            is_over = true;
        }
        last
    }

    #[test]
    fn an_answer_is_taken_down_however_it_is_cut() {
        for step in 1..ANSWER.len() {
            let (description, rows) = whole(ANSWER, step).expect("an answer");
            assert_eq!(description, b"T\0\0\0\x06\0\0");
            assert_eq!(rows, b"D\0\0\0\x06\0\0C\0\0\0\x0dSELECT 1\0");
        }
        let none = b"2\0\0\0\x04C\0\0\0\x0dSELECT 0\0Z\0\0\0\x05I";
        assert_eq!(
            whole(none, 100),
            Ok((Vec::new(), b"C\0\0\0\x0dSELECT 0\0".to_vec()))
        );
    }

    #[test]
    fn what_is_no_plain_answer_is_not_kept() {
        for bytes in [
            &b"E\0\0\0\x05\0"[..],
            b"N\0\0\0\x05\0",
            b"A\0\0\0\x04",
            b"G\0\0\0\x04",
            b"T\0\0\0\x06\0\0s\0\0\0\x04",
            b"T\0\0\0\x06\0\0T\0\0\0\x06\0\0",
            b"C\0\0\0\x0bBEGIN\0\0Z\0\0\0\x05I",
            b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05T",
            b"C\0\0\0\x0dSELECT 1\0C\0\0\0\x0dSELECT 1\0",
            b"D\0\0\0\x06\0\0S\0\0\0\x04",
            b"Z\0\0\0\x05I",
            b"\0\0\0\0\0",
        ] {
            let why = whole(bytes, 1000).expect_err("no answer");
            assert_ne!(why, "it is going on", "{}", bytes.escape_ascii());
        }
        let mut recorder = Recorder::new(10, b'I');
        assert_eq!(recorder.pass(ANSWER), Recorded::No("it is too long"));
    }
}
