//! The lines of `test_decoding`, and snapshots as PostgreSQL writes them. Pure.

/// What a line tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A transaction begins, by its number.
    Begin(u32),
    /// These tables were emptied; names without schemas.
    Tables(Vec<Vec<u8>>),
    /// A row of this table was changed, as the rest of the line tells.
    Row(Vec<u8>, &'a [u8]),
    /// The transaction has ended.
    Commit,
    /// Nothing that matters: a logical message.
    Nothing,
}

/// Reads a line; `None` if it is none of `test_decoding`.
pub fn change(line: &[u8]) -> Option<Change<'_>> {
    if let Some(xid) = line.strip_prefix(b"BEGIN ") {
        let digits = std::str::from_utf8(xid).ok()?;
        return digits.trim().parse().ok().map(Change::Begin);
    }
    if line.starts_with(b"COMMIT") {
        return Some(Change::Commit);
    }
    if line.starts_with(b"message:") {
        return Some(Change::Nothing);
    }
    let mut rest = line.strip_prefix(b"table ")?;
    let mut tables = Vec::new();
    loop {
        let mut name = identifier(&mut rest)?;
        while let Some(after) = rest.strip_prefix(b".") {
            rest = after;
            name = identifier(&mut rest)?;
        }
        tables.push(name);
        match rest.strip_prefix(b", ") {
            Some(after) => rest = after,
            None => break,
        }
    }
    let row = rest.strip_prefix(b": ").or_else(|| rest.strip_prefix(b":"))?;
    match row.starts_with(b"TRUNCATE") || tables.len() != 1 {
        true => Some(Change::Tables(tables)),
        false => Some(Change::Row(tables.remove(0), row)),
    }
}

/// What this column of a row was and is, as text, by the line's rest; `None`: it does not say. `is_told` says whether the column
/// belongs to the table's replica identity: only then an UPDATE tells that it was another one.
pub fn values(row: &[u8], column: &str, is_told: bool) -> Option<Vec<String>> {
    if let Some(new) = row.strip_prefix(b"INSERT:") {
        return Some(vec![value(new, column)?]);
    }
    if let Some(old) = row.strip_prefix(b"DELETE:") {
        return Some(vec![value(old, column)?]);
    }
    let row = row.strip_prefix(b"UPDATE:").filter(|_| is_told)?;
    let Some(old) = row.strip_prefix(b" old-key:") else {
        return Some(vec![value(row, column)?]);
    };
    let (was, new) = search(old, column)?;
    Some(vec![was?, value(new?, column)?])
}

fn value(columns: &[u8], column: &str) -> Option<String> {
    search(columns, column)?.0
}

/// A column's value among `name[type]:value`s with blanks before them, and what stands behind `new-tuple:`, if it does; `None` if
/// they are none of `test_decoding`. No value: there is none, or it is not told.
#[allow(clippy::type_complexity)]
fn search<'a>(mut rest: &'a [u8], column: &str) -> Option<(Option<String>, Option<&'a [u8]>)> {
    let mut found = None;
    while !rest.is_empty() {
        rest = rest.strip_prefix(b" ")?;
        if let Some(new) = rest.strip_prefix(b"new-tuple:") {
            return Some((found, Some(new)));
        }
        let (name, after) = name_of_column(rest)?;
        let (text, after) = value_of_column(after)?;
        if name == column.as_bytes() {
            found = text;
        }
        rest = after;
    }
    Some((found, None))
}

/// `name[type]:`
fn name_of_column(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text;
    let name = match rest.first()? {
        b'"' => identifier(&mut rest)?,
        _ => {
            let end = rest.iter().position(|byte| *byte == b'[')?;
            let name = rest[..end].to_vec();
            rest = &rest[end..];
            name
        }
    };
    let mut depth = 0;
    let mut is_quoted = false;
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'[' if !is_quoted => depth += 1,
            b']' if !is_quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((name, rest[at + 1..].strip_prefix(b":")?));
        }
    }
    None
}

/// A value, with what stands behind it.
fn value_of_column(text: &[u8]) -> Option<(Option<String>, &[u8])> {
    let quoted = text.strip_prefix(b"'").or_else(|| text.strip_prefix(b"B'"));
    let Some(mut rest) = quoted else {
        let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        let word = std::str::from_utf8(&text[..end]).ok()?;
        let is_value = !matches!(word, "null" | "unchanged-toast-datum");
        return Some((is_value.then(|| word.to_owned()), &text[end..]));
    };
    let mut value = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\'')?;
        value.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(b"'") {
            Some(after) => {
                value.push(b'\'');
                rest = after;
            }
            None => return Some((String::from_utf8(value).ok(), rest)),
        }
    }
}

/// A name as `quote_identifier` writes it.
fn identifier(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    if let Some(mut quoted) = rest.strip_prefix(b"\"") {
        loop {
            let end = quoted.iter().position(|byte| *byte == b'"')?;
            name.extend_from_slice(&quoted[..end]);
            quoted = &quoted[end + 1..];
            match quoted.strip_prefix(b"\"") {
                Some(after) => {
                    name.push(b'"');
                    quoted = after;
                }
                None => break,
            }
        }
        *rest = quoted;
    } else {
        let end = rest.iter().position(|byte| matches!(byte, b'.' | b':' | b','))?;
        name.extend_from_slice(&rest[..end]);
        *rest = &rest[end..];
    }
    (!name.is_empty()).then_some(name)
}

