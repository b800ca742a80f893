//! One message of a server, and how it reads in a transcript.

use std::fmt;

use pgshunt::protocol::message::{error_field, row_values};

/// A message: its type byte and its body.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The type byte.
    pub kind: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

impl Frame {
    /// The SQLSTATE of an error or a notice.
    pub fn sqlstate(&self) -> String {
        self.field(b'C')
    }

    /// A field of an error or a notice: `M` message, `H` hint, `S` severity.
    pub fn field(&self, tag: u8) -> String {
        assert!(matches!(self.kind, b'E' | b'N'), "{self} has no fields");
        text(error_field(&self.body, tag).unwrap_or_default())
    }

    /// The columns of a row, joined by `|`.
    pub fn row(&self) -> String {
        assert_eq!(self.kind, b'D', "{self} is no row");
        let columns = row_values(&self.body).map(|value| value.map_or("NULL".into(), text));
        columns.collect::<Vec<_>>().join("|")
    }
}

/// A line of a transcript: `D 1|x`, `C SELECT 1`, `E ERROR 42P01 relation "x" does not exist`, `Z I`.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = char::from(self.kind);
        match self.kind {
            b'D' => write!(f, "D {}", shortened(&self.row())),
            b'E' | b'N' => {
                let (severity, message) = (self.field(b'S'), self.field(b'M'));
                write!(f, "{kind} {severity} {} {message}", self.sqlstate())
            }
            b'T' => write!(f, "T {}", columns(&self.body)),
            b'd' => write!(f, "d {}", shortened(&text(&self.body))),
            b't' => write!(f, "t {:?}", self.body),
            b'G' | b'H' | b'R' | b'K' | b'v' => write!(f, "{kind} {:?}", self.body),
            b'A' => {
                // The process id is not the same twice.
                let (channel, payload) = split(self.body.get(4..).unwrap_or_default());
                write!(f, "A {channel} {}", split(payload).0)
            }
            b'S' => {
                let (name, value) = split(&self.body);
                write!(f, "S {name} {}", split(value).0)
            }
            _ => {
                let body = self.body.strip_suffix(b"\0").unwrap_or(&self.body);
                write!(f, "{}", format!("{kind} {}", text(body)).trim_end())
            }
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A RowDescription: `name:type/format`.
fn columns(body: &[u8]) -> String {
    let mut rest = body.get(2..).unwrap_or_default();
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|&b| b == 0) {
        let Some((fixed, after)) = rest[end + 1..].split_first_chunk::<18>() else {
            break;
        };
        let oid = u32::from_be_bytes([fixed[6], fixed[7], fixed[8], fixed[9]]);
        columns.push(format!("{}:{oid}/{}", text(&rest[..end]), fixed[17]));
        rest = after;
    }
    columns.join(" ")
}

fn split(bytes: &[u8]) -> (String, &[u8]) {
    match bytes.iter().position(|&b| b == 0) {
        Some(end) => (text(&bytes[..end]), &bytes[end + 1..]),
        None => (text(bytes), &[]),
    }
}

fn shortened(value: &str) -> String {
    match value.len() {
        0..=200 => value.trim_end_matches('\n').to_owned(),
        length => format!("{}… ({length} bytes)", value.chars().take(40).collect::<String>()),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
