//! The data of a COPY … FROM STDIN cut into rows, each for its shard, as they stream by. What is held is one row at most, bounded.
//! A row keeps its bytes, its end of line included; what every shard needs (a header, the trailer) goes to all.

mod binary;
mod fields;
mod lines;
mod options;

use std::fmt;

pub use options::{CopyFormat, CopyOptions};

use fields::Field;
use lines::Lines;
use options::encoding_name;

use crate::keys::Reason;
use crate::place::{Format, KeyType, NotAKey};
use crate::sharding::Sharding;

/// Who gets some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes<'s> {
    /// Every shard: a header, a trailer.
    Every,
    /// This shard.
    One(&'s str),
}

/// Cuts the data of one COPY.
#[derive(Clone, Debug)]
pub struct CopySplitter {
    options: CopyOptions,
    row_bytes_max: usize,
    is_utf8: bool,
    /// What has come and is no whole row yet.
    held: Vec<u8>,
    value: Vec<u8>,
    phase: Phase,
    rows: u64,
}

#[derive(Clone, Debug)]
enum Phase {
    Header(Option<Lines>),
    Lines(Lines),
    Tuples(binary::Tuples),
    /// Behind `\.`, which says that nothing follows: it is passed over.
    Over,
    /// Behind the binary trailer, where nothing may follow.
    Closed,
}

/// Why data are refused. Says where, as the CONTEXT of PostgreSQL's own errors does; holds none of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyError {
    /// What is wrong.
    pub fault: CopyFault,
    /// `COPY orders, line 2, column tenant_id`.
    pub context: String,
}

/// What is wrong with data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyFault {
    /// They are not in the format: PostgreSQL's own words.
    Format(&'static str),
    /// A row ends before the key; its column.
    Missing(Box<str>),
    /// The key has no shard.
    Key(Reason),
    /// A row is longer than this.
    TooLong(usize),
}

impl CopySplitter {
    /// For these options. `client_encoding` is the session's; `csv_ends` says that the servers take `\.` alone on a line for the end
    /// of CSV data, as they do before PostgreSQL 18. A row may not be longer than `row_bytes_max`.
    ///
    /// The shards' CopyInResponse must be there: only then it is known that PostgreSQL takes the statement.
    pub fn new(
        options: CopyOptions,
        client_encoding: &str,
        csv_ends: bool,
        row_bytes_max: usize,
    ) -> Result<CopySplitter, Reason> {
        let session = encoding_name(client_encoding.as_bytes());
        let encoding = options.encoding.clone().unwrap_or(session);
        let is_text = options.format != CopyFormat::Binary;
        if is_text && !keeps_ascii(&encoding) {
            return Err(Reason::Construct(
                "COPY in an encoding whose characters may hold ends of lines",
            ));
        }
        let csv = (options.format == CopyFormat::Csv).then_some((options.quote, options.escape));
        let phase = match (is_text, options.has_header) {
            (false, _) => Phase::Header(None),
            (true, true) => Phase::Header(Some(Lines::new(csv, csv_ends))),
            (true, false) => Phase::Lines(Lines::new(csv, csv_ends)),
        };
        Ok(CopySplitter {
            options,
            row_bytes_max,
            is_utf8: matches!(&*encoding, "utf8" | "unicode" | "sqlascii"),
            held: Vec::new(),
            value: Vec::new(),
            phase,
            rows: 0,
        })
    }

    /// Takes the data of one CopyData; rows that are whole go to `sink`.
    pub fn feed<'s>(
        &mut self,
        sharding: &'s Sharding,
        data: &[u8],
        sink: &mut impl FnMut(Goes<'s>, &[u8]),
    ) -> Result<(), CopyError> {
        self.run(sharding, data, false, sink)
    }

    /// No more will come (CopyDone).
    pub fn finish<'s>(
        &mut self,
        sharding: &'s Sharding,
        sink: &mut impl FnMut(Goes<'s>, &[u8]),
    ) -> Result<(), CopyError> {
        self.run(sharding, &[], true, sink)
    }

