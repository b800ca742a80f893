//! A text cut into pieces with their places, and its shape: the text without blanks, comments and the values of
//! constants. Two texts of one shape differ in their constants' values alone.

use std::ops::Range;

use super::Unread;
use crate::Lex;
use crate::lexer::{Token, Tokens};

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in quotes.
    Quoted,
    /// `$1`.
    Parameter,
    /// A constant, by its place among them.
    Literal(u32),
    /// A constant whose text belongs to the shape: a bit string, `N'…'`.
    Fixed,
    /// `(`, `)`, `,`, `;`, `.`, `[`, `]`, `:`.
    Mark,
    /// An operator, cut as PostgreSQL cuts runs of operator characters; `::` and `:=` too.
    Operator,
}

/// How a constant is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal {
    /// In quotes, without escapes.
    Text,
    /// Between dollar quotes.
    Body,
    /// In quotes, with backslashes that escape.
    Escaped,
    /// A number.
    Number,
}

/// A text in pieces.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    /// The text.
    pub text: &'a str,
    /// Each piece's bytes and kind.
    pub all: Vec<(u32, u32, Kind)>,
    /// Its constants: number of the piece, and how it is written.
    pub literals: Vec<(u32, Literal)>,
    /// Same for all texts that differ in blanks, comments, the case of words and the values of constants alone.
    pub shape: Vec<u8>,
}

/// The room that one text's pieces took, for those of the next.
#[derive(Debug, Default)]
pub struct Room {
    all: Vec<(u32, u32, Kind)>,
    literals: Vec<(u32, Literal)>,
    /// The shape of the text that took it.
    pub shape: Vec<u8>,
}

/// Cuts a text.
pub fn cut(text: &[u8], lex: Lex) -> Result<Pieces<'_>, Unread> {
    let room = Room {
        all: Vec::with_capacity(text.len() / 4),
        literals: Vec::new(),
        shape: Vec::with_capacity(text.len()),
    };
    cut_in(text, lex, room)
}

/// Cuts a text, in the room of another one.
pub fn cut_in(text: &[u8], lex: Lex, mut room: Room) -> Result<Pieces<'_>, Unread> {
    if text.len() > BYTES_MAX {
        return Err(Unread::TooLong);
    }
    let text = str::from_utf8(text).map_err(|_| Unread::Encoding)?;
    if text.contains('\0') {
        return Err(Unread::Encoding);
    }
    room.all.clear();
    room.literals.clear();
    room.shape.clear();
    let mut pieces = Pieces {
        text,
        all: room.all,
        literals: room.literals,
        shape: room.shape,
    };
    let mut tokens = Tokens::new(text.as_bytes(), lex);
    while let Some(token) = tokens.next() {
        pieces.add(token, tokens.span())?;
    }
    Ok(pieces)
}

/// The longest text looked through.
const BYTES_MAX: usize = 16 << 20;
/// The longest name PostgreSQL keeps; what is longer it cuts, and we refuse.
const NAME_BYTES_MAX: usize = 63;

impl<'a> Pieces<'a> {
    /// The room it took.
    pub fn into_room(self) -> Room {
        Room {
            all: self.all,
            literals: self.literals,
            shape: self.shape,
        }
    }

