//! Bounded views of the client messages that change state. A view borrows one whole frame's body and never reads past
//! it; `None` means the body is malformed, and the server is left to say so in its own words.

/// Splits a zero-terminated string off the front.
pub fn cstr(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&b| b == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// `Parse`: a name, a text, parameter types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The SQL text without its terminator.
    pub text: &'a [u8],
    /// Everything after the name: the text, its terminator and the parameter types. Equal bodies mean equal statements.
    pub rest: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a Parse body.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (name, rest) = cstr(body)?;
        let (text, types) = cstr(rest)?;
        let (count, types) = types.split_first_chunk::<2>()?;
        (types.len() == usize::from(u16::from_be_bytes(*count)) * 4).then_some(Parse { name, text, rest })
    }
}

/// The front of a `Bind`: which statement goes into which portal. Parameters stay unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name.
    pub portal: &'a [u8],
    /// The statement's name.
    pub statement: &'a [u8],
    /// Bytes of the body up to the end of both names.
    pub names_len: usize,
}

impl<'a> Bind<'a> {
    /// Reads the front of a Bind body, which need not be complete.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (portal, rest) = cstr(body)?;
        let (statement, rest) = cstr(rest)?;
        Some(Bind {
            portal,
            statement,
            names_len: body.len() - rest.len(),
        })
    }
}

/// `Describe` or `Close`: a statement or a portal by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

impl<'a> Named<'a> {
    /// Reads a Describe or Close body.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = body.split_first()?;
        let (name, rest) = cstr(rest)?;
        match kind {
            _ if !rest.is_empty() => None,
            b'S' => Some(Named::Statement(name)),
            b'P' => Some(Named::Portal(name)),
            _ => None,
        }
    }
}

/// The text of a `Query`, without its terminator.
pub fn query_text(body: &[u8]) -> Option<&[u8]> {
    cstr(body).and_then(|(text, rest)| rest.is_empty().then_some(text))
}

/// Columns of a `DataRow` in text; `None` is NULL. The iterator ends early on a malformed row.
pub fn row_values(body: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = body.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        let Ok(length) = usize::try_from(length) else {
            rest = after;
            return Some(None);
        };
        let value = after.get(..length)?;
        rest = &after[length..];
        Some(Some(value))
    })
}

/// The same as text, NULL as an empty one.
pub fn row_texts(body: &[u8]) -> Vec<String> {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    row_values(body).map(text).collect()
}

/// One field of an ErrorResponse or NoticeResponse body, by its tag (`C` SQLSTATE, `M` message, `V` severity …).
pub fn error_field(body: &[u8], tag: u8) -> Option<&[u8]> {
    let mut rest = body;
    loop {
        let (&kind, after) = rest.split_first()?;
        if kind == 0 {
            return None;
        }
        let (value, after) = cstr(after)?;
        if kind == tag {
            return Some(value);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_counts_its_types() {
        let good = b"s\0select $1\0\0\x01\0\0\0\x17";
        let view = Parse::read(good).expect("well formed");
        assert_eq!((view.name, view.text), (&b"s"[..], &b"select $1"[..]));
        assert_eq!(Parse::read(b"s\0select 1\0\0\x02\0\0\0\x17"), None);
        assert_eq!(Parse::read(b"s\0select 1"), None);
    }

    #[test]
    fn bind_reads_its_names_from_a_partial_frame() {
        let view = Bind::read(b"p\0stmt\0\0\x01").expect("names are whole");
        assert_eq!(
            (view.portal, view.statement, view.names_len),
            (&b"p"[..], &b"stmt"[..], 7)
        );
        assert_eq!(Bind::read(b"p\0stm"), None);
    }

    #[test]
    fn rows_end_where_they_are_cut() {
        let body = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
        assert_eq!(row_values(body).collect::<Vec<_>>(), [Some(&b"a"[..]), None]);
        assert_eq!(row_values(b"\0\x02\0\0\0\x09a").count(), 0);
    }

    #[test]
    fn every_error_field_is_optional() {
        assert_eq!(error_field(b"SERROR\0C42601\0\0", b'C'), Some(&b"42601"[..]));
        assert_eq!(error_field(b"SERROR\0\0", b'C'), None);
        assert_eq!(error_field(b"", b'C'), None);
    }
}
