//! The options of COPY … FROM STDIN as far as they say where rows end and which field is the key. The shards read the same text and
//! refuse what is no COPY; here an option that is not known is refused, and never passed over.

use std::ops::Range;

use crate::keys::{Kind as TextKind, Reading, Reason};
use crate::sql::{Kind, Pieces};

/// How the rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// One line a row, with backslashes.
    Text,
    /// Quoted fields, which may hold ends of lines.
    Csv,
    /// `PGCOPY`.
    Binary,
}

/// What COPY was told, and where its key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// FORMAT.
    pub format: CopyFormat,
    /// The key's place among the fields.
    pub key: usize,
    /// How many columns the statement lists. `None`: it lists none, and the rows have all columns but those that are generated: the
    /// CopyInResponse's number must be the number of columns known of the table.
    pub columns: Option<usize>,
    pub(super) table: Box<str>,
    pub(super) key_name: Box<str>,
    pub(super) delimiter: u8,
    pub(super) null: Vec<u8>,
    pub(super) default: Option<Vec<u8>>,
    pub(super) has_header: bool,
    pub(super) quote: u8,
    pub(super) escape: u8,
    pub(super) force_not_null: bool,
    pub(super) force_null: bool,
    /// By ENCODING, in the form of [`encoding_name`].
    pub(super) encoding: Option<String>,
}

/// Options as they are read.
#[derive(Default)]
struct Read {
    format: Option<CopyFormat>,
    delimiter: Option<Vec<u8>>,
    null: Option<Vec<u8>>,
    default: Option<Vec<u8>>,
    has_header: bool,
    quote: Option<Vec<u8>>,
    escape: Option<Vec<u8>>,
    not_null: Option<Columns>,
    to_null: Option<Columns>,
    encoding: Option<String>,
}

enum Columns {
    All,
    These(Vec<String>),
}

const UNCLEAR: Reason = Reason::Construct("an option of COPY");

impl CopyOptions {
    /// Reads those of a COPY … FROM STDIN into a table with a key; `None` if the text is anything else.
    pub fn of(reading: &Reading, pieces: &Pieces<'_>) -> Option<Result<CopyOptions, Reason>> {
        let key = reading.copy_key?;
        let [bound] = &reading.bounds[..] else {
            return None;
        };
        if reading.kind != TextKind::CopyIn || reading.statements != 1 {
            return None;
        }
        let scan = Scan { pieces };
        Some(
            scan.statement()
                .and_then(|(columns, options)| options.settle(key, columns, &bound.table, &bound.column)),
        )
    }
}

impl Read {
    fn settle(
        self,
        key: usize,
        columns: Option<usize>,
        table: &str,
        key_name: &str,
    ) -> Result<CopyOptions, Reason> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        let is_csv = format == CopyFormat::Csv;
        let byte = |given: Option<Vec<u8>>, default: u8| match given.as_deref() {
            None => Ok(default),
            Some(&[byte]) if byte.is_ascii() => Ok(byte),
            Some(_) => Err(UNCLEAR),
        };
        let quote = byte(self.quote, b'"')?;
        let names = |columns: Option<Columns>| match columns {
            None => false,
            Some(Columns::All) => true,
            Some(Columns::These(names)) => names.iter().any(|name| name == key_name),
        };
        let delimiter = byte(self.delimiter, if is_csv { b',' } else { b'\t' })?;
        let null = self
            .null
            .unwrap_or_else(|| if is_csv { Vec::new() } else { b"\\N".to_vec() });
        let breaks = |bytes: &[u8]| bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n'));
        // PostgreSQL refuses these too; here they would move the borders of rows.
        if breaks(&[delimiter, quote]) || breaks(&null) || delimiter == b'\\' && !is_csv {
            return Err(UNCLEAR);
        }
        Ok(CopyOptions {
            format,
            key,
            columns,
            table: table.into(),
            key_name: key_name.into(),
            delimiter,
            null,
            default: self.default,
            has_header: self.has_header,
            quote,
            escape: byte(self.escape, quote)?,
            force_not_null: names(self.not_null),
            force_null: names(self.to_null),
            encoding: self.encoding,
        })
    }
}

struct Scan<'a> {
    pieces: &'a Pieces<'a>,
}

