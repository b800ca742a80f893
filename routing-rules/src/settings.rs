//! Which settings a text sets: by SET and RESET, by `set_config`, and inside of source code that it runs.

use std::iter::Peekable;

use crate::Lex;
use crate::effects::Effects;
use crate::lexer::{Token, Tokens};
use crate::words::{Call, WORDS};

/// What was found so far.
#[derive(Debug, Default)]
pub struct Found {
    /// Effects on the session.
    pub effects: Effects,
    /// Settings with a dot in their names, each once.
    pub names: Vec<String>,
}

/// What becomes of source code in a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It runs at once.
    Runs,
    /// It runs when somebody calls it: names in it are worth to be known, the rest is not of now.
    Waits,
}

/// Names one text may set before the rest counts as computed.
const NAMES_MAX: usize = 64;
/// Strings in strings that are looked into.
const NESTING_MAX: usize = 4;
/// How far into the arguments of `set_config` the third is looked for.
const ARGUMENT_TOKENS_MAX: usize = 32;

impl Found {
    /// A SET, given what follows this word.
    pub fn set(&mut self, tokens: Tokens<'_>) {
        let mut tokens = tokens.peekable();
        let mut first = tokens.next();
        let mut local = false;
        if is_word(first, b"local") || is_word(first, b"session") {
            // `SET local.x` names a setting of that name.
            if tokens.peek() != Some(&Token::Mark(b'.')) {
                local = is_word(first, b"local");
                first = tokens.next();
            }
        }
        let of_transaction = is_word(first, b"transaction") || is_word(first, b"constraints");
        if of_transaction && tokens.peek() != Some(&Token::Mark(b'.')) {
            return;
        }
        self.setting(dotted_name(first, &mut tokens), local);
    }

    /// A RESET, given what follows this word.
    pub fn reset(&mut self, tokens: Tokens<'_>) {
        let mut tokens = tokens.peekable();
        let first = tokens.next();
        self.setting(dotted_name(first, &mut tokens), false);
    }

    /// A call of `set_config`, given what follows its parenthesis.
    pub fn set_config(&mut self, tokens: Tokens<'_>) {
        let mut tokens = tokens.peekable();
        let name = match tokens.next() {
            Some(Token::Text(name) | Token::Body(name)) if !name.contains(&b'\'') => Some(name.to_vec()),
            _ => None,
        };
        while tokens.next_if_eq(&Token::Mark(b':')).is_some() {
            tokens.next_if(|token| is_word(Some(*token), b"text"));
        }
        let whole = tokens.peek() == Some(&Token::Mark(b','));
        let local = is_third_argument_true(tokens);
        self.setting(name.filter(|_| whole), local);
    }

    /// Source code in a string, given as the constant it is written in.
    pub fn source(&mut self, token: Token<'_>, source: Source, lex: Lex) {
        let mut inner = Found::default();
        inner.constant(token, lex, 0);
        if source == Source::Runs {
            self.effects |= inner.effects;
        }
        for name in inner.names {
            self.name(name);
        }
    }

    /// A setting's name, or `None` if it does not show.
    fn setting(&mut self, name: Option<Vec<u8>>, local: bool) {
        if !local {
            self.effects |= Effects::PROBE;
        }
        let Some(name) = name.and_then(|name| String::from_utf8(name).ok()) else {
            self.effects |= Effects::COMPUTED_SETTING;
            return;
        };
        if name.eq_ignore_ascii_case("seed") {
            self.effects |= Effects::SET_SEED;
        }
        if name.contains('.') {
            self.effects |= Effects::CUSTOM_SETTING;
            self.name(name.to_ascii_lowercase());
        }
    }

    fn name(&mut self, name: String) {
        if self.names.contains(&name) {
            return;
        }
        if self.names.len() < NAMES_MAX {
            self.names.push(name);
        } else {
            self.effects |= Effects::COMPUTED_SETTING;
        }
    }

    /// A constant that may hold source code.
    fn constant(&mut self, token: Token<'_>, lex: Lex, nesting: usize) {
        match token {
            Token::Body(source) => self.code(source, lex, nesting),
            Token::Text(source) if source.contains(&b'\'') => self.code(&single(source, b'\''), lex, nesting),
            Token::Text(source) => self.code(source, lex, nesting),
            Token::Quoted(source) => self.code(source, lex, nesting),
            Token::Coded(source) => {
                if mentions_set(source) {
                    self.effects |= Effects::COMPUTED_SETTING;
                }
            }
            Token::Word(_) | Token::Number(_) | Token::Mark(_) | Token::Operator(_) | Token::Broken => {}
        }
    }

