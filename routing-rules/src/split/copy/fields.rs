//! One field of a line, as `CopyReadAttributesText` and `CopyReadAttributesCSV` of `copyfromparse.c` read it.

use super::options::CopyOptions;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The line ends before it.
    Missing,
    /// NULL.
    Null,
    /// The column's default.
    Default,
    /// A value: what was put into the buffer.
    Value,
    /// A quote that is never closed.
    Unterminated,
}

/// Reads the key's field of a line in text format into `value`.
pub fn text(line: &[u8], options: &CopyOptions, value: &mut Vec<u8>) -> Field {
    let mut rest = line;
    for _ in 0..options.key {
        let end = raw_end(rest, options.delimiter);
        match rest.get(end + 1..) {
            Some(after) if end < rest.len() => rest = after,
            Some(_) | None => return Field::Missing,
        }
    }
    let raw = &rest[..raw_end(rest, options.delimiter)];
    if raw == options.null {
        return Field::Null;
    }
    if options.default.as_deref() == Some(raw) {
        return Field::Default;
    }
    unescape(raw, value);
    Field::Value
}

/// Where a field ends: at a delimiter that no backslash stands before.
fn raw_end(line: &[u8], delimiter: u8) -> usize {
    let mut at = 0;
    while at < line.len() {
        match line[at] {
            b'\\' => at += 2,
            byte if byte == delimiter => return at,
            _ => at += 1,
        }
    }
    line.len()
}

fn unescape(raw: &[u8], value: &mut Vec<u8>) {
    value.clear();
    let mut rest = raw.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        let Some(escaped) = rest.next() else {
            return;
        };
        let digit = |byte: u8, base: u32| char::from(byte).to_digit(base).map(|digit| digit as u8);
        match escaped {
            b'0'..=b'7' => {
                let mut code = escaped - b'0';
                for _ in 0..2 {
                    let Some(next) = rest.next_if(|&byte| digit(byte, 8).is_some()) else {
                        break;
                    };
                    code = code.wrapping_shl(3) | digit(next, 8).unwrap_or(0);
                }
                value.push(code);
            }
            b'x' => match rest.next_if(|&byte| digit(byte, 16).is_some()) {
                None => value.push(b'x'),
                Some(first) => {
                    let mut code = digit(first, 16).unwrap_or(0);
                    if let Some(second) = rest.next_if(|&byte| digit(byte, 16).is_some()) {
                        code = code << 4 | digit(second, 16).unwrap_or(0);
                    }
                    value.push(code);
                }
            },
            b'b' => value.push(8),
            b'f' => value.push(12),
            b'n' => value.push(b'\n'),
            b'r' => value.push(b'\r'),
            b't' => value.push(b'\t'),
            b'v' => value.push(11),
            other => value.push(other),
        }
    }
}

/// Reads the key's field of a line in CSV into `value`.
pub fn csv(line: &[u8], options: &CopyOptions, value: &mut Vec<u8>) -> Field {
    let mut at = 0;
    for field in 0.. {
        let from = at;
        let (end, was_quoted) = match csv_field(line, at, options, value) {
            Some(read) => read,
            None => return Field::Unterminated,
        };
        if field == options.key {
            return judge(&line[from..end], was_quoted, options, value);
        }
        if end >= line.len() {
            return Field::Missing;
        }
        at = end + 1;
    }
    Field::Missing
}

/// Where a field ends, and whether part of it was quoted; its value is in `value`.
fn csv_field(line: &[u8], from: usize, options: &CopyOptions, value: &mut Vec<u8>) -> Option<(usize, bool)> {
    value.clear();
    let (mut at, mut was_quoted) = (from, false);
    while at < line.len() {
        let byte = line[at];
        if byte == options.delimiter {
            return Some((at, was_quoted));
        }
        at += 1;
        if byte != options.quote {
            value.push(byte);
            continue;
        }
        was_quoted = true;
        loop {
            let byte = *line.get(at)?;
            at += 1;
            let next = line.get(at).copied();
            match next {
                Some(next) if byte == options.escape && (next == options.escape || next == options.quote) => {
                    value.push(next);
                    at += 1;
                }
                _ if byte == options.quote => break,
                _ => value.push(byte),
            }
        }
    }
    Some((at, was_quoted))
}

fn judge(raw: &[u8], was_quoted: bool, options: &CopyOptions, value: &mut Vec<u8>) -> Field {
    let is_null = !was_quoted && raw == options.null;
    if !was_quoted && options.default.as_deref() == Some(raw) {
        return Field::Default;
    }
    match is_null {
        true if options.force_not_null => {
            value.clear();
            value.extend_from_slice(&options.null);
            Field::Value
        }
        true => Field::Null,
        false if options.force_null && *value == options.null => Field::Null,
        false => Field::Value,
    }
}
