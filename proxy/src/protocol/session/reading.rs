//! How a client's texts are to be read, by what is reported to it.

use routing_rules::Lex;

use super::reported::Reported;

/// How texts are read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What was reported when this was found out.
    pub(super) under: Reported,
    pub(super) lex: Lex,
    /// A byte of the client's encoding can look like a quote's end: what texts do is not told by reading them.
    pub(super) is_unsafe: bool,
}

impl Reading {
    pub(super) fn new(reported: &Reported) -> Self {
        let off = reported.value(b"standard_conforming_strings") == Some(b"off");
        let encoding = reported.value(b"client_encoding").unwrap_or_default();
        Reading {
            under: reported.clone(),
            lex: Lex {
                standard_conforming_strings: !off,
            },
            is_unsafe: UNSAFE_ENCODINGS.contains(&encoding),
        }
    }
}

/// Client encodings in which the second byte of a character may be a backslash or another ASCII sign.
const UNSAFE_ENCODINGS: [&[u8]; 7] = [
    b"SJIS",
    b"SHIFT_JIS_2004",
    b"BIG5",
    b"GBK",
    b"UHC",
    b"GB18030",
    b"JOHAB",
];
