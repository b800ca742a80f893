//! Where the lines of a COPY in text or CSV format end, as `CopyReadLineText` of `copyfromparse.c` finds it. Data may be cut
//! anywhere: what was looked at once is not looked at again.

/// How lines end; the first one decides for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Unknown,
    Newline,
    Return,
    Both,
}

/// Finds the ends of lines.
#[derive(Clone, Debug)]
pub struct Lines {
    /// `None` in text format, else the quote, and the escape if it is another character.
    csv: Option<(u8, Option<u8>)>,
    /// Does `\.` alone on a line end CSV data? It does before PostgreSQL 18.
    csv_ends: bool,
    ending: Ending,
    in_quote: bool,
    after_escape: bool,
    /// So much of the line is looked at.
    looked_at: usize,
    /// The number of the line, those within quotes counted too.
    pub number: u64,
    embedded: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The line is not whole yet.
    More,
    /// A line of `content` bytes, with its end `whole` bytes.
    Line {
        /// Without the end of the line.
        content: usize,
        /// With it.
        whole: usize,
    },
    /// The data end here; what follows does not count.
    End,
}

/// What PostgreSQL says of lines that are none.
pub type Broken = &'static str;

enum Step {
    Go(usize),
    Ends { content: usize, whole: usize },
    More,
    End,
}

impl Lines {
    /// For text format, or for CSV with this quote and escape.
    pub fn new(csv: Option<(u8, u8)>, csv_ends: bool) -> Lines {
        Lines {
            csv: csv.map(|(quote, escape)| (quote, (quote != escape).then_some(escape))),
            csv_ends,
            ending: Ending::Unknown,
            in_quote: false,
            after_escape: false,
            looked_at: 0,
            number: 0,
            embedded: 0,
        }
    }

    /// Looks at what there is of a line; `data` begins with its first byte. `is_end`: no more will come.
    pub fn next(&mut self, data: &[u8], is_end: bool) -> Result<Next, Broken> {
        let mut at = self.looked_at;
        while at < data.len() {
            match self.step(data, at, is_end)? {
                Step::Go(to) => at = to,
                Step::Ends { content, whole } => return Ok(self.line(content, whole)),
                Step::End => return Ok(Next::End),
                Step::More => break,
            }
            self.looked_at = at;
        }
        match (is_end, data.len()) {
            (false, _) => Ok(Next::More),
            (true, 0) => Ok(Next::End),
            (true, len) => Ok(self.line(len, len)),
        }
    }

    fn line(&mut self, content: usize, whole: usize) -> Next {
        self.number += 1 + std::mem::take(&mut self.embedded);
        (self.in_quote, self.after_escape, self.looked_at) = (false, false, 0);
        Next::Line { content, whole }
    }

    /// The number of the line that is being read.
    pub fn present(&self) -> u64 {
        self.number + 1 + self.embedded
    }

    fn step(&mut self, data: &[u8], at: usize, is_end: bool) -> Result<Step, Broken> {
        let byte = data[at];
        let next = data.get(at + 1).copied();
        let needs_next = byte == b'\r' || byte == b'\\';
        if needs_next && next.is_none() && !is_end {
            return Ok(Step::More);
        }
        if self.csv.is_some() && byte == b'\\' && at == 0 && self.csv_ends && next == Some(b'.') {
            // Before anything is noted, so that it can be looked at again.
            match self.marker(data, is_end) {
                None => return Ok(Step::More),
                Some(Ok(())) => return Ok(Step::End),
                Some(Err(MarkerFault::Corrupt)) => {}
                Some(Err(MarkerFault::Style)) => return Err(OTHER_STYLE),
            }
        }
        if let Some((quote, escape)) = self.csv {
            self.quotes(byte, quote, escape);
        }
        match byte {
            b'\r' if !self.in_quote => self.carriage_return(at, next),
            b'\n' if !self.in_quote => self.newline(at),
            b'\\' if self.csv.is_none() => self.backslash(data, at, next, is_end),
            _ => Ok(Step::Go(at + 1)),
        }
    }

