//! Writes the frames pgshunt answers by itself. Not for frames of a server, which pass as they are.
//!
//! Every function appends one whole frame to `out` (PostgreSQL, "Message Formats").

use super::sqlstate::SqlState;

/// What an ErrorResponse or NoticeResponse says.
pub struct ErrorFields<'a> {
    /// `ERROR`, `FATAL`, `NOTICE` …
    pub severity: &'a str,
    /// The SQLSTATE.
    pub code: SqlState,
    /// The primary message.
    pub message: &'a str,
    /// The detail line.
    pub detail: Option<&'a str>,
    /// The hint line.
    pub hint: Option<&'a str>,
}

/// Appends a frame of `kind` whose body `write` appends; the length is patched afterwards.
pub fn frame(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - at).expect("our own frames are far below 4 GiB");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a zero-terminated string; a NUL inside ends it early, as it would on the wire.
pub fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    out.extend_from_slice(&text[..end]);
    out.push(0);
}

fn fields(out: &mut Vec<u8>, kind: u8, f: &ErrorFields<'_>) {
    frame(out, kind, |out| {
        let mut field = |tag: u8, text: &str| {
            out.push(tag);
            cstr(out, text.as_bytes());
        };
        field(b'S', f.severity);
        field(b'V', f.severity);
        field(b'C', f.code.as_str());
        field(b'M', f.message);
        if let Some(detail) = f.detail {
            field(b'D', detail);
        }
        if let Some(hint) = f.hint {
            field(b'H', hint);
        }
        out.push(0);
    });
}

/// `ErrorResponse`.
pub fn error_response(out: &mut Vec<u8>, f: &ErrorFields<'_>) {
    fields(out, b'E', f);
}

/// `NoticeResponse`.
pub fn notice_response(out: &mut Vec<u8>, f: &ErrorFields<'_>) {
    fields(out, b'N', f);
}

/// `ReadyForQuery` with the transaction status `I`, `T` or `E`.
pub fn ready_for_query(out: &mut Vec<u8>, status: u8) {
    frame(out, b'Z', |out| out.push(status));
}

/// `CommandComplete` with its tag.
pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    frame(out, b'C', |out| cstr(out, tag.as_bytes()));
}

/// `ParameterStatus`.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    frame(out, b'S', |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

/// `ParseComplete`.
pub fn parse_complete(out: &mut Vec<u8>) {
    frame(out, b'1', |_| ());
}

/// `CloseComplete`.
pub fn close_complete(out: &mut Vec<u8>) {
    frame(out, b'3', |_| ());
}

/// `EmptyQueryResponse`.
pub fn empty_query(out: &mut Vec<u8>) {
    frame(out, b'I', |_| ());
}

/// A `Query` frame, for statements pgshunt sends a server by itself.
pub fn query(out: &mut Vec<u8>, text: &[u8]) {
    frame(out, b'Q', |out| cstr(out, text));
}

/// A column of a result pgshunt makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name.
    pub name: &'static str,
    /// The type's OID (25 text, 23 int4, 20 int8, 1700 numeric).
    pub oid: u32,
}

/// `RowDescription`, all columns in text format.
pub fn row_description(out: &mut Vec<u8>, columns: &[Column]) {
    row_description_in(out, columns, |_| 0);
}

/// `RowDescription`, with each column's format by its place: 0 text, 1 binary.
pub fn row_description_in(out: &mut Vec<u8>, columns: &[Column], format: impl Fn(usize) -> u16) {
    frame(out, b'T', |out| {
        out.extend_from_slice(&(columns.len() as u16).to_be_bytes());
        for (place, column) in columns.iter().enumerate() {
            cstr(out, column.name.as_bytes());
            out.extend_from_slice(&0u32.to_be_bytes());
            out.extend_from_slice(&0u16.to_be_bytes());
            out.extend_from_slice(&column.oid.to_be_bytes());
            let size: i16 = match column.oid {
                23 => 4,
                20 => 8,
                _ => -1,
            };
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&(-1i32).to_be_bytes());
            out.extend_from_slice(&format(place).to_be_bytes());
        }
    });
}

/// `DataRow` of text values; `None` is NULL.
pub fn data_row<'a>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = Option<&'a [u8]>>) {
    frame(out, b'D', |out| {
        out.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            match value {
                Some(bytes) => {
                    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                    out.extend_from_slice(bytes);
                }
                None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_counts_its_length_and_not_its_type() {
        let mut out = Vec::new();
        ready_for_query(&mut out, b'I');
        assert_eq!(out, b"Z\0\0\0\x05I");
    }

    #[test]
    fn a_nul_inside_a_string_ends_it() {
        let mut out = Vec::new();
        cstr(&mut out, b"a\0b");
        assert_eq!(out, b"a\0");
    }
}
