//! Forms of SQL that the parser does not know, told in forms that it does. The tables, keys and functions in them are the same, and
//! so is where everything stands; what only PostgreSQL makes something of goes. Texts for servers are made of pieces, never of these.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// The same tokens in known forms. `None`: there is nothing to tell otherwise.
pub fn known(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let mut told = Told {
        tokens,
        out: Vec::with_capacity(tokens.len() + 8),
        count: 0,
    };
    let mut at = 0;
    while at < tokens.len() {
        at = match told.otherwise(at) {
            Some(next) => {
                told.count += 1;
                next
            }
            None => {
                let end = name_end(tokens, at).max(at + 1);
                told.out.extend_from_slice(&tokens[at..end]);
                end
            }
        };
    }
    (told.count > 0).then_some(told.out)
}

struct Told<'t> {
    tokens: &'t [TokenWithSpan],
    out: Vec<TokenWithSpan>,
    count: usize,
}

impl Told<'_> {
    /// Tells what begins here otherwise, and gives where it ends. `None`: it is left as it is.
    fn otherwise(&mut self, at: usize) -> Option<usize> {
        self.table(at)
            .or_else(|| self.constant(at))
            .or_else(|| self.left_out(at))
            .or_else(|| self.conflict(at))
            .or_else(|| self.cast(at))
            .or_else(|| self.subscript(at))
            .or_else(|| self.columns(at))
    }

    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|token| &token.token)
    }

    /// A word that is not quoted.
    fn word(&self, at: usize) -> &str {
        word(self.token(at))
    }

    fn push(&mut self, token: Token, at: usize) {
        self.out.push(TokenWithSpan::new(token, self.tokens[at].span));
    }

    /// `TABLE name` is `SELECT * FROM name`.
    fn table(&mut self, at: usize) -> Option<usize> {
        let is_whole = self.tokens.len() > 1 && name_end(self.tokens, 1) == self.tokens.len();
        if at > 0 || self.word(0) != "table" || !is_whole {
            return None;
        }
        self.push(Token::make_word("select", None), 0);
        self.push(Token::Mul, 0);
        self.push(Token::make_word("from", None), 0);
        Some(1)
    }

    /// A constant of a type the parser does not know (`inet '10.0.0.1'`, `app.mood 'ok'`): it gets one that no key has.
    fn constant(&mut self, at: usize) -> Option<usize> {
        let end = name_end(self.tokens, at);
        let is_constant = end > at && matches!(self.token(end), Some(Token::SingleQuotedString(_)));
        is_constant.then(|| self.push(Token::make_word("bytea", None), at))?;
        Some(end)
    }

    /// Words that change nothing of what is looked for.
    fn left_out(&mut self, at: usize) -> Option<usize> {
        let follows = |count: usize, words: &[&str]| words.contains(&self.word(at + count));
        let ends = |count: usize| self.token(at + count) == Some(&Token::RParen);
        let is_argument = matches!(
            self.out.last().map(|token| &token.token),
            Some(Token::LParen | Token::Comma)
        );
        let count = match self.word(at) {
            "variadic" if is_argument => 1,
            // With USER, values of the text may not be those of the rows.
            "overriding" if follows(1, &["system"]) && follows(2, &["value"]) => 3,
            "exclude" if follows(1, &["current"]) && follows(2, &["row"]) && ends(3) => 3,
            "exclude" if follows(1, &["no"]) && follows(2, &["others"]) && ends(3) => 3,
            "exclude" if follows(1, &["group", "ties"]) && ends(2) => 2,
            "similar" if follows(1, &["to"]) => {
                self.push(Token::make_word("like", None), at);
                2
            }
            _ => return None,
        };
        Some(at + count)
    }

    /// `ON CONFLICT (expressions) WHERE condition DO`: which index is meant.
    fn conflict(&mut self, at: usize) -> Option<usize> {
        if self.word(at) != "on"
            || self.word(at + 1) != "conflict"
            || self.token(at + 2) != Some(&Token::LParen)
        {
            return None;
        }
        let mut end = closing(self.tokens, at + 2)? + 1;
        if self.word(end) == "where" {
            while self.word(end) != "do" {
                end = match self.token(end)? {
                    Token::LParen => closing(self.tokens, end)? + 1,
                    _ => end + 1,
                };
            }
        }
        if self.word(end) != "do" {
            return None;
        }
        self.out.extend_from_slice(&self.tokens[at..at + 2]);
        Some(end)
    }

    /// A cast before COLLATE is put in parentheses; one of a window frame's bound goes.
    fn cast(&mut self, at: usize) -> Option<usize> {
        if self.token(at) != Some(&Token::DoubleColon) {
            return None;
        }
        let mut end = at + 1;
        self.token(end).filter(|token| matches!(token, Token::Word(_)))?;
        end = name_end(self.tokens, end).max(end + 1);
        if self.word(end) == "varying" {
            end += 1;
        }
        if self.token(end) == Some(&Token::LParen) {
            end = closing(self.tokens, end)? + 1;
        }
        match self.word(end) {
            "preceding" | "following" => Some(end),
            "collate" => {
                let start = primary(&self.out)?;
                let opening = TokenWithSpan::new(Token::LParen, self.out[start].span);
                self.out.insert(start, opening);
                self.out.extend_from_slice(&self.tokens[at..end]);
                self.push(Token::RParen, end - 1);
                Some(end)
            }
            _ => None,
        }
    }

    /// `FROM function() AS (a int, b text)`: the rows get a name.
    fn columns(&mut self, at: usize) -> Option<usize> {
        let is_name = |at: usize| matches!(self.token(at), Some(Token::Word(_)));
        let begins_query = ["select", "with", "values", "table"].contains(&self.word(at + 2));
        let is_list = self.token(at + 1) == Some(&Token::LParen) && is_name(at + 2) && is_name(at + 3);
        if self.word(at) != "as" || !is_list || begins_query {
            return None;
        }
        self.out.push(self.tokens[at].clone());
        self.push(Token::make_word("record", Some('"')), at);
        Some(at + 1)
    }

    /// `SET list[2] = …`, `SET data['key'] = …`: the column is set.
    fn subscript(&mut self, at: usize) -> Option<usize> {
        if self.token(at) != Some(&Token::LBracket) {
            return None;
        }
        let [.., before, column] = &self.out[..] else {
            return None;
        };
        let is_target = before.token == Token::Comma || word(Some(&before.token)) == "set";
        if !is_target || !matches!(column.token, Token::Word(_)) {
            return None;
        }
        let mut end = at;
        while self.token(end) == Some(&Token::LBracket) {
            let length = self.tokens[end..]
                .iter()
                .position(|token| token.token == Token::RBracket)?;
            let within = &self.tokens[end..end + length];
            if within.iter().any(|token| token.token == Token::LParen) {
                return None;
            }
            end += length + 1;
        }
        (self.token(end) == Some(&Token::Eq)).then_some(end)
    }
}

