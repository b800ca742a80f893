//! Which database a statement wants to have for itself: PostgreSQL refuses DROP DATABASE and its like while anybody else is
//! connected, and waits five seconds for those about to leave.

use std::iter::Peekable;

use crate::Lex;
use crate::lexer::{Token, Tokens};
use crate::settings::{identifier, is_word};

/// The database that is to be empty of others before this statement can run, if it is one of
///
/// - `DROP DATABASE name`
/// - `ALTER DATABASE name RENAME …` and `ALTER DATABASE name SET TABLESPACE …`
/// - `CREATE DATABASE … TEMPLATE name`
pub fn vacated(text: &[u8], lex: Lex) -> Option<String> {
    let mut tokens = Tokens::new(text, lex).peekable();
    let verb = tokens.next();
    take(&mut tokens, b"database")?;
    let name = if is_word(verb, b"drop") {
        if take(&mut tokens, b"if").is_some() {
            take(&mut tokens, b"exists")?;
        }
        identifier(tokens.next()?)
    } else if is_word(verb, b"alter") {
        let name = identifier(tokens.next()?);
        let moves = take(&mut tokens, b"set").and_then(|()| take(&mut tokens, b"tablespace"));
        moves.or_else(|| take(&mut tokens, b"rename"))?;
        name
    } else if is_word(verb, b"create") {
        tokens.find(|token| is_word(Some(*token), b"template"))?;
        let _equals = tokens.next_if_eq(&Token::Operator(b"="));
        identifier(tokens.next()?)
    } else {
        None
    };
    String::from_utf8(name?).ok()
}

fn take(tokens: &mut Peekable<Tokens<'_>>, word: &[u8]) -> Option<()> {
    tokens.next_if(|token| is_word(Some(*token), word)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_be_alone() {
        for (text, name) in [
            ("DROP DATABASE app", Some("app")),
            ("drop database if exists \"My App\" with (force);", Some("My App")),
            ("/* bye */ DROP DATABASE App -- gone", Some("app")),
            ("ALTER DATABASE app RENAME TO old", Some("app")),
            ("ALTER DATABASE app SET TABLESPACE fast", Some("app")),
            ("ALTER DATABASE app SET work_mem = '5MB'", None),
            ("CREATE DATABASE app OWNER me TEMPLATE = base", Some("base")),
            ("CREATE DATABASE app TEMPLATE base", Some("base")),
            ("CREATE DATABASE app", None),
            ("DROP TABLE database", None),
            ("DROP DATABASE", None),
            ("SELECT 1", None),
        ] {
            let seen = vacated(text.as_bytes(), Lex::default());
            assert_eq!(seen.as_deref(), name, "{text}");
        }
    }
}