impl Scan<'_> {
    fn word(&self, place: usize) -> String {
        match self.pieces.all.get(place) {
            Some((.., Kind::Word)) => self.pieces.text(place).to_ascii_lowercase(),
            _ => String::new(),
        }
    }

    fn is(&self, place: usize, mark: &str) -> bool {
        self.pieces.text(place) == mark && matches!(self.pieces.all.get(place), Some((.., Kind::Mark)))
    }

    /// The column list's length, and the options.
    fn statement(&self) -> Result<(Option<usize>, Read), Reason> {
        let all = self.pieces.all.len();
        let mut at = 1;
        while at < all && !self.is(at, "(") && self.word(at) != "from" {
            at += 1;
        }
        let mut columns = None;
        if self.is(at, "(") {
            let end = (at..all).find(|&place| self.is(place, ")")).ok_or(UNCLEAR)?;
            columns = Some((at + 1..end).filter(|&place| self.is(place, ",")).count() + 1);
            at = end + 1;
        }
        if self.word(at) != "from" || self.word(at + 1) != "stdin" {
            return Err(UNCLEAR);
        }
        at += 2;
        if self.word(at) == "with" {
            at += 1;
        }
        let mut read = Read::default();
        if self.is(at, "(") {
            let end = self.closing(at).ok_or(UNCLEAR)?;
            self.list(at + 1..end, &mut read)?;
            at = end + 1;
        } else {
            at = self.old(at, &mut read)?;
        }
        // WHERE is the shards' own.
        match at >= all || self.is(at, ";") || self.word(at) == "where" {
            true => Ok((columns, read)),
            false => Err(UNCLEAR),
        }
    }

    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        (open..self.pieces.all.len()).find(|&place| {
            if self.is(place, "(") {
                depth += 1;
            } else if self.is(place, ")") {
                depth -= 1;
            }
            depth == 0
        })
    }

    /// `FORMAT csv, HEADER, …`
    fn list(&self, range: Range<usize>, read: &mut Read) -> Result<(), Reason> {
        let mut at = range.start;
        while at < range.end {
            let name = self.word(at);
            let mut end = at + 1;
            while end < range.end && !self.is(end, ",") {
                end = match self.is(end, "(") {
                    true => self.closing(end).ok_or(UNCLEAR)? + 1,
                    false => end + 1,
                };
            }
            self.option(&name, at + 1..end, read)?;
            at = end + 1;
        }
        Ok(())
    }

    fn option(&self, name: &str, value: Range<usize>, read: &mut Read) -> Result<(), Reason> {
        match name {
            "format" => {
                let format = match &*self.name_in(value)? {
                    "text" => CopyFormat::Text,
                    "csv" => CopyFormat::Csv,
                    "binary" => CopyFormat::Binary,
                    _ => return Err(UNCLEAR),
                };
                once(&mut read.format, format)
            }
            "delimiter" => once(&mut read.delimiter, self.string(value)?),
            "null" => once(&mut read.null, self.string(value)?),
            "default" => once(&mut read.default, self.string(value)?),
            "quote" => once(&mut read.quote, self.string(value)?),
            "escape" => once(&mut read.escape, self.string(value)?),
            "encoding" => {
                let bytes = self.string(value)?;
                once(&mut read.encoding, encoding_name(&bytes))
            }
            "header" => {
                read.has_header = match value.len() {
                    0 => true,
                    _ => match &*self.name_in(value)? {
                        "true" | "on" | "match" | "1" => true,
                        "false" | "off" | "0" => false,
                        _ => return Err(UNCLEAR),
                    },
                };
                Ok(())
            }
            "force_not_null" => once(&mut read.not_null, self.columns(value)?),
            "force_null" => once(&mut read.to_null, self.columns(value)?),
            // Nothing to the borders of rows. Shards that are not empty refuse FREEZE themselves.
            "freeze" | "log_verbosity" => Ok(()),
            "on_error" if &*self.name_in(value.clone())? == "stop" => Ok(()),
            "on_error" | "reject_limit" => Err(Reason::Construct("COPY that passes over wrong rows")),
            _ => Err(UNCLEAR),
        }
    }

    /// The options as they were before PostgreSQL 9.0: `CSV HEADER QUOTE AS '…'`.
    fn old(&self, mut at: usize, read: &mut Read) -> Result<usize, Reason> {
        loop {
            let name = self.word(at);
            let with_as = at + 1 + usize::from(self.word(at + 1) == "as");
            let string = |place: usize| self.string(place..place + 1);
            match &*name {
                "binary" => once(&mut read.format, CopyFormat::Binary)?,
                "csv" => once(&mut read.format, CopyFormat::Csv)?,
                "freeze" => {}
                "header" => read.has_header = true,
                "delimiter" | "delimiters" | "null" | "quote" | "escape" | "encoding" => {
                    // DELIMITERS stands behind USING too.
                    let value = string(with_as)?;
                    match &*name {
                        "null" => once(&mut read.null, value)?,
                        "quote" => once(&mut read.quote, value)?,
                        "escape" => once(&mut read.escape, value)?,
                        "encoding" => once(&mut read.encoding, encoding_name(&value))?,
                        _ => once(&mut read.delimiter, value)?,
                    }
                    at = with_as;
                }
                "using" => {}
                "force" => {
                    let is_not = self.word(at + 1) == "not";
                    let from = at + 2 + usize::from(is_not);
                    if self.word(from - 1) != "null" {
                        return Err(UNCLEAR);
                    }
                    let (columns, end) = self.bare_columns(from)?;
                    match is_not {
                        true => once(&mut read.not_null, columns)?,
                        false => once(&mut read.to_null, columns)?,
                    }
                    at = end - 1;
                }
                _ => return Ok(at),
            }
            at += 1;
        }
    }

    /// `a, b, c`, or `*`.
    fn bare_columns(&self, from: usize) -> Result<(Columns, usize), Reason> {
        if self.pieces.text(from) == "*" {
            return Ok((Columns::All, from + 1));
        }
        let mut names = vec![self.column(from)?];
        let mut at = from + 1;
        while self.is(at, ",") {
            names.push(self.column(at + 1)?);
            at += 2;
        }
        Ok((Columns::These(names), at))
    }

    /// `(a, b, c)`, or `*`.
    fn columns(&self, value: Range<usize>) -> Result<Columns, Reason> {
        match self.is(value.start, "(") {
            false => Ok(self.bare_columns(value.start)?.0),
            true => match self.bare_columns(value.start + 1)? {
                (columns, end) if end + 1 == value.end => Ok(columns),
                _ => Err(UNCLEAR),
            },
        }
    }

    fn column(&self, place: usize) -> Result<String, Reason> {
        let text = self.pieces.text(place);
        match self.pieces.all.get(place) {
            Some((.., Kind::Word)) => Ok(text.to_ascii_lowercase()),
            Some((.., Kind::Quoted)) => Ok(text[1..text.len() - 1].replace("\"\"", "\"")),
            _ => Err(UNCLEAR),
        }
    }

    /// A word, a name in quotes, a string or a number that stands for a word, in lower case.
    fn name_in(&self, value: Range<usize>) -> Result<String, Reason> {
        match self.column(value.start) {
            Ok(name) if value.len() == 1 => Ok(name.to_ascii_lowercase()),
            _ => match String::from_utf8(self.string(value)?) {
                Ok(text) => Ok(text.to_ascii_lowercase()),
                Err(_) => Err(UNCLEAR),
            },
        }
    }

    /// A constant's value.
    fn string(&self, value: Range<usize>) -> Result<Vec<u8>, Reason> {
        match (value.len(), self.pieces.all.get(value.start)) {
            (1, Some(&(.., Kind::Literal(number)))) => match self.pieces.value(number) {
                Some(text) => Ok(text.into_bytes()),
                // An escape that is not read elsewhere, and is common here: E'\x01'.
                None => escaped_byte(self.pieces.text(value.start)).ok_or(UNCLEAR),
            },
            _ => Err(UNCLEAR),
        }
    }
}

/// `E'\x01'` and `E'\001'`.
fn escaped_byte(text: &str) -> Option<Vec<u8>> {
    let inner = text
        .strip_prefix(['E', 'e'])?
        .strip_prefix('\'')?
        .strip_suffix('\'')?;
    let digits = inner.strip_prefix('\\')?;
    let byte = match digits.strip_prefix('x') {
        Some(hex) if matches!(hex.len(), 1 | 2) => u8::from_str_radix(hex, 16).ok()?,
        None if digits.len() <= 3 => u8::from_str_radix(digits, 8).ok()?,
        _ => return None,
    };
    (byte != 0 && byte.is_ascii()).then(|| vec![byte])
}

/// An option that is said twice is refused by PostgreSQL.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Reason> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(UNCLEAR),
    }
}

/// An encoding's name without marks and in lower case, as `clean_encoding_name` makes it.
pub(super) fn encoding_name(name: &[u8]) -> String {
    let plain = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
    plain.map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}
