//! Messages as text. `P{a|select 1} B{a} E S` is four messages of a client, `1 2 D{1} C{SELECT 1} Z{I}` an answer.

use crate::protocol::frame::{self, HEADER};
use crate::protocol::message::{Bind, Named, Parse, cstr, error_field, query_text, row_values};
use crate::protocol::reply;

/// A client's messages.
///
/// `Q{text}`, `P{name|text}`, `B{statement}` or `B{portal|statement}`, `D{S|name}`, `D{P|name}`, `C{S|name}`, `E` or
/// `E{portal}`, `d{bytes}`, `f{why}`, and `S H c F X` as they are.
pub(super) fn messages(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(kind) = rest.bytes().next() {
        let (inner, after) = match rest[1..].strip_prefix('{') {
            Some(inner) => inner.split_once('}').expect("a brace is closed"),
            None => ("", &rest[1..]),
        };
        message(&mut out, kind, inner);
        rest = after.trim_start();
    }
    out
}

fn message(out: &mut Vec<u8>, kind: u8, inner: &str) {
    let (first, second) = inner.split_once('|').unwrap_or(("", inner));
    let parts: Vec<&[u8]> = match kind {
        b'Q' | b'f' => vec![inner.as_bytes(), b"\0"],
        b'P' => vec![first.as_bytes(), b"\0", second.as_bytes(), b"\0\0\0"],
        b'B' => vec![first.as_bytes(), b"\0", second.as_bytes(), b"\0\0\0\0\0\0\0"],
        b'D' | b'C' => vec![first.as_bytes(), second.as_bytes(), b"\0"],
        b'E' => vec![inner.as_bytes(), b"\0\0\0\0\0"],
        b'd' => vec![inner.as_bytes()],
        b'F' => vec![b"\0\0\0\x01\0\0\0\0\0\0"],
        b'S' | b'H' | b'c' | b'X' => vec![],
        other => panic!("no message {}", char::from(other)),
    };
    reply::frame(out, kind, |out| out.extend(parts.concat()));
}

/// Whole frames, each as its type and body; whatever is none, as `?` and all the rest.
pub(super) fn frames(bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let header = frame::header(rest).ok().flatten();
        let Some(header) = header.filter(|header| header.total <= rest.len()) else {
            found.push((b'?', rest));
            break;
        };
        found.push((header.kind, &rest[HEADER..header.total]));
        rest = &rest[header.total..];
    }
    found
}

/// What a server was sent, in the notation of [`messages`]; numbered statements as `#`.
pub(super) fn asked(bytes: &[u8]) -> String {
    let word = |&(kind, body): &(u8, &[u8])| {
        let name = |name: &[u8]| match name.starts_with(b"pgshunt:") {
            true => "#".to_owned(),
            false => text(name),
        };
        let inner = match kind {
            b'Q' => text(query_text(body).expect("well formed")),
            b'P' => {
                let parse = Parse::read(body).expect("well formed");
                format!("{}|{}", name(parse.name), text(parse.text))
            }
            b'B' => name(Bind::read(body).expect("well formed").statement),
            b'D' | b'C' => match Named::read(body).expect("well formed") {
                Named::Statement(statement) => format!("S|{}", name(statement)),
                Named::Portal(portal) => format!("P|{}", text(portal)),
            },
            b'd' | b'?' => text(body),
            _ => String::new(),
        };
        braced(kind, &inner)
    };
    frames(bytes).iter().map(word).collect::<Vec<_>>().join(" ")
}

/// What a client hears: `C{tag}`, `D{first value}`, `E{code}`, `S{name=value}`, `Z{status}`, others by type alone.
pub(super) fn told(bytes: &[u8]) -> String {
    frames(bytes).iter().map(told_one).collect::<Vec<_>>().join(" ")
}

/// The same without what a server reports by itself: a pooled client may hear of that at other moments.
pub(super) fn told_in_essence(bytes: &[u8]) -> String {
    let all = frames(bytes);
    let essence = all.iter().filter(|(kind, _)| !matches!(kind, b'S' | b'N'));
    essence.map(told_one).collect::<Vec<_>>().join(" ")
}

fn told_one(&(kind, body): &(u8, &[u8])) -> String {
    let inner = match kind {
        b'C' => text(cstr(body).expect("a tag").0),
        b'E' => text(error_field(body, b'C').expect("a code")),
        b'Z' | b'?' => text(body),
        b'D' => row_values(body).next().flatten().map(text).unwrap_or_default(),
        b'S' => {
            let (name, value) = cstr(body).expect("a name");
            format!("{}={}", text(name), text(cstr(value).expect("a value").0))
        }
        _ => String::new(),
    };
    braced(kind, &inner)
}

fn braced(kind: u8, inner: &str) -> String {
    match inner {
        "" => char::from(kind).to_string(),
        inner => format!("{}{{{inner}}}", char::from(kind)),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