    /// Rows that have gone to shards.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows are cut from what came last where they lie; only what is left is kept.
    fn run<'s>(
        &mut self,
        sharding: &'s Sharding,
        data: &[u8],
        is_end: bool,
        sink: &mut impl FnMut(Goes<'s>, &[u8]),
    ) -> Result<(), CopyError> {
        let mut held = std::mem::take(&mut self.held);
        let mut data = data;
        if !held.is_empty() {
            held.extend_from_slice(data);
            data = &held;
        }
        let mut at = 0;
        loop {
            let len = self.one(sharding, &data[at..], is_end, sink)?;
            if len == 0 {
                break;
            }
            at += len;
        }
        let left = &data[at..];
        self.check_length(left, false)?;
        if at == 0 && !held.is_empty() {
            self.held = held;
        } else {
            self.held = left.to_vec();
        }
        Ok(())
    }

    /// Cuts one row; 0: there is none.
    fn one<'s>(
        &mut self,
        sharding: &'s Sharding,
        data: &[u8],
        is_end: bool,
        sink: &mut impl FnMut(Goes<'s>, &[u8]),
    ) -> Result<usize, CopyError> {
        match &mut self.phase {
            Phase::Over => Ok(data.len()),
            Phase::Closed if data.is_empty() => Ok(0),
            Phase::Closed => Err(self.broken("received copy data after EOF marker")),
            Phase::Header(None) => match binary::header(data, is_end) {
                Ok(binary::Next::Header(whole)) => {
                    sink(Goes::Every, &data[..whole]);
                    self.phase = Phase::Tuples(binary::Tuples::default());
                    Ok(whole)
                }
                Ok(_) => Ok(0),
                Err(what) => Err(self.broken(what)),
            },
            Phase::Header(Some(lines)) | Phase::Lines(lines) => match lines.next(data, is_end) {
                Ok(lines::Next::More) => Ok(0),
                Ok(lines::Next::End) => {
                    self.phase = Phase::Over;
                    Ok(data.len())
                }
                Ok(lines::Next::Line { content, whole }) => {
                    self.check_length(&data[..whole], true)?;
                    let to = self.line(sharding, &data[..content])?;
                    sink(to, &data[..whole]);
                    Ok(whole)
                }
                Err(what) => Err(self.broken(what)),
            },
            Phase::Tuples(tuples) => match tuples.next(data, self.options.key) {
                Ok(binary::Next::Tuple { whole, key }) => {
                    self.check_length(&data[..whole], false)?;
                    self.rows += 1;
                    let value = key.and_then(|key| data.get(key));
                    let to = self.place(sharding, Format::Binary, value)?;
                    sink(to, &data[..whole]);
                    Ok(whole)
                }
                Ok(binary::Next::Trailer) => {
                    sink(Goes::Every, &data[..2]);
                    self.phase = Phase::Closed;
                    Ok(2)
                }
                Ok(_) if is_end && !data.is_empty() => Err(self.broken("unexpected EOF in COPY data")),
                Ok(_) => Ok(0),
                Err(what) => Err(self.broken(what)),
            },
        }
    }

