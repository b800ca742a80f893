//! The lines of `test_decoding`, and snapshots as PostgreSQL writes them. Pure.

/// What a line tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// A transaction begins, by its number.
    Begin(u32),
    /// Rows of these tables were changed; names without schemas.
    Tables(Vec<Vec<u8>>),
    /// The transaction has ended.
    Commit,
    /// Nothing that matters: a logical message.
    Nothing,
}

/// Reads a line; `None` if it is none of `test_decoding`.
pub fn change(line: &[u8]) -> Option<Change> {
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
            None => return rest.starts_with(b":").then_some(Change::Tables(tables)),
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

    fn tables(names: &[&str]) -> Option<Change> {
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
                tables(&["t"]),
            ),
            (
                "table public.\"odd: \"\"name\": UPDATE: a[text]:'x'",
                tables(&["odd: \"name"]),
            ),
            ("table \"S.\".t: DELETE: (no-tuple-data)", tables(&["t"])),
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