    /// The text of a piece.
    pub fn text(&self, piece: usize) -> &'a str {
        match self.all.get(piece) {
            Some(&(from, to, _)) => &self.text[from as usize..to as usize],
            None => "",
        }
    }

    /// The bytes from one piece to another, both included.
    pub fn range(&self, first: usize, last: usize) -> &'a str {
        match (self.all.get(first), self.all.get(last)) {
            (Some(&(from, ..)), Some(&(_, to, _))) if from <= to => &self.text[from as usize..to as usize],
            _ => "",
        }
    }

    /// The statements of the text, by the pieces they are made of; empty ones left out. A routine's BEGIN ATOMIC … END is taken for
    /// several.
    pub fn statements(&self) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let (mut start, mut depth) = (0, 0_usize);
        for place in 0..self.all.len() {
            match self.text(place) {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                ";" if depth == 0 => {
                    ranges.push(start..place);
                    start = place + 1;
                }
                _ => {}
            }
        }
        ranges.push(start..self.all.len());
        ranges.retain(|range| !range.is_empty());
        ranges
    }

    /// The bytes of these pieces within the text.
    pub fn bytes(&self, range: Range<usize>) -> Range<usize> {
        match (
            self.all.get(range.start),
            range.end.checked_sub(1).and_then(|last| self.all.get(last)),
        ) {
            (Some(&(from, ..)), Some(&(_, to, _))) if from <= to => from as usize..to as usize,
            _ => 0..0,
        }
    }

    /// The value of a constant; `None` if it has escapes we don't read.
    pub fn value(&self, literal: u32) -> Option<String> {
        let &(piece, kind) = self.literals.get(literal as usize)?;
        let text = self.text(piece as usize);
        match kind {
            Literal::Number => Some(text.to_owned()),
            Literal::Text => {
                let (_, inner) = text.split_once('\'')?;
                Some(inner.strip_suffix('\'')?.replace("''", "'"))
            }
            Literal::Body => {
                let tag = text[1..].find('$')? + 2;
                Some(text.get(tag..text.len().checked_sub(tag)?)?.to_owned())
            }
            Literal::Escaped => {
                let (_, inner) = text.split_once('\'')?;
                unescape(inner.strip_suffix('\'')?)
            }
        }
    }

    fn add(&mut self, token: Token<'_>, span: std::ops::Range<usize>) -> Result<(), Unread> {
        let text = &self.text[span.clone()];
        let follows = self
            .all
            .last()
            .is_some_and(|&(_, to, _)| to as usize == span.start);
        let last = self.all.last().map(|&(.., kind)| kind);
        match token {
            Token::Word(_) => {
                if matches!(last, Some(Kind::Literal(_) | Kind::Parameter)) && follows {
                    return Err(Unread::Lexical("a word begins right behind a number or a string"));
                }
                check_name(text)?;
                self.shape.push(b' ');
                self.shape
                    .extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
                self.push(span, Kind::Word);
            }
            Token::Quoted(name) => {
                check_name(text.get(1..text.len().saturating_sub(1)).unwrap_or(""))?;
                if name.is_empty() {
                    return Err(Unread::Lexical("a name is empty"));
                }
                self.shape.extend(text.bytes());
                self.push(span, Kind::Quoted);
            }
            Token::Number(_) if text.starts_with('$') => {
                self.shape.push(8);
                self.shape.extend(text.bytes());
                self.push(span, Kind::Parameter);
            }
            Token::Number(_) => self.literal(span, Literal::Number)?,
            Token::Text(_) if text.starts_with(['n', 'N']) => self.fixed(span),
            Token::Text(_) => self.literal(span, Literal::Text)?,
            Token::Body(_) => self.literal(span, Literal::Body)?,
            Token::Coded(_) => match text.as_bytes()[0] {
                b'b' | b'B' | b'x' | b'X' => self.fixed(span),
                b'u' | b'U' => return Err(Unread::Lexical("names and strings with U& are not read")),
                _ => self.literal(span, Literal::Escaped)?,
            },
            Token::Mark(mark) => return self.mark(mark, span, follows),
            Token::Operator(run) => self.operators(run, span.start, follows),
            Token::Broken => return Err(Unread::Lexical("a quote or a comment in it has no end")),
        }
        Ok(())
    }

    fn push(&mut self, span: std::ops::Range<usize>, kind: Kind) {
        self.all.push((span.start as u32, span.end as u32, kind));
    }

    fn literal(&mut self, span: std::ops::Range<usize>, kind: Literal) -> Result<(), Unread> {
        let is_number = kind == Literal::Number;
        let after_literal = match self.all.last() {
            Some(&(.., Kind::Literal(number))) => {
                self.literals[number as usize].1 != Literal::Number || is_number
            }
            Some(&(.., Kind::Fixed)) => true,
            _ => false,
        };
        if after_literal {
            return Err(Unread::Lexical("two constants follow each other"));
        }
        self.shape.push(match kind {
            Literal::Text => 1,
            Literal::Body => 2,
            Literal::Escaped => 3,
            Literal::Number => 4,
        });
        let number = self.literals.len() as u32;
        self.literals.push((self.all.len() as u32, kind));
        self.push(span, Kind::Literal(number));
        Ok(())
    }

    fn fixed(&mut self, span: std::ops::Range<usize>) {
        self.shape.push(5);
        self.shape.extend(self.text[span.clone()].bytes());
        self.push(span, Kind::Fixed);
    }

    fn mark(&mut self, mark: u8, span: std::ops::Range<usize>, follows: bool) -> Result<(), Unread> {
        if !b"(),;.[]:".contains(&mark) {
            return Err(Unread::Lexical("a character in it is no SQL"));
        }
        if mark == b':' && follows && self.ends_with(":") {
            self.shape.push(6);
            self.grow(span.end);
            return Ok(());
        }
        self.shape.push(mark);
        self.push(span, Kind::Mark);
        Ok(())
    }

    /// Is the last piece a mark with this text?
    fn ends_with(&self, mark: &str) -> bool {
        let last = self.all.len().wrapping_sub(1);
        matches!(self.all.last(), Some((.., Kind::Mark))) && self.text(last) == mark
    }

    /// Makes an operator of the last piece and the next byte.
    fn grow(&mut self, to: usize) {
        if let Some(last) = self.all.last_mut() {
            last.1 = to as u32;
            last.2 = Kind::Operator;
        }
    }

    /// A run of operator characters, cut as `scan.l` does.
    fn operators(&mut self, run: &[u8], mut from: usize, follows: bool) {
        let mut rest = run;
        if rest[0] == b'=' && follows && self.ends_with(":") {
            self.shape.push(7);
            self.grow(from + 1);
            (rest, from) = (&rest[1..], from + 1);
        }
        while !rest.is_empty() {
            let len = operator_len(rest);
            self.shape.push(b'\t');
            self.shape.extend(&rest[..len]);
            self.push(from..from + len, Kind::Operator);
            (rest, from) = (&rest[len..], from + len);
        }
    }
}

