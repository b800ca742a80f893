//! Cuts SQL text into tokens as PostgreSQL's `scan.l` does. Knows quotes and comments, not meaning.

use crate::Lex;

/// A piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A keyword or an unquoted identifier, as it is written.
    Word(&'a [u8]),
    /// A quoted identifier, without its outer quotes; inner ones still doubled.
    Quoted(&'a [u8]),
    /// A string constant of any kind, without its outer quotes; inner ones as they are written.
    Text(&'a [u8]),
    /// A number or a parameter.
    Number(&'a [u8]),
    /// `(`, `)`, `,`, `;`, `.`, `[`, `]`, `:`
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
    lex: Lex,
}

impl<'a> Tokens<'a> {
    /// The tokens of a text up to its end or its first NUL.
    pub fn new(text: &'a [u8], lex: Lex) -> Self {
        Tokens { text, at: 0, lex }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Skips white space and comments. False if a comment has no end.
    fn skip_blank(&mut self) -> bool {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => self.at += 1,
                (b'-', b'-') => {
                    while !matches!(self.peek(0), 0 | b'\n' | b'\r') {
                        self.at += 1;
                    }
                }
                (b'/', b'*') => {
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

    /// A quoted run that begins at the present quote.
    fn quoted(&mut self, quote: u8, backslashes: bool) -> Option<&'a [u8]> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek(0) {
                0 => return None,
                b'\\' if backslashes => self.at += if self.peek(1) == 0 { 1 } else { 2 },
                c if c == quote && self.peek(1) == quote => self.at += 2,
                c if c == quote => {
                    self.at += 1;
                    return Some(&self.text[start..self.at - 1]);
                }
                _ => self.at += 1,
            }
        }
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
        let nul = body.iter().position(|&c| c == 0).unwrap_or(body.len());
        match end {
            Some(end) if end < nul => {
                self.at += tag.len() * 2 + end;
                Some(Token::Text(&body[..end]))
            }
            _ => {
                self.at = self.text.len();
                Some(Token::Broken)
            }
        }
    }

    fn word(&mut self) -> Token<'a> {
        let start = self.at;
        let prefix = (self.peek(0) | 0x20, self.peek(1), self.peek(2));
        match prefix {
            (b'e', b'\'', _) => return self.string(1, true),
            (b'b' | b'x' | b'n', b'\'', _) => return self.string(1, false),
            (b'u', b'&', b'\'') => return self.string(2, false),
            (b'u', b'&', b'"') => {
                self.at += 2;
                return self.quoted(b'"', false).map_or(Token::Broken, Token::Quoted);
            }
            _ => {}
        }
        while is_inner(self.peek(0)) {
            self.at += 1;
        }
        Token::Word(&self.text[start..self.at])
    }

    fn string(&mut self, prefix: usize, backslashes: bool) -> Token<'a> {
        self.at += prefix;
        self.quoted(b'\'', backslashes).map_or(Token::Broken, Token::Text)
    }

    fn number(&mut self) -> Token<'a> {
        let start = self.at;
        loop {
            match (self.peek(0), self.peek(1)) {
                // An exponent takes its sign along.
                (b'e' | b'E', b'+' | b'-') if !self.text[start..].starts_with(b"0x") => self.at += 2,
                (c, _) if c.is_ascii_alphanumeric() || c == b'_' || c >= 0x80 => self.at += 1,
                (b'.', next) if next != b'.' => self.at += 1,
                _ => return Token::Number(&self.text[start..self.at]),
            }
        }
    }

    fn operator(&mut self) -> Token<'a> {
        let start = self.at;
        while is_operator(self.peek(0)) {
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
        let c = self.peek(0);
        let token = match c {
            0 => return None,
            b'\'' => self.string(0, !self.lex.standard_conforming_strings),
            b'"' => self.quoted(b'"', false).map_or(Token::Broken, Token::Quoted),
            b'$' => {
                if let Some(text) = self.dollar_quoted() {
                    return Some(text);
                }
                self.at += 1;
                self.number()
            }
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            c if c.is_ascii_digit() => self.number(),
            c if is_first(c) => self.word(),
            c if is_operator(c) => self.operator(),
            c => {
                self.at += 1;
                Token::Mark(c)
            }
        };
        if token == Token::Broken {
            self.at = self.text.len();
        }
        Some(token)
    }
}

fn is_first(c: u8) -> bool {
    c.is_ascii_alphabetic() || c == b'_' || c >= 0x80
}

fn is_inner(c: u8) -> bool {
    is_first(c) || c.is_ascii_digit() || c == b'$'
}

fn is_operator(c: u8) -> bool {
    matches!(
        c,
        b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'='
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Tokens::new(text.as_bytes(), Lex::default()).map(|token| format!("{token:?}")).collect()
    }

    #[test]
    fn comments_and_quotes_hide_what_is_in_them() {
        assert_eq!(words("a/* ; /* ' */ */b--c\nd").len(), 3);
        assert_eq!(words("'a;''b' \"x;\"\"y\" $q$ ; $$ $q$ E'\\'' U&'x' 1").len(), 6);
        assert_eq!(words("a+--b\n1").len(), 3);
    }

    #[test]
    fn what_has_no_end_is_broken() {
        for text in ["'a", "\"a", "/* a", "$q$ a", "E'\\'"] {
            assert_eq!(words(text).last().map(String::as_str), Some("Broken"), "{text}");
        }
    }

    #[test]
    fn backslashes_escape_where_the_setting_says_so() {
        let off = Lex { standard_conforming_strings: false };
        assert_eq!(Tokens::new(b"'a\\' ; b'", off).count(), 1);
        assert_eq!(Tokens::new(b"'a\\' ; b", Lex::default()).count(), 3);
    }

    #[test]
    fn parameters_and_dollar_words_are_no_quotes() {
        assert_eq!(words("$1 a$b$c $2").len(), 3);
    }
}