    /// Who gets a line.
    fn line<'s>(&mut self, sharding: &'s Sharding, line: &[u8]) -> Result<Goes<'s>, CopyError> {
        if let Phase::Header(lines) = &mut self.phase {
            if let Some(lines) = lines.take() {
                self.phase = Phase::Lines(lines);
            }
            return Ok(Goes::Every);
        }
        self.rows += 1;
        let mut value = std::mem::take(&mut self.value);
        let field = match self.options.format {
            CopyFormat::Csv => fields::csv(line, &self.options, &mut value),
            CopyFormat::Text | CopyFormat::Binary => fields::text(line, &self.options, &mut value),
        };
        let to = match field {
            Field::Value => self.place(sharding, Format::Text, Some(&value)),
            Field::Null => self.place(sharding, Format::Text, None),
            Field::Default => Err(self.wrong_key(Reason::KeyMissing(self.options.table.clone()))),
            Field::Unterminated => Err(self.broken("unterminated CSV quoted field")),
            Field::Missing => Err(self.error(CopyFault::Missing(self.options.key_name.clone()), false)),
        };
        self.value = value;
        to
    }

    fn place<'s>(
        &self,
        sharding: &'s Sharding,
        format: Format,
        value: Option<&[u8]>,
    ) -> Result<Goes<'s>, CopyError> {
        let kind = sharding.key_type;
        // Of varchar(n), blanks at the end may be cut off; and other encodings' letters are not read.
        let is_unclear = value.is_some_and(|value| {
            let is_text = matches!(kind, KeyType::Text | KeyType::Char);
            (kind == KeyType::Text && value.last() == Some(&b' '))
                || (is_text && !self.is_utf8 && !value.is_ascii())
        });
        if is_unclear {
            return Err(self.wrong_key(NotAKey::Unreadable(kind).into()));
        }
        let key = match kind.read(0, format, value) {
            Ok(key) => key,
            Err(not) => return Err(self.wrong_key(not.into())),
        };
        match sharding.placement.shard(&key) {
            Ok(shard) => Ok(Goes::One(shard)),
            Err(unplaced) => Err(self.wrong_key(unplaced.into())),
        }
    }

    /// Is a row, or what there is of it, short enough? Of a line that is whole its number is known.
    fn check_length(&self, row: &[u8], is_whole_line: bool) -> Result<(), CopyError> {
        let len = match &self.phase {
            Phase::Tuples(tuples) => tuples.at_least(row),
            Phase::Header(_) | Phase::Lines(_) | Phase::Over | Phase::Closed => row.len(),
        };
        match len > self.row_bytes_max {
            true => {
                let mut error = self.error(CopyFault::TooLong(self.row_bytes_max), false);
                if let (true, Phase::Header(Some(lines)) | Phase::Lines(lines)) = (is_whole_line, &self.phase)
                {
                    error.context = format!("COPY {}, line {}", self.options.table, lines.number);
                }
                Err(error)
            }
            false => Ok(()),
        }
    }

    fn wrong_key(&self, reason: Reason) -> CopyError {
        self.error(CopyFault::Key(reason), true)
    }

    fn broken(&self, what: &'static str) -> CopyError {
        self.error(CopyFault::Format(what), false)
    }

    fn error(&self, fault: CopyFault, is_key: bool) -> CopyError {
        let line = match (&self.phase, &fault) {
            (Phase::Header(Some(lines)) | Phase::Lines(lines), CopyFault::Format(what))
                if *what != "unterminated CSV quoted field" =>
            {
                lines.present()
            }
            (Phase::Header(Some(lines)) | Phase::Lines(lines), CopyFault::TooLong(_)) => lines.present(),
            (Phase::Header(Some(lines)) | Phase::Lines(lines), _) => lines.number,
            (Phase::Header(None), _) => 0,
            (Phase::Tuples(_), CopyFault::Key(_)) => self.rows,
            (Phase::Tuples(_) | Phase::Over | Phase::Closed, _) => self.rows + 1,
        };
        let mut context = format!("COPY {}", self.options.table);
        if line > 0 {
            context.push_str(&format!(", line {line}"));
        }
        if is_key {
            context.push_str(&format!(", column {}", self.options.key_name));
            if fault == CopyFault::Key(Reason::Key(NotAKey::Null)) {
                context.push_str(": null input");
            }
        }
        CopyError { fault, context }
    }
}

/// Do all bytes below 128 stand for themselves? Those that the servers themselves use do, and one-byte ones.
fn keeps_ascii(encoding: &str) -> bool {
    const NAMES: [&str; 16] = [
        "utf8",
        "unicode",
        "sqlascii",
        "eucjp",
        "eucjis2004",
        "euccn",
        "euckr",
        "euctw",
        "muleinternal",
        "tcvn",
        "tcvn5712",
        "vscii",
        "abc",
        "alt",
        "win",
        "koi8",
    ];
    let families = [
        "latin",
        "iso8859",
        "win125",
        "windows125",
        "win866",
        "windows866",
        "win874",
        "windows874",
        "koi8",
    ];
    NAMES.contains(&encoding) || families.iter().any(|family| encoding.starts_with(family))
}

impl CopyError {
    /// The code of the error a client gets.
    pub fn sqlstate(&self) -> &'static str {
        match &self.fault {
            CopyFault::Format(_) | CopyFault::Missing(_) => "22P04",
            CopyFault::Key(reason) => reason.sqlstate(),
            CopyFault::TooLong(_) => "54000",
        }
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            CopyFault::Format(what) => f.write_str(what),
            CopyFault::Missing(column) => write!(f, "missing data for column \"{column}\""),
            CopyFault::Key(reason) => write!(f, "{reason}"),
            CopyFault::TooLong(most) => write!(f, "a row is longer than {most} bytes"),
        }
    }
}

impl std::error::Error for CopyError {}
