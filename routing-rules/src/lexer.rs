//! Cuts SQL text into tokens as PostgreSQL's `scan.l` does. Knows quotes and comments, not meaning.
//!
//! Multi-byte encodings whose later bytes may look like ASCII (SJIS, BIG5, GBK, UHC, GB18030, JOHAB; possible for
//! clients only) are read as if they were UTF-8: there, a backslash inside a string may be misread.

use crate::Lex;

/// A piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A keyword or an unquoted identifier, as it is written.
    Word(&'a [u8]),
    /// A quoted identifier, without its outer quotes; inner ones still doubled.
    Quoted(&'a [u8]),
    /// A string constant without escapes and without its outer quotes; inner ones still doubled.
    Text(&'a [u8]),
    /// What stands between two dollar quotes, verbatim.
    Body(&'a [u8]),
    /// A string constant or an identifier with escapes in it, or a bit string, as it is written between its quotes.
    Coded(&'a [u8]),
    /// A number or a parameter.
    Number(&'a [u8]),
    /// `(`, `)`, `,`, `;`, `.`, `[`, `]`, `:`, or a byte that has no meaning outside of quotes.
    Mark(u8),
    /// A run of operator characters.
    Operator(&'a [u8]),
    /// A quote or a comment that has no end.
    Broken,
}

/// Tokens of a text, comments and white space left out.
#[derive(Clone, Debug)]
pub struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the last token began.
    from: usize,
    lex: Lex,
    /// Where a string constant that takes escapes ended: a quote on a later line goes on with it.
    continues: Option<usize>,
}

impl<'a> Tokens<'a> {
    /// The tokens of a text up to its end or its first NUL.
    pub fn new(text: &'a [u8], lex: Lex) -> Self {
        Tokens {
            text,
            at: 0,
            from: 0,
            lex,
            continues: None,
        }
    }

    /// Where the next token is looked for.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Where the last token stands in the text, its quotes and prefix included.
    pub fn span(&self) -> std::ops::Range<usize> {
        self.from..self.at
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_while(&mut self, class: u8) {
        while CLASS[usize::from(self.peek(0))] & class != 0 {
            self.at += 1;
        }
    }

    /// Skips white space and comments. False if a comment has no end.
    fn skip_blank(&mut self) -> bool {
        loop {
            self.skip_while(BLANK);
            match (self.peek(0), self.peek(1)) {
                (b'-', b'-') => {
                    while !matches!(self.peek(0), 0 | b'\n' | b'\r') {
                        self.at += 1;
                    }
                }
                (b'/', b'*') => {
                    self.continues = None;
                    if !self.skip_comment() {
                        return false;
                    }
                }
                _ => return true,
            }
        }
    }

    /// Skips one comment, nested ones included.
    fn skip_comment(&mut self) -> bool {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return true;
                    }
                }
                (0, _) => return false,
                _ => self.at += 1,
            }
        }
    }

    /// A quoted run that begins at the present quote, and whether a backslash escapes in it.
    fn quoted(&mut self, quote: u8, backslashes: bool) -> Option<(&'a [u8], bool)> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.peek(0) {
                0 => return None,
                b'\\' if backslashes => {
                    escaped = true;
                    self.at += if self.peek(1) == 0 { 1 } else { 2 };
                }
                c if c == quote && self.peek(1) == quote => self.at += 2,
                c if c == quote => {
                    self.at += 1;
                    return Some((&self.text[start..self.at - 1], escaped));
                }
                _ => self.at += 1,
            }
        }
    }

    /// A string whose first quote is `prefix` bytes ahead.
    fn string(&mut self, prefix: usize, backslashes: bool) -> Token<'a> {
        self.at += prefix;
        let token = match self.quoted(b'\'', backslashes) {
            Some((body, false)) => Token::Text(body),
            Some((body, true)) => Token::Coded(body),
            None => Token::Broken,
        };
        self.continues = backslashes.then_some(self.at);
        token
    }

    /// A quoted run after a prefix that gives it a meaning of its own: `B''`, `X''`, `U&''`, `U&""`.
    fn coded(&mut self, prefix: usize, quote: u8) -> Token<'a> {
        self.at += prefix;
        self.quoted(quote, false)
            .map_or(Token::Broken, |(body, _)| Token::Coded(body))
    }

    /// A string without a prefix: on a later line than one that takes escapes, it goes on with it.
    fn plain_string(&mut self) -> Token<'a> {
        let escapes = !self.lex.standard_conforming_strings;
        let goes_on = self
            .continues
            .is_some_and(|end| self.text[end..self.at].iter().any(|c| matches!(c, b'\n' | b'\r')));
        self.string(0, escapes || goes_on)
    }

    /// A dollar-quoted string, if one begins here.
    fn dollar_quoted(&mut self) -> Option<Token<'a>> {
        let rest = &self.text[self.at..];
        let tag_len = rest[1..].iter().position(|&c| !is_inner(c) || c == b'$')?;
        if rest.get(1 + tag_len) != Some(&b'$') || rest[1].is_ascii_digit() {
            return None;
        }
        let tag = &rest[..tag_len + 2];
        let body = &rest[tag.len()..];
        let end = body.windows(tag.len()).position(|window| window == tag);
        match end {
            Some(end) if !body[..end].contains(&0) => {
                self.at += tag.len() * 2 + end;
                Some(Token::Body(&body[..end]))
            }
            _ => Some(Token::Broken),
        }
    }

    fn word(&mut self) -> Token<'a> {
        let start = self.at;
        if matches!(self.peek(1), b'\'' | b'&') {
            match (self.peek(0) | 0x20, self.peek(1), self.peek(2)) {
                (b'e', b'\'', _) => return self.string(1, true),
                (b'b' | b'x', b'\'', _) => return self.coded(1, b'\''),
                // A type name and a string of the common kind.
                (b'n', b'\'', _) => return self.string(1, !self.lex.standard_conforming_strings),
                (b'u', b'&', quote @ (b'\'' | b'"')) => return self.coded(2, quote),
                _ => {}
            }
        }
        self.skip_while(INNER);
        Token::Word(&self.text[start..self.at])
    }

    /// A number in decimal. Letters right after one are a word: so it was before PostgreSQL 15, and does no harm to `0x1f`.
    fn number(&mut self) -> Token<'a> {
        let start = self.at;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'0'..=b'9', _) => self.at += 1,
                (b'_', b'0'..=b'9') => self.at += 1,
                (b'.', next) if next != b'.' => self.at += 1,
                (b'e' | b'E', b'0'..=b'9') => self.at += 1,
                (b'e' | b'E', b'+' | b'-') if self.peek(2).is_ascii_digit() => self.at += 2,
                _ => return Token::Number(&self.text[start..self.at]),
            }
        }
    }

    fn parameter(&mut self) -> Token<'a> {
        let start = self.at;
        self.at += 1;
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
        match self.at - start {
            1 => Token::Mark(b'$'),
            _ => Token::Number(&self.text[start..self.at]),
        }
    }

    fn operator(&mut self) -> Token<'a> {
        let start = self.at;
        while CLASS[usize::from(self.peek(0))] & OPERATOR != 0 {
            let comment = matches!((self.peek(0), self.peek(1)), (b'-', b'-') | (b'/', b'*'));
            if comment && self.at > start {
                break;
            }
            self.at += 1;
        }
        Token::Operator(&self.text[start..self.at])
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if !self.skip_blank() {
            self.at = self.text.len();
            return Some(Token::Broken);
        }
        self.from = self.at;
        let c = self.peek(0);
        let token = match c {
            0 => return None,
            b'\'' => self.plain_string(),
            b'"' => self
                .quoted(b'"', false)
                .map_or(Token::Broken, |(name, _)| Token::Quoted(name)),
            b'$' => match self.dollar_quoted() {
                Some(body) => body,
                None => self.parameter(),
            },
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            b'0'..=b'9' => self.number(),
            _ if CLASS[usize::from(c)] & FIRST != 0 => self.word(),
            _ if CLASS[usize::from(c)] & OPERATOR != 0 => self.operator(),
            _ => {
                self.at += 1;
                Token::Mark(c)
            }
        };
        if !matches!(token, Token::Text(_) | Token::Coded(_)) {
            self.continues = None;
        }
        if token == Token::Broken {
            self.at = self.text.len();
        }
        Some(token)
    }
}