fn check_name(name: &str) -> Result<(), Unread> {
    match name.len() > NAME_BYTES_MAX {
        true => Err(Unread::Lexical("a name is longer than 63 bytes")),
        false => Ok(()),
    }
}

/// An operator ends before a trailing `+` or `-` unless it has one of the characters that SQL itself does not use.
fn operator_len(run: &[u8]) -> usize {
    let mut len = run.len();
    while len > 1 && matches!(run[len - 1], b'+' | b'-') {
        if run[..len - 1].iter().any(|byte| b"~!@#^&|`?%".contains(byte)) {
            break;
        }
        len -= 1;
    }
    len
}

/// The escapes whose meaning no setting changes.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\'' => {
                chars.next_if_eq(&'\'')?;
                out.push('\'');
            }
            '\\' => out.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                '0'..='9' | 'x' | 'u' | 'U' => return None,
                other => other,
            }),
            other => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<String> {
        let pieces = cut(text.as_bytes(), Lex::default()).expect("a text");
        (0..pieces.all.len())
            .map(|piece| pieces.text(piece).to_owned())
            .collect()
    }

    fn value(text: &str) -> Option<String> {
        cut(text.as_bytes(), Lex::default()).expect("a text").value(0)
    }

    #[test]
    fn runs_of_operators_are_cut_as_postgresql_cuts_them() {
        assert_eq!(pieces("a=-1"), ["a", "=", "-", "1"]);
        assert_eq!(pieces("a@-1"), ["a", "@-", "1"]);
        assert_eq!(pieces("a*-+-b"), ["a", "*", "-", "+", "-", "b"]);
        assert_eq!(pieces("a<=$1::int"), ["a", "<=", "$1", "::", "int"]);
        assert_eq!(
            pieces("a := 1, b[1:2]"),
            ["a", ":=", "1", ",", "b", "[", "1", ":", "2", "]"]
        );
        assert_eq!(pieces("a->>'b'"), ["a", "->>", "'b'"]);
    }

    #[test]
    fn constants_give_their_values_back() {
        assert_eq!(value("'it''s'").as_deref(), Some("it's"));
        assert_eq!(value("$q$a'b$q$").as_deref(), Some("a'b"));
        assert_eq!(value("$$$$").as_deref(), Some(""));
        assert_eq!(value(r"E'a\'b\\\n'").as_deref(), Some("a'b\\\n"));
        assert_eq!(value(r"E'\x41'"), None);
        assert_eq!(value("1.50").as_deref(), Some("1.50"));
    }

    #[test]
    fn shapes_are_equal_only_where_meaning_is() {
        let shape = |text: &str| cut(text.as_bytes(), Lex::default()).expect("a text").shape;
        assert_eq!(
            shape("SELECT * FROM t WHERE a = 1"),
            shape("select *from t /* x */ where a=22")
        );
        for (one, other) in [
            ("select a", "select A_"),
            ("select \"A\"", "select a"),
            ("select 'a'", "select 1"),
            ("select 'a'", "select $$a$$"),
            ("select ab", "select a b"),
            ("select a - -b", "select a -b"),
            ("select $1", "select $2"),
            ("select b'1'", "select b'0'"),
            ("select a::b", "select a: :b"),
            ("select a::b", "select a:=b"),
            ("select a $1", "select a$1"),
            ("select (1,2)", "select (1,2,3)"),
        ] {
            assert_ne!(shape(one), shape(other), "{one} / {other}");
        }
    }

    #[test]
    fn what_versions_read_differently_is_not_read() {
        for text in [
            "select 0x1f",
            "select 1_a",
            "select 'a' 'b'",
            "select U&'a'",
            "'a",
            "select {",
            "$1a",
        ] {
            assert!(cut(text.as_bytes(), Lex::default()).is_err(), "{text}");
        }
    }
}