    fn quotes(&mut self, byte: u8, quote: u8, escape: Option<u8>) {
        if self.in_quote && Some(byte) == escape {
            self.after_escape = !self.after_escape;
        }
        if byte == quote && !self.after_escape {
            self.in_quote = !self.in_quote;
        }
        if Some(byte) != escape {
            self.after_escape = false;
        }
        let counted = match self.ending {
            Ending::Newline => b'\n',
            Ending::Unknown | Ending::Return | Ending::Both => b'\r',
        };
        self.embedded += u64::from(self.in_quote && byte == counted);
    }

    fn carriage_return(&mut self, at: usize, next: Option<u8>) -> Result<Step, Broken> {
        let is_both = next == Some(b'\n');
        match self.ending {
            Ending::Unknown | Ending::Both if is_both => {
                self.ending = Ending::Both;
                Ok(Step::Ends {
                    content: at,
                    whole: at + 2,
                })
            }
            Ending::Unknown | Ending::Return => {
                self.ending = Ending::Return;
                Ok(Step::Ends {
                    content: at,
                    whole: at + 1,
                })
            }
            Ending::Both | Ending::Newline => Err(match self.csv {
                None => "literal carriage return found in data",
                Some(_) => "unquoted carriage return found in data",
            }),
        }
    }

    fn newline(&mut self, at: usize) -> Result<Step, Broken> {
        match self.ending {
            Ending::Unknown | Ending::Newline => {
                self.ending = Ending::Newline;
                Ok(Step::Ends {
                    content: at,
                    whole: at + 1,
                })
            }
            Ending::Return | Ending::Both => Err(match self.csv {
                None => "literal newline found in data",
                Some(_) => "unquoted newline found in data",
            }),
        }
    }

    /// In text format a backslash takes the next byte with it, be it the end of a line.
    fn backslash(&self, data: &[u8], at: usize, next: Option<u8>, is_end: bool) -> Result<Step, Broken> {
        match next {
            None => Ok(Step::Go(at + 1)),
            Some(b'.') if at > 0 => Err("end-of-copy marker is not alone on its line"),
            Some(b'.') => match self.marker(data, is_end) {
                None => Ok(Step::More),
                Some(Ok(())) => Ok(Step::End),
                Some(Err(MarkerFault::Corrupt)) => Err("end-of-copy marker corrupt"),
                Some(Err(MarkerFault::Style)) => Err(OTHER_STYLE),
            },
            Some(_) => Ok(Step::Go(at + 2)),
        }
    }

    /// Is the line that begins with `\.` the end of all? `None`: not known yet.
    fn marker(&self, data: &[u8], is_end: bool) -> Option<Result<(), MarkerFault>> {
        let byte = |at: usize| match data.get(at) {
            Some(&byte) => Some(byte),
            None => is_end.then_some(0),
        };
        let mut at = 2;
        if self.ending == Ending::Both {
            match byte(at)? {
                b'\r' => at += 1,
                b'\n' if self.csv.is_none() => return Some(Err(MarkerFault::Style)),
                _ => return Some(Err(MarkerFault::Corrupt)),
            }
        }
        let last = byte(at)?;
        Some(match (self.ending, last) {
            (_, other) if !matches!(other, b'\r' | b'\n') => Err(MarkerFault::Corrupt),
            (Ending::Unknown, _) | (Ending::Newline | Ending::Both, b'\n') | (Ending::Return, b'\r') => {
                Ok(())
            }
            (Ending::Newline | Ending::Both | Ending::Return, _) => Err(MarkerFault::Style),
        })
    }
}

enum MarkerFault {
    Corrupt,
    Style,
}

const OTHER_STYLE: Broken = "end-of-copy marker does not match previous newline style";