    /// Source code, of whatever language: every SET and `set_config` that shows in it, in strings too.
    fn code(&mut self, source: &[u8], lex: Lex, nesting: usize) {
        if nesting >= NESTING_MAX {
            if mentions_set(source) {
                self.effects |= Effects::COMPUTED_SETTING;
            }
            return;
        }
        let mut tokens = Tokens::new(source, lex);
        let mut begins = true;
        while let Some(token) = tokens.next() {
            match token {
                Token::Word(word) if word.eq_ignore_ascii_case(b"set") => {
                    self.set_in_code(tokens.clone(), begins, nesting);
                }
                Token::Word(word) if begins && word.eq_ignore_ascii_case(b"load") => {
                    if let Some(Token::Text(_)) = tokens.clone().next() {
                        self.effects |= Effects::LOADS;
                    }
                }
                Token::Word(word) => self.call_in_code(word, &tokens),
                Token::Broken if mentions_set(source) => self.effects |= Effects::COMPUTED_SETTING,
                token => self.constant(token, lex, nesting + 1),
            }
            begins = token == Token::Mark(b';')
                || [&b"begin"[..], b"then", b"else", b"loop"]
                    .iter()
                    .any(|word| is_word(Some(token), word));
        }
    }

    /// A SET in source code: a statement of its own if it begins one, else perhaps part of an UPDATE.
    fn set_in_code(&mut self, tokens: Tokens<'_>, begins: bool, nesting: usize) {
        let mut named = Found::default();
        named.set(tokens.clone());
        let is_piece = !matches!(tokens.clone().next(), Some(Token::Word(_) | Token::Quoted(_)));
        if begins && (nesting == 0 || !is_piece) {
            self.effects |= named.effects;
        }
        if begins && nesting > 0 && is_piece {
            // `'SET ' || name`, `format('SET %I', name)`.
            self.effects |= Effects::COMPUTED_SETTING;
        }
        if !named.names.is_empty() {
            self.effects |= Effects::CUSTOM_SETTING;
        }
        for name in named.names {
            self.name(name);
        }
    }

    fn call_in_code(&mut self, word: &[u8], tokens: &Tokens<'_>) {
        let call = WORDS.folded(word).call;
        let mut arguments = tokens.clone();
        if !call.is_telling() || arguments.next() != Some(Token::Mark(b'(')) {
            return;
        }
        match call {
            Call::SetConfig => self.set_config(arguments),
            Call::SetSeed => self.effects |= Effects::SET_SEED,
            Call::SequenceState => self.effects |= Effects::SEQUENCE_STATE,
            Call::BackendPid => self.effects |= Effects::BACKEND_PID,
            Call::Unknown | Call::Harmless | Call::Syntax | Call::Reserved => {}
        }
    }
}

/// A name with its dots, from its first token on: as PostgreSQL would store it, but for the case.
pub fn dotted_name<'a>(first: Option<Token<'a>>, tokens: &mut Peekable<Tokens<'a>>) -> Option<Vec<u8>> {
    let mut name = identifier(first?)?;
    while tokens.next_if_eq(&Token::Mark(b'.')).is_some() {
        name.push(b'.');
        name.extend(identifier(tokens.next()?)?);
    }
    Some(name)
}

/// An identifier as PostgreSQL keeps it: in lower case unless it is quoted, cut to 63 bytes.
pub fn identifier(token: Token<'_>) -> Option<Vec<u8>> {
    let mut name = match token {
        Token::Word(word) => word.to_ascii_lowercase(),
        Token::Quoted(name) if !name.is_empty() => single(name, b'"'),
        _ => return None,
    };
    if name.len() > IDENTIFIER_MAX {
        let mut end = IDENTIFIER_MAX;
        // Not in the middle of a character, if it is UTF-8.
        while end > IDENTIFIER_MAX - 3 && name[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        name.truncate(end);
    }
    Some(name)
}

/// PostgreSQL's NAMEDATALEN less one.
const IDENTIFIER_MAX: usize = 63;

/// What stands between quotes, doubled ones made single.
pub fn single(body: &[u8], quote: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut bytes = body.iter();
    while let Some(&byte) = bytes.next() {
        out.push(byte);
        if byte == quote {
            bytes.next();
        }
    }
    out
}

/// Could a SET or a `set_config` be in it?
fn mentions_set(source: &[u8]) -> bool {
    source.windows(3).any(|part| part.eq_ignore_ascii_case(b"set"))
}

/// Is it this word, in any case?
pub fn is_word(token: Option<Token<'_>>, word: &[u8]) -> bool {
    matches!(token, Some(Token::Word(text)) if text.eq_ignore_ascii_case(word))
}

/// Given the arguments of a call from the first comma on: is the third one just `true`?
fn is_third_argument_true(tokens: Peekable<Tokens<'_>>) -> bool {
    let mut depth = 0;
    let mut commas = 0;
    let mut third = [None; 2];
    for token in tokens.take(ARGUMENT_TOKENS_MAX) {
        match token {
            Token::Mark(b')') if depth == 0 => {
                return commas == 2 && is_word(third[0], b"true") && third[1].is_none();
            }
            Token::Mark(b',') if depth == 0 => commas += 1,
            Token::Mark(b'(' | b'[') => depth += 1,
            Token::Mark(b')' | b']') => depth -= 1,
            _ => {}
        }
        if commas == 2 && token != Token::Mark(b',') {
            match third.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = Some(token),
                None => return false,
            }
        }
    }
    false
}