fn is_inner(c: u8) -> bool {
    CLASS[usize::from(c)] & INNER != 0
}

/// Begins an identifier.
const FIRST: u8 = 1;
/// Goes on with an identifier.
const INNER: u8 = 2;
/// Is part of an operator.
const OPERATOR: u8 = 4;
/// White space. (The vertical tab is since PostgreSQL 16; before, a text with one is refused whole.)
const BLANK: u8 = 8;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut c = 0;
    while c < 256 {
        let byte = c as u8;
        table[c] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => FIRST | INNER,
            b'0'..=b'9' | b'$' => INNER,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => BLANK,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' => OPERATOR,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' => OPERATOR,
            _ => 0,
        };
        c += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Tokens::new(text.as_bytes(), Lex::default())
            .map(|token| format!("{token:?}"))
            .collect()
    }

    fn off(text: &[u8]) -> Vec<Token<'_>> {
        Tokens::new(
            text,
            Lex {
                standard_conforming_strings: false,
            },
        )
        .collect()
    }

    #[test]
    fn comments_and_quotes_hide_what_is_in_them() {
        assert_eq!(words("a/* ; /* ' */ */b--c\nd").len(), 3);
        assert_eq!(words("'a;''b' \"x;\"\"y\" $q$ ; $$ $q$ E'\\'' U&'x' 1").len(), 6);
        assert_eq!(words("a+--b\n1").len(), 3);
        assert_eq!(words("/*/ ; */ a /***/ b /**/ c").len(), 3);
    }

    #[test]
    fn what_has_no_end_is_broken() {
        for text in [
            "'a",
            "\"a",
            "/* a",
            "/* /* */ a",
            "$q$ a",
            "$q$ a $$ $Q$",
            "E'\\'",
            "U&\"a",
            "B'1",
            "$$ \0 $$",
        ] {
            assert_eq!(words(text).last().map(String::as_str), Some("Broken"), "{text}");
        }
    }

    #[test]
    fn backslashes_escape_where_the_setting_says_so() {
        assert_eq!(off(b"'a\\' ; b'").len(), 1);
        assert_eq!(off(b"n'a\\' ; b'").len(), 1);
        assert_eq!(off(b"b'1\\' ; c").len(), 3);
        assert_eq!(Tokens::new(b"'a\\' ; b", Lex::default()).count(), 3);
        assert_eq!(Tokens::new(b"n'a\\' ; b", Lex::default()).count(), 3);
    }

    #[test]
    fn a_string_with_escapes_goes_on_after_a_line_break_only() {
        assert_eq!(words("E'a'\n'b\\';c'").len(), 2);
        assert_eq!(words("E'a' -- x\n 'b\\';c'").len(), 2);
        assert_eq!(words("E'a' 'b\\';c").len(), 4);
        assert_eq!(words("'a'\n'b\\';c").len(), 4);
        assert_eq!(words("E'a' /*\n*/ 'b\\';c").len(), 4);
    }

    #[test]
    fn parameters_and_dollar_words_are_no_quotes() {
        assert_eq!(words("$1 a$b$c $2").len(), 3);
        assert_eq!(words("$a$ $b$a$ c").len(), 2);
        assert_eq!(words("$é$ ; $é$").len(), 1);
    }

    #[test]
    fn numbers_end_where_words_begin() {
        assert_eq!(words("1.5e-3 1_000 .5 1e5").len(), 4);
        assert_eq!(words("1union 2.from 3e'\\''").len(), 6);
        assert_eq!(words("1..x").len(), 4);
        assert_eq!(words("$1from").len(), 2);
    }

    #[test]
    fn kinds_of_strings_are_told_apart() {
        let tokens = words("'a' $$b$$ E'c' E'\\d' U&'e' U&\"f\" X'1' N'g'");
        let kinds: Vec<&str> = tokens
            .iter()
            .map(|token| token.split('(').next().unwrap_or(""))
            .collect();
        assert_eq!(
            kinds,
            ["Text", "Body", "Text", "Coded", "Coded", "Coded", "Coded", "Text"]
        );
    }
}
