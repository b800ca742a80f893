//! Takes an answer down while it passes to the client, to be kept. Pure: bytes in, an answer or none out.

use crate::protocol::frame::{self, HEADER};

/// An answer as it passes.
#[derive(Debug)]
pub struct Recorder {
    bytes: Vec<u8>,
    /// Up to where frames were looked at.
    at: usize,
    bytes_max: usize,
    /// The transaction's status the answer must end with.
    status: u8,
    description: Option<(usize, usize)>,
    rows: Option<usize>,
    complete: Option<(usize, usize)>,
}

/// How far it has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Recorded {
    /// More is to come.
    Going,
    /// It is whole.
    Whole {
        /// RowDescription; empty if there was none.
        description: Box<[u8]>,
        /// DataRows and CommandComplete.
        rows: Box<[u8]>,
    },
    /// It is none to be kept, because of this.
    No(&'static str),
}

impl Recorder {
    /// Of an answer of at most so many bytes, behind which the session is in this state.
    pub fn new(bytes_max: usize, status: u8) -> Self {
        Recorder {
            bytes: Vec::new(),
            at: 0,
            bytes_max,
            status,
            description: None,
            rows: None,
            complete: None,
        }
    }

    /// These bytes pass next.
    pub fn pass(&mut self, bytes: &[u8]) -> Recorded {
        let mut before = std::mem::take(&mut self.bytes);
        // Most answers come in one piece: nothing is taken down of those but what is kept.
        let recorded = match before.is_empty() {
            true => self.look(bytes),
            false => {
                before.extend_from_slice(bytes);
                self.look(&before)
            }
        };
        if recorded == Recorded::Going {
            if before.is_empty() {
                before.extend_from_slice(bytes);
            }
            self.bytes = before;
        }
        recorded
    }

    /// Looks at the frames that came since.
    fn look(&mut self, bytes: &[u8]) -> Recorded {
        loop {
            let rest = &bytes[self.at..];
            let header = match frame::header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(_) => return Recorded::No("it is malformed"),
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
                b'Z' => return self.end(bytes, from),
                b'E' => return Recorded::No("it is an error"),
                _ => return Recorded::No("it is more than rows"),
            }
        }
        match bytes.len() > self.bytes_max {
            true => Recorded::No("it is too long"),
            false => Recorded::Going,
        }
    }

    fn end(&self, bytes: &[u8], ready: usize) -> Recorded {
        let status = bytes.get(ready + HEADER);
        let Some((tag, complete)) = self.complete.filter(|(_, to)| *to == ready) else {
            return Recorded::No("it is no answer");
        };
        if status != Some(&self.status) {
            return Recorded::No("it changed the transaction");
        }
        // A CommandComplete alone if there was no row.
        let from = self.rows.unwrap_or(tag);
        if complete - from > self.bytes_max {
            return Recorded::No("it is too long");
        }
        if !bytes[tag + HEADER..complete].starts_with(b"SELECT ") {
            return Recorded::No("it is no answer");
        }
        let description = self.description.map_or(&[][..], |(from, to)| &bytes[from..to]);
        Recorded::Whole {
            description: description.into(),
            rows: bytes[from..complete].into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"1\0\0\0\x042\0\0\0\x04T\0\0\0\x06\0\0D\0\0\0\x06\0\0C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I";

    fn whole(bytes: &[u8], step: usize) -> Recorded {
        let mut recorder = Recorder::new(1000, b'I');
        let mut last = Recorded::Going;
        for part in bytes.chunks(step) {
            assert_eq!(last, Recorded::Going);
            last = recorder.pass(part);
        }
        last
    }

    #[test]
    fn an_answer_is_taken_down_however_it_is_cut() {
        for step in 1..ANSWER.len() {
            let Recorded::Whole { description, rows } = whole(ANSWER, step) else {
                panic!("{step}")
            };
            assert_eq!(&*description, b"T\0\0\0\x06\0\0");
            assert_eq!(&*rows, b"D\0\0\0\x06\0\0C\0\0\0\x0dSELECT 1\0");
        }
        let none = b"2\0\0\0\x04C\0\0\0\x0dSELECT 0\0Z\0\0\0\x05I";
        let Recorded::Whole { description, rows } = whole(none, 100) else {
            panic!("no rows")
        };
        assert_eq!((&*description, &*rows), (&b""[..], &b"C\0\0\0\x0dSELECT 0\0"[..]));
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
            assert!(
                matches!(whole(bytes, 1000), Recorded::No(_)),
                "{}",
                bytes.escape_ascii()
            );
        }
        let mut recorder = Recorder::new(10, b'I');
        assert_eq!(recorder.pass(ANSWER), Recorded::No("it is too long"));
    }
}