/// Which transactions are visible: `xmin:xmax:in,progress`.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    next: u64,
    in_progress: Vec<u64>,
}

impl Snapshot {
    /// Reads what `txid_current_snapshot()` gives.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut parts = text.split(':');
        let _oldest = parts.next()?;
        let next = parts.next()?.parse().ok()?;
        let list = parts.next()?.split(',').filter(|xid| !xid.is_empty());
        let in_progress = list.map(|xid| xid.parse().ok()).collect::<Option<_>>()?;
        Some(Snapshot { next, in_progress })
    }

    /// Is a transaction that was committed visible? Its number is without the epoch, and no more than 2^31 old.
    pub fn shows(&self, xid: u32) -> bool {
        let behind = (self.next as u32).wrapping_sub(xid);
        // Not behind, but ahead.
        if behind == 0 || behind > u32::MAX / 2 {
            return false;
        }
        !self.in_progress.iter().any(|other| *other as u32 == xid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(name: &str, row: &'a str) -> Option<Change<'a>> {
        Some(Change::Row(name.as_bytes().to_vec(), row.as_bytes()))
    }

    fn tables(names: &[&str]) -> Option<Change<'static>> {
        Some(Change::Tables(
            names.iter().map(|name| name.as_bytes().to_vec()).collect(),
        ))
    }

    #[test]
    fn lines_are_read() {
        for (line, meant) in [
            ("BEGIN 529", Some(Change::Begin(529))),
            ("COMMIT 529", Some(Change::Commit)),
            (
                "table public.t: INSERT: id[integer]:1 x[text]:'a, b: c'",
                row("t", "INSERT: id[integer]:1 x[text]:'a, b: c'"),
            ),
            (
                "table public.\"odd: \"\"name\": UPDATE: a[text]:'x'",
                row("odd: \"name", "UPDATE: a[text]:'x'"),
            ),
            (
                "table \"S.\".t: DELETE: (no-tuple-data)",
                row("t", "DELETE: (no-tuple-data)"),
            ),
            (
                "table public.a, public.b: TRUNCATE: restart_seqs cascade",
                tables(&["a", "b"]),
            ),
            (
                "message: transactional: 1 prefix: p, sz: 1 content:x",
                Some(Change::Nothing),
            ),
            ("BEGIN x", None),
            ("table public.", None),
            ("table public.t", None),
            ("table \"open", None),
            ("", None),
        ] {
            assert_eq!(change(line.as_bytes()), meant, "{line}");
        }
    }

    #[test]
    fn whose_a_row_was_and_is_is_told_or_not() {
        let told = |row: &str, is_told| values(row.as_bytes(), "tenant", is_told).map(|keys| keys.join("|"));
        for (row, as_key, as_none) in [
            (
                "INSERT: id[integer]:1 x[text]:'tenant[integer]:7' tenant[integer]:5",
                Some("5"),
                Some("5"),
            ),
            (
                "INSERT: \"a b[]\"[text[]]:'{\"''\"}' \"T\"[\"odd]type\"]:null tenant[character varying]:'it''s'",
                Some("it's"),
                Some("it's"),
            ),
            ("INSERT: id[integer]:1 tenant[integer]:null", None, None),
            ("INSERT: id[integer]:1", None, None),
            (
                "UPDATE: tenant[integer]:5 b[bit]:B'101' v[text]:unchanged-toast-datum",
                Some("5"),
                None,
            ),
            (
                "UPDATE: old-key: tenant[integer]:5 id[integer]:1 new-tuple: tenant[integer]:6 id[integer]:1",
                Some("5|6"),
                None,
            ),
            (
                "UPDATE: old-key: id[integer]:1 new-tuple: tenant[integer]:6 id[integer]:2",
                None,
                None,
            ),
            ("DELETE: tenant[integer]:5 id[integer]:1", Some("5"), Some("5")),
            ("DELETE: id[integer]:1", None, None),
            ("DELETE: (no-tuple-data)", None, None),
            ("UPDATE: tenant[integer]:'open", None, None),
            ("INSERT: tenant[integer:5", None, None),
            ("", None, None),
        ] {
            assert_eq!(told(row, true).as_deref(), as_key, "{row}");
            assert_eq!(told(row, false).as_deref(), as_none, "{row}");
        }
    }

    #[test]
    fn a_snapshot_shows_what_has_ended() {
        let snapshot = Snapshot::parse(b"95:100:97,99").expect("a snapshot");
        let shown: Vec<u32> = (94..102).filter(|xid| snapshot.shows(*xid)).collect();
        assert_eq!(shown, [94, 95, 96, 98]);
        let epoch = Snapshot::parse(b"4294967290:4294967300:").expect("a snapshot");
        assert!(epoch.shows(4_294_967_295) && epoch.shows(3) && !epoch.shows(4));
        for wrong in [&b""[..], b"1", b"1:2", b"1:x:", b"1:2:x"] {
            assert_eq!(Snapshot::parse(wrong), None);
        }
    }
}