fn word(token: Option<&Token>) -> &str {
    match token {
        Some(Token::Word(word)) if word.quote_style.is_none() => &word.value,
        Some(_) | None => "",
    }
}

/// Where the name that begins here ends; here, if none does. One word is none if it is a word of the language.
fn name_end(tokens: &[TokenWithSpan], at: usize) -> usize {
    let word = |at: usize| match tokens.get(at).map(|token| &token.token) {
        Some(Token::Word(word)) => Some(word),
        Some(_) | None => None,
    };
    let Some(first) = word(at) else { return at };
    let mut end = at + 1;
    while matches!(tokens.get(end), Some(token) if token.token == Token::Period) && word(end + 1).is_some() {
        end += 2;
    }
    let is_name = end > at + 1 || first.quote_style.is_some() || first.keyword == Keyword::NoKeyword;
    if is_name { end } else { at }
}

/// The parenthesis that closes this one.
fn closing(tokens: &[TokenWithSpan], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(place);
        }
    }
    None
}

/// Words before a parenthesis that call no function.
const NO_FUNCTIONS: [&str; 32] = [
    "by",
    "and",
    "or",
    "not",
    "in",
    "select",
    "distinct",
    "where",
    "on",
    "having",
    "when",
    "then",
    "else",
    "case",
    "union",
    "all",
    "any",
    "some",
    "limit",
    "offset",
    "like",
    "ilike",
    "between",
    "is",
    "returning",
    "values",
    "from",
    "as",
    "exists",
    "using",
    "filter",
    "over",
];

/// Where what can be cast begins that ends these tokens: a name, a constant, a call, something in parentheses, any of them cast or
/// with subscripts.
fn primary(tokens: &[TokenWithSpan]) -> Option<usize> {
    let token = |at: usize| tokens.get(at).map(|token| &token.token);
    let mut start = tokens.len();
    loop {
        start = start.checked_sub(1)?;
        match token(start)? {
            Token::RParen => {
                start = opening(tokens, start, (&Token::LParen, &Token::RParen))?;
                let called = word(start.checked_sub(1).and_then(token));
                if !called.is_empty() && !NO_FUNCTIONS.contains(&called) {
                    start -= 1;
                }
            }
            Token::RBracket => {
                start = opening(tokens, start, (&Token::LBracket, &Token::RBracket))?;
                continue;
            }
            Token::Word(_) | Token::SingleQuotedString(_) | Token::Number(..) | Token::Placeholder(_) => {}
            _ => return None,
        }
        while start > 1
            && token(start - 1) == Some(&Token::Period)
            && matches!(token(start - 2), Some(Token::Word(_)))
        {
            start -= 2;
        }
        match start.checked_sub(1).and_then(token) {
            Some(Token::DoubleColon) => start -= 1,
            Some(_) | None => return Some(start),
        }
    }
}

fn opening(tokens: &[TokenWithSpan], at: usize, (open, close): (&Token, &Token)) -> Option<usize> {
    let mut depth = 0_usize;
    for place in (0..=at).rev() {
        match &tokens[place].token {
            token if token == close => depth += 1,
            token if token == open => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(place);
        }
    }
    None
}
